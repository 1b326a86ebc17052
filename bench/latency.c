/* SPDX-License-Identifier: MIT */
/*
 * medley-bench latency: a light guest, a kernel of 1 ms every 10 ms, alone, beside a guest with an endless kernel, and beside one with
 * kernels of 20 ms. What counts is from the launch to the moment at which the guest knows that it is done. The same work is done by
 * the host itself, alone and beside an endless thread (host-light.h).
 *
 * All cases take short turns, many times: a P99 is decided by one time in a hundred, and those are mostly the machine's doing (the
 * host of a virtual machine, its kernel's own work), which changes from second to second. How far the ratio can be believed is told by
 * drawing as many rounds again from those measured, many times (bootstrap; Efron 1979).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "fleet.h"
#include "host-light.h"
#include "shared.h"

#define PERIOD_NS (10 * MDL_NS_PER_MS)
#define WORK_NS	  MDL_NS_PER_MS
#define SECONDS	  1.0
#define ROUNDS	  24
#define ROOM	  4096 /* of one case in one round */
#define SETTLE_NS (100 * MDL_NS_PER_MS)
#define DRAWS	  400

enum { ALONE, ENDLESS, LOOP, HOST_ALONE, HOST_ENDLESS, CASES };

static const struct {
	const char *key, *heavy;
} cases[CASES] = { [ALONE] = { "alone", NULL },
		   [ENDLESS] = { "endless", "endless" },
		   [LOOP] = { "loop20ms", "loop 20000" },
		   [HOST_ALONE] = { "host_alone", NULL },
		   [HOST_ENDLESS] = { "host_endless", NULL } };

struct round {
	double *ns[CASES];
	size_t n[CASES];
};

struct latencies {
	struct round round[ROUNDS];
	double *all; /* room for those of all rounds */
};

static bool init(struct latencies *l)
{
	bool ok = (l->all = calloc((size_t)ROUNDS * ROOM, sizeof(double)));

	for (unsigned int i = 0; i < ROUNDS; i++)
		for (unsigned int k = 0; k < CASES; k++)
			ok = ok && (l->round[i].ns[k] = calloc(ROOM, sizeof(double)));
	return ok;
}

static void fini(struct latencies *l)
{
	for (unsigned int i = 0; i < ROUNDS; i++)
		for (unsigned int k = 0; k < CASES; k++)
			free(l->round[i].ns[k]);
	free(l->all);
}

/* Of the rounds in `which`. */
static double quantile(struct latencies *l, const unsigned int *which, unsigned int k, double q)
{
	size_t n = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		const struct round *r = &l->round[which[i]];

		memcpy(l->all + n, r->ns[k], r->n[k] * sizeof(double));
		n += r->n[k];
	}
	return shared_quantile(l->all, n, q);
}

/* The larger of the two guests' ratios. */
static double p99_ratio(struct latencies *l, const unsigned int *which)
{
	double alone = quantile(l, which, ALONE, 0.99);

	return alone > 0 ? fmax(quantile(l, which, ENDLESS, 0.99), quantile(l, which, LOOP, 0.99)) /
				   alone :
			   0;
}

/* ---- measuring ---- */

static bool measure_guest(struct fleet *f, const char *heavy, double seconds, double *ret_ns,
			  size_t *ret_n)
{
	uint64_t got[LOAD_LATENCIES];
	unsigned int n;

	if ((heavy && !fleet_tell(f, 1, "%s", heavy)) ||
	    !fleet_tell(f, 0, "waker %llu %llu", PERIOD_NS / 1000ull, WORK_NS / 1000ull))
		return false;
	fleet_sleep_ns(SETTLE_NS);
	if (!fleet_latencies(f, 0, got, LOAD_LATENCIES, &n))
		return false;
	fleet_sleep_ns((uint64_t)(seconds * 1e9));
	if (!fleet_latencies(f, 0, got, LOAD_LATENCIES, &n))
		return false;
	for (unsigned int i = 0; i < n && i < ROOM; i++)
		ret_ns[i] = (double)got[i];
	*ret_n = n < ROOM ? n : ROOM;
	return fleet_idle(f);
}

static bool measure(struct fleet *f, struct host_light *host, struct latencies *l, double seconds)
{
	for (unsigned int i = 0; i < ROUNDS; i++)
		for (unsigned int k = 0; k < CASES; k++) {
			struct round *r = &l->round[i];

			if (k != HOST_ALONE && k != HOST_ENDLESS) {
				if (!measure_guest(f, cases[k].heavy, seconds, r->ns[k], &r->n[k]))
					return false;
			} else if (host) {
				r->n[k] = host_light_measure(host, k == HOST_ENDLESS, PERIOD_NS,
							     (uint64_t)(seconds * 1e9), r->ns[k],
							     ROOM);
			}
		}
	return true;
}

/* ---- figures ---- */

/* Where p99_ratio would lie in 95 of 100 repetitions, as far as the rounds tell. */
static void add_interval(json_t *out, struct latencies *l)
{
	unsigned int which[ROUNDS];
	uint64_t random = 88172645463325252ull; /* always the same */
	double ratio[DRAWS];

	for (unsigned int d = 0; d < DRAWS; d++) {
		for (unsigned int i = 0; i < ROUNDS; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			which[i] = (unsigned int)(random >> 33) % ROUNDS;
		}
		ratio[d] = p99_ratio(l, which);
	}
	json_object_set_new(out, "p99_ratio_low",
			    shared_number(shared_quantile(ratio, DRAWS, 0.025)));
	json_object_set_new(out, "p99_ratio_high",
			    shared_number(shared_quantile(ratio, DRAWS, 0.975)));
}

static json_t *figures(struct latencies *l, bool host)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p95", 0.95 }, { "p99", 0.99 } };
	unsigned int which[ROUNDS];
	json_t *out = json_object();
	char suffix[24], key[48];

	for (unsigned int i = 0; i < ROUNDS; i++)
		which[i] = i;
	for (unsigned int k = 0; k < (host ? CASES : HOST_ALONE); k++) {
		unsigned int base = k < HOST_ALONE ? ALONE : HOST_ALONE;
		size_t n = 0;

		for (unsigned int i = 0; i < ROUNDS; i++)
			n += l->round[i].n[k];
		if (!n)
			continue;
		for (unsigned int j = 0; j < MDL_ARRAY_SIZE(quantiles); j++) {
			double value = quantile(l, which, k, quantiles[j].q),
			       alone = quantile(l, which, base, quantiles[j].q);

			snprintf(suffix, sizeof(suffix), "%s_us", quantiles[j].name);
			shared_add(out, cases[k].key, suffix, value / 1e3);
			snprintf(suffix, sizeof(suffix), "%s_ratio", quantiles[j].name);
			if (k != base)
				shared_add(out, cases[k].key, suffix, alone > 0 ? value / alone : 0);
		}
		snprintf(key, sizeof(key), "%s_samples", cases[k].key);
		json_object_set_new(out, key, json_integer((json_int_t)n));
	}
	json_object_set_new(out, "p99_ratio", shared_number(p99_ratio(l, which)));
	add_interval(out, l);
	json_object_set_new(
		out, "method",
		json_string(
			"latency of a guest's 1 ms kernel every 10 ms, from its launch to the guest's return from waiting for its "
			"interrupt, alone and beside a guest of the same weight with an endless kernel or kernels of 20 ms, in turn; "
			"ratios to alone; p99_ratio: the larger of the two, with the 95 % interval of a bootstrap over the rounds; host_*: "
			"the same work by a thread of real-time priority on the GPU's CPU, for one on the guests', alone and beside an "
			"endless thread of ordinary priority, ratio to host_alone: what the machine does without Medley; policy fair"));
	return out;
}

json_t *latency_run(const struct shared_options *o)
{
	double seconds = o->seconds > 0 ? o->seconds : SECONDS;
	struct latencies *l = calloc(1, sizeof(*l));
	struct host_light *host = NULL;
	struct fleet fleet, *f = &fleet;
	json_t *out = NULL;
	bool started = l && init(l), hosted;
	bool ok = started && fleet_start(f, o->bin, o->dir, "0") && fleet_grow(f, 2, false) &&
		  fleet_set_policy(f, "fair", false) &&
		  fleet_set_weights(f, (double[]) { 1, 1 }, 2) && fleet_idle(f);

	if (ok && f->gpu_cpu >= 0)
		host = host_light_start(f->gpu_cpu, WORK_NS);
	ok = ok && measure(f, host, l, seconds);
	hosted = host;
	host_light_stop(host);
	if (started)
		fleet_stop(f);
	if (ok)
		out = figures(l, hosted);
	if (l)
		fini(l);
	free(l);
	return out;
}
