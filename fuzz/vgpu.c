/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: bytes as a sequence of register and configuration accesses, page-table edits, guest
 * memory coming and going, and executor events, against the vGPU with the mock host of
 * tests/unit/vgpu. The mock aborts when the vGPU breaks its contract; here it is checked besides
 * that everything mapped belongs to the VM after every step that takes memory away, and equals the
 * naive walk of the page tables after a full invalidate.
 *
 * An operation is one byte (which) and its operands, little endian; missing bytes are zero.
 * Register offsets are two bytes, as in the dictionary that tools/gen-regs makes.
 */
#include <string.h>

#include "base/util.h"
#include "tests/unit/vgpu/mock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FULL_CHECKS_MAX 8 /* of one input: they are slow, and many in a row find nothing more */

struct input {
	const uint8_t *at;
	size_t left;
	unsigned int full_checks;
};

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;
	size_t n = mdl_min_u64(bytes, in->left);

	memcpy(&value, in->at, n);
	in->at += n;
	in->left -= n;
	return value;
}

static struct mdl_ipc_fault take_fault(struct input *in)
{
	return (struct mdl_ipc_fault) {
		.ctx = (uint16_t)take(in, 1) % (MOCK_CTXS + 1),
		.chan = (uint16_t)take(in, 1) % (MOCK_CHANS + 1),
		.error = (uint16_t)take(in, 1),
		.access = MDL_ACCESS_READ,
		.va = take(in, 4),
	};
}

/* Only a context that has an executor, or had one that ctx_map doomed, can say something. */
static bool can_speak(const struct mock *m, uint32_t ctx)
{
	return ctx < MOCK_CTXS && (m->ctx[ctx].alive || m->ctx[ctx].doomed);
}

static void executor_event(struct mock *m, struct input *in)
{
	uint32_t kind = (uint32_t)take(in, 1);
	struct mdl_ipc_fault f = take_fault(in);

	switch (kind % 5) {
	case 0:
		mdl_vgpu_chan_error(m->v, &f);
		break;
	case 1:
		if (can_speak(m, f.ctx))
			mdl_vgpu_ctx_fault(m->v, &f);
		break;
	case 2:
		if (f.ctx < MOCK_CTXS && m->ctx[f.ctx].opening) {
			m->ctx[f.ctx].opening = false;
			mdl_vgpu_ctx_opened(m->v, f.ctx, -12);
		}
		break;
	case 3:
		/* Stale: channels that are not being closed. */
		if (f.chan < MOCK_CHANS && !(m->ctx[0].chan_closing >> f.chan & 1) &&
		    !(m->ctx[1].chan_closing >> f.chan & 1) &&
		    !(m->ctx[2].chan_closing >> f.chan & 1) &&
		    mock_read(m, mock_chan_reg(f.chan, STATUS), 4) != MDL_STATUS_PENDING)
			mdl_vgpu_chan_closed(m->v, f.chan);
		break;
	default:
		mock_settle(m);
	}
}

static void memory(struct mock *m, struct input *in)
{
	uint32_t op = (uint32_t)take(in, 1);

	if (op % 4 == 0)
		mock_unmap(m, mock_layout[op / 4 % MOCK_REGIONS].gpa + take(in, 2) * MDL_PAGE_BYTES,
			   take(in, 4));
	else
		mock_map_region(m, op / 4 % MOCK_REGIONS);
}

/*
 * A whole page-table path for one page, then an invalidate of it: what a driver does, and hard to
 * find by chance.
 */
static void map_path(struct mock *m, struct input *in)
{
	uint32_t pick = (uint32_t)take(in, 2), ctx = pick % MOCK_CTXS;
	uint32_t index[4];
	uint64_t va = 0;

	for (unsigned int level = 0; level < 4; level++) {
		index[level] = mock_index[(pick >> (2 + 3 * level)) % MOCK_INDEXES];
		va = va << 9 | index[level];
	}
	for (unsigned int level = 0; level < 3; level++)
		mock_table_mem(m, 4 * ctx + level)[index[level]] = mock_table(4 * ctx + level + 1);
	mock_table_mem(m, 4 * ctx + 3)[index[3]] =
		mock_pte((uint32_t)take(in, 1), (uint32_t)take(in, 2));
	mock_write(m, mock_ctx_reg(ctx, PT_ROOT), 8, mock_table(4 * ctx));
	mock_write(m, mock_ctx_reg(ctx, INV_VA), 8, va << 12);
	mock_write(m, mock_ctx_reg(ctx, INV_BYTES), 8, MDL_PAGE_BYTES);
	mock_write(m, mock_ctx_reg(ctx, INVALIDATE), 4, 1);
}

static void full_invalidate(struct mock *m, uint32_t ctx)
{
	if (!m->ctx[ctx].alive)
		return;
	mock_invalidate(m, ctx, 0, 0);
	if (!m->ctx[ctx].alive)
		return;
	for (long i = 0; (m->ctx[ctx].used || m->ctx[ctx].mapped) && i < MOCK_PAGES; i++) {
		const struct mock_page *e = &m->ctx[ctx].exec[i], *want = &m->ctx[ctx].model[i];

		MOCK_CHECK(e->prot == want->prot);
		MOCK_CHECK(!e->prot || (e->mem == want->mem && e->offset == want->offset));
	}
}

static void step(struct mock *m, struct input *in)
{
	uint32_t op = (uint32_t)take(in, 1), at, bytes;
	uint8_t buf[8];

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		at = (uint32_t)take(in, 2);
		bytes = 1u << (op % 16);
		if (at + bytes <= MDL_HW_BAR0_BYTES)
			mock_write(m, at, bytes, take(in, bytes));
		break;
	case 4:
		at = (uint32_t)take(in, 2);
		bytes = 1u << (op >> 4 & 3);
		if (at + bytes <= MDL_HW_BAR0_BYTES)
			mdl_vgpu_bar0_read(m->v, at, buf, bytes);
		break;
	case 5:
		at = (uint32_t)take(in, 1);
		buf[0] = (uint8_t)take(in, 1);
		mdl_vgpu_config_write(m->v, at, buf, 1);
		break;
	case 6:
	case 7:
		at = (uint32_t)take(in, 1);
		mock_table_mem(
			m,
			at % MOCK_TABLES)[mock_index[(at / MOCK_TABLES + op / 16) % MOCK_INDEXES]] =
			op % 16 == 6 ? take(in, 8)
				     : mock_pte((uint32_t)take(in, 1), (uint32_t)take(in, 2));
		break;
	case 8:
		memory(m, in);
		break;
	case 9:
		executor_event(m, in);
		break;
	case 10:
		if (in->full_checks++ < FULL_CHECKS_MAX)
			full_invalidate(m, op / 16 % MOCK_CTXS);
		break;
	case 11:
		*(op & 16 ? &m->fail_map : &m->fail_chan_close) = (int)take(in, 1);
		*(op & 32 ? &m->fail_open : &m->fail_chan_open) = (int)take(in, 1);
		break;
	case 12:
		map_path(m, in);
		break;
	case 13:
		mock_write(m, mock_ctx_reg(op / 16 % MOCK_CTXS, CTRL), 4, MDL_CTRL_ENABLE);
		mock_settle(m);
		break;
	case 14:
		at = op / 16 % MOCK_CHANS;
		mock_write(m, mock_chan_reg(at, RING_VA), 8, MDL_WINDOW_BASE);
		mock_write(m, mock_chan_reg(at, RING_LOG2), 4, 4);
		mock_write(m, mock_chan_reg(at, CTRL), 4, MDL_CTRL_ENABLE);
		break;
	default:
		mock_settle(m);
		m->now += take(in, 2);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .at = data, .left = size };
	struct mock m;

	mock_init(&m);
	m.loose = true;
	while (in.left)
		step(&m, &in);
	m.fail_map = m.fail_open = m.fail_chan_open = m.fail_chan_close = 0;
	mock_settle(&m);
	mock_check_owned(&m);
	for (uint32_t i = 0; i < MOCK_CTXS; i++)
		full_invalidate(&m, i);
	mock_unmap(&m, 0, UINT64_MAX);
	/* Everything comes to rest. */
	mdl_vgpu_reset(m.v);
	mock_settle(&m);
	MOCK_CHECK(mock_read(&m, MDL_REG_FUNC_STATUS, 4) == MDL_STATUS_READY);
	for (uint32_t i = 0; i < MOCK_CTXS; i++)
		MOCK_CHECK(mock_read(&m, mock_ctx_reg(i, STATUS), 4) == MDL_STATUS_OFF);
	mock_fini(&m);
	return 0;
}
