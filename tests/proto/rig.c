/* SPDX-License-Identifier: MIT */
/* The protocol tests' rig: see rig.h. */
#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/fd.h"

int rig_main(const struct check_case *cases, size_t n)
{
	static const char *const left[] = { "vu.sock", "script" };	/* by a case that failed */
	const char *tmp = getenv("TMPDIR");
	char dir[80], path[128];
	int ret;

	snprintf(dir, sizeof(dir), "%.60s/mdl-proto-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		printf("Bail out! %s: %s\n", dir, strerror(errno));
		return 1;
	}
	setenv("TMPDIR", dir, 1);
	ret = check_main(cases, n);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(left); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, left[i]);
		unlink(path);
	}
	rmdir(dir);
	return ret;
}

static int region_access(struct rig *r, uint32_t region, uint64_t offset, void *data, uint32_t count, bool write)
{
	uint8_t *base = region == 0 ? r->bar0 : region == 6 ? r->rom : r->config;
	int fail = r->fail;

	CHECK(count >= 1 && count <= 4096);
	CHECK(mdl_range_ok(offset, count, r->dev.region[region].bytes));
	if (count > r->max_piece)
		r->max_piece = count;
	r->fail = 0;
	if (fail)
		return -fail;
	if (region == 2 || region == 4)
		return 0;
	memcpy(write ? base + offset : data, write ? data : base + offset, count);
	return 0;
}

static int region_read(void *ctx, uint32_t region, uint64_t offset, void *data, uint32_t count)
{
	struct rig *r = ctx;

	r->reads++;
	return region_access(r, region, offset, data, count, false);
}

static int region_write(void *ctx, uint32_t region, uint64_t offset, const void *data, uint32_t count)
{
	struct rig *r = ctx;

	r->writes++;
	if (r->quit_in_write)
		mdl_vu_server_disconnect(r->s);
	if (r->on_write && region == 7)
		r->on_write(r, offset);
	return region_access(r, region, offset, (void *)(uintptr_t)data, count, true);
}

static int dma_map(void *ctx, const struct mdl_vu_dma *dma)
{
	struct rig *r = ctx;
	int fail = r->fail;

	r->fail = 0;
	if (fail)
		return -fail;
	CHECK(r->num_dma < MDL_ARRAY_SIZE(r->dma));
	r->maps++;
	r->dma[r->num_dma++] = (struct rig_dma){ dma->iova, dma->bytes, dma->fd_offset, dma->read, dma->write, true,
						 dma->fd >= 0 ? rig_inode(dma->fd) : 0 };
	return 0;
}

static void dma_unmap(void *ctx, uint64_t iova, uint64_t bytes)
{
	struct rig *r = ctx;
	bool found = false;

	for (size_t i = 0; i < r->num_dma; i++) {
		if (r->dma[i].mapped && r->dma[i].iova == iova && r->dma[i].bytes == bytes) {
			r->dma[i].mapped = false;
			found = true;
		}
	}
	CHECK(found);
	r->unmaps++;
}

static void irq_changed(void *ctx, uint32_t index, uint32_t vector, int fd)
{
	struct rig *r = ctx;

	CHECK(index < MDL_VU_IRQS && vector < RIG_MSIX);
	if (r->irq_fd[index][vector] > 0)	/* what was lent must still be open now */
		CHECK(fcntl(r->irq_fd[index][vector], F_GETFD) >= 0);
	r->irq_fd[index][vector] = fd;
	r->irq_changes++;
}

static void reset(void *ctx)
{
	((struct rig *)ctx)->resets++;
}

static void connected(void *ctx, pid_t peer)
{
	((struct rig *)ctx)->connected++;
	((struct rig *)ctx)->peer = peer;
}

static void disconnected(void *ctx)
{
	((struct rig *)ctx)->disconnected++;
}

const struct mdl_vu_ops rig_ops = {
	.region_read = region_read, .region_write = region_write, .dma_map = dma_map, .dma_unmap = dma_unmap,
	.irq_changed = irq_changed, .reset = reset, .connected = connected, .disconnected = disconnected,
};

static const struct mdl_vu_area areas[] = { { 4096, 8192 }, { 32768, 4096 } };

void rig_start(struct rig *r)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	memset(r, 0, sizeof(*r));
	r->fd = -1;
	r->bar0 = calloc(1, RIG_BAR0_BYTES);
	snprintf(r->path, sizeof(r->path), "%.80s/vu.sock", getenv("TMPDIR"));
	strcpy(addr.sun_path, r->path);
	unlink(r->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(fd, 4));

	for (size_t i = 0; i < MDL_VU_REGIONS; i++)
		r->dev.region[i].fd = -1;
	r->dev.region[0] = (struct mdl_vu_region){ RIG_BAR0_BYTES, true, true, -1 };
	r->dev.region[2] = (struct mdl_vu_region){ RIG_BAR2_BYTES, true, true, rig_memfd(RIG_BAR2_BYTES + 8192), 8192 };
	r->dev.region[4] = (struct mdl_vu_region){ RIG_BAR4_BYTES, true, true, rig_memfd(RIG_BAR4_BYTES), 0, areas, 2 };
	r->dev.region[6] = (struct mdl_vu_region){ RIG_ROM_BYTES, true, false, -1 };
	r->dev.region[7] = (struct mdl_vu_region){ sizeof(r->config), true, true, -1 };
	r->dev.irq_count[VFIO_PCI_INTX_IRQ_INDEX] = 1;
	r->dev.irq_count[VFIO_PCI_MSI_IRQ_INDEX] = 4;
	r->dev.irq_count[VFIO_PCI_MSIX_IRQ_INDEX] = RIG_MSIX;
	r->dev.irq_count[VFIO_PCI_REQ_IRQ_INDEX] = 1;
	r->io[0] = (struct mdl_vu_ioeventfd){ 0, 0x1000, 4, rig_eventfd() };
	r->io[1] = (struct mdl_vu_ioeventfd){ 0, 0x1008, 8, rig_eventfd() };
	r->io[2] = (struct mdl_vu_ioeventfd){ 0, 0x1010, 0, r->io[0].fd };
	r->dev.ioeventfds = r->io;
	r->dev.num_ioeventfds = 3;
	r->dev.dma_max_regions = RIG_DMA_MAX;
	CHECK_EQ(mdl_vu_server_create(fd, &r->dev, &rig_ops, r, &r->s), 0);
}

void rig_stop(struct rig *r)
{
	mdl_vu_server_destroy(r->s);
	for (size_t i = 0; i < r->num_dma; i++)
		CHECK(!r->dma[i].mapped);
	mdl_close_fd(&r->fd);
	close(r->dev.region[2].fd);
	close(r->dev.region[4].fd);
	close(r->io[0].fd);
	close(r->io[1].fd);
	unlink(r->path);
	free(r->reply.payload);
	free(r->bar0);
}

int rig_connect(struct rig *r)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, r->path);
	CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	return fd;
}

const char rig_qemu_caps[] = "{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, "
			     "\"max_msg_fds\": 16, \"max_data_xfer_size\": 1048576, \"pgsizes\": 4096, "
			     "\"max_dma_maps\": 65535, \"write_multiple\": true}}";

void rig_hello_with(struct rig *r, const char *json)
{
	uint8_t buf[512] = { 0 };
	size_t len = json ? strlen(json) + 1 : 0;

	if (r->fd < 0)
		r->fd = rig_connect(r);
	if (json)
		memcpy(buf + 4, json, len);
	CHECK_EQ(rig_call(r, MDL_VU_VERSION, buf, 4 + len, NULL, 0), 0);
}

void rig_hello(struct rig *r)
{
	rig_hello_with(r, rig_qemu_caps);
}

void rig_pump(struct rig *r)
{
	struct pollfd p = { .fd = mdl_vu_server_fd(r->s), .events = POLLIN };

	for (int i = 0; i < 5000 && poll(&p, 1, 0) > 0; i++)
		CHECK_EQ(mdl_vu_server_process(r->s), 0);
	CHECK(poll(&p, 1, 0) == 0);	/* it came to rest: no busy loop */
}

void rig_send_raw(int fd, const void *data, size_t len, const int *fds, size_t nfds)
{
	union { struct cmsghdr h; char b[CMSG_SPACE(253 * sizeof(int))]; } control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds) {
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&control.h), fds, nfds * sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	CHECK_EQ(sendmsg(fd, &mh, MSG_NOSIGNAL), len);
}

#define FIRST_BYTES 16384

uint16_t rig_send(struct rig *r, uint16_t command, uint32_t flags, const void *payload, size_t len, const int *fds, size_t nfds)
{
	struct mdl_vu_hdr hdr = { .id = ++r->id, .command = command, .size = (uint32_t)(16 + len), .flags = flags };
	uint8_t *buf = malloc(sizeof(hdr) + len);

	memcpy(buf, &hdr, sizeof(hdr));
	if (len)
		memcpy(buf + sizeof(hdr), payload, len);
	/* What does not fit the socket at once goes bit by bit, the server taking turns. */
	rig_send_raw(r->fd, buf, mdl_min_u64(sizeof(hdr) + len, FIRST_BYTES), fds, nfds);
	for (size_t sent = FIRST_BYTES; sent < sizeof(hdr) + len;) {
		ssize_t n = send(r->fd, buf + sent, sizeof(hdr) + len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		CHECK(n > 0 || errno == EAGAIN);
		if (n > 0)
			sent += (size_t)n;
		else
			rig_pump(r);
	}
	free(buf);
	return r->id;
}

int rig_recv(struct rig *r)
{
	union { struct cmsghdr h; char b[CMSG_SPACE(64 * sizeof(int))]; } control;
	struct rig_reply *m = &r->reply;
	struct iovec iov = { &m->hdr, sizeof(m->hdr) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(r->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return -1;
	CHECK_EQ(n, sizeof(m->hdr));
	CHECK(!(mh.msg_flags & MSG_CTRUNC));
	while (m->nfds)	/* what the last reply brought, if the test left it */
		mdl_close_fd(&m->fds[--m->nfds]);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		memcpy(m->fds + m->nfds, CMSG_DATA(c), k * sizeof(int));
		m->nfds += k;
	}
	m->len = m->hdr.size - sizeof(m->hdr);
	free(m->payload);
	m->payload = malloc(m->len + 1);
	for (size_t got = 0; got < m->len; got += (size_t)n) {
		n = recv(r->fd, m->payload + got, m->len - got, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			rig_pump(r);
			n = 0;
			continue;
		}
		CHECK(n > 0);
	}
	return 1;
}

int rig_call(struct rig *r, uint16_t command, const void *payload, size_t len, const int *fds, size_t nfds)
{
	uint16_t id = rig_send(r, command, 0, payload, len, fds, nfds);

	rig_pump(r);
	CHECK_EQ(rig_recv(r), 1);
	CHECK_EQ(r->reply.hdr.id, id);
	CHECK_EQ(r->reply.hdr.command, command);
	CHECK_EQ(r->reply.hdr.flags & ~MDL_VU_ERROR, MDL_VU_TYPE_REPLY);
	if (!(r->reply.hdr.flags & MDL_VU_ERROR)) {
		CHECK_EQ(r->reply.hdr.error, 0);
		return 0;
	}
	CHECK(r->reply.hdr.error != 0);
	return (int)r->reply.hdr.error;
}

bool rig_alive(struct rig *r)
{
	struct mdl_vu_info info = { .argsz = 16 };

	return rig_call(r, MDL_VU_GET_INFO, &info, 16, NULL, 0) == 0 && r->reply.len == 16;
}

bool rig_closed(struct rig *r)
{
	int got;

	rig_pump(r);
	while ((got = rig_recv(r)) == 1)
		;
	return got < 0;
}

size_t rig_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

int rig_memfd(uint64_t bytes)
{
	int fd;

	CHECK_EQ(mdl_memfd_create("rig", bytes, &fd), 0);
	return fd;
}

int rig_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	CHECK(fd >= 0);
	return fd;
}

uint64_t rig_inode(int fd)
{
	struct stat st;

	CHECK(!fstat(fd, &st));
	return st.st_ino;
}

int rig_map(struct rig *r, uint64_t iova, uint64_t bytes, uint32_t flags, int fd, uint64_t offset)
{
	struct mdl_vu_dma_map_req req = { sizeof(req), flags, offset, iova, bytes };
	int ret = rig_call(r, MDL_VU_DMA_MAP, &req, sizeof(req), &fd, fd >= 0 ? 1 : 0);

	CHECK_EQ(r->reply.len, 0);
	return ret;
}

int rig_unmap(struct rig *r, uint64_t iova, uint64_t bytes, uint32_t flags)
{
	struct mdl_vu_dma_unmap_req req = { sizeof(req), flags, iova, bytes };
	int ret = rig_call(r, MDL_VU_DMA_UNMAP, &req, sizeof(req), NULL, 0);

	CHECK_EQ(r->reply.len, ret ? 0 : sizeof(req));
	if (!ret)
		CHECK(!memcmp(r->reply.payload, &req, sizeof(req)));
	return ret;
}

int rig_irqs(struct rig *r, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const void *bools, size_t len,
	     const int *fds, size_t nfds)
{
	struct vfio_irq_set set = { (uint32_t)(sizeof(set) + len), flags, index, start, count };
	uint8_t buf[sizeof(set) + 4096];
	int ret;

	memcpy(buf, &set, sizeof(set));
	if (len)
		memcpy(buf + sizeof(set), bools, len);
	ret = rig_call(r, MDL_VU_SET_IRQS, buf, sizeof(set) + len, fds, nfds);
	CHECK_EQ(r->reply.len, 0);
	return ret;
}
