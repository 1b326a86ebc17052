/* SPDX-License-Identifier: MIT */
/* Log lines on standard error: see log.h. State is per process and set up once by its main, before it starts threads. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

static char log_prefix[32] = "medley";
static enum mdl_log_level log_max = MDL_LOG_INFO;

void mdl_log_init(const char *prefix, enum mdl_log_level max)
{
	snprintf(log_prefix, sizeof(log_prefix), "%s", prefix);
	log_max = max;
}

static void log_line(enum mdl_log_level level, uint32_t dropped, const char *fmt, va_list ap)
{
	static const char *const name[] = { "error: ", "warning: ", "", "debug: " };
	char line[1024];
	size_t used, cap = sizeof(line) - 1;
	int n;

	n = snprintf(line, cap, "%s: %s", log_prefix, name[level]);
	used = (size_t)n;
	n = vsnprintf(line + used, cap - used, fmt, ap);
	if (n < 0)
		return;
	used = mdl_min_u64(used + (size_t)n, cap - 1);
	if (dropped) {
		n = snprintf(line + used, cap - used, " (%u similar lines dropped)", dropped);
		used = mdl_min_u64(used + (size_t)n, cap - 1);
	}
	/* What a guest or peer wrote may be quoted in a line: keep it one printable line. */
	for (size_t i = 0; i < used; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}

void mdl_log(enum mdl_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > log_max)
		return;
	va_start(ap, fmt);
	log_line(level, 0, fmt, ap);
	va_end(ap);
}

void mdl_log_limited(struct mdl_log_limit *limit, enum mdl_log_level level, const char *fmt, ...)
{
	uint64_t now = mdl_now_ns(), gained;
	va_list ap;

	if (level > log_max)
		return;
	gained = (now - limit->last_ns) / limit->interval_ns;
	if (gained) {
		limit->tokens = (uint32_t)mdl_min_u64(limit->tokens + gained, limit->burst);
		limit->last_ns = now;
	}
	if (!limit->tokens) {
		limit->dropped++;
		return;
	}
	limit->tokens--;
	va_start(ap, fmt);
	log_line(level, limit->dropped, fmt, ap);
	va_end(ap);
	limit->dropped = 0;
}
