/* SPDX-License-Identifier: MIT */
/*
 * The links between Medley's processes: one table says which messages exist, how large they are and how many descriptors come with
 * them; sending and receiving both go by it, so a handler only ever sees well-formed messages. What it leaves out: the
 * meaning of the fields, and which end may send what when (the handlers know their state). No state of its own, so any
 * thread may use any link, one at a time for each direction.
 */
#include "ipc/ipc.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

struct message_rule {
	const char *name;
	size_t min_bytes, max_bytes;
	size_t min_fds, max_fds;
	/* Optional: what sizes alone do not say. The sizes were checked before. */
	bool (*well_formed)(const void *msg, size_t bytes, size_t nfds);
};

/* An executor comes with both links or not at all. */
static bool granted_ok(const void *msg, size_t bytes, size_t nfds)
{
	const struct mdl_ipc_ctx *m = msg;

	return nfds == (m->error ? 0 : 2);
}

static bool map_ok(const void *msg, size_t bytes, size_t nfds)
{
	const struct mdl_ipc_map *m = msg;

	return m->count >= 1 && m->count <= MDL_MAP_BATCH &&
	       bytes == offsetof(struct mdl_ipc_map, entry) + m->count * sizeof(m->entry[0]);
}

#define EXACT(type) .min_bytes = sizeof(type), .max_bytes = sizeof(type)
#define FDS(min, max) .min_fds = (min), .max_fds = (max)

static const struct message_rule rules[] = {
	[MDL_IPC_CTX_OPEN] = { "CTX_OPEN", EXACT(struct mdl_ipc_ctx) },
	[MDL_IPC_CTX_CLOSE] = { "CTX_CLOSE", EXACT(struct mdl_ipc_ctx) },
	[MDL_IPC_CTX_KILL] = { "CTX_KILL", EXACT(struct mdl_ipc_ctx) },
	[MDL_IPC_VMM_STATE] = { "VMM_STATE", EXACT(struct mdl_ipc_vmm_state) },
	[MDL_IPC_FAULT_NOTE] = { "FAULT_NOTE", EXACT(struct mdl_ipc_fault_note) },
	[MDL_IPC_DEVICE_READY] = { "DEVICE_READY", EXACT(struct mdl_ipc_hdr) },
	[MDL_IPC_DEVICE_PONG] = { "DEVICE_PONG", EXACT(struct mdl_ipc_hdr) },

	[MDL_IPC_CTX_GRANTED] = { "CTX_GRANTED", EXACT(struct mdl_ipc_ctx), FDS(0, 2), granted_ok },
	[MDL_IPC_CTX_LOST] = { "CTX_LOST", EXACT(struct mdl_ipc_lost) },
	[MDL_IPC_DEVICE_STOP] = { "DEVICE_STOP", EXACT(struct mdl_ipc_hdr) },
	[MDL_IPC_DEVICE_PING] = { "DEVICE_PING", EXACT(struct mdl_ipc_hdr) },

	[MDL_IPC_EXEC_SETUP] = { "EXEC_SETUP", EXACT(struct mdl_ipc_exec_setup) },
	[MDL_IPC_CHAN_OPEN] = { "CHAN_OPEN", EXACT(struct mdl_ipc_chan), FDS(1, 1) },
	[MDL_IPC_CHAN_CLOSE] = { "CHAN_CLOSE", EXACT(struct mdl_ipc_chan) },
	[MDL_IPC_IRQ_SET] = { "IRQ_SET", EXACT(struct mdl_ipc_irq_set), FDS(0, 1) },

	[MDL_IPC_EXEC_READY] = { "EXEC_READY", EXACT(struct mdl_ipc_hdr) },
	[MDL_IPC_CHAN_CLOSED] = { "CHAN_CLOSED", EXACT(struct mdl_ipc_chan) },
	[MDL_IPC_CHAN_ERROR] = { "CHAN_ERROR", EXACT(struct mdl_ipc_fault) },
	[MDL_IPC_CTX_FAULT] = { "CTX_FAULT", EXACT(struct mdl_ipc_fault) },

	[MDL_IPC_MEM_ADD] = { "MEM_ADD", EXACT(struct mdl_ipc_mem), FDS(1, 1) },
	[MDL_IPC_MEM_DEL] = { "MEM_DEL", EXACT(struct mdl_ipc_mem) },
	[MDL_IPC_MAP] = { "MAP", offsetof(struct mdl_ipc_map, entry) + sizeof(struct mdl_map_entry),
			  sizeof(struct mdl_ipc_map), .well_formed = map_ok },
	[MDL_IPC_MAP_DONE] = { "MAP_DONE", EXACT(struct mdl_ipc_map_done) },
};

_Static_assert(sizeof(struct mdl_ipc_map) <= MDL_IPC_MAX_BYTES, "the largest message fits every receiver's buffer");

static const struct message_rule *find_rule(uint32_t type)
{
	return type < MDL_ARRAY_SIZE(rules) && rules[type].name ? &rules[type] : NULL;
}

/* msg holds `bytes` bytes, at least a header's. */
static bool message_ok(const void *msg, size_t bytes, size_t nfds)
{
	const struct mdl_ipc_hdr *hdr = msg;
	const struct message_rule *rule = find_rule(hdr->type);

	return rule && hdr->bytes == bytes && bytes >= rule->min_bytes && bytes <= rule->max_bytes &&
	       nfds >= rule->min_fds && nfds <= rule->max_fds &&
	       (!rule->well_formed || rule->well_formed(msg, bytes, nfds));
}

union fd_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(MDL_IPC_MAX_FDS * sizeof(int))];
};

int mdl_ipc_send(int link, const void *msg, const int *fds, size_t nfds)
{
	const struct mdl_ipc_hdr *hdr = msg;
	union fd_control control = { 0 };
	struct iovec iov = { .iov_base = (void *)msg, .iov_len = hdr->bytes };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds > MDL_IPC_MAX_FDS || hdr->bytes < sizeof(*hdr) || !message_ok(msg, hdr->bytes, nfds))
		return -EINVAL;
	if (nfds) {
		struct cmsghdr *cmsg;

		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&mh);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
	}
	do {
		n = sendmsg(link, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
	return 0;	/* SEQPACKET: all or nothing */
}

/* Moves the descriptors of a received message to fds. The control buffer holds MDL_IPC_MAX_FDS, so more never arrive. */
static size_t take_fds(struct msghdr *mh, int fds[MDL_IPC_MAX_FDS])
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds + n, CMSG_DATA(c), count * sizeof(int));
		n += count;
	}
	return n;
}

int mdl_ipc_recv(int link, void *buf, size_t cap, int fds[MDL_IPC_MAX_FDS], size_t *ret_nfds)
{
	union fd_control control;
	struct iovec iov = { .iov_base = buf, .iov_len = cap };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control) };
	size_t nfds;
	ssize_t n;

	if (cap < MDL_IPC_MAX_BYTES)
		return -EINVAL;
	do {
		n = recvmsg(link, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;

	nfds = take_fds(&mh, fds);
	if (n == 0 || (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n < sizeof(struct mdl_ipc_hdr) ||
	    !message_ok(buf, (size_t)n, nfds)) {
		while (nfds)
			close(fds[--nfds]);
		/* An empty message cannot be told from the end: same effect. */
		return n == 0 ? -EPIPE : -EPROTO;
	}
	*ret_nfds = nfds;
	return 0;
}

const char *mdl_ipc_name(uint32_t type)
{
	const struct message_rule *rule = find_rule(type);

	return rule ? rule->name : "unknown";
}
