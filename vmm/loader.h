/* SPDX-License-Identifier: MIT */
/*
 * Fills the guest's memory: the program, its arguments, input, output buffer, stack and heap, the
 * boot page.
 */
#ifndef MDL_VMM_LOADER_H
#define MDL_VMM_LOADER_H

#include <stdint.h>

#include "vmm/micro_abi.h"
#include "vmm/vm.h"

struct mdl_loader {
	const char *program; /* path of the ELF file */
	char *const *argv; /* the guest's, argv[0] included */
	uint32_t argc;
	const char *data; /* path of the data module, or NULL */
	uint64_t out_bytes; /* 0: no output buffer */
	const struct mdl_micro_device *device;
	uint32_t num_devices;
};

#define MDL_LOADER_WHY_BYTES 200

/*
 * Loads everything, maps RAM and sets the CPU to the program's entry. The file is untrusted.
 * *ret_out_addr: where the output buffer is. On failure why (MDL_LOADER_WHY_BYTES) has a text for
 * the user that names the file.
 */
int mdl_loader_run(struct mdl_vm *vm, const struct mdl_loader *what, uint64_t *ret_out_addr,
		   char *why);

/* ---- elf.c ---- */
struct mdl_elf {
	uint64_t entry;
	uint64_t end; /* first byte of memory after the program */
};

/*
 * Copies the segments of the static 64-bit x86 program fd to their addresses, all within [first,
 * limit) of guest memory. -ENOEXEC with *ret_why: the file is not such a program; otherwise -errno
 * of reading it.
 */
int mdl_elf_load(struct mdl_vm *vm, int fd, uint64_t first, uint64_t limit, struct mdl_elf *ret_elf,
		 const char **ret_why);

#endif
