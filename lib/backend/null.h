/* SPDX-License-Identifier: MIT */
/* What the null backend counted, for tests. */
#ifndef MDL_BACKEND_NULL_H
#define MDL_BACKEND_NULL_H

#include "backend/backend.h"

struct mdl_null_counts {
	uint64_t loads, launches;
};

struct mdl_null_counts mdl_null_counts(const struct mdl_backend *b);

#endif
