/* SPDX-License-Identifier: MIT */
/*
 * Server and client when memory is short: the n-th allocation fails, for every n. Creating gives -ENOMEM and leaves nothing; a
 * connection ends or a request fails, and the next client is served.
 */
#include "tests/proto/rig.h"

#include <sys/socket.h>

#include "base/cleanup.h"

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static long countdown = -1;	/* allocations until one fails; negative: none does */

void *__wrap_calloc(size_t n, size_t size)
{
	return countdown >= 0 && countdown-- == 0 ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return countdown >= 0 && countdown-- == 0 ? NULL : __real_realloc(p, size);
}

static void creating(void)
{
	struct mdl_vu_device dev = { .irq_count = { 1, 4, 32, 0, 1 } };
	struct mdl_vu_server *s = NULL;
	size_t before = rig_count_fds();
	int ret = -ENOMEM, n;

	for (size_t i = 0; i < MDL_VU_REGIONS; i++)
		dev.region[i].fd = -1;
	for (n = 0; ret; n++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		CHECK(!listen(fd, 1) || errno == EINVAL);
		countdown = n;
		ret = mdl_vu_server_create(fd, &dev, &rig_ops, NULL, &s);
		countdown = -1;
		if (ret) {
			CHECK_EQ(ret, -ENOMEM);
			CHECK(!s);
			CHECK_EQ(rig_count_fds(), before);
		}
	}
	CHECK_EQ(n, 7);	/* the server, its DMA table, four interrupts, and then none was left to fail */
	mdl_vu_server_destroy(s);
	CHECK_EQ(rig_count_fds(), before);
}

/* What a client asks in a first minute; it hears nothing, errors or the right thing. */
static void session(struct rig *r, int fd)
{
	struct mdl_vu_dma_map_req m = { 32, 3, 0, 0x1000, 4096 };
	struct mdl_vu_access a = { 0, 0, 8192 };
	struct vfio_region_info i = { .argsz = 512, .index = 4 };
	struct vfio_irq_set irq = { 20, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 0, 1 };
	uint8_t version[4] = { 0 };
	int event = r->io[0].fd;

	r->fd = rig_connect(r);
	rig_send(r, MDL_VU_VERSION, 0, version, sizeof(version), NULL, 0);
	rig_send(r, MDL_VU_DMA_MAP, 0, &m, sizeof(m), &fd, 1);
	rig_send(r, MDL_VU_GET_REGION_INFO, 0, &i, sizeof(i), NULL, 0);
	rig_send(r, MDL_VU_SET_IRQS, 0, &irq, sizeof(irq), &event, 1);
	rig_send(r, MDL_VU_REGION_READ, 0, &a, sizeof(a), NULL, 0);
	rig_pump(r);
}

static void serving(void)
{
	int fd = rig_memfd(4096);
	bool whole = false;
	struct rig r;
	size_t before;

	rig_start(&r);
	rig_hello(&r);
	CHECK(rig_alive(&r));
	mdl_close_fd(&r.fd);
	rig_pump(&r);
	before = rig_count_fds();
	for (int n = 0; !whole; n++) {
		countdown = n;
		session(&r, fd);
		whole = countdown >= 0;
		countdown = -1;
		while (rig_recv(&r) == 1)
			;
		mdl_close_fd(&r.fd);
		while (r.reply.nfds)
			mdl_close_fd(&r.reply.fds[--r.reply.nfds]);
		rig_pump(&r);
		CHECK_EQ(r.maps, r.unmaps);
		CHECK_EQ(r.connected, r.disconnected);
		CHECK_EQ(rig_count_fds(), before);
		CHECK(n < 500);
		r.num_dma = 0;
	}
	rig_hello(&r);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

static const struct check_case cases[] = {
	{ "creating a server", creating },
	{ "serving a client", serving },
};

RIG_MAIN(cases)
