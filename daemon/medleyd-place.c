/* SPDX-License-Identifier: MIT */
/*
 * Placement: moves an executor's front end off a CPU that it finds crowded. A front end that polls on the CPU on which its guest would
 * write the next packet holds up what it waits for; Linux places them so where it passes idle CPUs over at wake-ups (lib/exec/awake.c).
 * The executor says so in its lease page. It has no right to move itself: what it is allowed is read from the kernel here,
 * at each move, so that an operator's choice of CPUs is never widened.
 *
 * A move: the front end's thread is forbidden that CPU for a moment, long enough for it to have run or been woken elsewhere, and then
 * allowed again what it was before, so that the kernel's balancing goes on as ever. PoCL's workers are woken near it by themselves.
 * Where it goes is the kernel's choice; if that is no better it asks again. Each executor is moved at a limited pace; an executor that
 * asks for nothing, or lies about the CPU, gets no more than a change of CPU out of it.
 *
 * Left out: choosing by caches, nodes and load. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MOVE_NS		 (20 * MDL_NS_PER_MS)	/* some turns of a thread that works, and of one that shares a busy CPU */
#define MOVE_INTERVAL_NS (250 * MDL_NS_PER_MS)	/* in the long run */
#define MOVE_BURST	 8
#define CPUS_MAX	 8192	/* the largest number that Linux can be built for */

struct place {
	struct executor *x;
	sd_event_source *timer;	/* a move is under way */
	uint64_t tat_ns;	/* pace: when the moves made so far are paid for */
	cpu_set_t allowed[CPUS_MAX / CPU_SETSIZE];	/* while a move is under way: before and after it */
};

static void allow(struct place *p, cpu_set_t *cpus)
{
	/* It may have died meanwhile; it is not reaped yet, so its number is nobody else's. */
	if (p->x->process.pid)
		(void)sched_setaffinity(p->x->process.pid, sizeof(p->allowed), cpus);
}

static int on_moved(sd_event_source *s, uint64_t usec, void *arg)
{
	struct place *p = arg;

	p->timer = sd_event_source_disable_unref(p->timer);
	allow(p, p->allowed);
	return 0;
}

static void move(struct place *p, uint32_t cpu)
{
	cpu_set_t others[MDL_ARRAY_SIZE(p->allowed)];

	if (sched_getaffinity(p->x->process.pid, sizeof(p->allowed), p->allowed) < 0)
		return;
	memcpy(others, p->allowed, sizeof(others));
	CPU_CLR_S(cpu, sizeof(others), others);
	if (!CPU_COUNT_S(sizeof(others), others) ||
	    sd_event_add_time_relative(p->x->m->event, &p->timer, CLOCK_MONOTONIC, MOVE_NS / 1000, 1000, on_moved, p) < 0)
		return;
	allow(p, others);
}

void place_look(struct executor *x)
{
	uint32_t crowded = atomic_exchange(&x->lease->crowded, 0);
	uint64_t now;

	if (!crowded || crowded > CPUS_MAX || !x->process.pid)
		return;
	if (!x->place) {
		x->place = calloc(1, sizeof(*x->place));
		if (!x->place)
			return;
		x->place->x = x;
	}
	now = mdl_now_ns();
	if (x->place->timer || x->place->tat_ns > now + MOVE_BURST * MOVE_INTERVAL_NS)
		return;
	x->place->tat_ns = mdl_max_u64(x->place->tat_ns, now) + MOVE_INTERVAL_NS;
	move(x->place, crowded - 1);
}

void place_end(struct executor *x)
{
	if (x->place)
		sd_event_source_disable_unref(x->place->timer);
	free(x->place);
	x->place = NULL;
}
