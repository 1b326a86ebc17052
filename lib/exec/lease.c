/* SPDX-License-Identifier: MIT */
/* The executor's end of the lease: see lease.h, and ipc/lease.h for the states and who moves them. */
#include "exec/lease.h"

#include "base/fd.h"
#include "base/util.h"

static bool move(struct mdl_lease *page, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&page->state, &from, to);
}

bool mdl_exec_lease_take(struct mdl_exec_lease *l)
{
	if (l->held)
		return true;
	if (!move(l->page, MDL_LEASE_IDLE, MDL_LEASE_BUSY))
		return false;
	l->held = true;
	l->since_ns = mdl_now_ns();
	atomic_store_explicit(&l->page->busy_since_ns, l->since_ns, memory_order_relaxed);
	return true;
}

void mdl_exec_lease_give(struct mdl_exec_lease *l, bool more)
{
	uint32_t state;

	if (!l->held)
		return;
	l->held = false;
	atomic_fetch_add_explicit(&l->page->busy_ns, mdl_now_ns() - l->since_ns, memory_order_relaxed);
	atomic_store_explicit(&l->page->busy_since_ns, 0, memory_order_relaxed);
	/* Before the word: who sees it IDLE and still wanted takes it for a lease that is about to be used. */
	atomic_store(&l->page->want, more);
	/*
	 * The manager may ask between the two moves; and if we are stopped between them, our next turn has begun when we go on: the word
	 * is BUSY once more, and would be for ever if we left it so. NONE or IDLE: taken meanwhile, nothing to give.
	 */
	do {
		if (move(l->page, MDL_LEASE_BUSY, MDL_LEASE_IDLE)) {
			/* Sequentially consistent with the manager's store of contended and its look at the word: one sees the other. */
			if (!more && atomic_load(&l->page->contended))
				mdl_eventfd_signal(l->want_fd);
			return;
		}
		if (move(l->page, MDL_LEASE_YIELD, MDL_LEASE_NONE))
			break;
		state = atomic_load(&l->page->state);
	} while (state == MDL_LEASE_BUSY || state == MDL_LEASE_YIELD);
	mdl_eventfd_signal(l->want_fd);
}

void mdl_exec_lease_want(struct mdl_exec_lease *l, bool want)
{
	if (atomic_exchange(&l->page->want, want) != want && want)
		mdl_eventfd_signal(l->want_fd);
}
