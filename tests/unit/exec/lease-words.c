/* SPDX-License-Identifier: MIT */
/*
 * The executor's end of the lease word against a manager that asks and takes the word back at any moment: between any two of the
 * executor's steps it may be stopped for as long as the manager likes.
 */
#include "exec/lease.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include "base/util.h"
#include "tests/unit/check.h"

#define ROUNDS	500000

struct manager {
	struct mdl_lease page;
	_Atomic bool end;
};

static void move(struct manager *m, uint32_t from, uint32_t to)
{
	atomic_compare_exchange_strong(&m->page.state, &from, to);
}

/* Asks, and gives a new turn before the answer came: what happens to an executor that is stopped in the middle of its answer. */
static void *ask_and_grant(void *arg)
{
	struct manager *m = arg;

	while (!atomic_load(&m->end)) {
		move(m, MDL_LEASE_BUSY, MDL_LEASE_YIELD);
		move(m, MDL_LEASE_YIELD, MDL_LEASE_BUSY);
	}
	return NULL;
}

/* What was given back is not BUSY for ever: nobody would take it up again. */
static void given_back(void)
{
	struct manager m = { 0 };
	struct mdl_exec_lease l = { .page = &m.page, .want_fd = eventfd(0, EFD_NONBLOCK) };
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, ask_and_grant, &m));
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t state;

		atomic_store(&m.page.state, MDL_LEASE_IDLE);
		CHECK(mdl_exec_lease_take(&l));
		mdl_exec_lease_give(&l, i & 1);
		CHECK(!l.held);
		state = atomic_load(&m.page.state);
		CHECK(state == MDL_LEASE_NONE || state == MDL_LEASE_IDLE);
	}
	atomic_store(&m.end, true);
	pthread_join(thread, NULL);
}

static const struct check_case cases[] = {
	{ "given back whatever the manager does meanwhile", given_back, 60 },
};
CHECK_MAIN(cases)
