/* SPDX-License-Identifier: MIT */
/*
 * medley-bench overhead: what sharing costs. One guest alone, and two with weights 3 to 1, in turn, several times: how much work is
 * done, as the guests' kernels count it. Then one busy guest with and without 64 idle vGPUs beside it, each with a VM of its own that has
 * an idle context and channel. How much the times without them differ before and after says what such a difference is worth; and who
 * used CPUs meanwhile, whose it is: the idle ones' own, the rest of the machine's (which has hundreds of processes more to look after), or
 * its host's. That the latter would charge the same for any processes is shown by as many that have nothing to do with Medley.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "cpu-use.h"
#include "crowd.h"
#include "fleet.h"
#include "shared.h"

#define ROUNDS	   7
#define SECONDS	   2.0
#define SETTLE_NS  (200 * MDL_NS_PER_MS)
#define IDLE_VGPUS 64
#define LENGTHS	   3
#define IDLE_TIMES 2 /* as long: this one is about nothing */

static const char *const length[LENGTHS] = { "loop 1000", "loop 20000",
					     "random 100 1000 20000 500000" };

/* Work a second of guests [0, n), in seconds of the GPU; negative: failed. */
static double throughput(struct fleet *f, unsigned int n, const char *load, double seconds)
{
	struct fleet_count a[2], b[2];
	double sum = 0;

	if (!fleet_idle(f))
		return -1;
	for (unsigned int i = 0; i < n; i++)
		if (!fleet_tell(f, i, "%s", load))
			return -1;
	fleet_sleep_ns(SETTLE_NS);
	if (!fleet_count(f, n, a))
		return -1;
	fleet_sleep_ns((uint64_t)(seconds * 1e9));
	if (!fleet_count(f, n, b))
		return -1;
	for (unsigned int i = 0; i < n; i++)
		sum += fleet_work_s(f, b[i].chunks - a[i].chunks) /
		       ((double)(b[i].at_ns - a[i].at_ns) / 1e9);
	return sum;
}

static bool split(struct fleet *f, double seconds, json_t *out, double *ret_cost)
{
	double all[LENGTHS];

	for (unsigned int k = 0; k < LENGTHS; k++) {
		double alone[ROUNDS], both[ROUNDS], cost[ROUNDS];

		for (unsigned int i = 0; i < ROUNDS; i++) {
			/* Which comes first changes: the machine may get slower or faster meanwhile. */
			if (i % 2)
				both[i] = throughput(f, 2, length[k], seconds);
			alone[i] = throughput(f, 1, length[k], seconds);
			if (i % 2 == 0)
				both[i] = throughput(f, 2, length[k], seconds);
			if (alone[i] <= 0 || both[i] <= 0)
				return false;
			cost[i] = 1 - both[i] / alone[i];
			fprintf(stderr, "medley-bench: %s: alone %.4f, 75/25 %.4f\n", length[k],
				alone[i], both[i]);
		}
		/* Of the rounds' own costs: the machine's drift is in both times of a round. */
		all[k] = shared_median(cost, ROUNDS);
		json_array_append_new(
			out, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "load", length[k], "alone",
				       shared_number(shared_median(alone, ROUNDS)), "split",
				       shared_number(shared_median(both, ROUNDS)), "cost",
				       shared_number(all[k]), "cost_least",
				       shared_number(shared_quantile(cost, ROUNDS, 0)), "cost_most",
				       shared_number(shared_quantile(cost, ROUNDS, 1))));
	}
	*ret_cost = all[0];
	for (unsigned int k = 1; k < LENGTHS; k++)
		*ret_cost = fmax(*ret_cost, all[k]);
	return true;
}

/* What some rounds of one busy guest were like. */
struct phase {
	double work[ROUNDS];
	struct cpu_use from, to;
	size_t memory; /* of the machine in use, at their end */
};

/* In turn. The crowd: as many ordinary processes as the idle ones had, with as much memory, that do nothing. */
enum { FIRST, IDLE, SECOND, CROWD, THIRD, PHASES };

static bool some_rounds(struct fleet *f, double seconds, const char *what, struct phase *ret)
{
	if (!cpu_use_read(&ret->from))
		return false;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		if ((ret->work[i] = throughput(f, 1, length[0], seconds)) <= 0)
			return false;
		fprintf(stderr, "medley-bench: %s: one %s %.4f\n", length[0], what, ret->work[i]);
	}
	ret->memory = crowd_memory_used();
	return cpu_use_read(&ret->to);
}

/* What a phase had more than those before and after it. */
static double more(const struct phase *p, double (*of)(const struct cpu_use *a, const struct cpu_use *b))
{
	return of(&p->from, &p->to) - (of(&p[-1].from, &p[-1].to) + of(&p[1].from, &p[1].to)) / 2;
}

static double cost(struct phase *p)
{
	double without[2 * ROUNDS];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		without[i] = p[-1].work[i];
		without[ROUNDS + i] = p[1].work[i];
	}
	return 1 - shared_median(p->work, ROUNDS) / shared_median(without, 2 * ROUNDS);
}

static double own_cpus(const struct fleet *f, const struct phase *p)
{
	double medleyd = cpu_use_of(&p->from, &p->to, f->stack.medleyd);

	for (int i = -1; i <= 1; i += 2)
		medleyd -= cpu_use_of(&p[i].from, &p[i].to, f->stack.medleyd) / 2;
	return cpu_use_of_new(&p[-1].to, &p->from, &p->to) + medleyd;
}

static void idle_figures(const struct fleet *f, struct phase *phase, const char *prefix, json_t *out)
{
	double first = shared_median(phase[FIRST].work, ROUNDS),
	       second = shared_median(phase[SECOND].work, ROUNDS);

	shared_add(out, prefix, "cost", cost(&phase[IDLE]));
	shared_add(out, prefix, "own_cpus", own_cpus(f, &phase[IDLE]));
	shared_add(out, prefix, "machine_cpus", more(&phase[IDLE], cpu_use_of_others));
	shared_add(out, prefix, "stolen_cpus", more(&phase[IDLE], cpu_use_stolen));
	shared_add(out, "crowd", "cost", cost(&phase[CROWD]));
	shared_add(out, prefix, "cost_beyond_crowd", cost(&phase[IDLE]) - cost(&phase[CROWD]));
	shared_add(out, "crowd", "machine_cpus", more(&phase[CROWD], cpu_use_of_others));
	shared_add(out, "crowd", "stolen_cpus", more(&phase[CROWD], cpu_use_stolen));
	shared_add(out, "idle", "noise", fabs(second / first - 1));
	shared_add(out, "alone", "without_idle", (first + second) / 2);
	shared_add(out, "alone", "beside_idle", shared_median(phase[IDLE].work, ROUNDS));
}

static bool idle(struct fleet *f, double seconds, unsigned int n, struct phase *phase, struct crowd *crowd)
{
	size_t processes, memory;

	if (!some_rounds(f, seconds, "without idle vGPUs", &phase[FIRST]) || !fleet_idle(f) ||
	    !fleet_grow(f, 1 + n, true) ||
	    !some_rounds(f, seconds, "beside idle vGPUs", &phase[IDLE]) || !fleet_shrink(f, 1) ||
	    !some_rounds(f, seconds, "without idle vGPUs", &phase[SECOND]))
		return false;
	processes = phase[IDLE].to.processes - phase[FIRST].to.processes;
	memory = phase[IDLE].memory > phase[FIRST].memory ?
			 phase[IDLE].memory - phase[FIRST].memory :
			 0;
	fprintf(stderr, "medley-bench: they had %zu processes and %zu MiB\n", processes, memory >> 20);
	if (!crowd_start(crowd, processes, processes ? memory / processes : 0) ||
	    !some_rounds(f, seconds, "beside a crowd", &phase[CROWD]))
		return false;
	crowd_stop(crowd);
	return some_rounds(f, seconds, "without idle vGPUs", &phase[THIRD]);
}

json_t *overhead_run(const struct shared_options *o)
{
	double seconds = o->seconds > 0 ? o->seconds : SECONDS, split_cost;
	unsigned int vgpus = o->vgpus && o->vgpus < IDLE_VGPUS ? o->vgpus : IDLE_VGPUS;
	struct phase *phase = calloc(PHASES, sizeof(*phase));
	struct crowd crowd = { .count = 0 };
	json_t *loads = json_array(), *out = NULL;
	struct fleet fleet, *f = &fleet;
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "idle%u", vgpus);
	if (fleet_start(f, o->bin, o->dir, "0") && phase && fleet_grow(f, 2, false) &&
	    fleet_set_policy(f, "fair", false) && fleet_set_weights(f, (double[]) { 3, 1 }, 2) &&
	    split(f, seconds, loads, &split_cost) && fleet_idle(f) && fleet_shrink(f, 1) &&
	    idle(f, seconds * IDLE_TIMES, vgpus, phase, &crowd)) {
		out = json_pack(
			"{s:o, s:i, s:O, s:s}", "split_cost", shared_number(split_cost), "idle_vgpus",
			(int)vgpus, "loads", loads, "method",
			"work counted by the kernels in the guests' memory; split_cost: 1 - two guests of weights 3:1 together / "
			"one alone while the other idles, median of rounds of both one after the other, the largest of three lengths of "
			"kernels; "
			"idleN_cost: 1 - one guest beside N idle vGPUs / without them, medians, without both before and after; "
			"idle_noise: the difference between the times without, before and after; each idle vGPU has a VM, a context "
			"and a channel; idleN_own_cpus: CPU time of these VMs and their vGPUs' processes, and what medleyd used more, in "
			"CPUs; idleN_machine_cpus: what all that is not Medley's used more; idleN_stolen_cpus: what the machine's host took more "
			"(steal time); crowd_*: the same for as many ordinary processes with as much memory that do nothing: what the "
			"machine itself charges for their being there; idleN_cost_beyond_crowd: the difference; policy fair");
		idle_figures(f, phase, prefix, out);
	}
	crowd_stop(&crowd);
	fleet_stop(f);
	json_decref(loads);
	free(phase);
	return out;
}
