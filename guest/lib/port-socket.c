/* SPDX-License-Identifier: MIT */
/*
 * Port of host programs: a vfio-user client plays the VM. Registers are messages, BAR2 and BAR4 are
 * mapped, interrupts are eventfds, doorbells eventfds where the server offers them. Device memory
 * is made of chunks, each a memfd announced with DMA_MAP at a bus address above 4 GiB and carved by
 * a range allocator; freed pages are given back to the kernel, which also zeroes them. Owned by one
 * thread.
 */
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"
#include "hw/medley_hw.h"
#include "space.h"
#include "vfio-user/client.h"

#define REQUEST_MS  15000 /* opening a context on a slow machine takes seconds */
#define CHUNK_BYTES (64ull << 20)
#define BUS_BASE    (4ull << 30)

struct chunk {
	struct chunk *next;
	struct mdl_space space; /* of bus addresses */
	uint64_t base, bytes;
	void *ptr;
};

struct socket_port {
	struct mdl_port port;
	struct mdl_vu_client *client;
	struct chunk *chunks;
	uint64_t next_base;
	int vector[MDL_HW_MSIX_VECTORS];
	int bell[MDL_HW_CHAN_MAX]; /* -1: by message */
};

static struct socket_port *self(struct mdl_port *p)
{
	return (struct socket_port *)p;
}

/* Maps a region that the server offers as a whole. */
static int map_bar(struct socket_port *s, uint32_t index, void **ret_ptr, uint64_t *ret_bytes)
{
	struct mdl_vu_client_region region = { .fd = -1 };
	void *ptr;
	int r = mdl_vu_client_region(s->client, index, &region);

	if (r < 0)
		return r;
	if (!region.mappable || region.area[0].offset || region.area[0].bytes != region.bytes) {
		mdl_close_fd(&region.fd);
		return -ENODEV;
	}
	ptr = mmap(NULL, region.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
		   (off_t)region.fd_offset);
	r = ptr == MAP_FAILED ? -errno : 0;
	mdl_close_fd(&region.fd);
	if (r < 0)
		return r;
	*ret_ptr = ptr;
	*ret_bytes = region.bytes;
	return 0;
}

static int set_up_interrupts(struct socket_port *s)
{
	uint32_t count = 0;
	int r = mdl_vu_client_irq_count(s->client, VFIO_PCI_MSIX_IRQ_INDEX, &count);

	if (r < 0 || !count)
		return r;
	count = (uint32_t)mdl_min_u64(count, MDL_HW_MSIX_VECTORS);
	for (uint32_t i = 0; i < count; i++) {
		s->vector[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (s->vector[i] < 0)
			return -errno;
	}
	r = mdl_vu_client_set_irqs(s->client, VFIO_PCI_MSIX_IRQ_INDEX, 0, count, s->vector);
	if (r == 0)
		s->port.num_vectors = count;
	return r;
}

/* Doorbells as eventfds; a server without them is fine. */
static int set_up_doorbells(struct socket_port *s)
{
	mdl_autofree struct mdl_vu_client_ioeventfd *fds = calloc(MDL_HW_CHAN_MAX, sizeof(*fds));
	size_t n = 0;

	if (!fds)
		return -ENOMEM;
	if (mdl_vu_client_io_fds(s->client, VFIO_PCI_BAR0_REGION_INDEX, fds, MDL_HW_CHAN_MAX, &n) <
	    0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t chan = (fds[i].offset - MDL_HW_DOORBELL_BASE) / 4;

		if (fds[i].offset >= MDL_HW_DOORBELL_BASE && chan < MDL_HW_CHAN_MAX &&
		    s->bell[chan] < 0)
			s->bell[chan] = fds[i].fd;
		else
			mdl_close_fd(&fds[i].fd);
	}
	return 0;
}

static void socket_close(struct mdl_port *p)
{
	struct socket_port *s = self(p);

	/* First the connection: the device lets go of the chunks when it ends. */
	mdl_vu_client_close(s->client);
	while (s->chunks) {
		struct chunk *c = s->chunks;

		s->chunks = c->next;
		munmap(c->ptr, c->bytes);
		mdl_space_fini(&c->space);
		free(c);
	}
	if (p->vram)
		munmap(p->vram, p->vram_bytes);
	if (p->user)
		munmap(p->user, p->user_bytes);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(s->vector); i++)
		mdl_close_fd(&s->vector[i]);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(s->bell); i++)
		mdl_close_fd(&s->bell[i]);
	free(s);
}

static int set_up(struct socket_port *s, const char *path)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, id[2] = { 0, 0 };
	int r = mdl_vu_client_connect(path, REQUEST_MS, &s->client);

	if (r < 0)
		return r;
	r = mdl_vu_client_read(s->client, VFIO_PCI_CONFIG_REGION_INDEX, PCI_VENDOR_ID, id,
			       sizeof(id));
	if (r < 0)
		return r;
	if (id[0] != MDL_HW_PCI_VENDOR || id[1] != MDL_HW_PCI_DEVICE)
		return -ENODEV;
	if ((r = mdl_vu_client_write(s->client, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command,
				     sizeof(command))) < 0 ||
	    (r = map_bar(s, VFIO_PCI_BAR2_REGION_INDEX, &s->port.vram, &s->port.vram_bytes)) < 0 ||
	    (r = map_bar(s, VFIO_PCI_BAR4_REGION_INDEX, &s->port.user, &s->port.user_bytes)) < 0 ||
	    (r = set_up_interrupts(s)) < 0)
		return r;
	return set_up_doorbells(s);
}

static int socket_open(const char *path, struct mdl_port **ret_port)
{
	struct socket_port *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->port.ops = &mdl_port_socket;
	s->next_base = BUS_BASE;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(s->vector); i++)
		s->vector[i] = -1;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(s->bell); i++)
		s->bell[i] = -1;
	r = set_up(s, path);
	if (r < 0) {
		socket_close(&s->port);
		return r;
	}
	*ret_port = &s->port;
	return 0;
}

static int socket_read(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t *ret_value)
{
	uint64_t v = 0; /* little endian, as the host is */
	int r = mdl_vu_client_read(self(p)->client, VFIO_PCI_BAR0_REGION_INDEX, offset, &v, width);

	if (r == 0)
		*ret_value = v;
	return r;
}

static int socket_write(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t value)
{
	return mdl_vu_client_write(self(p)->client, VFIO_PCI_BAR0_REGION_INDEX, offset, &value,
				   width);
}

static int socket_doorbell(struct mdl_port *p, uint32_t chan)
{
	if (self(p)->bell[chan] >= 0) {
		mdl_eventfd_signal(self(p)->bell[chan]); /* full: it is awake */
		return 0;
	}
	return socket_write(p, MDL_HW_DOORBELL_BASE + 4 * chan, 4, 1);
}

static int chunk_new(struct socket_port *s, uint64_t bytes, struct chunk **ret_chunk)
{
	mdl_autofree struct chunk *c = calloc(1, sizeof(*c));
	mdl_autofd fd = -1;
	int r;

	if (!c)
		return -ENOMEM;
	c->base = s->next_base;
	c->bytes = bytes;
	r = mdl_memfd_create("medley-dma", bytes, &fd);
	if (r < 0)
		return r;
	c->ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c->ptr == MAP_FAILED)
		return -errno;
	r = mdl_space_init(&c->space, c->base, bytes);
	if (r == 0)
		r = mdl_vu_client_dma_map(s->client, c->base, bytes, true, fd, 0, c->ptr);
	if (r < 0) {
		mdl_space_fini(&c->space);
		munmap(c->ptr, bytes);
		return r;
	}
	s->next_base += bytes;
	c->next = s->chunks;
	s->chunks = c;
	*ret_chunk = mdl_take_ptr(c);
	return 0;
}

static int chunk_alloc(struct chunk *c, uint64_t bytes, struct mdl_dma *ret_dma)
{
	struct mdl_block *b;
	int r = mdl_space_alloc(&c->space, bytes,
				bytes >= MDL_HUGE_BYTES ? MDL_HUGE_BYTES : MDL_PAGE_BYTES,
				bytes < MDL_HUGE_BYTES, &b);

	if (r < 0)
		return r;
	*ret_dma = (struct mdl_dma) { .ptr = (uint8_t *)c->ptr + (b->start - c->base),
				      .bytes = bytes,
				      .base = b->start,
				      .priv = b };
	return 0;
}

static int socket_dma_alloc(struct mdl_port *p, uint64_t bytes, struct mdl_dma *ret_dma)
{
	struct socket_port *s = self(p);
	struct chunk *c;
	int r;

	for (c = s->chunks; c; c = c->next) {
		r = chunk_alloc(c, bytes, ret_dma);
		if (r != -ENOSPC)
			return r;
	}
	r = chunk_new(s, mdl_align_up(mdl_max_u64(bytes, CHUNK_BYTES), MDL_HUGE_BYTES), &c);
	return r < 0 ? r : chunk_alloc(c, bytes, ret_dma);
}

static void socket_dma_free(struct mdl_port *p, struct mdl_dma *dma)
{
	for (struct chunk *c = self(p)->chunks; c; c = c->next) {
		if (!mdl_range_in(dma->base, dma->bytes, c->base, c->bytes))
			continue;
		if (madvise(dma->ptr, dma->bytes, MADV_REMOVE) < 0)
			memset(dma->ptr, 0, dma->bytes);
		mdl_space_free(&c->space, dma->priv);
		break;
	}
	memset(dma, 0, sizeof(*dma));
}

static void socket_irq_clear(struct mdl_port *p, uint32_t mask)
{
	for (uint32_t i = 0; i < p->num_vectors; i++) {
		if (mask >> i & 1)
			mdl_eventfd_take(self(p)->vector[i]);
	}
}

static int socket_irq_wait(struct mdl_port *p, uint32_t mask, uint64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / MDL_NS_PER_S),
			       .tv_nsec = (long)(timeout_ns % MDL_NS_PER_S) };
	struct pollfd fds[MDL_HW_MSIX_VECTORS + 1] = {
		{ .fd = mdl_vu_client_fd(self(p)->client), .events = POLLIN },
	};
	nfds_t n = 1;

	for (uint32_t i = 0; i < p->num_vectors; i++) {
		if (mask >> i & 1)
			fds[n++] = (struct pollfd) { .fd = self(p)->vector[i], .events = POLLIN };
	}
	if (ppoll(fds, n, &ts, NULL) < 0)
		return errno == EINTR ? 0 : -errno;
	/* The device wants something of our memory, or is gone. */
	return fds[0].revents ? mdl_vu_client_process(self(p)->client) : 0;
}

static uint64_t socket_now(struct mdl_port *p)
{
	return mdl_now_ns();
}

static void socket_sleep(struct mdl_port *p, uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / MDL_NS_PER_S),
			       .tv_nsec = (long)(ns % MDL_NS_PER_S) };

	nanosleep(&ts, NULL);
}

const struct mdl_port_ops mdl_port_socket = {
	.scheme = "socket",
	.open = socket_open,
	.close = socket_close,
	.read = socket_read,
	.write = socket_write,
	.doorbell = socket_doorbell,
	.dma_alloc = socket_dma_alloc,
	.dma_free = socket_dma_free,
	.irq_clear = socket_irq_clear,
	.irq_wait = socket_irq_wait,
	.now_ns = socket_now,
	.sleep_ns = socket_sleep,
};
