/* SPDX-License-Identifier: MIT */
/* The window maths of medley-bench: divisions and errors worked out by hand. */
#include <math.h>

#include "bench/shares.h"
#include "tests/unit/check.h"

#define MS 1000000ull
#define RUN(v, from, to)                                     \
	{                                                    \
		SHARES_RUN, (v), (from), (to), (to) - (from) \
	}

static void near(double a, double b)
{
	if (fabs(a - b) < 1e-9)
		return;
	fprintf(stderr, "# %.12f, expected %.12f\n", a, b);
	_exit(1);
}

static void test_divide(void)
{
	double part[4];

	/* By weight: 8:4:2:1 of 15. */
	shares_divide(4, (double[]) { 8, 4, 2, 1 }, (double[]) { 15, 15, 15, 15 }, 15, part);
	near(part[0], 8);
	near(part[3], 1);
	/* The first wants only 2: the other 13 by 4:2:1 is 7.43, 3.71, 1.86. */
	shares_divide(4, (double[]) { 8, 4, 2, 1 }, (double[]) { 2, 15, 15, 15 }, 15, part);
	near(part[0], 2);
	near(part[1], 52.0 / 7);
	near(part[2], 26.0 / 7);
	near(part[3], 13.0 / 7);
	/* In the second round the second is full, too: 15 - 2 - 5 = 8 by 2:1. */
	shares_divide(4, (double[]) { 8, 4, 2, 1 }, (double[]) { 2, 5, 15, 15 }, 15, part);
	near(part[1], 5);
	near(part[2], 16.0 / 3);
	near(part[3], 8.0 / 3);
	/* They want less than there is. */
	shares_divide(3, (double[]) { 1, 1, 1 }, (double[]) { 1, 0, 3 }, 10, part);
	near(part[0], 1);
	near(part[1], 0);
	near(part[2], 3);
	/* Exactly what there is. */
	shares_divide(2, (double[]) { 1, 3 }, (double[]) { 5, 5 }, 10, part);
	near(part[0], 5);
	near(part[1], 5);
}

/* Two of 3:1 that get 3 and 1 ms in turn: exact at 100 ms, wrong in every 10 ms. */
static void test_backlogged(void)
{
	struct shares_record r[2 * 500];
	struct shares_input in = { .record = r,
				   .vgpus = 2,
				   .weight = { 3, 1 },
				   .always = { true, true },
				   .from_ns = 7 * MS,
				   .to_ns = 2007 * MS };
	struct shares_result out;

	for (uint64_t i = 0; i < 500; i++) {
		r[in.records++] = (struct shares_record)RUN(0, (7 + 4 * i) * MS, (10 + 4 * i) * MS);
		r[in.records++] =
			(struct shares_record)RUN(1, (10 + 4 * i) * MS, (11 + 4 * i) * MS);
	}
	CHECK_EQ(shares_compute(&in, &out), 0);
	CHECK_EQ(out.window[0].windows, 200);
	CHECK_EQ(out.window[1].windows, 20);
	CHECK_EQ(out.window[2].windows, 4);
	CHECK_EQ(out.window[3].windows, 2);
	near(out.window[3].error_max, 0);
	near(out.window[1].error_max, 0);
	near(out.window[1].jain_min, 1);
	/* 10 ms: 3 1 3 1 2 is 8:2, then 1 1 3 1 3 1 is 7:3: 5 % off each. */
	near(out.window[0].error_max, 0.05);
	near(out.window[0].error_mean, 0.05);
	/* Ratios 0.8/0.75 and 0.2/0.25: (28/15)^2 / (2 (256/225 + 16/25)) = 784/800; 14/15 and 1.2: 1024/1040. */
	near(out.window[0].jain_min, 784.0 / 800);
	near(out.window[0].jain_mean, (784.0 / 800 + 1024.0 / 1040) / 2);
	near(out.utilisation, 1);
	near(out.share[0], 0.75);
	near(out.entitlement[1], 0.25);
	near(out.ran_ns[1], 500e6);
}

/* A GPU that idles half of the time: shares are of what was used, and the idling is the utilisation. */
static void test_idle(void)
{
	struct shares_record r[40];
	struct shares_input in = { .record = r,
				   .vgpus = 2,
				   .weight = { 1, 1 },
				   .always = { true, true },
				   .to_ns = 100 * MS };
	struct shares_result out;

	for (uint64_t i = 0; i < 10; i++) {
		r[in.records++] = (struct shares_record)RUN(0, 10 * i * MS, (10 * i + 3) * MS);
		r[in.records++] =
			(struct shares_record)RUN(1, (10 * i + 3) * MS, (10 * i + 5) * MS);
	}
	CHECK_EQ(shares_compute(&in, &out), 0);
	near(out.utilisation, 0.5);
	near(out.share[0], 0.6);
	near(out.window[0].error_max, 0.1);
	near(out.window[1].error_max, 0.1);
	CHECK_EQ(out.window[2].windows, 0);
}

/*
 * Weights 1:1. The second sleeps, wakes at 4 ms, sleeps at 24 ms. Slots: it wants 6, 10, 4 and 0 ms and is due 5, 5, 4, 0
 * (the first 5, 5, 6, 10): 14 of 40.
 */
static void test_demand(void)
{
	static const struct shares_record r[] = {
		RUN(0, 0, 4 * MS),	  { SHARES_WAKE, 1, 4 * MS, 4 * MS },
		RUN(1, 4 * MS, 9 * MS),	  RUN(0, 9 * MS, 15 * MS),
		RUN(1, 15 * MS, 24 * MS), { SHARES_SLEEP, 1, 24 * MS, 24 * MS },
		RUN(0, 24 * MS, 40 * MS),
	};
	struct shares_input in = { .record = r,
				   .records = 7,
				   .vgpus = 2,
				   .weight = { 1, 1 },
				   .always = { true },
				   .to_ns = 40 * MS };
	struct shares_result out;

	CHECK_EQ(shares_compute(&in, &out), 0);
	near(out.entitlement[1], 14.0 / 40);
	near(out.share[1], 14.0 / 40);
	near(out.window[0].error_max, 0);
	/* Awake from the beginning: 10, 10, 4: 5 + 5 + 4 still, but the wake that says so again changes nothing. */
	in.awake[1] = true;
	CHECK_EQ(shares_compute(&in, &out), 0);
	near(out.entitlement[1], 14.0 / 40);
	/* Nobody says that it sleeps: 5 a slot. */
	in.records = 5;
	CHECK_EQ(shares_compute(&in, &out), 0);
	near(out.entitlement[1], 0.5);
}

/* What began before or ends after counts for what lies between. */
static void test_edges(void)
{
	static const struct shares_record r[] = {
		RUN(1, 0, 15 * MS),
		{ SHARES_WAKE, 0, 5 * MS, 5 * MS },
		RUN(0, 15 * MS, 500 * MS),
	};
	struct shares_input in = { .record = r,
				   .records = 3,
				   .vgpus = 2,
				   .weight = { 1, 1 },
				   .always = { false, true },
				   .from_ns = 10 * MS,
				   .to_ns = 35 * MS };
	struct shares_result out;

	CHECK_EQ(shares_compute(&in, &out), 0);
	CHECK_EQ(out.window[0].windows, 2);
	near(out.ran_ns[0], 15e6);
	near(out.ran_ns[1], 5e6);
	near(out.entitlement[0], 0.5);
	near(out.window[0].error_max, 0.5);
	near(out.window[0].error_mean, 0.25);
	/* One of two got all: 1/2. */
	near(out.window[0].jain_min, 0.5);
}

/* A turn in which the GPU idled for a part of the time. */
static void test_used(void)
{
	static const struct shares_record r[] = { { SHARES_RUN, 0, 0, 20 * MS, 5 * MS },
						  RUN(1, 20 * MS, 30 * MS) };
	struct shares_input in = { .record = r,
				   .records = 2,
				   .vgpus = 2,
				   .weight = { 1, 2 },
				   .always = { true, true },
				   .to_ns = 30 * MS };
	struct shares_result out;

	CHECK_EQ(shares_compute(&in, &out), 0);
	near(out.ran_ns[0], 5e6);
	near(out.utilisation, 0.5);
	near(out.share[0], 1.0 / 3);
	near(out.entitlement[0], 1.0 / 3);
}

static void test_refused(void)
{
	struct shares_record r = RUN(2, 0, MS);
	struct shares_input in = { .record = &r, .vgpus = 2, .weight = { 1, 1 }, .to_ns = 5 * MS };
	struct shares_result out;

	CHECK_EQ(shares_compute(&in, &out), -EINVAL);
	in.to_ns = 20 * MS;
	CHECK_EQ(shares_compute(&in, &out), 0);
	near(out.utilisation, 0);
	CHECK_EQ(out.window[0].windows, 0);
	in.records = 1;
	CHECK_EQ(shares_compute(&in, &out), -EINVAL);
	in.records = 0;
	in.weight[1] = 0;
	CHECK_EQ(shares_compute(&in, &out), -EINVAL);
	in.vgpus = SHARES_VGPUS + 1;
	CHECK_EQ(shares_compute(&in, &out), -EINVAL);
}

static const struct check_case cases[] = {
	{ "divide", test_divide },   { "backlogged", test_backlogged }, { "idle", test_idle },
	{ "demand", test_demand },   { "edges", test_edges },		{ "used", test_used },
	{ "refused", test_refused },
};

int main(void)
{
	return check_main(cases, sizeof(cases) / sizeof(cases[0]));
}
