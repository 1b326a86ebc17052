/* SPDX-License-Identifier: MIT */
/*
 * Allocator of ranges of a number space: VRAM, GPU addresses, bus addresses. First fit over a
 * sorted list of blocks, free and used ones; meant for hundreds of blocks, not for millions.
 * Freeing needs no memory and cannot fail.
 */
#ifndef MDL_GUEST_SPACE_H
#define MDL_GUEST_SPACE_H

#include <stdbool.h>
#include <stdint.h>

struct mdl_block {
	uint64_t start, bytes;
	bool used;
	bool reserved; /* for the owner's use: a VA reservation rather than a mapping */
	struct mdl_block *prev, *next;
};

struct mdl_space {
	struct mdl_block *first;
	uint64_t used_bytes;
};

/* [start, start + bytes) is free at first. -EINVAL: it wraps; -ENOMEM. */
int mdl_space_init(struct mdl_space *s, uint64_t start, uint64_t bytes);
void mdl_space_fini(struct mdl_space *s);

/*
 * bytes > 0; align a power of two. top: from the end of the space, to keep small things out of the
 * way of large ones. The block belongs to the space and is named by its pointer until freed.
 * -ENOSPC, -ENOMEM.
 */
int mdl_space_alloc(struct mdl_space *s, uint64_t bytes, uint64_t align, bool top,
		    struct mdl_block **ret_block);

/* Exactly [start, start + bytes). -EEXIST: part of it is used; -ERANGE: part of it is outside. */
int mdl_space_alloc_at(struct mdl_space *s, uint64_t start, uint64_t bytes,
		       struct mdl_block **ret_block);

/* Accepts NULL. */
void mdl_space_free(struct mdl_space *s, struct mdl_block *b);

/* The block, free or used, that holds addr; NULL if addr is outside. */
struct mdl_block *mdl_space_find(const struct mdl_space *s, uint64_t addr);

#endif
