/* SPDX-License-Identifier: MIT */
/*
 * Round-robin: those who wait take turns in the order in which they began to wait, each for one
 * quantum. It promises that with n entities at work nobody waits longer than (n - 1) turns, a turn
 * being at most quantum + grace + stop_limit, and nothing about shares beyond that: who uses only
 * half of its turns gets half as much. Weights, caps and reservations are other policies'.
 */
#include "sched/sched.h"

#include "base/util.h"

struct rr {
	struct mdl_sched_list queue;
	uint64_t quantum_ns;
};

struct rr_entity {
	struct mdl_sched_list link;
	struct mdl_sched_entity *entity;
};

static void rr_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	struct rr *rr = data;

	if (!rr->queue.next)
		mdl_sched_list_init(&rr->queue);
	rr->quantum_ns = params->quantum_ns;
}

static void rr_enqueue(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t now)
{
	struct rr *rr = data;
	struct rr_entity *re = e->policy_data;

	re->entity = e;
	mdl_sched_list_append(&rr->queue, &re->link);
}

static void rr_dequeue(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct rr_entity *re = e->policy_data;

	mdl_sched_list_remove(&re->link);
}

static struct mdl_sched_entity *rr_pick(void *data, uint64_t now, uint64_t *ret_again)
{
	struct rr *rr = data;
	struct rr_entity *re;

	if (mdl_sched_list_empty(&rr->queue))
		return NULL;
	re = mdl_container_of(rr->queue.next, struct rr_entity, link);
	mdl_sched_list_remove(&re->link);
	return re->entity;
}

static uint64_t rr_quantum(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct rr *rr = data;

	return mdl_sched_quantum(e, rr->quantum_ns);
}

const struct mdl_sched_policy mdl_sched_round_robin = {
	.name = "round-robin",
	.divides = MDL_SCHED_BY_QUANTUM,
	.sched_bytes = sizeof(struct rr),
	.entity_bytes = sizeof(struct rr_entity),
	.configure = rr_configure,
	.enqueue = rr_enqueue,
	.dequeue = rr_dequeue,
	.pick = rr_pick,
	.quantum = rr_quantum,
};
