/* SPDX-License-Identifier: MIT */
/*
 * The toy device's server: a process of its own on lib/vfio-user/server.h, so that medley-vm is
 * tested against a real peer whose every register is known. Ends when it is told to, when its
 * parent ends, or when asked by the guest (TOY_DIE).
 */
#include "tests/micro/toy-server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "base/fd.h"
#include "base/util.h"
#include "tests/micro/toy.h"
#include "tests/unit/check.h"
#include "vfio-user/server.h"

#define MSIX_CAP 0x48

struct toy {
	struct mdl_vu_server *server;
	uint8_t config[256];
	uint8_t scratch[8];
	uint8_t *bar2, *bar4;
	int bar2_fd, bar4_fd, bell;
	uint64_t rings, traps;
	uint64_t later_ns; /* when to raise vector 0; 0: not */
	uint8_t *ram;
	uint64_t ram_iova, ram_bytes;
	enum toy_fault fault;
};

static void put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static void make_config(struct toy *t)
{
	uint8_t *c = t->config;

	put16(c + PCI_VENDOR_ID, TOY_VENDOR);
	put16(c + PCI_DEVICE_ID, TOY_DEVICE);
	put16(c + PCI_STATUS, PCI_STATUS_CAP_LIST);
	c[PCI_CLASS_REVISION + 3] = TOY_CLASS >> 16;
	c[PCI_BASE_ADDRESS_2] = PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;
	c[PCI_BASE_ADDRESS_4] = PCI_BASE_ADDRESS_MEM_TYPE_64;
	/* A capability that is not MSI-X comes first; in one faulty mode it points at itself. */
	c[PCI_CAPABILITY_LIST] = 0x40;
	c[0x40] = PCI_CAP_ID_VNDR;
	c[0x41] = t->fault == TOY_CAP_LOOP ? 0x40 : MSIX_CAP;
	c[MSIX_CAP] = PCI_CAP_ID_MSIX;
	put16(c + MSIX_CAP + PCI_MSIX_FLAGS, TOY_VECTORS - 1);
}

static int guest_add(struct toy *t, uint64_t addr)
{
	uint64_t v;

	if (!t->ram || !mdl_range_in(addr, 8, t->ram_iova, t->ram_bytes))
		return -EFAULT;
	memcpy(&v, t->ram + (addr - t->ram_iova), 8);
	v++;
	memcpy(t->ram + (addr - t->ram_iova), &v, 8);
	return 0;
}

static void dma_done(void *arg, int error, const void *data, uint32_t len)
{
}

static int read_reg(struct toy *t, uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t v = 0;

	if (mdl_range_in(offset, count, TOY_SCRATCH, 8)) {
		memcpy(data, t->scratch + offset - TOY_SCRATCH, count);
		return 0;
	}
	if (count > 8)
		return -EINVAL;
	switch (offset) {
	case TOY_ID:
		v = TOY_ID_VALUE;
		break;
	case TOY_COMMAND:
		memcpy(&v, t->config + PCI_COMMAND, 2);
		break;
	case TOY_PEEK:
		memcpy(&v, t->bar2 + TOY_BAR2_BYTES - 8, 8);
		break;
	case TOY_PEEK4:
		memcpy(&v, t->bar4 + 0x1000, 4);
		break;
	case TOY_DOORBELL_TRAPS:
		v = t->traps;
		break;
	case TOY_RINGS:
		t->rings += mdl_eventfd_take(t->bell);
		v = t->rings;
		break;
	default:
		return -EIO;
	}
	memcpy(data, &v, count);
	return 0;
}

static int write_reg(struct toy *t, uint64_t offset, const uint8_t *data, uint32_t count)
{
	static const uint64_t good = 0x600d;
	uint64_t v = 0;

	if (mdl_range_in(offset, count, TOY_SCRATCH, 8)) {
		memcpy(t->scratch + offset - TOY_SCRATCH, data, count);
		return 0;
	}
	memcpy(&v, data, count < 8 ? count : 8);
	switch (offset) {
	case TOY_IRQ:
		mdl_vu_irq_raise(t->server, VFIO_PCI_MSIX_IRQ_INDEX, (uint32_t)v);
		return 0;
	case TOY_IRQ_ALL:
		for (uint32_t i = 0; i < TOY_VECTORS; i++)
			mdl_vu_irq_raise(t->server, VFIO_PCI_MSIX_IRQ_INDEX, i);
		return 0;
	case TOY_IRQ_LATER_NS:
		t->later_ns = mdl_now_ns() + v;
		return 0;
	case TOY_DMA:
		return guest_add(t, v);
	case TOY_DMA_MESSAGE:
		return mdl_vu_dma_write(t->server, v, &good, sizeof(good), dma_done, t);
	case TOY_DOORBELL:
		t->traps++;
		return 0;
	case TOY_DIE:
		_exit(0);
	default:
		return -EIO;
	}
}

static int region_read(void *ctx, uint32_t region, uint64_t offset, void *data, uint32_t count)
{
	struct toy *t = ctx;
	uint32_t trapped = TOY_BAR4_TRAPPED;

	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		memcpy(data, t->config + offset, count);
		return 0;
	}
	if (region == 0)
		return read_reg(t, offset, data, count);
	memcpy(data, &trapped, count < 4 ? count : 4);
	return 0;
}

/* BAR registers keep their type bits, as hardware does. */
static int region_write(void *ctx, uint32_t region, uint64_t offset, const void *data,
			uint32_t count)
{
	struct toy *t = ctx;
	const uint8_t *in = data;

	if (region == 0)
		return write_reg(t, offset, data, count);
	for (uint32_t i = 0; region == VFIO_PCI_CONFIG_REGION_INDEX && i < count; i++) {
		uint64_t at = offset + i;

		if ((at >= PCI_BASE_ADDRESS_0 && at < PCI_BASE_ADDRESS_0 + 24 && (at & 3)) ||
		    at == PCI_COMMAND || at == PCI_COMMAND + 1 ||
		    at == MSIX_CAP + PCI_MSIX_FLAGS + 1)
			t->config[at] = in[i];
	}
	return 0;
}

static int dma_map(void *ctx, const struct mdl_vu_dma *dma)
{
	struct toy *t = ctx;
	void *p;

	if (dma->fd < 0 || t->ram)
		return -EINVAL;
	p = mmap(NULL, dma->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dma->fd,
		 (off_t)dma->fd_offset);
	if (p == MAP_FAILED)
		return -errno;
	t->ram = p;
	t->ram_iova = dma->iova;
	t->ram_bytes = dma->bytes;
	return 0;
}

static void dma_unmap(void *ctx, uint64_t iova, uint64_t bytes)
{
	struct toy *t = ctx;

	if (t->ram)
		munmap(t->ram, t->ram_bytes);
	t->ram = NULL;
}

static void reset(void *ctx)
{
}

/*
 * Interrupts asked for with TOY_IRQ_LATER_NS: within the last 100 us of the delay it polls, for the
 * tests aim at single microseconds.
 */
static void loop(struct toy *t)
{
	for (;;) {
		struct pollfd p = { .fd = mdl_vu_server_fd(t->server), .events = POLLIN };
		struct timespec wait = { 0 }, *limit = NULL;
		uint64_t now = mdl_now_ns(), stamp;

		if (t->later_ns) {
			uint64_t left = t->later_ns > now + 100000 ? t->later_ns - now - 100000 : 0;

			wait.tv_nsec = (long)mdl_min_u64(left, 100000000);
			limit = &wait;
		}
		if (ppoll(&p, 1, limit, NULL) > 0)
			CHECK(mdl_vu_server_process(t->server) == 0);
		stamp = mdl_now_ns();
		if (t->later_ns && stamp >= t->later_ns) {
			t->later_ns = 0;
			memcpy(t->bar2 + TOY_STAMP, &stamp, sizeof(stamp));
			mdl_vu_irq_raise(t->server, VFIO_PCI_MSIX_IRQ_INDEX, 0);
		}
	}
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && strlen(path) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, path);
	CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 4) == 0);
	return fd;
}

static void serve(int listen_fd, enum toy_fault fault)
{
	static struct mdl_vu_area area4 = { .offset = 0x1000, .bytes = 0x1000 };
	static struct mdl_vu_ioeventfd bell = { .region = 0, .offset = TOY_DOORBELL, .bytes = 4 };
	static const struct mdl_vu_ops ops = {
		.region_read = region_read,
		.region_write = region_write,
		.dma_map = dma_map,
		.dma_unmap = dma_unmap,
		.reset = reset,
	};
	static struct toy t;
	uint64_t last = TOY_BAR2_LAST;
	struct mdl_vu_device dev = {
		.irq_count[VFIO_PCI_MSIX_IRQ_INDEX] = TOY_VECTORS,
		.ioeventfds = &bell,
		.num_ioeventfds = 1,
	};

	t.fault = fault;
	make_config(&t);
	/* A file shorter than the BAR would be a SIGBUS in whoever trusts it. */
	CHECK(mdl_memfd_create("toy-bar2", fault == TOY_SHORT_FILE ? 4096 : TOY_BAR2_BYTES,
			       &t.bar2_fd) == 0);
	CHECK(mdl_memfd_create("toy-bar4", TOY_BAR4_BYTES, &t.bar4_fd) == 0);
	t.bar2 = mmap(NULL, TOY_BAR2_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, t.bar2_fd, 0);
	t.bar4 = mmap(NULL, TOY_BAR4_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, t.bar4_fd, 0);
	CHECK(t.bar2 != MAP_FAILED && t.bar4 != MAP_FAILED);
	if (fault != TOY_SHORT_FILE)
		memcpy(t.bar2 + TOY_BAR2_BYTES - 8, &last, sizeof(last));
	bell.fd = t.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (int i = 0; i < MDL_VU_REGIONS; i++)
		dev.region[i].fd = -1;
	dev.region[0] = (struct mdl_vu_region) {
		.bytes = TOY_BAR0_BYTES, .read = true, .write = true, .fd = -1
	};
	dev.region[2] = (struct mdl_vu_region) {
		.bytes = TOY_BAR2_BYTES, .read = true, .write = true, .fd = t.bar2_fd
	};
	dev.region[4] = (struct mdl_vu_region) { .bytes = TOY_BAR4_BYTES,
						 .read = true,
						 .write = true,
						 .fd = t.bar4_fd,
						 .areas = &area4,
						 .num_areas = 1 };
	dev.region[VFIO_PCI_CONFIG_REGION_INDEX] = (struct mdl_vu_region) {
		.bytes = sizeof(t.config), .read = true, .write = true, .fd = -1
	};
	CHECK(mdl_vu_server_create(listen_fd, &dev, &ops, &t, &t.server) == 0);
	loop(&t);
}

pid_t toy_start(const char *path, enum toy_fault fault)
{
	int listen_fd = listen_at(path);
	pid_t parent = getpid(), pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			serve(listen_fd, fault);
		_exit(1);
	}
	close(listen_fd);
	return pid;
}

void toy_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
