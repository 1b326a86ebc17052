/* SPDX-License-Identifier: MIT */
/*
 * One end of a vfio-user connection: cuts the byte stream into messages, keeps each message's descriptors with it, queues what
 * cannot be sent yet. Knows the header and nothing of the commands. Used by server and client; owned by their thread. Never blocks.
 *
 * Reading stops at a message's end: first 16 bytes, then exactly the payload. Reading on would mix the descriptors of this
 * message with those of the next, for a stream socket attaches them to bytes, not to messages.
 */
#ifndef MDL_VFIO_USER_CONN_H
#define MDL_VFIO_USER_CONN_H

#include <stddef.h>
#include <stdint.h>

#include "vfio-user/proto.h"

struct mdl_vu_out {		/* a message to be sent */
	struct mdl_vu_out *next;
	size_t sent;
	size_t nfds;
	int *fds;		/* borrowed until it is sent */
	struct mdl_vu_hdr hdr;	/* with the payload behind it: what goes on the wire */
	uint8_t payload[];
};
_Static_assert(offsetof(struct mdl_vu_out, payload) == offsetof(struct mdl_vu_out, hdr) + sizeof(struct mdl_vu_hdr),
	       "header and payload leave in one piece");

struct mdl_vu_msg {		/* a message that came */
	struct mdl_vu_hdr hdr;
	const void *payload;	/* hdr.size - 16 bytes, aligned for any type; valid until the next receive */
	size_t len;
	int fds[MDL_VU_CLIENT_FDS];	/* the receiver owns them */
	size_t nfds;
};

struct mdl_vu_conn {
	int fd;			/* owned; -1: not connected */
	size_t max_fds;		/* in one incoming message */

	struct mdl_vu_hdr hdr;	/* the message being received, `got` bytes of it so far */
	size_t got;
	uint8_t *payload;
	size_t payload_cap;
	int fds[MDL_VU_CLIENT_FDS];
	size_t nfds;

	struct mdl_vu_out *out_first, **out_end;
	size_t out_bytes;	/* queued, headers included */
	uint64_t out_progress_ns;	/* when the peer last took something, or the queue began */
};

/* The connection owns fd from here on. */
void mdl_vu_conn_init(struct mdl_vu_conn *c, int fd, size_t max_fds);
/* Closes, and drops everything received or queued. Accepts a connection that is closed already. */
void mdl_vu_conn_fini(struct mdl_vu_conn *c);

/*
 * 1: *msg is the next message; its payload is valid until the next call, its descriptors are the caller's. 0: nothing complete yet.
 * -EPIPE: the peer closed; -EPROTO: the stream makes no sense (sizes, types, too many descriptors); -ENOMEM and others: give up.
 */
int mdl_vu_conn_recv(struct mdl_vu_conn *c, struct mdl_vu_msg *msg);
void mdl_vu_msg_close_fds(struct mdl_vu_msg *msg);

/* A message with room for `len` payload bytes (zeroed) and nfds descriptors; hdr.size is filled in. NULL: no memory. */
struct mdl_vu_out *mdl_vu_out_new(size_t len, size_t nfds);

/* Queues the message, which the connection owns from here on, and sends what can be sent. 0, or why the connection is of no use. */
int mdl_vu_conn_send(struct mdl_vu_conn *c, struct mdl_vu_out *out);
int mdl_vu_conn_flush(struct mdl_vu_conn *c);

#endif
