/* SPDX-License-Identifier: MIT */
/* Descriptors: shared memory, event counters. All descriptors made here are close-on-exec. */
#ifndef MDL_BASE_FD_H
#define MDL_BASE_FD_H

#include <stddef.h>
#include <stdint.h>

/*
 * Creates shared memory of `bytes` bytes (zeroed, allocated lazily) and seals its size. The caller owns *ret_fd.
 * Errors: -ENOMEM, -EMFILE, ...
 */
int mdl_memfd_create(const char *name, uint64_t bytes, int *ret_fd);

/*
 * Adds 1 to an eventfd. -EAGAIN if the counter is full (then a wake-up is pending anyway). Does not block, unless a peer that holds the
 * same eventfd, and has made it a blocking one, fills the counter between two system calls here: so no process that others depend on
 * may signal an eventfd whose other holders can change its flags (executors cannot: their system calls are filtered).
 */
int mdl_eventfd_signal(int fd);

/* Takes the count of an eventfd, or of a non-blocking timerfd; 0 if there was none. Never blocks, whatever an eventfd's flags say. */
uint64_t mdl_eventfd_take(int fd);

/* Waits until fd is readable or timeout_ms has passed (-1: for ever). 1 readable or hung up, 0 timed out, negative errno. */
int mdl_wait_readable(int fd, int timeout_ms);

#endif
