/* SPDX-License-Identifier: MIT */
/*
 * Options that set parameters of vGPUs and pGPUs: how each is written on the command line, how
 * medleyd's API wants it, and what it may be. medleyd checks all of that too, but in its own units;
 * who has typed "--quantum 1us" is told here what he may type. What depends on other vGPUs, and the
 * names of policies, only medleyd knows.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "daemon/param-limits.h"
#include "sched/sched.h"

enum kind {
	NUMBER,
	PERCENT,
	TIME,
	CHOICE, /* one of the words in `words` */
	YES_NO,
	TEXT
};

struct param {
	const char *option, *key;
	enum kind kind;
	uint64_t least, most;
	const char *zero; /* what 0 stands for, which is allowed too; NULL: nothing of its own */
	const char *words;
};

static const struct param of_vgpu[] = {
	{ "weight", "weight", NUMBER, .most = MDL_SCHED_WEIGHT_MAX },
	{ "cap", "cap", PERCENT, .most = 100, .zero = "no cap" },
	{ "reservation", "reservation", PERCENT, .most = MDL_SCHED_RESERVATION_MAX },
	{ "share-percent", "share_percent", PERCENT, .most = 100, .zero = "an equal part" },
	{ "priority", "priority", CHOICE, .words = "low normal high" },
	{ "quantum", "quantum_ns", TIME, QUANTUM_MIN_NS, MDL_SCHED_QUANTUM_MAX_NS, "the pGPU's" },
	{ "kernel-limit", "kernel_limit_ns", TIME, KERNEL_LIMIT_MIN_NS, KERNEL_LIMIT_MAX_NS,
	  "no limit" },
	{ NULL },
};

static const struct param of_pgpu[] = {
	{ "policy", "policy", TEXT },
	{ "quantum", "quantum_ns", TIME, QUANTUM_MIN_NS, MDL_SCHED_QUANTUM_MAX_NS },
	{ "grace", "grace_ns", TIME, .most = GRACE_MAX_NS },
	{ "nonpreemptive", "nonpreemptive", YES_NO },
	{ NULL },
};

/* As it may be typed: in the largest unit that leaves a whole number. */
static const char *typed(uint64_t ns, char *buf, size_t n)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "s", MDL_NS_PER_S }, { "ms", MDL_NS_PER_MS }, { "us", MDL_NS_PER_US } };

	for (size_t i = 0; ns && i < sizeof(units) / sizeof(units[0]); i++)
		if (ns % units[i].ns == 0) {
			snprintf(buf, n, "%" PRIu64 "%s", ns / units[i].ns, units[i].name);
			return buf;
		}
	snprintf(buf, n, "%" PRIu64 "%s", ns, ns ? "ns" : "");
	return buf;
}

static void __attribute__((noreturn)) refuse(const struct param *p, const char *text)
{
	char least[32], most[32];

	switch (p->kind) {
	case NUMBER:
		fail("--%s: '%s' is not a whole number from %" PRIu64 " to %" PRIu64, p->option,
		     text, p->least, p->most);
	case PERCENT:
		fail("--%s: '%s' is not a whole number of percent from %" PRIu64 " to %" PRIu64
		     "%s%s%s",
		     p->option, text, p->least, p->most, p->zero ? " (0: " : "",
		     p->zero ? p->zero : "", p->zero ? ")" : "");
	case TIME:
		typed(p->least, least, sizeof(least));
		typed(p->most, most, sizeof(most));
		fail("--%s: '%s' is not a time from %s to %s, as 500us, 2ms or 1.5s%s%s%s",
		     p->option, text, least, most, p->zero ? ", nor 0 (" : "",
		     p->zero ? p->zero : "", p->zero ? ")" : "");
	case CHOICE:
		fail("--%s: '%s' is none of: %s", p->option, text, p->words);
	default:
		fail("--%s: '%s' is not yes or no", p->option, text);
	}
}

static bool parse_number(const char *text, bool percent, uint64_t *ret)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (percent && end > text && !strcmp(end, "%"))
		end++;
	if (errno || *text < '0' || *text > '9' || *end)
		return false;
	*ret = v;
	return true;
}

static json_t *amount(const struct param *p, const char *text)
{
	uint64_t v;
	bool ok = p->kind == TIME ? mdl_duration_parse(text, &v)
				  : parse_number(text, p->kind == PERCENT, &v);

	if (!ok || v > p->most || (v < p->least && !(p->zero && !v)))
		refuse(p, text);
	return json_integer((json_int_t)v);
}

bool word_listed(const char *list, const char *word)
{
	size_t n = strlen(word);

	if (!n || strchr(word, ' '))
		return false;
	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

void param_add(json_t *into, bool pgpu, const char *option, const char *text)
{
	const struct param *p = pgpu ? of_pgpu : of_vgpu;
	json_t *value;

	while (p->option && strcmp(p->option, option))
		p++;
	if (!p->option)
		return; /* none of these */
	value = json_string(text);
	if (!value)
		fail("--%s: must be UTF-8", option);
	if (p->kind == CHOICE && !word_listed(p->words, text))
		refuse(p, text);
	if (p->kind == NUMBER || p->kind == PERCENT || p->kind == TIME) {
		json_decref(value);
		value = amount(p, text);
	} else if (p->kind == YES_NO) {
		if (strcmp(text, "yes") && strcmp(text, "no"))
			refuse(p, text);
		json_decref(value);
		value = json_boolean(!strcmp(text, "yes"));
	}
	if (json_object_set_new(into, p->key, value))
		fail("out of memory");
}
