/* SPDX-License-Identifier: MIT */
/*
 * What the files of lib/vgpu share: the objects and the calls between them. One thread, the caller
 * of vgpu.h, owns everything.
 *
 *   vgpu.c    create, destroy, function reset
 *   pci.c     configuration space
 *   regs.c    BAR0 dispatch
 *   gmmu.c    walks the guest's page tables
 *   shadow.c  what an executor has mapped, and its changes
 *   dmamap.c  guest memory regions
 *   ctx.c     contexts: states, executor events, invalidate
 *   chan.c    channels: states, user pages, doorbells
 *   fault.c   fault ring
 */
#ifndef MDL_VGPU_PRIV_H
#define MDL_VGPU_PRIV_H

#include "base/util.h"
#include "hw/medley_hw.h"
#include "vgpu/vgpu.h"

/*
 * Limits on what one guest can make us do. A run is one contiguous mapping of an executor; each
 * costs a kernel mapping there (and a hole beside it), of which Linux allows 65530 for each
 * process.
 */
#define MDL_RUNS_MAX	    16384u
/* Page tables read for one invalidate: some tens of milliseconds. */
#define MDL_WALK_TABLES_MAX 65536u
#define MDL_WALK_LEAVES_MAX (1u << 22) /* leaf entries used by one invalidate */
#define MDL_ALIAS_MAX	    4u /* a context maps at most so many times what its VM owns */

#define MDL_VA_END     (1ull << 48)
#define MDL_WINDOW_END (MDL_WINDOW_BASE + MDL_WINDOW_BYTES)

#define MDL_PCI_CONFIG_BYTES 256u /* of 4096; the extended space is empty and reads zero */
#define MDL_REG_SLOTS(bytes) ((bytes) / 4) /* registers are stored by offset / 4 in 64-bit slots */
#define MDL_REG_GLOBAL_BYTES 0x80u

/*
 * A contiguous piece of a context's address space that maps a contiguous piece of one memory
 * object.
 */
struct mdl_run {
	uint64_t va, bytes;
	uint64_t offset; /* in the memory object */
	uint64_t gpa; /* guest-physical address that it was found through; 0 for VRAM */
	uint32_t mem;
	uint32_t prot; /* MDL_MAP_PROT_* */
};

struct mdl_runs { /* sorted by va, no overlaps, neighbours coalesced */
	struct mdl_run *run;
	size_t count, cap;
};

enum mdl_ctx_state {
	MDL_CTX_OFF,
	MDL_CTX_OPENING, /* the host was asked for an executor */
	MDL_CTX_CANCELLED, /* OFF to the guest; the executor asked for is still to come */
	MDL_CTX_READY,
	MDL_CTX_DYING, /* ctx_map failed: the executor is being killed; waiting for ctx_lost */
	MDL_CTX_ENDING, /* DYING, and the guest wants it OFF */
	MDL_CTX_FAULTED, /* no executor; sticky until RESET */
	MDL_CTX_STATES
};

enum mdl_chan_state {
	MDL_CHAN_OFF,
	MDL_CHAN_READY,
	MDL_CHAN_CLOSING, /* waiting for chan_closed */
	MDL_CHAN_FAULTED, /* stopped by an error; the executor still knows it */
	MDL_CHAN_DEAD, /* FAULTED to the guest; no executor knows it */
	MDL_CHAN_STATES
};

struct mdl_ctx {
	enum mdl_ctx_state state;
	uint32_t error; /* enum mdl_hw_error */
	uint64_t fault_va;
	struct mdl_runs
		runs; /* the shadow page table: what the executor has mapped. Empty unless READY */
	uint64_t reg[MDL_REG_SLOTS(MDL_HW_CTX_STRIDE)];
};

struct mdl_chan {
	enum mdl_chan_state state;
	uint32_t ctx; /* context that it was enabled in; meaningless when OFF */
	uint32_t error;
	uint64_t fault_va;
	uint64_t reg[MDL_REG_SLOTS(MDL_HW_CHAN_STRIDE)];
};

struct mdl_dma_region {
	uint64_t gpa, bytes;
	uint64_t offset; /* in memory object mem */
	uint8_t *host;
	uint32_t mem;
	bool write;
};

struct mdl_vgpu {
	struct mdl_vgpu_config config;
	const struct mdl_vgpu_host *ops;
	void *h;
	uint64_t epoch_ns;

	uint8_t pci[MDL_PCI_CONFIG_BYTES], pci_mask[MDL_PCI_CONFIG_BYTES];
	uint32_t msix_table[MDL_HW_MSIX_VECTORS * 4];
	uint64_t reg[MDL_REG_SLOTS(MDL_REG_GLOBAL_BYTES)];
	uint32_t fault_put, fault_lost;

	struct mdl_ctx ctx[MDL_HW_CTX_MAX];
	struct mdl_chan chan[MDL_HW_CHAN_MAX];

	struct mdl_dma_region dma[MDL_VGPU_DMA_REGIONS_MAX]; /* sorted by gpa */
	size_t num_dma;
	struct mdl_runs found, next; /* scratch of one shadow update */
	struct mdl_vgpu_stats stats;
};

/* vgpu.c: everything of BAR0 back to power-on; the PCI configuration stays. */
void mdl_func_reset(struct mdl_vgpu *v);
/* MDL_STATUS_*: PENDING while a reset still waits for executors to be gone. */
uint32_t mdl_func_status(const struct mdl_vgpu *v);

/* pci.c */
void mdl_pci_init(struct mdl_vgpu *v);

/* regs.c */
void mdl_regs_reset(struct mdl_vgpu *v);

/* dmamap.c: the region that holds all of [gpa, gpa + bytes), or NULL. */
const struct mdl_dma_region *mdl_dma_find(const struct mdl_vgpu *v, uint64_t gpa, uint64_t bytes);
/* The region that gpa is in, or NULL. */
const struct mdl_dma_region *mdl_dma_at(const struct mdl_vgpu *v, uint64_t gpa);
uint64_t mdl_dma_total_bytes(const struct mdl_vgpu *v);

/* shadow.c */
/*
 * Appends a run behind all others, merging it with the last where they continue each other.
 * -ENOMEM, -ENOSPC.
 */
int mdl_runs_add(struct mdl_runs *r, const struct mdl_run *run);
void mdl_runs_free(struct mdl_runs *r);
/*
 * Makes the executor's mappings in [start, end) those of v->found, unmaps first. On failure either
 * ctx_map failed, and the context is not READY any more, or (-ENOSPC, -ENOMEM) it is READY and
 * nothing was changed.
 */
int mdl_shadow_replace(struct mdl_vgpu *v, uint32_t ctx, uint64_t start, uint64_t end);
/* Unmaps what reaches guest memory in [gpa, gpa + bytes). Errors as above. */
int mdl_shadow_remove_gpa(struct mdl_vgpu *v, uint32_t ctx, uint64_t gpa, uint64_t bytes);

/* gmmu.c */
struct mdl_walk_error {
	bool bad; /* some entry was bad; the rest was used */
	uint64_t va; /* of the first bad entry */
};
/*
 * Reads the guest's page table below entry `root` for [start, end), page aligned, into v->found.
 * -ENOSPC: more than the limits allow; -ENOMEM.
 */
int mdl_gmmu_walk(struct mdl_vgpu *v, uint64_t root, uint64_t start, uint64_t end,
		  struct mdl_walk_error *ret_error);

/* ctx.c */
void mdl_ctx_ctrl(struct mdl_vgpu *v, uint32_t ctx, uint32_t cmd);
void mdl_ctx_reset(struct mdl_vgpu *v, uint32_t ctx);
uint32_t mdl_ctx_status(const struct mdl_vgpu *v, uint32_t ctx);
void mdl_ctx_invalidate(struct mdl_vgpu *v, uint32_t ctx);
/* ctx_map for a READY context; on failure the context is DYING. */
int mdl_ctx_map(struct mdl_vgpu *v, uint32_t ctx, const struct mdl_map_entry *entry, size_t count);
/* The device itself gives a READY context up: executor ended, context FAULTED, fault reported. */
void mdl_ctx_give_up(struct mdl_vgpu *v, uint32_t ctx, uint32_t error, uint64_t va);
/* Unmaps guest memory from whatever the context has mapped. In force when it returns. */
void mdl_ctx_remove_gpa(struct mdl_vgpu *v, uint32_t ctx, uint64_t gpa, uint64_t bytes);

/* chan.c */
void mdl_chan_ctrl(struct mdl_vgpu *v, uint32_t chan, uint32_t cmd);
uint32_t mdl_chan_status(const struct mdl_vgpu *v, uint32_t chan);
void mdl_chan_doorbell(struct mdl_vgpu *v, uint32_t chan);
/* Marks a READY channel as stopped by an error. */
void mdl_chan_fail(struct mdl_vgpu *v, uint32_t chan, uint32_t error, uint64_t va);
/* Whether chan is a channel that an executor of ctx knows and that has no error. */
bool mdl_chan_running(const struct mdl_vgpu *v, uint32_t chan, uint32_t ctx);
/*
 * The context's executor is gone: running channels fail with `error`, or go OFF if it is
 * MDL_ERR_NONE.
 */
void mdl_chan_detach_all(struct mdl_vgpu *v, uint32_t ctx, uint32_t error);
/* Clears the errors of all channels of a context that has no executor: they are OFF. */
void mdl_chan_clear_all(struct mdl_vgpu *v, uint32_t ctx);
void mdl_chan_reset(struct mdl_vgpu *v, uint32_t chan);

/* fault.c */
void mdl_fault_report(struct mdl_vgpu *v, const struct mdl_ipc_fault *f);
void mdl_fault_set_log2(struct mdl_vgpu *v);

#endif
