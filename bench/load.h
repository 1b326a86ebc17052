/* SPDX-License-Identifier: MIT */
/*
 * What medley-bench and its load generator (load.c) say to each other: lines. Each command gets one line in reply, in order:
 *
 *	iters N			ok		trips of the inner loop in one chunk of work
 *	calibrate N		took NS		one kernel of N chunks in each work-group, alone
 *	idle			ok
 *	loop US...		ok		kernels of these lengths in turn, several batches queued, for ever
 *	random US...		ok		the same, in random order
 *	endless			ok		one kernel that does not end
 *	waker PERIOD WORK	ok		a kernel of WORK us every PERIOD us
 *	sleeper RUN SLEEP US...	ok		loops for a time, sleeps for a time; both random, these means in us
 *	count			count T CHUNKS KERNELS FAULTS
 *	latencies		latencies N T...	of the waker's kernels since the last time
 *	quit			(ends)
 *
 * At the start the guest says "ready UNITS", and at any time "fault TOLD LAUNCHED ERROR BACK": its context was reset by the host;
 * when it was told, when it had launched what ran, why, when it could work again. Times are CLOCK_MONOTONIC of the host in ns.
 * "ok" comes when the work of the mode before has gone from the queue. CHUNKS is what all work-groups have done, counted by the
 * kernels themselves in the guest's memory while they run, unfinished ones included.
 */
#ifndef MDL_BENCH_LOAD_H
#define MDL_BENCH_LOAD_H

#define LOAD_LINE 2048 /* longest line, either way */
#define LOAD_GROUPS(units) \
	(2 * (units)) /* work-groups of a kernel: two a unit, so that a late one is helped */
#define LOAD_CHUNK_NS  5000 /* of one unit, what iters is calibrated for */
#define LOAD_LENGTHS   8
#define LOAD_LATENCIES 4096 /* kept until asked for */

#endif
