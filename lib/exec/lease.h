/* SPDX-License-Identifier: MIT */
/*
 * The executor's end of the lease (ipc/lease.h): taken before work runs, given back at a packet boundary when there is no more or when
 * the manager asks. Front end's thread.
 */
#ifndef MDL_EXEC_LEASE_H
#define MDL_EXEC_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/lease.h"

struct mdl_exec_lease {
	struct mdl_lease *page;
	int want_fd;
	bool held;
	uint64_t since_ns;
};

/* Whether the lease is ours now, taking it if it is free. */
bool mdl_exec_lease_take(struct mdl_exec_lease *l);

/* Gives it back. `more`: there is work left (the manager asked, or other channels wait). No-op when it is not held. */
void mdl_exec_lease_give(struct mdl_exec_lease *l, bool more);

/* Whether the manager wants it back. */
static inline bool mdl_exec_lease_asked(const struct mdl_exec_lease *l)
{
	return l->held && atomic_load_explicit(&l->page->state, memory_order_relaxed) != MDL_LEASE_BUSY;
}

/* Whether it is ours to take: work could start at once. */
static inline bool mdl_exec_lease_free(const struct mdl_exec_lease *l)
{
	return atomic_load_explicit(&l->page->state, memory_order_relaxed) == MDL_LEASE_IDLE;
}

/* Tells the manager whether there is work that waits for the lease; signals on the change to true. */
void mdl_exec_lease_want(struct mdl_exec_lease *l, bool want);

#endif
