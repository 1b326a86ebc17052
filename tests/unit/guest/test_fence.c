/* SPDX-License-Identifier: MIT */
/* Fences, interrupts, errors and recovery, against the device in this process. */
#include "mock.h"

#include "unit/check.h"

static struct mock *mock;
static struct mdl_gpu *gpu;
static struct mdl_ctx *ctx;
static struct mdl_chan *chan;

static void open_all(bool irqs)
{
	struct mdl_port *port = mock_create(&mock);

	if (!irqs)
		port->num_vectors = 0;
	CHECK_EQ(mdl_gpu_open_port(port, &gpu), 0);
	CHECK_EQ(mdl_ctx_create(gpu, NULL, &ctx), 0);
	CHECK_EQ(mdl_chan_create(ctx, NULL, &chan), 0);
}

static void close_all(void)
{
	mdl_chan_destroy(chan);
	mdl_ctx_destroy(ctx);
	CHECK_EQ(gpu->vram.used_bytes, 0);
	mdl_gpu_close(gpu);
}

/* Fence values pass 2^64 without a hitch. */
static void values_wrap(void)
{
	struct mdl_fence f[40];

	open_all(true);
	mock->automatic = false;
	chan->base = UINT64_MAX - 19;
	mdl_ring_restart(chan);
	for (int i = 0; i < 40; i++) {
		CHECK_EQ(mdl_chan_barrier(chan), 0);
		mdl_chan_fence(chan, &f[i]);
		CHECK_EQ(f[i].value, UINT64_MAX - 18 + (uint64_t)i);
	}
	for (int i = 0; i < 40; i++) {
		CHECK_EQ(mdl_fence_poll(&f[i]), 0);
		CHECK_EQ(mock_run(mock, 0, 1), 1);
		CHECK_EQ(mdl_fence_poll(&f[i]), 1);
	}
	mock->step = 100;
	CHECK_EQ(mdl_chan_finish(chan, 0), 0);
	close_all();
}

/*
 * Nobody waits: no interrupts. Somebody does: one, from a packet queued behind or from the batch
 * itself.
 */
static void irq_when_waited_for(void)
{
	struct mdl_fence f;

	open_all(true);
	for (int i = 0; i < 50; i++)
		CHECK_EQ(mdl_chan_barrier(chan), 0);
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mock->irqs, 0);
	mock->automatic = false;
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	mock->step = 10;
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mock->irqs, 1);
	CHECK_EQ(mock->waits, 1);
	CHECK_EQ(mock_run(mock, 0, 10), 0);
	mock->step = 0;
	CHECK_EQ(mdl_chan_begin(chan), 0);
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	CHECK_EQ(mdl_chan_commit(chan, MDL_COMMIT_IRQ, &f), 0);
	mock->step = 10;
	CHECK_EQ(mdl_fence_wait(&f, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mock->irqs, 2);
	CHECK_EQ(chan->head, 53); /* no packet was added */
	/* Waiting again, and for older fences, asks for nothing. */
	CHECK_EQ(mdl_fence_wait(&f, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mock->waits, 2);
	CHECK_EQ(mock->sleeps, 0);
	close_all();
}

/*
 * The device finishes between the look and the sleep: the interrupt that came before the wait must
 * end it. The mock's clock tells: a wait that missed it lasts a whole slice.
 */
static void no_lost_wakeup(void)
{
	struct mdl_fence f;
	uint64_t start;

	open_all(true);
	mock->automatic = false;
	mdl_gpu_set_spin(gpu, 0);
	CHECK_EQ(mdl_chan_begin(chan), 0);
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	CHECK_EQ(mdl_chan_commit(chan, MDL_COMMIT_IRQ, &f), 0);
	/* An old interrupt, of other work: forgotten, not mistaken for this one. */
	mock->irq_pending = 1u << chan->vector;
	mock->step = 1;
	start = mock->now;
	CHECK_EQ(mdl_fence_wait(&f, MDL_WAIT_FOREVER), 0);
	CHECK(mock->now - start < MDL_NS_PER_MS);
	/* Old interrupts do not turn sleeping into spinning. */
	mock->step = 0;
	mock->waits = 0;
	CHECK_EQ(mdl_chan_begin(chan), 0);
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	CHECK_EQ(mdl_chan_commit(chan, MDL_COMMIT_IRQ, &f), 0);
	mock->irq_pending = 1u << chan->vector | 1u;
	CHECK_EQ(mdl_fence_wait(&f, 50 * MDL_NS_PER_MS), -ETIMEDOUT);
	CHECK(mock->waits <= 2);
	/* At whatever point between the looks the device finishes, the sleep ends at once. */
	for (uint32_t look = 1; look < 12; look++) {
		mock_run(mock, 0, 100);
		CHECK_EQ(mdl_chan_begin(chan), 0);
		CHECK_EQ(mdl_chan_barrier(chan), 0);
		CHECK_EQ(mdl_chan_commit(chan, MDL_COMMIT_IRQ, &f), 0);
		mock->run_at_look = look;
		start = mock->now;
		CHECK_EQ(mdl_fence_wait(&f, MDL_NS_PER_S), 0);
		/* The first five looks come before the first sleep. */
		CHECK(look > 5 || mock->now - start < MDL_NS_PER_MS);
		mock->run_at_look = 0;
	}
	mock_run(mock, 0, 100);
	mock->step = 1;
	/* And if interrupts never come (a broken host), slices end in time all the same. */
	mock->mute_irq = 1;
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	start = mock->now;
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), 0);
	CHECK(mock->now - start < MDL_NS_PER_S);
	close_all();
}

static void time_limits(void)
{
	static const int64_t limit[] = { 0, 1000, 30000, 200000, 50000000, 3000000000 };

	for (int irqs = 0; irqs < 2; irqs++) {
		open_all(irqs);
		mock->automatic = false;
		CHECK_EQ(mdl_chan_barrier(chan), 0);
		for (size_t i = 0; i < MDL_ARRAY_SIZE(limit); i++) {
			uint64_t start = mock->now, took;

			CHECK_EQ(mdl_chan_finish(chan, limit[i]), -ETIMEDOUT);
			took = mock->now - start;
			CHECK(took >= (uint64_t)limit[i]);
			CHECK(took < (uint64_t)limit[i] + 100000);
		}
		CHECK(irqs ? !mock->sleeps : !mock->waits);
		mock->step = 1;
		CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), 0);
		close_all();
	}
}

/* A full ring takes no interrupt packet: waiting polls, and ends. */
static void full_ring_polls(void)
{
	struct mdl_fence f;

	open_all(true);
	mock->automatic = false;
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	mdl_chan_fence(chan, &f);
	for (int i = 1; i < 1024; i++)
		CHECK_EQ(mdl_chan_barrier(chan), 0);
	mock->step = 1;
	CHECK_EQ(mdl_fence_wait(&f, MDL_NS_PER_S), 0);
	CHECK(mock->sleeps > 0);
	close_all();
}

static void bad_packet(void)
{
	struct mdl_hw_packet p = { .opcode = 77, .tag = 4242 };
	struct mdl_chan_error e;
	struct mdl_fence before, at, after;
	struct mdl_hw_fault fault;

	open_all(true);
	CHECK_EQ(mdl_gpu_next_fault(gpu, &fault), -EAGAIN);
	CHECK_EQ(mdl_chan_error(chan, &e), 0);
	CHECK_EQ(e.error, MDL_ERR_NONE);
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	mdl_chan_fence(chan, &before);
	CHECK_EQ(mdl_chan_packet(chan, &p), 0);
	mdl_chan_fence(chan, &at);
	CHECK_EQ(mdl_fence_poll(&before), 1);
	CHECK_EQ(mdl_fence_poll(&at), -EIO);
	CHECK_EQ(mdl_fence_wait(&at, MDL_WAIT_FOREVER), -EIO);
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), -EIO);
	CHECK_EQ(mdl_chan_barrier(chan), -EIO);
	CHECK_EQ(mdl_chan_begin(chan), -EIO);
	CHECK_EQ(mdl_chan_update(chan, 0, "x", 1), -EIO);
	CHECK_EQ(mdl_chan_error(chan, &e), 0);
	CHECK_EQ(e.error, MDL_ERR_BAD_PACKET);
	CHECK_EQ(e.packet, 1);
	CHECK_EQ(e.tag, 4242);
	CHECK(!e.context_lost);
	CHECK_EQ(mdl_gpu_next_fault(gpu, &fault), 0);
	CHECK_EQ(fault.error, MDL_ERR_BAD_PACKET);
	CHECK_EQ(fault.tag, 4242);
	CHECK_EQ(mdl_gpu_next_fault(gpu, &fault), -EAGAIN);
	/* Recovery: old fences are void, new ones work. */
	CHECK_EQ(mdl_chan_reset(chan), 0);
	CHECK_EQ(mdl_fence_poll(&before), -ECANCELED);
	CHECK_EQ(mdl_fence_wait(&at, 0), -ECANCELED);
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	mdl_chan_fence(chan, &after);
	CHECK_EQ(mdl_fence_poll(&after), 1);
	CHECK((int64_t)(after.value - at.value) > 0);
	close_all();
}

static void page_fault(void)
{
	struct mdl_chan_error e;
	struct mdl_ctx_state s;
	struct mdl_prog *prog;
	struct mdl_kern *kern;
	struct mdl_buf *buf;

	open_all(true);
	CHECK_EQ(mdl_buf_alloc(ctx, 8192, MDL_PLACE_VRAM, &buf), 0);
	memcpy(mdl_buf_ptr(buf), "kept", 5);
	CHECK_EQ(mdl_prog_create(ctx, &prog), 0);
	CHECK_EQ(mdl_prog_build(prog, chan, "good", 4, NULL, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(mdl_kern_create(prog, "none", &kern), 0);
	CHECK_EQ(mdl_chan_fill(chan, 0x123456789000, 8, 0, 8), 0);
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), -EIO);
	CHECK_EQ(mdl_chan_error(chan, &e), 0);
	CHECK_EQ(e.error, MDL_ERR_PAGE_FAULT);
	CHECK_EQ(e.va, 0x123456789000);
	CHECK(e.context_lost);
	CHECK_EQ(mdl_ctx_state(ctx, &s), 0);
	CHECK_EQ(s.status, MDL_STATUS_FAULTED);
	CHECK_EQ(s.fault_va, 0x123456789000);
	CHECK_EQ(mdl_chan_reset(chan), -EIO); /* the context first */
	CHECK_EQ(mdl_ctx_reset(ctx), 0);
	CHECK_EQ(mdl_chan_reset(chan), 0);
	CHECK_STR(mdl_buf_ptr(buf), "kept");
	CHECK_EQ(mdl_chan_copy(chan, mdl_buf_va(buf) + 4096, mdl_buf_va(buf), 5), 0);
	CHECK_EQ(mdl_chan_finish(chan, MDL_WAIT_FOREVER), 0);
	CHECK_STR((char *)mdl_buf_ptr(buf) + 4096, "kept");
	CHECK_EQ(mdl_chan_launch(chan, kern, 1, (uint32_t[]) { 8 }, NULL, NULL), -ESTALE);
	mdl_kern_destroy(kern);
	mdl_prog_destroy(prog);
	mdl_buf_destroy(buf);
	close_all();
}

/* Indices that a broken device might write are not believed. */
static void lying_get(void)
{
	for (int i = 0; i < 2; i++) {
		open_all(true);
		mock->automatic = false;
		for (int k = 0; k < 1024; k++)
			CHECK_EQ(mdl_chan_barrier(chan), 0);
		CHECK_EQ(mock_run(mock, 0, 5), 5);
		CHECK_EQ(mdl_chan_barrier(chan), 0);
		chan->user->get = i ? 5000 : 2;
		for (int k = 0; k < 4; k++)
			CHECK_EQ(mdl_chan_barrier(chan) < 0, chan->stopped);
		mdl_chan_set_limit(chan, 0);
		CHECK_EQ(mdl_chan_barrier(chan), -EIO);
		close_all();
	}
}

static void fault_ring(void)
{
	struct mdl_hw_fault f;
	uint32_t lost;

	open_all(true);
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < 140; i++)
			mock_fault(mock, 1, i, MDL_ERR_TIMEOUT, i, round);
		for (uint32_t i = 0; i < 128; i++) {
			CHECK_EQ(mdl_gpu_next_fault(gpu, &f), 0);
			CHECK_EQ(f.va, i);
			CHECK_EQ(f.tag, round);
		}
		CHECK_EQ(mdl_gpu_next_fault(gpu, &f), -EAGAIN);
		CHECK_EQ(mdl_gpu_faults_lost(gpu, &lost), 0);
		CHECK_EQ(lost, 12 * (round + 1));
	}
	CHECK_STR(mdl_error_name(MDL_ERR_PAGE_FAULT), "page fault");
	for (uint32_t i = 0; i <= MDL_ERR_COMPILE; i++)
		CHECK(strcmp(mdl_error_name(i), "unknown error"));
	CHECK_STR(mdl_error_name(12345), "unknown error");
	close_all();
}

/*
 * Function reset: what was there is dead, ids are free again, destroying the dead touches nothing
 * of the living.
 */
static void function_reset(void)
{
	struct mdl_ctx *new_ctx;
	struct mdl_chan *new_chan;
	struct mdl_fence f;

	open_all(true);
	mock->automatic = false;
	CHECK_EQ(mdl_chan_barrier(chan), 0);
	mdl_chan_fence(chan, &f);
	mock->pending = 3;
	CHECK_EQ(mdl_gpu_reset(gpu), 0);
	mock->automatic = true;
	CHECK_EQ(mdl_fence_wait(&f, MDL_WAIT_FOREVER), -EIO);
	CHECK_EQ(mdl_chan_barrier(chan), -EIO);
	CHECK_EQ(mdl_chan_reset(chan), -EIO);
	CHECK_EQ(mdl_ctx_reset(ctx), -EIO);
	CHECK_EQ(mdl_ctx_create(gpu, NULL, &new_ctx), 0);
	CHECK_EQ(mdl_ctx_id(new_ctx), 0);
	CHECK_EQ(mdl_chan_create(new_ctx, NULL, &new_chan), 0);
	mdl_chan_destroy(chan);
	mdl_ctx_destroy(ctx);
	CHECK_EQ(mdl_chan_barrier(new_chan), 0);
	CHECK_EQ(mdl_chan_finish(new_chan, MDL_WAIT_FOREVER), 0);
	CHECK_EQ(gpu->ctx_used, 1);
	chan = new_chan;
	ctx = new_ctx;
	close_all();
}

/*
 * The device goes away at any register access: every call returns, and everything can be destroyed.
 */
static void device_goes_away(void)
{
	uint32_t at = 1;

	for (bool done = false; !done; at++) {
		struct mdl_buf *buf = NULL;
		struct mdl_prog *prog = NULL;
		struct mdl_port *port = mock_create(&mock);

		mock->fail_after = at;
		gpu = NULL;
		ctx = NULL;
		chan = NULL;
		if (mdl_gpu_open_port(port, &gpu) == 0 && mdl_ctx_create(gpu, NULL, &ctx) == 0 &&
		    mdl_chan_create(ctx, NULL, &chan) == 0 &&
		    mdl_buf_alloc(ctx, 4096, MDL_PLACE_SYSTEM, &buf) == 0 &&
		    mdl_prog_create(ctx, &prog) == 0 &&
		    mdl_prog_build(prog, chan, "good", 4, NULL, MDL_NS_PER_S) == 0 &&
		    mdl_chan_fill(chan, mdl_buf_va(buf), 8, 1, 8) == 0 &&
		    mdl_chan_finish(chan, MDL_NS_PER_S) == 0 && mdl_chan_reset(chan) == 0 &&
		    mdl_ctx_reset(ctx) == 0 && mdl_gpu_reset(gpu) == 0)
			done = mock->accesses + 1 < at;
		mdl_prog_destroy(prog);
		mdl_buf_destroy(buf);
		mdl_chan_destroy(chan);
		mdl_ctx_destroy(ctx);
		mdl_gpu_close(gpu);
	}
	CHECK(at > 60);
}

static const struct check_case cases[] = {
	{ "fence values wrap", values_wrap },
	{ "interrupts only for what is waited for", irq_when_waited_for },
	{ "no wake-up is lost", no_lost_wakeup },
	{ "time limits", time_limits },
	{ "waiting on a full ring", full_ring_polls },
	{ "a bad packet", bad_packet },
	{ "a page fault and recovery", page_fault },
	{ "a device that lies about get", lying_get },
	{ "the fault ring", fault_ring },
	{ "function reset", function_reset },
	{ "the device goes away at any moment", device_goes_away },
};
CHECK_MAIN(cases)
