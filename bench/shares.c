/* SPDX-License-Identifier: MIT */
/* See shares.h. */
#include "shares.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* A part of less than a thousandth is nothing to compare a share with. */
#define PART_MIN 0.001

const uint64_t shares_window_ns[SHARES_WINDOWS] = { 10000000, 100000000, 500000000, 1000000000 };

struct slot {
	double ran[SHARES_VGPUS], want[SHARES_VGPUS], part[SHARES_VGPUS];
};

void shares_divide(unsigned int n, const double *weight, const double *want, double total,
		   double *ret_part)
{
	bool full[SHARES_VGPUS] = { false }, again = true;

	for (unsigned int i = 0; i < n; i++)
		ret_part[i] = 0;
	/* Each round somebody has all that he wants, or all is given away. */
	while (again) {
		double sum = 0, left = total;

		again = false;
		for (unsigned int i = 0; i < n; i++) {
			sum += full[i] ? 0 : weight[i];
			left -= full[i] ? want[i] : 0;
		}
		for (unsigned int i = 0; i < n; i++) {
			if (full[i])
				continue;
			ret_part[i] = left * weight[i] / sum;
			if (ret_part[i] >= want[i]) {
				ret_part[i] = want[i];
				full[i] = again = true;
			}
		}
	}
}

enum field {
	RAN,
	WANT
};

/* [from, to) of one vGPU, cut at the slots' ends, each nanosecond counting as much as `each`. */
static void spread(const struct shares_input *in, struct slot *slot, size_t slots, unsigned int v,
		   enum field field, uint64_t from, uint64_t to, double each)
{
	from = mdl_max_u64(from, in->from_ns);
	to = mdl_min_u64(to, in->from_ns + slots * SHARES_SLOT_NS);
	while (from < to) {
		size_t i = (from - in->from_ns) / SHARES_SLOT_NS;
		uint64_t end = mdl_min_u64(to, in->from_ns + (i + 1) * SHARES_SLOT_NS);

		*(field == RAN ? &slot[i].ran[v] : &slot[i].want[v]) += each * (double)(end - from);
		from = end;
	}
}

static void fill(const struct shares_input *in, struct slot *slot, size_t slots)
{
	uint64_t since[SHARES_VGPUS] = { 0 };
	bool awake[SHARES_VGPUS];

	memcpy(awake, in->awake, sizeof(awake));
	for (size_t i = 0; i < in->records; i++) {
		const struct shares_record *r = &in->record[i];
		unsigned int v = r->vgpu;

		if (r->kind == SHARES_RUN && r->end_ns <= r->start_ns)
			continue;
		if (r->kind == SHARES_RUN) {
			spread(in, slot, slots, v, RAN, r->start_ns, r->end_ns,
			       (double)r->used_ns / (double)(r->end_ns - r->start_ns));
			continue;
		}
		if (awake[v] && r->kind == SHARES_SLEEP && !in->always[v])
			spread(in, slot, slots, v, WANT, since[v], r->start_ns, 1);
		if (!awake[v])
			since[v] = r->start_ns;
		awake[v] = r->kind == SHARES_WAKE;
	}
	for (unsigned int v = 0; v < in->vgpus; v++)
		if (in->always[v] || awake[v])
			spread(in, slot, slots, v, WANT, in->always[v] ? 0 : since[v], UINT64_MAX,
			       1);
	for (size_t i = 0; i < slots; i++)
		shares_divide(in->vgpus, in->weight, slot[i].want, (double)SHARES_SLOT_NS,
			      slot[i].part);
}

struct sums {
	double ran[SHARES_VGPUS], part[SHARES_VGPUS], all_ran, all_part;
};

static void add(const struct shares_input *in, const struct slot *slot, size_t slots,
		struct sums *s)
{
	*s = (struct sums) { 0 };
	for (size_t i = 0; i < slots; i++) {
		for (unsigned int v = 0; v < in->vgpus; v++) {
			s->ran[v] += slot[i].ran[v];
			s->part[v] += slot[i].part[v];
			s->all_ran += slot[i].ran[v];
			s->all_part += slot[i].part[v];
		}
	}
}

static void note(const struct shares_input *in, const struct sums *s, struct shares_window *w)
{
	double ratios = 0, squares = 0;
	unsigned int n = 0;

	/* Nobody ran or nobody wanted to: there are no shares. */
	if (s->all_ran <= 0 || s->all_part <= 0)
		return;
	for (unsigned int v = 0; v < in->vgpus; v++) {
		double share = s->ran[v] / s->all_ran, part = s->part[v] / s->all_part,
		       error = fabs(share - part);

		w->error_max = fmax(w->error_max, error);
		w->error_mean += error;
		if (part > PART_MIN) {
			n++;
			ratios += share / part;
			squares += share / part * (share / part);
		}
	}
	if (n && squares > 0) {
		double jain = ratios * ratios / (n * squares);

		w->jain_mean += jain;
		w->jain_min = fmin(w->jain_min, jain);
	} else {
		w->jain_min = 0;
	}
	w->windows++;
}

int shares_compute(const struct shares_input *in, struct shares_result *ret_result)
{
	size_t slots = in->to_ns > in->from_ns ? (in->to_ns - in->from_ns) / SHARES_SLOT_NS : 0;
	struct shares_result r = { 0 };
	struct slot *slot;
	struct sums s;

	if (!slots || !in->vgpus || in->vgpus > SHARES_VGPUS)
		return -EINVAL;
	for (unsigned int v = 0; v < in->vgpus; v++)
		if (!(in->weight[v] > 0))
			return -EINVAL;
	for (size_t i = 0; i < in->records; i++)
		if (in->record[i].vgpu >= in->vgpus)
			return -EINVAL;
	slot = calloc(slots, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	fill(in, slot, slots);
	for (unsigned int k = 0; k < SHARES_WINDOWS; k++) {
		struct shares_window *w = &r.window[k];
		size_t each = shares_window_ns[k] / SHARES_SLOT_NS;

		w->jain_min = 1;
		for (size_t i = 0; i + each <= slots; i += each) {
			add(in, slot + i, each, &s);
			note(in, &s, w);
		}
		w->error_mean = w->windows ? w->error_mean / (w->windows * in->vgpus) : 0;
		w->jain_mean = w->windows ? w->jain_mean / w->windows : 0;
	}
	add(in, slot, slots, &s);
	for (unsigned int v = 0; v < in->vgpus; v++) {
		r.ran_ns[v] = s.ran[v];
		r.share[v] = s.all_ran > 0 ? s.ran[v] / s.all_ran : 0;
		r.entitlement[v] = s.all_part > 0 ? s.part[v] / s.all_part : 0;
	}
	r.utilisation = s.all_ran / (double)(slots * SHARES_SLOT_NS);
	free(slot);
	*ret_result = r;
	return 0;
}
