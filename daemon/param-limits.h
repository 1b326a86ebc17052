/* SPDX-License-Identifier: MIT */
/*
 * Ranges of parameters beside those of sched/sched.h: what medleyd takes, and what its clients of this tree name when they
 * refuse a value before they ask. Times that may be 0 as well are so for what 0 means (docs/api.md).
 */
#ifndef MDL_DAEMON_PARAM_LIMITS_H
#define MDL_DAEMON_PARAM_LIMITS_H

#include "base/util.h"

#define QUANTUM_MIN_NS	    (50 * MDL_NS_PER_US) /* switching costs some microseconds */
#define GRACE_MAX_NS	    (10 * MDL_NS_PER_S)
#define KERNEL_LIMIT_MIN_NS MDL_NS_PER_MS
#define KERNEL_LIMIT_MAX_NS (86400 * MDL_NS_PER_S)
#define TRACE_PAGE_MAX	    64u /* entries of the trace in one reply: about 0.3 ms, in which no turn can end */

#endif
