/* SPDX-License-Identifier: MIT */
/*
 * The client's requests: fields filled in, one message or several, the reply checked and taken apart. See client.c for the
 * connection under them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vfio-user/client-internal.h"

#define REGION_REPLY_MAX 4096u
#define IO_FDS_REPLY_MAX (sizeof(struct mdl_vu_io_fds) + 1024 * sizeof(struct mdl_vu_io_fd))

/* Finds the sparse-mmap capability; the chain may only go forward. NULL: none (or not within the reply). */
static const struct vfio_region_info_cap_sparse_mmap *
find_sparse(const struct vfio_region_info *info, size_t len)
{
	uint64_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0,
		 last = sizeof(*info) - 1;

	while (at > last && mdl_is_aligned(at, 8) &&
	       mdl_range_ok(at, sizeof(struct vfio_info_cap_header), len)) {
		const struct vfio_info_cap_header *h = (const void *)((const uint8_t *)info + at);
		const struct vfio_region_info_cap_sparse_mmap *sparse = (const void *)h;

		if (h->id == VFIO_REGION_INFO_CAP_SPARSE_MMAP &&
		    mdl_range_ok(at, sizeof(*sparse), len) &&
		    mdl_range_ok(at + sizeof(*sparse),
				 sparse->nr_areas * (uint64_t)sizeof(sparse->areas[0]), len))
			return sparse;
		last = at;
		at = h->next;
	}
	return NULL;
}

static int fill_areas(const struct vfio_region_info *info, size_t len,
		      struct mdl_vu_client_region *region)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse = find_sparse(info, len);

	if (!sparse) {
		region->area[0].offset = 0;
		region->area[0].bytes = info->size;
		region->num_areas = 1;
		return 0;
	}
	for (uint32_t i = 0; i < sparse->nr_areas && region->num_areas < MDL_VU_CLIENT_AREAS; i++) {
		uint64_t offset = sparse->areas[i].offset, bytes = sparse->areas[i].size;

		if (!mdl_range_ok(offset, bytes, info->size) ||
		    !mdl_is_aligned(offset | bytes, MDL_VU_PAGE))
			return -EPROTO;
		if (!bytes)
			continue;
		region->area[region->num_areas].offset = offset;
		region->area[region->num_areas++].bytes = bytes;
	}
	return 0;
}

int mdl_vu_client_region(struct mdl_vu_client *c, uint32_t index,
			 struct mdl_vu_client_region *ret_region)
{
	struct vfio_region_info req = { .argsz = REGION_REPLY_MAX, .index = index };
	struct mdl_vu_client_region region = { .fd = -1 };
	const struct vfio_region_info *info;
	struct mdl_vu_msg msg;
	int ret;

	ret = mdl_vu_client_call(c, mdl_vu_client_request(&req, sizeof(req), 0, 0),
				 MDL_VU_GET_REGION_INFO, sizeof(req), REGION_REPLY_MAX, 1, &msg);
	if (ret)
		return ret;
	info = msg.payload;
	region.bytes = info->size;
	region.read = info->flags & VFIO_REGION_INFO_FLAG_READ;
	region.write = info->flags & VFIO_REGION_INFO_FLAG_WRITE;
	if ((info->flags & VFIO_REGION_INFO_FLAG_MMAP) && msg.nfds) {
		region.fd_offset = info->offset;
		ret = info->index == index && mdl_is_aligned(info->offset, MDL_VU_PAGE)
			      ? fill_areas(info, msg.len, &region)
			      : -EPROTO;
		region.mappable = !ret && region.num_areas;
	}
	if (region.mappable)
		region.fd = mdl_take_fd(&msg.fds[0]);
	mdl_vu_msg_close_fds(&msg);
	if (ret)
		return mdl_vu_client_give_up(c, ret);
	*ret_region = region;
	return 0;
}

int mdl_vu_client_irq_count(struct mdl_vu_client *c, uint32_t index, uint32_t *ret_count)
{
	struct vfio_irq_info req = { .argsz = sizeof(req), .index = index };
	struct mdl_vu_msg msg;
	int ret = mdl_vu_client_call(c, mdl_vu_client_request(&req, sizeof(req), 0, 0),
				     MDL_VU_GET_IRQ_INFO, sizeof(req), sizeof(req), 0, &msg);

	if (ret)
		return ret;
	*ret_count = ((const struct vfio_irq_info *)msg.payload)->count;
	return 0;
}

int mdl_vu_client_read(struct mdl_vu_client *c, uint32_t region, uint64_t offset, void *data,
		       uint32_t count)
{
	while (count) {
		uint32_t n = (uint32_t)mdl_min_u64(count, c->server.max_xfer);
		struct mdl_vu_access req = { .offset = offset, .region = region, .count = n };
		size_t len = sizeof(req) + n;
		struct mdl_vu_msg msg;
		int ret = mdl_vu_client_call(c, mdl_vu_client_request(&req, sizeof(req), 0, 0),
					     MDL_VU_REGION_READ, len, len, 0, &msg);

		if (ret)
			return ret;
		memcpy(data, (const uint8_t *)msg.payload + sizeof(req), n);
		offset += n;
		data = (uint8_t *)data + n;
		count -= n;
	}
	return 0;
}

int mdl_vu_client_write(struct mdl_vu_client *c, uint32_t region, uint64_t offset, const void *data,
			uint32_t count)
{
	while (count) {
		uint32_t n = (uint32_t)mdl_min_u64(count, c->server.max_xfer);
		struct mdl_vu_access req = { .offset = offset, .region = region, .count = n };
		struct mdl_vu_out *out = mdl_vu_client_request(&req, sizeof(req), n, 0);
		struct mdl_vu_msg msg;
		int ret;

		if (out)
			memcpy(out->payload + sizeof(req), data, n);
		ret = mdl_vu_client_call(c, out, MDL_VU_REGION_WRITE, sizeof(req), sizeof(req), 0,
					 &msg);
		if (ret)
			return ret;
		offset += n;
		data = (const uint8_t *)data + n;
		count -= n;
	}
	return 0;
}

int mdl_vu_client_dma_map(struct mdl_vu_client *c, uint64_t iova, uint64_t bytes, bool write,
			  int fd, uint64_t fd_offset, void *host)
{
	struct mdl_vu_dma_map_req req = {
		.argsz = sizeof(req),
		.flags = VFIO_DMA_MAP_FLAG_READ | (write ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.offset = fd >= 0 ? fd_offset : 0,
		.addr = iova,
		.size = bytes,
	};
	mdl_autofd own = -1;
	struct mdl_vu_client_dma *more;
	struct mdl_vu_out *out;
	struct mdl_vu_msg msg;
	int ret;

	if (fd < 0 && !host)
		return -EINVAL;
	if (!host) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (own < 0)
			return -errno;
	}
	more = reallocarray(c->dma, c->num_dma + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	c->dma = more;
	out = mdl_vu_client_request(&req, sizeof(req), 0, fd >= 0 ? 1 : 0);
	if (out && fd >= 0)
		out->fds[0] = fd;
	ret = mdl_vu_client_call(c, out, MDL_VU_DMA_MAP, 0, 0, 0, &msg);
	if (ret)
		return ret;
	c->dma[c->num_dma++] = (struct mdl_vu_client_dma) { .iova = iova,
							    .bytes = bytes,
							    .write = write,
							    .host = host,
							    .fd = mdl_take_fd(&own),
							    .fd_offset = fd_offset };
	return 0;
}

int mdl_vu_client_dma_unmap(struct mdl_vu_client *c, uint64_t iova, uint64_t bytes)
{
	struct mdl_vu_dma_unmap_req req = { .argsz = sizeof(req), .addr = iova, .size = bytes };
	struct mdl_vu_msg msg;
	int ret = mdl_vu_client_call(c, mdl_vu_client_request(&req, sizeof(req), 0, 0),
				     MDL_VU_DMA_UNMAP, sizeof(req), sizeof(req), 0, &msg);

	for (size_t i = 0; !ret && i < c->num_dma; i++) {
		if (c->dma[i].iova == iova && c->dma[i].bytes == bytes) {
			mdl_close_fd(&c->dma[i].fd);
			c->dma[i--] = c->dma[--c->num_dma];
		}
	}
	return ret;
}

static int send_irqs(struct mdl_vu_client *c, const struct vfio_irq_set *set, const int *fds,
		     size_t nfds)
{
	struct mdl_vu_out *out = mdl_vu_client_request(set, sizeof(*set), 0, nfds);
	struct mdl_vu_msg msg;

	if (out && nfds)
		memcpy(out->fds, fds, nfds * sizeof(int));
	return mdl_vu_client_call(c, out, MDL_VU_SET_IRQS, 0, 0, 0, &msg);
}

int mdl_vu_client_set_irqs(struct mdl_vu_client *c, uint32_t index, uint32_t start, uint32_t count,
			   const int *fds)
{
	struct vfio_irq_set set = { .argsz = sizeof(set), .index = index };

	if (!count) {
		set.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
		return send_irqs(c, &set, NULL, 0);
	}
	set.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	for (uint32_t i = 0; i < count; i += set.count) {
		bool give = fds[i] >= 0;
		uint32_t max = give ? c->server.max_fds : UINT32_MAX;
		int ret;

		if (!max)
			return -ENOTSUP;
		/* A message carries a descriptor for each of its vectors, or none at all. */
		set.start = start + i;
		for (set.count = 1;
		     set.count < max && i + set.count < count && (fds[i + set.count] >= 0) == give;)
			set.count++;
		ret = send_irqs(c, &set, fds + i, give ? set.count : 0);
		if (ret)
			return ret;
	}
	return 0;
}

int mdl_vu_client_mask_irq(struct mdl_vu_client *c, uint32_t index, uint32_t vector, bool mask)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.index = index,
		.start = vector,
		.count = 1,
		.flags = VFIO_IRQ_SET_DATA_NONE |
			 (mask ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK),
	};

	return send_irqs(c, &set, NULL, 0);
}

/* Copies the entries that a client can use: inside what was received, an ioeventfd, with a descriptor that came along. */
static int copy_io_fds(const struct mdl_vu_msg *msg, struct mdl_vu_client_ioeventfd *fds,
		       size_t cap, size_t *ret_count)
{
	const struct mdl_vu_io_fds *head = msg->payload;
	const struct mdl_vu_io_fd *entry = (const void *)(head + 1);
	size_t n = 0;

	if (msg->len != sizeof(*head) + head->count * (uint64_t)sizeof(*entry))
		return -EPROTO;
	for (uint32_t i = 0; i < head->count && n < cap; i++) {
		if (entry[i].fd_index >= msg->nfds || entry[i].size > 8)
			goto bad;
		if (entry[i].type != MDL_VU_IO_FD_IOEVENTFD)
			continue;
		/* Sub-regions may share a descriptor; each of ours is to be closed by itself. */
		fds[n].fd = fcntl(msg->fds[entry[i].fd_index], F_DUPFD_CLOEXEC, 0);
		if (fds[n].fd < 0)
			goto bad;
		fds[n].offset = entry[i].offset;
		fds[n++].bytes = (uint32_t)entry[i].size;
	}
	*ret_count = n;
	return 0;
bad:
	while (n)
		mdl_close_fd(&fds[--n].fd);
	return -EPROTO;
}

int mdl_vu_client_io_fds(struct mdl_vu_client *c, uint32_t region,
			 struct mdl_vu_client_ioeventfd *fds, size_t cap, size_t *ret_count)
{
	struct mdl_vu_io_fds req = { .argsz = IO_FDS_REPLY_MAX, .index = region };
	struct mdl_vu_msg msg;
	int ret = mdl_vu_client_call(c, mdl_vu_client_request(&req, sizeof(req), 0, 0),
				     MDL_VU_GET_REGION_IO_FDS, sizeof(req), IO_FDS_REPLY_MAX,
				     MDL_VU_CLIENT_FDS, &msg);

	if (ret)
		return ret;
	ret = copy_io_fds(&msg, fds, cap, ret_count);
	mdl_vu_msg_close_fds(&msg);
	return ret ? mdl_vu_client_give_up(c, ret) : 0;
}

int mdl_vu_client_reset(struct mdl_vu_client *c)
{
	struct mdl_vu_msg msg;

	return mdl_vu_client_call(c, mdl_vu_out_new(0, 0), MDL_VU_RESET, 0, 0, 0, &msg);
}
