/* SPDX-License-Identifier: MIT */
/*
 * What came of it: in each window of 10, 100, 500 ms and 1 s, every vGPU's share of its GPU and
 * what it was entitled to. That is the division of the whole window by weight, where nobody gets
 * more than it could have used (the time in which it had work; where it is known what work came,
 * that) or than its cap, and nobody less than its reservation as far as it could use that: the
 * result of dividing the GPU infinitely. The error is the difference, as a fraction of the GPU, so
 * time lost in switching counts as error, too. Jain's index is of the ratios share to entitlement.
 */
#include "sim.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static const uint64_t lengths[SIM_WINDOWS] = { 10 * MDL_NS_PER_MS, 100 * MDL_NS_PER_MS,
					       500 * MDL_NS_PER_MS, MDL_NS_PER_S };

int sim_measure_init(struct sim *s)
{
	for (int i = 0; i < SIM_WINDOWS; i++)
		s->window[i] = (struct sim_window) { .length = lengths[i],
						     .next = lengths[i],
						     .jain_min = 1 };
	s->low = calloc(s->vgpus, sizeof(double));
	s->high = calloc(s->vgpus, sizeof(double));
	s->part = calloc(s->vgpus, sizeof(double));
	s->weight = calloc(s->vgpus, sizeof(uint32_t));
	return s->low && s->high && s->part && s->weight ? 0 : -ENOMEM;
}

void sim_measure_fini(struct sim *s)
{
	free(s->low);
	free(s->high);
	free(s->part);
	free(s->weight);
	s->low = s->high = s->part = NULL;
	s->weight = NULL;
}

static double clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

void sim_entitle(uint32_t n, const uint32_t *weight, const double *low, const double *high,
		 double total, double *part)
{
	double sum = 0, a = 0, b = 0;

	for (uint32_t i = 0; i < n; i++) {
		sum += high[i];
		b = fmax(b, high[i] / weight[i]);
	}
	/* The level at which the GPU is just given away: parts grow with it. */
	for (int round = 0; sum > total && round < 60; round++) {
		double level = (a + b) / 2, given = 0;

		for (uint32_t i = 0; i < n; i++)
			given += clamp(level * weight[i], low[i], high[i]);
		*(given > total ? &b : &a) = level;
	}
	for (uint32_t i = 0; i < n; i++)
		part[i] = sum > total ? clamp(b * weight[i], low[i], high[i]) : high[i];
}

/* Work that has come and is not done; only of guests whose work is known in advance. */
static uint64_t backlog(const struct sim_vgpu *v)
{
	return v->offered - mdl_min_u64(v->offered, sim_used(v));
}

static void note(struct sim *s, int w, struct sim_vgpu *v, double share, double part)
{
	struct sim_window *win = &s->window[w];
	double error = fabs(share - part);

	win->count++;
	win->error_sum += error;
	win->error_max = fmax(win->error_max, error);
	if (w == SIM_WINDOWS - 1) {
		v->error_max = fmax(v->error_max, error);
		v->error_sum += error;
		v->entitled_sum += part;
		v->windows++;
	}
	if (w == 1 && s->timeline)
		json_array_append_new(s->timeline, json_pack("[f, I, f, f]", (double)s->now / 1e9,
							     (json_int_t)v->number, share, part));
}

static void close_window(struct sim *s, int w, struct sim_gpu *g)
{
	struct sim_window *win = &s->window[w];
	double length = (double)win->length, ratios = 0, squares = 0;
	uint32_t n = 0, entitled = 0, *weight = s->weight;
	bool counts = s->now > s->warmup_ns;

	for (struct sim_vgpu *v = g->vgpus; v; v = v->gpu_next, n++) {
		const struct mdl_sched_entity_params *p = &v->entity.params;
		double want = (double)(sim_awake(v) - v->at_window[w].awake);

		if (v->group->kind == SIM_WAKER || v->group->kind == SIM_REPLAY)
			want = fmin(want, (double)(v->at_window[w].backlog + v->offered -
						   v->at_window[w].offered));
		weight[n] = mdl_sched_weight(&v->entity);
		s->high[n] = p->cap_percent ? fmin(want, length * p->cap_percent / 100) : want;
		s->low[n] = fmin(s->high[n], length * p->reservation_percent / 100);
	}
	sim_entitle(n, weight, s->low, s->high, length, s->part);
	n = 0;
	for (struct sim_vgpu *v = g->vgpus; v; v = v->gpu_next, n++) {
		double share = (double)(sim_used(v) - v->at_window[w].used) / length;

		if (counts)
			note(s, w, v, share, s->part[n] / length);
		if (counts && s->part[n] > 0) {
			double ratio = share * length / s->part[n];

			entitled++;
			ratios += ratio;
			squares += ratio * ratio;
		}
		v->at_window[w].used = sim_used(v);
		v->at_window[w].awake = sim_awake(v);
		v->at_window[w].backlog = backlog(v);
		v->at_window[w].offered = v->offered;
	}
	if (entitled && squares > 0) {
		double jain = ratios * ratios / (entitled * squares);

		win->jain_count++;
		win->jain_sum += jain;
		win->jain_min = fmin(win->jain_min, jain);
	}
}

uint64_t sim_measure_next(const struct sim *s)
{
	uint64_t next = SIM_NEVER;

	for (int w = 0; w < SIM_WINDOWS; w++)
		next = mdl_min_u64(next, s->window[w].next);
	return next;
}

void sim_measure(struct sim *s)
{
	for (int w = 0; w < SIM_WINDOWS; w++) {
		if (s->window[w].next != s->now)
			continue;
		for (uint32_t i = 0; i < s->gpus; i++)
			close_window(s, w, &s->gpu[i]);
		s->window[w].next += s->window[w].length;
	}
}

void sim_hist_add(struct sim_hist *h, uint64_t value)
{
	uint32_t shift = 0;

	while (value >> shift >= 2 * SIM_HIST_SUB)
		shift++;
	h->bucket[shift * SIM_HIST_SUB + (value >> shift)]++;
	h->count++;
	h->max = mdl_max_u64(h->max, value);
}

uint64_t sim_hist_percentile(const struct sim_hist *h, double p)
{
	uint64_t want = (uint64_t)ceil((double)h->count * p / 100), seen = 0;

	for (uint32_t i = 0; i < MDL_ARRAY_SIZE(h->bucket); i++) {
		uint32_t shift = i < 2 * SIM_HIST_SUB ? 0 : i / SIM_HIST_SUB - 1;
		uint64_t top = ((uint64_t)(i - shift * SIM_HIST_SUB + 1) << shift) - 1;

		seen += h->bucket[i];
		if (seen && seen >= want)
			return mdl_min_u64(top, h->max);
	}
	return 0;
}
