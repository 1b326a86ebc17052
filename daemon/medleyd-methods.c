/* SPDX-License-Identifier: MIT */
/*
 * What the API can do, as a table: name, function. Parameters are checked strictly: an unknown or
 * mistyped one is an error, so that a typing mistake does not silently do something else. Part of
 * medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TRACE_PAGE_MAX 1024u /* intervals in one reply: under a millisecond of work */

static json_t *__attribute__((format(printf, 3, 4)))
refuse(struct method_call *c, const char *code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
	c->code = code;
	return NULL;
}

/*
 * Unpacks all of params by a json_unpack format that ends in "!"; a reason in call->message if it
 * does not fit.
 */
static bool unpack(struct method_call *c, const char *fmt, ...)
{
	json_t *empty = json_object();
	json_error_t error;
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = json_vunpack_ex(c->params ? c->params : empty, &error, 0, fmt, ap);
	va_end(ap);
	json_decref(empty);
	if (ret)
		refuse(c, "bad-params", "bad parameters: %s", error.text);
	return !ret;
}

static const char *code_of(int err)
{
	switch (err) {
	case -EINVAL:
		return "bad-params";
	case -ENOENT:
		return "not-found";
	case -EEXIST:
		return "exists";
	case -ENOSPC:
		return "no-space";
	case -EBUSY:
		return "busy";
	case -EADDRINUSE:
		return "socket-in-use";
	case -EMFILE:
		return "too-many";
	default:
		return "failed";
	}
}

/* ---- descriptions ---- */

static json_t *describe_type(const struct mdl_pgpu *p, const struct mdl_vgpu_type *t)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:i}", "name", t->name, "class",
			 t->class == MDL_VGPU_PASS ? "pass" : "share", "pgpu", p->name,
			 "vram_bytes", (json_int_t)t->vram_bytes, "channels", t->channels,
			 "contexts", t->contexts, "available", mdl_pgpu_available(p, t));
}

static json_t *describe_vgpu(struct vgpu *v, uint64_t now)
{
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
	if (j)
		json_object_update_new(
			j, json_pack("{s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:I}", "share",
				     share, "gpu_time_ns", (json_int_t)v->gpu_time_ns, "commands",
				     (json_int_t)v->commands, "kernels", (json_int_t)v->kernels,
				     "compile_ns", (json_int_t)v->compile_ns, "preemptions",
				     (json_int_t)v->preemptions, "faults", (json_int_t)v->faults,
				     "contexts", contexts, "contexts_opened",
				     (json_int_t)v->contexts_opened, "executors_lost",
				     (json_int_t)v->executors_lost));
	return j;
}

/* What only `show` tells, beside the rest. */
static json_t *describe_more(struct vgpu *v)
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

static json_t *describe_pgpu(struct manager *m, const struct mdl_pgpu *p)
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
			j, json_pack("{s:s, s:I, s:I, s:s?, s:i, s:I}", "policy",
				     mdl_sched_policy_of(g->sched)->name, "quantum_ns",
				     (json_int_t)s->quantum_ns, "grace_ns", (json_int_t)s->grace_ns,
				     "holder",
				     holder ? ((struct vgpu *)holder->owner)->inst->uuid : NULL,
				     "waiting", mdl_sched_waiting(g->sched), "switches",
				     (json_int_t)g->switches));
	return j;
}

/* ---- methods ---- */

static json_t *m_version(struct method_call *c)
{
	if (!unpack(c, "{!}"))
		return NULL;
	return json_pack("{s:s, s:s, s:i, s:i}", "name", "medleyd", "version", MDL_VERSION, "api",
			 1, "pid", (int)getpid());
}

static json_t *m_types(struct method_call *c)
{
	json_t *list;
	struct mdl_vgpu_type t;
	struct mdl_pgpu *p;

	if (!unpack(c, "{!}"))
		return NULL;
	list = json_array();
	for (size_t i = 0; (p = mdl_mdev_pgpu(c->m->mdev, i)); i++)
		for (size_t k = 0; mdl_pgpu_type(p, k, &t); k++)
			json_array_append_new(list, describe_type(p, &t));
	return list;
}

static json_t *m_pgpus(struct method_call *c)
{
	json_t *list;
	struct mdl_pgpu *p;

	if (!unpack(c, "{!}"))
		return NULL;
	list = json_array();
	for (size_t i = 0; (p = mdl_mdev_pgpu(c->m->mdev, i)); i++)
		json_array_append_new(list, describe_pgpu(c->m, p));
	return list;
}

static json_t *m_create(struct method_call *c)
{
	struct mdl_instance_request req = { 0 };
	struct vgpu *v;
	int err;

	if (!unpack(c, "{s:s, s?s, s?s, s?s !}", "type", &req.type, "name", &req.name, "uuid",
		    &req.uuid, "pgpu", &req.pgpu))
		return NULL;
	err = vgpu_create(c->m, &req, c->message, sizeof(c->message), &v);
	if (err) {
		c->code = code_of(err);
		return NULL;
	}
	return describe_vgpu(v, mdl_now_ns());
}

static json_t *m_list(struct method_call *c)
{
	uint64_t now = mdl_now_ns();
	json_t *list;

	if (!unpack(c, "{!}"))
		return NULL;
	list = json_array();
	for (struct mdl_instance *i = mdl_instance_next(c->m->mdev, NULL); i;
	     i = mdl_instance_next(c->m->mdev, i))
		json_array_append_new(list, describe_vgpu(i->owner, now));
	return list;
}

static struct vgpu *find_vgpu(struct method_call *c)
{
	struct mdl_instance *i;
	const char *which;

	if (!unpack(c, "{s:s !}", "vgpu", &which))
		return NULL;
	i = mdl_instance_find(c->m->mdev, which);
	if (!i) {
		refuse(c, "not-found", "no vGPU '%.64s'", which);
		return NULL;
	}
	return i->owner;
}

static json_t *m_show(struct method_call *c)
{
	struct vgpu *v = find_vgpu(c);
	json_t *j;

	if (!v)
		return NULL;
	j = describe_vgpu(v, mdl_now_ns());
	if (j)
		json_object_update_new(j, describe_more(v));
	return j;
}

static json_t *m_remove(struct method_call *c)
{
	struct vgpu *v = find_vgpu(c);

	if (!v)
		return NULL;
	if (v->removing)
		return refuse(c, "busy", "%s is being removed already", v->inst->name);
	v->remove_client = api_client_number(c->client);
	v->remove_id = c->id ? json_incref(c->id) : json_null();
	c->later = true;
	vgpu_remove(v);
	return NULL;
}

static json_t *m_stats(struct method_call *c)
{
	json_t *pgpus = m_pgpus(c), *vgpus = pgpus ? m_list(c) : NULL;
	uint32_t warm = 0, warming = 0, granted = 0;

	if (!vgpus) {
		json_decref(pgpus);
		return NULL;
	}
	for (struct executor *x = c->m->executors.next; x != &c->m->executors; x = x->next) {
		granted += x->vgpu != NULL;
		warm += !x->vgpu && x->warm && !x->killed;
		warming += !x->vgpu && !x->warm && !x->killed;
	}
	return json_pack("{s:I, s:I, s:o, s:o, s:{s:i, s:i, s:i}}", "time_ns",
			 (json_int_t)mdl_now_ns(), "uptime_ns",
			 (json_int_t)(mdl_now_ns() - c->m->started_ns), "pgpus", pgpus, "vgpus",
			 vgpus, "executors", "warm", warm, "warming", warming, "granted", granted);
}

static json_t *trace_pgpus(struct method_call *c)
{
	json_t *list = json_array();
	struct mdl_pgpu *p;

	for (size_t i = 0; (p = mdl_mdev_pgpu(c->m->mdev, i)); i++) {
		const struct gpu *g = p->owner;
		const struct mdl_sched_params *s = mdl_sched_params_of(g->sched);

		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:b}", "name", p->name,
						      "policy", mdl_sched_policy_of(g->sched)->name,
						      "quantum_ns", (json_int_t)s->quantum_ns,
						      "grace_ns", (json_int_t)s->grace_ns,
						      "nonpreemptive", s->nonpreemptive));
	}
	return list;
}

static json_t *m_trace(struct method_call *c)
{
	json_int_t since = 0, max = TRACE_PAGE_MAX;
	uint64_t next, dropped, thinned;
	json_t *list, *before;

	if (!unpack(c, "{s?I, s?I !}", "since", &since, "max", &max))
		return NULL;
	if (since < 0 || max < 1)
		return refuse(c, "bad-params",
			      "\"since\" must not be negative, \"max\" at least 1");
	max = max < TRACE_PAGE_MAX ? max : TRACE_PAGE_MAX;
	/* Intervals that are still open belong to the picture up to now. */
	for (struct mdl_instance *i = mdl_instance_next(c->m->mdev, NULL);
	     i && trace_reaches_end(c->m->trace, (uint64_t)since, (uint32_t)max);
	     i = mdl_instance_next(c->m->mdev, i))
		account_flush(i->owner, mdl_now_ns());
	list = trace_read(c->m->trace, (uint64_t)since, (uint32_t)max, &before, &next, &dropped,
			  &thinned);
	return json_pack("{s:o, s:o*, s:I, s:I, s:I, s:I, s:o}", "intervals", list, "before",
			 before, "next", (json_int_t)next, "dropped", (json_int_t)dropped,
			 "thinned", (json_int_t)thinned, "time_ns", (json_int_t)mdl_now_ns(),
			 "pgpus", trace_pgpus(c));
}

static json_t *m_subscribe(struct method_call *c)
{
	if (!unpack(c, "{!}"))
		return NULL;
	api_subscribe(c->client);
	return json_object();
}

static const struct {
	const char *name;
	json_t *(*run)(struct method_call *c);
} methods[] = {
	{ "version", m_version },     { "types", m_types }, { "pgpus", m_pgpus },
	{ "create", m_create },	      { "list", m_list },   { "show", m_show },
	{ "remove", m_remove },	      { "stats", m_stats }, { "trace", m_trace },
	{ "subscribe", m_subscribe },
};

json_t *method_run(struct method_call *call, const char *method)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(methods); i++)
		if (!strcmp(methods[i].name, method))
			return methods[i].run(call);
	return refuse(call, "unknown-method", "unknown method '%.64s'", method);
}
