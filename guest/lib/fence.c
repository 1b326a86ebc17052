/* SPDX-License-Identifier: MIT */
/*
 * Fences: values that the device stores when a batch has completed, compared modulo 2^64. Waiting
 * spins, then sleeps on interrupts.
 *
 * No wake-up is lost: interrupts are forgotten (irq_clear) before the fence is looked at, so one
 * that comes after the look ends the sleep at once. Interrupts are raised only for work that
 * somebody waits for: by batches committed with MDL_COMMIT_IRQ, else by a barrier packet that the
 * waiter queues behind. Owned by the device's one thread.
 */
#include "internal.h"

#include <errno.h>

/* Sleeps are cut to this so that a device that died without a word is noticed. */
#define SLICE_NS       (100 * MDL_NS_PER_MS)
/*
 * And to this when the interrupt comes from a packet further behind, which other work may hold up.
 */
#define SLICE_LOOSE_NS (2 * MDL_NS_PER_MS)

static bool reached(const struct mdl_chan *chan, uint64_t value)
{
	/* Acquire: pairs with the device's release, so the results are seen. */
	return (int64_t)(__atomic_load_n(chan->fence, __ATOMIC_ACQUIRE) - value) >= 0;
}

int mdl_fence_poll(const struct mdl_fence *fence)
{
	struct mdl_chan *chan = fence->chan;

	if (!chan)
		return 1;
	if (fence->epoch != chan->epoch)
		return -ECANCELED;
	if (chan->resets != chan->gpu->resets)
		return -EIO;
	if (reached(chan, fence->value))
		return 1;
	if (mdl_ring_check(chan) == 0)
		return 0;
	/* The error is stored after the last good packet's signal: look again. */
	return reached(chan, fence->value) ? 1 : -EIO;
}

/* A look at the registers, in case the user page was not written. */
static int check_status(struct mdl_chan *chan)
{
	uint32_t status;
	int r = mdl_gpu_read(chan->gpu, mdl_chan_reg(chan, MDL_REG_CHAN_STATUS), &status);

	if (r < 0)
		return r;
	if (status != MDL_STATUS_READY)
		chan->stopped = true;
	return 0;
}

/* Makes sure that a packet at or behind the fence interrupts. False: the ring is full, poll. */
static bool arm(struct mdl_chan *chan, uint64_t value)
{
	struct mdl_hw_packet p = { .opcode = MDL_OP_BARRIER,
				   .flags = MDL_PKT_BARRIER,
				   .tag = (uint32_t)chan->head };
	bool batch = chan->batch;

	if ((int64_t)(chan->irq_value - value) >= 0)
		return true;
	if (mdl_ring_update(chan) < 0 || chan->head - chan->get >= 1ull << chan->ring_log2)
		return false;
	chan->batch = true; /* one hand-over, with the interrupt */
	if (mdl_ring_put(chan, &p) == 0)
		mdl_ring_publish(chan, true);
	chan->batch = batch;
	return (int64_t)(chan->irq_value - value) >= 0;
}

static int spin(const struct mdl_fence *fence, uint64_t start, int64_t timeout_ns)
{
	struct mdl_gpu *gpu = fence->chan->gpu;
	int r;

	for (unsigned int i = 0;; i++) {
		r = mdl_fence_poll(fence);
		if (r)
			return r;
		if (i % 16 == 0) {
			if (mdl_gpu_expired(gpu, start, timeout_ns))
				return -ETIMEDOUT;
			if (gpu->spin_ns != UINT64_MAX &&
			    mdl_gpu_now_ns(gpu) - start >= gpu->spin_ns)
				return 0;
		}
		mdl_relax();
	}
}

int mdl_fence_wait(const struct mdl_fence *fence, int64_t timeout_ns)
{
	struct mdl_chan *chan = fence->chan;
	uint64_t start, pause = 20 * MDL_NS_PER_US, checked;
	struct mdl_port *port;
	int r = mdl_fence_poll(fence);

	if (r)
		return r < 0 ? r : 0;
	port = chan->gpu->port;
	checked = start = mdl_gpu_now_ns(chan->gpu);
	r = spin(fence, start, timeout_ns);
	while (r == 0) {
		uint64_t sleep = SLICE_NS, now;
		bool armed = port->num_vectors && arm(chan, fence->value);

		if (armed)
			port->ops->irq_clear(port, 1u << chan->vector | 1u);
		r = mdl_fence_poll(fence);
		now = mdl_gpu_now_ns(chan->gpu);
		if (r == 0 && mdl_gpu_expired(chan->gpu, start, timeout_ns))
			r = -ETIMEDOUT;
		if (r == 0 && now - checked >= SLICE_NS) {
			r = check_status(chan);
			checked = now;
			continue;
		}
		if (r)
			break;
		if (timeout_ns >= 0)
			sleep = mdl_min_u64(sleep, (uint64_t)timeout_ns - (now - start));
		if (!armed) {
			port->ops->sleep_ns(port, mdl_min_u64(sleep, pause));
			pause = mdl_min_u64(pause * 2, MDL_NS_PER_MS);
			continue;
		}
		if (chan->irq_value - fence->value > 1)
			sleep = mdl_min_u64(sleep, SLICE_LOOSE_NS);
		r = port->ops->irq_wait(port, 1u << chan->vector | 1u, sleep);
	}
	return r < 0 ? r : 0;
}
