/* SPDX-License-Identifier: MIT */
/*
 * The load generator of medley-bench's shared measurements: one guest's work, changed by commands while it runs (load.h). An
 * ordinary program of libmedley, in a KVM guest (bench-load.elf, device "micro:") or as a process (bench-load, "socket:PATH").
 * Usage: bench-load DEVICE [attach]; attach: opens the device, a context and a channel, and does no work.
 *
 * The work is one kernel, a loop over chunks, each a chain of dependent shifts that takes LOAD_CHUNK_NS on any unit. After each it
 * counts in memory that the guest reads too, and looks whether it shall stop: so work is counted to the chunk whatever stopped
 * the kernel, and a mode changes without waiting for 500 ms kernels, or for endless ones.
 *
 * The guest keeps more work queued than a turn is long and sleeps until the interrupt of the oldest batch: it must not use CPU time, of
 * which the cpu pGPU is made. One thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "load-wait.h"
#include "medley/medley.h"
#include "must.h"

#define BATCH_US    3000 /* kernels are queued in batches of at least this: few interrupts */
#define DEPTH	    3
#define BATCH_MAX   64
#define FOREVER	    UINT64_MAX
#define SLOT_WORDS  8 /* a cache line for each group's counter */
#define GROUPS_MAX  256
#define CTL_BYTES   ((1 + GROUPS_MAX) * SLOT_WORDS * 8)
#define RECOVER_MAX 100

static const char source[] =
	"kernel void work(global volatile ulong *ctl, uint iters, ulong chunks)\n"
	"{\n"
	"	uint g = get_group_id(0), v = g + 1;\n"
	"	global volatile ulong *done = ctl + 8 + 8 * g;\n"
	"	for (ulong c = 0; c < chunks && !ctl[0]; c++) {\n"
	"		for (uint i = 0; i < iters; i++) {\n"
	"			v ^= v << 13;\n"
	"			v ^= v >> 17;\n"
	"			v ^= v << 5;\n"
	"		}\n"
	"		*done += v ? 1 : 2;\n" /* v is never 0, which the compiler does not know */
	"	}\n"
	"}\n";

enum mode {
	IDLE,
	LOOP,
	RANDOM,
	ENDLESS,
	WAKER,
	SLEEPER
};

struct batch {
	struct mdl_fence fence;
	uint64_t launched_ns;
	unsigned int kernels;
};

struct load {
	struct mdl_gpu *gpu;
	struct mdl_ctx *ctx;
	struct mdl_chan *chan;
	struct mdl_prog *prog;
	struct mdl_kern *kern;
	struct mdl_buf *buf;
	volatile uint64_t *ctl;
	uint32_t units, iters;
	struct load_wait wait;

	enum mode mode;
	uint64_t length_us[LOAD_LENGTHS];
	unsigned int lengths, next_length;
	uint64_t period_ns, run_us, sleep_us;
	uint64_t next_ns; /* waker: its next kernel; sleeper: end of the phase */
	bool asleep, draining;
	uint32_t random;

	struct batch batch[DEPTH];
	unsigned int first, queued;
	uint64_t kernels, faults;
	uint64_t latency[LOAD_LATENCIES];
	unsigned int latencies;
};

static uint64_t now(struct load *g)
{
	return mdl_gpu_now_ns(g->gpu);
}

static uint32_t next_random(struct load *g)
{
	g->random ^= g->random << 13;
	g->random ^= g->random >> 17;
	g->random ^= g->random << 5;
	return g->random;
}

/* -ln(u), u uniform in (0, 1]: there is no math library here. */
static double exponential(struct load *g)
{
	double m = (next_random(g) >> 1) + 1, z, zz;
	int k = 31;

	while (m < 1073741824.0) {
		m *= 2;
		k++;
	}
	m /= 1073741824.0; /* u = m * 2^(30 - k), m in [1, 2] */
	z = (m - 1) / (m + 1);
	zz = z * z;
	return 0.69314718 * (k - 30) - 2 * z * (1 + zz * (1.0 / 3 + zz * (1.0 / 5 + zz / 7)));
}

/* ---- work ---- */

static void set_up(struct load *g)
{
	MUST(mdl_ctx_create(g->gpu, NULL, &g->ctx));
	MUST(mdl_chan_create(g->ctx, NULL, &g->chan));
	MUST(mdl_buf_alloc(g->ctx, CTL_BYTES, MDL_PLACE_VRAM, &g->buf));
	memset(mdl_buf_ptr(g->buf), 0, CTL_BYTES);
	g->ctl = mdl_buf_ptr(g->buf);
	MUST(mdl_prog_create(g->ctx, &g->prog));
}

static int build(struct load *g)
{
	int r = mdl_prog_build(g->prog, g->chan, source, sizeof(source) - 1, "", MDL_WAIT_FOREVER);

	mdl_kern_destroy(g->kern);
	g->kern = NULL;
	return r ? r : mdl_kern_create(g->prog, "work", &g->kern);
}

static int launch(struct load *g, uint64_t chunks)
{
	const uint32_t global = LOAD_GROUPS(g->units), local = 1;

	MUST(mdl_kern_set_buffer(g->kern, 0, g->buf, 0));
	MUST(mdl_kern_set_value(g->kern, 1, &g->iters, sizeof(g->iters)));
	MUST(mdl_kern_set_value(g->kern, 2, &chunks, sizeof(chunks)));
	return mdl_chan_launch(g->chan, g->kern, 1, &global, &local, NULL);
}

/* Chunks of each group for a kernel of so many us. */
static uint64_t chunks_of(const struct load *g, uint64_t us)
{
	uint64_t chunks = us * 1000 * g->units / LOAD_CHUNK_NS / LOAD_GROUPS(g->units);

	return chunks ? chunks : 1;
}

/* One batch more; us 0: a kernel of the lengths in turn, as many as make a batch. */
static int submit(struct load *g, uint64_t us)
{
	struct batch *b = &g->batch[(g->first + g->queued) % DEPTH];
	uint64_t sum = 0;
	int r = mdl_chan_begin(g->chan);

	b->kernels = 0;
	b->launched_ns = now(g);
	do {
		uint64_t length = us;

		if (!us) {
			length = g->length_us[g->next_length];
			g->next_length = (g->mode == LOOP ? g->next_length + 1 : next_random(g)) %
					 g->lengths;
		}
		r = r ? r : launch(g, length == FOREVER ? FOREVER : chunks_of(g, length));
		sum += length;
		b->kernels++;
	} while (!r && !us && sum < BATCH_US && b->kernels < BATCH_MAX);
	if (!r)
		r = mdl_chan_commit(g->chan, MDL_COMMIT_IRQ, &b->fence);
	g->queued++;
	return r;
}

/* The host has reset our context: we begin again with what we were doing. */
static void recover(struct load *g, int error)
{
	struct batch *b = &g->batch[g->first];
	uint64_t told = now(g);
	struct mdl_chan_error e = { 0 };
	int r = -EIO;

	if (error != -EIO)
		MUST(error);
	MUST(mdl_chan_error(g->chan, &e));
	mdl_chan_commit(g->chan, 0, NULL); /* a batch may be open */
	for (unsigned int i = 0; r && i < RECOVER_MAX; i++) {
		r = mdl_ctx_reset(g->ctx);
		r = r ? r : mdl_chan_reset(g->chan);
		r = r ? r : build(g);
		if (r)
			load_wait(&g->wait, NULL, now(g) + 100000000);
	}
	MUST(r);
	printf("fault %llu %llu %u %llu\n", (unsigned long long)told,
	       (unsigned long long)b->launched_ns, e.error, (unsigned long long)now(g));
	fflush(stdout);
	g->faults++;
	g->queued = 0;
}

/* Takes what is done off the queue. */
static void reap(struct load *g)
{
	while (g->queued) {
		struct batch *b = &g->batch[g->first];
		int r = mdl_fence_poll(&b->fence);

		if (r < 0)
			recover(g, r);
		if (r <= 0)
			return;
		g->kernels += b->kernels;
		if (g->mode == WAKER && g->latencies < LOAD_LATENCIES)
			g->latency[g->latencies++] = now(g) - b->launched_ns;
		g->first = (g->first + 1) % DEPTH;
		g->queued--;
	}
}

static void fill(struct load *g)
{
	int r = 0;

	while (!r && g->queued < DEPTH)
		r = submit(g, 0);
	if (r)
		recover(g, r);
}

static void drain(struct load *g)
{
	g->ctl[0] = 1;
	while (g->queued) {
		load_wait(&g->wait, &g->batch[g->first].fence, FOREVER);
		reap(g);
	}
	g->ctl[0] = 0;
}

/* ---- modes ---- */

static uint64_t step_waker(struct load *g)
{
	uint64_t t = now(g);
	int r;

	if (g->queued || t < g->next_ns)
		return g->queued ? FOREVER : g->next_ns;
	g->next_ns += g->period_ns;
	if (g->next_ns < t)
		g->next_ns = t;
	r = submit(g, g->length_us[0]);
	if (r)
		recover(g, r);
	return FOREVER;
}

static uint64_t step_sleeper(struct load *g)
{
	if (g->draining && !g->queued) {
		g->ctl[0] = 0;
		g->draining = false;
		g->asleep = true;
		g->next_ns = now(g) + (uint64_t)(exponential(g) * 1e3 * (double)g->sleep_us);
	} else if (now(g) >= g->next_ns && g->asleep) {
		g->asleep = false;
		g->next_ns = now(g) + (uint64_t)(exponential(g) * 1e3 * (double)g->run_us);
	} else if (now(g) >= g->next_ns && !g->draining) {
		g->ctl[0] = 1;
		g->draining = true;
	}
	if (g->draining)
		return FOREVER;
	if (!g->asleep)
		fill(g);
	return g->next_ns;
}

/* Queues what is to be queued; until when to wait if nothing comes. */
static uint64_t step(struct load *g)
{
	int r = 0;

	switch (g->mode) {
	case LOOP:
	case RANDOM:
		fill(g);
		return FOREVER;
	case ENDLESS:
		if (!g->queued)
			r = submit(g, FOREVER);
		if (r)
			recover(g, r);
		return FOREVER;
	case WAKER:
		return step_waker(g);
	case SLEEPER:
		return step_sleeper(g);
	default:
		return FOREVER;
	}
}

/* ---- commands ---- */

static unsigned int numbers(const char *text, uint64_t *ret_value, unsigned int max)
{
	unsigned int n = 0;
	char *end;

	for (; n < max; n++, text = end) {
		ret_value[n] = strtoull(text, &end, 10);
		if (end == text)
			break;
	}
	return n;
}

static void calibrate(struct load *g, uint64_t chunks)
{
	uint64_t start = now(g);

	MUST(launch(g, chunks));
	MUST(mdl_chan_finish(g->chan, MDL_WAIT_FOREVER));
	printf("took %llu\n", (unsigned long long)(now(g) - start));
}

static void report(struct load *g)
{
	uint64_t chunks = 0;

	for (uint32_t i = 0; g->ctl && i < LOAD_GROUPS(g->units); i++)
		chunks += g->ctl[SLOT_WORDS * (1 + i)];
	printf("count %llu %llu %llu %llu\n", (unsigned long long)now(g),
	       (unsigned long long)chunks, (unsigned long long)g->kernels,
	       (unsigned long long)g->faults);
}

static void report_latencies(struct load *g)
{
	printf("latencies %u", g->latencies);
	for (unsigned int i = 0; i < g->latencies; i++)
		printf(" %llu", (unsigned long long)g->latency[i]);
	printf("\n");
	g->latencies = 0;
}

static bool set_mode(struct load *g, const char *name, const uint64_t *arg, unsigned int args)
{
	static const struct {
		const char *name;
		enum mode mode;
		unsigned int before; /* arguments that are no lengths */
	} modes[] = { { "idle", IDLE, 0 },	 { "loop", LOOP, 0 },	{ "random", RANDOM, 0 },
		      { "endless", ENDLESS, 0 }, { "waker", WAKER, 1 }, { "sleeper", SLEEPER, 2 } };
	size_t i = 0;

	while (i < sizeof(modes) / sizeof(modes[0]) && strcmp(modes[i].name, name))
		i++;
	if (i == sizeof(modes) / sizeof(modes[0]))
		return false;
	if (args < modes[i].before + (i != IDLE && i != ENDLESS))
		return false;
	drain(g);
	g->mode = modes[i].mode;
	g->lengths = args - modes[i].before;
	memcpy(g->length_us, arg + modes[i].before, g->lengths * sizeof(*arg));
	g->next_length = next_random(g) % (g->lengths ? g->lengths : 1);
	g->period_ns = arg[0] * 1000;
	g->run_us = arg[0];
	g->sleep_us = arg[1];
	g->next_ns = now(g);
	g->asleep = true;
	g->draining = false;
	g->latencies = 0;
	puts("ok");
	return true;
}

static void obey(struct load *g, char *line)
{
	uint64_t arg[LOAD_LENGTHS] = { 0 };
	char *space = strchr(line, ' ');
	unsigned int args;

	if (space)
		*space = 0;
	args = space ? numbers(space + 1, arg, LOAD_LENGTHS) : 0;
	if (!strcmp(line, "quit")) {
		exit(0);
	} else if (!strcmp(line, "count")) {
		report(g);
	} else if (!g->kern) {
		puts(!strcmp(line, "idle") ? "ok" : "error this guest is only attached");
	} else if (!strcmp(line, "iters") && args == 1) {
		g->iters = (uint32_t)arg[0];
		puts("ok");
	} else if (!strcmp(line, "calibrate") && args == 1) {
		calibrate(g, arg[0]);
	} else if (!strcmp(line, "latencies")) {
		report_latencies(g);
	} else if (!set_mode(g, line, arg, args)) {
		puts("error what?");
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct load load;
	struct load *g = &load;
	struct mdl_gpu_info info;
	char line[LOAD_LINE];

	if (argc < 2) {
		puts("usage: bench-load DEVICE [attach]");
		return 2;
	}
	MUST(mdl_gpu_open(argv[1], &g->gpu));
	mdl_gpu_info(g->gpu, &info);
	mdl_gpu_set_spin(g->gpu, 0);
	load_wait_init(&g->wait);
	g->units = info.compute_units;
	g->iters = 1;
	g->random = (uint32_t)now(g) | 1;
	if (LOAD_GROUPS(g->units) > GROUPS_MAX)
		MUST(-ERANGE);
	set_up(g);
	if (argc == 2) {
		MUST(build(g));
		MUST(launch(g, 1)); /* its code is made now */
		MUST(mdl_chan_finish(g->chan, MDL_WAIT_FOREVER));
	}
	printf("ready %u\n", g->units);
	fflush(stdout);
	for (;;) {
		uint64_t until;
		int r;

		while ((r = load_wait_line(&g->wait, line, sizeof(line))) > 0)
			obey(g, line);
		if (r < 0)
			return 0; /* nobody commands any more */
		until = step(g);
		load_wait(&g->wait, g->queued ? &g->batch[g->first].fence : NULL, until);
		reap(g);
	}
}
