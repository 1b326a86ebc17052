/* SPDX-License-Identifier: MIT */
/*
 * medley-bench fairness: every policy in every scenario, on guests that are started once. Shares and demand come from medleyd's
 * trace (shares.h says what share, entitlement and error mean here); beside them stands what the guests' own counters of finished
 * work say.
 *
 * Guests come in stages, 2, 4, 8 and 16 vGPUs: policies that give idle vGPUs their slots all the same would otherwise be measured
 * with 16 always.
 *
 * Some scenarios are run without preemption, too, as the systems were that CREDIT and BAND come from. What BAND was made for shows
 * only with guests that wait for each kernel's end before they launch the next: while such a guest thinks, it has nothing for a
 * scheduler to pick, so whoever waits gets a turn, as long as his kernels. BAND leaves the GPU free for that moment.
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
#define OTHERS_S   3.0
#define SHORT_S	   5.0 /* without preemption: kernels of up to 50 ms */
#define LONG_S	   10.0 /* the same: kernels of 500 ms among them */
#define UNSEEN_MIN 0.02
#define VGPUS_MAX  16
/* One kernel of so many us at a time: the next as soon as the guest knows of the end of the last. */
#define ONE(us)	   "waker 1 " #us

struct scenario {
	const char *name;
	unsigned int vgpus;
	double weight[VGPUS_MAX]; /* the first ones; repeated for the others */
	unsigned int weights;
	const char *load[4]; /* likewise */
	unsigned int loads;
	bool hostile; /* a kernel that does not end: cannot be run without preemption */
	double coarse_s; /* for so long also without preemption */
	bool brief; /* with preemption only fair */
	bool synchronous; /* guests wait for each kernel's end */
};

static const struct scenario scenarios[] = {
	{ "1:1", 2, { 1 }, 1, { MIX }, 1, .coarse_s = LONG_S },
	{ "3:1", 2, { 3, 1 }, 2, { MIX }, 1 },
	{ "3:1, the 1 endless", 2, { 3, 1 }, 2, { MIX, "endless" }, 2, .hostile = true },
	{ "1 and 20 ms",
	  2,
	  { 1 },
	  1,
	  { "loop 1000", "loop 20000" },
	  2,
	  .coarse_s = SHORT_S,
	  .brief = true },
	{ "1 and 20 ms, one at a time",
	  2,
	  { 1 },
	  1,
	  { ONE(1000), ONE(20000) },
	  2,
	  .coarse_s = SHORT_S,
	  .brief = true,
	  .synchronous = true },
	{ "3:1, 1 and 20 ms, one at a time",
	  2,
	  { 3, 1 },
	  2,
	  { ONE(1000), ONE(20000) },
	  2,
	  .coarse_s = SHORT_S,
	  .brief = true,
	  .synchronous = true },
	{ "4 alike", 4, { 1 }, 1, { MIX }, 1 },
	{ "8:4:2:1", 4, { 8, 4, 2, 1 }, 4, { MIX }, 1 },
	{ "0.1, 1, 20, 500 ms",
	  4,
	  { 1 },
	  1,
	  { "loop 100", "loop 1000", "loop 20000", "loop 500000" },
	  4,
	  .coarse_s = LONG_S },
	{ "1, 5, 20, 50 ms, one at a time",
	  4,
	  { 1 },
	  1,
	  { ONE(1000), ONE(5000), ONE(20000), ONE(50000) },
	  4,
	  .coarse_s = SHORT_S,
	  .brief = true,
	  .synchronous = true },
	{ "1 and 3 of 20 ms, one at a time",
	  4,
	  { 1 },
	  1,
	  { ONE(1000), ONE(20000), ONE(20000), ONE(20000) },
	  4,
	  .coarse_s = SHORT_S,
	  .brief = true,
	  .synchronous = true },
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
/* Without preemption, as the systems are that all but fair come from. */
static const char *const coarse[] = { "fair", "credit", "credit-gdev", "band", "band-gpuvm" };

struct run { /* a row of the result */
	const struct scenario *scenario;
	const char *policy;
	bool nonpreemptive;
	double seconds;
};

#define RUNS_MAX (MDL_ARRAY_SIZE(scenarios) * (MDL_ARRAY_SIZE(policies) + MDL_ARRAY_SIZE(coarse)))

struct plan {
	struct run run[RUNS_MAX];
	unsigned int runs;
	double seconds, done; /* of all, and of those that are done: measuring, not setting up */
	uint64_t start_ns;
};

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

/* The largest difference over the whole time: what does not even out. */
static double lasting_error(const struct scenario *s, const struct shares_result *r)
{
	double most = 0;

	for (unsigned int i = 0; i < s->vgpus; i++)
		most = fmax(most, fabs(r->share[i] - r->entitlement[i]));
	return most;
}

static json_t *measure(struct fleet *f, const struct run *run)
{
	const struct scenario *s = run->scenario;
	struct fleet_count before[VGPUS_MAX], after[VGPUS_MAX];
	struct shares_result r;
	uint64_t from, to, thinned;
	unsigned int unseen;
	double difference;
	json_t *row, *vgpus;

	if (!set_up(f, s, run->policy, run->nonpreemptive))
		return NULL;
	fleet_sleep_ns(SETTLE_NS);
	if (!fleet_trace(f) || !fleet_count(f, s->vgpus, before))
		return NULL;
	thinned = f->thinned;
	from = mdl_now_ns();
	fleet_sleep_ns((uint64_t)(run->seconds * 1e9));
	to = mdl_now_ns();
	if (!fleet_count(f, s->vgpus, after) || !fleet_trace(f) || !compute(f, s, from, to, &r))
		return NULL;
	vgpus = describe_vgpus(f, s, &r, before, after, &difference, &unseen);
	row = json_pack("{s:s, s:s, s:b, s:b, s:b, s:i, s:f, s:o, s:o, s:o, s:o, s:o, s:I, s:i}",
			"policy", run->policy, "scenario", s->name, "nonpreemptive",
			run->nonpreemptive, "hostile", s->hostile, "synchronous", s->synchronous,
			"vgpus", (int)s->vgpus, "seconds", run->seconds, "utilisation",
			shared_number(r.utilisation), "lasting_error",
			shared_number(lasting_error(s, &r)), "count_difference_max",
			shared_number(difference), "windows", describe_windows(&r), "guests", vgpus,
			"demand_events_lost", (json_int_t)(f->thinned - thinned), "unseen_guests",
			(int)unseen);
	fprintf(stderr, "medley-bench: %s%s, %s: 1 s: %.2f %%", run->policy,
		run->nonpreemptive ? " (not preemptive)" : "", s->name,
		100 * r.window[SHARES_WINDOWS - 1].error_max);
	return row;
}

static void plan_scenario(struct plan *p, const struct shared_options *o, const struct scenario *s)
{
	for (unsigned int np = 0; np < (s->coarse_s > 0 ? 2 : 1); np++) {
		const char *const *list = np ? coarse : policies;
		size_t n = np ? MDL_ARRAY_SIZE(coarse) : s->brief ? 1 : MDL_ARRAY_SIZE(policies);

		for (size_t i = 0; i < n; i++) {
			double seconds = np			    ? s->coarse_s
					 : !strcmp(list[i], "fair") ? FAIR_S
								    : OTHERS_S;

			if (!wanted(o, list[i]))
				continue;
			if (o->seconds > 0)
				seconds *= o->seconds / FAIR_S;
			seconds = fmax(seconds, 1);
			p->run[p->runs++] = (struct run) { s, list[i], np, seconds };
			p->seconds += seconds;
		}
	}
}

static void tell_progress(const struct plan *p, unsigned int i)
{
	double elapsed = (double)(mdl_now_ns() - p->start_ns) / 1e9,
	       left = elapsed / p->done * (p->seconds - p->done);

	fprintf(stderr, " (%u of %u; %d min %02d s left)\n", i + 1, p->runs, (int)left / 60,
		(int)left % 60);
}

/*
 * The largest error of a policy, preemptive, in all scenarios or only in hostile ones; -1: not measured. Guests that wait for their
 * kernels do not count: they may get less than their parts because they do not want them all the time.
 */
static double worst(const json_t *rows, const char *policy, const char *window, bool only_hostile)
{
	double most = -1;
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		json_t *w = json_object_get(json_object_get(row, "windows"), window);

		if (strcmp(json_string_value(json_object_get(row, "policy")), policy) ||
		    json_is_true(json_object_get(row, "nonpreemptive")) ||
		    json_is_true(json_object_get(row, "synchronous")) ||
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

/* Without preemption: in 500 ms, the largest of all scenarios, and the mean of their means. */
static void put_coarse(json_t *out, json_t *rows, const char *policy, const char *key,
		       bool synchronous)
{
	double most = 0, sum = 0;
	unsigned int n = 0;
	char name[80];
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		json_t *w = json_object_get(json_object_get(row, "windows"), "500ms");

		if (strcmp(json_string_value(json_object_get(row, "policy")), policy) ||
		    !json_is_true(json_object_get(row, "nonpreemptive")) ||
		    (synchronous && !json_is_true(json_object_get(row, "synchronous"))))
			continue;
		most = fmax(most, json_number_value(json_object_get(w, "error_max")));
		sum += json_number_value(json_object_get(w, "error_mean"));
		n++;
	}
	if (!n)
		return;
	snprintf(name, sizeof(name), "%s_error_500ms_max", key);
	json_object_set_new(out, name, shared_number(most));
	snprintf(name, sizeof(name), "%s_error_500ms_mean", key);
	json_object_set_new(out, name, shared_number(sum / n));
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
	static const char *const coarse_keys[][2] = {
		{ "fair_nonpreemptive", "fair_synchronous" },
		{ "credit_nonpreemptive", "credit_synchronous" },
		{ "credit_gdev_nonpreemptive", "credit_gdev_synchronous" },
		{ "band_nonpreemptive", "band_synchronous" },
		{ "band_gpuvm_nonpreemptive", "band_gpuvm_synchronous" },
	};
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
	for (i = 0; i < MDL_ARRAY_SIZE(coarse); i++)
		for (int synchronous = 0; synchronous < 2; synchronous++)
			put_coarse(out, rows, coarse[i], coarse_keys[i][synchronous], synchronous);
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
			"have kernels of 0.1, 1, 20 and 500 ms queued, in random order; one at a time (synchronous): guests wait for each "
			"kernel's end, then launch the next; their entitlement is that of guests that always want the GPU, as in the "
			"literature, and these rows count only in the *_nonpreemptive_* and *_synchronous_* figures; nonpreemptive: kernels are "
			"never stopped; *_error_500ms_max: largest of those scenarios, _mean: mean of their means; lasting_error: largest error of "
			"the whole time; unseen_guests: guests that worked while the trace said otherwise"));
	return out;
}

json_t *fairness_run(const struct shared_options *o)
{
	/* No pool: refilling it would use CPU time while guests are measured. */
	struct fleet fleet, *f = &fleet;
	struct plan plan = { 0 };
	json_t *rows = json_array();
	bool ok = fleet_start(f, o->bin, o->dir, "0");

	for (size_t i = 0; i < MDL_ARRAY_SIZE(scenarios); i++)
		if (!o->vgpus || scenarios[i].vgpus <= o->vgpus)
			plan_scenario(&plan, o, &scenarios[i]);
	for (unsigned int i = 0; ok && i < plan.runs; i++) {
		const struct run *run = &plan.run[i];
		unsigned int n = run->scenario->vgpus;
		json_t *row;

		/* Those that rest while others start would be asked for work that they do not have. */
		ok = f->guests >= n || (fleet_idle(f) && fleet_grow(f, n, false));
		if (!i)
			plan.start_ns = mdl_now_ns();
		row = ok ? measure(f, run) : NULL;
		if (!row) {
			ok = false;
			break;
		}
		json_array_append_new(rows, row);
		plan.done += run->seconds;
		tell_progress(&plan, i);
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
	printf("%-24s %-32s %14s %14s %14s %14s %7s %6s %6s\n", "policy", "scenario", windows[0],
	       windows[1], windows[2], windows[3], "Jain", "busy", "count");
	json_array_foreach(rows, i, row) {
		json_t *w = json_object_get(row, "windows");
		char name[40];

		snprintf(name, sizeof(name), "%s%s",
			 json_string_value(json_object_get(row, "policy")),
			 json_is_true(json_object_get(row, "nonpreemptive")) ? " (no stops)" : "");
		printf("%-24s %-32s", name, json_string_value(json_object_get(row, "scenario")));
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
