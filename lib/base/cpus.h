/* SPDX-License-Identifier: MIT */
/* Lists of CPUs as taskset(1) and the kernel write them: 3, 0-2, 0,4-6. Pure and thread safe. */
#ifndef MDL_BASE_CPUS_H
#define MDL_BASE_CPUS_H

#include <sched.h>
#include <stdbool.h>

/* Numbers and ranges, each below CPU_SETSIZE, nothing before, between or after. False: not such a list. */
bool mdl_cpus_parse(const char *text, cpu_set_t *ret_cpus);

#endif
