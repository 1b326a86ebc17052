/* SPDX-License-Identifier: MIT */
/*
 * What holds for every policy, whatever happens: random histories with guests that come, go, sleep,
 * do not obey and change their parameters, checked against what must never be otherwise; and the
 * promises that several policies make (shares, caps, reservations, nobody starved).
 */
#include "rig.h"

static const struct mdl_sched_policy *policy_at(size_t i)
{
	return mdl_sched_policy_at(i);
}

#define FOR_EACH_POLICY(p) \
	for (size_t i_ = 0; ((p) = policy_at(i_)) && fprintf(stderr, "# %s\n", (p)->name); i_++)

/* Leaves the GPU idle although somebody waits, by design. */
static bool may_idle(const struct mdl_sched_policy *p)
{
	return p == &mdl_sched_fixed_share || p == &mdl_sched_equal_share || p == &mdl_sched_band ||
	       p == &mdl_sched_band_gpuvm;
}

static bool has_weights(const struct mdl_sched_policy *p)
{
	return p == &mdl_sched_fair || p == &mdl_sched_credit;
}

static void check_invariants(int n, bool caps)
{
	const struct mdl_sched_policy *p = mdl_sched_policy_of(sched);
	int holders = 0, waiting = 0;

	for (int i = 0; i < n; i++) {
		enum mdl_sched_state state = proc[i].e.state;

		holders += state >= MDL_SCHED_HOLDING;
		waiting += state == MDL_SCHED_WAITING;
		CHECK(proc[i].holds == (state >= MDL_SCHED_HOLDING));
		CHECK(state != MDL_SCHED_ASLEEP || !proc[i].work);
	}
	CHECK(holders <= 1);
	CHECK_EQ(waiting, mdl_sched_waiting(sched));
	CHECK(!waiting || mdl_sched_deadline(sched) != MDL_SCHED_NEVER);
	CHECK(!waiting || holders || caps || may_idle(p));
}

static struct mdl_sched_entity_params random_params(bool caps)
{
	struct mdl_sched_entity_params p = {
		.weight = rnd(3) ? rnd(1024) : 0,
		.cap_percent = caps && !rnd(4) ? 1 + rnd(100) : 0,
		.reservation_percent = rnd(4) ? 0 : rnd(30),
		.share_percent = rnd(3) ? 0 : rnd(30),
		.priority = (enum mdl_sched_priority)((int)rnd(3) - 1),
		.quantum_ns = rnd(3) ? 0 : 1 + rnd(5000) * US,
	};

	return p;
}

static void random_step(int n, uint64_t *t, bool caps, bool any_policy)
{
	int i = (int)rnd((uint32_t)n);
	struct mdl_sched_entity_params p = random_params(caps);
	struct mdl_sched_params sp = params;
	size_t policies = 0;

	*t += rnd(1500) * US;
	until(*t);
	switch (rnd(12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		submit(i, 1 + rnd(5000) * US);
		break;
	case 4:
		submit(i, ENDLESS);
		break;
	case 5:
		cancel(i);
		break;
	case 6:
		detach(i); /* holding, waiting or asleep */
		CHECK_EQ(mdl_sched_attach(sched, &proc[i].e, now), 0);
		break;
	case 7:
		proc[i].disobeys = rnd(2);
		break;
	case 8:
		/* Sums may be too high. */
		(void)mdl_sched_set_entity(sched, &proc[i].e, &p, now);
		break;
	case 9:
		mdl_sched_run(sched, now - rnd(100000) * US); /* the clock steps back */
		mdl_sched_wake(sched, &proc[i].e, rnd(2) ? 0 : now - rnd(100) * US);
		if (!proc[i].work)
			mdl_sched_sleep(sched, &proc[i].e, now - rnd(100) * US);
		break;
	case 10:
		sp.quantum_ns = 1 + rnd(4000) * US;
		CHECK_EQ(mdl_sched_set_params(sched, &sp, now), 0);
		break;
	case 11:
		while (mdl_sched_policy_at(policies))
			policies++;
		if (any_policy)
			CHECK_EQ(mdl_sched_set_policy(
					 sched, mdl_sched_policy_at(rnd((uint32_t)policies)), now),
				 0);
		break;
	}
}

static void histories(bool any_policy)
{
	enum {
		N = 7,
		STEPS = 6000
	};
	const struct mdl_sched_policy *p;

	logging = false;
	FOR_EACH_POLICY(p)
	{
		for (int round = 0; round < 4; round++) {
			uint64_t t = 0;
			bool caps = round % 2;

			start(p, N);
			for (int step = 0; step < STEPS; step++) {
				random_step(N, &t, caps, any_policy);
				check_invariants(N, caps);
			}
			finish();
		}
	}
}

static void random_histories(void)
{
	histories(false);
}

static void policies_change_live(void)
{
	histories(true);
}

/*
 * One is endless and does not obey, the others come with short work at random. Whoever waits is
 * served within some seconds, whatever its parameters (a cap of 1 percent is a reason to wait: none
 * here). With eight at work and weights up to 64 to 1 nothing honest takes longer.
 */
static void nobody_starves(void)
{
	enum {
		N = 8
	};
	const struct mdl_sched_policy *p;

	logging = false;
	FOR_EACH_POLICY(p)
	{
		start(p, N);
		for (int i = 0; i < N; i++)
			set(i, (struct mdl_sched_entity_params) {
				       .weight = i ? 16u << i % 4 : 1024,
				       .reservation_percent = i < 3 ? 30 : 0,
				       .share_percent = i < 4 ? 20 : 0,
				       .priority = (enum mdl_sched_priority)(i % 3 - 1) });
		proc[0].disobeys = true;
		submit(0, ENDLESS);
		proc[1].disobeys = true;
		submit(1, ENDLESS);
		for (uint64_t t = 0; t < 60000 * MS; t += rnd(3000) * US) {
			until(t);
			submit(2 + (int)rnd(N - 2), 1 + rnd(4000) * US);
		}
		until(70000 * MS);
		for (int i = 0; i < N; i++) {
			uint64_t waits =
				proc[i].e.state == MDL_SCHED_WAITING ? now - proc[i].e.since_ns : 0;

			CHECK(proc[i].e.grants > 0);
			CHECK(mdl_max_u64(waits, proc[i].e.waited_max_ns) < 3000 * MS);
		}
		finish();
	}
}

/*
 * Sixty guests that come for 2 ms, are gone for 60 ms and come again: somebody of them has just
 * woken up, without debt, at any moment. One that works all the time has its part beside them.
 */
static void wakers_starve_nobody(void)
{
	enum {
		N = 60
	};
	uint64_t again[N + 1] = { 0 };

	logging = false;
	start(&mdl_sched_fair, N + 1);
	submit(0, ENDLESS);
	for (int i = 1; i <= N; i++) {
		again[i] = rnd(60) * MS;
	}
	for (uint64_t t = 0; t < 10000 * MS; t += 500 * US) {
		until(t);
		for (int i = 1; i <= N; i++) {
			if (!proc[i].work && !again[i])
				again[i] = t + 60 * MS;
			if (again[i] && again[i] <= t) {
				again[i] = 0;
				submit(i, 2 * MS);
			}
		}
	}
	CHECK(used(0) > 10000 * MS / (N + 1) * 9 / 10);
	finish();
}

/* All of weight 0, the least: like any other weights that are equal. */
static void zero_weights(void)
{
	enum {
		N = 4
	};
	const struct mdl_sched_policy *p;

	logging = false;
	FOR_EACH_POLICY(p)
	{
		start(p, N);
		for (int i = 0; i < N; i++) {
			set(i, (struct mdl_sched_entity_params) { .weight = 0 });
			submit(i, ENDLESS);
		}
		until(10000 * MS);
		for (int i = 0; i < N; i++) {
			CHECK(used(i) > 2400 * MS);
			CHECK(used(i) < 2600 * MS);
		}
		finish();
	}
}

/* 3:1, 8:4:2:1, and the same with the first one not obeying: shares by weight over seconds. */
static void weights(void)
{
	static const uint32_t mix[][5] = { { 3, 1 }, { 8, 4, 2, 1 }, { 1, 3 }, { 64, 1, 1, 1, 1 } };
	const struct mdl_sched_policy *p;

	logging = false;
	FOR_EACH_POLICY(p)
	{
		if (!has_weights(p))
			continue;
		for (size_t m = 0; m < 2 * MDL_ARRAY_SIZE(mix); m++) {
			const uint32_t *w = mix[m / 2];
			uint64_t sum = 0, all = 0;
			int n = 0;

			while (n < 5 && w[n])
				sum += w[n++];
			start(p, n);
			proc[0].disobeys = m % 2;
			for (int i = 0; i < n; i++) {
				set(i, (struct mdl_sched_entity_params) { .weight = 16 * w[i] });
				submit(i, ENDLESS);
			}
			until(20000 * MS);
			for (int i = 0; i < n; i++)
				all += used(i);
			CHECK_EQ(all, 20000 * MS);
			for (int i = 0; i < n; i++) {
				double share = (double)used(i) / (double)all;
				double error = share - (double)w[i] / (double)sum;

				/* Credit gives whole credits, rounded up: 1/300 each. */
				CHECK(error < 0.01 && error > -0.01);
			}
			finish();
		}
	}
}

static uint64_t window_max(int who, uint64_t length, uint64_t end, uint64_t pace)
{
	enum {
		RING = 4096
	};
	static uint64_t seen[RING];
	uint64_t max = 0, n = 0, back = length / pace;

	CHECK(back < RING);
	for (uint64_t t = pace; t <= end; t += pace, n++) {
		until(t);
		seen[n % RING] = used(who);
		if (n >= back)
			max = mdl_max_u64(max, seen[n % RING] - seen[(n - back) % RING]);
	}
	return max;
}

/*
 * However weights were changed, and whoever was owed what at that moment: once they are alike, so are
 * the parts. What is owed is time; it must not grow with the weight.
 */
static void weights_change_live(void)
{
	const struct mdl_sched_policy *p;

	logging = false;
	FOR_EACH_POLICY(p) {
		if (!has_weights(p))
			continue;
		for (int round = 0; round < 40; round++) {
			uint64_t t = 0, before[4];

			start(p, 4);
			for (int i = 0; i < 4; i++)
				submit(i, ENDLESS);
			for (int k = 0; k < 200; k++) {
				int i = (int)rnd(4);

				set(i, (struct mdl_sched_entity_params) {
					       .weight = rnd(2) ? rnd(4) : rnd(65537) });
				if (i == 3 && rnd(2))
					cancel(i);
				else
					submit(i, ENDLESS);
				until(t += rnd(3000) * US);
			}
			for (int i = 0; i < 4; i++) {
				set(i, (struct mdl_sched_entity_params)
					       MDL_SCHED_ENTITY_PARAMS_DEFAULT);
				submit(i, ENDLESS);
				before[i] = used(i);
			}
			until(t += 2000 * MS);
			for (int i = 0; i < 4; i++) {
				if (used(i) - before[i] < 440 * MS)
					fprintf(stderr, "# %s, round %d: %d has %llu ms of 2 s\n",
						p->name, round, i,
						(unsigned long long)((used(i) - before[i]) / MS));
				CHECK(used(i) - before[i] >= 440 * MS);
			}
			finish();
		}
	}
}

/*
 * Caps, of an idle GPU and of a busy one, obeying or not: never more in any window than the cap's
 * part and one quantum, and what an unwilling holder takes beyond the turn (grace, 200 us). Credit
 * keeps them as Xen does: to one period of 30 ms.
 */
static void caps(void)
{
	const struct mdl_sched_policy *p;

	logging = false;
	FOR_EACH_POLICY(p)
	{
		if (!has_weights(p))
			continue;
		for (uint32_t m = 0; m < 12; m++) {
			uint32_t cap = (const uint32_t[]) { 5, 30, 90 }[m % 3];
			uint64_t extra = p == &mdl_sched_fair ? params.quantum_ns : 30 * MS;
			uint64_t window = 200 * MS, max;

			start(p, 3);
			proc[0].disobeys = m / 3 % 2;
			set(0, (struct mdl_sched_entity_params) { .weight = 4096,
								  .cap_percent = cap });
			submit(0, ENDLESS);
			if (m / 6)
				submit(1, ENDLESS);
			max = window_max(0, window, 4000 * MS, 500 * US);
			CHECK(max <= window * cap / 100 + extra + params.grace_ns);
			/* And no less than the cap either: it is alone or the heaviest. */
			CHECK(used(0) >= 4000 * MS * cap / 100 * 9 / 10 - 30 * MS);
			if (m / 6)
				CHECK_EQ(used(0) + used(1), 4000 * MS);
			finish();
		}
	}
}

/* A cap set, and lifted, on a holder that has the GPU alone. */
static void caps_change_live(void)
{
	uint64_t before;

	logging = false;
	start(&mdl_sched_fair, 2);
	submit(0, ENDLESS);
	until(100 * MS);
	set(0, (struct mdl_sched_entity_params) { .weight = 256, .cap_percent = 20 });
	before = used(0);
	CHECK_EQ(before, 100 * MS);
	until(300 * MS);
	CHECK(used(0) - before <= 40 * MS + params.quantum_ns);
	CHECK(used(0) - before >= 36 * MS);
	set(0, (struct mdl_sched_entity_params) { .weight = 256 });
	before = used(0);
	until(400 * MS);
	CHECK_EQ(used(0) - before, 100 * MS);
	finish();
}

/*
 * 30 percent reserved with weight 1 against six of weight 4096 that are endless, disobey, or wake
 * all the time: the part is there in any window in which it has work, less two quanta.
 */
static void reservations(void)
{
	logging = false;
	for (int m = 0; m < 3; m++) {
		uint64_t t = 0, last = 0, window = 100 * MS;

		start(&mdl_sched_fair, 8);
		set(0, (struct mdl_sched_entity_params) { .weight = 1, .reservation_percent = 30 });
		set(7, (struct mdl_sched_entity_params) { .weight = 1, .reservation_percent = 60 });
		for (int i = 1; i < 7; i++) {
			set(i, (struct mdl_sched_entity_params) { .weight = 4096 });
			proc[i].disobeys = m == 1;
			if (m < 2)
				submit(i, ENDLESS);
		}
		submit(7, ENDLESS);
		until(t = 500 * MS);
		submit(0, ENDLESS);
		for (int n = 0; n < 40; n++) {
			uint64_t end = t + window;

			while (t < end) {
				t += 100 * US;
				until(t);
				if (m == 2)
					submit(1 + (int)rnd(6), 1 + rnd(200) * US);
			}
			/* Unwilling holders cost up to grace for each of some 50 turns. */
			CHECK(used(0) - last >= 30 * MS - 2 * params.quantum_ns - params.grace_ns);
			last = used(0);
		}
		finish();
	}
}

/*
 * Reserved parts that leave little over, beside one whose weight is thousands of times theirs: what
 * goes by weight is one turn in 16, which must not be longer than the others. And one that waits for
 * each of its kernels, 1 ms long, 10 us before the next, beside endless ones.
 */
static void tight_reservations(void)
{
	uint64_t last = 0;

	logging = false;
	start(&mdl_sched_fair, 4);
	set(0, (struct mdl_sched_entity_params) { .weight = 32, .reservation_percent = 77 });
	set(1, (struct mdl_sched_entity_params) { .weight = 16384 });
	set(2, (struct mdl_sched_entity_params) { .weight = 4, .reservation_percent = 12 });
	set(3, (struct mdl_sched_entity_params) { .weight = 8 });
	for (int i = 0; i < 4; i++)
		submit(i, ENDLESS);
	for (uint64_t t = 500 * MS; t < 8000 * MS; t += 500 * MS) {
		until(t);
		CHECK(used(0) - last >= 385 * MS - 3 * params.quantum_ns);
		last = used(0);
	}
	finish();
	for (int others = 1; others <= 2; others++) {
		start(&mdl_sched_fair, 1 + others);
		set(0, (struct mdl_sched_entity_params) {
			       .weight = others == 1 ? 1 : 64, .reservation_percent = 50 });
		for (int i = 1; i <= others; i++) {
			set(i, (struct mdl_sched_entity_params) {
				       .weight = others == 1 ? 65536 : 256 });
			submit(i, ENDLESS);
		}
		for (uint64_t t = 0; t < 4000 * MS; t += 10 * US) {
			until(t);
			if (!proc[0].work)
				submit(0, 1 * MS);
		}
		CHECK(used(0) >= 1980 * MS);
		finish();
	}
}

/* Nobody waits, so nothing but the cap ends a turn; to the nanosecond, whatever percent divides by. */
static void cap_alone(void)
{
	logging = false;
	for (uint32_t cap = 60; cap < 100; cap++) {
		start(&mdl_sched_fair, 1);
		set(0, (struct mdl_sched_entity_params) { .weight = 256, .cap_percent = cap });
		submit(0, ENDLESS);
		until(2000 * MS);
		CHECK(used(0) <= 20 * MS * cap + params.quantum_ns);
		CHECK(used(0) >= 20 * MS * cap - 2 * params.quantum_ns);
		finish();
	}
}

/*
 * 50 ms of work a second beside one or six that are endless, some disobeying: it waits for a
 * quarter of a quantum, and for whom does not obey. Its own last use is forgotten meanwhile, also
 * if the other one was alone, so that nobody was charged.
 */
static void light_guest(void)
{
	logging = false;
	for (int n = 1; n <= 6; n += 5) {
		start(&mdl_sched_fair, n + 1);
		for (int i = 1; i <= n; i++) {
			proc[i].disobeys = n == 1 || i > 3;
			submit(i, ENDLESS);
		}
		for (uint64_t t = 100 * MS; t < 5000 * MS; t += 19 * MS + rnd(2000) * US) {
			until(t);
			submit(0, 1000 * US);
		}
		CHECK(proc[0].e.grants > 200);
		CHECK(proc[0].e.waited_max_ns <= params.quantum_ns / 4 + params.grace_ns);
		finish();
	}
}

/*
 * Waking all the time gains nothing: one that sleeps 10 us after each 100 us of work, beside two
 * that are endless, gets its third at most; and costs the others no more than their thirds.
 */
static void wakers_gain_nothing(void)
{
	logging = false;
	start(&mdl_sched_fair, 3);
	submit(1, ENDLESS);
	submit(2, ENDLESS);
	for (uint64_t t = 0; t < 6000 * MS; t += 10 * US) {
		until(t);
		if (!proc[0].work)
			submit(0, 100 * US);
	}
	CHECK(used(0) <= 2000 * MS + 2 * params.quantum_ns);
	CHECK(used(1) >= 1990 * MS && used(2) >= 1990 * MS);
	finish();
}

/*
 * Who comes and goes changes what the others are owed: two that sleep after each kernel must not wash
 * off their debts that way. The third, always at work and of the same weight, gets its part.
 */
static void debts_stay(void)
{
	static const uint64_t run[2] = { 971 * US, 1001 * US }, gap[2] = { 247 * US, 2500 * US };
	uint64_t next[2] = { 0 };
	bool works[2] = { false };

	logging = false;
	start(&mdl_sched_fair, 3);
	submit(2, ENDLESS);
	for (uint64_t t = 0; t < 8000 * MS; t += 10 * US) {
		until(t);
		for (int i = 0; i < 2; i++) {
			if (works[i] && !proc[i].work)
				next[i] = t + gap[i];
			works[i] = proc[i].work;
			if (!works[i] && t >= next[i]) {
				submit(i, run[i]);
				works[i] = true;
			}
		}
	}
	CHECK(used(2) >= 8000 * MS / 3 * 98 / 100);
	finish();
}

/*
 * What somebody used after his turn, and is charged for as soon as he has the next, he owes. It is not lent time, although nobody
 * waited in this hold yet: that would move one that has just woken up with him.
 */
static void charged_late(void)
{
	uint64_t t = 100 * MS, grants, before[3];

	logging = false;
	start(&mdl_sched_fair, 3);
	submit(0, ENDLESS);
	submit(2, ENDLESS);
	until(t);
	submit(1, ENDLESS);
	for (grants = proc[0].e.grants; proc[0].e.grants == grants; t += US)
		until(t);
	for (int i = 0; i < 3; i++)
		before[i] = used(i);
	mdl_sched_charge(sched, &proc[0].e, 8 * MS, now);
	until(t + 400 * MS);
	CHECK(used(1) - before[1] + 2 * MS > used(2) - before[2]);
	CHECK(used(0) - before[0] + 4 * MS < used(2) - before[2]);
	finish();
}

/* Credits are made in accounting and spent in use, nowhere else; positions of slots sum up to 0. */
static void conserved(void)
{
	enum {
		N = 6
	};
	uint64_t t = 0, periods = 0;
	int64_t granted[N] = { 0 }, total = 0;
	static const uint32_t weight[N] = { 5, 4, 3, 1, 1, 1 };

	logging = false;
	start(&mdl_sched_credit, N);
	for (int i = 0; i < N; i++) {
		set(i, (struct mdl_sched_entity_params) { .weight = weight[i] });
		submit(i, ENDLESS);
	}
	while (t < 9000 * MS) {
		uint64_t w = 0;

		t += 10 * MS;
		until(t);
		for (int i = 0; i < N; i++) {
			struct mdl_credit_entity *ce = proc[i].e.policy_data;
			int64_t credit;

			settle_use(&proc[i]);
			credit = ce->credit_ns;
			/* All are busy and turns are short, so no bound is ever met. */
			CHECK(credit == ce->granted_ns - (int64_t)proc[i].used);
			total += ce->granted_ns - granted[i];
			w += ce->granted_ns != granted[i];
			granted[i] = ce->granted_ns;
		}
		CHECK(w == 0 || w == N);
		periods += w == N;
		/* These weights divide 300: nothing is rounded. */
		CHECK_EQ(total, (int64_t)periods * 300 * MDL_CREDIT_NS);
	}
	CHECK(periods >= 299);
	finish();

	start(&mdl_sched_fixed_share, N);
	t = 0;
	for (int step = 0; step < 5000; step++) {
		const struct mdl_slots_entity *se;
		int64_t sum = 0;

		t += rnd(3000) * US;
		until(t);
		set((int)rnd(N), (struct mdl_sched_entity_params) {
					 .share_percent = rnd(17),
					 .priority = (enum mdl_sched_priority)((int)rnd(3) - 1) });
		submit((int)rnd(N), rnd(4000) * US);
		for (int i = 0; i < N; i++) {
			se = proc[i].e.policy_data;
			sum += se->position;
			if (!i) {
				struct mdl_slots *s =
					mdl_container_of(se->link.prev, struct mdl_slots, all);

				sum += s->idle;
			}
		}
		CHECK_EQ(sum, 0);
	}
	finish();
}

static void bad_parameters(void)
{
	struct mdl_sched_entity_params ok = MDL_SCHED_ENTITY_PARAMS_DEFAULT, p;

	start(&mdl_sched_fair, 3);
#define REFUSED(field, value, err)                                               \
	do {                                                                     \
		p = ok;                                                          \
		p.field = (value);                                               \
		CHECK_EQ(mdl_sched_set_entity(sched, &proc[0].e, &p, now), err); \
		CHECK_EQ(proc[0].e.params.field, ok.field);                      \
	} while (0)
	REFUSED(weight, MDL_SCHED_WEIGHT_MAX + 1, -EINVAL);
	REFUSED(cap_percent, 101, -EINVAL);
	REFUSED(reservation_percent, 101, -EINVAL);
	REFUSED(share_percent, 101, -EINVAL);
	REFUSED(priority, 2, -EINVAL);
	REFUSED(quantum_ns, MDL_SCHED_QUANTUM_MAX_NS + 1, -EINVAL);
	REFUSED(reservation_percent, 91, -ENOSPC);
	set(1, (struct mdl_sched_entity_params) { .reservation_percent = 50, .share_percent = 70 });
	REFUSED(reservation_percent, 41, -ENOSPC);
	REFUSED(share_percent, 31, -ENOSPC);
	ok.cap_percent = 30;
	set(0, ok);
	REFUSED(reservation_percent, 31, -EINVAL);
	set(1, (struct mdl_sched_entity_params) { .weight = 1 }); /* gives it back */
	set(2,
	    (struct mdl_sched_entity_params) { .reservation_percent = 90, .share_percent = 100 });
	detach(2);
	CHECK_EQ(mdl_sched_set_entity(sched, &proc[2].e, &ok, now), -EINVAL);
	set(1,
	    (struct mdl_sched_entity_params) { .reservation_percent = 90 }); /* so does leaving */
	finish();
}

/* Not stopped, however long its kernel: the others wait, and the debt is paid afterwards. */
static void nonpreemptive(void)
{
	logging = true;
	params.nonpreemptive = true;
	start(&mdl_sched_fair, 2);
	proc[0].disobeys = true;
	submit(0, 500 * MS);
	until(1 * MS);
	submit(1, ENDLESS);
	until(499 * MS);
	expect("G0");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_ASKED);
	/* Live: now it is stopped at once. */
	params.nonpreemptive = false;
	CHECK_EQ(mdl_sched_set_params(sched, &params, now), 0);
	expect("R0 G1");
	finish();
}

static const struct check_case cases[] = {
	{ "random histories", random_histories, 60 },
	{ "policies change live", policies_change_live, 60 },
	{ "nobody starves", nobody_starves, 60 },
	{ "wakers starve nobody", wakers_starve_nobody },
	{ "zero weights", zero_weights },
	{ "weights", weights },
	{ "weights change live", weights_change_live, 60 },
	{ "caps", caps },
	{ "caps change live", caps_change_live },
	{ "reservations", reservations },
	{ "tight reservations", tight_reservations },
	{ "a cap alone", cap_alone },
	{ "a light guest waits for a quantum", light_guest },
	{ "waking often gains nothing", wakers_gain_nothing },
	{ "debts stay with those who come and go", debts_stay },
	{ "what is charged late is owed", charged_late },
	{ "credits and slots are conserved", conserved },
	{ "bad parameters", bad_parameters },
	{ "not preemptive", nonpreemptive },
};

CHECK_MAIN(cases)
