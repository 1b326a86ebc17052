/* SPDX-License-Identifier: MIT */
/*
 * The guest's half of medley-bench: an ordinary program of libmedley. It runs in a KVM guest (bench-guest.elf, device "micro:") or,
 * where there is no KVM, as a process (bench-guest, device "socket:PATH"). Usage: bench-guest DEVICE BENCHMARK REPETITIONS.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "medley/medley.h"
#include "must.h"
#include "work.h"

struct guest {
	struct mdl_gpu *gpu;
	struct mdl_ctx *ctx;
	struct mdl_chan *chan;
	struct mdl_prog *prog;
	int repetitions;
	uint64_t sample[BENCH_SAMPLES_MAX];
	char line[BENCH_SAMPLES_MAX * 21 + 128];
};

static uint64_t now(struct guest *g)
{
	return mdl_gpu_now_ns(g->gpu);
}

static void pause_for_native(void)
{
	const struct timespec pause = { .tv_nsec = BENCH_PAUSE_NS };

	fflush(stdout);
	nanosleep(&pause, NULL);
}

/* One line in one write, then the native side's turn. */
static void report(struct guest *g, const char *key, uint64_t start, unsigned int n)
{
	size_t used = (size_t)snprintf(g->line, sizeof(g->line), "rep %s %llu %u", key,
				       (unsigned long long)start, n);

	for (unsigned int i = 0; i < n; i++)
		used += (size_t)snprintf(g->line + used, sizeof(g->line) - used, " %llu",
					 (unsigned long long)g->sample[i]);
	puts(g->line);
	pause_for_native();
}

static void set_up(struct guest *g)
{
	MUST(mdl_ctx_create(g->gpu, NULL, &g->ctx));
	MUST(mdl_chan_create(g->ctx, NULL, &g->chan));
	MUST(mdl_prog_create(g->ctx, &g->prog));
	MUST(mdl_prog_build(g->prog, g->chan, bench_source, sizeof(bench_source) - 1, "",
			    MDL_WAIT_FOREVER));
}

static void bench_one_kernel(struct guest *g, const struct bench_kernel *k)
{
	float two = 2;
	struct mdl_buf *buf[3];
	struct mdl_kern *kern;

	MUST(mdl_kern_create(g->prog, k->name, &kern));
	MUST(mdl_kern_set_value(kern, 0, k->scalar ? (const void *)&k->scalar : &two, 4));
	for (unsigned int i = 0; i < k->buffers; i++) {
		MUST(mdl_buf_alloc(g->ctx, k->floats[i] * 4ull, MDL_PLACE_VRAM, &buf[i]));
		bench_fill(mdl_buf_ptr(buf[i]), k->floats[i]);
		MUST(mdl_kern_set_buffer(kern, i + 1, buf[i], 0));
	}
	for (int i = -BENCH_WARM_UPS; i < g->repetitions; i++) {
		uint64_t start = now(g);

		MUST(mdl_chan_launch(g->chan, kern, k->dims, k->global, k->local, NULL));
		MUST(mdl_chan_finish(g->chan, MDL_WAIT_FOREVER));
		g->sample[0] = now(g) - start;
		if (i >= 0)
			report(g, k->name, start, 1);
	}
	for (unsigned int i = 0; i < k->buffers; i++)
		mdl_buf_destroy(buf[i]);
	mdl_kern_destroy(kern);
}

static void bench_kernel(struct guest *g)
{
	set_up(g);
	for (size_t i = 0; i < BENCH_KERNELS; i++)
		bench_one_kernel(g, &bench_kernels[i]);
}

static void bench_aperture(struct guest *g)
{
	char *mem = aligned_alloc(4096, COPY_BYTES), *vram = mdl_gpu_aperture(g->gpu);

	if (!mem)
		MUST(-12);
	memset(mem, 1, COPY_BYTES);
	memset(vram, 2, COPY_BYTES);
	for (int i = -BENCH_WARM_UPS; i < g->repetitions; i++) {
		uint64_t start = now(g);

		memcpy(vram, mem, COPY_BYTES);
		g->sample[0] = now(g) - start;
		if (i >= 0)
			report(g, "write", start, 1);
		start = now(g);
		memcpy(mem, vram, COPY_BYTES);
		g->sample[0] = now(g) - start;
		if (i >= 0)
			report(g, "read", start, 1);
	}
	free(mem);
}

static void bench_copy(struct guest *g)
{
	struct mdl_buf *a, *b;

	set_up(g);
	MUST(mdl_buf_alloc(g->ctx, COPY_BYTES, MDL_PLACE_VRAM, &a));
	MUST(mdl_buf_alloc(g->ctx, COPY_BYTES, MDL_PLACE_VRAM, &b));
	memset(mdl_buf_ptr(a), 1, COPY_BYTES);
	memset(mdl_buf_ptr(b), 2, COPY_BYTES);
	for (int i = -BENCH_WARM_UPS; i < g->repetitions; i++) {
		uint64_t start = now(g);

		MUST(mdl_chan_copy(g->chan, mdl_buf_va(b), mdl_buf_va(a), COPY_BYTES));
		MUST(mdl_chan_finish(g->chan, MDL_WAIT_FOREVER));
		g->sample[0] = now(g) - start;
		if (i >= 0)
			report(g, "copy", start, 1);
	}
	mdl_buf_destroy(a);
	mdl_buf_destroy(b);
}

static void bench_submit(struct guest *g)
{
	const uint32_t one = 1;
	volatile uint64_t *sem;
	struct mdl_kern *kern;
	struct mdl_buf *buf;

	set_up(g);
	MUST(mdl_kern_create(g->prog, "empty", &kern));
	MUST(mdl_buf_alloc(g->ctx, 4096, MDL_PLACE_VRAM, &buf));
	sem = mdl_buf_ptr(buf);
	*sem = 0;
	for (int i = -BENCH_WARM_UPS; i < g->repetitions; i++) {
		uint64_t start = now(g);

		for (unsigned int n = 0; n < SUBMIT_N; n++) {
			uint64_t t = now(g);

			MUST(mdl_chan_launch(g->chan, kern, 1, &one, &one, NULL));
			MUST(mdl_chan_finish(g->chan, MDL_WAIT_FOREVER));
			g->sample[n] = now(g) - t;
		}
		if (i >= 0)
			report(g, "submit", start, SUBMIT_N);
		/* The first few wake the executor up. */
		start = now(g);
		for (unsigned int n = 0; n < SUBMIT_N + 10; n++) {
			uint64_t t = now(g), value = *sem + 1;

			MUST(mdl_chan_sem_release(g->chan, mdl_buf_va(buf), MDL_SEM_SET, value));
			while (*sem != value)
				__builtin_ia32_pause();
			if (n >= 10)
				g->sample[n - 10] = now(g) - t;
		}
		if (i >= 0)
			report(g, "semaphore", start, SUBMIT_N);
	}
	mdl_kern_destroy(kern);
	mdl_buf_destroy(buf);
}

static void bench_trap(struct guest *g)
{
	uint64_t value;

	for (int i = -BENCH_WARM_UPS; i < g->repetitions; i++) {
		uint64_t start = now(g);

		for (unsigned int n = 0; n < TRAP_N; n++) {
			uint64_t t = now(g);

			MUST(mdl_gpu_read_reg(g->gpu, MDL_REG_SCRATCH, 4, &value));
			g->sample[n] = now(g) - t;
		}
		if (i >= 0)
			report(g, "trap", start, TRAP_N);
	}
}

static void bench_context(struct guest *g)
{
	for (int i = -BENCH_WARM_UPS; i < g->repetitions; i++) {
		uint64_t start = now(g);
		struct mdl_ctx *ctx;

		MUST(mdl_ctx_create(g->gpu, NULL, &ctx));
		g->sample[0] = now(g) - start;
		if (i >= 0)
			report(g, "open", start, 1);
		start = now(g);
		mdl_ctx_destroy(ctx);
		g->sample[0] = now(g) - start;
		if (i >= 0)
			report(g, "close", start, 1);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct guest *g);
	} benches[] = {
		{ "kernel", bench_kernel }, { "aperture", bench_aperture },
		{ "copy", bench_copy },	    { "submit", bench_submit },
		{ "trap", bench_trap },	    { "context", bench_context },
	};
	static struct guest guest;
	struct guest *g = &guest;
	struct mdl_gpu_info info;

	for (size_t i = 0; argc == 4 && i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (strcmp(argv[2], benches[i].name))
			continue;
		g->repetitions = atoi(argv[3]);
		MUST(mdl_gpu_open(argv[1], &g->gpu));
		mdl_gpu_info(g->gpu, &info);
		printf("units %u\n", info.compute_units);
		pause_for_native();
		benches[i].run(g);
		mdl_prog_destroy(g->prog);
		mdl_chan_destroy(g->chan);
		mdl_ctx_destroy(g->ctx);
		mdl_gpu_close(g->gpu);
		puts("end");
		return 0;
	}
	puts("usage: bench-guest DEVICE BENCHMARK REPETITIONS");
	return 2;
}
