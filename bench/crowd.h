/* SPDX-License-Identifier: MIT */
/*
 * Processes that do nothing, with memory that they have touched: what a machine pays for having them, whoever they are (its memory
 * monitor, its management, its host), beside what idle vGPUs cost.
 */
#ifndef MDL_BENCH_CROWD_H
#define MDL_BENCH_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CROWD_MAX 1024

struct crowd {
	pid_t pid[CROWD_MAX];
	size_t count;
};

/* They end with us. False, and a line on standard error; those that were made are in *c. */
bool crowd_start(struct crowd *c, size_t count, size_t bytes_each);
void crowd_stop(struct crowd *c);
/* Memory of this machine that is in use, in bytes; 0: not to be told. */
size_t crowd_memory_used(void);

#endif
