/* SPDX-License-Identifier: MIT */
/*
 * medley-bench fairness: every policy in every scenario, on guests that are started once. Shares and demand come from medleyd's
 * trace (shares.h says what share, entitlement and error mean here); beside them stands what the guests' own counters of finished
 * work say.
 *
 * Guests come in stages, 2, 4, 8 and 16 vGPUs: policies that give idle vGPUs their slots all the same would otherwise be measured
 * with 16 always.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "fleet.h"
#include "shared.h"

#define MIX	   "random 100 1000 20000 500000"
#define SETTLE_NS  (250 * MDL_NS_PER_MS)
#define FAIR_S	   5.0
#define OTHERS_S   2.0
#define UNSEEN_MIN 0.02
#define VGPUS_MAX  16

struct scenario {
	const char *name;
	unsigned int vgpus;
	double weight[VGPUS_MAX]; /* the first ones; repeated for the others */
	unsigned int weights;
	const char *load[4]; /* likewise */
	unsigned int loads;
	bool hostile; /* a kernel that does not end: cannot be run without preemption */
	bool coarse; /* is also run without preemption */
};

static const struct scenario scenarios[] = {
	{ "1:1", 2, { 1 }, 1, { MIX }, 1, .coarse = true },
	{ "3:1", 2, { 3, 1 }, 2, { MIX }, 1 },
	{ "3:1, the 1 endless", 2, { 3, 1 }, 2, { MIX, "endless" }, 2, .hostile = true },
	{ "4 alike", 4, { 1 }, 1, { MIX }, 1 },
	{ "8:4:2:1", 4, { 8, 4, 2, 1 }, 4, { MIX }, 1 },
	{ "0.1, 1, 20, 500 ms",
	  4,
	  { 1 },
	  1,
	  { "loop 100", "loop 1000", "loop 20000", "loop 500000" },
	  4,
	  .coarse = true },
	{ "8:4:2:1, the 4 endless",
	  4,
	  { 8, 4, 2, 1 },
	  4,
	  { MIX, "endless", MIX, MIX },
	  4,
	  .hostile = true },
	{ "8 alike", 8, { 1 }, 1, { MIX }, 1 },
	{ "4 and 4 that sleep", 8, { 1 }, 1, { MIX, "sleeper 50000 50000 100 1000 20000" }, 2 },
	{ "16 alike", 16, { 1 }, 1, { MIX }, 1 },
	{ "16 of 8:4:2:1", 16, { 8, 4, 2, 1 }, 4, { MIX }, 1 },
};

static const char *const policies[] = { "fair",	       "credit",      "credit-gdev",
					"band",	       "band-gpuvm",  "fixed-share",
					"equal-share", "round-robin", "best-effort" };
/* Without preemption, as the systems that these come from are. */
static const char *const coarse[] = { "fair", "credit", "band" };

bool fairness_knows(const char *policy)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(policies); i++)
		if (!strcmp(policies[i], policy))
			return true;
	return false;
}

static bool wanted(const struct shared_options *o, const char *policy)
{
	for (unsigned int i = 0; i < o->policies; i++)
		if (!strcmp(o->policy[i], policy))
			return true;
	return !o->policies;
}

static double weight_of(const struct scenario *s, unsigned int i)
{
	return s->weight[i % s->weights];
}

static bool set_up(struct fleet *f, const struct scenario *s, const char *policy,
		   bool nonpreemptive)
{
	double weight[VGPUS_MAX];

	for (unsigned int i = 0; i < s->vgpus; i++)
		weight[i] = weight_of(s, i);
	if (!fleet_idle(f) || !fleet_set_policy(f, policy, nonpreemptive) ||
	    !fleet_set_weights(f, weight, s->vgpus))
		return false;
	for (unsigned int i = 0; i < s->vgpus; i++)
		if (!fleet_send(f, i, "%s", s->load[i % s->loads]))
			return false;
	for (unsigned int i = 0; i < s->vgpus; i++)
		if (!fleet_wait_ok(f, i))
			return false;
	return true;
}

static bool compute(struct fleet *f, const struct scenario *s, uint64_t from, uint64_t to,
		    struct shares_result *ret)
{
	struct shares_record *record = calloc(f->turns ? f->turns : 1, sizeof(*record));
	struct shares_input in = { .record = record,
				   .records = f->turns,
				   .vgpus = s->vgpus,
				   .from_ns = from,
				   .to_ns = to };
	int err = record ? 0 : -1;

	for (size_t i = 0; !err && i < f->turns; i++)
		record[i] = f->turn[i].record;
	for (unsigned int i = 0; i < s->vgpus; i++) {
		in.weight[i] = weight_of(s, i);
		in.awake[i] = f->guest[i]->awake_before;
		/* The others have work all the time, whatever is known of it. */
		in.always[i] = strncmp(s->load[i % s->loads], "sleeper", 7) != 0;
	}
	err = err ? err : shares_compute(&in, ret);
	free(record);
	if (err)
		fprintf(stderr, "medley-bench: %s: no shares (%d)\n", s->name, err);
	return !err;
}

static json_t *describe_windows(const struct shares_result *r)
{
	static const char *const names[SHARES_WINDOWS] = { "10ms", "100ms", "500ms", "1s" };
	json_t *out = json_object();

	for (unsigned int k = 0; k < SHARES_WINDOWS; k++) {
		const struct shares_window *w = &r->window[k];

		json_object_set_new(out, names[k],
				    json_pack("{s:o, s:o, s:o, s:o, s:i}", "error_max",
					      shared_number(w->error_max), "error_mean",
					      shared_number(w->error_mean), "jain_mean",
					      shared_number(w->jain_mean), "jain_min",
					      shared_number(w->jain_min), "windows",
					      (int)w->windows));
	}
	return out;
}

/* Beside each share, what the guest has counted itself: its part of all the work. */
static json_t *describe_vgpus(const struct fleet *f, const struct scenario *s,
			      const struct shares_result *r, const struct fleet_count *a,
			      const struct fleet_count *b, double *ret_difference,
			      unsigned int *ret_unseen)
{
	json_t *out = json_array();
	double rate[VGPUS_MAX], all = 0;

	for (unsigned int i = 0; i < s->vgpus; i++) {
		rate[i] = fleet_work_s(f, b[i].chunks - a[i].chunks) /
			  ((double)(b[i].at_ns - a[i].at_ns) / 1e9);
		all += rate[i];
	}
	*ret_difference = 0;
	*ret_unseen = 0;
	for (unsigned int i = 0; i < s->vgpus; i++) {
		double counted = all > 0 ? rate[i] / all : 0;

		/* The two ways of counting never differ by that much, unless medleyd does not see it. */
		if (counted > UNSEEN_MIN && r->share[i] < counted / 10) {
			fprintf(stderr, "medley-bench: %s: guest %u works, but not by the trace\n",
				s->name, i);
			++*ret_unseen;
		}
		*ret_difference = fmax(*ret_difference, fabs(counted - r->share[i]));
		json_array_append_new(out, json_pack("{s:f, s:o, s:o, s:o, s:o}", "weight",
						     weight_of(s, i), "share",
						     shared_number(r->share[i]), "entitlement",
						     shared_number(r->entitlement[i]),
						     "counted_share", shared_number(counted),
						     "work_rate", shared_number(rate[i])));
	}
	return out;
}

static json_t *measure(struct fleet *f, const struct scenario *s, const char *policy,
		       bool nonpreemptive, double seconds)
{
	struct fleet_count before[VGPUS_MAX], after[VGPUS_MAX];
	struct shares_result r;
	uint64_t from, to, thinned;
	unsigned int unseen;
	double difference;
	json_t *row, *vgpus;

	if (!set_up(f, s, policy, nonpreemptive))
		return NULL;
	fleet_sleep_ns(SETTLE_NS);
	if (!fleet_trace(f) || !fleet_count(f, s->vgpus, before))
		return NULL;
	thinned = f->thinned;
	from = mdl_now_ns();
	fleet_sleep_ns((uint64_t)(seconds * 1e9));
	to = mdl_now_ns();
	if (!fleet_count(f, s->vgpus, after) || !fleet_trace(f) || !compute(f, s, from, to, &r))
		return NULL;
	vgpus = describe_vgpus(f, s, &r, before, after, &difference, &unseen);
	row = json_pack("{s:s, s:s, s:b, s:b, s:i, s:f, s:o, s:o, s:o, s:o, s:I, s:i}", "policy",
			policy, "scenario", s->name, "nonpreemptive", nonpreemptive, "hostile",
			s->hostile, "vgpus", (int)s->vgpus, "seconds", seconds, "utilisation",
			shared_number(r.utilisation), "count_difference_max",
			shared_number(difference), "windows", describe_windows(&r), "guests", vgpus,
			"demand_events_lost", (json_int_t)(f->thinned - thinned), "unseen_guests",
			(int)unseen);
	fprintf(stderr, "medley-bench: %s%s, %s: 1 s: %.2f %%\n", policy,
		nonpreemptive ? " (not preemptive)" : "", s->name,
		100 * r.window[SHARES_WINDOWS - 1].error_max);
	return row;
}

static bool measure_scenario(struct fleet *f, const struct shared_options *o,
			     const struct scenario *s, json_t *rows)
{
	for (unsigned int np = 0; np < 1u + s->coarse; np++) {
		const char *const *list = np ? coarse : policies;
		size_t n = np ? MDL_ARRAY_SIZE(coarse) : MDL_ARRAY_SIZE(policies);

		for (size_t i = 0; i < n; i++) {
			bool fair = !np && !strcmp(list[i], "fair");
			double seconds = o->seconds > 0
						 ? o->seconds * (fair ? 1 : OTHERS_S / FAIR_S)
					 : fair ? FAIR_S
						: OTHERS_S;
			json_t *row;

			if (!wanted(o, list[i]))
				continue;
			row = measure(f, s, list[i], np, seconds > 1 ? seconds : 1);
			if (!row)
				return false;
			json_array_append_new(rows, row);
		}
	}
	return true;
}

/* The largest error of a policy, preemptive, in all scenarios or only in hostile ones; -1: not measured. */
static double worst(const json_t *rows, const char *policy, const char *window, bool only_hostile)
{
	double most = -1;
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		json_t *w = json_object_get(json_object_get(row, "windows"), window);

		if (strcmp(json_string_value(json_object_get(row, "policy")), policy) ||
		    json_is_true(json_object_get(row, "nonpreemptive")) ||
		    (only_hostile && !json_is_true(json_object_get(row, "hostile"))))
			continue;
		if (json_integer_value(json_object_get(w, "windows")))
			most = fmax(most, json_number_value(json_object_get(w, "error_max")));
	}
	return most;
}

static void put_worst(json_t *out, const char *key, double value)
{
	if (value >= 0)
		json_object_set_new(out, key, shared_number(value));
}

static json_t *summary(const struct fleet *f, json_t *rows)
{
	static const struct {
		const char *policy, *key;
	} others[] = { { "credit", "credit_error_1s_max" },
		       { "band", "band_error_1s_max" },
		       { "credit-gdev", "credit_gdev_error_1s_max" },
		       { "band-gpuvm", "band_gpuvm_error_1s_max" },
		       { "fixed-share", "fixed_share_error_1s_max" },
		       { "equal-share", "equal_share_error_1s_max" },
		       { "round-robin", "round_robin_error_1s_max" },
		       { "best-effort", "best_effort_error_1s_max" } };
	json_int_t unseen = 0;
	double difference = 0;
	json_t *out = json_object(), *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		unseen += json_integer_value(json_object_get(row, "unseen_guests"));
		difference = fmax(difference,
				  json_number_value(json_object_get(row, "count_difference_max")));
	}
	json_object_set_new(out, "unseen_guests", json_integer(unseen));
	put_worst(out, "fair_error_1s_max", worst(rows, "fair", "1s", false));
	put_worst(out, "fair_error_100ms_max", worst(rows, "fair", "100ms", false));
	put_worst(out, "fair_hostile_error_1s", worst(rows, "fair", "1s", true));
	put_worst(out, "fair_hostile_error_100ms", worst(rows, "fair", "100ms", true));
	for (i = 0; i < MDL_ARRAY_SIZE(others); i++)
		put_worst(out, others[i].key, worst(rows, others[i].policy, "1s", false));
	json_object_set_new(out, "count_difference_max", shared_number(difference));
	json_object_set_new(out, "chunk_ns", shared_number(f->chunk_ns));
	json_object_set_new(out, "rows", rows);
	json_object_set_new(
		out, "method",
		json_string(
			"share: GPU time of a vGPU in the window by medleyd's trace, divided by that of all; entitlement: the GPU's time, in "
			"slots of 10 ms, divided by weight among those that wanted it then (guests that sleep: by the wake and sleep events of the trace), nobody "
			"getting more than the time in which he wanted it; policies that know share_percent get the weights' parts so; "
			"error: the difference, largest and mean over windows and vGPUs; windows do not overlap; counted_share: the same "
			"from the kernels' own counters of work in the guests' memory; unless a scenario says otherwise, guests always "
			"have kernels of 0.1, 1, 20 and 500 ms queued, in random order; unseen_guests: guests that worked while the trace said "
			"otherwise"));
	return out;
}

json_t *fairness_run(const struct shared_options *o)
{
	/* No pool: refilling it would use CPU time while guests are measured. */
	struct fleet fleet, *f = &fleet;
	json_t *rows = json_array();
	bool ok = fleet_start(f, o->bin, o->dir, "0");

	for (size_t i = 0; ok && i < MDL_ARRAY_SIZE(scenarios); i++) {
		if (o->vgpus && scenarios[i].vgpus > o->vgpus)
			continue;
		/* Those that rest while others start would be asked for work that they do not have. */
		ok = (f->guests >= scenarios[i].vgpus ||
		      (fleet_idle(f) && fleet_grow(f, scenarios[i].vgpus, false))) &&
		     measure_scenario(f, o, &scenarios[i], rows);
	}
	fleet_stop(f);
	if (ok)
		return summary(f, rows);
	json_decref(rows);
	return NULL;
}

void fairness_print(const json_t *figures)
{
	static const char *const windows[] = { "10ms", "100ms", "500ms", "1s" };
	json_t *rows = json_object_get(figures, "rows"), *row;
	size_t i;

	printf("error from entitlement, %% of the GPU, largest (mean) in windows of ...; Jain's index over 100 ms, mean; busy: GPU's; "
	       "count: largest difference of a share to the guests' own count, %%\n");
	printf("%-24s %-26s %14s %14s %14s %14s %7s %6s %6s\n", "policy", "scenario", windows[0],
	       windows[1], windows[2], windows[3], "Jain", "busy", "count");
	json_array_foreach(rows, i, row) {
		json_t *w = json_object_get(row, "windows");
		char name[40];

		snprintf(name, sizeof(name), "%s%s",
			 json_string_value(json_object_get(row, "policy")),
			 json_is_true(json_object_get(row, "nonpreemptive")) ? " (no stops)" : "");
		printf("%-24s %-26s", name, json_string_value(json_object_get(row, "scenario")));
		for (size_t k = 0; k < MDL_ARRAY_SIZE(windows); k++) {
			json_t *one = json_object_get(w, windows[k]);

			printf(" %6.2f (%5.2f)",
			       100 * json_number_value(json_object_get(one, "error_max")),
			       100 * json_number_value(json_object_get(one, "error_mean")));
		}
		printf(" %7.4f %5.1f%% %5.2f%%\n",
		       json_number_value(json_object_get(json_object_get(w, "100ms"), "jain_mean")),
		       100 * json_number_value(json_object_get(row, "utilisation")),
		       100 * json_number_value(json_object_get(row, "count_difference_max")));
	}
	shared_print(figures);
}
