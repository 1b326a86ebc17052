/* SPDX-License-Identifier: MIT */
/*
 * Fair: our own policy. q is the quantum; n vGPUs have work.
 *
 * What it promises, for any mix of guests, hostile ones included:
 *  1. Weights. A vGPU with work gets its weight's part of the GPU over any time, to within about
 *     one turn of its own and what an unwilling holder takes beyond its turn (which is charged). A
 *     turn is a quantum; two if only two compete when it begins, four thirds if three do.
 *  2. Reservations. One that has work and a reservation of r percent gets r percent of any time, less
 *     at most three quanta, whatever the weights and however many others there are. To one that sleeps
 *     after each short kernel this holds as far as the others' q/4 in between leave room for it.
 *  3. Caps. One with a cap of c percent gets at most c percent of any time plus one quantum, even
 *     of an idle GPU; what it overruns comes off the next time.
 *  4. Idle time is lent at once and taken back at once: the GPU is idle only if all that have work
 *     have spent their caps. Using idle time is free: nobody pays later for what nobody wanted.
 *  5. Latency. One that wakes up and has not overdrawn its part is served next, and ends the
 *     holder's turn as soon as that has lasted q/4, or q if the holder was in that position itself. So
 *     it waits at most one quantum, if it is alone in that position; with k in that position, k quanta.
 *  6. No starvation: whatever is reserved and whoever wakes up, every (FAVOURED_MAX + 1)th turn
 *     goes by weight alone.
 *
 * How. Each vGPU has a virtual time v: the GPU time that it was charged, divided by its weight. V is
 * the mean of v over those that have work, by weight: where all would be if the GPU could be
 * divided infinitely. w(V - v) is the time that a vGPU is owed. A turn has a length s (q, or the
 * vGPU's own) and a deadline v + s/w: the V by which the turn would end in the divided GPU. Of
 * those that are owed something or nothing (v <= V), the one of the earliest deadline is next. This
 * is EEVDF (Stoica, Abdel-Wahab 1995), whose proof gives promise 1: nobody's lag exceeds a turn.
 * There is always one with v <= V, V being a mean.
 *
 * Who sleeps keeps v. On waking, what it was owed counts up to one turn (sleeping is not saving);
 * what it has overdrawn counts in full (sleeping is not a way out of debt). If it has not overdrawn
 * it is boosted: served ahead of its deadline. It pays for that as for any other time, so it
 * is not boosted again before it has waited it out: latency is borrowed from its own future, never
 * from others' share (Duda, Cheriton 1999: borrowed virtual time). That is promise 5, and why
 * waking often gains nothing.
 *
 * Reservations and caps are tags on real time (Gulati et al. 2010, mClock). A reservation falls due
 * at `reserve`, which every use moves on by use/r; it never lies more than two turns' worth ahead,
 * so use beyond the reservation is not held against it. Those due go first, in the order of their
 * tags: earliest deadline first, which meets all of them while they sum up to 90 percent or less.
 * A cap's tag `limit` moves on by use/c and is never more than a quantum's worth behind; a vGPU may
 * run while it is behind, for the time that takes it there, and waits aside (parked) until half a
 * quantum has come together. Parked vGPUs have no part in V.
 *
 * Who is far ahead (a kernel that could not be stopped, a reservation far above the weight) counts
 * in V as if two turns ahead: it waits, but it does not carry V away from all others. Time used
 * while nobody waited moves everybody's v that is at work, so it is nobody's debt.
 *
 * Whoever would be chosen again at the end of its turn is not interrupted: the turn is renewed. So
 * of the turns that make up a share of three quarters only the last one costs a switch.
 *
 * While fewer than four have work, none of those that wait in a hurry, and no vGPU has a cap, a
 * reservation or a quantum of its own, a turn is as much longer as makes a round of turns as long as
 * with four: nobody waits longer than then, and a GPU shared by two is handed over half as often. Who
 * wakes up ends a turn as early as ever.
 *
 * Choosing walks those that wait, twice: tens or hundreds on one GPU, so there is no tree to keep.
 * Left out: a GPU's switching costs, memory, which of several GPUs. Runs on the scheduler's thread.
 */
#include "sched/policies.h"

#include "base/util.h"

/* A turn is not cut short before this part of a quantum, lest wakers make the GPU only switch. */
#define LEAST_PART	  4
/* A cap's budget under this part of a quantum parks; from that one on it goes on. */
#define LEAST_BUDGET_PART 16
#define PARKED_PART	  2
/* How far ahead somebody counts, in turns. */
#define AHEAD_TURNS	  2
#define FAVOURED_MAX	  15
/* With fewer at work turns are longer: a round of turns is so many quanta at least. */
#define ROUND_TURNS	  4
/* Each leaves out somebody more: few have many that far ahead. */
#define MEAN_ROUNDS	  16
/* Of a debt taken over from another policy. */
#define BALANCE_MAX_NS	  ((int64_t)(100 * MDL_NS_PER_MS))

static struct mdl_fair_entity *from_link(struct mdl_sched_list *l)
{
	return mdl_container_of(l, struct mdl_fair_entity, link);
}

static mdl_vtime virtual(int64_t ns, uint32_t weight)
{
	return (mdl_vtime)ns * 65536 / weight;
}

static uint64_t slice(const struct mdl_fair *f, const struct mdl_fair_entity *fe)
{
	return mdl_sched_quantum(fe->entity, f->quantum_ns);
}

static mdl_vtime turn(const struct mdl_fair *f, const struct mdl_fair_entity *fe)
{
	return virtual((int64_t)slice(f, fe), mdl_sched_weight(fe->entity));
}

/* Of the turn that it is in; one of which hardly anything is left is over. */
static mdl_vtime deadline(const struct mdl_fair *f, const struct mdl_fair_entity *fe)
{
	mdl_vtime whole = turn(f, fe);

	return fe->deadline - fe->v < whole / LEAST_PART ? fe->v + whole : fe->deadline;
}

/* How long it takes to earn `ns` at that part of the GPU; rounded up, lest a use be free. */
static uint64_t earn(uint64_t ns, uint32_t percent)
{
	return (mdl_min_u64(ns, UINT64_MAX / 400) * 100 + percent - 1) / percent;
}

static uint64_t before(uint64_t t, uint64_t by)
{
	return t > by ? t - by : 0;
}

/* ---- caps ---- */

static uint32_t cap(const struct mdl_fair_entity *fe)
{
	uint32_t percent = fe->entity->params.cap_percent;

	return percent < 100 ? percent : 0;
}

/* What may be saved up, and from when on it may run. */
static uint64_t bucket(const struct mdl_fair *f, const struct mdl_fair_entity *fe)
{
	return mdl_min_u64(f->quantum_ns, slice(f, fe));
}

static uint64_t unpark_at(const struct mdl_fair *f, const struct mdl_fair_entity *fe)
{
	return fe->limit +
	       earn(bucket(f, fe) / (fe->parked ? PARKED_PART : LEAST_BUDGET_PART) + 1, cap(fe));
}

static bool spent(const struct mdl_fair *f, const struct mdl_fair_entity *fe, uint64_t now)
{
	return cap(fe) && now < unpark_at(f, fe);
}

/* ---- virtual time ---- */

/* The holder's time that counts from here. */
static void count_from(struct mdl_fair *f, uint64_t now)
{
	f->since = now;
	f->contested_ns = 0;
}

/* How much of the holder's time since then was not lent: all the whiles in which somebody waited. */
static uint64_t contested(const struct mdl_fair *f, uint64_t now)
{
	if (f->contested == MDL_SCHED_NEVER)
		return f->contested_ns;
	return f->contested_ns + before(now, mdl_max_u64(f->since, f->contested));
}

/* The holder's v, with what it has used since its last charge as far as that can be believed. */
static mdl_vtime position(const struct mdl_fair *f, const struct mdl_fair_entity *fe, uint64_t now)
{
	if (fe != f->holder)
		return fe->v;
	return fe->v + virtual((int64_t)mdl_min_u64(contested(f, now), AHEAD_TURNS * slice(f, fe)),
			       mdl_sched_weight(fe->entity));
}

/* Those that count in V: the waiting ones that are not parked, then the holder. */
static struct mdl_fair_entity *next_at_work(const struct mdl_fair *f, struct mdl_fair_entity *fe)
{
	struct mdl_sched_list *l;

	if (fe && fe == f->holder)
		return NULL;
	for (l = fe ? fe->link.next : f->waiting.next; l != &f->waiting; l = l->next)
		if (!from_link(l)->parked)
			return from_link(l);
	return f->holder;
}

/*
 * V, or false if nobody is at work: the mean, by weight, where who is more than two turns ahead of it
 * counts as two turns. (Of V, not of the last: one of little weight may be behind by far more than a
 * turn of the others, and is owed next to nothing.) From the plain mean on V falls to where that is
 * true; as somebody is always behind it, each step gets nearer and none goes too far.
 */
static bool mean(const struct mdl_fair *f, uint64_t now, mdl_vtime *ret_mean)
{
	struct mdl_fair_entity *fe = next_at_work(f, NULL);
	mdl_vtime v, sum = 0;
	uint64_t weights = 0;

	if (!fe)
		return false;
	v = position(f, fe, now);
	for (; fe; fe = next_at_work(f, fe)) {
		weights += mdl_sched_weight(fe->entity);
		sum += (position(f, fe, now) - v) * mdl_sched_weight(fe->entity);
	}
	/* Rounded up: somebody is owed something, or nothing. */
	v += sum / (mdl_vtime)weights + (sum % (mdl_vtime)weights > 0);
	for (int round = 0; round < MEAN_ROUNDS; round++) {
		sum = 0;
		weights = 0;
		for (fe = next_at_work(f, NULL); fe; fe = next_at_work(f, fe)) {
			mdl_vtime ahead = position(f, fe, now) - v,
				  most = AHEAD_TURNS * turn(f, fe);

			weights += ahead < most ? mdl_sched_weight(fe->entity) : 0;
			sum += (ahead < most ? ahead : most) * mdl_sched_weight(fe->entity);
		}
		if (!weights || sum > -(mdl_vtime)weights)
			break;
		v += sum / (mdl_vtime)weights;
	}
	*ret_mean = v;
	return true;
}

static mdl_vtime mean_or_clock(struct mdl_fair *f, uint64_t now)
{
	mdl_vtime v = f->clock;

	if (mean(f, now, &v) && v > f->clock)
		f->clock = v;
	return v;
}

/* What the holder has used while nobody waited and was not charged for: by so much all will move. */
static mdl_vtime uncharged_loan(const struct mdl_fair *f, uint64_t now)
{
	return f->holder ? virtual((int64_t)before(before(now, f->since), contested(f, now)),
				   mdl_sched_weight(f->holder->entity))
			 : 0;
}

/* Of those that count in V. */
static uint64_t weights(const struct mdl_fair *f)
{
	uint64_t sum = 0;

	for (const struct mdl_fair_entity *fe = next_at_work(f, NULL); fe;
	     fe = next_at_work(f, (struct mdl_fair_entity *)fe))
		sum += mdl_sched_weight(fe->entity);
	return sum;
}

/*
 * It goes. V may fall back by that, to those that are far behind and of little weight; when their
 * weights then grow, what little it has overdrawn would seem to be minutes.
 */
static void leave(struct mdl_fair *f, struct mdl_fair_entity *fe, uint64_t now)
{
	mdl_vtime v = mean_or_clock(f, now);

	fe->owes = fe->v > v ? (fe->v - v) * mdl_sched_weight(fe->entity) : 0;
}

/*
 * It comes to work: with what it is owed, up to one turn, or owes, no more than when it left (or two
 * turns). Whether it has overdrawn nothing. As V will be drawn after it, it is placed ahead of the others'
 * V by so much more that it owes the same afterwards; else a debt would shrink each time that its
 * owner sleeps and wakes.
 */
static bool place(struct mdl_fair *f, struct mdl_fair_entity *fe, uint64_t now)
{
	uint64_t others = weights(f);
	mdl_vtime v = mean_or_clock(f, now), most = v + fe->owes / mdl_sched_weight(fe->entity);

	if (others)
		most += (fe->owes + (mdl_vtime)others - 1) / (mdl_vtime)others;
	/*
	 * What is owed to whom depends on who is at work, and others can change that meanwhile: only debt
	 * of more than some turns is forgiven, else it could be washed off in pieces.
	 */
	if (most < v + AHEAD_TURNS * turn(f, fe))
		most = v + AHEAD_TURNS * turn(f, fe);
	if (fe->v > most)
		fe->v = most;
	fe->least = v - turn(f, fe);
	if (fe->v < fe->least)
		fe->v = fe->least;
	fe->deadline = fe->v + turn(f, fe);
	return fe->v <= v + uncharged_loan(f, now);
}

/* All at work have moved by `by`. One that came after that was placed too early. */
static void move(struct mdl_fair_entity *fe, mdl_vtime by)
{
	mdl_vtime was = fe->v;

	fe->least += by;
	if (fe->v < fe->least)
		fe->v = fe->least;
	fe->deadline += fe->v - was;
}

static uint32_t strict(const struct mdl_sched_entity_params *p)
{
	return (p->cap_percent && p->cap_percent < 100) || p->reservation_percent || p->quantum_ns;
}

/* ---- the policy's slots ---- */

static void fair_configure(void *data, const struct mdl_sched_params *params, uint64_t now)
{
	struct mdl_fair *f = data;

	if (!f->waiting.next) {
		mdl_sched_list_init(&f->waiting);
		f->contested = MDL_SCHED_NEVER;
	}
	f->quantum_ns = params->quantum_ns;
	f->nonpreemptive = params->nonpreemptive;
}

static void fair_attach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *fe = e->policy_data;
	int64_t owed = e->balance_ns;
	mdl_vtime v;

	owed = owed > BALANCE_MAX_NS	? BALANCE_MAX_NS
	       : owed < -BALANCE_MAX_NS ? -BALANCE_MAX_NS
					: owed;
	fe->entity = e;
	f->strict += strict(&e->params);
	mdl_sched_list_init(&fe->link);
	/* When a policy takes over, the clock stands still until all are there. */
	fe->v = (mean(f, now, &v) && v < f->clock ? v : f->clock) -
		virtual(owed, mdl_sched_weight(e));
	fe->owes = owed < 0 ? -(mdl_vtime)owed * 65536 : 0;
	fe->deadline = fe->v + turn(f, fe);
	fe->reserve = fe->limit = now;
	if (e->state >= MDL_SCHED_HOLDING) {
		f->holder = fe;
		count_from(f, now);
		f->granted = now;
		f->granted_v = fe->v;
	}
}

static void fair_detach(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_fair *f = data;

	mean_or_clock(f, now);
	f->strict -= strict(&e->params);
	if (f->holder == e->policy_data)
		f->holder = NULL;
}

static int64_t fair_balance(void *data, const struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_fair *f = data;
	mdl_vtime owed = mean_or_clock(f, now) - position(f, e->policy_data, now);

	owed = owed * mdl_sched_weight(e) / 65536;
	return owed > BALANCE_MAX_NS	? BALANCE_MAX_NS
	       : owed < -BALANCE_MAX_NS ? -BALANCE_MAX_NS
					: (int64_t)owed;
}

/* Who waits so that it might run has changed: since when the holder's time costs it something. */
static void watch(struct mdl_fair *f, uint64_t now)
{
	struct mdl_fair_entity *fe = next_at_work(f, NULL);

	if (!fe || fe == f->holder) {
		f->contested_ns = contested(f, now);
		f->contested = MDL_SCHED_NEVER;
	} else if (f->contested == MDL_SCHED_NEVER) {
		f->contested = now;
	}
}

static void fair_enqueue(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t now)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *fe = e->policy_data;
	bool in_vain = f->holder == fe && fe->v == f->granted_v;

	if (!fresh)
		leave(f, fe, now);
	if (f->holder == fe)
		f->holder = NULL;
	fe->favoured = false;
	fe->parked = spent(f, fe, now);
	if (fresh) {
		/* What was reserved and not used is not kept. */
		fe->reserve = mdl_max_u64(fe->reserve, now);
		fe->boosted = place(f, fe, now);
	} else {
		fe->boosted = false;
		/*
		 * Where the switch is not charged, the rest of a turn may be too short to begin
		 * anything; then it would be for ever.
		 */
		fe->deadline = in_vain ? fe->v + turn(f, fe) : deadline(f, fe);
	}
	mdl_sched_list_append(&f->waiting, &fe->link);
	watch(f, now);
}

static void fair_dequeue(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *fe = e->policy_data;

	if (!fe->parked)
		leave(f, fe, now);
	mdl_sched_list_remove(&fe->link);
	fe->parked = fe->boosted = false;
	watch(f, now);
}

static void fair_rest(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_fair *f = data;

	leave(f, e->policy_data, now);
	if (f->holder == e->policy_data)
		f->holder = NULL;
	((struct mdl_fair_entity *)e->policy_data)->favoured = false;
	watch(f, now);
}

static bool due(const struct mdl_fair_entity *fe, uint64_t now)
{
	return fe->entity->params.reservation_percent && fe->reserve <= now;
}

/* By weight: the earliest deadline of those that have overdrawn nothing. */
static struct mdl_fair_entity *by_weight(struct mdl_fair *f, uint64_t now)
{
	mdl_vtime v = mean_or_clock(f, now);
	struct mdl_fair_entity *fe, *best = NULL;

	for (fe = next_at_work(f, NULL); fe; fe = next_at_work(f, fe))
		if (fe->v <= v && (!best || fe->deadline < best->deadline))
			best = fe;
	return best;
}

static struct mdl_sched_entity *fair_pick(void *data, uint64_t now, uint64_t *ret_again)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *reserved = NULL, *boosted = NULL, *fe, *best;

	f->holder = NULL;
	for (struct mdl_sched_list *l = f->waiting.next; l != &f->waiting; l = l->next) {
		fe = from_link(l);
		if (spent(f, fe, now)) {
			if (!fe->parked)
				leave(f, fe, now);
			fe->parked = true;
			*ret_again = mdl_min_u64(*ret_again, unpark_at(f, fe));
			continue;
		}
		if (fe->parked) {
			place(f, fe, now);
			fe->parked = false;
		}
		if (due(fe, now) && (!reserved || fe->reserve < reserved->reserve))
			reserved = fe;
		if (fe->boosted && !boosted)
			boosted = fe;
	}
	best = by_weight(f, now);
	if (!best)
		return NULL;
	fe = reserved ? reserved : boosted;
	if (fe && f->favoured < FAVOURED_MAX) {
		f->favoured = fe->deadline > best->deadline ? f->favoured + 1 : 0;
		best = fe;
		best->favoured = true;
	} else {
		f->favoured = 0;
	}
	fair_dequeue(f, best->entity, now);
	f->holder = best;
	count_from(f, now);
	f->granted = now;
	f->granted_v = best->v;
	if (cap(best))
		best->limit =
			mdl_max_u64(best->limit, before(now, earn(bucket(f, best), cap(best))));
	return best->entity;
}

/*
 * What the new holder gets beyond a quantum because few compete. Not where anybody counts on turns of a
 * quantum, or shorter ones, now or when it wakes: a cap, a reservation, turns of its own length, or
 * another one that waits and is in a hurry. Where nobody is stopped, any kernel begun in the longer
 * turn may be a long one.
 */
static uint64_t extra(const struct mdl_fair *f)
{
	uint64_t n = 1;

	if (f->nonpreemptive || f->strict)
		return 0;
	for (struct mdl_sched_list *l = f->waiting.next; l != &f->waiting; l = l->next) {
		if (from_link(l)->boosted)
			return 0;
		n++;
	}
	n = mdl_max_u64(n, 2);
	return n < ROUND_TURNS ? f->quantum_ns * (ROUND_TURNS - n) / n : 0;
}

static uint64_t fair_quantum(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *fe = e->policy_data;
	mdl_vtime left = (fe->deadline - fe->v) * mdl_sched_weight(e) / 65536;
	uint64_t length = slice(f, fe);

	/* Else short turns by reservation would make those by weight, one in so many, too large a part. */
	if (fe->favoured || left > (mdl_vtime)length)
		left = length;
	/* The rest of its turn. */
	if (left < (mdl_vtime)(length / LEAST_PART))
		left = mdl_max_u64(length / LEAST_PART, 1);
	return (uint64_t)left + extra(f);
}

static void pay(struct mdl_fair *f, struct mdl_fair_entity *fe, uint64_t ran, uint64_t now)
{
	uint32_t reservation = fe->entity->params.reservation_percent;

	fe->v += virtual((int64_t)ran, mdl_sched_weight(fe->entity));
	fe->owes += (mdl_vtime)ran * 65536;
	if (!reservation)
		return;
	/* Neither credit nor debt of more than two turns; nor a reservation paid by weight. */
	fe->reserve = mdl_max_u64(fe->reserve, before(now, earn(3 * slice(f, fe), reservation)));
	fe->reserve = mdl_min_u64(fe->reserve + earn(ran, reservation),
				  now + earn(2 * slice(f, fe), reservation));
}

static void fair_charge(void *data, struct mdl_sched_entity *e, uint64_t ran_ns, uint64_t now)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *fe = e->policy_data;
	uint64_t ran = mdl_min_u64(ran_ns, INT64_MAX / 4), lent = 0, capped = ran;
	mdl_vtime v;

	if (f->holder == fe) {
		/* No more than the time of this hold in which nobody waited: the rest is from before it. */
		lent = before(now, f->since + contested(f, now));
		lent = mdl_min_u64(lent, before(ran, contested(f, now)));
		/* What it used before it got a cap does not count. */
		capped = mdl_min_u64(ran, now - f->since);
		count_from(f, now);
	}
	if (cap(fe))
		fe->limit += earn(capped, cap(fe));
	if (lent) {
		mdl_vtime by = virtual((int64_t)lent, mdl_sched_weight(e));

		/* As if all that were at work had had the same. */
		fe->v += by;
		fe->deadline += by;
		for (struct mdl_sched_list *l = f->waiting.next; l != &f->waiting; l = l->next)
			move(from_link(l), by);
	}
	pay(f, fe, ran - lent, now);
	/* A reservation may take it far ahead of its weight's part. That is not a debt. */
	if (e->params.reservation_percent && mean(f, now, &v) &&
	    fe->v > v + AHEAD_TURNS * turn(f, fe))
		fe->v = v + AHEAD_TURNS * turn(f, fe);
}

/* The same choice as fair_pick()'s, if in doubt against the holder: that only costs a switch. */
static uint64_t fair_renew(void *data, struct mdl_sched_entity *e, uint64_t now)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *fe = e->policy_data;
	mdl_vtime v = mean_or_clock(f, now), until = deadline(f, fe);

	if (cap(fe) || f->holder != fe || fe->v > v)
		return 0;
	for (struct mdl_sched_list *l = f->waiting.next; l != &f->waiting; l = l->next) {
		const struct mdl_fair_entity *other = from_link(l);

		if (spent(f, other, now))
			continue;
		if (other->parked || other->boosted || due(other, now) ||
		    (other->v <= v && other->deadline <= until))
			return 0;
	}
	fe->deadline = until;
	fe->favoured = false;
	f->favoured = 0;
	count_from(f, now);
	f->granted = now;
	return fair_quantum(f, e, now);
}

static void fair_change(void *data, struct mdl_sched_entity *e,
			const struct mdl_sched_entity_params *old, uint64_t now)
{
	struct mdl_fair *f = data;
	struct mdl_fair_entity *fe = e->policy_data;
	const struct mdl_sched_entity_params new = e->params;
	mdl_vtime v, was = old->weight ? old->weight : 1;

	/*
	 * What it is owed in time stays the same. V as it was before: with the new weight it could
	 * lie so near to fe->v that a debt in v is not seen, and grows in time with the weight.
	 */
	e->params = *old;
	v = mean_or_clock(f, now);
	e->params = new;
	f->strict += strict(&new) - strict(old);
	fe->v = v + (fe->v - v) * was / mdl_sched_weight(e);
	fe->deadline = fe->v + turn(f, fe);
	if (old->reservation_percent != e->params.reservation_percent)
		fe->reserve = now;
	if (old->cap_percent != e->params.cap_percent) {
		fe->limit = now;
		if (f->holder == fe)
			count_from(f, now);
	}
	watch(f, now);
}

static uint64_t fair_cut(void *data, struct mdl_sched_entity *woken,
			 struct mdl_sched_entity *holder, uint64_t now)
{
	struct mdl_fair *f = data;
	const struct mdl_fair_entity *we = woken->policy_data, *he = holder->policy_data;
	uint64_t from = now;

	if (we->parked)
		return MDL_SCHED_NEVER;
	/* Who is in a hurry itself gets its quantum; what it has beyond that is nobody's right. */
	if (he->favoured)
		return we->boosted ? f->granted + slice(f, he) : MDL_SCHED_NEVER;
	if (!we->boosted) {
		if (!woken->params.reservation_percent)
			return MDL_SCHED_NEVER;
		from = mdl_max_u64(now, we->reserve);
	}
	return mdl_max_u64(from, f->granted + slice(f, he) / LEAST_PART);
}

/* When a holder with a cap has used its budget up, which goes on growing while it does. */
static uint64_t fair_until(const void *data, const struct mdl_sched_entity *e)
{
	const struct mdl_fair *f = data;
	const struct mdl_fair_entity *fe = e->policy_data;
	uint64_t behind;

	if (!cap(fe))
		return MDL_SCHED_NEVER;
	behind = mdl_min_u64(before(f->since, fe->limit), earn(bucket(f, fe), cap(fe)));
	return f->since + behind * cap(fe) / (100 - cap(fe));
}

const struct mdl_sched_policy mdl_sched_fair = {
	.name = "fair",
	.divides = MDL_SCHED_BY_WEIGHT | MDL_SCHED_BY_CAP | MDL_SCHED_BY_RESERVATION,
	.sched_bytes = sizeof(struct mdl_fair),
	.entity_bytes = sizeof(struct mdl_fair_entity),
	.configure = fair_configure,
	.attach = fair_attach,
	.detach = fair_detach,
	.enqueue = fair_enqueue,
	.dequeue = fair_dequeue,
	.pick = fair_pick,
	.quantum = fair_quantum,
	.charge = fair_charge,
	.rest = fair_rest,
	.change = fair_change,
	.balance = fair_balance,
	.cut = fair_cut,
	.until = fair_until,
	.renew = fair_renew,
};
