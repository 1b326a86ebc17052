/* SPDX-License-Identifier: MIT */
/*
 * Leases: carries out the decisions of lib/sched on lease pages (lib/ipc/lease.h) and, where an
 * executor does not obey, on its process. A scheduling entity is a vGPU: all of its executors get
 * the lease together and must all have given it back before it is somebody else's.
 *
 * Everything in a page is a hint. An executor that lies in it gains nothing: what is not IDLE or
 * NONE counts as running, what runs is stopped at the end of its turn, and what burns CPU without a
 * lease is kept stopped while it has none (medleyd-account.c).
 *
 * A stopped or killed executor counts as not running from the signal on, and the GPU is somebody
 * else's at once: what is on a CPU is interrupted within microseconds, what is not will not get to
 * another instruction of its own. The next one's threads wake up meanwhile, and nobody waits for the
 * kernel's word that all of the others have stopped. That comes later; until then what they still
 * get is charged.
 *
 * Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fd.h"

/*
 * How often the wishes of one vGPU are looked at, however many contexts signal them: so often at once, and then not before the
 * window is over. A flood costs medleyd a few percent of a CPU for each vGPU, and a guest that really wants and leaves the GPU
 * this often waits a fraction of a quantum longer.
 */
#define WANTS_MAX	10
#define WANTS_WINDOW_NS MDL_NS_PER_MS
#define WANTS_AT_ONCE	64 /* executors in one look */

/* ---- one executor's page and process ---- */

static uint32_t word(const struct executor *x)
{
	return atomic_load(&x->lease->state);
}

static bool move(struct executor *x, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&x->lease->state, &from, to);
}

static bool has_work_stopped(const struct executor *x)
{
	uint32_t w = word(x);

	return x->stop_sent && w != MDL_LEASE_NONE && w != MDL_LEASE_IDLE;
}

static bool running(const struct executor *x)
{
	uint32_t w = word(x);

	return !x->killed && !x->stop_sent && w != MDL_LEASE_NONE && w != MDL_LEASE_IDLE;
}

static bool wants(const struct executor *x)
{
	return !x->killed && (x->confined || atomic_load(&x->lease->want) || has_work_stopped(x));
}

static void cont(struct executor *x)
{
	if (!x->stop_sent)
		return;
	x->stop_sent = x->stopping = false;
	process_signal(&x->process, SIGCONT);
}

static void halt(struct executor *x)
{
	if (x->stop_sent)
		return;
	x->stop_sent = true;
	process_stop(&x->process);
}

static void give(struct executor *x, bool contended)
{
	bool idle;

	if (x->killed)
		return;
	atomic_store(&x->lease->contended, contended);
	idle = move(x, MDL_LEASE_NONE, MDL_LEASE_IDLE);
	if (!idle && !move(x, MDL_LEASE_YIELD, MDL_LEASE_BUSY) && word(x) > MDL_LEASE_YIELD) {
		atomic_store(&x->lease->state, MDL_LEASE_IDLE); /* nonsense: as good as nothing */
		idle = true;
	}
	cont(x);
	/* Work that was stopped just goes on. */
	if (idle)
		mdl_eventfd_signal(x->grant_fd);
}

/* What has no lease and cannot be trusted without one is stopped. */
static void rest(struct executor *x)
{
	if (x->confined && !x->killed)
		halt(x);
}

/* ---- one vGPU ---- */

static bool any_running(const struct vgpu *v)
{
	for (const struct executor *x = v->executors; x; x = x->vgpu_next)
		if (running(x))
			return true;
	return false;
}

static bool any_wants(const struct vgpu *v)
{
	for (const struct executor *x = v->executors; x; x = x->vgpu_next)
		if (wants(x))
			return true;
	return false;
}

static bool any_alive(const struct vgpu *v)
{
	for (const struct executor *x = v->executors; x; x = x->vgpu_next)
		if (!x->killed)
			return true;
	return false;
}

bool lease_holding(const struct vgpu *v)
{
	return v->entity.state >= MDL_SCHED_HOLDING;
}

void lease_rearm(struct gpu *g)
{
	uint64_t due = mdl_min_u64(mdl_sched_deadline(g->sched), g->watchdog_ns);

	if (!mdl_sched_waiting(g->sched))
		g->contended_ns = 0;
	else if (!g->contended_ns)
		g->contended_ns = mdl_now_ns();
	if (due != g->timer_ns)
		g->timer_due_ns = mdl_max_u64(due, mdl_now_ns());
	g->timer_ns = due;
	if (due == MDL_SCHED_NEVER) {
		sd_event_source_set_enabled(g->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(g->timer, due / 1000 + 1);
	sd_event_source_set_enabled(g->timer, SD_EVENT_ONESHOT);
}

/* The lease is back in our hands, all of it. */
static void end_hold(struct vgpu *v)
{
	for (struct executor *x = v->executors; x; x = x->vgpu_next) {
		move(x, MDL_LEASE_IDLE, MDL_LEASE_NONE);
		/* Gave back just as it was stopped: it must go on listening to its guest. */
		if (x->stop_sent && !has_work_stopped(x) && !x->confined)
			cont(x);
		rest(x);
	}
	account_end_hold(v, mdl_now_ns());
	watchdog_end_hold(v);
}

static void release(struct vgpu *v)
{
	bool more;

	end_hold(v);
	more = any_wants(v);
	trace_demand(v, more, mdl_now_ns());
	mdl_sched_released(v->gpu->sched, &v->entity, more, mdl_now_ns());
}

/* ---- the scheduler's decisions ---- */

static void on_grant(void *ctx, struct mdl_sched_entity *e)
{
	struct vgpu *v = e->owner;
	bool contended = mdl_sched_waiting(v->gpu->sched) > 0;
	uint64_t now = mdl_now_ns();

	v->gpu->switches++;
	account_begin_hold(v, now);
	watchdog_begin_hold(v, now);
	for (struct executor *x = v->executors; x; x = x->vgpu_next) {
		give(x, contended);
		if (x == v->executors)
			account_hold_begun(v, mdl_now_ns());
	}
	account_wake_audit(v);
}

static bool may_take(const struct vgpu *v, bool over)
{
	for (const struct executor *x = v->executors; x; x = x->vgpu_next) {
		if (running(x))
			return false;
		/* Granted and about to start. */
		if (!over && !x->killed && word(x) == MDL_LEASE_IDLE &&
		    atomic_load(&x->lease->want))
			return false;
	}
	return true;
}

static bool on_take(void *ctx, struct mdl_sched_entity *e, bool over, bool *ret_awake)
{
	struct vgpu *v = e->owner;
	struct executor *x, *y;

	/* Before the words are looked at: see `contended` in lease.h. */
	for (x = v->executors; x; x = x->vgpu_next)
		atomic_store(&x->lease->contended, 1);
	if (!may_take(v, over))
		return false;
	for (x = v->executors; x; x = x->vgpu_next) {
		if (move(x, MDL_LEASE_IDLE, MDL_LEASE_NONE) || word(x) == MDL_LEASE_NONE ||
		    x->killed)
			continue;
		/* It has just begun. The others get back what we took. */
		for (y = v->executors; y != x; y = y->vgpu_next)
			give(y, true);
		return false;
	}
	end_hold(v);
	*ret_awake = any_wants(v);
	trace_demand(v, *ret_awake, mdl_now_ns());
	return true;
}

/*
 * GPU time of the packet that runs longest, as the watchdog counts it. Which packet it is, is the page's word: who says that a new
 * one has begun gets the grace, as if that were true.
 */
static uint64_t longest_run(const struct vgpu *v)
{
	uint64_t longest = 0;

	for (const struct executor *x = v->executors; x; x = x->vgpu_next)
		if (running(x))
			longest = mdl_max_u64(longest, x->packet_ns);
	return longest;
}

static uint64_t on_ask(void *ctx, struct mdl_sched_entity *e)
{
	struct vgpu *v = e->owner;

	v->asked_ns = mdl_now_ns();
	v->late_ns = v->gpu->in_timer ? v->asked_ns - v->gpu->timer_due_ns : 0;
	v->ending = TRACE_YIELDED;
	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		if (!move(x, MDL_LEASE_BUSY, MDL_LEASE_YIELD))
			move(x, MDL_LEASE_IDLE, MDL_LEASE_NONE);
	if (!any_running(v)) {
		release(v);
		return 0;
	}
	account_update(v, v->asked_ns);
	return longest_run(v);
}

static void on_stop(void *ctx, struct mdl_sched_entity *e)
{
	struct vgpu *v = e->owner;

	v->preemptions++;
	v->stop_ns = mdl_now_ns();
	v->ending = TRACE_PREEMPTED;
	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		if (running(x)) {
			halt(x);
			x->stopping = true;
		}
	release(v);
}

static void on_account(void *ctx, struct mdl_sched_entity *e)
{
	account_charge(e->owner, mdl_now_ns());
}

static const struct mdl_sched_actions actions = {
	.grant = on_grant,
	.take = on_take,
	.ask = on_ask,
	.stop = on_stop,
	.account = on_account,
};

/* Whether it has stopped. Only stops are asked for: an end is left to be reaped by its pidfd. */
static bool stands_still(const struct executor *x)
{
	siginfo_t info = { 0 };

	return x->killed ||
	       (waitid(P_PID, (id_t)x->process.pid, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid);
}

static void confirm_stops(struct vgpu *v)
{
	bool some = false, left = false;

	for (struct executor *x = v->executors; x; x = x->vgpu_next) {
		x->still = x->stopping && stands_still(x);
		some |= x->still;
		left |= x->stopping && !x->still;
	}
	if (!some)
		return;
	account_charge(v, mdl_now_ns());
	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		x->stopping &= !x->still;
	if (!left) {
		trace_stopped(v, v->overrun_ns, mdl_now_ns());
		v->overrun_ns = 0;
	}
	lease_revive(v);
}

void lease_confirm_stops(struct manager *m)
{
	for (struct mdl_instance *i = mdl_instance_next(m->mdev, NULL); i;
	     i = mdl_instance_next(m->mdev, i))
		confirm_stops(i->owner);
}

/* ---- what executors say ---- */

/*
 * An executor that gave the lease back between SIGSTOP and its stop is stopped although it has
 * nothing to stop: it must go on listening to its guest.
 */
void lease_revive(struct vgpu *v)
{
	if (lease_holding(v))
		return;
	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		if (x->stop_sent && !x->killed && !x->confined && !has_work_stopped(x)) {
			move(x, MDL_LEASE_IDLE, MDL_LEASE_NONE);
			cont(x);
		}
}

void lease_update(struct vgpu *v)
{
	struct mdl_sched *s = v->gpu->sched;
	uint64_t now = mdl_now_ns();

	switch (v->entity.state) {
	case MDL_SCHED_ASLEEP:
		if (!any_wants(v))
			break;
		trace_demand(v, true, now);
		mdl_sched_wake(s, &v->entity, now);
		break;
	case MDL_SCHED_WAITING:
		if (any_wants(v))
			break;
		trace_demand(v, false, now);
		mdl_sched_sleep(s, &v->entity, now);
		break;
	case MDL_SCHED_HOLDING:
		if (!any_alive(v)) {
			release(v);
			break;
		}
		for (struct executor *x = v->executors; x; x = x->vgpu_next) {
			atomic_store(&x->lease->contended, mdl_sched_waiting(s) > 0);
			if (wants(x) && word(x) == MDL_LEASE_NONE)
				give(x, mdl_sched_waiting(s) > 0);
		}
		if (any_wants(v) || any_running(v))
			mdl_sched_wake(s, &v->entity, now); /* traced when it uses it */
		else
			mdl_sched_sleep(s, &v->entity, now);
		break;
	case MDL_SCHED_ASKED:
		if (!any_running(v))
			release(v);
		break;
	default:
		break;
	}
	lease_rearm(v->gpu);
}

/*
 * Some of its executors have signalled WANT. Edge-triggered: their counters are never read, and however often one has
 * signalled since the last look, it is here once.
 */
static int on_wants(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct epoll_event ev[WANTS_AT_ONCE];
	struct vgpu *v = arg;
	int n = epoll_wait(v->wants_fd, ev, MDL_ARRAY_SIZE(ev), 0);

	for (int i = 0; i < n; i++)
		place_look(ev[i].data.ptr);
	lease_update(v);
	return 0;
}

static int watch_wants(struct vgpu *v)
{
	int err;

	v->wants_fd = epoll_create1(EPOLL_CLOEXEC);
	if (v->wants_fd < 0)
		return -errno;
	err = sd_event_add_io(v->m->event, &v->wants_source, v->wants_fd, EPOLLIN, on_wants, v);
	if (err >= 0)
		err = sd_event_source_set_priority(v->wants_source, PRIORITY_LEASE);
	if (err >= 0)
		err = sd_event_source_set_ratelimit(v->wants_source, WANTS_WINDOW_NS / 1000,
						    WANTS_MAX);
	return err < 0 ? err : 0;
}

void lease_join(struct executor *x)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.ptr = x };

	if (epoll_ctl(x->vgpu->wants_fd, EPOLL_CTL_ADD, x->want_fd, &ev) < 0) {
		/* Without its wishes it is useless: it ends, and the device is told. */
		executor_kill(x);
		return;
	}
	process_find_threads(&x->process);
	account_admit(x);
	lease_update(x->vgpu);
}

void lease_leave(struct executor *x)
{
	/* By hand: it has the description open too, so closing our descriptor does not take it out of the set. */
	epoll_ctl(x->vgpu->wants_fd, EPOLL_CTL_DEL, x->want_fd, NULL);
	if (x->vgpu->entity.state != MDL_SCHED_DETACHED)
		lease_update(x->vgpu);
}

void lease_confine(struct executor *x, bool confined)
{
	x->confined = confined;
	if (lease_holding(x->vgpu))
		return;
	if (confined)
		halt(x);
	else if (!has_work_stopped(x))
		cont(x);
	lease_update(x->vgpu);
}

/* ---- one GPU ---- */

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct gpu *g = arg;

	watchdog_run(g, mdl_now_ns());
	g->in_timer = true;
	mdl_sched_run(g->sched, mdl_now_ns());
	g->in_timer = false;
	lease_rearm(g);
	return 0;
}

int lease_attach(struct vgpu *v)
{
	int err;

	v->entity.owner = v;
	err = watch_wants(v);
	if (!err)
		err = mdl_sched_attach(v->gpu->sched, &v->entity, mdl_now_ns());
	if (!err)
		trace_attach(v);
	return err;
}

/* All of its executors are gone. */
void lease_detach(struct vgpu *v)
{
	v->wants_source = sd_event_source_disable_unref(v->wants_source);
	mdl_close_fd(&v->wants_fd);
	if (v->entity.state == MDL_SCHED_DETACHED)
		return;
	if (lease_holding(v)) {
		account_end_hold(v, mdl_now_ns());
		watchdog_end_hold(v);
	}
	mdl_sched_detach(v->gpu->sched, &v->entity, mdl_now_ns());
	trace_detach(v, mdl_now_ns());
	lease_rearm(v->gpu);
}

int gpu_create(struct manager *m, struct mdl_pgpu *pgpu, struct gpu **ret_gpu)
{
	struct gpu *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	g->m = m;
	g->pgpu = pgpu;
	g->watchdog_ns = MDL_SCHED_NEVER;
	err = mdl_sched_create(m->opt.policy, &m->opt.sched, &actions, g, mdl_now_ns(), &g->sched);
	if (!err) {
		/* Accuracy 1: sd-event takes 0 for its default, a quarter of a second. */
		err = sd_event_add_time(m->event, &g->timer, CLOCK_MONOTONIC, 0, 1, on_timer, g);
		err = err > 0 ? 0 : err;
	}
	if (err) {
		gpu_destroy(g);
		return err;
	}
	/*
	 * Before the wishes: setting a source's time again makes it line up anew, and each wish does
	 * that, so that a flood of them would keep turns from ending.
	 */
	sd_event_source_set_priority(g->timer, PRIORITY_LEASE - 1);
	sd_event_source_set_enabled(g->timer, SD_EVENT_OFF);
	pgpu->owner = g;
	*ret_gpu = g;
	return 0;
}

void gpu_destroy(struct gpu *g)
{
	if (!g)
		return;
	g->timer = sd_event_source_disable_unref(g->timer);
	mdl_sched_destroy(g->sched);
	free(g);
}
