/* SPDX-License-Identifier: MIT */
/*
 * Guest memory: which ranges the client has mapped for us (the device keeps descriptors and mappings, this file the
 * bookkeeping), and reaching it by message. An unmap is acknowledged only after the device's callback returned, so nothing reaches
 * the range once the client has the reply. Left out: the short count field that QEMU 10.1 to 11.0 expects in DMA_READ and
 * DMA_WRITE; with memory that comes with a descriptor these messages are not needed.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "vfio-user/internal.h"

static size_t find_exact(const struct mdl_vu_server *s, uint64_t iova, uint64_t bytes)
{
	size_t i;

	for (i = 0; i < s->num_dma; i++) {
		if (s->dma[i].iova == iova && s->dma[i].bytes == bytes)
			break;
	}
	return i;
}

/* A file shorter than what is announced would end in SIGBUS at the first access. It may still be cut later: see the device. */
static bool file_covers(int fd, uint64_t offset, uint64_t bytes)
{
	struct stat st;

	if (offset > INT64_MAX || bytes > INT64_MAX - offset || fstat(fd, &st))
		return false;
	return !S_ISREG(st.st_mode) || mdl_range_ok(offset, bytes, (uint64_t)st.st_size);
}

int mdl_vu_do_dma_map(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct mdl_vu_dma_map_req *req = r->payload;
	const uint32_t known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	struct mdl_vu_dma dma = {
		.iova = req->addr,
		.bytes = req->size,
		.read = req->flags & VFIO_DMA_MAP_FLAG_READ,
		.write = req->flags & VFIO_DMA_MAP_FLAG_WRITE,
		.fd = r->nfds ? r->fds[0] : -1,
		.fd_offset = r->nfds ? req->offset : 0,
	};
	int ret;

	if (req->argsz < sizeof(*req) || (req->flags & ~known) || !(req->flags & known))
		return -EINVAL;
	if (!dma.bytes || !mdl_range_ok(dma.iova, dma.bytes - 1, UINT64_MAX) ||
	    !mdl_is_aligned(dma.iova | dma.bytes | dma.fd_offset, MDL_VU_PAGE))
		return -EINVAL;
	if (r->nfds && !file_covers(dma.fd, dma.fd_offset, dma.bytes))
		return -EINVAL;
	for (size_t i = 0; i < s->num_dma; i++) {
		if (mdl_range_overlap(dma.iova, dma.bytes, s->dma[i].iova, s->dma[i].bytes))
			return -EEXIST;
	}
	if (s->num_dma == s->max_dma)
		return -ENOSPC;
	ret = s->ops->dma_map(s->ctx, &dma);
	if (ret)
		return ret;
	s->dma[s->num_dma++] = (struct mdl_vu_dma_map) { dma.iova, dma.bytes, dma.read, dma.write };
	return 0;
}

static void unmap_at(struct mdl_vu_server *s, size_t i)
{
	struct mdl_vu_dma_map map = s->dma[i];

	s->dma[i] = s->dma[--s->num_dma];
	s->ops->dma_unmap(s->ctx, map.iova, map.bytes);
}

int mdl_vu_do_dma_unmap(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct mdl_vu_dma_unmap_req *req = r->payload;
	struct mdl_vu_dma_unmap_req *reply;
	size_t i;

	if (req->argsz < sizeof(*req) ||
	    (req->flags & ~(VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP)))
		return -EINVAL;
	if (req->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP)
		return -ENOTSUP;
	if (req->flags & VFIO_DMA_UNMAP_FLAG_ALL) {
		if (req->addr || req->size)
			return -EINVAL;
		while (s->num_dma)
			unmap_at(s, s->num_dma - 1);
	} else {
		i = find_exact(s, req->addr, req->size);
		if (i == s->num_dma)
			return -ENOENT;
		unmap_at(s, i);
	}
	reply = mdl_vu_reply(r, sizeof(*reply), 0);
	if (!reply)
		return -ENOMEM;
	*reply = *req;
	return 0;
}

/* Whether all of the range is mapped, by one region or several side by side, with the right. */
static bool reachable(const struct mdl_vu_server *s, uint64_t iova, uint64_t len, bool write)
{
	size_t i = 0;

	while (len && i < s->num_dma) {
		const struct mdl_vu_dma_map *m = &s->dma[i++];
		uint64_t n;

		if (!mdl_range_in(iova, 1, m->iova, m->bytes) || !(write ? m->write : m->read))
			continue;
		n = mdl_min_u64(len, m->bytes - (iova - m->iova));
		iova += n;
		len -= n;
		i = 0;
	}
	return !len;
}

static int dma_request(struct mdl_vu_server *s, uint16_t command, uint64_t iova, uint32_t len,
		       const void *data, mdl_vu_dma_done done, void *arg)
{
	struct mdl_vu_dma_slot *slot = NULL;
	struct mdl_vu_dma_access *req;
	struct mdl_vu_out *out;

	if (s->state != MDL_VU_STATE_READY || s->drop)
		return -ENOTCONN;
	if (!len || len > s->caps.max_xfer || !mdl_range_ok(iova, len - 1, UINT64_MAX))
		return -EINVAL;
	if (!reachable(s, iova, len, command == MDL_VU_DMA_WRITE))
		return -EFAULT;
	for (size_t i = 0; i < MDL_VU_DMA_INFLIGHT && !slot; i++) {
		if (!s->slot[i].done)
			slot = &s->slot[i];
	}
	if (!slot || s->conn.out_bytes > MDL_VU_OUT_MARK)
		return -EBUSY;
	out = mdl_vu_out_new(sizeof(*req) + (data ? len : 0), 0);
	if (!out)
		return -ENOMEM;
	req = (void *)out->payload;
	req->addr = iova;
	req->count = len;
	if (data)
		memcpy(req + 1, data, len);
	out->hdr.id = s->next_id++;
	out->hdr.command = command;
	out->hdr.flags = MDL_VU_TYPE_COMMAND;
	*slot = (struct mdl_vu_dma_slot) { .done = done,
					   .arg = arg,
					   .addr = iova,
					   .len = len,
					   .id = out->hdr.id,
					   .command = command };
	/* On a dead connection the loop ends the access, and everything else: done is never called from here. */
	if (mdl_vu_conn_send(&s->conn, out))
		s->drop = true;
	mdl_vu_server_rearm(s);
	return 0;
}

int mdl_vu_dma_read(struct mdl_vu_server *s, uint64_t iova, uint32_t len, mdl_vu_dma_done done,
		    void *arg)
{
	return dma_request(s, MDL_VU_DMA_READ, iova, len, NULL, done, arg);
}

int mdl_vu_dma_write(struct mdl_vu_server *s, uint64_t iova, const void *data, uint32_t len,
		     mdl_vu_dma_done done, void *arg)
{
	return dma_request(s, MDL_VU_DMA_WRITE, iova, len, data, done, arg);
}

/* The sizes of a reply are part of the protocol: one that is off means that the two ends no longer talk about the same thing. */
static bool reply_ok(const struct mdl_vu_dma_slot *slot, const struct mdl_vu_msg *msg)
{
	const struct mdl_vu_dma_access *access = msg->payload;
	uint32_t count;

	if (slot->command == MDL_VU_DMA_READ)
		return msg->len == sizeof(*access) + slot->len && access->addr == slot->addr &&
		       access->count == slot->len;
	/* The protocol's text draws the count of this one reply with 4 bytes; both are seen. */
	if (msg->len == sizeof(access->addr) + sizeof(count)) {
		memcpy(&count, (const uint8_t *)msg->payload + sizeof(access->addr), sizeof(count));
		return access->addr == slot->addr && count == slot->len;
	}
	return msg->len == sizeof(*access) && access->addr == slot->addr &&
	       access->count == slot->len;
}

static struct mdl_vu_dma_slot *find_slot(struct mdl_vu_server *s, uint16_t id)
{
	for (size_t i = 0; i < MDL_VU_DMA_INFLIGHT; i++) {
		if (s->slot[i].done && s->slot[i].id == id)
			return &s->slot[i];
	}
	return NULL;
}

int mdl_vu_dma_reply(struct mdl_vu_server *s, const struct mdl_vu_msg *msg)
{
	struct mdl_vu_dma_slot *found = find_slot(s, msg->hdr.id), slot;
	bool failed = msg->hdr.flags & MDL_VU_ERROR;
	const uint8_t *data = NULL;
	int error = 0;

	/* Refused here, the access stays under way: it ends with the connection. */
	if (!found || msg->nfds || found->command != msg->hdr.command ||
	    (!failed && !reply_ok(found, msg)))
		return -EPROTO;
	slot = *found;
	found->done = NULL;
	if (failed)
		error = msg->hdr.error && msg->hdr.error < 4096 ? -(int)msg->hdr.error : -EIO;
	else if (slot.command == MDL_VU_DMA_READ)
		data = (const uint8_t *)msg->payload + sizeof(struct mdl_vu_dma_access);
	slot.done(slot.arg, error, data, slot.len);
	return 0;
}

void mdl_vu_dma_drop(struct mdl_vu_server *s)
{
	for (size_t i = 0; i < MDL_VU_DMA_INFLIGHT; i++) {
		struct mdl_vu_dma_slot slot = s->slot[i];

		s->slot[i].done = NULL;
		if (slot.done)
			slot.done(slot.arg, -ECONNRESET, NULL, slot.len);
	}
	while (s->num_dma)
		unmap_at(s, s->num_dma - 1);
}
