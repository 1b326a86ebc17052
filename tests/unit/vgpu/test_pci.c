/* SPDX-License-Identifier: MIT */
/* Configuration space as a VMM and firmware use it: identity, BAR sizing, capabilities, reset. */
#include <linux/pci_regs.h>

#include "base/util.h"
#include "mock.h"
#include "tests/unit/check.h"

static uint32_t cfg(struct mock *m, uint32_t at, uint32_t bytes)
{
	uint32_t value = 0;

	mdl_vgpu_config_read(m->v, at, &value, bytes);
	return value;
}

static void put(struct mock *m, uint32_t at, uint32_t bytes, uint32_t value)
{
	mdl_vgpu_config_write(m->v, at, &value, bytes);
}

static void identity(void)
{
	uint8_t all[4096], one;
	struct mock m;

	mock_init(&m);
	CHECK_EQ(cfg(&m, PCI_VENDOR_ID, 4), MDL_HW_PCI_DEVICE << 16 | MDL_HW_PCI_VENDOR);
	CHECK_EQ(cfg(&m, PCI_CLASS_REVISION, 4), MDL_HW_PCI_CLASS << 8 | MDL_HW_PCI_REVISION);
	CHECK_EQ(cfg(&m, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_NORMAL);
	CHECK_EQ(cfg(&m, PCI_INTERRUPT_PIN, 1), 0);
	CHECK_EQ(cfg(&m, PCI_SUBSYSTEM_VENDOR_ID, 2), MDL_HW_PCI_VENDOR);
	/* All of it at once, and byte by byte, are the same; the extended part is empty. */
	mdl_vgpu_config_read(m.v, 0, all, sizeof(all));
	for (uint32_t i = 0; i < sizeof(all); i++) {
		mdl_vgpu_config_read(m.v, i, &one, 1);
		CHECK_EQ(one, all[i]);
		CHECK(i < 256 || one == 0);
	}
	memset(all, 0xff, sizeof(all));
	mdl_vgpu_config_write(m.v, 256, all, sizeof(all) - 256);
	CHECK_EQ(cfg(&m, 4092, 4), 0);
	mock_fini(&m);
}

/* As firmware does it: remember, write ones, read, write back. */
static uint64_t size_bar(struct mock *m, uint32_t bar, uint32_t *ret_flags)
{
	uint32_t at = PCI_BASE_ADDRESS_0 + 4 * bar, lo = cfg(m, at, 4), hi = UINT32_MAX;
	uint64_t size;

	*ret_flags = lo & 0xf;
	put(m, at, 4, UINT32_MAX);
	if (lo & PCI_BASE_ADDRESS_MEM_TYPE_64) {
		put(m, at + 4, 4, UINT32_MAX);
		hi = cfg(m, at + 4, 4);
	}
	size = ~((uint64_t)hi << 32 | (cfg(m, at, 4) & ~0xfu)) + 1;
	put(m, at, 4, lo);
	return size;
}

static void bars(void)
{
	const uint32_t mem64 = PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;
	struct mock m;
	uint32_t flags;

	mock_init(&m);
	CHECK_EQ(size_bar(&m, 0, &flags), 0x10000);
	CHECK_EQ(flags, 0);
	CHECK_EQ(cfg(&m, PCI_BASE_ADDRESS_1, 4), 0);
	put(&m, PCI_BASE_ADDRESS_1, 4, UINT32_MAX);
	CHECK_EQ(cfg(&m, PCI_BASE_ADDRESS_1, 4), 0);
	CHECK_EQ(size_bar(&m, 2, &flags), MOCK_VRAM);
	CHECK_EQ(flags, mem64);
	CHECK_EQ(size_bar(&m, 4, &flags), 8 * 4096); /* 5 channels, rounded up */
	CHECK_EQ(flags, mem64);
	for (uint32_t bar = 0; bar < 6; bar += 2)
		CHECK_EQ(mdl_vgpu_bar_bytes(m.v, bar), size_bar(&m, bar, &flags));
	CHECK_EQ(mdl_vgpu_bar_bytes(m.v, 1), 0);
	CHECK_EQ(mdl_vgpu_bar_bytes(m.v, 6), 0);
	/* An address is kept, byte writes included, and its low bits are not the guest's. */
	put(&m, PCI_BASE_ADDRESS_2, 4, 0xc1234567);
	put(&m, PCI_BASE_ADDRESS_3 + 1, 1, 0x12);
	CHECK_EQ(cfg(&m, PCI_BASE_ADDRESS_2, 4), 0xc1000000 | mem64);
	CHECK_EQ(cfg(&m, PCI_BASE_ADDRESS_3, 4), 0xffff12ff);
	put(&m, PCI_ROM_ADDRESS, 4, UINT32_MAX);
	CHECK_EQ(cfg(&m, PCI_ROM_ADDRESS, 4), 0);
	mock_fini(&m);
}

static void capabilities(void)
{
	uint32_t at, seen = 0, last = 0;
	struct mock m;

	mock_init(&m);
	CHECK(cfg(&m, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	for (at = cfg(&m, PCI_CAPABILITY_LIST, 1); at; at = cfg(&m, at + 1, 1)) {
		CHECK(at >= 0x40 && at % 4 == 0 && at > last && seen < 8);
		last = at;
		seen++;
		switch (cfg(&m, at, 1)) {
		case PCI_CAP_ID_PM:
			put(&m, at + PCI_PM_CTRL, 2, 0xffff);
			CHECK_EQ(cfg(&m, at + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET | 3);
			break;
		case PCI_CAP_ID_MSIX:
			CHECK_EQ((cfg(&m, at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1,
				 MDL_HW_MSIX_VECTORS);
			CHECK_EQ(cfg(&m, at + PCI_MSIX_TABLE, 4), 0xe000);
			CHECK_EQ(cfg(&m, at + PCI_MSIX_PBA, 4), 0xf000);
			put(&m, at + PCI_MSIX_FLAGS, 2, 0xffff);
			CHECK_EQ(cfg(&m, at + PCI_MSIX_FLAGS, 2),
				 0xc000 | (MDL_HW_MSIX_VECTORS - 1));
			break;
		case PCI_CAP_ID_EXP:
			CHECK_EQ(cfg(&m, at + PCI_EXP_FLAGS, 2), 2 | PCI_EXP_TYPE_ENDPOINT << 4);
			CHECK(cfg(&m, at + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
			CHECK(at + 0x3c <= 256);
			break;
		default:
			CHECK(!"known capability");
		}
	}
	CHECK_EQ(seen, 3);
	mock_fini(&m);
}

static void function_level_reset(void)
{
	uint32_t exp = 0;
	struct mock m;

	mock_init(&m);
	for (uint32_t at = cfg(&m, PCI_CAPABILITY_LIST, 1); at; at = cfg(&m, at + 1, 1))
		if (cfg(&m, at, 1) == PCI_CAP_ID_EXP)
			exp = at;
	put(&m, PCI_COMMAND, 2, 0xffff);
	CHECK_EQ(cfg(&m, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
						  PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
						  PCI_COMMAND_INTX_DISABLE);
	put(&m, PCI_BASE_ADDRESS_0, 4, 0xfe000000);
	mock_write(&m, MDL_REG_SCRATCH, 4, 7);
	mock_open_ctx(&m, 1);
	/* The register's reset leaves the PCI side alone, so the driver keeps its BARs. */
	mock_write(&m, MDL_REG_FUNC_CTRL, 4, MDL_CTRL_RESET);
	CHECK_EQ(mock_read(&m, MDL_REG_SCRATCH, 4), 0);
	CHECK_EQ(m.closes, 1);
	CHECK_EQ(cfg(&m, PCI_BASE_ADDRESS_0, 4), 0xfe000000);
	/* FLR resets both. Written as a word or as its upper byte; it reads zero. */
	for (int way = 0; way < 2; way++) {
		put(&m, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		mock_write(&m, MDL_REG_SCRATCH, 4, 7);
		if (way)
			put(&m, exp + PCI_EXP_DEVCTL + 1, 1, PCI_EXP_DEVCTL_BCR_FLR >> 8);
		else
			put(&m, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
		CHECK_EQ(mock_read(&m, MDL_REG_SCRATCH, 4), 0);
		CHECK_EQ(cfg(&m, PCI_COMMAND, 2), 0);
		CHECK_EQ(cfg(&m, exp + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
	}
	CHECK_EQ(cfg(&m, PCI_BASE_ADDRESS_0, 4), 0);
	put(&m, exp + PCI_EXP_DEVCTL, 2, 0x7fff);
	mock_fini(&m);
}

/* Whatever is written, what identifies the function stays. */
static void read_only_bits(void)
{
	struct mock_rng r = { 3 };
	uint8_t before[64], after[64];
	struct mock m;

	mock_init(&m);
	mdl_vgpu_config_read(m.v, 0, before, 64);
	for (int i = 0; i < 20000; i++) {
		uint32_t value = mock_random(&r);

		mdl_vgpu_config_write(m.v, mock_random(&r) % 4093, &value, 1 + mock_random(&r) % 4);
	}
	mdl_vgpu_config_read(m.v, 0, after, 64);
	for (uint32_t i = 0; i < 64; i++) {
		bool writable = i == 4 || i == 5 || i == PCI_CACHE_LINE_SIZE ||
				i == PCI_INTERRUPT_LINE ||
				(i >= PCI_BASE_ADDRESS_0 && i < PCI_BASE_ADDRESS_0 + 24);

		CHECK(writable || before[i] == after[i]);
	}
	mock_fini(&m);
}

static const struct check_case cases[] = {
	{ "identity", identity },
	{ "BAR sizing", bars },
	{ "capabilities", capabilities },
	{ "function level reset", function_level_reset },
	{ "read-only bits", read_only_bits },
};

CHECK_MAIN(cases)
