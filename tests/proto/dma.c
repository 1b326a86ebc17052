/* SPDX-License-Identifier: MIT */
/* DMA_MAP, DMA_UNMAP, and the server's own DMA_READ and DMA_WRITE. */
#include "rig.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define R VFIO_DMA_MAP_FLAG_READ
#define W VFIO_DMA_MAP_FLAG_WRITE

static void map_values(void)
{
	int fd = rig_memfd(1 << 20), pipefd[2];
	struct mdl_vu_dma_map_req m = { 31, R, 0, 0, 4096 };
	struct rig r;

	CHECK(!pipe(pipefd));
	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_call(&r, MDL_VU_DMA_MAP, &m, sizeof(m), NULL, 0), EINVAL);	/* argsz */
	CHECK_EQ(rig_map(&r, 0, 0, R, -1, 0), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 4096, 0, -1, 0), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 4096, 4, -1, 0), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 4096, R | 1u << 31, -1, 0), EINVAL);
	CHECK_EQ(rig_map(&r, 1, 4096, R, -1, 0), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 4097, R, -1, 0), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 4096, R, fd, 8), EINVAL);
	CHECK_EQ(rig_map(&r, UINT64_MAX - 4095, 8192, R, -1, 0), EINVAL);	/* wraps */
	CHECK_EQ(rig_map(&r, 8192, UINT64_MAX - 4095, R, -1, 0), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 2 << 20, R, fd, 0), EINVAL);	/* longer than the file */
	CHECK_EQ(rig_map(&r, 0, 8192, R, fd, (1 << 20) - 4096), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 8192, R, fd, UINT64_MAX - 4095), EINVAL);
	CHECK_EQ(rig_map(&r, 0, 8192, R, fd, (uint64_t)INT64_MAX - 4095), EINVAL);
	CHECK_EQ(r.maps, 0);

	CHECK_EQ(rig_map(&r, 0, 4096, R | W, fd, (1 << 20) - 4096), 0);
	CHECK_EQ(r.dma[0].fd_offset, (1 << 20) - 4096);
	CHECK(r.dma[0].read && r.dma[0].write);
	CHECK_EQ(rig_map(&r, UINT64_MAX - 4095, 4096, W, -1, 99), 0);	/* up to the very end; offset means nothing without fd */
	CHECK_EQ(r.dma[1].fd_offset, 0);
	CHECK(!r.dma[1].read && r.dma[1].write);
	r.fail = ENOMEM;	/* the device says no: it is not recorded */
	CHECK_EQ(rig_map(&r, 1 << 20, 4096, R, -1, 0), ENOMEM);
	CHECK_EQ(rig_unmap(&r, 1 << 20, 4096, 0), ENOENT);
	rig_stop(&r);
}

static void overlap(void)
{
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_map(&r, 0x10000, 0x4000, R, -1, 0), 0);
	CHECK_EQ(rig_map(&r, 0x10000, 0x4000, R, -1, 0), EEXIST);
	CHECK_EQ(rig_map(&r, 0xf000, 0x2000, R, -1, 0), EEXIST);
	CHECK_EQ(rig_map(&r, 0x13000, 0x1000, R, -1, 0), EEXIST);
	CHECK_EQ(rig_map(&r, 0x13000, 0x2000, R, -1, 0), EEXIST);
	CHECK_EQ(rig_map(&r, 0, 0x100000, R, -1, 0), EEXIST);
	CHECK_EQ(rig_map(&r, 0, UINT64_MAX - 4095, R, -1, 0), EEXIST);
	CHECK_EQ(rig_map(&r, 0xf000, 0x1000, R, -1, 0), 0);
	CHECK_EQ(rig_map(&r, 0x14000, 0x1000, R, -1, 0), 0);
	CHECK_EQ(r.maps, 3);
	for (uint64_t i = 3; i < RIG_DMA_MAX; i++)
		CHECK_EQ(rig_map(&r, i << 32, 0x1000, R, -1, 0), 0);
	CHECK_EQ(rig_map(&r, 99ull << 32, 0x1000, R, -1, 0), ENOSPC);
	CHECK_EQ(rig_unmap(&r, 0x14000, 0x1000, 0), 0);
	CHECK_EQ(rig_map(&r, 99ull << 32, 0x1000, R, -1, 0), 0);
	rig_stop(&r);
}

static void unmap(void)
{
	struct mdl_vu_dma_unmap_req u = { 23, 0, 0x10000, 0x4000 };
	int fd = rig_memfd(0x4000);
	struct rig r;
	size_t before;

	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	CHECK_EQ(rig_map(&r, 0x10000, 0x4000, R, fd, 0), 0);
	CHECK_EQ(rig_call(&r, MDL_VU_DMA_UNMAP, &u, sizeof(u), NULL, 0), EINVAL);	/* argsz */
	CHECK_EQ(rig_unmap(&r, 0x10000, 0x1000, 0), ENOENT);	/* exactly, or not at all */
	CHECK_EQ(rig_unmap(&r, 0x11000, 0x3000, 0), ENOENT);
	CHECK_EQ(rig_unmap(&r, 0, 0x100000, 0), ENOENT);
	CHECK_EQ(rig_unmap(&r, 0x10000, 0x4000, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP), ENOTSUP);
	CHECK_EQ(rig_unmap(&r, 0x10000, 0x4000, 1u << 7), EINVAL);
	CHECK_EQ(rig_unmap(&r, 0x10000, 0x4000, VFIO_DMA_UNMAP_FLAG_ALL), EINVAL);
	CHECK_EQ(r.unmaps, 0);
	CHECK_EQ(rig_unmap(&r, 0x10000, 0x4000, 0), 0);
	CHECK_EQ(r.unmaps, 1);
	CHECK_EQ(rig_unmap(&r, 0x10000, 0x4000, 0), ENOENT);
	for (uint64_t i = 0; i < 5; i++)
		CHECK_EQ(rig_map(&r, i << 20, 0x1000, R | W, fd, 0x1000 * (i % 4)), 0);
	CHECK_EQ(rig_unmap(&r, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL), 0);
	CHECK_EQ(r.unmaps, 6);
	CHECK_EQ(rig_unmap(&r, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL), 0);	/* of nothing */
	CHECK_EQ(rig_count_fds(), before);
	rig_stop(&r);
}

static void done(void *arg, int error, const void *data, uint32_t len)
{
	struct rig *r = arg;

	r->dma_done++;
	r->dma_error = error;
	r->dma_len = len;
	if (data)
		memcpy(r->dma_data, data, len < sizeof(r->dma_data) ? len : sizeof(r->dma_data));
	else
		memset(r->dma_data, 0xee, sizeof(r->dma_data));
}

static void answer_with(struct rig *r, uint16_t id, uint16_t command, uint32_t flags, const void *payload, size_t len, int fd)
{
	struct mdl_vu_hdr hdr = { id, command, (uint32_t)(16 + len), MDL_VU_TYPE_REPLY | flags, flags ? 14 : 0 };
	uint8_t buf[16 + 8192];

	memcpy(buf, &hdr, 16);
	if (len)
		memcpy(buf + 16, payload, len);
	rig_send_raw(r->fd, buf, 16 + len, &fd, fd >= 0 ? 1 : 0);
	rig_pump(r);
}

static void answer(struct rig *r, uint16_t id, uint16_t command, uint32_t flags, const void *payload, size_t len)
{
	answer_with(r, id, command, flags, payload, len, -1);
}

/* Takes the server's request off the socket and checks it. Its id. */
static uint16_t expect(struct rig *r, uint16_t command, uint64_t addr, uint64_t count)
{
	struct mdl_vu_dma_access a;

	CHECK_EQ(rig_recv(r), 1);
	CHECK_EQ(r->reply.hdr.command, command);
	CHECK_EQ(r->reply.hdr.flags, MDL_VU_TYPE_COMMAND);
	CHECK_EQ(r->reply.len, sizeof(a) + (command == MDL_VU_DMA_WRITE ? count : 0));
	memcpy(&a, r->reply.payload, sizeof(a));
	CHECK_EQ(a.addr, addr);
	CHECK_EQ(a.count, count);
	return r->reply.hdr.id;
}

static void read_write(void)
{
	struct { struct mdl_vu_dma_access a; uint8_t data[64]; } m = { { 0x1010, 64 } };
	struct rig r;
	uint16_t id;

	rig_start(&r);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0, 4, done, &r), -ENOTCONN);
	rig_hello(&r);
	CHECK_EQ(rig_map(&r, 0x1000, 0x1000, R | W, -1, 0), 0);
	CHECK_EQ(rig_map(&r, 0x2000, 0x1000, R, -1, 0), 0);
	CHECK_EQ(rig_map(&r, 0x8000, 0x1000, W, -1, 0), 0);

	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1010, 64, done, &r), 0);
	id = expect(&r, MDL_VU_DMA_READ, 0x1010, 64);
	memset(m.data, 0x5a, 64);
	CHECK_EQ(r.dma_done, 0);
	CHECK(rig_alive(&r));	/* requests go on while it is under way */
	answer(&r, id, MDL_VU_DMA_READ, 0, &m, sizeof(m));
	CHECK_EQ(r.dma_done, 1);
	CHECK_EQ(r.dma_error, 0);
	CHECK_EQ(r.dma_len, 64);
	CHECK(!memcmp(r.dma_data, m.data, 64));

	CHECK_EQ(mdl_vu_dma_write(r.s, 0x1010, "guest memory", 12, done, &r), 0);
	id = expect(&r, MDL_VU_DMA_WRITE, 0x1010, 12);
	CHECK(!memcmp(r.reply.payload + 16, "guest memory", 12));
	m.a.count = 12;
	answer(&r, id, MDL_VU_DMA_WRITE, 0, &m, 16);
	CHECK_EQ(r.dma_done, 2);
	CHECK_EQ(r.dma_error, 0);

	/* The short count that the protocol's table draws. */
	CHECK_EQ(mdl_vu_dma_write(r.s, 0x1010, "guest memory", 12, done, &r), 0);
	id = expect(&r, MDL_VU_DMA_WRITE, 0x1010, 12);
	answer(&r, id, MDL_VU_DMA_WRITE, 0, &m, 12);
	CHECK_EQ(r.dma_done, 3);

	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1010, 64, done, &r), 0);
	id = expect(&r, MDL_VU_DMA_READ, 0x1010, 64);
	answer(&r, id, MDL_VU_DMA_READ, MDL_VU_ERROR, NULL, 0);
	CHECK_EQ(r.dma_done, 4);
	CHECK_EQ(r.dma_error, -14);

	/* What is not mapped, or not with that right, is not asked for. */
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 0x2000, done, &r), 0);	/* across two regions */
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 0x2001, done, &r), -EFAULT);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0xfff, 2, done, &r), -EFAULT);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x8000, 1, done, &r), -EFAULT);
	CHECK_EQ(mdl_vu_dma_write(r.s, 0x1fff, "ab", 2, done, &r), -EFAULT);
	CHECK_EQ(mdl_vu_dma_write(r.s, UINT64_MAX, "ab", 2, done, &r), -EINVAL);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 0, done, &r), -EINVAL);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, MDL_VU_MAX_XFER + 1, done, &r), -EINVAL);
	mdl_close_fd(&r.fd);
	rig_pump(&r);
	CHECK_EQ(r.dma_done, 5);
	CHECK_EQ(r.dma_error, -ECONNRESET);
	rig_stop(&r);
}

static void small_peer(void)
{
	struct rig r;

	rig_start(&r);
	rig_hello_with(&r, "{\"capabilities\":{\"max_data_xfer_size\":100}}");
	CHECK_EQ(rig_map(&r, 0x1000, 0x1000, R, -1, 0), 0);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 101, done, &r), -EINVAL);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 100, done, &r), 0);
	rig_stop(&r);
	CHECK_EQ(r.dma_done, 1);
}

static void in_flight(void)
{
	struct { struct mdl_vu_dma_access a; uint8_t data[8]; } m = { { 0x1000, 8 } };
	uint16_t id[MDL_VU_DMA_INFLIGHT];
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_map(&r, 0x1000, 0x1000, R | W, -1, 0), 0);
	for (unsigned int i = 0; i < MDL_VU_DMA_INFLIGHT; i++)
		CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000 + 8 * i, 8, done, &r), 0);
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 8, done, &r), -EBUSY);
	for (unsigned int i = 0; i < MDL_VU_DMA_INFLIGHT; i++)
		id[i] = expect(&r, MDL_VU_DMA_READ, 0x1000 + 8 * i, 8);
	for (unsigned int i = MDL_VU_DMA_INFLIGHT; i-- > 0;) {	/* answered the other way round */
		m.a.addr = 0x1000 + 8 * i;
		m.data[0] = (uint8_t)i;
		answer(&r, id[i], MDL_VU_DMA_READ, 0, &m, sizeof(m));
		CHECK_EQ(r.dma_data[0], i);
		CHECK_EQ(r.dma_done, MDL_VU_DMA_INFLIGHT - i);
	}
	CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 8, done, &r), 0);
	rig_stop(&r);
}

/* A peer that does not read our requests does not make the queue grow without end. */
static void queue_limit(void)
{
	static uint8_t data[MDL_VU_MAX_XFER];
	struct rig r;
	int ret = 0, n;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_map(&r, 0, MDL_VU_MAX_XFER, R | W, -1, 0), 0);
	for (n = 0; n < MDL_VU_DMA_INFLIGHT && !ret; n++)
		ret = mdl_vu_dma_write(r.s, 0, data, sizeof(data), done, &r);
	CHECK_EQ(ret, -EBUSY);
	CHECK(n < 5);
	CHECK(r.s->conn.out_bytes < 2 * (MDL_VU_MAX_XFER + 64));
	rig_stop(&r);
	CHECK_EQ(r.dma_done, n - 1);
}

/* Found by fuzzing: the request fails to leave, and done came before its call had returned. */
static void dead_connection(void)
{
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_map(&r, 0x1000, 0x1000, R | W, -1, 0), 0);
	mdl_close_fd(&r.fd);
	CHECK_EQ(mdl_vu_dma_write(r.s, 0x1000, "ab", 2, done, &r), 0);
	CHECK_EQ(r.dma_done, 0);
	CHECK_EQ(r.unmaps, 0);
	CHECK(!mdl_vu_server_connected(r.s));
	CHECK_EQ(mdl_vu_dma_write(r.s, 0x1000, "ab", 2, done, &r), -ENOTCONN);
	rig_pump(&r);
	CHECK_EQ(r.dma_done, 1);
	CHECK_EQ(r.dma_error, -ECONNRESET);
	CHECK_EQ(r.unmaps, 1);
	CHECK_EQ(r.disconnected, 1);
	rig_stop(&r);
}

static void wrong_replies(void)
{
	struct { struct mdl_vu_dma_access a; uint8_t data[16]; } m = { { 0x1000, 8 } };
	struct rig r;

	rig_start(&r);
	for (int i = 0; i < 10; i++) {
		uint16_t id, command = MDL_VU_DMA_READ, flags = 0;
		size_t len = 24;

		r.dma_done = 0;
		rig_hello(&r);
		CHECK_EQ(rig_map(&r, 0x1000, 0x1000, R | W, -1, 0), 0);
		CHECK_EQ(mdl_vu_dma_read(r.s, 0x1000, 8, done, &r), 0);
		id = expect(&r, MDL_VU_DMA_READ, 0x1000, 8);
		m.a = (struct mdl_vu_dma_access){ 0x1000, 8 };
		switch (i) {
		case 0: id++; break;
		case 1: id--; flags = MDL_VU_ERROR; len = 0; break;
		case 2: command = MDL_VU_DMA_WRITE; break;	/* of the right size for the other */
		case 3: len = 23; break;
		case 4: len = 25; break;
		case 5: len = 0; break;
		case 6: m.a.count = 9; break;
		case 7: m.a.addr++; break;
		case 9: answer_with(&r, id, command, 0, &m, 24, r.fd); break;	/* found by fuzzing: done never came */
		case 8: answer(&r, id, command, 0, &m, 24); CHECK_EQ(r.dma_done, 1); break;	/* then once more */
		}
		if (i < 9)
			answer(&r, id, command, flags, &m, len);
		CHECK(rig_closed(&r));
		CHECK_EQ(r.dma_done, 1);
		if (i != 8)
			CHECK_EQ(r.dma_error, -ECONNRESET);
		mdl_close_fd(&r.fd);
	}
	rig_hello(&r);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

static const struct check_case cases[] = {
	{ "DMA_MAP, values", map_values },
	{ "DMA_MAP, overlaps and limit", overlap },
	{ "DMA_UNMAP", unmap },
	{ "DMA_READ and DMA_WRITE", read_write },
	{ "the peer's transfer limit", small_peer },
	{ "sixteen under way", in_flight },
	{ "a peer that does not read our requests", queue_limit },
	{ "a request on a dead connection", dead_connection },
	{ "replies that match no request", wrong_replies },
};

RIG_MAIN(cases)
