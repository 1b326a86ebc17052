/* SPDX-License-Identifier: MIT */
/* Roles below the driver library, which take memory away while the GPU uses it. */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "raw.h"

static struct mdl_hw_packet fill_ram(uint64_t pattern)
{
	return (struct mdl_hw_packet) {
		.opcode = MDL_OP_FILL,
		.fill = { .dst_va = RAW_RAM_VA,
			  .bytes = MDL_HUGE_BYTES,
			  .pattern = pattern,
			  .pattern_bytes = 8 },
	};
}

/* What the GPU sees of guest memory at window + 2 MiB lies 4 MiB into it. */
static uint64_t *gpu_ram(const struct raw *r)
{
	return (uint64_t *)(r->ram + RAW_RAM_AT);
}

/* Unmaps guest memory while the GPU writes it: complete when acknowledged, a fault afterwards, and all well again. */
int role_dma(int argc, char **argv)
{
	struct raw r = { 0 };
	struct mdl_hw_packet p;
	uint64_t *ram, start, va;
	uint32_t error;

	raw_init(&r, argv[0], true);
	ram = gpu_ram(&r);
	for (int round = 0; round < 3; round++) {
		raw_make_tables(r.vram + RAW_TABLES_AT, RAW_TABLES_AT, 0);
		raw_start(&r, 0, RAW_TABLES_AT);
		p = fill_ram(0x1111111111111111ull);
		raw_submit(&r, &p);
		CHECK(raw_finish(&r) == 0, "error %u", r.user->error);
		CHECK(ram[0] == p.fill.pattern && ram[MDL_HUGE_BYTES / 8 - 1] == p.fill.pattern,
		      "fill");
		/* Fills keep coming while the memory goes. */
		for (uint64_t i = 0; i < (1 << RAW_RING_LOG2) - 1; i++) {
			p = fill_ram(0x2222222222222200ull + i);
			raw_submit(&r, &p);
		}
		OK(mdl_vu_client_dma_unmap(r.c, RAW_GPA, RAW_RAM_BYTES));
		for (uint64_t i = 0; i < MDL_HUGE_BYTES / 8; i++)
			ram[i] = 0x3333333333333333ull;
		p = fill_ram(0x4444444444444444ull);
		raw_submit(&r, &p);
		error = raw_finish(&r);
		CHECK(error == MDL_ERR_PAGE_FAULT, "error %u", error);
		start = mdl_now_ns();
		while (raw_read(&r, MDL_HW_CTX_BASE + MDL_REG_CTX_STATUS, 4) != MDL_STATUS_FAULTED)
			CHECK(mdl_now_ns() - start < LONG, "context does not fault");
		va = raw_read(&r, MDL_HW_CTX_BASE + MDL_REG_CTX_FAULT_VA, 8);
		CHECK(mdl_range_in(va, 1, RAW_RAM_VA, MDL_HUGE_BYTES), "fault at %#llx",
		      (unsigned long long)va);
		for (uint64_t i = 0; i < MDL_HUGE_BYTES / 8; i++)
			CHECK(ram[i] == 0x3333333333333333ull,
			      "written after the unmap: word %llu is %#llx", (unsigned long long)i,
			      (unsigned long long)ram[i]);
		raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_RESET);
		CHECK(raw_ctx_status(&r, 0) == MDL_STATUS_OFF, "not OFF");
		raw_write_chan(&r, 0, MDL_REG_CHAN_CTRL, MDL_CTRL_RESET);
		CHECK(raw_chan_status(&r, 0) == MDL_STATUS_OFF, "not OFF");
		raw_map_ram(&r);
	}
	mdl_vu_client_close(r.c);
	say("ok");
	return 0;
}

/* Page tables in guest memory whose file is made shorter: the device reads them at the invalidate. */
int role_shrink(int argc, char **argv)
{
	struct raw r = { 0 };
	uint64_t value = 1;
	int err = 0;

	raw_init(&r, argv[0], false);
	raw_make_tables(r.ram, RAW_GPA, MDL_PTE_SYSTEM);
	raw_start(&r, 0, RAW_GPA | MDL_PTE_SYSTEM);
	CHECK(ftruncate(r.ram_fd, 0) == 0, "ftruncate");
	/* Thrown out at the next access, or at the one that follows it. */
	for (int i = 0; i < 100 && !err; i++) {
		err = mdl_vu_client_write(r.c, VFIO_PCI_BAR0_REGION_INDEX,
					  MDL_HW_CTX_BASE + MDL_REG_CTX_INVALIDATE, &value, 4);
		raw_nap();
	}
	CHECK(err == -EPIPE || err == -ECONNRESET, "not disconnected: %d", err);
	mdl_vu_client_close(r.c);
	say("ok");
	return 0;
}
