/* SPDX-License-Identifier: MIT */
/*
 * A device in the test's own process: a port of libmedley with a register file, page tables walked
 * naively for each access, and an engine that runs packets when the test says so. System memory is
 * handed out page by page from scattered places. The clock is a counter: every look at it costs a
 * microsecond, sleeping adds what was asked. Deliberately missing: programs are not compiled, a
 * kernel launch only notes what it was given. Single-threaded.
 */
#ifndef MDL_TESTS_GUEST_MOCK_H
#define MDL_TESTS_GUEST_MOCK_H

#include "guest/lib/internal.h"

#define MOCK_VRAM_BYTES (16ull << 20)
#define MOCK_RAM_PAGES	8192
#define MOCK_CHANNELS	4
#define MOCK_CONTEXTS	2
#define MOCK_VA_BASE	0x200000000000ull
#define MOCK_VA_LIMIT	0x300000000000ull
#define MOCK_LAUNCHES	4096 /* kept: the last ones */

struct mock_chan {
	uint32_t status, error, context, ring_log2, vector;
	uint64_t ring_va, fault_va;
};

struct mock_ctx {
	uint32_t status, error;
	uint64_t root, inv_va, inv_bytes, fault_va;
};

struct mock_launch {
	struct mdl_hw_pkt_dispatch packet;
	uint32_t nargs;
	uint64_t global_offset[3];
	struct mdl_hw_arg arg[MDL_ARGS_MAX];
	uint64_t sum; /* of the bytes of long values */
};

struct mock {
	struct mdl_port port;
	int ram_fd;
	uint8_t *ram; /* all of it, by bus address */
	uint8_t ram_used[MOCK_RAM_PAGES];
	uint32_t ram_next;
	uint64_t now;
	uint64_t fault_base;
	uint32_t fault_log2, fault_put, fault_get, fault_lost;
	uint32_t func_resets;
	struct mock_ctx ctx[MOCK_CONTEXTS];
	struct mock_chan chan[MOCK_CHANNELS];

	/* Behaviour, set by the test. */
	bool automatic; /* run all packets at each doorbell */
	uint32_t run_at_look; /* run one packet of channel 0 at the n-th look at the clock */
	bool awake; /* no doorbell wanted */
	bool no_irqs; /* at open: a port without vectors */
	uint32_t step; /* packets to run at each sleep or wait */
	uint32_t pending; /* how often a status reads PENDING first */
	uint32_t fail_after; /* register accesses until the device is gone; 0: never */
	int mute_irq; /* interrupts are counted but wake nobody */

	/* What happened. */
	uint64_t doorbells, irqs, sleeps, waits, invalidates, accesses, dma_pages, programs_loaded,
		unloads;
	uint32_t irq_pending;
	struct mock_launch *launch;
	uint32_t launches;
};

/*
 * The port of a new device, owned by mdl_gpu_open_port(), and the device, freed by the port's
 * close.
 */
struct mdl_port *mock_create(struct mock **ret_mock);
/* Runs up to n packets of a channel; how many ran. */
uint32_t mock_run(struct mock *m, uint32_t chan, uint32_t n);
/* Walks the page tables: the host address of va, or NULL; *ret_pte is the leaf. */
uint8_t *mock_walk(struct mock *m, uint32_t ctx, uint64_t va, uint64_t *ret_pte);
void mock_fault(struct mock *m, uint32_t ctx, uint32_t chan, uint32_t error, uint64_t va,
		uint32_t tag);
void mock_kill_ctx(struct mock *m, uint32_t ctx, uint32_t error, uint64_t va);

#endif
