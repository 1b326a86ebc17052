/* SPDX-License-Identifier: MIT */
/*
 * How the load generator waits for three things at once: a fence, a command, a time. In a KVM guest it sleeps until an interrupt
 * or input; as a process libmedley does the waiting, in slices, between which it looks for commands.
 */
#ifndef MDL_BENCH_LOAD_WAIT_H
#define MDL_BENCH_LOAD_WAIT_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "load.h"
#include "medley/medley.h"

struct load_wait {
	char text[LOAD_LINE];
	size_t used;
	uint64_t seen; /* input counter at the last look */
};

void load_wait_init(struct load_wait *w);
/* The next command: 1 and the line, 0 for none now, -ESHUTDOWN when there will be none any more. */
int load_wait_line(struct load_wait *w, char *ret_line, size_t bytes);
/* Until the fence (or NULL) is no longer pending, a command has come, or until_ns (UINT64_MAX: never); or sooner. */
void load_wait(struct load_wait *w, const struct mdl_fence *fence, uint64_t until_ns);

#endif
