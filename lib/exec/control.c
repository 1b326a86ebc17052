/* SPDX-License-Identifier: MIT */
/*
 * The control link: medley-device opens and closes channels and passes interrupt descriptors; the executor reports errors. Message
 * sizes and descriptor counts are checked by lib/ipc; values here. The device has mapped a channel's user page before it opens
 * the channel, and unmaps ring and page only after CHAN_CLOSED. Front end's thread.
 */
#include "exec/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"
#include "exec/fault.h"

int mdl_control_ready(struct mdl_exec *x)
{
	const struct mdl_ipc_hdr msg = { .type = MDL_IPC_EXEC_READY, .bytes = sizeof(msg) };

	return mdl_ipc_send(x->control, &msg, NULL, 0);
}

static void chan_free(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	/* By hand: the device has the description open too, so closing our descriptor does not take it out of the set. */
	epoll_ctl(x->epoll, EPOLL_CTL_DEL, c->doorbell_fd, NULL);
	mdl_close_fd(&c->doorbell_fd);
	free(c);
}

void mdl_control_close_all(struct mdl_exec *x)
{
	while (x->num_chans)
		chan_free(x, x->chan[--x->num_chans]);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(x->irq_fd); i++)
		mdl_close_fd(&x->irq_fd[i]);
}

static int find_chan(const struct mdl_exec *x, uint32_t index)
{
	for (uint32_t i = 0; i < x->num_chans; i++)
		if (x->chan[i]->index == index)
			return (int)i;
	return -1;
}

static int setup(struct mdl_exec *x, const void *buf, int *fd)
{
	const struct mdl_ipc_exec_setup *msg = buf;

	x->ctx = msg->ctx;
	x->epoch_ns = msg->epoch_ns;
	mdl_fault_set_context((uint16_t)msg->ctx);
	return 0;
}

/* Takes *fd. */
static int chan_open(struct mdl_exec *x, const void *buf, int *fd)
{
	const struct mdl_ipc_chan *msg = buf;
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = msg->chan };
	struct mdl_exec_chan *c;

	if (msg->chan >= MDL_HW_CHAN_MAX || find_chan(x, msg->chan) >= 0 || msg->ring_log2 < MDL_RING_LOG2_MIN ||
	    msg->ring_log2 > MDL_RING_LOG2_MAX || !mdl_is_aligned(msg->ring_va, sizeof(struct mdl_hw_packet)) ||
	    !mdl_range_in(msg->ring_va, sizeof(struct mdl_hw_packet) << msg->ring_log2, MDL_WINDOW_BASE, MDL_WINDOW_BYTES))
		return -EPROTO;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->index = msg->chan;
	c->ring_log2 = msg->ring_log2;
	c->ring_va = msg->ring_va;
	c->vector = msg->vector;
	c->user = (struct mdl_hw_user_page *)(uintptr_t)(MDL_USER_AREA_BASE + (uint64_t)msg->chan * MDL_HW_USER_STRIDE);
	c->doorbell_fd = mdl_take_fd(fd);
	if (epoll_ctl(x->epoll, EPOLL_CTL_ADD, c->doorbell_fd, &ev) < 0) {
		chan_free(x, c);
		return -EPROTO;
	}
	mdl_fault_set_packet((uint16_t)c->index, 0);
	atomic_store_explicit((_Atomic uint64_t *)&c->user->get, 0, memory_order_relaxed);
	atomic_store_explicit((_Atomic uint32_t *)&c->user->doorbell_wanted, 0, memory_order_relaxed);
	x->chan[x->num_chans++] = c;
	return 0;
}

static int chan_close(struct mdl_exec *x, const void *buf, int *fd)
{
	struct mdl_ipc_chan reply = *(const struct mdl_ipc_chan *)buf;
	int i = find_chan(x, reply.chan);

	if (i >= 0) {
		struct mdl_exec_chan *c = x->chan[i];

		mdl_program_forget(x, c);
		mdl_packet_forget(x, c);
		x->chan[i] = x->chan[--x->num_chans];
		chan_free(x, c);
	}
	reply.hdr.type = MDL_IPC_CHAN_CLOSED;
	return mdl_ipc_send(x->control, &reply, NULL, 0);
}

/*
 * Takes *fd; -1: interrupts of the vector go nowhere. The VMM has left the old eventfd before this message comes: an interrupt raised
 * in between went nowhere, so one is raised again. One too many does no harm, one too few would hang a driver.
 */
static int irq_set(struct mdl_exec *x, const void *buf, int *fd)
{
	const struct mdl_ipc_irq_set *msg = buf;

	if (msg->vector >= MDL_ARRAY_SIZE(x->irq_fd))
		return -EPROTO;
	mdl_close_fd(&x->irq_fd[msg->vector]);
	x->irq_fd[msg->vector] = mdl_take_fd(fd);
	if (x->irq_raised & 1u << msg->vector && x->irq_fd[msg->vector] >= 0)
		mdl_eventfd_signal(x->irq_fd[msg->vector]);
	x->irq_raised &= ~(1u << msg->vector);
	return 0;
}

/* Handlers take the descriptor if they keep it. */
static const struct {
	uint32_t type;
	int (*handle)(struct mdl_exec *x, const void *msg, int *fd);
} handlers[] = {
	{ MDL_IPC_EXEC_SETUP, setup },
	{ MDL_IPC_CHAN_OPEN, chan_open },
	{ MDL_IPC_CHAN_CLOSE, chan_close },
	{ MDL_IPC_IRQ_SET, irq_set },
};

static int handle_one(struct mdl_exec *x, const void *buf, int *fd)
{
	const struct mdl_ipc_hdr *hdr = buf;

	for (size_t i = 0; i < MDL_ARRAY_SIZE(handlers); i++)
		if (handlers[i].type == hdr->type)
			return handlers[i].handle(x, buf, fd);
	return -EPROTO;
}

int mdl_control_handle(struct mdl_exec *x)
{
	union {
		char bytes[MDL_IPC_MAX_BYTES];
		uint64_t align;
	} buf;
	int fds[MDL_IPC_MAX_FDS];
	size_t nfds;
	int err;

	for (;;) {
		mdl_autofd fd = -1;

		err = mdl_ipc_recv(x->control, &buf, sizeof(buf), fds, &nfds);
		if (err)
			return err == -EAGAIN ? 0 : err;
		if (nfds)
			fd = fds[0];	/* the table allows no type of this direction more than one */
		err = handle_one(x, &buf, &fd);
		if (err)
			return err;
	}
}

int mdl_control_chan_error(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_ipc_fault msg = {
		.hdr = { .type = MDL_IPC_CHAN_ERROR, .bytes = sizeof(msg) },
		.ctx = (uint16_t)x->ctx,
		.chan = (uint16_t)c->index,
		.error = c->error,
		.tag = c->have ? c->pkt.tag : 0,
		.info = c->info,
	};

	c->stopped = true;
	/*
	 * The device writes the code to the user page: a guest that saw it there before the device knew would find neither
	 * registers nor fault ring changed.
	 */
	atomic_store_explicit((_Atomic uint64_t *)&c->user->error_get, c->get, memory_order_relaxed);
	return mdl_ipc_send(x->control, &msg, NULL, 0);
}
