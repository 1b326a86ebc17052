/* SPDX-License-Identifier: MIT */
/*
 * What the API can do, as a table: name, function. Parameters are checked strictly (medleyd-params.c):
 * an unknown or mistyped one is an error, so that a typing mistake does not silently do something
 * else. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* ---- methods ---- */

static const struct arg none[] = { { NULL } };
static const struct arg which_vgpu[] = { { "vgpu", ARG_TEXT, .required = true }, { NULL } };

static json_t *m_version(struct method_call *c)
{
	if (!args_check(c, none, false))
		return NULL;
	return json_pack("{s:s, s:s, s:i, s:i}", "name", "medleyd", "version", MDL_VERSION, "api",
			 1, "pid", (int)getpid());
}

static json_t *m_types(struct method_call *c)
{
	json_t *list;
	struct mdl_vgpu_type t;
	struct mdl_pgpu *p;

	if (!args_check(c, none, false))
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

	if (!args_check(c, none, false))
		return NULL;
	list = json_array();
	for (size_t i = 0; (p = mdl_mdev_pgpu(c->m->mdev, i)); i++)
		json_array_append_new(list, describe_pgpu(p));
	return list;
}

static json_t *m_create(struct method_call *c)
{
	static const struct arg args[] = { { "type", ARG_TEXT, .required = true },
					   { "name", ARG_TEXT },
					   { "uuid", ARG_TEXT },
					   { "pgpu", ARG_TEXT },
					   { NULL } };
	struct mdl_instance_request req;
	struct vgpu_params params = { MDL_SCHED_ENTITY_PARAMS_DEFAULT, c->m->opt.kernel_limit_ns };
	struct vgpu *v;
	int err;

	if (!args_check(c, args, true))
		return NULL;
	req = (struct mdl_instance_request) { .type = arg_text(c, "type"),
					      .name = arg_text(c, "name"),
					      .uuid = arg_text(c, "uuid"),
					      .pgpu = arg_text(c, "pgpu") };
	params_read(c, &params);
	err = vgpu_create(c->m, &req, &params, c->message, sizeof(c->message), &v);
	if (err) {
		c->code = code_of(err);
		return NULL;
	}
	describe_look(c->m);
	return describe_vgpu(v, mdl_now_ns());
}

static json_t *m_list(struct method_call *c)
{
	uint64_t now = mdl_now_ns();
	json_t *list;

	if (!args_check(c, none, false))
		return NULL;
	describe_look(c->m);
	list = json_array();
	for (struct mdl_instance *i = mdl_instance_next(c->m->mdev, NULL); i;
	     i = mdl_instance_next(c->m->mdev, i))
		json_array_append_new(list, describe_vgpu(i->owner, now));
	return list;
}

static struct vgpu *find_vgpu(struct method_call *c, bool with_params)
{
	struct mdl_instance *i;

	if (!args_check(c, which_vgpu, with_params))
		return NULL;
	i = mdl_instance_find(c->m->mdev, arg_text(c, "vgpu"));
	if (!i) {
		refuse(c, "not-found", "no vGPU '%.64s'", arg_text(c, "vgpu"));
		return NULL;
	}
	return i->owner;
}

static json_t *show(struct vgpu *v)
{
	json_t *j;

	describe_look(v->m);
	j = describe_vgpu(v, mdl_now_ns());
	if (j)
		json_object_update_new(j, describe_more(v));
	return j;
}

static json_t *m_show(struct method_call *c)
{
	struct vgpu *v = find_vgpu(c, false);

	return v ? show(v) : NULL;
}

static json_t *m_set(struct method_call *c)
{
	struct vgpu *v = find_vgpu(c, true);
	struct vgpu_params params;
	int err;

	if (!v)
		return NULL;
	if (v->removing)
		return refuse(c, "busy", "%s is being removed", v->inst->name);
	params = params_of(v);
	params_read(c, &params);
	err = params_apply(v, &params, c->message, sizeof(c->message));
	if (err) {
		c->code = code_of(err);
		return NULL;
	}
	return show(v);
}

/* The one that is named, or the only one. */
static struct mdl_pgpu *find_pgpu(struct method_call *c)
{
	const char *name = arg_text(c, "pgpu");
	struct mdl_pgpu *p =
		name ? mdl_mdev_find_pgpu(c->m->mdev, name) : mdl_mdev_pgpu(c->m->mdev, 0);

	if (!name && mdl_mdev_pgpu(c->m->mdev, 1)) {
		refuse(c, "bad-params", "parameter \"pgpu\" is missing: there are several");
		return NULL;
	}
	if (!p)
		refuse(c, "not-found", "no pGPU '%.64s'", name ? name : "");
	return p;
}

static const struct mdl_sched_policy *find_policy(struct method_call *c, const char *name)
{
	const struct mdl_sched_policy *p = mdl_sched_policy_find(name);
	char known[256] = "";

	if (p)
		return p;
	for (size_t i = 0; (p = mdl_sched_policy_at(i)); i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s", p->name);
	refuse(c, "bad-params", "unknown policy '%.64s'; known:%s", name, known);
	return NULL;
}

static json_t *m_set_pgpu(struct method_call *c)
{
	static const struct arg args[] = { { "pgpu", ARG_TEXT },
					   { "policy", ARG_TEXT },
					   { "quantum_ns", ARG_NUMBER, .least = QUANTUM_MIN_NS,
					     .max = MDL_SCHED_QUANTUM_MAX_NS },
					   { "grace_ns", ARG_NUMBER, .max = GRACE_MAX_NS },
					   { "nonpreemptive", ARG_FLAG },
					   { NULL } };
	const struct mdl_sched_policy *policy;
	struct mdl_sched_params s;
	struct mdl_pgpu *p;
	struct gpu *g;
	int err = 0;

	if (!args_check(c, args, false))
		return NULL;
	p = find_pgpu(c);
	if (!p)
		return NULL;
	g = p->owner;
	policy = mdl_sched_policy_of(g->sched);
	if (arg_text(c, "policy"))
		policy = find_policy(c, arg_text(c, "policy"));
	if (!policy)
		return NULL;
	s = *mdl_sched_params_of(g->sched);
	s.quantum_ns = arg_number(c, "quantum_ns", s.quantum_ns);
	s.grace_ns = arg_number(c, "grace_ns", s.grace_ns);
	if (!s.quantum_ns)
		return refuse(c, "bad-params", "a pGPU's \"quantum_ns\" must not be 0");
	if (json_object_get(c->params, "nonpreemptive"))
		s.nonpreemptive = json_is_true(json_object_get(c->params, "nonpreemptive"));
	/* Only the first can fail, for want of memory. */
	if (policy != mdl_sched_policy_of(g->sched))
		err = mdl_sched_set_policy(g->sched, policy, mdl_now_ns());
	if (!err)
		err = mdl_sched_set_params(g->sched, &s, mdl_now_ns());
	lease_rearm(g);
	if (err)
		return refuse(c, code_of(err), "cannot set this: %s", strerror(-err));
	mdl_log(MDL_LOG_INFO, "%s: %s, quantum %llu us, grace %llu us%s", p->name, policy->name,
		(unsigned long long)(s.quantum_ns / 1000), (unsigned long long)(s.grace_ns / 1000),
		s.nonpreemptive ? ", not preemptive" : "");
	return describe_pgpu(p);
}

static json_t *m_remove(struct method_call *c)
{
	struct vgpu *v = find_vgpu(c, false);

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
	static const struct arg args[] = { { "since", ARG_NUMBER, .max = INT64_MAX },
					   { "max", ARG_NUMBER, .max = INT64_MAX },
					   { NULL } };
	uint64_t since, max, next, dropped, thinned, now = mdl_now_ns();
	json_t *list, *before;

	if (!args_check(c, args, false))
		return NULL;
	since = arg_number(c, "since", 0);
	max = arg_number(c, "max", TRACE_PAGE_MAX);
	if (!max)
		return refuse(c, "bad-params", "\"max\" must be at least 1");
	max = max < TRACE_PAGE_MAX ? max : TRACE_PAGE_MAX;
	/* Intervals that are still open belong to the picture up to now. */
	for (struct mdl_instance *i = mdl_instance_next(c->m->mdev, NULL);
	     i && trace_reaches_end(c->m->trace, since, (uint32_t)max);
	     i = mdl_instance_next(c->m->mdev, i))
		account_flush(i->owner, now);
	list = trace_read(c->m->trace, since, (uint32_t)max, &before, &next, &dropped, &thinned);
	return json_pack("{s:o, s:o*, s:I, s:I, s:I, s:I, s:o}", "intervals", list, "before",
			 before, "next", (json_int_t)next, "dropped", (json_int_t)dropped,
			 "thinned", (json_int_t)thinned, "time_ns", (json_int_t)now, "pgpus",
			 trace_pgpus(c));
}

static json_t *m_subscribe(struct method_call *c)
{
	if (!args_check(c, none, false))
		return NULL;
	api_subscribe(c->client);
	return json_object();
}

static const struct {
	const char *name;
	json_t *(*run)(struct method_call *c);
} methods[] = {
	{ "version", m_version }, { "types", m_types }, { "pgpus", m_pgpus },
	{ "create", m_create },	  { "set", m_set },	{ "set-pgpu", m_set_pgpu },
	{ "list", m_list },	  { "show", m_show },	{ "remove", m_remove },
	{ "stats", m_stats },	  { "trace", m_trace }, { "subscribe", m_subscribe },
};

/* One line of printable text, whatever the client has put into it. */
static void clean(char *text)
{
	json_t *j = json_string(text);

	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f || (!j && (unsigned char)*p > 0x7f))
			*p = '?';
	json_decref(j);
}

json_t *method_run(struct method_call *call, const char *method)
{
	json_t *result = NULL;
	size_t i;

	for (i = 0; i < MDL_ARRAY_SIZE(methods) && strcmp(methods[i].name, method); i++)
		;
	if (i < MDL_ARRAY_SIZE(methods))
		result = methods[i].run(call);
	else
		refuse(call, "unknown-method", "unknown method '%.64s'", method);
	clean(call->message);
	return result;
}
