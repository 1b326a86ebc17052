/* SPDX-License-Identifier: MIT */
/*
 * Gdev's schedulers, CREDIT and BAND, and GPUvm's variant of BAND: policies made for GPUs whose
 * kernels cannot be stopped. Each vGPU is assigned a bandwidth, its part of the GPU in percent
 * (share_percent; those without one have equal parts of the rest). Every period of 30 ms its credit
 * grows by its bandwidth's part of the period; use is paid by wall time; a credit whose magnitude
 * exceeds a period is set to 0. How much of its bandwidth it has used is looked at once a period,
 * over a window that begins anew each second.
 *
 *  - The vGPUs stand in a line; the first that has work is next. credit-gdev: a holder whose turn
 *    ends without credit goes to the end of the line. band: only if it has used more than its
 *    bandwidth, too.
 *  - band: if the next one has used more than its bandwidth, the GPU is left free for 500 us, so
 *    that one which is behind and thinks between two kernels can put in its next; once, then the
 *    next one gets it.
 *  - band-gpuvm: all bandwidths are equal, and each period's time, busy or idle, is given out in
 *    equal parts. Next is one with credit and within bandwidth, else one with credit, else any, in
 *    turns. The GPU is left free only if the next has used more than its bandwidth, the last has
 *    not, and the next has used more than the last.
 *
 * They promise shares near the bandwidths over seconds. Credits that are reset forget debts of more
 * than a period, so a kernel of a second is cheap; nothing is promised for shorter times.
 *
 * Sources: Kato et al., Gdev (USENIX ATC 2012); Suzuki et al., GPUvm (USENIX ATC 2014). To see what
 * they did, run them with nonpreemptive set. Runs on the scheduler's thread.
 */
#include "sched/policies.h"

#include "base/util.h"

#define PERIOD_NS (30 * MDL_NS_PER_MS)
#define WINDOW_NS MDL_NS_PER_S
#define CHANCE_NS (500 * MDL_NS_PER_US)
/* Periods that passed unseen are made up for up to here; a credit's course repeats long before. */
#define LATE_MAX  256

static struct mdl_band_entity *from_link(struct mdl_sched_list *l)
{
	return mdl_container_of(l, struct mdl_band_entity, link);
}

/* Its bandwidth's part of `ns`. */
static uint64_t assigned(const struct mdl_band *b, const struct mdl_band_entity *be, uint64_t ns)
{
	uint32_t percent = be->entity->params.share_percent;

	if (b->gpuvm)
		return ns / b->entities;
	return percent ? ns / 100 * percent : ns / 100 * (100 - b->shared) / b->unnamed;
}

static void replenish(struct mdl_band *b)
{
	for (struct mdl_sched_list *l = b->all.next; l != &b->all; l = l->next) {
		struct mdl_band_entity *be = from_link(l);

		be->credit_ns += (int64_t)assigned(b, be, PERIOD_NS);
		if (be->credit_ns > (int64_t)PERIOD_NS || be->credit_ns < -(int64_t)PERIOD_NS)
			be->credit_ns = 0;
	}
}

static void refresh(struct mdl_band *b, uint64_t now)
{
	uint64_t window = now - b->window_start;

	for (struct mdl_sched_list *l = b->all.next; l != &b->all; l = l->next) {
		struct mdl_band_entity *be = from_link(l);

		be->over = be->used_ns > assigned(b, be, window);
		if (window >= WINDOW_NS)
			be->used_ns = 0;
	}
	if (window >= WINDOW_NS)
		b->window_start = now;
}

static uint64_t band_tick(void *data, uint64_t now)
{
	struct mdl_band *b = data;
	uint64_t late = (now - b->period_start) / PERIOD_NS;

	if (!b->entities)
		return MDL_SCHED_NEVER;
	for (uint64_t i = 0; i < mdl_min_u64(late, LATE_MAX); i++)
		replenish(b);
	b->period_start += late * PERIOD_NS;
	if (late)
		refresh(b, now);
	/* A window without any use: nothing will change before somebody comes. */
	if (now - b->last_use > 2 * WINDOW_NS && b->window_start > b->last_use)
		return MDL_SCHED_NEVER;
	return b->period_start + PERIOD_NS;
}

static void band_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	struct mdl_band *b = data;

	if (!b->all.next) {
		mdl_sched_list_init(&b->all);
		b->period_start = b->window_start = b->last_use = now;
		b->released_at = MDL_SCHED_NEVER;
	}
	b->quantum_ns = params->quantum_ns;
}

static void gpuvm_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	((struct mdl_band *)data)->gpuvm = true;
	band_configure(data, params, now);
}

static void credit_only_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	((struct mdl_band *)data)->credit_only = true;
	band_configure(data, params, now);
}

static void count(struct mdl_band *b, uint32_t share_percent, int by)
{
	if (share_percent)
		b->shared += (uint32_t)by * share_percent;
	else
		b->unnamed += (uint32_t)by;
}

static void band_attach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_band *b = data;
	struct mdl_band_entity *be = e->policy_data;

	be->entity = e;
	be->credit_ns = e->balance_ns > (int64_t)PERIOD_NS    ? (int64_t)PERIOD_NS
			: e->balance_ns < -(int64_t)PERIOD_NS ? -(int64_t)PERIOD_NS
							      : e->balance_ns;
	mdl_sched_list_append(&b->all, &be->link);
	b->entities++;
	count(b, e->params.share_percent, 1);
}

static void band_detach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_band *b = data;
	struct mdl_band_entity *be = e->policy_data;

	if (b->current == be)
		b->current = NULL;
	mdl_sched_list_remove(&be->link);
	b->entities--;
	count(b, e->params.share_percent, -1);
}

static int64_t band_balance(void *data, const struct mdl_sched_entity *e, uint64_t now)
{
	return ((const struct mdl_band_entity *)e->policy_data)->credit_ns;
}

static void band_change(void *data, struct mdl_sched_entity *e,
			const struct mdl_sched_entity_params *old, uint64_t now)
{
	struct mdl_band *b = data;

	count(b, old->share_percent, -1);
	count(b, e->params.share_percent, 1);
}

/* The current one's turn is over. */
static void end_turn(struct mdl_band *b, struct mdl_band_entity *be, uint64_t now)
{
	if (b->current != be)
		return;
	b->released_at = now;
	if (b->gpuvm || (be->credit_ns <= 0 && (b->credit_only || be->over))) {
		mdl_sched_list_remove(&be->link);
		mdl_sched_list_append(&b->all, &be->link);
	}
}

static void band_enqueue(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t now)
{
	struct mdl_band *b = data;
	struct mdl_band_entity *be = e->policy_data;

	be->waiting = true;
	b->last_use = now;
	if (!fresh)
		end_turn(b, be, now);
}

static void band_dequeue(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	((struct mdl_band_entity *)e->policy_data)->waiting = false;
}

static void band_rest(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	end_turn(data, e->policy_data, now);
}

/* How good a choice: the least is next. */
static int rank(const struct mdl_band *b, const struct mdl_band_entity *be)
{
	if (!b->gpuvm)
		return 0;
	return be->credit_ns < 0 ? 2 : be->over;
}

static struct mdl_band_entity *first(struct mdl_band *b, bool within)
{
	struct mdl_band_entity *best = NULL;

	for (struct mdl_sched_list *l = b->all.next; l != &b->all; l = l->next) {
		struct mdl_band_entity *be = from_link(l);

		if (be->waiting && !(within && be->over) && (!best || rank(b, be) < rank(b, best)))
			best = be;
	}
	return best;
}

static bool worth_a_chance(const struct mdl_band *b, const struct mdl_band_entity *next)
{
	const struct mdl_band_entity *last = b->current;

	if (b->credit_only || !next->over)
		return false;
	return !b->gpuvm || (last && !last->over && next->used_ns > last->used_ns);
}

static struct mdl_sched_entity *band_pick(void *data, uint64_t now, uint64_t *ret_again)
{
	struct mdl_band *b = data;
	struct mdl_band_entity *next = first(b, false);

	if (!next)
		return NULL;
	/* Only when it comes free; who finds it free takes it. */
	if (b->released_at == now && worth_a_chance(b, next))
		b->free_until = now + CHANCE_NS;
	b->released_at = MDL_SCHED_NEVER;
	if (now < b->free_until) {
		/* While it is free, whoever is within its bandwidth may have it. */
		next = first(b, true);
		if (!next) {
			*ret_again = b->free_until;
			return NULL;
		}
	}
	b->free_until = 0;
	next->waiting = false;
	b->current = next;
	return next->entity;
}

static uint64_t band_quantum(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	return mdl_sched_quantum(e, ((struct mdl_band *)data)->quantum_ns);
}

static void band_charge(void *data, struct mdl_sched_entity *e, uint64_t ran_ns, uint64_t now)
{
	struct mdl_band *b = data;
	struct mdl_band_entity *be = e->policy_data;
	uint64_t ran = mdl_min_u64(ran_ns, INT64_MAX / 4);

	be->credit_ns -= (int64_t)ran;
	if (be->credit_ns < INT64_MIN / 2)
		be->credit_ns = INT64_MIN / 2;
	be->used_ns = mdl_min_u64(be->used_ns + ran, INT64_MAX / 4);
	b->last_use = now;
}

#define BAND_OPS                                                                                \
	.sched_bytes = sizeof(struct mdl_band), .entity_bytes = sizeof(struct mdl_band_entity), \
	.attach = band_attach, .detach = band_detach, .change = band_change,                    \
	.balance = band_balance, .enqueue = band_enqueue, .dequeue = band_dequeue,              \
	.rest = band_rest, .pick = band_pick, .quantum = band_quantum, .charge = band_charge,   \
	.tick = band_tick

const struct mdl_sched_policy mdl_sched_band = {
	.name = "band",
	.divides = MDL_SCHED_BY_SHARE,
	.configure = band_configure,
	BAND_OPS,
};

const struct mdl_sched_policy mdl_sched_band_gpuvm = {
	.name = "band-gpuvm",
	.configure = gpuvm_configure,
	BAND_OPS,
};

const struct mdl_sched_policy mdl_sched_credit_gdev = {
	.name = "credit-gdev",
	.divides = MDL_SCHED_BY_SHARE,
	.configure = credit_only_configure,
	BAND_OPS,
};
