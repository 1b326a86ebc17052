/* SPDX-License-Identifier: MIT */
/* Roles that take what they can get: contexts without end, compilers in every context. They go on until the test ends them. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

#define BOMB_BYTES (256u << 10)

bool ordered(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* SOCKET: opens and closes contexts as fast as the device lets it. */
int role_storm(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	struct mdl_ctx *ctx[4];

	say("running");
	while (!ordered()) {
		for (size_t i = 0; i < 4; i++)
			if (mdl_ctx_create(gpu, NULL, &ctx[i]))
				ctx[i] = NULL;
		for (size_t i = 0; i < 4; i++)
			mdl_ctx_destroy(ctx[i]);
	}
	mdl_gpu_close(gpu);
	say("bye");
	return 0;
}

/* Straight code, long and different each time, so that no cache helps and every pass has work. */
static size_t bomb(char *text, uint32_t seed)
{
	size_t n = (size_t)sprintf(text, "kernel void k%u(global float *o, float x) {\n", seed);

	for (uint32_t i = 0; n < BOMB_BYTES - 200; i++)
		n += (size_t)sprintf(text + n, "x = native_sin(x * %u.%uf) + pow(x, %uf); o[%u] = x;\n", seed % 1000, i,
				     i % 37, i);
	return n + (size_t)sprintf(text + n, "}\n");
}

/* SOCKET CONTEXTS: each of them compiles, all the time. */
int role_bombs(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	struct mdl_prog *prog[8] = { NULL };
	uint32_t n = (uint32_t)atoi(argv[1]);
	char *text = malloc(BOMB_BYTES);
	struct work w[8];

	CHECK(n >= 1 && n <= 8 && text, "%u contexts", n);
	for (uint32_t i = 0; i < n; i++)
		work_init(&w[i], gpu, 4096);
	for (uint32_t seed = 1;; seed++) {
		for (uint32_t i = 0; i < n; i++) {
			size_t bytes = bomb(text, seed * 8 + i);

			if (!prog[i])
				OK(mdl_prog_create(w[i].ctx, &prog[i]));
			/* -ETIMEDOUT: it goes on meanwhile. Another one is refused until it is done. */
			mdl_prog_build(prog[i], w[i].chan, text, bytes, "", 10000000);
		}
		if (seed == 3)
			say("running");
		if (ordered())
			return 0;
	}
}
