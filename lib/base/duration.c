/* SPDX-License-Identifier: MIT */
/* See duration.h. Whole digits are read by hand: strtod() would take blanks, signs, hex, "inf" too. */
#include "base/duration.h"

#include <stddef.h>
#include <string.h>

#define DIGITS_MAX 18 /* before and after the point; exact in 64 bits */

static const struct {
	const char *name;
	uint64_t ns;
} units[] = { { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 } };

static const char *digits(const char *p, uint64_t *ret_value, uint64_t *ret_scale)
{
	*ret_value = 0;
	*ret_scale = 1;
	for (int n = 0; *p >= '0' && *p <= '9'; p++) {
		if (++n > DIGITS_MAX)
			return NULL;
		*ret_value = *ret_value * 10 + (uint64_t)(*p - '0');
		*ret_scale *= 10;
	}
	return p;
}

bool mdl_duration_parse(const char *text, uint64_t *ret_ns)
{
	uint64_t whole, part = 0, scale = 1;
	const char *p = digits(text, &whole, &scale);
	unsigned __int128 ns;

	if (!p || p == text)
		return false;
	scale = 1;
	if (*p == '.') {
		const char *point = p;

		p = digits(point + 1, &part, &scale);
		if (!p || p == point + 1)
			return false;
	}
	if (!*p && !whole && !part) {
		*ret_ns = 0;
		return true;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(p, units[i].name))
			continue;
		ns = (unsigned __int128)whole * units[i].ns +
		     ((unsigned __int128)part * units[i].ns + scale / 2) / scale;
		if (ns > MDL_DURATION_MAX_NS)
			return false;
		*ret_ns = (uint64_t)ns;
		return true;
	}
	return false;
}
