/* SPDX-License-Identifier: MIT */
/*
 * One virtual machine on /dev/kvm: memory, one CPU, interrupts. Everything belongs to the one
 * thread that created it. Guest memory is untrusted: it is reached only through mdl_vm_ram(), and
 * what is read from it is copied once and then checked.
 */
#ifndef MDL_VMM_VM_H
#define MDL_VMM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvm_run;

struct mdl_vm {
	int kvm_fd, vm_fd, cpu_fd;
	int ram_fd; /* sealed memfd behind [0, ram_bytes) */
	uint8_t *ram;
	uint64_t ram_bytes;
	struct kvm_run *run; /* shared with KVM; read after each exit */
	size_t run_bytes;
	uint32_t slots; /* memory slots in use */
	uint32_t vectors; /* device vectors handed out */
	uint64_t pt_next; /* page tables: next free page */
};

/* RAM lies below the hole in which devices' 32-bit BARs and the interrupt controllers are. */
#define MDL_VM_RAM_MIN	    (2ull << 20)
#define MDL_VM_RAM_MAX	    (3ull << 30)
#define MDL_VM_MMIO32_FIRST 0xc0000000ull
#define MDL_VM_MMIO32_LAST  0xfebfffffull
#define MDL_VM_MMIO64_FIRST (64ull << 30)
#define MDL_VM_MMIO64_LAST  ((1ull << 40) - 1)

/*
 * Opens /dev/kvm and makes a machine with RAM (a multiple of 2 MiB within the limits above),
 * interrupt controllers and one stopped CPU. *ret_why, set on failure only, names the step that
 * failed. Errors: -ENODEV or -EACCES: no KVM for us; others: KVM's.
 */
int mdl_vm_create(uint64_t ram_bytes, struct mdl_vm **ret_vm, const char **ret_why);
/* Accepts NULL. */
void mdl_vm_destroy(struct mdl_vm *vm);

/* Host pointer to guest-physical RAM, or NULL unless the whole range is RAM. */
void *mdl_vm_ram(const struct mdl_vm *vm, uint64_t addr, uint64_t bytes);

/*
 * Gives the guest `bytes` of host memory at addr (all page aligned); the caller keeps it mapped
 * until the machine is gone.
 */
int mdl_vm_add_memory(struct mdl_vm *vm, uint64_t addr, void *host, uint64_t bytes);

/*
 * Guest writes of `bytes` (0: any width) at addr signal fd instead of leaving KVM. fd stays the
 * caller's.
 */
int mdl_vm_add_doorbell(struct mdl_vm *vm, uint64_t addr, uint32_t bytes, int fd);

/* Takes count consecutive CPU vectors. -ENOSPC: not that many left. */
int mdl_vm_alloc_vectors(struct mdl_vm *vm, uint32_t count, uint32_t *ret_first);
/*
 * A signal of fd interrupts the CPU with that vector. fd stays the caller's. Call
 * mdl_vm_route_irqs() first.
 */
int mdl_vm_add_irqfd(struct mdl_vm *vm, uint32_t vector, int fd);
/* Tells KVM which message each vector is: once, after the last mdl_vm_alloc_vectors(). */
int mdl_vm_route_irqs(struct mdl_vm *vm);

/* ---- cpu.c ---- */
/*
 * Maps guest-virtual = guest-physical for ring 3. Page aligned; -ENOSPC: no room for page tables.
 */
int mdl_vm_map(struct mdl_vm *vm, uint64_t addr, uint64_t bytes);
/* Descriptor tables, handlers, system pages; before the first mdl_vm_map(). */
int mdl_vm_cpu_init(struct mdl_vm *vm);
/* Registers for the first instruction, in ring 3. */
int mdl_vm_cpu_start(struct mdl_vm *vm, uint64_t entry, uint64_t stack_top);
/* The guest TSC and the host's CLOCK_MONOTONIC at one moment, and the TSC's rate. */
int mdl_vm_clock(struct mdl_vm *vm, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_tsc_khz);

struct mdl_vm_fault { /* an exception that the guest cannot handle */
	uint32_t vector;
	uint64_t error, rip, rsp, addr;
};
/*
 * After an exit through the fault port: what happened. False: not from a handler, the guest wrote
 * to the port.
 */
bool mdl_vm_cpu_fault(struct mdl_vm *vm, struct mdl_vm_fault *ret_fault);
/* Stops the CPU until the next interrupt (halt) or lets it run; takes effect when it is run. */
int mdl_vm_cpu_halt(struct mdl_vm *vm, bool halt);
bool mdl_vm_cpu_halted(struct mdl_vm *vm);
/* Where the CPU is, for messages. */
uint64_t mdl_vm_cpu_rip(struct mdl_vm *vm);

#endif
