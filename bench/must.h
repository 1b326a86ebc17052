/* SPDX-License-Identifier: MIT */
/* For the programs in guests: a call that must not fail, or the guest says which one did and ends. */
#ifndef MDL_BENCH_MUST_H
#define MDL_BENCH_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(call)                                                  \
	do {                                                        \
		int must_err_ = (call);                             \
		if (must_err_) {                                    \
			printf("error %s: %d\n", #call, must_err_); \
			exit(1);                                    \
		}                                                   \
	} while (0)

#endif
