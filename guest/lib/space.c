/* SPDX-License-Identifier: MIT */
/*
 * The range allocator. The list covers the whole space without gaps; neighbours that are both free
 * are always merged, so the number of blocks is at most twice the number of allocations plus one.
 * Owned by the thread that owns the space.
 */
#include "space.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

int mdl_space_init(struct mdl_space *s, uint64_t start, uint64_t bytes)
{
	struct mdl_block *b;

	if (!bytes || start + (bytes - 1) < start)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->start = start;
	b->bytes = bytes;
	s->first = b;
	s->used_bytes = 0;
	return 0;
}

void mdl_space_fini(struct mdl_space *s)
{
	while (s->first) {
		struct mdl_block *b = s->first;

		s->first = b->next;
		free(b);
	}
	s->used_bytes = 0;
}

/* Makes a free block out of the part of b from b->start + bytes on; b keeps the rest. */
static int split(struct mdl_block *b, uint64_t bytes)
{
	struct mdl_block *n;

	if (bytes == b->bytes)
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->start = b->start + bytes;
	n->bytes = b->bytes - bytes;
	n->prev = b;
	n->next = b->next;
	if (b->next)
		b->next->prev = n;
	b->next = n;
	b->bytes = bytes;
	return 0;
}

static void merge_next(struct mdl_block *b)
{
	struct mdl_block *n = b->next;

	b->bytes += n->bytes;
	b->next = n->next;
	if (n->next)
		n->next->prev = b;
	free(n);
}

/*
 * Cuts [start, start + bytes) out of the free block b. On failure the list may be split but covers
 * the same.
 */
static int carve(struct mdl_space *s, struct mdl_block *b, uint64_t start, uint64_t bytes,
		 struct mdl_block **ret_block)
{
	struct mdl_block *mid = b;
	int r;

	if (start > b->start) {
		r = split(b, start - b->start);
		if (r < 0)
			return r;
		mid = b->next;
	}
	r = split(mid, bytes);
	if (r < 0) {
		if (mid != b)
			merge_next(b);
		return r;
	}
	mid->used = true;
	s->used_bytes += bytes;
	*ret_block = mid;
	return 0;
}

/* Where bytes fit in b; false if they do not. */
static bool place(const struct mdl_block *b, uint64_t bytes, uint64_t align, bool top,
		  uint64_t *ret_start)
{
	uint64_t start;

	if (b->used || b->bytes < bytes)
		return false;
	if (top) {
		start = mdl_align_down(b->start + (b->bytes - bytes), align);
		if (start < b->start)
			return false;
	} else {
		if (b->start > UINT64_MAX - (align - 1))
			return false;
		start = mdl_align_up(b->start, align);
		if (start - b->start > b->bytes - bytes)
			return false;
	}
	*ret_start = start;
	return true;
}

int mdl_space_alloc(struct mdl_space *s, uint64_t bytes, uint64_t align, bool top,
		    struct mdl_block **ret_block)
{
	struct mdl_block *best = NULL;
	uint64_t start = 0, at;

	if (!bytes || !mdl_is_pow2(align))
		return -EINVAL;
	for (struct mdl_block *b = s->first; b; b = b->next) {
		if (!place(b, bytes, align, top, &at))
			continue;
		best = b;
		start = at;
		if (!top)
			break;
	}
	return best ? carve(s, best, start, bytes, ret_block) : -ENOSPC;
}

struct mdl_block *mdl_space_find(const struct mdl_space *s, uint64_t addr)
{
	for (struct mdl_block *b = s->first; b; b = b->next) {
		if (mdl_range_in(addr, 1, b->start, b->bytes))
			return b;
	}
	return NULL;
}

int mdl_space_alloc_at(struct mdl_space *s, uint64_t start, uint64_t bytes,
		       struct mdl_block **ret_block)
{
	struct mdl_block *b = mdl_space_find(s, start), *last;

	if (!bytes || start + (bytes - 1) < start)
		return -EINVAL;
	last = mdl_space_find(s, start + (bytes - 1));
	if (!b || !last)
		return -ERANGE;
	if (b != last || b->used)
		return -EEXIST;
	return carve(s, b, start, bytes, ret_block);
}

void mdl_space_free(struct mdl_space *s, struct mdl_block *b)
{
	if (!b)
		return;
	s->used_bytes -= b->bytes;
	b->used = false;
	b->reserved = false;
	if (b->next && !b->next->used)
		merge_next(b);
	if (b->prev && !b->prev->used)
		merge_next(b->prev);
}
