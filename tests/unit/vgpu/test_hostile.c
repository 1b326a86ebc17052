/* SPDX-License-Identifier: MIT */
/*
 * Page tables made to hurt: the walk must end soon, take bounded memory, and leave the context
 * faulted, not the device.
 */
#include <time.h>

#include "base/util.h"
#include "mock.h"
#include "tests/unit/check.h"

#define LIMIT_S 5 /* CPU time of one invalidate, sanitizers and a slow machine included */

/* Entries read before the limit of runs, leaves or tables ends a walk, and some more. */
#define RUNS   (40000u)
#define LEAVES ((1u << 22) + 40000u)
#define TABLES (65536u * 512u)

static void fill(uint64_t *table, uint64_t first, uint64_t step)
{
	for (uint64_t i = 0; i < MDL_PT_ENTRIES; i++)
		table[i] = first + i * step;
}

static double invalidate(struct mock *m)
{
	clock_t begin = clock();

	mock_write(m, mock_ctx_reg(0, INV_BYTES), 8, 0);
	mock_write(m, mock_ctx_reg(0, INVALIDATE), 4, 1);
	return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

static void start(struct mock *m)
{
	mock_init(m);
	m->count_only = true;
	mock_open_ctx(m, 0);
	mock_write(m, mock_ctx_reg(0, PT_ROOT), 8, mock_table(0));
}

static void expect_fault(struct mock *m, const char *what, uint64_t max_reads)
{
	double s = invalidate(m);
	struct mdl_vgpu_stats stats;

	mdl_vgpu_stats(m->v, &stats);
	printf("# %s: %.0f ms, %llu entries read\n", what, s * 1000,
	       (unsigned long long)stats.pte_reads);
	CHECK(s < LIMIT_S);
	CHECK(stats.pte_reads <= max_reads);
	CHECK_EQ(mock_read(m, mock_ctx_reg(0, STATUS), 4), MDL_STATUS_FAULTED);
	CHECK_EQ(mock_read(m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_NO_RESOURCES);
	CHECK_EQ(m->maps, 0); /* found out before anything was mapped */
	CHECK_EQ(m->closes, 1);
	/* The context can be used again. */
	memset(mock_table_mem(m, 0), 0, 4096);
	mock_write(m, mock_ctx_reg(0, CTRL), 4, MDL_CTRL_RESET);
	mock_open_ctx(m, 0);
	CHECK_EQ(mock_read(m, mock_ctx_reg(0, STATUS), 4), MDL_STATUS_READY);
	mock_fini(m);
}

static void one_frame_everywhere(void)
{
	struct mock m;

	start(&m);
	/*
	 * 32 root entries inside the window; below, every entry at one table, every leaf one frame.
	 */
	for (unsigned int i = 64; i < 96; i++)
		mock_table_mem(&m, 0)[i] = mock_table(1);
	fill(mock_table_mem(&m, 1), mock_table(2), 0);
	fill(mock_table_mem(&m, 2), mock_table(3), 0);
	fill(mock_table_mem(&m, 3), MDL_PTE_VALID, 0);
	expect_fault(&m, "one frame everywhere", RUNS);
}

static void contiguous_everywhere(void)
{
	struct mock m;

	start(&m);
	for (unsigned int i = 64; i < 96; i++)
		mock_table_mem(&m, 0)[i] = mock_table(1);
	fill(mock_table_mem(&m, 1), mock_table(2), 0);
	fill(mock_table_mem(&m, 2), mock_table(3), 0);
	fill(mock_table_mem(&m, 3), MDL_PTE_VALID, 4096); /* runs of 512 pages */
	expect_fault(&m, "contiguous pages everywhere", LEAVES);
}

static void large_pages_everywhere(void)
{
	struct mock m;

	start(&m);
	for (unsigned int i = 64; i < 96; i++)
		mock_table_mem(&m, 0)[i] = mock_table(1);
	fill(mock_table_mem(&m, 1), mock_table(2), 0);
	fill(mock_table_mem(&m, 2), MDL_PTE_VALID | MDL_PTE_HUGE | MDL_PTE_SYSTEM | 0x100000000, 0);
	expect_fault(&m, "large pages everywhere", RUNS);
}

/* No leaf at all: only the number of tables can end it. */
static void empty_tables_everywhere(void)
{
	struct mock m;

	start(&m);
	fill(mock_table_mem(&m, 0), mock_table(1), 0);
	fill(mock_table_mem(&m, 1), mock_table(2), 0);
	fill(mock_table_mem(&m, 2), mock_table(3), 0);
	expect_fault(&m, "empty tables everywhere", TABLES);
}

/* Every leaf bad, or outside the window: no runs, but leaves to look at. */
static void bad_leaves_everywhere(void)
{
	struct mock m;

	start(&m);
	fill(mock_table_mem(&m, 0), mock_table(1), 0);
	fill(mock_table_mem(&m, 1), mock_table(2), 0);
	fill(mock_table_mem(&m, 2), mock_table(3), 0);
	fill(mock_table_mem(&m, 3), MDL_PTE_VALID | MDL_PTE_FRAME, 0);
	expect_fault(&m, "bad leaves everywhere", LEAVES);
}

static void table_that_is_its_own(void)
{
	struct mock m;

	start(&m);
	/* Recursive: as its own lowest level, each entry is a leaf that maps the table. */
	fill(mock_table_mem(&m, 0), mock_table(0), 0);
	expect_fault(&m, "a table that is its own", LEAVES);
}

/* More than the limit of aliases, with few runs and few leaves. */
static void too_much_memory(void)
{
	struct mock m;

	start(&m);
	mock_table_mem(&m, 0)[64] = mock_table(1);
	mock_table_mem(&m, 1)[0] = mock_table(2);
	fill(mock_table_mem(&m, 2), MDL_PTE_VALID | MDL_PTE_HUGE, 0); /* 1 GiB of 2 MiB */
	expect_fault(&m, "too many aliases", RUNS);
}

/*
 * The most that is allowed works, in bounded time, also when repeated and when cut by a removed
 * region.
 */
static void most_runs(void)
{
	struct mock m;
	double s;

	start(&m);
	mock_table_mem(&m, 0)[64] = mock_table(1);
	mock_table_mem(&m, 1)[0] = mock_table(2);
	for (unsigned int i = 0; i < 32; i++)
		mock_table_mem(&m, 2)[i] = mock_table(3);
	for (unsigned int i = 0; i < 512; i++)
		mock_table_mem(&m, 3)[i] = MDL_PTE_VALID | (i % 2 ? MDL_PTE_WRITE : 0) |
					   (i % 4 < 2 ? 0 : MDL_PTE_SYSTEM) | (0x200000 + i * 4096);
	s = invalidate(&m);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, STATUS), 4), MDL_STATUS_READY);
	CHECK_EQ(m.maps, 16384);
	CHECK_EQ(m.map_calls, 16384 / MDL_MAP_BATCH);
	printf("# first: %.1f ms\n", s * 1000);
	s = invalidate(&m);
	CHECK_EQ(m.maps, 16384);
	printf("# again: %.1f ms\n", s * 1000);
	CHECK(s < LIMIT_S);
	mdl_vgpu_dma_unmap(m.v, 0x100000, 4096);
	CHECK_EQ(m.unmaps, 4096); /* half of the runs are guest memory; two neighbours go in one */
	/* One run more is too many. */
	mock_map_region(&m, 0);
	m.region[1] = false;
	mock_map_region(&m, 1);
	mock_table_mem(&m, 2)[33] = MDL_PTE_VALID | MDL_PTE_HUGE;
	invalidate(&m);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_NO_RESOURCES);
	mock_fini(&m);
}

static const struct check_case cases[] = {
	{ "one frame everywhere", one_frame_everywhere, 60 },
	{ "contiguous pages everywhere", contiguous_everywhere, 60 },
	{ "large pages everywhere", large_pages_everywhere, 60 },
	{ "empty tables everywhere", empty_tables_everywhere, 60 },
	{ "bad leaves everywhere", bad_leaves_everywhere, 60 },
	{ "a table that is its own", table_that_is_its_own, 60 },
	{ "too many aliases", too_much_memory, 60 },
	{ "the most runs", most_runs, 60 },
};

CHECK_MAIN(cases)
