/* SPDX-License-Identifier: MIT */
/*
 * The rules of fair, step by step, as test_textbook.c does it for the other policies: cases worked by
 * hand, with the state after every step. v and deadlines are in milliseconds of weight 256.
 */
#include "rig.h"

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
	begin(&mdl_sched_fair, 3, 2 * MS);
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
	begin(&mdl_sched_fair, 2, 2 * MS);
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

		begin(&mdl_sched_fair, 4, 2 * MS);
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
		begin(&mdl_sched_fair, 2, 2 * MS);
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
	begin(&mdl_sched_fair, 2, 2 * MS);
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
	begin(&mdl_sched_fair, 3, 2 * MS);
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
	begin(&mdl_sched_fair, 2, 2 * MS);
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
		begin(&mdl_sched_fair, 2, 2 * MS);
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
	begin(&mdl_sched_fair, 2, 2 * MS);
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
	begin(&mdl_sched_fair, 1, 2 * MS);
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

static int64_t credit_ns(int i)
{
	return ((struct mdl_credit_entity *)proc[i].e.policy_data)->credit_ns;
}

/* From policy to policy: who waits, who holds, and what is owed go along. */
static void state_carries_over(void)
{
	begin(&mdl_sched_credit, 2, 10 * MS);
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	step(20 * MS, "G0 R0 G1 R1 G0");
	CHECK_EQ(credit_ns(0), -100 * MDL_CREDIT_NS);
	CHECK_EQ(credit_ns(1), -100 * MDL_CREDIT_NS);
	until(25 * MS);
	(void)used(0);
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_fair, now), 0);
	expect("");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_HOLDING);
	CHECK_EQ(proc[1].e.state, MDL_SCHED_WAITING);
	CHECK(fair(0)->v == V(15)); /* 15 and 10 ms in debt */
	step(30 * MS, "R0 G1"); /* the turn goes on to its end */
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_credit, now), 0);
	CHECK(credit_ns(0) < 0);
	finish();
}

static const struct check_case cases[] = {
	{ "weights", fair_weights },
	{ "renewal", fair_renewal },
	{ "long turns while few compete", fair_long_turns },
	{ "idle time is free", fair_idle_time_is_free },
	{ "a waker's turn", fair_wakers_turn },
	{ "debt stays", fair_debt_stays },
	{ "debt is forgotten", fair_debt_is_forgotten },
	{ "reservation", fair_reservation },
	{ "cap", fair_cap },
	{ "state carries over", state_carries_over },
};

CHECK_MAIN(cases)
