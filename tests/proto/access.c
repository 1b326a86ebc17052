/* SPDX-License-Identifier: MIT */
/* Region accesses, descriptions of regions, interrupts and doorbells, and the two kinds of error reply. */
#include "rig.h"

#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/fd.h"

static int read_at(struct rig *r, uint32_t region, uint64_t offset, uint32_t count)
{
	struct mdl_vu_access a = { offset, region, count };
	int ret = rig_call(r, MDL_VU_REGION_READ, &a, sizeof(a), NULL, 0);

	CHECK_EQ(r->reply.len, ret ? 0 : 16 + count);
	if (!ret)
		CHECK(!memcmp(r->reply.payload, &a, sizeof(a)));
	return ret;
}

static int write_at(struct rig *r, uint32_t region, uint64_t offset, uint32_t count, const void *data, size_t len)
{
	struct mdl_vu_access a = { offset, region, count };
	uint8_t *buf = calloc(1, sizeof(a) + len);
	int ret;

	memcpy(buf, &a, sizeof(a));
	if (data)
		memcpy(buf + sizeof(a), data, len);
	ret = rig_call(r, MDL_VU_REGION_WRITE, buf, sizeof(a) + len, NULL, 0);
	free(buf);
	CHECK_EQ(r->reply.len, ret ? 0 : 16);
	return ret;
}

static void ranges(void)
{
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(read_at(&r, 7, 0, 4096), 0);
	CHECK_EQ(r.reads, 1);
	CHECK_EQ(read_at(&r, 7, 4095, 1), 0);
	CHECK_EQ(read_at(&r, 7, 4095, 2), EINVAL);
	CHECK_EQ(read_at(&r, 7, 4096, 1), EINVAL);
	CHECK_EQ(read_at(&r, 7, 0, 0), EINVAL);
	CHECK_EQ(read_at(&r, 7, 0, 4097), EINVAL);
	CHECK_EQ(read_at(&r, 7, UINT64_MAX, 1), EINVAL);	/* offset + count wraps */
	CHECK_EQ(read_at(&r, 7, UINT64_MAX - 3, 8), EINVAL);
	CHECK_EQ(read_at(&r, 0, 0, UINT32_MAX), EINVAL);
	CHECK_EQ(read_at(&r, 0, 0, MDL_VU_MAX_XFER + 1), EINVAL);
	CHECK_EQ(read_at(&r, 1, 0, 4), EINVAL);	/* absent */
	CHECK_EQ(read_at(&r, 9, 0, 4), EINVAL);
	CHECK_EQ(read_at(&r, UINT32_MAX, 0, 4), EINVAL);
	CHECK_EQ(write_at(&r, 6, 0, 4, "rom!", 4), EACCES);
	CHECK_EQ(write_at(&r, 7, 0, 5, "four", 4), EINVAL);	/* count and data disagree */
	CHECK_EQ(write_at(&r, 7, 0, 3, "four", 4), EINVAL);
	CHECK_EQ(write_at(&r, 7, 0, UINT32_MAX, "four", 4), EINVAL);
	CHECK_EQ(write_at(&r, 7, 4094, 4, "four", 4), EINVAL);
	CHECK_EQ(write_at(&r, 7, UINT64_MAX - 1, 4, "four", 4), EINVAL);
	CHECK_EQ(write_at(&r, 7, 0, 0, "", 0), EINVAL);
	CHECK_EQ(r.reads + r.writes, 2);
	r.fail = EIO;
	CHECK_EQ(read_at(&r, 7, 0, 4), EIO);
	r.fail = EPERM;
	CHECK_EQ(write_at(&r, 7, 0, 4, "four", 4), EPERM);
	CHECK_EQ(write_at(&r, 7, 4092, 4, "four", 4), 0);
	CHECK(!memcmp(r.config + 4092, "four", 4));
	CHECK_EQ(write_at(&r, 2, 0, 4, "four", 4), 0);	/* mappable regions answer messages too */
	rig_stop(&r);
}

/* Long accesses reach the device in pieces of at most a page, and lose nothing. */
static void long_access(void)
{
	uint8_t *data = malloc(MDL_VU_MAX_XFER);
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	for (size_t i = 0; i < MDL_VU_MAX_XFER; i++)
		data[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
	CHECK_EQ(write_at(&r, 0, 1001, MDL_VU_MAX_XFER, data, MDL_VU_MAX_XFER), 0);
	CHECK(!memcmp(r.bar0 + 1001, data, MDL_VU_MAX_XFER));
	CHECK_EQ(read_at(&r, 0, 1001, MDL_VU_MAX_XFER), 0);
	CHECK(!memcmp(r.reply.payload + 16, data, MDL_VU_MAX_XFER));
	CHECK_EQ(r.max_piece, 4096);
	CHECK_EQ(r.writes, 257);
	/* One byte more is more than was announced: refused, and the stream still in step. */
	CHECK_EQ(write_at(&r, 0, 0, MDL_VU_MAX_XFER + 1, NULL, MDL_VU_MAX_XFER + 1), EINVAL);
	CHECK(rig_alive(&r));
	free(data);
	rig_stop(&r);
}

static void multi(void)
{
	struct { uint64_t count; struct mdl_vu_multi_entry e[200]; } m = { 200 };
	uint64_t n;
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	for (uint32_t i = 0; i < 200; i++)
		m.e[i] = (struct mdl_vu_multi_entry){ i * 8, 0, 8, { (uint8_t)i, 1, 2, 3, 4, 5, 6, 7 } };
	CHECK_EQ(rig_call(&r, MDL_VU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0), 0);
	memcpy(&n, r.reply.payload, 8);
	CHECK_EQ(n, 200);
	CHECK_EQ(r.bar0[199 * 8], 199);
	CHECK_EQ(r.writes, 200);

	/* The device refuses one: the count says how far it got. */
	m.count = 2;
	r.fail = EIO;
	CHECK_EQ(rig_call(&r, MDL_VU_REGION_WRITE_MULTI, &m, 8 + 2 * 24, NULL, 0), EIO);

	/* One bad entry: nothing at all happens. */
	r.writes = 0;
	for (int i = 0; i < 6; i++) {
		struct mdl_vu_multi_entry good = m.e[1];

		m.count = 2;
		switch (i) {
		case 0: m.e[1].count = 9; break;
		case 1: m.e[1].count = 0; break;
		case 2: m.e[1].offset = UINT64_MAX - 3; break;
		case 3: m.e[1].region = 9; break;
		case 4: m.count = 3; break;
		case 5: m.count = UINT64_MAX / 24 + 3; break;
		}
		CHECK_EQ(rig_call(&r, MDL_VU_REGION_WRITE_MULTI, &m, 8 + 2 * 24, NULL, 0), EINVAL);
		m.e[1] = good;
	}
	m.count = 0;
	CHECK_EQ(rig_call(&r, MDL_VU_REGION_WRITE_MULTI, &m, 8, NULL, 0), EINVAL);
	CHECK_EQ(r.writes, 0);
	rig_stop(&r);
}

static int region_info(struct rig *r, uint32_t index, uint32_t argsz, struct vfio_region_info *info)
{
	struct vfio_region_info req = { .argsz = argsz, .index = index };
	int ret = rig_call(r, MDL_VU_GET_REGION_INFO, &req, sizeof(req), NULL, 0);

	if (!ret) {
		CHECK(r->reply.len <= argsz);
		memcpy(info, r->reply.payload, sizeof(*info));
		CHECK_EQ(info->index, index);
		CHECK_EQ(r->reply.nfds, info->flags & VFIO_REGION_INFO_FLAG_MMAP ? 1 : 0);
	}
	return ret;
}

static void regions(void)
{
	struct { struct vfio_info_cap_header h; uint32_t n, reserved; struct { uint64_t offset, bytes; } a[2]; } cap;
	const uint32_t rw = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	struct vfio_region_info i;
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(region_info(&r, 0, 32, &i), 0);
	CHECK_EQ(i.flags, rw);
	CHECK_EQ(i.size, RIG_BAR0_BYTES);
	CHECK_EQ(region_info(&r, 6, 32, &i), 0);
	CHECK_EQ(i.flags, VFIO_REGION_INFO_FLAG_READ);
	/* Absent ones exist, with no size: Cloud Hypervisor asks for all nine. */
	CHECK_EQ(region_info(&r, 1, 32, &i), 0);
	CHECK_EQ(i.flags | i.size, 0);
	CHECK_EQ(region_info(&r, 8, 32, &i), 0);
	CHECK_EQ(i.size, 0);
	CHECK_EQ(region_info(&r, 9, 32, &i), EINVAL);
	CHECK_EQ(region_info(&r, UINT32_MAX, 32, &i), EINVAL);
	CHECK_EQ(region_info(&r, 0, 31, &i), EINVAL);

	CHECK_EQ(region_info(&r, 2, 32, &i), 0);
	CHECK_EQ(i.flags, rw | VFIO_REGION_INFO_FLAG_MMAP);
	CHECK_EQ(i.offset, 8192);
	CHECK_EQ(i.argsz, 32);
	CHECK_EQ(rig_inode(r.reply.fds[0]), rig_inode(r.dev.region[2].fd));

	/* Too short for the capability: told how long, descriptor included, and nothing that points beyond the end. */
	for (uint32_t argsz = 32; argsz < 32 + 48; argsz += 8) {
		CHECK_EQ(region_info(&r, 4, argsz, &i), 0);
		CHECK_EQ(r.reply.len, 32);
		CHECK_EQ(i.argsz, 32 + 48);
		CHECK_EQ(i.flags, rw | VFIO_REGION_INFO_FLAG_MMAP);
		CHECK_EQ(i.cap_offset, 0);
	}
	CHECK_EQ(region_info(&r, 4, 80, &i), 0);
	CHECK_EQ(r.reply.len, 80);
	CHECK_EQ(i.flags, rw | VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS);
	CHECK_EQ(i.cap_offset, 32);
	memcpy(&cap, r.reply.payload + 32, sizeof(cap));
	CHECK_EQ(cap.h.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	CHECK_EQ(cap.h.version, 1);
	CHECK_EQ(cap.h.next, 0);
	CHECK_EQ(cap.n, 2);
	CHECK_EQ(cap.a[0].offset, 4096);
	CHECK_EQ(cap.a[0].bytes, 8192);
	CHECK_EQ(cap.a[1].offset, 32768);
	CHECK_EQ(cap.a[1].bytes, 4096);
	CHECK_EQ(region_info(&r, 4, UINT32_MAX, &i), 0);
	CHECK_EQ(r.reply.len, 80);
	rig_stop(&r);
}

static void infos(void)
{
	static const uint32_t counts[MDL_VU_IRQS] = { 1, 4, RIG_MSIX, 0, 1 };
	struct mdl_vu_info info = { .argsz = 16 };
	struct vfio_irq_info irq = { .argsz = 16 };
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	for (size_t len = 16; len <= 24; len += 4) {
		CHECK_EQ(rig_call(&r, MDL_VU_GET_INFO, &info, len, NULL, 0), 0);
		CHECK_EQ(r.reply.len, len);
		memcpy(&info, r.reply.payload, len);
		CHECK_EQ(info.flags, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
		CHECK_EQ(info.num_regions, 9);
		CHECK_EQ(info.num_irqs, 5);
		CHECK_EQ(info.cap_offset, 0);
	}
	info.argsz = 15;
	CHECK_EQ(rig_call(&r, MDL_VU_GET_INFO, &info, 16, NULL, 0), EINVAL);
	for (uint32_t i = 0; i < MDL_VU_IRQS; i++) {
		struct vfio_irq_info out;

		irq.index = i;
		if (i == VFIO_PCI_ERR_IRQ_INDEX) {
			CHECK_EQ(rig_call(&r, MDL_VU_GET_IRQ_INFO, &irq, sizeof(irq), NULL, 0), EINVAL);
			continue;
		}
		CHECK_EQ(rig_call(&r, MDL_VU_GET_IRQ_INFO, &irq, sizeof(irq), NULL, 0), 0);
		memcpy(&out, r.reply.payload, sizeof(out));
		CHECK_EQ(out.index, i);
		CHECK_EQ(out.count, counts[i]);
		CHECK_EQ(!!(out.flags & VFIO_IRQ_INFO_EVENTFD), counts[i] > 0);
		CHECK_EQ(!!(out.flags & VFIO_IRQ_INFO_AUTOMASKED), i == 0);
		CHECK(!(out.flags & VFIO_IRQ_INFO_NORESIZE));
	}
	irq.index = 5;
	CHECK_EQ(rig_call(&r, MDL_VU_GET_IRQ_INFO, &irq, sizeof(irq), NULL, 0), EINVAL);
	irq.index = 0;
	irq.argsz = 15;
	CHECK_EQ(rig_call(&r, MDL_VU_GET_IRQ_INFO, &irq, sizeof(irq), NULL, 0), EINVAL);
	rig_stop(&r);
}

static void io_fds(void)
{
	struct mdl_vu_io_fds req = { .argsz = 16, .index = 0 }, head;
	struct mdl_vu_io_fd e[3];
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_IO_FDS, &req, sizeof(req), NULL, 0), 0);
	memcpy(&head, r.reply.payload, sizeof(head));
	CHECK_EQ(r.reply.len, 16);
	CHECK_EQ(r.reply.nfds, 0);
	CHECK_EQ(head.argsz, 16 + 3 * 40);
	CHECK_EQ(head.count, 3);
	req.argsz = head.argsz;
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_IO_FDS, &req, sizeof(req), NULL, 0), 0);
	CHECK_EQ(r.reply.len, 16 + 3 * 40);
	CHECK_EQ(r.reply.nfds, 2);	/* two entries share one */
	memcpy(e, r.reply.payload + 16, sizeof(e));
	CHECK_EQ(e[0].offset, 0x1000);
	CHECK_EQ(e[0].size, 4);
	CHECK_EQ(e[0].fd_index, 0);
	CHECK_EQ(e[1].offset, 0x1008);
	CHECK_EQ(e[1].fd_index, 1);
	CHECK_EQ(e[2].size, 0);
	CHECK_EQ(e[2].fd_index, 0);
	CHECK_EQ(mdl_eventfd_signal(r.reply.fds[1]), 0);	/* it is that very eventfd */
	CHECK_EQ(mdl_eventfd_take(r.io[1].fd), 1);
	CHECK_EQ(mdl_eventfd_take(r.io[0].fd), 0);

	req.index = 7;
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_IO_FDS, &req, sizeof(req), NULL, 0), 0);
	CHECK_EQ(r.reply.len, 16);
	CHECK_EQ(r.reply.nfds, 0);
	req.index = 9;
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_IO_FDS, &req, sizeof(req), NULL, 0), EINVAL);
	req = (struct mdl_vu_io_fds){ .argsz = 16, .flags = 1 };
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_IO_FDS, &req, sizeof(req), NULL, 0), EINVAL);
	req = (struct mdl_vu_io_fds){ .argsz = 15 };
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_IO_FDS, &req, sizeof(req), NULL, 0), EINVAL);

	/* A client that takes one descriptor gets the doorbells of one. */
	mdl_close_fd(&r.fd);
	rig_hello_with(&r, NULL);
	req = (struct mdl_vu_io_fds){ .argsz = 4096 };
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_IO_FDS, &req, sizeof(req), NULL, 0), 0);
	CHECK_EQ(r.reply.nfds, 1);
	CHECK_EQ(r.reply.len, 16 + 2 * 40);
	memcpy(e, r.reply.payload + 16, 80);
	CHECK_EQ(e[0].offset, 0x1000);
	CHECK_EQ(e[1].offset, 0x1010);
	rig_stop(&r);
}

/* Cloud Hypervisor reads as much after an error as after a success. */
static void fixed_replies(void)
{
	static const char cloud_hypervisor[] = "{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":1048576,"
					       "\"migration\":{\"pgsize\":4096}}}";
	struct mdl_vu_access a = { 4096, 7, 8 };
	struct { struct mdl_vu_access a; uint64_t data; } w = { { 4096, 7, 8 }, 0 };
	struct mdl_vu_dma_unmap_req u = { 24, 0, 0x1000, 0x1000 };
	struct mdl_vu_dma_map_req m = { 32, 0, 0, 0, 0 };
	struct vfio_region_info i = { .argsz = 32, .index = 99 };
	struct mdl_vu_info info = { .argsz = 0 };
	struct rig r;

	rig_start(&r);
	rig_hello_with(&r, cloud_hypervisor);
	CHECK(r.s->caps.fixed_replies);
	CHECK_EQ(rig_call(&r, MDL_VU_REGION_READ, &a, sizeof(a), NULL, 0), EINVAL);
	CHECK_EQ(r.reply.len, 16 + 8);
	CHECK(!memcmp(r.reply.payload, &a, 16));
	CHECK(!memcmp(r.reply.payload + 16, "\xff\xff\xff\xff\xff\xff\xff\xff", 8));
	CHECK_EQ(rig_call(&r, MDL_VU_REGION_WRITE, &w, sizeof(w), NULL, 0), EINVAL);
	CHECK_EQ(r.reply.len, 16);
	CHECK_EQ(rig_call(&r, MDL_VU_DMA_UNMAP, &u, sizeof(u), NULL, 0), ENOENT);
	CHECK_EQ(r.reply.len, 24);
	CHECK_EQ(rig_call(&r, MDL_VU_DMA_MAP, &m, sizeof(m), NULL, 0), EINVAL);
	CHECK_EQ(r.reply.len, 0);
	CHECK_EQ(rig_call(&r, MDL_VU_GET_REGION_INFO, &i, sizeof(i), NULL, 0), EINVAL);
	CHECK_EQ(r.reply.len, 32);
	CHECK_EQ(rig_call(&r, MDL_VU_GET_INFO, &info, 20, NULL, 0), EINVAL);
	CHECK_EQ(r.reply.len, 20);
	/* A short request of an unreadable kind: nothing beyond it is read or sent. */
	CHECK_EQ(rig_call(&r, MDL_VU_REGION_READ, &a, 3, NULL, 0), EINVAL);
	CHECK_EQ(r.reply.len, 16);
	a.count = UINT32_MAX;
	CHECK_EQ(rig_call(&r, MDL_VU_REGION_READ, &a, sizeof(a), NULL, 0), EINVAL);
	CHECK_EQ(r.reply.len, 16 + MDL_VU_MAX_XFER);
	CHECK_EQ(rig_call(&r, 17, &a, sizeof(a), NULL, 0), ENOTSUP);
	CHECK_EQ(r.reply.len, 0);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

static const struct check_case cases[] = {
	{ "ranges and rights", ranges },
	{ "long accesses", long_access },
	{ "REGION_WRITE_MULTI", multi },
	{ "DEVICE_GET_REGION_INFO", regions },
	{ "DEVICE_GET_INFO, DEVICE_GET_IRQ_INFO", infos },
	{ "DEVICE_GET_REGION_IO_FDS", io_fds },
	{ "error replies of fixed size", fixed_replies },
};

RIG_MAIN(cases)
