/* SPDX-License-Identifier: MIT */
/*
 * Who used the GPU how long. While somebody else waits, the holder is charged for the time until
 * the GPU is taken from it, or given back: medleyd's own clock, which no executor has a say in.
 * Who is stopped is charged for the CPU time that it still gets until it stands still, too: some
 * tens of microseconds, if it does not resist. While nobody waits, holding costs nothing and what
 * counts is being busy: what its executors say about that (busy_ns of the lease page), as long as
 * it is not less than what the kernel says (the process CPU clock, divided by the compute units),
 * and never more than the lease lasted. Time in which an executor was stopped is not lease time.
 *
 * CPU time without a lease is bounded: polling, reading a compiled program. Each executor has a
 * budget for it that refills slowly; one that overdraws it is confined, that is, stopped whenever
 * it has no lease, for a time that doubles with each relapse. All executors of a vGPU together have
 * another, into which go their mappers and compilers, which are not stopped, and executors that
 * have ended; a vGPU that overdraws it gets no more executors until it has it back.
 *
 * Updates happen at every change of the holder and in an audit ten times a second: some system calls
 * for each executor. Of a vGPU that does nothing for some time only whether that is still so is looked
 * at that often, one call for each executor, and the rest once a second; while all do nothing, both
 * once a second. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <unistd.h>

#define AUDIT_NS	 (100 * MDL_NS_PER_MS)
#define AUDIT_QUIET_NS	 MDL_NS_PER_S
#define QUIET_AFTER	 20 /* audits of a vGPU that saw nothing */
#define STIRS_NS	 (100 * MDL_NS_PER_US)
/* CPU time without a lease: this fraction of the time, and this much ahead. */
#define BURN_SHARE	 8
#define BURN_MAX_NS	 ((int64_t)MDL_NS_PER_S)
/* The same for all executors of a vGPU together, with their mappers and compilers. */
#define VGPU_BURN_SHARE	 4
#define VGPU_BURN_MAX_NS (2 * (int64_t)MDL_NS_PER_S)
/* What uses more than this fraction of the time counts when the vGPU has overdrawn. */
#define BURNS_SHARE	 32
#define HELPER_STRIKES	 3
/* An honest stop takes tens of microseconds; a busy machine, and a clock's tick, milliseconds. */
#define STOP_MAX_NS	 (10 * MDL_NS_PER_MS)
#define CONFINE_NS	 MDL_NS_PER_S
#define CONFINE_MAX_NS	 (30 * MDL_NS_PER_S)

static uint64_t cpu_clock(const struct executor *x)
{
	uint64_t ns = x->process.pid ? process_cpu_ns(x->process.pid) : x->process.cpu_ns;

	return mdl_max_u64(ns, x->cpu_ns);
}

static uint64_t helpers_clock(const struct executor *x)
{
	uint64_t ns = 0;

	for (uint32_t i = 0; i < x->helpers; i++)
		ns += process_cpu_ns(x->helper[i]);
	return mdl_max_u64(ns, x->helper_cpu_ns);
}

/*
 * Busy time by the page. Written by the executor at any moment: read until both words belong
 * together, or nearly so.
 */
static uint64_t claim(const struct executor *x, uint64_t now)
{
	uint64_t since, done;
	int tries = 3;

	do {
		since = atomic_load(&x->lease->busy_since_ns);
		done = atomic_load(&x->lease->busy_ns);
	} while (since != atomic_load(&x->lease->busy_since_ns) && --tries);
	return since && since < now ? done + (now - since) : done;
}

static uint64_t grown(uint64_t *last, uint64_t value)
{
	uint64_t by = value > *last ? value - *last : 0;

	*last = value;
	return by;
}

static void read_counters(struct vgpu *v, struct executor *x)
{
	v->commands += grown(&x->commands, atomic_load(&x->lease->commands));
	v->kernels += grown(&x->kernels, atomic_load(&x->lease->kernels));
	v->compile_ns += grown(&x->compile_ns, atomic_load(&x->lease->compile_ns));
}

void account_admit(struct executor *x)
{
	x->cpu_ns = x->hold_cpu_ns = cpu_clock(x);
	x->claim_ns = claim(x, mdl_now_ns());
	x->commands = atomic_load(&x->lease->commands);
	x->kernels = atomic_load(&x->lease->kernels);
	x->compile_ns = atomic_load(&x->lease->compile_ns);
	x->helper_cpu_ns = helpers_clock(x);
	if (x->vgpu->contexts_opened == 1)
		x->vgpu->burn_ns = VGPU_BURN_MAX_NS;
	x->burn_ns = BURN_MAX_NS;
	x->confine_ns = CONFINE_NS;
	account_wake_audit(x->vgpu);
}

/* Of the trace. */
static void end_interval(struct vgpu *v, uint64_t now, enum trace_kind kind)
{
	if (v->run_start_ns) {
		trace_add(v,
			  &(struct trace_turn) {
				  .start_ns = v->run_start_ns,
				  .end_ns = now,
				  .asked_ns = kind == TRACE_RUN ? 0 : v->asked_ns,
				  .late_ns = kind == TRACE_RUN ? 0
							       : mdl_min_u64(v->late_ns,
									     now - v->run_start_ns),
				  .used_ns = v->run_used_ns,
				  .overrun_ns = v->overrun_ns,
				  .kind = kind,
			  });
		v->overrun_ns = 0;
	}
	v->run_start_ns = v->run_used_ns = 0;
}

/*
 * The part of the window in which somebody else waited. Nobody else could have the GPU, so it
 * counts whole, whatever was done with it: a holder that has no work loses it as soon as anybody
 * waits.
 */
static uint64_t withheld(const struct vgpu *v, uint64_t start, uint64_t now)
{
	uint64_t since = v->gpu->contended_ns;

	return since && since < now ? now - mdl_max_u64(since, start) : 0;
}

/* GPU time of one executor in a window, and what it says about that. */
static uint64_t busy(struct executor *x, uint64_t cpu, uint64_t said, uint64_t window)
{
	return mdl_min_u64(mdl_max_u64(said, cpu / x->vgpu->inst->pgpu->compute_units), window);
}

/*
 * CPU time that executors got without the lease. Who is on its way to a stop is charged for it as GPU
 * time, as far as the vGPU then got more in all, since its hold began, than it was charged for: the
 * clock tells what a thread did that was on a CPU a tick late, so some of this may be from before.
 * That counts against what it may use without the lease, too, as policies without debts do not mind;
 * and who takes long to stop uses all of it without the lease.
 */
static void count_unleased(struct vgpu *v, uint64_t now)
{
	uint64_t late = 0, all = 0, overrun;
	struct executor *last = NULL;

	for (struct executor *x = v->executors; x; x = x->vgpu_next) {
		uint64_t cpu = grown(&x->cpu_ns, cpu_clock(x));

		all += x->cpu_ns - x->hold_cpu_ns;
		if (x->stopping && now - v->stop_ns < STOP_MAX_NS) {
			late += cpu;
			last = x;
		} else {
			x->cpu_unleased_ns += cpu;
		}
	}
	if (!last)
		return;
	all /= v->inst->pgpu->compute_units;
	overrun = all > v->hold_used_ns ? all - v->hold_used_ns : 0;
	overrun = mdl_min_u64(overrun, late / v->inst->pgpu->compute_units);
	overrun = mdl_min_u64(overrun, now - v->window_ns);
	last->cpu_unleased_ns += overrun;
	v->hold_used_ns += overrun;
	v->overrun_ns += overrun;
	v->gpu_time_ns += overrun;
	v->uncharged_ns += overrun;
}

void account_update(struct vgpu *v, uint64_t now)
{
	bool held = lease_holding(v);
	uint64_t window, used = 0, claimed = 0;

	/* A caller that looks at all vGPUs may have read the clock before this one's hold began. */
	now = mdl_max_u64(now, v->window_ns);
	window = now - v->window_ns;
	if (!held)
		count_unleased(v, now);
	for (struct executor *x = v->executors; x; x = x->vgpu_next) {
		uint64_t cpu = held ? grown(&x->cpu_ns, cpu_clock(x)) : 0,
			 said = grown(&x->claim_ns, claim(x, now)), ran;

		read_counters(v, x);
		if (!held)
			continue;
		ran = busy(x, cpu, said, window);
		watchdog_count(x, ran, now);
		used = mdl_min_u64(used + ran, window);
		claimed = mdl_min_u64(claimed + mdl_min_u64(said, window), window);
	}
	v->window_ns = now;
	if (!held)
		return;
	used = mdl_max_u64(used, withheld(v, now - window, now));
	v->unclaimed_ns += used > claimed ? used - claimed : 0;
	if (used) {
		v->gpu_time_ns += used;
		if (!v->run_start_ns)
			trace_demand(v, true, now - window);
		v->run_start_ns = v->run_start_ns ? v->run_start_ns : now - window;
		v->run_used_ns += used;
	} else if (v->run_start_ns) {
		/* Idle since the last look, but nobody wanted the lease. */
		end_interval(v, now - window, TRACE_RUN);
		trace_demand(v, false, now - window);
	}
	v->hold_used_ns += used;
	v->uncharged_ns += used;
}

/*
 * The policy hears of it outside of actions only in settled states; the core takes charges at any
 * time.
 */
static void charge(struct vgpu *v, uint64_t now)
{
	if (v->uncharged_ns)
		mdl_sched_charge(v->gpu->sched, &v->entity, v->uncharged_ns, now);
	v->uncharged_ns = 0;
}

void account_charge(struct vgpu *v, uint64_t now)
{
	account_update(v, now);
	charge(v, now);
}

void account_begin_hold(struct vgpu *v, uint64_t now)
{
	/*
	 * The CPU time until now was without a lease, although the entity counts as holder already.
	 */
	now = mdl_max_u64(now, v->window_ns);
	count_unleased(v, now);
	for (struct executor *x = v->executors; x; x = x->vgpu_next) {
		x->hold_cpu_ns = x->cpu_ns;
		x->claim_ns = claim(x, now);
	}
	v->hold_used_ns = 0;
	v->window_ns = now;
	v->run_start_ns = v->run_used_ns = 0;
	v->asked_ns = v->late_ns = 0;
	v->ending = TRACE_RUN;
}

void account_hold_begun(struct vgpu *v, uint64_t now)
{
	v->window_ns = now;
}

void account_end_hold(struct vgpu *v, uint64_t now)
{
	account_update(v, now);
	end_interval(v, now, v->ending);
	charge(v, now);
}

void account_flush(struct vgpu *v, uint64_t now)
{
	account_update(v, now);
	end_interval(v, now, TRACE_RUN);
}

/* All that a vGPU's processes use without a lease, dead ones included. One look finds as much as all CPUs can give until then. */
static void burn(struct vgpu *v, uint64_t ns)
{
	int64_t least = -VGPU_BURN_MAX_NS - (int64_t)(AUDIT_QUIET_NS + AUDIT_NS) * v->m->cpus;

	v->burn_ns -= (int64_t)ns;
	v->burn_ns = v->burn_ns > least ? v->burn_ns : least;
}

/*
 * The executor is dead; its page is still there. What it used since the last look counts, with the
 * lease or without: else a guest could work unseen from one look to the next.
 */
void account_retire(struct executor *x)
{
	account_update(x->vgpu, mdl_now_ns());
	burn(x->vgpu, x->cpu_unleased_ns);
	account_wake_audit(x->vgpu);
}

double account_share(struct vgpu *v, uint64_t now)
{
	uint64_t at = v->created_ns, used = 0;

	account_update(v, now);
	for (uint32_t i = 0; i < SHARE_SAMPLES && i < v->samples; i++) {
		uint32_t k = (v->samples - 1 - i) % SHARE_SAMPLES;

		at = v->sample[k].at_ns;
		used = v->sample[k].gpu_time_ns;
		if (now - at >= MDL_NS_PER_S)
			break;
	}
	return now > at ? (double)(v->gpu_time_ns - used) / (double)(now - at) : 0;
}

/* ---- the audit ---- */

/*
 * Mappers and compilers go on while their executor is stopped, and a guest's native code can take
 * its mapper over: what works on, while its vGPU has used up all it may and its executor is
 * stopped, ends.
 */
static void audit_helpers(struct executor *x, uint64_t used, uint64_t passed)
{
	struct vgpu *v = x->vgpu;

	if (v->burn_ns >= 0 || !x->confined || used < passed / BURNS_SHARE) {
		x->helper_strikes = 0;
		return;
	}
	if (++x->helper_strikes < HELPER_STRIKES)
		return;
	mdl_log_limited(&v->lost_log, MDL_LOG_WARN,
			"%s: a helper process of context %u works on its own account: ended",
			v->inst->name, x->ctx);
	executor_kill(x);
}

static void confine(struct executor *x, uint64_t now)
{
	struct vgpu *v = x->vgpu;

	mdl_log_limited(&v->lost_log, MDL_LOG_WARN,
			"%s: executor of context %u works without lease: stopped while it has none",
			v->inst->name, x->ctx);
	v->confinements++;
	x->confined_until_ns = now + x->confine_ns;
	x->confine_ns = mdl_min_u64(2 * x->confine_ns, CONFINE_MAX_NS);
	lease_confine(x, true);
}

/* Stopped, and it works: it has found a way to go on. */
static void audit_stopped(struct executor *x, bool burns)
{
	if (!burns || !x->stop_sent || lease_holding(x->vgpu)) {
		x->stop_strikes = 0;
		return;
	}
	process_stop(&x->process);
	if (!x->confined || ++x->stop_strikes < HELPER_STRIKES)
		return;
	mdl_log_limited(&x->vgpu->lost_log, MDL_LOG_WARN,
			"%s: executor of context %u works although it is stopped: ended",
			x->vgpu->inst->name, x->ctx);
	executor_kill(x);
}

static void audit_executor(struct executor *x, uint64_t passed, uint64_t now)
{
	uint64_t helpers = grown(&x->helper_cpu_ns, helpers_clock(x)),
		 used = x->cpu_unleased_ns + helpers;
	bool burns = used > passed / BURNS_SHARE;

	burn(x->vgpu, used);
	x->burn_ns += (int64_t)(passed / BURN_SHARE) - (int64_t)x->cpu_unleased_ns;
	x->burn_ns = x->burn_ns < BURN_MAX_NS ? x->burn_ns : BURN_MAX_NS;
	x->cpu_unleased_ns = 0;
	if (x->killed)
		return;
	audit_helpers(x, helpers, passed);
	audit_stopped(x, burns);
	if (!x->confined && (x->burn_ns < 0 || (burns && x->vgpu->burn_ns < 0))) {
		confine(x, now);
	} else if (x->confined && now >= x->confined_until_ns && !x->helper_strikes) {
		x->burn_ns = BURN_MAX_NS / 4;
		lease_confine(x, false);
	}
}

/* True when it may again what it might not before. */
static bool refill(struct vgpu *v, uint64_t passed)
{
	bool overdrawn = v->burn_ns < 0;

	v->burn_ns += (int64_t)(passed / VGPU_BURN_SHARE);
	v->burn_ns = v->burn_ns < VGPU_BURN_MAX_NS ? v->burn_ns : VGPU_BURN_MAX_NS;
	return overdrawn && v->burn_ns >= 0;
}

static void take_sample(struct vgpu *v, uint64_t now)
{
	uint32_t k = v->samples++ % SHARE_SAMPLES;

	v->sample[k].at_ns = now;
	v->sample[k].gpu_time_ns = v->gpu_time_ns;
}

/* Whether an executor of a quiet vGPU works, so that it has to be looked at now. */
static bool stirs(const struct vgpu *v)
{
	for (const struct executor *x = v->executors; x; x = x->vgpu_next)
		if (cpu_clock(x) > x->cpu_ns + STIRS_NS)
			return true;
	return false;
}

/*
 * Returns whether nothing has happened to it since the last audit and nothing is to be given back. serve becomes true when
 * it may again what it might not before.
 */
static bool audit_vgpu(struct vgpu *v, uint64_t now, bool *serve)
{
	uint64_t passed = now - v->audit_ns, before = v->sample[(v->samples - 1) % SHARE_SAMPLES].gpu_time_ns;
	bool quiet;

	account_update(v, now);
	charge(v, now);
	lease_revive(v);
	vgpu_check_device(v, passed);
	*serve = refill(v, passed) || *serve;
	quiet = v->burn_ns == VGPU_BURN_MAX_NS && v->samples && v->gpu_time_ns == before;
	take_sample(v, now);
	for (struct executor *x = v->executors; x; x = x->vgpu_next) {
		quiet = quiet && !x->cpu_unleased_ns && !x->confined;
		audit_executor(x, passed, now);
	}
	v->audit_ns = now;
	return quiet;
}

static int on_audit(sd_event_source *s, uint64_t usec, void *arg)
{
	struct manager *m = arg;
	uint64_t now = mdl_now_ns();
	bool serve = false;

	m->audit_slow = true;
	for (struct mdl_instance *i = mdl_instance_next(m->mdev, NULL); i;
	     i = mdl_instance_next(m->mdev, i)) {
		struct vgpu *v = i->owner;

		if (v->audit_quiet <= QUIET_AFTER ||
		    now - v->audit_ns >= AUDIT_QUIET_NS - AUDIT_NS / 2 || stirs(v))
			v->audit_quiet = audit_vgpu(v, now, &serve) ? v->audit_quiet + 1 : 0;
		m->audit_slow = m->audit_slow && v->audit_quiet > QUIET_AFTER;
	}
	if (serve)
		executor_serve(m);
	for (size_t i = 0; i < MDL_MDEV_PGPUS_MAX && m->gpu[i]; i++)
		lease_rearm(m->gpu[i]);
	sd_event_source_set_time_relative(s, (m->audit_slow ? AUDIT_QUIET_NS : AUDIT_NS) / 1000);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

void account_wake_audit(struct vgpu *v)
{
	struct manager *m = v->m;

	/* Its last sample may be old: what it uses from now on would be told as a share of that time too. */
	if (v->audit_quiet > QUIET_AFTER)
		take_sample(v, mdl_now_ns());
	v->audit_quiet = 0;
	if (!m->audit_slow)
		return;
	m->audit_slow = false;
	sd_event_source_set_time_relative(m->audit, AUDIT_NS / 1000);
}

int account_start(struct manager *m)
{
	int err;

	m->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	err = sd_event_add_time_relative(m->event, &m->audit, CLOCK_MONOTONIC, AUDIT_NS / 1000,
					 10000, on_audit, m);
	return err < 0 ? err : 0;
}

void account_stop(struct manager *m)
{
	m->audit = sd_event_source_disable_unref(m->audit);
}
