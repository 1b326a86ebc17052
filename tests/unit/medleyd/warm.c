/* SPDX-License-Identifier: MIT */
/* Which executors medleyd-warm.c gives up while they start. Processes are numbers: 100 the executor, 101 its companion, 102 a job. */
#include "../check.h"

#include "../../../daemon/medleyd.h"

#define S MDL_NS_PER_S
#define MS MDL_NS_PER_MS
#define START (1000 * S)

static uint64_t cpu[3];
static bool job;

uint64_t process_cpu_ns(pid_t pid)
{
	return cpu[pid - 100];
}

size_t process_children(const struct process *p, pid_t *pids, size_t max)
{
	bool has = p->pid == 100 || (p->pid == 101 && job);

	CHECK(max > 0);
	pids[0] = p->pid + 1;
	return has;
}

static struct executor start(void)
{
	cpu[0] = cpu[1] = cpu[2] = 0;
	job = false;
	return (struct executor) { .process.pid = 100, .started_ns = START };
}

/* A tenth of a CPU for half a minute, then a hundredth for five more: slow, and on its way. So is one whose job alone gets on. */
static void crowded(void)
{
	struct executor x = start();

	for (uint64_t t = 1; t <= 330; t++) {
		cpu[t % 2] += t <= 30 ? 100 * MS : 10 * MS;
		CHECK(!warm_look(&x, START + t * S));
	}
	x = start();
	job = true;
	for (uint64_t t = 1; t <= 130; t++) {
		cpu[2] += 2 * MS;
		CHECK(!warm_look(&x, START + t * S));
	}
	/* The job's end takes its CPU time away: something has happened. */
	job = false;
	CHECK(!warm_look(&x, START + 131 * S));
	CHECK_EQ(x.warming.quiet, 0);
}

/* Less than a millisecond from look to look, but more in all. */
static void crawls(void)
{
	struct executor x = start();

	for (uint64_t t = 1; t <= 300; t++) {
		cpu[0] += MS / 10;
		CHECK(!warm_look(&x, START + t * S));
	}
}

static void mute(void)
{
	struct executor x = start();
	uint64_t t;

	cpu[0] = 300 * MS;
	for (t = 1; !warm_look(&x, START + t * S); t++)
		CHECK(t < 60);
	CHECK_EQ(t, 21);
	/* However often it is looked at. */
	x = start();
	for (t = 1; !warm_look(&x, START + t * S / 100); t++)
		CHECK(t < 6000);
	CHECK(t >= 2000 && t < 2200);
}

/* All of the machine was stopped for minutes: that was one look. */
static void machine_stood_still(void)
{
	struct executor x = start();

	CHECK(!warm_look(&x, START + S));
	CHECK(!warm_look(&x, START + 500 * S));
	CHECK_EQ(x.warming.quiet, 2);
	cpu[0] += 10 * MS;
	CHECK(!warm_look(&x, START + 501 * S));
	CHECK_EQ(x.warming.quiet, 0);
}

static void for_ever(void)
{
	struct executor x = start();
	uint64_t t;

	for (t = 1; !warm_look(&x, START + t * S); t++) {
		cpu[0] += 5 * MS;
		CHECK(t <= 601);
	}
	CHECK_EQ(t, 601);
	/* Spinning. */
	x = start();
	for (t = 1; !warm_look(&x, START + t * S); t++) {
		cpu[1] += S;
		CHECK(t <= 62);
	}
	CHECK(t >= 60);
}

static const struct check_case cases[] = {
	{ "a crowded machine", crowded },
	{ "crawls", crawls },
	{ "mute", mute },
	{ "the machine stood still", machine_stood_still },
	{ "for ever", for_ever },
};
CHECK_MAIN(cases)
