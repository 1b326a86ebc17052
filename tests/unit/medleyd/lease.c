/* SPDX-License-Identifier: MIT */
/*
 * Executors that stopped too late (medleyd-lease.c): who is continued, and who stays stopped. The scheduler is the real one;
 * processes are a number and the last signal. The rest of medleyd is stubs.
 */
#include "../check.h"

#include <sys/eventfd.h>

#include "../../../daemon/medleyd.h"

static int signals[2], last[2];

void process_signal(struct process *p, int sig)
{
	signals[p->uid_slot]++;
	last[p->uid_slot] = sig;
}

void place_look(struct executor *x)
{
}

void executor_kill(struct executor *x)
{
}

void account_admit(struct executor *x)
{
}

void account_begin_hold(struct vgpu *v, uint64_t now)
{
}

void account_hold_begun(struct vgpu *v, uint64_t now)
{
}

void account_stop_sent(struct vgpu *v, uint64_t now)
{
}

void account_end_hold(struct vgpu *v, uint64_t now)
{
}

void account_charge(struct vgpu *v, uint64_t now)
{
}

void account_wake_audit(struct manager *mgr)
{
}

void watchdog_begin_hold(struct vgpu *v, uint64_t now)
{
}

void watchdog_end_hold(struct vgpu *v)
{
}

void watchdog_run(struct gpu *g, uint64_t now)
{
}

void trace_demand(struct vgpu *v, bool wants, uint64_t now)
{
}

void trace_attach(struct vgpu *v)
{
}

void trace_detach(struct vgpu *v, uint64_t now)
{
}

/* Two vGPUs with an executor each; processes that never stop, as this one's parent does not. */
static struct manager m;
static struct mdl_pgpu pgpu;
static struct gpu *g;
static struct vgpu v[2];
static struct executor x[2];
static struct mdl_lease page[2];

static void set_up(void)
{
	CHECK(sd_event_new(&m.event) >= 0);
	m.opt.sched = (struct mdl_sched_params)MDL_SCHED_PARAMS_DEFAULT;
	m.opt.policy = mdl_sched_policy_find("round-robin");
	CHECK_EQ(gpu_create(&m, &pgpu, &g), 0);
	for (uint32_t i = 0; i < 2; i++) {
		v[i].m = &m;
		v[i].gpu = g;
		v[i].wants_fd = -1;
		CHECK_EQ(lease_attach(&v[i]), 0);
		x[i].m = &m;
		x[i].vgpu = &v[i];
		x[i].lease = &page[i];
		x[i].process.pid = getppid();
		x[i].process.uid_slot = i;
		x[i].grant_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		x[i].want_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		v[i].executors = &x[i];
		lease_join(&x[i]);
	}
}

static void tear_down(void)
{
	for (int i = 0; i < 2; i++) {
		lease_leave(&x[i]);
		lease_detach(&v[i]);
		close(x[i].grant_fd);
		close(x[i].want_fd);
	}
	gpu_destroy(g);
	sd_event_unref(m.event);
}

static uint32_t word(int i)
{
	return atomic_load(&page[i].state);
}

static void says(int i, uint32_t state, bool want)
{
	atomic_store(&page[i].want, want);
	atomic_store(&page[i].state, state);
	CHECK_EQ(eventfd_write(x[i].want_fd, 1), 0);
}

/* Its words are heard, and turns end. */
static void until(bool (*cond)(void))
{
	while (!cond())
		CHECK(sd_event_run(m.event, 5000000) > 0);
}

static bool first_has_it(void)
{
	return lease_holding(&v[0]);
}

static bool second_has_it(void)
{
	return lease_holding(&v[1]);
}

/* The first one works, is asked, is sent SIGSTOP, and has not stopped when we wait no longer: the second has its turn. */
static void expire(void)
{
	set_up();
	says(0, MDL_LEASE_NONE, true);
	until(first_has_it);
	CHECK_EQ(word(0), MDL_LEASE_IDLE);
	atomic_store(&page[0].state, MDL_LEASE_BUSY);
	says(1, MDL_LEASE_NONE, true);
	until(second_has_it);
	CHECK_EQ(word(0), MDL_LEASE_YIELD);
	CHECK(x[0].stop_sent && !x[0].stopped);
	CHECK_EQ(signals[0], 1);
	CHECK_EQ(last[0], SIGSTOP);
	atomic_store(&page[1].state, MDL_LEASE_BUSY);
}

/* Gave back before the stop came about: nobody would continue it. It goes on, without lease, and gets one when it asks. */
static void gave_back(void)
{
	expire();
	says(0, MDL_LEASE_NONE, false);
	for (int i = 0; i < 10; i++)
		sd_event_run(m.event, 0);
	CHECK_EQ(last[0], SIGSTOP);
	lease_revive(&v[0]);
	CHECK_EQ(last[0], SIGCONT);
	CHECK_EQ(signals[0], 2);
	CHECK(!x[0].stop_sent);
	lease_revive(&v[0]); /* once will do */
	CHECK_EQ(signals[0], 2);
	says(0, MDL_LEASE_NONE, true);
	atomic_store(&page[1].want, 0);
	says(1, MDL_LEASE_IDLE, false);
	until(first_has_it);
	CHECK_EQ(word(0), MDL_LEASE_IDLE);
	tear_down();
}

/* It believed that the lease was its own still: that is taken, so that it does not begin when it goes on. */
static void gave_back_idle(void)
{
	expire();
	atomic_store(&page[0].want, 0);
	atomic_store(&page[0].state, MDL_LEASE_IDLE);
	lease_revive(&v[0]);
	CHECK_EQ(word(0), MDL_LEASE_NONE);
	CHECK_EQ(last[0], SIGCONT);
	tear_down();
}

static void stays_stopped(void)
{
	expire();
	/* With work in the middle of which it stopped: until its turn. */
	lease_revive(&v[0]);
	CHECK_EQ(signals[0], 1);
	/* Confined; killed: the pid may be another's any moment. */
	atomic_store(&page[0].state, MDL_LEASE_NONE);
	x[0].confined = true;
	lease_revive(&v[0]);
	CHECK_EQ(signals[0], 1);
	x[0].confined = false;
	x[0].killed = true;
	lease_revive(&v[0]);
	CHECK_EQ(signals[0], 1);
	x[0].killed = false;
	/* Whose turn it is is not looked at: its stop may be about to be confirmed. */
	x[1].stop_sent = true;
	atomic_store(&page[1].state, MDL_LEASE_NONE);
	lease_revive(&v[1]);
	CHECK_EQ(signals[1], 0);
	x[1].stop_sent = false;
	tear_down();
}

static const struct check_case cases[] = {
	{ "gave back", gave_back },
	{ "gave back, idle", gave_back_idle },
	{ "stays stopped", stays_stopped },
};
CHECK_MAIN(cases)
