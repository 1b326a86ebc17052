/* SPDX-License-Identifier: MIT */
/*
 * A vfio-user server for one PCI function. The device behind it is given as a description and a table of callbacks; the server knows
 * nothing of GPUs. One thread owns a server: the one whose loop calls mdl_vu_server_process() when a descriptor is ready. No call
 * blocks on the peer: what cannot be written now is buffered up to a limit, a peer that never reads is disconnected.
 *
 * One client at a time. When it goes away (or breaks the protocol), `disconnected` is called, its DMA mappings are reported
 * unmapped, its interrupts are dropped, and the server listens for the next one. A second client that comes meanwhile is turned away
 * at once. One that does not negotiate, or takes nothing of what waits for it, for 10 s is disconnected.
 *
 * Callbacks may call everything here but mdl_vu_server_process() and mdl_vu_server_destroy(); a disconnect waits until they return.
 */
#ifndef MDL_VFIO_USER_SERVER_H
#define MDL_VFIO_USER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MDL_VU_REGIONS		9	/* BAR0..5, ROM, config, VGA: VFIO_PCI_*_REGION_INDEX */
#define MDL_VU_IRQS		5	/* INTx, MSI, MSI-X, ERR, REQ: VFIO_PCI_*_IRQ_INDEX */
#define MDL_VU_MSIX_MAX		2048

struct mdl_vu_server;

struct mdl_vu_area {		/* a mappable part of a region */
	uint64_t offset, bytes;	/* multiples of 4096 */
};

struct mdl_vu_region {
	uint64_t bytes;		/* 0: region absent */
	bool read, write;
	int fd;			/* -1: not mappable; else borrowed for the server's life: what clients mmap */
	uint64_t fd_offset;
	const struct mdl_vu_area *areas;	/* with fd: mappable parts; none: all of it */
	size_t num_areas;
};

struct mdl_vu_ioeventfd {	/* a doorbell offered through DEVICE_GET_REGION_IO_FDS */
	uint32_t region;
	uint64_t offset;
	uint32_t bytes;		/* width of the access: 1, 2, 4 or 8; 0: any */
	int fd;			/* borrowed */
};

struct mdl_vu_device {
	struct mdl_vu_region region[MDL_VU_REGIONS];
	uint32_t irq_count[MDL_VU_IRQS];	/* vectors of each interrupt index, 0: none */
	const struct mdl_vu_ioeventfd *ioeventfds;
	size_t num_ioeventfds;
	uint32_t dma_max_regions;		/* refused beyond it; 0: 64 */
};

/* A DMA region as the client announced it. */
struct mdl_vu_dma {
	uint64_t iova, bytes;
	bool read, write;	/* what the device may do */
	int fd;			/* -1: no descriptor, only messages reach it; else lent for the call: dup to keep */
	uint64_t fd_offset;
};

struct mdl_vu_ops {
	/*
	 * Guest access to a region that is not mapped, config space included. count is 1 to 4096 bytes and lies inside the
	 * region; the callback must fill or consume all of it, or return negative errno, which the client sees as an error.
	 */
	int (*region_read)(void *ctx, uint32_t region, uint64_t offset, void *data, uint32_t count);
	int (*region_write)(void *ctx, uint32_t region, uint64_t offset, const void *data, uint32_t count);
	/* The client maps or unmaps guest memory. After dma_unmap returns the device must not reach it any more. */
	int (*dma_map)(void *ctx, const struct mdl_vu_dma *dma);
	void (*dma_unmap)(void *ctx, uint64_t iova, uint64_t bytes);
	/*
	 * The eventfd behind one interrupt vector changed: -1: none, disabled or masked. Lent until the next call for that
	 * vector: dup to keep. Optional: mdl_vu_irq_raise() works without it. INTx masks itself at every raise; that is not told
	 * here, so INTx goes through mdl_vu_irq_raise() always.
	 */
	void (*irq_changed)(void *ctx, uint32_t index, uint32_t vector, int fd);
	void (*reset)(void *ctx);		/* DEVICE_RESET */
	void (*connected)(void *ctx, pid_t peer);	/* optional: after version negotiation */
	void (*disconnected)(void *ctx);		/* optional */
};

/*
 * listen_fd: a listening SOCK_STREAM Unix socket, which the server owns from here on, also on failure. dev and ops must stay valid for
 * the server's life. Errors: -EINVAL (description inconsistent), -ENOMEM.
 */
int mdl_vu_server_create(int listen_fd, const struct mdl_vu_device *dev, const struct mdl_vu_ops *ops, void *ctx,
			 struct mdl_vu_server **ret_server);

/* Accepts NULL. Unmaps everything first, as for a disconnect. */
void mdl_vu_server_destroy(struct mdl_vu_server *s);

/*
 * What to poll: an epoll descriptor that is readable when there is something to do (new client, message, room to write). The same
 * for the server's life; borrowed.
 */
int mdl_vu_server_fd(const struct mdl_vu_server *s);

/*
 * Does what can be done without blocking: accepts, reads and answers messages. Bounded work per call. 0, or negative errno
 * only when the listening socket itself failed. Peers' faults never surface here.
 */
int mdl_vu_server_process(struct mdl_vu_server *s);

bool mdl_vu_server_connected(const struct mdl_vu_server *s);
void mdl_vu_server_disconnect(struct mdl_vu_server *s);

/* Raises an interrupt. Masked vectors are remembered (pending bit) and raised at unmask. False if nowhere to go. */
bool mdl_vu_irq_raise(struct mdl_vu_server *s, uint32_t index, uint32_t vector);

/* Pending bits of MSI-X vectors, for the PBA: bit i of word i / 64. */
uint64_t mdl_vu_msix_pending(const struct mdl_vu_server *s, uint32_t word);

/*
 * Reaches guest memory without a descriptor by message (DMA_READ, DMA_WRITE). Asynchronous: done(arg, error, data) is called from a
 * later mdl_vu_server_process(); data (reads) is valid during the call. len at most the client's max transfer. At most 16 under way:
 * -EBUSY beyond. Never wait for it inside a callback: the client may wait for us. There is no time limit: a stopped VMM answers when it
 * goes on, and one that never does has its done called with -ECONNRESET when it leaves. Who cannot wait so long keeps its own time.
 */
typedef void (*mdl_vu_dma_done)(void *arg, int error, const void *data, uint32_t len);
int mdl_vu_dma_read(struct mdl_vu_server *s, uint64_t iova, uint32_t len, mdl_vu_dma_done done, void *arg);
int mdl_vu_dma_write(struct mdl_vu_server *s, uint64_t iova, const void *data, uint32_t len, mdl_vu_dma_done done, void *arg);

struct mdl_vu_stats { uint64_t messages, errors, accesses, disconnects, protocol_faults; };
void mdl_vu_server_stats(const struct mdl_vu_server *s, struct mdl_vu_stats *ret_stats);

#endif
