/* SPDX-License-Identifier: MIT */
/*
 * Fixed share and equal share, as NVIDIA's vGPU has them, with Intel Xe's priorities. Time is cut
 * into slots, one quantum each, and every slot belongs to somebody. Its owner may use it or not:
 * nobody else may. So a vGPU's part of the GPU does not depend on what the others do, in either
 * direction, at the price of idle time.
 *
 *  - equal-share: every attached vGPU gets 1/n of the slots; the part changes as vGPUs come and go.
 *  - fixed-share: each gets share_percent of the slots; those without one get equal parts of what
 *    is left; what is left to nobody stays idle. Nobody's part changes when others come or go,
 *    except those without a share of their own.
 *
 * Priorities count in fixed-share: a low one's slot is skipped while it has no work (its part is
 * the others' meanwhile); a high one that wakes up gets the next slot, ahead of time.
 *
 * Slots are dealt by smooth weighted round-robin: each participant's position grows with its part
 * of the time that passes, the owner's shrinks by the time that its slot lasted; the next slot is
 * that of the highest position. Positions sum up to zero. A slot that its owner overran (because
 * it had to be stopped) counts with its real length, so what was taken too much is given back.
 * A position stays within one slot of each other participant, so over any time each gets its part
 * to within a slot or two.
 *
 * Choosing walks all entities once for each slot. Runs on the scheduler's thread.
 */
#include "sched/policies.h"

#include "base/util.h"

/* A rest of a slot shorter than this part of it is not worth a grant. */
#define REST_PART 16

static void slots_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	struct mdl_slots *s = data;

	if (!s->all.next) {
		mdl_sched_list_init(&s->all);
		s->start = s->end = s->used_until = now;
	}
	s->quantum_ns = params->quantum_ns;
}

static void equal_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	((struct mdl_slots *)data)->equal = true;
	slots_configure(data, params, now);
}

static void count(struct mdl_slots *s, uint32_t share_percent, int by)
{
	if (share_percent)
		s->shared += (uint32_t)by * share_percent;
	else
		s->unnamed += (uint32_t)by;
}

static void slots_attach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_slots *s = data;
	struct mdl_slots_entity *se = e->policy_data;

	se->entity = e;
	mdl_sched_list_append(&s->all, &se->link);
	count(s, s->equal ? 0 : e->params.share_percent, 1);
}

static void slots_detach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_slots *s = data;
	struct mdl_slots_entity *se = e->policy_data;

	mdl_sched_list_remove(&se->link);
	count(s, s->equal ? 0 : e->params.share_percent, -1);
	if (s->owner == se) {
		s->owner = NULL;
		s->end = now;
	}
	/* What it was owed, or owed, is nobody's now. */
	s->idle += se->position;
	if (mdl_sched_list_empty(&s->all))
		s->idle = 0;
}

static void slots_change(void *data, struct mdl_sched_entity *e,
			 const struct mdl_sched_entity_params *old, uint64_t now)
{
	struct mdl_slots *s = data;

	if (s->equal)
		return;
	count(s, old->share_percent, -1);
	count(s, e->params.share_percent, 1);
}

/* Parts are in units in which all of them are whole: of 100 percent times the unnamed. */
static int64_t unit(const struct mdl_slots *s)
{
	return s->unnamed ? s->unnamed : 1;
}

static int64_t part(const struct mdl_slots *s, const struct mdl_slots_entity *se)
{
	uint32_t percent = s->equal ? 0 : se->entity->params.share_percent;

	return percent ? percent * unit(s) : 100 - s->shared;
}

static bool takes_part(const struct mdl_slots *s, const struct mdl_slots_entity *se)
{
	return s->equal || se->waiting || se == s->owner ||
	       se->entity->params.priority != MDL_SCHED_LOW;
}

/* Deals out the time of the slot that is over. */
static void account(struct mdl_slots *s)
{
	uint64_t end = mdl_max_u64(s->end, s->used_until);
	int64_t length = (int64_t)((end - s->start) / MDL_NS_PER_US), total = 0;

	for (struct mdl_sched_list *l = s->all.next; l != &s->all; l = l->next) {
		struct mdl_slots_entity *se = mdl_container_of(l, struct mdl_slots_entity, link);

		if (!takes_part(s, se))
			continue;
		se->position += part(s, se) * length;
		total += part(s, se);
	}
	if (!s->unnamed) {
		s->idle += (100 - (int64_t)s->shared) * length;
		total += 100 - (int64_t)s->shared;
	}
	if (s->owner)
		s->owner->position -= total * length;
	else
		s->idle -= total * length;
}

static void next_slot(struct mdl_slots *s, uint64_t now)
{
	struct mdl_slots_entity *best = NULL;
	bool idle = !s->unnamed && s->shared < 100;
	int64_t top;
	int64_t slot = 100 * unit(s) * (int64_t)(s->quantum_ns / MDL_NS_PER_US);

	account(s);
	top = idle ? s->idle : INT64_MIN;
	s->owner = NULL;
	for (struct mdl_sched_list *l = s->all.next; l != &s->all; l = l->next) {
		struct mdl_slots_entity *se = mdl_container_of(l, struct mdl_slots_entity, link);

		if (!takes_part(s, se))
			continue;
		/* Ahead of its time, but not by more than one slot. */
		if (se->urgent && se->waiting && se->position >= -slot) {
			best = se;
			break;
		}
		if (se->position > top) {
			top = se->position;
			best = se;
		}
	}
	s->owner = best;
	s->start = s->used_until = now;
	s->end = now + (best ? mdl_sched_quantum(best->entity, s->quantum_ns) : s->quantum_ns);
	if (best)
		best->urgent = false;
}

static void slots_enqueue(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t now)
{
	struct mdl_slots *s = data;
	struct mdl_slots_entity *se = e->policy_data;

	se->waiting = true;
	if (!fresh && se == s->owner)
		s->used_until = now;
	se->urgent = fresh && !s->equal && e->params.priority == MDL_SCHED_HIGH;
}

static void slots_dequeue(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_slots_entity *se = e->policy_data;

	se->waiting = se->urgent = false;
}

static void slots_rest(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_slots *s = data;

	if (s->owner == e->policy_data)
		s->used_until = now;
}

static struct mdl_sched_entity *slots_pick(void *data, uint64_t now, uint64_t *ret_again)
{
	struct mdl_slots *s = data;

	/* Handed on: a slot that is nobody's for want of takers, or of low priority and unused. */
	if (s->owner ? !s->equal && !s->owner->waiting &&
			       s->owner->entity->params.priority == MDL_SCHED_LOW
		     : s->unnamed || s->shared == 100)
		s->end = mdl_min_u64(s->end, now);
	if (now >= s->end)
		next_slot(s, now);
	if (s->owner && s->owner->waiting && s->end - now >= (s->end - s->start) / REST_PART) {
		s->owner->waiting = false;
		return s->owner->entity;
	}
	*ret_again = s->end;
	return NULL;
}

static uint64_t slots_quantum(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	return ((struct mdl_slots *)data)->end - now;
}

static uint64_t slots_until(const void *data, const struct mdl_sched_entity *e)
{
	return ((const struct mdl_slots *)data)->end;
}

#define SLOTS_OPS                                                                                 \
	.sched_bytes = sizeof(struct mdl_slots), .entity_bytes = sizeof(struct mdl_slots_entity), \
	.attach = slots_attach, .detach = slots_detach, .change = slots_change,                   \
	.enqueue = slots_enqueue, .dequeue = slots_dequeue, .rest = slots_rest,                   \
	.pick = slots_pick, .quantum = slots_quantum, .until = slots_until

const struct mdl_sched_policy mdl_sched_fixed_share = {
	.name = "fixed-share",
	.divides = MDL_SCHED_BY_SHARE | MDL_SCHED_BY_SLOTS,
	.configure = slots_configure,
	SLOTS_OPS,
};

const struct mdl_sched_policy mdl_sched_equal_share = {
	.name = "equal-share",
	.divides = MDL_SCHED_BY_SLOTS,
	.configure = equal_configure,
	SLOTS_OPS,
};
