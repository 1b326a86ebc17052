/* SPDX-License-Identifier: MIT */
/*
 * The runtime of a guest without an operating system (see vmm/micro_abi.h for what it stands on). A
 * program is an ordinary int main(int argc, char **argv); its return value is the exit status of
 * medley-vm (0 to 63). One thread, no signals, no files.
 *
 * Of the C library, under its usual names and headers, there are: printf, vprintf, puts, putchar,
 * fprintf, vfprintf and fputs and fflush (stdout and stderr are both the console), snprintf,
 * vsnprintf (d i u x X o c s p % f e-less floats; no wide characters); malloc, calloc, realloc,
 * aligned_alloc, posix_memalign, free; memcpy, memmove, memset, memcmp, memchr, str(n)len,
 * str(n)cmp, strcpy, strncpy, strcat, str(r)chr, strstr, strdup, strndup, strerror; strtoul,
 * strtoull, strtol, strtoll, atoi; abs, qsort; errno; assert, abort, exit, _exit; clock_gettime
 * (every clock is the host's CLOCK_MONOTONIC), nanosleep, getenv (always NULL).
 *
 * Addresses: guest-physical and virtual addresses are equal everywhere, so any memory can be given
 * to a device.
 */
#ifndef MDL_GUEST_MICRO_H
#define MDL_GUEST_MICRO_H

#include <stddef.h>
#include <stdint.h>

/* ---- devices ---- */
struct micro_device {
	uint16_t vendor, device; /* PCI identity */
	uint32_t class_code;
	uint32_t first_vector; /* MSI-X vector i interrupts as CPU vector first_vector + i */
	uint32_t num_vectors;
	struct {
		void *base; /* NULL: absent. Registers through micro_read/write, memory directly */
		uint64_t bytes;
	} bar[6];
};

/* Devices in the order of --vgpu on medley-vm's command line. */
size_t micro_device_count(void);
/* NULL beyond the last one; valid for ever. */
const struct micro_device *micro_device(size_t i);

static inline uint32_t micro_read32(const void *addr)
{
	uint32_t v;

	__asm__ volatile("movl %1, %0"
			 : "=r"(v)
			 : "m"(*(const volatile uint32_t *)addr)
			 : "memory");
	return v;
}

static inline uint64_t micro_read64(const void *addr)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0"
			 : "=r"(v)
			 : "m"(*(const volatile uint64_t *)addr)
			 : "memory");
	return v;
}

static inline void micro_write32(void *addr, uint32_t v)
{
	__asm__ volatile("movl %1, %0" : "=m"(*(volatile uint32_t *)addr) : "r"(v) : "memory");
}

static inline void micro_write64(void *addr, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*(volatile uint64_t *)addr) : "r"(v) : "memory");
}

/* ---- memory for devices ---- */
/*
 * Zeroed memory, aligned to align (a power of two, at least 4096 is used), or NULL. Freed with
 * free().
 */
void *micro_dma_alloc(size_t bytes, size_t align);
/* The guest-physical address of any memory of the program. */
static inline uint64_t micro_pa(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/* ---- interrupts ---- */
#define MICRO_IRQ_ANY 0u /* as vector: the sum of all counters */
#define MICRO_INPUT   0xf0u /* not an interrupt: counts when input may have come */
#define MICRO_FOREVER UINT64_MAX

/* How often the CPU vector has fired; read it before looking for what one waits for. */
uint64_t micro_irq_count(uint32_t vector);
/*
 * Idles until the counter of vector differs from seen: 0, or -ETIMEDOUT after timeout_ns. The
 * pattern without lost wake-ups: seen = micro_irq_count(v); if (!done()) micro_irq_wait(v, seen,
 * timeout).
 */
int micro_irq_wait(uint32_t vector, uint64_t seen, uint64_t timeout_ns);

/* A pause in a polling loop. */
static inline void micro_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* ---- time ---- */
/* Nanoseconds of the host's CLOCK_MONOTONIC, without leaving the guest. */
uint64_t micro_now_ns(void);

/* ---- input, output ---- */
/* The file of --data, writable in memory; NULL and 0 bytes without one. */
void *micro_data(size_t *ret_bytes);
/* The buffer that --out FILE:BYTES asked for; NULL and 0 bytes without one. */
void *micro_out(size_t *ret_bytes);
/*
 * Says how much of the output buffer is written to FILE when the program ends. -EINVAL: more than
 * there is.
 */
int micro_out_commit(size_t bytes);
uint64_t micro_ram_bytes(void);
uint32_t micro_random32(void);
void micro_console_write(const void *data, size_t bytes);
/*
 * Takes what has come on medley-vm's standard input (with --input), at most `bytes`: how much, 0 for
 * nothing now, or -ESHUTDOWN when nothing will come any more. A wait for MICRO_IRQ_ANY ends when
 * something comes; MICRO_INPUT as vector: for that only.
 */
int micro_input_read(void *data, size_t bytes);
__attribute__((noreturn)) void micro_exit(int status);

#endif
