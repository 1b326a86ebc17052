/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: bytes as what a vfio-user client does to our server, over a real socket: messages with a right header and any
 * payload, raw bytes, descriptors of several kinds, replies to the server's own requests, leaving and coming back; between them
 * the device raises interrupts and asks for DMA. Checked: the device never sees an access outside its regions, every DMA region is
 * unmapped and every DMA request ended exactly once, queues stay bounded, no descriptor is left, and a well-behaved client is
 * served afterwards.
 *
 * An operation is one byte (which) and its operands, little endian; missing bytes are zero.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "vfio-user/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond) do { \
	if (!(cond)) { \
		fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
		abort(); \
	} \
} while (0)

#define MAPS	8
#define BYTES	65536u

enum op { OP_MESSAGE, OP_RAW, OP_REPLY, OP_PROCESS, OP_RECONNECT, OP_RAISE, OP_DMA, OP_VERSION, OP_DISCONNECT, OP_COUNT };

struct input {
	const uint8_t *at;
	size_t left;
};

struct world {
	struct mdl_vu_server *s;
	struct mdl_vu_device dev;
	struct sockaddr_un addr;
	socklen_t addr_len;
	int fd;			/* the client's end */
	int fds[4];		/* what it sends along: two eventfds, a memfd, a socket */
	struct mdl_vu_dma_map map[MAPS];
	size_t maps;
	unsigned int asked, answered;
	bool connected;
	uint16_t last_id, last_command;	/* of the server's last request */
	struct mdl_vu_dma_access last;
};

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;
	size_t n = mdl_min_u64(bytes, in->left);

	memcpy(&value, in->at, n);
	in->at += n;
	in->left -= n;
	return value;
}

static int access_region(struct world *w, uint32_t region, uint64_t offset, uint32_t count)
{
	MUST(region < MDL_VU_REGIONS && count >= 1 && count <= 4096);
	MUST(offset + count <= w->dev.region[region].bytes && offset + count > offset);
	return offset == 0x40 ? -EIO : 0;
}

static int region_read(void *ctx, uint32_t region, uint64_t offset, void *data, uint32_t count)
{
	memset(data, 0x11, count);
	return access_region(ctx, region, offset, count);
}

static int region_write(void *ctx, uint32_t region, uint64_t offset, const void *data, uint32_t count)
{
	struct world *w = ctx;
	static volatile uint8_t sink;

	MUST(w->dev.region[region].write);
	sink = ((const uint8_t *)data)[count - 1];
	(void)sink;
	if (offset == 0x80)
		mdl_vu_server_disconnect(w->s);
	return access_region(w, region, offset, count);
}

static int dma_map(void *ctx, const struct mdl_vu_dma *dma)
{
	struct world *w = ctx;

	MUST(dma->bytes && mdl_is_aligned(dma->iova | dma->bytes | dma->fd_offset, 4096));
	MUST(dma->iova + (dma->bytes - 1) >= dma->iova && w->maps < MAPS);
	for (size_t i = 0; i < w->maps; i++)
		MUST(!mdl_range_overlap(dma->iova, dma->bytes, w->map[i].iova, w->map[i].bytes));
	if (dma->iova == 0x666000)
		return -ENOMEM;
	w->map[w->maps++] = (struct mdl_vu_dma_map){ dma->iova, dma->bytes, dma->read, dma->write };
	return 0;
}

static void dma_unmap(void *ctx, uint64_t iova, uint64_t bytes)
{
	struct world *w = ctx;
	size_t i;

	for (i = 0; i < w->maps && (w->map[i].iova != iova || w->map[i].bytes != bytes); i++)
		;
	MUST(i < w->maps);
	w->map[i] = w->map[--w->maps];
}

static void irq_changed(void *ctx, uint32_t index, uint32_t vector, int fd)
{
	struct world *w = ctx;

	MUST(index < MDL_VU_IRQS && vector < w->dev.irq_count[index]);
	if (fd >= 0)
		mdl_eventfd_signal(fd);
}

static void reset(void *ctx)
{
}

static void connected(void *ctx, pid_t peer)
{
	struct world *w = ctx;

	MUST(!w->connected && !w->maps && w->asked == w->answered);
	w->connected = true;
}

static void disconnected(void *ctx)
{
	struct world *w = ctx;

	MUST(w->connected);
	w->connected = false;
}

static const struct mdl_vu_ops ops = {
	.region_read = region_read, .region_write = region_write, .dma_map = dma_map, .dma_unmap = dma_unmap,
	.irq_changed = irq_changed, .reset = reset, .connected = connected, .disconnected = disconnected,
};

static void dma_done(void *arg, int error, const void *data, uint32_t len)
{
	struct world *w = arg;
	static volatile uint8_t sink;

	w->answered++;
	MUST(w->answered <= w->asked);
	if (data)
		sink = ((const uint8_t *)data)[len - 1];
	(void)sink;
}

static void start(struct world *w)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(w, 0, sizeof(*w));
	for (size_t i = 0; i < MDL_VU_REGIONS; i++)
		w->dev.region[i].fd = -1;
	w->fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->fds[1] = eventfd(5, EFD_CLOEXEC | EFD_SEMAPHORE);
	MUST(!mdl_memfd_create("fuzz", BYTES, &w->fds[2]));
	w->fds[3] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	w->dev.region[0] = (struct mdl_vu_region){ BYTES, true, true, -1 };
	w->dev.region[2] = (struct mdl_vu_region){ BYTES, true, true, w->fds[2] };
	w->dev.region[6] = (struct mdl_vu_region){ 4096, true, false, -1 };
	w->dev.region[7] = (struct mdl_vu_region){ 256, true, true, -1 };
	w->dev.irq_count[0] = 1;
	w->dev.irq_count[2] = 8;
	w->dev.irq_count[4] = 1;
	w->dev.dma_max_regions = MAPS;
	/* No path: the kernel picks an abstract name, so nothing is left behind in the file system. */
	w->addr.sun_family = AF_UNIX;
	MUST(fd >= 0 && !bind(fd, (struct sockaddr *)&w->addr, sizeof(sa_family_t)) && !listen(fd, 4));
	w->addr_len = sizeof(w->addr);
	MUST(!getsockname(fd, (struct sockaddr *)&w->addr, &w->addr_len));
	w->fd = -1;
	MUST(!mdl_vu_server_create(fd, &w->dev, &ops, w, &w->s));
}

static void process(struct world *w)
{
	MUST(!mdl_vu_server_process(w->s));
	MUST(w->s->conn.out_bytes <= MDL_VU_OUT_MARK + 2 * (MDL_VU_MAX_XFER + 64));
	MUST(w->s->conn.nfds <= MDL_VU_SERVER_FDS && w->s->num_dma == w->maps);
	MUST(mdl_vu_server_connected(w->s) == w->connected);
}

static void connect_client(struct world *w)
{
	mdl_close_fd(&w->fd);
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	while (connect(w->fd, (struct sockaddr *)&w->addr, w->addr_len)) {
		MUST(errno == EAGAIN);	/* the backlog is full of those that left again */
		process(w);
	}
}

/* Reads what the server sent, remembering its last request. Not always: a client may be one that does not read. */
static void drain(struct world *w)
{
	struct mdl_vu_conn c;
	struct mdl_vu_msg msg;

	mdl_vu_conn_init(&c, w->fd, MDL_VU_CLIENT_FDS);
	while (mdl_vu_conn_recv(&c, &msg) == 1) {
		mdl_vu_msg_close_fds(&msg);
		if ((msg.hdr.flags & MDL_VU_TYPE_MASK) == MDL_VU_TYPE_COMMAND && msg.len >= sizeof(w->last)) {
			w->last_id = msg.hdr.id;
			w->last_command = msg.hdr.command;
			memcpy(&w->last, msg.payload, sizeof(w->last));
		}
		process(w);
	}
	/* Cut in the middle of a message: what follows would be garbage to a client, so it leaves. */
	if (c.got)
		connect_client(w);
	c.fd = -1;
	mdl_vu_conn_fini(&c);
}

static void send_bytes(struct world *w, const void *data, size_t len, unsigned int nfds, unsigned int which)
{
	union { struct cmsghdr h; char b[CMSG_SPACE(20 * sizeof(int))]; } control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds && len) {
		int *fds = (int *)(void *)CMSG_DATA(&control.h);

		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (unsigned int i = 0; i < nfds; i++)
			fds[i] = w->fds[(which >> (i % 4)) & 3];
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	if (sendmsg(w->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		drain(w);
}

static void send_message(struct world *w, struct input *in, uint16_t id, uint16_t command, uint32_t flags)
{
	uint8_t buf[16 + 256] = { 0 };
	struct mdl_vu_hdr hdr = { id, command, 0, flags, flags & MDL_VU_ERROR ? 5 : 0 };
	unsigned int fds = (unsigned int)take(in, 1);
	size_t len = take(in, 1), given = mdl_min_u64(len, in->left);

	hdr.size = (uint32_t)(sizeof(hdr) + len);
	memcpy(buf, &hdr, sizeof(hdr));
	if (given)
		memcpy(buf + sizeof(hdr), in->at, given);
	in->at += given;
	in->left -= given;
	send_bytes(w, buf, sizeof(hdr) + len, (fds & 31) % 18, fds >> 5);
}

static void hello(struct world *w)
{
	static const char version[] = "\1\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0" "\0\0\0\0" "{\"capabilities\":{\"max_msg_fds\":8}}";
	uint8_t buf[sizeof(version)];
	uint32_t size = sizeof(version);

	memcpy(buf, version, sizeof(version));
	memcpy(buf + 4, &size, 4);
	send_bytes(w, buf, sizeof(buf), 0, 0);
}

static void answer(struct world *w, struct input *in)
{
	struct { struct mdl_vu_hdr h; struct mdl_vu_dma_access a; uint8_t data[512]; } m = {
		{ w->last_id, w->last_command, 0, MDL_VU_TYPE_REPLY, 0 }, w->last };
	size_t len = 16 + (w->last_command == MDL_VU_DMA_READ ? mdl_min_u64(w->last.count, sizeof(m.data)) : 0);
	uint8_t twist = (uint8_t)take(in, 1);

	m.h.id = (uint16_t)(m.h.id + (twist & 1));
	m.h.flags |= twist & 2 ? MDL_VU_ERROR : 0;
	len -= twist & 4 ? 4 : 0;
	m.a.count += twist & 8 ? 1 : 0;
	m.h.size = (uint32_t)(16 + len);
	send_bytes(w, &m, m.h.size, twist & 16 ? 1 : 0, 0);
}

static void ask_dma(struct world *w, struct input *in)
{
	static const uint8_t data[512];
	uint64_t iova = take(in, 2) << 8;
	uint32_t len = (uint32_t)take(in, 2) % 600;
	bool write = len & 1;

	len = len > sizeof(data) && write ? (uint32_t)sizeof(data) : len;
	if (!(write ? mdl_vu_dma_write(w->s, iova, data, len, dma_done, w) : mdl_vu_dma_read(w->s, iova, len, dma_done, w)))
		w->asked++;
}

static void step(struct world *w, struct input *in)
{
	uint8_t buf[64];
	uint8_t op = (uint8_t)take(in, 1);

	switch ((enum op)(op % OP_COUNT)) {
	case OP_MESSAGE: {
		uint16_t command = (uint16_t)take(in, 1);

		send_message(w, in, op, command % 20, op & 0x80 ? MDL_VU_NO_REPLY : 0);
		break;
	}
	case OP_RAW: {
		size_t len = take(in, 1) % sizeof(buf);

		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)take(in, 1);
		send_bytes(w, buf, len, op >> 6, op >> 4);
		break;
	}
	case OP_REPLY:
		answer(w, in);
		break;
	case OP_PROCESS:
		process(w);
		if (!(op & 0x80))
			drain(w);
		break;
	case OP_RECONNECT:
		connect_client(w);
		break;
	case OP_RAISE:
		mdl_vu_irq_raise(w->s, (uint32_t)take(in, 1) % 6, op >> 4);
		break;
	case OP_DMA:
		ask_dma(w, in);
		break;
	case OP_VERSION:
		hello(w);
		break;
	case OP_DISCONNECT:
		mdl_vu_server_disconnect(w->s);
		MUST(!w->connected && !w->maps);
		break;
	case OP_COUNT:
		break;
	}
}

/* After all this, an ordinary client must be served. */
static void prove_alive(struct world *w)
{
	static const uint8_t get_info[32] = { 9, 0, MDL_VU_GET_INFO, 0, 32, [16] = 16 };
	struct mdl_vu_conn c;
	struct mdl_vu_msg msg;
	int got = 0;

	mdl_close_fd(&w->fd);
	for (int i = 0; i < 100; i++)	/* whatever is still in the sockets of those that left */
		process(w);
	MUST(!w->connected && !w->maps && w->asked == w->answered);
	connect_client(w);
	process(w);
	hello(w);
	process(w);
	send_bytes(w, get_info, sizeof(get_info), 0, 0);
	process(w);
	mdl_vu_conn_init(&c, w->fd, MDL_VU_CLIENT_FDS);
	while (mdl_vu_conn_recv(&c, &msg) == 1) {
		MUST(!(msg.hdr.flags & MDL_VU_ERROR) && !msg.nfds);
		got++;
	}
	MUST(got == 2 && msg.hdr.id == 9 && msg.len == 16);
	c.fd = -1;
	mdl_vu_conn_fini(&c);
}

static int lowest_free_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	int before = lowest_free_fd();
	struct world w;

	start(&w);
	connect_client(&w);
	for (int i = 0; i < 300 && in.left; i++)
		step(&w, &in);
	prove_alive(&w);
	mdl_vu_server_destroy(w.s);
	MUST(!w.maps && w.asked == w.answered);
	mdl_close_fd(&w.fd);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(w.fds); i++)
		mdl_close_fd(&w.fds[i]);
	MUST(lowest_free_fd() == before);
	return 0;
}
