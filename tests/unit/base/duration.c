/* SPDX-License-Identifier: MIT */
/* Lengths of time: what is read, exactly, and what is not. */
#include "base/duration.h"

#include "tests/unit/check.h"

static void good(void)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} is[] = {
		{ "0", 0 },
		{ "0.0", 0 },
		{ "0s", 0 },
		{ "00", 0 },
		{ "1ns", 1 },
		{ "500us", 500000 },
		{ "2ms", 2000000 },
		{ "1.5s", 1500000000 },
		{ "0.25us", 250 },
		{ "1.0000000004s", 1000000000 },
		{ "0.5ns", 1 },
		{ "0.49ns", 0 },
		{ "007ms", 7000000 },
		{ "1.0000000005s", 1000000001 },
		{ "86400s", 86400ull * 1000000000 },
		{ "999999999999999999ns", 999999999999999999 },
		{ "0.999999999999999999s", 1000000000 },
		{ "4611686018s", 4611686018000000000 },
	};
	uint64_t ns;

	for (size_t i = 0; i < sizeof(is) / sizeof(is[0]); i++) {
		fprintf(stderr, "# %s\n", is[i].text);
		CHECK(mdl_duration_parse(is[i].text, &ns));
		CHECK_EQ(ns, is[i].ns);
	}
}

static void bad(void)
{
	static const char *const is[] = {
		"",
		"s",
		"1",
		"1.5",
		" 1s",
		"1s ",
		"1 s",
		"-1s",
		"+1s",
		"1.s",
		".5s",
		"1..5s",
		"1.5.s",
		"0x1s",
		"1e3s",
		"inf",
		"nans",
		"1m",
		"1min",
		"1S",
		"1sec",
		"1s1ms",
		"1,5s",
		".",
		"0.",
		"5000000000s",
		"1000000000000000000ns",
		"99999999999999999999999s",
		"0.1000000000000000000s",
	};
	uint64_t ns = 42;

	for (size_t i = 0; i < sizeof(is) / sizeof(is[0]); i++) {
		fprintf(stderr, "# '%s'\n", is[i]);
		CHECK(!mdl_duration_parse(is[i], &ns));
		CHECK_EQ(ns, 42);
	}
}

static const struct check_case cases[] = {
	{ "good ones", good },
	{ "bad ones", bad },
};

CHECK_MAIN(cases)
