/* SPDX-License-Identifier: MIT */
/*
 * The part of the runtime that talks to the machine: start and end, devices, interrupts, clock,
 * input and output. Single-threaded; interrupt handlers are the VMM's and only count, so nothing
 * here needs a lock.
 */
#include "guest/micro/micro.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/micro/internal.h"

#define ARGS_MAX 512

_Static_assert(MICRO_INPUT == MDL_MICRO_INPUT_COUNTER &&
		       MDL_MICRO_INPUT_COUNTER == MDL_MICRO_VECTOR_LAST + 1,
	       "it ends the row of counters");
_Static_assert(sizeof(((struct micro_device *)NULL)->bar) ==
			       sizeof(((struct mdl_micro_device *)NULL)->bar) &&
		       sizeof(struct micro_device) == sizeof(struct mdl_micro_device) &&
		       offsetof(struct micro_device, bar) == offsetof(struct mdl_micro_device, bar),
	       "the boot page's devices are used in place");

void micro_start(const struct mdl_micro_boot *boot)
{
	static char *argv[ARGS_MAX + 1];
	char *arg = (char *)(uintptr_t)MDL_MICRO_ARGS;
	int argc = 0;

	if (boot->magic != MDL_MICRO_MAGIC || boot->version != MDL_MICRO_VERSION)
		micro_exit(MDL_MICRO_EXIT_MAX);
	micro_mem_init();
	micro_heap_init(boot->heap_addr, boot->heap_bytes);
	for (; argc < (int)boot->argc && argc < ARGS_MAX; argc++) {
		argv[argc] = arg;
		arg += strlen(arg) + 1;
	}
	exit(main(argc, argv));
}

void micro_exit(int status)
{
	micro_stdio_flush();
	for (;;)
		micro_out32(MDL_MICRO_PORT_EXIT, (uint32_t)status);
}

size_t micro_device_count(void)
{
	return micro_boot()->num_devices;
}

const struct micro_device *micro_device(size_t i)
{
	return i < micro_boot()->num_devices ? (const struct micro_device *)&micro_boot()->device[i]
					     : NULL;
}

void *micro_dma_alloc(size_t bytes, size_t align)
{
	void *p = NULL;

	/* Whole pages, so that nothing else shares what a device may reach. */
	if (bytes > SIZE_MAX - 4095 ||
	    posix_memalign(&p, align < 4096 ? 4096 : align, (bytes + 4095) & ~(size_t)4095))
		return NULL;
	return memset(p, 0, bytes);
}

uint64_t micro_irq_count(uint32_t vector)
{
	const volatile uint64_t *count = (const volatile uint64_t *)(uintptr_t)MDL_MICRO_IRQ_PAGE;
	uint64_t sum = 0;

	if (vector != MICRO_IRQ_ANY)
		return vector < MDL_MICRO_VECTORS ? count[vector] : 0;
	for (uint32_t i = MDL_MICRO_VECTOR_FIRST; i <= MDL_MICRO_INPUT_COUNTER; i++)
		sum += count[i];
	return sum;
}

int micro_irq_wait(uint32_t vector, uint64_t seen, uint64_t timeout_ns)
{
	struct mdl_micro_wait wait = { .vector = vector, .seen = seen, .timeout_ns = timeout_ns };
	uint64_t end = 0, now;

	if (timeout_ns != MICRO_FOREVER) {
		now = micro_now_ns();
		end = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
	}
	while (micro_irq_count(vector) == seen) {
		if (timeout_ns != MICRO_FOREVER) {
			now = micro_now_ns();
			if (now >= end)
				return -ETIMEDOUT;
			wait.timeout_ns = end - now;
		}
		micro_out32(MDL_MICRO_PORT_WAIT, (uint32_t)(uintptr_t)&wait);
	}
	return 0;
}

uint64_t micro_now_ns(void)
{
	const struct mdl_micro_boot *b = micro_boot();
	uint64_t tsc = __builtin_ia32_rdtsc();

	return b->ns_base + (uint64_t)(((unsigned __int128)(tsc - b->tsc_base) * b->ns_mult) >> 32);
}

void *micro_data(size_t *ret_bytes)
{
	*ret_bytes = micro_boot()->data_bytes;
	return micro_boot()->data_addr ? (void *)(uintptr_t)micro_boot()->data_addr : NULL;
}

void *micro_out(size_t *ret_bytes)
{
	*ret_bytes = micro_boot()->out_bytes;
	return micro_boot()->out_addr ? (void *)(uintptr_t)micro_boot()->out_addr : NULL;
}

int micro_out_commit(size_t bytes)
{
	if (bytes > micro_boot()->out_bytes)
		return -EINVAL;
	micro_boot()->out_used = bytes;
	return 0;
}

uint64_t micro_ram_bytes(void)
{
	return micro_boot()->ram_bytes;
}

uint32_t micro_random32(void)
{
	return micro_in32(MDL_MICRO_PORT_RANDOM);
}

int micro_input_read(void *data, size_t bytes)
{
	volatile struct mdl_micro_input input = {
		.addr = micro_pa(data),
		.bytes = bytes < MDL_MICRO_INPUT_MAX ? (uint32_t)bytes : MDL_MICRO_INPUT_MAX,
	};

	micro_out32(MDL_MICRO_PORT_INPUT, (uint32_t)(uintptr_t)&input);
	return input.bytes ? (int)input.bytes : input.ended ? -ESHUTDOWN : 0;
}

void micro_console_write(const void *data, size_t bytes)
{
	while (bytes) {
		size_t n = bytes < MDL_MICRO_PRINT_MAX ? bytes : MDL_MICRO_PRINT_MAX;
		struct mdl_micro_print print = { .addr = micro_pa(data), .bytes = n };

		micro_out32(MDL_MICRO_PORT_PRINT, (uint32_t)(uintptr_t)&print);
		data = (const char *)data + n;
		bytes -= n;
	}
}
