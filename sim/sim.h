/* SPDX-License-Identifier: MIT */
/*
 * The simulator: lib/sched, unchanged, under virtual time, with many vGPUs on many pGPUs. Each pGPU
 * has a scheduler of its own; placement is done once, at the start. Everything follows from the
 * options and the seed: no clock, no threads, no floating point in decisions.
 *
 * Left out: memory, copies, host CPUs. A kernel is a length; a guest is what it does between two.
 */
#ifndef MDL_SIM_SIM_H
#define MDL_SIM_SIM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/util.h"
#include "sched/sched.h"

#define SIM_NEVER	  UINT64_MAX
#define SIM_ENDLESS	  (UINT64_MAX / 4)
#define SIM_PENDING	  64 /* requests that an open guest may have waiting; more are dropped */
#define SIM_WINDOWS	  4
#define SIM_CHOICES	  8
/* For lengths and times other than medley's parameters, and as they are told to people. */
#define SIM_TIME_MAX_NS	  (1000 * MDL_NS_PER_S)
#define SIM_TIME_MAX	  "1000s"
#define SIM_QUANTUM_RANGE "50us to 10s" /* QUANTUM_MIN_NS to MDL_SCHED_QUANTUM_MAX_NS */
#define SIM_GRACE_RANGE	  "0 to 10s" /* to GRACE_MAX_NS */

/* ---- workload.c: lengths, and what guests do ---- */
enum sim_shape {
	SIM_FIXED,
	SIM_UNIFORM,
	SIM_EXP
};

struct sim_length { /* one of `choices`, each as likely, then shaped */
	enum sim_shape shape;
	uint32_t choices;
	uint64_t ns[SIM_CHOICES];
};

enum sim_kind {
	SIM_LOOP, /* a kernel, then thinks (or not), and again */
	SIM_WAKER, /* `count` kernels every so often, whether the last are done or not */
	SIM_SLEEPER, /* works without pause for `run`, then sleeps */
	SIM_ENDLESS_KERNEL, /* one kernel that never ends, and never gives back */
	SIM_REPLAY, /* as recorded */
};

/* Sub-buckets of a power of two: values are exact to 3 percent. */
#define SIM_HIST_SUB 32
struct sim_hist {
	uint64_t count, max;
	uint64_t bucket[64 * SIM_HIST_SUB];
};

struct sim_group { /* vGPUs of one --vgpu option */
	char *spec;
	enum sim_kind kind;
	uint32_t count; /* vGPUs */
	struct sim_length kernel, think, every, run, sleep;
	uint32_t batch;
	uint32_t disobeys; /* 0 or 1 */
	bool explicit_share;
	struct mdl_sched_entity_params params;
	/* results */
	struct sim_hist latency;
	uint64_t dropped;
};

/* "[COUNTx]KIND[:key=value,...]"; what is wrong goes to stderr. -EINVAL, -ENOMEM. */
int sim_group_parse(const char *spec, struct sim_group *ret_group);
/* "250us", "1.5ms", "2s": up to SIM_TIME_MAX_NS. */
bool sim_time_parse(const char *text, uint64_t *ret_ns);
uint64_t sim_draw(const struct sim_length *length, uint64_t *rng);
uint64_t sim_random(uint64_t *rng);

/* ---- queue.c: who is next ---- */
/* Items are numbers below `items`, each with one time. */
struct sim_queue {
	uint32_t items, count;
	uint32_t *heap, *where;
	uint64_t *time;
};

int sim_queue_init(struct sim_queue *q, uint32_t items);
void sim_queue_fini(struct sim_queue *q);
/* SIM_NEVER takes it out. */
void sim_queue_set(struct sim_queue *q, uint32_t item, uint64_t time);
/* False: empty. Equal times come out by number. */
bool sim_queue_first(const struct sim_queue *q, uint32_t *ret_item, uint64_t *ret_time);

/* ---- engine.c ---- */
struct sim_gpu;
struct sim_replay;

struct sim_vgpu {
	struct mdl_sched_entity entity;
	struct sim_group *group;
	struct sim_gpu *gpu;
	struct sim_vgpu *gpu_next;
	uint32_t number;
	const struct sim_replay *replay; /* or NULL */
	size_t item; /* of replay: the next, modulo their number */
	uint64_t item_at; /* when it comes */
	uint64_t rng;
	uint64_t left; /* of the present kernel; 0: none */
	uint64_t since; /* when the present kernel was submitted */
	uint64_t ran; /* its GPU time so far */
	uint64_t phase_end;
	uint64_t *pending; /* arrival times, a ring of SIM_PENDING */
	uint32_t pending_first, pending_count;
	uint64_t next; /* its own next event */
	/* results */
	uint64_t used, awake_ns, awake_since; /* SIM_NEVER: asleep */
	uint64_t offered; /* work that has come, of guests whose demand is known */
	uint64_t kernels;
	double entitled; /* nanoseconds, up to the last 10 ms */
	uint64_t awake_at; /* awake_ns at the last 10 ms */
	struct {
		uint64_t used;
		double entitled;
	} at_window[SIM_WINDOWS];
	double error_max, error_sum, entitled_sum; /* of the longest window */
	uint64_t windows;
};

struct sim_gpu {
	struct sim *sim;
	struct mdl_sched *sched;
	struct sim_vgpu *vgpus, **last;
	uint32_t number, count;
	uint32_t reserved; /* percent */
	uint64_t weight;
	struct sim_vgpu *runs; /* holder that has work */
	uint64_t started; /* its kernel goes on since, or will from then on */
	bool asked;
	uint64_t stop_at; /* the stop takes effect, or it gives back */
	uint64_t idle_at; /* the holder has no more work, and tells then */
	uint64_t switches, stops;
};

struct sim_window { /* measure.c */
	uint64_t length, next;
	uint64_t count; /* vGPU windows */
	double error_max, error_sum;
	uint64_t jain_count;
	double jain_min, jain_sum;
};

struct sim {
	const struct mdl_sched_policy *policy;
	struct mdl_sched_params params;
	uint64_t seed, end_ns, warmup_ns;
	uint64_t switch_ns; /* from grant to the first instruction */
	uint64_t stop_ns; /* from a stop to its effect */
	uint32_t per_gpu; /* vGPUs that fit one pGPU */
	bool pack;
	uint32_t gpus, vgpus, groups;
	struct sim_gpu *gpu;
	struct sim_vgpu *vgpu;
	struct sim_group *group;
	struct sim_queue queue;
	uint64_t now, events;
	struct sim_window window[SIM_WINDOWS];
	json_t *timeline; /* or NULL */
	const struct sim_trace *trace; /* or NULL */
	const struct sim_change *change, *change_end; /* of the trace: those to come */
	bool switch_given, stop_given; /* not as the trace says */
	/* scratch of measure.c */
	double *low, *high, *part;
	uint32_t *weight;
};

/* Places the groups' vGPUs and runs. -ENOSPC they do not fit; -ENOMEM. */
int sim_run(struct sim *s);
void sim_fini(struct sim *s);
uint64_t sim_used(const struct sim_vgpu *v);
uint64_t sim_awake(const struct sim_vgpu *v);
/* Whether sim_vgpu.offered says what it can use; others always have more. */
bool sim_knows_demand(const struct sim_group *group);

/* ---- measure.c ---- */
int sim_measure_init(struct sim *s);
void sim_measure_fini(struct sim *s);
uint64_t sim_measure_next(const struct sim *s);
/* Closes the windows that end now. */
void sim_measure(struct sim *s);
void sim_hist_add(struct sim_hist *h, uint64_t value);
uint64_t sim_hist_percentile(const struct sim_hist *h, double p);

/* ---- replay.c ---- */
struct sim_item {
	uint64_t think; /* after the one before */
	uint64_t work;
};

struct sim_replay { /* a recorded vGPU */
	char *uuid, *name;
	uint32_t gpu;
	struct mdl_sched_entity_params params; /* at the beginning */
	uint64_t recorded_ns; /* GPU time used */
	struct sim_item *item;
	size_t items, room;
	uint64_t tail_ns; /* thought after the last one */
	/* Averages: see replay.c. */
	uint64_t switch_ns, late_ns, rest_ns, yield_ns, stop_ns, lost_ns, overrun_ns;
	double stopped_part; /* of the times that it was asked */
};

struct sim_change {
	uint64_t at;
	uint32_t vgpu;
	struct mdl_sched_entity_params params;
};

struct sim_recorded_gpu {
	char *name;
	const struct mdl_sched_policy *policy;
	struct mdl_sched_params params;
	/* While it is read. */
	uint64_t last_end;
};

struct sim_trace {
	uint64_t length_ns;
	uint32_t vgpus, gpus;
	struct sim_replay *vgpu;
	struct sim_recorded_gpu *gpu;
	struct sim_change *change;
	size_t changes;
};

/* A recorded trace. -EINVAL with a line on stderr. */
int sim_trace_read(FILE *file, struct sim_trace *ret_trace);
void sim_trace_fini(struct sim_trace *t);

#endif
