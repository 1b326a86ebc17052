/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The guest-device contract: everything a driver and the device must agree on, and nothing else.
 *
 * PCI function: BAR0 registers (trapped, with the MSI-X table), BAR2 VRAM aperture, BAR4 one user
 * page per channel. The registers are listed in regs.def; packets, page-table entries, the user
 * page, the fault ring and the memory formats used by packets are here. All values are little
 * endian; all structures are naturally aligned and free of padding. The prose manual is
 * docs/gpu.md. Usable from C11 user space, freestanding guests and the Linux kernel.
 */
#ifndef MEDLEY_HW_H
#define MEDLEY_HW_H

#ifdef __KERNEL__
#include <linux/types.h>
#define MDL_HW_ASSERT_SIZE(t, n)
#else
#include <stdint.h>
#ifdef __cplusplus
#define MDL_HW_ASSERT_SIZE(t, n) static_assert(sizeof(t) == (n), #t " must be " #n " bytes")
#else
#define MDL_HW_ASSERT_SIZE(t, n) _Static_assert(sizeof(t) == (n), #t " must be " #n " bytes")
#endif
#endif

/* ---- PCI function ---- */
#define MDL_HW_PCI_VENDOR	0x4d44	/* "MD"; not assigned by the PCI-SIG */
#define MDL_HW_PCI_DEVICE	0x0001
#define MDL_HW_PCI_CLASS	0x038000	/* display controller, other */
#define MDL_HW_PCI_REVISION	0x01

#define MDL_HW_BAR_REGS		0
#define MDL_HW_BAR_VRAM		2	/* 64-bit, prefetchable; as large as the VRAM rounded up to a power of two */
#define MDL_HW_BAR_USER		4	/* 64-bit, prefetchable; MDL_HW_USER_STRIDE bytes per channel */

#define MDL_HW_BAR0_BYTES	0x10000
#define MDL_HW_CTX_BASE		0x1000	/* context i: its registers at MDL_HW_CTX_BASE + i * MDL_HW_CTX_STRIDE */
#define MDL_HW_CTX_STRIDE	0x40
#define MDL_HW_CTX_MAX		64
#define MDL_HW_CHAN_BASE	0x4000	/* channel i: MDL_HW_CHAN_BASE + i * MDL_HW_CHAN_STRIDE */
#define MDL_HW_CHAN_STRIDE	0x40
#define MDL_HW_CHAN_MAX		256
#define MDL_HW_DOORBELL_BASE	0xc000	/* channel i: a 32-bit write of any value at MDL_HW_DOORBELL_BASE + 4 * i */
#define MDL_HW_MSIX_TABLE	0xe000	/* in BAR0 */
#define MDL_HW_MSIX_PBA		0xf000	/* in BAR0 */
#define MDL_HW_MSIX_VECTORS	32	/* vector 0: fault ring and device events; others: free for channels */

#define MDL_HW_MAGIC		0x594c444du	/* "MDLY" in register ID */
#define MDL_HW_VERSION_MAJOR	1
#define MDL_HW_VERSION_MINOR	0

#define MDL_HW_USER_STRIDE	0x1000

/*
 * Register offsets and bits: MDL_REG_<NAME>; per-context and per-channel ones are offsets inside
 * their window.
 */
enum {
#define MDL_REG(name, off, ...) MDL_REG_##name = (off),
#include "regs.def"
#undef MDL_REG
};

/* FUNC_CTRL, CTX_CTRL, CHAN_CTRL: commands, write only; reads return 0. */
#define MDL_CTRL_ENABLE		1u	/* context: attach an executor; channel: start fetching */
#define MDL_CTRL_DISABLE	2u	/* context: tear down, its channels too; channel: stop fetching, state OFF */
#define MDL_CTRL_RESET		4u	/* function: everything to power-on; context: DISABLE; channel: DISABLE and clear error */

/* FUNC_STATUS, CTX_STATUS, CHAN_STATUS. */
#define MDL_STATUS_OFF		0u
#define MDL_STATUS_PENDING	1u	/* being set up or torn down: poll */
#define MDL_STATUS_READY	2u
#define MDL_STATUS_FAULTED	3u	/* sticky until RESET */

/* ---- GMMU ----
 * 48-bit GPU virtual addresses, four levels of 512 eight-byte entries: bits 47:39, 38:30, 29:21, 20:12. A leaf at the third
 * level (PTE_HUGE) maps 2 MiB, one at the last level 4 KiB. CTX_PT_ROOT holds an entry of the same form that points at the
 * first table. Reserved bits must be zero. Changes take effect at TLB invalidate. Only addresses in [VA_BASE, VA_LIMIT) are
 * usable; valid leaves elsewhere fault at invalidate and are not mapped.
 */
#define MDL_PTE_VALID		(1ull << 0)
#define MDL_PTE_WRITE		(1ull << 1)	/* leaf only: GPU may write */
#define MDL_PTE_SYSTEM		(1ull << 2)	/* frame is guest-physical memory, not a VRAM offset */
#define MDL_PTE_HUGE		(1ull << 3)	/* third level only: 2 MiB leaf; frame 2 MiB aligned */
#define MDL_PTE_FRAME		0x000ffffffffff000ull
#define MDL_PTE_RESERVED	(~(MDL_PTE_VALID | MDL_PTE_WRITE | MDL_PTE_SYSTEM | MDL_PTE_HUGE | MDL_PTE_FRAME))
#define MDL_PT_ENTRIES		512
#define MDL_PAGE_BYTES		4096ull
#define MDL_HUGE_BYTES		(2ull << 20)

/* ---- User page: one per channel, in BAR4, mapped into guest user space ----
 * The ring holds 2^CHAN_RING_LOG2 packets at CHAN_RING_VA. put and get are free-running packet counts starting at 0; the slot
 * is index mod ring size. The guest writes packets, then put (release). The device advances get when a packet has completed.
 * If doorbell_wanted is non-zero after put is written (full barrier between), the guest must write the channel's doorbell.
 */
struct mdl_hw_user_page {
	uint64_t put;			/* written by the guest */
	uint64_t pad0[7];
	uint64_t get;			/* written by the device; writing it has no effect on the device */
	uint64_t pad1[7];
	uint32_t doorbell_wanted;	/* written by the device */
	uint32_t error;			/* enum mdl_hw_error, sticky copy of CHAN_ERROR */
	uint64_t error_get;		/* index of the packet that failed */
};
MDL_HW_ASSERT_SIZE(struct mdl_hw_user_page, 144);

#define MDL_RING_LOG2_MIN	2
#define MDL_RING_LOG2_MAX	16

/* ---- Packets: 64 bytes ---- */
enum mdl_hw_opcode {
	MDL_OP_INVALID		= 0,	/* a zeroed slot is an error */
	MDL_OP_DISPATCH		= 1,
	MDL_OP_BARRIER		= 2,	/* does nothing but complete, after all earlier packets */
	MDL_OP_COPY		= 3,
	MDL_OP_FILL		= 4,
	MDL_OP_COPY_2D		= 5,
	MDL_OP_SEM_WAIT		= 6,
	MDL_OP_SEM_RELEASE	= 7,
	MDL_OP_TIMESTAMP	= 8,
	MDL_OP_LOAD_PROGRAM	= 9,
	MDL_OP_UNLOAD_PROGRAM	= 10,
	MDL_OP_COUNT
};

#define MDL_PKT_BARRIER		0x01	/* start only when all earlier packets of the channel have completed */
#define MDL_PKT_SIGNAL		0x02	/* on completion store signal_value (64 bit, release) at signal_va */
#define MDL_PKT_IRQ		0x04	/* then raise the channel's vector */
#define MDL_PKT_FLAGS		0x07

struct mdl_hw_pkt_dispatch {
	uint32_t program;	/* handle given to LOAD_PROGRAM */
	uint16_t kernel;	/* index into the program's kernel table */
	uint16_t dims;		/* 1 to 3 */
	uint32_t global[3];	/* work-items; unused dimensions 1 */
	uint16_t local[3];	/* work-group size; all 0: the device chooses */
	uint16_t reserved0;
	uint32_t reserved1;
	uint64_t args_va;	/* struct mdl_hw_args; 0 if the kernel has none and offsets are zero */
};

struct mdl_hw_pkt_copy {
	uint64_t dst_va, src_va, bytes;	/* overlapping ranges: undefined contents, no fault */
	uint64_t reserved[2];
};

struct mdl_hw_pkt_fill {
	uint64_t dst_va, bytes, pattern;
	uint32_t pattern_bytes;		/* 1, 2, 4 or 8; dst_va and bytes are multiples of it */
	uint32_t reserved0;
	uint64_t reserved1;
};

struct mdl_hw_pkt_copy_2d {
	uint64_t dst_va, src_va;
	uint32_t width_bytes, height, dst_pitch, src_pitch;	/* pitches in bytes, not smaller than width_bytes */
	uint64_t reserved;
};

enum mdl_hw_sem_op {
	MDL_SEM_EQ = 0, MDL_SEM_GE = 1, MDL_SEM_NE = 2, MDL_SEM_AND_NZ = 3,	/* wait: compares memory with value */
	MDL_SEM_SET = 0, MDL_SEM_ADD = 1, MDL_SEM_OR = 2,			/* release: atomic update */
};

struct mdl_hw_pkt_sem {
	uint64_t va;		/* 8-byte aligned */
	uint64_t value;
	uint32_t op;		/* enum mdl_hw_sem_op */
	uint32_t reserved0;
	uint64_t reserved1[2];
};

struct mdl_hw_pkt_timestamp {
	uint64_t va;		/* 8-byte aligned: receives nanoseconds, the clock of register TIMESTAMP */
	uint64_t reserved[4];
};

struct mdl_hw_pkt_program {
	uint64_t load_va;	/* LOAD: struct mdl_hw_program_load; UNLOAD: 0 */
	uint32_t program;	/* handle chosen by the driver, 0 .. MDL_PROGRAM_MAX - 1 */
	uint32_t reserved0;
	uint64_t reserved1[3];
};

struct mdl_hw_packet {
	uint8_t opcode;		/* enum mdl_hw_opcode */
	uint8_t flags;		/* MDL_PKT_* */
	uint16_t reserved0;
	uint32_t tag;		/* free for the driver; repeated in fault entries */
	uint64_t signal_va;	/* with MDL_PKT_SIGNAL: 8-byte aligned */
	uint64_t signal_value;
	union {
		struct mdl_hw_pkt_dispatch dispatch;
		struct mdl_hw_pkt_copy copy;
		struct mdl_hw_pkt_fill fill;
		struct mdl_hw_pkt_copy_2d copy_2d;
		struct mdl_hw_pkt_sem sem;
		struct mdl_hw_pkt_timestamp timestamp;
		struct mdl_hw_pkt_program program;
		uint64_t raw[5];
	};
};
MDL_HW_ASSERT_SIZE(struct mdl_hw_packet, 64);

/* ---- Kernel arguments in memory ---- */
enum mdl_hw_arg_kind {
	MDL_ARG_VALUE	= 0,	/* size <= 8: the bytes are in value; else value is the GPU address of size bytes */
	MDL_ARG_BUFFER	= 1,	/* global or constant pointer: value is a GPU address (or 0), size is 8 */
	MDL_ARG_LOCAL	= 2,	/* local memory: size bytes for each work-group, value is 0 */
};
#define MDL_ARGS_MAX		64
#define MDL_ARG_BYTES_MAX	4096

struct mdl_hw_arg {
	uint32_t kind, size;
	uint64_t value;
};

struct mdl_hw_args {
	uint64_t global_offset[3];
	uint32_t nargs, reserved;
	struct mdl_hw_arg arg[];
};
MDL_HW_ASSERT_SIZE(struct mdl_hw_args, 32);

/* ---- Programs ---- */
#define MDL_PROGRAM_MAX		256	/* programs loaded in one context */
#define MDL_PROGRAM_SOURCE_MAX	(1u << 20)
#define MDL_PROGRAM_OPTIONS_MAX	4096
#define MDL_PROGRAM_LOG_MAX	(1u << 20)
#define MDL_PROGRAM_KERNELS_MAX	128

enum mdl_hw_program_format { MDL_PROGRAM_OPENCL_C = 0 };

struct mdl_hw_program_load {
	uint32_t format;		/* enum mdl_hw_program_format */
	uint32_t options_bytes;		/* compiler options, no terminator needed */
	uint64_t source_va, source_bytes;
	uint64_t options_va;
	uint64_t log_va;		/* build log goes here, cut to log_bytes, NUL-terminated if log_bytes > 0 */
	uint64_t result_va;		/* struct mdl_hw_program_result, room for max_kernels */
	uint32_t log_bytes, max_kernels;
};
MDL_HW_ASSERT_SIZE(struct mdl_hw_program_load, 56);

struct mdl_hw_kernel_info {
	char name[64];			/* NUL-terminated; longer names are an error at load */
	uint16_t nargs;
	uint16_t reserved0;
	uint32_t reqd_local[3];		/* 0,0,0 if the source does not fix it */
	uint32_t max_local;		/* work-items in a work-group at most */
	uint32_t local_bytes;		/* static local memory */
	uint32_t reserved1;
	uint8_t arg_kind[MDL_ARGS_MAX];	/* enum mdl_hw_arg_kind */
};
MDL_HW_ASSERT_SIZE(struct mdl_hw_kernel_info, 156);

struct mdl_hw_program_result {
	uint32_t status;		/* 0, or enum mdl_hw_program_status */
	uint32_t num_kernels;
	uint64_t log_bytes;		/* full length of the log with its NUL */
	struct mdl_hw_kernel_info kernel[];
};

enum mdl_hw_program_status {	/* a failed build completes the packet normally; it is no channel error */
	MDL_PROGRAM_OK = 0, MDL_PROGRAM_BUILD_FAILED = 1, MDL_PROGRAM_TIMEOUT = 2, MDL_PROGRAM_NO_MEMORY = 3,
	MDL_PROGRAM_TOO_MANY_KERNELS = 4, MDL_PROGRAM_UNSUPPORTED = 5,
};

/* ---- Errors and the fault ring ---- */
enum mdl_hw_error {
	MDL_ERR_NONE		= 0,
	MDL_ERR_BAD_PACKET	= 1,	/* unknown opcode, reserved bit, bad field: info = field's byte offset */
	MDL_ERR_PAGE_FAULT	= 2,	/* unmapped or read-only: va, access; kills the context */
	MDL_ERR_BAD_RING	= 3,	/* put ran ahead of get by more than the ring holds */
	MDL_ERR_BAD_PROGRAM	= 4,	/* unknown handle or kernel, arguments that do not fit it */
	MDL_ERR_KERNEL_CRASH	= 5,	/* illegal instruction, division error, ...; kills the context */
	MDL_ERR_TIMEOUT		= 6,	/* watchdog; kills the context */
	MDL_ERR_CONTEXT_LOST	= 7,	/* executor died or was killed */
	MDL_ERR_BAD_PTE		= 8,	/* found at TLB invalidate: va; nothing mapped there */
	MDL_ERR_NO_RESOURCES	= 9,	/* no executor, no memory, too many mappings */
	MDL_ERR_LAUNCH		= 10,	/* the runtime refused the launch */
	MDL_ERR_COMPILE		= 11,	/* code generation at first launch failed, ran out of time or memory */
};

#define MDL_ACCESS_READ		1
#define MDL_ACCESS_WRITE	2
#define MDL_ACCESS_EXEC		4
#define MDL_FAULT_NO_CHANNEL	0xffff

struct mdl_hw_fault {		/* one slot of the ring at FAULT_BASE (guest-physical), 2^FAULT_LOG2 slots */
	uint16_t error;		/* enum mdl_hw_error */
	uint16_t context;
	uint16_t channel;	/* or MDL_FAULT_NO_CHANNEL */
	uint16_t access;	/* MDL_ACCESS_* or 0 */
	uint32_t tag;		/* the packet's */
	uint32_t info;
	uint64_t va;
	uint64_t time_ns;	/* clock of register TIMESTAMP */
};
MDL_HW_ASSERT_SIZE(struct mdl_hw_fault, 32);
#define MDL_FAULT_LOG2_MAX	12

#endif
