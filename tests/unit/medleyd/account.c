/* SPDX-License-Identifier: MIT */
/* What medleyd-account.c charges at the edges of a hold. The rest of medleyd is stubs; a process's CPU clock is a number. */
#include "../check.h"

#include "../../../daemon/medleyd.h"

static uint64_t cpu_ns;

uint64_t process_cpu_ns(pid_t pid)
{
	return cpu_ns;
}

bool lease_holding(const struct vgpu *v)
{
	return v->entity.state >= MDL_SCHED_HOLDING;
}

void watchdog_count(struct executor *x, uint64_t used, uint64_t now)
{
}

static uint64_t told_overrun;

void trace_add(struct vgpu *v, const struct trace_turn *turn)
{
	told_overrun = turn->overrun_ns;
}

void trace_demand(struct vgpu *v, bool wants, uint64_t now)
{
}

void mdl_sched_charge(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t ran_ns, uint64_t now)
{
	e->charged_ns += ran_ns;
}

static struct mdl_instance *only; /* what an audit finds */
static int stopped, killed;

struct mdl_instance *mdl_instance_next(struct mdl_mdev *m, struct mdl_instance *i)
{
	return i ? NULL : only;
}

void executor_kill(struct executor *x)
{
	x->killed = true;
	killed++;
}

void executor_serve(struct manager *m)
{
}

void lease_confine(struct executor *x, bool confined)
{
}

void process_stop(struct process *p)
{
	stopped++;
}

void lease_revive(struct vgpu *v)
{
}

void lease_rearm(struct gpu *g)
{
}

void vgpu_check_device(struct vgpu *v, uint64_t passed)
{
}

struct rig {
	struct manager m;
	struct mdl_pgpu pgpu;
	struct mdl_instance inst;
	struct gpu gpu;
	struct vgpu v;
	struct executor x[2];
	struct mdl_lease page[2];
};

static void setup(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	cpu_ns = 0;
	r->pgpu.compute_units = 1;
	r->inst.pgpu = &r->pgpu;
	r->m.cpus = sysconf(_SC_NPROCESSORS_ONLN);
	r->v.m = &r->m;
	r->v.gpu = &r->gpu;
	r->v.inst = &r->inst;
	for (int i = 0; i < 2; i++) {
		r->x[i].vgpu = &r->v;
		r->x[i].vgpu_next = r->v.executors;
		r->x[i].lease = &r->page[i];
		r->v.executors = &r->x[i];
	}
}

/* An API client asks for all vGPUs: looking at one ends a turn, and another one's begins after `now` was read. */
static void clock_from_before_the_hold(void)
{
	struct rig r;

	setup(&r);
	r.gpu.contended_ns = 1000;
	r.v.entity.state = MDL_SCHED_HOLDING;
	account_begin_hold(&r.v, 5000);
	account_hold_begun(&r.v, 5100);
	account_charge(&r.v, 4000);
	CHECK_EQ(r.v.gpu_time_ns, 0);
	CHECK_EQ(r.v.unclaimed_ns, 0);
	CHECK_EQ(r.v.entity.charged_ns, 0);
	account_charge(&r.v, 6000);
	CHECK_EQ(r.v.gpu_time_ns, 900);
	CHECK_EQ(r.v.entity.charged_ns, 900);
}

/* One of two contexts ends while both hold the GPU and nobody waits: what it did since the last look is not forgotten. */
static void dies_while_holding(void)
{
	uint64_t now = mdl_now_ns();
	struct rig r;

	setup(&r);
	r.v.entity.state = MDL_SCHED_HOLDING;
	account_begin_hold(&r.v, now - 50 * MDL_NS_PER_MS);
	atomic_store(&r.page[0].busy_ns, 30 * MDL_NS_PER_MS);
	r.x[0].killed = true;
	account_retire(&r.x[0]);
	r.x[1].vgpu_next = NULL;
	account_charge(&r.v, mdl_now_ns());
	CHECK_EQ(r.v.gpu_time_ns, 30 * MDL_NS_PER_MS);
	CHECK_EQ(r.v.entity.charged_ns, 30 * MDL_NS_PER_MS);
}

/*
 * Stopped at the end of its turn, 2 ms in which somebody waited, it still gets some: charged as far as it had more in all than that. Its
 * clock was half a millisecond late at the turn's end.
 */
static void overrun(void)
{
	struct rig r;

	setup(&r);
	r.v.executors = &r.x[0];
	r.x[0].vgpu_next = NULL;
	r.gpu.contended_ns = 1;
	r.v.entity.state = MDL_SCHED_HOLDING;
	account_begin_hold(&r.v, 1 * MDL_NS_PER_MS);
	r.x[0].process.cpu_ns = 1500 * MDL_NS_PER_US;
	account_end_hold(&r.v, 3 * MDL_NS_PER_MS);
	CHECK_EQ(r.v.gpu_time_ns, 2000 * MDL_NS_PER_US);
	r.v.entity.state = MDL_SCHED_WAITING;
	r.v.stop_ns = 3 * MDL_NS_PER_MS;
	r.x[0].stopping = true;
	r.x[0].process.cpu_ns = 2050 * MDL_NS_PER_US;
	account_charge(&r.v, 3060 * MDL_NS_PER_US);
	CHECK_EQ(r.v.overrun_ns, 50 * MDL_NS_PER_US);
	CHECK_EQ(r.v.gpu_time_ns, 2050 * MDL_NS_PER_US);
	CHECK_EQ(r.v.entity.charged_ns, 2050 * MDL_NS_PER_US);
	/* It does not stop: all of it, but no more than the time that passed. */
	r.x[0].process.cpu_ns = 3050 * MDL_NS_PER_US;
	account_charge(&r.v, 3860 * MDL_NS_PER_US);
	CHECK_EQ(r.v.overrun_ns, 850 * MDL_NS_PER_US);
	CHECK_EQ(r.x[0].cpu_unleased_ns, 850 * MDL_NS_PER_US);
	/* Nor does it after 10 ms: now it works without a lease, all the time. */
	r.x[0].process.cpu_ns = 13 * MDL_NS_PER_MS;
	account_charge(&r.v, 14 * MDL_NS_PER_MS);
	CHECK_EQ(r.v.overrun_ns, 850 * MDL_NS_PER_US);
	CHECK_EQ(r.x[0].cpu_unleased_ns, 10800 * MDL_NS_PER_US);
}

/* A second context is no place to hide it: the two took turns in 4 ms, and the second one works on for 1 ms. */
static void overrun_of_two(void)
{
	struct rig r;

	setup(&r);
	r.gpu.contended_ns = 1;
	r.v.entity.state = MDL_SCHED_HOLDING;
	account_begin_hold(&r.v, 1 * MDL_NS_PER_MS);
	r.x[0].process.cpu_ns = r.x[1].process.cpu_ns = 2 * MDL_NS_PER_MS;
	account_end_hold(&r.v, 5 * MDL_NS_PER_MS);
	r.v.entity.state = MDL_SCHED_WAITING;
	r.v.stop_ns = 5 * MDL_NS_PER_MS;
	r.x[0].stopping = r.x[1].stopping = true;
	r.x[1].process.cpu_ns = 3 * MDL_NS_PER_MS;
	account_charge(&r.v, 7 * MDL_NS_PER_MS);
	CHECK_EQ(r.v.overrun_ns, 1 * MDL_NS_PER_MS);
	CHECK_EQ(r.v.entity.charged_ns, 5 * MDL_NS_PER_MS);
	/* Still not told when it gets the GPU again: it is with its next turn. */
	account_begin_hold(&r.v, 8 * MDL_NS_PER_MS);
	CHECK_EQ(r.v.overrun_ns, 1 * MDL_NS_PER_MS);
	r.v.entity.state = MDL_SCHED_HOLDING;
	account_end_hold(&r.v, 9 * MDL_NS_PER_MS);
	CHECK_EQ(told_overrun, 1 * MDL_NS_PER_MS);
	CHECK_EQ(r.v.overrun_ns, 0);
}

/* And without the lease it counts against what the vGPU may use so. */
static void dies_without_lease(void)
{
	struct rig r;

	setup(&r);
	r.v.entity.state = MDL_SCHED_ASLEEP;
	r.v.executors = &r.x[0];
	r.x[0].vgpu_next = NULL;
	r.x[0].process.cpu_ns = 7 * MDL_NS_PER_MS;
	account_retire(&r.x[0]);
	CHECK_EQ(r.v.burn_ns, -7 * (int64_t)MDL_NS_PER_MS);
	CHECK_EQ(r.v.gpu_time_ns, 0);
}

/* One vGPU with one executor, and an event loop in which it is audited. */
static void set_up_audit(struct rig *r)
{
	setup(r);
	CHECK(sd_event_new(&r->m.event) >= 0);
	only = &r->inst;
	r->inst.owner = &r->v;
	r->v.lost_log = (struct mdl_log_limit)MDL_LOG_LIMIT_INIT;
	r->v.executors = &r->x[0];
	r->x[0].vgpu_next = NULL;
	r->v.audit_ns = mdl_now_ns();
}

static void end_audit(struct rig *r)
{
	account_stop(&r->m);
	sd_event_unref(r->m.event);
	only = NULL;
}

/* Confined and stopped, and its CPU clock goes on: it is stopped again at each audit, and ended at the third. */
static void works_though_stopped(void)
{
	struct rig r;

	set_up_audit(&r);
	r.v.entity.state = MDL_SCHED_WAITING;
	r.v.burn_ns = r.x[0].burn_ns = MDL_NS_PER_S;
	r.x[0].stop_sent = true;
	CHECK_EQ(account_start(&r.m), 0);
	for (int i = 1; i <= 6; i++) {
		/* Not confined it may have been on its way to the stop. */
		r.x[0].confined = i > 3;
		r.x[0].confined_until_ns = UINT64_MAX;
		r.x[0].process.cpu_ns += 50 * MDL_NS_PER_MS;
		CHECK(sd_event_run(r.m.event, UINT64_MAX) > 0);
		CHECK_EQ(stopped, i);
		CHECK_EQ(killed, i == 6);
	}
	end_audit(&r);
}

/* Of a vGPU that is quiet only that is looked at, beside others that work: until its executor does, or it gets the GPU. */
static void quiet(void)
{
	struct rig r;

	set_up_audit(&r);
	r.v.entity.state = MDL_SCHED_ASLEEP;
	r.v.burn_ns = 2 * (int64_t)MDL_NS_PER_S;
	r.v.audit_quiet = 21;
	CHECK_EQ(account_start(&r.m), 0);
	CHECK(sd_event_run(r.m.event, UINT64_MAX) > 0);
	CHECK_EQ(r.v.samples, 0);
	CHECK_EQ(r.v.audit_quiet, 21);
	CHECK(r.m.audit_slow);
	/* A second of nobody's doing anything, then it is looked at all the same. */
	CHECK(sd_event_run(r.m.event, UINT64_MAX) > 0);
	CHECK_EQ(r.v.samples, 1);
	CHECK_EQ(r.v.audit_quiet, 0); /* the first sample compares with nothing */
	CHECK(!r.m.audit_slow);
	r.v.audit_quiet = 21;
	r.m.audit_slow = true;
	account_wake_audit(&r.v);
	CHECK_EQ(r.v.samples, 2);
	CHECK_EQ(r.v.audit_quiet, 0);
	CHECK(!r.m.audit_slow);
	r.v.audit_quiet = 21;
	r.x[0].process.cpu_ns = 50 * MDL_NS_PER_US; /* as much as it may take to read a message */
	CHECK(sd_event_run(r.m.event, UINT64_MAX) > 0);
	CHECK_EQ(r.v.samples, 2);
	r.m.audit_slow = false;
	r.x[0].process.cpu_ns = 30 * MDL_NS_PER_MS;
	sd_event_source_set_time_relative(r.m.audit, 1000);
	CHECK(sd_event_run(r.m.event, UINT64_MAX) > 0);
	CHECK_EQ(r.v.samples, 3);
	CHECK_EQ(r.v.audit_quiet, 0);
	CHECK_EQ(r.v.burn_ns, 1970 * (int64_t)MDL_NS_PER_MS);
	end_audit(&r);
}

/* All CPUs for as long as nobody looked: kept as debt, whole. */
static void burns_unseen(void)
{
	int64_t all = (int64_t)MDL_NS_PER_S * sysconf(_SC_NPROCESSORS_ONLN);
	struct rig r;

	setup(&r);
	r.v.entity.state = MDL_SCHED_ASLEEP;
	r.v.executors = &r.x[0];
	r.x[0].vgpu_next = NULL;
	r.v.burn_ns = 2 * (int64_t)MDL_NS_PER_S;
	r.x[0].process.cpu_ns = (uint64_t)all;
	account_retire(&r.x[0]);
	CHECK_EQ(r.v.burn_ns, 2 * (int64_t)MDL_NS_PER_S - all);
	r.x[0].process.cpu_ns = (uint64_t)(10 * all);
	account_retire(&r.x[0]);
	CHECK(r.v.burn_ns <= -all && r.v.burn_ns > -2 * all - 4 * (int64_t)MDL_NS_PER_S);
}

int main(void)
{
	static const struct check_case cases[] = { { "clock-from-before-the-hold", clock_from_before_the_hold },
						   { "dies-while-holding", dies_while_holding },
						   { "dies-without-lease", dies_without_lease },
						   { "overrun", overrun },
						   { "overrun-of-two", overrun_of_two },
						   { "works-though-stopped", works_though_stopped },
						   { "quiet", quiet },
						   { "burns-unseen", burns_unseen } };

	return check_main(cases, sizeof(cases) / sizeof(cases[0]));
}
