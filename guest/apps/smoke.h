/* SPDX-License-Identifier: MIT */
/* mdl-smoke: what its checks are given. */
#ifndef MDL_GUEST_APPS_SMOKE_H
#define MDL_GUEST_APPS_SMOKE_H

#include <stdbool.h>
#include <stdint.h>

#include "medley/medley.h"

#define SMOKE_BYTES (4u << 20)
#define SMOKE_WAIT_NS \
	60000000000ll /* other guests have their turns too, and slow machines theirs */

struct smoke {
	struct mdl_gpu *gpu;
	struct mdl_ctx *ctx;
	/* New for each check: */
	struct mdl_chan *chan;
	struct mdl_buf *vram, *system; /* SMOKE_BYTES each, mapped read-write */
	bool failed;
};

struct smoke_check {
	const char *name;
	void (*run)(struct smoke *s);
};

extern const struct smoke_check smoke_checks[]; /* ends with a NULL name */

/* Notes the first failure of a check and prints it; return whether all is well. */
bool smoke_true(struct smoke *s, bool ok, const char *what);
bool smoke_ok(struct smoke *s, int r, const char *what);

#endif
