/* SPDX-License-Identifier: MIT */
/* Moves of medleyd-place.c, with a kernel of the test's own: which CPUs the one executor may use, and who changed that. */
#include "../check.h"

#include <sched.h>

#include "../../../daemon/medleyd.h"

#define PID 4321

static cpu_set_t allowed[8]; /* 8192 CPUs */
static int changes;
static struct mdl_lease page;
static struct manager m;
static struct executor x;

int sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *cpus)
{
	CHECK_EQ(pid, PID);
	CHECK_EQ(bytes, sizeof(allowed));
	memcpy(cpus, allowed, bytes);
	return 0;
}

int sched_setaffinity(pid_t pid, size_t bytes, const cpu_set_t *cpus)
{
	CHECK_EQ(pid, PID);
	CHECK_EQ(bytes, sizeof(allowed));
	CHECK(CPU_COUNT_S(bytes, cpus));
	memcpy(allowed, cpus, bytes);
	changes++;
	return 0;
}

static void allow(int a, int b, int c)
{
	memset(allowed, 0, sizeof(allowed));
	CPU_SET_S(a, sizeof(allowed), allowed);
	CPU_SET_S(b, sizeof(allowed), allowed);
	CPU_SET_S(c, sizeof(allowed), allowed);
}

static void are(int a, int b, int c)
{
	cpu_set_t now[8];

	memcpy(now, allowed, sizeof(now));
	allow(a, b, c);
	CHECK(CPU_EQUAL_S(sizeof(now), now, allowed));
}

static void set_up(void)
{
	CHECK(sd_event_new(&m.event) >= 0);
	x.m = &m;
	x.lease = &page;
	x.process.pid = PID;
}

static void ask(uint32_t cpu)
{
	atomic_store(&page.crowded, cpu + 1);
	place_look(&x);
	CHECK_EQ(atomic_load(&page.crowded), 0);
}

/* Runs until so many changes were made; false: none came in a while. */
static bool until(int n)
{
	while (changes < n)
		if (sd_event_run(m.event, 2000000) <= 0)
			return false;
	return true;
}

/* Away from the CPU, and then what it was before and nothing else. */
static void moved(void)
{
	set_up();
	allow(2, 3, 5000);
	ask(5000);
	CHECK_EQ(changes, 1);
	are(2, 3, 3);
	/* One at a time. */
	ask(3);
	CHECK_EQ(changes, 1);
	CHECK(until(2));
	are(2, 3, 5000);
	/* What the operator changes counts from the next move on. */
	allow(3, 4, 6);
	ask(3);
	are(4, 6, 6);
	CHECK(until(4));
	are(3, 4, 6);
	place_end(&x);
	CHECK(!x.place);
}

static void refused(void)
{
	set_up();
	/* Nothing asked for; a number that no machine has; the only CPU that it may use. */
	allow(0, 0, 0);
	place_look(&x);
	ask(8192);
	ask(UINT32_MAX - 1);
	ask(0);
	CHECK_EQ(changes, 0);
	/* One that it may not use: as before, and it gets no right to it. */
	allow(1, 2, 2);
	ask(7);
	CHECK(until(2));
	are(1, 2, 2);
	/* It is dead. */
	x.process.pid = 0;
	ask(1);
	CHECK_EQ(changes, 2);
	place_end(&x);
}

/* It dies in the middle of a move: its number may be another's. */
static void dies(void)
{
	set_up();
	allow(1, 2, 3);
	ask(1);
	x.process.pid = 0;
	CHECK(!until(2));
	CHECK_EQ(changes, 1);
	x.process.pid = PID;
	ask(2);
	CHECK_EQ(changes, 2);
	place_end(&x);
	CHECK_EQ(sd_event_run(m.event, 100000), 0);
	CHECK_EQ(changes, 2);
}

/* It asks all the time: some moves at once, and then four a second. */
static void pace(void)
{
	uint64_t start = mdl_now_ns(), quarters;
	int moves;

	set_up();
	allow(1, 2, 3);
	for (int i = 0; i < 40; i++) {
		int before = changes;

		ask(1);
		if (changes > before)
			CHECK(until(before + 2));
	}
	moves = changes / 2;
	quarters = (mdl_now_ns() - start) / (250 * MDL_NS_PER_MS);
	CHECK(moves >= 8);
	CHECK((uint64_t)moves <= 10 + quarters);
	place_end(&x);
}

static const struct check_case cases[] = {
	{ "moved", moved },
	{ "refused", refused },
	{ "dies", dies },
	{ "pace", pace },
};
CHECK_MAIN(cases)
