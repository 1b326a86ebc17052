/* SPDX-License-Identifier: MIT */
/*
 * A rig for the protocol tests: a server with a recording device behind it, and a raw socket that speaks to it byte by byte. One
 * thread, so every test is deterministic: rig_pump() lets the server do all it can, then the test looks at what came back.
 */
#ifndef MDL_TESTS_PROTO_RIG_H
#define MDL_TESTS_PROTO_RIG_H

#include <stdbool.h>

#include "tests/unit/check.h"
#include "vfio-user/internal.h"

#define RIG_BAR0_BYTES	(2u << 20)	/* trapped, memory behind it */
#define RIG_ROM_BYTES	4096u		/* read only */
#define RIG_BAR2_BYTES	(1u << 20)	/* mappable as a whole */
#define RIG_BAR4_BYTES	65536u		/* mappable in two parts */
#define RIG_MSIX	32u
#define RIG_DMA_MAX	8u

struct rig_dma {
	uint64_t iova, bytes, fd_offset;
	bool read, write, mapped;
	uint64_t inode;		/* of the descriptor, 0: none */
};

struct rig_reply {
	struct mdl_vu_hdr hdr;
	uint8_t *payload;
	size_t len;
	int fds[64];
	size_t nfds;
};

struct rig {
	struct mdl_vu_server *s;
	struct mdl_vu_device dev;
	char path[96];
	int fd;			/* the raw client; -1 */
	uint16_t id;
	struct rig_reply reply;

	/* the device */
	uint8_t *bar0, config[4096], rom[RIG_ROM_BYTES];
	struct mdl_vu_ioeventfd io[3];
	int fail;		/* errno that the next region access or dma_map returns */
	unsigned int reads, writes, resets, connected, disconnected, max_piece;
	pid_t peer;
	struct rig_dma dma[64];
	size_t num_dma;
	unsigned int maps, unmaps;
	int irq_fd[MDL_VU_IRQS][RIG_MSIX];	/* as last reported; 0 never */
	unsigned int irq_changes;
	bool quit_in_write;	/* region_write disconnects */
	void (*on_write)(struct rig *r, uint64_t offset);	/* called in region_write to region 7 */
	unsigned int dma_done;
	int dma_error;
	uint8_t dma_data[4096];
	uint32_t dma_len;
};

/* As check_main(), with TMPDIR a fresh directory that is removed in the end, whatever the cases left in it. */
int rig_main(const struct check_case *cases, size_t n);
#define RIG_MAIN(cases) int main(void) { return rig_main((cases), sizeof(cases) / sizeof((cases)[0])); }

void rig_start(struct rig *r);
void rig_stop(struct rig *r);
int rig_connect(struct rig *r);	/* a further raw socket */
void rig_hello(struct rig *r);	/* connects and negotiates with rig_caps */
void rig_hello_with(struct rig *r, const char *json);
extern const char rig_qemu_caps[];

void rig_pump(struct rig *r);
void rig_send_raw(int fd, const void *data, size_t len, const int *fds, size_t nfds);
/* A whole message in one piece; its id. */
uint16_t rig_send(struct rig *r, uint16_t command, uint32_t flags, const void *payload, size_t len, const int *fds, size_t nfds);
/* Takes the next message off the raw socket into r->reply. 1, 0: nothing there, -1: closed by the server. */
int rig_recv(struct rig *r);
/* Sends, pumps, takes the reply, checks that it is the one to this request. Its errno, 0 for success. */
int rig_call(struct rig *r, uint16_t command, const void *payload, size_t len, const int *fds, size_t nfds);
/* Whether the connection still answers. */
bool rig_alive(struct rig *r);
bool rig_closed(struct rig *r);	/* pumped, and the server has closed */

size_t rig_count_fds(void);
int rig_memfd(uint64_t bytes);
int rig_eventfd(void);
uint64_t rig_inode(int fd);
int rig_map(struct rig *r, uint64_t iova, uint64_t bytes, uint32_t flags, int fd, uint64_t offset);
int rig_unmap(struct rig *r, uint64_t iova, uint64_t bytes, uint32_t flags);
int rig_irqs(struct rig *r, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const void *bools, size_t len,
	     const int *fds, size_t nfds);
extern const struct mdl_vu_ops rig_ops;

#endif
