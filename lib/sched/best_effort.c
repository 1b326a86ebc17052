/* SPDX-License-Identifier: MIT */
/*
 * Best effort, as NVIDIA's vGPU default: the GPU is handed round among those that have work, in the
 * order in which they asked; idle time is everybody's. Turns are 2 ms for up to eight vGPUs and
 * 1 ms for more, whatever the scheduler's quantum says. It promises high utilisation and that
 * nobody waits longer than one turn of each other; a vGPU's part depends on how many others have
 * work at the moment, and who often runs out of work in its turn loses the rest of it. No
 * parameter of an entity counts.
 */
#include "sched/policies.h"

#include "base/util.h"

#define FEW	     8
#define TURN_FEW_NS  (2 * MDL_NS_PER_MS)
#define TURN_MANY_NS MDL_NS_PER_MS

static void be_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	struct mdl_best_effort *b = data;

	if (!b->queue.next)
		mdl_sched_list_init(&b->queue);
}

static void be_attach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	((struct mdl_best_effort *)data)->entities++;
	((struct mdl_best_effort_entity *)e->policy_data)->entity = e;
}

static void be_detach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	((struct mdl_best_effort *)data)->entities--;
}

static void be_enqueue(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t now)
{
	struct mdl_best_effort *b = data;
	struct mdl_best_effort_entity *be = e->policy_data;

	mdl_sched_list_append(&b->queue, &be->link);
}

static void be_dequeue(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_best_effort_entity *be = e->policy_data;

	mdl_sched_list_remove(&be->link);
}

static struct mdl_sched_entity *be_pick(void *data, uint64_t now, uint64_t *ret_again)
{
	struct mdl_best_effort *b = data;
	struct mdl_best_effort_entity *be;

	if (mdl_sched_list_empty(&b->queue))
		return NULL;
	be = mdl_container_of(b->queue.next, struct mdl_best_effort_entity, link);
	mdl_sched_list_remove(&be->link);
	return be->entity;
}

static uint64_t be_quantum(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	return ((struct mdl_best_effort *)data)->entities <= FEW ? TURN_FEW_NS : TURN_MANY_NS;
}

const struct mdl_sched_policy mdl_sched_best_effort = {
	.name = "best-effort",
	.sched_bytes = sizeof(struct mdl_best_effort),
	.entity_bytes = sizeof(struct mdl_best_effort_entity),
	.configure = be_configure,
	.attach = be_attach,
	.detach = be_detach,
	.enqueue = be_enqueue,
	.dequeue = be_dequeue,
	.pick = be_pick,
	.quantum = be_quantum,
};
