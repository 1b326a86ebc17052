/* SPDX-License-Identifier: MIT */
/* mdl-hostile: what its attacks are given. They reach under libmedley on purpose: internal.h. */
#ifndef MDL_GUEST_APPS_HOSTILE_H
#define MDL_GUEST_APPS_HOSTILE_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/lib/internal.h"

struct hostile {
	struct mdl_gpu *gpu;
	struct mdl_ctx *ctx;
	struct mdl_chan *chan;
	struct mdl_buf *buf; /* HOSTILE_BYTES of VRAM, mapped read-write */
	uint64_t random; /* state, never 0 */
	int64_t patience_ns; /* how long to wait for what may never end */
};

#define HOSTILE_BYTES (2u << 20)

struct hostile_attack {
	const char *name;
	/*
	 * Does its worst on a fresh context and channel; errors are expected and nobody's business.
	 */
	void (*run)(struct hostile *h);
};

extern const struct hostile_attack hostile_attacks[]; /* ends with a NULL name */

uint64_t hostile_random(struct hostile *h);
/*
 * An address that is interesting more often than not: mapped, just outside, far away, not
 * canonical.
 */
uint64_t hostile_address(struct hostile *h);
/* Resets context and channel as a driver would after an error. */
void hostile_recover(struct hostile *h);

#endif
