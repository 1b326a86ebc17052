/* SPDX-License-Identifier: MIT */
/*
 * Log lines on standard error, for mains only: libraries return errors. One write(2) a line, so lines of several processes do
 * not mix. mdl_log_limited() bounds what a guest can make us write. Not for use in signal handlers.
 */
#ifndef MDL_BASE_LOG_H
#define MDL_BASE_LOG_H

#include <stdint.h>

enum mdl_log_level { MDL_LOG_ERROR, MDL_LOG_WARN, MDL_LOG_INFO, MDL_LOG_DEBUG };

/* Sets the prefix of every line ("medleyd", at most 31 characters kept) and the most talkative level that is printed. */
void mdl_log_init(const char *prefix, enum mdl_log_level max);

void mdl_log(enum mdl_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A token bucket: `burst` lines at once, then one each `interval_ns`. */
struct mdl_log_limit {
	uint64_t interval_ns;
	uint32_t burst;
	uint32_t tokens;	/* owned by mdl_log_limited */
	uint32_t dropped;	/* lines dropped since the last one printed */
	uint64_t last_ns;
};

#define MDL_LOG_LIMIT_INIT { .interval_ns = 1000000000ull, .burst = 10, .tokens = 10 }

/* As mdl_log; lines over the limit are counted, and the count is printed with the next one. */
void mdl_log_limited(struct mdl_log_limit *limit, enum mdl_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
