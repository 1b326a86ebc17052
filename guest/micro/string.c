/* SPDX-License-Identifier: MIT */
/* String functions; the mem* family that matters for speed is in mem.c. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; a++, b++, n--)
		if (*a != *b || !*a)
			return (unsigned char)*a - (unsigned char)*b;
	return 0;
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, SIZE_MAX);
}

char *strcpy(char *to, const char *from)
{
	return memcpy(to, from, strlen(from) + 1);
}

char *strncpy(char *to, const char *from, size_t n)
{
	size_t len = strnlen(from, n);

	memcpy(to, from, len);
	memset(to + len, 0, n - len);
	return to;
}

char *strcat(char *to, const char *from)
{
	strcpy(to + strlen(to), from);
	return to;
}

char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)s;
}

char *strrchr(const char *s, int c)
{
	const char *found = NULL;

	do {
		if (*s == (char)c)
			found = s;
	} while (*s++);
	return (char *)found;
}

char *strstr(const char *s, const char *what)
{
	size_t n = strlen(what);

	for (; *s || !n; s++)
		if (!strncmp(s, what, n))
			return (char *)s;
	return NULL;
}

void *memchr(const void *data, int c, size_t n)
{
	for (const unsigned char *p = data; n; p++, n--)
		if (*p == (unsigned char)c)
			return (void *)p;
	return NULL;
}

char *strndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *copy = malloc(len + 1);

	if (copy) {
		memcpy(copy, s, len);
		copy[len] = 0;
	}
	return copy;
}

char *strdup(const char *s)
{
	return strndup(s, SIZE_MAX - 1);
}

char *strerror(int err)
{
	static const struct {
		int err;
		const char *text;
	} known[] = {
		{ 0, "success" },
		{ EPERM, "not permitted" },
		{ ENOENT, "no such object" },
		{ EIO, "input/output error" },
		{ EAGAIN, "try again" },
		{ ENOMEM, "out of memory" },
		{ EACCES, "access denied" },
		{ EFAULT, "bad address" },
		{ EBUSY, "busy" },
		{ EEXIST, "exists already" },
		{ ENODEV, "no such device" },
		{ EINVAL, "invalid argument" },
		{ ENOSPC, "no space left" },
		{ EPIPE, "connection lost" },
		{ ERANGE, "out of range" },
		{ EPROTO, "protocol error" },
		{ EOPNOTSUPP, "not supported" },
		{ ETIMEDOUT, "timed out" },
		{ ECANCELED, "cancelled" },
	};
	static char other[24];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].err == err)
			return (char *)known[i].text;
	snprintf(other, sizeof(other), "error %d", err);
	return other;
}
