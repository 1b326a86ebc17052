/* SPDX-License-Identifier: MIT */
/*
 * A GPU and its guests for the tests of policies: processes with work to do, under the test's own
 * clock. Time passes only in until(), from event to event. One GPU a test process, so plain
 * statics.
 */
#ifndef MDL_TESTS_SCHED_RIG_H
#define MDL_TESTS_SCHED_RIG_H

#include "sched/policies.h"

#include "base/util.h"
#include "tests/unit/check.h"

#define MAX	64
#define US	1000ull
#define MS	1000000ull
#define T0	(1000 * MS) /* tests' times count from here */
#define ENDLESS (UINT64_MAX / 2)

struct proc {
	struct mdl_sched_entity e;
	uint64_t work; /* GPU time that it still wants */
	uint64_t started; /* running since; 0: not */
	bool holds;
	bool disobeys; /* gives nothing back: has to be stopped */
	uint64_t used; /* GPU time */
};

static struct proc proc[MAX];
static struct mdl_sched *sched;
static uint64_t now;
static struct mdl_sched_params params = { .quantum_ns = 2 * MS,
					  .grace_ns = 200 * US,
					  .stop_limit_ns = 1 * MS };
static bool logging = true;
static char history[8192]; /* G0: 0 got the GPU; R0: it lost it, with work left; I0: without */
static size_t history_len;

static inline int idx(const struct mdl_sched_entity *e)
{
	return (int)((struct proc *)e->owner - proc);
}

static inline void note(char what, const struct mdl_sched_entity *e)
{
	if (logging && history_len + 8 < sizeof(history))
		history_len +=
			(size_t)snprintf(history + history_len, sizeof(history) - history_len,
					 "%s%c%d", history_len ? " " : "", what, idx(e));
}

static inline void expect(const char *want)
{
	CHECK_STR(history, want);
	history_len = 0;
	history[0] = 0;
}

/* Charges what it has used since it was last looked at. */
static inline void settle_use(struct proc *p)
{
	uint64_t ran;

	if (!p->started)
		return;
	ran = mdl_min_u64(now - p->started, p->work);
	p->work -= p->work == ENDLESS ? 0 : ran;
	p->used += ran;
	p->started = p->work ? now : 0;
	if (ran)
		mdl_sched_charge(sched, &p->e, ran, now);
}

static inline bool leave(struct proc *p)
{
	CHECK(p->holds);
	settle_use(p);
	p->started = 0;
	p->holds = false;
	note(p->work ? 'R' : 'I', &p->e);
	return p->work > 0;
}

static inline void rig_grant(void *ctx, struct mdl_sched_entity *e)
{
	struct proc *p = e->owner;

	for (int i = 0; i < MAX; i++)
		CHECK(!proc[i].holds);
	note('G', e);
	p->holds = true;
	p->started = p->work ? now : 0;
}

static inline bool rig_take(void *ctx, struct mdl_sched_entity *e, bool over, bool *ret_awake)
{
	struct proc *p = e->owner;

	settle_use(p);
	if (p->work)
		return false;
	*ret_awake = leave(p);
	return true;
}

static inline uint64_t rig_ask(void *ctx, struct mdl_sched_entity *e)
{
	struct proc *p = e->owner;

	if (!p->disobeys)
		mdl_sched_released(sched, e, leave(p), now);
	return 0;
}

static inline void rig_stop(void *ctx, struct mdl_sched_entity *e)
{
	mdl_sched_released(sched, e, leave(e->owner), now);
}

static inline void rig_expire(void *ctx, struct mdl_sched_entity *e)
{
	CHECK(!"stops are confirmed at once here");
}

static inline void rig_account(void *ctx, struct mdl_sched_entity *e)
{
	settle_use(e->owner);
}

/* Renewals join turns that a step-by-step history wants to see one by one. */
static bool renewals = true;
static struct mdl_sched_actions rig_actions = {
	.grant = rig_grant, .take = rig_take, .ask = rig_ask, .stop = rig_stop, .expire = rig_expire
};

static inline void start(const struct mdl_sched_policy *policy, int n)
{
	now = T0;
	memset(proc, 0, sizeof(proc));
	history_len = 0;
	history[0] = 0;
	rig_actions.account = renewals ? rig_account : NULL;
	CHECK_EQ(mdl_sched_create(policy, &params, &rig_actions, NULL, now, &sched), 0);
	for (int i = 0; i < n; i++) {
		proc[i].e.owner = &proc[i];
		CHECK_EQ(mdl_sched_attach(sched, &proc[i].e, now), 0);
	}
}

static inline void detach(int i)
{
	proc[i].started = 0;
	proc[i].holds = false;
	proc[i].work = 0;
	mdl_sched_detach(sched, &proc[i].e, now);
}

static inline void finish(void)
{
	for (int i = 0; i < MAX; i++)
		detach(i);
	mdl_sched_destroy(sched);
}

static inline void set(int i, struct mdl_sched_entity_params p)
{
	CHECK_EQ(mdl_sched_set_entity(sched, &proc[i].e, &p, now), 0);
}

static inline void submit(int i, uint64_t work)
{
	struct proc *p = &proc[i];

	settle_use(p);
	p->work = work == ENDLESS ? work : p->work + work;
	if (p->holds && !p->started)
		p->started = now;
	mdl_sched_wake(sched, &p->e, now);
}

/* Its guest gives up what it has not got done. */
static inline void cancel(int i)
{
	settle_use(&proc[i]);
	proc[i].work = proc[i].started = 0;
	mdl_sched_sleep(sched, &proc[i].e, now);
}

static inline uint64_t next_event(void)
{
	struct mdl_sched_entity *e = mdl_sched_holder(sched);
	struct proc *p = e ? e->owner : NULL;
	uint64_t due = mdl_sched_deadline(sched);

	return p && p->started && p->work != ENDLESS ? mdl_min_u64(due, p->started + p->work) : due;
}

/* Lets time pass up to `t` after T0. */
static inline void until(uint64_t t)
{
	uint64_t next;

	while ((next = next_event()) <= T0 + t) {
		struct mdl_sched_entity *e = mdl_sched_holder(sched);
		struct proc *p = e ? e->owner : NULL;

		CHECK(next > now || (p && p->started));
		now = mdl_max_u64(now, next);
		if (p && p->started && p->work != ENDLESS && p->started + p->work <= now) {
			settle_use(p);
			mdl_sched_sleep(sched, e, now);
		}
		mdl_sched_run(sched, now);
	}
	now = T0 + t;
	mdl_sched_run(sched, now);
}

/* Its use up to this moment. */
static inline uint64_t used(int i)
{
	settle_use(&proc[i]);
	return proc[i].used;
}

/* ---- randomness with a seed ---- */
static uint64_t seed = 0x9e3779b97f4a7c15ull;

static inline uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % n;
}

static inline void begin(const struct mdl_sched_policy *policy, int n, uint64_t quantum)
{
	params.quantum_ns = quantum;
	start(policy, n);
}

static inline void step(uint64_t t, const char *want)
{
	until(t);
	expect(want);
}

#endif
