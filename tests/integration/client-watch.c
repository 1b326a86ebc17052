/* SPDX-License-Identifier: MIT */
/* Roles of those whose contexts medleyd ends: kernels over the limit, executors lost in a loop. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "client.h"

#define ITEMS 4096
#define TAG   0x5ca1ab1e

static void nap(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

static uint32_t ctx_status(struct work *w)
{
	struct mdl_ctx_state cs;

	OK(mdl_ctx_state(w->ctx, &cs));
	return cs.status;
}

/* Starts a kernel without end, and waits until it runs. */
static void spin(struct work *w, volatile uint32_t *flag)
{
	uint64_t arg = mdl_buf_va(w->out), start = mdl_gpu_now_ns(w->gpu);

	flag[0] = flag[1] = 0;
	mdl_chan_set_tag(w->chan, TAG);
	OK(work_launch(w, "spin", 1, &arg, 1));
	mdl_chan_set_tag(w->chan, 0);
	while (!flag[0]) {
		CHECK(mdl_gpu_now_ns(w->gpu) - start < LONG, "kernel does not start");
		nap();
	}
}

/* What docs/gpu.md promises of a kernel over the limit. */
static void check_timeout(struct work *w, struct mdl_chan *other)
{
	struct mdl_chan_error ce;
	struct mdl_ctx_state cs;
	struct mdl_hw_fault f;

	OK(mdl_ctx_state(w->ctx, &cs));
	CHECK(cs.status == MDL_STATUS_FAULTED && cs.error == MDL_ERR_TIMEOUT, "context: %u %u", cs.status, cs.error);
	CHECK(mdl_chan_finish(w->chan, LONG) == -EIO, "the channel goes on");
	OK(mdl_chan_error(w->chan, &ce));
	CHECK(ce.error == MDL_ERR_TIMEOUT, "its channel: %s", mdl_error_name(ce.error));
	OK(mdl_chan_error(other, &ce));
	CHECK(ce.context_lost, "the context's other channel lives");
	OK(mdl_gpu_next_fault(w->gpu, &f));
	CHECK(f.error == MDL_ERR_TIMEOUT && f.context == mdl_ctx_id(w->ctx) && f.channel == mdl_chan_id(w->chan) && f.tag == TAG,
	      "ring: %u context %u channel %u tag %#x", f.error, f.context, f.channel, f.tag);
	CHECK(mdl_gpu_next_fault(w->gpu, &f) == -EAGAIN, "one entry");
}

/*
 * SOCKET: obeys. "spin": a kernel without end in one context while another computes, until the first is reset; says how many
 * rounds the other one had meanwhile. "quit".
 */
int role_watchdog(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	struct work good, bad;
	struct mdl_chan *other;
	const char *order;
	uint32_t seed = 1;

	work_init(&good, gpu, ITEMS);
	work_init(&bad, gpu, ITEMS);
	OK(mdl_chan_create(bad.ctx, NULL, &other));
	say("ready");
	while ((order = hear()) && !strcmp(order, "spin")) {
		uint32_t rounds = 0;

		spin(&bad, mdl_buf_ptr(bad.out));
		say("running");
		while (ctx_status(&bad) != MDL_STATUS_FAULTED) {
			OK(work_round(&good, seed++));
			rounds++;
		}
		check_timeout(&bad, other);
		OK(work_round(&good, seed++));
		/* As good as new, at once. */
		OK(mdl_ctx_reset(bad.ctx));
		OK(mdl_chan_reset(bad.chan));
		OK(mdl_chan_reset(other));
		work_build(&bad);
		OK(work_round(&bad, seed++));
		say("reset %u", rounds);
	}
	mdl_chan_destroy(other);
	work_fini(&bad);
	work_fini(&good);
	mdl_gpu_close(gpu);
	say("ok");
	return 0;
}

#define CRASHERS 4

/* SOCKET: loses contexts by stray accesses, recovers and does it again, until it is told to stop; then all of them work. */
int role_crash(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	struct mdl_chan *chan[CRASHERS];
	struct mdl_ctx *ctx[CRASHERS];
	struct mdl_gpu_info info;
	uint32_t crashes = 0;

	mdl_gpu_info(gpu, &info);
	for (int i = 0; i < CRASHERS; i++) {
		OK(mdl_ctx_create(gpu, NULL, &ctx[i]));
		OK(mdl_chan_create(ctx[i], NULL, &chan[i]));
	}
	say("running");
	while (!ordered()) {
		for (int i = 0; i < CRASHERS; i++, crashes++) {
			OK(mdl_chan_fill(chan[i], info.va_limit - 4096, 4096, 1, 1));
			CHECK(mdl_chan_finish(chan[i], LONG) == -EIO, "no fault");
		}
		/* However long it takes, they come back: no time limit of the device, or of the driver, is in the way. */
		for (int i = 0; i < CRASHERS; i++) {
			OK(mdl_ctx_reset(ctx[i]));
			OK(mdl_chan_reset(chan[i]));
		}
	}
	for (int i = 0; i < CRASHERS; i++) {
		OK(mdl_chan_finish(chan[i], LONG));
		mdl_chan_destroy(chan[i]);
		mdl_ctx_destroy(ctx[i]);
	}
	mdl_gpu_close(gpu);
	say("crashes %u", crashes);
	return 0;
}
