/* SPDX-License-Identifier: MIT */
/*
 * Recorded traces (`medley trace --json`), made into guests for the simulator.
 *
 * Of each vGPU the trace tells when it began and ceased to want the GPU, and how much of it it used
 * in between: that is a piece of work. What it does is taken for a closed loop: after a piece of
 * work it thinks for as long as it did when it was recorded, then the next piece comes. So who is
 * served later than recorded also asks later, as guests do that wait for their results. At the end
 * of the trace its work begins anew. Who wanted the GPU all the time up to the end of the trace has
 * work without end.
 *
 * A vGPU that had the GPU for itself did not always tell when it was idle: where it held it for
 * long and used less, that is spread as short work and thought over the time. Where wake and sleep
 * events are missing (thinned out, or an old trace) the intervals tell: one that was ended by force
 * had more to do, one that ended by itself had not.
 *
 * What handing over took is taken from the trace, too, as averages for each vGPU: from the end of
 * the turn before to the first instruction; how late it was asked to give back, and how long it
 * took to; how often it had to be stopped, how long that took, how much of that was not used, and
 * what it got afterwards until it stood still; and from its last instruction to its sleep.
 *
 * Left out: when a policy or a pGPU's parameters were changed while the trace was recorded (those
 * at its end count), and lengths of single kernels, which a trace does not tell.
 */
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/param-limits.h"

#define VGPUS_MAX      4096
#define GPUS_MAX       4096
/* Idle time in a turn: more is its guest's thought, less is what switching takes. */
#define IDLE_NS	       (200 * MDL_NS_PER_US)
#define IDLE_PART      100
#define SPREAD_NS      (2 * MDL_NS_PER_MS)
/* Between two turns: less is what handing over takes, if the next one waited. More is the policy's doing. */
#define GAP_NS	       (200 * MDL_NS_PER_US)
#define SPREAD_MAX     2000
#define OVERRUN_MAX_NS MDL_NS_PER_S
/* Who has wanted the GPU for this part of the trace when it ends wants it for ever. */
#define GREEDY_PART    10

struct reading { /* one vGPU's state while its entries are gone through */
	bool awake, implied; /* implied: nobody said so */
	uint64_t ref; /* its last sleep began */
	uint64_t woke;
	uint64_t work; /* of the piece that is not finished */
	uint64_t prev_end;
	bool prev_run, prev_spread;
	uint64_t turn_ns, turn_used;
	uint64_t asked, stopped, rested;
	uint64_t gaps, lates;
	uint64_t gap_sum, idle_sum, late_sum, rest_sum, yield_sum, stop_sum, lost_sum, overrun_sum;
};

struct entry {
	const char *vgpu, *name, *pgpu, *kind;
	uint64_t start, end, asked, late, used, overrun;
};

/* ---- finding ---- */

static int __attribute__((format(printf, 1, 2))) bad(const char *fmt, ...)
{
	va_list ap;

	fputs("medley-sim: not a trace of medley: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (record one with 'medley trace --json --seconds 10')\n", stderr);
	return -EINVAL;
}

/* A JSON integer that may be anything. */
static bool number(json_t *obj, const char *key, uint64_t *ret)
{
	json_t *value = json_object_get(obj, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static int find_gpu(struct sim_trace *t, const char *name, uint32_t *ret_index)
{
	uint32_t i = 0;

	name = name ? name : "";
	while (i < t->gpus && strcmp(t->gpu[i].name, name))
		i++;
	*ret_index = i;
	if (i < t->gpus)
		return 0;
	if (i == GPUS_MAX)
		return -E2BIG;
	t->gpu[i].name = strdup(name);
	t->gpu[i].policy = &mdl_sched_fair;
	t->gpu[i].params = (struct mdl_sched_params)MDL_SCHED_PARAMS_DEFAULT;
	if (!t->gpu[i].name)
		return -ENOMEM;
	t->gpus++;
	return 0;
}

static int find_vgpu(struct sim_trace *t, const char *uuid, const char *name, const char *pgpu,
		     uint32_t *ret_index)
{
	struct sim_replay *v;
	uint32_t i = 0;

	while (i < t->vgpus && strcmp(t->vgpu[i].uuid, uuid))
		i++;
	*ret_index = i;
	if (i < t->vgpus)
		return 0;
	if (i == VGPUS_MAX)
		return -E2BIG;
	v = &t->vgpu[i];
	v->uuid = strdup(uuid);
	v->name = strdup(name ? name : uuid);
	v->params = (struct mdl_sched_entity_params)MDL_SCHED_ENTITY_PARAMS_DEFAULT;
	t->vgpus++;
	if (!v->uuid || !v->name)
		return -ENOMEM;
	return find_gpu(t, pgpu, &v->gpu);
}

/* ---- demand ---- */

static bool add_item(struct sim_replay *v, uint64_t think, uint64_t work)
{
	if (v->items == v->room) {
		size_t room = v->room ? 2 * v->room : 64;
		struct sim_item *more = reallocarray(v->item, room, sizeof(*more));

		if (!more)
			return false;
		v->item = more;
		v->room = room;
	}
	v->item[v->items++] = (struct sim_item) { think, work };
	return true;
}

/* Its work before the present piece is complete; it slept from `from` on. */
static bool finish_piece(struct sim_replay *v, struct reading *r, uint64_t from)
{
	uint64_t think = r->woke > r->ref ? r->woke - r->ref : 0;
	bool ok = !r->work || add_item(v, think, r->work);

	/* Woke and got nothing: it goes on thinking. */
	if (r->work)
		r->ref = from;
	r->work = 0;
	return ok;
}

static void wake(struct reading *r, uint64_t at, bool implied)
{
	if (r->awake) {
		r->implied &= implied;
		return;
	}
	r->awake = true;
	r->implied = implied;
	r->woke = at;
}

static bool fall_asleep(struct sim_replay *v, struct reading *r, uint64_t at)
{
	if (!r->awake)
		return true;
	r->awake = false;
	if (r->turn_ns && r->prev_run) {
		r->rested++;
		r->rest_sum += r->turn_ns - r->turn_used;
	}
	r->turn_ns = r->turn_used = 0;
	return finish_piece(v, r, at);
}

/* Work and idleness in turns over the whole interval. */
static bool spread(struct sim_replay *v, struct reading *r, const struct entry *e)
{
	uint64_t length = e->end - e->start, idle = length - e->used,
		 n = mdl_max_u64(1, mdl_min_u64(length / SPREAD_NS, SPREAD_MAX)), at = e->start;

	for (uint64_t i = 0; i < n; i++) {
		at += length / n;
		r->work += e->used / n;
		if (!finish_piece(v, r, at - idle / n))
			return false;
		r->woke = at;
	}
	return true;
}

/* Turns of one GPU come in their order. */
static void count_gap(struct sim_recorded_gpu *g, struct reading *r, const struct entry *e)
{
	if (g->last_end && r->awake && !r->implied && r->woke <= g->last_end &&
	    e->start > g->last_end && e->start - g->last_end < GAP_NS) {
		r->gaps++;
		r->gap_sum += e->start - g->last_end;
	}
	g->last_end = e->end;
}

/* Got after a turn: part of the piece of work that it belongs to, which may be finished. */
static void add_overrun(struct sim_replay *v, struct reading *r, uint64_t ns)
{
	v->recorded_ns += ns;
	r->overrun_sum += ns;
	if (r->awake)
		r->work += ns;
	else if (v->items)
		v->item[v->items - 1].work += ns;
}

static bool turn(struct sim_replay *v, struct reading *r, const struct entry *e, uint64_t quantum)
{
	uint64_t length = e->end - e->start, idle = length - e->used, taken;
	bool goes_on = r->prev_run && r->prev_end == e->start;

	if (r->awake && r->implied && r->prev_run && !goes_on && !fall_asleep(v, r, r->prev_end))
		return false;
	wake(r, e->start, true);
	if (!goes_on)
		r->turn_ns = r->turn_used = 0;
	v->recorded_ns += e->used;
	r->prev_end = e->end;
	r->prev_run = !strcmp(e->kind, "run");
	r->prev_spread = idle > IDLE_NS && idle > length / IDLE_PART && length > 3 * quantum;
	if (r->prev_spread)
		return spread(v, r, e);
	r->work += e->used;
	r->turn_ns += length;
	r->turn_used += e->used;
	if (r->prev_run)
		return true;
	r->asked++;
	r->turn_ns = r->turn_used = 0;
	r->lates += e->late != 0;
	r->late_sum += e->late;
	taken = e->asked ? e->end - e->asked : 0;
	if (!strcmp(e->kind, "yielded")) {
		r->yield_sum += taken;
	} else {
		r->stopped++;
		r->lost_sum += mdl_min_u64(idle, taken);
		r->stop_sum += taken;
		idle -= mdl_min_u64(idle, taken);
	}
	/* Before it was asked it was idle when its turn began. */
	r->idle_sum += idle;
	return true;
}

static uint64_t mean(uint64_t sum, uint64_t count)
{
	return count ? sum / count : 0;
}

static bool finish(struct sim_trace *t, struct sim_replay *v, struct reading *r)
{
	uint64_t length = t->length_ns, yields = r->asked - r->stopped;

	if (r->awake && !r->prev_spread && length - r->woke >= length / GREEDY_PART)
		r->work = SIM_ENDLESS;
	if (!finish_piece(v, r, length))
		return false;
	v->tail_ns = length - r->ref;
	v->switch_ns = mean(r->gap_sum, r->gaps) + mean(r->idle_sum, r->asked);
	v->late_ns = mean(r->late_sum, r->lates);
	v->rest_ns = mean(r->rest_sum, r->rested);
	v->yield_ns = mean(r->yield_sum, yields);
	v->stop_ns = mean(r->stop_sum, r->stopped);
	v->overrun_ns = mean(r->overrun_sum, r->stopped);
	v->lost_ns = mdl_min_u64(mean(r->lost_sum, r->stopped), v->stop_ns);
	v->stopped_part = r->asked ? (double)r->stopped / (double)r->asked : 0;
	return true;
}

/* ---- reading ---- */

static void read_params(json_t *obj, struct mdl_sched_entity_params *p)
{
	const char *priority = json_string_value(json_object_get(obj, "priority"));
	uint64_t value;

	if (number(obj, "weight", &value))
		p->weight = (uint32_t)mdl_min_u64(value, MDL_SCHED_WEIGHT_MAX);
	if (number(obj, "cap", &value))
		p->cap_percent = (uint32_t)mdl_min_u64(value, 100);
	if (number(obj, "reservation", &value))
		p->reservation_percent = (uint32_t)mdl_min_u64(value, MDL_SCHED_RESERVATION_MAX);
	if (number(obj, "share_percent", &value))
		p->share_percent = (uint32_t)mdl_min_u64(value, 100);
	if (number(obj, "quantum_ns", &value))
		p->quantum_ns = mdl_min_u64(value, MDL_SCHED_QUANTUM_MAX_NS);
	if (priority)
		p->priority = !strcmp(priority, "low")	  ? MDL_SCHED_LOW
			      : !strcmp(priority, "high") ? MDL_SCHED_HIGH
							  : MDL_SCHED_NORMAL;
	if (p->cap_percent && p->reservation_percent > p->cap_percent)
		p->reservation_percent = p->cap_percent;
}

static bool read_entry(json_t *obj, struct entry *ret)
{
	struct entry e = { .vgpu = json_string_value(json_object_get(obj, "vgpu")),
			   .name = json_string_value(json_object_get(obj, "name")),
			   .pgpu = json_string_value(json_object_get(obj, "pgpu")),
			   .kind = json_string_value(json_object_get(obj, "kind")) };
	bool event;

	if (!e.vgpu || !e.kind || !number(obj, "start_ns", &e.start) ||
	    !number(obj, "end_ns", &e.end))
		return false;
	event = !strcmp(e.kind, "wake") || !strcmp(e.kind, "sleep") || !strcmp(e.kind, "params") ||
		!strcmp(e.kind, "removed") || !strcmp(e.kind, "stopped");
	if (event ? e.end != e.start : e.end <= e.start)
		return false;
	if (!number(obj, "used_ns", &e.used) || e.used > e.end - e.start)
		e.used = e.end - e.start;
	if (!number(obj, "asked_ns", &e.asked) || e.asked < e.start || e.asked > e.end)
		e.asked = 0;
	if (!number(obj, "late_ns", &e.late) || e.late > e.end - e.start)
		e.late = 0;
	if (!number(obj, "overrun_ns", &e.overrun) || e.overrun > OVERRUN_MAX_NS)
		e.overrun = 0;
	*ret = e;
	return true;
}

/* Beginning and end, if all of it is as it should be. */
static int find_span(json_t *root, json_t *list, uint64_t *ret_first, uint64_t *ret_last)
{
	uint64_t first = UINT64_MAX, last = 0, value;
	struct entry e;
	json_t *obj;
	size_t i;

	json_array_foreach(list, i, obj) {
		if (!read_entry(obj, &e))
			return bad(
				"interval %zu lacks vgpu, kind, start_ns or end_ns, or ends before it begins",
				i);
		if (!strcmp(e.kind, "params"))
			continue; /* may be long ago */
		first = mdl_min_u64(first, e.start);
		last = mdl_max_u64(last, e.end);
	}
	if (number(root, "start_ns", &value))
		first = value;
	if (number(root, "end_ns", &value))
		last = mdl_max_u64(last, value);
	*ret_first = first;
	*ret_last = last;
	return first < last ? 0 : bad("no time passes in its intervals");
}

static int pgpu_time(json_t *obj, const char *gpu, const char *key, uint64_t least, uint64_t most,
		     uint64_t *ret)
{
	uint64_t value;

	if (!number(obj, key, &value))
		return 0; /* the default's */
	if (value < least || value > most)
		return bad("pGPU %s: %s %" PRIu64 " is not from %" PRIu64 " to %" PRIu64, gpu, key,
			   value, least, most);
	*ret = value;
	return 0;
}

static int read_pgpus(json_t *list, struct sim_trace *t)
{
	json_t *obj;
	size_t i;

	json_array_foreach(list, i, obj) {
		const char *policy = json_string_value(json_object_get(obj, "policy"));
		const struct mdl_sched_policy *p = policy ? mdl_sched_policy_find(policy) : NULL;
		uint32_t k;
		int err = find_gpu(t, json_string_value(json_object_get(obj, "name")), &k);

		if (err)
			return err;
		if (!p)
			return bad("pGPU %s: policy '%s' is not known here", t->gpu[k].name,
				   policy ? policy : "");
		t->gpu[k].policy = p;
		err = pgpu_time(obj, t->gpu[k].name, "quantum_ns", 1, MDL_SCHED_QUANTUM_MAX_NS,
				&t->gpu[k].params.quantum_ns);
		if (!err)
			err = pgpu_time(obj, t->gpu[k].name, "grace_ns", 0, GRACE_MAX_NS,
					&t->gpu[k].params.grace_ns);
		if (err)
			return err;
		t->gpu[k].params.nonpreemptive =
			json_is_true(json_object_get(obj, "nonpreemptive"));
	}
	return 0;
}

static int read_before(json_t *list, struct sim_trace *t, struct reading *reading)
{
	json_t *obj;
	size_t i;

	json_array_foreach(list, i, obj) {
		const char *uuid = json_string_value(json_object_get(obj, "vgpu"));
		uint32_t k;
		int err;

		if (!uuid)
			return bad("entry %zu of before has no vgpu", i);
		err = find_vgpu(t, uuid, json_string_value(json_object_get(obj, "name")),
				json_string_value(json_object_get(obj, "pgpu")), &k);
		if (err)
			return err;
		read_params(obj, &t->vgpu[k].params);
		if (json_is_true(json_object_get(obj, "wants")))
			wake(&reading[k], 0, false);
	}
	return 0;
}

/* obj: NULL: to the defaults. */
static int add_change(struct sim_trace *t, uint32_t vgpu, uint64_t at, json_t *obj)
{
	struct sim_change *more;

	if (!at) {
		if (!obj)
			t->vgpu[vgpu].params =
				(struct mdl_sched_entity_params)MDL_SCHED_ENTITY_PARAMS_DEFAULT;
		read_params(obj, &t->vgpu[vgpu].params);
		return 0;
	}
	more = reallocarray(t->change, t->changes + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	t->change = more;
	more += t->changes++;
	more->at = at;
	more->vgpu = vgpu;
	more->params = (struct mdl_sched_entity_params)MDL_SCHED_ENTITY_PARAMS_DEFAULT;
	read_params(obj, &more->params);
	return 0;
}

static int compare_changes(const void *a, const void *b)
{
	const struct sim_change *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static uint64_t after(uint64_t first, uint64_t at)
{
	return at > first ? at - first : 0;
}

static int read_entries(json_t *list, struct sim_trace *t, struct reading *reading, uint64_t first)
{
	struct entry e;
	json_t *obj;
	size_t i;

	json_array_foreach(list, i, obj) {
		struct sim_replay *v;
		struct reading *r;
		uint64_t whole;
		uint32_t k;
		bool ok = true;
		int err;

		read_entry(obj, &e);
		err = find_vgpu(t, e.vgpu, e.name, e.pgpu, &k);
		if (err)
			return err;
		v = &t->vgpu[k];
		r = &reading[k];
		whole = e.end - e.start;
		e.start = after(first, e.start);
		e.end = after(first, e.end);
		e.asked = after(first, e.asked);
		if (!strcmp(e.kind, "params")) {
			err = add_change(t, k, e.start, obj);
			if (err)
				return err;
		} else if (!strcmp(e.kind, "wake")) {
			wake(r, e.start, false);
		} else if (!strcmp(e.kind, "sleep")) {
			ok = fall_asleep(v, r, e.start);
		} else if (!strcmp(e.kind, "removed")) {
			/* It stays, asleep; what was reserved for it is free again. */
			ok = fall_asleep(v, r, e.start);
			err = add_change(t, k, e.start, NULL);
			if (err)
				return err;
		} else if (!strcmp(e.kind, "stopped")) {
			add_overrun(v, r, e.overrun);
		} else if (e.end > e.start) {
			/* It may have begun before the trace. */
			e.used = (uint64_t)((double)e.used * (double)(e.end - e.start) /
					    (double)whole);
			count_gap(&t->gpu[v->gpu], r, &e);
			ok = turn(v, r, &e, t->gpu[v->gpu].params.quantum_ns);
			add_overrun(v, r, e.overrun);
		}
		if (!ok)
			return -ENOMEM;
	}
	return 0;
}

static int read_trace(json_t *root, struct sim_trace *t, struct reading *reading)
{
	json_t *list = json_object_get(root, "intervals");
	uint64_t first = 0, last = 0;
	int err;

	if (!json_is_array(list))
		return bad("no list of intervals");
	err = find_span(root, list, &first, &last);
	if (err)
		return err;
	t->length_ns = last - first;
	err = read_pgpus(json_object_get(root, "pgpus"), t);
	if (!err)
		err = read_before(json_object_get(root, "before"), t, reading);
	if (!err)
		err = read_entries(list, t, reading, first);
	for (uint32_t i = 0; !err && i < t->vgpus; i++)
		if (!finish(t, &t->vgpu[i], &reading[i]))
			err = -ENOMEM;
	if (t->changes)
		qsort(t->change, t->changes, sizeof(*t->change), compare_changes);
	return err || t->vgpus ? err : bad("no vGPU in it");
}

int sim_trace_read(FILE *file, struct sim_trace *ret_trace)
{
	struct reading *reading = calloc(VGPUS_MAX, sizeof(*reading));
	struct sim_trace t = { 0 };
	json_error_t error;
	json_t *root = json_loadf(file, 0, &error);
	int err = -ENOMEM;

	t.vgpu = calloc(VGPUS_MAX, sizeof(*t.vgpu));
	t.gpu = calloc(GPUS_MAX, sizeof(*t.gpu));
	if (reading && t.vgpu && t.gpu)
		err = root ? read_trace(root, &t, reading)
			   : bad("%s", ferror(file) ? strerror(errno) : error.text);
	free(reading);
	json_decref(root);
	if (err)
		sim_trace_fini(&t);
	else
		*ret_trace = t;
	return err;
}

void sim_trace_fini(struct sim_trace *t)
{
	for (uint32_t i = 0; t->vgpu && i < t->vgpus; i++) {
		free(t->vgpu[i].uuid);
		free(t->vgpu[i].name);
		free(t->vgpu[i].item);
	}
	for (uint32_t i = 0; t->gpu && i < t->gpus; i++)
		free(t->gpu[i].name);
	free(t->vgpu);
	free(t->gpu);
	free(t->change);
	*t = (struct sim_trace) { 0 };
}
