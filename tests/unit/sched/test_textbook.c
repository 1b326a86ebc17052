/* SPDX-License-Identifier: MIT */
/*
 * Each policy's rules, step by step: small cases worked by hand in the comments, with the state
 * after every step. Histories: G0 0 gets the GPU, R0 it loses it and wants more, I0 it has done.
 * Times are milliseconds from the start; everybody gives back at once when asked.
 */
#include "rig.h"

static void setup(const struct mdl_sched_policy *policy, int n, uint64_t quantum)
{
	params.quantum_ns = quantum;
	start(policy, n);
}

static void step(uint64_t t, const char *want)
{
	until(t);
	expect(want);
}

/* ---- credit ---- */

static struct mdl_credit_entity *credit(int i)
{
	return proc[i].e.policy_data;
}

#define CREDITS(i, want) CHECK_EQ(credit(i)->credit_ns, (want)*MDL_CREDIT_NS)

/*
 * Weights 256 and 512, turns of 10 ms (100 credits), both endless. A period gives 100 and 200.
 *
 *   t   before the turn's end          charged      next
 *   0   both wake: BOOST               -            0 (first)
 *  10   tick: boosts end               0: -100      1: UNDER before OVER
 *  20   tick                           1: -100      0: both OVER, 0 waits longer
 *  30   0: -100+100=0  1: -100+200=100 0: -100      1: UNDER
 *  40                                  1: 0         1: UNDER still
 *  50                                  1: -100      0: waits longer
 *  60   as at 30                       0: -100      1
 */
static void credit_weights(void)
{
	setup(&mdl_sched_credit, 2, 10 * MS);
	set(1, (struct mdl_sched_entity_params) { .weight = 512 });
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(0, "G0");
	CHECK_EQ(credit(1)->class, MDL_CREDIT_BOOST);
	step(10 * MS, "R0 G1");
	CREDITS(0, -100);
	CHECK_EQ(credit(0)->class, MDL_CREDIT_OVER);
	CHECK_EQ(credit(1)->class, MDL_CREDIT_UNDER);
	step(20 * MS, "R1 G0");
	CREDITS(1, -100);
	step(30 * MS, "R0 G1");
	CREDITS(0, -100);
	CREDITS(1, 100);
	step(40 * MS, "R1 G1");
	CREDITS(1, 0);
	step(50 * MS, "R1 G0");
	CREDITS(1, -100);
	CHECK_EQ(credit(1)->class, MDL_CREDIT_OVER);
	step(60 * MS, "R0 G1");
	CREDITS(0, -100);
	CREDITS(1, 100);
	finish();
}

/*
 * Parts are rounded up: weights 1, 2 and 4 of 300 credits are 42.9, 85.7, 171.4: 43, 86, 172.
 * With a cap of 10 percent the last gets 30, and the others share 270 as 1 to 2: 90 and 180.
 */
static void credit_rounding_and_surplus(void)
{
	setup(&mdl_sched_credit, 3, 2 * MS);
	for (int i = 0; i < 3; i++) {
		set(i, (struct mdl_sched_entity_params) { .weight = 1u << i });
		submit(i, ENDLESS);
	}
	until(30 * MS);
	CHECK_EQ(credit(0)->granted_ns, 43 * MDL_CREDIT_NS);
	CHECK_EQ(credit(1)->granted_ns, 86 * MDL_CREDIT_NS);
	CHECK_EQ(credit(2)->granted_ns, 172 * MDL_CREDIT_NS);
	set(2, (struct mdl_sched_entity_params) { .weight = 4, .cap_percent = 10 });
	until(60 * MS);
	CHECK_EQ(credit(0)->granted_ns, (43 + 90) * MDL_CREDIT_NS);
	CHECK_EQ(credit(1)->granted_ns, (86 + 180) * MDL_CREDIT_NS);
	CHECK_EQ(credit(2)->granted_ns, (172 + 30) * MDL_CREDIT_NS);
	finish();
}

/*
 * Turns of 100 ms. 0 is alone; 1 wakes at 12 and is boosted: 0 is UNDER (its boost ended at 10), so
 * its turn ends; it is charged 120 credits. 1 runs for 2 ms (20 credits). At 16 it wakes again, but
 * in debt: OVER, as 0 is, and no reason to end 0's turn.
 */
static void credit_boost(void)
{
	setup(&mdl_sched_credit, 2, 100 * MS);
	submit(0, ENDLESS);
	step(12 * MS, "G0");
	submit(1, 2 * MS);
	expect("R0 G1");
	CREDITS(0, -120);
	CHECK_EQ(credit(1)->class, MDL_CREDIT_BOOST);
	step(14 * MS, "I1 G0");
	CREDITS(1, -20);
	until(16 * MS);
	submit(1, 2 * MS);
	CHECK_EQ(credit(1)->class, MDL_CREDIT_OVER);
	expect("");
	/* 30: each gets 150: 1 has 130 and is UNDER, though not boosted: it waits for the turn's end. */
	step(30 * MS, "");
	CREDITS(1, 130);
	CREDITS(0, 10); /* -120, 20 that were booked when 1 woke at 16, + 150 */
	CHECK_EQ(credit(1)->class, MDL_CREDIT_UNDER);
	step(114 * MS, "R0 G1");
	finish();
}

/*
 * Cap 20 percent, 60 credits a period, alone. It may run 60 credits into debt, 6 ms; then it is
 * parked until an accounting leaves it without debt: 30, 60, and so on. 6 ms of each 30.
 */
static void credit_parking(void)
{
	setup(&mdl_sched_credit, 1, 2 * MS);
	set(0, (struct mdl_sched_entity_params) { .weight = 256, .cap_percent = 20 });
	submit(0, ENDLESS);
	step(6 * MS - 1, "G0");
	step(6 * MS, "R0");
	CREDITS(0, -60);
	CHECK(credit(0)->parked);
	step(30 * MS - 1, "");
	step(30 * MS, "G0");
	CREDITS(0, 0);
	CHECK(!credit(0)->parked);
	step(36 * MS, "R0");
	step(60 * MS, "G0");
	CHECK_EQ(used(0), 12 * MS);
	finish();
}

/*
 * 1 runs for 1 ms and sleeps: -10, +150 = 140, 290, 440: above 300, so it leaves with 220, and 0
 * earns all 300 from then on. A charge of 100 ms takes 1000 credits; the debt is cut to 300.
 */
static void credit_bounds(void)
{
	setup(&mdl_sched_credit, 2, 100 * MS);
	submit(1, 1 * MS);
	submit(0, ENDLESS);
	step(1 * MS, "G1 I1 G0");
	until(30 * MS);
	CREDITS(1, 140);
	until(60 * MS);
	CREDITS(1, 290);
	until(90 * MS - 1);
	(void)used(0); /* 890 credits: 300 - 890 = -590 */
	until(90 * MS);
	CREDITS(1, 220);
	CHECK(!credit(1)->active);
	CREDITS(0, -300);
	CHECK_EQ(credit(0)->granted_ns, 450 * MDL_CREDIT_NS);
	until(120 * MS);
	CREDITS(1, 220);
	CHECK_EQ(credit(0)->granted_ns, 750 * MDL_CREDIT_NS);
	/* It comes back when it runs. */
	submit(1, 1 * MS);
	CHECK(credit(1)->active);
	finish();
}

/* ---- band ---- */

static struct mdl_band_entity *band(int i)
{
	return proc[i].e.policy_data;
}

#define BAND(i, ms, is_over)                                      \
	do {                                                      \
		CHECK_EQ(band(i)->credit_ns, (ms) * (int64_t)MS); \
		CHECK_EQ(band(i)->over, is_over);                 \
	} while (0)

/*
 * Two of 50 percent (15 ms a period), endless, turns of 10 ms. Only who has no credit AND has used
 * more than its bandwidth goes to the end of the line, so 0 goes on until both are so.
 *
 *   t   refresh                       charged      next
 *  10                                 0: -10       0: within its bandwidth as last seen
 *  20                                 0: -20       0
 *  30   0: -5, 20 of 15: over; 1: 15  0: -15       1
 *  40                                 1: 5         1
 *  50                                 1: -5        1
 *  60   0: 0, 30 of 30: not; 1: 10    1: 0         1
 *  70                                 1: -10       1
 *  80                                 1: -20       1
 *  90   0: 15; 1: -5, 50 of 45: over  1: -15       0
 */
static void band_rules(void)
{
	setup(&mdl_sched_band, 2, 10 * MS);
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(10 * MS, "G0 R0 G0");
	BAND(0, -10, false);
	step(20 * MS, "R0 G0");
	step(30 * MS, "R0 G1");
	BAND(0, -15, true);
	BAND(1, 15, false);
	step(40 * MS, "R1 G1");
	BAND(1, 5, false);
	step(50 * MS, "R1 G1");
	step(60 * MS, "R1 G1");
	BAND(0, 0, false);
	BAND(1, 0, false);
	step(80 * MS, "R1 G1 R1 G1");
	BAND(1, -20, false);
	step(90 * MS, "R1 G0");
	BAND(0, 15, false);
	BAND(1, -15, true);
	finish();
}

/* Gdev's CREDIT: without credit is enough to go to the end of the line. */
static void credit_gdev_rules(void)
{
	setup(&mdl_sched_credit_gdev, 2, 10 * MS);
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(10 * MS, "G0 R0 G1");
	step(20 * MS, "R1 G0");
	step(30 * MS, "R0 G1");
	BAND(0, -5, false); /* -10 + 15 - 10; 10 of 15 used when that was looked at */
	finish();
}

/*
 * 20 and 80 percent. 0 has used 29 of its 6 ms when that is looked at, at 30. 1 comes at 35 for
 * 1 ms: 0's turn is over, it goes to the end. At 36 the next is 0, over its bandwidth: the GPU is
 * left free until 36.5. 1 comes at 36.2 and gets it; at 37.2 the GPU is left free again, nobody
 * comes, and 0 has it at 37.7.
 */
static void band_chance(void)
{
	setup(&mdl_sched_band, 2, 10 * MS);
	set(0, (struct mdl_sched_entity_params) { .share_percent = 20 });
	set(1, (struct mdl_sched_entity_params) { .share_percent = 80 });
	submit(0, ENDLESS);
	until(29 * MS);
	(void)used(0);
	step(35 * MS, "G0");
	BAND(0, -23, true);
	submit(1, 1 * MS);
	expect("R0 G1");
	step(36 * MS, "I1");
	CHECK_EQ(mdl_sched_deadline(sched), T0 + 36500 * US);
	until(36200 * US);
	submit(1, 1 * MS);
	expect("G1");
	step(37200 * US, "I1");
	step(37700 * US - 1, "");
	step(37700 * US, "G0");
	/* Who finds the GPU free takes it, over its bandwidth or not. */
	until(38 * MS);
	cancel(0);
	submit(1, 1 * US);
	step(50 * MS, "I0 G1");
	finish();
}

/*
 * A credit beyond a period is set to 0: 1 sleeps and earns 24 a period: 24, 48 > 30: 0, 24, 0. A
 * window ends after a second: what was used before is forgotten.
 */
static void band_reset(void)
{
	setup(&mdl_sched_band, 2, 10 * MS);
	set(0, (struct mdl_sched_entity_params) { .share_percent = 20 });
	set(1, (struct mdl_sched_entity_params) { .share_percent = 80 });
	submit(0, ENDLESS);
	until(30 * MS);
	BAND(1, 24, false);
	until(60 * MS);
	BAND(1, 0, false);
	(void)used(0); /* -60 + 12 */
	BAND(0, -48, false);
	until(90 * MS);
	BAND(0, 0, true); /* -48 + 6 = -42: more than a period */
	CHECK_EQ(band(0)->used_ns, 60 * MS);
	until(1020 * MS);
	CHECK_EQ(band(0)->used_ns, 0);
	finish();
}

/*
 * GPUvm's: both equal, 15 ms a period. Without debt before in debt, in turns.
 *
 *   t   refresh          charged   next
 *  10                    0: -10    1 (0)
 *  20                    1: -10    0: both in debt, in turns
 *  30   0: 5   1: 5      0: -5     1 (5)
 *  40                    1: -5     0
 *  50                    0: -15    1
 *  60   0: 0   1: 10     1: 0      0: both without debt, in turns
 */
static void band_gpuvm_rules(void)
{
	setup(&mdl_sched_band_gpuvm, 2, 10 * MS);
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(10 * MS, "G0 R0 G1");
	BAND(0, -10, false);
	step(20 * MS, "R1 G0");
	step(30 * MS, "R0 G1");
	BAND(0, -5, false);
	BAND(1, 5, false);
	step(40 * MS, "R1 G0");
	step(50 * MS, "R0 G1");
	step(60 * MS, "R1 G0");
	BAND(0, 0, false);
	BAND(1, 0, false);
	finish();
}

/* 0, first in the line but 5 ms in debt, has to wait for 1; when all are in debt the line counts. */
static void band_gpuvm_ranks(void)
{
	setup(&mdl_sched_band_gpuvm, 3, 10 * MS);
	mdl_sched_charge(sched, &proc[0].e, 5 * MS, now);
	submit(2, ENDLESS);
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(10 * MS, "G2 R2 G1");
	step(20 * MS, "R1 G0");
	finish();
}

/* ---- slots ---- */

static int64_t slots(int i)
{
	return ((struct mdl_slots_entity *)proc[i].e.policy_data)->position;
}

/*
 * 50, 25 and 25 percent, slots of 2 ms; positions in percent times ms, after each slot:
 *
 *   slot of   0      1     2
 *   0       -100    50    50    next 1
 *   1          0  -100   100    next 2
 *   2        100   -50   -50    next 0
 *   0          0     0     0    next 0, and again
 */
static void fixed_share_slots(void)
{
	setup(&mdl_sched_fixed_share, 3, 2 * MS);
	set(0, (struct mdl_sched_entity_params) { .share_percent = 50 });
	set(1, (struct mdl_sched_entity_params) { .share_percent = 25 });
	set(2, (struct mdl_sched_entity_params) { .share_percent = 25 });
	for (int i = 0; i < 3; i++)
		submit(i, ENDLESS);
	step(2 * MS, "G0 R0 G1");
	CHECK(slots(0) == -100000 && slots(1) == 50000 && slots(2) == 50000);
	step(4 * MS, "R1 G2");
	CHECK(slots(0) == 0 && slots(1) == -100000 && slots(2) == 100000);
	step(6 * MS, "R2 G0");
	CHECK(slots(0) == 100000 && slots(1) == -50000 && slots(2) == -50000);
	step(8 * MS, "R0 G0");
	CHECK(slots(0) == 0 && slots(1) == 0 && slots(2) == 0);
	/* 1 has nothing to do: its slot, 10 to 12, is nobody else's. */
	cancel(1);
	step(10 * MS, "R0");
	step(12 * MS - 1, "");
	step(12 * MS, "G2");
	/* Of low priority it would be skipped: 2, 0, 0, 2, and so on: 50 to 25. */
	set(1, (struct mdl_sched_entity_params) { .share_percent = 25, .priority = MDL_SCHED_LOW });
	step(24 * MS, "R2 G0 R0 G0 R0 G2 R2 G0 R0 G0 R0 G2");
	/* Of high priority it has the next slot after it wakes. */
	set(1,
	    (struct mdl_sched_entity_params) { .share_percent = 25, .priority = MDL_SCHED_HIGH });
	until(25 * MS);
	submit(1, 1 * MS);
	expect("");
	step(26 * MS, "R2 G1");
	finish();
}

/*
 * Half is given away by name, a quarter each to two without a name. 60 of them named: the two share
 * 40. Nobody's part (10 of 90 named and nobody without): idle.
 */
static void fixed_share_rest(void)
{
	uint64_t before[3];

	setup(&mdl_sched_fixed_share, 3, 1 * MS);
	set(0, (struct mdl_sched_entity_params) { .share_percent = 60 });
	for (int i = 0; i < 3; i++)
		submit(i, ENDLESS);
	logging = false;
	until(1000 * MS);
	CHECK_EQ(used(0), 600 * MS);
	CHECK_EQ(used(1), 200 * MS);
	CHECK_EQ(used(2), 200 * MS);
	set(1, (struct mdl_sched_entity_params) { .share_percent = 20 });
	set(2, (struct mdl_sched_entity_params) { .share_percent = 10 });
	for (int i = 0; i < 3; i++)
		before[i] = used(i);
	until(2000 * MS);
	CHECK_EQ(used(0) - before[0], 600 * MS);
	CHECK_EQ(used(1) - before[1], 200 * MS);
	CHECK_EQ(used(2) - before[2], 100 * MS);
	logging = true;
	finish();
}

/* Three alike, in turns; the second one's slot passes unused. A fourth comes: a quarter each. */
static void equal_share_slots(void)
{
	setup(&mdl_sched_equal_share, 3, 2 * MS);
	submit(0, ENDLESS);
	submit(2, ENDLESS);
	step(2 * MS, "G0 R0");
	step(4 * MS, "G2");
	step(6 * MS, "R2 G0");
	step(7 * MS, "");
	step(8 * MS, "R0");
	/* In the middle of its slot it wakes: the rest is its own. */
	until(9 * MS);
	submit(1, ENDLESS);
	step(10 * MS, "G1 R1 G2");
	proc[3].e.owner = &proc[3];
	CHECK_EQ(mdl_sched_attach(sched, &proc[3].e, now), 0);
	submit(3, ENDLESS);
	logging = false;
	until(10000 * MS);
	for (int i = 0; i < 4; i++)
		CHECK(used(i) > 2494 * MS && used(i) < 2506 * MS);
	logging = true;
	finish();
}

/* An unwilling owner's overrun of 0.2 ms is given back to the others. */
static void slots_overrun(void)
{
	setup(&mdl_sched_equal_share, 2, 2 * MS);
	logging = false;
	proc[0].disobeys = true;
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	until(10000 * MS);
	CHECK(used(0) < 5005 * MS && used(1) > 4995 * MS);
	logging = true;
	finish();
}

/* ---- best effort ---- */

/* In the order of asking, 2 ms each; with a ninth attached, 1 ms. The quantum does not matter. */
static void best_effort_turns(void)
{
	setup(&mdl_sched_best_effort, 8, 30 * MS);
	submit(2, ENDLESS);
	submit(0, 3 * MS);
	submit(1, ENDLESS);
	step(2 * MS, "G2 R2 G0");
	step(4 * MS, "R0 G1");
	step(6 * MS, "R1 G2");
	step(9 * MS, "R2 G0 I0 G1");
	proc[8].e.owner = &proc[8];
	CHECK_EQ(mdl_sched_attach(sched, &proc[8].e, now), 0);
	step(13 * MS, "R1 G2 R2 G1 R1 G2");
	finish();
}

/* ---- fair ---- */

static struct mdl_fair_entity *fair(int i)
{
	return proc[i].e.policy_data;
}

/* In ms of GPU time at weight 256. */
#define V(ms) ((mdl_vtime)(ms) * (mdl_vtime)MS * 65536 / 256)
#define FAIR(i, want_v, want_deadline)                        \
	do {                                                  \
		CHECK(fair(i)->v == V(want_v));               \
		CHECK(fair(i)->deadline == V(want_deadline)); \
	} while (0)

/*
 * Weights 512 and 256, quantum 2 ms: a turn is 1 and 2 of virtual time. Both wake at 0 and are
 * boosted, 0 first. v and deadline d after each step; V = (2 v0 + v1) / 3.
 *
 *   t     v0 d0   v1 d1    V      owed (v <= V)   next, by deadline
 *   0     0  1    0  2     0      both, boosted   0: woke first; as 1 is in a hurry too, for a quantum
 *   2     1  2    0  2     2/3    1               1, for two quanta, as there are only two
 *   6     1  2    4  6     2      0               0
 *   10    3  4    4  6     10/3   0               0 again: renewed
 *   14    5  6    4  6     14/3   1               1
 *   15    5  6    5  6     5      2 wakes with 500 us of work: v = V - one turn = 5 - 2 = 3, boosted;
 *                                 1's turn has lasted longer than q/4, so it ends
 *   15.5  5  6    5  6     5      both            0: waits longer
 */
static void fair_weights(void)
{
	setup(&mdl_sched_fair, 3, 2 * MS);
	set(0, (struct mdl_sched_entity_params) { .weight = 512 });
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(0, "G0");
	FAIR(0, 0, 1);
	FAIR(1, 0, 2);
	CHECK(fair(1)->boosted);
	step(2 * MS, "R0 G1");
	FAIR(0, 1, 2);
	step(6 * MS, "R1 G0");
	FAIR(1, 4, 6);
	step(10 * MS, "");
	CHECK_EQ(proc[0].e.renewals, 1);
	FAIR(0, 3, 4);
	step(14 * MS, "R0 G1");
	FAIR(0, 5, 6);
	until(15 * MS);
	submit(2, 500 * US);
	expect("R1 G2");
	FAIR(1, 5, 6);
	FAIR(2, 3, 5);
	step(15500 * US, "I2 G0");
	CHECK(fair(2)->v == V(7) / 2);
	/*
	 * It wakes again at 15.6: owed still (3.5 against 5), so boosted; but 0's turn has lasted 0.1
	 * ms: it is left q/4.
	 */
	until(15600 * US);
	submit(2, 500 * US);
	expect("");
	step(16 * MS - 1, "");
	step(16 * MS, "R0 G2");
	finish();
}

/*
 * Weights 1024 and 256: a turn is 0.5 and 2 of virtual time. V = (4 v0 + v1) / 5.
 *
 *   t    v0   d0   v1 d1   V     owed    next
 *   6    0.5  1    4  6    1.2   0       0
 *   10   1.5  2    4  6    2     0       0 again: its turn is renewed, it runs on
 *   14   2.5  3    4  6    2.8   0       0 again
 *   18   3.5  4    4  6    3.6   0       0 again
 *   22   4.5  5    4  6    4.4   1       1
 */
static void fair_renewal(void)
{
	setup(&mdl_sched_fair, 2, 2 * MS);
	set(0, (struct mdl_sched_entity_params) { .weight = 1024 });
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(6 * MS, "G0 R0 G1 R1 G0");
	CHECK(fair(0)->v == V(1) / 2);
	step(10 * MS, "");
	CHECK_EQ(proc[0].e.renewals, 1);
	CHECK(fair(0)->v == V(3) / 2);
	CHECK(fair(0)->deadline == V(2));
	step(22 * MS - 1, "");
	CHECK_EQ(proc[0].e.renewals, 3);
	step(22 * MS, "R0 G1");
	CHECK(fair(0)->v == V(9) / 2);
	CHECK(fair(0)->deadline == V(5));
	FAIR(1, 4, 6);
	finish();
}

/*
 * Of the default weight each, q = 2 ms: beside one other a turn is 4 ms, beside two 8/3, beside three
 * 2. One that waits and has a cap keeps it at a quantum, as do a length of one's own, a reservation and
 * a GPU without preemption.
 */
static void fair_long_turns(void)
{
	for (int n = 2; n <= 4; n++) {
		uint64_t turn = 8 * MS / (uint64_t)n, first;

		setup(&mdl_sched_fair, 4, 2 * MS);
		for (int i = 0; i < n; i++)
			submit(i, ENDLESS);
		/* A quantum each while another one that has just woken waits. */
		first = (uint64_t)(n - 1) * 2 * MS + turn;
		step(first, n == 2 ? "G0 R0 G1 R1 G0" :
			    n == 3 ? "G0 R0 G1 R1 G2 R2 G0" :
				     "G0 R0 G1 R1 G2 R2 G3 R3 G0");
		step(first + turn - 1, "");
		step(first + turn, "R0 G1");
		finish();
	}
	for (int why = 0; why < 4; why++) {
		params.nonpreemptive = why == 2;
		setup(&mdl_sched_fair, 2, 2 * MS);
		if (why == 0)
			set(0, (struct mdl_sched_entity_params) { .weight = 256,
								  .quantum_ns = 2 * MS });
		else if (why == 1)
			set(1, (struct mdl_sched_entity_params) { .weight = 256,
								  .cap_percent = 90 });
		else if (why == 3)
			set(0, (struct mdl_sched_entity_params) { .weight = 256,
								  .reservation_percent = 1 });
		submit(0, ENDLESS);
		submit(1, ENDLESS);
		step(4 * MS, "G0 R0 G1 R1 G0");
		step(6 * MS, "R0 G1");
		finish();
	}
	params.nonpreemptive = false;
}

/* What nobody else wanted is not paid for: 0 is alone for 50 ms, then each has half. */
static void fair_idle_time_is_free(void)
{
	setup(&mdl_sched_fair, 2, 2 * MS);
	submit(0, ENDLESS);
	until(50 * MS);
	submit(1, ENDLESS);
	expect("G0 R0 G1");
	FAIR(0, 50, 52);
	FAIR(1, 48, 50); /* one turn is owed, as to everybody who has slept long enough */
	step(54 * MS, "R1 G0"); /* two quanta: only two compete */
	FAIR(1, 52, 54);
	step(58 * MS, "R0 G1");
	step(62 * MS, "R1 G0");
	finish();
}

/*
 * Beside one other, who wakes has two quanta like everybody: work that takes a little longer than one
 * is not interrupted. But what is beyond a quantum ends when a third one wakes.
 */
static void fair_wakers_turn(void)
{
	setup(&mdl_sched_fair, 3, 2 * MS);
	submit(0, ENDLESS);
	until(50 * MS);
	submit(1, 3 * MS);
	expect("G0 R0 G1");
	step(53 * MS, "I1 G0");
	until(100 * MS);
	submit(1, ENDLESS);
	expect("R0 G1");
	until(101 * MS);
	submit(2, 500 * US);
	step(102 * MS - 1, "");
	step(102 * MS, "R1 G2");
	step(102500 * US, "I2 G0");
	/* Past its quantum: at once. */
	until(150 * MS);
	proc[0].work = 0;
	mdl_sched_sleep(sched, &proc[0].e, now);
	until(200 * MS);
	history_len = 0;
	submit(0, ENDLESS);
	until(203 * MS);
	submit(2, 500 * US);
	expect("R1 G0 R0 G2");
	finish();
}

/* Debt is not slept away: 1 runs 20 ms unasked for (charged late), sleeps, wakes: not boosted. */
static void fair_debt_stays(void)
{
	setup(&mdl_sched_fair, 2, 2 * MS);
	submit(0, ENDLESS);
	submit(1, 2 * MS);
	step(4 * MS, "G0 R0 G1 I1 G0");
	mdl_sched_charge(sched, &proc[1].e, 20 * MS, now);
	FAIR(1, 22, 2);
	until(5 * MS);
	submit(1, ENDLESS);
	CHECK(!fair(1)->boosted);
	FAIR(1, 22, 24);
	/* 0 catches up first: from 2 at 4 to 22 at 24 it has each turn. V counts 1 as 2 turns ahead. */
	until(23900 * US);
	CHECK_EQ(proc[1].e.grants, 1);
	until(30 * MS);
	CHECK(proc[1].e.grants > 1);
	finish();
}

/*
 * 0 and 1 have had 2 ms each at 4, and 1 a charge of 1 ms more: v = 2 and 3. 0 is alone from then
 * on, which nobody has charged yet. At 4.8 that would make 2.8: 1 still is in debt, and the turn
 * goes on. At 5.5, in another run, 3.5: it is not, and the turn ends for it.
 */
static void fair_debt_is_forgotten(void)
{
	for (int late = 0; late < 2; late++) {
		setup(&mdl_sched_fair, 2, 2 * MS);
		submit(0, ENDLESS);
		submit(1, 2 * MS);
		step(4 * MS, "G0 R0 G1 I1 G0");
		mdl_sched_charge(sched, &proc[1].e, 1 * MS, now);
		FAIR(0, 2, 4);
		FAIR(1, 3, 2);
		until(late ? 5500 * US : 4800 * US);
		submit(1, 1 * MS);
		expect(late ? "R0 G1" : "");
		finish();
	}
}

/*
 * Reservation of 50 percent with weight 1 beside weight 256: falls due at once, and after each turn
 * of 2 ms 4 ms later than before: at 0, 4, 8. By weight it would have had nothing.
 */
static void fair_reservation(void)
{
	setup(&mdl_sched_fair, 2, 2 * MS);
	set(1, (struct mdl_sched_entity_params) { .weight = 1, .reservation_percent = 50 });
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(2 * MS, "G0 R0 G1");
	CHECK_EQ(fair(1)->reserve, T0);
	step(4 * MS, "R1 G1"); /* due at 4, now */
	CHECK_EQ(fair(1)->reserve, T0 + 4 * MS);
	step(6 * MS, "R1 G0");
	CHECK_EQ(fair(1)->reserve, T0 + 8 * MS);
	step(8 * MS, "R0 G1");
	step(10 * MS, "R1 G0");
	step(12 * MS, "R0 G1");
	finish();
}

/*
 * Cap of 25 percent, quantum 2 ms, alone. The budget grows by 1 ms in 4; it starts with 1 ms (and a
 * nanosecond: 4 ns more), at 4 ms, and lasts 4/3 ms, since it grows meanwhile.
 */
static void fair_cap(void)
{
	setup(&mdl_sched_fair, 1, 2 * MS);
	set(0, (struct mdl_sched_entity_params) { .weight = 256, .cap_percent = 25 });
	submit(0, ENDLESS);
	CHECK(fair(0)->parked);
	step(4 * MS + 3, "");
	step(4 * MS + 4, "G0");
	step(5333 * US, "");
	step(5334 * US, "R0");
	CHECK(fair(0)->parked);
	CHECK(used(0) > 1333 * US && used(0) < 1334 * US);
	step(9333 * US, "");
	step(9334 * US, "G0");
	finish();
}

/* From policy to policy: who waits, who holds, and what is owed go along. */
static void state_carries_over(void)
{
	setup(&mdl_sched_credit, 2, 10 * MS);
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(20 * MS, "G0 R0 G1 R1 G0");
	CREDITS(0, -100);
	CREDITS(1, -100);
	until(25 * MS);
	(void)used(0);
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_fair, now), 0);
	expect("");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_HOLDING);
	CHECK_EQ(proc[1].e.state, MDL_SCHED_WAITING);
	CHECK(fair(0)->v == V(15)); /* 15 and 10 ms in debt */
	step(30 * MS, "R0 G1"); /* the turn goes on to its end */
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_credit, now), 0);
	CHECK(credit(0)->credit_ns < 0);
	finish();
}

static const struct check_case cases[] = {
	{ "credit: weights", credit_weights },
	{ "credit: rounding, surplus of caps", credit_rounding_and_surplus },
	{ "credit: boost", credit_boost },
	{ "credit: parking", credit_parking },
	{ "credit: bounds", credit_bounds },
	{ "band: rules", band_rules },
	{ "band: a chance for who is behind", band_chance },
	{ "band: resets", band_reset },
	{ "credit-gdev: rules", credit_gdev_rules },
	{ "band-gpuvm: rules", band_gpuvm_rules },
	{ "band-gpuvm: ranks", band_gpuvm_ranks },
	{ "fixed-share: slots", fixed_share_slots },
	{ "fixed-share: the rest", fixed_share_rest },
	{ "equal-share: slots", equal_share_slots },
	{ "equal-share: overruns", slots_overrun },
	{ "best-effort: turns", best_effort_turns },
	{ "fair: weights", fair_weights },
	{ "fair: renewal", fair_renewal },
	{ "fair: long turns while few compete", fair_long_turns },
	{ "fair: idle time is free", fair_idle_time_is_free },
	{ "fair: a waker's turn", fair_wakers_turn },
	{ "fair: debt stays", fair_debt_stays },
	{ "fair: debt is forgotten", fair_debt_is_forgotten },
	{ "fair: reservation", fair_reservation },
	{ "fair: cap", fair_cap },
	{ "state carries over", state_carries_over },
};

CHECK_MAIN(cases)
