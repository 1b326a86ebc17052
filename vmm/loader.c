/* SPDX-License-Identifier: MIT */
/*
 * Lays out guest memory as micro_abi.h describes and maps it. Small machines fail here with a clear
 * text rather than in the guest. Leaves out rights within RAM: the program, heap and stack are one
 * readable, writable, executable area.
 */
#include "vmm/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define PAGE	       4096ull
#define STACK_BYTES    (256ull << 10)
#define HEAP_MIN_BYTES (64ull << 10)

static int load_data(struct mdl_vm *vm, const char *path, uint64_t *top,
		     struct mdl_micro_boot *boot, char *why)
{
	mdl_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint64_t bytes, done = 0;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = -errno;

		snprintf(why, MDL_LOADER_WHY_BYTES, "%.120s: %s", path, strerror(-err));
		return err;
	}
	bytes = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, MDL_LOADER_WHY_BYTES, "%.120s: not a regular file", path);
		return -EINVAL;
	}
	if (bytes > *top - MDL_MICRO_IMAGE) {
		snprintf(why, MDL_LOADER_WHY_BYTES, "%.120s: does not fit in the guest's memory",
			 path);
		return -EFBIG;
	}
	*top = mdl_align_down(*top - bytes, PAGE);
	while (done < bytes) {
		ssize_t n = read(fd, vm->ram + *top + done, bytes - done);

		if (n <= 0) {
			snprintf(why, MDL_LOADER_WHY_BYTES, "%.120s: %s", path,
				 n ? strerror(errno) : "became shorter");
			return -EIO;
		}
		done += (uint64_t)n;
	}
	boot->data_addr = *top;
	boot->data_bytes = bytes;
	return 0;
}

static int load_args(struct mdl_vm *vm, const struct mdl_loader *what, struct mdl_micro_boot *boot,
		     char *why)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < what->argc; i++) {
		size_t n = strlen(what->argv[i]) + 1;

		if (n > MDL_MICRO_ARGS_BYTES - used) {
			snprintf(why, MDL_LOADER_WHY_BYTES,
				 "arguments for the guest are longer than %d bytes",
				 MDL_MICRO_ARGS_BYTES);
			return -E2BIG;
		}
		memcpy(vm->ram + MDL_MICRO_ARGS + used, what->argv[i], n);
		used += n;
	}
	boot->argc = what->argc;
	return 0;
}

static int load_program(struct mdl_vm *vm, const char *path, uint64_t limit,
			struct mdl_elf *ret_elf, char *why)
{
	mdl_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *reason = NULL;
	int err = fd < 0 ? -errno : mdl_elf_load(vm, fd, MDL_MICRO_IMAGE, limit, ret_elf, &reason);

	if (err)
		snprintf(why, MDL_LOADER_WHY_BYTES, "%.120s: %s", path,
			 err == -ENOEXEC ? reason : strerror(-err));
	return err;
}

static int map_ram(struct mdl_vm *vm, uint64_t guard)
{
	int err = mdl_vm_map(vm, MDL_MICRO_IMAGE, guard - MDL_MICRO_IMAGE);

	return err ? err : mdl_vm_map(vm, guard + PAGE, vm->ram_bytes - guard - PAGE);
}

static int fill_boot(struct mdl_vm *vm, const struct mdl_loader *what, struct mdl_micro_boot *boot)
{
	int err = mdl_vm_clock(vm, &boot->tsc_base, &boot->ns_base, &boot->tsc_khz);

	if (err)
		return err;
	boot->magic = MDL_MICRO_MAGIC;
	boot->version = MDL_MICRO_VERSION;
	boot->ram_bytes = vm->ram_bytes;
	boot->ns_mult = (uint64_t)(((unsigned __int128)1000000 << 32) / boot->tsc_khz);
	boot->num_devices = what->num_devices;
	memcpy(boot->device, what->device, what->num_devices * sizeof(boot->device[0]));
	if (getrandom(boot->random, sizeof(boot->random), 0) != sizeof(boot->random))
		return -EIO;
	memcpy(vm->ram + MDL_MICRO_BOOT_PAGE, boot, sizeof(*boot));
	return 0;
}

int mdl_loader_run(struct mdl_vm *vm, const struct mdl_loader *what, uint64_t *ret_out_addr,
		   char *why)
{
	struct mdl_micro_boot boot = { 0 };
	uint64_t top = vm->ram_bytes, guard;
	struct mdl_elf elf;
	int err = 0;

	if (what->data)
		err = load_data(vm, what->data, &top, &boot, why);
	if (!err)
		err = load_args(vm, what, &boot, why);
	if (err)
		return err;
	snprintf(why, MDL_LOADER_WHY_BYTES,
		 "the guest's memory is too small for what it must hold");
	if (what->out_bytes) {
		if (what->out_bytes > top - MDL_MICRO_IMAGE)
			return -EFBIG;
		top = mdl_align_down(top - what->out_bytes, PAGE);
		boot.out_addr = top;
		boot.out_bytes = what->out_bytes;
	}
	if (top < MDL_MICRO_IMAGE + STACK_BYTES + PAGE + HEAP_MIN_BYTES)
		return -EFBIG;
	boot.stack_top = top;
	guard = top - STACK_BYTES - PAGE;
	err = load_program(vm, what->program, guard - HEAP_MIN_BYTES, &elf, why);
	if (err)
		return err;
	boot.heap_addr = mdl_align_up(elf.end, PAGE);
	boot.heap_bytes = guard - boot.heap_addr;

	err = map_ram(vm, guard);
	if (!err)
		err = fill_boot(vm, what, &boot);
	if (!err)
		err = mdl_vm_cpu_start(vm, elf.entry, boot.stack_top);
	if (err)
		snprintf(why, MDL_LOADER_WHY_BYTES, "cannot start the guest: %s", strerror(-err));
	else
		*ret_out_addr = boot.out_addr;
	return err;
}
