/* SPDX-License-Identifier: MIT */
/*
 * The compiler companion: a process beside each executor that turns the guest's source into machine code, so that no compiler runs
 * in the executor, under its lease, or without limits. See compiler.c; the protocol is in backend/compile.h.
 */
#ifndef MDL_EXEC_COMPILER_H
#define MDL_EXEC_COMPILER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Limits of one job. Real kernels of some thousand lines take seconds and a few hundred MiB. */
#define MDL_COMPILER_CPU_S	30
#define MDL_COMPILER_WALL_S	120	/* jobs are nice: on a machine whose guests burn every CPU they get a tenth of one */
#define MDL_COMPILER_BYTES	(2ull << 30)	/* address space, of which 0.6 GiB are libraries and stacks */
#define MDL_COMPILER_FILE_BYTES	(64ull << 20)
#define MDL_COMPILER_PROCS	64		/* processes and threads of the companion's user, not of one job */

/* The kernel cache, a tmpfs that companion and executor see under the same path. */
#define MDL_COMPILER_CACHE_BYTES (256ull << 20)
#define MDL_COMPILER_CACHE_SPARE (8ull << 20)	/* with less than this free a job's result may be cut: no memory */

struct mdl_compiler {
	const char *cache;	/* directory */
	const char *scratch;	/* name in it, for what only one job needs */
	const char *root;	/* empty directory for the companion's root; NULL: not confined to a root */
	uid_t uid;		/* or MDL_SANDBOX_KEEP_ID */
};

/*
 * Forks the companion from a single-threaded process, which may still be privileged: the companion gives up its rights itself.
 * *ret_link is a stream socket to it; closing it ends it. Also ends with the caller's process.
 */
int mdl_compiler_start(const struct mdl_compiler *c, int *ret_link, pid_t *ret_pid);

#endif
