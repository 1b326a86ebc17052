/* SPDX-License-Identifier: MIT */
/*
 * medleyd and its executors, faked in a thread: starts a real medley-device, answers its link, and plays the executors it asks for,
 * good or bad ones. The test reads what they were told.
 */
#ifndef MDL_TESTS_INTEGRATION_FAKE_MANAGER_H
#define MDL_TESTS_INTEGRATION_FAKE_MANAGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "hw/medley_hw.h"
#include "ipc/ipc.h"

#define FAKE_CONTEXTS 4
#define FAKE_CHANNELS 4
#define FAKE_VRAM     (8ull << 20)

enum fake_mapper {
	FAKE_MAPS,
	FAKE_FAILS,
	FAKE_SILENT,
	FAKE_GARBAGE,
	FAKE_WRONG_TYPE,
	FAKE_FAULTS
};

struct fake_exec {
	bool there;
	int control, map;
	struct mdl_ipc_exec_setup setup;
	uint64_t mem; /* bit i: memory object i is held */
	uint32_t maps, unmaps; /* entries */
	struct mdl_map_entry last;
	uint32_t chans_opened;
	int doorbell; /* of the last CHAN_OPEN */
	int irq[MDL_HW_MSIX_VECTORS]; /* -1: none */
	uint32_t irq_sets;
};

struct fake {
	pid_t pid;
	int pidfd, link, vram;
	pthread_t thread;
	int stop; /* eventfd */
	pthread_mutex_t lock; /* covers everything below */
	struct fake_exec exec[FAKE_CONTEXTS];
	uint32_t opened, closed, killed, notes;
	bool ready, vmm;
	struct mdl_ipc_fault fault; /* said by a mapper's executor that FAKE_FAULTS */
	uint32_t lost_error; /* in the CTX_LOST that answers a CTX_KILL, with these */
	uint16_t lost_chan;
	uint32_t lost_tag;
	bool deaf; /* CHAN_CLOSE is not answered */
	_Atomic int close_ms; /* how long ending an executor takes */
	_Atomic int mapper; /* enum fake_mapper */
	_Atomic int refuse; /* errno for CTX_OPEN */
};

/* Starts the device with its socket at `path`, in the working directory. */
void fake_start(struct fake *f, const char *program, const char *path);
/* Has the device stop, or dies on it; it must end with success. */
void fake_end(struct fake *f);
void fake_die(struct fake *f);
/* Waits until condition(f) holds; fails the test if it does not come true. */
void fake_wait(struct fake *f, bool (*condition)(struct fake *f), const char *what);
void fake_send(struct fake *f, uint32_t ctx, const void *msg);

#endif
