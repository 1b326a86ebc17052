/* SPDX-License-Identifier: MIT */
/*
 * Every offset of BAR0 with every width, against what hw/regs.def says, read here in the plainest
 * way: a list of rows searched for each byte. Handlers with effects of their own have tests beside
 * this one.
 */
#include "base/util.h"
#include "mock.h"
#include "tests/unit/check.h"

enum block {
	GLOBAL,
	CTX,
	CHAN
};

struct row {
	const char *name, *access, *handler;
	uint32_t offset, width;
	uint64_t reset, wmask;
	enum block block;
};

static const struct row rows[] = {
#define MDL_REG(name_, offset_, width_, access_, reset_, wmask_, block_, handler_, text_) \
	{ #name_, #access_, #handler_, offset_, width_, reset_, wmask_, block_ },
#include "hw/regs.def"
#undef MDL_REG
};

/* What an access of 4 or 8 bytes at this place of BAR0 means. */
struct place {
	const struct row *row; /* NULL: see kind */
	uint32_t index, shift;
	enum {
		NOTHING,
		REGISTER,
		DOORBELL,
		MSIX_TABLE,
		PBA
	} kind;
};

static struct place find(uint32_t at, uint32_t bytes)
{
	if (bytes < 4 || at % bytes)
		return (struct place) { .kind = NOTHING };
	for (size_t i = 0; i < MDL_ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		uint32_t n = r->block == GLOBAL ? 1 : r->block == CTX ? MOCK_CTXS : MOCK_CHANS;

		for (uint32_t k = 0; k < n; k++) {
			uint32_t base = r->offset + (r->block == CTX	? 0x1000 + k * 0x40
						     : r->block == CHAN ? 0x4000 + k * 0x40
									: 0);

			if (bytes <= r->width &&
			    (at == base || (bytes == 4 && r->width == 8 && at == base + 4)))
				return (struct place) { r, k, (at - base) * 8, REGISTER };
		}
	}
	if (bytes == 4 && at >= 0xc000 && at < 0xc000 + 4 * MOCK_CHANS)
		return (struct place) { .kind = DOORBELL };
	if (at >= 0xe000 && at < 0xe000 + 16 * MDL_HW_MSIX_VECTORS)
		return (struct place) { .kind = MSIX_TABLE };
	if (at >= 0xf000 && at + bytes <= 0xf008)
		return (struct place) { .kind = PBA };
	return (struct place) { .kind = NOTHING };
}

static uint64_t bad(const struct mock *m)
{
	struct mdl_vgpu_stats s;

	mdl_vgpu_stats(m->v, &s);
	return s.bad_accesses;
}

/* Values of registers that are computed, in the state after power-on. */
static uint64_t initial(const struct mock *m, const struct row *r)
{
	const struct {
		const char *handler;
		uint64_t value;
	} computed[] = {
		{ "vram_bytes", MOCK_VRAM },	{ "va_base", 0x200000000000 },
		{ "va_limit", 0x300000000000 }, { "num_channels", MOCK_CHANS },
		{ "num_contexts", MOCK_CTXS },	{ "compute_units", 2 },
		{ "timestamp", m->now - 1000 }, { "func_status", MDL_STATUS_READY },
	};

	if (!strcmp(r->access, "WO"))
		return 0;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(computed); i++)
		if (!strcmp(r->handler, computed[i].handler))
			return computed[i].value;
	return r->reset;
}

static uint64_t width_mask(uint32_t bytes)
{
	return bytes == 8 ? UINT64_MAX : (1ull << 8 * bytes) - 1;
}

static void reads(void)
{
	struct mock m;

	mock_init(&m);
	m.now = 0x123456789abcdef0;
	m.pending = 0x80000001;
	for (uint32_t bytes = 1; bytes <= 8; bytes *= 2)
		for (uint32_t at = 0; at + bytes <= MDL_HW_BAR0_BYTES; at++) {
			struct place p = find(at, bytes);
			uint64_t before = bad(&m), want = 0, got = mock_read(&m, at, bytes);

			if (p.kind == REGISTER)
				want = initial(&m, p.row) >> p.shift & width_mask(bytes);
			else if (p.kind == PBA)
				want = m.pending >> 8 * (at - 0xf000) & width_mask(bytes);
			else if (p.kind ==
				 MSIX_TABLE) /* the mask bit of each vector, in its last word */
				want = bytes == 4 ? at % 16 == 12 : at % 16 == 8 ? 1ull << 32 : 0;
			if (got != want || bad(&m) - before != (p.kind == NOTHING))
				printf("# read of %u at 0x%x\n", bytes, at);
			CHECK_EQ(got, want);
			CHECK_EQ(bad(&m) - before, p.kind == NOTHING);
		}
	mock_fini(&m);
}

/*
 * The whole state that a guest can read, to see that a write changed one register and nothing else.
 */
static void snapshot(struct mock *m, uint64_t values[static 512])
{
	size_t n = 0;

	for (size_t i = 0; i < MDL_ARRAY_SIZE(rows); i++) {
		uint32_t count = rows[i].block == GLOBAL ? 1
				 : rows[i].block == CTX	 ? MOCK_CTXS
							 : MOCK_CHANS;
		uint32_t base = rows[i].block == CTX ? 0x1000 : rows[i].block == CHAN ? 0x4000 : 0;

		for (uint32_t k = 0; k < count; k++)
			values[n++] = mock_read(m, base + k * 0x40 + rows[i].offset, rows[i].width);
	}
	CHECK(n < 512);
}

static bool is(const struct place *p, const char *name)
{
	return p->kind == REGISTER && !strcmp(p->row->name, name);
}

/* Writes one value and checks what it changed. */
static void write_one(struct mock *m, uint32_t at, uint32_t bytes, uint64_t value)
{
	struct place p = find(at, bytes);
	bool stored = p.kind == REGISTER && !strcmp(p.row->access, "RW");
	bool refused = p.kind == NOTHING || p.kind == PBA ||
		       (p.kind == REGISTER && !strcmp(p.row->access, "RO"));
	uint64_t old[512] = { 0 }, new[512] = { 0 }, before, want, got;
	unsigned int changed = 0, may_change = stored;
	uint64_t other_half = 0;

	snapshot(m, old);
	want = mock_read(m, at, bytes);
	if (stored && bytes < p.row->width)
		other_half = mock_read(m, p.shift ? at - 4 : at + 4, 4);
	if (stored) {
		uint64_t wmask = p.row->wmask >> p.shift & width_mask(bytes);

		want = (want & ~wmask) | (value & wmask);
		if (is(&p, "FAULT_LOG2")) {
			want = mdl_min_u64(want, MDL_FAULT_LOG2_MAX);
			may_change++; /* a new size clears the ring's get */
		}
	} else if (p.kind == MSIX_TABLE) {
		want = value & width_mask(bytes);
	}
	before = bad(m);
	mock_write(m, at, bytes, value);
	if (bad(m) - before != refused)
		printf("# write of %u at 0x%x\n", bytes, at);
	CHECK_EQ(bad(m) - before, refused);
	got = mock_read(m, at, bytes);
	if (got != want)
		printf("# write of %u at 0x%x\n", bytes, at);
	CHECK_EQ(got, want);
	snapshot(m, new);
	for (size_t k = 0; k < 512; k++)
		changed += old[k] != new[k];
	CHECK(changed <= may_change);
	if (stored && bytes < p.row->width) { /* the other half stays */
		uint32_t other = p.shift ? at - 4 : at + 4;

		CHECK_EQ(mock_read(m, other, 4), other_half);
	}
}

static void writes_of(uint32_t bytes)
{
	struct mock m;

	mock_init(&m);
	/* Each block's beginning; behind it nothing differs. */
	for (uint32_t base = 0; base < MDL_HW_BAR0_BYTES; base += 0x1000)
		for (uint32_t at = base; at < base + 0x300 && at + bytes <= MDL_HW_BAR0_BYTES;
		     at++) {
			struct place p = find(at, bytes);

			/* Commands are other tests' matter. */
			if (p.kind == REGISTER && !strcmp(p.row->access, "WO"))
				continue;
			write_one(&m, at, bytes, UINT64_MAX);
			write_one(&m, at, bytes, 0);
			/* Stays, so that a write of the other half would be seen to clear it. */
			write_one(&m, at, bytes, 0x5a5a5a5aa5a5a5a5);
		}
	CHECK_EQ(m.doorbells, 0); /* no channel is running */
	mock_fini(&m);
}

static void writes(void)
{
	for (uint32_t bytes = 1; bytes <= 8; bytes *= 2)
		writes_of(bytes);
}

static void write_only_registers_read_zero(void)
{
	struct mock m;

	mock_init(&m);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(rows); i++) {
		uint32_t base = rows[i].block == CTX ? 0x1000 : rows[i].block == CHAN ? 0x4000 : 0;

		if (strcmp(rows[i].access, "WO"))
			continue;
		mock_write(&m, base + rows[i].offset, rows[i].width, UINT64_MAX);
		CHECK_EQ(mock_read(&m, base + rows[i].offset, rows[i].width), 0);
	}
	CHECK_EQ(bad(&m), 0);
	mock_settle(&m);
	mock_fini(&m);
}

static void odd_counts(void)
{
	const uint32_t counts[] = { 3, 5, 6, 7, 12, 16, 64, 4096 };
	static uint8_t buf[4096], zero[4096];
	struct mock m;

	mock_init(&m);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(counts); i++) {
		memset(buf, 0xff, sizeof(buf));
		mdl_vgpu_bar0_write(m.v, 0x60, buf, counts[i]);
		mdl_vgpu_bar0_read(m.v, 0, buf, counts[i]);
		CHECK(!memcmp(buf, zero, counts[i]));
	}
	CHECK_EQ(mock_read(&m, 0x60, 4), 0);
	CHECK_EQ(bad(&m), 2 * MDL_ARRAY_SIZE(counts));
	mock_fini(&m);
}

static void reset_values_come_back(void)
{
	uint64_t before[512] = { 0 }, after[512] = { 0 };
	struct mock m;

	mock_init(&m);
	snapshot(&m, before);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(rows); i++) {
		uint32_t base = rows[i].block == CTX ? 0x1000 : rows[i].block == CHAN ? 0x4000 : 0;

		if (!strcmp(rows[i].access, "RW"))
			mock_write(&m, base + rows[i].offset, rows[i].width, UINT64_MAX);
	}
	mock_write(&m, MDL_HW_MSIX_TABLE, 8, UINT64_MAX);
	/* Two faults: one is lost, one goes into the ring. */
	mock_write(&m, mock_chan_reg(0, CTRL), 4, MDL_CTRL_ENABLE);
	mock_write(&m, MDL_REG_FAULT_BASE, 8, 0x100000);
	mock_write(&m, MDL_REG_FAULT_LOG2, 4, 2);
	mock_write(&m, mock_chan_reg(1, CTRL), 4, MDL_CTRL_ENABLE);
	CHECK_EQ(mock_read(&m, MDL_REG_FAULT_PUT, 4), 1);
	CHECK_EQ(mock_read(&m, MDL_REG_FAULT_LOST, 4), 1);
	memset(m.vram, 0xaa, MOCK_VRAM);
	memset(m.user, 0xaa, MOCK_CHANS * 4096);
	mock_write(&m, MDL_REG_FUNC_CTRL, 4, MDL_CTRL_RESET);
	snapshot(&m, after);
	CHECK(!memcmp(before, after, sizeof(before)));
	CHECK_EQ(mock_read(&m, MDL_HW_MSIX_TABLE, 8), 0);
	for (size_t i = 0; i < MOCK_VRAM; i += 509)
		CHECK_EQ(m.vram[i], 0);
	for (size_t i = 0; i < MOCK_CHANS * 4096; i++)
		CHECK_EQ(m.user[i], 0);
	mock_fini(&m);
}

static void timestamp_is_the_clock(void)
{
	struct mock m;

	mock_init(&m);
	CHECK_EQ(mdl_vgpu_epoch_ns(m.v), 1000);
	CHECK_EQ(mock_read(&m, MDL_REG_TIMESTAMP, 8), 0);
	m.now += 0x100000002;
	CHECK_EQ(mock_read(&m, MDL_REG_TIMESTAMP, 8), 0x100000002);
	CHECK_EQ(mock_read(&m, MDL_REG_TIMESTAMP + 4, 4), 1);
	mdl_vgpu_reset(m.v); /* it goes on through a reset */
	CHECK_EQ(mock_read(&m, MDL_REG_TIMESTAMP, 8), 0x100000002);
	mock_fini(&m);
}

static const struct check_case cases[] = {
	{ "reads of every offset and width", reads, 120 },
	{ "writes of every width", writes, 120 },
	{ "write-only registers read zero", write_only_registers_read_zero },
	{ "odd counts", odd_counts },
	{ "reset values come back", reset_values_come_back },
	{ "timestamp is the clock", timestamp_is_the_clock },
};

CHECK_MAIN(cases)
