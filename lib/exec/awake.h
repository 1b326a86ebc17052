/* SPDX-License-Identifier: MIT */
/* Whether a front end with nothing to do polls or sleeps: see awake.c. */
#ifndef MDL_EXEC_AWAKE_H
#define MDL_EXEC_AWAKE_H

#include <stdbool.h>
#include <stdint.h>

struct mdl_awake {
	uint64_t window_ns;		/* polls so long after the last work */
	uint64_t worked_ns;		/* when that was done */
	uint64_t look_ns;		/* the last look of a poll that goes on; 0: none does */
	bool in_vain;			/* a poll as long as can be has ended in sleep since the last work */
	uint32_t skip, skip_next;	/* no poll before so many sleeps have ended with work */
	uint64_t ask_ns, ask_every_ns;	/* not before, and how long after that */
};

void mdl_awake_init(struct mdl_awake *a);

/* Work was done from start to now. True: ask to be moved to another CPU. */
bool mdl_awake_worked(struct mdl_awake *a, uint64_t start_ns, uint64_t now_ns);

/*
 * There is nothing to do. True: look again at once. False: sleep, and say afterwards how it was. may_run: work that came now could run
 * at once; without that there is nothing to poll for.
 */
bool mdl_awake_poll(struct mdl_awake *a, uint64_t now_ns, bool may_run);

/* Slept from start to now; work: there is some at the end of it. True: ask to be moved to another CPU. */
bool mdl_awake_slept(struct mdl_awake *a, uint64_t start_ns, uint64_t now_ns, bool work);

#endif
