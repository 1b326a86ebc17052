/* SPDX-License-Identifier: MIT */
/* See raw.h. One thread. */
#include "raw.h"

#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "client.h"

void raw_write(struct raw *r, uint32_t offset, uint32_t width, uint64_t value)
{
	OK(mdl_vu_client_write(r->c, VFIO_PCI_BAR0_REGION_INDEX, offset, &value, width));
}

uint64_t raw_read(struct raw *r, uint32_t offset, uint32_t width)
{
	uint64_t value = 0;

	OK(mdl_vu_client_read(r->c, VFIO_PCI_BAR0_REGION_INDEX, offset, &value, width));
	return value;
}

void raw_nap(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

void raw_write_ctx(struct raw *r, uint32_t i, uint32_t reg, uint64_t value)
{
	uint32_t width = reg == MDL_REG_CTX_PT_ROOT || reg == MDL_REG_CTX_INV_VA ||
					 reg == MDL_REG_CTX_INV_BYTES
				 ? 8
				 : 4;

	raw_write(r, MDL_HW_CTX_BASE + i * MDL_HW_CTX_STRIDE + reg, width, value);
}

void raw_write_chan(struct raw *r, uint32_t i, uint32_t reg, uint64_t value)
{
	raw_write(r, MDL_HW_CHAN_BASE + i * MDL_HW_CHAN_STRIDE + reg,
		  reg == MDL_REG_CHAN_RING_VA ? 8 : 4, value);
}

static uint32_t wait_status(struct raw *r, uint32_t offset)
{
	uint64_t start = mdl_now_ns();
	uint32_t status;

	while ((status = (uint32_t)raw_read(r, offset, 4)) == MDL_STATUS_PENDING) {
		CHECK(mdl_now_ns() - start < RAW_WAIT_NS, "register %#x stays PENDING", offset);
		raw_nap();
	}
	return status;
}

uint32_t raw_ctx_status(struct raw *r, uint32_t i)
{
	return wait_status(r, MDL_HW_CTX_BASE + i * MDL_HW_CTX_STRIDE + MDL_REG_CTX_STATUS);
}

uint32_t raw_chan_status(struct raw *r, uint32_t i)
{
	return wait_status(r, MDL_HW_CHAN_BASE + i * MDL_HW_CHAN_STRIDE + MDL_REG_CHAN_STATUS);
}

static void *map_bar(struct raw *r, uint32_t index)
{
	struct mdl_vu_client_region region;
	void *map;

	OK(mdl_vu_client_region(r->c, index, &region));
	CHECK(region.mappable, "region %u", index);
	map = mmap(NULL, region.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
		   (off_t)region.fd_offset);
	CHECK(map != MAP_FAILED, "region %u", index);
	close(region.fd);
	return map;
}

void raw_map_ram(struct raw *r)
{
	OK(mdl_vu_client_dma_map(r->c, RAW_GPA, RAW_RAM_BYTES, true, r->ram_fd, 0, NULL));
}

/* Four levels of tables at `tables`, whose entries carry `where` (VRAM: 0, guest memory: MDL_PTE_SYSTEM and a base). */
void raw_make_tables(uint8_t *tables, uint64_t frame, uint64_t target)
{
	uint64_t(*t)[MDL_PT_ENTRIES] = (void *)tables;
	uint64_t va = MDL_WINDOW_BASE;

	memset(t, 0, 5 * 4096);
	t[0][va >> 39 & 511] = (frame + 0x1000) | target | MDL_PTE_VALID;
	t[1][va >> 30 & 511] = (frame + 0x2000) | target | MDL_PTE_VALID;
	t[2][va >> 21 & 511] = (frame + 0x3000) | target | MDL_PTE_VALID;
	t[2][RAW_RAM_VA >> 21 & 511] = (frame + 0x4000) | target | MDL_PTE_VALID;
	t[3][0] = RAW_RING_AT | MDL_PTE_VALID | MDL_PTE_WRITE;
	t[3][1] = RAW_SCRATCH_AT | MDL_PTE_VALID | MDL_PTE_WRITE;
	for (uint64_t i = 0; i < MDL_PT_ENTRIES; i++)
		t[4][i] = (RAW_GPA + (4ull << 20) + i * 4096) | MDL_PTE_VALID | MDL_PTE_WRITE |
			  MDL_PTE_SYSTEM;
}

void raw_connect(struct raw *r, const char *socket)
{
	OK(mdl_vu_client_connect(socket, 20000, &r->c));
	raw_map_ram(r);
	OK(mdl_vu_client_reset(r->c));
	r->vram = map_bar(r, VFIO_PCI_BAR2_REGION_INDEX);
	r->user = map_bar(r, VFIO_PCI_BAR4_REGION_INDEX);
}

void raw_init(struct raw *r, const char *socket, bool sealed)
{
	if (sealed) {
		OK(mdl_memfd_create("guest", RAW_RAM_BYTES, &r->ram_fd));
	} else {
		r->ram_fd = memfd_create("guest", MFD_CLOEXEC);
		CHECK(r->ram_fd >= 0 && ftruncate(r->ram_fd, RAW_RAM_BYTES) == 0, "memfd");
	}
	r->ram = mmap(NULL, RAW_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, r->ram_fd, 0);
	CHECK(r->ram != MAP_FAILED, "guest memory");
	raw_connect(r, socket);
}

void raw_start(struct raw *r, uint32_t i, uint64_t root)
{
	raw_write_ctx(r, i, MDL_REG_CTX_PT_ROOT, root | MDL_PTE_VALID);
	raw_write_ctx(r, i, MDL_REG_CTX_CTRL, MDL_CTRL_ENABLE);
	CHECK(raw_ctx_status(r, i) == MDL_STATUS_READY, "context %u", i);
	raw_write_chan(r, i, MDL_REG_CHAN_CONTEXT, i);
	raw_write_chan(r, i, MDL_REG_CHAN_RING_LOG2, RAW_RING_LOG2);
	raw_write_chan(r, i, MDL_REG_CHAN_RING_VA, MDL_WINDOW_BASE);
	raw_write_chan(r, i, MDL_REG_CHAN_VECTOR, i + 1);
	raw_write_chan(r, i, MDL_REG_CHAN_CTRL, MDL_CTRL_ENABLE);
	CHECK(raw_chan_status(r, i) == MDL_STATUS_READY, "channel %u", i);
	r->put = 0;
}

void raw_submit(struct raw *r, const struct mdl_hw_packet *p)
{
	struct mdl_hw_packet *ring = (void *)(r->vram + RAW_RING_AT);

	ring[r->put % (1u << RAW_RING_LOG2)] = *p;
	atomic_thread_fence(memory_order_release);
	r->user->put = ++r->put;
	atomic_thread_fence(memory_order_seq_cst);
	if (r->user->doorbell_wanted)
		raw_write(r, MDL_HW_DOORBELL_BASE, 4, 1);
}

uint32_t raw_finish(struct raw *r)
{
	uint64_t start = mdl_now_ns();

	while (r->user->get != r->put) {
		if (r->user->error)
			return r->user->error;
		CHECK(mdl_now_ns() - start < RAW_WAIT_NS, "get stays %llu",
		      (unsigned long long)r->user->get);
		raw_nap();
	}
	return 0;
}
