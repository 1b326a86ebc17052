/* SPDX-License-Identifier: MIT */
/*
 * Buffers and their mappings. A buffer is mapped as a whole; each mapping is on two lists, the
 * buffer's and the context's. Left out: parts of buffers, rights that change, foreign memory.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAP_FLAGS (MDL_MAP_RW | MDL_MAP_SMALL | MDL_MAP_DEFER)

int mdl_buf_create(struct mdl_gpu *gpu, uint64_t bytes, enum mdl_place place,
		   struct mdl_buf **ret_buf)
{
	struct mdl_buf *buf;
	int r;

	if (!bytes || bytes > MDL_BUF_BYTES_MAX || place > MDL_PLACE_SYSTEM)
		return -EINVAL;
	buf = calloc(1, sizeof(*buf));
	if (!buf)
		return -ENOMEM;
	buf->gpu = gpu;
	r = mdl_dmem_alloc(gpu, mdl_align_up(bytes, MDL_PAGE_BYTES), place, &buf->mem);
	if (r < 0) {
		free(buf);
		return r;
	}
	*ret_buf = buf;
	return 0;
}

int mdl_buf_alloc(struct mdl_ctx *ctx, uint64_t bytes, enum mdl_place place,
		  struct mdl_buf **ret_buf)
{
	struct mdl_buf *buf;
	uint64_t va;
	int r = mdl_buf_create(ctx->gpu, bytes, place, &buf);

	if (r < 0)
		return r;
	r = mdl_buf_map(buf, ctx, MDL_VA_ANY, MDL_MAP_RW, &va);
	if (r < 0) {
		mdl_buf_destroy(buf);
		return r;
	}
	*ret_buf = buf;
	return 0;
}

/* Takes m out of page tables, address space and lists. */
static void drop(struct mdl_mapping *m, bool invalidate)
{
	struct mdl_ctx *ctx = m->ctx;
	struct mdl_mapping **at;

	mdl_ptab_unmap(ctx, m->va, m->buf->mem.bytes);
	/* A faulted context refuses; its executor and all mappings are gone anyway. */
	ctx->deferred |= !invalidate;
	if (invalidate)
		mdl_ctx_invalidate(ctx, m->va, m->buf->mem.bytes);
	mdl_space_free(&ctx->va, m->block);
	for (at = &ctx->mappings; *at != m; at = &(*at)->next_of_ctx)
		;
	*at = m->next_of_ctx;
	for (at = &m->buf->mappings; *at != m; at = &(*at)->next_of_buf)
		;
	*at = m->next_of_buf;
	free(m);
}

void mdl_buf_destroy(struct mdl_buf *buf)
{
	if (!buf)
		return;
	while (buf->mappings)
		drop(buf->mappings, true);
	mdl_dmem_free(buf->gpu, &buf->mem);
	free(buf);
}

void *mdl_buf_ptr(const struct mdl_buf *buf)
{
	return buf->mem.ptr;
}

uint64_t mdl_buf_bytes(const struct mdl_buf *buf)
{
	return buf->mem.bytes;
}

uint64_t mdl_buf_va(const struct mdl_buf *buf)
{
	return buf->mappings ? buf->mappings->va : 0;
}

uint64_t mdl_buf_vram_offset(const struct mdl_buf *buf)
{
	return buf->mem.place == MDL_PLACE_VRAM ? buf->mem.block->start : UINT64_MAX;
}

/*
 * Finds the address: ours to choose, free, or free inside a reservation (then *ret_block is NULL).
 */
static int place_va(struct mdl_ctx *ctx, uint64_t va, uint64_t bytes, struct mdl_block **ret_block)
{
	uint64_t align = bytes >= MDL_HUGE_BYTES ? MDL_HUGE_BYTES : MDL_PAGE_BYTES;
	struct mdl_block *b;

	if (va == MDL_VA_ANY)
		return mdl_space_alloc(&ctx->va, bytes, align, false, ret_block);
	if (!mdl_is_aligned(va, MDL_PAGE_BYTES))
		return -EINVAL;
	if (!mdl_range_in(va, bytes, ctx->gpu->info.va_base,
			  ctx->gpu->info.va_limit - ctx->gpu->info.va_base))
		return -ERANGE;
	b = mdl_space_find(&ctx->va, va);
	if (!b->reserved)
		return mdl_space_alloc_at(&ctx->va, va, bytes, ret_block);
	if (!mdl_range_in(va, bytes, b->start, b->bytes))
		return -EEXIST;
	for (struct mdl_mapping *m = ctx->mappings; m; m = m->next_of_ctx) {
		if (mdl_range_overlap(va, bytes, m->va, m->buf->mem.bytes))
			return -EEXIST;
	}
	*ret_block = NULL;
	return 0;
}

int mdl_buf_map(struct mdl_buf *buf, struct mdl_ctx *ctx, uint64_t va, uint32_t flags,
		uint64_t *ret_va)
{
	struct mdl_mapping *m, **last;
	int r;

	if (flags & ~MAP_FLAGS || ctx->gpu != buf->gpu)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->buf = buf;
	m->ctx = ctx;
	r = place_va(ctx, va, buf->mem.bytes, &m->block);
	if (r < 0) {
		free(m);
		return r;
	}
	m->va = va == MDL_VA_ANY ? m->block->start : va;
	r = mdl_ptab_map(ctx, m->va, &buf->mem, flags);
	if (r < 0) {
		/* Sets the tables free that were made and cut off again. */
		mdl_ctx_invalidate(ctx, m->va, buf->mem.bytes);
		mdl_space_free(&ctx->va, m->block);
		free(m);
		return r;
	}
	m->next_of_ctx = ctx->mappings;
	ctx->mappings = m;
	for (last = &buf->mappings; *last; last = &(*last)->next_of_buf)
		;
	*last = m;
	if (!(flags & MDL_MAP_DEFER)) {
		r = mdl_ctx_invalidate(ctx, m->va, buf->mem.bytes);
		if (r < 0) {
			drop(m, true);
			return r;
		}
	}
	if (ret_va)
		*ret_va = m->va;
	return 0;
}

int mdl_buf_unmap(struct mdl_buf *buf, struct mdl_ctx *ctx, uint64_t va, uint32_t flags)
{
	if (flags & ~MDL_MAP_DEFER)
		return -EINVAL;
	for (struct mdl_mapping *m = buf->mappings; m; m = m->next_of_buf) {
		if (m->ctx == ctx && m->va == va) {
			drop(m, !(flags & MDL_MAP_DEFER));
			return 0;
		}
	}
	return -ENOENT;
}
