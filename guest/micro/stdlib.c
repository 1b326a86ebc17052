/* SPDX-License-Identifier: MIT */
/*
 * The rest of the C library that guests use: ends, numbers from text, sorting, clocks, errno.
 * Single-threaded.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest/micro/internal.h"
#include "guest/micro/micro.h"

#define NS_PER_S     1000000000ull
#define ABORT_STATUS 62

static int last_errno;

int *__errno_location(void)
{
	return &last_errno;
}

void exit(int status)
{
	micro_exit(status);
}

void _exit(int status)
{
	micro_exit(status);
}

void abort(void)
{
	fputs("abort\n", stderr);
	micro_exit(ABORT_STATUS);
}

void __assert_fail(const char *what, const char *file, unsigned int line, const char *func)
{
	fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, func, what);
	abort();
}

char *getenv(const char *name)
{
	return NULL;
}

int abs(int v)
{
	return v < 0 ? -v : v;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	return 99;
}

/* The magnitude, saturated with *ret_over set; *ret_negative for the sign. */
static unsigned long long parse(const char *s, char **ret_end, int base, bool *ret_negative,
				bool *ret_over)
{
	const char *p = s, *first;
	unsigned long long v = 0;

	*ret_negative = *ret_over = false;
	while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
		p++;
	if (*p == '-' || *p == '+')
		*ret_negative = *p++ == '-';
	if ((base == 0 || base == 16) && p[0] == '0' && (p[1] | 32) == 'x' && digit_of(p[2]) < 16) {
		p += 2;
		base = 16;
	} else if (base == 0) {
		base = *p == '0' ? 8 : 10;
	}
	for (first = p; digit_of(*p) < base; p++)
		if (__builtin_mul_overflow(v, (unsigned int)base, &v) ||
		    __builtin_add_overflow(v, (unsigned int)digit_of(*p), &v)) {
			*ret_over = true;
			v = ULLONG_MAX;
		}
	if (*ret_over)
		v = ULLONG_MAX;
	if (ret_end)
		*ret_end = (char *)(p == first ? s : p);
	return v;
}

unsigned long long strtoull(const char *s, char **ret_end, int base)
{
	bool negative, over;
	unsigned long long v = parse(s, ret_end, base, &negative, &over);

	if (over) {
		errno = ERANGE;
		return ULLONG_MAX;
	}
	return negative ? -v : v;
}

long long strtoll(const char *s, char **ret_end, int base)
{
	bool negative, over;
	unsigned long long v = parse(s, ret_end, base, &negative, &over);

	if (over || v > (unsigned long long)LLONG_MAX + negative) {
		errno = ERANGE;
		return negative ? LLONG_MIN : LLONG_MAX;
	}
	return (long long)(negative ? -v : v);
}

unsigned long strtoul(const char *s, char **ret_end, int base)
{
	return strtoull(s, ret_end, base);
}

long strtol(const char *s, char **ret_end, int base)
{
	return strtoll(s, ret_end, base);
}

int atoi(const char *s)
{
	return (int)strtol(s, NULL, 10);
}

/* Shell sort: short, in place, and quick enough for the hundreds of elements that guests sort. */
void qsort(void *base, size_t n, size_t bytes, int (*cmp)(const void *, const void *))
{
	char *a = base;

	for (size_t gap = n / 2; gap; gap /= 2)
		for (size_t i = gap; i < n; i++)
			for (size_t j = i;
			     j >= gap && cmp(a + (j - gap) * bytes, a + j * bytes) > 0; j -= gap)
				for (size_t k = 0; k < bytes; k++) {
					char t = a[j * bytes + k];

					a[j * bytes + k] = a[(j - gap) * bytes + k];
					a[(j - gap) * bytes + k] = t;
				}
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	uint64_t ns = micro_now_ns();

	ret_time->tv_sec = (time_t)(ns / NS_PER_S);
	ret_time->tv_nsec = (long)(ns % NS_PER_S);
	return 0;
}

int nanosleep(const struct timespec *time, struct timespec *ret_left)
{
	uint64_t end = micro_now_ns() + (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_nsec,
		 now;

	while ((now = micro_now_ns()) < end)
		(void)micro_irq_wait(MICRO_IRQ_ANY, micro_irq_count(MICRO_IRQ_ANY), end - now);
	return 0;
}
