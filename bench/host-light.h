/* SPDX-License-Identifier: MIT */
/*
 * The light guest's work on the host itself, without Medley: what a task with 1 ms of work now and then sees on this machine alone and
 * beside one that never ends, if the kernel's own scheduler is told to prefer it. A thread of real-time priority on one of the GPU's
 * CPUs does the work; another, on the guests' CPUs, hands it over and waits for it, as a guest does; the heavy one is a thread of
 * ordinary priority on the CPU of the first. What a guest sees beyond that is Medley's; what is seen here is the machine's.
 */
#ifndef MDL_BENCH_HOST_LIGHT_H
#define MDL_BENCH_HOST_LIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_light;

/* work_ns: of one piece, calibrated now. NULL and a line on standard error where that cannot be measured. */
struct host_light *host_light_start(int cpu, uint64_t work_ns);
/*
 * A piece of work every period_ns for so long. From handing it over to knowing that it is done, in ns; returns how many there were, at
 * most room.
 */
size_t host_light_measure(struct host_light *h, bool heavy, uint64_t period_ns, uint64_t length_ns,
			  double *ret_ns, size_t room);
void host_light_stop(struct host_light *h);

#endif
