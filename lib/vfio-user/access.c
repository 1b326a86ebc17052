/* SPDX-License-Identifier: MIT */
/*
 * Accesses to regions that the client does not map: REGION_READ, REGION_WRITE, REGION_WRITE_MULTI. Ranges and rights are checked
 * here, so the device's callbacks only ever see bytes that exist; long accesses reach them a page at a time.
 */
#include <errno.h>
#include <string.h>

#include "vfio-user/internal.h"

static int check_access(const struct mdl_vu_server *s, uint32_t index, uint64_t offset,
			uint32_t count, bool write)
{
	const struct mdl_vu_region *region;

	if (index >= MDL_VU_REGIONS || !count || count > MDL_VU_MAX_XFER)
		return -EINVAL;
	region = &s->dev->region[index];
	if (!mdl_range_ok(offset, count, region->bytes))
		return -EINVAL;
	return (write ? region->write : region->read) ? 0 : -EACCES;
}

/* Bytes up to the next page, count at most. */
static uint32_t next_piece(uint64_t offset, uint32_t count)
{
	return (uint32_t)mdl_min_u64(count, MDL_VU_PAGE - (offset & (MDL_VU_PAGE - 1)));
}

static int write_region(struct mdl_vu_server *s, uint32_t index, uint64_t offset,
			const uint8_t *data, uint32_t count)
{
	while (count) {
		uint32_t n = next_piece(offset, count);
		int ret = s->ops->region_write(s->ctx, index, offset, data, n);

		s->stats.accesses++;
		if (ret)
			return ret;
		offset += n;
		data += n;
		count -= n;
	}
	return 0;
}

int mdl_vu_do_region_read(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	struct mdl_vu_access req = *(const struct mdl_vu_access *)r->payload;
	struct mdl_vu_access *reply;
	uint8_t *data;
	int ret;

	ret = check_access(s, req.region, req.offset, req.count, false);
	if (ret)
		return ret;
	reply = mdl_vu_reply(r, sizeof(req) + req.count, 0);
	if (!reply)
		return -ENOMEM;
	*reply = req;
	data = (uint8_t *)(reply + 1);
	while (req.count) {
		uint32_t n = next_piece(req.offset, req.count);

		s->stats.accesses++;
		ret = s->ops->region_read(s->ctx, req.region, req.offset, data, n);
		if (ret)
			return ret;
		req.offset += n;
		data += n;
		req.count -= n;
	}
	return 0;
}

int mdl_vu_do_region_write(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct mdl_vu_access *req = r->payload;
	struct mdl_vu_access *reply;
	int ret;

	if (r->len - sizeof(*req) != req->count)
		return -EINVAL;
	ret = check_access(s, req->region, req->offset, req->count, true);
	if (ret)
		return ret;
	ret = write_region(s, req->region, req->offset, (const uint8_t *)(req + 1), req->count);
	if (ret)
		return ret;
	reply = mdl_vu_reply(r, sizeof(*reply), 0);
	if (!reply)
		return -ENOMEM;
	*reply = *req;
	return 0;
}

/* All entries are checked before the first is done. One that the device then refuses ends the row; the reply counts those before. */
int mdl_vu_do_write_multi(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct mdl_vu_multi *req = r->payload;
	uint64_t room = (r->len - sizeof(*req)) / sizeof(req->entry[0]), done;
	uint64_t *reply;
	int ret = 0;

	if (req->count != room || r->len != sizeof(*req) + room * sizeof(req->entry[0]))
		return -EINVAL;
	for (uint64_t i = 0; i < room; i++) {
		const struct mdl_vu_multi_entry *e = &req->entry[i];

		ret = e->count > sizeof(e->data)
			      ? -EINVAL
			      : check_access(s, e->region, e->offset, e->count, true);
		if (ret)
			return ret;
	}
	for (done = 0; done < room; done++) {
		const struct mdl_vu_multi_entry *e = &req->entry[done];

		ret = write_region(s, e->region, e->offset, e->data, e->count);
		if (ret)
			break;
	}
	if (!done)
		return ret;
	reply = mdl_vu_reply(r, sizeof(*reply), 0);
	if (!reply)
		return -ENOMEM;
	*reply = done;
	return 0;
}
