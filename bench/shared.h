/* SPDX-License-Identifier: MIT */
/*
 * The measurements of one GPU that many guests share. Each runs in a process of its own that ends with everything it started; each
 * returns its figures as a JSON object, with "method", how they were derived, or NULL with a line on standard error.
 */
#ifndef MDL_BENCH_SHARED_H
#define MDL_BENCH_SHARED_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARED_POLICIES 16

struct shared_options {
	const char *bin, *dir; /* build folder, temporary folder */
	double seconds; /* of each measurement; 0: its own default */
	const char *policy[SHARED_POLICIES]; /* fairness: none: all */
	unsigned int policies;
	unsigned int vgpus; /* at most; 0: no limit */
};

/* Whether --policy may name it. */
bool fairness_knows(const char *policy);
json_t *fairness_run(const struct shared_options *o);
json_t *preempt_run(const struct shared_options *o);
json_t *overhead_run(const struct shared_options *o);
json_t *latency_run(const struct shared_options *o);
json_t *watchdog_run(const struct shared_options *o);

/* Readable tables of what the above return. */
void fairness_print(const json_t *figures);
void shared_print(const json_t *figures);

/* ---- common to them ---- */
double shared_median(double *value, size_t n); /* sorts; 0 of none */
double shared_quantile(double *value, size_t n, double q); /* sorts */
/* Rounded to a thousandth of a percent: figures, not noise. */
json_t *shared_number(double value);
/* As PREFIX_SUFFIX, likewise. */
void shared_add(json_t *out, const char *prefix, const char *suffix, double value);

#endif
