/* SPDX-License-Identifier: MIT */
/*
 * The lease page: how medleyd lets an executor use the GPU, without messages on the fast path. One page of shared memory for each
 * executor, mapped writable by both; two eventfds wake a sleeper (MDL_FD_EXEC_GRANT, MDL_FD_EXEC_WANT).
 *
 * `state` moves by compare-and-swap only:
 *
 *      NONE --M--> IDLE --E--> BUSY --E--> IDLE        M: medleyd, E: the executor
 *       ^           |           |M
 *       |<----M-----+           v
 *       |<---------------E---- YIELD
 *
 * NONE: run nothing. IDLE: may start at once. BUSY: running commands. YIELD: running, asked to give back at the next packet boundary.
 * medleyd takes an IDLE lease back without asking; a BUSY one it asks for (YIELD) and, if it does not come in time, takes by
 * stopping the process (SIGSTOP) and leaves the word alone; when the executor's turn comes again it stores BUSY if work was
 * stopped and continues it (SIGCONT).
 *
 * The executor sets `want` to 1 and signals WANT before it sleeps with work but without lease, and to 0 when it has no work. After
 * YIELD -> NONE it signals WANT too. medleyd signals GRANT after NONE -> IDLE.
 *
 * `contended`: M stores 1, then looks whether the word is IDLE (and takes it). E moves BUSY -> IDLE, then, having no more work, loads
 * `contended` and if it is 1 signals WANT. Both in sequentially consistent order, so one of them sees the other, and a GPU that
 * has fallen idle does not stay idle until the end of the quantum.
 *
 * The executor is untrusted: everything in the page is a hint. medleyd enforces by stopping the process and charges what the kernel
 * says the process used (its CPU clock) where the page claims less.
 */
#ifndef MDL_IPC_LEASE_H
#define MDL_IPC_LEASE_H

#include <stdatomic.h>
#include <stdint.h>

enum mdl_lease_state { MDL_LEASE_NONE = 0, MDL_LEASE_IDLE = 1, MDL_LEASE_BUSY = 2, MDL_LEASE_YIELD = 3 };

struct mdl_lease {
	_Atomic uint32_t state;		/* enum mdl_lease_state */
	_Atomic uint32_t want;
	_Atomic uint64_t busy_ns;	/* E: total time between BUSY and the end of BUSY, counted at the end */
	_Atomic uint64_t busy_since_ns;	/* E: CLOCK_MONOTONIC when BUSY began; 0 when not BUSY */
	_Atomic uint64_t commands;	/* E: packets completed */
	_Atomic uint64_t kernels;	/* E: dispatches completed */
	_Atomic uint64_t compile_ns;	/* E: time spent waiting for compilation, outside the lease */
	_Atomic uint32_t contended;	/* M: somebody else waits for the GPU */
	_Atomic uint32_t queued;	/* E: packets in its rings that are not done, at its last look; a hint */
	_Atomic uint32_t crowded;	/* E, then WANT: 1 + number of a CPU that its front end had to share while it polled; M: 0 */
	_Atomic uint64_t packet;	/* E: the packet that runs: tag, channel << 32 */
	_Atomic uint64_t packet_since_ns; /* E: CLOCK_MONOTONIC when it began, and so which one it is; 0: none runs. For the watchdog and the grace */
};
_Static_assert(sizeof(struct mdl_lease) <= 4096, "one page");

#endif
