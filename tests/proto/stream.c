/* SPDX-License-Identifier: MIT */
/*
 * The byte stream and the connection: messages cut and glued anywhere, descriptors that must stay with theirs, headers that make no
 * sense, clients that fall silent, never read, never negotiate, leave, come again, or come twice.
 */
#include "rig.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/cleanup.h"

static void byte_by_byte(void)
{
	struct rig r;
	struct mdl_vu_info info = { .argsz = 16 };
	struct mdl_vu_hdr hdr = { .id = 77, .command = MDL_VU_GET_INFO, .size = 32 };
	uint8_t buf[32];

	memcpy(buf, &hdr, 16);
	memcpy(buf + 16, &info, 16);
	rig_start(&r);
	rig_hello(&r);
	for (size_t i = 0; i < sizeof(buf); i++) {
		CHECK_EQ(rig_recv(&r), 0);
		rig_send_raw(r.fd, buf + i, 1, NULL, 0);
		rig_pump(&r);
	}
	CHECK_EQ(rig_recv(&r), 1);
	CHECK_EQ(r.reply.hdr.id, 77);
	rig_stop(&r);
}

/* QEMU sends all its DMA_MAPs before it reads a reply: the descriptors must not slip to the neighbours. */
static void pipelined_maps(void)
{
	int fds[RIG_DMA_MAX];
	struct rig r;
	size_t before;

	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	for (size_t i = 0; i < RIG_DMA_MAX; i++) {
		struct mdl_vu_dma_map_req m = { 32, 3, 0, i << 20, 4096 };

		fds[i] = rig_memfd(4096);
		rig_send(&r, MDL_VU_DMA_MAP, 0, &m, sizeof(m), &fds[i], i % 3 ? 1 : 0);
	}
	rig_pump(&r);
	for (size_t i = 0; i < RIG_DMA_MAX; i++) {
		CHECK_EQ(rig_recv(&r), 1);
		CHECK_EQ(r.reply.hdr.id, r.id - RIG_DMA_MAX + 1 + i);
		CHECK_EQ(r.reply.hdr.flags, MDL_VU_TYPE_REPLY);
		CHECK_EQ(r.dma[i].iova, i << 20);
		CHECK_EQ(r.dma[i].inode, i % 3 ? rig_inode(fds[i]) : 0);
	}
	CHECK_EQ(rig_count_fds(), before + RIG_DMA_MAX);
	rig_stop(&r);
}

/* A stream may join what was written apart: two messages in one write, a third cut in the middle. */
static void glued(void)
{
	struct { struct mdl_vu_hdr h; struct mdl_vu_info i; } m[3];
	struct rig r;

	_Static_assert(sizeof(m[0]) == 40, "24-byte GET_INFO");
	memset(m, 0, sizeof(m));
	for (uint16_t i = 0; i < 3; i++)
		m[i].h = (struct mdl_vu_hdr){ .id = i, .command = MDL_VU_GET_INFO, .size = 40 }, m[i].i.argsz = 24;
	rig_start(&r);
	rig_hello(&r);
	rig_send_raw(r.fd, m, 2 * sizeof(m[0]) + 5, NULL, 0);
	rig_pump(&r);
	rig_send_raw(r.fd, (uint8_t *)m + 2 * sizeof(m[0]) + 5, sizeof(m[0]) - 5, NULL, 0);
	rig_pump(&r);
	for (uint16_t i = 0; i < 3; i++) {
		CHECK_EQ(rig_recv(&r), 1);
		CHECK_EQ(r.reply.hdr.id, i);
		CHECK_EQ(r.reply.len, 24);	/* as long as the request: Cloud Hypervisor */
	}
	rig_stop(&r);
}

/* Descriptors may come with the header, with the payload, or spread: they belong to the message, and count together. */
static void late_descriptors(void)
{
	struct mdl_vu_dma_map_req m = { 32, 3, 0, 0x1000, 4096 };
	struct mdl_vu_hdr hdr = { .id = 1, .command = MDL_VU_DMA_MAP, .size = 48 };
	int fd = rig_memfd(4096), many[16];
	struct rig r;
	size_t before;

	for (size_t i = 0; i < 16; i++)
		many[i] = fd;
	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	rig_send_raw(r.fd, &hdr, 16, NULL, 0);
	rig_pump(&r);
	rig_send_raw(r.fd, &m, 32, &fd, 1);
	rig_pump(&r);
	CHECK_EQ(rig_recv(&r), 1);
	CHECK_EQ(r.reply.hdr.error, 0);
	CHECK_EQ(r.dma[0].inode, rig_inode(fd));

	rig_send_raw(r.fd, &hdr, 16, many, 16);
	rig_pump(&r);
	CHECK_EQ(rig_count_fds(), before + 16);
	rig_send_raw(r.fd, &m, 32, &fd, 1);	/* the 17th */
	CHECK(rig_closed(&r));
	CHECK_EQ(rig_count_fds(), before - 1);	/* less the server's end of the connection */
	rig_stop(&r);
}

static void bad_headers(void)
{
	static const struct mdl_vu_hdr bad[] = {
		{ 1, MDL_VU_GET_INFO, 0, 0, 0 }, { 1, MDL_VU_GET_INFO, 15, 0, 0 },
		{ 1, MDL_VU_GET_INFO, 16 + MDL_VU_MAX_PAYLOAD + 1, 0, 0 }, { 1, MDL_VU_GET_INFO, UINT32_MAX, 0, 0 },
		{ 1, MDL_VU_GET_INFO, 32, 2, 0 }, { 1, MDL_VU_GET_INFO, 32, 15, 0 },
		{ 1, MDL_VU_DMA_READ, 16, MDL_VU_TYPE_REPLY, 0 },	/* to nothing that we asked */
		{ 1, MDL_VU_GET_INFO, 16, MDL_VU_TYPE_REPLY, 0 },
		{ 1, MDL_VU_DMA_READ, 16, MDL_VU_TYPE_REPLY | MDL_VU_ERROR, 5 },
	};
	struct mdl_vu_stats before, after;
	struct rig r;

	rig_start(&r);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(bad); i++) {
		rig_hello(&r);
		mdl_vu_server_stats(r.s, &before);
		rig_send_raw(r.fd, &bad[i], sizeof(bad[i]), NULL, 0);
		CHECK(rig_closed(&r));
		mdl_vu_server_stats(r.s, &after);
		CHECK_EQ(after.protocol_faults, before.protocol_faults + 1);
		CHECK_EQ(after.disconnects, before.disconnects + 1);
		mdl_close_fd(&r.fd);
	}
	CHECK_EQ(r.disconnected, MDL_ARRAY_SIZE(bad));
	rig_hello(&r);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

/* Half a header, then silence: the server has nothing to do, and says so; the connection ends with the client. */
static void half_header(void)
{
	struct mdl_vu_hdr hdr = { .id = 1, .command = MDL_VU_GET_INFO, .size = 32 };
	struct rig r;
	size_t before;

	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	for (size_t cut = 1; cut < 16; cut += 5) {
		rig_send_raw(r.fd, &hdr, cut, NULL, 0);
		rig_pump(&r);	/* returns: no wait, no busy loop */
		CHECK(mdl_vu_server_connected(r.s));
		mdl_close_fd(&r.fd);
		rig_pump(&r);
		CHECK(!mdl_vu_server_connected(r.s));
		rig_hello(&r);
		CHECK_EQ(rig_count_fds(), before);
	}
	rig_stop(&r);
}

/* Who connects and says nothing, or half a VERSION, keeps the place only until the patience ends. */
static void never_negotiates(void)
{
	struct pollfd p;
	struct rig r;

	rig_start(&r);
	mdl_vu_server_set_patience(r.s, 50 * MDL_NS_PER_MS);
	r.fd = rig_connect(&r);
	rig_send_raw(r.fd, "\1", 1, NULL, 0);
	rig_pump(&r);
	p = (struct pollfd){ .fd = mdl_vu_server_fd(r.s), .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 10000), 1);
	CHECK(rig_closed(&r));
	mdl_close_fd(&r.fd);
	/* One that did negotiate may be silent for as long as it likes: no timer is left running. */
	rig_hello(&r);
	CHECK_EQ(poll(&p, 1, 300), 0);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

/* A client that asks and never reads: what we keep for it is bounded, it is not read from any more, and it is thrown out in time. */
static void never_reads(void)
{
	struct mdl_vu_access big = { 0, 0, MDL_VU_MAX_XFER };
	struct mdl_vu_hdr hdr = { .command = MDL_VU_REGION_READ, .size = 32 };
	uint8_t m[32];
	size_t sent = 0, most = 0;
	struct pollfd p;
	struct rig r;

	memcpy(m, &hdr, 16);
	memcpy(m + 16, &big, 16);
	rig_start(&r);
	rig_hello(&r);
	mdl_vu_server_set_patience(r.s, 200 * MDL_NS_PER_MS);
	for (;;) {
		ssize_t n = send(r.fd, m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			break;
		CHECK_EQ(n, 32);
		sent++;
		if (sent < 1000)
			rig_pump(&r);
		if (r.s->conn.out_bytes > most)
			most = r.s->conn.out_bytes;
	}
	CHECK(sent > 100);	/* the socket filled up with requests that nobody reads */
	CHECK(r.reads <= 3 * 256);	/* each full read is 256 pages: only a few were begun */
	CHECK(most <= MDL_VU_OUT_MARK + MDL_VU_MAX_XFER + 64);
	p = (struct pollfd){ .fd = mdl_vu_server_fd(r.s), .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 10000), 1);
	rig_pump(&r);
	CHECK(!mdl_vu_server_connected(r.s));
	CHECK_EQ(r.disconnected, 1);
	mdl_close_fd(&r.fd);
	rig_hello(&r);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

/* The same client, but it reads late: everything comes, whole and in order. */
static void reads_late(void)
{
	struct mdl_vu_access big = { 0, 0, MDL_VU_MAX_XFER };
	struct rig r;
	uint16_t first;

	rig_start(&r);
	rig_hello(&r);
	for (size_t i = 0; i < RIG_BAR0_BYTES; i++)
		r.bar0[i] = (uint8_t)(i * 7 + i / 4096);
	first = rig_send(&r, MDL_VU_REGION_READ, 0, &big, sizeof(big), NULL, 0);
	for (int i = 0; i < 9; i++)
		rig_send(&r, MDL_VU_REGION_READ, 0, &big, sizeof(big), NULL, 0);
	rig_pump(&r);
	for (int i = 0; i < 10; i++) {
		rig_pump(&r);
		CHECK_EQ(rig_recv(&r), 1);
		CHECK_EQ(r.reply.hdr.id, first + i);
		CHECK_EQ(r.reply.len, 16 + MDL_VU_MAX_XFER);
		CHECK(!memcmp(r.reply.payload + 16, r.bar0, MDL_VU_MAX_XFER));
	}
	CHECK(rig_alive(&r));
	CHECK_EQ(r.s->timer_ns, 0);
	rig_stop(&r);
}

static void leaves_unread(void)
{
	struct mdl_vu_access big = { 0, 0, MDL_VU_MAX_XFER };
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	for (int i = 0; i < 5; i++)
		rig_send(&r, MDL_VU_REGION_READ, 0, &big, sizeof(big), NULL, 0);
	rig_pump(&r);
	CHECK(r.s->conn.out_bytes > MDL_VU_OUT_MARK);
	CHECK(r.s->conn.out_bytes <= MDL_VU_OUT_MARK + MDL_VU_MAX_XFER + 64);	/* also when all of it came at once */
	mdl_close_fd(&r.fd);
	rig_pump(&r);
	CHECK(!mdl_vu_server_connected(r.s));
	CHECK_EQ(r.disconnected, 1);
	rig_stop(&r);
}

/* Much at once: handled in bounded portions, all of it in the end. */
static void many_messages(void)
{
	struct rig r;
	unsigned int before;

	rig_start(&r);
	rig_hello(&r);
	for (int i = 0; i < 200; i++)
		rig_send(&r, MDL_VU_RESET, MDL_VU_NO_REPLY, NULL, 0, NULL, 0);
	CHECK_EQ(mdl_vu_server_process(r.s), 0);
	before = r.resets;
	CHECK(before > 0 && before <= MDL_VU_BUDGET);
	rig_pump(&r);
	CHECK_EQ(r.resets, 200);
	rig_stop(&r);
}

static void reconnect(void)
{
	int fd = rig_memfd(1 << 20), event = rig_eventfd();
	struct rig r;
	size_t before = 0;

	rig_start(&r);
	for (unsigned int i = 0; i < 20; i++) {
		rig_hello(&r);
		CHECK_EQ(rig_map(&r, 0, 1 << 20, 3, fd, 0), 0);
		CHECK_EQ(rig_map(&r, 1 << 20, 4096, 1, -1, 0), 0);
		CHECK_EQ(rig_irqs(&r, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 3, 1, NULL, 0, &event, 1), 0);
		CHECK_EQ(rig_irqs(&r, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0, 0, 1, NULL, 0, &event, 1), 0);
		CHECK(r.irq_fd[2][3] > 0);
		mdl_close_fd(&r.fd);
		rig_pump(&r);
		CHECK_EQ(r.disconnected, i + 1);
		CHECK_EQ(r.maps, r.unmaps);
		CHECK_EQ(r.irq_fd[2][3], -1);
		CHECK(!mdl_vu_irq_raise(r.s, 2, 3));
		if (!i)
			before = rig_count_fds();
		CHECK_EQ(rig_count_fds(), before);
	}
	rig_stop(&r);
}

static void second_client(void)
{
	struct rig r;
	int other;
	char c;

	rig_start(&r);
	rig_hello(&r);
	other = rig_connect(&r);
	rig_pump(&r);
	CHECK_EQ(recv(other, &c, 1, 0), 0);	/* turned away at once */
	close(other);
	CHECK(rig_alive(&r));
	/* The first one's end and the next one's arrival are seen in the same round. */
	mdl_close_fd(&r.fd);
	rig_hello(&r);
	CHECK_EQ(r.connected, 2);
	CHECK_EQ(r.disconnected, 1);
	/* It left with more unread than one round handles: the next one waits instead of being turned away. */
	for (int i = 0; i < 2 * MDL_VU_BUDGET; i++)
		rig_send(&r, MDL_VU_RESET, MDL_VU_NO_REPLY, NULL, 0, NULL, 0);
	mdl_close_fd(&r.fd);
	rig_hello(&r);
	CHECK_EQ(r.resets, 2 * MDL_VU_BUDGET);
	CHECK_EQ(r.connected, 3);
	rig_stop(&r);
}

/* A client that cannot be accepted waits; it costs us no busy loop (rig_pump() looks for one), and its turn comes. */
static void clients_wait(void)
{
	struct rlimit old, few;
	struct pollfd p;
	struct rig r;
	int other;

	rig_start(&r);
	p = (struct pollfd){ .fd = mdl_vu_server_fd(r.s), .events = POLLIN };
	r.fd = rig_connect(&r);
	CHECK(!getrlimit(RLIMIT_NOFILE, &old));
	few = old;
	few.rlim_cur = (rlim_t)dup(0);
	close((int)few.rlim_cur);
	CHECK(!setrlimit(RLIMIT_NOFILE, &few));
	rig_pump(&r);
	CHECK(!setrlimit(RLIMIT_NOFILE, &old));
	CHECK_EQ(poll(&p, 1, 10000), 1);
	rig_hello(&r);
	/* The first one takes nothing, and has said that it will say nothing more: its end is not read while replies wait. */
	while (r.s->conn.out_bytes <= MDL_VU_OUT_MARK) {
		struct mdl_vu_access a = { 0, 0, 1 << 20 };

		rig_send(&r, MDL_VU_REGION_READ, 0, &a, sizeof(a), NULL, 0);
		rig_pump(&r);
	}
	shutdown(r.fd, SHUT_WR);
	other = rig_connect(&r);
	rig_pump(&r);
	mdl_vu_server_disconnect(r.s);
	mdl_close_fd(&r.fd);
	r.fd = other;
	rig_hello(&r);
	CHECK_EQ(r.connected, 2);
	rig_stop(&r);
}

static void disconnect_in_callback(void)
{
	struct { struct mdl_vu_access a; uint64_t data; } w = { { 0, 7, 8 }, 5 };
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	r.quit_in_write = true;
	rig_send(&r, MDL_VU_REGION_WRITE, 0, &w, sizeof(w), NULL, 0);
	rig_send(&r, MDL_VU_RESET, 0, NULL, 0, NULL, 0);
	CHECK(rig_closed(&r));
	CHECK_EQ(r.resets, 0);
	CHECK_EQ(r.disconnected, 1);
	mdl_close_fd(&r.fd);
	rig_hello(&r);
	mdl_vu_server_disconnect(r.s);
	mdl_vu_server_disconnect(r.s);
	CHECK_EQ(r.disconnected, 2);
	CHECK(rig_closed(&r));
	rig_stop(&r);
}

static void bad_device(void)
{
	static const struct mdl_vu_area beyond = { 4096, UINT64_MAX - 4095 };
	struct mdl_vu_server *s = NULL;
	struct mdl_vu_ops ops = rig_ops;
	struct mdl_vu_ioeventfd io = { 0, 4094, 4, 0 };
	struct mdl_vu_device dev;
	size_t before = rig_count_fds();

	for (int i = 0; i < 7; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		memset(&dev, 0, sizeof(dev));
		for (size_t k = 0; k < MDL_VU_REGIONS; k++)
			dev.region[k].fd = -1;
		dev.region[0] = (struct mdl_vu_region){ 4096, true, true, -1 };
		switch (i) {
		case 0: ops.reset = NULL; break;
		case 1: ops = rig_ops; dev.irq_count[0] = 2; break;
		case 2: dev.irq_count[2] = MDL_VU_MSIX_MAX + 1; break;
		case 3: dev.region[0].fd = 0, dev.region[0].bytes = 100; break;
		case 4: dev.region[0].fd = 0, dev.region[0].areas = &beyond, dev.region[0].num_areas = 1; break;
		case 5: dev.ioeventfds = &io, dev.num_ioeventfds = 1; break;
		case 6: dev.region[0].fd = 0, dev.region[0].fd_offset = 12; break;
		}
		CHECK_EQ(mdl_vu_server_create(fd, &dev, &ops, NULL, &s), -EINVAL);
		CHECK(!s);
		CHECK_EQ(rig_count_fds(), before);
	}
	mdl_vu_server_destroy(NULL);
}

static const struct check_case cases[] = {
	{ "a message byte by byte", byte_by_byte },
	{ "pipelined DMA_MAPs keep their descriptors", pipelined_maps },
	{ "glued messages", glued },
	{ "descriptors with any part of a message", late_descriptors },
	{ "headers that make no sense", bad_headers },
	{ "half a header, then silence", half_header },
	{ "a client that never negotiates", never_negotiates },
	{ "a client that never reads", never_reads },
	{ "a client that reads late", reads_late },
	{ "a client that leaves without reading", leaves_unread },
	{ "many messages at once", many_messages },
	{ "reconnect", reconnect },
	{ "a second client", second_client },
	{ "clients that must wait", clients_wait },
	{ "disconnect from a callback", disconnect_in_callback },
	{ "inconsistent device descriptions", bad_device },
};

RIG_MAIN(cases)
