/* SPDX-License-Identifier: MIT */
/*
 * The runtime tested from inside: selftest.elf CASE. Prints what failed and exits with 1; cases
 * that must end the VM otherwise say so. The device cases drive the toy device of
 * tests/micro/toy.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "guest/micro/micro.h"
#include "tests/micro/toy.h"
#include "vmm/micro_abi.h"

#define CHECK(cond)                                                                 \
	do {                                                                        \
		if (!(cond)) {                                                      \
			printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
			micro_exit(1);                                              \
		}                                                                   \
	} while (0)

#define MS 1000000ull

/* What the compiler must not reason about. */
static uint64_t hidden(uint64_t v)
{
	__asm__ volatile("" : "+r"(v));
	return v;
}

/* ---- the C library ---- */
static void fill(uint8_t *p, size_t n, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i * 31 + seed) ^ (i >> 7));
}

/*
 * Every length to 300 and some around the sizes at which the method changes, at odd alignments,
 * overlapping both ways.
 */
static void test_mem(void)
{
	static const size_t longs[] = {
		511, 4095, 4097, 8191, 8192, 8193, 70001, 9 << 20, 50 << 20
	};
	size_t room = (50 << 20) + 4096, count = sizeof(longs) / sizeof(longs[0]);
	uint8_t *a = malloc(room), *b = malloc(room);

	CHECK(a && b);
	for (size_t k = 0; k < 300 + count; k++) {
		size_t n = k < 300 ? k : longs[k - 300], at = k % 67, to = k % 41;

		fill(a, n + 256, (unsigned int)k);
		memset(b, 0xee, n + 256);
		CHECK(memcpy(b + to, a + at, n) == b + to);
		for (size_t i = 0; i < n; i++)
			if (b[to + i] != (uint8_t)(((at + i) * 31 + k) ^ ((at + i) >> 7)))
				CHECK(!"memcpy copied something else");
		CHECK(!memcmp(b + to, a + at, n));
		CHECK((!to || b[to - 1] == 0xee) && b[to + n] == 0xee);
		if (n > 1) {
			b[to + n - 1] ^= 1;
			CHECK(memcmp(b + to, a + at, n));
		}
		if (n > 70001)
			continue;
		for (int shift = -70; shift <= 70; shift += 7) {
			fill(a, n + 256, 3);
			memcpy(b, a, n + 256);
			memmove(a + 128 + shift, a + 128, n);
			for (size_t i = 0; i < n; i++)
				if (a[128 + shift + i] != b[128 + i])
					CHECK(!"memmove copied something else");
		}
	}
	free(a);
	free(b);
}

static void test_heap(void)
{
	enum {
		N = 300
	};
	static void *p[N];
	static size_t size[N];
	size_t big = 1 << 20;
	void *all;

	/*
	 * The largest block there is, to compare with at the end: nothing may be lost in between.
	 */
	while ((all = malloc(big * 2)) != NULL) {
		free(all);
		big *= 2;
	}
	CHECK(errno == ENOMEM && big >= 64 << 20);
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < N; i++) {
			size_t align = (size_t)8 << (i % 10);

			size[i] = micro_random32() % 9000;
			p[i] = NULL;
			CHECK(posix_memalign(&p[i], align, size[i]) == 0);
			CHECK(((uintptr_t)p[i] & (align - 1)) == 0);
			memset(p[i], (int)i, size[i]);
		}
		for (size_t k = 0; k < N; k++) {
			size_t i = (k * 7 + (size_t)round) % N;

			for (size_t j = 0; j < size[i]; j++)
				CHECK(((uint8_t *)p[i])[j] == (uint8_t)i);
			p[i] = realloc(p[i], size[i] * 2 + 1);
			CHECK(p[i]);
			for (size_t j = 0; j < size[i]; j++)
				CHECK(((uint8_t *)p[i])[j] == (uint8_t)i);
			free(p[i]);
		}
	}
	all = malloc(big);
	CHECK(all);
	free(all);
	CHECK(!malloc(hidden(SIZE_MAX)) && !calloc(hidden(SIZE_MAX / 2), 3) &&
	      !malloc(hidden(SIZE_MAX - 64)));
	CHECK(!micro_dma_alloc(SIZE_MAX, 4096));
	all = micro_dma_alloc(5000, 1 << 21);
	CHECK(all && (micro_pa(all) & ((1 << 21) - 1)) == 0);
	free(all);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

#define EXPECT(text, ...)                                                                     \
	do {                                                                                  \
		char buf_[128];                                                               \
		int n_ = snprintf(buf_, sizeof(buf_), __VA_ARGS__);                           \
		if (strcmp(buf_, text) || n_ != (int)strlen(text)) {                          \
			printf("line %d: \"%s\" (%d), expected \"%s\"\n", __LINE__, buf_, n_, \
			       text);                                                         \
			micro_exit(1);                                                        \
		}                                                                             \
	} while (0)

static void test_libc(void)
{
	int v[] = { 5, -3, 9, 0, 7, 7, 1 };
	char small[4], *end;
	struct timespec t;

	EXPECT("-5|  -5|-5  |-0005|+5| 5", "%d|%4d|%-4d|%05d|%+d|% d", -5, -5, -5, -5, 5, 5);
	EXPECT("ff FF 0xff 0 377 00ff", "%x %X %#x %#x %o %.4x", 255, 255, 255, 0, 255, 255);
	EXPECT("-9223372036854775808 18446744073709551615", "%lld %llu", -9223372036854775807ll - 1,
	       ~0ull);
	EXPECT("255 -1 65535 4096", "%hhu %hhd %hu %zu", (unsigned char)0xff, (signed char)-1,
	       (unsigned short)0xffff, (size_t)4096);
	EXPECT("abc|  abc|abc  |ab|(null)|x%", "%s|%5s|%-5s|%.2s|%s|%c%%", "abc", "abc", "abc",
	       "abc", (char *)hidden(0), 'x');
	EXPECT("3.142 -0.50 1000000.000000 2 0.050 1.00", "%.3f %.2f %f %.0f %.3f %.2f", 3.14159,
	       -0.5, 1e6, 1.7, 0.05, 0.999);
	EXPECT("  1.5|0001.5|nan", "%5.1f|%06.1f|%f", 1.5, 1.5, __builtin_nan(""));
	EXPECT("0x1000", "%p", (void *)0x1000);
	EXPECT("    7", "%*d", 5, 7);
	CHECK(snprintf(small, sizeof(small), "%s", "longer") == 6 && !strcmp(small, "lon"));

	CHECK(strtoul("0x1f rest", &end, 0) == 31 && !strcmp(end, " rest"));
	CHECK(strtoll(" -42", NULL, 10) == -42 && strtoul("077", NULL, 0) == 63 &&
	      atoi("12x") == 12);
	errno = 0;
	CHECK(strtoull("99999999999999999999", NULL, 10) == ~0ull && errno == ERANGE);
	CHECK(strtol("zz", &end, 10) == 0 && *end == 'z');
	CHECK(!strcmp(strrchr("a/b/c", '/'), "/c") && !strchr("abc", 'd') &&
	      !strcmp(strstr("hello", "ll"), "llo"));
	CHECK(!strncmp("abcd", "abxx", 2) && strcmp("a", "b") < 0 && strnlen("abc", 2) == 2);
	CHECK(memchr("abc", 'c', 3) && !memchr("abc", 'c', 2) &&
	      !strcmp(strerror(EINVAL), "invalid argument"));
	qsort(v, sizeof(v) / sizeof(v[0]), sizeof(v[0]), by_value);
	for (size_t i = 1; i < sizeof(v) / sizeof(v[0]); i++)
		CHECK(v[i - 1] <= v[i]);
	CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0 && t.tv_sec > 0);
	CHECK(micro_random32() != micro_random32() || micro_random32() != micro_random32());
}

/* ---- machine ---- */
static void test_time(void)
{
	uint64_t start = micro_now_ns(), slept;

	CHECK(micro_irq_wait(MICRO_IRQ_ANY, micro_irq_count(MICRO_IRQ_ANY), 30 * MS) == -ETIMEDOUT);
	slept = micro_now_ns() - start;
	CHECK(slept >= 30 * MS && slept < 5000 * MS);
	CHECK(micro_irq_wait(MICRO_IRQ_ANY, micro_irq_count(MICRO_IRQ_ANY) + 1, MICRO_FOREVER) ==
	      0);
	CHECK(micro_irq_wait(0x40, 0, 0) == -ETIMEDOUT);
	printf("now %llu\n", (unsigned long long)start);
}

static void test_data(void)
{
	size_t in_bytes, out_bytes;
	uint8_t *in = micro_data(&in_bytes), *out = micro_out(&out_bytes);

	CHECK(in && out && out_bytes >= in_bytes);
	for (size_t i = 0; i < in_bytes; i++)
		out[i] = in[in_bytes - 1 - i];
	CHECK(micro_out_commit(out_bytes + 1) == -EINVAL);
	CHECK(micro_out_commit(in_bytes) == 0);
}

/* The vector registers keep their values over an exit, and the CPU has what the host has. */
static void test_vectors(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	CHECK((lo & 3) == 3);
	printf("xcr0 0x%x\n", lo);
	if (lo & 4) {
		uint64_t in[4] = { 1, 2, 3, 4 }, out[4];

		__asm__ volatile("vmovdqu %1, %%ymm7; inl %%dx, %%eax; vmovdqu %%ymm7, %0"
				 : "=m"(out)
				 : "m"(in), "d"(MDL_MICRO_PORT_RANDOM)
				 : "eax", "xmm7");
		CHECK(!memcmp(in, out, sizeof(in)));
	}
	if ((lo & 0xe6) == 0xe6) {
		uint64_t in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, out[8];

		__asm__ volatile("vmovdqu64 %1, %%zmm29; inl %%dx, %%eax; vmovdqu64 %%zmm29, %0"
				 : "=m"(out)
				 : "m"(in), "d"(MDL_MICRO_PORT_RANDOM)
				 : "eax");
		CHECK(!memcmp(in, out, sizeof(in)));
	}
}

static void test_ports(void)
{
	uint32_t v;
	const char *text = "string port\n";
	size_t n = strlen(text);

	__asm__ volatile("inl %%dx, %0" : "=a"(v) : "d"(0x540));
	CHECK(v == 0xffffffff);
	__asm__ volatile("outl %0, %%dx" : : "a"(1), "d"(0x540));
	/* Wild addresses are ignored. */
	__asm__ volatile("outl %0, %%dx" : : "a"(0xfffffffcu), "d"(MDL_MICRO_PORT_WAIT));
	__asm__ volatile("outl %0, %%dx" : : "a"(0xfffffffcu), "d"(MDL_MICRO_PORT_PRINT));
	fflush(stdout);
	__asm__ volatile("rep outsb"
			 : "+S"(text), "+c"(n)
			 : "d"(MDL_MICRO_PORT_CONSOLE)
			 : "memory");
}

static int recurse(volatile int *p)
{
	volatile int frame[256];

	frame[0] = *p + 1;
	return frame[0] ? recurse(frame) + frame[1] : 0;
}

/* Each ends the VM with a report. */
static void crash(const char *how)
{
	volatile int zero = 0;

	if (!strcmp(how, "null"))
		*(volatile int *)hidden(8) = 1;
	else if (!strcmp(how, "stack"))
		zero = recurse(&zero);
	else if (!strcmp(how, "system"))
		*(volatile uint64_t *)hidden(0xc000) = 0; /* the VMM's descriptor tables */
	else if (!strcmp(how, "handlers"))
		*(volatile uint64_t *)hidden(0xd000) = 0;
	else if (!strcmp(how, "beyond"))
		(void)*(volatile char *)hidden(micro_ram_bytes());
	else if (!strcmp(how, "noncanonical"))
		(void)*(volatile char *)hidden(0x8000000000000000ull);
	else if (!strcmp(how, "divide"))
		__asm__ volatile("divl %0" : : "r"(zero) : "eax", "edx");
	else if (!strcmp(how, "invalid"))
		__asm__ volatile("ud2");
	else if (!strcmp(how, "breakpoint"))
		__asm__ volatile("int3");
	else if (!strcmp(how, "hlt"))
		__asm__ volatile("hlt");
	else if (!strcmp(how, "cli"))
		__asm__ volatile("cli");
	else if (!strcmp(how, "port"))
		__asm__ volatile("outl %0, %%dx" : : "a"(1), "d"(0x80));
	else if (!strcmp(how, "int"))
		__asm__ volatile("int $0x41");
	else if (!strcmp(how, "fault-port"))
		__asm__ volatile("outl %0, %%dx" : : "a"(1), "d"(MDL_MICRO_PORT_FAULT));
	else if (!strcmp(how, "rsp"))
		__asm__ volatile("xorl %%esp, %%esp; pushq $1" : : : "memory");
	else if (!strcmp(how, "abort"))
		abort();
	else if (!strcmp(how, "assert"))
		assert(zero == 1);
	else if (!strcmp(how, "free"))
		free(calloc(1, 64) + 16);
	printf("still here\n");
}

/*
 * A guest gone mad: writes to its boot, interrupt and LAPIC pages (which can stop, reset or interrupt
 * the CPU), requests from wild addresses. The VM may end in any way; medley-vm must not fail.
 */
static void chaos(unsigned int seed)
{
	static const uint16_t ports[] = { MDL_MICRO_PORT_PRINT, MDL_MICRO_PORT_WAIT, 0x540, 0x57c };
	static uint64_t request[3];

	for (int i = 0; i < 3000; i++) {
		uint32_t r = seed = seed * 1664525 + 1013904223, at = r >> 8 & 0xff8;

		seed = seed * 1664525 + 1013904223;
		if (r % 4 == 0)
			*(volatile uint32_t *)hidden(MDL_MICRO_LAPIC + (at & 0xff0)) = seed;
		else if (r % 4 == 1)
			*(volatile uint64_t *)hidden(MDL_MICRO_IRQ_PAGE + at) = seed;
		for (size_t k = 0; k < 3; k++)
			request[k] = (uint64_t)seed << (seed >> 26) | k;
		request[2] %= 1000000;
		__asm__ volatile("outl %0, %%dx"
				 :
				 : "a"(r % 3 ? (uint32_t)(uintptr_t)request : seed),
				   "d"(ports[seed >> 30])
				 : "memory");
	}
}

/* ---- the toy device ---- */
static struct {
	uint8_t *regs, *mapped, *sparse;
	uint32_t vector;
} toy;

static void toy_open(size_t i)
{
	const struct micro_device *d = micro_device(i);

	CHECK(d && d->vendor == TOY_VENDOR && d->device == TOY_DEVICE &&
	      d->class_code == TOY_CLASS);
	CHECK(d->bar[0].bytes == TOY_BAR0_BYTES && d->bar[2].bytes == TOY_BAR2_BYTES &&
	      d->bar[4].bytes == TOY_BAR4_BYTES);
	CHECK(d->num_vectors == TOY_VECTORS && !d->bar[1].bytes && !d->bar[3].bytes &&
	      !d->bar[5].base);
	CHECK(micro_pa(d->bar[2].base) >= 1ull << 32);
	toy.regs = d->bar[0].base;
	toy.mapped = d->bar[2].base;
	toy.sparse = d->bar[4].base;
	toy.vector = d->first_vector;
}

static void test_registers(void)
{
	volatile uint8_t *bytes = toy.regs + TOY_SCRATCH;

	CHECK(micro_read32(toy.regs + TOY_ID) == TOY_ID_VALUE);
	micro_write64(toy.regs + TOY_SCRATCH, 0x1122334455667788ull);
	CHECK(micro_read64(toy.regs + TOY_SCRATCH) == 0x1122334455667788ull);
	CHECK(micro_read32(toy.regs + TOY_SCRATCH + 4) == 0x11223344 && bytes[1] == 0x77);
	bytes[1] = 0xab;
	CHECK(micro_read64(toy.regs + TOY_SCRATCH) == 0x112233445566ab88ull);
	/* The command register is on: memory, bus master. */
	CHECK((micro_read32(toy.regs + TOY_COMMAND) & 6) == 6);
	/* An error of the device is all-ones, and it lives on. */
	CHECK(micro_read32(toy.regs + TOY_BAD) == 0xffffffff);
	CHECK(micro_read32(toy.regs + TOY_ID) == TOY_ID_VALUE);
}

static void test_mapped(void)
{
	uint64_t *word = (uint64_t *)(toy.mapped + TOY_BAR2_BYTES - 8);

	CHECK(*word == TOY_BAR2_LAST);
	*word = 77;
	memset(toy.mapped, 0x5a, 1 << 20);
	CHECK(micro_read64(toy.regs + TOY_PEEK) == 77);
	CHECK(toy.mapped[(1 << 20) - 1] == 0x5a && toy.mapped[1 << 20] == 0);
	/* BAR 4: the second page is mapped, the others trap. */
	micro_write32(toy.sparse + 0x1000, 4242);
	CHECK(micro_read32(toy.regs + TOY_PEEK4) == 4242);
	CHECK(micro_read32(toy.sparse) == TOY_BAR4_TRAPPED &&
	      micro_read32(toy.sparse + 0x2000) == TOY_BAR4_TRAPPED);
}

static void test_dma(void)
{
	uint64_t *cell = micro_dma_alloc(4096, 4096);

	CHECK(cell);
	*cell = 41;
	micro_write64(toy.regs + TOY_DMA, micro_pa(cell));
	CHECK(*(volatile uint64_t *)cell == 42);
	*cell = 50;
	micro_write64(toy.regs + TOY_DMA_MESSAGE, micro_pa(cell));
	for (uint64_t end = micro_now_ns() + 5000 * MS;
	     micro_now_ns() < end && *(volatile uint64_t *)cell == 50;)
		micro_relax();
	CHECK(*(volatile uint64_t *)cell == 0x600d);
}

static void test_doorbell(void)
{
	uint64_t end = micro_now_ns() + 5000 * MS;

	for (uint32_t i = 0; i < 100; i++)
		micro_write32(toy.regs + TOY_DOORBELL, i);
	while (micro_read64(toy.regs + TOY_RINGS) != 100 && micro_now_ns() < end)
		;
	CHECK(micro_read64(toy.regs + TOY_RINGS) == 100);
	CHECK(micro_read64(toy.regs + TOY_DOORBELL_TRAPS) == 0);
}

static void test_irq(void)
{
	uint64_t other = micro_irq_count(toy.vector + 1);

	for (uint32_t v = 0; v < TOY_VECTORS; v++) {
		uint64_t seen = micro_irq_count(toy.vector + v);

		micro_write32(toy.regs + TOY_IRQ, v);
		CHECK(micro_irq_wait(toy.vector + v, seen, 5000 * MS) == 0);
		CHECK(micro_irq_count(toy.vector + v) == seen + 1);
	}
	CHECK(micro_irq_count(toy.vector + 1) == other + 1);
	/* All at once: they nest and none is lost. */
	for (int i = 0; i < 20; i++) {
		uint64_t seen = micro_irq_count(MICRO_IRQ_ANY), end = micro_now_ns() + 5000 * MS;

		micro_write32(toy.regs + TOY_IRQ_ALL, 0);
		while (micro_irq_count(MICRO_IRQ_ANY) != seen + TOY_VECTORS && micro_now_ns() < end)
			micro_relax();
		CHECK(micro_irq_count(MICRO_IRQ_ANY) == seen + TOY_VECTORS);
	}
}

/*
 * Lost wake-ups: each round, an interrupt comes 0 to 200 us after it was asked for, around the
 * moment in which the guest goes to sleep. A lost one shows as a wait of the whole four seconds.
 */
static void test_wakeups(void)
{
	struct mdl_micro_wait stale = { .vector = toy.vector,
					.seen = micro_irq_count(toy.vector),
					.timeout_ns = 4000 * MS };
	uint64_t before;

	/*
	 * The worst moment, made to happen: the interrupt is handled after the guest looked and
	 * before it asks to sleep.
	 */
	micro_write32(toy.regs + TOY_IRQ, 0);
	CHECK(micro_irq_wait(toy.vector, stale.seen, 4000 * MS) == 0);
	before = micro_now_ns();
	__asm__ volatile("outl %0, %%dx"
			 :
			 : "a"((uint32_t)(uintptr_t)&stale), "d"(MDL_MICRO_PORT_WAIT)
			 : "memory");
	CHECK(micro_now_ns() - before < 3900 * MS);
	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t seen = micro_irq_count(toy.vector), start = micro_now_ns();

		micro_write32(toy.regs + TOY_IRQ_LATER_NS, i % 200 * 1000);
		CHECK(micro_irq_wait(toy.vector, seen, 4000 * MS) == 0);
		CHECK(micro_now_ns() - start < 3900 * MS);
		CHECK(micro_irq_count(toy.vector) == seen + 1);
	}
}

/* ---- what things cost: numbers for people, not checked ---- */
static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_cost(const char *name, uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), by_size);
	printf("%s: median %llu ns, p99 %llu ns, least %llu ns\n", name,
	       (unsigned long long)ns[n / 2], (unsigned long long)ns[n * 99 / 100],
	       (unsigned long long)ns[0]);
}

static void measure(void)
{
	enum {
		N = 500
	};
	static uint64_t ns[N];
	uint64_t start, seen;

	for (size_t i = 0; i < N; i++) {
		start = micro_now_ns();
		__asm__ volatile("outl %0, %%dx" : : "a"(1), "d"(0x540));
		ns[i] = micro_now_ns() - start;
	}
	print_cost("port exit", ns, N);
	for (size_t i = 0; i < N; i++) {
		start = micro_now_ns();
		micro_read32(toy.regs + TOY_SCRATCH);
		ns[i] = micro_now_ns() - start;
	}
	print_cost("trapped read", ns, N);
	for (size_t i = 0; i < N; i++) {
		start = micro_now_ns();
		micro_write32(toy.regs + TOY_DOORBELL, 0);
		ns[i] = micro_now_ns() - start;
	}
	print_cost("doorbell (ioeventfd)", ns, N);
	/* The device notes the time before it signals; the guest spins, then sleeps. */
	for (int sleeping = 0; sleeping < 2; sleeping++) {
		for (size_t i = 0; i < N; i++) {
			seen = micro_irq_count(toy.vector);
			micro_write32(toy.regs + TOY_IRQ_LATER_NS, 300000);
			if (sleeping)
				CHECK(micro_irq_wait(toy.vector, seen, 5000 * MS) == 0);
			while (micro_irq_count(toy.vector) == seen)
				micro_relax();
			ns[i] = micro_now_ns() - *(volatile uint64_t *)(toy.mapped + TOY_STAMP);
		}
		print_cost(sleeping ? "interrupt while waiting" : "interrupt while running", ns, N);
	}
}

static void measure_copy(void)
{
	size_t n = TOY_BAR2_BYTES;
	uint8_t *a = malloc(n), *b = malloc(n);

	CHECK(a && b);
	memset(a, 1, n);
	memset(b, 1, n);
	for (int what = 0; what < 3; what++) {
		uint8_t *to = what == 1 ? toy.mapped : b, *from = what == 2 ? toy.mapped : a;
		uint64_t best = UINT64_MAX;

		for (int i = 0; i < 5; i++) {
			uint64_t start = micro_now_ns(), t;

			memcpy(to, from, n);
			t = micro_now_ns() - start;
			best = t < best ? t : best;
		}
		printf("%s: %.2f GB/s\n",
		       what == 0   ? "memory to memory"
		       : what == 1 ? "memory to BAR"
				   : "BAR to memory",
		       (double)n / (double)best);
	}
}

/* These never end. */
static void spin(void)
{
	puts("spinning");
	for (;;)
		micro_relax();
}

static void sleep_on(void)
{
	puts("sleeping");
	for (;;)
		micro_irq_wait(MICRO_IRQ_ANY, micro_irq_count(MICRO_IRQ_ANY), MICRO_FOREVER);
}

/* Says what comes, five bytes at a time, and sleeps in between. */
static void test_input(void)
{
	char text[6];
	int n = 0;

	puts("listening");
	while (n >= 0) {
		uint64_t seen = micro_irq_count(MICRO_INPUT);

		n = micro_input_read(text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = 0;
		printf("%s", text);
		if (n == 0)
			CHECK(micro_irq_wait(MICRO_INPUT, seen, MICRO_FOREVER) == 0);
	}
	CHECK(n == -ESHUTDOWN);
	puts("ended");
}

static void flood(void)
{
	for (;;)
		puts("all work and no play");
}

static void storm(void)
{
	for (;;)
		micro_random32();
}

static void access_storm(void)
{
	for (;;)
		micro_read32(toy.regs + TOY_ID);
}

static void test_dead(void)
{
	micro_write32(toy.regs + TOY_DIE, 1);
	for (int i = 0; i < 3; i++)
		CHECK(micro_read32(toy.regs + TOY_ID) == 0xffffffff);
	micro_write32(toy.regs + TOY_SCRATCH, 1);
	CHECK(micro_irq_wait(toy.vector, micro_irq_count(toy.vector), 10 * MS) == -ETIMEDOUT);
	printf("alive\n");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
		int toy;
	} cases[] = {
		{ "mem", test_mem, 0 },
		{ "heap", test_heap, 0 },
		{ "libc", test_libc, 0 },
		{ "time", test_time, 0 },
		{ "data", test_data, 0 },
		{ "vectors", test_vectors, 0 },
		{ "ports", test_ports, 0 },
		{ "spin", spin, 0 },
		{ "sleep", sleep_on, 0 },
		{ "input", test_input, 0 },
		{ "flood", flood, 0 },
		{ "storm", storm, 0 },
		{ "access-storm", access_storm, 1 },
		{ "registers", test_registers, 1 },
		{ "mapped", test_mapped, 1 },
		{ "dma", test_dma, 1 },
		{ "doorbell", test_doorbell, 1 },
		{ "irq", test_irq, 1 },
		{ "wakeups", test_wakeups, 1 },
		{ "dead", test_dead, 1 },
		{ "measure", measure, 1 },
		{ "measure-copy", measure_copy, 1 },
	};

	if (argc == 3 && !strcmp(argv[1], "chaos")) {
		chaos((unsigned int)atoi(argv[2]));
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "crash")) {
		crash(argv[2]);
		return 0;
	}
	for (size_t i = 0; argc >= 2 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		if (cases[i].toy)
			toy_open(argc > 2 ? strtoul(argv[2], NULL, 10) : 0);
		cases[i].run();
		printf("%s: ok\n", argv[1]);
		return 0;
	}
	printf("no such case\n");
	return 2;
}
