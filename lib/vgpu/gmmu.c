/* SPDX-License-Identifier: MIT */
/*
 * The GMMU's table walk: four levels in VRAM or guest memory, read for a range of GPU addresses and
 * turned into runs. Every frame is checked here against the VRAM size and the DMA map, so a run
 * never names memory that the VM does not own.
 *
 * The tables belong to a guest that may change them at any moment: each is copied once, entry by
 * entry, and the copy decoded. A hostile table can point all its entries at one lower table, 2^36
 * leaves in 16 KiB; the limits of priv.h bound the walk. Absent entries cost nothing below them.
 *
 * Left out: access flags, caching of tables between walks. Owned by the caller's thread.
 */
#include <errno.h>

#include "priv.h"

#define LEVELS 4

struct walk {
	struct mdl_vgpu *v;
	uint64_t start, end;
	uint32_t tables, leaves;
	struct mdl_walk_error error;
};

/* Bytes of address space behind one entry of a table of level 1 (the root table) to 4. */
static uint64_t entry_span(unsigned int level)
{
	return MDL_PAGE_BYTES << (9 * (LEVELS - level));
}

static void bad_entry(struct walk *w, uint64_t va)
{
	if (!w->error.bad)
		w->error = (struct mdl_walk_error) { .bad = true, .va = mdl_max_u64(va, w->start) };
}

static const uint64_t *table_at(const struct mdl_vgpu *v, uint64_t entry)
{
	uint64_t frame = entry & MDL_PTE_FRAME;
	const struct mdl_dma_region *r;

	if (!(entry & MDL_PTE_SYSTEM))
		return mdl_range_ok(frame, MDL_PAGE_BYTES, v->config.vram_bytes)
			       ? (const uint64_t *)((const uint8_t *)v->config.vram + frame)
			       : NULL;
	r = mdl_dma_find(v, frame, MDL_PAGE_BYTES);
	return r ? (const uint64_t *)(r->host + (frame - r->gpa)) : NULL;
}

/*
 * Copies a table. Single 8-byte loads: an entry that the guest is just writing is seen as it was or
 * as it will be, never half. What orders the guest's stores before them is its trapped write to
 * CTX_INVALIDATE.
 */
static bool copy_table(struct mdl_vgpu *v, uint64_t entry, uint64_t table[static MDL_PT_ENTRIES])
{
	const uint64_t *src = table_at(v, entry);

	if (!src)
		return false;
	for (size_t i = 0; i < MDL_PT_ENTRIES; i++)
		table[i] = __atomic_load_n(&src[i], __ATOMIC_RELAXED);
	v->stats.pte_reads += MDL_PT_ENTRIES;
	return true;
}

/*
 * Whether guest memory holds all of a frame, with the rights asked for. A large frame may span
 * regions.
 */
static bool system_frame_ok(const struct mdl_vgpu *v, uint64_t gpa, uint64_t bytes, bool write)
{
	while (bytes) {
		const struct mdl_dma_region *r = mdl_dma_at(v, gpa);
		uint64_t part;

		if (!r || (write && !r->write))
			return false;
		part = mdl_min_u64(bytes, r->bytes - (gpa - r->gpa));
		gpa += part;
		bytes -= part;
	}
	return true;
}

static int add_system(struct walk *w, struct mdl_run run, uint64_t gpa)
{
	uint64_t left = run.bytes;

	while (left) {
		const struct mdl_dma_region *r = mdl_dma_at(w->v, gpa);
		int ret;

		run.mem = r->mem;
		run.gpa = gpa;
		run.offset = r->offset + (gpa - r->gpa);
		run.bytes = mdl_min_u64(left, r->bytes - (gpa - r->gpa));
		ret = mdl_runs_add(&w->v->found, &run);
		if (ret < 0)
			return ret;
		run.va += run.bytes;
		gpa += run.bytes;
		left -= run.bytes;
	}
	return 0;
}

/* A valid leaf that covers [va, va + bytes). Only the part inside the walk's range is used. */
static int leaf(struct walk *w, uint64_t entry, uint64_t va, uint64_t bytes)
{
	uint64_t frame = entry & MDL_PTE_FRAME;
	bool write = entry & MDL_PTE_WRITE, system = entry & MDL_PTE_SYSTEM;
	uint64_t skip = w->start > va ? w->start - va : 0;
	struct mdl_run run = {
		.va = va + skip,
		.bytes = mdl_min_u64(va + bytes, w->end) - (va + skip),
		.offset = frame + skip,
		.mem = MDL_MEM_VRAM,
		.prot = MDL_MAP_PROT_READ | (write ? MDL_MAP_PROT_WRITE : 0),
	};

	if (++w->leaves > MDL_WALK_LEAVES_MAX)
		return -ENOSPC;
	if (entry & MDL_PTE_RESERVED || !mdl_is_aligned(frame, bytes) ||
	    !mdl_range_in(va, bytes, MDL_WINDOW_BASE, MDL_WINDOW_BYTES) ||
	    !(system ? system_frame_ok(w->v, frame, bytes, write)
		     : mdl_range_ok(frame, bytes, w->v->config.vram_bytes))) {
		bad_entry(w, va);
		return 0;
	}
	return system ? add_system(w, run, frame + skip) : mdl_runs_add(&w->v->found, &run);
}

/* Walks the table of the given level that `entry` points at; it covers addresses from base on. */
static int walk_table(struct walk *w, unsigned int level, uint64_t entry, uint64_t base)
{
	uint64_t span = entry_span(level), table[MDL_PT_ENTRIES];
	size_t i = w->start > base ? (w->start - base) / span : 0;

	if (++w->tables > MDL_WALK_TABLES_MAX)
		return -ENOSPC;
	if (!copy_table(w->v, entry, table)) {
		bad_entry(w, base);
		return 0;
	}
	for (; i < MDL_PT_ENTRIES && base + i * span < w->end; i++) {
		uint64_t e = table[i], va = base + i * span;
		int ret = 0;

		if (!(e & MDL_PTE_VALID))
			continue;
		if (level == LEVELS ? !(e & MDL_PTE_HUGE) : level == LEVELS - 1 && e & MDL_PTE_HUGE)
			ret = leaf(w, e & ~MDL_PTE_HUGE, va, span);
		else if (level == LEVELS || e & (MDL_PTE_RESERVED | MDL_PTE_WRITE | MDL_PTE_HUGE))
			bad_entry(w, va);
		else
			ret = walk_table(w, level + 1, e, va);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int mdl_gmmu_walk(struct mdl_vgpu *v, uint64_t root, uint64_t start, uint64_t end,
		  struct mdl_walk_error *ret_error)
{
	struct walk w = { .v = v, .start = start, .end = end };
	int ret = 0;

	v->found.count = 0;
	if (root & MDL_PTE_VALID)
		ret = walk_table(&w, 1, root, 0);
	if (ret < 0)
		return ret;
	*ret_error = w.error;
	return 0;
}
