/* SPDX-License-Identifier: MIT */
/* Roles that compute: a smoke test, a steady worker, many contexts, and one that works when told to. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "client.h"

#define ITEMS 65536

/* Every kind of packet a well-behaved driver uses. */
int role_smoke(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	struct mdl_gpu_info info;
	struct mdl_buf *a, *b;
	struct work w;
	uint64_t *pa, *pb;

	mdl_gpu_info(gpu, &info);
	CHECK(info.vram_bytes && info.num_channels && info.num_contexts, "empty device");
	work_init(&w, gpu, ITEMS);
	OK(work_round(&w, 1));
	OK(work_round(&w, 2));
	OK(mdl_buf_alloc(w.ctx, 1 << 20, MDL_PLACE_VRAM, &a));
	OK(mdl_buf_alloc(w.ctx, 1 << 20, MDL_PLACE_SYSTEM, &b));
	pa = mdl_buf_ptr(a);
	pb = mdl_buf_ptr(b);
	OK(mdl_chan_fill(w.chan, mdl_buf_va(a), 1 << 20, 0x1122334455667788ull, 8));
	OK(mdl_chan_copy(w.chan, mdl_buf_va(b), mdl_buf_va(a), 1 << 20));
	OK(mdl_chan_sem_release(w.chan, mdl_buf_va(a), MDL_SEM_SET, 42));
	OK(mdl_chan_sem_wait(w.chan, mdl_buf_va(a), MDL_SEM_GE, 42));
	OK(mdl_chan_timestamp(w.chan, mdl_buf_va(a) + 8));
	OK(mdl_chan_copy_2d(w.chan, mdl_buf_va(b), 4096, mdl_buf_va(a), 4096, 16, 2));
	OK(mdl_chan_finish(w.chan, LONG));
	CHECK(pa[0] == 42 && pb[0] == 42, "semaphore %llu", (unsigned long long)pb[0]);
	CHECK(pb[1] == pa[1] && pa[1] != 0x1122334455667788ull, "timestamp");
	CHECK(pb[2] == 0x1122334455667788ull && pb[(1 << 17) - 1] == 0x1122334455667788ull, "copy");
	mdl_buf_destroy(a);
	mdl_buf_destroy(b);
	work_fini(&w);
	mdl_gpu_close(gpu);
	say("ok");
	return 0;
}

/* SOCKET ROUNDS SEED: says how long the slowest round and all of them took. */
int role_worker(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	uint32_t rounds = (uint32_t)atoi(argv[1]), seed = (uint32_t)atoi(argv[2]);
	uint64_t start, slowest = 0;
	struct work w;

	work_init(&w, gpu, ITEMS);
	OK(work_round(&w, seed));
	say("ready");
	start = mdl_gpu_now_ns(gpu);
	for (uint32_t i = 0; i < rounds; i++) {
		uint64_t t = mdl_gpu_now_ns(gpu);

		OK(work_round(&w, seed + i));
		t = mdl_gpu_now_ns(gpu) - t;
		slowest = t > slowest ? t : slowest;
	}
	say("done slowest_ms %.1f total_ms %.1f", (double)slowest / 1e6,
	    (double)(mdl_gpu_now_ns(gpu) - start) / 1e6);
	work_fini(&w);
	mdl_gpu_close(gpu);
	return 0;
}

/*
 * SOCKET: obeys. "work": a round; "recover": context and channel reset, program built again; "fill": patterns all free VRAM;
 * "faults": tells what the fault ring holds; "quit".
 */
int role_hold(int argc, char **argv)
{
	struct mdl_gpu *gpu;
	const char *order;
	struct work w;
	uint32_t seed = 7;

	gpu = gpu_open(argv[0]);
	work_init(&w, gpu, ITEMS);
	OK(work_round(&w, seed++));
	say("ready");
	while ((order = hear()) && strcmp(order, "quit")) {
		struct mdl_chan_error ce = { 0 };
		struct mdl_hw_fault f;

		if (!strcmp(order, "work")) {
			int err = work_round(&w, seed++);

			if (err)
				mdl_chan_error(w.chan, &ce);
			say("work %d error %u lost %d", err, ce.error, ce.context_lost);
		} else if (!strcmp(order, "recover")) {
			OK(mdl_ctx_reset(w.ctx));
			OK(mdl_chan_reset(w.chan));
			work_build(&w);
			OK(work_round(&w, seed++));
			say("recovered");
		} else if (!strcmp(order, "reopen")) {
			/* After the device process was lost: its sockets and all it knew are gone. */
			gpu = gpu_open(argv[0]);
			work_init(&w, gpu, ITEMS);
			OK(work_round(&w, seed++));
			say("reopened");
		} else if (!strcmp(order, "faults")) {
			int n = 0, err;
			uint32_t last = 0;

			while ((err = mdl_gpu_next_fault(gpu, &f)) == 0) {
				n++;
				last = f.error;
			}
			CHECK(err == -EAGAIN, "next_fault gave %d", err);
			say("faults %d last %u", n, last);
		} else {
			CHECK(false, "order %s", order);
		}
	}
	work_fini(&w);
	mdl_gpu_close(gpu);
	say("bye");
	return 0;
}

/* SOCKET COUNT: contexts at once; each computes, and none sees what another has at the same address. */
int role_contexts(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	int n = atoi(argv[1]);
	struct mdl_buf *own[64];
	struct work w[64];
	uint64_t va;

	CHECK(n >= 2 && n <= 64, "%d contexts", n);
	for (int i = 0; i < n; i++)
		work_init(&w[i], gpu, 4096);
	/* One address, another page in each context, all but the last one. */
	OK(mdl_ctx_reserve(w[0].ctx, 4096, 0, &va));
	for (int i = 0; i < n; i++) {
		OK(mdl_buf_create(gpu, 4096, MDL_PLACE_VRAM, &own[i]));
		if (i)
			CHECK(mdl_ctx_reserve(w[i].ctx, 4096, 0, &va) == 0, "reserve");
		*(uint32_t *)mdl_buf_ptr(own[i]) = 1000u + (uint32_t)i;
	}
	for (int i = 0; i + 1 < n; i++)
		OK(mdl_buf_map(own[i], w[i].ctx, va, MDL_MAP_READ, NULL));
	for (int i = 0; i + 1 < n; i++) {
		uint64_t arg[] = { va, mdl_buf_va(w[i].out) };

		OK(work_launch(&w[i], "peek", 1, arg, 2));
	}
	for (int i = 0; i + 1 < n; i++) {
		OK(mdl_chan_finish(w[i].chan, LONG));
		CHECK(*(uint32_t *)mdl_buf_ptr(w[i].out) == 1000u + (uint32_t)i,
		      "context %d saw %u", i, *(uint32_t *)mdl_buf_ptr(w[i].out));
	}
	/* The last one has nothing there: it faults, alone. */
	OK(work_launch(&w[n - 1], "peek", 1, (uint64_t[]) { va, mdl_buf_va(w[n - 1].out) }, 2));
	CHECK(mdl_chan_finish(w[n - 1].chan, LONG) == -EIO, "no fault");
	for (int i = 0; i + 1 < n; i++)
		OK(work_round(&w[i], (uint32_t)i));
	OK(mdl_ctx_reset(w[n - 1].ctx));
	OK(mdl_chan_reset(w[n - 1].chan));
	work_build(&w[n - 1]);
	OK(work_round(&w[n - 1], 99));
	for (int i = 0; i < n; i++) {
		mdl_buf_destroy(own[i]);
		work_fini(&w[i]);
	}
	mdl_gpu_close(gpu);
	say("ok");
	return 0;
}

/* SOCKET SEED: fills all of VRAM with a secret, then waits; SOCKET SEED of look: searches VRAM for it. */
int role_secret(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	uint64_t *vram = mdl_gpu_aperture(gpu),
		 secret = 0x5ec4e70000000000ull | (uint64_t)atoi(argv[1]);
	struct mdl_gpu_info info;

	mdl_gpu_info(gpu, &info);
	for (uint64_t i = 0; i < info.vram_bytes / 8; i++)
		vram[i] = secret;
	say("ready");
	hear();
	for (uint64_t i = 0; i < info.vram_bytes / 8; i++)
		CHECK(vram[i] == secret, "offset %#llx is %#llx", 8ull * i,
		      (unsigned long long)vram[i]);
	say("intact");
	hear();
	return 0;
}

int role_look(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	uint64_t *vram = mdl_gpu_aperture(gpu),
		 secret = 0x5ec4e70000000000ull | (uint64_t)atoi(argv[1]);
	struct mdl_gpu_info info;

	mdl_gpu_info(gpu, &info);
	for (uint64_t i = 0; i < info.vram_bytes / 8; i++)
		CHECK(vram[i] != secret, "found at %#llx", 8ull * i);
	mdl_gpu_close(gpu);
	say("clean");
	return 0;
}

static const char burn_source[] = "kernel void burn(global uint *out, ulong rounds)\n"
				  "{\n"
				  "	uint x = get_global_id(0) + 1;\n"
				  "	for (ulong i = 0; i < rounds; i++) {\n"
				  "		x ^= x << 13;\n"
				  "		x ^= x >> 17;\n"
				  "		x ^= x << 5;\n"
				  "	}\n"
				  "	out[get_global_id(0)] = x;\n"
				  "}\n";

/*
 * SOCKET ROUNDS DEPTH RUN_MS SLEEP_MS: kernels of so many rounds, DEPTH of them at once, then waits for them; after RUN_MS of
 * that it sleeps for SLEEP_MS. Begins when told to, and goes on until it is killed.
 */
int role_load(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	uint64_t run_ns = strtoull(argv[3], NULL, 10) * 1000000;
	const struct timespec pause = { .tv_sec = atoi(argv[4]) / 1000, .tv_nsec = atoi(argv[4]) % 1000 * 1000000 };
	struct work w = { .gpu = gpu };
	uint64_t arg[2], start;
	struct mdl_buf *out;

	arg[1] = strtoull(argv[1], NULL, 10);
	OK(mdl_ctx_create(gpu, NULL, &w.ctx));
	OK(mdl_chan_create(w.ctx, NULL, &w.chan));
	OK(mdl_prog_create(w.ctx, &w.prog));
	OK(mdl_buf_alloc(w.ctx, 4096, MDL_PLACE_VRAM, &out));
	OK(mdl_prog_build(w.prog, w.chan, burn_source, sizeof(burn_source) - 1, "", LONG));
	arg[0] = mdl_buf_va(out);
	OK(work_launch(&w, "burn", 4, arg, 2));
	OK(mdl_chan_finish(w.chan, LONG));
	say("ready");
	if (!hear())
		return 1;
	start = mdl_gpu_now_ns(gpu);
	for (;;) {
		for (int i = 0; i < atoi(argv[2]); i++)
			OK(work_launch(&w, "burn", 4, arg, 2));
		OK(mdl_chan_finish(w.chan, LONG));
		if (mdl_gpu_now_ns(gpu) - start < run_ns)
			continue;
		nanosleep(&pause, NULL);
		start = mdl_gpu_now_ns(gpu);
	}
}
