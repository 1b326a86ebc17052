/* SPDX-License-Identifier: MIT */
/*
 * The server's connection: accepting one client at a time, reading its messages, time limits, disconnecting. Everything hangs on one
 * epoll descriptor: the listening socket, the connection, a timer, and the INTx mask descriptors. What a message means is in
 * request.c. Owned by the thread that calls mdl_vu_server_process().
 *
 * What a peer can do to us is bounded: one message of at most 1 MiB and 16 descriptors being received, replies of 256 KiB plus one
 * message waiting (then we stop reading), and 10 s without negotiating or taking anything (then it is disconnected). A second
 * client is turned away at once, so that its VMM says something instead of waiting.
 */
#include "vfio-user/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "vfio-user/internal.h"

int mdl_vu_watch(struct mdl_vu_server *s, int fd, enum mdl_vu_tag tag, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u32 = tag };

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

void mdl_vu_unwatch(struct mdl_vu_server *s, int fd)
{
	epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void arm_timer(struct mdl_vu_server *s, uint64_t deadline_ns)
{
	struct itimerspec t = { .it_value = { .tv_sec = (time_t)(deadline_ns / MDL_NS_PER_S),
					      .tv_nsec = (long)(deadline_ns % MDL_NS_PER_S) } };

	if (deadline_ns == s->timer_ns)
		return;
	timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
	s->timer_ns = deadline_ns;
}

/* When our patience with the peer ends, 0: no limit runs. A drop that waits for the loop is due at once. */
static uint64_t deadline(const struct mdl_vu_server *s)
{
	if (s->drop)
		return 1;
	if (s->state == MDL_VU_STATE_NEW)
		return s->connected_ns + s->patience_ns;
	if (s->state == MDL_VU_STATE_READY && s->conn.out_first)
		return s->conn.out_progress_ns + s->patience_ns;
	return 0;
}

static void listen_again_at(struct mdl_vu_server *s, uint64_t when_ns)
{
	struct epoll_event ev = { .events = when_ns ? 0 : EPOLLIN, .data.u32 = MDL_VU_TAG_LISTEN };

	if (!when_ns && !s->accept_again_ns)
		return;
	s->accept_again_ns = when_ns;
	epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->listen_fd, &ev);
}

/* Brings what epoll watches in line with the state of the connection. */
void mdl_vu_server_rearm(struct mdl_vu_server *s)
{
	struct epoll_event ev = { .data.u32 = MDL_VU_TAG_CONN };
	uint64_t next = deadline(s);

	if (s->accept_again_ns && (!next || s->accept_again_ns < next))
		next = s->accept_again_ns;
	arm_timer(s, next);
	if (s->state == MDL_VU_STATE_NONE)
		return;
	ev.events = (s->conn.out_bytes <= MDL_VU_OUT_MARK ? EPOLLIN : 0) |
		    (s->conn.out_first ? EPOLLOUT : 0);
	if (ev.events != s->conn_events) {
		epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->conn.fd, &ev);
		s->conn_events = ev.events;
	}
}

static void drop_now(struct mdl_vu_server *s)
{
	bool told = s->state == MDL_VU_STATE_READY;

	s->drop = false;
	if (s->state == MDL_VU_STATE_NONE)
		return;
	/* First the state, so that no callback reaches the connection any more. */
	s->state = MDL_VU_STATE_NONE;
	mdl_vu_unwatch(s, s->conn.fd);
	mdl_vu_conn_fini(&s->conn);
	/* The device first: what it ends at once need not be told of every mapping that goes. */
	if (told && s->ops->disconnected)
		s->ops->disconnected(s->ctx);
	mdl_vu_dma_drop(s);
	mdl_vu_irq_drop(s);
	memset(&s->caps, 0, sizeof(s->caps));
	s->stats.disconnects++;
	listen_again_at(s, 0);
	arm_timer(s, 0);
}

void mdl_vu_server_disconnect(struct mdl_vu_server *s)
{
	if (s->state == MDL_VU_STATE_NONE)
		return;
	s->drop = true;
	if (!s->in_process)
		drop_now(s);
}

static int start_client(struct mdl_vu_server *s, int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	int ret;

	mdl_vu_conn_init(&s->conn, fd, MDL_VU_SERVER_FDS);
	s->conn_events = EPOLLIN;
	ret = mdl_vu_watch(s, fd, MDL_VU_TAG_CONN, s->conn_events);
	if (ret) {
		mdl_vu_conn_fini(&s->conn);
		return ret;
	}
	s->peer = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ? 0 : cred.pid;
	s->state = MDL_VU_STATE_NEW;
	s->connected_ns = mdl_now_ns();
	return 0;
}

static bool peer_gone(const struct mdl_vu_server *s)
{
	struct pollfd p = { .fd = s->conn.fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP | POLLERR));
}

/*
 * Runs after the connection was served, so a client that left before the next one came is already gone. One whose end we have
 * not read up to yet (budget, full queue) is asked about; then the next waits in the backlog, as it does when we are short of
 * something. A waiting client makes the listening socket readable all the time, so it is not watched meanwhile.
 */
static int accept_client(struct mdl_vu_server *s)
{
	int fd;

	if (s->state != MDL_VU_STATE_NONE && peer_gone(s)) {
		listen_again_at(s, mdl_now_ns() + MDL_VU_ACCEPT_AGAIN_NS);
		return 0;
	}
	fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK || errno == EOPNOTSUPP)
			return -errno;
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			listen_again_at(s, mdl_now_ns() + MDL_VU_ACCEPT_AGAIN_NS);
		return 0; /* else the client gave up */
	}
	if (s->state != MDL_VU_STATE_NONE)
		close(fd);
	else
		start_client(s, fd);
	return 0;
}

/* Handles up to the budget's messages. 0, or why the connection must end. */
static int serve(struct mdl_vu_server *s)
{
	struct mdl_vu_msg msg;
	int ret = mdl_vu_conn_flush(&s->conn);

	for (unsigned int i = 0; !ret && i < MDL_VU_BUDGET; i++) {
		if (s->conn.out_bytes > MDL_VU_OUT_MARK)
			break;
		ret = mdl_vu_conn_recv(&s->conn, &msg);
		if (ret <= 0)
			break;
		ret = mdl_vu_handle_message(s, &msg);
		if (s->drop)
			ret = -ECANCELED;
	}
	return ret;
}

static void serve_connection(struct mdl_vu_server *s, uint32_t events)
{
	bool cannot_read = s->conn.out_bytes > MDL_VU_OUT_MARK;
	int ret = s->drop ? -ECANCELED : serve(s);

	if (!ret && cannot_read && (events & (EPOLLHUP | EPOLLERR)))
		ret = -EPIPE; /* it will never take what waits, so its end would never be read */
	if (ret == -EPROTO)
		s->stats.protocol_faults++;
	if (ret < 0)
		s->drop = true;
}

static void check_deadline(struct mdl_vu_server *s)
{
	uint64_t end = deadline(s);

	mdl_eventfd_take(s->timer_fd); /* fired, hence disarmed; rearm follows */
	s->timer_ns = 0;
	if (mdl_now_ns() >= s->accept_again_ns)
		listen_again_at(s, 0);
	if (!s->drop && end && mdl_now_ns() >= end) {
		s->stats.protocol_faults++;
		s->drop = true;
	}
}

int mdl_vu_server_process(struct mdl_vu_server *s)
{
	struct epoll_event ev[8];
	bool listening = false;
	int n, ret = 0;

	assert(!s->in_process);
	s->in_process = true;
	n = epoll_wait(s->epoll_fd, ev, (int)MDL_ARRAY_SIZE(ev), 0);
	for (int i = 0; i < n; i++) {
		switch ((enum mdl_vu_tag)ev[i].data.u32) {
		case MDL_VU_TAG_LISTEN:
			listening = true;
			break;
		case MDL_VU_TAG_CONN:
			serve_connection(s, ev[i].events);
			break;
		case MDL_VU_TAG_TIMER:
			check_deadline(s);
			break;
		case MDL_VU_TAG_INTX_MASK:
		case MDL_VU_TAG_INTX_UNMASK:
			mdl_vu_irq_intx_event(s, ev[i].data.u32 == MDL_VU_TAG_INTX_MASK);
			break;
		}
	}
	if (s->drop)
		drop_now(s);
	if (listening)
		ret = accept_client(s);
	s->in_process = false;
	if (s->drop)
		drop_now(s);
	mdl_vu_server_rearm(s);
	return ret;
}

static bool region_ok(const struct mdl_vu_region *region)
{
	if (region->fd < 0 || !region->bytes)
		return true;
	if (!mdl_is_aligned(region->bytes | region->fd_offset, MDL_VU_PAGE) ||
	    (region->num_areas && !region->areas) || region->num_areas > UINT16_MAX)
		return false;
	for (size_t i = 0; i < region->num_areas; i++) {
		const struct mdl_vu_area *a = &region->areas[i];

		if (!a->bytes || !mdl_is_aligned(a->offset | a->bytes, MDL_VU_PAGE) ||
		    !mdl_range_ok(a->offset, a->bytes, region->bytes))
			return false;
	}
	return true;
}

static bool device_ok(const struct mdl_vu_device *dev, const struct mdl_vu_ops *ops)
{
	if (!ops->region_read || !ops->region_write || !ops->dma_map || !ops->dma_unmap ||
	    !ops->reset)
		return false;
	for (size_t i = 0; i < MDL_VU_REGIONS; i++) {
		if (!region_ok(&dev->region[i]))
			return false;
	}
	for (size_t i = 0; i < MDL_VU_IRQS; i++) {
		if (dev->irq_count[i] > MDL_VU_MSIX_MAX)
			return false;
	}
	if (dev->irq_count[VFIO_PCI_INTX_IRQ_INDEX] > 1)
		return false;
	for (size_t i = 0; i < dev->num_ioeventfds; i++) {
		const struct mdl_vu_ioeventfd *io = &dev->ioeventfds[i];

		if (io->fd < 0 || io->region >= MDL_VU_REGIONS || io->bytes > 8 ||
		    (io->bytes && !mdl_is_pow2(io->bytes)) ||
		    !mdl_range_ok(io->offset, io->bytes, dev->region[io->region].bytes))
			return false;
	}
	return true;
}

int mdl_vu_server_create(int listen_fd, const struct mdl_vu_device *dev,
			 const struct mdl_vu_ops *ops, void *ctx, struct mdl_vu_server **ret_server)
{
	struct mdl_vu_server *s = calloc(1, sizeof(*s));
	int ret = -ENOMEM;

	if (!s) {
		close(listen_fd);
		return -ENOMEM;
	}
	s->dev = dev;
	s->ops = ops;
	s->ctx = ctx;
	s->listen_fd = listen_fd;
	s->timer_fd = s->intx_mask_fd = s->intx_unmask_fd = -1;
	s->patience_ns = MDL_VU_PATIENCE_NS;
	mdl_vu_conn_init(&s->conn, -1, MDL_VU_SERVER_FDS);
	s->max_dma = dev->dma_max_regions ? dev->dma_max_regions : MDL_VU_DMA_REGIONS;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!device_ok(dev, ops)) {
		ret = -EINVAL;
		goto fail;
	}
	if (s->epoll_fd < 0 || s->timer_fd < 0)
		goto fail;
	s->dma = calloc(s->max_dma, sizeof(*s->dma));
	if (!s->dma || mdl_vu_irq_init(s))
		goto fail;
	/* A client may give up between our being told of it and accept(). */
	ret = fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK) ? -errno : 0;
	if (!ret)
		ret = mdl_vu_watch(s, listen_fd, MDL_VU_TAG_LISTEN, EPOLLIN);
	if (!ret)
		ret = mdl_vu_watch(s, s->timer_fd, MDL_VU_TAG_TIMER, EPOLLIN);
	if (ret)
		goto fail;
	*ret_server = s;
	return 0;
fail:
	mdl_vu_server_destroy(s);
	return ret;
}

void mdl_vu_server_destroy(struct mdl_vu_server *s)
{
	if (!s)
		return;
	assert(!s->in_process);
	drop_now(s);
	mdl_vu_irq_fini(s);
	free(s->dma);
	mdl_close_fd(&s->listen_fd);
	mdl_close_fd(&s->timer_fd);
	mdl_close_fd(&s->epoll_fd);
	free(s);
}

int mdl_vu_server_fd(const struct mdl_vu_server *s)
{
	return s->epoll_fd;
}

bool mdl_vu_server_connected(const struct mdl_vu_server *s)
{
	return s->state == MDL_VU_STATE_READY && !s->drop;
}

void mdl_vu_server_stats(const struct mdl_vu_server *s, struct mdl_vu_stats *ret_stats)
{
	*ret_stats = s->stats;
}

void mdl_vu_server_set_patience(struct mdl_vu_server *s, uint64_t patience_ns)
{
	s->patience_ns = patience_ns;
}
