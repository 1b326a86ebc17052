/* SPDX-License-Identifier: MIT */
/*
 * The virtual GPU behind one PCI function: configuration space, registers, contexts with their
 * shadow page tables, channels, fault ring, resets. It knows neither vfio-user nor processes: what
 * it needs of the outside is struct mdl_vgpu_host, so it runs unchanged under medley-device, unit
 * tests and fuzzers. Single-threaded: one thread makes all calls.
 */
#ifndef MDL_VGPU_VGPU_H
#define MDL_VGPU_VGPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/ipc.h"

struct mdl_vgpu;

/* Room for a vIOMMU's scattered mappings, and a bound on our own memory. */
#define MDL_VGPU_DMA_REGIONS_MAX 1024

struct mdl_vgpu_config {
	uint64_t vram_bytes; /* power of two, at least 2 MiB */
	uint32_t channels; /* 1 .. MDL_HW_CHAN_MAX */
	uint32_t contexts; /* 1 .. MDL_HW_CTX_MAX */
	uint32_t compute_units;
	void *vram; /* the whole VRAM, mapped read-write by the caller for the vgpu's life */
	void *user_pages; /* channels * 4096 bytes, mapped likewise */
};

/*
 * The outside. All callbacks are mandatory, run on the calling thread and must not call back into
 * the vgpu. Those marked (wait) may wait for an executor, at most about two seconds.
 */
struct mdl_vgpu_host {
	uint64_t (*now_ns)(void *h);
	/* Raise MSI-X vector (0 .. MDL_HW_MSIX_VECTORS - 1). */
	void (*irq)(void *h, uint32_t vector);
	uint64_t (*msix_pending)(void *h, uint32_t word);
	/*
	 * Ask for an executor. On success exactly one mdl_vgpu_ctx_opened() (or
	 * mdl_vgpu_ctx_lost()) must follow, never from inside the call. A guest that changes its
	 * mind does not wait for it; the vgpu closes what comes, or uses it for the next ENABLE.
	 * Until the answer there is no second ctx_open and no ctx_close for the context.
	 */
	int (*ctx_open)(void *h, uint32_t ctx);
	/*
	 * End the context's executor, its channels and all its mappings; no mdl_vgpu_ctx_lost() or
	 * other event of it follows. Called once for each executor that was delivered (also after
	 * mdl_vgpu_ctx_fault()), unless it was reported lost. ctx_open for the same context may
	 * come next. Whoever acknowledges a DMA unmap or a reset to the VMM must know the process
	 * to be gone by then.
	 */
	void (*ctx_close)(void *h, uint32_t ctx);
	/*
	 * (wait) Apply changes to what the context's executor has mapped, in order. When it
	 * returns, the changes are in force. On failure the executor has been killed and
	 * mdl_vgpu_ctx_lost() follows; the vgpu treats nothing as mapped any more.
	 */
	int (*ctx_map)(void *h, uint32_t ctx, const struct mdl_map_entry *entry, size_t count);
	/*
	 * Start and stop a channel. chan_close is answered by mdl_vgpu_chan_closed() (or
	 * mdl_vgpu_ctx_lost()).
	 */
	int (*chan_open)(void *h, uint32_t ctx, uint32_t chan, uint64_t ring_va, uint32_t ring_log2,
			 uint32_t vector);
	int (*chan_close)(void *h, uint32_t ctx, uint32_t chan);
	/* A trapped doorbell: wake the executor. */
	void (*doorbell)(void *h, uint32_t ctx, uint32_t chan);
	/* For the log and the counters. */
	void (*fault_note)(void *h, const struct mdl_ipc_fault *fault);
};

/* ops and h must stay valid for the vgpu's life. Errors: -EINVAL, -ENOMEM. */
int mdl_vgpu_create(const struct mdl_vgpu_config *config, const struct mdl_vgpu_host *ops, void *h,
		    struct mdl_vgpu **ret_vgpu);
/*
 * Ends all contexts (ctx_close); executors asked for but not delivered yet are the host's to end.
 * Accepts NULL.
 */
void mdl_vgpu_destroy(struct mdl_vgpu *v);

/*
 * Size of a BAR in bytes, a power of two; 0: absent. BAR4 is the channels' user pages rounded up.
 */
uint64_t mdl_vgpu_bar_bytes(const struct mdl_vgpu *v, uint32_t bar);
/* The now_ns at which register TIMESTAMP was 0. */
uint64_t mdl_vgpu_epoch_ns(const struct mdl_vgpu *v);

/*
 * Guest accesses. offset + count lies inside the region. Never fail: a bad access is a defined
 * result and a counter.
 */
void mdl_vgpu_config_read(struct mdl_vgpu *v, uint32_t offset, void *data, uint32_t count);
void mdl_vgpu_config_write(struct mdl_vgpu *v, uint32_t offset, const void *data, uint32_t count);
void mdl_vgpu_bar0_read(struct mdl_vgpu *v, uint32_t offset, void *data, uint32_t count);
void mdl_vgpu_bar0_write(struct mdl_vgpu *v, uint32_t offset, const void *data, uint32_t count);

/*
 * Guest memory comes and goes. host points at the region mapped into this process with the given
 * rights (the caller keeps it mapped until dma_unmap has returned); mem is the index under which
 * mappers know it. Regions without a descriptor are not added: frames in them do not exist for the
 * GPU. Regions never overlap: -EEXIST. dma_unmap removes every mapping that reaches into the range,
 * in all contexts, before it returns; a range that cuts a region removes the whole region. At most
 * MDL_VGPU_DMA_REGIONS_MAX regions, of which any number may lie in one memory object:
 * -ENOSPC. Not page aligned, empty or wrapping, mem not in [MDL_MEM_RAM_FIRST, MDL_MEM_MAX):
 * -EINVAL.
 */
int mdl_vgpu_dma_map(struct mdl_vgpu *v, uint64_t gpa, uint64_t bytes, bool write, void *host,
		     uint32_t mem, uint64_t offset);
void mdl_vgpu_dma_unmap(struct mdl_vgpu *v, uint64_t gpa, uint64_t bytes);

/*
 * Function-level reset: VRAM is zeroed, registers, contexts and channels back to power-on. DMA
 * regions stay.
 */
void mdl_vgpu_reset(struct mdl_vgpu *v);

/* Events from executors and the manager. Unknown or stale ones are ignored. */
void mdl_vgpu_ctx_opened(struct mdl_vgpu *v, uint32_t ctx, int error);
void mdl_vgpu_ctx_lost(struct mdl_vgpu *v, uint32_t ctx, uint32_t error);
void mdl_vgpu_ctx_fault(struct mdl_vgpu *v,
			const struct mdl_ipc_fault *fault); /* the executor then ends itself */
void mdl_vgpu_chan_error(struct mdl_vgpu *v, const struct mdl_ipc_fault *fault);
void mdl_vgpu_chan_closed(struct mdl_vgpu *v, uint32_t chan);

struct mdl_vgpu_stats {
	uint64_t reg_reads, reg_writes, bad_accesses, invalidates, pte_reads, maps, unmaps, faults,
		resets;
};
void mdl_vgpu_stats(const struct mdl_vgpu *v, struct mdl_vgpu_stats *ret_stats);

#endif
