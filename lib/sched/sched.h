/* SPDX-License-Identifier: MIT */
/*
 * The scheduler core: who may use one GPU (or one partition of it), and until when. It is a state
 * machine without a clock, without system calls and without processes: the owner (medleyd, a test,
 * a simulator) calls it when something has happened and says what time it is; decisions come out as
 * calls of struct mdl_sched_actions. What is fair is the policy's business (struct
 * mdl_sched_policy, below); that there is one holder at a time, that quanta end, that a lease which
 * is not given back is taken, is the core's, for every policy.
 *
 * An entity moves like this (in brackets what the core calls):
 *
 *      ASLEEP --wake--> WAITING --[grant]--> HOLDING --[ask]--> ASKED --[stop]--> STOPPING
 *        ^                 ^                    |  |              |                  |
 *        |                 |                 [take] released   released      released, or [expire]
 *        +---- sleeping ---+---- awake ---------+--+--------------+------------------+
 *
 * The holder keeps the lease, without any switching, as long as nobody waits. A holder that has
 * become idle loses the lease the moment somebody else wants it ([take]). At the end of a turn a
 * policy may renew it (slots `account` and `renew`): whoever would be next again is not stopped.
 *
 * Who is asked has the grace to come to the end of its kernel, if that can be expected: kernels that
 * have run for long mostly go on for long (as processes do: Harchol-Balter and Downey, "Exploiting
 * Process Lifetime Distributions for Dynamic Load Balancing", 1997: what has run for t runs for
 * another t with a probability of one half). So one that has run for more than MDL_SCHED_GRACE_WORTH
 * times the grace is stopped at once, and who waits does not wait in vain.
 *
 * Left out on purpose: what a lease is made of (lib/ipc/lease.h), accounting of real time (the
 * owner reports it), placement on several GPUs (one scheduler each).
 *
 * One thread. The inputs may be called from inside actions; actions are then run after the current
 * one has returned.
 */
#ifndef MDL_SCHED_SCHED_H
#define MDL_SCHED_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDL_SCHED_NEVER UINT64_MAX

enum mdl_sched_state {
	MDL_SCHED_DETACHED,
	MDL_SCHED_ASLEEP, /* wants nothing */
	MDL_SCHED_WAITING, /* wants the GPU */
	MDL_SCHED_HOLDING, /* has it */
	MDL_SCHED_ASKED, /* has it and was asked to give it back */
	MDL_SCHED_STOPPING, /* is being stopped */
	MDL_SCHED_STATES
};

struct mdl_sched;

struct mdl_sched_list {
	struct mdl_sched_list *prev, *next;
};

/* Intel Xe's: what becomes of a slot whose owner has no work, and how soon a waking one gets one. */
enum mdl_sched_priority {
	MDL_SCHED_LOW = -1, /* its slot is skipped while it has no work */
	MDL_SCHED_NORMAL, /* its slot passes, used or not */
	MDL_SCHED_HIGH, /* and when it wakes the next slot is one of its own */
};

#define MDL_SCHED_WEIGHT_MAX	  65536
/* Percent, of all entities together: the rest keeps the others alive. */
#define MDL_SCHED_RESERVATION_MAX 90
#define MDL_SCHED_QUANTUM_MAX_NS  10000000000ull
/* A kernel that has run for more than this many times the grace is not waited for. */
#define MDL_SCHED_GRACE_WORTH 4

/* What one entity is entitled to. A policy looks only at what it knows (see its opening). */
struct mdl_sched_entity_params {
	uint32_t weight; /* in proportion to the others'; 0 counts as 1, the least */
	uint32_t cap_percent; /* never more of the GPU, even if it is idle; 0: no cap */
	uint32_t reservation_percent; /* at least that whenever it has work, whatever the weights */
	uint32_t share_percent; /* fixed part, or assigned bandwidth; 0: an equal part of the rest */
	enum mdl_sched_priority priority;
	uint64_t quantum_ns; /* its turns' length; 0: the scheduler's */
};

#define MDL_SCHED_ENTITY_PARAMS_DEFAULT \
	{                               \
		.weight = 256           \
	}

/*
 * Embedded in the owner's object; zeroed before attach, which gives it the default parameters. The
 * owner may read it and touches nothing but `owner`.
 */
struct mdl_sched_entity {
	void *owner;
	enum mdl_sched_state state;
	bool awake; /* last known: has work */
	struct mdl_sched_list all; /* in mdl_sched.entities */
	struct mdl_sched_entity_params params; /* changed by mdl_sched_set_entity() */
	void *policy_data; /* entity_bytes of the policy, zeroed at attach */
	/*
	 * GPU time that it is owed (negative: that it has drawn too much), as its policy saw it
	 * when it was replaced, for the next one's attach. Otherwise 0.
	 */
	int64_t balance_ns;
	uint64_t since_ns; /* of the state */
	uint64_t grants, renewals, asks, stops; /* counters */
	uint64_t held_ns; /* time as holder, from grant to release, finished holds only */
	uint64_t charged_ns; /* what the owner said it used */
	uint64_t waited_ns, waited_max_ns; /* from wanting to holding */
	double entitlement; /* 0 to 1, as of the last mdl_sched_entitle() */
};

struct mdl_sched_params {
	uint64_t quantum_ns; /* a holder's turn while others wait; the policy may vary it */
	uint64_t grace_ns; /* between [ask] and [stop], where it is worth while */
	uint64_t stop_limit_ns; /* a stop that has not been confirmed by then counts as done */
	/* Never [stop]: a holder that was asked ends its kernel first, however long that is. */
	bool nonpreemptive;
};

#define MDL_SCHED_PARAMS_DEFAULT                                                   \
	{                                                                          \
		.quantum_ns = 2000000, .grace_ns = 50000, .stop_limit_ns = 100000  \
	}

/*
 * Decisions. All mandatory but where it says so, called on the thread that called the input; e's owner
 * carries them out. None may block for long.
 */
struct mdl_sched_actions {
	/* e is the holder now and may start at once. */
	void (*grant)(void *ctx, struct mdl_sched_entity *e);
	/*
	 * Others wait. If e runs nothing at this moment and is not about to (or its turn is over:
	 * then in any case), take the lease from it and return true: e is no longer the holder;
	 * *ret_awake tells whether it still wants the GPU. False: it is running, and should tell
	 * (mdl_sched_sleep) as soon as it is idle.
	 */
	bool (*take)(void *ctx, struct mdl_sched_entity *e, bool over, bool *ret_awake);
	/*
	 * e shall give back: mdl_sched_released() is expected soon. Returns how much GPU time the kernel
	 * that it runs has used, in ns; 0: not known, or none.
	 */
	uint64_t (*ask)(void *ctx, struct mdl_sched_entity *e);
	/*
	 * e did not: stop it by force; mdl_sched_released() follows, at once (from inside) or
	 * later.
	 */
	void (*stop)(void *ctx, struct mdl_sched_entity *e);
	/*
	 * Optional, for owners that wait until a stop has taken effect. That was not confirmed
	 * within stop_limit_ns: e counts as stopped, and is no longer the holder when this returns.
	 */
	void (*expire)(void *ctx, struct mdl_sched_entity *e);
	/*
	 * Optional; without it no turn is renewed. The holder e goes on running: report what it has
	 * used up to now (mdl_sched_charge(), from inside).
	 */
	void (*account)(void *ctx, struct mdl_sched_entity *e);
};

/* What a policy divides the GPU by; nothing: equal parts for all that have work. */
enum mdl_sched_divides {
	MDL_SCHED_BY_WEIGHT = 1 << 0,
	MDL_SCHED_BY_SHARE = 1 << 1, /* share_percent; those without one: equal parts of the rest */
	MDL_SCHED_BY_QUANTUM = 1 << 2, /* turns of different length, equally many */
	MDL_SCHED_BY_CAP = 1 << 3,
	MDL_SCHED_BY_RESERVATION = 1 << 4,
	MDL_SCHED_BY_SLOTS = 1 << 5, /* the parts of those that have no work are lent to nobody */
};

/*
 * A policy: who is next, for how long. It sees the waiting entities come and go and is told what
 * the holder used. It owns e->policy_data and `data` (zeroed memory of its own sizes). Slots may be
 * called in any order that the states allow and never call back into the core. `now` never
 * decreases.
 */
struct mdl_sched_policy {
	const char *name;
	uint32_t divides; /* enum mdl_sched_divides: what somebody is due depends on */
	size_t sched_bytes, entity_bytes;
	/*
	 * Mandatory. Called once at the start, with data all zero, and whenever the parameters have
	 * changed.
	 */
	void (*configure)(void *data, const struct mdl_sched_params *params, uint64_t now);
	/* Optional. An entity came (not waiting) or goes (not waiting). */
	void (*attach)(void *data, struct mdl_sched_entity *e, uint64_t now);
	void (*detach)(void *data, struct mdl_sched_entity *e, uint64_t now);
	/* Mandatory. e waits now: it woke up (fresh), or it was the holder and wants more. */
	void (*enqueue)(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t now);
	/* Mandatory. e stopped waiting without having been picked. */
	void (*dequeue)(void *data, struct mdl_sched_entity *e, uint64_t now);
	/*
	 * Mandatory. Takes the next holder out of the waiting ones. NULL: nobody for now, although
	 * some wait; the core asks again at *ret_again (set to MDL_SCHED_NEVER before the call) or
	 * when anything changes.
	 */
	struct mdl_sched_entity *(*pick)(void *data, uint64_t now, uint64_t *ret_again);
	/* Mandatory. How long e, just picked, may hold while others wait, at least 1. */
	uint64_t (*quantum)(void *data, struct mdl_sched_entity *e, uint64_t now);
	/* Optional. e used ran_ns of the GPU. */
	void (*charge)(void *data, struct mdl_sched_entity *e, uint64_t ran_ns, uint64_t now);
	/* Optional. The holder e is no longer one and does not want the GPU: else enqueue tells. */
	void (*rest)(void *data, struct mdl_sched_entity *e, uint64_t now);
	/* Optional. The policy will be replaced: what e is owed, or has drawn too much. */
	int64_t (*balance)(void *data, const struct mdl_sched_entity *e, uint64_t now);
	/* Optional. e->params have changed from `old`. */
	void (*change)(void *data, struct mdl_sched_entity *e,
		       const struct mdl_sched_entity_params *old, uint64_t now);
	/*
	 * Optional. `woken` has just begun to wait: when the holder's turn shall end because of
	 * that, at the latest. Past times mean at once, MDL_SCHED_NEVER that it does not matter.
	 */
	uint64_t (*cut)(void *data, struct mdl_sched_entity *woken, struct mdl_sched_entity *holder,
			uint64_t now);
	/*
	 * Optional. Until when the holder may hold even if nobody waits; MDL_SCHED_NEVER: without
	 * limit. Ahead when e has just been picked. Asked after everything that happens; changes
	 * nothing.
	 */
	uint64_t (*until)(const void *data, const struct mdl_sched_entity *e);
	/*
	 * Optional. The turn of the holder e is over, it has been charged for it and goes on
	 * running. If it would be picked again if it came back now, the length of its next turn,
	 * which has begun then; otherwise 0.
	 */
	uint64_t (*renew)(void *data, struct mdl_sched_entity *e, uint64_t now);
	/*
	 * Optional. Periodic work: called when due; returns when it wants to be called next.
	 * MDL_SCHED_NEVER: when somebody begins to wait; to be used while the GPU is idle.
	 */
	uint64_t (*tick)(void *data, uint64_t now);
};

extern const struct mdl_sched_policy mdl_sched_best_effort, mdl_sched_fixed_share,
	mdl_sched_equal_share, mdl_sched_round_robin, mdl_sched_credit, mdl_sched_credit_gdev,
	mdl_sched_band, mdl_sched_band_gpuvm, mdl_sched_fair;

/* The policy of that name, or NULL. mdl_sched_policy_at(i) enumerates them, NULL after the last. */
const struct mdl_sched_policy *mdl_sched_policy_find(const char *name);
const struct mdl_sched_policy *mdl_sched_policy_at(size_t i);

/* actions and ctx must stay valid for the scheduler's life. -EINVAL a zero quantum; -ENOMEM. */
int mdl_sched_create(const struct mdl_sched_policy *policy, const struct mdl_sched_params *params,
		     const struct mdl_sched_actions *actions, void *ctx, uint64_t now,
		     struct mdl_sched **ret_sched);
/* All entities must have been detached. */
void mdl_sched_destroy(struct mdl_sched *s);

/*
 * Live changes. Waiting entities keep their order as far as the new policy lets them. On failure
 * nothing has changed.
 */
int mdl_sched_set_policy(struct mdl_sched *s, const struct mdl_sched_policy *policy, uint64_t now);
int mdl_sched_set_params(struct mdl_sched *s, const struct mdl_sched_params *params, uint64_t now);
/*
 * An attached entity's parameters, whatever its state. -EINVAL a value out of range, a reservation
 * above the cap, not attached; -ENOSPC all reservations together exceed MDL_SCHED_RESERVATION_MAX,
 * or all shares 100 percent.
 */
int mdl_sched_set_entity(struct mdl_sched *s, struct mdl_sched_entity *e,
			 const struct mdl_sched_entity_params *params, uint64_t now);
const struct mdl_sched_policy *mdl_sched_policy_of(const struct mdl_sched *s);
const struct mdl_sched_params *mdl_sched_params_of(const struct mdl_sched *s);

/* The entity comes, asleep. -EBUSY it is attached already; -ENOMEM. */
int mdl_sched_attach(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now);
/*
 * The entity is gone, whatever its state; no action is called for it any more. If it held the GPU
 * the owner has ended its use.
 */
void mdl_sched_detach(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now);

/* What has happened. Calls that do not fit the entity's state (a late message) do no harm. */
void mdl_sched_wake(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now);
void mdl_sched_sleep(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t now);
/* The lease came back (given back, or stopped); awake: it wants it again. */
void mdl_sched_released(struct mdl_sched *s, struct mdl_sched_entity *e, bool awake, uint64_t now);
/*
 * e used the GPU for ran_ns. May be called at any time while attached. Decides nothing: what follows
 * is done at the next other input, which mdl_sched_deadline() may now call for at once. So an owner
 * can charge in the middle of taking the GPU away.
 */
void mdl_sched_charge(struct mdl_sched *s, struct mdl_sched_entity *e, uint64_t ran_ns,
		      uint64_t now);
/* Time has passed. Needed at mdl_sched_deadline(), harmless at any time. */
void mdl_sched_run(struct mdl_sched *s, uint64_t now);

/*
 * When mdl_sched_run() must be called next; MDL_SCHED_NEVER if nothing is due. Changes with every
 * input.
 */
uint64_t mdl_sched_deadline(const struct mdl_sched *s);

struct mdl_sched_entity *mdl_sched_holder(const struct mdl_sched *s);
/* In the order of attaching; the first after NULL, NULL after the last. */
struct mdl_sched_entity *mdl_sched_next_entity(const struct mdl_sched *s,
					       const struct mdl_sched_entity *e);
uint32_t mdl_sched_waiting(const struct mdl_sched *s);
const char *mdl_sched_state_name(enum mdl_sched_state state);

/* ---- entitle.c ---- */
/*
 * Sets `entitlement` of all attached entities: the part of the GPU that each is due now, by the
 * policy in force, if all that have work (awake) go on having it. Who has none is due nothing.
 */
void mdl_sched_entitle(struct mdl_sched *s);
/* The same for one; all are set. */
double mdl_sched_entitlement(struct mdl_sched *s, const struct mdl_sched_entity *e);
/*
 * Divides `total` among n by weight (at least 1), where nobody gets less than low nor more than
 * high. The lows must not exceed their highs, nor all together the total; what all their highs
 * leave over is nobody's.
 */
void mdl_sched_divide(uint32_t n, const uint32_t *weight, const double *low, const double *high,
		      double total, double *ret_part);

/* Never 0: what may be divided by. */
static inline uint32_t mdl_sched_weight(const struct mdl_sched_entity *e)
{
	return e->params.weight ? e->params.weight : 1;
}

static inline uint64_t mdl_sched_quantum(const struct mdl_sched_entity *e, uint64_t otherwise)
{
	return e->params.quantum_ns ? e->params.quantum_ns : otherwise;
}

/* ---- Intrusive list, for the core and the policies ---- */
static inline void mdl_sched_list_init(struct mdl_sched_list *l)
{
	l->prev = l->next = l;
}

static inline bool mdl_sched_list_empty(const struct mdl_sched_list *l)
{
	return l->next == l;
}

static inline void mdl_sched_list_append(struct mdl_sched_list *head, struct mdl_sched_list *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

static inline void mdl_sched_list_remove(struct mdl_sched_list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	mdl_sched_list_init(l);
}

#endif
