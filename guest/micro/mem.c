/* SPDX-License-Identifier: MIT */
/*
 * memcpy, memmove, memset, memcmp. Copies go by size: short ones in two overlapping loads; then
 * 32-byte vectors; beyond the last-level cache, stores that go around it (they spare reading what
 * is overwritten). What the CPU has and how large its cache is comes from cpuid at start.
 * Single-threaded. Compiled so that the compiler does not turn the loops here into calls of
 * themselves.
 */
#include <cpuid.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "guest/micro/internal.h"

#define STREAM_DEFAULT (4ull << 20)

static bool has_avx2;
static size_t stream_from = STREAM_DEFAULT;

static uint64_t last_cache_bytes(void)
{
	unsigned int a, b, c, d, best = 0, leaf = 4;
	uint64_t bytes = 0;

	if ((unsigned int)__get_cpuid_max(0x80000000, NULL) >= 0x8000001d) {
		__cpuid_count(0x8000001d, 0, a, b, c, d);
		if (a & 0x1f)
			leaf = 0x8000001d;
	}
	if (leaf == 4 && (unsigned int)__get_cpuid_max(0, NULL) < 4)
		return 0;
	for (unsigned int i = 0; i < 8; i++) {
		__cpuid_count(leaf, i, a, b, c, d);
		if (!(a & 0x1f))
			break;
		if ((a >> 5 & 7) >= best) {
			best = a >> 5 & 7;
			bytes = (uint64_t)((b >> 22) + 1) * ((b >> 12 & 0x3ff) + 1) *
				((b & 0xfff) + 1) * ((uint64_t)c + 1);
		}
	}
	return bytes;
}

void micro_mem_init(void)
{
	uint64_t cache = last_cache_bytes();
	unsigned int a, b = 0, c, d;

	/* The VMM has turned XCR0 on for whatever cpuid shows. */
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
		has_avx2 = b >> 5 & 1;
	if (cache)
		stream_from = cache / 4 * 3;
}

/* Up to 32 bytes, forwards or backwards: everything is read before anything is written. */
static void copy_short(unsigned char *to, const unsigned char *from, size_t n)
{
	if (n >= 16) {
		__m128i a = _mm_loadu_si128((const __m128i *)from),
			b = _mm_loadu_si128((const __m128i *)(from + n - 16));

		_mm_storeu_si128((__m128i *)to, a);
		_mm_storeu_si128((__m128i *)(to + n - 16), b);
	} else if (n >= 8) {
		uint64_t a, b;

		__builtin_memcpy(&a, from, 8);
		__builtin_memcpy(&b, from + n - 8, 8);
		__builtin_memcpy(to, &a, 8);
		__builtin_memcpy(to + n - 8, &b, 8);
	} else if (n >= 4) {
		uint32_t a, b;

		__builtin_memcpy(&a, from, 4);
		__builtin_memcpy(&b, from + n - 4, 4);
		__builtin_memcpy(to, &a, 4);
		__builtin_memcpy(to + n - 4, &b, 4);
	} else if (n) {
		unsigned char a = from[0], b = from[n / 2], c = from[n - 1];

		to[0] = a;
		to[n / 2] = b;
		to[n - 1] = c;
	}
}

/* More than 32 bytes; regions may overlap if to is below from. */
__attribute__((target("avx2"))) static void copy_up(unsigned char *to, const unsigned char *from,
						    size_t n)
{
	__m256i head = _mm256_loadu_si256((const __m256i *)from),
		tail = _mm256_loadu_si256((const __m256i *)(from + n - 32));
	size_t skip = 32 - ((uintptr_t)to & 31), i;

	/* The tail was read first: the loop may have overwritten it. */
	for (i = skip; i + 128 <= n; i += 128) {
		__m256i a = _mm256_loadu_si256((const __m256i *)(from + i));
		__m256i b = _mm256_loadu_si256((const __m256i *)(from + i + 32));
		__m256i c = _mm256_loadu_si256((const __m256i *)(from + i + 64));
		__m256i d = _mm256_loadu_si256((const __m256i *)(from + i + 96));

		if (i == skip)
			_mm256_storeu_si256((__m256i *)to, head);
		_mm256_store_si256((__m256i *)(to + i), a);
		_mm256_store_si256((__m256i *)(to + i + 32), b);
		_mm256_store_si256((__m256i *)(to + i + 64), c);
		_mm256_store_si256((__m256i *)(to + i + 96), d);
	}
	for (; i + 32 <= n; i += 32) {
		__m256i a = _mm256_loadu_si256((const __m256i *)(from + i));

		if (i == skip)
			_mm256_storeu_si256((__m256i *)to, head);
		_mm256_store_si256((__m256i *)(to + i), a);
	}
	if (i == skip)
		_mm256_storeu_si256((__m256i *)to, head);
	_mm256_storeu_si256((__m256i *)(to + n - 32), tail);
	_mm256_zeroupper();
}

/* More than 32 bytes; to is above from, overlapping. */
__attribute__((target("avx2"))) static void copy_down(unsigned char *to, const unsigned char *from,
						      size_t n)
{
	__m256i head = _mm256_loadu_si256((const __m256i *)from);
	size_t i = n;

	for (; i >= 64; i -= 64) {
		__m256i a = _mm256_loadu_si256((const __m256i *)(from + i - 32));
		__m256i b = _mm256_loadu_si256((const __m256i *)(from + i - 64));

		_mm256_storeu_si256((__m256i *)(to + i - 32), a);
		_mm256_storeu_si256((__m256i *)(to + i - 64), b);
	}
	if (i > 32)
		_mm256_storeu_si256((__m256i *)(to + i - 32),
				    _mm256_loadu_si256((const __m256i *)(from + i - 32)));
	_mm256_storeu_si256((__m256i *)to, head);
	_mm256_zeroupper();
}

/*
 * Very long and not overlapping. Two pages side by side keep more of the memory's banks and
 * prefetchers at work.
 */
__attribute__((target("avx2"))) static void copy_stream(unsigned char *to,
							const unsigned char *from, size_t n)
{
	size_t skip = 32 - ((uintptr_t)to & 31);

	copy_short(to, from, 32);
	to += skip;
	from += skip;
	n -= skip;
	for (; n >= 8192; to += 8192, from += 8192, n -= 8192)
		for (size_t i = 0; i < 4096; i += 64)
			for (size_t page = 0; page < 8192; page += 4096) {
				__m256i a = _mm256_loadu_si256((const __m256i *)(from + page + i));
				__m256i b =
					_mm256_loadu_si256((const __m256i *)(from + page + i + 32));

				_mm256_stream_si256((__m256i *)(to + page + i), a);
				_mm256_stream_si256((__m256i *)(to + page + i + 32), b);
			}
	_mm_sfence();
	if (n > 32)
		copy_up(to, from, n);
	else
		copy_short(to, from, n);
}

static void copy_bytes_down(unsigned char *to, const unsigned char *from, size_t n)
{
	while (n--)
		to[n] = from[n];
}

static void rep_movsb(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

void *memmove(void *to, const void *from, size_t n)
{
	uintptr_t distance = (uintptr_t)to - (uintptr_t)from;

	if (n <= 32)
		copy_short(to, from, n);
	else if (distance < n && has_avx2)
		copy_down(to, from, n);
	else if (distance < n)
		copy_bytes_down(to, from, n);
	else if (!has_avx2)
		rep_movsb(to, from, n);
	else if (n >= stream_from && -distance >= n)
		copy_stream(to, from, n);
	else
		copy_up(to, from, n);
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	return memmove(to, from, n);
}

void *memset(void *to, int c, size_t n)
{
	void *p = to;

	__asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *p = a, *q = b;
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		uint64_t x, y;

		__builtin_memcpy(&x, p + i, 8);
		__builtin_memcpy(&y, q + i, 8);
		if (x != y)
			break;
	}
	for (; i < n; i++)
		if (p[i] != q[i])
			return p[i] - q[i];
	return 0;
}
