/* SPDX-License-Identifier: MIT */
/*
 * Every constructor under an allocator that fails at the n-th call, for every n: -ENOMEM comes out,
 * nothing leaks, and the same call succeeds afterwards. malloc and calloc are wrapped by the
 * linker.
 */
#include "mock.h"

#include "unit/check.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);

static long countdown = -1; /* allocations until one fails; negative: none */

static bool fails(void)
{
	return countdown >= 0 && countdown-- == 0;
}

void *__wrap_malloc(size_t bytes)
{
	return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return fails() ? NULL : __real_calloc(n, bytes);
}

static struct mock *mock;
static struct mdl_gpu *gpu;
static struct mdl_ctx *ctx;
static struct mdl_chan *chan;
static struct mdl_prog *prog;

static int make_ctx(void **ret)
{
	return mdl_ctx_create(gpu, NULL, (struct mdl_ctx **)ret);
}

static void end_ctx(void *p)
{
	mdl_ctx_destroy(p);
}

static int make_buf(void **ret)
{
	return mdl_buf_alloc(ctx, 5 << 20, MDL_PLACE_VRAM, (struct mdl_buf **)ret);
}

static int make_system_buf(void **ret)
{
	return mdl_buf_alloc(ctx, 5 << 20, MDL_PLACE_SYSTEM, (struct mdl_buf **)ret);
}

static void end_buf(void *p)
{
	mdl_buf_destroy(p);
}

static int make_chan(void **ret)
{
	return mdl_chan_create(ctx, &(struct mdl_chan_options) { .place = MDL_PLACE_SYSTEM },
			       (struct mdl_chan **)ret);
}

static void end_chan(void *p)
{
	mdl_chan_destroy(p);
}

static int make_prog(void **ret)
{
	return mdl_prog_create(ctx, (struct mdl_prog **)ret);
}

static int build(void **ret)
{
	struct mdl_prog *p;
	int r = mdl_prog_create(ctx, &p);

	if (r < 0)
		return r;
	r = mdl_prog_build(p, chan, "good", 4, NULL, MDL_WAIT_FOREVER);
	if (r < 0)
		mdl_prog_destroy(p);
	else
		*ret = p;
	return r;
}

static void end_prog(void *p)
{
	mdl_prog_destroy(p);
}

static int make_kern(void **ret)
{
	struct mdl_kern *k;
	int r = mdl_kern_create(prog, "mix", &k);

	if (r < 0)
		return r;
	r = mdl_kern_set_value(k, 0, mock, 100);
	if (r < 0)
		mdl_kern_destroy(k);
	else
		*ret = k;
	return r;
}

static void end_kern(void *p)
{
	mdl_kern_destroy(p);
}

static int reserve(void **ret)
{
	uint64_t va;
	int r = mdl_ctx_reserve(ctx, 12345, 1 << 20, &va);

	if (r == 0)
		*ret = (void *)(uintptr_t)va;
	return r;
}

static void end_reserve(void *p)
{
	CHECK_EQ(mdl_ctx_unreserve(ctx, (uintptr_t)p), 0);
}

/* Lengths of the lists and accounts that a failed call must leave as they were. */
struct account {
	uint64_t vram, va, dma, ctxs, chans, progs;
};

static struct account account(void)
{
	return (struct account) { gpu->vram.used_bytes, ctx->va.used_bytes, mock->dma_pages,
				  gpu->ctx_used,	gpu->chan_used[0],  ctx->prog_used[0] };
}

static void each(const char *name, int (*make)(void **), void (*end)(void *))
{
	long n;

	for (n = 0;; n++) {
		struct account before = account(), after;
		void *obj = NULL;
		int r;

		countdown = n;
		r = make(&obj);
		if (countdown >= 0) { /* it did not come to the n-th */
			CHECK_EQ(r, 0);
			countdown = -1;
			end(obj);
			break;
		}
		if (r == 0) {
			fprintf(stderr, "# %s: the failure of allocation %ld went unnoticed\n",
				name, n);
			CHECK(false);
		}
		CHECK_EQ(r, -ENOMEM);
		CHECK(!obj);
		after = account();
		CHECK(!memcmp(&before, &after, sizeof(after)));
	}
	CHECK(n > 0);
}

static void constructors(void)
{
	CHECK_EQ(mdl_gpu_open_port(mock_create(&mock), &gpu), 0);
	CHECK_EQ(mdl_ctx_create(gpu, NULL, &ctx), 0);
	CHECK_EQ(mdl_chan_create(ctx, NULL, &chan), 0);
	CHECK_EQ(mdl_prog_create(ctx, &prog), 0);
	CHECK_EQ(mdl_prog_build(prog, chan, "good", 4, NULL, MDL_WAIT_FOREVER), 0);
	each("context", make_ctx, end_ctx);
	each("VRAM buffer", make_buf, end_buf);
	each("system buffer", make_system_buf, end_buf);
	each("channel", make_chan, end_chan);
	each("program", make_prog, end_prog);
	each("build", build, end_prog);
	each("kernel", make_kern, end_kern);
	each("reservation", reserve, end_reserve);
	mdl_prog_destroy(prog);
	mdl_chan_destroy(chan);
	mdl_ctx_destroy(ctx);
	CHECK_EQ(gpu->vram.used_bytes, 0);
	mdl_gpu_close(gpu);
}

static void open_device(void)
{
	for (long n = 0;; n++) {
		struct mdl_port *port = mock_create(&mock);
		int r;

		countdown = n;
		r = mdl_gpu_open_port(port, &gpu);
		if (countdown >= 0) {
			countdown = -1;
			CHECK_EQ(r, 0);
			CHECK(n > 2);
			mdl_gpu_close(gpu);
			return;
		}
		CHECK_EQ(r, -ENOMEM);
	}
}

static const struct check_case cases[] = {
	{ "constructors with a failing allocator", constructors },
	{ "opening with a failing allocator", open_device },
};
CHECK_MAIN(cases)
