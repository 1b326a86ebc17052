/* SPDX-License-Identifier: MIT */
/*
 * Plays medleyd and medley-device for one real medley-exec: starts it confined, as medleyd does, with a lease page; maps a VRAM memfd
 * into its window; writes rings. Any failure ends the test case through CHECK(). The executor dies with the case.
 */
#ifndef MDL_TESTS_EXEC_HARNESS_H
#define MDL_TESTS_EXEC_HARNESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hw/medley_hw.h"
#include "ipc/ipc.h"
#include "ipc/lease.h"

#define H_VRAM_BYTES	(64ull << 20)
#define H_VRAM_VA	(MDL_WINDOW_BASE + (4ull << 30))	/* VRAM offset 0 appears here, writable */
#define H_HOLE_VA	(MDL_WINDOW_BASE + (1ull << 40))	/* never mapped by the harness itself */
#define H_HEAP		(2ull << 20)				/* VRAM offset of the first h_alloc() */
#define H_CHANS		8
#define H_RING_LOG2	6
#define H_WAIT_MS	150000

struct h {
	pid_t pid;
	int pidfd, control, map, grant, want;
	struct mdl_lease *lease;
	uint8_t *vram;			/* the harness's view */
	struct mdl_hw_user_page *user[H_CHANS];
	int user_fd, vram_fd;
	int doorbell[H_CHANS];
	uint64_t put[H_CHANS];
	uint64_t heap;
};

/* Starts an executor with the lease IDLE, memory mapped and the first `chans` channels open, vector = channel number. */
void h_start(struct h *h, uint32_t chans);
/* Ends it and checks that it, and all its processes, are gone. */
void h_stop(struct h *h);

/* VRAM for the test: aligned to 64 bytes. Its GPU address and the harness's pointer. */
uint64_t h_alloc(struct h *h, uint64_t bytes);
void *h_ptr(struct h *h, uint64_t va);

/* Orders to the mapper; the errno that it answers. */
int h_mem_add(struct h *h, uint32_t mem, int fd);
int h_mem_del(struct h *h, uint32_t mem);
int h_map(struct h *h, uint64_t va, uint64_t bytes, uint32_t mem, uint64_t offset, bool writable);
int h_unmap(struct h *h, uint64_t va, uint64_t bytes);

void h_chan_open(struct h *h, uint32_t chan);
void h_chan_close(struct h *h, uint32_t chan);

/* Writes a packet and put, and rings the doorbell if it is wanted. */
void h_push(struct h *h, uint32_t chan, const struct mdl_hw_packet *pkt);
/* Waits until all that was pushed has completed; false after ms milliseconds. */
bool h_done(struct h *h, uint32_t chan, int ms);
/* Pushes and waits; must complete. */
void h_run(struct h *h, uint32_t chan, const struct mdl_hw_packet *pkt);

/* Waits for a control message of a type; fails the case if another comes or none in time. */
void h_expect(struct h *h, uint32_t type, void *msg, size_t bytes);
/* Waits for CTX_FAULT and for the end of the executor. */
struct mdl_ipc_fault h_expect_fault(struct h *h);
/* Waits for CHAN_ERROR of a channel. */
struct mdl_ipc_fault h_expect_error(struct h *h, uint32_t chan);

/* Loads a program on channel 0; its result, in harness memory. *log: the log. */
const struct mdl_hw_program_result *h_load(struct h *h, uint32_t handle, const char *source, const char *options,
					    const char **ret_log);
/* The same; must succeed. */
void h_load_ok(struct h *h, uint32_t handle, const char *source);

/* Arguments: built one by one. */
struct h_args {
	uint64_t va;
	struct mdl_hw_args *a;
};
struct h_args h_args(struct h *h);
void h_arg_buffer(struct h_args *a, uint64_t va);
void h_arg_value(struct h_args *a, const void *value, uint32_t bytes);
void h_arg_local(struct h_args *a, uint32_t bytes);

struct mdl_hw_packet h_dispatch(uint32_t program, uint16_t kernel, uint32_t global, uint16_t local, const struct h_args *args);

uint64_t h_now_ns(void);

#endif
