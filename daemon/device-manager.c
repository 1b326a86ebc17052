/* SPDX-License-Identifier: MIT */
/*
 * The link to medleyd, which lends and ends executors. CTX_OPEN is answered by one CTX_GRANTED, CTX_CLOSE and CTX_KILL by one
 * CTX_LOST, which says that the executor is dead and holds nothing any more. Closing waits for it: when the guest's DISABLE, a
 * reset or the VMM's unmap returns, no executor can reach what was given back, not even one that its guest has taken over. What
 * else the manager says while we wait is noted and handled from the event loop, because the vgpu must not be called from inside
 * its own calls.
 *
 * The manager is trusted: when it breaks the protocol, does not answer or ends, this process ends, and its executors with it.
 */
#include "device.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

void dev_close_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mdl_close_fd(&fds[i]);
}

static int ms_left(uint64_t deadline_ns)
{
	uint64_t now = mdl_now_ns();

	return now >= deadline_ns ? 0 : (int)((deadline_ns - now) / MDL_NS_PER_MS) + 1;
}

int dev_wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int n = poll(&p, 1, ms_left(deadline_ns));

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

void dev_manager_failed(const char *what, int err)
{
	/* medleyd ended: that takes all its devices along and is no fault of theirs. */
	if (err == -EPIPE)
		exit(EXIT_SUCCESS);
	mdl_log(MDL_LOG_ERROR, "manager %s: %s", what, strerror(-err));
	exit(EXIT_FAILURE);
}

void dev_manager_send(struct mdl_device *d, const void *msg)
{
	uint64_t deadline = mdl_now_ns() + DEV_END_TIMEOUT_MS * MDL_NS_PER_MS;
	int err;

	while ((err = mdl_ipc_send(d->link, msg, NULL, 0)) == -EAGAIN) {
		err = dev_wait_for(d->link, POLLOUT, deadline);
		if (err)
			break;
	}
	if (err)
		dev_manager_failed("does not take messages", err);
}

void dev_manager_send_ctx(struct mdl_device *d, uint32_t type, uint32_t ctx)
{
	struct mdl_ipc_ctx m = { .hdr = { type, sizeof(m) }, .ctx = ctx };

	dev_manager_send(d, &m);
}

/* Takes one message of the manager into *ret_note. -EAGAIN: none there. Pings are answered on the way. */
static int read_note(struct mdl_device *d, struct dev_note *ret_note)
{
	static const struct mdl_ipc_hdr pong = { MDL_IPC_DEVICE_PONG, sizeof(pong) };
	union dev_message m;
	int fds[MDL_IPC_MAX_FDS];
	size_t nfds;
	int err;

	do {
		err = mdl_ipc_recv(d->link, &m, sizeof(m), fds, &nfds);
		if (err)
			return err;
		if (m.hdr.type == MDL_IPC_DEVICE_PING)
			dev_manager_send(d, &pong);
	} while (m.hdr.type == MDL_IPC_DEVICE_PING);
	*ret_note = (struct dev_note) { .type = m.hdr.type, .fds = { -1, -1 } };
	if (m.hdr.type == MDL_IPC_CTX_LOST) {
		ret_note->ctx = m.lost.ctx;
		ret_note->error = m.lost.error;
		ret_note->chan = m.lost.chan;
		ret_note->tag = m.lost.tag;
	} else if (m.hdr.type == MDL_IPC_CTX_GRANTED) {
		ret_note->ctx = m.ctx.ctx;
		ret_note->error = m.ctx.error;
	}
	if (nfds == 2) {
		ret_note->fds[0] = fds[0];
		ret_note->fds[1] = fds[1];
	} else {
		dev_close_fds(fds, nfds);
	}
	return 0;
}

void dev_note_add(struct mdl_device *d, const struct dev_note *note)
{
	if (d->num_notes == DEV_NOTES_MAX)
		dev_manager_failed("says too much", -ENOBUFS);
	d->note[d->num_notes++] = *note;
	sd_event_source_set_enabled(d->note_source, SD_EVENT_ONESHOT);
}

static void drop_note(struct mdl_device *d, size_t i)
{
	d->num_notes--;
	memmove(&d->note[i], &d->note[i + 1], (d->num_notes - i) * sizeof(d->note[0]));
}

void dev_wait_lost(struct mdl_device *d, uint32_t ctx, struct dev_note *ret_lost)
{
	uint64_t deadline = mdl_now_ns() + DEV_END_TIMEOUT_MS * MDL_NS_PER_MS;

	for (size_t i = 0; i < d->num_notes; i++) {
		struct dev_note *n = &d->note[i];

		if (n->type == MDL_IPC_CTX_LOST && n->ctx == ctx) {
			*ret_lost = *n;
			drop_note(d, i);
			return;
		}
	}
	for (;;) {
		struct dev_note note;
		int err = read_note(d, &note);

		if (err == -EAGAIN) {
			err = dev_wait_for(d->link, POLLIN, deadline);
			if (err)
				dev_manager_failed("does not end an executor", err);
			continue;
		}
		if (err)
			dev_manager_failed("breaks the protocol", err);
		if (note.type == MDL_IPC_CTX_LOST && note.ctx == ctx) {
			*ret_lost = note;
			return;
		}
		dev_note_add(d, &note);
	}
}

static void handle_note(struct mdl_device *d, struct dev_note *n)
{
	switch (n->type) {
	case MDL_IPC_CTX_GRANTED:
	case MDL_IPC_CTX_LOST:
		if (n->ctx >= d->contexts)
			dev_manager_failed("breaks the protocol", -EPROTO);
		if (n->type == MDL_IPC_CTX_GRANTED)
			dev_ctx_granted(&d->ctx[n->ctx], n);
		else
			dev_ctx_lost(&d->ctx[n->ctx], n);
		break;
	case MDL_IPC_DEVICE_STOP:
		sd_event_exit(d->event, 0);
		break;
	default:
		dev_manager_failed("breaks the protocol", -EPROTO);
	}
}

static void handle_notes(struct mdl_device *d)
{
	/* Handling one may note more, behind it. */
	while (d->num_notes) {
		struct dev_note n = d->note[0];

		drop_note(d, 0);
		handle_note(d, &n);
	}
}

static int on_notes(sd_event_source *s, void *arg)
{
	handle_notes(arg);
	dev_check_memory(arg);
	return 0;
}

static int on_manager(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct mdl_device *d = arg;

	handle_notes(d);
	for (int i = 0; i < DEV_MESSAGES_A_TURN; i++) {
		struct dev_note n;
		int err = read_note(d, &n);

		if (err == -EAGAIN)
			break;
		if (err)
			dev_manager_failed("breaks the protocol", err);
		handle_note(d, &n);
		handle_notes(d);
	}
	dev_check_memory(d);
	return 0;
}

int dev_manager_init(struct mdl_device *d)
{
	int err = sd_event_add_io(d->event, NULL, d->link, EPOLLIN, on_manager, d);

	if (err >= 0)
		err = sd_event_add_defer(d->event, &d->note_source, on_notes, d);
	if (err >= 0)
		err = sd_event_source_set_enabled(d->note_source, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

void dev_manager_fini(struct mdl_device *d)
{
	while (d->num_notes) {
		dev_close_fds(d->note[0].fds, 2);
		drop_note(d, 0);
	}
	d->note_source = sd_event_source_unref(d->note_source);
}
