/* SPDX-License-Identifier: MIT */
/* Runs the guest until it ends, and serves its exits. */
#ifndef MDL_VMM_RUN_H
#define MDL_VMM_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/device.h"
#include "vmm/events.h"
#include "vmm/vm.h"

enum mdl_run_end {
	MDL_RUN_EXITED, /* status is the guest's */
	MDL_RUN_CRASHED, /* the guest did what ends it; text says what */
	MDL_RUN_TIMEOUT,
	MDL_RUN_INTERRUPTED, /* status is the signal */
	MDL_RUN_FAILED, /* ours or KVM's fault; text says what */
};

struct mdl_run {
	struct mdl_vm *vm;
	struct mdl_events *events;
	struct mdl_vm_device **device;
	size_t num_devices;
	int console_fd;
	int input_fd; /* -1: no input */

	/* Results. */
	enum mdl_run_end end;
	int status;
	char text[200];
};

/* on_death is called once for each device whose connection broke; the guest goes on. */
void mdl_run(struct mdl_run *r, void (*on_death)(const struct mdl_vm_device *dev));

#endif
