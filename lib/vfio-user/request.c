/* SPDX-License-Identifier: MIT */
/*
 * The request table: for every command the sizes, descriptors and states that are allowed, checked before its handler runs; and
 * how replies and errors leave. A request that the table refuses gets an error reply and the connection goes on (its length was
 * known, so the stream is in step); only what makes the stream itself doubtful ends it: see mdl_vu_conn_recv().
 *
 * Error replies are a bare header, as the protocol says and QEMU reads them. Cloud Hypervisor reads, after an error too, as many
 * bytes as a success would have had, and would wait for ever; for it alone (caps.fixed_replies) they are filled up: the
 * request's own fields, and all-ones for data, as on a bus that nobody answers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfio-user/internal.h"

#define NEW   (1u << MDL_VU_STATE_NEW)
#define READY (1u << MDL_VU_STATE_READY)

struct rule {
	mdl_vu_handler *handler;
	uint32_t min, max; /* payload bytes */
	uint32_t max_fds;
	uint32_t states;
	uint32_t reply; /* payload bytes of a success without data: what fixed_replies pads errors to */
};

static int do_reset(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	s->ops->reset(s->ctx);
	return 0;
}

#define SIZE(type)  sizeof(struct type)
#define EXACT(type) SIZE(type), SIZE(type)

/* clang-format off */
static const struct rule rules[] = {
	/* handler, payload from, to, descriptors, states, reply */
	[MDL_VU_VERSION] = { mdl_vu_do_version, SIZE(mdl_vu_version), 4096, 0, NEW },
	[MDL_VU_DMA_MAP] = { mdl_vu_do_dma_map, EXACT(mdl_vu_dma_map_req), 1, READY },
	[MDL_VU_DMA_UNMAP] = { mdl_vu_do_dma_unmap, EXACT(mdl_vu_dma_unmap_req), 0, READY,
		SIZE(mdl_vu_dma_unmap_req) },
	[MDL_VU_GET_INFO] = { mdl_vu_do_info, MDL_VU_INFO_MIN, SIZE(mdl_vu_info), 0, READY,
		MDL_VU_INFO_MIN },
	[MDL_VU_GET_REGION_INFO] = { mdl_vu_do_region_info, EXACT(vfio_region_info), 0, READY,
		SIZE(vfio_region_info) },
	[MDL_VU_GET_REGION_IO_FDS] = { mdl_vu_do_io_fds, EXACT(mdl_vu_io_fds), 0, READY,
		SIZE(mdl_vu_io_fds) },
	[MDL_VU_GET_IRQ_INFO] = { mdl_vu_do_irq_info, EXACT(vfio_irq_info), 0, READY,
		SIZE(vfio_irq_info) },
	[MDL_VU_SET_IRQS] = { mdl_vu_do_set_irqs,
		SIZE(vfio_irq_set), SIZE(vfio_irq_set) + MDL_VU_MSIX_MAX, MDL_VU_SERVER_FDS, READY },
	[MDL_VU_REGION_READ] = { mdl_vu_do_region_read, EXACT(mdl_vu_access), 0, READY,
		SIZE(mdl_vu_access) },
	[MDL_VU_REGION_WRITE] = { mdl_vu_do_region_write,
		SIZE(mdl_vu_access) + 1, SIZE(mdl_vu_access) + MDL_VU_MAX_XFER, 0, READY, SIZE(mdl_vu_access) },
	[MDL_VU_RESET] = { do_reset, 0, 0, 0, READY },
	[MDL_VU_REGION_WRITE_MULTI] = { mdl_vu_do_write_multi,
		SIZE(mdl_vu_multi) + SIZE(mdl_vu_multi_entry), MDL_VU_MAX_XFER, 0, READY, sizeof(uint64_t) },
	[MDL_VU_FEATURE] = { mdl_vu_do_feature, SIZE(vfio_device_feature), 4096, 0, READY },
	/* DMA_READ and DMA_WRITE are ours to send; migration is left out: ENOTSUP, as for numbers that do not exist. */
};
/* clang-format on */

void *mdl_vu_reply(struct mdl_vu_request *r, size_t len, size_t nfds)
{
	r->reply = mdl_vu_out_new(len, nfds);
	return r->reply ? r->reply->payload : NULL;
}

static struct mdl_vu_out *padded_error(const struct mdl_vu_request *r, const struct rule *rule)
{
	const struct mdl_vu_access *access = r->payload;
	size_t len = rule->reply, data = 0, given;
	struct mdl_vu_out *out;

	if (rule->handler == mdl_vu_do_region_read && r->len >= sizeof(*access))
		data = mdl_min_u64(access->count, MDL_VU_MAX_XFER);
	if (rule->handler == mdl_vu_do_info)
		len = mdl_min_u64(mdl_max_u64(r->len, MDL_VU_INFO_MIN), sizeof(struct mdl_vu_info));
	given = mdl_min_u64(len, r->len);
	out = mdl_vu_out_new(len + data, 0);
	if (out) {
		if (given)
			memcpy(out->payload, r->payload, given);
		memset(out->payload + len, 0xff, data);
	}
	return out;
}

static int send_error(struct mdl_vu_server *s, const struct mdl_vu_msg *msg,
		      const struct mdl_vu_request *r, const struct rule *rule, int error)
{
	struct mdl_vu_out *out;

	s->stats.errors++;
	if (msg->hdr.flags & MDL_VU_NO_REPLY)
		return 0;
	out = rule && s->caps.fixed_replies ? padded_error(r, rule) : mdl_vu_out_new(0, 0);
	if (!out)
		return -ENOMEM;
	out->hdr.id = msg->hdr.id;
	out->hdr.command = msg->hdr.command;
	out->hdr.flags = MDL_VU_TYPE_REPLY | MDL_VU_ERROR;
	out->hdr.error = (uint32_t)-error;
	return mdl_vu_conn_send(&s->conn, out);
}

static int send_reply(struct mdl_vu_server *s, const struct mdl_vu_msg *msg,
		      struct mdl_vu_request *r)
{
	struct mdl_vu_out *out = r->reply;

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
	out->hdr.flags = MDL_VU_TYPE_REPLY;
	return mdl_vu_conn_send(&s->conn, out);
}

static int check_rule(const struct mdl_vu_server *s, const struct rule *rule,
		      const struct mdl_vu_request *r)
{
	if (!rule)
		return -ENOTSUP;
	if (!(rule->states & (1u << s->state)) || r->len < rule->min || r->len > rule->max ||
	    r->nfds > rule->max_fds)
		return -EINVAL;
	return 0;
}

static int handle_request(struct mdl_vu_server *s, struct mdl_vu_msg *msg)
{
	struct mdl_vu_request r = { .command = msg->hdr.command,
				    .payload = msg->payload,
				    .len = msg->len,
				    .fds = msg->fds,
				    .nfds = msg->nfds };
	const struct rule *rule = NULL;
	bool negotiating = s->state == MDL_VU_STATE_NEW;
	int ret, sent;

	if (r.command < MDL_ARRAY_SIZE(rules) && rules[r.command].handler)
		rule = &rules[r.command];
	ret = check_rule(s, rule, &r);
	if (!ret)
		ret = rule->handler(s, &r);
	if (ret) {
		free(r.reply);
		sent = send_error(s, msg, &r, rule, ret);
		/* Who cannot agree on a version, or does not try, has nothing more to say. */
		return negotiating ? -EPROTO : sent;
	}
	sent = send_reply(s, msg, &r);
	if (negotiating && !sent) {
		s->state = MDL_VU_STATE_READY;
		if (s->ops->connected)
			s->ops->connected(s->ctx, s->peer);
	}
	return sent;
}

int mdl_vu_handle_message(struct mdl_vu_server *s, struct mdl_vu_msg *msg)
{
	int ret;

	s->stats.messages++;
	if ((msg->hdr.flags & MDL_VU_TYPE_MASK) == MDL_VU_TYPE_REPLY)
		ret = mdl_vu_dma_reply(s, msg);
	else
		ret = handle_request(s, msg);
	mdl_vu_msg_close_fds(msg);
	return ret;
}
