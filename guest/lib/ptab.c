/* SPDX-License-Identifier: MIT */
/*
 * Page tables of a context (the GMMU's format is in hw/medley_hw.h). The library keeps a tree of
 * its tables beside the entries that the device reads, so it never reads a table back. Tables are
 * made when needed and cut off when empty; the device may still read a cut-off table until the next
 * invalidate, so they wait on a list till then. Left out: changing the rights of a mapping in
 * place.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS	   4
#define LEVEL_HUGE 2 /* leaves of 2 MiB */

static uint64_t span(unsigned int level) /* bytes that one entry of a level covers */
{
	return MDL_PAGE_BYTES << (9 * (LEVELS - 1 - level));
}

static unsigned int slot(uint64_t va, unsigned int level)
{
	return va / span(level) % MDL_PT_ENTRIES;
}

static void set_entry(struct mdl_ptab *t, unsigned int i, uint64_t v)
{
	/*
	 * One store: the device may walk at any time when another range is invalidated. Release: a
	 * table is filled before it is linked.
	 */
	__atomic_store_n(&t->entry[i], v, __ATOMIC_RELEASE);
}

static int table_new(struct mdl_ctx *ctx, unsigned int level, struct mdl_ptab **ret_table)
{
	size_t children = level < LEVELS - 1 ? MDL_PT_ENTRIES : 0;
	struct mdl_ptab *t = calloc(1, sizeof(*t) + children * sizeof(t->child[0]));
	int r;

	if (!t)
		return -ENOMEM;
	r = mdl_dmem_alloc(ctx->gpu, MDL_PAGE_BYTES, ctx->place, &t->mem);
	if (r < 0) {
		free(t);
		return r;
	}
	t->entry = t->mem.ptr;
	memset(t->entry, 0, MDL_PAGE_BYTES);
	*ret_table = t;
	return 0;
}

static void table_free(struct mdl_ctx *ctx, struct mdl_ptab *t, unsigned int level)
{
	for (unsigned int i = 0; level < LEVELS - 1 && i < MDL_PT_ENTRIES; i++) {
		if (t->child[i])
			table_free(ctx, t->child[i], level + 1);
	}
	mdl_dmem_free(ctx->gpu, &t->mem);
	free(t);
}

int mdl_ptab_create(struct mdl_ctx *ctx)
{
	return table_new(ctx, 0, &ctx->root);
}

void mdl_ptab_destroy(struct mdl_ctx *ctx)
{
	mdl_ptab_reap(ctx);
	if (ctx->root)
		table_free(ctx, ctx->root, 0);
	ctx->root = NULL;
}

void mdl_ptab_reap(struct mdl_ctx *ctx)
{
	while (ctx->dead) {
		struct mdl_ptab *t = ctx->dead;

		ctx->dead = t->next_dead;
		mdl_dmem_free(ctx->gpu, &t->mem); /* it was empty: no children */
		free(t);
	}
}

uint64_t mdl_ptab_root_entry(const struct mdl_ctx *ctx)
{
	return mdl_dmem_frame(&ctx->root->mem, 0) | MDL_PTE_VALID;
}

/* The table of the level that covers va, made if need be. */
static int table_at(struct mdl_ctx *ctx, uint64_t va, unsigned int level,
		    struct mdl_ptab **ret_table)
{
	struct mdl_ptab *t = ctx->root;

	for (unsigned int l = 0; l < level; l++) {
		unsigned int i = slot(va, l);

		if (!t->child[i]) {
			int r = table_new(ctx, l + 1, &t->child[i]);

			if (r < 0)
				return r;
			set_entry(t, i, mdl_dmem_frame(&t->child[i]->mem, 0) | MDL_PTE_VALID);
			t->used++;
		}
		t = t->child[i];
	}
	*ret_table = t;
	return 0;
}

/* Whether 2 MiB of mem from offset on can be one leaf at va. */
static bool fits_huge(uint64_t va, const struct mdl_dmem *mem, uint64_t offset, uint32_t flags)
{
	uint64_t frame = mdl_dmem_frame(mem, offset);

	if (flags & MDL_MAP_SMALL || mem->bytes - offset < MDL_HUGE_BYTES ||
	    !mdl_is_aligned(va, MDL_HUGE_BYTES) ||
	    !mdl_is_aligned(frame & MDL_PTE_FRAME, MDL_HUGE_BYTES))
		return false;
	if (mem->place == MDL_PLACE_SYSTEM && mem->dma.frame) {
		for (uint64_t o = MDL_PAGE_BYTES; o < MDL_HUGE_BYTES; o += MDL_PAGE_BYTES) {
			if (mdl_dmem_frame(mem, offset + o) != frame + o)
				return false;
		}
	}
	return true;
}

int mdl_ptab_map(struct mdl_ctx *ctx, uint64_t va, const struct mdl_dmem *mem, uint32_t flags)
{
	uint64_t rights = MDL_PTE_VALID | (flags & MDL_MAP_WRITE ? MDL_PTE_WRITE : 0);
	uint64_t offset = 0;

	while (offset < mem->bytes) {
		bool huge = fits_huge(va + offset, mem, offset, flags);
		struct mdl_ptab *t = NULL;
		unsigned int i;
		int r;

		r = table_at(ctx, va + offset, LEVEL_HUGE, &t);
		i = slot(va + offset, LEVEL_HUGE);
		/*
		 * A table of small pages there: nothing is mapped in this range, but neighbours in
		 * the table may be.
		 */
		if (r == 0 && (!huge || t->child[i])) {
			huge = false;
			r = table_at(ctx, va + offset, LEVELS - 1, &t);
			i = slot(va + offset, LEVELS - 1);
		}
		if (r < 0) {
			/* Also takes away tables that were made just now and got no entry. */
			mdl_ptab_unmap(ctx, va, mem->bytes);
			return r;
		}
		set_entry(t, i, mdl_dmem_frame(mem, offset) | rights | (huge ? MDL_PTE_HUGE : 0));
		t->used++;
		offset += huge ? MDL_HUGE_BYTES : MDL_PAGE_BYTES;
	}
	return 0;
}

/* Clears [va, end) of a table whose first entry covers start. */
static void clear(struct mdl_ctx *ctx, struct mdl_ptab *t, unsigned int level, uint64_t start,
		  uint64_t va, uint64_t end)
{
	uint64_t step = span(level);

	for (unsigned int i = (va - start) / step; i < MDL_PT_ENTRIES && start + i * step < end;
	     i++) {
		struct mdl_ptab *c = level < LEVELS - 1 ? t->child[i] : NULL;

		if (c) {
			clear(ctx, c, level + 1, start + i * step,
			      mdl_max_u64(va, start + i * step), end);
			if (c->used)
				continue;
			t->child[i] = NULL;
			c->next_dead = ctx->dead;
			ctx->dead = c;
		} else if (!t->entry[i]) {
			continue;
		}
		set_entry(t, i, 0);
		t->used--;
	}
}

void mdl_ptab_unmap(struct mdl_ctx *ctx, uint64_t va, uint64_t bytes)
{
	clear(ctx, ctx->root, 0, 0, va, va + bytes);
}

uint64_t mdl_ctx_pte(const struct mdl_ctx *ctx, uint64_t va, uint32_t *ret_level)
{
	const struct mdl_ptab *t = ctx->root;

	for (unsigned int level = 0; level < LEVELS && va < 1ull << 48; level++) {
		unsigned int i = slot(va, level);

		if (level < LEVELS - 1 && t->child[i]) {
			t = t->child[i];
			continue;
		}
		if (t->entry[i] && ret_level)
			*ret_level = level;
		return t->entry[i];
	}
	return 0;
}
