/* SPDX-License-Identifier: MIT */
/*
 * medley-bench watchdog: a guest whose kernels do not end, with a limit on one kernel's time, is reset again and again and begins
 * again each time. What its neighbour loses by that is measured against its part beside a guest that behaves, in turn, several
 * times. Then how long after the limit was passed the guest knows: the moment is found in medleyd's trace, by adding up the vGPU's GPU
 * time from the launch on, since only time in which the kernel runs counts.
 */
#include <math.h>
#include <stdio.h>

#include "base/util.h"
#include "fleet.h"
#include "shared.h"

#define SECONDS	     5.0
#define ROUNDS	     3
#define LIMIT_NS     (100 * MDL_NS_PER_MS)
#define RESET_WAIT_S 60
#define SETTLE_NS    (300 * MDL_NS_PER_MS)
#define LOAD	     "loop 1000"
#define RESETS_MAX   (ROUNDS * FLEET_FAULTS)

struct outcome {
	double beside_good[ROUNDS], beside_bad[ROUNDS];
	double reset_ms[RESETS_MAX], back_ms[RESETS_MAX];
	size_t resets;
};

/* Work a second of the neighbour, guest 0; negative: failed. */
static double neighbour(struct fleet *f, const char *other, bool resets, double seconds)
{
	struct fleet_count a, b;
	uint64_t until;

	f->guest[1]->faults = 0;
	if (!fleet_idle(f) || !fleet_trace(f) || !fleet_tell(f, 1, "%s", other) ||
	    !fleet_tell(f, 0, LOAD))
		return -1;
	fleet_sleep_ns(SETTLE_NS);
	if (!fleet_count(f, 1, &a))
		return -1;
	until = mdl_now_ns() + (uint64_t)(seconds * 1e9);
	fleet_listen(f, 1, until - mdl_now_ns());
	/* A reset is a new executor and a program built anew, which takes its time on a busy machine. */
	for (unsigned int i = 0; resets && !f->guest[1]->faults && i < RESET_WAIT_S; i++)
		fleet_listen(f, 1, MDL_NS_PER_S);
	if (!fleet_count(f, 1, &b) || !fleet_trace(f))
		return -1;
	return fleet_work_s(f, b.chunks - a.chunks) / ((double)(b.at_ns - a.at_ns) / 1e9);
}

/* When a vGPU's GPU time since launched_ns reached the limit; 0: not in this trace. */
static uint64_t passed_at(const struct fleet *f, unsigned int vgpu, uint64_t launched_ns)
{
	uint64_t used = 0;

	for (size_t i = 0; i < f->turns; i++) {
		const struct shares_record *t = &f->turn[i].record;

		if (t->kind != SHARES_RUN || t->vgpu != vgpu || t->start_ns < launched_ns ||
		    !t->used_ns)
			continue;
		if (used + t->used_ns >= LIMIT_NS)
			return t->start_ns +
			       (uint64_t)((double)(t->end_ns - t->start_ns) *
					  (double)(LIMIT_NS - used) / (double)t->used_ns);
		used += t->used_ns;
	}
	return 0;
}

static void take_resets(const struct fleet *f, struct outcome *out)
{
	const struct fleet_guest *g = f->guest[1];

	for (unsigned int i = 0; i < g->faults && out->resets < RESETS_MAX; i++) {
		uint64_t passed = passed_at(f, 1, g->fault[i].launched_ns);

		/* One that was told before the limit by our count is told at once. */
		if (!passed)
			passed = g->fault[i].told_ns;
		out->reset_ms[out->resets] =
			fmax((double)g->fault[i].told_ns - (double)passed, 0) / 1e6;
		out->back_ms[out->resets++] =
			(double)(g->fault[i].back_ns - g->fault[i].told_ns) / 1e6;
	}
}

static bool measure(struct fleet *f, double seconds, struct outcome *out)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		out->beside_good[i] = neighbour(f, LOAD, false, seconds);
		if (out->beside_good[i] <= 0 ||
		    !fleet_set(f, 1, json_pack("{s:I}", "kernel_limit_ns", (json_int_t)LIMIT_NS)))
			return false;
		out->beside_bad[i] = neighbour(f, "endless", true, seconds);
		if (out->beside_bad[i] <= 0 ||
		    !fleet_set(f, 1, json_pack("{s:i}", "kernel_limit_ns", 0)))
			return false;
		take_resets(f, out);
		fprintf(stderr,
			"medley-bench: neighbour beside a good one %.4f, beside a bad one %.4f, %zu resets\n",
			out->beside_good[i], out->beside_bad[i], out->resets);
	}
	if (out->resets)
		return true;
	fprintf(stderr, "medley-bench: nobody was reset\n");
	return false;
}

static json_t *figures(struct outcome *r)
{
	double good = shared_median(r->beside_good, ROUNDS),
	       bad = shared_median(r->beside_bad, ROUNDS);

	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:I, s:s}", "neighbour_loss",
		shared_number(fmax(1 - bad / good, 0)), "neighbour_change",
		shared_number(bad / good - 1), "neighbour_beside_good", shared_number(good),
		"neighbour_beside_bad", shared_number(bad), "reset_ms",
		shared_number(shared_median(r->reset_ms, r->resets)), "reset_p99_ms",
		shared_number(shared_quantile(r->reset_ms, r->resets, 0.99)), "back_ms",
		shared_number(shared_median(r->back_ms, r->resets)), "resets", (int)r->resets,
		"limit_ns", (json_int_t)LIMIT_NS, "method",
		"work counted by the kernels of the neighbour (weight as the other's), in GPUs; neighbour_loss: 1 - beside a guest "
		"with endless kernels that is reset at limit_ns and begins again at once / beside one with kernels of 1 ms, "
		"medians, alternating, 0 if it gains (neighbour_change says how much); reset_ms: from the moment at which the "
		"vGPU's GPU time since the launch, by medleyd's trace, reaches the limit, to the guest's knowing, median; "
		"back_ms: until it can launch again (new context, program built anew); policy fair");
}

json_t *watchdog_run(const struct shared_options *o)
{
	double seconds = o->seconds > 0 ? o->seconds : SECONDS;
	struct fleet fleet, *f = &fleet;
	struct outcome r = { 0 };
	json_t *out = NULL;

	if (fleet_start(f, o->bin, o->dir, "1") && fleet_grow(f, 2, false) &&
	    fleet_set_policy(f, "fair", false) && fleet_set_weights(f, (double[]) { 1, 1 }, 2) &&
	    measure(f, seconds, &r))
		out = figures(&r);
	fleet_stop(f);
	return out;
}
