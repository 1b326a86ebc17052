/* SPDX-License-Identifier: MIT */
/* See events.h. Owned by the VMM's one thread. */
#include "vmm/events.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define STOP_EVENTS (MDL_EVENT_STOP_INT | MDL_EVENT_STOP_TERM | MDL_EVENT_TIMEOUT)

static const int event_signals[] = { SIGINT, SIGTERM, SIGALRM, SIGIO };

static int make_timer(timer_t *ret_timer)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };

	return timer_create(CLOCK_MONOTONIC, &ev, ret_timer) < 0 ? -errno : 0;
}

static int arm(timer_t timer, uint64_t ns)
{
	struct itimerspec t = { .it_value = { .tv_sec = (time_t)(ns / MDL_NS_PER_S),
					      .tv_nsec = (long)(ns % MDL_NS_PER_S) } };

	return timer_settime(timer, 0, &t, NULL) < 0 ? -errno : 0;
}

/* KVM takes the kernel's signal set: 8 bytes, bit n - 1 for signal n. */
static int unblock_in_guest(int cpu_fd, const sigset_t *set)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t bytes[8];
	} mask;
	uint64_t bits = 0;

	for (int s = 1; s <= 64; s++)
		if (sigismember(set, s) == 1)
			bits |= 1ull << (s - 1);
	mask.head.len = sizeof(mask.bytes);
	memcpy(mask.head.sigset, &bits, sizeof(bits));
	return ioctl(cpu_fd, KVM_SET_SIGNAL_MASK, &mask) < 0 ? -errno : 0;
}

int mdl_events_init(struct mdl_events *e, int cpu_fd)
{
	sigset_t set, in_guest;
	int err;

	*e = (struct mdl_events) { .fd = -1 };
	sigemptyset(&set);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(event_signals); i++)
		sigaddset(&set, event_signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, &in_guest) < 0)
		return -errno;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(event_signals); i++)
		sigdelset(&in_guest, event_signals[i]);
	e->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (e->fd < 0)
		return -errno;
	err = unblock_in_guest(cpu_fd, &in_guest);
	if (!err)
		err = make_timer(&e->wait_timer);
	if (err)
		goto fail;
	e->has_wait_timer = true;
	err = make_timer(&e->limit_timer);
	if (err)
		goto fail;
	e->has_limit_timer = true;
	return 0;
fail:
	mdl_events_fini(e);
	return err;
}

int mdl_events_start(struct mdl_events *e, uint64_t timeout_ns)
{
	if (!timeout_ns)
		return 0;
	e->limit_ns = mdl_now_ns() + timeout_ns;
	return arm(e->limit_timer, timeout_ns);
}

void mdl_events_fini(struct mdl_events *e)
{
	if (e->has_wait_timer)
		timer_delete(e->wait_timer);
	if (e->has_limit_timer)
		timer_delete(e->limit_timer);
	e->has_wait_timer = e->has_limit_timer = false;
	mdl_close_fd(&e->fd);
}

int mdl_events_add_device(struct mdl_events *e, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETOWN, getpid()) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_ASYNC) < 0)
		return -errno;
	return 0;
}

unsigned int mdl_events_take(struct mdl_events *e)
{
	struct signalfd_siginfo info;
	unsigned int events = e->pending;

	e->pending = 0;
	while (read(e->fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGINT:
			events |= MDL_EVENT_STOP_INT;
			break;
		case SIGTERM:
			events |= MDL_EVENT_STOP_TERM;
			break;
		case SIGIO:
			events |= MDL_EVENT_DEVICE;
			break;
		case SIGALRM:
			/* Two timers may have made one signal: both are looked at. */
			if (e->wait_armed)
				events |= MDL_EVENT_WAIT_OVER;
			break;
		}
	}
	if (e->limit_ns && mdl_now_ns() >= e->limit_ns)
		events |= MDL_EVENT_TIMEOUT;
	return events;
}

int mdl_events_arm_wait(struct mdl_events *e, uint64_t ns)
{
	if (!ns && !e->wait_armed)
		return 0;
	e->wait_armed = ns != 0;
	return arm(e->wait_timer, ns);
}

void mdl_events_write(struct mdl_events *e, int fd, const void *data, size_t bytes)
{
	const uint8_t *p = data;

	while (bytes) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLOUT },
					 { .fd = e->fd, .events = POLLIN } };
		ssize_t n;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents) {
			e->pending = mdl_events_take(e);
			if (e->pending & STOP_EVENTS)
				return;
		}
		if (fds[0].revents & (POLLERR | POLLNVAL))
			return;
		if (!fds[0].revents)
			continue;
		/* A writable pipe takes PIPE_BUF bytes without blocking. */
		n = write(fd, p, bytes < PIPE_BUF ? bytes : PIPE_BUF);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0) {
			p += n;
			bytes -= (size_t)n;
		}
	}
}
