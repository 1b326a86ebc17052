/* SPDX-License-Identifier: MIT */
/*
 * What medley-vm and a guest program agree on: guest-physical layout, the boot page and the
 * paravirtual ports. Guest-physical and guest-virtual addresses are equal. The guest runs in ring
 * 3, interrupts always on, at the entry point of its ELF file, with the stack of the boot page and
 * the boot page's address in rdi.
 *
 * Memory: [0, ram_bytes) is RAM. Its first page is not mapped (null pointers fault), the rest below
 * MDL_MICRO_IMAGE belongs to the VMM, of which the guest may reach the boot page, the interrupt
 * page and the arguments. From the top down: data module, output buffer, stack, an unmapped guard
 * page, the heap (everything that is left above the program).
 *
 * Interrupts: the VMM installs handlers that add 1 to the vector's counter in the interrupt page
 * and end the interrupt. Vectors from MDL_MICRO_VECTOR_FIRST belong to the devices' MSI-X vectors,
 * in order. The counter behind theirs is not an interrupt's: the VMM itself counts there.
 *
 * Ports (in and out of any width unless said otherwise; other ports up to PORT_LAST read all-ones
 * and ignore writes, the rest fault):
 *   CONSOLE  out, also rep outs: bytes for standard output.
 *   PRINT    out, 32 bits: address of a struct mdl_micro_print: many bytes in one exit.
 *   EXIT     out, 32 bits: ends the VM with this status; what is over MDL_MICRO_EXIT_MAX counts as
 *            MDL_MICRO_EXIT_MAX.
 *   WAIT     out, 32 bits: address of a struct mdl_micro_wait. Returns when the counter differs from
 *            `seen`, when the time has passed, or for no reason: the guest checks for itself. The
 *            VMM compares the counter while the CPU is stopped and then halts it, and a halted CPU
 *            wakes for interrupts that came in between, so none is lost.
 *   RANDOM   in, 32 bits: a random number.
 *   INPUT    out, 32 bits: address of a struct mdl_micro_input: takes what has come for the guest,
 *            without waiting. The counter MDL_MICRO_INPUT_COUNTER grows when more may be there.
 *   FAULT    used by the VMM's exception handlers.
 */
#ifndef MDL_VMM_MICRO_ABI_H
#define MDL_VMM_MICRO_ABI_H

#define MDL_MICRO_PORT_FIRST   0x500
#define MDL_MICRO_PORT_LAST    0x57f
#define MDL_MICRO_PORT_CONSOLE 0x500
#define MDL_MICRO_PORT_PRINT   0x504
#define MDL_MICRO_PORT_EXIT    0x508
#define MDL_MICRO_PORT_WAIT    0x510
#define MDL_MICRO_PORT_RANDOM  0x518
#define MDL_MICRO_PORT_INPUT   0x51c
#define MDL_MICRO_PORT_FAULT   0x520

#define MDL_MICRO_EXIT_MAX 63

#define MDL_MICRO_BOOT_PAGE  0x1000 /* struct mdl_micro_boot, MDL_MICRO_BOOT_BYTES */
#define MDL_MICRO_BOOT_BYTES 0x1000
#define MDL_MICRO_IRQ_PAGE   0x2000 /* uint64_t counter of each vector, then the EOI word */
#define MDL_MICRO_EOI_WORD   0x2800 /* bit 0: no EOI needed (KVM's paravirtual EOI) */
#define MDL_MICRO_ARGS	     0x3000 /* NUL-terminated strings */
#define MDL_MICRO_ARGS_BYTES 0x8000
#define MDL_MICRO_IMAGE	     0x100000 /* programs are linked at or above this address */

#define MDL_MICRO_LAPIC	    0xfee00000
#define MDL_MICRO_LAPIC_EOI 0xb0

#define MDL_MICRO_VECTORS      256
#define MDL_MICRO_VECTOR_FIRST 0x40
#define MDL_MICRO_VECTOR_LAST  0xef
#define MDL_MICRO_INPUT_COUNTER 0xf0

#define MDL_MICRO_MAGIC	  0x4d56444d /* "MDVM" */
#define MDL_MICRO_VERSION 1
#define MDL_MICRO_DEVICES 8

#ifndef __ASSEMBLER__
#include <stdint.h>

struct mdl_micro_bar {
	uint64_t addr, bytes; /* bytes 0: absent */
};

struct mdl_micro_device {
	uint16_t vendor, device; /* PCI identity */
	uint32_t class_code;
	uint32_t first_vector; /* MSI-X vector i interrupts as CPU vector first_vector + i */
	uint32_t num_vectors;
	struct mdl_micro_bar bar[6];
};

struct mdl_micro_boot {
	uint32_t magic, version;
	uint64_t ram_bytes;
	uint64_t heap_addr, heap_bytes;
	uint64_t stack_top;
	uint64_t data_addr, data_bytes;
	uint64_t out_addr, out_bytes;
	uint64_t out_used; /* written by the guest: bytes of the buffer that are the result */
	/*
	 * Host CLOCK_MONOTONIC in ns = ns_base + (((rdtsc - tsc_base) * ns_mult) >> 32), the
	 * product in 128 bits.
	 */
	uint64_t tsc_base, ns_base, ns_mult;
	uint64_t tsc_khz;
	uint32_t argc; /* strings at MDL_MICRO_ARGS */
	uint32_t num_devices;
	uint8_t random[32];
	struct mdl_micro_device device[MDL_MICRO_DEVICES];
};
_Static_assert(sizeof(struct mdl_micro_boot) <= MDL_MICRO_BOOT_BYTES, "the boot page is one page");

struct mdl_micro_print {
	uint64_t addr, bytes; /* anything beyond MDL_MICRO_PRINT_MAX bytes is cut off */
};
#define MDL_MICRO_PRINT_MAX 65536

struct mdl_micro_input {
	uint64_t addr;
	uint32_t bytes; /* room at addr, at most MDL_MICRO_INPUT_MAX; VMM: bytes stored */
	uint32_t ended; /* VMM: 1: nothing more will come */
};
#define MDL_MICRO_INPUT_MAX 4096

struct mdl_micro_wait {
	uint32_t vector; /* 0: the sum of all counters, that of input included */
	uint32_t reserved;
	uint64_t seen;
	uint64_t timeout_ns; /* UINT64_MAX: no limit */
};
#endif
#endif
