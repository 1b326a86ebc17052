/* SPDX-License-Identifier: MIT */
/*
 * Executors: a pool of started ones that have their OpenCL runtime up (warm) waits for contexts, so
 * that opening one takes milliseconds; it is refilled in the background, at low priority. An
 * executor serves one context and never another: when its context closes it is killed, and when it
 * is dead (and with it everything in its pid namespace, so that it holds no memory any more) its
 * device is told CTX_LOST, exactly once for each executor that was granted.
 *
 * vGPUs that wait for an executor are served in turn, one context at a time, and each at a limited
 * pace, so that a guest that opens and closes contexts in a loop delays nobody else. A vGPU that
 * loses executors (a crash, the watchdog, one that had to be killed) again and again gets the next
 * ones after ever longer pauses. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define WARMING_NICE	 10
#define WARMING_AT_ONCE	 2 /* each start burns a CPU for a while */
#define WAITING_EXTRA	 4 /* started beyond the pool's size for those who wait */
#define POOL_DEATHS_MAX	 5 /* in a row: those who wait are refused */
/* Pace of one vGPU: this many at once, then one each interval. */
#define OPEN_BURST	 16
#define OPEN_INTERVAL_NS (100 * MDL_NS_PER_MS)
/* So many losses within the window begin a series; each one more doubles the pause. */
#define LOSSES_MIN	 3
#define LOSSES_WINDOW_NS (10 * MDL_NS_PER_S)
#define PAUSE_FIRST_NS	 (50 * MDL_NS_PER_MS)
#define PAUSE_MAX_NS	 (10 * MDL_NS_PER_S)

static int on_pool_timer(sd_event_source *s, uint64_t usec, void *arg);

static void pool_later(struct manager *m, uint64_t ns)
{
	if (m->pool_timer) {
		sd_event_source_set_time_relative(m->pool_timer, ns / 1000);
		sd_event_source_set_enabled(m->pool_timer, SD_EVENT_ONESHOT);
	}
}

/* Not so long as it has overdrawn, or lost too many. */
static bool may_open(const struct vgpu *v)
{
	return v->burn_ns >= 0 && !v->throttled;
}

/* Its last losses are not forgotten yet. */
static bool in_series(const struct vgpu *v, uint64_t now)
{
	uint64_t quiet_since = v->losses >= LOSSES_MIN ? v->pause_end_ns : v->losses_since_ns;

	return v->losses && (now <= quiet_since || now - quiet_since <= LOSSES_WINDOW_NS);
}

static uint32_t waiting_contexts(struct manager *m)
{
	uint32_t n = 0;

	for (struct mdl_instance *i = mdl_instance_next(m->mdev, NULL); i;
	     i = mdl_instance_next(m->mdev, i)) {
		const struct vgpu *v = i->owner;

		if (may_open(v))
			n += (uint32_t)__builtin_popcountll(v->open_wanted);
	}
	return n;
}

/* Somebody waits for an executor, and not because he has just lost one: losing them must not cost neighbours CPU time. */
static bool anybody_hurries(struct manager *m)
{
	uint64_t now = mdl_now_ns();

	for (struct mdl_instance *i = mdl_instance_next(m->mdev, NULL); i;
	     i = mdl_instance_next(m->mdev, i)) {
		const struct vgpu *v = i->owner;

		if (v->open_wanted && may_open(v) && !in_series(v, now))
			return true;
	}
	return false;
}

/* Its own process group, so that this reaches all of its threads. */
static void set_nice(struct executor *x, bool nice)
{
	if (!x->m->privileged || x->nice == nice)
		return;
	x->nice = nice;
	setpriority(PRIO_PGRP, (id_t)x->process.pid, nice ? WARMING_NICE : 0);
}

static void unlink_from_vgpu(struct executor *x)
{
	struct executor **p = &x->vgpu->executors;

	while (*p != x)
		p = &(*p)->vgpu_next;
	*p = x->vgpu_next;
	x->vgpu = NULL;
}

void executor_free(struct executor *x)
{
	if (!x)
		return;
	if (x->vgpu)
		unlink_from_vgpu(x);
	place_end(x);
	x->ready_source = sd_event_source_disable_unref(x->ready_source);
	process_end_now(&x->process);
	if (x->lease)
		munmap(x->lease, sizeof(*x->lease));
	mdl_close_fd(&x->control);
	mdl_close_fd(&x->map);
	mdl_close_fd(&x->grant_fd);
	mdl_close_fd(&x->want_fd);
	if (x->next) {
		x->prev->next = x->next;
		x->next->prev = x->prev;
		x->m->num_executors--;
	}
	free(x);
}

void executor_kill(struct executor *x)
{
	if (x->killed)
		return;
	x->killed = true;
	process_signal(&x->process, SIGKILL);
	if (x->vgpu)
		lease_leave(x);
}

static bool in_pool(const struct executor *x)
{
	return !x->vgpu && !x->killed;
}

static void pool_member_died(struct executor *x, int status)
{
	struct manager *m = x->m;
	char how[80];

	process_describe_end(status, how, sizeof(how));
	mdl_log_limited(&m->pool_log, MDL_LOG_WARN, "executor %s %s",
			x->warm ? "in the pool" : "that was starting", how);
	if (!x->warm)
		m->pool_deaths++;
}

/* It did not just do as it was told. */
static bool guests_doing(const struct executor *x, int status)
{
	if (x->faulted)
		return true;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return x->killed && !x->expected;
	return !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || !x->expected;
}

/* ---- those who lose them again and again ---- */

static int on_open_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct vgpu *v = arg;

	v->throttled = mdl_now_ns() < v->pause_end_ns;
	executor_serve(v->m);
	return 0;
}

/* The vGPU is looked at again then. */
static void serve_at(struct vgpu *v, uint64_t ns)
{
	if (!v->open_timer)
		sd_event_add_time(v->m->event, &v->open_timer, CLOCK_MONOTONIC, 0, 1000,
				  on_open_timer, v);
	if (!v->open_timer) {
		v->throttled = false;
		return;
	}
	sd_event_source_set_time(v->open_timer, ns / 1000 + 1);
	sd_event_source_set_enabled(v->open_timer, SD_EVENT_ONESHOT);
}

static void count_loss(struct vgpu *v, uint64_t now)
{
	uint64_t ns;

	if (!in_series(v, now))
		v->losses = 0;
	if (!v->losses++)
		v->losses_since_ns = now;
	if (v->losses < LOSSES_MIN)
		return;
	ns = mdl_min_u64(PAUSE_FIRST_NS << mdl_min_u64(v->losses - LOSSES_MIN, 16), PAUSE_MAX_NS);
	v->pause_end_ns = now + ns;
	if (!v->throttled) {
		v->throttled = true;
		mdl_log_limited(&v->lost_log, MDL_LOG_WARN,
				"%s: lost %u executors: no new one for %llu ms", v->inst->name,
				v->losses, (unsigned long long)(ns / MDL_NS_PER_MS));
		api_event(v->m, "throttled", v,
			  json_pack("{s:i, s:I}", "losses", (int)v->losses, "pause_ns",
				    (json_int_t)ns));
	}
	serve_at(v, v->pause_end_ns);
}

static void on_executor_ended(struct process *p, int status)
{
	struct executor *x = mdl_container_of(p, struct executor, process);
	struct manager *m = x->m;
	struct vgpu *v = x->vgpu;
	char how[80];

	if (!v) {
		pool_member_died(x, status);
		executor_free(x);
		executor_pool_fill(m);
		return;
	}
	if (!x->killed) {
		x->killed = true;
		lease_leave(x);
	}
	account_retire(x);
	if (guests_doing(x, status) && !v->removing && v->device.pid)
		count_loss(v, mdl_now_ns());
	if (!x->expected && !x->lost_error && !v->removing && v->device.pid) {
		v->executors_lost++;
		process_describe_end(status, how, sizeof(how));
		mdl_log_limited(&v->lost_log, MDL_LOG_WARN, "%s: executor of context %u %s",
				v->inst->name, x->ctx, how);
		if (!v->lost_log.dropped)
			api_event(m, "executor-lost", v,
				  json_pack("{s:i, s:s}", "context", x->ctx, "how", how));
	}
	vgpu_send_lost(v, x);
	executor_free(x);
	vgpu_settle_removal(v);
	executor_pool_fill(m);
}

/*
 * The only thing that an executor says on its own before it has a device is EXEC_READY; reading it
 * is the device's business.
 */
static int on_ready(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct executor *x = arg;
	struct manager *m = x->m;
	char byte;

	x->ready_source = sd_event_source_disable_unref(x->ready_source);
	if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
		return 0; /* hung up: its end will be noticed */
	x->warm = true;
	x->helpers = (uint32_t)process_children(&x->process, x->helper, EXECUTOR_HELPERS);
	x->warm_cpu_ns = process_cpu_ns(x->process.pid);
	m->pool_deaths = 0;
	set_nice(x, false);
	mdl_log(MDL_LOG_DEBUG, "executor %d warm after %llu ms", x->process.pid,
		(unsigned long long)((mdl_now_ns() - x->started_ns) / MDL_NS_PER_MS));
	executor_serve(m);
	executor_pool_fill(m);
	return 0;
}

static int open_channels(struct executor *x, int theirs[5])
{
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	x->control = pair[0];
	theirs[0] = pair[1];
	/* Blocking: the mapper waits in recvmsg(); mdl_ipc_*() never do. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	x->map = pair[0];
	theirs[1] = pair[1];
	err = mdl_memfd_create("medley-lease", (uint64_t)sysconf(_SC_PAGESIZE), &theirs[2]);
	if (err)
		return err;
	x->lease = mmap(NULL, sizeof(*x->lease), PROT_READ | PROT_WRITE, MAP_SHARED, theirs[2], 0);
	if (x->lease == MAP_FAILED) {
		x->lease = NULL;
		return -errno;
	}
	x->grant_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x->want_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (x->grant_fd < 0 || x->want_fd < 0)
		return -errno;
	theirs[3] = x->grant_fd;
	theirs[4] = x->want_fd;
	return 0;
}

static int start_executor(struct manager *m)
{
	struct executor *x = calloc(1, sizeof(*x));
	int theirs[5] = { -1, -1, -1, -1, -1 };
	char units[16];
	const char *args[] = { "--compute-units", units, NULL, NULL, NULL };
	int err;

	if (!x)
		return -ENOMEM;
	x->m = m;
	x->control = x->map = x->grant_fd = x->want_fd = x->process.pidfd = -1;
	x->started_ns = mdl_now_ns();
	snprintf(units, sizeof(units), "%u", m->opt.compute_units);
	if (m->opt.compute_cpus) {
		args[2] = "--compute-cpus";
		args[3] = m->opt.compute_cpus;
	}
	err = open_channels(x, theirs);
	if (!err)
		err = process_start(&x->process, m, "medley-exec", args, theirs, 5,
				    on_executor_ended);
	for (int i = 0; i < 3; i++)
		mdl_close_fd(&theirs[i]);
	if (!err) {
		set_nice(x, !anybody_hurries(m));
		err = sd_event_add_io(m->event, &x->ready_source, x->control, EPOLLIN, on_ready, x);
		err = err > 0 ? 0 : err;
	}
	if (err) {
		executor_free(x);
		return err;
	}
	sd_event_source_set_priority(x->ready_source, PRIORITY_POOL);
	x->prev = m->executors.prev;
	x->next = &m->executors;
	x->prev->next = x->next->prev = x;
	m->num_executors++;
	return 0;
}

/* ---- the pool ---- */

static void refuse_waiting(struct manager *m, int error)
{
	for (struct mdl_instance *i = mdl_instance_next(m->mdev, NULL); i;
	     i = mdl_instance_next(m->mdev, i)) {
		struct vgpu *v = i->owner;

		while (v->open_wanted) {
			uint32_t ctx = (uint32_t)__builtin_ctzll(v->open_wanted);

			v->open_wanted &= ~(1ull << ctx);
			vgpu_send_ctx(v, MDL_IPC_CTX_GRANTED, ctx, (uint32_t)error, NULL, 0);
		}
	}
}

void executor_pool_fill(struct manager *m)
{
	uint32_t idle = 0, warming = 0, waiting = waiting_contexts(m);
	uint64_t now = mdl_now_ns();
	const char *why;
	int err = 0;

	if (m->stopping)
		return;
	for (struct executor *x = m->executors.next; x != &m->executors; x = x->next) {
		if (!in_pool(x))
			continue;
		idle++;
		warming += !x->warm;
		if (!x->warm)
			set_nice(x, !anybody_hurries(m));
		why = x->warm ? NULL : warm_look(x, now);
		if (why) {
			mdl_log_limited(&m->pool_log, MDL_LOG_WARN, "executor %s: ended", why);
			process_signal(&x->process, SIGKILL);
		}
	}
	if (m->pool_deaths >= POOL_DEATHS_MAX)
		refuse_waiting(m, EIO);
	if (m->pool_deaths) {
		/*
		 * Ever more slowly while they die at the start; an executor that gets warm resets
		 * it.
		 */
		uint64_t pause = 100 * MDL_NS_PER_MS << mdl_min_u64(m->pool_deaths, 7);

		if (now - m->pool_last_ns < pause) {
			pool_later(m, mdl_min_u64(pause - (now - m->pool_last_ns), WARM_LOOK_NS));
			return;
		}
	}
	while (!err && idle < m->opt.pool + mdl_min_u64(waiting, WAITING_EXTRA) &&
	       warming < WARMING_AT_ONCE && m->num_executors < EXECUTORS_MAX) {
		m->pool_last_ns = now;
		err = start_executor(m);
		idle++;
		warming++;
		if (m->pool_deaths)
			break;
	}
	if (err) {
		mdl_log_limited(&m->pool_log, MDL_LOG_ERROR, "cannot start medley-exec: %s",
				strerror(-err));
		m->pool_deaths++;
		refuse_waiting(m, -err);
		pool_later(m, MDL_NS_PER_S);
	} else if (warming) {
		pool_later(m, WARM_LOOK_NS);
	}
}

static int on_pool_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	executor_pool_fill(arg);
	return 0;
}

/* ---- handing out ---- */

static struct executor *find_warm(struct manager *m)
{
	for (struct executor *x = m->executors.next; x != &m->executors; x = x->next)
		if (in_pool(x) && x->warm)
			return x;
	return NULL;
}

static void hand_out(struct executor *x, struct vgpu *v, uint32_t ctx)
{
	int fds[2] = { x->control, x->map };

	x->vgpu = v;
	x->ctx = ctx;
	x->vgpu_next = v->executors;
	v->executors = x;
	v->contexts_opened++;
	lease_join(x);
	vgpu_send_ctx(v, MDL_IPC_CTX_GRANTED, ctx, 0, fds, 2);
	/*
	 * The device and the executor alone hold the links now: the end of either is seen by the
	 * other.
	 */
	mdl_close_fd(&x->control);
	mdl_close_fd(&x->map);
}

/*
 * Whether the vGPU's pace allows one more now; if not, it is looked at again when it does. The
 * executor must be replaced: starting them takes no more than one CPU's time for each vGPU.
 */
static bool pace_allows(struct vgpu *v, uint64_t now, const struct executor *x)
{
	uint64_t tat = mdl_max_u64(v->open_tat_ns, now),
		 interval = mdl_max_u64(OPEN_INTERVAL_NS, x->warm_cpu_ns);

	if (tat - now < OPEN_BURST * interval) {
		v->open_tat_ns = tat + interval;
		return true;
	}
	serve_at(v, tat - OPEN_BURST * interval);
	return false;
}

void executor_serve(struct manager *m)
{
	size_t passed = 0, n = mdl_instance_count(m->mdev);
	struct vgpu *v = m->serve_next;
	struct mdl_instance *i;
	struct executor *x;
	uint64_t now = mdl_now_ns();

	while (passed < n && (x = find_warm(m))) {
		if (!v) {
			i = mdl_instance_next(m->mdev, NULL);
			v = i->owner;
		}
		if (v->open_wanted && may_open(v) && pace_allows(v, now, x)) {
			uint32_t ctx = (uint32_t)__builtin_ctzll(v->open_wanted);

			v->open_wanted &= ~(1ull << ctx);
			hand_out(x, v, ctx);
			passed = 0;
		} else {
			passed++;
		}
		i = mdl_instance_next(m->mdev, v->inst);
		v = i ? i->owner : NULL;
	}
	m->serve_next = v;
	executor_pool_fill(m);
}

int executor_pool_start(struct manager *m)
{
	int err;

	m->executors.prev = m->executors.next = &m->executors;
	err = sd_event_add_time_relative(m->event, &m->pool_timer, CLOCK_MONOTONIC, 0, 10000,
					 on_pool_timer, m);
	if (err < 0)
		return err;
	sd_event_source_set_priority(m->pool_timer, PRIORITY_POOL);
	return 0;
}

/* The end of medleyd: all executors, whoever has them. */
void executor_pool_stop(struct manager *m)
{
	m->pool_timer = sd_event_source_disable_unref(m->pool_timer);
	if (!m->executors.next)
		return;
	for (struct executor *x = m->executors.next; x != &m->executors; x = x->next)
		process_signal(&x->process, SIGKILL);
	while (m->executors.next != &m->executors)
		executor_free(m->executors.next);
}
