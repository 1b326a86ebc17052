/* SPDX-License-Identifier: MIT */
/*
 * What libmedley's files share: the objects behind the public header's opaque types. Not installed.
 */
#ifndef MDL_GUEST_INTERNAL_H
#define MDL_GUEST_INTERNAL_H

#include "medley/medley.h"

#include "base/util.h"
#include "port.h"
#include "space.h"

/*
 * The device answers PENDING to RESET and ENABLE while medleyd finds an executor or ends one:
 * milliseconds from its pool; a loaded machine takes seconds to start a new one, and a reset waits
 * for all that were asked for. Past this the device is taken for dead.
 */
#define MDL_READY_LIMIT_NS (60 * MDL_NS_PER_S)

#define MDL_BUF_BYTES_MAX   (1ull << 40)
#define MDL_FAULT_RING_LOG2 7 /* 128 faults: one page */

/* Memory that the device reads or writes: page tables, buffers. */
struct mdl_dmem {
	enum mdl_place place;
	void *ptr;
	uint64_t bytes;
	struct mdl_block *block; /* VRAM */
	struct mdl_dma dma; /* system */
};

struct mdl_gpu {
	struct mdl_port *port;
	struct mdl_gpu_info info;
	struct mdl_space vram;
	struct mdl_dma faults;
	uint32_t fault_get;
	uint64_t spin_ns;
	uint32_t resets; /* function resets; an object whose own count differs is dead */
	uint64_t ctx_used; /* bit i: context i */
	uint64_t chan_used[MDL_HW_CHAN_MAX / 64];
};

/*
 * One page table. child is there on the first three levels only. used counts valid entries; a table
 * other than the root without any is cut off and freed after the next invalidate.
 */
struct mdl_ptab {
	struct mdl_dmem mem;
	uint64_t *entry;
	uint32_t used;
	struct mdl_ptab *next_dead;
	struct mdl_ptab *child[];
};

struct mdl_mapping {
	struct mdl_buf *buf;
	struct mdl_ctx *ctx;
	uint64_t va;
	struct mdl_block *block; /* NULL: inside a reservation */
	struct mdl_mapping *next_of_buf, *next_of_ctx;
};

struct mdl_ctx {
	struct mdl_gpu *gpu;
	uint32_t id;
	uint32_t resets; /* gpu->resets at creation */
	uint32_t executor; /* counts executors: programs of an earlier one are lost */
	enum mdl_place place;
	struct mdl_space va;
	struct mdl_ptab *root;
	struct mdl_ptab *dead; /* cut off; the device may read them until an invalidate */
	bool deferred; /* ranges were unmapped without invalidate: only a full one frees tables */
	struct mdl_mapping *mappings;
	struct mdl_chan *chans;
	uint64_t prog_used[MDL_PROGRAM_MAX / 64];
};

struct mdl_buf {
	struct mdl_gpu *gpu;
	struct mdl_dmem mem;
	struct mdl_mapping *mappings; /* oldest first */
};

struct mdl_chan {
	struct mdl_gpu *gpu;
	struct mdl_ctx *ctx;
	struct mdl_chan *next; /* of the context */
	uint32_t id, vector;
	uint32_t resets; /* gpu->resets at creation */
	struct mdl_buf *mem; /* ring, fence word, argument memory */
	struct mdl_hw_user_page *user;
	struct mdl_hw_packet *ring;
	uint32_t ring_log2;
	uint64_t ring_va;

	uint64_t head; /* packets written, since the ring was started */
	uint64_t published; /* of these, handed over: what user->put says */
	uint64_t get; /* of these, known to be completed */

	uint64_t *fence; /* the device stores the value of the last completed batch here */
	uint64_t fence_va;
	uint64_t base; /* fence value of packet i is base + i + 1: values go on over resets */
	uint64_t irq_value; /* last fence value that raises an interrupt */
	uint32_t epoch; /* counts resets */

	/*
	 * Argument memory: a ring of bytes; positions run free. args_end[slot] is the position
	 * after that packet's data.
	 */
	uint8_t *args;
	uint64_t args_va, args_bytes, args_head, args_tail;
	uint64_t *args_end;

	int64_t limit_ns;
	uint32_t tag;
	bool batch, overlap;
	bool stopped; /* an error was seen */
};

struct mdl_prog {
	struct mdl_ctx *ctx;
	uint32_t handle;
	uint32_t build; /* counts builds; 0: none yet */
	uint32_t executor; /* ctx->executor of the last good build */
	bool built, loaded;
	char *log;
	uint32_t num_kernels;
	struct mdl_hw_kernel_info *kernel;
	struct mdl_buf *scratch; /* of a build that timed out: the device may still write it */
	struct mdl_fence scratch_fence;
};

struct mdl_kern {
	struct mdl_prog *prog;
	uint32_t build, index;
	struct mdl_hw_kernel_info info;
	struct {
		uint32_t bytes; /* 0: not set */
		uint64_t value; /* address, or up to 8 bytes by value */
		void *data; /* longer values */
	} arg[MDL_ARGS_MAX];
};

/* ---- gpu.c ---- */
int mdl_gpu_open_port(struct mdl_port *port,
		      struct mdl_gpu **ret_gpu); /* owns port, also on failure */
int mdl_gpu_read(struct mdl_gpu *gpu, uint32_t offset, uint32_t *ret_value);
int mdl_gpu_read64(struct mdl_gpu *gpu, uint32_t offset, uint64_t *ret_value);
int mdl_gpu_write(struct mdl_gpu *gpu, uint32_t offset, uint32_t value);
int mdl_gpu_write64(struct mdl_gpu *gpu, uint32_t offset, uint64_t value);
/* Reads a status register until it is no longer PENDING. -ETIMEDOUT. */
int mdl_gpu_settle(struct mdl_gpu *gpu, uint32_t offset, uint32_t *ret_status);
/* Whether timeout_ns have passed since start_ns. */
bool mdl_gpu_expired(struct mdl_gpu *gpu, uint64_t start_ns, int64_t timeout_ns);
/* Lowest clear bit below limit, set on return; -EBUSY if there is none. */
int mdl_bit_take(uint64_t *bits, uint32_t limit, uint32_t *ret_bit);
void mdl_bit_put(uint64_t *bits, uint32_t bit);

static inline uint32_t mdl_ctx_reg(const struct mdl_ctx *ctx, uint32_t reg)
{
	return MDL_HW_CTX_BASE + ctx->id * MDL_HW_CTX_STRIDE + reg;
}

static inline uint32_t mdl_chan_reg(const struct mdl_chan *chan, uint32_t reg)
{
	return MDL_HW_CHAN_BASE + chan->id * MDL_HW_CHAN_STRIDE + reg;
}

/* ---- dmem.c ---- */
int mdl_dmem_alloc(struct mdl_gpu *gpu, uint64_t bytes, enum mdl_place place,
		   struct mdl_dmem *ret_mem);
void mdl_dmem_free(struct mdl_gpu *gpu, struct mdl_dmem *mem);
/*
 * Frame and MDL_PTE_SYSTEM of the page at a page-aligned offset, as a page-table entry wants them.
 */
uint64_t mdl_dmem_frame(const struct mdl_dmem *mem, uint64_t offset);

/* ---- ptab.c: they change tables in memory only; the caller invalidates ---- */
int mdl_ptab_create(struct mdl_ctx *ctx);
void mdl_ptab_destroy(struct mdl_ctx *ctx);
uint64_t mdl_ptab_root_entry(const struct mdl_ctx *ctx);
/*
 * Maps mem at va; nothing may be mapped there. On failure nothing is. flags: MDL_MAP_*. -ENOSPC,
 * -ENOMEM.
 */
int mdl_ptab_map(struct mdl_ctx *ctx, uint64_t va, const struct mdl_dmem *mem, uint32_t flags);
void mdl_ptab_unmap(struct mdl_ctx *ctx, uint64_t va, uint64_t bytes);
/* Frees tables that were cut off; only after an invalidate that covers them. */
void mdl_ptab_reap(struct mdl_ctx *ctx);

/* A pause in a polling loop. */
static inline void mdl_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("" ::: "memory");
#endif
}

/* ---- ring.c ---- */
/*
 * Waits for room (at most chan->limit_ns) and copies the packet into the next slot; hands it over
 * unless a batch is open.
 */
int mdl_ring_put(struct mdl_chan *chan, const struct mdl_hw_packet *packet);
/*
 * Argument memory, 16-byte aligned, recycled when the next packet put has completed. Waits for
 * room. -E2BIG.
 */
int mdl_ring_args(struct mdl_chan *chan, uint64_t bytes, void **ret_ptr, uint64_t *ret_va);
/* Hands over what was put; its last packet signals the fence, and interrupts if irq. */
int mdl_ring_publish(struct mdl_chan *chan, bool irq);
/* Starts over with an empty ring; the channel is off. */
void mdl_ring_restart(struct mdl_chan *chan);
/* -EIO if the channel has stopped. */
int mdl_ring_check(struct mdl_chan *chan);
/* Notes what the device has completed. -EIO: its index makes no sense. */
int mdl_ring_update(struct mdl_chan *chan);

/* ---- prog.c ---- */
/* Whether the kernel belongs to its program's last build and that is still loaded. */
bool mdl_kern_current(const struct mdl_kern *kern);

#endif
