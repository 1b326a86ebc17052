/* SPDX-License-Identifier: MIT */
/*
 * Messages between medleyd, medley-device and medley-exec: fixed-size structures over SOCK_SEQPACKET socket pairs, with descriptors
 * attached. Who may send what, with which size and how many descriptors, is one table (ipc.c) that both ends check against
 * before a handler sees a message. The lease page (lease.h) is the only other thing that these processes share.
 *
 * Links:
 *   device link   medleyd <-> medley-device    one per vGPU
 *   control link  medley-device <-> medley-exec    one per context; messages both ways, none waited for except where said
 *   map link      medley-device <-> the executor's mapper    one per context; request, reply; the device waits with a time limit
 */
#ifndef MDL_IPC_IPC_H
#define MDL_IPC_IPC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MDL_IPC_MAX_BYTES	4096
#define MDL_IPC_MAX_FDS		8

/* Descriptors that a freshly started process finds open. Standard input is /dev/null; standard error is the log. */
#define MDL_FD_DEVICE_LINK	3	/* medley-device: link to medleyd */
#define MDL_FD_DEVICE_LISTEN	4	/* medley-device: listening vfio-user socket */
#define MDL_FD_DEVICE_VRAM	5	/* medley-device: this vGPU's VRAM, a sealed memfd */
#define MDL_FD_EXEC_CONTROL	3	/* medley-exec: control link */
#define MDL_FD_EXEC_MAP		4	/* medley-exec: map link */
#define MDL_FD_EXEC_LEASE	5	/* medley-exec: lease page, a sealed memfd of one page */
#define MDL_FD_EXEC_GRANT	6	/* medley-exec: eventfd, medleyd signals: the lease word changed for the better */
#define MDL_FD_EXEC_WANT	7	/* medley-exec: eventfd, executor signals: want was raised or the lease given back */

/* The executor's address space. GPU virtual address = process address inside the window. */
#define MDL_WINDOW_BASE		0x200000000000ull
#define MDL_WINDOW_BYTES	0x100000000000ull	/* 16 TiB */
#define MDL_USER_AREA_BASE	0x1ff000000000ull	/* user page of channel i at + i * 4096; outside the window */
#define MDL_USER_AREA_BYTES	(256ull * 4096)

enum mdl_ipc_type {
	/* device link, device to manager */
	MDL_IPC_CTX_OPEN = 1,		/* wants an executor */
	MDL_IPC_CTX_CLOSE,		/* done with it: end the executor */
	MDL_IPC_CTX_KILL,		/* it does not answer: kill it, then CTX_LOST comes back */
	MDL_IPC_VMM_STATE,		/* a VMM connected or went away */
	MDL_IPC_FAULT_NOTE,		/* for the log and the counters */
	MDL_IPC_DEVICE_READY,		/* serving */
	MDL_IPC_DEVICE_PONG,		/* answers DEVICE_PING */
	/* device link, manager to device */
	MDL_IPC_CTX_GRANTED = 32,	/* answers CTX_OPEN; on success with fds: control link, map link */
	MDL_IPC_CTX_LOST,		/* executor ended without CTX_CLOSE */
	MDL_IPC_DEVICE_STOP,		/* finish and exit */
	MDL_IPC_DEVICE_PING,		/* is it alive? */
	/* control link, device to executor */
	MDL_IPC_EXEC_SETUP = 64,	/* first message */
	MDL_IPC_CHAN_OPEN,		/* fds: doorbell eventfd */
	MDL_IPC_CHAN_CLOSE,		/* answered by CHAN_CLOSED once the channel touches nothing any more */
	MDL_IPC_IRQ_SET,		/* vector's eventfd: one fd, or none: interrupts of that vector go nowhere */
	/* control link, executor to device */
	MDL_IPC_EXEC_READY = 96,
	MDL_IPC_CHAN_CLOSED,
	MDL_IPC_CHAN_ERROR,		/* the channel stopped at a packet */
	MDL_IPC_CTX_FAULT,		/* the context is finished; the executor exits */
	/* map link */
	MDL_IPC_MEM_ADD = 128,		/* device to mapper, fd: a memory object under an index */
	MDL_IPC_MEM_DEL,
	MDL_IPC_MAP,			/* a batch */
	MDL_IPC_MAP_DONE,		/* mapper to device: answers each of the three */
};

struct mdl_ipc_hdr {
	uint32_t type;		/* enum mdl_ipc_type */
	uint32_t bytes;		/* of the whole message */
};

struct mdl_ipc_ctx {		/* CTX_OPEN, CTX_CLOSE, CTX_KILL, CTX_GRANTED */
	struct mdl_ipc_hdr hdr;
	uint32_t ctx;
	uint32_t error;		/* CTX_GRANTED: 0 or errno; CTX_CLOSE: enum mdl_hw_error that ended the context, or 0; else 0 */
};

struct mdl_ipc_lost {		/* CTX_LOST */
	struct mdl_ipc_hdr hdr;
	uint32_t ctx;
	uint16_t error;		/* enum mdl_hw_error: why the manager ended it; 0: nothing to add */
	uint16_t chan;		/* with an error: whose packet was to blame, by what the executor said; MDL_FAULT_NO_CHANNEL: unknown */
	uint32_t tag;		/* of that packet, likewise */
};

struct mdl_ipc_vmm_state {
	struct mdl_ipc_hdr hdr;
	uint32_t connected;	/* 0 or 1 */
	uint32_t pid;		/* of the VMM (SO_PEERCRED), 0 when unknown */
};

struct mdl_ipc_fault {		/* CHAN_ERROR, CTX_FAULT */
	struct mdl_ipc_hdr hdr;
	uint16_t ctx, chan;	/* chan: MDL_FAULT_NO_CHANNEL if none */
	uint16_t error;		/* enum mdl_hw_error */
	uint16_t access;
	uint32_t tag, info;
	uint64_t va;
};

struct mdl_ipc_fault_note {	/* FAULT_NOTE */
	struct mdl_ipc_hdr hdr;
	uint32_t count;		/* faults since the last note, at least 1; what follows is the last of them */
	uint16_t ctx, error;
	uint64_t va;
};

struct mdl_ipc_exec_setup {
	struct mdl_ipc_hdr hdr;
	uint32_t ctx;
	uint32_t compute_units;
	uint64_t epoch_ns;	/* CLOCK_MONOTONIC at which the function's TIMESTAMP was 0 */
};

struct mdl_ipc_chan {		/* CHAN_OPEN, CHAN_CLOSE, CHAN_CLOSED */
	struct mdl_ipc_hdr hdr;
	uint32_t chan;		/* index in the function; its user page is mapped in the user area already at CHAN_OPEN */
	uint32_t ring_log2;
	uint64_t ring_va;
	uint32_t vector;
	uint32_t reserved;
};

struct mdl_ipc_irq_set {
	struct mdl_ipc_hdr hdr;
	uint32_t vector;
	uint32_t reserved;
};

struct mdl_ipc_mem {		/* MEM_ADD, MEM_DEL */
	struct mdl_ipc_hdr hdr;
	uint32_t mem;		/* index, below MDL_MEM_MAX */
	uint32_t reserved;
};
#define MDL_MEM_MAX		64
#define MDL_MEM_VRAM		0	/* index conventions of medley-device */
#define MDL_MEM_USER		1
#define MDL_MEM_RAM_FIRST	2

enum mdl_map_op { MDL_MAP_MAP = 1, MDL_MAP_UNMAP = 2 };
#define MDL_MAP_PROT_READ	1
#define MDL_MAP_PROT_WRITE	2

struct mdl_map_entry {		/* everything a multiple of 4096; va in the window or the user area */
	uint32_t op;		/* enum mdl_map_op; MAP replaces what is there */
	uint32_t prot;		/* MAP: MDL_MAP_PROT_* */
	uint64_t va, bytes;
	uint64_t offset;	/* MAP: in the memory object */
	uint32_t mem;		/* MAP */
	uint32_t reserved;
};
#define MDL_MAP_BATCH		64

struct mdl_ipc_map {		/* bytes in hdr covers `count` entries */
	struct mdl_ipc_hdr hdr;
	uint32_t count;
	uint32_t reserved;
	struct mdl_map_entry entry[MDL_MAP_BATCH];
};

struct mdl_ipc_map_done {
	struct mdl_ipc_hdr hdr;
	uint32_t error;		/* 0 or errno of the first entry that failed */
	uint32_t done;		/* entries applied; the rest was not tried */
};

/*
 * Sends one message (its hdr.type and hdr.bytes filled in by the caller) with nfds descriptors, which stay the caller's. Never
 * blocks on a full link: -EAGAIN. -EPIPE when the peer is gone. -EINVAL if the table forbids the message.
 */
int mdl_ipc_send(int link, const void *msg, const int *fds, size_t nfds);

/*
 * Receives one message into buf (cap at least MDL_IPC_MAX_BYTES) and checks it against the table: known type, exact or bounded size,
 * number of descriptors. On success the caller owns the descriptors in fds[0 .. *ret_nfds). On any failure all received
 * descriptors are closed. -EAGAIN nothing there; -EPIPE peer gone; -EPROTO the peer broke the protocol: drop the link.
 */
int mdl_ipc_recv(int link, void *buf, size_t cap, int fds[MDL_IPC_MAX_FDS], size_t *ret_nfds);

/* Name of a message type, for logs. Never NULL. */
const char *mdl_ipc_name(uint32_t type);

#endif
