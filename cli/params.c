/* SPDX-License-Identifier: MIT */
/*
 * Options that set parameters of vGPUs and pGPUs: how each is written on the command line, and how
 * medleyd's API wants it. Ranges are medleyd's business; here it is only made sure that the text
 * means something.
 */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"

enum kind {
	NUMBER,
	PERCENT,
	TIME,
	TEXT,
	YES_NO
};

static const struct {
	const char *option, *key;
	enum kind kind;
} params[] = {
	{ "weight", "weight", NUMBER },
	{ "cap", "cap", PERCENT },
	{ "reservation", "reservation", PERCENT },
	{ "share-percent", "share_percent", PERCENT },
	{ "priority", "priority", TEXT },
	{ "quantum", "quantum_ns", TIME },
	{ "kernel-limit", "kernel_limit_ns", TIME },
	{ "policy", "policy", TEXT },
	{ "grace", "grace_ns", TIME },
	{ "nonpreemptive", "nonpreemptive", YES_NO },
};

static json_t *number(const char *option, const char *text, bool percent)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (percent && end > text && !strcmp(end, "%"))
		end++;
	if (errno || *text < '0' || *text > '9' || *end || v > INT64_MAX)
		fail("--%s: '%s' is not a whole number%s", option, text,
		     percent ? " of percent" : "");
	return json_integer((json_int_t)v);
}

static json_t *duration(const char *option, const char *text)
{
	uint64_t ns;

	if (!mdl_duration_parse(text, &ns))
		fail("--%s: '%s' is not a time, as 500us, 2ms, 1.5s or 0", option, text);
	return json_integer((json_int_t)ns);
}

static json_t *yes_no(const char *option, const char *text)
{
	if (strcmp(text, "yes") && strcmp(text, "no"))
		fail("--%s: '%s' is not yes or no", option, text);
	return json_boolean(!strcmp(text, "yes"));
}

void param_add(json_t *into, const char *option, const char *text)
{
	json_t *value;
	size_t i = 0;

	while (strcmp(params[i].option, option))
		i++;
	switch (params[i].kind) {
	case NUMBER:
	case PERCENT:
		value = number(option, text, params[i].kind == PERCENT);
		break;
	case TIME:
		value = duration(option, text);
		break;
	case YES_NO:
		value = yes_no(option, text);
		break;
	default:
		value = json_string(text);
		break;
	}
	if (json_object_set_new(into, params[i].key, value))
		fail("--%s: must be UTF-8", option);
}
