/* SPDX-License-Identifier: MIT */
/*
 * The client: one request at a time, answered within the time limit or the connection is given up. While it waits it serves what
 * the server asks (DMA_READ, DMA_WRITE), also when its own request does not fit the socket yet: two ends that only write would
 * wait for each other. The server is not trusted: sizes, indexes and descriptors of its replies are checked like a request's.
 * Left out: pipelining, REGION_WRITE_MULTI. One thread at a time. The requests themselves are in client-calls.c.
 */
#include "vfio-user/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vfio-user/client-internal.h"

int mdl_vu_client_give_up(struct mdl_vu_client *c, int error)
{
	c->broken = true;
	shutdown(c->conn.fd, SHUT_RDWR);
	return error;
}

static const struct mdl_vu_client_dma *find_dma(const struct mdl_vu_client *c, uint64_t iova,
						uint64_t len)
{
	for (size_t i = 0; i < c->num_dma; i++) {
		if (mdl_range_in(iova, len, c->dma[i].iova, c->dma[i].bytes))
			return &c->dma[i];
	}
	return NULL;
}

static int copy_dma(const struct mdl_vu_client_dma *r, uint64_t iova, void *data, uint64_t len,
		    bool write)
{
	uint64_t at = iova - r->iova;
	ssize_t n;

	if (r->host) {
		memcpy(write ? r->host + at : data, write ? data : r->host + at, len);
		return 0;
	}
	n = write ? pwrite(r->fd, data, len, (off_t)(r->fd_offset + at))
		  : pread(r->fd, data, len, (off_t)(r->fd_offset + at));
	if (n < 0)
		return -errno;
	return (uint64_t)n == len ? 0 : -EIO;
}

/* The reply to a DMA request in *ret_out (NULL: bare header) and 0, or the error it gets. */
static int do_dma(struct mdl_vu_client *c, const struct mdl_vu_msg *msg,
		  struct mdl_vu_out **ret_out)
{
	const struct mdl_vu_dma_access *req = msg->payload;
	bool write = msg->hdr.command == MDL_VU_DMA_WRITE;
	const struct mdl_vu_client_dma *r;
	struct mdl_vu_out *out;
	uint8_t *data;
	int ret;

	if (msg->hdr.command != MDL_VU_DMA_READ && !write)
		return -ENOTSUP;
	if (msg->nfds || msg->len < sizeof(*req) || !req->count || req->count > MDL_VU_MAX_XFER ||
	    msg->len != sizeof(*req) + (write ? req->count : 0))
		return -EINVAL;
	r = find_dma(c, req->addr, req->count);
	if (!r || (write && !r->write))
		return -EFAULT;
	out = mdl_vu_out_new(sizeof(*req) + (write ? 0 : req->count), 0);
	if (!out)
		return -ENOMEM;
	memcpy(out->payload, req, sizeof(*req));
	data = write ? (uint8_t *)(uintptr_t)(req + 1) : out->payload + sizeof(*req);
	ret = copy_dma(r, req->addr, data, req->count, write);
	if (ret) {
		free(out);
		return ret;
	}
	*ret_out = out;
	return 0;
}

static int serve_request(struct mdl_vu_client *c, struct mdl_vu_msg *msg)
{
	struct mdl_vu_out *out = NULL;
	int error = do_dma(c, msg, &out);

	mdl_vu_msg_close_fds(msg);
	if (msg->hdr.flags & MDL_VU_NO_REPLY) {
		free(out);
		return 0;
	}
	if (!out)
		out = mdl_vu_out_new(0, 0);
	if (!out)
		return -ENOMEM;
	out->hdr.id = msg->hdr.id;
	out->hdr.command = msg->hdr.command;
	out->hdr.flags = MDL_VU_TYPE_REPLY | (error ? MDL_VU_ERROR : 0);
	out->hdr.error = (uint32_t)-error;
	return mdl_vu_conn_send(&c->conn, out);
}

/*
 * Serves what the server asks until a reply comes (1, in msg), nothing is there any more (0), or the connection is of no use. Also 0
 * after some requests: a server may ask without end, and time limits hold all the same.
 */
static int pump(struct mdl_vu_client *c, struct mdl_vu_msg *msg)
{
	int ret = mdl_vu_conn_flush(&c->conn);

	for (unsigned int i = 0; !ret && i < MDL_VU_BUDGET; i++) {
		if (c->conn.out_bytes > MDL_VU_OUT_MARK)
			return 0;
		ret = mdl_vu_conn_recv(&c->conn, msg);
		if (ret <= 0 || (msg->hdr.flags & MDL_VU_TYPE_MASK) == MDL_VU_TYPE_REPLY)
			return ret;
		ret = serve_request(c, msg);
	}
	return ret;
}

static int wait_reply(struct mdl_vu_client *c, struct mdl_vu_msg *msg)
{
	uint64_t end = mdl_now_ns() + c->timeout_ns;

	for (;;) {
		struct pollfd p = { .fd = c->conn.fd };
		uint64_t now;
		int ret = pump(c, msg);

		if (ret)
			return ret < 0 ? ret : 0;
		now = mdl_now_ns();
		if (now >= end)
			return -ETIMEDOUT;
		p.events = (short)((c->conn.out_bytes > MDL_VU_OUT_MARK ? 0 : POLLIN) |
				   (c->conn.out_first ? POLLOUT : 0));
		if (poll(&p, 1, (int)((end - now) / MDL_NS_PER_MS) + 1) < 0 && errno != EINTR)
			return -errno;
	}
}

int mdl_vu_client_call(struct mdl_vu_client *c, struct mdl_vu_out *out, uint16_t command,
		       size_t min, size_t max, size_t max_fds, struct mdl_vu_msg *msg)
{
	uint16_t id = c->next_id++;
	int ret;

	if (!out)
		return -ENOMEM;
	if (c->broken) {
		free(out);
		return -EPIPE;
	}
	out->hdr.id = id;
	out->hdr.command = command;
	ret = mdl_vu_conn_send(&c->conn, out);
	if (!ret)
		ret = wait_reply(c, msg);
	if (ret)
		return mdl_vu_client_give_up(c, ret == -ECONNRESET ? -EPIPE : ret);
	if (msg->hdr.id != id || msg->hdr.command != command || msg->nfds > max_fds ||
	    (!(msg->hdr.flags & MDL_VU_ERROR) && (msg->len < min || msg->len > max))) {
		mdl_vu_msg_close_fds(msg);
		return mdl_vu_client_give_up(c, -EPROTO);
	}
	if (!(msg->hdr.flags & MDL_VU_ERROR))
		return 0;
	mdl_vu_msg_close_fds(msg);
	return msg->hdr.error && msg->hdr.error < 4096 ? -(int)msg->hdr.error : -EIO;
}

struct mdl_vu_out *mdl_vu_client_request(const void *fields, size_t len, size_t more, size_t nfds)
{
	struct mdl_vu_out *out = mdl_vu_out_new(len + more, nfds);

	if (out && len)
		memcpy(out->payload, fields, len);
	return out;
}

static int negotiate(struct mdl_vu_client *c)
{
	struct mdl_vu_version v = { .major = MDL_VU_MAJOR, .minor = MDL_VU_MINOR };
	mdl_autofree char *json = mdl_vu_caps_json(MDL_VU_CLIENT_FDS, 0);
	const struct mdl_vu_version *reply;
	struct mdl_vu_out *out;
	struct mdl_vu_msg msg;
	size_t len;
	int ret;

	if (!json)
		return -ENOMEM;
	len = strlen(json) + 1;
	out = mdl_vu_client_request(&v, sizeof(v), len, 0);
	if (out)
		memcpy(out->payload + sizeof(v), json, len);
	ret = mdl_vu_client_call(c, out, MDL_VU_VERSION, sizeof(v), 4096, 0, &msg);
	if (ret)
		return ret == -EPIPE ? -EBUSY : ret;
	reply = msg.payload;
	if (reply->major != v.major || reply->minor > v.minor ||
	    mdl_vu_caps_parse(reply->json, msg.len - sizeof(*reply), &c->server))
		return mdl_vu_client_give_up(c, -EPROTO);
	return 0;
}

int mdl_vu_client_connect(const char *path, int timeout_ms, struct mdl_vu_client **ret_client)
{
	struct timeval limit = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct mdl_vu_client *c;
	mdl_autofd fd = -1;
	int ret;

	if (timeout_ms <= 0)
		return -EINVAL;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The send limit also bounds connect(), which waits while the backlog is full. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)))
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return errno == EAGAIN ? -ETIMEDOUT : -errno;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	mdl_vu_conn_init(&c->conn, mdl_take_fd(&fd), MDL_VU_CLIENT_FDS);
	c->timeout_ns = (uint64_t)timeout_ms * MDL_NS_PER_MS;
	ret = negotiate(c);
	if (ret) {
		mdl_vu_client_close(c);
		return ret;
	}
	*ret_client = c;
	return 0;
}

void mdl_vu_client_close(struct mdl_vu_client *c)
{
	if (!c)
		return;
	mdl_vu_conn_fini(&c->conn);
	for (size_t i = 0; i < c->num_dma; i++)
		mdl_close_fd(&c->dma[i].fd);
	free(c->dma);
	free(c);
}

int mdl_vu_client_fd(const struct mdl_vu_client *c)
{
	return c->conn.fd;
}

int mdl_vu_client_process(struct mdl_vu_client *c)
{
	struct mdl_vu_msg msg;
	int ret;

	if (c->broken)
		return -EPIPE;
	ret = pump(c, &msg);
	if (ret == 0)
		return 0;
	if (ret > 0) { /* a reply to nothing */
		mdl_vu_msg_close_fds(&msg);
		ret = -EPROTO;
	}
	return mdl_vu_client_give_up(c, ret);
}
