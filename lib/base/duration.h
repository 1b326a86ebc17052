/* SPDX-License-Identifier: MIT */
/* Lengths of time as people write them: 500us, 2ms, 1.5s, 0. Pure and thread safe. */
#ifndef MDL_BASE_DURATION_H
#define MDL_BASE_DURATION_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A decimal number with the unit ns, us, ms or s, nothing before, between or after; 0 needs none.
 * Rounded to nanoseconds; at most MDL_DURATION_MAX_NS.
 */
#define MDL_DURATION_MAX_NS (UINT64_MAX / 4)
bool mdl_duration_parse(const char *text, uint64_t *ret_ns);

#endif
