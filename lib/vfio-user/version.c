/* SPDX-License-Identifier: MIT */
/*
 * Negotiation of version and capabilities, for both ends. What we announce is short: QEMU refuses a reply that is longer than
 * its own request (some 214 bytes). write_multiple is not announced, though such messages are understood: QEMU 10.1 and
 * 10.2 lose writes once they are told of it, and the protocol lets a server say less than it can.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "vfio-user/internal.h"

/* A number of the object: absent leaves *value; larger than the largest allowed counts as that. */
static int get_number(const json_t *obj, const char *key, uint32_t min, uint32_t max,
		      uint32_t *value)
{
	const json_t *v = json_object_get(obj, key);
	json_int_t n;

	if (!v)
		return 0;
	n = json_integer_value(v);
	if (!json_is_integer(v) || n < (json_int_t)min)
		return -EINVAL;
	*value = n > (json_int_t)max ? max : (uint32_t)n;
	return 0;
}

static int parse_object(const json_t *root, struct mdl_vu_caps *caps)
{
	const json_t *obj = json_object_get(root, "capabilities");

	if (!json_is_object(root) || (obj && !json_is_object(obj)))
		return -EINVAL;
	/* Older Cloud Hypervisors put them at the top. */
	if (!obj)
		obj = root;
	/*
	 * Cloud Hypervisor reads error replies as long as good ones, all others as a bare header. It is told apart by what it
	 * announces: "migration" as QEMU does, but no page sizes.
	 */
	caps->fixed_replies = json_object_get(obj, "migration") && !json_object_get(obj, "pgsizes");
	if (get_number(obj, "max_msg_fds", 0, MDL_VU_CLIENT_FDS, &caps->max_fds) ||
	    get_number(obj, "max_data_xfer_size", 1, MDL_VU_MAX_XFER, &caps->max_xfer))
		return -EINVAL;
	return 0;
}

int mdl_vu_caps_parse(const char *json, size_t len, struct mdl_vu_caps *ret_caps)
{
	struct mdl_vu_caps caps = { .max_fds = MDL_VU_DEFAULT_FDS, .max_xfer = MDL_VU_MAX_XFER };
	json_t *root;
	int ret;

	if (len) {
		if (json[len - 1] != '\0')
			return -EINVAL;
		root = json_loadb(json, len - 1, JSON_REJECT_DUPLICATES, NULL);
		ret = parse_object(root, &caps);
		json_decref(root);
		if (ret)
			return ret;
	}
	*ret_caps = caps;
	return 0;
}

char *mdl_vu_caps_json(uint32_t max_fds, uint32_t max_dma_maps)
{
	json_t *root =
		json_pack("{s:{s:i, s:i, s:i}}", "capabilities", "max_msg_fds", (int)max_fds,
			  "max_data_xfer_size", (int)MDL_VU_MAX_XFER, "pgsizes", (int)MDL_VU_PAGE);
	char *text = NULL;

	if (root &&
	    (!max_dma_maps || !json_object_set_new(json_object_get(root, "capabilities"),
						   "max_dma_maps", json_integer(max_dma_maps))))
		text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return text;
}

int mdl_vu_do_version(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct mdl_vu_version *req = r->payload;
	struct mdl_vu_version *reply;
	struct mdl_vu_caps caps;
	size_t json_len;
	char *json;
	int ret;

	if (req->major != MDL_VU_MAJOR)
		return -EPROTONOSUPPORT;
	ret = mdl_vu_caps_parse(req->json, r->len - sizeof(*req), &caps);
	if (ret)
		return ret;
	json = mdl_vu_caps_json(MDL_VU_SERVER_FDS, (uint32_t)s->max_dma);
	if (!json)
		return -ENOMEM;
	json_len = strlen(json) + 1;
	reply = mdl_vu_reply(r, sizeof(*reply) + json_len, 0);
	if (reply) {
		reply->major = MDL_VU_MAJOR;
		reply->minor = req->minor < MDL_VU_MINOR ? req->minor : MDL_VU_MINOR;
		memcpy(reply->json, json, json_len);
		s->caps = caps;
	}
	free(json);
	return reply ? 0 : -ENOMEM;
}
