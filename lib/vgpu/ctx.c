/* SPDX-License-Identifier: MIT */
/*
 * GPU contexts. A context is a page-table root and, while READY, an executor that the host found
 * for it. Guest commands and executor events may come in any order; the states and the table below
 * say what can follow what:
 *
 *   OFF --ENABLE--> OPENING --opened--> READY --DISABLE, RESET--> OFF
 *                   ^  |  \               |  \
 *            ENABLE |  |   error, lost    |   map failed --> DYING --lost--> FAULTED
 *                   |  |    \             |                    |
 *                   |  |     `-> FAULTED <' fault, lost        | DISABLE, RESET
 *    DISABLE, RESET |  |            | RESET                    v
 *                   |  v            v                        ENDING --lost--> OFF
 *                CANCELLED -------> OFF
 *                     opened (closed at once), error, lost
 *
 * An executor that was asked for may take long to come, so nobody waits for one that is not wanted
 * any more: CANCELLED is OFF to the guest, and another ENABLE makes the old request its own.
 *
 * The host never gets a ctx_close for an executor that it has not delivered or that it has reported
 * lost, and exactly one for any other. So no event of an old executor can be taken for one of a new
 * executor.
 *
 * Owned by the caller's thread.
 */
#include <assert.h>
#include <errno.h>

#include "priv.h"

#define TO(state) (1u << MDL_CTX_##state)

static const uint32_t allowed[MDL_CTX_STATES] = {
	[MDL_CTX_OFF] = TO(OPENING) | TO(FAULTED),
	[MDL_CTX_OPENING] = TO(READY) | TO(CANCELLED) | TO(FAULTED),
	[MDL_CTX_CANCELLED] = TO(OFF) | TO(OPENING),
	[MDL_CTX_READY] = TO(OFF) | TO(DYING) | TO(FAULTED),
	[MDL_CTX_DYING] = TO(ENDING) | TO(FAULTED),
	[MDL_CTX_ENDING] = TO(OFF),
	[MDL_CTX_FAULTED] = TO(OFF),
};

static const uint8_t status_of[MDL_CTX_STATES] = {
	[MDL_CTX_OFF] = MDL_STATUS_OFF,		[MDL_CTX_OPENING] = MDL_STATUS_PENDING,
	[MDL_CTX_CANCELLED] = MDL_STATUS_OFF,	[MDL_CTX_READY] = MDL_STATUS_READY,
	[MDL_CTX_DYING] = MDL_STATUS_PENDING,	[MDL_CTX_ENDING] = MDL_STATUS_PENDING,
	[MDL_CTX_FAULTED] = MDL_STATUS_FAULTED,
};

/* Leaving READY is forgetting what was mapped: whoever ends the executor ends its mappings. */
static void set_state(struct mdl_ctx *c, enum mdl_ctx_state to)
{
	assert(allowed[c->state] & (1u << to));
	if (c->state == MDL_CTX_READY)
		mdl_runs_free(&c->runs);
	c->state = to;
}

static void clear_error(struct mdl_ctx *c)
{
	c->error = MDL_ERR_NONE;
	c->fault_va = 0;
}

uint32_t mdl_ctx_status(const struct mdl_vgpu *v, uint32_t ctx)
{
	return status_of[v->ctx[ctx].state];
}

/* Notes an error in the registers and reports it. */
static void report(struct mdl_vgpu *v, const struct mdl_ipc_fault *f)
{
	struct mdl_ctx *c = &v->ctx[f->ctx];

	c->error = f->error;
	c->fault_va = f->va;
	mdl_fault_report(v, f);
}

static struct mdl_ipc_fault ctx_error(uint32_t ctx, uint32_t error, uint64_t va)
{
	return (struct mdl_ipc_fault) {
		.ctx = (uint16_t)ctx,
		.chan = MDL_FAULT_NO_CHANNEL,
		.error = (uint16_t)error,
		.va = va,
	};
}

static void enable(struct mdl_vgpu *v, uint32_t ctx)
{
	struct mdl_ctx *c = &v->ctx[ctx];

	if (c->state != MDL_CTX_OFF && c->state != MDL_CTX_CANCELLED)
		return;
	clear_error(c);
	if (c->state == MDL_CTX_CANCELLED) {
		set_state(c, MDL_CTX_OPENING);
		return;
	}
	if (v->ops->ctx_open(v->h, ctx) < 0) {
		struct mdl_ipc_fault f = ctx_error(ctx, MDL_ERR_NO_RESOURCES, 0);

		set_state(c, MDL_CTX_FAULTED);
		report(v, &f);
		return;
	}
	set_state(c, MDL_CTX_OPENING);
}

static void disable(struct mdl_vgpu *v, uint32_t ctx)
{
	struct mdl_ctx *c = &v->ctx[ctx];

	switch (c->state) {
	case MDL_CTX_READY:
		v->ops->ctx_close(v->h, ctx);
		set_state(c, MDL_CTX_OFF);
		break;
	case MDL_CTX_OPENING:
		set_state(c, MDL_CTX_CANCELLED);
		break;
	case MDL_CTX_DYING:
		set_state(c, MDL_CTX_ENDING);
		break;
	default:
		return;
	}
	mdl_chan_detach_all(v, ctx, MDL_ERR_NONE);
}

void mdl_ctx_reset(struct mdl_vgpu *v, uint32_t ctx)
{
	struct mdl_ctx *c = &v->ctx[ctx];

	if (c->state == MDL_CTX_FAULTED)
		set_state(c, MDL_CTX_OFF);
	else
		disable(v, ctx);
	clear_error(c);
	mdl_chan_clear_all(v, ctx);
}

void mdl_ctx_ctrl(struct mdl_vgpu *v, uint32_t ctx, uint32_t cmd)
{
	if (cmd & MDL_CTRL_RESET)
		mdl_ctx_reset(v, ctx);
	else if (cmd & MDL_CTRL_DISABLE)
		disable(v, ctx);
	else if (cmd & MDL_CTRL_ENABLE)
		enable(v, ctx);
}

int mdl_ctx_map(struct mdl_vgpu *v, uint32_t ctx, const struct mdl_map_entry *entry, size_t count)
{
	struct mdl_ctx *c = &v->ctx[ctx];
	int ret;

	assert(c->state == MDL_CTX_READY);
	ret = v->ops->ctx_map(v->h, ctx, entry, count);
	if (ret < 0) {
		/*
		 * What the last invalidate said is overtaken: a fault that comes before ctx_lost
		 * says why.
		 */
		clear_error(c);
		set_state(c, MDL_CTX_DYING);
		return ret;
	}
	for (size_t i = 0; i < count; i++)
		*(entry[i].op == MDL_MAP_MAP ? &v->stats.maps : &v->stats.unmaps) += 1;
	return 0;
}

void mdl_ctx_give_up(struct mdl_vgpu *v, uint32_t ctx, uint32_t error, uint64_t va)
{
	struct mdl_ipc_fault f = ctx_error(ctx, error, va);

	v->ops->ctx_close(v->h, ctx);
	set_state(&v->ctx[ctx], MDL_CTX_FAULTED);
	mdl_chan_detach_all(v, ctx, MDL_ERR_CONTEXT_LOST);
	report(v, &f);
}

void mdl_ctx_remove_gpa(struct mdl_vgpu *v, uint32_t ctx, uint64_t gpa, uint64_t bytes)
{
	struct mdl_ctx *c = &v->ctx[ctx];

	if (c->state != MDL_CTX_READY || mdl_shadow_remove_gpa(v, ctx, gpa, bytes) == 0)
		return;
	/*
	 * Either ctx_map failed, and the executor is killed, or there was no memory for the list:
	 * then it must go too.
	 */
	if (c->state == MDL_CTX_READY)
		mdl_ctx_give_up(v, ctx, MDL_ERR_NO_RESOURCES, 0);
}

static void invalidate_range(struct mdl_vgpu *v, uint32_t ctx, uint64_t start, uint64_t end)
{
	struct mdl_ctx *c = &v->ctx[ctx];
	struct mdl_walk_error bad;
	struct mdl_ipc_fault f;
	int ret;

	v->stats.invalidates++;
	ret = mdl_gmmu_walk(v, c->reg[MDL_REG_CTX_PT_ROOT / 4], start, end, &bad);
	if (ret == 0)
		ret = mdl_shadow_replace(v, ctx, start, end);
	if (c->state != MDL_CTX_READY)
		return;
	if (ret < 0) {
		mdl_ctx_give_up(v, ctx, MDL_ERR_NO_RESOURCES, start);
		return;
	}
	clear_error(c);
	if (bad.bad) {
		f = ctx_error(ctx, MDL_ERR_BAD_PTE, bad.va);
		report(v, &f);
	}
}

void mdl_ctx_invalidate(struct mdl_vgpu *v, uint32_t ctx)
{
	const struct mdl_ctx *c = &v->ctx[ctx];
	uint64_t start = c->reg[MDL_REG_CTX_INV_VA / 4], bytes = c->reg[MDL_REG_CTX_INV_BYTES / 4];

	if (c->state != MDL_CTX_READY)
		return;
	if (!bytes)
		invalidate_range(v, ctx, 0, MDL_VA_END);
	else
		invalidate_range(v, ctx, start, start + mdl_min_u64(bytes, MDL_VA_END - start));
}

void mdl_vgpu_ctx_opened(struct mdl_vgpu *v, uint32_t ctx, int error)
{
	struct mdl_ctx *c = ctx < v->config.contexts ? &v->ctx[ctx] : NULL;

	if (!c || (c->state != MDL_CTX_OPENING && c->state != MDL_CTX_CANCELLED))
		return;
	if (c->state == MDL_CTX_CANCELLED) {
		if (!error)
			v->ops->ctx_close(v->h, ctx);
		set_state(c, MDL_CTX_OFF);
	} else if (error) {
		struct mdl_ipc_fault f = ctx_error(ctx, MDL_ERR_NO_RESOURCES, 0);

		set_state(c, MDL_CTX_FAULTED);
		report(v, &f);
	} else {
		/*
		 * As if the driver's first invalidate: invalidates written while PENDING went
		 * nowhere.
		 */
		set_state(c, MDL_CTX_READY);
		invalidate_range(v, ctx, 0, MDL_VA_END);
		v->ops->irq(v->h, 0);
	}
}

/*
 * An executor may send anything; what is not an error of a context or channel counts as a lost
 * context.
 */
static struct mdl_ipc_fault sane(const struct mdl_ipc_fault *f)
{
	struct mdl_ipc_fault s = *f;

	if (s.error == MDL_ERR_NONE || s.error > MDL_ERR_COMPILE)
		s.error = MDL_ERR_CONTEXT_LOST;
	return s;
}

void mdl_vgpu_ctx_lost(struct mdl_vgpu *v, uint32_t ctx, uint32_t error)
{
	struct mdl_ctx *c = ctx < v->config.contexts ? &v->ctx[ctx] : NULL;
	struct mdl_ipc_fault f;
	bool reported;

	if (!c || c->state == MDL_CTX_OFF || c->state == MDL_CTX_FAULTED)
		return;
	if (c->state == MDL_CTX_CANCELLED || c->state == MDL_CTX_ENDING) {
		bool pending = status_of[c->state] == MDL_STATUS_PENDING;

		set_state(c, MDL_CTX_OFF);
		if (pending)
			v->ops->irq(v->h, 0);
		return;
	}
	reported = c->state == MDL_CTX_DYING && c->error != MDL_ERR_NONE;
	set_state(c, MDL_CTX_FAULTED);
	mdl_chan_detach_all(v, ctx, MDL_ERR_CONTEXT_LOST);
	f = ctx_error(ctx, error, 0);
	f = sane(&f);
	if (!reported)
		report(v, &f);
}

void mdl_vgpu_ctx_fault(struct mdl_vgpu *v, const struct mdl_ipc_fault *fault)
{
	struct mdl_ipc_fault f = sane(fault);
	struct mdl_ctx *c = f.ctx < v->config.contexts ? &v->ctx[f.ctx] : NULL;
	bool reported;

	if (!c || (c->state != MDL_CTX_READY && c->state != MDL_CTX_DYING))
		return;
	reported = c->state == MDL_CTX_DYING && c->error != MDL_ERR_NONE;
	if (reported)
		return;
	if (mdl_chan_running(v, f.chan, f.ctx))
		mdl_chan_fail(v, f.chan, f.error, f.va);
	else
		f.chan = MDL_FAULT_NO_CHANNEL;
	/* A DYING context's executor is being killed already, and ctx_lost will end it for us. */
	if (c->state == MDL_CTX_READY) {
		v->ops->ctx_close(v->h, f.ctx);
		set_state(c, MDL_CTX_FAULTED);
		mdl_chan_detach_all(v, f.ctx, MDL_ERR_CONTEXT_LOST);
	}
	report(v, &f);
}
