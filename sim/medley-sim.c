/* SPDX-License-Identifier: MIT */
/* medley-sim: options in, a simulation, JSON out. */
#include "sim.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "daemon/param-limits.h"

#define GROUPS_MAX   256
#define GPUS_MAX     100000
#define VGPUS_MAX    1000000
#define EACH_DEFAULT 256 /* vGPUs up to which each one is listed */

static const char usage[] =
	"usage: medley-sim [options] --vgpu SPEC [--vgpu SPEC...]\n"
	"       medley-sim [options] --replay TRACE.json\n"
	"Runs Medley's scheduling policies in virtual time and prints shares and latencies as JSON.\n"
	"\n"
	"  --vgpu [Nx]KIND[:KEY=VALUE,...]  N vGPUs; KIND is loop, waker, sleeper or endless\n"
	"  --replay FILE          the guests of a trace of 'medley trace --json' (-: standard input)\n"
	"  --policy NAME          scheduling policy (fair, or the trace's)\n"
	"  --gpus N               pGPUs (1, or the trace's)\n"
	"  --per-gpu N            vGPUs that fit on one (no limit)\n"
	"  --placement spread|pack\n"
	"  --time T               virtual time, as in 10s (10s; with --replay the trace's)\n"
	"  --warmup T             not counted in the results (0)\n"
	"  --seed N               (1)\n"
	"  --quantum T            as medley set-pgpu's (2ms, or the trace's)\n"
	"  --grace T              as medley set-pgpu's (50us); a trace's stops have it in them\n"
	"  --switch-cost T        from a grant to the first instruction (0, or the trace's)\n"
	"  --stop-cost T          from a stop to its effect (0, or the trace's)\n"
	"  --nonpreemptive        kernels are never stopped\n"
	"  --each                 list every vGPU, also if they are many\n"
	"  --timeline             list every vGPU's share of each 100 ms\n"
	"  --list                 print the policies' names\n"
	"Times are numbers with ns, us, ms or s. See medley-sim(1) for the keys.\n";

struct options {
	struct sim sim;
	const char *replay;
	bool each, timeline;
	uint64_t given; /* a bit for each option */
};

static int __attribute__((format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	fputs("medley-sim: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return -EINVAL;
}

static int number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < min || value > max)
		return fail("%s: '%s' is not a whole number from %" PRIu64 " to %" PRIu64, name,
			    text, min, max);
	*ret = value;
	return 0;
}

/* range: from min to max, in words. */
static int duration(const char *name, const char *text, uint64_t min, uint64_t max,
		    const char *range, uint64_t *ret)
{
	uint64_t value;

	if (!mdl_duration_parse(text, &value) || value < min || value > max)
		return fail("%s: '%s' is not a time from %s, as 500us, 2ms or 1.5s", name, text,
			    range);
	*ret = value;
	return 0;
}

static int find_policy(const char *name, const struct mdl_sched_policy **ret)
{
	const struct mdl_sched_policy *p = mdl_sched_policy_find(name);
	char known[256] = "";

	if (p) {
		*ret = p;
		return 0;
	}
	for (size_t i = 0; (p = mdl_sched_policy_at(i)); i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s", p->name);
	return fail("--policy: '%s' is not a policy; known:%s", name, known);
}

static int list_policies(void)
{
	const struct mdl_sched_policy *p;

	for (size_t i = 0; (p = mdl_sched_policy_at(i)); i++)
		puts(p->name);
	return 0;
}

enum {
	VGPU = 256,
	REPLAY,
	POLICY,
	GPUS,
	PER_GPU,
	PLACEMENT,
	TIME,
	WARMUP,
	SEED,
	QUANTUM,
	GRACE,
	SWITCH,
	STOP,
	NONPREEMPTIVE,
	EACH,
	TIMELINE,
	LIST,
	HELP
};

static const struct option long_options[] = {
	{ "vgpu", required_argument, NULL, VGPU },
	{ "replay", required_argument, NULL, REPLAY },
	{ "policy", required_argument, NULL, POLICY },
	{ "gpus", required_argument, NULL, GPUS },
	{ "per-gpu", required_argument, NULL, PER_GPU },
	{ "placement", required_argument, NULL, PLACEMENT },
	{ "time", required_argument, NULL, TIME },
	{ "warmup", required_argument, NULL, WARMUP },
	{ "seed", required_argument, NULL, SEED },
	{ "quantum", required_argument, NULL, QUANTUM },
	{ "grace", required_argument, NULL, GRACE },
	{ "switch-cost", required_argument, NULL, SWITCH },
	{ "stop-cost", required_argument, NULL, STOP },
	{ "nonpreemptive", no_argument, NULL, NONPREEMPTIVE },
	{ "each", no_argument, NULL, EACH },
	{ "timeline", no_argument, NULL, TIMELINE },
	{ "list", no_argument, NULL, LIST },
	{ "help", no_argument, NULL, HELP },
	{ 0 },
};

static int add_group(struct sim *s, const char *spec)
{
	int err;

	if (s->groups == GROUPS_MAX)
		return fail("--vgpu: given more than %d times", GROUPS_MAX);
	err = sim_group_parse(spec, &s->group[s->groups]);
	if (err)
		return err;
	s->vgpus += s->group[s->groups++].count;
	return s->vgpus > VGPUS_MAX ? fail("--vgpu: more than %d vGPUs", VGPUS_MAX) : 0;
}

/* 1: done, nothing to simulate. */
static int parse(int argc, char **argv, struct options *o)
{
	struct sim *s = &o->sim;
	uint64_t n;
	int c, err = 0;

	argv[0] = program_invocation_short_name; /* what getopt's errors begin with */
	while (!err && (c = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		if (c >= VGPU)
			o->given |= 1ull << (c - VGPU);
		switch (c) {
		case VGPU:
			err = add_group(s, optarg);
			break;
		case REPLAY:
			o->replay = optarg;
			break;
		case POLICY:
			err = find_policy(optarg, &s->policy);
			break;
		case GPUS:
			err = number("--gpus", optarg, 1, GPUS_MAX, &n);
			s->gpus = err ? 1 : (uint32_t)n;
			break;
		case PER_GPU:
			err = number("--per-gpu", optarg, 1, VGPUS_MAX, &n);
			s->per_gpu = err ? 1 : (uint32_t)n;
			break;
		case PLACEMENT:
			s->pack = !strcmp(optarg, "pack");
			if (!s->pack && strcmp(optarg, "spread"))
				err = fail("--placement: '%s' is neither spread nor pack", optarg);
			break;
		case TIME:
			err = duration("--time", optarg, 1, SIM_TIME_MAX_NS, "1ns to " SIM_TIME_MAX,
				       &s->end_ns);
			break;
		case WARMUP:
			err = duration("--warmup", optarg, 0, SIM_TIME_MAX_NS, "0 to " SIM_TIME_MAX,
				       &s->warmup_ns);
			break;
		case SEED:
			err = number("--seed", optarg, 0, UINT64_MAX, &s->seed);
			break;
		case QUANTUM:
			err = duration("--quantum", optarg, QUANTUM_MIN_NS,
				       MDL_SCHED_QUANTUM_MAX_NS, SIM_QUANTUM_RANGE,
				       &s->params.quantum_ns);
			break;
		case GRACE:
			err = duration("--grace", optarg, 0, GRACE_MAX_NS, SIM_GRACE_RANGE,
				       &s->params.grace_ns);
			break;
		case SWITCH:
			err = duration("--switch-cost", optarg, 0, SIM_TIME_MAX_NS,
				       "0 to " SIM_TIME_MAX, &s->switch_ns);
			break;
		case STOP:
			err = duration("--stop-cost", optarg, 0, SIM_TIME_MAX_NS,
				       "0 to " SIM_TIME_MAX, &s->stop_ns);
			break;
		case NONPREEMPTIVE:
			s->params.nonpreemptive = true;
			break;
		case EACH:
			o->each = true;
			break;
		case TIMELINE:
			o->timeline = true;
			break;
		case LIST:
			list_policies();
			return 1;
		case HELP:
			fputs(usage, stdout);
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (!err && optind < argc)
		err = fail("'%s': medley-sim takes options only; see --help", argv[optind]);
	if (!err && o->replay && s->groups)
		err = fail("--vgpu or --replay, not both");
	if (!err && o->replay && (o->given & 1ull << (GRACE - VGPU)))
		err = fail("--grace or --replay, not both: a trace's stops took what they took");
	if (!err && !o->replay && !s->groups)
		err = fail("no guests: --vgpu or --replay is needed; see --help");
	if (!err && !o->replay && s->warmup_ns >= s->end_ns)
		err = fail("nothing is left to count: --warmup must be shorter than --time");
	return err;
}

/* ---- replay ---- */

static int load_trace(struct options *o, struct sim_trace *t)
{
	struct sim *s = &o->sim;
	FILE *file = strcmp(o->replay, "-") ? fopen(o->replay, "re") : stdin;
	uint64_t stop_ns = s->stop_ns;
	int err;

	if (!file)
		return fail("%s: %s", o->replay, strerror(errno));
	err = sim_trace_read(file, t);
	if (file != stdin)
		fclose(file);
	if (err) {
		if (err == -E2BIG)
			return fail("%s: too many vGPUs or pGPUs", o->replay);
		if (err != -EINVAL) /* that said why */
			fail("%s: %s", o->replay, strerror(-err));
		return err;
	}
	s->vgpu = calloc(t->vgpus, sizeof(*s->vgpu));
	s->group[0] = (struct sim_group) { .spec = strdup("replay"),
					   .kind = SIM_REPLAY,
					   .count = t->vgpus,
					   .explicit_share = true,
					   .params = MDL_SCHED_ENTITY_PARAMS_DEFAULT };
	s->groups = 1;
	s->vgpus = t->vgpus;
	s->trace = t;
	s->change = t->change;
	s->change_end = t->changes ? t->change + t->changes : NULL;
	if (!s->vgpu || !s->group[0].spec)
		return -ENOMEM;
	if (!(o->given & 1ull << (TIME - VGPU)))
		s->end_ns = t->length_ns;
	for (uint32_t i = 0; i < t->vgpus; i++) {
		s->vgpu[i].replay = &t->vgpu[i];
		stop_ns = mdl_max_u64(stop_ns, t->vgpu[i].stop_ns);
	}
	for (uint32_t i = 0; i < t->gpus; i++) {
		struct mdl_sched_params *p = &t->gpu[i].params;

		if (o->given & 1ull << (POLICY - VGPU))
			t->gpu[i].policy = s->policy;
		if (o->given & 1ull << (QUANTUM - VGPU))
			p->quantum_ns = s->params.quantum_ns;
		p->nonpreemptive |= s->params.nonpreemptive;
		p->stop_limit_ns = mdl_max_u64(p->stop_limit_ns, stop_ns + 1);
	}
	s->policy = t->gpu[0].policy;
	s->params = t->gpu[0].params;
	if (!(o->given & 1ull << (GPUS - VGPU)))
		s->gpus = t->gpus;
	s->switch_given = o->given & 1ull << (SWITCH - VGPU);
	s->stop_given = o->given & 1ull << (STOP - VGPU);
	return 0;
}

/* ---- results ---- */

static json_t *windows(const struct sim *s)
{
	json_t *all = json_object();

	for (int i = 0; i < SIM_WINDOWS; i++) {
		const struct sim_window *w = &s->window[i];
		char key[32];

		snprintf(key, sizeof(key), "%llums",
			 (unsigned long long)(w->length / MDL_NS_PER_MS));
		json_object_set_new(
			all, key,
			json_pack("{s:I, s:f, s:f, s:f, s:f}", "samples", (json_int_t)w->count,
				  "error_max", w->error_max, "error_mean",
				  w->count ? w->error_sum / (double)w->count : 0.0, "jain_min",
				  w->jain_min, "jain_mean",
				  w->jain_count ? w->jain_sum / (double)w->jain_count : 1.0));
	}
	return all;
}

static double us(uint64_t ns)
{
	return (double)ns / 1000;
}

static json_t *latencies(const struct sim_hist *h)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)h->count, "p50_us",
			 us(sim_hist_percentile(h, 50)), "p90_us", us(sim_hist_percentile(h, 90)),
			 "p99_us", us(sim_hist_percentile(h, 99)), "p999_us",
			 us(sim_hist_percentile(h, 99.9)), "max_us", us(h->max));
}

static double share(const struct sim *s, uint64_t ns)
{
	return (double)ns / (double)s->end_ns;
}

static json_t *groups(const struct sim *s)
{
	json_t *all = json_array();
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->groups; i++) {
		const struct sim_group *g = &s->group[i];
		double least = 1, most = 0, sum = 0;
		uint64_t kernels = 0;

		for (uint32_t k = 0; k < g->count; k++, n++) {
			double x = share(s, sim_used(&s->vgpu[n]));

			least = x < least ? x : least;
			most = x > most ? x : most;
			sum += x;
			kernels += s->vgpu[n].kernels;
		}
		json_array_append_new(all, json_pack("{s:s, s:I, s:{s:f, s:f, s:f}, s:I, s:I, s:o}",
						     "spec", g->spec, "vgpus", (json_int_t)g->count,
						     "share", "mean", sum / g->count, "min", least,
						     "max", most, "kernels", (json_int_t)kernels,
						     "dropped", (json_int_t)g->dropped, "latency",
						     latencies(&g->latency)));
	}
	return all;
}

static double recorded_share(const struct sim *s, const struct sim_vgpu *v)
{
	return (double)v->replay->recorded_ns / (double)s->trace->length_ns;
}

static json_t *recorded(const struct sim *s, const struct sim_vgpu *v)
{
	const struct sim_replay *r = v->replay;

	return json_pack("{s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
			 "recorded_share", recorded_share(s, v), "difference",
			 share(s, sim_used(v)) - recorded_share(s, v), "pieces",
			 (json_int_t)r->items, "switch_us", us(r->switch_ns), "late_us",
			 us(r->late_ns), "yield_us", us(r->yield_ns), "stop_us", us(r->stop_ns),
			 "lost_us", us(r->lost_ns), "overrun_us", us(r->overrun_ns), "rest_us",
			 us(r->rest_ns), "stopped_part", r->stopped_part);
}

/* Side by side, for people. */
static json_t *compare(const struct sim *s)
{
	double most = 0;

	fprintf(stderr, "%-24s %-8s %9s %9s %10s\n", "VGPU", "PGPU", "RECORDED", "SIMULATED",
		"DIFFERENCE");
	for (uint32_t i = 0; i < s->vgpus; i++) {
		const struct sim_vgpu *v = &s->vgpu[i];
		double was = recorded_share(s, v), is = share(s, sim_used(v));

		most = fmax(most, fabs(is - was));
		fprintf(stderr, "%-24s %-8s %8.2f%% %8.2f%% %+9.2f%%\n", v->replay->name,
			s->trace->gpu[v->replay->gpu].name, 100 * was, 100 * is, 100 * (is - was));
	}
	fprintf(stderr, "largest difference %.2f%% of a GPU in %.2f s\n", 100 * most,
		(double)s->end_ns / 1e9);
	return json_pack("{s:f, s:f}", "difference_max", most, "recorded_s",
			 (double)s->trace->length_ns / 1e9);
}

static json_t *each(const struct sim *s)
{
	json_t *all = json_array(), *one;

	for (uint32_t i = 0; i < s->vgpus; i++) {
		const struct sim_vgpu *v = &s->vgpu[i];
		double n = v->windows ? (double)v->windows : 1;

		one = json_pack("{s:I, s:I, s:s, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:I}", "vgpu",
				(json_int_t)i, "gpu", (json_int_t)v->gpu->number, "spec",
				v->replay ? v->replay->name : v->group->spec, "share",
				share(s, sim_used(v)), "entitled_1s", v->entitled_sum / n,
				"error_1s_max", v->error_max, "error_1s_mean", v->error_sum / n,
				"kernels", (json_int_t)v->kernels, "grants",
				(json_int_t)v->entity.grants, "wait_max_us",
				us(v->entity.waited_max_ns), "stops", (json_int_t)v->entity.stops);
		if (v->replay)
			json_object_update_new(one, recorded(s, v));
		json_array_append_new(all, one);
	}
	return all;
}

static json_t *report(const struct options *o)
{
	const struct sim *s = &o->sim;
	uint64_t used = 0, switches = 0, stops = 0;
	json_t *root;

	for (uint32_t i = 0; i < s->vgpus; i++)
		used += sim_used(&s->vgpu[i]);
	for (uint32_t i = 0; i < s->gpus; i++) {
		switches += s->gpu[i].switches;
		stops += s->gpu[i].stops;
	}
	root = json_pack("{s:s, s:I, s:f, s:I, s:I, s:s, s:f, s:b, s:f, s:I, s:I, s:I, s:o, s:o}",
			 "policy", s->policy->name, "seed", (json_int_t)s->seed, "time_s",
			 (double)s->end_ns / 1e9, "gpus", (json_int_t)s->gpus, "vgpus",
			 (json_int_t)s->vgpus, "placement", s->pack ? "pack" : "spread",
			 "quantum_us", us(s->params.quantum_ns), "nonpreemptive",
			 s->params.nonpreemptive, "utilisation", share(s, used) / s->gpus,
			 "switches", (json_int_t)switches, "stops", (json_int_t)stops, "events",
			 (json_int_t)s->events, "windows", windows(s), "groups", groups(s));
	if (root && (o->each || s->vgpus <= EACH_DEFAULT))
		json_object_set_new(root, "each", each(s));
	if (root && s->trace)
		json_object_set_new(root, "replay", compare(s));
	if (root && s->timeline)
		json_object_set(root, "timeline", s->timeline);
	return root;
}

int main(int argc, char **argv)
{
	struct options o = { .sim = { .policy = &mdl_sched_fair,
				      .params = MDL_SCHED_PARAMS_DEFAULT,
				      .seed = 1,
				      .end_ns = 10 * MDL_NS_PER_S,
				      .per_gpu = UINT32_MAX,
				      .gpus = 1 } };
	struct sim *s = &o.sim;
	struct sim_trace trace = { 0 };
	json_t *result = NULL;
	int err;

	s->group = calloc(GROUPS_MAX, sizeof(*s->group));
	if (!s->group)
		return 71;
	err = parse(argc, argv, &o);
	if (!err) {
		/* A stop takes effect when it does: never taken for granted here. */
		s->params.stop_limit_ns = mdl_max_u64(s->params.stop_limit_ns, s->stop_ns + 1);
		if (o.replay)
			err = load_trace(&o, &trace);
		if (!err) {
			s->timeline = o.timeline ? json_array() : NULL;
			err = sim_run(s);
			if (err)
				fprintf(stderr, "medley-sim: %s\n",
					err == -ENOSPC
						? "the vGPUs do not fit the pGPUs: a pGPU takes --per-gpu, reservations of 90 percent and shares of 100 percent"
						: strerror(-err));
		}
		if (!err)
			result = report(&o);
		if (result) {
			json_dumpf(result, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
			putchar('\n');
		}
		err = err ? err : !result || fflush(stdout) ? -EIO : 0;
		json_decref(result);
		json_decref(s->timeline);
	}
	sim_fini(s);
	sim_trace_fini(&trace);
	for (uint32_t i = 0; i < s->groups; i++)
		free(s->group[i].spec);
	free(s->group);
	return err == 1 ? 0 : err == -EINVAL ? 64 : err ? 71 : 0;
}
