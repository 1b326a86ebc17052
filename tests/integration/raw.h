/* SPDX-License-Identifier: MIT */
/*
 * A VMM and a driver in one, below the driver library: page tables, registers and DMA regions of its own. One context and one channel at
 * a time. A failed check prints a line that starts with FAIL and ends the process.
 */
#ifndef MDL_TESTS_INTEGRATION_RAW_H
#define MDL_TESTS_INTEGRATION_RAW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"
#include "hw/medley_hw.h"
#include "ipc/ipc.h"
#include "vfio-user/client.h"

/* Guest memory, and where things lie in VRAM. The page tables map window + 0: ring, + 4096: scratch, + 2 MiB: guest memory. */
#define RAW_GPA	       0x40000000ull
#define RAW_RAM_BYTES  (8ull << 20)
#define RAW_RAM_AT     (4ull << 20) /* what the GPU sees begins so far in it */
#define RAW_RAM_VA     (MDL_WINDOW_BASE + MDL_HUGE_BYTES)
#define RAW_TABLES_AT  0x0000
#define RAW_RING_AT    0x10000
#define RAW_SCRATCH_AT 0x11000
#define RAW_RING_LOG2  4
#define RAW_WAIT_NS    60000000000ull

struct raw {
	struct mdl_vu_client *c;
	uint8_t *vram, *ram;
	volatile struct mdl_hw_user_page *user;
	int ram_fd;
	uint64_t put;
};

void raw_init(struct raw *r, const char *socket, bool sealed);
void raw_connect(struct raw *r, const char *socket);
void raw_map_ram(struct raw *r);
void raw_write(struct raw *r, uint32_t offset, uint32_t width, uint64_t value);
uint64_t raw_read(struct raw *r, uint32_t offset, uint32_t width);
/* Of context or channel i. */
void raw_write_ctx(struct raw *r, uint32_t i, uint32_t reg, uint64_t value);
void raw_write_chan(struct raw *r, uint32_t i, uint32_t reg, uint64_t value);
/* Polls a status register until it is not PENDING. */
uint32_t raw_ctx_status(struct raw *r, uint32_t i);
uint32_t raw_chan_status(struct raw *r, uint32_t i);
/* Four levels of tables at `tables`, found by the GPU at `frame` of `target` (0: VRAM, MDL_PTE_SYSTEM). */
void raw_make_tables(uint8_t *tables, uint64_t frame, uint64_t target);
/* Context and channel i are started; the ring is the same for all. */
void raw_start(struct raw *r, uint32_t i, uint64_t root);
void raw_submit(struct raw *r, const struct mdl_hw_packet *p);
/* 0 when all packets are done, else the channel's error. */
uint32_t raw_finish(struct raw *r);
void raw_nap(void);

#endif
