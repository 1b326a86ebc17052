/* SPDX-License-Identifier: MIT */
/*
 * Contexts and channels: commands and executor events in every order. The mock host checks the
 * other side of each.
 */
#include "base/util.h"
#include "mock.h"
#include "tests/unit/check.h"

#define RING_VA 0x200000000000ull

static uint32_t ctx_status(struct mock *m, uint32_t ctx)
{
	return (uint32_t)mock_read(m, mock_ctx_reg(ctx, STATUS), 4);
}

static uint32_t chan_status(struct mock *m, uint32_t chan)
{
	return (uint32_t)mock_read(m, mock_chan_reg(chan, STATUS), 4);
}

static uint32_t chan_error(struct mock *m, uint32_t chan)
{
	return (uint32_t)mock_read(m, mock_chan_reg(chan, ERROR), 4);
}

static struct mdl_hw_user_page *user_page(struct mock *m, uint32_t chan)
{
	return (void *)(m->user + chan * MDL_HW_USER_STRIDE);
}

static void ctx_ctrl(struct mock *m, uint32_t ctx, uint32_t cmd)
{
	mock_write(m, mock_ctx_reg(ctx, CTRL), 4, cmd);
}

static void chan_ctrl(struct mock *m, uint32_t chan, uint32_t cmd)
{
	mock_write(m, mock_chan_reg(chan, CTRL), 4, cmd);
}

static void enable_chan(struct mock *m, uint32_t chan, uint32_t ctx)
{
	mock_write(m, mock_chan_reg(chan, CONTEXT), 4, ctx);
	mock_write(m, mock_chan_reg(chan, RING_LOG2), 4, 6);
	mock_write(m, mock_chan_reg(chan, RING_VA), 8, RING_VA);
	mock_write(m, mock_chan_reg(chan, VECTOR), 4, 3 + chan);
	chan_ctrl(m, chan, MDL_CTRL_ENABLE);
}

static void open_with_channels(struct mock *m, uint32_t ctx, uint32_t first, uint32_t n)
{
	mock_open_ctx(m, ctx);
	for (uint32_t i = first; i < first + n; i++) {
		enable_chan(m, i, ctx);
		CHECK_EQ(chan_status(m, i), MDL_STATUS_READY);
	}
}

static struct mdl_ipc_fault fault(uint32_t ctx, uint32_t chan, uint32_t error)
{
	return (struct mdl_ipc_fault) {
		.ctx = (uint16_t)ctx,
		.chan = (uint16_t)chan,
		.error = (uint16_t)error,
		.access = MDL_ACCESS_WRITE,
		.tag = 77,
		.info = 5,
		.va = 0xdead000,
	};
}

static void normal_life(void)
{
	struct mock m;
	uint32_t irqs;

	mock_init(&m);
	memset(m.user, 0x55, MOCK_CHANS * 4096); /* the mock checks that ENABLE cleared the page */
	open_with_channels(&m, 1, 2, 1);
	CHECK_EQ(m.last_vector, 5);
	CHECK_EQ(m.ctx[1].chan_open, 1 << 2);
	chan_ctrl(&m, 2, MDL_CTRL_ENABLE); /* already */
	ctx_ctrl(&m, 1, MDL_CTRL_ENABLE);
	CHECK_EQ(m.opens, 1);
	mock_write(&m, MDL_HW_DOORBELL_BASE + 4 * 2, 4, 0);
	mock_write(&m, MDL_HW_DOORBELL_BASE + 4 * 1, 4, 1);
	CHECK_EQ(m.doorbells, 1);
	chan_ctrl(&m, 2, MDL_CTRL_DISABLE);
	CHECK_EQ(chan_status(&m, 2), MDL_STATUS_PENDING);
	chan_ctrl(&m, 2, MDL_CTRL_ENABLE); /* not yet */
	mock_write(&m, MDL_HW_DOORBELL_BASE + 4 * 2, 4, 0);
	CHECK_EQ(m.doorbells, 1);
	irqs = m.irqs[0];
	mock_settle(&m);
	CHECK_EQ(chan_status(&m, 2), MDL_STATUS_OFF);
	CHECK_EQ(m.irqs[0], irqs + 1);
	CHECK_EQ(m.ctx[1].user_mapped, 0);
	enable_chan(&m, 2, 1);
	CHECK_EQ(chan_status(&m, 2), MDL_STATUS_READY);
	ctx_ctrl(&m, 1, MDL_CTRL_DISABLE); /* takes its channels along */
	CHECK_EQ(chan_status(&m, 2), MDL_STATUS_OFF);
	CHECK_EQ(chan_error(&m, 2), MDL_ERR_NONE);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_OFF);
	CHECK_EQ(m.closes, 1);
	CHECK_EQ(m.notes, 0);
	mock_fini(&m);
}

/* The example of docs/gpu.md, section 2, as far as the device goes. */
static void manual_example(void)
{
	uint64_t va, *vram64;
	struct mock m;

	mock_init(&m);
	vram64 = (uint64_t *)m.vram;
	mock_write(&m, MDL_REG_FUNC_CTRL, 4, MDL_CTRL_RESET);
	CHECK_EQ(mock_read(&m, MDL_REG_FUNC_STATUS, 4), MDL_STATUS_READY);
	va = mock_read(&m, MDL_REG_VA_BASE, 8);
	vram64[0x0000 / 8 + (va >> 39 & 511)] = 0x1000 | MDL_PTE_VALID;
	vram64[0x1000 / 8 + (va >> 30 & 511)] = 0x2000 | MDL_PTE_VALID;
	vram64[0x2000 / 8 + (va >> 21 & 511)] =
		0x200000 | MDL_PTE_HUGE | MDL_PTE_WRITE | MDL_PTE_VALID;
	mock_write(&m, mock_ctx_reg(0, PT_ROOT), 8, 0x0000 | MDL_PTE_VALID);
	ctx_ctrl(&m, 0, MDL_CTRL_ENABLE);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_PENDING);
	mock_settle(&m);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_READY);
	CHECK_EQ(m.maps, 1);
	CHECK_EQ(m.ctx[0].exec[2 * 36 * 512].offset, 0x200000);
	CHECK_EQ(m.ctx[0].exec[2 * 36 * 512 + 511].prot, MDL_MAP_PROT_READ | MDL_MAP_PROT_WRITE);
	mock_write(&m, mock_chan_reg(0, CONTEXT), 4, 0);
	mock_write(&m, mock_chan_reg(0, RING_VA), 8, va);
	mock_write(&m, mock_chan_reg(0, RING_LOG2), 4, 4);
	mock_write(&m, mock_chan_reg(0, VECTOR), 4, 1);
	chan_ctrl(&m, 0, MDL_CTRL_ENABLE);
	CHECK_EQ(chan_status(&m, 0), MDL_STATUS_READY);
	CHECK_EQ(m.last_vector, 1);
	mock_write(&m, MDL_HW_DOORBELL_BASE, 4, 1);
	CHECK_EQ(m.doorbells, 1);
	mock_fini(&m);
}

static void enable_refused(void)
{
	const struct {
		uint32_t ctx, log2;
		uint64_t va;
		uint32_t error;
	} cases[] = {
		{ 1, 6, RING_VA, MDL_ERR_CONTEXT_LOST }, /* OFF */
		{ MOCK_CTXS, 6, RING_VA, MDL_ERR_CONTEXT_LOST }, /* does not exist */
		{ 63, 6, RING_VA, MDL_ERR_CONTEXT_LOST },
		{ 0, 1, RING_VA, MDL_ERR_BAD_RING },
		{ 0, 17, RING_VA, MDL_ERR_BAD_RING },
		{ 0, 31, RING_VA, MDL_ERR_BAD_RING },
		{ 0, 6, 0, MDL_ERR_BAD_RING },
		{ 0, 6, RING_VA - 64, MDL_ERR_BAD_RING },
		{ 0, 6, 0x300000000000 - 64, MDL_ERR_BAD_RING },
		{ 0, 16, 0x300000000000 - 64 * 65535, MDL_ERR_BAD_RING },
		{ 0, 16, UINT64_MAX, MDL_ERR_BAD_RING },
		{ 0, 16, 0x300000000000 - 64 * 65536, MDL_ERR_NONE },
		{ 0, 2, 0x300000000000 - 64 * 4, MDL_ERR_NONE },
	};
	struct mock m;

	mock_init(&m);
	mock_open_ctx(&m, 0);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(cases); i++) {
		mock_write(&m, mock_chan_reg(0, CONTEXT), 4, cases[i].ctx);
		mock_write(&m, mock_chan_reg(0, RING_LOG2), 4, cases[i].log2);
		mock_write(&m, mock_chan_reg(0, RING_VA), 8, cases[i].va);
		chan_ctrl(&m, 0, MDL_CTRL_ENABLE);
		CHECK_EQ(chan_error(&m, 0), cases[i].error);
		CHECK_EQ(chan_status(&m, 0),
			 cases[i].error ? MDL_STATUS_FAULTED : MDL_STATUS_READY);
		if (cases[i].error) {
			CHECK_EQ(user_page(&m, 0)->error, cases[i].error);
			CHECK_EQ(m.last_note.error, cases[i].error);
			CHECK_EQ(m.last_note.chan, 0);
			chan_ctrl(&m, 0, MDL_CTRL_DISABLE); /* sticky */
			chan_ctrl(&m, 0, MDL_CTRL_ENABLE);
			CHECK_EQ(chan_status(&m, 0), MDL_STATUS_FAULTED);
		}
		chan_ctrl(&m, 0, MDL_CTRL_RESET);
		mock_settle(&m);
		CHECK_EQ(chan_status(&m, 0), MDL_STATUS_OFF);
		CHECK_EQ(chan_error(&m, 0), MDL_ERR_NONE);
	}
	/* The host refuses. */
	m.fail_chan_open = 1;
	enable_chan(&m, 0, 0);
	CHECK_EQ(chan_error(&m, 0), MDL_ERR_NO_RESOURCES);
	CHECK_EQ(m.ctx[0].user_mapped, 0);
	m.fail_map = 1;
	enable_chan(&m, 1, 0);
	CHECK_EQ(chan_error(&m, 1), MDL_ERR_CONTEXT_LOST);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_PENDING);
	enable_chan(&m, 2, 0); /* its executor is dying */
	CHECK_EQ(chan_error(&m, 2), MDL_ERR_CONTEXT_LOST);
	mock_settle(&m);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_FAULTED);
	m.fail_open = 1;
	ctx_ctrl(&m, 1, MDL_CTRL_ENABLE);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_FAULTED);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(1, ERROR), 4), MDL_ERR_NO_RESOURCES);
	ctx_ctrl(&m, 1, MDL_CTRL_RESET);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(1, ERROR), 4), MDL_ERR_NONE);
	ctx_ctrl(&m, 1, MDL_CTRL_ENABLE);
	m.ctx[1].opening = false;
	mdl_vgpu_ctx_opened(m.v, 1, -EAGAIN);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_FAULTED);
	mock_fini(&m);
}

static void channel_error(void)
{
	struct mdl_ipc_fault f = fault(0, 1, MDL_ERR_BAD_PACKET),
			     wrong = fault(2, 1, MDL_ERR_BAD_PACKET);
	struct mock m;

	mock_init(&m);
	open_with_channels(&m, 0, 0, 3);
	mdl_vgpu_chan_error(m.v, &wrong); /* not that context's channel */
	wrong = fault(0, MOCK_CHANS, MDL_ERR_BAD_PACKET);
	mdl_vgpu_chan_error(m.v, &wrong);
	wrong = fault(0, MDL_FAULT_NO_CHANNEL, MDL_ERR_BAD_PACKET);
	mdl_vgpu_chan_error(m.v, &wrong);
	CHECK_EQ(m.notes, 0);
	mdl_vgpu_chan_error(m.v, &f);
	mdl_vgpu_chan_error(m.v, &f); /* once */
	CHECK_EQ(m.notes, 1);
	CHECK_EQ(m.irqs[0], 2); /* READY, and this */
	CHECK_EQ(chan_status(&m, 1), MDL_STATUS_FAULTED);
	CHECK_EQ(chan_error(&m, 1), MDL_ERR_BAD_PACKET);
	CHECK_EQ(mock_read(&m, mock_chan_reg(1, FAULT_VA), 8), 0xdead000);
	CHECK_EQ(user_page(&m, 1)->error, MDL_ERR_BAD_PACKET);
	CHECK_EQ(chan_status(&m, 0), MDL_STATUS_READY);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_READY);
	chan_ctrl(&m, 1, MDL_CTRL_DISABLE); /* sticky */
	CHECK_EQ(chan_status(&m, 1), MDL_STATUS_FAULTED);
	chan_ctrl(&m, 1, MDL_CTRL_RESET);
	CHECK_EQ(chan_status(&m, 1), MDL_STATUS_PENDING);
	CHECK_EQ(chan_error(&m, 1), MDL_ERR_NONE);
	mdl_vgpu_chan_error(m.v, &f); /* late: not wanted any more */
	CHECK_EQ(m.notes, 1);
	mock_settle(&m);
	CHECK_EQ(chan_status(&m, 1), MDL_STATUS_OFF);
	enable_chan(&m, 1, 0);
	CHECK_EQ(chan_status(&m, 1), MDL_STATUS_READY);
	/* Nonsense of an executor is an error all the same. */
	f = fault(0, 2, 999);
	mdl_vgpu_chan_error(m.v, &f);
	CHECK_EQ(chan_error(&m, 2), MDL_ERR_LAUNCH);
	mock_fini(&m);
}

static void context_fault(void)
{
	struct mdl_ipc_fault f = fault(1, 2, MDL_ERR_PAGE_FAULT),
			     own = fault(1, 3, MDL_ERR_BAD_PROGRAM);
	struct mock m;

	mock_init(&m);
	open_with_channels(&m, 0, 0, 1);
	open_with_channels(&m, 1, 1, 4);
	mdl_vgpu_chan_error(m.v, &own);
	chan_ctrl(&m, 4, MDL_CTRL_DISABLE);
	mdl_vgpu_ctx_fault(m.v, &f);
	CHECK_EQ(m.closes, 1);
	CHECK_EQ(m.notes, 2);
	CHECK_EQ(m.last_note.chan, 2);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_FAULTED);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(1, ERROR), 4), MDL_ERR_PAGE_FAULT);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(1, FAULT_VA), 8), 0xdead000);
	CHECK_EQ(chan_error(&m, 1), MDL_ERR_CONTEXT_LOST);
	CHECK_EQ(chan_error(&m, 2), MDL_ERR_PAGE_FAULT);
	CHECK_EQ(chan_error(&m, 3), MDL_ERR_BAD_PROGRAM);
	CHECK_EQ(chan_status(&m, 4), MDL_STATUS_OFF); /* that is what was asked */
	CHECK_EQ(user_page(&m, 1)->error, MDL_ERR_CONTEXT_LOST);
	CHECK_EQ(chan_status(&m, 0), MDL_STATUS_READY); /* the neighbour */
	mdl_vgpu_ctx_fault(m.v, &f); /* stale */
	mdl_vgpu_ctx_lost(m.v, 1, MDL_ERR_CONTEXT_LOST);
	mdl_vgpu_chan_closed(m.v, 4);
	CHECK_EQ(m.notes, 2);
	ctx_ctrl(&m, 1, MDL_CTRL_DISABLE); /* sticky */
	ctx_ctrl(&m, 1, MDL_CTRL_ENABLE);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_FAULTED);
	ctx_ctrl(&m, 1, MDL_CTRL_RESET);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_OFF);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(1, ERROR), 4), MDL_ERR_NONE);
	for (uint32_t i = 1; i < 5; i++) {
		CHECK_EQ(chan_status(&m, i), MDL_STATUS_OFF);
		CHECK_EQ(chan_error(&m, i), MDL_ERR_NONE);
	}
	open_with_channels(&m, 1, 1, 4);
	/* A channel that is not the context's cannot be named. */
	f = fault(1, 0, 0);
	mdl_vgpu_ctx_fault(m.v, &f);
	CHECK_EQ(m.last_note.chan, MDL_FAULT_NO_CHANNEL);
	CHECK_EQ(m.last_note.error, MDL_ERR_CONTEXT_LOST);
	CHECK_EQ(chan_status(&m, 0), MDL_STATUS_READY);
	mock_fini(&m);
}

static void executor_lost(void)
{
	struct mock m;

	mock_init(&m);
	open_with_channels(&m, 0, 0, 2);
	chan_ctrl(&m, 1, MDL_CTRL_RESET);
	memset(&m.ctx[0].exec[0], 0, sizeof(m.ctx[0].exec[0]));
	m.ctx[0].alive = false;
	m.ctx[0].chan_open = m.ctx[0].user_mapped = m.ctx[0].chan_closing = 0;
	mdl_vgpu_ctx_lost(m.v, 0, MDL_ERR_TIMEOUT);
	CHECK_EQ(m.closes, 0); /* it is gone: nothing to close */
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_TIMEOUT);
	CHECK_EQ(chan_error(&m, 0), MDL_ERR_CONTEXT_LOST);
	CHECK_EQ(chan_status(&m, 1), MDL_STATUS_OFF);
	chan_ctrl(&m, 0, MDL_CTRL_RESET); /* nobody to ask: at once */
	CHECK_EQ(chan_status(&m, 0), MDL_STATUS_OFF);
	mdl_vgpu_ctx_lost(m.v, MOCK_CTXS, 0);
	mdl_vgpu_ctx_opened(m.v, 99, 0);
	mdl_vgpu_chan_closed(m.v, UINT32_MAX);
	mdl_vgpu_ctx_opened(m.v, 0, 0); /* nobody asked */
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_FAULTED);
	mock_fini(&m);
}

/* The guest takes ENABLE back before the executor comes: OFF at once, whatever comes later. */
static void disable_while_opening(void)
{
	struct mock m;

	mock_init(&m);
	for (int way = 0; way < 4; way++) {
		uint32_t closes = m.closes, irqs = m.irqs[0];

		ctx_ctrl(&m, 0, MDL_CTRL_ENABLE);
		ctx_ctrl(&m, 0, way & 1 ? MDL_CTRL_RESET : MDL_CTRL_DISABLE);
		CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_OFF);
		CHECK_EQ(mock_read(&m, MDL_REG_FUNC_STATUS, 4), MDL_STATUS_READY);
		enable_chan(&m, 0, 0);
		CHECK_EQ(chan_error(&m, 0), MDL_ERR_CONTEXT_LOST);
		chan_ctrl(&m, 0, MDL_CTRL_RESET);
		m.notes = 0;
		m.irqs[0] = irqs;
		m.ctx[0].opening = false;
		if (way < 2) {
			m.ctx[0].alive = true;
			mdl_vgpu_ctx_opened(m.v, 0, 0);
			CHECK_EQ(m.closes, closes + 1);
		} else if (way == 2) {
			mdl_vgpu_ctx_opened(m.v, 0, -ENOMEM);
			CHECK_EQ(m.closes, closes);
		} else {
			mdl_vgpu_ctx_lost(m.v, 0, MDL_ERR_CONTEXT_LOST);
			CHECK_EQ(m.closes, closes);
		}
		CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_OFF);
		CHECK_EQ(m.notes, 0);
		CHECK_EQ(m.irqs[0], irqs);
	}
	mock_open_ctx(&m, 0);
	mock_fini(&m);
}

/* ENABLE, DISABLE, ENABLE: one executor is asked for, and it is the second ENABLE's. */
static void enable_again_while_opening(void)
{
	struct mock m;

	mock_init(&m);
	ctx_ctrl(&m, 0, MDL_CTRL_ENABLE);
	ctx_ctrl(&m, 0, MDL_CTRL_DISABLE);
	ctx_ctrl(&m, 0, MDL_CTRL_ENABLE);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_PENDING);
	CHECK_EQ(m.opens, 1);
	mdl_vgpu_reset(m.v);
	ctx_ctrl(&m, 0, MDL_CTRL_ENABLE);
	CHECK_EQ(m.opens, 1);
	mock_settle(&m);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_READY);
	CHECK_EQ(m.closes, 0);
	ctx_ctrl(&m, 1, MDL_CTRL_ENABLE);
	ctx_ctrl(&m, 1, MDL_CTRL_DISABLE);
	ctx_ctrl(&m, 1, MDL_CTRL_ENABLE);
	m.ctx[1].opening = false;
	mdl_vgpu_ctx_opened(m.v, 1, -ENOMEM);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_FAULTED);
	mock_fini(&m);
}

static void reset_while_pending(void)
{
	struct mock m;

	mock_init(&m);
	open_with_channels(&m, 0, 0, 3);
	chan_ctrl(&m, 1, MDL_CTRL_DISABLE);
	ctx_ctrl(&m, 1, MDL_CTRL_ENABLE); /* stays open */
	mock_open_ctx(&m, 2);
	m.fail_map = 1;
	enable_chan(&m, 4, 2); /* context 2 is dying */
	CHECK(m.ctx[2].doomed);
	mock_write(&m, MDL_REG_FUNC_CTRL, 4, MDL_CTRL_RESET);
	CHECK_EQ(m.closes, 1);
	for (uint32_t i = 0; i < MOCK_CHANS; i++)
		CHECK_EQ(chan_status(&m, i), MDL_STATUS_OFF);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_OFF);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_OFF);
	CHECK_EQ(ctx_status(&m, 2), MDL_STATUS_PENDING);
	ctx_ctrl(&m, 2, MDL_CTRL_ENABLE); /* too early: ignored */
	CHECK_EQ(mock_read(&m, MDL_REG_FUNC_STATUS, 4), MDL_STATUS_PENDING);
	mdl_vgpu_reset(m.v); /* again, from the VMM */
	mock_open_ctx(&m, 0); /* the others need not wait */
	mock_settle(&m);
	CHECK_EQ(ctx_status(&m, 1), MDL_STATUS_OFF);
	CHECK_EQ(ctx_status(&m, 2), MDL_STATUS_OFF);
	CHECK_EQ(mock_read(&m, MDL_REG_FUNC_STATUS, 4), MDL_STATUS_READY);
	mock_fini(&m);
}

/* ctx_map failed; the executor's last words come before the news of its death. */
static void fault_of_a_dying_context(void)
{
	struct mdl_ipc_fault f = fault(0, 0, MDL_ERR_KERNEL_CRASH);
	struct mock m;

	mock_init(&m);
	open_with_channels(&m, 0, 0, 4);
	chan_ctrl(&m, 3, MDL_CTRL_DISABLE);
	m.fail_map = 1;
	m.ctx[0].chan_open &= ~(1u << 3);
	m.ctx[0].chan_closing &= ~(1u << 3);
	mdl_vgpu_chan_closed(m.v, 3); /* unmapping its page fails */
	CHECK(m.ctx[0].doomed);
	CHECK_EQ(chan_status(&m, 3), MDL_STATUS_OFF);
	chan_ctrl(&m, 2, MDL_CTRL_DISABLE); /* no use asking the executor */
	mock_write(&m, MDL_HW_DOORBELL_BASE, 4, 0);
	CHECK_EQ(m.doorbells, 0);
	mdl_vgpu_ctx_fault(m.v, &f);
	mdl_vgpu_ctx_fault(m.v, &f);
	CHECK_EQ(m.notes, 1);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_PENDING);
	mock_settle(&m);
	CHECK_EQ(m.notes, 1); /* the fault said it all */
	CHECK_EQ(m.closes, 0);
	CHECK_EQ(mock_read(&m, mock_ctx_reg(0, ERROR), 4), MDL_ERR_KERNEL_CRASH);
	CHECK_EQ(chan_error(&m, 0), MDL_ERR_KERNEL_CRASH);
	CHECK_EQ(chan_error(&m, 1), MDL_ERR_CONTEXT_LOST);
	CHECK_EQ(chan_status(&m, 2), MDL_STATUS_OFF);
	/* DISABLE while dying: OFF in the end, without an error. */
	ctx_ctrl(&m, 0, MDL_CTRL_RESET);
	mock_open_ctx(&m, 0);
	m.fail_map = 1;
	enable_chan(&m, 0, 0);
	ctx_ctrl(&m, 0, MDL_CTRL_DISABLE);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_PENDING);
	mock_settle(&m);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_OFF);
	mock_fini(&m);
}

static void close_refused(void)
{
	struct mock m;

	mock_init(&m);
	open_with_channels(&m, 0, 0, 2);
	m.fail_chan_close = 1;
	chan_ctrl(&m, 0, MDL_CTRL_DISABLE);
	CHECK_EQ(m.closes, 1); /* it does not listen: ended */
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_FAULTED);
	CHECK_EQ(chan_status(&m, 0), MDL_STATUS_OFF);
	CHECK_EQ(chan_error(&m, 1), MDL_ERR_CONTEXT_LOST);
	mock_fini(&m);
}

static void commands_together(void)
{
	struct mock m;

	mock_init(&m);
	mock_open_ctx(&m, 0);
	ctx_ctrl(&m, 0, 0);
	ctx_ctrl(&m, 0, 0xfffffff8);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_READY);
	enable_chan(&m, 0, 0);
	chan_ctrl(&m, 0, MDL_CTRL_ENABLE | MDL_CTRL_DISABLE); /* the strongest counts */
	CHECK_EQ(chan_status(&m, 0), MDL_STATUS_PENDING);
	ctx_ctrl(&m, 0, MDL_CTRL_ENABLE | MDL_CTRL_RESET);
	CHECK_EQ(ctx_status(&m, 0), MDL_STATUS_OFF);
	mock_fini(&m);
}

/*
 * Any commands and events. What the mock host checks in its callbacks is the test; then everything
 * must come to rest.
 */
static void random_event(struct mock *m, struct mock_rng *r)
{
	uint32_t ctx = mock_random(r) % MOCK_CTXS, chan = mock_random(r) % MOCK_CHANS;
	struct mdl_ipc_fault f = fault(ctx, chan, mock_random(r) % 16);
	struct mock_ctx *c = &m->ctx[ctx];

	switch (mock_random(r) % 12) {
	case 0:
		ctx_ctrl(m, ctx, mock_random(r) % 8);
		break;
	case 1:
	case 2:
		ctx_ctrl(m, ctx, MDL_CTRL_ENABLE);
		break;
	case 3:
		chan_ctrl(m, chan, mock_random(r) % 8);
		break;
	case 4:
	case 5:
		enable_chan(m, chan, ctx);
		break;
	case 6:
		if (c->alive)
			mdl_vgpu_chan_error(m->v, &f);
		break;
	case 7:
		if (c->alive || c->doomed)
			mdl_vgpu_ctx_fault(m->v, &f);
		break;
	case 8:
		mock_write(m, MDL_HW_DOORBELL_BASE + 4 * chan, 4, 0);
		break;
	case 9:
		*(mock_random(r) & 1 ? &m->fail_map : &m->fail_chan_close) = mock_random(r) % 8;
		*(mock_random(r) & 1 ? &m->fail_open : &m->fail_chan_open) = mock_random(r) % 8;
		break;
	case 10:
		if (mock_random(r) % 16 == 0)
			mock_write(m, MDL_REG_FUNC_CTRL, 4, MDL_CTRL_RESET);
		mock_write(m, mock_ctx_reg(ctx, INVALIDATE), 4, 1);
		break;
	default:
		mock_settle(m);
	}
}

static void random_orders(void)
{
	uint32_t ready = 0, faulted = 0;
	struct mock_rng r = { 42 };
	struct mock m;

	mock_init(&m);
	/* Comparing whole models is the shadow test's job. */
	m.count_only = true;
	for (int i = 0; i < 30000; i++) {
		random_event(&m, &r);
		for (uint32_t c = 0; c < MOCK_CTXS; c++) {
			ready += ctx_status(&m, c) == MDL_STATUS_READY;
			faulted += ctx_status(&m, c) == MDL_STATUS_FAULTED;
			CHECK_EQ(ctx_status(&m, c) == MDL_STATUS_READY, m.ctx[c].alive);
		}
	}
	CHECK(ready > 1000 && faulted > 1000);
	m.fail_map = m.fail_open = m.fail_chan_open = m.fail_chan_close = 0;
	mdl_vgpu_reset(m.v);
	mock_settle(&m);
	CHECK_EQ(mock_read(&m, MDL_REG_FUNC_STATUS, 4), MDL_STATUS_READY);
	for (uint32_t c = 0; c < MOCK_CTXS; c++)
		CHECK_EQ(ctx_status(&m, c), MDL_STATUS_OFF);
	for (uint32_t c = 0; c < MOCK_CHANS; c++)
		CHECK_EQ(chan_status(&m, c), MDL_STATUS_OFF);
	mock_fini(&m);
}

static const struct check_case cases[] = {
	{ "a normal life", normal_life },
	{ "the manual's example", manual_example },
	{ "ENABLE refused", enable_refused },
	{ "channel error", channel_error },
	{ "context fault", context_fault },
	{ "executor lost", executor_lost },
	{ "DISABLE while opening", disable_while_opening },
	{ "ENABLE again while opening", enable_again_while_opening },
	{ "reset while pending", reset_while_pending },
	{ "fault of a dying context", fault_of_a_dying_context },
	{ "chan_close refused", close_refused },
	{ "commands written together", commands_together },
	{ "random orders", random_orders, 120 },
};

CHECK_MAIN(cases)
