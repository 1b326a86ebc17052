/* SPDX-License-Identifier: MIT */
/*
 * The guest's interrupt and exception handlers, copied to MDL_VM_STUBS. Position independent but
 * for fixed addresses below 4 GiB.
 *
 * Exceptions enter ring 0 on a stack of their own and leave through the fault port for good; the
 * VMM reads the frame. Interrupts stay in ring 3: the gate's code segment has the ring that is
 * interrupted, so there is no stack switch, the frame lies on the program's stack (programs have no
 * red zone), and iretq is an ordinary instruction. That matters on hosts that emulate ring 0, where
 * each instruction there costs microseconds. They are trap gates: IF stays on, as iretq in ring 3
 * could not restore it on such hosts. A higher vector may then nest, which is harmless: incq is one
 * instruction.
 */
#include "vmm/layout.h"
#include "vmm/micro_abi.h"

	.section .rodata
	.globl	mdl_vm_stubs, mdl_vm_stubs_end
	.hidden	mdl_vm_stubs, mdl_vm_stubs_end
	.balign	16
mdl_vm_stubs:
	.set	n, 0
	.rept	32
	.balign	MDL_VM_STUB_BYTES
	/* Vectors 8, 10-14, 17, 21, 29, 30 push an error code themselves. */
	.if	!(n == 8 || (n >= 10 && n <= 14) || n == 17 || n == 21 || n == 29 || n == 30)
	pushq	$0
	.endif
	pushq	$n
	movw	$MDL_MICRO_PORT_FAULT, %dx
1:	outl	%eax, %dx
	jmp	1b
	.set	n, n + 1
	.endr

	.set	n, MDL_MICRO_VECTOR_FIRST
	.rept	MDL_MICRO_VECTOR_LAST - MDL_MICRO_VECTOR_FIRST + 1
	.balign	MDL_VM_STUB_BYTES
	incq	MDL_MICRO_IRQ_PAGE + 8 * n
	btrl	$0, MDL_MICRO_EOI_WORD
	jc	1f
	movabsl	%eax, MDL_MICRO_LAPIC + MDL_MICRO_LAPIC_EOI
1:	iretq
	.set	n, n + 1
	.endr

	.balign	MDL_VM_STUB_BYTES
	iretq
mdl_vm_stubs_end:

	.section .note.GNU-stack, "", @progbits
