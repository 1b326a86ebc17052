/* SPDX-License-Identifier: MIT */
#ifndef MDL_TESTS_MICRO_TOY_SERVER_H
#define MDL_TESTS_MICRO_TOY_SERVER_H

#include <sys/types.h>

enum toy_fault {
	TOY_GOOD,
	TOY_CAP_LOOP, /* a capability list that never ends */
	TOY_SHORT_FILE, /* BAR2's file is one page long */
};

/* Listens at path when it returns. */
pid_t toy_start(const char *path, enum toy_fault fault);
void toy_stop(pid_t pid);

#endif
