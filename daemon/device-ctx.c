/* SPDX-License-Identifier: MIT */
/*
 * Contexts and channels of one vGPU: who executes them, over which links.
 *
 * The map link is a call with a time limit. An executor whose mapper does not answer, or refuses, is ended before the call fails.
 *
 * The control link is never waited for, in neither direction; an executor that does not read it is ended too. What an executor says
 * counts only for its own context and for channels that were opened in it.
 */
#include "device.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"

/* ---- executors ---- */

/* Whether an executor is there that can be talked to. */
static bool ctx_alive(const struct dev_ctx *c)
{
	return c->state == DEV_CTX_OPEN && c->control >= 0;
}

static void drop_links(struct dev_ctx *c)
{
	c->control_source = sd_event_source_disable_unref(c->control_source);
	mdl_close_fd(&c->control);
	mdl_close_fd(&c->map);
	c->mem_told = 0;
}

/*
 * What the executor said last. It may have faulted, told so and ended while we wait for its mapper: the guest is to hear of
 * the fault, not only of the loss. The vgpu cannot be called here; dev_ctx_lost() does it.
 */
static void keep_last_fault(struct dev_ctx *c)
{
	for (int i = 0; i < DEV_MESSAGES_A_TURN && !c->fault.hdr.type; i++) {
		union dev_message m;
		int fds[MDL_IPC_MAX_FDS];
		size_t nfds;

		if (mdl_ipc_recv(c->control, &m, sizeof(m), fds, &nfds))
			return;
		dev_close_fds(fds, nfds);
		if (m.hdr.type == MDL_IPC_CTX_FAULT)
			c->fault = m.fault;
	}
}

/* The executor is finished or must be; CTX_LOST will tell the vgpu. */
static void kill_ctx(struct dev_ctx *c, const char *why, int err)
{
	struct mdl_device *d = c->dev;

	if (!ctx_alive(c))
		return;
	if (why)
		mdl_log_limited(&d->exec_log, MDL_LOG_WARN, "context %u: executor %s: %s", c->index,
				why, strerror(-err));
	keep_last_fault(c);
	drop_links(c);
	dev_manager_send_ctx(d, MDL_IPC_CTX_KILL, c->index);
}

static int control_send(struct dev_ctx *c, const void *msg, int fd)
{
	int err = mdl_ipc_send(c->control, msg, &fd, fd >= 0 ? 1 : 0);

	if (err)
		kill_ctx(c, "does not take messages", err);
	return err;
}

/* One request to the mapper and its answer. On failure the caller ends the executor. */
static int map_call(struct dev_ctx *c, const void *msg, int fd, uint64_t deadline_ns)
{
	union dev_message reply;
	int fds[MDL_IPC_MAX_FDS];
	size_t nfds;
	int err;

	while ((err = mdl_ipc_send(c->map, msg, &fd, fd >= 0 ? 1 : 0)) == -EAGAIN) {
		err = dev_wait_for(c->map, POLLOUT, deadline_ns);
		if (err)
			break;
	}
	if (err)
		return err;
	while ((err = mdl_ipc_recv(c->map, &reply, sizeof(reply), fds, &nfds)) == -EAGAIN) {
		err = dev_wait_for(c->map, POLLIN, deadline_ns);
		if (err)
			break;
	}
	if (err)
		return err;
	dev_close_fds(fds, nfds);
	if (reply.hdr.type != MDL_IPC_MAP_DONE)
		return -EPROTO;
	if (reply.done.error)
		return reply.done.error <= 4095 ? -(int)reply.done.error : -EPROTO;
	return 0;
}

static int tell_mem(struct dev_ctx *c, uint32_t mem, uint64_t deadline_ns)
{
	struct mdl_ipc_mem m = { .hdr = { MDL_IPC_MEM_ADD, sizeof(m) }, .mem = mem };
	int fd, err;

	if (mem >= MDL_MEM_MAX)
		return -EINVAL;
	if (c->mem_told & (1ull << mem))
		return 0;
	fd = dev_mem_fd(c->dev, mem);
	if (fd < 0)
		return -EINVAL;
	err = map_call(c, &m, fd, deadline_ns);
	if (!err)
		c->mem_told |= 1ull << mem;
	return err;
}

static int map_entries(struct dev_ctx *c, const struct mdl_map_entry *entry, size_t count)
{
	uint64_t deadline = mdl_now_ns() + DEV_MAP_TIMEOUT_MS * MDL_NS_PER_MS;
	struct mdl_ipc_map m = { .hdr = { .type = MDL_IPC_MAP } };
	int err;

	while (count) {
		size_t n = mdl_min_u64(count, MDL_MAP_BATCH);

		for (size_t i = 0; i < n; i++) {
			if (entry[i].op != MDL_MAP_MAP)
				continue;
			err = tell_mem(c, entry[i].mem, deadline);
			if (err)
				return err;
		}
		memcpy(m.entry, entry, n * sizeof(*entry));
		m.count = (uint32_t)n;
		m.hdr.bytes = (uint32_t)(offsetof(struct mdl_ipc_map, entry) + n * sizeof(*entry));
		err = map_call(c, &m, -1, deadline);
		if (err)
			return err;
		entry += n;
		count -= n;
	}
	return 0;
}

/*
 * Ends an executor that failed us, and waits for its death: only then is nothing mapped in it any more. The vgpu hears of it
 * later, from the event loop; and of the reason, if it was the manager that ended it before we did.
 */
static void end_ctx(struct dev_ctx *c, const char *why, int err)
{
	struct mdl_device *d = c->dev;
	struct dev_note lost;

	kill_ctx(c, why, err);
	dev_wait_lost(d, c->index, &lost);
	dev_note_add(d, &lost);
}

int dev_ctx_map(void *h, uint32_t ctx, const struct mdl_map_entry *entry, size_t count)
{
	struct mdl_device *d = h;
	struct dev_ctx *c = &d->ctx[ctx];
	int err;

	if (c->state != DEV_CTX_OPEN)
		return -ENOTCONN;
	err = c->control < 0 ? -EPIPE : map_entries(c, entry, count);
	if (err)
		end_ctx(c, "does not map", err);
	return err;
}

void dev_mem_forget(struct mdl_device *d, uint32_t mem)
{
	struct mdl_ipc_mem m = { .hdr = { MDL_IPC_MEM_DEL, sizeof(m) }, .mem = mem };

	for (uint32_t i = 0; i < d->contexts; i++) {
		struct dev_ctx *c = &d->ctx[i];
		int err;

		if (!ctx_alive(c) || !(c->mem_told & (1ull << mem)))
			continue;
		c->mem_told &= ~(1ull << mem);
		err = map_call(c, &m, -1, mdl_now_ns() + DEV_MAP_TIMEOUT_MS * MDL_NS_PER_MS);
		if (err)
			end_ctx(c, "does not give memory back", err);
	}
}

/* ---- interrupts ---- */

static int irq_target(const struct dev_irq *irq)
{
	return irq->fd >= 0 ? irq->fd : irq->parked;
}

/*
 * A guest may mask and unmask vectors as often as it likes while its executor runs a kernel or waits for its turn, and reads
 * nothing. What finds the link full is said when there is room, as it is then; the states between are of no use to anybody.
 */
static void announce(struct dev_ctx *c, uint32_t vector)
{
	struct mdl_ipc_irq_set m = { .hdr = { MDL_IPC_IRQ_SET, sizeof(m) }, .vector = vector };
	int fd = irq_target(&c->dev->irq[vector]), err = mdl_ipc_send(c->control, &m, &fd, fd >= 0 ? 1 : 0);

	if (err == -EAGAIN) {
		c->irq_late |= 1u << vector;
		err = sd_event_source_set_io_events(c->control_source, EPOLLIN | EPOLLOUT);
	} else {
		c->irq_late &= ~(1u << vector);
	}
	if (err < 0)
		kill_ctx(c, "does not take messages", err);
}

static void announce_late(struct dev_ctx *c)
{
	uint32_t late = c->irq_late;

	sd_event_source_set_io_events(c->control_source, EPOLLIN);
	for (uint32_t i = 0; i < MDL_HW_MSIX_VECTORS && ctx_alive(c); i++)
		if (late >> i & 1)
			announce(c, i);
}

void dev_irq_announce(struct mdl_device *d, uint32_t vector)
{
	for (uint32_t i = 0; i < d->contexts; i++)
		if (ctx_alive(&d->ctx[i]))
			announce(&d->ctx[i], vector);
}

/* ---- what executors say ---- */

static bool own_channel(const struct dev_ctx *c, uint32_t chan, enum dev_chan_state state)
{
	const struct mdl_device *d = c->dev;

	return chan < d->channels && d->chan[chan].ctx == c->index && d->chan[chan].state == state;
}

static void set_off(struct dev_chan *ch)
{
	sd_event_source_set_enabled(ch->late, SD_EVENT_OFF);
	ch->state = DEV_CHAN_OFF;
}

static void context_fault(struct dev_ctx *c, struct mdl_ipc_fault *fault)
{
	fault->ctx = (uint16_t)c->index;
	if (fault->chan != MDL_FAULT_NO_CHANNEL && !own_channel(c, fault->chan, DEV_CHAN_OPEN))
		fault->chan = MDL_FAULT_NO_CHANNEL;
	c->faulted = fault->error;
	mdl_vgpu_ctx_fault(c->dev->vgpu, fault);
}

static void exec_message(struct dev_ctx *c, union dev_message *m)
{
	struct mdl_device *d = c->dev;

	switch (m->hdr.type) {
	case MDL_IPC_EXEC_READY:
		return;
	case MDL_IPC_CHAN_CLOSED:
		if (!own_channel(c, m->chan.chan, DEV_CHAN_CLOSING))
			break;
		set_off(&d->chan[m->chan.chan]);
		mdl_vgpu_chan_closed(d->vgpu, m->chan.chan);
		return;
	case MDL_IPC_CHAN_ERROR:
		if (own_channel(c, m->fault.chan, DEV_CHAN_CLOSING))
			return; /* crossed with our CHAN_CLOSE */
		if (!own_channel(c, m->fault.chan, DEV_CHAN_OPEN))
			break;
		m->fault.ctx = (uint16_t)c->index;
		mdl_vgpu_chan_error(d->vgpu, &m->fault);
		return;
	case MDL_IPC_CTX_FAULT:
		context_fault(c, &m->fault);
		return;
	default:
		break;
	}
	d->exec_faults++;
	mdl_log_limited(&d->exec_log, MDL_LOG_WARN, "context %u: unexpected %s", c->index,
			mdl_ipc_name(m->hdr.type));
}

static int on_control(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct dev_ctx *c = arg;

	if (revents & EPOLLOUT)
		announce_late(c);
	for (int i = 0; i < DEV_MESSAGES_A_TURN && ctx_alive(c); i++) {
		union dev_message m;
		int fds[MDL_IPC_MAX_FDS];
		size_t nfds;
		int err = mdl_ipc_recv(c->control, &m, sizeof(m), fds, &nfds);

		if (err == -EAGAIN)
			break;
		if (err) {
			/* Its end after CTX_FAULT is nothing new; the manager says what happened. */
			kill_ctx(c, err == -EPIPE ? NULL : "broke the protocol", err);
			break;
		}
		dev_close_fds(fds, nfds);
		exec_message(c, &m);
	}
	dev_check_memory(c->dev);
	return 0;
}

/* ---- open and close ---- */

int dev_ctx_open(void *h, uint32_t ctx)
{
	struct mdl_device *d = h;
	struct dev_ctx *c = &d->ctx[ctx];

	if (c->state != DEV_CTX_FREE)
		return -EBUSY;
	dev_manager_send_ctx(d, MDL_IPC_CTX_OPEN, ctx);
	c->state = DEV_CTX_OPENING;
	return 0;
}

static void forget_channels(struct dev_ctx *c)
{
	struct mdl_device *d = c->dev;

	for (uint32_t i = 0; i < d->channels; i++)
		if (d->chan[i].ctx == c->index)
			set_off(&d->chan[i]);
}

static void set_free(struct dev_ctx *c)
{
	drop_links(c);
	forget_channels(c);
	c->state = DEV_CTX_FREE;
}

void dev_ctx_close(void *h, uint32_t ctx)
{
	struct mdl_device *d = h;
	struct dev_ctx *c = &d->ctx[ctx];
	struct mdl_ipc_ctx m = { .hdr = { MDL_IPC_CTX_CLOSE, sizeof(m) }, .ctx = ctx, .error = c->faulted };
	struct dev_note lost;

	if (c->state != DEV_CTX_OPEN)
		return;
	/* Links gone: CTX_KILL is under way, or CTX_LOST noted already; either way one CTX_LOST is there or comes. */
	if (c->control >= 0)
		dev_manager_send(d, &m);
	dev_wait_lost(d, ctx, &lost);
	set_free(c);
}

static int set_up(struct dev_ctx *c, int fds[2])
{
	struct mdl_device *d = c->dev;
	struct mdl_ipc_exec_setup m = { .hdr = { MDL_IPC_EXEC_SETUP, sizeof(m) },
					.ctx = c->index,
					.compute_units = d->compute_units,
					.epoch_ns = mdl_vgpu_epoch_ns(d->vgpu) };
	int err;

	c->fault.hdr.type = 0;
	c->faulted = MDL_ERR_NONE;
	c->irq_late = 0;
	c->control = mdl_take_fd(&fds[0]);
	c->map = mdl_take_fd(&fds[1]);
	c->mem_told = 0;
	c->state = DEV_CTX_OPEN;
	err = sd_event_add_io(d->event, &c->control_source, c->control, EPOLLIN, on_control, c);
	if (err >= 0)
		err = control_send(c, &m, -1);
	for (uint32_t i = 0; !err && i < MDL_HW_MSIX_VECTORS; i++) {
		struct mdl_ipc_irq_set irq = { .hdr = { MDL_IPC_IRQ_SET, sizeof(irq) },
					       .vector = i };

		if (irq_target(&d->irq[i]) >= 0)
			err = control_send(c, &irq, irq_target(&d->irq[i]));
	}
	if (err)
		kill_ctx(c, "could not be set up", err);
	return err;
}

void dev_ctx_granted(struct dev_ctx *c, struct dev_note *n)
{
	struct mdl_device *d = c->dev;

	if (c->state != DEV_CTX_OPENING || (!n->error && n->fds[1] < 0))
		dev_manager_failed("breaks the protocol", -EPROTO);
	if (n->error) {
		c->state = DEV_CTX_FREE;
		mdl_vgpu_ctx_opened(d->vgpu, c->index, n->error <= 4095 ? -(int)n->error : -EIO);
	} else {
		/* If it fails the executor is being killed, and CTX_LOST will say so. */
		set_up(c, n->fds);
		mdl_vgpu_ctx_opened(d->vgpu, c->index, 0);
	}
	dev_close_fds(n->fds, 2);
}

/*
 * The manager says why it ended the executor, and whose packet was to blame, as far as the executor told it: that counts only for
 * a channel of this context. A fault that the executor reported itself comes first.
 */
void dev_ctx_lost(struct dev_ctx *c, const struct dev_note *n)
{
	/* Otherwise crossed with our CTX_CLOSE, which was answered already. */
	if (c->state != DEV_CTX_OPEN)
		return;
	if (n->error && !c->fault.hdr.type)
		c->fault = (struct mdl_ipc_fault) { .hdr = { MDL_IPC_CTX_FAULT, sizeof(c->fault) },
						    .chan = n->chan,
						    .error = (uint16_t)n->error,
						    .tag = n->tag };
	drop_links(c);
	c->state = DEV_CTX_FREE;
	if (c->fault.hdr.type)
		context_fault(c, &c->fault);
	set_free(c);
	mdl_vgpu_ctx_lost(c->dev->vgpu, c->index, MDL_ERR_CONTEXT_LOST);
}

/* ---- channels ---- */

int dev_chan_open(void *h, uint32_t ctx, uint32_t chan, uint64_t ring_va, uint32_t ring_log2,
		  uint32_t vector)
{
	struct mdl_device *d = h;
	struct dev_chan *ch = &d->chan[chan];
	struct mdl_ipc_chan m = { .hdr = { MDL_IPC_CHAN_OPEN, sizeof(m) },
				  .chan = chan,
				  .ring_log2 = ring_log2,
				  .ring_va = ring_va,
				  .vector = vector };
	int err;

	/* What is left of its time in a context that has ended meanwhile ends with that. */
	if (ch->state != DEV_CHAN_OFF && !ctx_alive(&d->ctx[ch->ctx]))
		set_off(ch);
	if (ch->state != DEV_CHAN_OFF)
		return -EBUSY;
	if (!ctx_alive(&d->ctx[ctx]))
		return -EPIPE;
	/* Rings of the time before belong to nobody. */
	mdl_eventfd_take(ch->doorbell);
	err = control_send(&d->ctx[ctx], &m, ch->doorbell);
	if (err)
		return err;
	ch->ctx = ctx;
	ch->state = DEV_CHAN_OPEN;
	return 0;
}

/* An endless kernel, or an executor that does not listen: the context goes, so that the channel does. */
static int on_close_late(sd_event_source *s, uint64_t usec, void *arg)
{
	struct dev_chan *ch = arg;
	struct mdl_device *d = ch->dev;
	struct dev_ctx *c = &d->ctx[ch->ctx];

	if (ch->state != DEV_CHAN_CLOSING || !ctx_alive(c))
		return 0;
	c->fault = (struct mdl_ipc_fault) { .hdr = { MDL_IPC_CTX_FAULT, sizeof(c->fault) },
					    .chan = MDL_FAULT_NO_CHANNEL,
					    .error = MDL_ERR_TIMEOUT,
					    .info = (uint32_t)(ch - d->chan) };
	kill_ctx(c, "does not stop a channel", -ETIMEDOUT);
	return 0;
}

int dev_chan_close(void *h, uint32_t ctx, uint32_t chan)
{
	struct mdl_device *d = h;
	struct dev_chan *ch = &d->chan[chan];
	struct mdl_ipc_chan m = { .hdr = { MDL_IPC_CHAN_CLOSE, sizeof(m) }, .chan = chan };
	int err;

	if (!own_channel(&d->ctx[ctx], chan, DEV_CHAN_OPEN))
		return -EINVAL;
	if (!ctx_alive(&d->ctx[ctx]))
		return -EPIPE;
	err = sd_event_source_set_time_relative(ch->late, DEV_CLOSE_TIMEOUT_MS * 1000ull);
	if (err >= 0)
		err = sd_event_source_set_enabled(ch->late, SD_EVENT_ONESHOT);
	if (err < 0)
		return err;
	ch->state = DEV_CHAN_CLOSING;
	return control_send(&d->ctx[ctx], &m, -1);
}

void dev_doorbell(void *h, uint32_t ctx, uint32_t chan)
{
	struct mdl_device *d = h;

	mdl_eventfd_signal(d->chan[chan].doorbell);
}

/* ---- life ---- */

int dev_ctx_init(struct mdl_device *d)
{
	int err;

	for (uint32_t i = 0; i < MDL_HW_CTX_MAX; i++)
		d->ctx[i] = (struct dev_ctx) { .dev = d, .index = i, .control = -1, .map = -1 };
	for (uint32_t i = 0; i < MDL_HW_CHAN_MAX; i++)
		d->chan[i] = (struct dev_chan) { .dev = d, .doorbell = -1 };
	for (uint32_t i = 0; i < d->channels; i++) {
		d->chan[i].doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (d->chan[i].doorbell < 0)
			return -errno;
		/* Made now: the sandbox has no call for the loop's timer. */
		err = sd_event_add_time(d->event, &d->chan[i].late, CLOCK_MONOTONIC, 0, 0, on_close_late,
					&d->chan[i]);
		if (err >= 0)
			err = sd_event_source_set_enabled(d->chan[i].late, SD_EVENT_OFF);
		if (err < 0)
			return err;
	}
	return 0;
}

void dev_ctx_stop(struct mdl_device *d)
{
	for (uint32_t i = 0; i < MDL_HW_CTX_MAX; i++)
		set_free(&d->ctx[i]);
}

void dev_ctx_fini(struct mdl_device *d)
{
	for (uint32_t i = 0; i < MDL_HW_CHAN_MAX; i++) {
		sd_event_source_disable_unref(d->chan[i].late);
		mdl_close_fd(&d->chan[i].doorbell);
	}
}
