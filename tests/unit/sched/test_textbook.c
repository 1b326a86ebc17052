/* SPDX-License-Identifier: MIT */
/*
 * Each policy's rules, step by step: small cases worked by hand in the comments, with the state
 * after every step. Histories: G0 0 gets the GPU, R0 it loses it and wants more, I0 it has done.
 * Times are milliseconds from the start; everybody gives back at once when asked.
 */
#include "rig.h"

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
	begin(&mdl_sched_credit, 2, 10 * MS);
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
	begin(&mdl_sched_credit, 3, 2 * MS);
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
	begin(&mdl_sched_credit, 2, 100 * MS);
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
	begin(&mdl_sched_credit, 1, 2 * MS);
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
	begin(&mdl_sched_credit, 2, 100 * MS);
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
	begin(&mdl_sched_band, 2, 10 * MS);
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
	begin(&mdl_sched_credit_gdev, 2, 10 * MS);
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
	begin(&mdl_sched_band, 2, 10 * MS);
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
	begin(&mdl_sched_band, 2, 10 * MS);
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
	begin(&mdl_sched_band_gpuvm, 2, 10 * MS);
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
	begin(&mdl_sched_band_gpuvm, 3, 10 * MS);
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
	begin(&mdl_sched_fixed_share, 3, 2 * MS);
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

	begin(&mdl_sched_fixed_share, 3, 1 * MS);
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
	begin(&mdl_sched_equal_share, 3, 2 * MS);
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
	begin(&mdl_sched_equal_share, 2, 2 * MS);
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
	begin(&mdl_sched_best_effort, 8, 30 * MS);
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
};

CHECK_MAIN(cases)
