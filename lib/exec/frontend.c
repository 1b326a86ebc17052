/* SPDX-License-Identifier: MIT */
/*
 * The front end of one GPU context: fetches packets of its channels, in order within a channel, round robin between them, and
 * runs them under the lease. One thread does everything here; kernels run on the backend's threads while it waits for them. So
 * nothing is asked of the control link while a kernel runs: medley-device has a time limit for that and kills.
 *
 * Awake, it polls put of every channel, as long as awake.c finds that worth it and work could start at once, which is while the vGPU
 * has the lease. Then it says so (doorbell_wanted) and sleeps on doorbells, the control link, the grant and the compiler. A channel
 * that waits for a semaphore is looked at from time to time, without the lease.
 */
#include "exec/frontend.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"
#include "exec/awake.h"
#include "exec/control.h"
#include "exec/fault.h"

#define EVENTS_EVERY_NS	(50 * MDL_NS_PER_US)	/* while busy or awake, descriptors are looked at so often */
#define RETRY_MIN_NS	(50 * MDL_NS_PER_US)	/* semaphores are looked at again after this, then twice as long, ... */
#define RETRY_MAX_NS	(2 * MDL_NS_PER_MS)
#define EVENTS_MAX	16

/* What a round over all channels found. */
struct round {
	bool progress;		/* a packet ran, or a channel stopped */
	bool ready;		/* a packet could run but there is no lease */
	bool blocked;		/* a packet waits for a semaphore */
};

static void relax(void)
{
	__builtin_ia32_pause();
}

/* ---- Channels ---- */

static enum mdl_step fetch(struct mdl_exec_chan *c)
{
	uint64_t put, size = 1ull << c->ring_log2;
	const struct mdl_hw_packet *slot;

	if (c->stopped)
		return MDL_STEP_EMPTY;
	if (c->have)
		return MDL_STEP_READY;
	/* Acquire: pairs with the guest's release of put after it wrote the packet. */
	put = atomic_load_explicit((_Atomic uint64_t *)&c->user->put, memory_order_acquire);
	if (put == c->get)
		return MDL_STEP_EMPTY;
	mdl_fault_set_packet((uint16_t)c->index, 0);
	if (put - c->get > size)
		return mdl_step_fail(c, MDL_ERR_BAD_RING, 0);
	slot = (const struct mdl_hw_packet *)(uintptr_t)(c->ring_va + (c->get & (size - 1)) * sizeof(*slot));
	/* One copy; what the guest changes in the ring from here on has no effect. */
	memcpy(&c->pkt, slot, sizeof(c->pkt));
	c->have = true;
	c->prepared = false;
	c->pos = 0;
	c->since_ns = 0;
	c->load_state = MDL_LOAD_NEW;
	c->built = NULL;
	return MDL_STEP_READY;
}

/* One step of one channel. */
static int serve(struct mdl_exec *x, struct mdl_exec_chan *c, struct round *r)
{
	enum mdl_step step = fetch(c);

	if (step == MDL_STEP_READY)
		step = mdl_packet_prepare(x, c);
	if (step == MDL_STEP_READY) {
		if (!mdl_exec_lease_take(&x->lease)) {
			r->ready = true;
			return 0;
		}
		step = mdl_packet_run(x, c);
		r->progress = true;
	}
	switch (step) {
	case MDL_STEP_DONE:
		mdl_packet_complete(x, c);
		return 0;
	case MDL_STEP_FAILED:
		r->progress = true;
		return mdl_control_chan_error(x, c);
	case MDL_STEP_BLOCKED:
		r->blocked = true;
		return 0;
	default:
		return 0;
	}
}

/* For those who look at the manager: what waits in the rings. */
static void tell_queued(struct mdl_exec *x)
{
	uint32_t queued = 0;

	for (uint32_t i = 0; i < x->num_chans; i++) {
		const struct mdl_exec_chan *c = x->chan[i];
		uint64_t put = atomic_load_explicit((_Atomic uint64_t *)&c->user->put, memory_order_relaxed);

		if (!c->stopped)
			queued += (uint32_t)mdl_min_u64(put - c->get, 1ull << c->ring_log2);
	}
	if (queued != atomic_load_explicit(&x->lease.page->queued, memory_order_relaxed))
		atomic_store_explicit(&x->lease.page->queued, queued, memory_order_relaxed);
}

static int serve_all(struct mdl_exec *x, struct round *r)
{
	tell_queued(x);
	*r = (struct round){ 0 };
	for (uint32_t n = x->num_chans; n; n--) {
		int err;

		/* Packet boundary. */
		if (mdl_exec_lease_asked(&x->lease))
			mdl_exec_lease_give(&x->lease, true);
		x->next_chan = (x->next_chan + 1) % x->num_chans;
		err = serve(x, x->chan[x->next_chan], r);
		if (err)
			return err;
	}
	return 0;
}

/* ---- Events ---- */

static int handle_events(struct mdl_exec *x, struct epoll_event *ev, int n)
{
	bool control = false;

	for (int i = 0; i < n; i++) {
		switch (ev[i].data.u32) {
		case MDL_EVENT_CONTROL:
			control = true;
			break;
		case MDL_EVENT_GRANT:
			mdl_eventfd_take(x->grant_fd);
			break;
		case MDL_EVENT_COMPILED:
			mdl_program_compiled(x);
			break;
		default:
			for (uint32_t c = 0; c < x->num_chans; c++)
				if (x->chan[c]->index == ev[i].data.u32)
					mdl_eventfd_take(x->chan[c]->doorbell_fd);
			break;
		}
	}
	/* Last: it may close channels that the other events are about. */
	return control ? mdl_control_handle(x) : 0;
}

/* Looks at all descriptors; waits up to wait_ns for one (UINT64_MAX: for ever). */
static int events(struct mdl_exec *x, uint64_t wait_ns)
{
	struct epoll_event ev[EVENTS_MAX];
	struct pollfd p = { .fd = x->epoll, .events = POLLIN };
	struct timespec ts = { .tv_sec = (time_t)(wait_ns / MDL_NS_PER_S), .tv_nsec = (long)(wait_ns % MDL_NS_PER_S) };
	int n;

	/* epoll_wait() counts in milliseconds; ppoll() on the epoll descriptor in nanoseconds. */
	if (wait_ns && ppoll(&p, 1, wait_ns == UINT64_MAX ? NULL : &ts, NULL) < 0 && errno != EINTR)
		return -errno;
	n = epoll_wait(x->epoll, ev, EVENTS_MAX, 0);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return handle_events(x, ev, n);
}

/* ---- Sleep ---- */

static void set_doorbells(struct mdl_exec *x, uint32_t wanted)
{
	for (uint32_t i = 0; i < x->num_chans; i++)
		atomic_store_explicit((_Atomic uint32_t *)&x->chan[i]->user->doorbell_wanted, wanted, memory_order_relaxed);
}

/* Whether a channel that had nothing has something now. */
static bool new_work(const struct mdl_exec *x)
{
	for (uint32_t i = 0; i < x->num_chans; i++) {
		const struct mdl_exec_chan *c = x->chan[i];

		if (!c->stopped && !c->have &&
		    atomic_load_explicit((_Atomic uint64_t *)&c->user->put, memory_order_relaxed) != c->get)
			return true;
	}
	return false;
}

static int sleep_until_event(struct mdl_exec *x, const struct round *r, uint64_t *retry_ns)
{
	uint64_t wait = UINT64_MAX;
	int err = 0;

	if (r->blocked) {
		wait = *retry_ns;
		*retry_ns = mdl_min_u64(*retry_ns * 2, RETRY_MAX_NS);
	}
	/*
	 * Guest: put = n; barrier; read doorbell_wanted. We: doorbell_wanted = 1; barrier; read put. One of the two sees the
	 * other's store, so no packet is left lying while we sleep.
	 */
	set_doorbells(x, 1);
	atomic_thread_fence(memory_order_seq_cst);
	if (r->ready || !new_work(x))
		err = events(x, wait);
	set_doorbells(x, 0);
	return err;
}

/* The manager may move this thread: it polls where its guest, or somebody else, wants to run. */
static void ask_to_be_moved(struct mdl_exec *x)
{
	int cpu = sched_getcpu();

	if (cpu < 0)
		return;
	atomic_store_explicit(&x->lease.page->crowded, (uint32_t)cpu + 1, memory_order_release);
	mdl_eventfd_signal(x->lease.want_fd);
}

/* Nothing ran in the last round. */
static int idle(struct mdl_exec *x, const struct round *r, uint64_t *retry_ns, struct mdl_awake *awake)
{
	uint64_t now = mdl_now_ns();
	int err;

	mdl_exec_lease_give(&x->lease, false);
	mdl_exec_lease_want(&x->lease, r->ready);
	if (mdl_awake_poll(awake, now, !r->ready && mdl_exec_lease_free(&x->lease))) {
		relax();
		return 0;
	}
	/* Granted between our look at the word and the want: the signal is still there, so this does not sleep. */
	err = sleep_until_event(x, r, retry_ns);
	if (mdl_awake_slept(awake, now, mdl_now_ns(), !r->ready && new_work(x)))
		ask_to_be_moved(x);
	return err;
}

int mdl_frontend_run(struct mdl_exec *x)
{
	uint64_t last_events_ns = 0, retry_ns = RETRY_MIN_NS;
	struct mdl_awake awake;
	int err = mdl_control_ready(x);

	mdl_awake_init(&awake);
	while (!err) {
		struct round r;
		uint64_t now;

		err = serve_all(x, &r);
		if (err)
			break;
		now = mdl_now_ns();
		if (r.progress) {
			/* Without the lease until then, if it was polling. */
			if (mdl_awake_worked(&awake, x->lease.since_ns, now))
				ask_to_be_moved(x);
			retry_ns = RETRY_MIN_NS;
		} else {
			err = idle(x, &r, &retry_ns, &awake);
		}
		if (!err && now - last_events_ns >= EVENTS_EVERY_NS) {
			last_events_ns = now;
			err = events(x, 0);
		}
	}
	mdl_exec_lease_give(&x->lease, false);
	return err == -EPIPE ? 0 : err;
}

/* ---- Life ---- */

static int watch(struct mdl_exec *x, int fd, uint32_t what)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = what };

	return epoll_ctl(x->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void mdl_frontend_destroy(struct mdl_exec *x)
{
	if (!x)
		return;
	mdl_control_close_all(x);
	mdl_close_fd(&x->epoll);
	free(x);
}

int mdl_frontend_create(const struct mdl_frontend_config *config, struct mdl_exec **ret_x)
{
	struct mdl_exec *x = calloc(1, sizeof(*x));
	int err = 0;

	if (!x)
		return -ENOMEM;
	x->ops = config->ops;
	x->backend = config->backend;
	x->compute_units = config->compute_units;
	x->lease.page = config->lease;
	x->lease.want_fd = config->want;
	x->control = config->control;
	x->grant_fd = config->grant;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(x->irq_fd); i++)
		x->irq_fd[i] = -1;
	x->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (x->epoll < 0)
		err = -errno;
	if (!err)
		err = watch(x, x->control, MDL_EVENT_CONTROL);
	if (!err)
		err = watch(x, x->grant_fd, MDL_EVENT_GRANT);
	if (!err && x->ops->compile_fd(x->backend) >= 0)
		err = watch(x, x->ops->compile_fd(x->backend), MDL_EVENT_COMPILED);
	if (err) {
		mdl_frontend_destroy(x);
		return err;
	}
	*ret_x = x;
	return 0;
}
