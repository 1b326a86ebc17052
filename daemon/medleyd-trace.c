/* SPDX-License-Identifier: MIT */
/*
 * The ring of what happened lately, for charts and replays: who ran when, who began and ceased to
 * want the GPU, and with what parameters. Fixed size; the oldest are overwritten. What is
 * overwritten is first applied to a picture of each vGPU, so that a reader who begins at the oldest
 * knows how things were before it.
 *
 * A guest that wakes and sleeps all the time must not push out who ran: each vGPU has a sleep and a
 * wake for each of its turns, and beyond these at most its part of half of the ring (and never more
 * than an eighth). Others of its sleeps and wakes are left out, in pairs, and counted.
 *
 * Names are kept once for each vGPU and forgotten when it is gone and the ring holds nothing of it.
 * Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEMAND_MAX (TRACE_INTERVALS / 8)

struct params {
	uint64_t quantum_ns, kernel_limit_ns;
	uint32_t weight;
	uint8_t cap, reservation, share;
	int8_t priority;
};

struct trace_ident {
	struct trace_ident *prev, *next;
	struct trace *trace;
	uint32_t entries; /* in the ring */
	uint32_t demand, turns; /* of these: wake and sleep events; who ran */
	bool alive;
	bool wants; /* by what was recorded last */
	bool missed; /* it wants the GPU, and this was left out */
	bool has_params;
	struct params params;
	struct { /* just before the oldest entry of the ring */
		bool wants, has_params;
		struct params params;
	} before;
	char uuid[MDL_MDEV_UUID_BYTES];
	char name[MDL_MDEV_NAME_MAX + 1];
	char pgpu[MDL_MDEV_NAME_MAX + 1];
};

struct entry {
	struct trace_ident *who;
	enum trace_kind kind;
	uint64_t at_ns;
	union {
		struct {
			uint64_t end_ns, asked_ns, late_ns, used_ns, overrun_ns;
		};
		struct params params;
	};
};

struct trace {
	struct trace_ident idents; /* list head */
	uint32_t num_idents;
	uint64_t next; /* sequence number of the next entry */
	uint64_t thinned;
	struct entry ring[TRACE_INTERVALS];
};

int trace_create(struct trace **ret_trace)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->idents.prev = t->idents.next = &t->idents;
	*ret_trace = t;
	return 0;
}

static void forget(struct trace_ident *i)
{
	i->prev->next = i->next;
	i->next->prev = i->prev;
	i->trace->num_idents--;
	free(i);
}

void trace_destroy(struct trace *t)
{
	while (t && t->idents.next != &t->idents)
		forget(t->idents.next);
	free(t);
}

static uint64_t oldest(const struct trace *t)
{
	return t->next > TRACE_INTERVALS ? t->next - TRACE_INTERVALS : 0;
}

static bool is_demand(enum trace_kind kind)
{
	return kind == TRACE_WAKE || kind == TRACE_SLEEP;
}

static bool is_turn(enum trace_kind kind)
{
	return kind <= TRACE_PREEMPTED;
}

static void retire(const struct entry *e)
{
	struct trace_ident *i = e->who;

	i->turns -= is_turn(e->kind);
	if (is_demand(e->kind)) {
		i->demand--;
		i->before.wants = e->kind == TRACE_WAKE;
	} else if (e->kind == TRACE_PARAMS) {
		i->before.has_params = true;
		i->before.params = e->params;
	}
	if (!--i->entries && !i->alive)
		forget(i);
}

static struct entry *push(struct trace_ident *i, enum trace_kind kind, uint64_t at_ns)
{
	struct trace *t = i->trace;
	struct entry *e = &t->ring[t->next % TRACE_INTERVALS];

	i->entries++; /* first, or retiring its last one may forget it */
	if (t->next >= TRACE_INTERVALS)
		retire(e);
	i->demand += is_demand(kind);
	i->turns += is_turn(kind);
	t->next++;
	*e = (struct entry) { .who = i, .kind = kind, .at_ns = at_ns };
	return e;
}

void trace_attach(struct vgpu *v)
{
	struct trace *t = v->m->trace;
	struct trace_ident *i = calloc(1, sizeof(*i));

	if (!i)
		return;
	memcpy(i->uuid, v->inst->uuid, sizeof(i->uuid));
	memcpy(i->name, v->inst->name, sizeof(i->name));
	snprintf(i->pgpu, sizeof(i->pgpu), "%s", v->inst->pgpu->name);
	i->trace = t;
	i->alive = true;
	i->next = &t->idents;
	i->prev = t->idents.prev;
	i->prev->next = i->next->prev = i;
	t->num_idents++;
	v->trace = i;
}

void trace_detach(struct vgpu *v, uint64_t now)
{
	struct trace_ident *i = v->trace;

	if (!i)
		return;
	trace_demand(v, false, now);
	/* Who reads on from before takes it out of his picture. */
	if (i->has_params)
		push(i, TRACE_REMOVED, now);
	v->trace = NULL;
	i->alive = false;
	if (!i->entries)
		forget(i);
}

void trace_params(struct vgpu *v, uint64_t now)
{
	const struct mdl_sched_entity_params *p = &v->entity.params;
	struct trace_ident *i = v->trace;
	struct params new = { .quantum_ns = p->quantum_ns,
			      .kernel_limit_ns = v->kernel_limit_ns,
			      .weight = p->weight,
			      .cap = (uint8_t)p->cap_percent,
			      .reservation = (uint8_t)p->reservation_percent,
			      .share = (uint8_t)p->share_percent,
			      .priority = (int8_t)p->priority };

	if (!i || (i->has_params && !memcmp(&new, &i->params, sizeof(new))))
		return;
	i->has_params = true;
	i->params = new;
	push(i, TRACE_PARAMS, now)->params = new;
}

void trace_demand(struct vgpu *v, bool wants, uint64_t now)
{
	struct trace_ident *i = v->trace;
	uint32_t most;

	if (i && !wants)
		i->missed = false;
	if (!i || i->wants == wants || i->missed)
		return;
	most = TRACE_INTERVALS / 2 / i->trace->num_idents;
	most = 2 * i->turns + (most < DEMAND_MAX ? most : DEMAND_MAX);
	i->missed = wants && i->demand + 2 > most;
	if (i->missed) {
		i->trace->thinned += 2; /* neither will its sleep be one */
		return;
	}
	i->wants = wants;
	push(i, wants ? TRACE_WAKE : TRACE_SLEEP, now)->end_ns = now;
}

void trace_add(struct vgpu *v, const struct trace_turn *turn)
{
	struct entry *e;

	if (!v->trace || turn->end_ns <= turn->start_ns)
		return;
	e = push(v->trace, turn->kind, turn->start_ns);
	e->end_ns = turn->end_ns;
	e->asked_ns = turn->asked_ns;
	e->late_ns = turn->late_ns;
	e->used_ns = turn->used_ns;
	e->overrun_ns = turn->overrun_ns;
}

void trace_stopped(struct vgpu *v, uint64_t overrun_ns, uint64_t now)
{
	struct entry *e;

	if (!v->trace)
		return;
	e = push(v->trace, TRACE_STOPPED, now);
	e->end_ns = now;
	e->overrun_ns = overrun_ns;
}

static json_t *describe_set(const struct params *p)
{
	return json_pack("{s:I, s:i, s:i, s:i, s:s, s:I, s:I}", "weight", (json_int_t)p->weight,
			 "cap", p->cap, "reservation", p->reservation, "share_percent", p->share,
			 "priority",
			 p->priority < 0   ? "low"
			 : p->priority > 0 ? "high"
					   : "normal",
			 "quantum_ns", (json_int_t)p->quantum_ns, "kernel_limit_ns",
			 (json_int_t)p->kernel_limit_ns);
}

static json_t *describe(const struct entry *e)
{
	static const char *const names[] = {
		[TRACE_RUN] = "run",
		[TRACE_YIELDED] = "yielded",
		[TRACE_PREEMPTED] = "preempted",
		[TRACE_WAKE] = "wake",
		[TRACE_SLEEP] = "sleep",
		[TRACE_STOPPED] = "stopped",
		[TRACE_PARAMS] = "params",
		[TRACE_REMOVED] = "removed",
	};
	bool turn = is_turn(e->kind);
	json_t *j;

	j = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "kind", names[e->kind], "vgpu",
		      e->who->uuid, "name", e->who->name, "pgpu", e->who->pgpu, "start_ns",
		      (json_int_t)e->at_ns, "end_ns", (json_int_t)(turn ? e->end_ns : e->at_ns));
	if (j && turn) {
		json_object_set_new_nocheck(j, "asked_ns", json_integer((json_int_t)e->asked_ns));
		json_object_set_new_nocheck(j, "late_ns", json_integer((json_int_t)e->late_ns));
		json_object_set_new_nocheck(j, "used_ns", json_integer((json_int_t)e->used_ns));
	}
	if (j && (e->kind == TRACE_STOPPED || (turn && e->overrun_ns)))
		json_object_set_new_nocheck(j, "overrun_ns",
					    json_integer((json_int_t)e->overrun_ns));
	if (j && e->kind == TRACE_PARAMS)
		json_object_update_new(j, describe_set(&e->params));
	return j;
}

/* Those that were there before the oldest entry. */
static json_t *describe_before(const struct trace *t)
{
	json_t *list = json_array();

	for (const struct trace_ident *i = t->idents.next; i != &t->idents; i = i->next) {
		json_t *j;

		if (!i->before.has_params)
			continue;
		j = json_pack("{s:s, s:s, s:s, s:b}", "vgpu", i->uuid, "name", i->name, "pgpu",
			      i->pgpu, "wants", i->before.wants);
		if (j)
			json_object_update_new(j, describe_set(&i->before.params));
		json_array_append_new(list, j);
	}
	return list;
}

json_t *trace_read(struct trace *t, uint64_t since, uint32_t max, json_t **ret_before,
		   uint64_t *ret_next, uint64_t *ret_dropped, uint64_t *ret_thinned)
{
	json_t *list = json_array();
	uint64_t first = mdl_max_u64(since, oldest(t));

	*ret_dropped = first - since;
	*ret_thinned = t->thinned;
	*ret_before = !since || *ret_dropped ? describe_before(t) : NULL;
	for (*ret_next = first; *ret_next < t->next && max--; (*ret_next)++)
		json_array_append_new(list, describe(&t->ring[*ret_next % TRACE_INTERVALS]));
	return list;
}

bool trace_reaches_end(const struct trace *t, uint64_t since, uint32_t max)
{
	uint64_t first = mdl_max_u64(since, oldest(t));

	return t->next <= first || t->next - first < max;
}
