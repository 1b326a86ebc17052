/* SPDX-License-Identifier: MIT */
/*
 * A channel as the front end sees it, and the packet that it is at. A packet is worked on in two steps: prepare, outside the lease
 * (checks, waits, compilation), until it is ready; then run, inside it. See packet.c for the table of packets.
 */
#ifndef MDL_EXEC_CHANNEL_H
#define MDL_EXEC_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "exec/lease.h"
#include "hw/medley_hw.h"
#include "ipc/ipc.h"

enum mdl_step {
	MDL_STEP_EMPTY,		/* no packet, or the channel stands still for good */
	MDL_STEP_BLOCKED,	/* waits for a semaphore: look again later */
	MDL_STEP_COMPILING,	/* waits for the compiler, which will wake the front end */
	MDL_STEP_READY,		/* wants to run */
	MDL_STEP_MORE,		/* ran in part: go on at the next turn */
	MDL_STEP_DONE,		/* ran to its end */
	MDL_STEP_FAILED,	/* chan->error says how */
};

struct mdl_exec;

struct mdl_exec_chan {
	uint32_t index, vector, ring_log2;
	uint64_t ring_va, get;
	struct mdl_hw_user_page *user;	/* guest-shared: atomics only */
	int doorbell_fd;

	bool stopped;			/* at an error, until it is closed */
	uint16_t error;			/* enum mdl_hw_error, with info, when a step failed */
	uint32_t info;

	/* The packet at `get`, our copy; fields below are its progress. */
	bool have, prepared;
	struct mdl_hw_packet pkt;
	uint64_t pos;			/* bytes or rows done */
	uint64_t since_ns;		/* when it began to run; 0: it has not */
	/* DISPATCH */
	struct mdl_launch launch;
	uint8_t arg_data[MDL_ARG_BYTES_MAX + MDL_ARGS_MAX * 8];
	/* LOAD_PROGRAM */
	enum { MDL_LOAD_NEW, MDL_LOAD_COMPILING, MDL_LOAD_BUILT } load_state;
	struct mdl_hw_program_load load;
	uint32_t load_status;
	const struct mdl_program_built *built;	/* borrowed until the program is unloaded or replaced; NULL: status only */
};

/* One executor: one GPU context. Front end's thread. */
_Static_assert(MDL_HW_MSIX_VECTORS <= 32, "mdl_exec.irq_raised has a bit for each vector");

struct mdl_exec {
	const struct mdl_backend_ops *ops;
	struct mdl_backend *backend;
	struct mdl_exec_lease lease;
	int control, epoll, grant_fd;
	uint32_t ctx, compute_units;
	uint64_t epoch_ns;
	bool quit;
	int irq_fd[MDL_HW_MSIX_VECTORS];
	uint32_t irq_raised;		/* bit i: vector i was raised since its last IRQ_SET */
	struct mdl_exec_chan *chan[MDL_HW_CHAN_MAX];
	uint32_t num_chans;		/* chan[0 .. num_chans) are open, in no order */
	uint32_t next_chan;		/* whose turn it is */
	uint64_t compile_since_ns;	/* 0: nothing is being compiled */
	uint32_t kernels_done;
};

/* packet.c: the next step of the channel's packet; MDL_STEP_READY from prepare means run may be called, inside the lease. */
enum mdl_step mdl_packet_prepare(struct mdl_exec *x, struct mdl_exec_chan *c);
enum mdl_step mdl_packet_run(struct mdl_exec *x, struct mdl_exec_chan *c);
/* Channel c goes away with the packet that it is at. */
void mdl_packet_forget(struct mdl_exec *x, struct mdl_exec_chan *c);
/* Completes it: signal, get, interrupt. */
void mdl_packet_complete(struct mdl_exec *x, struct mdl_exec_chan *c);

/* program.c: LOAD_PROGRAM, UNLOAD_PROGRAM, DISPATCH. */
enum mdl_step mdl_program_prepare_load(struct mdl_exec *x, struct mdl_exec_chan *c);
enum mdl_step mdl_program_run_load(struct mdl_exec *x, struct mdl_exec_chan *c);
enum mdl_step mdl_program_prepare_unload(struct mdl_exec *x, struct mdl_exec_chan *c);
enum mdl_step mdl_program_run_unload(struct mdl_exec *x, struct mdl_exec_chan *c);
enum mdl_step mdl_program_prepare_dispatch(struct mdl_exec *x, struct mdl_exec_chan *c);
enum mdl_step mdl_program_run_dispatch(struct mdl_exec *x, struct mdl_exec_chan *c);
/* The compiler has news: finishes what waited for it. */
void mdl_program_compiled(struct mdl_exec *x);
/* Channel c goes away: nobody waits for its compilation any more. */
void mdl_program_forget(struct mdl_exec *x, struct mdl_exec_chan *c);

/* Shared by the handlers: sets the error and answers MDL_STEP_FAILED. */
static inline enum mdl_step mdl_step_fail(struct mdl_exec_chan *c, uint16_t error, uint32_t info)
{
	c->error = error;
	c->info = info;
	return MDL_STEP_FAILED;
}

/*
 * A guest's range as a pointer. A range outside the window is a page fault of the context, as one on an unmapped page would be: the
 * front end must not touch its own memory for a guest. Does not return then.
 */
void *mdl_exec_ptr(uint64_t va, uint64_t bytes, uint16_t access);

#endif
