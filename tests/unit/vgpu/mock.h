/* SPDX-License-Identifier: MIT */
/*
 * A host for a vGPU under test, and a naive model of what its executors should have mapped. Shared
 * by the unit tests and by fuzz/vgpu.c. The host checks the contract of vgpu.h in every callback
 * and aborts where the vGPU breaks it.
 *
 * The model is small because page-table edits go through mock_pte(): only entries with an index in
 * mock_index[] are ever written above the last level, so every page that can be mapped is one of
 * MOCK_PAGES, and a plain array holds them all.
 */
#ifndef MDL_TESTS_VGPU_MOCK_H
#define MDL_TESTS_VGPU_MOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "hw/medley_hw.h"
#include "vgpu/vgpu.h"

#define MOCK_CTXS     3
#define MOCK_CHANS    5
#define MOCK_VRAM     (8ull << 20)
#define MOCK_REGIONS  5
#define MOCK_INDEXES  6
#define MOCK_PAGES    (MOCK_INDEXES * MOCK_INDEXES * MOCK_INDEXES * MDL_PT_ENTRIES)
#define MOCK_TABLES   20
#define MOCK_RUNS_MAX 16384u

#define MOCK_CHECK(cond)                                                                   \
	do {                                                                               \
		if (!(cond)) {                                                             \
			fprintf(stderr, "# %s:%d: %s: not true: %s\n", __FILE__, __LINE__, \
				__func__, #cond);                                          \
			abort();                                                           \
		}                                                                          \
	} while (0)

struct mock_page {
	uint64_t offset, gpa;
	uint32_t mem; /* with prot 0: not mapped */
	uint32_t prot;
};

struct mock_ctx {
	bool opening, alive, doomed; /* doomed: ctx_map failed, ctx_lost is owed */
	uint32_t user_mapped, chan_open, chan_closing; /* bit for each channel */
	bool used, mapped; /* exec, model may be other than all zero */
	struct mock_page *exec; /* what the executor has mapped */
	struct mock_page *model; /* what it should have */
};

struct mock {
	struct mdl_vgpu *v;
	uint8_t *vram, *user, *mem[MDL_MEM_MAX];
	uint64_t now;
	bool region[MOCK_REGIONS];
	struct mock_ctx ctx[MOCK_CTXS];
	uint32_t irqs[MDL_HW_MSIX_VECTORS], opens, closes, doorbells, notes, map_calls;
	uint64_t map_entries, maps, unmaps;
	uint32_t last_vector;
	struct mdl_ipc_fault last_note;
	uint64_t pending; /* what msix_pending says */
	bool count_only; /* map entries are checked and counted, not modelled */
	/* Pages outside the model are checked but not modelled; limits are not predicted. */
	bool loose;
	bool unmap_after_map; /* an unmap came after a map since this was cleared */
	bool map_seen;
	/* Of the naive walk: the large leaf seen last, and whether its memory was all there. */
	uint64_t checked_entry;
	bool checked_ok;
	int fail_open, fail_map, fail_chan_open,
		fail_chan_close; /* the call that comes n-th from now fails */
};

struct mock_layout {
	uint64_t gpa, bytes;
	bool write;
	uint32_t mem;
	uint64_t offset;
};

extern const struct mock_layout mock_layout[MOCK_REGIONS];
extern const uint16_t mock_index[MOCK_INDEXES];

/* A vGPU with MOCK_CTXS contexts and MOCK_CHANS channels, all guest memory mapped. */
void mock_init(struct mock *m);
void mock_fini(struct mock *m);

uint64_t mock_read(struct mock *m, uint32_t offset, uint32_t bytes);
void mock_write(struct mock *m, uint32_t offset, uint32_t bytes, uint64_t value);
#define mock_ctx_reg(ctx, name) (MDL_HW_CTX_BASE + (ctx)*MDL_HW_CTX_STRIDE + MDL_REG_CTX_##name)
#define mock_chan_reg(chan, name) \
	(MDL_HW_CHAN_BASE + (chan)*MDL_HW_CHAN_STRIDE + MDL_REG_CHAN_##name)

/* Index in the model of a page, or -1. */
long mock_page_index(uint64_t va);
/*
 * Host memory behind a guest-physical page, NULL where the guest has none (whether mapped for the
 * device or not).
 */
void *mock_guest_page(struct mock *m, uint64_t gpa);
bool mock_map_region(struct mock *m, unsigned int region); /* false: was there */
/* Unmaps what [gpa, gpa + bytes) touches, in the model too, and checks the executors. */
void mock_unmap(struct mock *m, uint64_t gpa, uint64_t bytes);

/* Table number n of the pool: its entry (VALID and SYSTEM set as needed) and its memory. */
uint64_t mock_table(unsigned int n);
uint64_t *mock_table_mem(struct mock *m, unsigned int n);
/* A page-table entry made of arbitrary bits: mostly plausible, sometimes bad. */
uint64_t mock_pte(uint32_t kind, uint32_t value);

/* ENABLE and the host's answer. */
void mock_open_ctx(struct mock *m, uint32_t ctx);
/*
 * Writes CTX_INVALIDATE for [va, va + bytes) (0, 0: everything) and checks executor, error
 * registers and faults against the naive walk. The context must be READY.
 */
void mock_invalidate(struct mock *m, uint32_t ctx, uint64_t va, uint64_t bytes);
/*
 * The host answers everything it owes: opens succeed, closes are confirmed, doomed contexts are
 * lost.
 */
void mock_settle(struct mock *m);
/* Everything mapped belongs to the VM at this moment, with these rights. Needs no model. */
void mock_check_owned(struct mock *m);
/* Executors have mapped exactly what the model says. */
void mock_compare(struct mock *m);
/* Forgets the model of contexts that have no executor. */
void mock_sync_dead(struct mock *m);
/* What a context should have mapped after a full re-read becomes its model. */
void mock_model_full(struct mock *m, uint32_t ctx);

struct mock_rng {
	uint64_t state;
};
static inline uint32_t mock_random(struct mock_rng *r)
{
	r->state = r->state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(r->state >> 33);
}

#endif
