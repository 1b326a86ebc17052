/* SPDX-License-Identifier: MIT */
/*
 * medley-bench preempt: two guests with kernels that do not end, so every turn ends with a stop. From medleyd's trace: how long after
 * the end of a turn (asked_ns) all threads of the executor stand still (the event `stopped`). Not by medleyd's word: the CPU clocks of the
 * executors are read from outside, several times a turn; what the one uses between two reads that both lie in the other's turns was
 * used after its own: by its kernel until the stop took effect, and by its front end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "cpu-use.h"
#include "fleet.h"
#include "shared.h"

#define SECONDS	  6.0
#define SETTLE_NS (300 * MDL_NS_PER_MS)
#define SAMPLE_NS (300 * MDL_NS_PER_US)
#define SAMPLED_PART \
	3 /* the clocks are read in one part of so many of the time: reading them uses CPU, too */
#define LEAST_CPUS 0.25 /* of the executor of the guest that works */

struct sample {
	uint64_t at_ns;
	uint64_t cpu_ns[2];
};

struct clocks { /* executors of the two guests, found by what they use */
	clockid_t clock[2];
	struct sample *sample;
	size_t samples, room;
};

static uint64_t read_clock(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * MDL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Which is whose: while only that guest works, no process of ours uses more. */
static bool find_clocks(struct fleet *f, struct clocks *c)
{
	struct cpu_use *use = calloc(2, sizeof(*use));
	bool ok = use;

	for (unsigned int i = 0; ok && i < 2; i++) {
		double cpus = 0;
		pid_t pid;

		ok = fleet_idle(f) && fleet_tell(f, i, "endless") && cpu_use_read(&use[0]);
		if (!ok)
			break;
		fleet_sleep_ns(200 * MDL_NS_PER_MS);
		ok = cpu_use_read(&use[1]);
		pid = cpu_use_busiest(&use[0], &use[1], &cpus);
		ok = ok && cpus > LEAST_CPUS && clock_getcpuclockid(pid, &c->clock[i]) == 0;
	}
	free(use);
	return ok && c->clock[0] != c->clock[1];
}

static bool sample(struct clocks *c, uint64_t until_ns)
{
	while (mdl_now_ns() < until_ns) {
		struct sample *s;

		if (c->samples == c->room) {
			c->room = c->room ? 2 * c->room : 4096;
			s = realloc(c->sample, c->room * sizeof(*s));
			if (!s)
				return false;
			c->sample = s;
		}
		s = &c->sample[c->samples++];
		/* The time in between both reads: what is used counts as if used before it and after the one before. */
		s->cpu_ns[0] = read_clock(c->clock[0]);
		s->at_ns = mdl_now_ns();
		s->cpu_ns[1] = read_clock(c->clock[1]);
		fleet_sleep_ns(SAMPLE_NS);
	}
	return true;
}

struct outcome {
	double *back_us; /* from the end of the turn until the GPU was back: all threads stand still */
	double *next_us; /* until the next one had it */
	size_t turns;
	unsigned int yielded, preempted;
	unsigned int untold; /* stopped, and continued before the kernel said that it stands still */
	double unowned_us; /* CPU time used in turns of the other */
	double watched_s; /* how long that was looked for */
};

/* The word that the holder of turn i, who was stopped, stands still; NULL: not before its next turn. */
static const struct fleet_turn *stopped_after(const struct fleet *f, size_t i)
{
	const struct fleet_turn *t = &f->turn[i];

	while (++i < f->turns)
		if (f->turn[i].record.vgpu == t->record.vgpu &&
		    f->turn[i].record.kind == SHARES_RUN)
			return f->turn[i].stopped ? &f->turn[i] : NULL;
	return NULL;
}

/* 0: there is none. */
static double next_turn_us(const struct fleet *f, size_t i)
{
	uint64_t asked = f->turn[i].asked_ns;

	while (++i < f->turns)
		if (f->turn[i].record.kind == SHARES_RUN && !f->turn[i].stopped)
			return (double)(f->turn[i].record.start_ns - asked) / 1e3;
	return 0;
}

static void measure_turns(const struct fleet *f, struct outcome *out)
{
	for (size_t i = 0; i < f->turns; i++) {
		const struct fleet_turn *t = &f->turn[i],
					*stopped = t->preempted ? stopped_after(f, i) : NULL;
		uint64_t back = stopped ? stopped->record.end_ns : t->record.end_ns;

		if (t->record.kind != SHARES_RUN || !t->asked_ns)
			continue;
		out->preempted += t->preempted;
		out->yielded += !t->preempted;
		if (t->preempted && !stopped) {
			out->untold++;
			continue;
		}
		out->back_us[out->turns] = (double)(back - t->asked_ns) / 1e3;
		out->next_us[out->turns++] = next_turn_us(f, i);
	}
}

/* Pairs of reads within one turn: the other must not have run. */
static void check_clocks(const struct fleet *f, const struct clocks *c, struct outcome *out)
{
	size_t k = 0;

	for (size_t i = 0; i < f->turns; i++) {
		const struct shares_record *t = &f->turn[i].record;

		if (t->kind != SHARES_RUN || f->turn[i].stopped || t->vgpu > 1)
			continue;
		while (k < c->samples && c->sample[k].at_ns < t->start_ns)
			k++;
		for (; k + 1 < c->samples && c->sample[k + 1].at_ns <= t->end_ns; k++) {
			const struct sample *s = &c->sample[k];

			out->unowned_us +=
				(double)(s[1].cpu_ns[!t->vgpu] - s[0].cpu_ns[!t->vgpu]) / 1e3;
			out->watched_s += (double)(s[1].at_ns - s[0].at_ns) / 1e9;
		}
	}
}

static json_t *figures(struct outcome *r)
{
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:o, s:o, s:s}", "p50_us",
		shared_number(shared_median(r->back_us, r->turns)), "p99_us",
		shared_number(shared_quantile(r->back_us, r->turns, 0.99)), "max_us",
		shared_number(shared_quantile(r->back_us, r->turns, 1)), "next_p50_us",
		shared_number(shared_median(r->next_us, r->turns)), "next_p99_us",
		shared_number(shared_quantile(r->next_us, r->turns, 0.99)), "turns", (int)r->turns,
		"stopped", (int)r->preempted, "unconfirmed", (int)r->untold, "given_back",
		(int)r->yielded, "cpu_in_others_turns",
		shared_number(r->watched_s > 0 ? r->unowned_us / r->watched_s / 1e6 : 0),
		"watched_s", shared_number(r->watched_s), "method",
		"two guests with endless kernels, policy round-robin; p50_us, p99_us: from the end of a turn (asked_ns of "
		"medleyd's trace) until the host's kernel has said that all threads of the executor stand still (the event "
		"`stopped`), those too that wait for a CPU for it; next_*: to the start of the next turn, which does not wait "
		"for that; unconfirmed: stops without that word before the executor's next turn, not in these figures; "
		"cpu_in_others_turns: CPU time of an executor during turns of the other, in CPUs, by its CPU clock, read from "
		"outside: of its kernel until it stands still, and of its front end");
}

json_t *preempt_run(const struct shared_options *o)
{
	double seconds = o->seconds > 0 ? o->seconds : SECONDS;
	struct fleet fleet, *f = &fleet;
	struct clocks clocks = { 0 };
	struct outcome r = { 0 };
	json_t *out = NULL;
	bool ok = fleet_start(f, o->bin, o->dir, "0") && fleet_grow(f, 2, false) &&
		  fleet_set_policy(f, "round-robin", false);

	if (ok && !find_clocks(f, &clocks)) {
		fprintf(stderr, "medley-bench: the guests' executors are not found\n");
		ok = false;
	}
	ok = ok && fleet_idle(f) && fleet_tell(f, 0, "endless") && fleet_tell(f, 1, "endless");
	if (ok) {
		fleet_sleep_ns(SETTLE_NS);
		ok = fleet_trace(f);
	}
	if (ok) {
		fleet_sleep_ns((uint64_t)(seconds * 1e9));
		ok = fleet_trace(f);
	}
	r.back_us = calloc(f->turns + 1, sizeof(double));
	r.next_us = calloc(f->turns + 1, sizeof(double));
	ok = ok && r.back_us && r.next_us;
	if (ok) {
		measure_turns(f, &r);
		ok = sample(&clocks, mdl_now_ns() + (uint64_t)(seconds / SAMPLED_PART * 1e9)) &&
		     fleet_trace(f);
	}
	if (ok)
		check_clocks(f, &clocks, &r);
	fleet_stop(f);
	if (ok)
		out = figures(&r);
	free(r.back_us);
	free(r.next_us);
	free(clocks.sample);
	return out;
}
