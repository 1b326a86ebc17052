/* SPDX-License-Identifier: MIT */
/*
 * The smallest guest: prints its arguments and devices; exits with the number in its first
 * argument.
 */
#include <stdio.h>
#include <stdlib.h>

#include "guest/micro/micro.h"

int main(int argc, char **argv)
{
	printf("hello from ring 3, %llu MiB of memory\n",
	       (unsigned long long)(micro_ram_bytes() >> 20));
	for (int i = 1; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	for (size_t i = 0; i < micro_device_count(); i++) {
		const struct micro_device *d = micro_device(i);

		printf("device %zu: %04x:%04x, %u vectors from 0x%x\n", i, d->vendor, d->device,
		       d->num_vectors, d->first_vector);
		for (int b = 0; b < 6; b++)
			if (d->bar[b].bytes)
				printf("  BAR %d: %llu bytes at %p\n", b,
				       (unsigned long long)d->bar[b].bytes, d->bar[b].base);
	}
	return argc > 1 ? atoi(argv[1]) : 0;
}
