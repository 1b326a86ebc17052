/* SPDX-License-Identifier: MIT */
/*
 * The client against our server (in a thread of its own, as in another process), and against servers that answer wrongly. The
 * second kind is a script: for each request the bytes that it gets back.
 */
#include "tests/proto/rig.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "vfio-user/client.h"

#define LIMIT_MS 10000

struct served {
	struct rig r;
	pthread_t thread;
	int stop;
};

static void *serve(void *arg)
{
	struct served *v = arg;
	struct pollfd p[2] = { { mdl_vu_server_fd(v->r.s), POLLIN, 0 }, { v->stop, POLLIN, 0 } };

	while (poll(p, 2, -1) >= 0 && !p[1].revents)
		CHECK_EQ(mdl_vu_server_process(v->r.s), 0);
	return NULL;
}

static void served_start(struct served *v, void (*on_write)(struct rig *, uint64_t))
{
	rig_start(&v->r);
	v->r.on_write = on_write;
	v->stop = rig_eventfd();
	CHECK(!pthread_create(&v->thread, NULL, serve, v));
}

/* After this the server's side can be looked at. */
static void served_join(struct served *v)
{
	CHECK_EQ(mdl_eventfd_signal(v->stop), 0);
	CHECK(!pthread_join(v->thread, NULL));
	close(v->stop);
	rig_pump(&v->r);
}

static struct mdl_vu_client *connect_to(struct served *v)
{
	struct mdl_vu_client *c = NULL;

	CHECK_EQ(mdl_vu_client_connect(v->r.path, LIMIT_MS, &c), 0);
	return c;
}

static void connecting(void)
{
	struct mdl_vu_client *c = NULL, *other = NULL;
	char longest[200];
	struct served v;

	memset(longest, 'x', sizeof(longest));
	longest[199] = 0;
	CHECK_EQ(mdl_vu_client_connect("/nonexistent/vu.sock", LIMIT_MS, &c), -ENOENT);
	CHECK_EQ(mdl_vu_client_connect(longest, LIMIT_MS, &c), -ENAMETOOLONG);
	CHECK_EQ(mdl_vu_client_connect("/nonexistent/vu.sock", 0, &c), -EINVAL);
	CHECK(!c);
	mdl_vu_client_close(NULL);

	served_start(&v, NULL);
	c = connect_to(&v);
	CHECK_EQ(mdl_vu_client_connect(v.r.path, LIMIT_MS, &other), -EBUSY);
	CHECK_EQ(mdl_vu_client_reset(c), 0);	/* the first is not disturbed */
	mdl_vu_client_close(c);
	c = connect_to(&v);
	mdl_vu_client_close(c);
	served_join(&v);
	CHECK_EQ(v.r.connected, 2);
	CHECK_EQ(v.r.disconnected, 2);
	CHECK_EQ(v.r.resets, 1);
	/* The socket's file is there, nobody listens. */
	mdl_vu_server_destroy(v.r.s);
	CHECK_EQ(mdl_vu_client_connect(v.r.path, LIMIT_MS, &c), -ECONNREFUSED);
	v.r.s = NULL;
	rig_stop(&v.r);
}

static void regions(void)
{
	struct mdl_vu_client_region reg;
	struct mdl_vu_client *c;
	uint32_t count = 99;
	struct served v;
	uint8_t *map;

	served_start(&v, NULL);
	c = connect_to(&v);
	CHECK_EQ(mdl_vu_client_region(c, 0, &reg), 0);
	CHECK(reg.bytes == RIG_BAR0_BYTES && reg.read && reg.write && !reg.mappable);
	CHECK_EQ(reg.fd, -1);
	CHECK_EQ(mdl_vu_client_region(c, 6, &reg), 0);
	CHECK(reg.read && !reg.write);
	CHECK_EQ(mdl_vu_client_region(c, 1, &reg), 0);
	CHECK_EQ(reg.bytes, 0);
	CHECK_EQ(mdl_vu_client_region(c, 9, &reg), -EINVAL);
	CHECK_EQ(mdl_vu_client_region(c, 4, &reg), 0);
	CHECK_EQ(reg.num_areas, 2);
	CHECK_EQ(reg.area[1].offset, 32768);
	CHECK_EQ(reg.area[1].bytes, 4096);
	close(reg.fd);
	CHECK_EQ(mdl_vu_client_region(c, 2, &reg), 0);
	CHECK(reg.mappable);
	CHECK_EQ(reg.num_areas, 1);
	CHECK_EQ(reg.area[0].bytes, RIG_BAR2_BYTES);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reg.fd, (off_t)reg.fd_offset);
	CHECK(map != MAP_FAILED);
	strcpy((char *)map, "through the aperture");
	close(reg.fd);
	CHECK_EQ(mdl_vu_client_irq_count(c, 2, &count), 0);
	CHECK_EQ(count, RIG_MSIX);
	CHECK_EQ(mdl_vu_client_irq_count(c, 5, &count), -EINVAL);
	mdl_vu_client_close(c);
	served_join(&v);
	munmap(map, 4096);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, v.r.dev.region[2].fd, 8192);
	CHECK_STR((char *)map, "through the aperture");
	rig_stop(&v.r);
}

static void accesses(void)
{
	const uint32_t len = (1u << 20) + 4097;
	uint8_t *a = malloc(len), *b = calloc(1, len);
	struct mdl_vu_client *c;
	struct served v;

	for (uint32_t i = 0; i < len; i++)
		a[i] = (uint8_t)(i ^ i >> 9);
	served_start(&v, NULL);
	c = connect_to(&v);
	CHECK_EQ(mdl_vu_client_write(c, 0, 77, a, len), 0);	/* more than one message holds */
	CHECK_EQ(mdl_vu_client_read(c, 0, 77, b, len), 0);
	CHECK(!memcmp(a, b, len));
	CHECK_EQ(mdl_vu_client_read(c, 7, 4095, b, 2), -EINVAL);
	CHECK_EQ(mdl_vu_client_write(c, 6, 0, a, 4), -EACCES);
	CHECK_EQ(mdl_vu_client_read(c, 7, 0, b, 0), 0);
	CHECK_EQ(mdl_vu_client_reset(c), 0);	/* errors did not end it */
	mdl_vu_client_close(c);
	served_join(&v);
	rig_stop(&v.r);
	free(a);
	free(b);
}

/* The device's reaction to writes to config space: DMA both ways, interrupts, hanging up. Runs in the server's thread. */
static void dma_done(void *arg, int error, const void *data, uint32_t len)
{
	struct rig *r = arg;

	r->dma_done++;
	r->dma_error = error;
	if (data)
		memcpy(r->dma_data, data, len);
}

static void react(struct rig *r, uint64_t offset)
{
	static uint8_t big[MDL_VU_MAX_XFER];

	switch (offset) {
	case 0: CHECK_EQ(mdl_vu_dma_read(r->s, 0x10100, 256, dma_done, r), 0); break;
	case 8: CHECK_EQ(mdl_vu_dma_write(r->s, 0x10200, "written by the device", 22, dma_done, r), 0); break;
	case 16: CHECK_EQ(mdl_vu_dma_write(r->s, 0x10000, "x", 1, dma_done, r), -EFAULT); break;
	case 24: mdl_vu_server_disconnect(r->s); break;
	case 32:
		memset(big, 0x77, sizeof(big));
		CHECK_EQ(mdl_vu_dma_write(r->s, 0x100000, big, sizeof(big), dma_done, r), 0);
		break;
	case 40: CHECK_EQ(mdl_vu_dma_read(r->s, 0x100000, 4096, dma_done, r), 0); break;
	default:
		CHECK(mdl_vu_irq_raise(r->s, 2, (uint32_t)(offset - 512) / 8));
	}
}

static void poke(struct mdl_vu_client *c, uint64_t offset)
{
	uint64_t data = 1;

	CHECK_EQ(mdl_vu_client_write(c, 7, offset, &data, 8), 0);
}

/* Both kinds of memory behind a region: a host pointer, and a descriptor alone. */
static void dma(void)
{
	for (int with_fd = 0; with_fd < 2; with_fd++) {
		int fd = rig_memfd(0x200000), ram = rig_memfd(1 << 20);
		uint8_t *host = mmap(NULL, 0x200000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		struct mdl_vu_client *c;
		struct served v;

		CHECK(host != MAP_FAILED);
		memset(host + 0x1100, 0xab, 256);
		served_start(&v, react);
		c = connect_to(&v);
		CHECK_EQ(mdl_vu_client_dma_map(c, 0x10000, 0x1000, true, -1, 0, NULL), -EINVAL);
		CHECK_EQ(mdl_vu_client_dma_map(c, 0x10000, 0x1000, true, with_fd ? fd : -1, 0x1000, with_fd ? NULL : host + 0x1000),
			 0);
		CHECK_EQ(mdl_vu_client_dma_map(c, 0x100000, 0x100000, true, with_fd ? fd : -1, 0x100000,
					       with_fd ? NULL : host + 0x100000), 0);
		CHECK_EQ(mdl_vu_client_dma_map(c, 0x10000, 0x1000, true, ram, 0, NULL), -EEXIST);
		CHECK_EQ(mdl_vu_client_dma_map(c, 0x1000000, 1 << 20, false, ram, 0, NULL), 0);
		poke(c, 0);
		poke(c, 8);	/* the server's request comes before the reply, and is served while waiting for it */
		CHECK_STR((char *)host + 0x1200, "written by the device");
		poke(c, 32);
		poke(c, 40);
		CHECK_EQ(mdl_vu_client_reset(c), 0);
		for (uint32_t i = 0; i < 0x100000; i++)
			CHECK_EQ(host[0x100000 + i], 0x77);
		CHECK_EQ(mdl_vu_client_dma_unmap(c, 0x10000, 0x2000), -ENOENT);
		CHECK_EQ(mdl_vu_client_dma_unmap(c, 0x10000, 0x1000), 0);
		poke(c, 16);
		CHECK_EQ(mdl_vu_client_process(c), 0);
		mdl_vu_client_close(c);
		served_join(&v);
		CHECK_EQ(v.r.dma_done, 4);
		CHECK_EQ(v.r.dma_error, 0);
		CHECK_EQ(v.r.dma_data[0], 0x77);
		CHECK_EQ(v.r.maps, 3);
		CHECK_EQ(v.r.unmaps, 3);
		rig_stop(&v.r);
		munmap(host, 0x200000);
		close(fd);
		close(ram);
	}
}

static void interrupts(void)
{
	int fds[RIG_MSIX + 1];
	struct mdl_vu_client *c;
	struct served v;

	for (size_t i = 0; i <= RIG_MSIX; i++)
		fds[i] = i == 5 || i == 6 ? -1 : rig_eventfd();
	served_start(&v, react);
	c = connect_to(&v);
	CHECK_EQ(mdl_vu_client_set_irqs(c, 2, 0, RIG_MSIX, fds), 0);	/* more than fit a message, with holes */
	for (size_t i = 0; i < RIG_MSIX; i++) {
		if (fds[i] < 0)
			continue;
		poke(c, 512 + 8 * i);
		CHECK_EQ(mdl_eventfd_take(fds[i]), 1);
	}
	CHECK_EQ(mdl_vu_client_mask_irq(c, 2, 7, true), 0);
	poke(c, 512 + 8 * 7);
	CHECK_EQ(mdl_eventfd_take(fds[7]), 0);
	CHECK_EQ(mdl_vu_client_mask_irq(c, 2, 7, false), 0);
	CHECK_EQ(mdl_eventfd_take(fds[7]), 1);
	CHECK_EQ(mdl_vu_client_set_irqs(c, 2, 0, RIG_MSIX + 1, fds), -EINVAL);
	CHECK_EQ(mdl_vu_client_set_irqs(c, 2, 0, 0, NULL), 0);
	CHECK_EQ(mdl_vu_client_mask_irq(c, 2, RIG_MSIX, true), -EINVAL);
	mdl_vu_client_close(c);
	served_join(&v);
	for (uint32_t i = 0; i < RIG_MSIX; i++)
		CHECK(v.r.irq_fd[2][i] <= 0);
	rig_stop(&v.r);
}

static void doorbells(void)
{
	struct mdl_vu_client_ioeventfd io[4];
	struct mdl_vu_client *c;
	struct served v;
	size_t n = 0, before;

	served_start(&v, NULL);
	c = connect_to(&v);
	before = rig_count_fds();
	CHECK_EQ(mdl_vu_client_io_fds(c, 0, io, 4, &n), 0);
	CHECK_EQ(n, 3);
	CHECK_EQ(io[1].offset, 0x1008);
	CHECK_EQ(io[1].bytes, 8);
	CHECK_EQ(mdl_eventfd_signal(io[2].fd), 0);
	CHECK_EQ(mdl_eventfd_take(v.r.io[0].fd), 1);
	while (n)
		close(io[--n].fd);
	CHECK_EQ(mdl_vu_client_io_fds(c, 0, io, 1, &n), 0);
	CHECK_EQ(n, 1);
	close(io[0].fd);
	CHECK_EQ(mdl_vu_client_io_fds(c, 7, io, 4, &n), 0);
	CHECK_EQ(n, 0);
	CHECK_EQ(rig_count_fds(), before);
	mdl_vu_client_close(c);
	served_join(&v);
	rig_stop(&v.r);
}

static void server_leaves(void)
{
	struct mdl_vu_client *c;
	uint64_t data = 1;
	struct served v;
	struct pollfd p;

	served_start(&v, react);
	c = connect_to(&v);
	CHECK_EQ(mdl_vu_client_write(c, 7, 24, &data, 8), 0);	/* hung up after this */
	CHECK_EQ(mdl_vu_client_reset(c), -EPIPE);
	CHECK_EQ(mdl_vu_client_process(c), -EPIPE);
	p = (struct pollfd){ .fd = mdl_vu_client_fd(c), .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 1);	/* who polls it learns of it */
	mdl_vu_client_close(c);
	served_join(&v);
	rig_stop(&v.r);
}

#define KIND_FLOOD 1000

/* A server that answers by a script. */
struct script {
	int listen_fd;
	int extra_fd;	/* sent along when >= 0 */
	/* Writes the answer to req into out; its length, 0: says nothing. */
	size_t (*answer)(int kind, const struct mdl_vu_hdr *req, const uint8_t *payload, uint8_t *out);
	int kind;
	bool flood;	/* answers a RESET again and again */
};

static void read_all(int fd, void *buf, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv(fd, (uint8_t *)buf + got, len - got, 0);

		if (n <= 0)
			pthread_exit(NULL);
		got += (size_t)n;
	}
}

static size_t put(uint8_t *out, const struct mdl_vu_hdr *req, uint32_t flags, const void *payload, size_t len)
{
	struct mdl_vu_hdr hdr = { req->id, req->command, (uint32_t)(16 + len), flags, 0 };

	memcpy(out, &hdr, 16);
	if (len)
		memcpy(out + 16, payload, len);
	return 16 + len;
}

static void *run_script(void *arg)
{
	struct script *s = arg;
	int fd = accept(s->listen_fd, NULL, NULL);
	uint8_t *payload = calloc(1, 1 << 16), *out = calloc(1, 1 << 16);

	pthread_cleanup_push(free, payload);
	pthread_cleanup_push(free, out);
	for (;;) {
		struct mdl_vu_hdr hdr;
		size_t len;

		read_all(fd, &hdr, sizeof(hdr));
		read_all(fd, payload, hdr.size - sizeof(hdr));
		len = s->answer(s->kind, &hdr, payload, out);
		while (len && s->flood && hdr.command == MDL_VU_RESET && send(fd, out, len, MSG_NOSIGNAL) > 0)
			;
		if (len && !(s->flood && hdr.command == MDL_VU_RESET))
			rig_send_raw(fd, out, len, &s->extra_fd, s->extra_fd >= 0 && hdr.command != MDL_VU_VERSION ? 1 : 0);
	}
	pthread_cleanup_pop(1);
	pthread_cleanup_pop(1);
	return NULL;
}

static size_t good_version(const struct mdl_vu_hdr *req, uint8_t *out)
{
	return put(out, req, MDL_VU_TYPE_REPLY, "\0\0\0\0{}", 7);
}

/* Runs f on a client of a scripted server; what connecting gave, if it failed. */
static int with_script(size_t (*answer)(int, const struct mdl_vu_hdr *, const uint8_t *, uint8_t *), int kind, int extra_fd,
		       int limit_ms, void (*f)(struct mdl_vu_client *, int kind))
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct script s = { .extra_fd = extra_fd, .answer = answer, .kind = kind, .flood = kind == KIND_FLOOD };
	struct mdl_vu_client *c = NULL;
	pthread_t t;
	int ret;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/script", getenv("TMPDIR"));
	unlink(addr.sun_path);
	s.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!bind(s.listen_fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(s.listen_fd, 1));
	CHECK(!pthread_create(&t, NULL, run_script, &s));
	ret = mdl_vu_client_connect(addr.sun_path, limit_ms, &c);
	unlink(addr.sun_path);
	if (!ret)
		f(c, kind);
	mdl_vu_client_close(c);
	CHECK(!pthread_join(t, NULL));
	close(s.listen_fd);
	return ret;
}

static size_t bad_version(int kind, const struct mdl_vu_hdr *req, const uint8_t *payload, uint8_t *out)
{
	static const struct { const char *data; size_t len; uint32_t flags; } v[] = {
		{ "\1\0\0\0{}", 7, 1 }, { "\0\0\2\0{}", 7, 1 }, { "\0\0\0\0{", 6, 1 }, { "\0\0\0\0{}", 6, 1 }, { "\0\0", 2, 1 },
		{ "\0\0\0\0{}", 7, 0 }, { "\0\0\0\0{\"capabilities\":[]}", 23, 1 },
	};

	if (kind == 7 || (req->flags & MDL_VU_ERROR))
		return 0;
	return put(out, req, v[kind].flags, v[kind].data, v[kind].len);
}

static void not_reached(struct mdl_vu_client *c, int kind)
{
	CHECK(!"connected");
}

static void version_replies(void)
{
	for (int kind = 0; kind < 7; kind++) {
		int ret;

		/* The sixth is a command of the server's that is none, not a reply: refused, and the reply never comes. */
		ret = with_script(bad_version, kind, -1, kind == 5 ? 100 : LIMIT_MS, not_reached);
		CHECK_EQ(ret, kind == 5 ? -ETIMEDOUT : -EPROTO);
	}
	CHECK_EQ(with_script(bad_version, 7, -1, 100, not_reached), -ETIMEDOUT);
}

static size_t bad_reply(int kind, const struct mdl_vu_hdr *req, const uint8_t *payload, uint8_t *out)
{
	struct mdl_vu_hdr hdr = *req;
	size_t len = 0;

	if (req->command == MDL_VU_VERSION)
		return good_version(req, out);
	switch (kind) {
	case 0: hdr.id++; break;
	case 1: hdr.command++; break;
	case 2: len = 1; break;		/* RESET has no payload */
	case 3: hdr.size = 3; break;
	case 4: break;			/* with a descriptor, see below */
	case 5: return put(out, req, MDL_VU_TYPE_REPLY | MDL_VU_ERROR, NULL, 0);	/* errno 0 */
	case 6: return 0;
	}
	put(out, &hdr, MDL_VU_TYPE_REPLY, payload, len);
	if (kind == 3)
		memcpy(out + 4, &hdr.size, 4);
	return 16 + len;
}

static void expect_bad_reply(struct mdl_vu_client *c, int kind)
{
	CHECK_EQ(mdl_vu_client_reset(c), kind == 5 ? -EIO : kind == 6 ? -ETIMEDOUT : -EPROTO);
	CHECK_EQ(mdl_vu_client_reset(c), kind == 5 ? -EIO : -EPIPE);
}

static void wrong_replies(void)
{
	size_t before = rig_count_fds();

	for (int kind = 0; kind < 7; kind++) {
		int extra = kind == 4 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;

		CHECK_EQ(with_script(bad_reply, kind, extra, kind == 6 ? 100 : LIMIT_MS, expect_bad_reply), 0);
		mdl_close_fd(&extra);
	}
	CHECK(rig_count_fds() <= before + 7);	/* the scripts' own ends, which they never close */
}

static size_t region_reply(int kind, const struct mdl_vu_hdr *req, const uint8_t *payload, uint8_t *out)
{
	struct { struct vfio_region_info i; uint16_t id, version; uint32_t next, n, reserved; uint64_t a[2][2]; } m = {
		{ 112, VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS, 2, 32, 1 << 20, 0 },
		VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0, 2, 0, { { 0, 4096 }, { 8192, 4096 } } };
	size_t len = sizeof(m);

	if (req->command == MDL_VU_VERSION)
		return good_version(req, out);
	switch (kind) {
	case 0: m.a[1][0] = 1 << 20; break;		/* area outside */
	case 1: m.a[1][1] = UINT64_MAX - 4095; break;	/* wraps */
	case 2: m.a[1][0] = 100; break;			/* not aligned */
	case 3: m.i.offset = 3; break;
	case 4: m.i.index = 3; break;
	case 5: len = 31; break;
	/* From here on: not trusted, but nothing worse than "map all of it" or "no map". */
	case 6: m.id = 99, m.next = 32; break;		/* a chain that bites its tail */
	case 7: m.n = UINT32_MAX; break;		/* more areas than there is reply */
	case 8: m.i.cap_offset = UINT32_MAX - 7; break;
	case 9: m.i.cap_offset = 4; break;
	case 10: m.n = 0; break;
	}
	return put(out, req, MDL_VU_TYPE_REPLY, &m, len);
}

static void expect_region(struct mdl_vu_client *c, int kind)
{
	struct mdl_vu_client_region reg;
	int ret = mdl_vu_client_region(c, 2, &reg);

	if (kind < 6) {
		CHECK_EQ(ret, -EPROTO);
		CHECK_EQ(mdl_vu_client_reset(c), -EPIPE);
		return;
	}
	CHECK_EQ(ret, 0);
	if (kind == 10) {
		CHECK(!reg.mappable);
		CHECK_EQ(reg.fd, -1);
		return;
	}
	CHECK_EQ(reg.num_areas, 1);
	CHECK_EQ(reg.area[0].bytes, 1 << 20);
	close(reg.fd);
}

static void region_replies(void)
{
	for (int kind = 0; kind <= 10; kind++) {
		int extra = rig_memfd(4096);

		fprintf(stderr, "# kind %d\n", kind);
		CHECK_EQ(with_script(region_reply, kind, extra, LIMIT_MS, expect_region), 0);
		close(extra);
	}
}

/* FLAG_MMAP without a descriptor: not mappable, and no error. */
static void expect_unmappable(struct mdl_vu_client *c, int kind)
{
	struct mdl_vu_client_region reg;

	CHECK_EQ(mdl_vu_client_region(c, 2, &reg), 0);
	CHECK(!reg.mappable);
	CHECK_EQ(reg.fd, -1);
}

static void region_without_fd(void)
{
	CHECK_EQ(with_script(region_reply, 11, -1, LIMIT_MS, expect_unmappable), 0);
}

/* The server asks for memory that is not mapped, or in nonsense sizes, instead of answering: errors, then the answer. */
static size_t greedy(int kind, const struct mdl_vu_hdr *req, const uint8_t *payload, uint8_t *out)
{
	static const struct mdl_vu_dma_access a[] = {
		{ 0, 4096 }, { 0x1000, 0x1001 }, { UINT64_MAX - 1, 4 }, { 0x1000, UINT64_MAX }, { 0x1000, 0 },
		{ 0x1000, MDL_VU_MAX_XFER + 1 },
	};
	struct mdl_vu_hdr ask = { 7, MDL_VU_DMA_READ, 0, 0, 0 };
	static size_t asked;

	if (req->command == MDL_VU_VERSION) {
		asked = 0;
		return good_version(req, out);
	}
	if (req->command == MDL_VU_DMA_MAP)
		return put(out, req, MDL_VU_TYPE_REPLY, NULL, 0);
	if (req->command == MDL_VU_RESET && !(req->flags & MDL_VU_TYPE_REPLY)) {
		*(struct mdl_vu_hdr *)(payload + 1024) = *req;
		return put(out, &ask, 0, &a[asked++], 16);
	}
	CHECK_EQ(req->flags, MDL_VU_TYPE_REPLY | MDL_VU_ERROR);
	CHECK_EQ(req->size, 16);
	if (asked < MDL_ARRAY_SIZE(a))
		return put(out, &ask, 0, &a[asked++], 16);
	if (asked++ == MDL_ARRAY_SIZE(a)) {	/* a write to what is read-only, and a command that is none of ours */
		ask.command = MDL_VU_DMA_WRITE;
		return put(out, &ask, 0, "\0\x10\0\0\0\0\0\0\4\0\0\0\0\0\0\0abcd", 20);
	}
	if (asked++ == MDL_ARRAY_SIZE(a) + 2) {
		ask.command = MDL_VU_RESET;
		return put(out, &ask, 0, NULL, 0);
	}
	return put(out, (const struct mdl_vu_hdr *)(payload + 1024), MDL_VU_TYPE_REPLY, NULL, 0);
}

static void expect_greedy(struct mdl_vu_client *c, int kind)
{
	uint8_t page[4096] = { 0 };

	CHECK_EQ(mdl_vu_client_dma_map(c, 0x1000, 4096, false, -1, 0, page), 0);
	CHECK_EQ(mdl_vu_client_reset(c), 0);
	for (size_t i = 0; i < sizeof(page); i++)
		CHECK_EQ(page[i], 0);
}

static void greedy_server(void)
{
	CHECK_EQ(with_script(greedy, 0, -1, LIMIT_MS, expect_greedy), 0);
}

/* Requests that want no reply, small to send and long to serve, so that there is always one more to read. */
static size_t flood(int kind, const struct mdl_vu_hdr *req, const uint8_t *payload, uint8_t *out)
{
	struct mdl_vu_hdr ask = { 7, MDL_VU_DMA_READ, 0, 0, 0 };
	struct mdl_vu_dma_access a = { 0x1000, MDL_VU_MAX_XFER };
	size_t len = 0;

	if (req->command == MDL_VU_VERSION)
		return good_version(req, out);
	if (req->command == MDL_VU_DMA_MAP)
		return put(out, req, MDL_VU_TYPE_REPLY, NULL, 0);
	while (len + 32 <= 1 << 16)
		len += put(out + len, &ask, MDL_VU_NO_REPLY, &a, sizeof(a));
	return len;
}

static void expect_flood(struct mdl_vu_client *c, int kind)
{
	void *memory = calloc(1, MDL_VU_MAX_XFER);

	CHECK_EQ(mdl_vu_client_dma_map(c, 0x1000, MDL_VU_MAX_XFER, true, -1, 0, memory), 0);
	CHECK_EQ(mdl_vu_client_reset(c), -ETIMEDOUT);
	CHECK_EQ(mdl_vu_client_process(c), -EPIPE);
	free(memory);
}

static void flooding_server(void)
{
	CHECK_EQ(with_script(flood, KIND_FLOOD, -1, 200, expect_flood), 0);
}

static const struct check_case cases[] = {
	{ "connecting", connecting },
	{ "regions", regions },
	{ "accesses", accesses },
	{ "DMA by message", dma },
	{ "interrupts", interrupts },
	{ "doorbells", doorbells },
	{ "the server leaves", server_leaves },
	{ "bad VERSION replies", version_replies },
	{ "wrong replies", wrong_replies },
	{ "wrong region descriptions", region_replies },
	{ "a mappable region without descriptor", region_without_fd },
	{ "a server that asks for too much", greedy_server },
	{ "a server that asks without end", flooding_server },
};

RIG_MAIN(cases)
