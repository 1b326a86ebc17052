/* SPDX-License-Identifier: MIT */
/* What the runtime's files share. */
#ifndef MDL_GUEST_MICRO_INTERNAL_H
#define MDL_GUEST_MICRO_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/micro_abi.h"

/* The boot page. The guest trusts its VMM. */
static inline struct mdl_micro_boot *micro_boot(void)
{
	return (struct mdl_micro_boot *)(uintptr_t)MDL_MICRO_BOOT_PAGE;
}

static inline void micro_out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t micro_in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

void micro_heap_init(uint64_t addr, uint64_t bytes);
void micro_mem_init(void);
void micro_stdio_flush(void);
int main(int argc, char **argv);
__attribute__((noreturn)) void micro_start(const struct mdl_micro_boot *boot);

#endif
