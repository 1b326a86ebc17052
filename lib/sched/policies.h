/* SPDX-License-Identifier: MIT */
/*
 * What the policies keep, each its own: a header so that tests can look at the state after each
 * step. Nobody else includes it. What the fields mean is said where they are used.
 */
#ifndef MDL_SCHED_POLICIES_H
#define MDL_SCHED_POLICIES_H

#include "sched/sched.h"

/* ---- best_effort.c ---- */
struct mdl_best_effort {
	struct mdl_sched_list queue;
	uint32_t entities;
};

struct mdl_best_effort_entity {
	struct mdl_sched_list link;
	struct mdl_sched_entity *entity;
};

/* ---- slots.c: fixed-share and equal-share ---- */
struct mdl_slots {
	struct mdl_sched_list all; /* mdl_slots_entity.link, in the order of attaching */
	bool equal; /* equal-share: parts and priorities alike for all */
	uint64_t quantum_ns;
	struct mdl_slots_entity *owner; /* of the present slot; NULL: nobody's */
	uint64_t start, end; /* of the present slot */
	uint64_t used_until; /* the owner held up to here, perhaps beyond the end */
	uint32_t shared; /* percent given away by name */
	uint32_t unnamed; /* entities with an equal part of the rest */
	int64_t idle; /* position of nobody's part */
};

struct mdl_slots_entity {
	struct mdl_sched_list link;
	struct mdl_sched_entity *entity;
	bool waiting;
	bool urgent; /* of high priority, and woke up */
	int64_t position; /* what it is owed, in parts times microseconds */
};

/* ---- credit.c: Xen's ---- */
enum mdl_credit_class {
	MDL_CREDIT_BOOST,
	MDL_CREDIT_UNDER,
	MDL_CREDIT_OVER,
	MDL_CREDIT_CLASSES
};

#define MDL_CREDIT_NS 100000 /* one credit: ten in a millisecond */

struct mdl_credit {
	struct mdl_sched_list queue[MDL_CREDIT_CLASSES], active;
	uint64_t quantum_ns;
	struct mdl_credit_entity *holder;
	uint64_t next_tick;
	bool idle; /* nobody waits or earns: no ticks */
	uint64_t since; /* the holder's grant or last charge */
	uint32_t ticks;
};

struct mdl_credit_entity {
	struct mdl_sched_list link, active_link;
	struct mdl_sched_entity *entity;
	int64_t credit_ns; /* GPU time; MDL_CREDIT_NS each */
	int64_t granted_ns; /* all that it was ever given */
	uint32_t grant; /* credits, while accounting */
	enum mdl_credit_class class;
	bool active, waiting, parked;
};

/* ---- band.c: Gdev's and GPUvm's ---- */
struct mdl_band {
	struct mdl_sched_list all; /* mdl_band_entity.link, in the order of preference */
	uint64_t quantum_ns;
	uint64_t period_start, window_start;
	uint64_t free_until; /* the GPU is left free up to here */
	uint64_t last_use;
	struct mdl_band_entity *current; /* held last */
	uint64_t released_at; /* when the current one's turn ended */
	bool gpuvm, credit_only;
	uint32_t shared, unnamed, entities;
};

struct mdl_band_entity {
	struct mdl_sched_list link;
	struct mdl_sched_entity *entity;
	int64_t credit_ns;
	uint64_t used_ns; /* in this window */
	bool over; /* at the last refresh: used more than its bandwidth */
	bool waiting;
};

/* ---- fair.c ---- */
typedef __int128 mdl_vtime; /* GPU nanoseconds << 16, for each unit of weight */

struct mdl_fair {
	struct mdl_sched_list waiting; /* mdl_fair_entity.link, oldest first */
	uint64_t quantum_ns;
	bool nonpreemptive;
	uint32_t strict; /* how many have a cap, a reservation or a quantum of their own */
	struct mdl_fair_entity *holder;
	uint64_t since; /* the holder's grant or last charge */
	uint64_t granted; /* the holder's grant */
	mdl_vtime granted_v; /* and its v then */
	uint64_t contested; /* since when somebody waits who might run; NEVER: nobody */
	uint64_t contested_ns; /* how long somebody did, from `since` to where nobody does */
	mdl_vtime clock; /* the latest mean of those at work */
	uint32_t favoured; /* picks in a row that passed over somebody's deadline */
};

struct mdl_fair_entity {
	struct mdl_sched_list link;
	struct mdl_sched_entity *entity;
	mdl_vtime v, deadline;
	mdl_vtime least; /* v that it could not be below when it came to work */
	mdl_vtime owes; /* GPU time << 16 that it had overdrawn when it last left work */
	uint64_t reserve; /* when its reservation falls due */
	uint64_t limit; /* when its cap's budget was, or will be, empty */
	bool parked; /* waits for its cap's budget */
	bool boosted; /* woke up with nothing overdrawn, not served since */
	bool favoured; /* holds by boost or reservation */
};

#endif
