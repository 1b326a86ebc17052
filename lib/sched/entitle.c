/* SPDX-License-Identifier: MIT */
/*
 * What everybody is due: the parts of the GPU if it could be divided infinitely, by the rules of
 * the policy in force, if those that have work now go on having it. A policy says by what it
 * divides (mdl_sched_policy.divides); the rest is the same for all: parts grow in proportion to
 * somebody's weight, from the reservation up to the cap, until the GPU is given away.
 *
 * Left out: the past. Who is owed something or has overdrawn is due the same here; over any longer
 * time the policy makes up for that. Nothing here changes what the scheduler does.
 */
#include "sched/sched.h"

#include "base/util.h"

/* Each halves what the level may be off by: of the GPU, less than a double can tell. */
#define ROUNDS 60

static double clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

/* ---- any numbers ---- */

void mdl_sched_divide(uint32_t n, const uint32_t *weight, const double *low, const double *high,
		      double total, double *ret_part)
{
	double sum = 0, a = 0, b = 0;

	for (uint32_t i = 0; i < n; i++) {
		double enough = high[i] / weight[i];

		sum += high[i];
		b = enough > b ? enough : b;
	}
	/* The level at which all is just given away: parts grow with it. */
	for (int round = 0; sum > total && round < ROUNDS; round++) {
		double level = (a + b) / 2, given = 0;

		for (uint32_t i = 0; i < n; i++)
			given += clamp(level * weight[i], low[i], high[i]);
		*(given > total ? &b : &a) = level;
	}
	for (uint32_t i = 0; i < n; i++)
		ret_part[i] = sum > total ? clamp(b * weight[i], low[i], high[i]) : high[i];
}

/* ---- a scheduler's entities ---- */

struct claim {
	double weight, low, high;
};

/* Of all attached entities, whether they have work or not. */
struct totals {
	uint32_t shared; /* percent that is given by name */
	uint32_t unnamed; /* how many have none */
	uint32_t entities;
};

static struct totals add_up(const struct mdl_sched *s)
{
	const struct mdl_sched_entity *e = NULL;
	struct totals t = { 0 };

	while ((e = mdl_sched_next_entity(s, e))) {
		t.shared += e->params.share_percent;
		t.unnamed += !e->params.share_percent;
		t.entities++;
	}
	return t;
}

/* In percent. */
static double bandwidth(const struct totals *t, const struct mdl_sched_entity *e)
{
	return e->params.share_percent ? e->params.share_percent
				       : (100.0 - t->shared) / (t->unnamed ? t->unnamed : 1);
}

static struct claim claim_of(const struct mdl_sched *s, const struct totals *t,
			     const struct mdl_sched_entity *e)
{
	const struct mdl_sched_entity_params *p = &e->params;
	uint32_t by = mdl_sched_policy_of(s)->divides;
	struct claim c = { .weight = 1, .high = 1 };

	if (!e->awake)
		return (struct claim) { .weight = 1 };
	if (by & MDL_SCHED_BY_WEIGHT)
		c.weight = mdl_sched_weight(e);
	else if (by & MDL_SCHED_BY_SHARE)
		c.weight = bandwidth(t, e);
	else if (by & MDL_SCHED_BY_QUANTUM)
		c.weight = (double)mdl_sched_quantum(e, mdl_sched_params_of(s)->quantum_ns);
	/* No part of its own: what others leave, which is next to nothing while one of them works. */
	if (c.weight <= 0)
		c.weight = 1e-9;
	if (by & MDL_SCHED_BY_CAP && p->cap_percent)
		c.high = p->cap_percent / 100.0;
	if (by & MDL_SCHED_BY_RESERVATION)
		c.low = clamp(p->reservation_percent / 100.0, 0, c.high);
	return c;
}

/* Parts that belong to somebody, at work or not, so that none of the others' work matters. */
static void entitle_fixed(struct mdl_sched *s, const struct totals *t)
{
	bool shares = mdl_sched_policy_of(s)->divides & MDL_SCHED_BY_SHARE;
	double total = shares && !t->unnamed ? 100.0 - t->shared : 0;
	struct mdl_sched_entity *e = NULL;

	for (int pass = 0; pass < 2; pass++) {
		while ((e = mdl_sched_next_entity(s, e))) {
			double part = shares ? bandwidth(t, e) : 1;

			/* Skipped for want of work: then its part is the others'. */
			if (shares && !e->awake && e->params.priority == MDL_SCHED_LOW)
				part = 0;
			if (!pass)
				total += part;
			else
				e->entitlement = e->awake && total > 0 ? part / total : 0;
		}
	}
}

void mdl_sched_entitle(struct mdl_sched *s)
{
	struct totals t = add_up(s);
	struct mdl_sched_entity *e = NULL;
	double sum = 0, a = 0, b = 0;

	if (mdl_sched_policy_of(s)->divides & MDL_SCHED_BY_SLOTS) {
		entitle_fixed(s, &t);
		return;
	}
	while ((e = mdl_sched_next_entity(s, e))) {
		struct claim c = claim_of(s, &t, e);

		sum += c.high;
		b = c.high / c.weight > b ? c.high / c.weight : b;
	}
	for (int round = 0; sum > 1 && round < ROUNDS; round++) {
		double level = (a + b) / 2, given = 0;

		while ((e = mdl_sched_next_entity(s, e))) {
			struct claim c = claim_of(s, &t, e);

			given += clamp(level * c.weight, c.low, c.high);
		}
		*(given > 1 ? &b : &a) = level;
	}
	while ((e = mdl_sched_next_entity(s, e))) {
		struct claim c = claim_of(s, &t, e);

		e->entitlement = sum > 1 ? clamp(b * c.weight, c.low, c.high) : c.high;
	}
}

double mdl_sched_entitlement(struct mdl_sched *s, const struct mdl_sched_entity *e)
{
	mdl_sched_entitle(s);
	return e->entitlement;
}
