/* SPDX-License-Identifier: MIT */
/*
 * Runs medley-vm and keeps what it said. Paths of medley-vm and of the guests come from MEDLEY_VM
 * and MEDLEY_GUESTS.
 */
#ifndef MDL_TESTS_MICRO_VM_H
#define MDL_TESTS_MICRO_VM_H

#include <stddef.h>
#include <sys/types.h>

#include "tests/unit/check.h"

struct vm_result {
	int status; /* exit code, or 1000 + signal */
	char out[65536], err[8192]; /* NUL-terminated */
	size_t out_bytes;
	double seconds;
};

/*
 * argv: arguments of medley-vm, up to a NULL; "@name" stands for the guest name.elf. Ends the
 * process after 60 s. A test whose machine has no KVM is skipped here, if need_kvm. As another user
 * if uid is not 0; poke_signal: sent once something was printed; input: what it then finds on
 * standard input, before that ends.
 */
struct vm_options {
	int poke_signal;
	uid_t uid;
	int no_reader; /* never read its output */
	int any_kvm; /* do not skip without KVM */
	const char *input;
};
const struct vm_result *vm_run(const char *const *argv, struct vm_options options);
#define VM(...) vm_run((const char *const[]) { __VA_ARGS__, NULL }, (struct vm_options) { 0 })

/* check_main() with a directory for the cases' files. */
int vm_main(const struct check_case *cases, size_t n);
#define VM_MAIN(cases)                                                       \
	int main(void)                                                       \
	{                                                                    \
		return vm_main((cases), sizeof(cases) / sizeof((cases)[0])); \
	}
/* Path of a file in that directory; valid for ever. The cases of a program share the directory. */
const char *vm_path(const char *name);
void vm_write_file(const char *path, const void *data, size_t bytes);
/* The whole file; the caller frees it. */
void *vm_read_file(const char *path, size_t *ret_bytes);
const char *vm_guest(const char *name);
/* Whether text, one line, is all that was said on standard error. */
int vm_said(const struct vm_result *r, const char *text);

#endif
