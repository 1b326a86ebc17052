/* SPDX-License-Identifier: MIT */
/* The executor's process from start to end: see process.c. */
#ifndef MDL_EXEC_PROCESS_H
#define MDL_EXEC_PROCESS_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct mdl_exec_options {
	uid_t uid;		/* even; the companion gets uid + 1. MDL_SANDBOX_KEEP_ID when not root */
	uint32_t compute_units;
	bool own_cpus;		/* kernels run on these CPUs and nowhere else */
	cpu_set_t cpus;
};

/* Runs an executor on the descriptors of ipc.h; logs what goes wrong. Returns the process's exit status. */
int mdl_exec_process(const struct mdl_exec_options *options);

#endif
