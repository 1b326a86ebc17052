/* SPDX-License-Identifier: MIT */
/*
 * What the programs here need of the system beside libmedley, so that one source runs under Linux
 * (app-linux.c) and in guests without an operating system (app-micro.c): a whole input, a whole
 * output. Single-threaded.
 */
#ifndef MDL_GUEST_APPS_APP_H
#define MDL_GUEST_APPS_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Linux: reads at most max bytes of a file or block device; path NULL is an error (-EINVAL). Micro:
 * the data module, whatever path is. The memory is the caller's to end with app_input_end().
 */
int app_input(const char *path, size_t max, void **ret_data, size_t *ret_bytes);
void app_input_end(void *data, size_t bytes);

/*
 * Linux: writes a file (created, cut) or the beginning of a block device. Micro: the output buffer;
 * -ENOSPC if it is too small.
 */
int app_output(const char *path, const void *data, size_t bytes);

/* Whether input and output are named by paths here. */
bool app_has_files(void);

/* The port that the program uses when none is named: "sysfs:" or "micro:". */
const char *app_default_device(void);

#endif
