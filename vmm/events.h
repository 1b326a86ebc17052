/* SPDX-License-Identifier: MIT */
/*
 * What can interrupt the VMM's one thread: SIGINT and SIGTERM, the time-out, a wait's end, and
 * messages from devices. All are signals that stay blocked except inside KVM_RUN, which they end;
 * then they are read like a file. So there are no handlers, no global state, and no moment in which
 * one is lost.
 */
#ifndef MDL_VMM_EVENTS_H
#define MDL_VMM_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum mdl_event {
	MDL_EVENT_STOP_INT = 1 << 0,
	MDL_EVENT_STOP_TERM = 1 << 1,
	MDL_EVENT_TIMEOUT = 1 << 2, /* the VM's time is up; stays set */
	MDL_EVENT_WAIT_OVER = 1 << 3,
	MDL_EVENT_DEVICE = 1 << 4,
};

struct mdl_events {
	int fd; /* signalfd */
	timer_t wait_timer, limit_timer;
	bool has_wait_timer, has_limit_timer;
	bool wait_armed;
	uint64_t limit_ns; /* CLOCK_MONOTONIC; 0: none */
	/* Taken from fd, not yet given out by mdl_events_take(): look before running the CPU. */
	unsigned int pending;
};

/* Blocks the signals for the calling thread, for good; makes KVM_RUN of cpu_fd let them in. */
int mdl_events_init(struct mdl_events *e, int cpu_fd);
/* The VM's time starts to run. timeout_ns 0: no limit. */
int mdl_events_start(struct mdl_events *e, uint64_t timeout_ns);
void mdl_events_fini(struct mdl_events *e);
/* MDL_EVENT_DEVICE when fd (a device's, or the input) has something to read. It stays the caller's. */
int mdl_events_add_device(struct mdl_events *e, int fd);
/* Takes what happened since the last call. Does not block. */
unsigned int mdl_events_take(struct mdl_events *e);
/* MDL_EVENT_WAIT_OVER in ns nanoseconds; 0: never. */
int mdl_events_arm_wait(struct mdl_events *e, uint64_t ns);
/*
 * Writes all of it to fd without becoming deaf: events that end the VM end the wait for a reader
 * that does not read (and are pending then). What cannot be written is dropped.
 */
void mdl_events_write(struct mdl_events *e, int fd, const void *data, size_t bytes);

#endif
