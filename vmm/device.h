/* SPDX-License-Identifier: MIT */
/*
 * A vfio-user PCI function in the machine. The VMM plays firmware: it places the BARs, turns the
 * function on and wires its MSI-X vectors to CPU vectors; the guest finds the result in the boot
 * page. Owned by the VMM's one thread.
 */
#ifndef MDL_VMM_DEVICE_H
#define MDL_VMM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/micro_abi.h"
#include "vmm/vm.h"

struct mdl_vm_device;

/* What the devices share. */
struct mdl_vm_space {
	uint64_t next32, next64; /* where the next BARs go; zero at first */
	uint32_t vectors_max; /* of each device; MSI-X vectors beyond stay off */
};

/*
 * Connects to the socket and plugs the device in: RAM for its DMA, BARs, doorbells, interrupts
 * (wired by mdl_vm_device_start()). On failure *ret_why names the step.
 */
int mdl_vm_device_attach(struct mdl_vm *vm, struct mdl_vm_space *space, const char *path,
			 struct mdl_vm_device **ret_dev, const char **ret_why);
/*
 * After mdl_vm_route_irqs(): gives the device its interrupts, registers them with KVM, enables the
 * function.
 */
int mdl_vm_device_start(struct mdl_vm *vm, struct mdl_vm_device *dev, const char **ret_why);
/* Accepts NULL. The machine's CPU must not run any more. */
void mdl_vm_device_detach(struct mdl_vm_device *dev);

const struct mdl_micro_device *mdl_vm_device_info(const struct mdl_vm_device *dev);
const char *mdl_vm_device_path(const struct mdl_vm_device *dev);
int mdl_vm_device_fd(const struct mdl_vm_device *dev);

/*
 * A trapped access of 1 to 8 bytes. False: addr is not this device's. What the device does not
 * answer reads as all-ones.
 */
bool mdl_vm_device_access(struct mdl_vm_device *dev, uint64_t addr, void *data, uint32_t bytes,
			  bool write);
/* Answers the device's requests. */
void mdl_vm_device_process(struct mdl_vm_device *dev);
/* True once, when the connection has been found broken. */
bool mdl_vm_device_died(struct mdl_vm_device *dev);

#endif
