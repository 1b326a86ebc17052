/* SPDX-License-Identifier: MIT */
/*
 * mdl-hostile: a guest that attacks its own device, to see that nobody else suffers: the tests run
 * it beside a neighbour whose work must stay correct. After each attack it resets the device and
 * does a small piece of honest work, because a vGPU must serve its guest again after a function
 * reset whatever happened before. Attacks are chosen and made from --seed, so a bad run can be
 * repeated. The attacks are in hostile_attacks.c. Runs on the host and without an operating system.
 */
#include "hostile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

static const char usage[] =
	"usage: mdl-hostile [--device URI] [--seed N] [--rounds N] [--patience MS]\n"
	"                   [--only ATTACK]\n";

struct options {
	const char *device, *only;
	uint64_t seed;
	uint32_t rounds;
	int64_t patience_ns;
};

uint64_t hostile_random(struct hostile *h)
{
	/* xorshift64*, Vigna 2016 */
	h->random ^= h->random >> 12;
	h->random ^= h->random << 25;
	h->random ^= h->random >> 27;
	return h->random * 0x2545f4914f6cdd1dull;
}

uint64_t hostile_address(struct hostile *h)
{
	uint64_t va = mdl_buf_va(h->buf), r = hostile_random(h);
	const struct mdl_gpu_info *info = &h->gpu->info;

	switch (r % 8) {
	case 0:
	case 1:
		return va + (r >> 8) % HOSTILE_BYTES;
	case 2:
		return va + HOSTILE_BYTES - (r >> 8) % 128;
	case 3:
		return info->va_base - 4096 + (r >> 8) % 8192;
	case 4:
		return info->va_limit - 4096 + (r >> 8) % 8192;
	case 5:
		return UINT64_MAX - (r >> 8) % 65536;
	case 6:
		return info->va_base + (r >> 8) % (info->va_limit - info->va_base);
	default:
		return r;
	}
}

static int set_up(struct hostile *h)
{
	int r = mdl_ctx_create(h->gpu, NULL, &h->ctx);

	if (r == 0)
		r = mdl_chan_create(h->ctx, NULL, &h->chan);
	if (r == 0)
		r = mdl_buf_alloc(h->ctx, HOSTILE_BYTES, MDL_PLACE_VRAM, &h->buf);
	if (r == 0)
		mdl_chan_set_limit(h->chan, h->patience_ns);
	return r;
}

static void tear_down(struct hostile *h)
{
	mdl_buf_destroy(h->buf);
	mdl_chan_destroy(h->chan);
	mdl_ctx_destroy(h->ctx);
	h->buf = NULL;
	h->chan = NULL;
	h->ctx = NULL;
}

void hostile_recover(struct hostile *h)
{
	if (mdl_ring_check(h->chan) < 0 || mdl_chan_finish(h->chan, h->patience_ns) < 0) {
		mdl_ctx_reset(h->ctx);
		mdl_chan_reset(h->chan);
	}
}

/*
 * The device's own guest can use it again. Time limits are those of a machine where others have
 * their turns.
 */
static int honest_work(struct hostile *h)
{
	uint64_t *p, tag;
	int r = set_up(h);

	if (r == 0) {
		tag = hostile_random(h);
		p = mdl_buf_ptr(h->buf);
		r = mdl_chan_fill(h->chan, mdl_buf_va(h->buf), HOSTILE_BYTES / 2, tag, 8);
		if (r == 0)
			r = mdl_chan_copy(h->chan, mdl_buf_va(h->buf) + HOSTILE_BYTES / 2,
					  mdl_buf_va(h->buf), HOSTILE_BYTES / 2);
		if (r == 0)
			r = mdl_chan_finish(h->chan, 60 * (int64_t)MDL_NS_PER_S);
		for (uint32_t i = 0; r == 0 && i < HOSTILE_BYTES / 8; i++)
			r = p[i] == tag ? 0 : -EBADMSG;
	}
	tear_down(h);
	return r;
}

static int attack(struct hostile *h, const struct hostile_attack *a)
{
	const char *step = "setting up";
	int r = set_up(h);

	if (r == 0) {
		a->run(h);
		step = "reset";
		r = mdl_gpu_reset(h->gpu);
	}
	tear_down(h);
	if (r == 0) {
		step = "honest work";
		r = honest_work(h);
	}
	if (r < 0)
		printf("FAIL %s: %s afterwards: %s\n", a->name, step, strerror(-r));
	return r;
}

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		if (i + 1 == argc)
			return -EINVAL;
		if (!strcmp(argv[i], "--device"))
			o->device = argv[++i];
		else if (!strcmp(argv[i], "--only"))
			o->only = argv[++i];
		else if (!strcmp(argv[i], "--seed"))
			o->seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--rounds"))
			o->rounds = (uint32_t)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--patience"))
			o->patience_ns = (int64_t)(strtoul(argv[++i], NULL, 0) * MDL_NS_PER_MS);
		else
			return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .device = app_default_device(),
			     .seed = 1,
			     .rounds = 1,
			     .patience_ns = (int64_t)MDL_NS_PER_S };
	struct hostile h = { 0 };
	uint32_t attacks = 0;
	uint64_t start;
	int r;

	if (parse(argc, argv, &o) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	h.random = o.seed * 2 + 1;
	h.patience_ns = o.patience_ns;
	r = mdl_gpu_open(o.device, &h.gpu);
	if (r < 0) {
		printf("FAIL open %s: %s\n", o.device, strerror(-r));
		return 1;
	}
	for (uint32_t round = 0; r == 0 && round < o.rounds; round++) {
		for (const struct hostile_attack *a = hostile_attacks; r == 0 && a->name; a++) {
			if (o.only && strcmp(o.only, a->name))
				continue;
			start = mdl_gpu_now_ns(h.gpu);
			r = attack(&h, a);
			attacks++;
			printf("mdl-hostile: %s (%llu ms)\n", a->name,
			       (unsigned long long)((mdl_gpu_now_ns(h.gpu) - start) / 1000000));
			fflush(stdout);
		}
	}
	mdl_gpu_close(h.gpu);
	if (r == 0)
		printf("PASS mdl-hostile: seed %llu, %u attacks, served again after each\n",
		       (unsigned long long)o.seed, attacks);
	return r < 0 || !attacks;
}
