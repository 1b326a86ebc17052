/* SPDX-License-Identifier: MIT */
/* How an executor of the tests behaves; see fake-exec.c. */
#ifndef MDL_TESTS_CLI_FAKE_H
#define MDL_TESTS_CLI_FAKE_H

#include <stdint.h>
#include <string.h>

enum {
	FAKE_IDLE,
	FAKE_OBEY,
	FAKE_HOG,
	FAKE_LIGHT,
	FAKE_LIAR,
	FAKE_SNEAK,
	FAKE_CRASH,
	FAKE_WANTS,
	FAKE_GARBAGE,
	FAKE_NAP,
	FAKE_SIP,
	FAKE_THIEF,
	FAKE_DOZE,
	FAKE_STUCK,
	FAKE_CHEAT,
	FAKE_LATE,
	FAKE_FLIP,
	FAKE_BRIEF,
	FAKE_TRANCE
};

static inline uint32_t fake_behaviour(const char *word)
{
	static const char *const names[] = { "idle",  "obey",  "hog",	"light",   "liar",
					     "sneak", "crash", "wants", "garbage", "nap",
					     "sip",   "thief", "doze",	"stuck",   "cheat",
					     "late",  "flip",  "brief", "trance" };

	for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(word, names[i]))
			return i;
	return FAKE_IDLE;
}

#endif
