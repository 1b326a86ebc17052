/* SPDX-License-Identifier: MIT */
/*
 * What came of it: in each window of 10, 100, 500 ms and 1 s, every vGPU's share of its GPU and
 * what it was entitled to. That is what it would have had if the GPU could be divided infinitely:
 * every 10 ms the time is divided by weight among those that have work, where nobody gets more than
 * it can use or than its cap, and nobody less than its reservation as far as it can use that. Who
 * has one kernel after the other can use the time in which it was awake; of others it is known what
 * work has come, and what is left of it in the divided GPU is what they can use. The error is the
 * difference, as a fraction of the GPU, so time lost in switching counts as error, too. Jain's
 * index is of the ratios share to entitlement.
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

/* Divides the last 10 ms. */
static void divide(struct sim *s, struct sim_gpu *g)
{
	double length = (double)s->window[0].length;
	uint32_t n = 0;

	for (struct sim_vgpu *v = g->vgpus; v; v = v->gpu_next, n++) {
		const struct mdl_sched_entity_params *p = &v->entity.params;
		double want = (double)(sim_awake(v) - v->awake_at);

		if (sim_knows_demand(v->group))
			want = clamp((double)v->offered - v->entitled, 0, length);
		v->awake_at = sim_awake(v);
		s->weight[n] = mdl_sched_weight(&v->entity);
		s->high[n] = p->cap_percent ? fmin(want, length * p->cap_percent / 100) : want;
		s->low[n] = fmin(s->high[n], length * p->reservation_percent / 100);
	}
	mdl_sched_divide(n, s->weight, s->low, s->high, length, s->part);
	n = 0;
	for (struct sim_vgpu *v = g->vgpus; v; v = v->gpu_next, n++)
		v->entitled += s->part[n];
}

static void close_window(struct sim *s, int w, struct sim_gpu *g)
{
	struct sim_window *win = &s->window[w];
	double length = (double)win->length, ratios = 0, squares = 0;
	bool counts = s->now > s->warmup_ns;
	uint32_t entitled = 0;

	for (struct sim_vgpu *v = g->vgpus; v; v = v->gpu_next) {
		double share = (double)(sim_used(v) - v->at_window[w].used) / length;
		double part = (v->entitled - v->at_window[w].entitled) / length;

		if (counts)
			note(s, w, v, share, part);
		/* Less than a thousandth is nothing to compare. */
		if (counts && part > 0.001) {
			entitled++;
			ratios += share / part;
			squares += share / part * (share / part);
		}
		v->at_window[w].used = sim_used(v);
		v->at_window[w].entitled = v->entitled;
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
	/* The shortest is a part of each other. */
	for (uint32_t i = 0; i < s->gpus; i++)
		divide(s, &s->gpu[i]);
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
