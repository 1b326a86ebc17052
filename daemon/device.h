/* SPDX-License-Identifier: MIT */
/*
 * medley-device, inside: one vGPU's process. Its parts:
 *   medley-device.c  arguments, event loop, vfio-user callbacks, the vgpu's host operations that need no executor
 *   device-manager.c the link to medleyd
 *   device-ctx.c     contexts and channels: the links to executors, mapping orders
 *   device-mem.c     the VM's memory: descriptors, mappings, what a shrunken file does
 *   device-sandbox.c what the process gives up before it listens to anybody
 * One thread runs all of it. Everything that comes from the VMM or from an executor is untrusted; the manager is trusted.
 */
#ifndef MDL_DAEMON_DEVICE_H
#define MDL_DAEMON_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "base/sandbox.h"
#include "hw/medley_hw.h"
#include "ipc/ipc.h"
#include "vfio-user/server.h"
#include "vgpu/vgpu.h"

/* Guest memory regions with or without descriptor. */
#define DEV_DMA_REGIONS_MAX MDL_VGPU_DMA_REGIONS_MAX
/* Doorbells, links, files of memory, two eventfds a vector, and what is in a message under way. */
#define DEV_FILES_MAX \
	(MDL_HW_CHAN_MAX + 2 * MDL_HW_CTX_MAX + MDL_MEM_MAX + 4 * MDL_HW_MSIX_VECTORS + 128)
/* Longest wait for an executor's mapper. Its work takes microseconds; the rest is for a machine that is very busy. */
#define DEV_MAP_TIMEOUT_MS 2000
/* Longest wait for the manager to end an executor. Below QEMU's 5 s limit for a reply. */
#define DEV_END_TIMEOUT_MS 4500

/* Longest wait for an executor to let go of a channel. It finishes the packet under way first, in turns with other VMs. */
#define DEV_CLOSE_TIMEOUT_MS 5000

struct mdl_device;

enum dev_ctx_state {
	DEV_CTX_FREE,
	DEV_CTX_OPENING, /* CTX_OPEN sent, CTX_GRANTED not come */
	DEV_CTX_OPEN, /* has an executor, or had: control < 0 once it is known to be finished */
};

struct dev_ctx {
	struct mdl_device *dev;
	uint32_t index;
	enum dev_ctx_state state;
	int control, map;
	sd_event_source *control_source;
	struct mdl_ipc_fault fault; /* its last word, not told to the vgpu yet; hdr.type 0: none */
	uint32_t faulted; /* the error that ends it now, for the manager */
	uint64_t mem_told; /* bit i: the mapper holds memory object i */
	uint32_t irq_late; /* bit i: IRQ_SET of vector i found the link full */
};

enum dev_chan_state {
	DEV_CHAN_OFF,
	DEV_CHAN_OPEN,
	DEV_CHAN_CLOSING
};

struct dev_chan {
	struct mdl_device *dev;
	enum dev_chan_state state;
	sd_event_source *late; /* while closing: the time limit */
	uint32_t ctx;
	int doorbell; /* eventfd, for the life of the device */
};

struct dev_irq {
	struct mdl_device *dev;
	int fd; /* where the VMM wants the vector, or -1 */
	int parked; /* eventfd that takes its place while there is none, or -1 */
	sd_event_source *parked_source;
};

struct dev_mem { /* a memory object of the VM: one file, whatever number of regions lies in it */
	int fd; /* -1: unused slot */
	dev_t dev;
	ino_t ino;
	bool writable;
	uint32_t regions;
};

struct dev_region {
	uint64_t iova, bytes;
	void *host; /* NULL: no usable descriptor, the vgpu does not know it */
	uint32_t mem;
};

struct dev_note { /* a message of the manager, taken in while waiting for another one */
	uint32_t type, ctx, error;
	uint16_t chan; /* CTX_LOST with an error: whose packet, and its tag */
	uint32_t tag;
	int fds[2];
};
#define DEV_NOTES_MAX (4 * MDL_HW_CTX_MAX)

struct mdl_device {
	sd_event *event;
	struct mdl_vu_server *server;
	struct mdl_vgpu *vgpu;
	struct mdl_vu_device pci;
	struct mdl_vu_ioeventfd doorbell[MDL_HW_CHAN_MAX];
	uint32_t channels, contexts, compute_units;
	uint64_t vram_bytes, user_bytes;
	int vram_fd, user_fd, link;
	void *vram, *user_pages;
	struct dev_ctx ctx[MDL_HW_CTX_MAX];
	struct dev_chan chan[MDL_HW_CHAN_MAX];
	struct dev_irq irq[MDL_HW_MSIX_VECTORS];
	struct dev_mem mem[MDL_MEM_MAX];
	struct dev_region
		*region; /* sorted by nothing: few, and looked through only on map and unmap */
	size_t num_regions;
	struct dev_note note[DEV_NOTES_MAX];
	size_t num_notes;
	sd_event_source *note_source; /* deferred: notes wait to be handled */
	struct mdl_ipc_fault_note fault_note; /* the next one; count 0: nothing to tell */
	sd_event_source *fault_timer; /* until it may be sent */
	struct mdl_log_limit vmm_log, exec_log;
	uid_t uid; /* to run as, or MDL_SANDBOX_KEEP_ID */
	uint64_t exec_faults; /* executors that broke the protocol */
};

union dev_message {
	struct mdl_ipc_hdr hdr;
	struct mdl_ipc_ctx ctx;
	struct mdl_ipc_lost lost;
	struct mdl_ipc_chan chan;
	struct mdl_ipc_fault fault;
	struct mdl_ipc_map_done done;
	uint8_t bytes[MDL_IPC_MAX_BYTES];
};

/* How many messages of one link are handled before others get their turn. */
#define DEV_MESSAGES_A_TURN 16

/* ---- medley-device.c ---- */
/* At the end of each handler of the loop in which the vgpu may have touched guest memory: acts on dev_mem_take_shrunk(). */
void dev_check_memory(struct mdl_device *d);

/* ---- device-manager.c ---- */
int dev_manager_init(struct mdl_device *d);
void dev_manager_fini(struct mdl_device *d);
/* To the manager; waits if its link is full, and ends the process if the manager does not take it. */
void dev_manager_send(struct mdl_device *d, const void *msg);
void dev_manager_send_ctx(struct mdl_device *d, uint32_t type, uint32_t ctx);
void dev_manager_failed(const char *what, int err) __attribute__((noreturn));
/* Waits until the manager says that the context's executor is dead, and why; ends the process if it does not. */
void dev_wait_lost(struct mdl_device *d, uint32_t ctx, struct dev_note *ret_lost);
/* Has a note handled from the event loop as if the manager had sent it. */
void dev_note_add(struct mdl_device *d, const struct dev_note *note);
/* 0, -ETIMEDOUT, or the error of poll(). */
int dev_wait_for(int fd, short events, uint64_t deadline_ns);
void dev_close_fds(int *fds, size_t n);

/* ---- device-ctx.c ---- */
/* The manager's answers. */
void dev_ctx_granted(struct dev_ctx *c, struct dev_note *n);
void dev_ctx_lost(struct dev_ctx *c, const struct dev_note *n);
int dev_ctx_init(struct mdl_device *d);
/* Before the end of the process: lets go of all executors, which end themselves; no vgpu call waits for one after this. */
void dev_ctx_stop(struct mdl_device *d);
void dev_ctx_fini(struct mdl_device *d);
/* The vgpu's host operations of these names; h is the struct mdl_device. */
int dev_ctx_open(void *h, uint32_t ctx);
void dev_ctx_close(void *h, uint32_t ctx);
int dev_ctx_map(void *h, uint32_t ctx, const struct mdl_map_entry *entry, size_t count);
int dev_chan_open(void *h, uint32_t ctx, uint32_t chan, uint64_t ring_va, uint32_t ring_log2,
		  uint32_t vector);
int dev_chan_close(void *h, uint32_t ctx, uint32_t chan);
void dev_doorbell(void *h, uint32_t ctx, uint32_t chan);
/* Tells all executors where a vector's interrupts go now. */
void dev_irq_announce(struct mdl_device *d, uint32_t vector);
/* All mappers drop a memory object whose last region is gone. */
void dev_mem_forget(struct mdl_device *d, uint32_t mem);
/* ---- device-sandbox.c ---- */
int dev_sandbox_enter(uid_t uid);

/* ---- device-mem.c ---- */
int dev_mem_init(struct mdl_device *d);
void dev_mem_fini(struct mdl_device *d);
/* The server's callbacks of these names. */
int dev_dma_map(void *h, const struct mdl_vu_dma *dma);
void dev_dma_unmap(void *h, uint64_t iova, uint64_t bytes);
/* Descriptor of a memory object, or -1. Borrowed. */
int dev_mem_fd(const struct mdl_device *d, uint32_t mem);
/* Whether a file of the VM's memory became shorter than what is mapped of it; then the VMM must go. Clears it. */
bool dev_mem_take_shrunk(struct mdl_device *d);

#endif
