/* SPDX-License-Identifier: MIT */
/*
 * Executors that stop late (medleyd-lease.c): the GPU goes on at once; who is continued, and who stays stopped. The scheduler is
 * the real one; processes are a number and the last signal. The rest of medleyd is stubs.
 */
#include "../check.h"

#include <sys/eventfd.h>
#include <sys/wait.h>

#include "../../../daemon/medleyd.h"

static int signals[2], last[2];

void process_signal(struct process *p, int sig)
{
	signals[p->uid_slot]++;
	last[p->uid_slot] = sig;
}

void process_stop(struct process *p)
{
	process_signal(p, SIGSTOP);
}

void process_find_threads(struct process *p)
{
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

void account_end_hold(struct vgpu *v, uint64_t now)
{
}

void account_update(struct vgpu *v, uint64_t now)
{
}

static int charges, stops;

void account_charge(struct vgpu *v, uint64_t now)
{
	charges++;
}

void trace_stopped(struct vgpu *v, uint64_t overrun_ns, uint64_t now)
{
	stops++;
	CHECK_EQ(overrun_ns, 77);
}

void account_wake_audit(struct vgpu *v)
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
static struct mdl_instance inst[2];
static struct executor x[2];
static struct mdl_lease page[2];

struct mdl_instance *mdl_instance_next(struct mdl_mdev *mdev, struct mdl_instance *after)
{
	return !after ? &inst[0] : after == &inst[0] ? &inst[1] : NULL;
}

static void set_up(void)
{
	CHECK(sd_event_new(&m.event) >= 0);
	m.opt.sched = (struct mdl_sched_params)MDL_SCHED_PARAMS_DEFAULT;
	m.opt.policy = mdl_sched_policy_find("round-robin");
	CHECK_EQ(gpu_create(&m, &pgpu, &g), 0);
	for (uint32_t i = 0; i < 2; i++) {
		inst[i].owner = &v[i];
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

/* The first one works, is asked, is sent SIGSTOP; the second has its turn before the other is known to have stopped. */
static void preempt(void)
{
	set_up();
	says(0, MDL_LEASE_NONE, true);
	until(first_has_it);
	CHECK_EQ(word(0), MDL_LEASE_IDLE);
	atomic_store(&page[0].state, MDL_LEASE_BUSY);
	says(1, MDL_LEASE_NONE, true);
	until(second_has_it);
	CHECK_EQ(word(0), MDL_LEASE_YIELD);
	CHECK(x[0].stop_sent && x[0].stopping);
	CHECK_EQ(signals[0], 1);
	CHECK_EQ(last[0], SIGSTOP);
	atomic_store(&page[1].state, MDL_LEASE_BUSY);
}

/* A kernel that has run for more than four times the grace is not waited for. */
static void grace(void)
{
	struct mdl_sched_params p = MDL_SCHED_PARAMS_DEFAULT;
	uint64_t start;

	for (int old = 0; old < 2; old++) {
		set_up();
		/* Long, but not for ever: a test that waits for the grace in vain fails here. */
		p.grace_ns = old ? 20 * MDL_NS_PER_S : 300 * MDL_NS_PER_MS;
		CHECK_EQ(mdl_sched_set_params(g->sched, &p, mdl_now_ns()), 0);
		x[0].packet_ns = 4 * p.grace_ns + (old ? 4 : 0);
		says(0, MDL_LEASE_NONE, true);
		until(first_has_it);
		atomic_store(&page[0].state, MDL_LEASE_BUSY);
		start = mdl_now_ns();
		says(1, MDL_LEASE_NONE, true);
		until(second_has_it);
		CHECK(old ? mdl_now_ns() - start < 10 * MDL_NS_PER_S :
			    mdl_now_ns() - start >= 300 * MDL_NS_PER_MS);
		CHECK_EQ(last[0], SIGSTOP);
		x[0].packet_ns = 0;
		tear_down();
		memset(page, 0, sizeof(page));
		memset(x, 0, sizeof(x));
		memset(v, 0, sizeof(v));
	}
}

/* Gave back before the stop came about: nobody would continue it. It goes on, without lease, and gets one when it asks. */
static void gave_back(void)
{
	preempt();
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
	preempt();
	atomic_store(&page[0].want, 0);
	atomic_store(&page[0].state, MDL_LEASE_IDLE);
	lease_revive(&v[0]);
	CHECK_EQ(word(0), MDL_LEASE_NONE);
	CHECK_EQ(last[0], SIGCONT);
	tear_down();
}

static void stays_stopped(void)
{
	preempt();
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
	tear_down();
}

/* From the end of its turn until the kernel says that it stands still it is on its way; then all that it got is told. */
static void stands_still(void)
{
	pid_t child = fork();

	if (!child)
		for (;;)
			pause();
	preempt();
	x[0].process.pid = child;
	v[0].overrun_ns = 77;
	lease_confirm_stops(&m);
	CHECK_EQ(charges, 0);
	CHECK(x[0].stopping);
	CHECK_EQ(kill(child, SIGSTOP), 0);
	while (x[0].stopping)
		lease_confirm_stops(&m);
	CHECK_EQ(charges, 1);
	CHECK_EQ(stops, 1);
	CHECK_EQ(v[0].overrun_ns, 0);
	CHECK(x[0].stop_sent);
	lease_confirm_stops(&m); /* once will do */
	CHECK_EQ(stops, 1);
	CHECK_EQ(signals[0], 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	tear_down();
}

static const struct check_case cases[] = {
	{ "grace", grace },
	{ "gave back", gave_back },
	{ "gave back, idle", gave_back_idle },
	{ "stays stopped", stays_stopped },
	{ "stands still", stands_still },
};
CHECK_MAIN(cases)
