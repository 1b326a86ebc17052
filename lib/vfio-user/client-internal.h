/* SPDX-License-Identifier: MIT */
/* What client.c (connection) and client-calls.c (requests) share. Private to these two; owned by the client's thread. */
#ifndef MDL_VFIO_USER_CLIENT_INTERNAL_H
#define MDL_VFIO_USER_CLIENT_INTERNAL_H

#include "vfio-user/client.h"
#include "vfio-user/internal.h"

struct mdl_vu_client_dma {
	uint64_t iova, bytes;
	bool write;
	uint8_t *host;		/* NULL: through fd */
	int fd;			/* our own duplicate, -1 with host */
	uint64_t fd_offset;
};

struct mdl_vu_client {
	struct mdl_vu_conn conn;
	bool broken;
	uint64_t timeout_ns;
	uint16_t next_id;
	struct mdl_vu_caps server;	/* what it can take */
	struct mdl_vu_client_dma *dma;
	size_t num_dma;
};

/* A request with its first fields filled in and room for `more` bytes behind them. NULL: no memory. */
struct mdl_vu_out *mdl_vu_client_request(const void *fields, size_t len, size_t more, size_t nfds);

/*
 * Sends a request (NULL: -ENOMEM) and waits for its reply, which must have min to max payload bytes and at most max_fds
 * descriptors, the caller's on success. -errno of an error reply leaves the connection as it is; anything unexpected ends it.
 */
int mdl_vu_client_call(struct mdl_vu_client *c, struct mdl_vu_out *out, uint16_t command, size_t min, size_t max, size_t max_fds,
		       struct mdl_vu_msg *msg);

/* Ends the connection, returns error. The descriptor stays open, so that who polls it learns of the end. */
int mdl_vu_client_give_up(struct mdl_vu_client *c, int error);

#endif
