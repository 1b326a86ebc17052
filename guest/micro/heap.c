/* SPDX-License-Identifier: MIT */
/*
 * malloc and relatives: one list of free blocks in address order, first fit, neighbours joined when
 * freed. Every block is preceded by its length; blocks are multiples of 16 bytes. Single-threaded.
 * Leaves out everything that makes allocators fast with thousands of blocks: guests here allocate a
 * few large ones.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest/micro/internal.h"

#define UNIT 16u
#define USED 0x6d646c55u /* marks the header of a block in use; a double free is noticed */

struct header { /* before every block in use */
	uint64_t bytes; /* of the block, header included */
	uint64_t mark;
};

struct hole {
	uint64_t bytes;
	struct hole *next;
};

_Static_assert(sizeof(struct header) == UNIT && sizeof(struct hole) == UNIT, "both are one unit");

static struct hole *holes;

void micro_heap_init(uint64_t addr, uint64_t bytes)
{
	holes = (struct hole *)(uintptr_t)addr;
	holes->bytes = bytes & ~(uint64_t)(UNIT - 1);
	holes->next = NULL;
}

/*
 * The lowest aligned block of `bytes` (header included) in the hole, such that what is in front of
 * it is nothing or a hole.
 */
static uint64_t fit(const struct hole *h, uint64_t bytes, uint64_t align)
{
	uint64_t start = (uint64_t)(uintptr_t)h, user = (start + UNIT + align - 1) & ~(align - 1);
	uint64_t skip = user - UNIT - start;

	return user < start || skip > h->bytes || bytes > h->bytes - skip ? 0 : user;
}

static void *allocate(uint64_t size, uint64_t align)
{
	uint64_t bytes = ((size ? size : 1) + UNIT - 1) / UNIT * UNIT + UNIT, user = 0, front, rest;
	struct hole **link = &holes, *h, *after;
	struct header *head;

	if (size > INT64_MAX - 2 * UNIT)
		return NULL;
	for (; *link; link = &(*link)->next) {
		user = fit(*link, bytes, align);
		if (user)
			break;
	}
	if (!*link)
		return NULL;
	h = *link;
	front = user - UNIT - (uint64_t)(uintptr_t)h;
	rest = h->bytes - front - bytes;
	after = h->next;
	if (rest) {
		struct hole *tail = (struct hole *)(uintptr_t)(user - UNIT + bytes);

		tail->bytes = rest;
		tail->next = after;
		after = tail;
	}
	if (front) {
		h->bytes = front;
		h->next = after;
	} else {
		*link = after;
	}
	head = (struct header *)(uintptr_t)(user - UNIT);
	head->bytes = bytes;
	head->mark = USED;
	return (void *)(uintptr_t)user;
}

void free(void *p)
{
	struct header *head = (struct header *)p - 1;
	struct hole *h, *before = NULL, *next = holes;

	if (!p)
		return;
	if (head->mark != USED)
		abort();
	while (next && (uintptr_t)next < (uintptr_t)head) {
		before = next;
		next = next->next;
	}
	h = (struct hole *)head;
	h->bytes = head->bytes;
	h->next = next;
	if (next && (char *)h + h->bytes == (char *)next) {
		h->bytes += next->bytes;
		h->next = next->next;
	}
	if (!before) {
		holes = h;
	} else if ((char *)before + before->bytes == (char *)h) {
		before->bytes += h->bytes;
		before->next = h->next;
	} else {
		before->next = h;
	}
}

static void *or_enomem(void *p)
{
	if (!p)
		errno = ENOMEM;
	return p;
}

void *malloc(size_t bytes)
{
	return or_enomem(allocate(bytes, UNIT));
}

void *calloc(size_t n, size_t bytes)
{
	size_t total;
	void *p = __builtin_mul_overflow(n, bytes, &total) ? NULL : allocate(total, UNIT);

	return p ? memset(p, 0, total) : or_enomem(NULL);
}

void *realloc(void *old, size_t bytes)
{
	uint64_t had;
	void *p;

	if (!old)
		return malloc(bytes);
	had = ((struct header *)old - 1)->bytes - UNIT;
	if (bytes <= had && bytes > had / 2)
		return old;
	p = malloc(bytes);
	if (p) {
		memcpy(p, old, bytes < had ? bytes : had);
		free(old);
	}
	return p;
}

int posix_memalign(void **ret_p, size_t align, size_t bytes)
{
	void *p;

	if (align < sizeof(void *) || (align & (align - 1)))
		return EINVAL;
	p = allocate(bytes, align < UNIT ? UNIT : align);
	if (!p)
		return ENOMEM;
	*ret_p = p;
	return 0;
}

void *aligned_alloc(size_t align, size_t bytes)
{
	void *p = NULL;
	int err = posix_memalign(&p, align < sizeof(void *) ? sizeof(void *) : align, bytes);

	if (err)
		errno = err;
	return p;
}
