/* SPDX-License-Identifier: MIT */
/*
 * Creation and shadow updates while the allocator fails, by link-time wrapping of calloc and
 * reallocarray.
 */
#include "base/util.h"
#include "mock.h"
#include "tests/unit/check.h"

void *__wrap_calloc(size_t n, size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *ptr, size_t n, size_t size);
void *__real_reallocarray(void *ptr, size_t n, size_t size);

static int fail_in; /* the call that comes n-th from now fails, and all after it */

static bool fails(void)
{
	if (fail_in > 1)
		fail_in--;
	else if (fail_in == 1)
		return true;
	return false;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *ptr, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(ptr, n, size);
}

static uint64_t no_time(void *h)
{
	return 0;
}

static void creation(void)
{
	static uint64_t vram[(2 << 20) / 8], user[4096 / 8];
	const struct mdl_vgpu_host host = { .now_ns = no_time };
	const struct mdl_vgpu_config good = {
		.vram_bytes = 2 << 20,
		.channels = 1,
		.contexts = 1,
		.vram = vram,
		.user_pages = user,
	};
	struct mdl_vgpu_config bad[10];
	struct mdl_vgpu *v = NULL;

	fail_in = 1;
	CHECK_EQ(mdl_vgpu_create(&good, &host, NULL, &v), -ENOMEM);
	fail_in = 0;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].vram_bytes = 0;
	bad[1].vram_bytes = 1 << 20;
	bad[2].vram_bytes = 3 << 20;
	bad[3].vram_bytes = 1ull << 63;
	bad[4].channels = 0;
	bad[5].channels = MDL_HW_CHAN_MAX + 1;
	bad[6].contexts = 0;
	bad[7].contexts = MDL_HW_CTX_MAX + 1;
	bad[8].vram = NULL;
	bad[9].user_pages = NULL;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(bad); i++)
		CHECK_EQ(mdl_vgpu_create(&bad[i], &host, NULL, &v), -EINVAL);
	CHECK(!v);
	CHECK_EQ(mdl_vgpu_create(&good, &host, NULL, &v), 0);
	mdl_vgpu_destroy(v);
	mdl_vgpu_destroy(NULL);
}

/* No memory for the list: the context faults, whatever allocation it was; nothing else suffers. */
static void invalidate(void)
{
	for (int n = 1; n < 30; n++) {
		struct mock m;
		uint32_t status;

		mock_init(&m);
		mock_open_ctx(&m, 0);
		mock_open_ctx(&m, 1);
		mock_table_mem(&m, 0)[64] = mock_table(1);
		mock_table_mem(&m, 1)[0] = mock_table(2);
		mock_table_mem(&m, 2)[0] = mock_table(3);
		for (unsigned int i = 0; i < 512; i++)
			mock_table_mem(&m, 3)[i] = MDL_PTE_VALID; /* 512 runs */
		mock_write(&m, mock_ctx_reg(0, PT_ROOT), 8, mock_table(0));
		fail_in = n;
		mock_write(&m, mock_ctx_reg(0, INVALIDATE), 4, 1);
		fail_in = 0;
		status = (uint32_t)mock_read(&m, mock_ctx_reg(0, STATUS), 4);
		if (status == MDL_STATUS_READY) {
			CHECK(n > 6);
			mock_invalidate(&m, 0, 0, 0);
			mock_fini(&m);
			return;
		}
		CHECK_EQ(status, MDL_STATUS_FAULTED);
		CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_NO_RESOURCES);
		CHECK_EQ(mock_read(&m, mock_ctx_reg(1, STATUS), 4), MDL_STATUS_READY);
		mock_fini(&m);
	}
	CHECK(!"an invalidate needs fewer allocations");
}

/* Memory must go even when there is none to say so: then the whole context goes. */
static void unmap(void)
{
	struct mock m;

	mock_init(&m);
	mock_table_mem(&m, 0)[64] = mock_table(1);
	mock_table_mem(&m, 1)[0] = mock_table(2);
	mock_table_mem(&m, 2)[0] = mock_table(3);
	mock_table_mem(&m, 3)[0] = MDL_PTE_VALID | MDL_PTE_SYSTEM | 0x400000;
	mock_table_mem(&m, 3)[1] = MDL_PTE_VALID;
	mock_write(&m, mock_ctx_reg(0, PT_ROOT), 8, mock_table(0));
	mock_open_ctx(&m, 0);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, STATUS), 4), MDL_STATUS_READY);
	fail_in = 1;
	mock_unmap(&m, 0x100000, 4096);
	fail_in = 0;
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, STATUS), 4), MDL_STATUS_FAULTED);
	CHECK_EQ(m.closes, 1);
	mock_fini(&m);
}

static const struct check_case cases[] = {
	{ "creation", creation },
	{ "invalidate", invalidate },
	{ "unmap", unmap },
};

CHECK_MAIN(cases)
