/* SPDX-License-Identifier: MIT */
/*
 * The packet ring of a channel and its argument memory: space, handing over, doorbell. head,
 * published and get are free-running packet counts, get <= published <= head <= get + ring size;
 * the device's index is believed only inside these bounds.
 *
 * Doorbell protocol: we store put, full barrier, load doorbell_wanted; the executor, before it
 * sleeps, stores doorbell_wanted, full barrier, loads put. So at least one side sees the other's
 * store: either it finds the packet, or we ring.
 *
 * Argument memory is a ring of bytes. Every packet notes where the bytes given out before it end;
 * when it has completed, everything before that is free again. No lists, no allocation per command.
 */
#include "internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static uint32_t ring_mask(const struct mdl_chan *chan)
{
	return (1u << chan->ring_log2) - 1;
}

static uint64_t ring_size(const struct mdl_chan *chan)
{
	return 1ull << chan->ring_log2;
}

int mdl_ring_check(struct mdl_chan *chan)
{
	if (chan->resets != chan->gpu->resets ||
	    __atomic_load_n(&chan->user->error, __ATOMIC_RELAXED) != MDL_ERR_NONE)
		chan->stopped = true;
	return chan->stopped ? -EIO : 0;
}

int mdl_ring_update(struct mdl_chan *chan)
{
	/*
	 * Acquire: what the device wrote for a completed packet is seen, and its slot and arguments
	 * are no longer read.
	 */
	uint64_t get = __atomic_load_n(&chan->user->get, __ATOMIC_ACQUIRE);

	if (get == chan->get)
		return 0;
	if (get < chan->get || get > chan->published) {
		chan->stopped = true;
		return -EIO;
	}
	chan->get = get;
	chan->args_tail = chan->args_end[(get - 1) & ring_mask(chan)];
	return 0;
}

void mdl_ring_restart(struct mdl_chan *chan)
{
	chan->base += chan->head;
	chan->head = chan->published = chan->get = 0;
	chan->args_head = chan->args_tail = 0;
	chan->irq_value = chan->base;
	chan->batch = false;
	chan->stopped = false;
	__atomic_store_n(chan->fence, chan->base, __ATOMIC_RELAXED);
	__atomic_store_n(&chan->user->put, 0, __ATOMIC_RELEASE);
}

int mdl_ring_publish(struct mdl_chan *chan, bool irq)
{
	struct mdl_hw_packet *last = &chan->ring[(chan->head - 1) & ring_mask(chan)];
	uint32_t wanted;

	if (chan->head == chan->published)
		return 0;
	last->flags |= MDL_PKT_SIGNAL | MDL_PKT_BARRIER | (irq ? MDL_PKT_IRQ : 0);
	last->signal_va = chan->fence_va;
	last->signal_value = chan->base + chan->head;
	if (irq)
		chan->irq_value = last->signal_value;
	chan->published = chan->head;
	/* Release: the packets and arguments are there when put says so. */
	__atomic_store_n(&chan->user->put, chan->published, __ATOMIC_RELEASE);
	/* Full: put before doorbell_wanted; pairs with the executor's barrier before it sleeps. */
	atomic_thread_fence(memory_order_seq_cst);
	wanted = __atomic_load_n(&chan->user->doorbell_wanted, __ATOMIC_RELAXED);
	if (!wanted)
		return 0;
	if (chan->gpu->port->ops->doorbell)
		return chan->gpu->port->ops->doorbell(chan->gpu->port, chan->id);
	return mdl_gpu_write(chan->gpu, MDL_HW_DOORBELL_BASE + 4 * chan->id, 1);
}

/*
 * Waits until the device has completed a packet more than now. What was not handed over yet is,
 * else nothing would move.
 */
static int wait_progress(struct mdl_chan *chan, uint64_t start_ns)
{
	uint64_t before = chan->get, pause = 0, now;
	struct mdl_port *port = chan->gpu->port;
	int r = mdl_ring_publish(chan, false);

	while (r == 0) {
		r = mdl_ring_update(chan);
		if (r < 0 || chan->get != before)
			return r;
		r = mdl_ring_check(chan);
		if (r < 0)
			return r;
		if (mdl_gpu_expired(chan->gpu, start_ns, chan->limit_ns))
			return -ETIMEDOUT;
		now = mdl_gpu_now_ns(chan->gpu);
		if (now - start_ns < chan->gpu->spin_ns) {
			mdl_relax();
			continue;
		}
		pause = mdl_min_u64(pause ? pause * 2 : 10 * MDL_NS_PER_US, MDL_NS_PER_MS);
		port->ops->sleep_ns(port, pause);
	}
	return r;
}

int mdl_ring_put(struct mdl_chan *chan, const struct mdl_hw_packet *packet)
{
	uint64_t start_ns = 0;
	int r = mdl_ring_check(chan);

	while (r == 0 && chan->head - chan->get >= ring_size(chan)) {
		r = mdl_ring_update(chan);
		if (r < 0 || chan->head - chan->get < ring_size(chan))
			continue;
		if (!start_ns)
			start_ns = mdl_gpu_now_ns(chan->gpu);
		r = wait_progress(chan, start_ns);
	}
	if (r < 0)
		return r;
	chan->ring[chan->head & ring_mask(chan)] = *packet;
	chan->args_end[chan->head & ring_mask(chan)] = chan->args_head;
	chan->head++;
	return chan->batch ? 0 : mdl_ring_publish(chan, false);
}

int mdl_ring_args(struct mdl_chan *chan, uint64_t bytes, void **ret_ptr, uint64_t *ret_va)
{
	uint64_t mask = chan->args_bytes - 1, start_ns = 0, at;
	int r = mdl_ring_check(chan);

	if (r < 0)
		return r;
	if (bytes > chan->args_bytes / 4)
		return -E2BIG;
	bytes = mdl_align_up(bytes, 16);
	at = chan->args_head;
	if ((at & mask) + bytes > chan->args_bytes) /* never wraps inside: skip the rest */
		at = mdl_align_up(at, chan->args_bytes);
	while (at + bytes - chan->args_tail > chan->args_bytes) {
		r = mdl_ring_update(chan);
		if (r < 0)
			return r;
		if (at + bytes - chan->args_tail <= chan->args_bytes)
			break;
		if (chan->head == chan->get) {
			/*
			 * No packet is left that could free them: they were given out, but their
			 * packet was never put.
			 */
			chan->args_tail = chan->args_head;
			continue;
		}
		if (!start_ns)
			start_ns = mdl_gpu_now_ns(chan->gpu);
		r = wait_progress(chan, start_ns);
		if (r < 0)
			return r;
	}
	chan->args_head = at + bytes;
	*ret_ptr = chan->args + (at & mask);
	*ret_va = chan->args_va + (at & mask);
	return 0;
}
