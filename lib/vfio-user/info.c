/* SPDX-License-Identifier: MIT */
/*
 * What the device is: DEVICE_GET_INFO, regions with their mappable areas, doorbell descriptors, interrupts, features. Every reply
 * stays within the size that the request allows (argsz) and within the descriptors that the client can take.
 */
#include <errno.h>
#include <string.h>

#include "vfio-user/internal.h"

int mdl_vu_do_info(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	struct mdl_vu_info info = { .argsz = (uint32_t)r->len,
				    .flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
				    .num_regions = MDL_VU_REGIONS,
				    .num_irqs = MDL_VU_IRQS };
	void *reply;

	if (((const struct mdl_vu_info *)r->payload)->argsz < MDL_VU_INFO_MIN)
		return -EINVAL;
	/* Cloud Hypervisor asks with, and reads back, the kernel's newer and longer structure; QEMU the 16 bytes of the protocol. */
	reply = mdl_vu_reply(r, r->len, 0);
	if (!reply)
		return -ENOMEM;
	memcpy(reply, &info, r->len);
	return 0;
}

static void put_sparse_areas(const struct mdl_vu_region *region,
			     struct vfio_region_info_cap_sparse_mmap *cap)
{
	cap->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	cap->header.version = 1;
	cap->nr_areas = (uint32_t)region->num_areas;
	for (size_t i = 0; i < region->num_areas; i++) {
		cap->areas[i].offset = region->areas[i].offset;
		cap->areas[i].size = region->areas[i].bytes;
	}
}

int mdl_vu_do_region_info(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct vfio_region_info *req = r->payload;
	const struct mdl_vu_region *region;
	struct vfio_region_info *info;
	size_t caps = 0, len;
	bool mappable, whole;

	if (req->argsz < sizeof(*req) || req->index >= MDL_VU_REGIONS)
		return -EINVAL;
	region = &s->dev->region[req->index];
	mappable = region->bytes && region->fd >= 0;
	if (mappable && region->num_areas)
		caps = sizeof(struct vfio_region_info_cap_sparse_mmap) +
		       region->num_areas * sizeof(region->areas[0]);
	/*
	 * When the capabilities do not fit, argsz tells the size to ask again with, and FLAG_CAPS stays away: QEMU looks for a
	 * capability behind the flag already in the first, short answer. The descriptor comes every time: both clients
	 * close the first one, and Cloud Hypervisor does not survive FLAG_MMAP without.
	 */
	whole = req->argsz >= sizeof(*info) + caps;
	len = whole ? sizeof(*info) + caps : sizeof(*info);
	info = mdl_vu_reply(r, len, mappable ? 1 : 0);
	if (!info)
		return -ENOMEM;
	info->argsz = (uint32_t)(sizeof(*info) + caps);
	info->index = req->index;
	info->size = region->bytes;
	if (!region->bytes)
		return 0;
	info->flags = (region->read ? VFIO_REGION_INFO_FLAG_READ : 0) |
		      (region->write ? VFIO_REGION_INFO_FLAG_WRITE : 0);
	if (!mappable)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	info->offset = region->fd_offset;
	r->reply->fds[0] = region->fd;
	if (caps && whole) {
		info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
		info->cap_offset = sizeof(*info);
		put_sparse_areas(region, (void *)(info + 1));
	}
	return 0;
}

/* Where fd stands among the n of fds; appended if there is room for it. Negative if not. */
static int fd_position(int *fds, size_t *n, size_t cap, int fd)
{
	size_t i;

	for (i = 0; i < *n; i++) {
		if (fds[i] == fd)
			return (int)i;
	}
	if (i == cap)
		return -1;
	fds[(*n)++] = fd;
	return (int)i;
}

/* Doorbells whose descriptors are more than the client can take at once stay unmentioned: they work as trapped writes. */
int mdl_vu_do_io_fds(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct mdl_vu_io_fds *req = r->payload;
	struct mdl_vu_io_fds *head;
	struct mdl_vu_io_fd *entry;
	int fds[MDL_VU_CLIENT_FDS];
	size_t nfds = 0, count = 0, len;
	bool whole;

	if (req->argsz < sizeof(*req) || req->flags || req->index >= MDL_VU_REGIONS)
		return -EINVAL;
	for (size_t i = 0; i < s->dev->num_ioeventfds; i++) {
		const struct mdl_vu_ioeventfd *io = &s->dev->ioeventfds[i];

		if (io->region == req->index &&
		    fd_position(fds, &nfds, s->caps.max_fds, io->fd) >= 0)
			count++;
	}
	len = sizeof(*head) + count * sizeof(*entry);
	whole = req->argsz >= len;
	head = mdl_vu_reply(r, whole ? len : sizeof(*head), whole ? nfds : 0);
	if (!head)
		return -ENOMEM;
	head->argsz = (uint32_t)len;
	head->index = req->index;
	head->count = (uint32_t)count;
	if (!whole)
		return 0;

	memcpy(r->reply->fds, fds, nfds * sizeof(int));
	entry = (void *)(head + 1);
	for (size_t i = 0; i < s->dev->num_ioeventfds; i++) {
		const struct mdl_vu_ioeventfd *io = &s->dev->ioeventfds[i];
		int at = io->region == req->index ? fd_position(fds, &nfds, nfds, io->fd) : -1;

		if (at < 0)
			continue;
		entry->offset = io->offset;
		entry->size = io->bytes;
		entry->fd_index = (uint32_t)at;
		entry->type = MDL_VU_IO_FD_IOEVENTFD;
		entry++;
	}
	return 0;
}

/* NORESIZE is never set: vectors may be added one by one. QEMU enables MSI-X with one vector and goes on from there. */
static const uint32_t irq_flags[MDL_VU_IRQS] = {
	[VFIO_PCI_INTX_IRQ_INDEX] =
		VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
	[VFIO_PCI_MSI_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE,
	[VFIO_PCI_MSIX_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE,
	[VFIO_PCI_ERR_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD,
	[VFIO_PCI_REQ_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD,
};

int mdl_vu_do_irq_info(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct vfio_irq_info *req = r->payload;
	struct vfio_irq_info *info;

	if (req->argsz < sizeof(*req) || req->index >= MDL_VU_IRQS)
		return -EINVAL;
	/* As the kernel without AER: an answer with no vector in it makes QEMU print a warning at every start. */
	if (req->index == VFIO_PCI_ERR_IRQ_INDEX && !s->dev->irq_count[req->index])
		return -EINVAL;
	info = mdl_vu_reply(r, sizeof(*info), 0);
	if (!info)
		return -ENOMEM;
	info->argsz = sizeof(*info);
	info->index = req->index;
	info->count = s->dev->irq_count[req->index];
	info->flags = info->count ? irq_flags[req->index] : 0;
	return 0;
}

/* There are no features yet (those that exist are about migration); a probe is answered as a use would be. */
int mdl_vu_do_feature(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct vfio_device_feature *req = r->payload;
	uint32_t methods = req->flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET);
	uint32_t known = VFIO_DEVICE_FEATURE_MASK | VFIO_DEVICE_FEATURE_GET |
			 VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PROBE;

	if (req->argsz < sizeof(*req) || (req->flags & ~known))
		return -EINVAL;
	if (!(req->flags & VFIO_DEVICE_FEATURE_PROBE) &&
	    (!methods || methods == (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET)))
		return -EINVAL;
	return -ENOTTY;
}
