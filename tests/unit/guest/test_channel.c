/* SPDX-License-Identifier: MIT */
/*
 * Channels against the device in this process: commands, ring and argument memory wrapping, fences,
 * interrupts, errors, recovery.
 */
#include "mock.h"

#include "unit/check.h"

static struct mock *mock;
static struct mdl_gpu *gpu;
static struct mdl_ctx *ctx;
static struct mdl_chan *chan;
static struct mdl_buf *buf;

static void open_all(const struct mdl_chan_options *options)
{
	CHECK_EQ(mdl_gpu_open_port(mock_create(&mock), &gpu), 0);
	CHECK_EQ(mdl_ctx_create(gpu, NULL, &ctx), 0);
	CHECK_EQ(mdl_chan_create(ctx, options, &chan), 0);
	CHECK_EQ(mdl_buf_alloc(ctx, 65536, MDL_PLACE_SYSTEM, &buf), 0);
}

static void close_all(void)
{
	mdl_buf_destroy(buf);
	mdl_chan_destroy(chan);
	mdl_ctx_destroy(ctx);
	CHECK_EQ(gpu->vram.used_bytes, 0);
	CHECK_EQ(mock->dma_pages, 1);
	CHECK_EQ(gpu->chan_used[0], 0);
	mdl_gpu_close(gpu);
}

static void commands(void)
{
	uint8_t *p;
	uint64_t va, *word;
	struct mdl_fence f;

	open_all(&(struct mdl_chan_options) { .place = MDL_PLACE_SYSTEM });
	p = mdl_buf_ptr(buf);
	va = mdl_buf_va(buf);
	word = (uint64_t *)(p + 32768);
	CHECK_EQ(mdl_chan_fill(chan, va, 4096, 0xa1b2c3d4, 4), 0);
	CHECK_EQ(mdl_chan_fill(chan, va + 4096, 16, ~0ull, 1), 0);
	CHECK_EQ(mdl_chan_copy(chan, va + 8192, va + 4094, 4), 0);
	CHECK_EQ(mdl_chan_update(chan, va + 12288, "hello", 6), 0);
	CHECK_EQ(mdl_chan_copy_2d(chan, va + 16384, 8, va, 16, 4, 3), 0);
	CHECK_EQ(mdl_chan_sem_release(chan, va + 32768, MDL_SEM_SET, 5), 0);
	CHECK_EQ(mdl_chan_sem_release(chan, va + 32768, MDL_SEM_ADD, 7), 0);
	CHECK_EQ(mdl_chan_sem_release(chan, va + 32768, MDL_SEM_OR, 0x100), 0);
	CHECK_EQ(mdl_chan_timestamp(chan, va + 32776), 0);
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	CHECK_EQ(mdl_chan_finish(chan, 0), 0);
	CHECK_EQ(*(uint32_t *)(p + 4092), 0xa1b2c3d4);
	CHECK_EQ(p[4096], 0xff);
	CHECK(!memcmp(p + 8192, "\xb2\xa1\xff\xff", 4));
	CHECK_STR((char *)p + 12288, "hello");
	CHECK_EQ(*(uint32_t *)(p + 16384 + 16), 0xa1b2c3d4);
	CHECK_EQ(*(uint32_t *)(p + 16384 + 20), 0);
	CHECK_EQ(word[0], 0x10c);
	CHECK(word[1] > 0);
	/* Bad arguments never reach the ring. */
	mdl_chan_fence(chan, &f);
	CHECK_EQ(mdl_chan_fill(chan, va, 16, 0, 3), -EINVAL);
	CHECK_EQ(mdl_chan_fill(chan, va, 16, 0, 16), -EINVAL);
	CHECK_EQ(mdl_chan_fill(chan, va + 1, 16, 0, 4), -EINVAL);
	CHECK_EQ(mdl_chan_fill(chan, va, 15, 0, 4), -EINVAL);
	CHECK_EQ(mdl_chan_copy_2d(chan, va, 3, va, 16, 4, 3), -EINVAL);
	CHECK_EQ(mdl_chan_copy_2d(chan, va, 16, va, 3, 4, 3), -EINVAL);
	CHECK_EQ(mdl_chan_sem_wait(chan, va + 4, MDL_SEM_EQ, 0), -EINVAL);
	CHECK_EQ(mdl_chan_sem_wait(chan, va, 4, 0), -EINVAL);
	CHECK_EQ(mdl_chan_sem_release(chan, va, 3, 0), -EINVAL);
	CHECK_EQ(mdl_chan_timestamp(chan, va + 4), -EINVAL);
	CHECK_EQ(mdl_chan_update(chan, va, p, (64 << 10) / 4 + 1), -E2BIG);
	CHECK_EQ(chan->base + chan->head, f.value);
	close_all();
}

/* One doorbell for a batch, none while the device is awake. */
static void doorbells(void)
{
	struct mdl_fence f;

	open_all(NULL);
	mock->automatic = false;
	CHECK_EQ(mdl_chan_begin(chan), 0);
	CHECK_EQ(mdl_chan_begin(chan), -EBUSY);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(mdl_chan_barrier(chan), 0);
	CHECK_EQ(mock->doorbells, 0);
	CHECK_EQ(mock_run(mock, 0, 100), 0);
	CHECK_EQ(mdl_chan_finish(chan, 0), -EBUSY);
	CHECK_EQ(mdl_chan_commit(chan, 0x80, &f), -EINVAL);
	CHECK_EQ(mdl_chan_commit(chan, 0, &f), 0);
	CHECK_EQ(mdl_chan_commit(chan, 0, &f), -EINVAL);
	CHECK_EQ(mock->doorbells, 1);
	CHECK_EQ(mdl_fence_poll(&f), 0);
	CHECK_EQ(mock_run(mock, 0, 9), 9);
	CHECK_EQ(mdl_fence_poll(&f), 0);
	CHECK_EQ(mock_run(mock, 0, 9), 1);
	CHECK_EQ(mdl_fence_poll(&f), 1);
	chan->user->doorbell_wanted = 0;
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	CHECK_EQ(mock->doorbells, 1);
	CHECK_EQ(mock_run(mock, 0, 9), 1);
	/* An empty batch: the last fence, no packet. */
	CHECK_EQ(mdl_chan_begin(chan), 0);
	CHECK_EQ(mdl_chan_commit(chan, MDL_COMMIT_IRQ, &f), 0);
	CHECK_EQ(mdl_fence_poll(&f), 1);
	CHECK_EQ(mock_run(mock, 0, 9), 0);
	close_all();
}

/*
 * A counter in memory, bumped by every packet, through a tiny ring that wraps hundreds of times,
 * the device running now and then.
 */
static void ring_wraps(void)
{
	struct mdl_fence f[1000];
	uint64_t *count, va;

	open_all(&(struct mdl_chan_options) { .ring_log2 = 2 });
	mock->automatic = false;
	mock->step = 3;
	count = mdl_buf_ptr(buf);
	va = mdl_buf_va(buf);
	srand(3);
	for (int i = 0; i < 1000; i++) {
		bool batch = rand() % 3 == 0;

		if (batch)
			CHECK_EQ(mdl_chan_begin(chan), 0);
		for (int k = 0; k < (batch ? 7 : 1);
		     k++) /* a batch larger than the ring goes in parts */
			CHECK_EQ(mdl_chan_sem_release(chan, va, MDL_SEM_ADD, 1), 0);
		if (batch)
			CHECK_EQ(mdl_chan_commit(chan, 0, &f[i]), 0);
		else
			mdl_chan_fence(chan, &f[i]);
		CHECK(chan->head - chan->user->get <= 4);
		CHECK(f[i].value == chan->head);
		CHECK_EQ(mdl_fence_poll(&f[i]), f[i].value <= *count);
	}
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(*count, f[999].value);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(mdl_fence_poll(&f[i]), 1);
	close_all();
}

/*
 * A full ring and a device that does not move: the command gives up in time, and nothing is
 * overwritten.
 */
static void ring_full(void)
{
	uint64_t start;

	open_all(&(struct mdl_chan_options) { .ring_log2 = 3 });
	mock->automatic = false;
	mdl_chan_set_limit(chan, 5000000);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(mdl_chan_sem_release(chan, mdl_buf_va(buf), MDL_SEM_ADD, 1), 0);
	start = mock->now;
	CHECK_EQ(mdl_chan_sem_release(chan, mdl_buf_va(buf), MDL_SEM_ADD, 100), -ETIMEDOUT);
	CHECK(mock->now - start >= 5000000 && mock->now - start < 8000000);
	CHECK_EQ(mock_run(mock, 0, 100), 8);
	CHECK_EQ(*(uint64_t *)mdl_buf_ptr(buf), 8);
	CHECK_EQ(mdl_chan_sem_release(chan, mdl_buf_va(buf), MDL_SEM_ADD, 1), 0);
	close_all();
}

static struct mdl_prog *prog;
static struct mdl_kern *mix;

static void load(void)
{
	CHECK_EQ(mdl_prog_create(ctx, &prog), 0);
	CHECK_EQ(mdl_prog_build(prog, chan, "good", 4, "-O2", MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mdl_kern_create(prog, "mix", &mix), 0);
}

static void unload(void)
{
	mdl_kern_destroy(mix);
	mdl_prog_destroy(prog);
}

/*
 * Kernel arguments: each launch sees its own, though argument memory holds only a few at a time and
 * the device is slow. Long values make the blocks wrap at odd places.
 */
static void arguments_recycle(void)
{
	static uint8_t longer[900];
	uint32_t launched = 0;

	open_all(&(struct mdl_chan_options) { .args_bytes = 4096, .ring_log2 = 5 });
	load();
	mock->automatic = false;
	mock->step = 2;
	CHECK_EQ(mdl_kern_set_buffer(mix, 1, buf, 64), 0);
	CHECK_EQ(mdl_kern_set_local(mix, 2, 1024), 0);
	srand(5);
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t n = i % 7 ? 1 + (uint32_t)rand() % 8 : 9 + (uint32_t)rand() % 800;
		uint32_t global[] = { 64 + i, 2 }, local[] = { 8, 2 };
		uint64_t offset[] = { i, 1 };

		memset(longer, (int)(i % 251), sizeof(longer));
		CHECK_EQ(mdl_kern_set_value(mix, 0, &i, sizeof(i)), 0);
		CHECK_EQ(mdl_kern_set_value(mix, 3, longer, n), 0);
		CHECK_EQ(mdl_chan_launch(chan, mix, 2, global, local, offset), 0);
		/* Checked when they ran, which may be many launches later. */
		for (; launched < mock->launches; launched++) {
			struct mock_launch *l = &mock->launch[launched % MOCK_LAUNCHES];
			uint32_t bytes = l->arg[3].size;
			uint64_t byte = launched % 251;

			CHECK_EQ(l->nargs, 4);
			CHECK_EQ(l->arg[0].value, launched);
			CHECK_EQ(l->arg[0].size, 4);
			CHECK_EQ(l->arg[1].kind, MDL_ARG_BUFFER);
			CHECK_EQ(l->arg[1].value, mdl_buf_va(buf) + 64);
			CHECK_EQ(l->arg[2].kind, MDL_ARG_LOCAL);
			CHECK_EQ(l->arg[2].size, 1024);
			CHECK_EQ(l->global_offset[0], launched);
			CHECK_EQ(l->global_offset[1], 1);
			CHECK_EQ(l->global_offset[2], 0);
			CHECK_EQ(l->packet.global[0], 64 + launched);
			CHECK_EQ(l->packet.global[2], 1);
			CHECK_EQ(l->packet.local[0], 8);
			CHECK_EQ(l->packet.local[2], 1);
			if (bytes > 8)
				CHECK_EQ(l->sum, bytes * byte);
			else
				CHECK_EQ(l->arg[3].value & 0xff, byte);
		}
	}
	CHECK(launched > 2900);
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mock->launches, 3000);
	mock_run(mock, 0, 10);
	unload();
	CHECK_EQ(mock_run(mock, 0, 10), 1);
	CHECK_EQ(mock->unloads, 1);
	close_all();
}

static void programs(void)
{
	uint32_t one[] = { 1 }, eight[] = { 8 }, zero[] = { 0 }, huge[] = { 512 };
	struct mdl_kern *none, *old;
	struct mdl_prog *other;
	uint64_t v[2] = { 1, 2 };

	open_all(NULL);
	load();
	CHECK_EQ(mdl_prog_num_kernels(prog), 2);
	CHECK_STR(mdl_prog_kernel(prog, 1)->name, "none");
	CHECK(!mdl_prog_kernel(prog, 2));
	CHECK_EQ(mdl_kern_create(prog, "nix", &none), -ENOENT);
	CHECK_EQ(mdl_kern_create(prog, "none", &none), 0);
	/* Arguments of the wrong kind, missing, out of range. */
	CHECK_EQ(mdl_kern_set_value(mix, 1, v, 4), -EINVAL);
	CHECK_EQ(mdl_kern_set_value(mix, 4, v, 4), -EINVAL);
	CHECK_EQ(mdl_kern_set_value(mix, UINT32_MAX, v, 4), -EINVAL);
	CHECK_EQ(mdl_kern_set_value(mix, 0, v, 0), -EINVAL);
	CHECK_EQ(mdl_kern_set_value(mix, 0, v, MDL_ARG_BYTES_MAX + 1), -EINVAL);
	CHECK_EQ(mdl_kern_set_local(mix, 0, 4), -EINVAL);
	CHECK_EQ(mdl_kern_set_local(mix, 2, 0), -EINVAL);
	CHECK_EQ(mdl_kern_set_buffer(mix, 0, buf, 0), -EINVAL);
	CHECK_EQ(mdl_kern_set_buffer(mix, 1, buf, 65536), -ERANGE);
	CHECK_EQ(mdl_chan_launch(chan, mix, 1, one, NULL, NULL), -ENODATA);
	CHECK_EQ(mdl_kern_set_value(mix, 0, v, 16), 0);
	CHECK_EQ(mdl_kern_set_buffer(mix, 1, NULL, 0), 0);
	CHECK_EQ(mdl_kern_set_local(mix, 2, 4), 0);
	CHECK_EQ(mdl_kern_set_value(mix, 3, v, 8), 0);
	CHECK_EQ(mdl_chan_launch(chan, mix, 0, one, NULL, NULL), -EINVAL);
	CHECK_EQ(mdl_chan_launch(chan, mix, 4, one, NULL, NULL), -EINVAL);
	CHECK_EQ(mdl_chan_launch(chan, mix, 1, zero, NULL, NULL), -EINVAL);
	CHECK_EQ(mdl_chan_launch(chan, mix, 1, huge, huge, NULL), -EINVAL);
	CHECK_EQ(mdl_chan_launch(chan, mix, 1, huge, zero, NULL), -EINVAL);
	CHECK_EQ(mdl_chan_launch(chan, mix, 1, one, NULL, NULL), 0);
	CHECK_EQ(mock->launches, 1);
	CHECK_EQ(mock->launch[0].arg[1].value, 0);
	CHECK_EQ(mock->launch[0].sum, 3);
	CHECK_EQ(mock->launch[0].packet.local[0], 0);
	/* No arguments: no block, unless there is an offset. */
	CHECK_EQ(mdl_chan_launch(chan, none, 1, eight, one, NULL), -EINVAL);
	CHECK_EQ(mdl_chan_launch(chan, none, 1, eight, eight, NULL), 0);
	CHECK_EQ(mock->launch[1].packet.args_va, 0);
	CHECK_EQ(mdl_chan_launch(chan, none, 1, eight, eight, v), 0);
	CHECK_EQ(mock->launch[2].global_offset[0], 1);
	/* A program that does not build, then does: old kernels are stale. */
	old = none;
	CHECK_EQ(mdl_prog_build(prog, chan, "fail", 4, NULL, MDL_WAIT_FOREVER), -ENOEXEC);
	CHECK(strstr(mdl_prog_log(prog), "error"));
	CHECK_EQ(mdl_prog_num_kernels(prog), 0);
	CHECK_EQ(mdl_chan_launch(chan, old, 1, eight, eight, NULL), -ESTALE);
	CHECK_EQ(mdl_prog_build(prog, chan, "good", 4, NULL, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mdl_chan_launch(chan, old, 1, eight, eight, NULL), -ESTALE);
	mdl_kern_destroy(old);
	CHECK_EQ(mdl_prog_build(prog, chan, "", 0, NULL, 0), -EINVAL);
	CHECK_EQ(mdl_prog_build(prog, chan, "x", MDL_PROGRAM_SOURCE_MAX + 1, NULL, 0), -E2BIG);
	/* Handles run out, and come back. */
	for (int i = 1; i < MDL_PROGRAM_MAX; i++) {
		CHECK_EQ(mdl_prog_create(ctx, &other), 0);
		if (i == MDL_PROGRAM_MAX - 1)
			mdl_prog_destroy(other);
	}
	CHECK_EQ(mdl_prog_create(ctx, &other), 0);
	CHECK_EQ(mdl_prog_create(ctx, &other), -EBUSY);
	unload();
	CHECK_EQ(mdl_prog_create(ctx, &prog), 0);
	_exit(0); /* the 255 programs are not worth a list */
}

/* A build whose wait gives up: the device's late answer goes to memory that is still there. */
static void build_timeout(void)
{
	open_all(NULL);
	CHECK_EQ(mdl_prog_create(ctx, &prog), 0);
	mock->automatic = false;
	CHECK_EQ(mdl_prog_build(prog, chan, "good", 4, NULL, 1000000), -ETIMEDOUT);
	CHECK_EQ(mdl_prog_build(prog, chan, "good", 4, NULL, 1000000), -EBUSY);
	mock->automatic = true;
	CHECK(mock_run(mock, 0, 100) >= 1);
	CHECK_EQ(mock->ctx[0].status, MDL_STATUS_READY);
	CHECK_EQ(mdl_prog_build(prog, chan, "good", 4, NULL, 1000000), 0);
	mdl_prog_destroy(prog);
	close_all();
}

static const struct check_case cases[] = {
	{ "every command does what it says", commands },
	{ "doorbells only when wanted", doorbells },
	{ "the ring wraps", ring_wraps },
	{ "the ring is full", ring_full },
	{ "argument memory is recycled", arguments_recycle },
	{ "programs, kernels and arguments", programs },
	{ "a build that times out", build_timeout },
};
CHECK_MAIN(cases)
