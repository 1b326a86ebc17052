/* SPDX-License-Identifier: MIT */
/*
 * Buffers, page tables and addresses: what the library maps is checked by walking the tables as the
 * device does, page by page, against a plain list of what should be mapped.
 */
#include "mock.h"

#include "unit/check.h"

static struct mock *mock;
static struct mdl_gpu *gpu;
static struct mdl_ctx *ctx;

static void open_all(const struct mdl_ctx_options *options)
{
	CHECK_EQ(mdl_gpu_open_port(mock_create(&mock), &gpu), 0);
	CHECK_EQ(mdl_ctx_create(gpu, options, &ctx), 0);
}

static void close_all(void)
{
	mdl_ctx_destroy(ctx);
	CHECK_EQ(gpu->vram.used_bytes, 0);
	CHECK_EQ(mock->dma_pages, 1); /* the fault ring */
	CHECK_EQ(gpu->ctx_used, 0);
	mdl_gpu_close(gpu);
}

/* The device sees the buffer's own memory at va, with these rights, all of it. */
static void check_mapped(struct mdl_buf *buf, uint64_t va, bool write)
{
	for (uint64_t at = 0; at < mdl_buf_bytes(buf); at += MDL_PAGE_BYTES) {
		uint64_t pte = 0, mark = va + at,
			 *cpu = (uint64_t *)((uint8_t *)mdl_buf_ptr(buf) + at + 8);
		uint8_t *dev = mock_walk(mock, mdl_ctx_id(ctx), va + at, &pte);

		CHECK(dev);
		*cpu = mark;
		CHECK_EQ(*(uint64_t *)(dev + 8), mark);
		CHECK_EQ(!!(pte & MDL_PTE_WRITE), write);
		CHECK_EQ(pte, mdl_ctx_pte(ctx, va + at, NULL));
	}
}

static void check_unmapped(uint64_t va, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += MDL_PAGE_BYTES) {
		CHECK(!mock_walk(mock, mdl_ctx_id(ctx), va + at, NULL));
		CHECK_EQ(mdl_ctx_pte(ctx, va + at, NULL), 0);
	}
}

static void one(enum mdl_place place, uint64_t bytes, uint32_t flags)
{
	struct mdl_buf *buf;
	uint64_t va = 0, n;

	CHECK_EQ(mdl_buf_create(gpu, bytes, place, &buf), 0);
	n = mdl_buf_bytes(buf);
	CHECK(n >= bytes && n % MDL_PAGE_BYTES == 0 && n < bytes + MDL_PAGE_BYTES);
	CHECK_EQ(mdl_buf_va(buf), 0);
	CHECK_EQ(mdl_buf_map(buf, ctx, MDL_VA_ANY, flags, &va), 0);
	CHECK_EQ(mdl_buf_va(buf), va);
	check_mapped(buf, va, flags & MDL_MAP_WRITE);
	CHECK_EQ(mdl_buf_unmap(buf, ctx, va + MDL_PAGE_BYTES, 0), -ENOENT);
	CHECK_EQ(mdl_buf_unmap(buf, ctx, va, 0), 0);
	CHECK_EQ(mdl_buf_unmap(buf, ctx, va, 0), -ENOENT);
	check_unmapped(va, n);
	CHECK_EQ(ctx->root->used, 0);
	CHECK(!ctx->dead);
	mdl_buf_destroy(buf);
}

static void places_and_sizes(void)
{
	static const uint64_t sizes[] = { 1, 4096, 4097, 2 << 20, (2 << 20) + 1, 5 << 20, 6 << 20 };

	for (int tables = MDL_PLACE_VRAM; tables <= MDL_PLACE_SYSTEM; tables++) {
		open_all(&(struct mdl_ctx_options) { .page_tables = tables });
		for (size_t i = 0; i < MDL_ARRAY_SIZE(sizes); i++) {
			for (int place = MDL_PLACE_VRAM; place <= MDL_PLACE_SYSTEM; place++) {
				one(place, sizes[i], MDL_MAP_RW);
				one(place, sizes[i], MDL_MAP_READ);
				one(place, sizes[i], MDL_MAP_RW | MDL_MAP_SMALL);
			}
		}
		close_all();
	}
}

static void huge_pages(void)
{
	struct mdl_buf *buf, *small;
	uint32_t level = 0;
	uint64_t va, base;

	open_all(NULL);
	CHECK_EQ(mdl_buf_create(gpu, 5 << 20, MDL_PLACE_VRAM, &buf), 0);
	CHECK_EQ(mdl_buf_map(buf, ctx, MDL_VA_ANY, MDL_MAP_RW, &va), 0);
	CHECK(mdl_ctx_pte(ctx, va, &level) & MDL_PTE_HUGE);
	CHECK_EQ(level, 2);
	CHECK(!(mdl_ctx_pte(ctx, va + (4 << 20), &level) & MDL_PTE_HUGE));
	CHECK_EQ(level, 3);
	/*
	 * The same, at an address that is not 2 MiB aligned: small pages, and two mappings at once.
	 */
	CHECK_EQ(mdl_ctx_reserve(ctx, 64 << 20, 0, &base), 0);
	CHECK_EQ(base % MDL_HUGE_BYTES, 0);
	CHECK_EQ(mdl_buf_map(buf, ctx, base + MDL_PAGE_BYTES, MDL_MAP_READ, NULL), 0);
	CHECK(!(mdl_ctx_pte(ctx, base + MDL_HUGE_BYTES, &level) & MDL_PTE_HUGE));
	check_mapped(buf, base + MDL_PAGE_BYTES, false);
	check_mapped(buf, va, true);
	/* A 2 MiB range whose table holds a neighbour's small page takes small pages too. */
	CHECK_EQ(mdl_buf_create(gpu, 4096, MDL_PLACE_SYSTEM, &small), 0);
	CHECK_EQ(mdl_buf_map(small, ctx, base + (32 << 20) + (5 << 20), MDL_MAP_RW, NULL), 0);
	CHECK_EQ(mdl_buf_map(buf, ctx, base + (32 << 20), MDL_MAP_RW, NULL), 0);
	check_mapped(small, base + (37 << 20), true);
	check_mapped(buf, base + (32 << 20), true);
	CHECK_EQ(mdl_buf_unmap(buf, ctx, base + (32 << 20), 0), 0);
	check_mapped(small, base + (37 << 20), true);
	mdl_buf_destroy(buf);
	check_mapped(small, base + (37 << 20), true);
	mdl_buf_destroy(small);
	CHECK_EQ(ctx->root->used, 0);
	CHECK_EQ(mdl_ctx_unreserve(ctx, base), 0);
	close_all();
}

static void addresses(void)
{
	struct mdl_buf *a, *b;
	uint64_t base, va;

	open_all(NULL);
	CHECK_EQ(mdl_buf_create(gpu, 8192, MDL_PLACE_VRAM, &a), 0);
	CHECK_EQ(mdl_buf_create(gpu, 8192, MDL_PLACE_VRAM, &b), 0);
	CHECK_EQ(mdl_buf_map(a, ctx, MOCK_VA_BASE - 4096, MDL_MAP_RW, &va), -ERANGE);
	CHECK_EQ(mdl_buf_map(a, ctx, MOCK_VA_LIMIT - 4096, MDL_MAP_RW, &va), -ERANGE);
	CHECK_EQ(mdl_buf_map(a, ctx, UINT64_MAX - 4095, MDL_MAP_RW, &va), -ERANGE);
	CHECK_EQ(mdl_buf_map(a, ctx, MOCK_VA_BASE + 1, MDL_MAP_RW, &va), -EINVAL);
	CHECK_EQ(mdl_buf_map(a, ctx, MDL_VA_ANY, 0x80, &va), -EINVAL);
	CHECK_EQ(mdl_buf_map(a, ctx, MOCK_VA_LIMIT - 8192, MDL_MAP_RW, &va), 0);
	check_mapped(a, MOCK_VA_LIMIT - 8192, true);
	/* Taken addresses, outside and inside reservations. */
	CHECK_EQ(mdl_buf_map(b, ctx, MOCK_VA_LIMIT - 4096 - 8192, MDL_MAP_RW, &va), -EEXIST);
	CHECK_EQ(mdl_ctx_reserve(ctx, 16384, 0, &base), 0);
	CHECK_EQ(mdl_buf_map(b, ctx, base + 4096, MDL_MAP_RW, NULL), 0);
	CHECK_EQ(mdl_buf_map(a, ctx, base, MDL_MAP_RW, NULL), -EEXIST);
	CHECK_EQ(mdl_buf_map(a, ctx, base + 8192, MDL_MAP_RW, NULL), -EEXIST);
	CHECK_EQ(mdl_buf_map(a, ctx, base + 12288, MDL_MAP_RW, NULL), -EEXIST);
	CHECK_EQ(mdl_ctx_unreserve(ctx, base), -EBUSY);
	CHECK_EQ(mdl_ctx_unreserve(ctx, base + 4096), -ENOENT);
	CHECK_EQ(mdl_buf_unmap(b, ctx, base + 4096, 0), 0);
	CHECK_EQ(mdl_ctx_unreserve(ctx, base), 0);
	CHECK_EQ(mdl_ctx_unreserve(ctx, base), -ENOENT);
	CHECK_EQ(mdl_ctx_unreserve(ctx, MOCK_VA_LIMIT - 8192), -ENOENT);
	CHECK_EQ(mdl_ctx_reserve(ctx, 0, 0, &base), -EINVAL);
	CHECK_EQ(mdl_ctx_reserve(ctx, 1, 12345, &base), -EINVAL);
	CHECK_EQ(mdl_ctx_reserve(ctx, MOCK_VA_LIMIT - MOCK_VA_BASE, 0, &base), -ENOSPC);
	mdl_buf_destroy(a);
	mdl_buf_destroy(b);
	close_all();
}

static void vram_runs_out(void)
{
	struct mdl_buf *buf[8], *more;
	unsigned int n = 0;

	open_all(NULL);
	CHECK_EQ(mdl_buf_create(gpu, MOCK_VRAM_BYTES + 1, MDL_PLACE_VRAM, &more), -ENOSPC);
	CHECK_EQ(mdl_buf_create(gpu, 0, MDL_PLACE_VRAM, &more), -EINVAL);
	CHECK_EQ(mdl_buf_create(gpu, (1ull << 40) + 1, MDL_PLACE_SYSTEM, &more), -EINVAL);
	CHECK_EQ(mdl_buf_create(gpu, UINT64_MAX, MDL_PLACE_SYSTEM, &more), -EINVAL);
	/* Small things gather at the top, so all but one of the 2 MiB blocks can be had. */
	while (n < 8 && mdl_buf_create(gpu, MDL_HUGE_BYTES, MDL_PLACE_VRAM, &buf[n]) == 0) {
		CHECK_EQ(mdl_buf_vram_offset(buf[n]) % MDL_HUGE_BYTES, 0);
		n++;
	}
	CHECK_EQ(n, 7);
	for (unsigned int i = 0; i < n; i++)
		mdl_buf_destroy(buf[i]);
	/* No room for page tables: mapping fails and leaves nothing. */
	CHECK_EQ(mdl_buf_create(gpu, MOCK_VRAM_BYTES - gpu->vram.used_bytes - 4096, MDL_PLACE_VRAM,
				&more),
		 0);
	CHECK_EQ(mdl_buf_map(more, ctx, MDL_VA_ANY, MDL_MAP_RW, NULL), -ENOSPC);
	CHECK_EQ(mdl_buf_va(more), 0);
	CHECK_EQ(ctx->root->used, 0);
	mdl_buf_destroy(more);
	close_all();
}

/* Cut-off tables are not reused before the device has been told. */
static void deferred(void)
{
	struct mdl_buf *a, *b;
	uint64_t va, vb, n;

	open_all(NULL);
	CHECK_EQ(mdl_buf_create(gpu, 4096, MDL_PLACE_SYSTEM, &a), 0);
	CHECK_EQ(mdl_buf_create(gpu, 4096, MDL_PLACE_SYSTEM, &b), 0);
	CHECK_EQ(mdl_buf_map(a, ctx, MOCK_VA_BASE + (1ull << 40), MDL_MAP_RW, &va), 0);
	n = mock->invalidates;
	CHECK_EQ(mdl_buf_map(b, ctx, MDL_VA_ANY, MDL_MAP_RW | MDL_MAP_DEFER, &vb), 0);
	CHECK_EQ(mdl_buf_unmap(a, ctx, va, MDL_MAP_DEFER), 0);
	CHECK_EQ(mock->invalidates, n);
	CHECK(ctx->dead);
	CHECK_EQ(mdl_ctx_invalidate(ctx, vb, 4096), 0);
	CHECK_EQ(mock->ctx[0].inv_va, vb);
	CHECK_EQ(mock->ctx[0].inv_bytes, 4096);
	CHECK(ctx->dead);
	CHECK_EQ(mdl_ctx_invalidate(ctx, 0, 0), 0);
	CHECK_EQ(mock->ctx[0].inv_bytes, 0);
	CHECK(!ctx->dead);
	/* Rounded outward to pages. */
	CHECK_EQ(mdl_ctx_invalidate(ctx, vb + 4095, 2), 0);
	CHECK_EQ(mock->ctx[0].inv_va, vb);
	CHECK_EQ(mock->ctx[0].inv_bytes, 8192);
	CHECK_EQ(mdl_ctx_invalidate(ctx, vb, UINT64_MAX), -EINVAL);
	mdl_buf_destroy(a);
	mdl_buf_destroy(b);
	close_all();
}

/* An entry that the device refuses: the mapping is taken back. */
static void refused(void)
{
	struct mdl_ctx_state state;
	struct mdl_buf *a;

	open_all(NULL);
	mock->ctx[0].error = MDL_ERR_BAD_PTE;
	mock->ctx[0].fault_va = 0x1234000;
	CHECK_EQ(mdl_buf_alloc(ctx, 4096, MDL_PLACE_VRAM, &a), -EIO);
	CHECK_EQ(mdl_ctx_state(ctx, &state), 0);
	CHECK_EQ(state.error, MDL_ERR_BAD_PTE);
	CHECK_EQ(state.fault_va, 0x1234000);
	CHECK_EQ(ctx->root->used, 0);
	CHECK(!ctx->mappings);
	close_all();
}

/* Many buffers of many kinds at once, against a list of what is mapped where. */
static void random_mappings(void)
{
	struct {
		struct mdl_buf *buf;
		uint64_t va;
		bool write;
	} slot[24] = { 0 };

	srand(11);
	open_all(NULL);
	for (int op = 0; op < 600; op++) {
		unsigned int i = (unsigned int)rand() % MDL_ARRAY_SIZE(slot);

		if (slot[i].buf) {
			uint64_t n = mdl_buf_bytes(slot[i].buf);

			mdl_buf_destroy(slot[i].buf);
			slot[i].buf = NULL;
			check_unmapped(slot[i].va, n);
		} else {
			uint64_t bytes = rand() % 4 ? 1 + (uint64_t)rand() % 70000
						    : 1 + (uint64_t)rand() % (5 << 20);
			uint32_t flags = (uint32_t)rand() & (MDL_MAP_WRITE | MDL_MAP_SMALL);

			slot[i].va = rand() % 2 ? MDL_VA_ANY
						: MOCK_VA_BASE + 4096 * ((uint64_t)rand() % 8192);
			if (mdl_buf_create(gpu, bytes, rand() % 2, &slot[i].buf) < 0)
				continue;
			slot[i].write = flags & MDL_MAP_WRITE;
			if (mdl_buf_map(slot[i].buf, ctx, slot[i].va, flags, &slot[i].va) < 0) {
				mdl_buf_destroy(slot[i].buf);
				slot[i].buf = NULL;
			}
		}
		for (size_t k = 0; op % 20 == 0 && k < MDL_ARRAY_SIZE(slot); k++) {
			if (slot[k].buf)
				check_mapped(slot[k].buf, slot[k].va, slot[k].write);
		}
	}
	for (size_t k = 0; k < MDL_ARRAY_SIZE(slot); k++)
		mdl_buf_destroy(slot[k].buf);
	CHECK_EQ(ctx->root->used, 0);
	close_all();
}

/* A buffer in two contexts, one of which ends first. */
static void two_contexts(void)
{
	struct mdl_ctx *other, *third;
	struct mdl_buf *buf;
	uint64_t va, vb;

	open_all(NULL);
	CHECK_EQ(mdl_ctx_create(gpu, NULL, &other), 0);
	CHECK_EQ(mdl_ctx_create(gpu, NULL, &third), -EBUSY);
	CHECK(mdl_ctx_id(other) != mdl_ctx_id(ctx));
	CHECK_EQ(mdl_buf_alloc(ctx, 4096, MDL_PLACE_VRAM, &buf), 0);
	va = mdl_buf_va(buf);
	CHECK_EQ(mdl_buf_map(buf, other, va + (1 << 30), MDL_MAP_READ, &vb), 0);
	CHECK_EQ(mock_walk(mock, 0, va, NULL) == mock_walk(mock, 1, vb, NULL), 1);
	CHECK(!mock_walk(mock, 1, va, NULL));
	CHECK(!mock_walk(mock, 0, vb, NULL));
	mdl_ctx_destroy(other);
	CHECK_EQ(mdl_buf_va(buf), va);
	CHECK_EQ(mdl_buf_unmap(buf, ctx, vb, 0), -ENOENT);
	check_mapped(buf, va, true);
	mdl_buf_destroy(buf);
	close_all();
}

static const struct check_case cases[] = {
	{ "every placement, size and right", places_and_sizes },
	{ "2 MiB pages where they fit", huge_pages },
	{ "chosen addresses and reservations", addresses },
	{ "VRAM runs out", vram_runs_out },
	{ "deferred invalidation", deferred },
	{ "an entry that the device refuses", refused },
	{ "random mappings agree with a naive walk", random_mappings },
	{ "a buffer in two contexts", two_contexts },
};
CHECK_MAIN(cases)
