/* SPDX-License-Identifier: MIT */
/* When a front end polls and when it sleeps: the decisions alone, under a clock of the test's own. */
#include "exec/awake.h"

#include "base/util.h"
#include "tests/unit/check.h"

#define US	MDL_NS_PER_US
#define MS	MDL_NS_PER_MS
#define LOOK_NS	200	/* one look at the rings */

struct sim {
	struct mdl_awake a;
	uint64_t now, polled_ns;
	uint32_t asks, doorbells, packets;
};

static void start(struct sim *s)
{
	*s = (struct sim){ .now = MDL_NS_PER_S };
	mdl_awake_init(&s->a);
}

static void work(struct sim *s, uint64_t ns)
{
	s->packets++;
	s->asks += mdl_awake_worked(&s->a, s->now, s->now + ns);
	s->now += ns;
}

/* Polls until `until`, or until it wants to sleep. Whether it does. */
static bool poll_until(struct sim *s, uint64_t until)
{
	while (s->now < until) {
		if (!mdl_awake_poll(&s->a, s->now, true))
			return true;
		s->polled_ns += LOOK_NS;
		s->now += LOOK_NS;
	}
	return false;
}

static void sleep_until(struct sim *s, uint64_t until)
{
	s->doorbells++;
	s->asks += mdl_awake_slept(&s->a, s->now, until, true);
	s->now = until;
}

/* A guest with a CPU of its own: its next packet comes so long after the last one is done, and wake_ns later if we sleep. */
static void guest(struct sim *s, uint64_t think_ns, uint64_t wake_ns, uint32_t packets)
{
	while (packets--) {
		uint64_t next = s->now + think_ns;

		if (poll_until(s, next))
			sleep_until(s, mdl_max_u64(next, s->now) + wake_ns);
		work(s, 5 * US);
	}
}

/* A guest on the CPU that we poll on: it thinks and rings only while we sleep. */
static void guest_here(struct sim *s, uint64_t think_ns, uint64_t wake_ns, uint32_t packets)
{
	while (packets--) {
		CHECK(poll_until(s, UINT64_MAX));
		sleep_until(s, s->now + think_ns + wake_ns);
		work(s, 5 * US);
	}
}

/* A guest that answers at once is served by polling alone, after the first packets. */
static void quick(void)
{
	struct sim s;

	start(&s);
	guest(&s, 3 * US, 40 * US, 1000);
	CHECK(s.doorbells <= 3);
	CHECK_EQ(s.asks, 0);
	/* Also where a doorbell takes as long as in a nested VM, after a time of rare work. */
	guest(&s, 50 * MS, 90 * US, 10);
	s.doorbells = 0;
	guest(&s, 3 * US, 90 * US, 1000);
	CHECK(s.doorbells <= 3);
	CHECK_EQ(s.asks, 0);
}

/* The window grows to what the guest needs. */
static void grows(void)
{
	struct sim s;

	start(&s);
	guest(&s, 50 * MS, 10 * US, 10);
	CHECK_EQ(s.a.window_ns, 0);
	s.doorbells = 0;
	guest(&s, 70 * US, 10 * US, 1000);
	CHECK(s.doorbells <= 4);
}

/* Rare work: no polling at all, soon. */
static void rare(void)
{
	struct sim s;

	start(&s);
	guest(&s, 2 * MS, 10 * US, 100);
	CHECK(s.polled_ns < 1 * MS);
	s.polled_ns = 0;
	guest(&s, 2 * MS, 10 * US, 1000);
	CHECK_EQ(s.polled_ns, 0);
	CHECK_EQ(s.asks, 0);
}

/* On the guest's CPU: it says so at once, stops polling, and tries again ever more seldom. */
static void starved(void)
{
	struct sim s;

	start(&s);
	guest_here(&s, 3 * US, 40 * US, 8);
	CHECK_EQ(s.asks, 1);
	s.polled_ns = 0;
	s.packets = 0;
	guest_here(&s, 3 * US, 40 * US, 5000);
	/* No more than a packet in 255 waits for a poll in vain, and is late by that. */
	CHECK(s.polled_ns <= (5000 / 255 + 8) * 100 * US);
	CHECK(s.polled_ns > 100 * US);
	CHECK(s.asks < 10);
	/* Moved: the next poll that is tried pays, and all are made again. */
	guest(&s, 3 * US, 40 * US, 300);
	s.doorbells = 0;
	guest(&s, 3 * US, 40 * US, 1000);
	CHECK_EQ(s.doorbells, 0);
	/* Crowded again: as on the first day. */
	CHECK_EQ(s.a.skip_next, 0);
}

/* Asked, moved at once: nothing is lost but that one poll. */
static void moved(void)
{
	struct sim s;

	start(&s);
	while (!s.asks)
		guest_here(&s, 3 * US, 40 * US, 1);
	CHECK(s.packets <= 4);
	s.doorbells = 0;
	guest(&s, 3 * US, 40 * US, 1000);
	CHECK(s.doorbells <= 2);
	CHECK_EQ(s.asks, 1);
}

/* Asks: at most one each 10 ms, less and less often as long as it does not help; fast again after it did. */
static void paced(void)
{
	struct sim s;
	uint64_t began;

	start(&s);
	began = s.now;
	for (int i = 0; i < 20000; i++) {
		s.a.skip = 0;	/* the worst case: every time */
		guest_here(&s, 3 * US, 40 * US, 1);
	}
	CHECK(s.now - began > 2 * MDL_NS_PER_S);
	CHECK(s.asks <= 9);
	CHECK(s.asks >= 7);
	s.a.skip = 0;
	guest(&s, 3 * US, 40 * US, 2);
	CHECK_EQ(s.a.ask_every_ns, 10 * MS);
}

/* Another thread ran in the middle of a poll, and work was there at the end of its turn: no poll that paid. */
static void interrupted(void)
{
	struct sim s;

	start(&s);
	work(&s, US);
	CHECK(mdl_awake_poll(&s.a, s.now, true));
	s.now += 3 * MS;
	work(&s, US);
	CHECK_EQ(s.asks, 1);
	CHECK(!mdl_awake_poll(&s.a, s.now, true));
	/* The same, seen before the work came. */
	start(&s);
	s.a.window_ns = 50 * US;
	work(&s, US);
	CHECK(mdl_awake_poll(&s.a, s.now, true));
	s.now += 3 * MS;
	CHECK(!mdl_awake_poll(&s.a, s.now, true));
	sleep_until(&s, s.now + 40 * US);
	CHECK_EQ(s.asks, 1);
	/* An interrupt is none. */
	start(&s);
	work(&s, US);
	CHECK(mdl_awake_poll(&s.a, s.now, true));
	s.now += 30 * US;
	work(&s, US);
	CHECK_EQ(s.asks, 0);
	CHECK(mdl_awake_poll(&s.a, s.now, true));
	/* Nor is a long kernel. */
	work(&s, 500 * MS);
	CHECK_EQ(s.asks, 0);
	CHECK(mdl_awake_poll(&s.a, s.now, true));
}

/* Somebody else has the GPU: nothing to poll for, and nothing is learned from it. */
static void no_lease(void)
{
	struct sim s;

	start(&s);
	work(&s, US);
	CHECK(!mdl_awake_poll(&s.a, s.now, false));
	sleep_until(&s, s.now + 10 * US);
	CHECK_EQ(s.asks, 0);
	/* Taken in the middle of a poll. */
	work(&s, US);
	CHECK(!poll_until(&s, s.now + 20 * US));
	CHECK(!mdl_awake_poll(&s.a, s.now, false));
	sleep_until(&s, s.now + 10 * US);
	CHECK_EQ(s.asks, 0);
	work(&s, US);
	CHECK(mdl_awake_poll(&s.a, s.now, true));
}

/* Woken for something else than work: no reason to think anything. */
static void other_events(void)
{
	struct sim s;

	start(&s);
	work(&s, US);
	CHECK(poll_until(&s, UINT64_MAX));
	CHECK(!mdl_awake_slept(&s.a, s.now, s.now + 10 * US, false));
	CHECK_EQ(s.a.window_ns, 100 * US);
	CHECK_EQ(s.a.skip, 0);
}

static const struct check_case cases[] = {
	{ "quick", quick, 0 },	       { "grows", grows, 0 },	{ "rare", rare, 0 },
	{ "starved", starved, 0 },     { "moved", moved, 0 },	{ "paced", paced, 0 },
	{ "interrupted", interrupted, 0 }, { "no_lease", no_lease, 0 }, { "other_events", other_events, 0 },
};
CHECK_MAIN(cases)
