/* SPDX-License-Identifier: MIT */
/*
 * The scheduler core: see sched.h for the model. Every input notes what has happened and then calls
 * settle(), which carries out what follows from it until nothing more does. Inputs that come from
 * inside an action only note: the settle() that called the action sees the note when the action has
 * returned.
 *
 * Owned by one thread, the caller's.
 */
#include "sched/sched.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct mdl_sched {
	const struct mdl_sched_policy *policy;
	void *policy_data;
	const struct mdl_sched_actions *actions;
	void *ctx;
	struct mdl_sched_params params;
	uint64_t now; /* the latest time seen: a clock that steps back stands still instead */
	struct mdl_sched_list entities;
	struct mdl_sched_entity *holder; /* HOLDING, ASKED or STOPPING */
	uint32_t waiting;
	uint64_t turn_start;
	uint64_t turn_end; /* of the holder; binding only while others wait */
	uint64_t limit; /* ASKED: when to stop; STOPPING: when to take it as stopped */
	uint64_t again; /* nobody picked although some wait: when to ask the policy again */
	uint64_t tick; /* policy's next periodic work */
	uint32_t reserved, shared; /* percent, of all entities */
	bool look; /* the holder may be idle, worth a [take] */
	bool settling;
};

/* Which states may follow which. Detaching is possible from all. */
static const uint8_t allowed[MDL_SCHED_STATES] = {
	[MDL_SCHED_DETACHED] = 1 << MDL_SCHED_ASLEEP,
	[MDL_SCHED_ASLEEP] = 1 << MDL_SCHED_WAITING,
	[MDL_SCHED_WAITING] = 1 << MDL_SCHED_ASLEEP | 1 << MDL_SCHED_HOLDING,
	[MDL_SCHED_HOLDING] = 1 << MDL_SCHED_ASKED | 1 << MDL_SCHED_ASLEEP | 1 << MDL_SCHED_WAITING,
	[MDL_SCHED_ASKED] =
		1 << MDL_SCHED_STOPPING | 1 << MDL_SCHED_ASLEEP | 1 << MDL_SCHED_WAITING,
	[MDL_SCHED_STOPPING] = 1 << MDL_SCHED_ASLEEP | 1 << MDL_SCHED_WAITING,
};

static void set_state(struct mdl_sched *s, struct mdl_sched_entity *e, enum mdl_sched_state state)
{
	assert(state == MDL_SCHED_DETACHED || (allowed[e->state] >> state & 1));
	e->state = state;
	e->since_ns = s->now;
}

static void see_time(struct mdl_sched *s, uint64_t now)
{
	/*
	 * Half of the range is out of reach, so that a deadline, which saturates, always lies
	 * ahead.
	 */
	s->now = mdl_max_u64(s->now, mdl_min_u64(now, UINT64_MAX / 2));
}

static uint64_t later(uint64_t t, uint64_t by)
{
	return by > UINT64_MAX - t ? UINT64_MAX : t + by;
}

static void enqueue(struct mdl_sched *s, struct mdl_sched_entity *e, bool fresh)
{
	set_state(s, e, MDL_SCHED_WAITING);
	s->waiting++;
	s->policy->enqueue(s->policy_data, e, fresh, s->now);
	if (s->policy->tick && s->tick == MDL_SCHED_NEVER)
		s->tick = s->now;
}

static void dequeue(struct mdl_sched *s, struct mdl_sched_entity *e)
{
	s->waiting--;
	s->policy->dequeue(s->policy_data, e, s->now);
}

/* When the holder's turn ends as things stand. The policy's own limit is never so early that no time could pass. */
static uint64_t turn_end(const struct mdl_sched *s)
{
	uint64_t end = s->waiting ? s->turn_end : MDL_SCHED_NEVER;

	if (s->policy->until)
		end = mdl_min_u64(end, mdl_max_u64(s->policy->until(s->policy_data, s->holder),
						   later(s->turn_start, 1)));
	return end;
}

static void end_hold(struct mdl_sched *s, bool awake)
{
	struct mdl_sched_entity *e = s->holder;

	s->holder = NULL;
	e->held_ns += s->now - s->turn_start;
	e->awake = awake;
	if (awake) {
		enqueue(s, e, false);
		return;
	}
	set_state(s, e, MDL_SCHED_ASLEEP);
	if (s->policy->rest)
		s->policy->rest(s->policy_data, e, s->now);
}

static void begin_hold(struct mdl_sched *s, struct mdl_sched_entity *e)
{
	uint64_t waited = s->now - e->since_ns,
		 quantum = s->policy->quantum(s->policy_data, e, s->now);

	s->waiting--;
	e->waited_ns += waited;
	e->waited_max_ns = mdl_max_u64(e->waited_max_ns, waited);
	set_state(s, e, MDL_SCHED_HOLDING);
	s->holder = e;
	s->look = false;
	s->turn_start = s->now;
	s->turn_end = later(s->now, mdl_max_u64(quantum, 1));
	e->grants++;
	s->actions->grant(s->ctx, e);
}

/* The holder runs and its turn is over: whether another one follows at once. */
static bool renew(struct mdl_sched *s)
{
	struct mdl_sched_entity *e = s->holder;
	uint64_t length;

	if (!s->policy->renew || !s->actions->account)
		return false;
	s->actions->account(s->ctx, e);
	/* An input from inside may have changed everything. */
	if (s->holder != e || e->state != MDL_SCHED_HOLDING || s->now < turn_end(s))
		return true;
	length = s->policy->renew(s->policy_data, e, s->now);
	if (!length)
		return false;
	s->turn_end = later(s->now, length);
	e->renewals++;
	return true;
}

/* One step of what follows from the present state; false when there is none. */
static bool step(struct mdl_sched *s)
{
	struct mdl_sched_entity *e = s->holder;
	bool awake = false, over;
	uint64_t ran;

	if (s->policy->tick && s->tick <= s->now) {
		s->tick = s->policy->tick(s->policy_data, s->now);
		s->tick = mdl_max_u64(s->tick, later(s->now, 1));
		return true;
	}
	if (!e) {
		if (!s->waiting)
			return false;
		s->again = MDL_SCHED_NEVER;
		e = s->policy->pick(s->policy_data, s->now, &s->again);
		s->again = mdl_max_u64(s->again, later(s->now, 1));
		if (!e)
			return false;
		begin_hold(s, e);
		return true;
	}
	switch (e->state) {
	case MDL_SCHED_HOLDING:
		over = s->now >= turn_end(s);
		if (!s->waiting && !over)
			return false;
		if (s->look || over) {
			s->look = false;
			if (s->actions->take(s->ctx, e, over, &awake)) {
				/*
				 * An input from inside take() may have detached it or said more
				 * than take() knows.
				 */
				if (s->holder == e)
					end_hold(s, awake);
				return true;
			}
			if (s->holder != e || e->state != MDL_SCHED_HOLDING)
				return true;
		}
		if (s->now < turn_end(s))
			return false;
		if (renew(s))
			return true;
		set_state(s, e, MDL_SCHED_ASKED);
		s->limit = later(s->now, s->params.grace_ns);
		e->asks++;
		ran = s->actions->ask(s->ctx, e);
		if (s->holder == e && e->state == MDL_SCHED_ASKED &&
		    ran / MDL_SCHED_GRACE_WORTH > s->params.grace_ns)
			s->limit = s->now;
		return true;
	case MDL_SCHED_ASKED:
		if (s->now < s->limit || s->params.nonpreemptive)
			return false;
		set_state(s, e, MDL_SCHED_STOPPING);
		s->limit = later(s->now, s->params.stop_limit_ns);
		e->stops++;
		s->actions->stop(s->ctx, e);
		return true;
	case MDL_SCHED_STOPPING:
		if (s->now < s->limit)
			return false;
		if (s->actions->expire)
			s->actions->expire(s->ctx, e);
		if (s->holder == e)
			end_hold(s, true);
		return true;
	default:
		return false;
	}
}

static void settle(struct mdl_sched *s)
{
	if (s->settling)
		return;
	s->settling = true;
	while (step(s))
		;
	s->settling = false;
}

static bool params_ok(const struct mdl_sched_params *p)
{
	return p->quantum_ns && p->quantum_ns <= MDL_SCHED_QUANTUM_MAX_NS && p->stop_limit_ns;
}

int mdl_sched_create(const struct mdl_sched_policy *policy, const struct mdl_sched_params *params,
		     const struct mdl_sched_actions *actions, void *ctx, uint64_t now,
		     struct mdl_sched **ret_sched)
{
	struct mdl_sched *s;

	if (!params_ok(params))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->policy_data = calloc(1, policy->sched_bytes ? policy->sched_bytes : 1);
	if (!s->policy_data) {
		free(s);
		return -ENOMEM;
	}
	s->policy = policy;
	s->params = *params;
	s->actions = actions;
	s->ctx = ctx;
	s->now = now;
	s->again = MDL_SCHED_NEVER;
	s->tick = policy->tick ? now : MDL_SCHED_NEVER;
	mdl_sched_list_init(&s->entities);
	policy->configure(s->policy_data, params, now);
	*ret_sched = s;
	return 0;
}

void mdl_sched_destroy(struct mdl_sched *s)
{
	if (!s)
		return;
	assert(mdl_sched_list_empty(&s->entities) && !s->settling);
	free(s->policy_data);
	free(s);
}

int mdl_sched_attach(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now)
{
	if (e->state != MDL_SCHED_DETACHED)
		return -EBUSY;
	e->policy_data = calloc(1, s->policy->entity_bytes ? s->policy->entity_bytes : 1);
	if (!e->policy_data)
		return -ENOMEM;
	see_time(s, now);
	e->awake = false;
	e->params = (struct mdl_sched_entity_params)MDL_SCHED_ENTITY_PARAMS_DEFAULT;
	e->balance_ns = 0;
	set_state(s, e, MDL_SCHED_ASLEEP);
	mdl_sched_list_append(&s->entities, &e->all);
	if (s->policy->attach)
		s->policy->attach(s->policy_data, e, s->now);
	settle(s);
	return 0;
}

void mdl_sched_detach(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now)
{
	if (e->state == MDL_SCHED_DETACHED)
		return;
	see_time(s, now);
	if (e->state == MDL_SCHED_WAITING)
		dequeue(s, e);
	if (s->holder == e) {
		e->held_ns += s->now - s->turn_start;
		s->holder = NULL;
	}
	set_state(s, e, MDL_SCHED_DETACHED);
	if (s->policy->detach)
		s->policy->detach(s->policy_data, e, s->now);
	s->reserved -= e->params.reservation_percent;
	s->shared -= e->params.share_percent;
	mdl_sched_list_remove(&e->all);
	free(e->policy_data);
	e->policy_data = NULL;
	settle(s);
}

void mdl_sched_wake(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now)
{
	see_time(s, now);
	if (e->state != MDL_SCHED_DETACHED)
		e->awake = true;
	if (e->state == MDL_SCHED_ASLEEP) {
		enqueue(s, e, true);
		/* The holder may have run out of work long ago without a reason to say so. */
		s->look = true;
		if (s->holder && s->policy->cut)
			s->turn_end = mdl_min_u64(s->turn_end, s->policy->cut(s->policy_data, e,
									      s->holder, s->now));
	}
	settle(s);
}

void mdl_sched_sleep(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now)
{
	see_time(s, now);
	e->awake = false;
	if (e->state == MDL_SCHED_WAITING) {
		dequeue(s, e);
		set_state(s, e, MDL_SCHED_ASLEEP);
	} else if (e->state == MDL_SCHED_HOLDING) {
		s->look = true;
	}
	settle(s);
}

void mdl_sched_released(struct mdl_sched *s, struct mdl_sched_entity *e, bool awake, uint64_t now)
{
	see_time(s, now);
	if (s->holder == e)
		end_hold(s, awake);
	settle(s);
}

void mdl_sched_charge(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t ran_ns,
		      uint64_t now)
{
	see_time(s, now);
	if (e->state == MDL_SCHED_DETACHED)
		return;
	e->charged_ns += ran_ns;
	if (s->policy->charge)
		s->policy->charge(s->policy_data, e, ran_ns, s->now);
}

void mdl_sched_run(struct mdl_sched *s, uint64_t now)
{
	see_time(s, now);
	settle(s);
}

uint64_t mdl_sched_deadline(const struct mdl_sched *s)
{
	uint64_t due = s->policy->tick ? s->tick : MDL_SCHED_NEVER;

	if (!s->holder)
		return s->waiting ? mdl_min_u64(due, s->again) : due;
	if (s->holder->state == MDL_SCHED_HOLDING)
		return mdl_min_u64(due, turn_end(s));
	if (s->holder->state == MDL_SCHED_ASKED && s->params.nonpreemptive)
		return due;
	return mdl_min_u64(due, s->limit);
}

int mdl_sched_set_entity(struct mdl_sched *s, struct mdl_sched_entity *e,
			 const struct mdl_sched_entity_params *params, uint64_t now)
{
	struct mdl_sched_entity_params old = e->params, p = *params;
	uint32_t reserved, shared;

	if (e->state == MDL_SCHED_DETACHED || p.weight > MDL_SCHED_WEIGHT_MAX ||
	    p.cap_percent > 100 || p.reservation_percent > 100 || p.share_percent > 100 ||
	    p.priority < MDL_SCHED_LOW || p.priority > MDL_SCHED_HIGH ||
	    p.quantum_ns > MDL_SCHED_QUANTUM_MAX_NS ||
	    (p.cap_percent && p.reservation_percent > p.cap_percent))
		return -EINVAL;
	reserved = s->reserved - old.reservation_percent + p.reservation_percent;
	shared = s->shared - old.share_percent + p.share_percent;
	if (reserved > MDL_SCHED_RESERVATION_MAX || shared > 100)
		return -ENOSPC;
	see_time(s, now);
	s->reserved = reserved;
	s->shared = shared;
	e->params = p;
	if (s->policy->change)
		s->policy->change(s->policy_data, e, &old, s->now);
	settle(s);
	return 0;
}

int mdl_sched_set_params(struct mdl_sched *s, const struct mdl_sched_params *params, uint64_t now)
{
	if (!params_ok(params))
		return -EINVAL;
	see_time(s, now);
	s->params = *params;
	s->policy->configure(s->policy_data, params, s->now);
	settle(s);
	return 0;
}

/* Allocates all of the new policy's memory first, then moves over: nothing can fail half-way. */
int mdl_sched_set_policy(struct mdl_sched *s, const struct mdl_sched_policy *policy, uint64_t now)
{
	struct mdl_sched_entity **order, *e;
	struct mdl_sched_list *l;
	void **memory, *data;
	uint64_t again = MDL_SCHED_NEVER;
	size_t n = 0, queued = 0;

	assert(!s->settling);
	see_time(s, now);
	for (l = s->entities.next; l != &s->entities; l = l->next)
		n++;
	data = calloc(1, policy->sched_bytes ? policy->sched_bytes : 1);
	memory = calloc(n + 1, sizeof(*memory));
	order = calloc(n + 1, sizeof(*order));
	if (!data || !memory || !order)
		goto fail;
	for (size_t i = 0; i < n; i++) {
		memory[i] = calloc(1, policy->entity_bytes ? policy->entity_bytes : 1);
		if (!memory[i])
			goto fail;
	}

	/* While everything is as it was. */
	for (l = s->entities.next; l != &s->entities; l = l->next) {
		e = mdl_container_of(l, struct mdl_sched_entity, all);
		e->balance_ns =
			s->policy->balance ? s->policy->balance(s->policy_data, e, s->now) : 0;
	}
	/* The old policy's own order, as far as it will tell; then those it holds back. */
	while (s->waiting > queued && (e = s->policy->pick(s->policy_data, s->now, &again)))
		order[queued++] = e;
	for (l = s->entities.next; l != &s->entities && queued < s->waiting; l = l->next) {
		bool seen = false;

		e = mdl_container_of(l, struct mdl_sched_entity, all);
		for (size_t i = 0; i < queued; i++)
			seen |= order[i] == e;
		if (e->state == MDL_SCHED_WAITING && !seen) {
			s->policy->dequeue(s->policy_data, e, s->now);
			order[queued++] = e;
		}
	}
	n = 0;
	policy->configure(data, &s->params, s->now);
	for (l = s->entities.next; l != &s->entities; l = l->next) {
		e = mdl_container_of(l, struct mdl_sched_entity, all);
		if (s->policy->detach)
			s->policy->detach(s->policy_data, e, s->now);
		free(e->policy_data);
		e->policy_data = memory[n++];
		if (policy->attach)
			policy->attach(data, e, s->now);
		e->balance_ns = 0;
	}
	free(s->policy_data);
	s->policy_data = data;
	s->policy = policy;
	s->tick = policy->tick ? s->now : MDL_SCHED_NEVER;
	for (size_t i = 0; i < queued; i++)
		policy->enqueue(data, order[i], true, s->now);
	free(memory);
	free(order);
	settle(s);
	return 0;

fail:
	for (size_t i = 0; memory && i < n; i++)
		free(memory[i]);
	free(memory);
	free(order);
	free(data);
	return -ENOMEM;
}

const struct mdl_sched_policy *mdl_sched_policy_of(const struct mdl_sched *s)
{
	return s->policy;
}

const struct mdl_sched_params *mdl_sched_params_of(const struct mdl_sched *s)
{
	return &s->params;
}

struct mdl_sched_entity *mdl_sched_holder(const struct mdl_sched *s)
{
	return s->holder;
}

struct mdl_sched_entity *mdl_sched_next_entity(const struct mdl_sched *s,
					       const struct mdl_sched_entity *e)
{
	const struct mdl_sched_list *l = e ? e->all.next : s->entities.next;

	return l == &s->entities ? NULL : mdl_container_of(l, struct mdl_sched_entity, all);
}

uint32_t mdl_sched_waiting(const struct mdl_sched *s)
{
	return s->waiting;
}

const char *mdl_sched_state_name(enum mdl_sched_state state)
{
	static const char *const name[MDL_SCHED_STATES] = {
		[MDL_SCHED_DETACHED] = "detached", [MDL_SCHED_ASLEEP] = "asleep",
		[MDL_SCHED_WAITING] = "waiting",   [MDL_SCHED_HOLDING] = "holding",
		[MDL_SCHED_ASKED] = "asked",	   [MDL_SCHED_STOPPING] = "stopping",
	};

	return (unsigned int)state < MDL_SCHED_STATES ? name[state] : "?";
}

static const struct mdl_sched_policy *const policies[] = {
	&mdl_sched_best_effort, &mdl_sched_fixed_share, &mdl_sched_equal_share,
	&mdl_sched_round_robin, &mdl_sched_credit,	&mdl_sched_credit_gdev,
	&mdl_sched_band,	&mdl_sched_band_gpuvm,	&mdl_sched_fair,
};

const struct mdl_sched_policy *mdl_sched_policy_at(size_t i)
{
	return i < MDL_ARRAY_SIZE(policies) ? policies[i] : NULL;
}

const struct mdl_sched_policy *mdl_sched_policy_find(const char *name)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(policies); i++)
		if (!strcmp(policies[i]->name, name))
			return policies[i];
	return NULL;
}
