/* SPDX-License-Identifier: MIT */
/*
 * mdl-smoke: opens a device and tries everything once: registers, memory of both kinds, every
 * packet, programs, kernels, fences, errors and recovery. One PASS or FAIL line each, exit status 0
 * only if all passed. Runs on the host, in Linux guests and without an operating system; the checks
 * are in smoke_checks.c, here is what they stand on.
 */
#include "smoke.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

static const char usage[] = "usage: mdl-smoke [--device URI] [--only NAME]\n";

bool smoke_true(struct smoke *s, bool ok, const char *what)
{
	if (!ok && !s->failed) {
		printf("  %s: not so\n", what);
		s->failed = true;
	}
	return ok;
}

bool smoke_ok(struct smoke *s, int r, const char *what)
{
	struct mdl_chan_error e;

	if (r >= 0 || s->failed)
		return r >= 0;
	printf("  %s: %s\n", what, strerror(-r));
	if (s->chan && mdl_chan_error(s->chan, &e) == 0 && e.error)
		printf("  channel: %s, address 0x%llx, packet %llu\n", mdl_error_name(e.error),
		       (unsigned long long)e.va, (unsigned long long)e.packet);
	s->failed = true;
	return false;
}

static void print_info(struct smoke *s)
{
	struct mdl_gpu_info info;

	mdl_gpu_info(s->gpu, &info);
	printf("mdl-smoke: port %s, version %u.%u, VRAM %llu MiB, addresses 0x%llx to 0x%llx, "
	       "%u contexts, %u channels, "
	       "%u compute units, %u vectors\n",
	       info.port, info.version_major, info.version_minor,
	       (unsigned long long)(info.vram_bytes >> 20), (unsigned long long)info.va_base,
	       (unsigned long long)info.va_limit, info.num_contexts, info.num_channels,
	       info.compute_units, info.num_vectors);
}

static void drop_context(struct smoke *s)
{
	mdl_ctx_destroy(s->ctx);
	s->ctx = NULL;
}

/*
 * A channel and buffers for each check. The context is kept while it is well: a new one takes a new
 * executor of the host.
 */
static bool run_one(struct smoke *s, const struct smoke_check *check)
{
	uint64_t start = mdl_gpu_now_ns(s->gpu);
	struct mdl_ctx_state state;

	s->failed = false;
	if (!s->ctx)
		smoke_ok(s, mdl_ctx_create(s->gpu, NULL, &s->ctx), "context");
	if (s->ctx && smoke_ok(s, mdl_chan_create(s->ctx, NULL, &s->chan), "channel") &&
	    smoke_ok(s, mdl_buf_alloc(s->ctx, SMOKE_BYTES, MDL_PLACE_VRAM, &s->vram), "VRAM") &&
	    smoke_ok(s, mdl_buf_alloc(s->ctx, SMOKE_BYTES, MDL_PLACE_SYSTEM, &s->system),
		     "system memory"))
		check->run(s);
	mdl_buf_destroy(s->system);
	mdl_buf_destroy(s->vram);
	mdl_chan_destroy(s->chan);
	s->system = s->vram = NULL;
	s->chan = NULL;
	if (s->ctx &&
	    (s->failed || mdl_ctx_state(s->ctx, &state) < 0 || state.status != MDL_STATUS_READY))
		drop_context(s);
	printf("%s %s (%llu ms)\n", s->failed ? "FAIL" : "PASS", check->name,
	       (unsigned long long)((mdl_gpu_now_ns(s->gpu) - start) / 1000000));
	fflush(stdout);
	return !s->failed;
}

int main(int argc, char **argv)
{
	const char *device = app_default_device(), *only = NULL;
	unsigned int passed = 0, failed = 0;
	struct smoke s = { 0 };
	int r;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--device") && i + 1 < argc) {
			device = argv[++i];
		} else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
			only = argv[++i];
		} else {
			fputs(usage, stderr);
			return 2;
		}
	}
	r = mdl_gpu_open(device, &s.gpu);
	if (r < 0) {
		printf("FAIL open %s: %s\n", device, strerror(-r));
		return 1;
	}
	print_info(&s);
	for (const struct smoke_check *c = smoke_checks; c->name; c++) {
		if (only && strcmp(only, c->name))
			continue;
		if (run_one(&s, c))
			passed++;
		else
			failed++;
	}
	drop_context(&s);
	mdl_gpu_close(s.gpu);
	printf("mdl-smoke: %u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
