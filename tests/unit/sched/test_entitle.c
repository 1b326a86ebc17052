/* SPDX-License-Identifier: MIT */
/*
 * Entitlements, each worked by hand in its comment. The GPU is 1; parts are compared to a millionth.
 */
#include "rig.h"

#include <math.h>

/* All of the first n that are named in `awake` want the GPU. */
static void setup(const struct mdl_sched_policy *policy, const char *awake,
		  const struct mdl_sched_entity_params *p, int n)
{
	start(policy, n);
	for (int i = 0; i < n; i++)
		if (p)
			set(i, p[i]);
	for (; *awake; awake++)
		submit(*awake - '0', ENDLESS);
}

static void expect_parts(const double *part, int n)
{
	mdl_sched_entitle(sched);
	for (int i = 0; i < n; i++) {
		double got = proc[i].e.entitlement;

		if (!(fabs(got - part[i]) < 1e-6))
			fprintf(stderr, "# %d is due %.7f, expected %.7f\n", i, got, part[i]);
		CHECK(fabs(got - part[i]) < 1e-6);
		CHECK(mdl_sched_entitlement(sched, &proc[i].e) == got);
	}
}

#define PARTS(...)                                     \
	expect_parts((const double[]) { __VA_ARGS__ }, \
		     sizeof((double[]) { __VA_ARGS__ }) / sizeof(double))

static const struct mdl_sched_entity_params weights[] = {
	{ .weight = 800 }, { .weight = 400 }, { .weight = 200 }, { .weight = 100 }
};

/* 800:400:200:100 of 1500. Asleep ones count for nothing: 400:100 of 500. Alone: all of it. */
static void by_weight(void)
{
	setup(&mdl_sched_fair, "0123", weights, 4);
	PARTS(800 / 1500.0, 400 / 1500.0, 200 / 1500.0, 100 / 1500.0);
	cancel(0);
	cancel(2);
	PARTS(0, 0.8, 0, 0.2);
	cancel(1);
	PARTS(0, 0, 0, 1);
	cancel(3);
	PARTS(0, 0, 0, 0);
	finish();
	setup(&mdl_sched_credit, "0123", weights, 4);
	PARTS(800 / 1500.0, 400 / 1500.0, 200 / 1500.0, 100 / 1500.0);
	finish();
}

/* Weight 0 counts as 1: 1 of 257 beside the default, and it is no division by zero alone. */
static void zero_weight(void)
{
	const struct mdl_sched_entity_params p[] = { { .weight = 0 }, { .weight = 256 } };

	setup(&mdl_sched_fair, "01", p, 2);
	PARTS(1 / 257.0, 256 / 257.0);
	cancel(1);
	PARTS(1, 0);
	finish();
}

/*
 * Weights 2:1:1; the first may have 20 %: below its 50 %, so it has 20 and the others 40 each. The
 * second at 30 %, too: then 20, 30, and the third the rest. All three capped at 20, 30, 10: what is
 * left is nobody's.
 */
static void caps(void)
{
	struct mdl_sched_entity_params p[] = { { .weight = 200, .cap_percent = 20 },
					       { .weight = 100 },
					       { .weight = 100 } };

	setup(&mdl_sched_fair, "012", p, 3);
	PARTS(0.2, 0.4, 0.4);
	p[1].cap_percent = 30;
	set(1, p[1]);
	PARTS(0.2, 0.3, 0.5);
	p[2].cap_percent = 10;
	set(2, p[2]);
	PARTS(0.2, 0.3, 0.1);
	/* Alone, a cap is what it is due. */
	cancel(0);
	cancel(2);
	PARTS(0, 0.3, 0);
	finish();
	setup(&mdl_sched_credit, "012", p, 3);
	PARTS(0.2, 0.3, 0.1);
	finish();
	/* Others do not know caps. */
	setup(&mdl_sched_band_gpuvm, "012", p, 3);
	PARTS(1 / 3.0, 1 / 3.0, 1 / 3.0);
	finish();
}

/*
 * Weights 3:1, the light one with 60 % reserved: it has 60, the other 40. A third of weight 6 comes:
 * the light one keeps 60, the rest is divided 3:6. With a cap of 20 % for the third: 20 / 60 / 20.
 * A reservation below the weight's part changes nothing. credit does not know reservations.
 */
static void reservations(void)
{
	struct mdl_sched_entity_params p[] = { { .weight = 300 },
					       { .weight = 100, .reservation_percent = 60 },
					       { .weight = 600 } };

	setup(&mdl_sched_fair, "01", p, 3);
	PARTS(0.4, 0.6, 0);
	submit(2, ENDLESS);
	PARTS(0.4 / 3, 0.6, 0.8 / 3);
	p[2].cap_percent = 20;
	set(2, p[2]);
	PARTS(0.2, 0.6, 0.2);
	p[1].reservation_percent = 5;
	p[2].cap_percent = 0;
	set(1, p[1]);
	set(2, p[2]);
	PARTS(0.3, 0.1, 0.6);
	p[1].reservation_percent = 60;
	set(1, p[1]);
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_credit, now), 0);
	PARTS(0.3, 0.1, 0.6);
	finish();
}

/*
 * fixed-share: 50 % and 20 % by name, the two others have 15 % each, whether anybody works or not. One that
 * sleeps and has low priority is skipped: without its 20, the others have 50, 15, 15 of 80.
 */
static void fixed_shares(void)
{
	struct mdl_sched_entity_params p[] = {
		{ .share_percent = 50 }, { .share_percent = 20 }, { .weight = 9 }, { .weight = 1 }
	};

	setup(&mdl_sched_fixed_share, "0123", p, 4);
	PARTS(0.5, 0.2, 0.15, 0.15);
	cancel(0);
	cancel(3);
	PARTS(0, 0.2, 0.15, 0);
	submit(0, ENDLESS);
	submit(3, ENDLESS);
	cancel(1);
	PARTS(0.5, 0, 0.15, 0.15);
	p[1].priority = MDL_SCHED_LOW;
	set(1, p[1]);
	PARTS(50 / 80.0, 0, 15 / 80.0, 15 / 80.0);
	finish();
	/* All by name, 70 % of it: the rest is nobody's. */
	setup(&mdl_sched_fixed_share, "01", p, 2);
	PARTS(0.5, 0.2);
	finish();
	setup(&mdl_sched_equal_share, "02", p, 4);
	PARTS(0.25, 0, 0.25, 0);
	finish();
}

/*
 * band: bandwidths of 60, 20 and the rest, 20. Lent: without the first, the two others have half
 * each. One whose part is nothing (100 % are given by name) has next to nothing beside one that has,
 * all when it is alone.
 */
static void bandwidths(void)
{
	struct mdl_sched_entity_params p[] = { { .share_percent = 60 },
					       { .share_percent = 20 },
					       { .weight = 7 } };

	setup(&mdl_sched_band, "012", p, 3);
	PARTS(0.6, 0.2, 0.2);
	cancel(0);
	PARTS(0, 0.5, 0.5);
	p[1].share_percent = 40;
	set(1, p[1]);
	PARTS(0, 1, 0);
	cancel(1);
	PARTS(0, 0, 1);
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_credit_gdev, now), 0);
	submit(0, ENDLESS);
	submit(1, ENDLESS);
	PARTS(0.6, 0.4, 0);
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_band_gpuvm, now), 0);
	PARTS(1 / 3.0, 1 / 3.0, 1 / 3.0);
	finish();
}

/* round-robin: equally many turns; of 6 ms and two of 2 ms, six tenths. best-effort: of one length. */
static void turns(void)
{
	struct mdl_sched_entity_params p[] = { { .quantum_ns = 6 * MS }, { 0 }, { 0 } };

	setup(&mdl_sched_round_robin, "012", p, 3);
	PARTS(0.6, 0.2, 0.2);
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_best_effort, now), 0);
	PARTS(1 / 3.0, 1 / 3.0, 1 / 3.0);
	finish();
}

/* What anybody may set: parts stay within their bounds and add up to no more than the GPU. */
static void any_parameters(void)
{
	const struct mdl_sched_policy *policy;

	for (size_t k = 0; (policy = mdl_sched_policy_at(k)); k++) {
		start(policy, 24);
		for (int round = 0; round < 2000; round++) {
			int i = (int)rnd(24);
			struct mdl_sched_entity_params p = {
				.weight = rnd(2) ? rnd(65537) : 0,
				.cap_percent = rnd(2) ? rnd(101) : 0,
				.share_percent = rnd(101),
				.reservation_percent = rnd(91),
				.priority = (enum mdl_sched_priority)((int)rnd(3) - 1),
				.quantum_ns = rnd(2) ? rnd(1000000000) : 0,
			};
			double sum = 0;
			bool capped = false;
			int awake = 0;

			mdl_sched_set_entity(sched, &proc[i].e, &p, now);
			if (rnd(2))
				submit(i, ENDLESS);
			else
				cancel(i);
			mdl_sched_entitle(sched);
			for (int e = 0; e < 24; e++) {
				const struct mdl_sched_entity *x = &proc[e].e;

				CHECK(x->entitlement >= 0 && x->entitlement <= 1);
				CHECK(x->awake || !(x->entitlement > 0));
				awake += x->awake;
				capped |= x->params.cap_percent != 0;
				sum += x->entitlement;
				if (policy == &mdl_sched_fair && x->awake) {
					CHECK(x->entitlement >=
					      x->params.reservation_percent / 100.0 - 1e-9);
					CHECK(!x->params.cap_percent ||
					      x->entitlement <=
						      x->params.cap_percent / 100.0 + 1e-9);
				}
			}
			CHECK(sum <= 1 + 1e-6);
			/* Work-conserving ones give all of it away, unless caps forbid it. */
			if (!(policy->divides & MDL_SCHED_BY_SLOTS) && awake &&
			    !(capped && policy->divides & MDL_SCHED_BY_CAP))
				CHECK(sum >= 1 - 1e-6);
		}
		finish();
	}
}

/* Bounds in any unit: 1000 among 3:2:1 with at most 300 and at least 250: 300, 450, 250. */
static void numbers(void)
{
	const uint32_t weight[] = { 3, 2, 1 };
	const double low[] = { 0, 0, 250 }, high[] = { 300, 1000, 1000 }, few[] = { 100, 200, 250 };
	double part[3];

	mdl_sched_divide(3, weight, low, high, 1000, part);
	CHECK(fabs(part[0] - 300) < 1e-6 && fabs(part[1] - 450) < 1e-6 &&
	      fabs(part[2] - 250) < 1e-6);
	/* Enough for all: everybody has what it can use. */
	mdl_sched_divide(3, weight, low, few, 1000, part);
	CHECK(fabs(part[0] - 100) < 1e-6 && fabs(part[1] - 200) < 1e-6 &&
	      fabs(part[2] - 250) < 1e-6);
	mdl_sched_divide(0, weight, low, high, 1000, part);
}

static const struct check_case cases[] = {
	{ "by weight", by_weight },
	{ "a weight of zero", zero_weight },
	{ "caps", caps },
	{ "reservations", reservations },
	{ "fixed shares", fixed_shares },
	{ "bandwidths", bandwidths },
	{ "turns", turns },
	{ "any parameters", any_parameters, 60 },
	{ "numbers", numbers },
};

CHECK_MAIN(cases)
