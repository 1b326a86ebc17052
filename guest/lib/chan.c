/* SPDX-License-Identifier: MIT */
/*
 * Channels: making, starting, resetting and ending them, batches, errors. The ring itself is in
 * ring.c, the commands in cmd.c. Memory of a channel is one buffer: ring, a page for the fence
 * word, argument memory. Owned by the device's one thread.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

#define RING_LOG2_DEFAULT  10
#define ARGS_BYTES_DEFAULT (64u << 10)
#define ARGS_BYTES_MAX	   (16u << 20)
#define LIMIT_DEFAULT_NS   ((int64_t)(10 * MDL_NS_PER_S))

static bool alive(const struct mdl_chan *chan)
{
	return chan->resets == chan->gpu->resets;
}

/* Off and without error, whatever it was. */
static int stop(struct mdl_chan *chan)
{
	uint32_t status;
	int r = mdl_gpu_write(chan->gpu, mdl_chan_reg(chan, MDL_REG_CHAN_CTRL), MDL_CTRL_RESET);

	if (r == 0)
		r = mdl_gpu_settle(chan->gpu, mdl_chan_reg(chan, MDL_REG_CHAN_STATUS), &status);
	return r;
}

static int start(struct mdl_chan *chan)
{
	struct mdl_gpu *gpu = chan->gpu;
	uint32_t status;
	int r;

	mdl_ring_restart(chan);
	if ((r = mdl_gpu_write(gpu, mdl_chan_reg(chan, MDL_REG_CHAN_CONTEXT), chan->ctx->id)) < 0 ||
	    (r = mdl_gpu_write(gpu, mdl_chan_reg(chan, MDL_REG_CHAN_RING_LOG2), chan->ring_log2)) <
		    0 ||
	    (r = mdl_gpu_write64(gpu, mdl_chan_reg(chan, MDL_REG_CHAN_RING_VA), chan->ring_va)) <
		    0 ||
	    (r = mdl_gpu_write(gpu, mdl_chan_reg(chan, MDL_REG_CHAN_VECTOR), chan->vector)) < 0 ||
	    (r = mdl_gpu_write(gpu, mdl_chan_reg(chan, MDL_REG_CHAN_CTRL), MDL_CTRL_ENABLE)) < 0 ||
	    (r = mdl_gpu_settle(gpu, mdl_chan_reg(chan, MDL_REG_CHAN_STATUS), &status)) < 0)
		return r;
	if (status != MDL_STATUS_READY)
		return -EIO;
	return 0;
}

static void chan_free(struct mdl_chan *chan)
{
	mdl_buf_destroy(chan->mem);
	free(chan->args_end);
	if (alive(chan))
		mdl_bit_put(chan->gpu->chan_used, chan->id);
	free(chan);
}

static int init(struct mdl_chan *chan, const struct mdl_chan_options *o)
{
	uint64_t ring_bytes = sizeof(struct mdl_hw_packet) << chan->ring_log2;
	uint64_t fence_at = mdl_align_up(ring_bytes, MDL_PAGE_BYTES);
	uint64_t args_at = fence_at + MDL_PAGE_BYTES;
	uint8_t *ptr;
	int r;

	chan->args_end = calloc(1ull << chan->ring_log2, sizeof(chan->args_end[0]));
	if (!chan->args_end)
		return -ENOMEM;
	r = mdl_buf_alloc(chan->ctx, args_at + chan->args_bytes, o->place, &chan->mem);
	if (r < 0)
		return r;
	ptr = mdl_buf_ptr(chan->mem);
	chan->ring = (struct mdl_hw_packet *)ptr;
	chan->ring_va = mdl_buf_va(chan->mem);
	chan->fence = (uint64_t *)(ptr + fence_at);
	chan->fence_va = chan->ring_va + fence_at;
	chan->args = ptr + args_at;
	chan->args_va = chan->ring_va + args_at;
	chan->user = (struct mdl_hw_user_page *)((uint8_t *)chan->gpu->port->user +
						 chan->id * (size_t)MDL_HW_USER_STRIDE);
	return 0;
}

int mdl_chan_create(struct mdl_ctx *ctx, const struct mdl_chan_options *options,
		    struct mdl_chan **ret_chan)
{
	struct mdl_chan_options o = options ? *options : (struct mdl_chan_options) { 0 };
	struct mdl_gpu *gpu = ctx->gpu;
	struct mdl_chan *chan;
	uint32_t id;
	int r;

	if (!o.ring_log2)
		o.ring_log2 = RING_LOG2_DEFAULT;
	if (!o.args_bytes)
		o.args_bytes = ARGS_BYTES_DEFAULT;
	if (o.ring_log2 < MDL_RING_LOG2_MIN || o.ring_log2 > MDL_RING_LOG2_MAX ||
	    !mdl_is_pow2(o.args_bytes) || o.args_bytes < MDL_PAGE_BYTES ||
	    o.args_bytes > ARGS_BYTES_MAX || o.place > MDL_PLACE_SYSTEM)
		return -EINVAL;
	if (ctx->resets != gpu->resets)
		return -EIO;
	r = mdl_bit_take(gpu->chan_used, gpu->info.num_channels, &id);
	if (r < 0)
		return r;
	chan = calloc(1, sizeof(*chan));
	if (!chan) {
		mdl_bit_put(gpu->chan_used, id);
		return -ENOMEM;
	}
	chan->gpu = gpu;
	chan->ctx = ctx;
	chan->id = id;
	chan->resets = gpu->resets;
	/* Vector 0 tells of faults; channels share the others when there are more of them. */
	if (gpu->info.num_vectors > 1)
		chan->vector = 1 + id % (gpu->info.num_vectors - 1);
	chan->ring_log2 = o.ring_log2;
	chan->args_bytes = o.args_bytes;
	chan->limit_ns = LIMIT_DEFAULT_NS;
	r = init(chan, &o);
	if (r == 0)
		r = stop(chan);
	if (r == 0) {
		r = start(chan);
		if (r < 0)
			stop(chan);
	}
	if (r < 0) {
		chan_free(chan);
		return r;
	}
	chan->next = ctx->chans;
	ctx->chans = chan;
	*ret_chan = chan;
	return 0;
}

void mdl_chan_destroy(struct mdl_chan *chan)
{
	struct mdl_chan **at;

	if (!chan)
		return;
	if (alive(chan))
		stop(chan);
	for (at = &chan->ctx->chans; *at != chan; at = &(*at)->next)
		;
	*at = chan->next;
	chan_free(chan);
}

uint32_t mdl_chan_id(const struct mdl_chan *chan)
{
	return chan->id;
}

int mdl_chan_error(struct mdl_chan *chan, struct mdl_chan_error *ret_error)
{
	struct mdl_chan_error e = { 0 };
	struct mdl_ctx_state ctx;
	uint64_t slots = 1ull << chan->ring_log2;
	int r;

	if (mdl_ring_check(chan) == 0) {
		*ret_error = e;
		return 0;
	}
	r = mdl_ctx_state(chan->ctx, &ctx);
	if (r < 0)
		return r;
	e.context_lost = ctx.status != MDL_STATUS_READY;
	if (alive(chan)) {
		if ((r = mdl_gpu_read(chan->gpu, mdl_chan_reg(chan, MDL_REG_CHAN_ERROR),
				      &e.error)) < 0 ||
		    (r = mdl_gpu_read64(chan->gpu, mdl_chan_reg(chan, MDL_REG_CHAN_FAULT_VA),
					&e.va)) < 0)
			return r;
		e.packet = __atomic_load_n(&chan->user->error_get, __ATOMIC_RELAXED);
	}
	/* The context's error says more when the channel only went down with it. */
	if (e.error == MDL_ERR_NONE || (e.error == MDL_ERR_CONTEXT_LOST && ctx.error)) {
		e.error = ctx.error ? ctx.error : MDL_ERR_CONTEXT_LOST;
		e.va = ctx.fault_va;
	}
	if (e.packet < chan->head && chan->head - e.packet <= slots)
		e.tag = chan->ring[e.packet & (slots - 1)].tag;
	*ret_error = e;
	return 0;
}

int mdl_chan_reset(struct mdl_chan *chan)
{
	int r;

	if (!alive(chan) || chan->ctx->resets != chan->gpu->resets)
		return -EIO;
	r = stop(chan);
	chan->epoch++;
	chan->stopped = true; /* until it has started */
	return r < 0 ? r : start(chan);
}

void mdl_chan_set_limit(struct mdl_chan *chan, int64_t timeout_ns)
{
	chan->limit_ns = timeout_ns;
}

void mdl_chan_set_overlap(struct mdl_chan *chan, bool overlap)
{
	chan->overlap = overlap;
}

void mdl_chan_set_tag(struct mdl_chan *chan, uint32_t tag)
{
	chan->tag = tag;
}

int mdl_chan_begin(struct mdl_chan *chan)
{
	int r = mdl_ring_check(chan);

	if (r < 0)
		return r;
	if (chan->batch)
		return -EBUSY;
	chan->batch = true;
	return 0;
}

int mdl_chan_commit(struct mdl_chan *chan, uint32_t flags, struct mdl_fence *ret_fence)
{
	int r;

	if (flags & ~MDL_COMMIT_IRQ || !chan->batch)
		return -EINVAL;
	chan->batch = false;
	r = mdl_ring_publish(chan, flags & MDL_COMMIT_IRQ);
	if (r < 0)
		return r;
	if (ret_fence)
		mdl_chan_fence(chan, ret_fence);
	return 0;
}

void mdl_chan_fence(const struct mdl_chan *chan, struct mdl_fence *ret_fence)
{
	ret_fence->chan = (struct mdl_chan *)chan;
	ret_fence->value = chan->base + chan->published;
	ret_fence->epoch = chan->epoch;
}

int mdl_chan_finish(struct mdl_chan *chan, int64_t timeout_ns)
{
	struct mdl_fence f;

	if (chan->batch)
		return -EBUSY;
	mdl_chan_fence(chan, &f);
	return mdl_fence_wait(&f, timeout_ns);
}
