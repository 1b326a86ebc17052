/* SPDX-License-Identifier: MIT */
/*
 * Decides whether a front end with nothing to do polls or sleeps. To poll saves its guest a trapped doorbell and itself a wake-up, for
 * each packet; it costs a CPU, which may be the very one that the guest would use to write the packet. So:
 *
 * - It polls for as long as has paid lately: the window grows when work came soon after the front end had gone to sleep, up to
 *   WINDOW_MAX_NS, and shrinks, down to no polling at all, when work comes seldom.
 * - It polls only with a CPU to itself. That it has none shows in two ways. Work comes right after the end of the longest poll in vain:
 *   the guest stood still on this CPU until then. (Linux does place both on one CPU while others idle, seen where it is
 *   itself a guest; probably its idle CPUs look preempted there and are passed over at wake-ups.) Or the time between two looks is far longer than a look takes: somebody
 *   else ran in between. Then the next sleeps come at once, twice as many each time, before one poll tries again; and the
 *   front end asks to be moved to another CPU, ever more seldom as long as that does not help. medleyd moves it (medleyd-place.c);
 *   this process has no right to.
 *
 * Left out: who else polls. Only executors that hold the lease poll (frontend.c), so those of one vGPU on each pGPU at any time.
 *
 * Decisions only; the clock is the caller's. Front end's thread.
 */
#include "exec/awake.h"

#include "base/util.h"

#define WINDOW_MIN_NS	(25 * MDL_NS_PER_US)	/* below, a poll would end before a guest that answers at once has written its packet */
#define WINDOW_MAX_NS	(100 * MDL_NS_PER_US)
#define SOON_NS		(250 * MDL_NS_PER_US)	/* since the last work; a trapped doorbell and a wake-up, up to 100 us in nested VMs, included */
#define STARVED_NS	(80 * MDL_NS_PER_US)	/* asleep: the guest needs some 40 us of it for a doorbell in nested VMs */
#define GAP_NS		(100 * MDL_NS_PER_US)	/* between two looks, which take under one: not an interrupt, another thread's turn */
#define SKIP_MAX	255u
#define ASK_MIN_NS	(10 * MDL_NS_PER_MS)
#define ASK_MAX_NS	(10 * MDL_NS_PER_S)

void mdl_awake_init(struct mdl_awake *a)
{
	*a = (struct mdl_awake){ .window_ns = WINDOW_MAX_NS, .ask_every_ns = ASK_MIN_NS };
}

/* This CPU is somebody else's as well. Whether to ask for another. */
static bool crowded(struct mdl_awake *a, uint64_t now)
{
	a->skip_next = (uint32_t)mdl_min_u64(a->skip_next * 2 + 1, SKIP_MAX);
	a->skip = a->skip_next;
	a->look_ns = 0;
	a->in_vain = false;
	if (now < a->ask_ns)
		return false;
	a->ask_ns = now + a->ask_every_ns;
	a->ask_every_ns = mdl_min_u64(2 * a->ask_every_ns, ASK_MAX_NS);
	return true;
}

static bool interrupted(const struct mdl_awake *a, uint64_t now)
{
	return a->look_ns && now > a->look_ns + GAP_NS;
}

bool mdl_awake_worked(struct mdl_awake *a, uint64_t start, uint64_t now)
{
	bool ask = false;

	if (interrupted(a, start)) {
		ask = crowded(a, now);
	} else if (a->look_ns) {
		/* The poll has paid. */
		a->skip_next = 0;
		a->ask_every_ns = ASK_MIN_NS;
	}
	a->worked_ns = now;
	a->look_ns = 0;
	a->in_vain = false;
	return ask;
}

bool mdl_awake_poll(struct mdl_awake *a, uint64_t now, bool may_run)
{
	if (may_run && !a->skip && now - a->worked_ns < a->window_ns) {
		a->look_ns = now;
		return true;
	}
	/* Whether it was in vain because of where it was, the end of the sleep tells. */
	a->in_vain = may_run && a->look_ns && (a->window_ns == WINDOW_MAX_NS || interrupted(a, now));
	a->look_ns = 0;
	return false;
}

bool mdl_awake_slept(struct mdl_awake *a, uint64_t start, uint64_t now, bool work)
{
	bool starved = a->in_vain && now - start < STARVED_NS;

	if (!work)
		return false;
	a->in_vain = false;
	if (starved)
		return crowded(a, now);
	if (a->skip)
		a->skip--;
	if (now - a->worked_ns > SOON_NS)
		a->window_ns = a->window_ns / 2 < WINDOW_MIN_NS ? 0 : a->window_ns / 2;
	else if (!a->skip)
		a->window_ns = mdl_min_u64(mdl_max_u64(2 * a->window_ns, WINDOW_MIN_NS), WINDOW_MAX_NS);
	return false;
}
