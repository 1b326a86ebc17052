/* SPDX-License-Identifier: MIT */
/*
 * What clients of the API are told about types, vGPUs and pGPUs: one JSON object each, with the
 * fields that docs/api.md lists. Numbers that executors write themselves are bounded here. Part of
 * medleyd's one thread.
 */
#include "medleyd.h"

#include <stdlib.h>

#define QUEUE_MAX 65536u /* packets in the ring of one channel */

json_t *describe_type(const struct mdl_pgpu *p, const struct mdl_vgpu_type *t)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:i}", "name", t->name, "class",
			 t->class == MDL_VGPU_PASS ? "pass" : "share", "pgpu", p->name,
			 "vram_bytes", (json_int_t)t->vram_bytes, "channels", t->channels,
			 "contexts", t->contexts, "available", mdl_pgpu_available(p, t));
}

json_t *describe_vgpu_params(const struct vgpu_params *p)
{
	static const char *const priority[] = { "low", "normal", "high" };
	const struct mdl_sched_entity_params *s = &p->sched;

	return json_pack("{s:i, s:i, s:i, s:i, s:s, s:I, s:I}", "weight", s->weight, "cap",
			 s->cap_percent, "reservation", s->reservation_percent, "share_percent",
			 s->share_percent, "priority", priority[s->priority - MDL_SCHED_LOW],
			 "quantum_ns", (json_int_t)s->quantum_ns, "kernel_limit_ns",
			 (json_int_t)p->kernel_limit_ns);
}

/*
 * While nobody waits, a holder does not say whether it has work: it is looked at. Entitlements
 * depend on that of all.
 */
void describe_look(struct manager *m)
{
	for (struct mdl_instance *i = mdl_instance_next(m->mdev, NULL); i;
	     i = mdl_instance_next(m->mdev, i))
		lease_update(i->owner);
	for (size_t i = 0; i < MDL_MDEV_PGPUS_MAX && m->gpu[i]; i++)
		mdl_sched_entitle(m->gpu[i]->sched);
}

static uint64_t queue(const struct vgpu *v)
{
	uint64_t most = (uint64_t)v->inst->type.channels * QUEUE_MAX, sum = 0;

	for (const struct executor *x = v->executors; x; x = x->vgpu_next)
		if (!x->killed)
			sum += atomic_load_explicit(&x->lease->queued, memory_order_relaxed);
	return mdl_min_u64(sum, most);
}

json_t *describe_vgpu(struct vgpu *v, uint64_t now)
{
	const struct vgpu_params params = params_of(v);
	const struct mdl_instance *i = v->inst;
	double share = account_share(v, now);
	uint32_t contexts = 0;
	json_t *j;

	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		contexts += !x->killed;
	j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:i}", "uuid", i->uuid, "name",
		      i->name, "type", i->type.name, "pgpu", i->pgpu->name, "state",
		      v->removing ? "removing" : mdl_instance_state_name(i->state), "socket",
		      v->socket_path, "vram_bytes", (json_int_t)i->type.vram_bytes, "channels",
		      i->type.channels, "contexts_max", i->type.contexts);
	if (!j)
		return NULL;
	json_object_update_new(j, describe_vgpu_params(&params));
	json_object_update_new(
		j, json_pack("{s:f, s:f, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "share", share,
			     "entitlement", v->entity.entitlement, "queue", (json_int_t)queue(v),
			     "throttled", v->throttled, "gpu_time_ns", (json_int_t)v->gpu_time_ns,
			     "commands", (json_int_t)v->commands, "kernels", (json_int_t)v->kernels,
			     "compile_ns", (json_int_t)v->compile_ns, "preemptions",
			     (json_int_t)v->preemptions, "resets", (json_int_t)v->resets));
	json_object_update_new(j, json_pack("{s:I, s:i, s:I, s:I}", "faults", (json_int_t)v->faults,
					    "contexts", contexts, "contexts_opened",
					    (json_int_t)v->contexts_opened, "executors_lost",
					    (json_int_t)v->executors_lost));
	return j;
}

json_t *describe_more(struct vgpu *v)
{
	const struct mdl_sched_entity *e = &v->entity;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:I, s:I, s:I}", "lease",
			 mdl_sched_state_name(e->state), "grants", (json_int_t)e->grants, "asked",
			 (json_int_t)e->asks, "held_ns", (json_int_t)e->held_ns, "waited_ns",
			 (json_int_t)e->waited_ns, "waited_max_ns", (json_int_t)e->waited_max_ns,
			 "age_ns", (json_int_t)(mdl_now_ns() - v->created_ns), "device_pid",
			 (int)v->device.pid, "vmm_pid", (int)v->vmm_pid, "device_restarts",
			 (json_int_t)v->device_restarts, "confinements",
			 (json_int_t)v->confinements, "unclaimed_ns", (json_int_t)v->unclaimed_ns);
}

json_t *describe_pgpu(const struct mdl_pgpu *p)
{
	const struct gpu *g = p->owner;
	const struct mdl_sched_params *s = mdl_sched_params_of(g->sched);
	struct mdl_sched_entity *holder = mdl_sched_holder(g->sched);
	json_t *j;

	j = json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:b}", "name", p->name, "backend",
		      p->backend, "vram_bytes", (json_int_t)p->vram_bytes, "vram_used",
		      (json_int_t)p->vram_used, "channels", p->channels, "channels_used",
		      p->channels_used, "compute_units", p->compute_units, "vgpus", p->instances,
		      "exclusive", p->exclusive);
	if (j)
		json_object_update_new(
			j, json_pack("{s:s, s:I, s:I, s:b, s:s?, s:i, s:I}", "policy",
				     mdl_sched_policy_of(g->sched)->name, "quantum_ns",
				     (json_int_t)s->quantum_ns, "grace_ns", (json_int_t)s->grace_ns,
				     "nonpreemptive", s->nonpreemptive, "holder",
				     holder ? ((struct vgpu *)holder->owner)->inst->uuid : NULL,
				     "waiting", mdl_sched_waiting(g->sched), "switches",
				     (json_int_t)g->switches));
	return j;
}
