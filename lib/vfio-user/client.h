/* SPDX-License-Identifier: MIT */
/*
 * A small vfio-user client, as a VMM needs it: synchronous requests with a time limit; requests that the server makes meanwhile
 * (DMA_READ, DMA_WRITE) are answered from the DMA regions given with mdl_vu_client_dma_map(). One thread at a time.
 * A reply that breaks the protocol closes the connection; every later call gives -EPIPE.
 */
#ifndef MDL_VFIO_USER_CLIENT_H
#define MDL_VFIO_USER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDL_VU_CLIENT_AREAS 16

struct mdl_vu_client;

struct mdl_vu_client_region {
	uint64_t bytes;
	bool read, write, mappable;
	int fd;			/* the caller owns it; -1 if not mappable */
	uint64_t fd_offset;
	struct { uint64_t offset, bytes; } area[MDL_VU_CLIENT_AREAS];
	size_t num_areas;	/* at least 1 when mappable */
};

struct mdl_vu_client_ioeventfd { uint64_t offset; uint32_t bytes; int fd; /* the caller owns it */ };

/* Connects and negotiates the version. timeout_ms bounds every later request too. Errors: -ENOENT, -ECONNREFUSED, -EBUSY (hung up on
 * at once: another client is connected), -ETIMEDOUT, -EPROTO, ... */
int mdl_vu_client_connect(const char *path, int timeout_ms, struct mdl_vu_client **ret_client);
void mdl_vu_client_close(struct mdl_vu_client *c);
int mdl_vu_client_fd(const struct mdl_vu_client *c);

int mdl_vu_client_region(struct mdl_vu_client *c, uint32_t index, struct mdl_vu_client_region *ret_region);
int mdl_vu_client_irq_count(struct mdl_vu_client *c, uint32_t index, uint32_t *ret_count);
int mdl_vu_client_read(struct mdl_vu_client *c, uint32_t region, uint64_t offset, void *data, uint32_t count);
int mdl_vu_client_write(struct mdl_vu_client *c, uint32_t region, uint64_t offset, const void *data, uint32_t count);
/* fd -1: only messages reach it, through host (which must stay valid); with fd, host may be NULL. */
int mdl_vu_client_dma_map(struct mdl_vu_client *c, uint64_t iova, uint64_t bytes, bool write, int fd, uint64_t fd_offset,
			  void *host);
int mdl_vu_client_dma_unmap(struct mdl_vu_client *c, uint64_t iova, uint64_t bytes);
/* Vectors start.. get the eventfds fds[0..count); -1 in fds disables one. count 0: disable the index. fds stay the caller's. */
int mdl_vu_client_set_irqs(struct mdl_vu_client *c, uint32_t index, uint32_t start, uint32_t count, const int *fds);
int mdl_vu_client_mask_irq(struct mdl_vu_client *c, uint32_t index, uint32_t vector, bool mask);
int mdl_vu_client_io_fds(struct mdl_vu_client *c, uint32_t region, struct mdl_vu_client_ioeventfd *fds, size_t cap,
			 size_t *ret_count);
int mdl_vu_client_reset(struct mdl_vu_client *c);
/* Answers what the server asked for (DMA_READ, DMA_WRITE), without blocking; at most 64 requests a call, four times what our server asks. */
int mdl_vu_client_process(struct mdl_vu_client *c);

#endif
