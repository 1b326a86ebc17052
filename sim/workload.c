/* SPDX-License-Identifier: MIT */
/* What guests do: the --vgpu option's language, and lengths drawn from it. */
#include "sim.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 100000
#define TIME_MAX  (1000 * MDL_NS_PER_S)

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
	static const struct {
		const char *name;
		double ns;
	} unit[] = { { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 } };
	char *end;
	double value = strtod(text, &end);

	if (end == text || !(value >= 0) || value > 1e15)
		return false;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(unit); i++)
		if (!strcmp(end, unit[i].name)) {
			value *= unit[i].ns;
			if (value > (double)TIME_MAX)
				return false;
			*ret_ns = (uint64_t)(value + 0.5);
			return true;
		}
	return !strcmp(text, "0") && (*ret_ns = 0, true);
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

/* One that takes time: without it virtual time would stand still. */
static bool parse_duration(char *text, struct sim_length *ret)
{
	if (!parse_length(text, ret))
		return false;
	for (uint32_t i = 0; i < ret->choices; i++)
		if (!ret->ns[i])
			return false;
	return true;
}

static bool parse_number(const char *text, uint32_t max, uint32_t *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || value > max)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool parse_key(struct sim_group *g, const char *key, char *value)
{
	uint32_t yes;

	if (!strcmp(key, "kernel"))
		return parse_duration(value, &g->kernel);
	if (!strcmp(key, "think"))
		return parse_length(value, &g->think);
	if (!strcmp(key, "every"))
		return parse_length(value, &g->every);
	if (!strcmp(key, "run"))
		return parse_length(value, &g->run);
	if (!strcmp(key, "sleep"))
		return parse_length(value, &g->sleep);
	if (!strcmp(key, "batch"))
		return parse_number(value, SIM_PENDING, &g->batch) && g->batch;
	if (!strcmp(key, "weight"))
		return parse_number(value, MDL_SCHED_WEIGHT_MAX, &g->params.weight);
	if (!strcmp(key, "cap"))
		return parse_number(value, 100, &g->params.cap_percent);
	if (!strcmp(key, "reserve"))
		return parse_number(value, 100, &g->params.reservation_percent);
	if (!strcmp(key, "share")) {
		g->explicit_share = true;
		return parse_number(value, 100, &g->params.share_percent);
	}
	if (!strcmp(key, "quantum"))
		return sim_time_parse(value, &g->params.quantum_ns);
	if (!strcmp(key, "disobeys")) {
		g->disobeys = parse_number(value, 1, &yes) && yes;
		return parse_number(value, 1, &yes);
	}
	if (!strcmp(key, "priority")) {
		g->params.priority = !strcmp(value, "low")    ? MDL_SCHED_LOW
				     : !strcmp(value, "high") ? MDL_SCHED_HIGH
							      : MDL_SCHED_NORMAL;
		return g->params.priority != MDL_SCHED_NORMAL || !strcmp(value, "normal");
	}
	return false;
}

int sim_group_parse(const char *spec, struct sim_group *ret_group)
{
	static const char *const kinds[] = { "loop", "waker", "sleeper", "endless" };
	struct sim_length ms = { .choices = 1, .ns = { MDL_NS_PER_MS } }, none = { .choices = 1 };
	struct sim_group g = { .count = 1,
			       .kernel = ms,
			       .think = none,
			       .every = ms,
			       .run = ms,
			       .sleep = ms,
			       .batch = 1,
			       .params = MDL_SCHED_ENTITY_PARAMS_DEFAULT };
	char *copy = strdup(spec), *at, *word, *save = NULL;
	const char *wrong = NULL;
	size_t k;

	g.spec = strdup(spec);
	if (!copy || !g.spec) {
		free(copy);
		free(g.spec);
		return -ENOMEM;
	}
	g.every.ns[0] = 10 * MDL_NS_PER_MS;
	g.run.ns[0] = g.sleep.ns[0] = 100 * MDL_NS_PER_MS;
	at = copy;
	if (at[0] >= '0' && at[0] <= '9') {
		word = strsep(&at, "x");
		if (!at || !parse_number(word, COUNT_MAX, &g.count) || !g.count)
			wrong = "the count";
	}
	word = wrong ? NULL : strtok_r(at, ":", &save);
	for (k = 0; word && k < MDL_ARRAY_SIZE(kinds) && strcmp(word, kinds[k]); k++)
		;
	if (!wrong && (!word || k == MDL_ARRAY_SIZE(kinds)))
		wrong = "the kind (loop, waker, sleeper or endless)";
	g.kind = (enum sim_kind)k;
	g.disobeys = g.kind == SIM_ENDLESS_KERNEL;
	/* The rest, also with ":" in it. */
	for (char *rest = wrong ? NULL : save, *pair; (pair = strsep(&rest, ",")) && !wrong;) {
		char *value = strchr(pair, '=');

		if (!*pair)
			continue;
		if (!value) {
			wrong = pair;
			break;
		}
		*value++ = 0;
		if (!parse_key(&g, pair, value))
			wrong = pair;
	}
	if (!wrong && g.kind == SIM_WAKER && g.every.choices && !g.every.ns[0])
		wrong = "every";
	if (wrong) {
		fprintf(stderr, "medley-sim: --vgpu %s: wrong or unknown: %s\n", spec, wrong);
		free(copy);
		free(g.spec);
		return -EINVAL;
	}
	free(copy);
	*ret_group = g;
	return 0;
}
