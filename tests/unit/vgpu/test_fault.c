/* SPDX-License-Identifier: MIT */
/* The fault ring: entries, wrapping, full, off, wild get, bad address. */
#include "base/util.h"
#include "mock.h"
#include "tests/unit/check.h"

/* One fault: an invalid ring at ENABLE. Its va tells one from another. */
static void one_fault(struct mock *m, uint64_t id)
{
	mock_write(m, mock_chan_reg(3, CTRL), 4, MDL_CTRL_RESET);
	mock_write(m, mock_chan_reg(3, RING_VA), 8, id * 64);
	mock_write(m, mock_chan_reg(3, CTRL), 4, MDL_CTRL_ENABLE);
}

static void ring_on(struct mock *m, uint64_t gpa, uint32_t log2)
{
	mock_write(m, MDL_REG_FAULT_BASE, 8, gpa);
	mock_write(m, MDL_REG_FAULT_LOG2, 4, log2);
}

static uint32_t reg(struct mock *m, uint32_t offset)
{
	return (uint32_t)mock_read(m, offset, 4);
}

static void entries_and_wrap(void)
{
	struct mock m;
	const struct mdl_hw_fault *ring;

	mock_init(&m);
	ring = mock_guest_page(&m, 0x100000);
	ring_on(&m, 0x100000, 2);
	for (uint64_t i = 0; i < 10; i++) {
		m.now = 5000 + i;
		one_fault(&m, i);
		CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), i + 1);
		CHECK_EQ(ring[i % 4].va, i * 64);
		CHECK_EQ(ring[i % 4].error, MDL_ERR_CONTEXT_LOST);
		CHECK_EQ(ring[i % 4].context, 0);
		CHECK_EQ(ring[i % 4].channel, 3);
		CHECK_EQ(ring[i % 4].time_ns, 4000 + i);
		CHECK_EQ(m.irqs[0], i + 1);
		mock_write(&m, MDL_REG_FAULT_GET, 4, i + 1);
	}
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 0);
	mock_fini(&m);
}

static void full_and_off(void)
{
	struct mock m;
	const struct mdl_hw_fault *ring;

	mock_init(&m);
	ring = mock_guest_page(&m, 0x100000);
	one_fault(&m, 1); /* off */
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 1);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), 0);
	CHECK_EQ(m.irqs[0], 1); /* raised all the same */
	ring_on(&m, 0x100000, 1);
	for (uint64_t i = 0; i < 5; i++)
		one_fault(&m, 10 + i);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), 2);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 4);
	CHECK_EQ(ring[0].va, 10 * 64);
	CHECK_EQ(ring[1].va, 11 * 64);
	CHECK_EQ(ring[2].va, 0); /* nothing behind the ring */
	mock_write(&m, MDL_REG_FAULT_GET, 4, 1);
	one_fault(&m, 20);
	CHECK_EQ(ring[0].va, 20 * 64);
	/* A wild get is a full ring, not a wild write. */
	mock_write(&m, MDL_REG_FAULT_GET, 4, 1000);
	one_fault(&m, 21);
	mock_write(&m, MDL_REG_FAULT_GET, 4, 0);
	one_fault(&m, 22);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), 3);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 6);
	/* A new size begins a new ring. */
	mock_write(&m, MDL_REG_FAULT_GET, 4, 2);
	ring_on(&m, 0x100000, 3);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), 0);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_GET), 0);
	one_fault(&m, 30);
	CHECK_EQ(ring[0].va, 30 * 64);
	ring_on(&m, 0x100000, 0);
	one_fault(&m, 31);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 7);
	mock_fini(&m);
}

static void counters_wrap(void)
{
	struct mock m;

	mock_init(&m);
	ring_on(&m, 0x100000, 12);
	/* 2^12 entries fill the ring exactly, over page and slot borders. */
	for (uint64_t i = 0; i < 4100; i++)
		one_fault(&m, i + 1);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), 4096);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 4);
	CHECK_EQ(((struct mdl_hw_fault *)mock_guest_page(&m, 0x100000 + 31 * 4096))[127].va,
		 4096 * 64);
	mock_write(&m, MDL_REG_FAULT_LOG2, 4, 15);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOG2), MDL_FAULT_LOG2_MAX);
	mock_fini(&m);
}

static void bad_addresses(void)
{
	const struct {
		uint64_t gpa;
		uint32_t log2, written;
	} cases[] = {
		{ 0xa0000, 4, 0 }, /* a hole */
		{ 0x600000, 4, 0 }, /* read-only */
		{ 0xa00000, 4, 0 }, /* behind the last byte */
		{ 0x000ffffffffff000, 12, 0 }, /* far away */
		{ 0x9f000, 8, 128 }, /* the second page is a hole */
		{ 0x5ff000, 8, 128 }, /* the second page is read-only */
		{ 0x1003ff000, 7, 128 }, /* the last page */
	};

	for (size_t i = 0; i < MDL_ARRAY_SIZE(cases); i++) {
		struct mock m;

		mock_init(&m);
		ring_on(&m, cases[i].gpa, cases[i].log2);
		for (uint64_t k = 0; k < 130; k++)
			one_fault(&m, k + 1);
		CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), cases[i].written);
		CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 130 - cases[i].written);
		mock_fini(&m);
	}
}

static void memory_taken_away(void)
{
	struct mock m;

	mock_init(&m);
	ring_on(&m, 0x100000, 4);
	one_fault(&m, 1);
	mock_unmap(&m, 0x100000, 4096);
	one_fault(&m, 2);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), 1);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_LOST), 1);
	mock_map_region(&m, 1);
	one_fault(&m, 3);
	CHECK_EQ(reg(&m, MDL_REG_FAULT_PUT), 2);
	mock_fini(&m);
}

static const struct check_case cases[] = {
	{ "entries and wrapping", entries_and_wrap }, { "full and off", full_and_off },
	{ "the largest ring", counters_wrap },	      { "bad addresses", bad_addresses },
	{ "memory taken away", memory_taken_away },
};

CHECK_MAIN(cases)
