/* SPDX-License-Identifier: MIT */
/*
 * Who uses the machine's CPUs: Medley and its guests (this process and all that descends from it), everybody else, and the host of a
 * virtual machine, which takes CPUs away (steal time). Linux's /proc; what ends or begins in between is not seen.
 */
#ifndef MDL_BENCH_CPU_USE_H
#define MDL_BENCH_CPU_USE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CPU_USE_MAX 1024

struct cpu_process {
	pid_t pid;
	uint64_t ns; /* CPU time of all its threads */
};

struct cpu_use {
	uint64_t at_ns;
	struct cpu_process process[CPU_USE_MAX]; /* ours */
	size_t processes;
	uint64_t busy_ns, stolen_ns; /* of all CPUs, in ticks of 10 ms */
};

/* False, and a line on standard error: not to be told here. */
bool cpu_use_read(struct cpu_use *ret);
/* In CPUs, of the time from a to b: */
double cpu_use_of(const struct cpu_use *a, const struct cpu_use *b, pid_t pid);
/* of the one of ours that used most, whose pid is returned (-1: none used any): */
pid_t cpu_use_busiest(const struct cpu_use *a, const struct cpu_use *b, double *ret_cpus);
/* of ours that are not in `old`: */
double cpu_use_of_new(const struct cpu_use *old, const struct cpu_use *a, const struct cpu_use *b);
/* of everybody but ours: */
double cpu_use_of_others(const struct cpu_use *a, const struct cpu_use *b);
double cpu_use_stolen(const struct cpu_use *a, const struct cpu_use *b);

#endif
