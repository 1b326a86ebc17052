/* SPDX-License-Identifier: MIT */
/*
 * The shadow page table against the naive walk: chosen cases, then long random sequences with fixed
 * seeds.
 */
#include "base/util.h"
#include "mock.h"
#include "tests/unit/check.h"

#define VA(l1, l2, l3, l4) \
	((uint64_t)(l1) << 39 | (uint64_t)(l2) << 30 | (uint64_t)(l3) << 21 | (uint64_t)(l4) << 12)

/* Tables 0 to 3 as one chain for VA(64, 0, 0, x), the root register set. */
static void chain(struct mock *m, uint32_t ctx)
{
	mock_table_mem(m, 0)[64] = mock_table(1);
	mock_table_mem(m, 1)[0] = mock_table(2);
	mock_table_mem(m, 2)[0] = mock_table(3);
	mock_write(m, mock_ctx_reg(ctx, PT_ROOT), 8, mock_table(0));
}

static void coalesces_and_sends_only_differences(void)
{
	struct mock m;
	uint64_t *pt;

	mock_init(&m);
	chain(&m, 0);
	pt = mock_table_mem(&m, 3);
	for (unsigned int i = 0; i < 512; i++)
		pt[i] = MDL_PTE_VALID | (uint64_t)(i + 512) << 12;
	mock_open_ctx(&m, 0); /* reads everything by itself */
	CHECK_EQ(m.maps, 1);
	CHECK_EQ(m.map_calls, 1);
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(m.map_calls, 1); /* nothing changed, nothing sent */
	pt[100] |= MDL_PTE_WRITE; /* in the middle: one page replaced */
	mock_invalidate(&m, 0, VA(64, 0, 0, 100), 4096);
	CHECK_EQ(m.maps, 2);
	CHECK_EQ(m.unmaps, 0);
	pt[100] = 0;
	pt[101] = 0;
	mock_invalidate(&m, 0, VA(64, 0, 0, 100), 4096); /* only one of them is in the range */
	CHECK_EQ(m.unmaps, 1);
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(m.unmaps, 2);
	/* A change and a removal in one invalidate: the removal goes first. */
	pt[10] = MDL_PTE_VALID | 5 << 12;
	pt[11] = 0;
	mock_invalidate(&m, 0, VA(64, 0, 0, 0), 2 << 20);
	CHECK_EQ(m.unmaps, 3);
	mock_fini(&m);
}

static void nothing_in_force_before_invalidate(void)
{
	struct mock m;

	mock_init(&m);
	chain(&m, 0);
	mock_open_ctx(&m, 0);
	mock_table_mem(&m, 3)[7] = MDL_PTE_VALID | 0x7000;
	mock_compare(&m);
	mock_invalidate(&m, 0, VA(64, 0, 0, 6), 4096); /* misses it */
	CHECK_EQ(m.maps, 0);
	mock_invalidate(&m, 0, VA(64, 0, 0, 7), 4096);
	CHECK_EQ(m.maps, 1);
	/* A context that is not READY ignores it. */
	mock_write(&m, mock_ctx_reg(1, PT_ROOT), 8, mock_table(0));
	mock_write(&m, mock_ctx_reg(1, INVALIDATE), 4, 1);
	CHECK_EQ(m.maps, 1);
	mock_fini(&m);
}

struct bad_case {
	const char *what;
	unsigned int table; /* of the chain: level - 1 */
	uint64_t entry;
	uint64_t va;
};

static void bad_entries(void)
{
	const uint64_t l4 = VA(64, 0, 0, 9), l3 = VA(64, 0, 0, 0);
	const struct bad_case cases[] = {
		{ "reserved bit in a leaf", 3, MDL_PTE_VALID | 1 << 5, l4 },
		{ "reserved high bit", 3, MDL_PTE_VALID | 1ull << 60, l4 },
		{ "large bit at the last level", 3, MDL_PTE_VALID | MDL_PTE_HUGE, l4 },
		{ "frame at the end of VRAM", 3, MDL_PTE_VALID | MOCK_VRAM, l4 },
		{ "frame far out", 3, MDL_PTE_VALID | MDL_PTE_FRAME, l4 },
		{ "hole in guest memory", 3, MDL_PTE_VALID | MDL_PTE_SYSTEM | 0xa0000, l4 },
		{ "behind guest memory", 3, MDL_PTE_VALID | MDL_PTE_SYSTEM | 0xa00000, l4 },
		{ "write to read-only memory", 3,
		  MDL_PTE_VALID | MDL_PTE_WRITE | MDL_PTE_SYSTEM | 0x600000, l4 },
		{ "large leaf not aligned", 2, MDL_PTE_VALID | MDL_PTE_HUGE | 0x1000, l3 },
		{ "large leaf behind VRAM", 2, MDL_PTE_VALID | MDL_PTE_HUGE | MOCK_VRAM, l3 },
		{ "large leaf over a hole", 2, MDL_PTE_VALID | MDL_PTE_HUGE | MDL_PTE_SYSTEM, l3 },
		{ "large leaf partly read-only", 2,
		  MDL_PTE_VALID | MDL_PTE_HUGE | MDL_PTE_SYSTEM | MDL_PTE_WRITE | 0x600000, l3 },
		{ "pointer with write bit", 2, MDL_PTE_VALID | MDL_PTE_WRITE | 0x3000, l3 },
		{ "pointer behind VRAM", 2, MDL_PTE_VALID | MOCK_VRAM, l3 },
		{ "pointer into a hole", 1, MDL_PTE_VALID | MDL_PTE_SYSTEM | 0xb0000,
		  VA(64, 0, 0, 0) },
		{ "large bit at level 2", 1, MDL_PTE_VALID | MDL_PTE_HUGE, VA(64, 0, 0, 0) },
		{ "large bit at level 1", 0, MDL_PTE_VALID | MDL_PTE_HUGE, VA(64, 0, 0, 0) },
	};

	for (size_t i = 0; i < MDL_ARRAY_SIZE(cases); i++) {
		const struct bad_case *c = &cases[i];
		struct mock m;

		printf("# %s\n", c->what);
		mock_init(&m);
		chain(&m, 0);
		mock_open_ctx(&m, 0);
		mock_table_mem(&m, 3)[8] = MDL_PTE_VALID; /* a good neighbour */
		mock_table_mem(&m, c->table)[c->table == 3 ? 9 : c->table == 0 ? 64 : 0] = c->entry;
		mock_invalidate(&m, 0, 0, 0);
		CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_BAD_PTE);
		CHECK_EQ(mock_read(&m, mock_ctx_reg(0, FAULT_VA), 8), c->va);
		CHECK_EQ(m.last_note.va, c->va);
		CHECK_EQ(m.last_note.chan, MDL_FAULT_NO_CHANNEL);
		CHECK_EQ(m.maps, c->table == 3 ? 1 : 0);
		/* Mended, the error is gone. */
		chain(&m, 0);
		mock_table_mem(&m, 3)[9] = 0;
		mock_invalidate(&m, 0, 0, 0);
		CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_NONE);
		mock_fini(&m);
	}
}

static void window_edges(void)
{
	struct mock m;

	mock_init(&m);
	chain(&m, 0);
	/* The same tables below, inside and above the window. */
	mock_table_mem(&m, 0)[95] = mock_table(1);
	mock_table_mem(&m, 1)[511] = mock_table(2);
	mock_table_mem(&m, 2)[511] = mock_table(3);
	mock_table_mem(&m, 3)[511] = MDL_PTE_VALID | 0x9000;
	mock_open_ctx(&m, 0);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_NONE);
	CHECK_EQ(m.maps, 8);
	mock_table_mem(&m, 0)[63] = mock_table(1);
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_BAD_PTE);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, FAULT_VA), 8), VA(63, 0, 0, 511));
	CHECK_EQ(m.maps, 8);
	/* The end of the address space: a range that runs over it is cut. */
	mock_table_mem(&m, 0)[511] = mock_table(1);
	mock_invalidate(&m, 0, VA(511, 511, 511, 511), 1ull << 48);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, FAULT_VA), 8), VA(511, 511, 511, 511));
	mock_fini(&m);
}

static void large_pages(void)
{
	struct mock m;

	mock_init(&m);
	chain(&m, 0);
	mock_table_mem(&m, 2)[0] = MDL_PTE_VALID | MDL_PTE_HUGE | 2 << 20;
	mock_open_ctx(&m, 0);
	CHECK_EQ(m.maps, 1);
	/* Part of a large page is re-read: only that part changes. */
	mock_table_mem(&m, 2)[0] = MDL_PTE_VALID | MDL_PTE_HUGE | MDL_PTE_SYSTEM | 0x100000000;
	mock_invalidate(&m, 0, VA(64, 0, 0, 100), 50 * 4096);
	CHECK_EQ(m.maps, 2);
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(m.maps, 4);
	/*
	 * One that spans regions: 0x600000 and 0x800000 meet at a 2 MiB border, 0x400000 holds the
	 * end of one.
	 */
	mock_table_mem(&m, 2)[0] = MDL_PTE_VALID | MDL_PTE_HUGE | MDL_PTE_SYSTEM | 0x400000;
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(m.maps, 5);
	mock_unmap(&m, 0x100000, 4096);
	CHECK_EQ(m.unmaps, 1);
	mock_fini(&m);
}

static void memory_comes_and_goes(void)
{
	struct mock m;

	mock_init(&m);
	chain(&m, 0);
	for (unsigned int i = 0; i < 8; i++) {
		mock_table_mem(&m, 3)[i] = MDL_PTE_VALID | MDL_PTE_SYSTEM | (0x7fc000 + i * 4096);
		mock_table_mem(&m, 3)[16 + i] = MDL_PTE_VALID | (0x100000 + i * 4096);
	}
	mock_write(&m, mock_ctx_reg(1, PT_ROOT), 8, mock_table(0));
	mock_open_ctx(&m, 0);
	mock_open_ctx(&m, 1);
	/* Adjacent in the guest and in the memory object: one run over both regions. */
	CHECK_EQ(m.maps, 4);
	/* Any touch of a region takes all of it; the other half stays. */
	mock_unmap(&m, 0x9ff000, 4096);
	CHECK_EQ(m.unmaps, 2);
	CHECK_EQ(mock_map_region(&m, 3), 1);
	mock_compare(&m); /* back, but not before an invalidate */
	CHECK_EQ(m.maps, 4);
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(m.maps, 5);
	/* The length may say "everything", from any address. */
	mock_unmap(&m, 0x800000, UINT64_MAX);
	CHECK_EQ(m.region[2], true);
	CHECK_EQ(m.region[4], false);
	mock_unmap(&m, 0, UINT64_MAX);
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_BAD_PTE);
	mock_unmap(&m, UINT64_MAX, UINT64_MAX);
	mock_unmap(&m, 0, 0);
	mock_fini(&m);
}

/* Two regions of one memory object, adjacent there and not in the guest: each goes alone. */
static void regions_of_one_object(void)
{
	struct mock m;

	mock_init(&m);
	chain(&m, 0);
	mock_table_mem(&m, 3)[0] = MDL_PTE_VALID | MDL_PTE_SYSTEM | 0x5ff000;
	mock_table_mem(&m, 3)[1] = MDL_PTE_VALID | MDL_PTE_SYSTEM | 0x100000000;
	mock_open_ctx(&m, 0);
	CHECK_EQ(m.maps, 1); /* one change for the executor all the same */
	mock_unmap(&m, 0x100000000, 4096);
	CHECK_EQ(m.unmaps, 1);
	mock_map_region(&m, 4);
	mock_invalidate(&m, 0, 0, 0);
	mock_unmap(&m, 0x100000, 4096);
	mock_fini(&m);
}

static void dma_map_refuses(void)
{
	static uint64_t buf[2 * 4096 / 8] __attribute__((aligned(4096)));
	struct mock m;

	mock_init(&m);
	mock_unmap(&m, 0, UINT64_MAX);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0, true, buf, 2, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1001, 0x1000, true, buf, 2, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1001, true, buf, 2, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1000, true, buf, 2, 1), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1000, true, NULL, 2, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1000, true, (char *)buf + 1, 2, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1000, true, buf, MDL_MEM_VRAM, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1000, true, buf, MDL_MEM_USER, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1000, true, buf, MDL_MEM_MAX, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, -4096ull, 0x2000, true, buf, 2, 0), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0, 0x2000, true, buf, 2, 1ull << 63), -EINVAL);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x2000, 0x2000, true, buf, 2, 0), 0);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x2000, 0x2000, true, buf, 2, 0), -EEXIST);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x2000, true, buf, 2, 0), -EEXIST);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x3000, 0x2000, true, buf, 2, 0), -EEXIST);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0, 0x8000, true, buf, 2, 0), -EEXIST);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x1000, 0x1000, true, buf, 2, 0), 0);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x4000, 0x1000, true, buf, 2, 0), 0);
	for (uint64_t i = 0; i < MDL_VGPU_DMA_REGIONS_MAX - 3; i++)
		CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x100000 + i * 4096, 4096, true, buf, 2, 0), 0);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x5000, 0x1000, true, buf, 2, 0), -ENOSPC);
	mdl_vgpu_dma_unmap(m.v, 0x4000, 1);
	CHECK_EQ(mdl_vgpu_dma_map(m.v, 0x5000, 0x1000, true, buf, 2, 0), 0);
	mock_fini(&m);
}

static void map_failure_dooms(void)
{
	struct mock m;

	mock_init(&m);
	chain(&m, 0);
	mock_open_ctx(&m, 0);
	mock_table_mem(&m, 3)[6] = MDL_PTE_VALID | MDL_PTE_HUGE;
	mock_invalidate(&m, 0, 0, 0);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_BAD_PTE);
	mock_table_mem(&m, 3)[6] = 0;
	mock_table_mem(&m, 3)[7] = MDL_PTE_VALID | 0x7000;
	m.fail_map = 1;
	mock_invalidate(&m, 0, 0, 0);
	CHECK(m.ctx[0].doomed);
	mock_invalidate(&m, 0, 0, 0); /* nothing is asked of a dead executor */
	mock_unmap(&m, 0, UINT64_MAX);
	mock_settle(&m);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, STATUS), 4), MDL_STATUS_FAULTED);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_CONTEXT_LOST);
	mock_write(&m, mock_ctx_reg(0, CTRL), 4, MDL_CTRL_RESET);
	mock_open_ctx(&m, 0);
	mock_fini(&m);
}

static uint64_t random_va(struct mock_rng *r)
{
	uint32_t a = mock_random(r), l4 = a >> 16 & 511;

	return VA(mock_index[a % 6], mock_index[a / 6 % 6], mock_index[a / 36 % 6], l4);
}

/* What is usual in a table of level n % 4, else anything. */
static uint64_t random_pte(struct mock_rng *r, unsigned int n)
{
	static const uint8_t usual[4][4] = {
		{ 1, 1, 1, 2 }, { 1, 1, 2, 0 }, { 1, 2, 5, 6 }, { 3, 4, 3, 0 }
	};
	uint32_t kind = mock_random(r);

	return mock_pte(kind & 0x700 ? usual[n % 4][kind % 4] : kind, mock_random(r));
}

static void random_edit(struct mock *m, struct mock_rng *r)
{
	unsigned int n = mock_random(r) % MOCK_TABLES;
	uint64_t *table = mock_table_mem(m, n), e = random_pte(r, n);

	if (n % 4 == 3 && mock_random(r) & 1) {
		/* Leaves that follow each other, anywhere in a last-level table. */
		uint32_t at = mock_random(r) % 512, len = mock_random(r) % 64;

		for (uint32_t i = at; i < at + len && i < 512; i++, e += 4096)
			table[i] = e;
	} else {
		table[mock_index[mock_random(r) % MOCK_INDEXES]] = e;
	}
}

/*
 * Points entries at tables of the next level only: a stretch of leaves must not be reached as an
 * upper level's table.
 */
static void keep_levels_apart(struct mock *m)
{
	for (unsigned int n = 0; n < MOCK_TABLES; n++) {
		uint64_t *table = mock_table_mem(m, n);

		for (unsigned int i = 0; i < MOCK_INDEXES; i++) {
			uint64_t *e = &table[mock_index[i]];
			bool is_table = false;
			unsigned int to = 0;

			for (; to < MOCK_TABLES && !is_table; to++)
				is_table = *e == mock_table(to);
			if (is_table && n % 4 < 3 && (to - 1) % 4 != n % 4 + 1)
				*e = mock_table((to - 1) / 4 * 4 + n % 4 + 1);
		}
	}
}

static void reopen(struct mock *m, uint32_t c)
{
	mock_write(m, mock_ctx_reg(c, CTRL), 4, MDL_CTRL_RESET);
	mock_open_ctx(m, c);
	if (m->ctx[c].alive)
		return;
	/* Its tables still ask too much. */
	for (unsigned int i = 0; i < MOCK_TABLES; i++)
		memset(mock_table_mem(m, i), 0, 4096);
	mock_write(m, mock_ctx_reg(c, CTRL), 4, MDL_CTRL_RESET);
	mock_open_ctx(m, c);
}

static void random_sequence(uint64_t seed, unsigned int steps)
{
	struct mock_rng r = { seed };
	unsigned int faults = 0;
	struct mock m;

	mock_init(&m);
	for (uint32_t c = 0; c < MOCK_CTXS; c++) {
		mock_write(&m, mock_ctx_reg(c, PT_ROOT), 8, mock_table(4 * c));
		mock_open_ctx(&m, c);
	}
	for (unsigned int step = 0; step < steps; step++) {
		uint32_t op = mock_random(&r) % 32, c = mock_random(&r) % MOCK_CTXS;

		for (unsigned int i = mock_random(&r) % 16; i; i--)
			random_edit(&m, &r);
		keep_levels_apart(&m);
		if (op < 4)
			mock_invalidate(&m, c, 0, 0);
		else if (op < 20)
			mock_invalidate(&m, c, random_va(&r), 4096ull << mock_random(&r) % 37);
		else if (op < 23)
			mock_map_region(&m, mock_random(&r) % MOCK_REGIONS);
		else if (op < 25)
			mock_unmap(&m, mock_layout[mock_random(&r) % MOCK_REGIONS].gpa, 4096);
		else if (op == 25)
			mock_write(&m, mock_ctx_reg(c, PT_ROOT), 8,
				   mock_table(4 * (mock_random(&r) % 4)));
		else if (op == 26)
			m.fail_map = (int)(mock_random(&r) % 20);
		mock_settle(&m);
		for (c = 0; c < MOCK_CTXS; c++) {
			if (m.ctx[c].alive)
				continue;
			faults++;
			m.fail_map = 0;
			reopen(&m, c);
		}
	}
	printf("# seed %llu: %llu maps, %llu unmaps, %u faults\n", (unsigned long long)seed,
	       (unsigned long long)m.maps, (unsigned long long)m.unmaps, faults);
	CHECK(m.maps > steps / 2 && m.unmaps > steps / 8);
	mock_fini(&m);
}

static void random_1(void)
{
	random_sequence(1, 1500);
}

static void random_2(void)
{
	random_sequence(20260801, 1500);
}

static void random_3(void)
{
	random_sequence(0xfeedface, 1500);
}

static const struct check_case cases[] = {
	{ "coalesces, sends only differences", coalesces_and_sends_only_differences },
	{ "nothing is in force before an invalidate", nothing_in_force_before_invalidate },
	{ "bad entries", bad_entries },
	{ "edges of the window and of the address space", window_edges },
	{ "large pages", large_pages },
	{ "guest memory comes and goes", memory_comes_and_goes },
	{ "regions of one memory object", regions_of_one_object },
	{ "dma_map refuses bad regions", dma_map_refuses },
	{ "a failing ctx_map ends the context", map_failure_dooms },
	{ "random sequence 1", random_1, 120 },
	{ "random sequence 2", random_2, 120 },
	{ "random sequence 3", random_3, 120 },
};

CHECK_MAIN(cases)
