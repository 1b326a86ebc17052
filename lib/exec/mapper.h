/* SPDX-License-Identifier: MIT */
/* The executor's mapper: see mapper.c. */
#ifndef MDL_EXEC_MAPPER_H
#define MDL_EXEC_MAPPER_H

#include <sys/types.h>

/* Reserves the GPU window and the user area in this process: inaccessible, nothing allocated. -EEXIST: something is there. */
int mdl_mapper_reserve(void);

/*
 * Starts the mapper on the map link. Takes the descriptor: it is closed here, and only the mapper has it from then on. Called
 * after the process gave up its privileges, which the mapper inherits. The mapper dies with the calling thread.
 */
int mdl_mapper_start(int link, pid_t *ret_pid);

#endif
