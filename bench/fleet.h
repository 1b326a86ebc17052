/* SPDX-License-Identifier: MIT */
/*
 * Many guests on one GPU: medleyd, and for each vGPU a VM (medley-vm; without KVM a process) with the load generator in it. All are
 * started once; what they do, their parameters and the policy change while they run. Functions that return bool write a line to
 * standard error and return false when they fail; the caller then gives up, and everything ends with the process.
 */
#ifndef MDL_BENCH_FLEET_H
#define MDL_BENCH_FLEET_H

#include <stdbool.h>
#include <stdint.h>

#include "api.h"
#include "load.h"
#include "shares.h"
#include "stack.h"

#define FLEET_MAX    80
#define FLEET_FAULTS 256

struct fleet_fault { /* see "fault" in load.h */
	uint64_t told_ns, launched_ns, back_ns;
	unsigned int error;
};

struct fleet_guest {
	char uuid[40];
	pid_t pid;
	int in, out; /* its standard input and output */
	char text[LOAD_LATENCIES * 12 + LOAD_LINE]; /* read, not yet used */
	size_t used;
	struct fleet_fault fault[FLEET_FAULTS];
	unsigned int faults;
	/* What medleyd's trace says it is, up to the last fleet_trace(). */
	bool awake, awake_before;
};

struct fleet_count { /* work done so far */
	uint64_t at_ns, chunks, kernels, faults;
};

struct fleet_turn { /* of the trace */
	struct shares_record record;
	uint64_t asked_ns; /* 0: not asked to give back */
	bool preempted;
	bool stopped; /* no turn: what it got after one, until it stood still */
};

struct fleet {
	struct stack stack;
	struct api api;
	struct fleet_guest *guest[FLEET_MAX];
	unsigned int guests;
	unsigned int units;
	int gpu_cpu; /* one that is the GPU and nothing else; -1: there is none */
	uint32_t iters; /* of one chunk: calibrated with the first guest */
	double chunk_ns; /* what it then measured */

	struct fleet_turn *turn; /* of the last fleet_trace() */
	size_t turns, turn_room;
	uint64_t trace_next;
	uint64_t thinned; /* events of demand that medleyd has left out so far */
};

/*
 * medleyd with so many executors kept ready, without guests. Half of the CPUs are the GPU, the others
 * drive it: a GPU does not compete with its guests for CPUs, and where it did, the figures would be
 * those of the host's CPU scheduler. With a single CPU they do.
 */
bool fleet_start(struct fleet *f, const char *bin, const char *dir, const char *pool);
/* Guests until there are n; attached: they open their device and a context, and do no work. */
bool fleet_grow(struct fleet *f, unsigned int n, bool attached);
/* Ends the guests from number n on, and removes their vGPUs. */
bool fleet_shrink(struct fleet *f, unsigned int n);
/* Everything. */
void fleet_stop(struct fleet *f);

/* A command to one guest, or to all; returns when it has been obeyed. */
bool __attribute__((format(printf, 3, 4)))
fleet_tell(struct fleet *f, unsigned int i, const char *fmt, ...);
/* Commands to several guests at once: send all, then wait for each. */
bool __attribute__((format(printf, 3, 4)))
fleet_send(struct fleet *f, unsigned int i, const char *fmt, ...);
/* The next line that is no fault's. */
bool fleet_reply(struct fleet *f, unsigned int i, char *line, size_t bytes);
bool fleet_wait_ok(struct fleet *f, unsigned int i);
/* All guests rest. */
bool fleet_idle(struct fleet *f);
/* What a kernel of so many chunks in each work-group takes, in ns; 0: failed. */
uint64_t fleet_calibrate(struct fleet *f, unsigned int i, uint64_t chunks);
/* The work that guests [0, n) have done. */
bool fleet_count(struct fleet *f, unsigned int n, struct fleet_count *ret_count);
/* The waker's latencies since the last time; *ret_n of room. */
bool fleet_latencies(struct fleet *f, unsigned int i, uint64_t *ret_ns, unsigned int room,
		     unsigned int *ret_n);
/* Takes in what a guest says unasked (faults), for so long. */
void fleet_listen(struct fleet *f, unsigned int i, uint64_t ns);

/* GPU time in seconds that so many chunks stand for. */
double fleet_work_s(const struct fleet *f, uint64_t chunks);

bool fleet_set_policy(struct fleet *f, const char *policy, bool nonpreemptive);
/* Weights of guests [0, n); those policies that know shares get the corresponding ones. */
bool fleet_set_weights(struct fleet *f, const double *weight, unsigned int n);
/* params: of `set`, without the vGPU; taken over. */
bool fleet_set(struct fleet *f, unsigned int i, json_t *params);

/*
 * Replaces f->turn with what the trace has had since the last call. False also when the ring was too short and something is
 * missing.
 */
bool fleet_trace(struct fleet *f);

void fleet_sleep_ns(uint64_t ns);

#endif
