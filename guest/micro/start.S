/* SPDX-License-Identifier: MIT */
/* The guest's first instructions: rdi is the boot page's address, rsp the top of the stack. */
	.section .text.start, "ax"
	.globl	_start
	.hidden	_start
_start:
	xorl	%ebp, %ebp
	andq	$-16, %rsp
	call	micro_start
	ud2

	.section .note.GNU-stack, "", @progbits
