/* SPDX-License-Identifier: MIT */
/*
 * The native side of each measurement: the same kernels through the host's OpenCL with as many threads as the vGPU has compute units, and
 * plain memory copies. Calls give nanoseconds.
 */
#ifndef MDL_BENCH_NATIVE_H
#define MDL_BENCH_NATIVE_H

#include <stdint.h>

struct native;

/* threads: compute units of the vGPU. cache_dir: for the OpenCL runtime's files. NULL and a line on standard error if it cannot. */
struct native *native_create(unsigned int threads, const char *cache_dir);
void native_destroy(struct native *n);

/*
 * Takes the turn that stands beside the guest's repetition of `key`: writes up to BENCH_SAMPLES_MAX times into sample and returns
 * their number; 0: nothing native stands beside it.
 */
unsigned int native_turn(struct native *n, const char *key, uint64_t *sample);

#endif
