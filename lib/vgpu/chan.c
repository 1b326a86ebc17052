/* SPDX-License-Identifier: MIT */
/*
 * Channels as the guest controls them: enable, disable, errors, doorbells. The packets themselves
 * never come here; the executor reads the ring. While an executor knows a channel, the channel's
 * user page is mapped for it.
 *
 *   OFF --ENABLE--> READY --DISABLE, RESET--> CLOSING --closed--> OFF
 *     \               |\                        ^
 *      \              | `-error--> FAULTED -----' RESET
 *       \ refused     | context lost  | context lost
 *        `----------> DEAD <----------'          DEAD --RESET--> OFF
 *
 * When the context goes OFF by the guest's wish, READY and CLOSING channels go OFF with it.
 *
 * Owned by the caller's thread.
 */
#include <assert.h>
#include <string.h>

#include "priv.h"

#define TO(state) (1u << MDL_CHAN_##state)

static const uint32_t allowed[MDL_CHAN_STATES] = {
	[MDL_CHAN_OFF] = TO(READY) | TO(DEAD),
	[MDL_CHAN_READY] = TO(OFF) | TO(CLOSING) | TO(FAULTED) | TO(DEAD),
	[MDL_CHAN_CLOSING] = TO(OFF),
	[MDL_CHAN_FAULTED] = TO(CLOSING) | TO(DEAD),
	[MDL_CHAN_DEAD] = TO(OFF),
};

static const uint8_t status_of[MDL_CHAN_STATES] = {
	[MDL_CHAN_OFF] = MDL_STATUS_OFF,	 [MDL_CHAN_READY] = MDL_STATUS_READY,
	[MDL_CHAN_CLOSING] = MDL_STATUS_PENDING, [MDL_CHAN_FAULTED] = MDL_STATUS_FAULTED,
	[MDL_CHAN_DEAD] = MDL_STATUS_FAULTED,
};

static void set_state(struct mdl_chan *ch, enum mdl_chan_state to)
{
	assert(allowed[ch->state] & (1u << to));
	ch->state = to;
}

static struct mdl_hw_user_page *user_page(const struct mdl_vgpu *v, uint32_t chan)
{
	return (void *)((uint8_t *)v->config.user_pages + (size_t)chan * MDL_HW_USER_STRIDE);
}

uint32_t mdl_chan_status(const struct mdl_vgpu *v, uint32_t chan)
{
	return status_of[v->chan[chan].state];
}

static bool ctx_ready(const struct mdl_vgpu *v, uint32_t ctx)
{
	return ctx < v->config.contexts && v->ctx[ctx].state == MDL_CTX_READY;
}

static int map_user_page(struct mdl_vgpu *v, uint32_t chan, enum mdl_map_op op)
{
	struct mdl_map_entry e = {
		.op = op,
		.va = MDL_USER_AREA_BASE + (uint64_t)chan * MDL_PAGE_BYTES,
		.bytes = MDL_PAGE_BYTES,
	};

	if (op == MDL_MAP_MAP) {
		e.prot = MDL_MAP_PROT_READ | MDL_MAP_PROT_WRITE;
		e.offset = (uint64_t)chan * MDL_PAGE_BYTES;
		e.mem = MDL_MEM_USER;
	}
	return mdl_ctx_map(v, v->chan[chan].ctx, &e, 1);
}

static void set_error(struct mdl_vgpu *v, uint32_t chan, uint32_t error, uint64_t va)
{
	v->chan[chan].error = error;
	v->chan[chan].fault_va = va;
	/*
	 * Only this thread writes the code there, so that a guest that polls its page and then reads
	 * registers finds them, and the fault ring, as they should be. The guest may write here too;
	 * it only misleads itself.
	 */
	__atomic_store_n(&user_page(v, chan)->error, error, __ATOMIC_RELEASE);
}

/* ENABLE with these registers cannot work. */
static uint32_t enable_error(const struct mdl_vgpu *v, const struct mdl_chan *ch)
{
	uint64_t log2 = ch->reg[MDL_REG_CHAN_RING_LOG2 / 4], va = ch->reg[MDL_REG_CHAN_RING_VA / 4];

	if (!ctx_ready(v, ch->ctx))
		return MDL_ERR_CONTEXT_LOST;
	if (log2 < MDL_RING_LOG2_MIN || log2 > MDL_RING_LOG2_MAX ||
	    !mdl_range_in(va, sizeof(struct mdl_hw_packet) << log2, MDL_WINDOW_BASE,
			  MDL_WINDOW_BYTES))
		return MDL_ERR_BAD_RING;
	return MDL_ERR_NONE;
}

static uint32_t open_in_executor(struct mdl_vgpu *v, uint32_t chan)
{
	const struct mdl_chan *ch = &v->chan[chan];

	if (map_user_page(v, chan, MDL_MAP_MAP) < 0)
		return MDL_ERR_CONTEXT_LOST;
	if (v->ops->chan_open(v->h, ch->ctx, chan, ch->reg[MDL_REG_CHAN_RING_VA / 4],
			      (uint32_t)ch->reg[MDL_REG_CHAN_RING_LOG2 / 4],
			      (uint32_t)ch->reg[MDL_REG_CHAN_VECTOR / 4]) < 0) {
		map_user_page(v, chan, MDL_MAP_UNMAP);
		return MDL_ERR_NO_RESOURCES;
	}
	return MDL_ERR_NONE;
}

static void enable(struct mdl_vgpu *v, uint32_t chan)
{
	struct mdl_chan *ch = &v->chan[chan];
	uint32_t error;

	if (ch->state != MDL_CHAN_OFF)
		return;
	ch->ctx = (uint32_t)ch->reg[MDL_REG_CHAN_CONTEXT / 4];
	ch->error = MDL_ERR_NONE;
	ch->fault_va = 0;
	memset(user_page(v, chan), 0, MDL_HW_USER_STRIDE);
	error = enable_error(v, ch);
	if (!error)
		error = open_in_executor(v, chan);
	if (error) {
		struct mdl_ipc_fault f = {
			.ctx = (uint16_t)ch->ctx,
			.chan = (uint16_t)chan,
			.error = (uint16_t)error,
			.va = ch->reg[MDL_REG_CHAN_RING_VA / 4],
		};

		set_state(ch, MDL_CHAN_DEAD);
		set_error(v, chan, error, f.va);
		mdl_fault_report(v, &f);
		return;
	}
	set_state(ch, MDL_CHAN_READY);
}

/* READY and FAULTED: the executor is told to let go; CLOSING until it has. */
static void begin_close(struct mdl_vgpu *v, uint32_t chan)
{
	struct mdl_chan *ch = &v->chan[chan];

	set_state(ch, MDL_CHAN_CLOSING);
	/*
	 * The executor of a context that is not READY is being ended; the channel goes OFF with it.
	 */
	if (ctx_ready(v, ch->ctx) && v->ops->chan_close(v->h, ch->ctx, chan) < 0)
		mdl_ctx_give_up(v, ch->ctx, MDL_ERR_CONTEXT_LOST, 0);
}

static void clear_error(struct mdl_chan *ch)
{
	ch->error = MDL_ERR_NONE;
	ch->fault_va = 0;
}

void mdl_chan_ctrl(struct mdl_vgpu *v, uint32_t chan, uint32_t cmd)
{
	struct mdl_chan *ch = &v->chan[chan];

	if (cmd & MDL_CTRL_RESET) {
		clear_error(ch);
		if (ch->state == MDL_CHAN_DEAD)
			set_state(ch, MDL_CHAN_OFF);
		else if (ch->state == MDL_CHAN_READY || ch->state == MDL_CHAN_FAULTED)
			begin_close(v, chan);
	} else if (cmd & MDL_CTRL_DISABLE) {
		if (ch->state == MDL_CHAN_READY)
			begin_close(v, chan);
	} else if (cmd & MDL_CTRL_ENABLE) {
		enable(v, chan);
	}
}

void mdl_chan_doorbell(struct mdl_vgpu *v, uint32_t chan)
{
	const struct mdl_chan *ch = &v->chan[chan];

	if (ch->state == MDL_CHAN_READY && ctx_ready(v, ch->ctx))
		v->ops->doorbell(v->h, ch->ctx, chan);
}

bool mdl_chan_running(const struct mdl_vgpu *v, uint32_t chan, uint32_t ctx)
{
	return chan < v->config.channels && v->chan[chan].state == MDL_CHAN_READY &&
	       v->chan[chan].ctx == ctx;
}

void mdl_chan_fail(struct mdl_vgpu *v, uint32_t chan, uint32_t error, uint64_t va)
{
	set_state(&v->chan[chan], MDL_CHAN_FAULTED);
	set_error(v, chan, error, va);
}

void mdl_chan_detach_all(struct mdl_vgpu *v, uint32_t ctx, uint32_t error)
{
	for (uint32_t i = 0; i < v->config.channels; i++) {
		struct mdl_chan *ch = &v->chan[i];

		if (ch->ctx != ctx)
			continue;
		if (ch->state == MDL_CHAN_FAULTED) {
			set_state(ch, MDL_CHAN_DEAD);
		} else if (ch->state == MDL_CHAN_READY && error) {
			set_state(ch, MDL_CHAN_DEAD);
			set_error(v, i, error, 0);
		} else if (ch->state == MDL_CHAN_READY || ch->state == MDL_CHAN_CLOSING) {
			set_state(ch, MDL_CHAN_OFF);
		}
	}
}

void mdl_chan_reset(struct mdl_vgpu *v, uint32_t chan)
{
	struct mdl_chan *ch = &v->chan[chan];

	clear_error(ch);
	if (ch->state == MDL_CHAN_DEAD)
		set_state(ch, MDL_CHAN_OFF);
	assert(ch->state == MDL_CHAN_OFF);
}

void mdl_chan_clear_all(struct mdl_vgpu *v, uint32_t ctx)
{
	for (uint32_t i = 0; i < v->config.channels; i++)
		if (v->chan[i].ctx == ctx && v->chan[i].state == MDL_CHAN_DEAD)
			mdl_chan_reset(v, i);
}

void mdl_vgpu_chan_error(struct mdl_vgpu *v, const struct mdl_ipc_fault *fault)
{
	struct mdl_ipc_fault f = *fault;

	/* Errors of a channel that is being closed do not count: the guest asked it to stop. */
	if (!mdl_chan_running(v, f.chan, f.ctx))
		return;
	if (f.error == MDL_ERR_NONE || f.error > MDL_ERR_COMPILE)
		f.error = MDL_ERR_LAUNCH;
	mdl_chan_fail(v, f.chan, f.error, f.va);
	mdl_fault_report(v, &f);
}

void mdl_vgpu_chan_closed(struct mdl_vgpu *v, uint32_t chan)
{
	struct mdl_chan *ch = chan < v->config.channels ? &v->chan[chan] : NULL;

	if (!ch || ch->state != MDL_CHAN_CLOSING)
		return;
	if (ctx_ready(v, ch->ctx))
		map_user_page(v, chan, MDL_MAP_UNMAP);
	set_state(ch, MDL_CHAN_OFF);
	v->ops->irq(v->h, 0);
}
