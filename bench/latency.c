/* SPDX-License-Identifier: MIT */
/*
 * medley-bench latency: a light guest, a kernel of 1 ms every 20 ms, alone, beside a guest with an endless kernel, and beside one with
 * kernels of 20 ms, in turn, several times. What counts is from the launch to the moment at which the guest knows that it is done.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "fleet.h"
#include "shared.h"

#define LIGHT	  "waker 20000 1000"
#define SECONDS	  5.0
#define ROUNDS	  3
#define SETTLE_NS (300 * MDL_NS_PER_MS)
#define CASES	  3

static const struct {
	const char *key, *heavy;
} cases[CASES] = { { "alone", NULL }, { "endless", "endless" }, { "loop20ms", "loop 20000" } };

struct latencies {
	double ns[ROUNDS * LOAD_LATENCIES];
	size_t n;
};

static bool measure(struct fleet *f, const char *heavy, double seconds, struct latencies *l)
{
	uint64_t got[LOAD_LATENCIES];
	unsigned int n;

	if (!fleet_idle(f) || (heavy && !fleet_tell(f, 1, "%s", heavy)) || !fleet_tell(f, 0, LIGHT))
		return false;
	fleet_sleep_ns(SETTLE_NS);
	if (!fleet_latencies(f, 0, got, LOAD_LATENCIES, &n))
		return false;
	fleet_sleep_ns((uint64_t)(seconds * 1e9));
	if (!fleet_latencies(f, 0, got, LOAD_LATENCIES, &n))
		return false;
	for (unsigned int i = 0; i < n; i++)
		l->ns[l->n++] = (double)got[i];
	return true;
}

static json_t *figures(struct latencies *l)
{
	json_t *out = json_object();
	double p99[CASES], p50[CASES];
	char key[40];

	for (unsigned int k = 0; k < CASES; k++) {
		p50[k] = shared_median(l[k].ns, l[k].n);
		p99[k] = shared_quantile(l[k].ns, l[k].n, 0.99);
		snprintf(key, sizeof(key), "%s_p50_us", cases[k].key);
		json_object_set_new(out, key, shared_number(p50[k] / 1e3));
		snprintf(key, sizeof(key), "%s_p99_us", cases[k].key);
		json_object_set_new(out, key, shared_number(p99[k] / 1e3));
		snprintf(key, sizeof(key), "%s_samples", cases[k].key);
		json_object_set_new(out, key, json_integer((json_int_t)l[k].n));
	}
	for (unsigned int k = 1; k < CASES; k++) {
		snprintf(key, sizeof(key), "%s_p50_ratio", cases[k].key);
		json_object_set_new(out, key, shared_number(p50[0] > 0 ? p50[k] / p50[0] : 0));
		snprintf(key, sizeof(key), "%s_p99_ratio", cases[k].key);
		json_object_set_new(out, key, shared_number(p99[0] > 0 ? p99[k] / p99[0] : 0));
	}
	json_object_set_new(out, "p99_ratio",
			    shared_number(p99[0] > 0 ? fmax(p99[1], p99[2]) / p99[0] : 0));
	json_object_set_new(
		out, "method",
		json_string(
			"latency of a guest's 1 ms kernel every 20 ms, from its launch to the guest's return from waiting for its "
			"interrupt, alone and beside a guest of the same weight with an endless kernel or kernels of 20 ms, in turn; "
			"ratios to alone; p99_ratio: the larger of the two; policy fair"));
	return out;
}

json_t *latency_run(const struct shared_options *o)
{
	double seconds = o->seconds > 0 ? o->seconds : SECONDS;
	struct latencies *l = calloc(CASES, sizeof(*l));
	struct fleet fleet, *f = &fleet;
	json_t *out = NULL;
	bool ok = l && fleet_start(f, o->bin, o->dir, "0") && fleet_grow(f, 2, false) &&
		  fleet_set_policy(f, "fair", false) &&
		  fleet_set_weights(f, (double[]) { 1, 1 }, 2);

	for (unsigned int i = 0; ok && i < ROUNDS; i++)
		for (unsigned int k = 0; ok && k < CASES; k++)
			ok = measure(f, cases[k].heavy, seconds, &l[k]);
	if (l)
		fleet_stop(f);
	if (ok)
		out = figures(l);
	free(l);
	return out;
}
