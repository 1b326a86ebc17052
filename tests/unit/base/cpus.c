/* SPDX-License-Identifier: MIT */
/* Lists of CPUs, good and bad. */
#include "base/cpus.h"

#include "base/util.h"
#include "tests/unit/check.h"

static void good(void)
{
	cpu_set_t c;

	CHECK(mdl_cpus_parse("3", &c));
	CHECK_EQ(CPU_COUNT(&c), 1);
	CHECK(CPU_ISSET(3, &c));
	CHECK(mdl_cpus_parse("0,2-4,1023,3", &c));
	CHECK_EQ(CPU_COUNT(&c), 5);
	CHECK(CPU_ISSET(0, &c) && !CPU_ISSET(1, &c) && CPU_ISSET(2, &c) && CPU_ISSET(4, &c) &&
	      CPU_ISSET(1023, &c));
	CHECK(mdl_cpus_parse("5-5", &c));
	CHECK_EQ(CPU_COUNT(&c), 1);
}

static void bad(void)
{
	static const char *const texts[] = { "",     ",",    "1,",  ",1",   "1,,2", "-1",	   "1-",  "2-1",
					     "1-2-3", "1024", " 1",  "1 ",   "+1",   "0x1",	   "a",   "1.5",
					     "0-1024", "99999999999999999999999", "1;2" };
	cpu_set_t c;

	for (size_t i = 0; i < MDL_ARRAY_SIZE(texts); i++) {
		fprintf(stderr, "# '%s'\n", texts[i]);
		CHECK(!mdl_cpus_parse(texts[i], &c));
	}
}

static const struct check_case cases[] = {
	{ "lists", good },
	{ "what is no list", bad },
};

CHECK_MAIN(cases)
