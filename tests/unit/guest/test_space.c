/* SPDX-License-Identifier: MIT */
/*
 * The range allocator against a plain map of units: random allocations and frees, at any place and
 * at chosen ones.
 */
#include "guest/lib/space.h"

#include "unit/check.h"

#define UNITS 512
#define BASE  1000

static uint8_t map[UNITS]; /* owner, 0: free */

static bool all_free(uint64_t start, uint64_t n)
{
	for (uint64_t i = start; i < start + n; i++) {
		if (map[i - BASE])
			return false;
	}
	return true;
}

/* Whether anything of that size and alignment would fit. */
static bool fits(uint64_t n, uint64_t align)
{
	for (uint64_t s = BASE; s + n <= BASE + UNITS; s++) {
		if (s % align == 0 && all_free(s, n))
			return true;
	}
	return false;
}

static void check_list(const struct mdl_space *s, uint64_t used)
{
	uint64_t at = BASE, seen = 0;

	for (const struct mdl_block *b = s->first; b; b = b->next) {
		CHECK_EQ(b->start, at);
		CHECK(b->bytes);
		CHECK(!b->next || b->next->prev == b);
		CHECK(b->used || !b->next || b->next->used);
		seen += b->used ? b->bytes : 0;
		at += b->bytes;
	}
	CHECK_EQ(at, BASE + UNITS);
	CHECK_EQ(seen, used);
	CHECK_EQ(s->used_bytes, used);
}

static void random_ops(void)
{
	struct mdl_block *block[64] = { NULL };
	struct mdl_space s;
	uint64_t used = 0;

	srand(7);
	CHECK_EQ(mdl_space_init(&s, BASE, UNITS), 0);
	for (int op = 0; op < 20000; op++) {
		int i = rand() % 64;
		uint64_t n = 1 + (uint64_t)rand() % 40, align = 1ull << rand() % 6;
		int r;

		if (block[i]) {
			memset(&map[block[i]->start - BASE], 0, block[i]->bytes);
			used -= block[i]->bytes;
			mdl_space_free(&s, block[i]);
			block[i] = NULL;
		} else if (rand() % 4 == 0) {
			uint64_t at = BASE + (uint64_t)rand() % UNITS;
			bool inside = at + n <= BASE + UNITS;

			r = mdl_space_alloc_at(&s, at, n, &block[i]);
			CHECK_EQ(r, !inside ? -ERANGE : all_free(at, n) ? 0 : -EEXIST);
			CHECK(r < 0 || block[i]->start == at);
		} else {
			bool want = fits(n, align);

			r = mdl_space_alloc(&s, n, align, rand() % 2, &block[i]);
			CHECK_EQ(r, want ? 0 : -ENOSPC);
			CHECK(r < 0 || block[i]->start % align == 0);
		}
		if (block[i]) {
			CHECK_EQ(block[i]->bytes, n);
			CHECK(all_free(block[i]->start, n));
			memset(&map[block[i]->start - BASE], i + 1, n);
			used += n;
			CHECK(mdl_space_find(&s, block[i]->start + n - 1) == block[i]);
		}
		check_list(&s, used);
	}
	mdl_space_fini(&s);
}

static void edges(void)
{
	struct mdl_block *a, *b;
	struct mdl_space s;

	CHECK_EQ(mdl_space_init(&s, 1, 0), -EINVAL);
	CHECK_EQ(mdl_space_init(&s, UINT64_MAX, 2), -EINVAL);
	/* Up to the very last address, and alignments that would overflow. */
	CHECK_EQ(mdl_space_init(&s, UINT64_MAX - 9, 10), 0);
	CHECK_EQ(mdl_space_alloc(&s, 0, 1, false, &a), -EINVAL);
	CHECK_EQ(mdl_space_alloc(&s, 1, 3, false, &a), -EINVAL);
	CHECK_EQ(mdl_space_alloc(&s, 1, 1ull << 63, false, &a), -ENOSPC);
	CHECK_EQ(mdl_space_alloc(&s, 11, 1, true, &a), -ENOSPC);
	CHECK_EQ(mdl_space_alloc_at(&s, UINT64_MAX - 3, 5, &a), -EINVAL);
	CHECK_EQ(mdl_space_alloc_at(&s, UINT64_MAX - 3, 4, &a), 0);
	CHECK_EQ(mdl_space_alloc(&s, 6, 1, false, &b), 0);
	CHECK_EQ(mdl_space_alloc(&s, 1, 1, false, &b), -ENOSPC);
	CHECK(!mdl_space_find(&s, 0));
	mdl_space_free(&s, a);
	mdl_space_free(&s, NULL);
	mdl_space_free(&s, b);
	CHECK(!s.first->next);
	mdl_space_fini(&s);
}

/* From the top: the highest place that fits is taken, so small things do not cut up the low end. */
static void top_stays_high(void)
{
	struct mdl_block *a, *b;
	struct mdl_space s;

	CHECK_EQ(mdl_space_init(&s, 0, 4096), 0);
	CHECK_EQ(mdl_space_alloc(&s, 16, 16, true, &a), 0);
	CHECK_EQ(a->start, 4080);
	CHECK_EQ(mdl_space_alloc(&s, 1, 1, true, &b), 0);
	CHECK_EQ(b->start, 4079);
	CHECK_EQ(mdl_space_alloc(&s, 2048, 2048, false, &a), 0);
	CHECK_EQ(a->start, 0);
	mdl_space_fini(&s);
}

static const struct check_case cases[] = {
	{ "random operations agree with a plain map", random_ops },
	{ "edges of the number space", edges },
	{ "allocation from the top", top_stays_high },
};
CHECK_MAIN(cases)
