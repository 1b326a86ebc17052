/* SPDX-License-Identifier: MIT */
/*
 * What the server's files share: server.c (connection, loop, time limits), request.c (the request table), info.c (descriptions of
 * the device), access.c (regions), dma.c, irq.c, version.c. Private to this folder and its tests. One thread owns all of it.
 */
#ifndef MDL_VFIO_USER_INTERNAL_H
#define MDL_VFIO_USER_INTERNAL_H

#include "base/util.h"
#include "vfio-user/conn.h"
#include "vfio-user/server.h"

#define MDL_VU_PAGE		4096u
#define MDL_VU_DMA_REGIONS	64	/* unless the device says otherwise */
#define MDL_VU_DMA_INFLIGHT	16
/* With more than this waiting to be sent no further request is read: a peer that never reads costs this and one reply. */
#define MDL_VU_OUT_MARK		(256u << 10)
/* Messages handled in one mdl_vu_server_process(). */
#define MDL_VU_BUDGET		64
/* How long a client that cannot be accepted now waits, unless the reason goes away. */
#define MDL_VU_ACCEPT_AGAIN_NS	(100 * MDL_NS_PER_MS)
/* A peer that takes nothing, or does not negotiate, for this long is disconnected. */
#define MDL_VU_PATIENCE_NS	(10 * MDL_NS_PER_S)

enum mdl_vu_state {
	MDL_VU_STATE_NONE,	/* nobody connected */
	MDL_VU_STATE_NEW,	/* connected; only VERSION is allowed */
	MDL_VU_STATE_READY,
};

struct mdl_vu_caps {		/* what the peer announced in VERSION, within our own limits */
	uint32_t max_fds;
	uint32_t max_xfer;
	bool fixed_replies;	/* the client reads error replies as long as successful ones: see request.c */
};

struct mdl_vu_vector {
	int fd;			/* -1: none */
	bool masked, pending;
};

struct mdl_vu_dma_slot {	/* a DMA_READ or DMA_WRITE under way */
	mdl_vu_dma_done done;	/* NULL: free */
	void *arg;
	uint64_t addr;
	uint32_t len;
	uint16_t id, command;
};

struct mdl_vu_dma_map {
	uint64_t iova, bytes;
	bool read, write;
};

struct mdl_vu_server {
	const struct mdl_vu_device *dev;
	const struct mdl_vu_ops *ops;
	void *ctx;
	int epoll_fd, listen_fd, timer_fd;

	enum mdl_vu_state state;
	bool in_process;
	bool drop;		/* asked for where it could not be done at once: the loop does it */
	struct mdl_vu_conn conn;
	uint32_t conn_events;	/* as registered with epoll */
	uint64_t connected_ns;
	uint64_t patience_ns;
	uint64_t accept_again_ns;	/* the listening socket is not watched until then; 0: it is */
	uint64_t timer_ns;	/* as armed; 0: not */
	pid_t peer;
	struct mdl_vu_caps caps;

	struct mdl_vu_dma_map *dma;
	size_t num_dma, max_dma;
	struct mdl_vu_dma_slot slot[MDL_VU_DMA_INFLIGHT];
	uint16_t next_id;

	struct mdl_vu_vector *irq[MDL_VU_IRQS];	/* irq_count[] of the device each */
	int intx_mask_fd, intx_unmask_fd;	/* the client signals these instead of sending SET_IRQS */

	struct mdl_vu_stats stats;
};

/* A request that passed the table. The handler may take descriptors out of it; the rest is closed after it. */
struct mdl_vu_request {
	uint16_t command;
	const void *payload;
	size_t len;
	int *fds;
	size_t nfds;
	struct mdl_vu_out *reply;	/* set by the handler; none: a bare header */
};

/* request.c: handles one message from the client. 0, or negative errno: disconnect. */
int mdl_vu_handle_message(struct mdl_vu_server *s, struct mdl_vu_msg *msg);

/* Handlers, one for each command: 0 or what the error reply says. */
typedef int mdl_vu_handler(struct mdl_vu_server *s, struct mdl_vu_request *r);
mdl_vu_handler mdl_vu_do_version, mdl_vu_do_info, mdl_vu_do_region_info, mdl_vu_do_io_fds, mdl_vu_do_irq_info, mdl_vu_do_feature,
	mdl_vu_do_set_irqs, mdl_vu_do_dma_map, mdl_vu_do_dma_unmap, mdl_vu_do_region_read, mdl_vu_do_region_write,
	mdl_vu_do_write_multi;

/* A reply payload of len zeroed bytes, attached to r. NULL: no memory. */
void *mdl_vu_reply(struct mdl_vu_request *r, size_t len, size_t nfds);

/* dma.c: a reply to one of our requests; negative errno if nothing was asked or it breaks the protocol. */
int mdl_vu_dma_reply(struct mdl_vu_server *s, const struct mdl_vu_msg *msg);
/* Everything unmapped, every access under way ended with -ECONNRESET. */
void mdl_vu_dma_drop(struct mdl_vu_server *s);

/* irq.c */
int mdl_vu_irq_init(struct mdl_vu_server *s);
void mdl_vu_irq_fini(struct mdl_vu_server *s);
void mdl_vu_irq_drop(struct mdl_vu_server *s);
/* The client signalled intx_mask_fd or intx_unmask_fd. */
void mdl_vu_irq_intx_event(struct mdl_vu_server *s, bool mask);

/* server.c: tags of epoll events. */
enum mdl_vu_tag { MDL_VU_TAG_LISTEN, MDL_VU_TAG_CONN, MDL_VU_TAG_TIMER, MDL_VU_TAG_INTX_MASK, MDL_VU_TAG_INTX_UNMASK };
void mdl_vu_server_rearm(struct mdl_vu_server *s);
int mdl_vu_watch(struct mdl_vu_server *s, int fd, enum mdl_vu_tag tag, uint32_t events);
void mdl_vu_unwatch(struct mdl_vu_server *s, int fd);

/* For tests: shortens MDL_VU_PATIENCE_NS. */
void mdl_vu_server_set_patience(struct mdl_vu_server *s, uint64_t patience_ns);

/*
 * version.c: the JSON of a VERSION message (len bytes, NUL included; 0: none) into *ret_caps: absent values take the protocol's
 * defaults, larger ones than ours become ours. -EINVAL: no such JSON.
 */
int mdl_vu_caps_parse(const char *json, size_t len, struct mdl_vu_caps *ret_caps);
/* JSON to announce; heap memory. max_dma_maps 0: not mentioned. NULL: no memory. */
char *mdl_vu_caps_json(uint32_t max_fds, uint32_t max_dma_maps);

#endif
