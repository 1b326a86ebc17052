/* SPDX-License-Identifier: MIT */
/* What guests do: the --vgpu option's language, and lengths drawn from it. */
#include "sim.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "daemon/param-limits.h"

#define COUNT_MAX 100000

uint64_t sim_random(uint64_t *rng)
{
	uint64_t z = *rng += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

uint64_t sim_draw(const struct sim_length *length, uint64_t *rng)
{
	uint64_t ns = length->ns[length->choices > 1 ? sim_random(rng) % length->choices : 0];

	switch (length->shape) {
	case SIM_UNIFORM:
		ns = sim_random(rng) % (2 * ns + 1);
		break;
	case SIM_EXP:
		ns = (uint64_t)(-log1p(-(double)(sim_random(rng) >> 11) / 9007199254740992.0) *
				(double)ns);
		break;
	default:
		break;
	}
	return ns;
}

bool sim_time_parse(const char *text, uint64_t *ret_ns)
{
	uint64_t ns;

	if (!mdl_duration_parse(text, &ns) || ns > SIM_TIME_MAX_NS)
		return false;
	*ret_ns = ns;
	return true;
}

/* "1ms", "exp:1ms", "uniform:1ms", "100us+1ms+20ms" (one of them). */
static bool parse_length(char *text, struct sim_length *ret)
{
	struct sim_length l = { 0 };
	char *part, *save = NULL;

	if (!strncmp(text, "exp:", 4))
		l.shape = SIM_EXP, text += 4;
	else if (!strncmp(text, "uniform:", 8))
		l.shape = SIM_UNIFORM, text += 8;
	for (part = strtok_r(text, "+", &save); part; part = strtok_r(NULL, "+", &save))
		if (l.choices == SIM_CHOICES || !sim_time_parse(part, &l.ns[l.choices++]))
			return false;
	*ret = l;
	return l.choices > 0;
}

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint32_t *ret)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < least || value > most)
		return false;
	*ret = (uint32_t)value;
	return true;
}

enum what {
	LENGTH, /* of time, drawn anew each time */
	DURATION, /* one that takes time: without it virtual time would stand still */
	QUANTUM,
	NUMBER,
	PERCENT,
	PRIORITY
};

/* Parameters have the names and ranges that they have in medley. */
static const struct key {
	const char *name;
	enum what what;
	size_t offset; /* in struct sim_group */
	uint32_t least, most;
} keys[] = {
#define AT(field) offsetof(struct sim_group, field)
	{ "kernel", DURATION, AT(kernel) },
	{ "think", LENGTH, AT(think) },
	{ "every", DURATION, AT(every) },
	{ "run", LENGTH, AT(run) },
	{ "sleep", LENGTH, AT(sleep) },
	{ "batch", NUMBER, AT(batch), 1, SIM_PENDING },
	{ "disobeys", NUMBER, AT(disobeys), 0, 1 },
	{ "weight", NUMBER, AT(params.weight), 0, MDL_SCHED_WEIGHT_MAX },
	{ "cap", PERCENT, AT(params.cap_percent), 0, 100 },
	{ "reservation", PERCENT, AT(params.reservation_percent), 0, MDL_SCHED_RESERVATION_MAX },
	{ "share-percent", PERCENT, AT(params.share_percent), 0, 100 },
	{ "priority", PRIORITY, AT(params.priority) },
	{ "quantum", QUANTUM, AT(params.quantum_ns) },
#undef AT
};

static void say_range(const struct key *k, char *buf, size_t n)
{
	switch (k->what) {
	case LENGTH:
	case DURATION:
		snprintf(buf, n, "%s to %s as 1ms, exp:1ms, uniform:1ms or 100us+1ms (up to %d)",
			 k->what == LENGTH ? "a length from 0" : "a length from 1ns", SIM_TIME_MAX,
			 SIM_CHOICES);
		break;
	case QUANTUM:
		snprintf(buf, n, "a time from " SIM_QUANTUM_RANGE ", nor 0 (the pGPU's)");
		break;
	case PRIORITY:
		snprintf(buf, n, "low, normal or high");
		break;
	default:
		snprintf(buf, n, "a whole number %sfrom %u to %u",
			 k->what == PERCENT ? "of percent " : "", k->least, k->most);
		break;
	}
}

static bool set_key(struct sim_group *g, const struct key *k, char *value)
{
	void *at = (char *)g + k->offset;
	struct sim_length *length = at;
	uint64_t ns;

	switch (k->what) {
	case DURATION:
		if (!parse_length(value, length))
			return false;
		for (uint32_t i = 0; i < length->choices; i++)
			if (!length->ns[i])
				return false;
		return true;
	case LENGTH:
		return parse_length(value, length);
	case QUANTUM:
		if (!mdl_duration_parse(value, &ns) ||
		    (ns && (ns < QUANTUM_MIN_NS || ns > MDL_SCHED_QUANTUM_MAX_NS)))
			return false;
		g->params.quantum_ns = ns;
		return true;
	case PRIORITY:
		g->params.priority = !strcmp(value, "low")    ? MDL_SCHED_LOW
				     : !strcmp(value, "high") ? MDL_SCHED_HIGH
							      : MDL_SCHED_NORMAL;
		return g->params.priority != MDL_SCHED_NORMAL || !strcmp(value, "normal");
	default:
		return parse_number(value, k->least, k->most, at);
	}
}

static int __attribute__((format(printf, 2, 3))) wrong(const char *spec, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "medley-sim: --vgpu %s: ", spec);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return -EINVAL;
}

/* "cap=20" */
static int parse_pair(struct sim_group *g, char *pair)
{
	char *value = strchr(pair, '='), range[128], *said;
	const struct key *k = keys;
	bool ok;

	if (!value)
		return wrong(g->spec, "'%s' has no value: KEY=VALUE is needed", pair);
	*value++ = 0;
	while (k < keys + MDL_ARRAY_SIZE(keys) && strcmp(k->name, pair))
		k++;
	if (k == keys + MDL_ARRAY_SIZE(keys)) {
		char known[256] = "";

		for (k = keys; k < keys + MDL_ARRAY_SIZE(keys); k++)
			snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s",
				 k->name);
		return wrong(g->spec, "unknown key '%s'; known:%s", pair, known);
	}
	said = strdup(value); /* lengths are taken apart in place */
	if (!said)
		return -ENOMEM;
	ok = set_key(g, k, value);
	if (!ok) {
		say_range(k, range, sizeof(range));
		wrong(g->spec, "%s: '%s' is not %s", pair, said, range);
	}
	free(said);
	if (!strcmp(pair, "share-percent"))
		g->explicit_share = true;
	return ok ? 0 : -EINVAL;
}

/* text: a copy of the specification, taken apart. */
static int parse_spec(struct sim_group *g, char *text)
{
	static const char *const kinds[] = { "loop", "waker", "sleeper", "endless" };
	char *rest = text, *word;
	size_t k = 0;

	if (text[0] >= '0' && text[0] <= '9') {
		word = strsep(&rest, "x");
		if (!rest)
			return wrong(g->spec,
				     "a number, but no kind: NxKIND is needed, as in 4xloop");
		if (!parse_number(word, 1, COUNT_MAX, &g->count))
			return wrong(g->spec, "'%s' is not a number of vGPUs from 1 to %d", word,
				     COUNT_MAX);
	}
	word = strsep(&rest, ":"); /* lengths have ":" in them, too */
	while (k < MDL_ARRAY_SIZE(kinds) && strcmp(word, kinds[k]))
		k++;
	if (k == MDL_ARRAY_SIZE(kinds))
		return wrong(g->spec, "'%s' is not a kind: loop, waker, sleeper or endless", word);
	g->kind = (enum sim_kind)k;
	g->disobeys = g->kind == SIM_ENDLESS_KERNEL;
	while ((word = strsep(&rest, ","))) {
		int err = *word ? parse_pair(g, word) : 0;

		if (err)
			return err;
	}
	if (g->params.cap_percent && g->params.reservation_percent > g->params.cap_percent)
		return wrong(g->spec,
			     "a reservation of %u percent is more than the cap of %u percent",
			     g->params.reservation_percent, g->params.cap_percent);
	return 0;
}

int sim_group_parse(const char *spec, struct sim_group *ret_group)
{
	struct sim_length ms = { .choices = 1, .ns = { MDL_NS_PER_MS } }, none = { .choices = 1 };
	struct sim_group g = { .spec = strdup(spec),
			       .count = 1,
			       .kernel = ms,
			       .think = none,
			       .every = ms,
			       .run = ms,
			       .sleep = ms,
			       .batch = 1,
			       .params = MDL_SCHED_ENTITY_PARAMS_DEFAULT };
	char *copy = strdup(spec);
	int err = -ENOMEM;

	g.every.ns[0] = 10 * MDL_NS_PER_MS;
	g.run.ns[0] = g.sleep.ns[0] = 100 * MDL_NS_PER_MS;
	if (copy && g.spec)
		err = parse_spec(&g, copy);
	free(copy);
	if (err)
		free(g.spec);
	else
		*ret_group = g;
	return err;
}
