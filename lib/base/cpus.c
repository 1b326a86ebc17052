/* SPDX-License-Identifier: MIT */
/* Lists of CPUs: see cpus.h. */
#include "base/cpus.h"

#include <stdlib.h>

static bool number(const char **text, unsigned long *ret_n)
{
	char *end;

	/* strtoul() would take signs and blanks. */
	if (**text < '0' || **text > '9')
		return false;
	*ret_n = strtoul(*text, &end, 10);
	*text = end;
	return *ret_n < CPU_SETSIZE;
}

bool mdl_cpus_parse(const char *text, cpu_set_t *ret_cpus)
{
	unsigned long first, last;

	CPU_ZERO(ret_cpus);
	for (;; text++) {
		if (!number(&text, &first))
			return false;
		last = first;
		if (*text == '-') {
			text++;
			if (!number(&text, &last) || last < first)
				return false;
		}
		for (unsigned long cpu = first; cpu <= last; cpu++)
			CPU_SET(cpu, ret_cpus);
		if (!*text)
			return true;
		if (*text != ',')
			return false;
	}
}
