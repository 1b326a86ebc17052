/* SPDX-License-Identifier: MIT */
/* Message framing and output queue of one connection: see conn.h. */
#include "vfio-user/conn.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

union fd_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(MDL_VU_CLIENT_FDS * sizeof(int))];
};

void mdl_vu_conn_init(struct mdl_vu_conn *c, int fd, size_t max_fds)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->max_fds = max_fds;
	c->out_end = &c->out_first;
}

void mdl_vu_conn_fini(struct mdl_vu_conn *c)
{
	while (c->nfds)
		close(c->fds[--c->nfds]);
	while (c->out_first) {
		struct mdl_vu_out *out = c->out_first;

		c->out_first = out->next;
		free(out);
	}
	free(c->payload);
	mdl_close_fd(&c->fd);
	mdl_vu_conn_init(c, -1, c->max_fds);
}

void mdl_vu_msg_close_fds(struct mdl_vu_msg *msg)
{
	for (size_t i = 0; i < msg->nfds; i++)
		mdl_close_fd(&msg->fds[i]);
	msg->nfds = 0;
}

/* Keeps what descriptors came with a piece of the message. They fit: the control buffer had room for no more than are allowed. */
static void take_fds(struct mdl_vu_conn *c, struct msghdr *mh)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(mh); m; m = CMSG_NXTHDR(mh, m)) {
		size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(c->fds + c->nfds, CMSG_DATA(m), n * sizeof(int));
		c->nfds += n;
	}
}

/* Receives up to len bytes of the current message. Their number, 0 if there are none now, or negative errno. */
static ssize_t recv_piece(struct mdl_vu_conn *c, void *buf, size_t len)
{
	union fd_control control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	/* Exactly the room that is left, not CMSG_SPACE: padding could hold one descriptor more. */
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = CMSG_LEN((c->max_fds - c->nfds) * sizeof(int)) };
	ssize_t n;

	do {
		n = recvmsg(c->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			return 0;
		return errno == ECONNRESET ? -EPIPE : -errno;
	}
	take_fds(c, &mh);
	if (mh.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	return n ? n : -EPIPE;
}

static bool header_ok(const struct mdl_vu_hdr *hdr)
{
	return hdr->size >= sizeof(*hdr) && hdr->size - sizeof(*hdr) <= MDL_VU_MAX_PAYLOAD &&
	       (hdr->flags & MDL_VU_TYPE_MASK) <= MDL_VU_TYPE_REPLY;
}

static int grow_payload(struct mdl_vu_conn *c, size_t len)
{
	uint8_t *p;

	if (len <= c->payload_cap)
		return 0;
	len = len < 4096 ? 4096 : len;
	p = realloc(c->payload, len);
	if (!p)
		return -ENOMEM;
	c->payload = p;
	c->payload_cap = len;
	return 0;
}

int mdl_vu_conn_recv(struct mdl_vu_conn *c, struct mdl_vu_msg *msg)
{
	size_t len;
	ssize_t n;
	int ret;

	while (c->got < sizeof(c->hdr)) {
		n = recv_piece(c, (uint8_t *)&c->hdr + c->got, sizeof(c->hdr) - c->got);
		if (n <= 0)
			return (int)n;
		c->got += (size_t)n;
		if (c->got == sizeof(c->hdr) && !header_ok(&c->hdr))
			return -EPROTO;
	}
	len = c->hdr.size - sizeof(c->hdr);
	ret = grow_payload(c, len);
	if (ret)
		return ret;
	while (c->got < c->hdr.size) {
		n = recv_piece(c, c->payload + (c->got - sizeof(c->hdr)), c->hdr.size - c->got);
		if (n <= 0)
			return (int)n;
		c->got += (size_t)n;
	}

	msg->hdr = c->hdr;
	msg->payload = c->payload;
	msg->len = len;
	msg->nfds = c->nfds;
	memcpy(msg->fds, c->fds, c->nfds * sizeof(int));
	c->nfds = 0;
	c->got = 0;
	return 1;
}

struct mdl_vu_out *mdl_vu_out_new(size_t len, size_t nfds)
{
	/* The descriptors stand behind the payload, aligned. */
	size_t fds_at = mdl_align_up(len, sizeof(int));
	struct mdl_vu_out *out = calloc(1, sizeof(*out) + fds_at + nfds * sizeof(int));

	if (!out)
		return NULL;
	out->hdr.size = (uint32_t)(sizeof(out->hdr) + len);
	out->nfds = nfds;
	out->fds = (int *)(void *)(out->payload + fds_at);
	return out;
}

/*
 * Sends (the rest of) one message. One call each, so that a header is never cut: QEMU takes a short read of a header for a
 * broken stream, and the kernel cuts only what is longer than a socket buffer. Descriptors go with the first byte.
 */
static ssize_t send_piece(struct mdl_vu_conn *c, struct mdl_vu_out *out)
{
	union fd_control control;
	struct iovec iov = { .iov_base = (uint8_t *)&out->hdr + out->sent,
			     .iov_len = out->hdr.size - out->sent };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (out->nfds && !out->sent) {
		struct cmsghdr *m = &control.align;

		memset(&control, 0, sizeof(control));
		m->cmsg_level = SOL_SOCKET;
		m->cmsg_type = SCM_RIGHTS;
		m->cmsg_len = CMSG_LEN(out->nfds * sizeof(int));
		memcpy(CMSG_DATA(m), out->fds, out->nfds * sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(out->nfds * sizeof(int));
	}
	do {
		n = sendmsg(c->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	return n;
}

int mdl_vu_conn_flush(struct mdl_vu_conn *c)
{
	while (c->out_first) {
		struct mdl_vu_out *out = c->out_first;
		ssize_t n = send_piece(c, out);

		if (n <= 0)
			return (int)n;
		c->out_progress_ns = mdl_now_ns();
		out->sent += (size_t)n;
		c->out_bytes -= (size_t)n;
		if (out->sent < out->hdr.size)
			continue;
		c->out_first = out->next;
		if (!c->out_first)
			c->out_end = &c->out_first;
		free(out);
	}
	return 0;
}

int mdl_vu_conn_send(struct mdl_vu_conn *c, struct mdl_vu_out *out)
{
	if (!c->out_first)
		c->out_progress_ns = mdl_now_ns();
	*c->out_end = out;
	c->out_end = &out->next;
	c->out_bytes += out->hdr.size;
	return mdl_vu_conn_flush(c);
}
