/* SPDX-License-Identifier: MIT */
/*
 * Small helpers that every part uses: overflow-safe range checks, alignment, containers, the monotonic clock.
 * Everything is inline, pure and thread safe.
 */
#ifndef MDL_BASE_UTIL_H
#define MDL_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define MDL_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define mdl_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* Whether [start, start + len) lies inside [0, limit), for any 64-bit values. An empty range is inside up to limit. */
static inline bool mdl_range_ok(uint64_t start, uint64_t len, uint64_t limit)
{
	return start <= limit && len <= limit - start;
}

/* Whether [start, start + len) lies inside [base, base + size); base + size must not overflow. */
static inline bool mdl_range_in(uint64_t start, uint64_t len, uint64_t base, uint64_t size)
{
	return start >= base && mdl_range_ok(start - base, len, size);
}

/* Whether two ranges, neither of which wraps, share a byte. */
static inline bool mdl_range_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a_len && b_len && a <= b + (b_len - 1) && b <= a + (a_len - 1);
}

static inline bool mdl_is_aligned(uint64_t v, uint64_t align)
{
	return (v & (align - 1)) == 0;
}

static inline uint64_t mdl_align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

/* v must be at most UINT64_MAX - align + 1. */
static inline uint64_t mdl_align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline bool mdl_is_pow2(uint64_t v)
{
	return v && (v & (v - 1)) == 0;
}

static inline uint64_t mdl_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t mdl_max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#define MDL_NS_PER_US 1000ull
#define MDL_NS_PER_MS 1000000ull
#define MDL_NS_PER_S  1000000000ull

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t mdl_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * MDL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif
