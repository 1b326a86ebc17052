/* SPDX-License-Identifier: MIT */
/*
 * What clients of the API give: checked against tables, so that a method sees only what it knows,
 * in the form and range that it expects, and a mistake is answered with its name. And the one group
 * of arguments that several methods share, the scheduling parameters of a vGPU: read on top of what
 * is in force, checked as a whole, put in force together or not at all. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct arg params[] = {
	{ "weight", ARG_NUMBER, .max = MDL_SCHED_WEIGHT_MAX },
	{ "cap", ARG_NUMBER, .max = 100 },
	{ "reservation", ARG_NUMBER, .max = MDL_SCHED_RESERVATION_MAX },
	{ "share_percent", ARG_NUMBER, .max = 100 },
	{ "priority", ARG_PRIORITY },
	{ "quantum_ns", ARG_NUMBER, .least = QUANTUM_MIN_NS, .max = MDL_SCHED_QUANTUM_MAX_NS },
	{ "kernel_limit_ns", ARG_NUMBER, .least = KERNEL_LIMIT_MIN_NS, .max = KERNEL_LIMIT_MAX_NS },
};

static const char *const priorities[] = { "low", "normal", "high" };

/* ---- any arguments ---- */

static const struct arg *find(const struct arg *a, const char *name)
{
	for (; a && a->name; a++)
		if (!strcmp(a->name, name))
			return a;
	return NULL;
}

static const struct arg *find_param(const char *name)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(params); i++)
		if (!strcmp(params[i].name, name))
			return &params[i];
	return NULL;
}

static bool __attribute__((format(printf, 2, 3))) bad(struct method_call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
	c->code = "bad-params";
	return false;
}

static bool unknown(struct method_call *c, const struct arg *own, bool with_params,
		    const char *name)
{
	char known[256] = "";

	for (const struct arg *a = own; a && a->name; a++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s", a->name);
	for (size_t i = 0; with_params && i < MDL_ARRAY_SIZE(params); i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s",
			 params[i].name);
	return bad(c, "unknown parameter \"%.64s\"; known here:%s", name, *known ? known : " none");
}

static bool check_number(struct method_call *c, const struct arg *a, const json_t *value)
{
	json_int_t v = json_integer_value(value);

	if (json_is_integer(value) && v >= 0 && (uint64_t)v <= a->max &&
	    (!v || (uint64_t)v >= a->least))
		return true;
	if (a->least)
		return bad(c, "\"%s\" must be 0, or a whole number from %llu to %llu", a->name,
			   (unsigned long long)a->least, (unsigned long long)a->max);
	return bad(c, "\"%s\" must be a whole number from 0 to %llu", a->name,
		   (unsigned long long)a->max);
}

static int find_priority(const json_t *value)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(priorities); i++)
		if (json_is_string(value) && !strcmp(json_string_value(value), priorities[i]))
			return (int)i;
	return -1;
}

static bool check_value(struct method_call *c, const struct arg *a, const json_t *value)
{
	switch (a->kind) {
	case ARG_TEXT:
		return json_is_string(value) || bad(c, "\"%s\" must be a string", a->name);
	case ARG_FLAG:
		return json_is_boolean(value) || bad(c, "\"%s\" must be true or false", a->name);
	case ARG_PRIORITY:
		return find_priority(value) >= 0 ||
		       bad(c, "\"%s\" must be \"low\", \"normal\" or \"high\"", a->name);
	default:
		return check_number(c, a, value);
	}
}

bool args_check(struct method_call *c, const struct arg *own, bool with_params)
{
	const char *name;
	json_t *value;

	json_object_foreach(c->params, name, value) {
		const struct arg *a = find(own, name);

		if (!a && with_params)
			a = find_param(name);
		if (!a)
			return unknown(c, own, with_params, name);
		if (!check_value(c, a, value))
			return false;
	}
	for (const struct arg *a = own; a && a->name; a++)
		if (a->required && !json_object_get(c->params, a->name))
			return bad(c, "parameter \"%s\" is missing", a->name);
	return true;
}

const char *arg_text(const struct method_call *c, const char *name)
{
	return json_string_value(json_object_get(c->params, name));
}

uint64_t arg_number(const struct method_call *c, const char *name, uint64_t otherwise)
{
	const json_t *value = json_object_get(c->params, name);

	return value ? (uint64_t)json_integer_value(value) : otherwise;
}

/* ---- a vGPU's parameters ---- */

void params_read(const struct method_call *c, struct vgpu_params *p)
{
	const json_t *priority = json_object_get(c->params, "priority");
	struct mdl_sched_entity_params *s = &p->sched;

	s->weight = (uint32_t)arg_number(c, "weight", s->weight);
	s->cap_percent = (uint32_t)arg_number(c, "cap", s->cap_percent);
	s->reservation_percent = (uint32_t)arg_number(c, "reservation", s->reservation_percent);
	s->share_percent = (uint32_t)arg_number(c, "share_percent", s->share_percent);
	s->quantum_ns = arg_number(c, "quantum_ns", s->quantum_ns);
	if (priority)
		s->priority = (enum mdl_sched_priority)(find_priority(priority) + MDL_SCHED_LOW);
	p->kernel_limit_ns = arg_number(c, "kernel_limit_ns", p->kernel_limit_ns);
}

struct vgpu_params params_of(const struct vgpu *v)
{
	return (struct vgpu_params) { .sched = v->entity.params,
				      .kernel_limit_ns = v->kernel_limit_ns };
}

/* What all others on the GPU leave of the reservations and shares that there are. */
static int explain_space(const struct vgpu *v, const struct mdl_sched_entity_params *p, char *why,
			 size_t why_bytes)
{
	const char *gpu = v->inst->pgpu->name;
	uint32_t reserved = 0, shared = 0;

	for (const struct mdl_sched_entity *e = mdl_sched_next_entity(v->gpu->sched, NULL); e;
	     e = mdl_sched_next_entity(v->gpu->sched, e)) {
		reserved += e == &v->entity ? 0 : e->params.reservation_percent;
		shared += e == &v->entity ? 0 : e->params.share_percent;
	}
	if (reserved + p->reservation_percent > MDL_SCHED_RESERVATION_MAX)
		snprintf(why, why_bytes,
			 "cannot reserve %u percent: %u of %u percent left on pGPU %s",
			 p->reservation_percent, MDL_SCHED_RESERVATION_MAX - reserved,
			 MDL_SCHED_RESERVATION_MAX, gpu);
	else
		snprintf(why, why_bytes,
			 "cannot give a share of %u percent: %u of 100 percent left on pGPU %s",
			 p->share_percent, 100 - shared, gpu);
	return -ENOSPC;
}

int params_apply(struct vgpu *v, const struct vgpu_params *p, char *why, size_t why_bytes)
{
	const struct mdl_sched_entity_params *s = &p->sched;
	uint64_t now = mdl_now_ns();
	int err;

	if (s->cap_percent && s->reservation_percent > s->cap_percent) {
		snprintf(why, why_bytes,
			 "a reservation of %u percent is more than the cap of %u percent",
			 s->reservation_percent, s->cap_percent);
		return -EINVAL;
	}
	/* What it has used until now was used under the old ones. */
	account_charge(v, now);
	err = mdl_sched_set_entity(v->gpu->sched, &v->entity, s, now);
	lease_rearm(v->gpu);
	if (err == -ENOSPC)
		return explain_space(v, s, why, why_bytes);
	if (err) {
		snprintf(why, why_bytes, "cannot set the parameters: %s", strerror(-err));
		return err;
	}
	v->kernel_limit_ns = p->kernel_limit_ns;
	watchdog_rearm(v);
	trace_params(v, now);
	return 0;
}
