/* SPDX-License-Identifier: MIT */
/*
 * The VMM's own part of guest memory below the program; what the guest may reach of it is in
 * micro_abi.h.
 */
#ifndef MDL_VMM_LAYOUT_H
#define MDL_VMM_LAYOUT_H

#define MDL_VM_GDT	   0xb000 /* GDT, then the TSS */
#define MDL_VM_TSS	   0xb800
#define MDL_VM_IDT	   0xc000
#define MDL_VM_STUBS	   0xd000 /* handlers: read-only for ring 3, which runs some */
#define MDL_VM_STUBS_BYTES 0x3000
#define MDL_VM_FAULT_STACK 0x10000 /* one page, grows down from its end */
#define MDL_VM_PT_FIRST	   0x11000 /* page tables, the root first */
#define MDL_VM_PT_END	   0xf0000

#define MDL_VM_CS_KERNEL    0x08
#define MDL_VM_DS_KERNEL    0x10
#define MDL_VM_DS_USER	    0x1b
#define MDL_VM_CS_USER	    0x23
#define MDL_VM_TSS_SELECTOR 0x28

/*
 * One handler each: exceptions 0-31, then vectors from MDL_MICRO_VECTOR_FIRST to _LAST; then one
 * for spurious interrupts.
 */
#define MDL_VM_STUB_BYTES 32

#endif
