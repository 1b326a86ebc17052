/* SPDX-License-Identifier: MIT */
/*
 * Shares of a GPU and what they should have been, from a trace: who ran when, and who wanted the GPU when. Pure functions.
 *
 * Time is cut into slots of 10 ms. In each, the GPU's time is divided by weight among those that wanted it: nobody gets more than the
 * time in which he wanted it, and what he does not need goes to the others, by weight again. The entitlement of a longer
 * window is the sum over its slots. So it is defined in medley-sim, for guests that are always busy or always asleep.
 *
 * A share is a vGPU's GPU time in a window, divided by the GPU time of all in that window, an entitlement is divided likewise by the
 * sum of all entitlements, and the error is the difference. Time in which nobody ran is therefore not an error; it
 * is the utilisation, told apart. Jain's index is of the ratios share to entitlement.
 */
#ifndef MDL_BENCH_SHARES_H
#define MDL_BENCH_SHARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARES_SLOT_NS 10000000ull
#define SHARES_WINDOWS 4
#define SHARES_VGPUS   64

extern const uint64_t
	shares_window_ns[SHARES_WINDOWS]; /* 10, 100, 500 ms, 1 s: multiples of the slot */

enum shares_kind {
	SHARES_RUN,
	SHARES_WAKE,
	SHARES_SLEEP
};

struct shares_record {
	enum shares_kind kind;
	unsigned int vgpu;
	uint64_t start_ns, end_ns; /* the same for WAKE and SLEEP */
	uint64_t used_ns; /* RUN: GPU time, taken as spread evenly */
};

struct shares_input {
	const struct shares_record *record; /* events of one vGPU in order of time */
	size_t records;
	unsigned int vgpus; /* up to SHARES_VGPUS */
	double weight[SHARES_VGPUS]; /* above 0 */
	bool always[SHARES_VGPUS]; /* wants the GPU all the time, whatever the events say */
	bool awake[SHARES_VGPUS]; /* before the first event */
	uint64_t from_ns, to_ns; /* what is left over after the last whole window does not count */
};

struct shares_window {
	unsigned int windows; /* that had anything in them */
	double error_max, error_mean; /* over windows and vGPUs */
	double jain_mean, jain_min;
};

struct shares_result {
	struct shares_window window[SHARES_WINDOWS];
	double share[SHARES_VGPUS], entitlement[SHARES_VGPUS]; /* of all the time */
	double ran_ns[SHARES_VGPUS];
	double utilisation;
};

/* 0, -EINVAL, -ENOMEM. */
int shares_compute(const struct shares_input *in, struct shares_result *ret_result);
/*
 * Divides total by weight among n, of which nobody gets more than want: all of it if the wants add up to that much, or else what
 * they want.
 */
void shares_divide(unsigned int n, const double *weight, const double *want, double total,
		   double *ret_part);

#endif
