/* SPDX-License-Identifier: MIT */
/*
 * Every command, by one table: each length around the right one, unexpected and too many descriptors, before VERSION, with NO_REPLY,
 * and numbers that are no command of ours. After each the connection must still be in step, and no descriptor left behind.
 */
#include "rig.h"

#include "base/cleanup.h"

struct command {
	const char *name;
	uint16_t number;
	uint16_t min, max;	/* payload bytes that are right; max 0: as min; longer ones are not tried */
	uint8_t max_fds;
	bool grows;		/* other lengths than min can be right (data follows) */
	const void *payload;	/* min bytes, a valid request */
	uint16_t reply;		/* payload bytes of the reply to it */
};

static const struct mdl_vu_dma_map_req map = { 32, 3, 0, 0x100000, 0x1000 };
static const struct mdl_vu_dma_unmap_req unmap_all = { 24, VFIO_DMA_UNMAP_FLAG_ALL };
static const struct mdl_vu_info info = { .argsz = 16 };
static const struct vfio_region_info region_info = { .argsz = 32, .index = 7 };
static const struct mdl_vu_io_fds io_fds = { .argsz = 16, .index = 0 };
static const struct vfio_irq_info irq_info = { .argsz = 16, .index = 2 };
static const struct vfio_irq_set irq_set = { .argsz = 20, .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
					     .index = 2 };
static const struct mdl_vu_access read_req = { .offset = 0, .region = 7, .count = 4 };
static const struct { struct mdl_vu_access a; uint8_t data[8]; } write_req = { { 0, 7, 8 }, { 1, 2, 3, 4, 5, 6, 7, 8 } };
static const struct { uint64_t count; struct mdl_vu_multi_entry e[2]; } multi = {
	2, { { 16, 0, 4, { 1, 2, 3, 4 } }, { 32, 7, 1, { 9 } } } };

static const struct command commands[] = {
	{ "DMA_MAP", MDL_VU_DMA_MAP, sizeof(map), 0, 1, false, &map, 0 },
	{ "DMA_UNMAP", MDL_VU_DMA_UNMAP, sizeof(unmap_all), 0, 0, false, &unmap_all, 24 },
	{ "GET_INFO", MDL_VU_GET_INFO, 16, 24, 0, false, &info, 16 },
	{ "GET_REGION_INFO", MDL_VU_GET_REGION_INFO, sizeof(region_info), 0, 0, false, &region_info, 32 },
	{ "GET_REGION_IO_FDS", MDL_VU_GET_REGION_IO_FDS, sizeof(io_fds), 0, 0, false, &io_fds, 16 },
	{ "GET_IRQ_INFO", MDL_VU_GET_IRQ_INFO, sizeof(irq_info), 0, 0, false, &irq_info, 16 },
	{ "SET_IRQS", MDL_VU_SET_IRQS, sizeof(irq_set), 0, 0, false, &irq_set, 0 },
	{ "REGION_READ", MDL_VU_REGION_READ, sizeof(read_req), 0, 0, false, &read_req, 20 },
	{ "REGION_WRITE", MDL_VU_REGION_WRITE, sizeof(write_req), 0, 0, false, &write_req, 16 },
	{ "RESET", MDL_VU_RESET, 0, 0, 0, false, "", 0 },
	{ "REGION_WRITE_MULTI", MDL_VU_REGION_WRITE_MULTI, sizeof(multi), 0, 0, false, &multi, 8 },
};

static void undo(struct rig *r)
{
	CHECK_EQ(rig_unmap(r, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL), 0);
}

static void valid(void)
{
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		fprintf(stderr, "# %s\n", c->name);
		CHECK_EQ(rig_call(&r, c->number, c->payload, c->min, NULL, 0), 0);
		CHECK_EQ(r.reply.len, c->reply);
		CHECK_EQ(r.reply.nfds, 0);
		undo(&r);
	}
	CHECK_EQ(r.resets, 1);
	rig_stop(&r);
}

static void lengths(void)
{
	uint8_t buf[512];
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];
		size_t max = c->max ? c->max : c->min;

		fprintf(stderr, "# %s\n", c->name);
		memset(buf, 0, sizeof(buf));
		memcpy(buf, c->payload, c->min);
		for (size_t len = 0; len <= max + 40; len++) {
			int ret = rig_call(&r, c->number, buf, len, NULL, 0);

			CHECK_EQ(ret, len >= c->min && len <= max ? 0 : EINVAL);
			if (ret)
				CHECK_EQ(r.reply.len, 0);
		}
		CHECK(rig_alive(&r));
		undo(&r);
	}
	rig_stop(&r);
}

static void descriptors(void)
{
	int fds[17];
	struct rig r;
	size_t before;

	for (size_t i = 0; i < MDL_ARRAY_SIZE(fds); i++)
		fds[i] = rig_memfd(8192);
	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	for (size_t i = 0; i < MDL_ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		fprintf(stderr, "# %s\n", c->name);
		for (size_t n = 1; n <= 16; n++) {
			CHECK_EQ(rig_call(&r, c->number, c->payload, c->min, fds, n), n > c->max_fds ? EINVAL : 0);
			CHECK_EQ(rig_count_fds(), before);
		}
		undo(&r);
		/* One more than anyone may send: they cannot all be received, so the stream is not to be trusted. */
		rig_send(&r, c->number, 0, c->payload, c->min, fds, 17);
		CHECK(rig_closed(&r));
		mdl_close_fd(&r.fd);
		rig_hello(&r);
		CHECK_EQ(rig_count_fds(), before);
	}
	rig_stop(&r);
}

static void before_version(void)
{
	struct rig r;
	size_t before;
	int fd = rig_memfd(4096);

	rig_start(&r);
	before = rig_count_fds();
	for (size_t i = 0; i < MDL_ARRAY_SIZE(commands); i++) {
		fprintf(stderr, "# %s\n", commands[i].name);
		r.fd = rig_connect(&r);
		rig_send(&r, commands[i].number, 0, commands[i].payload, commands[i].min, &fd, commands[i].max_fds);
		CHECK(rig_closed(&r));
		mdl_close_fd(&r.fd);
		CHECK_EQ(rig_count_fds(), before);
	}
	CHECK_EQ(r.connected, 0);
	CHECK_EQ(r.disconnected, 0);
	CHECK_EQ(r.resets + r.reads + r.writes + r.maps, 0);
	rig_hello(&r);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

static void no_reply(void)
{
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		fprintf(stderr, "# %s\n", c->name);
		rig_send(&r, c->number, MDL_VU_NO_REPLY, c->payload, c->min, NULL, 0);
		rig_pump(&r);
		CHECK_EQ(rig_recv(&r), 0);
		/* Errors are silent too. */
		rig_send(&r, c->number, MDL_VU_NO_REPLY, c->payload, c->min ? c->min - 1u : 0, NULL, 0);
		rig_pump(&r);
		CHECK_EQ(rig_recv(&r), 0);
		CHECK(rig_alive(&r));
		undo(&r);
	}
	CHECK_EQ(r.config[0], 1);	/* the posted write did happen */
	CHECK_EQ(r.bar0[17], 2);
	rig_stop(&r);
}

static void unknown(void)
{
	const uint16_t none[] = { 0, MDL_VU_DMA_READ, MDL_VU_DMA_WRITE, 14, MDL_VU_MIG_DATA_READ, MDL_VU_MIG_DATA_WRITE, 19, 255,
				  65535 };
	struct mdl_vu_dma_access payload = { 0x1000, 8 };
	struct rig r;
	int fd = rig_memfd(4096);
	size_t before;

	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	for (size_t i = 0; i < MDL_ARRAY_SIZE(none); i++) {
		CHECK_EQ(rig_call(&r, none[i], &payload, sizeof(payload), NULL, 0), ENOTSUP);
		CHECK_EQ(rig_call(&r, none[i], NULL, 0, &fd, 1), ENOTSUP);
		CHECK_EQ(rig_count_fds(), before);
	}
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

static void version_twice(void)
{
	struct rig r;
	uint8_t v[4] = { 0 };

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_call(&r, MDL_VU_VERSION, v, 4, NULL, 0), EINVAL);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

static void version_bad(void)
{
	static const struct { const char *json; size_t len; uint16_t major; } bad[] = {
		{ "{}", 3, 1 }, { "{}", 2, 0 }, { "{} ", 3, 0 }, { "", 1, 0 }, { "[]", 3, 0 }, { "{\"capabilities\":3}", 19, 0 },
		{ "{\"capabilities\":{\"max_msg_fds\":-1}}", 36, 0 },
		{ "{\"capabilities\":{\"max_msg_fds\":\"x\"}}", 37, 0 },
		{ "{\"capabilities\":{\"max_data_xfer_size\":0}}", 42, 0 },
		{ "{\"capabilities\":{}}garbage", 27, 0 },
	};
	uint8_t buf[8192] = { 0 };
	struct rig r;
	size_t before;

	rig_start(&r);
	before = rig_count_fds();
	for (size_t i = 0; i < MDL_ARRAY_SIZE(bad); i++) {
		fprintf(stderr, "# %s\n", bad[i].json);
		r.fd = rig_connect(&r);
		memcpy(buf, &bad[i].major, 2);
		memcpy(buf + 4, bad[i].json, bad[i].len);
		CHECK(rig_call(&r, MDL_VU_VERSION, buf, 4 + bad[i].len, NULL, 0) != 0);
		CHECK(rig_closed(&r));
		mdl_close_fd(&r.fd);
	}
	/* Short, long, with a descriptor; nested deeply. */
	for (size_t len = 0; len < 4; len++) {
		r.fd = rig_connect(&r);
		CHECK(rig_call(&r, MDL_VU_VERSION, "\0\0\0\0", len, NULL, 0) != 0);
		CHECK(rig_closed(&r));
		mdl_close_fd(&r.fd);
	}
	memset(buf, '[', sizeof(buf));
	memset(buf, 0, 4);
	buf[4095] = 0;
	for (size_t len = 4096; len <= 8192; len += 4096) {
		r.fd = rig_connect(&r);
		CHECK(rig_call(&r, MDL_VU_VERSION, buf, len, NULL, 0) != 0);
		CHECK(rig_closed(&r));
		mdl_close_fd(&r.fd);
	}
	CHECK_EQ(r.connected, 0);
	CHECK_EQ(rig_count_fds(), before);
	rig_stop(&r);
}

static void version_good(void)
{
	static const char *const good[] = {
		rig_qemu_caps, "{}", "{\"capabilities\":{}}", "{\"max_msg_fds\":1,\"other\":[{}]}", NULL,
		"{\"capabilities\":{\"max_msg_fds\":100000,\"max_data_xfer_size\":99999999999}}",
	};
	struct mdl_vu_version v;
	struct mdl_vu_caps caps;
	struct rig r;

	rig_start(&r);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(good); i++) {
		rig_hello_with(&r, good[i]);
		memcpy(&v, r.reply.payload, 4);
		CHECK_EQ(v.major, 0);
		CHECK_EQ(v.minor, 0);
		/* QEMU takes no reply longer than its request. */
		if (i == 0)
			CHECK(r.reply.len <= 4 + strlen(rig_qemu_caps) + 1);
		CHECK(strstr((char *)r.reply.payload + 4, "\"capabilities\""));
		CHECK(!strstr((char *)r.reply.payload + 4, "write_multiple"));
		CHECK_EQ(mdl_vu_caps_parse((char *)r.reply.payload + 4, r.reply.len - 4, &caps), 0);
		CHECK_EQ(caps.max_fds, 16);
		CHECK_EQ(caps.max_xfer, 1 << 20);
		CHECK_EQ(r.connected, i + 1);
		CHECK_EQ(r.peer, getpid());
		mdl_close_fd(&r.fd);
		rig_pump(&r);
		CHECK_EQ(r.disconnected, i + 1);
	}
	rig_stop(&r);
}

static void feature(void)
{
	struct { uint32_t argsz, flags; } f = { 8, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION };
	struct rig r;

	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, 8, NULL, 0), ENOTTY);
	f.flags |= VFIO_DEVICE_FEATURE_PROBE;
	CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, 8, NULL, 0), ENOTTY);
	f.flags |= VFIO_DEVICE_FEATURE_SET;
	CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, 8, NULL, 0), ENOTTY);
	f.flags &= ~VFIO_DEVICE_FEATURE_PROBE;
	CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, 8, NULL, 0), EINVAL);	/* GET and SET at once */
	f.flags = VFIO_DEVICE_FEATURE_MIGRATION;
	CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, 8, NULL, 0), EINVAL);	/* neither */
	f.flags = 1u << 31 | VFIO_DEVICE_FEATURE_GET;
	CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, 8, NULL, 0), EINVAL);
	f.flags = VFIO_DEVICE_FEATURE_GET;
	f.argsz = 7;
	CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, 8, NULL, 0), EINVAL);
	for (size_t len = 0; len < 8; len++)
		CHECK_EQ(rig_call(&r, MDL_VU_FEATURE, &f, len, NULL, 0), EINVAL);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

static const struct check_case cases[] = {
	{ "every command, valid", valid },
	{ "every command, every length", lengths },
	{ "every command, too many descriptors", descriptors },
	{ "every command, before VERSION", before_version },
	{ "every command, without reply", no_reply },
	{ "unknown, misdirected and unsupported commands", unknown },
	{ "VERSION twice", version_twice },
	{ "VERSION, bad", version_bad },
	{ "VERSION, good", version_good },
	{ "DEVICE_FEATURE", feature },
};

RIG_MAIN(cases)
