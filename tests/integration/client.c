/* SPDX-License-Identifier: MIT */
/* Entry of the test client: picks the role, and holds what roles share. See client.h. */
#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static const char source[] =
	"kernel void scramble(global const uint *in, global uint *out, ulong seed)\n"
	"{\n"
	"	uint i = get_global_id(0), x = in[i] ^ (uint)seed;\n"
	"	for (int r = 0; r < 8; r++) { x ^= x << 13; x ^= x >> 17; x ^= x << 5; x += i; }\n"
	"	out[i] = x;\n"
	"}\n"
	"kernel void poke(ulong where, ulong value) { *(global uint *)where = (uint)value; }\n"
	"kernel void peek(ulong where, global uint *out) { *out = *(global uint *)where; }\n"
	"kernel void spin(global volatile uint *flag)\n"
	"{\n"
	"	flag[0] = 1;\n"
	"	while (!flag[1])\n"
	"		;\n"
	"	flag[2] = 1;\n"
	"}\n";

static uint32_t scramble(uint32_t x, uint32_t i, uint32_t seed)
{
	x ^= seed;
	for (int r = 0; r < 8; r++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		x += i;
	}
	return x;
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

const char *hear(void)
{
	static char line[256];

	if (!fgets(line, sizeof(line), stdin))
		return NULL;
	line[strcspn(line, "\n")] = 0;
	return line;
}

struct mdl_gpu *gpu_open(const char *socket)
{
	struct mdl_gpu *gpu;
	char uri[512];

	snprintf(uri, sizeof(uri), "socket:%s", socket);
	OK(mdl_gpu_open(uri, &gpu));
	return gpu;
}

void work_build(struct work *w)
{
	int err = mdl_prog_build(w->prog, w->chan, source, sizeof(source) - 1, "", LONG);

	CHECK(err == 0, "build gave %d: %s", err, mdl_prog_log(w->prog));
}

void work_init(struct work *w, struct mdl_gpu *gpu, uint32_t items)
{
	*w = (struct work) { .gpu = gpu, .items = items };
	OK(mdl_ctx_create(gpu, NULL, &w->ctx));
	OK(mdl_chan_create(w->ctx, NULL, &w->chan));
	OK(mdl_prog_create(w->ctx, &w->prog));
	OK(mdl_buf_alloc(w->ctx, items * 4ull, MDL_PLACE_VRAM, &w->in));
	OK(mdl_buf_alloc(w->ctx, items * 4ull, MDL_PLACE_SYSTEM, &w->out));
	work_build(w);
}

void work_fini(struct work *w)
{
	mdl_prog_destroy(w->prog);
	mdl_chan_destroy(w->chan);
	mdl_buf_destroy(w->in);
	mdl_buf_destroy(w->out);
	mdl_ctx_destroy(w->ctx);
}

int work_launch(struct work *w, const char *kernel, uint32_t n, const uint64_t *arg, uint32_t nargs)
{
	struct mdl_kern *kern;
	int err;

	OK(mdl_kern_create(w->prog, kernel, &kern));
	for (uint32_t i = 0; i < nargs; i++) {
		if (mdl_kern_info(kern)->arg_kind[i] == MDL_ARG_BUFFER)
			OK(mdl_kern_set_address(kern, i, arg[i]));
		else
			OK(mdl_kern_set_value(kern, i, &arg[i], 8));
	}
	err = mdl_chan_launch(w->chan, kern, 1, &n, NULL, NULL);
	mdl_kern_destroy(kern);
	return err;
}

int work_round(struct work *w, uint32_t seed)
{
	uint32_t *in = mdl_buf_ptr(w->in), *out = mdl_buf_ptr(w->out);
	uint64_t arg[] = { mdl_buf_va(w->in), mdl_buf_va(w->out), seed };
	int err;

	for (uint32_t i = 0; i < w->items; i++)
		in[i] = i * 2654435761u + seed;
	memset(out, 0xee, w->items * 4ull);
	err = work_launch(w, "scramble", w->items, arg, 3);
	if (!err)
		err = mdl_chan_finish(w->chan, LONG);
	if (err)
		return err;
	for (uint32_t i = 0; i < w->items; i++)
		CHECK(out[i] == scramble(in[i], i, seed), "item %u of seed %u is %#x", i, seed,
		      out[i]);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
		int args;
	} roles[] = {
		{ "smoke", role_smoke, 1 },	  { "worker", role_worker, 3 },
		{ "hold", role_hold, 1 },	  { "stray", role_stray, 1 },
		{ "spin", role_spin, 1 },	  { "bad-packets", role_bad_packets, 1 },
		{ "contexts", role_contexts, 2 }, { "secret", role_secret, 2 },
		{ "look", role_look, 2 },	  { "dma", role_dma, 1 },
		{ "watchdog", role_watchdog, 1 }, { "crash", role_crash, 1 },
		{ "shrink", role_shrink, 1 },	  { "storm", role_storm, 1 },
		{ "bombs", role_bombs, 2 },	  { "load", role_load, 5 },
	};

	for (size_t i = 0; argc > 1 && i < sizeof(roles) / sizeof(roles[0]); i++)
		if (!strcmp(argv[1], roles[i].name) && argc == roles[i].args + 2)
			return roles[i].run(argc - 2, argv + 2);
	fprintf(stderr, "usage: medley-test-client ROLE SOCKET [NUMBER...]\n");
	return 2;
}
