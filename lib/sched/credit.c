/* SPDX-License-Identifier: MIT */
/*
 * Xen's credit scheduler, for one GPU. GPU time is money: a credit is 100 us. Every 30 ms the 300
 * credits of the next 30 ms are given to those that are active, in proportion to their weights,
 * rounded up; one with a cap gets no more than that, and what it does not get goes to the others.
 * Use is paid to the nanosecond, not sampled at ticks: a guest that yields just before each tick
 * would otherwise run free of charge.
 *
 *  - A vGPU in debt is OVER, any other UNDER. One that wakes up UNDER is BOOST until the next tick
 *    (10 ms). BOOST goes before UNDER before OVER, in turns within a class, and a waking vGPU of a
 *    better class ends the holder's turn.
 *  - One with a cap whose debt has reached the cap's credits is parked, until it has none. (Xen
 *    looks once a period; here the debt is looked at whenever it changes, since one turn on a GPU
 *    can be longer than a cap.)
 *  - Debts count for one period at most (-300). Above +300 a vGPU earns no more: it leaves the
 *    active ones with half of its credits and comes back when it runs.
 *
 * It promises shares by weight over some periods and work-conservation; not more: within a period
 * order is by class only, a vGPU that slept is up to 300 credits ahead, and boosted vGPUs together
 * can hold up all others for a tick. A cap is kept to within one period's credits.
 *
 * Source of the rules: Xen's documentation and published source of its credit scheduler. Left out:
 * several physical CPUs and their balancing. The turn is the scheduler's quantum, not Xen's 30 ms.
 */
#include "sched/policies.h"

#include "base/util.h"

#define TICK_NS		 (10 * MDL_NS_PER_MS)
#define TICKS_PER_PERIOD 3
#define PERIOD_CREDITS	 300u
#define PERIOD_NS	 ((int64_t)PERIOD_CREDITS * MDL_CREDIT_NS)
/* Time that passed unseen is made up for, within reason. */
#define LATE_TICKS_MAX	 (8 * TICKS_PER_PERIOD)

static struct mdl_credit_entity *from_active(struct mdl_sched_list *l)
{
	return mdl_container_of(l, struct mdl_credit_entity, active_link);
}

static uint32_t cap_credits(const struct mdl_sched_entity *e)
{
	uint32_t cap = e->params.cap_percent;

	return cap < 100 ? (cap * PERIOD_CREDITS + 99) / 100 : 0;
}

static int64_t cap_ns(const struct mdl_sched_entity *e)
{
	return (int64_t)cap_credits(e) * MDL_CREDIT_NS;
}

static void classify(struct mdl_credit *c, struct mdl_credit_entity *ce)
{
	ce->class = ce->credit_ns < 0 ? MDL_CREDIT_OVER : MDL_CREDIT_UNDER;
	if (!ce->waiting)
		return;
	mdl_sched_list_remove(&ce->link);
	mdl_sched_list_append(&c->queue[ce->class], &ce->link);
}

static void check_cap(struct mdl_credit_entity *ce)
{
	if (!cap_credits(ce->entity) || ce->credit_ns >= 0)
		ce->parked = false;
	else if (ce->credit_ns <= -cap_ns(ce->entity))
		ce->parked = true;
}

static void activate(struct mdl_credit *c, struct mdl_credit_entity *ce)
{
	if (!ce->active)
		mdl_sched_list_append(&c->active, &ce->active_link);
	ce->active = true;
}

static void deactivate(struct mdl_credit_entity *ce)
{
	if (ce->active)
		mdl_sched_list_remove(&ce->active_link);
	ce->active = false;
}

/* Who has a cap below its fair part gets the cap; that raises the others' parts: until no more do. */
static void share_out(struct mdl_credit *c)
{
	uint32_t total = PERIOD_CREDITS;
	uint64_t weights = 0;
	bool again = true;

	for (struct mdl_sched_list *l = c->active.next; l != &c->active; l = l->next) {
		weights += mdl_sched_weight(from_active(l)->entity);
		from_active(l)->grant = UINT32_MAX;
	}
	while (again) {
		uint32_t left = total;
		uint64_t left_weights = weights;

		again = false;
		for (struct mdl_sched_list *l = c->active.next; l != &c->active; l = l->next) {
			struct mdl_credit_entity *ce = from_active(l);
			uint64_t w = mdl_sched_weight(ce->entity);
			uint32_t cap = cap_credits(ce->entity);

			if (ce->grant != UINT32_MAX || !cap ||
			    (total * w + weights - 1) / weights <= cap)
				continue;
			ce->grant = cap;
			left -= mdl_min_u64(left, cap);
			left_weights -= w;
			again = true;
		}
		total = left;
		weights = left_weights;
	}
	for (struct mdl_sched_list *l = c->active.next; l != &c->active; l = l->next) {
		struct mdl_credit_entity *ce = from_active(l);

		if (ce->grant == UINT32_MAX)
			ce->grant = (uint32_t)((total * (uint64_t)mdl_sched_weight(ce->entity) +
						weights - 1) /
					       weights);
	}
}

static void account(struct mdl_credit *c)
{
	struct mdl_sched_list *l, *next;

	share_out(c);
	for (l = c->active.next; l != &c->active; l = next) {
		struct mdl_credit_entity *ce = from_active(l);

		next = l->next;
		ce->credit_ns += (int64_t)ce->grant * MDL_CREDIT_NS;
		ce->granted_ns += (int64_t)ce->grant * MDL_CREDIT_NS;
		check_cap(ce);
		if (ce->credit_ns < -PERIOD_NS)
			ce->credit_ns = -PERIOD_NS;
		if (ce->credit_ns > PERIOD_NS) {
			ce->credit_ns /= 2;
			deactivate(ce);
		}
	}
}

static uint64_t credit_tick(void *data, uint64_t now)
{
	struct mdl_credit *c = data;
	struct mdl_sched_list *l, all;
	bool waits;

	/* After an idle time the first tick is a whole one away. */
	if (c->idle || now > c->next_tick + LATE_TICKS_MAX * TICK_NS)
		c->next_tick = c->idle ? now + TICK_NS : now;
	c->idle = false;
	if (now < c->next_tick)
		return c->next_tick;
	for (; c->next_tick <= now; c->next_tick += TICK_NS)
		if (++c->ticks % TICKS_PER_PERIOD == 0)
			account(c);
	/* Boosts end, and debts may be paid now. Order is kept within a class. */
	mdl_sched_list_init(&all);
	for (int class = 0; class < MDL_CREDIT_CLASSES; class ++) {
		while (!mdl_sched_list_empty(&c->queue[class])) {
			l = c->queue[class].next;
			mdl_sched_list_remove(l);
			mdl_sched_list_append(&all, l);
		}
	}
	waits = !mdl_sched_list_empty(&all);
	while (!mdl_sched_list_empty(&all))
		classify(c, mdl_container_of(all.next, struct mdl_credit_entity, link));
	if (c->holder)
		classify(c, c->holder);
	c->idle = !waits && mdl_sched_list_empty(&c->active);
	return c->idle ? MDL_SCHED_NEVER : c->next_tick;
}

static void credit_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	struct mdl_credit *c = data;

	if (!c->active.next) {
		for (int class = 0; class < MDL_CREDIT_CLASSES; class ++)
			mdl_sched_list_init(&c->queue[class]);
		mdl_sched_list_init(&c->active);
		c->next_tick = now + TICK_NS;
	}
	c->quantum_ns = params->quantum_ns;
}

static void credit_attach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_credit_entity *ce = e->policy_data;

	ce->entity = e;
	ce->class = MDL_CREDIT_UNDER;
	ce->credit_ns = e->balance_ns > PERIOD_NS    ? PERIOD_NS
			: e->balance_ns < -PERIOD_NS ? -PERIOD_NS
						     : e->balance_ns;
	((struct mdl_credit *)data)->since = now;
}

static void credit_rest(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_credit *c = data;

	if (c->holder == e->policy_data)
		c->holder = NULL;
}

static void credit_detach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_credit_entity *ce = e->policy_data;

	deactivate(ce);
	credit_rest(data, e, now);
}

static int64_t credit_balance(void *data, const struct mdl_sched_entity *e, uint64_t now)
{
	return ((const struct mdl_credit_entity *)e->policy_data)->credit_ns;
}

static void credit_enqueue(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t now)
{
	struct mdl_credit *c = data;
	struct mdl_credit_entity *ce = e->policy_data;

	if (c->holder == ce)
		c->holder = NULL;
	ce->class = ce->credit_ns < 0 ? MDL_CREDIT_OVER
		    : fresh	      ? MDL_CREDIT_BOOST
				      : MDL_CREDIT_UNDER;
	ce->waiting = true;
	mdl_sched_list_append(&c->queue[ce->class], &ce->link);
}

static void credit_dequeue(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_credit_entity *ce = e->policy_data;

	ce->waiting = false;
	mdl_sched_list_remove(&ce->link);
}

static struct mdl_sched_entity *credit_pick(void *data, uint64_t now, uint64_t *ret_again)
{
	struct mdl_credit *c = data;

	for (int class = 0; class < MDL_CREDIT_CLASSES; class ++) {
		for (struct mdl_sched_list *l = c->queue[class].next; l != &c->queue[class];
		     l = l->next) {
			struct mdl_credit_entity *ce =
				mdl_container_of(l, struct mdl_credit_entity, link);

			if (ce->parked)
				continue; /* until an accounting, which is a tick */
			credit_dequeue(c, ce->entity, now);
			activate(c, ce);
			c->since = now;
			c->holder = ce;
			return ce->entity;
		}
	}
	return NULL;
}

static uint64_t credit_quantum(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	return mdl_sched_quantum(e, ((struct mdl_credit *)data)->quantum_ns);
}

static void credit_charge(void *data, struct mdl_sched_entity *e, uint64_t ran_ns, uint64_t now)
{
	struct mdl_credit *c = data;
	struct mdl_credit_entity *ce = e->policy_data;
	uint64_t ran = mdl_min_u64(ran_ns, INT64_MAX / 4);

	ce->credit_ns -= (int64_t)ran;
	if (ce->credit_ns < INT64_MIN / 2)
		ce->credit_ns = INT64_MIN / 2;
	activate(c, ce);
	check_cap(ce);
	/* What somebody got after his turn does not lengthen the holder's. */
	if (e->state >= MDL_SCHED_HOLDING)
		c->since = now;
}

/* The moment at which a holder with a cap has spent all that it may. */
static uint64_t credit_until(const void *data, const struct mdl_sched_entity *e)
{
	const struct mdl_credit *c = data;
	const struct mdl_credit_entity *ce = e->policy_data;

	if (!cap_credits(e))
		return MDL_SCHED_NEVER;
	return ce->parked ? c->since : c->since + (uint64_t)(ce->credit_ns + cap_ns(e));
}

static uint64_t credit_cut(void *data, struct mdl_sched_entity *woken,
			   struct mdl_sched_entity *holder, uint64_t now)
{
	const struct mdl_credit_entity *we = woken->policy_data, *he = holder->policy_data;

	return !we->parked && we->class < he->class ? now : MDL_SCHED_NEVER;
}

static void credit_change(void *data, struct mdl_sched_entity *e,
			  const struct mdl_sched_entity_params *old, uint64_t now)
{
	check_cap(e->policy_data);
}

const struct mdl_sched_policy mdl_sched_credit = {
	.name = "credit",
	.divides = MDL_SCHED_BY_WEIGHT | MDL_SCHED_BY_CAP,
	.sched_bytes = sizeof(struct mdl_credit),
	.entity_bytes = sizeof(struct mdl_credit_entity),
	.configure = credit_configure,
	.attach = credit_attach,
	.detach = credit_detach,
	.enqueue = credit_enqueue,
	.dequeue = credit_dequeue,
	.pick = credit_pick,
	.quantum = credit_quantum,
	.charge = credit_charge,
	.rest = credit_rest,
	.balance = credit_balance,
	.change = credit_change,
	.cut = credit_cut,
	.until = credit_until,
	.tick = credit_tick,
};
