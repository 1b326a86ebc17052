/* SPDX-License-Identifier: MIT */
/* See fleet.h: lines to guests and from them. A guest that does not answer for long is given up. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "fleet.h"

#define REPLY_TIMEOUT_NS (180 * MDL_NS_PER_S) /* PoCL compiles, on a machine that may be busy */

static bool vsend(struct fleet *f, unsigned int i, const char *fmt, va_list ap)
{
	char line[LOAD_LINE];
	int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);

	if (n < 0 || n >= (int)sizeof(line) - 1)
		return false;
	line[n++] = '\n';
	if (write(f->guest[i]->in, line, (size_t)n) == n)
		return true;
	fprintf(stderr, "medley-bench: guest %u has ended\n", i);
	return false;
}

bool fleet_send(struct fleet *f, unsigned int i, const char *fmt, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = vsend(f, i, fmt, ap);
	va_end(ap);
	return ok;
}

/* A line that was not asked for. */
static bool take_fault(struct fleet_guest *g, const char *line)
{
	struct fleet_fault t;

	if (sscanf(line, "fault %" SCNu64 " %" SCNu64 " %u %" SCNu64, &t.told_ns, &t.launched_ns,
		   &t.error, &t.back_ns) != 4)
		return false;
	if (g->faults < FLEET_FAULTS)
		g->fault[g->faults++] = t;
	return true;
}

/* The next line without its end: 1, 0 none within the time, -1 there will be none. */
static int next_line(struct fleet_guest *g, char *line, size_t bytes, uint64_t until_ns)
{
	char *end;

	while (!(end = memchr(g->text, '\n', g->used))) {
		uint64_t now = mdl_now_ns();
		struct pollfd p = { .fd = g->out, .events = POLLIN };
		ssize_t n;

		if (now >= until_ns)
			return 0;
		n = poll(&p, 1, (int)((until_ns - now) / MDL_NS_PER_MS) + 1);
		if (n <= 0)
			continue;
		n = read(g->out, g->text + g->used, sizeof(g->text) - g->used);
		if (n <= 0)
			return -1;
		g->used += (size_t)n;
	}
	*end = 0;
	snprintf(line, bytes, "%s", g->text);
	g->used -= (size_t)(end + 1 - g->text);
	memmove(g->text, end + 1, g->used);
	return 1;
}

bool fleet_reply(struct fleet *f, unsigned int i, char *line, size_t bytes)
{
	uint64_t until = mdl_now_ns() + REPLY_TIMEOUT_NS;
	int r;

	*line = 0;
	do {
		r = next_line(f->guest[i], line, bytes, until);
	} while (r > 0 && take_fault(f->guest[i], line));
	if (r <= 0)
		fprintf(stderr, "medley-bench: guest %u %s\n", i,
			r ? "has ended" : "does not answer");
	return r > 0;
}

void fleet_listen(struct fleet *f, unsigned int i, uint64_t ns)
{
	uint64_t until = mdl_now_ns() + ns;
	char line[LOAD_LINE];
	int r;

	while ((r = next_line(f->guest[i], line, sizeof(line), until)) > 0)
		if (!take_fault(f->guest[i], line))
			fprintf(stderr, "medley-bench: guest %u: %s\n", i, line);
	if (r < 0)
		fleet_sleep_ns(until > mdl_now_ns() ? until - mdl_now_ns() : 0);
}

bool fleet_wait_ok(struct fleet *f, unsigned int i)
{
	char line[LOAD_LINE];

	if (!fleet_reply(f, i, line, sizeof(line)))
		return false;
	if (!strcmp(line, "ok"))
		return true;
	fprintf(stderr, "medley-bench: guest %u: %s\n", i, line);
	return false;
}

bool fleet_tell(struct fleet *f, unsigned int i, const char *fmt, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = vsend(f, i, fmt, ap);
	va_end(ap);
	return ok && fleet_wait_ok(f, i);
}

bool fleet_idle(struct fleet *f)
{
	bool ok = true;

	for (unsigned int i = 0; i < f->guests; i++)
		ok = fleet_send(f, i, "idle") && ok;
	for (unsigned int i = 0; ok && i < f->guests; i++)
		ok = fleet_wait_ok(f, i);
	return ok;
}

uint64_t fleet_calibrate(struct fleet *f, unsigned int i, uint64_t chunks)
{
	char line[LOAD_LINE];
	uint64_t took;

	if (!fleet_send(f, i, "calibrate %" PRIu64, chunks) ||
	    !fleet_reply(f, i, line, sizeof(line)) || sscanf(line, "took %" SCNu64, &took) != 1)
		return 0;
	return took;
}

bool fleet_count(struct fleet *f, unsigned int n, struct fleet_count *ret_count)
{
	char line[LOAD_LINE];

	for (unsigned int i = 0; i < n; i++)
		if (!fleet_send(f, i, "count"))
			return false;
	for (unsigned int i = 0; i < n; i++) {
		struct fleet_count *c = &ret_count[i];

		if (!fleet_reply(f, i, line, sizeof(line)) ||
		    sscanf(line, "count %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &c->at_ns,
			   &c->chunks, &c->kernels, &c->faults) != 4)
			return false;
	}
	return true;
}

bool fleet_latencies(struct fleet *f, unsigned int i, uint64_t *ret_ns, unsigned int room,
		     unsigned int *ret_n)
{
	const size_t bytes = sizeof(f->guest[i]->text);
	char *line = malloc(bytes), *at;
	unsigned int n;
	int used;
	bool ok = line && fleet_send(f, i, "latencies") && fleet_reply(f, i, line, bytes) &&
		  sscanf(line, "latencies %u%n", &n, &used) == 1 && n <= room;

	if (ok) {
		at = line + used;
		for (unsigned int k = 0; k < n; k++)
			ret_ns[k] = strtoull(at, &at, 10);
		*ret_n = n;
	}
	free(line);
	return ok;
}
