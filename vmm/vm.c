/* SPDX-License-Identifier: MIT */
/*
 * The machine: KVM's descriptors, memory slots, interrupt controllers, doorbells. Leaves out more
 * than one CPU, and anything that changes while the guest runs: all of it is set up before. See
 * cpu.c for the CPU.
 */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"
#include "vmm/micro_abi.h"

/* GSIs below are the IOAPIC's and PIC's pins, which nothing here uses. */
#define GSI_FIRST 24

static int vm_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static int open_kvm(struct mdl_vm *vm, const char **ret_why)
{
	static const struct {
		int cap;
		const char *name;
	} needs[] = {
		{ KVM_CAP_USER_MEMORY, "user memory" },
		{ KVM_CAP_IRQCHIP, "an interrupt controller" },
		{ KVM_CAP_IRQFD, "irqfd" },
		{ KVM_CAP_IOEVENTFD, "ioeventfd" },
		{ KVM_CAP_SIGNAL_MSI, "MSI" },
		{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
		{ KVM_CAP_XCRS, "XCR0" },
		{ KVM_CAP_GET_TSC_KHZ, "the TSC's rate" },
	};

	*ret_why = "open /dev/kvm";
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return errno == EACCES || errno == EPERM ? -EACCES : -ENODEV;
	if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		*ret_why = "/dev/kvm is of another version";
		return -ENODEV;
	}
	for (size_t i = 0; i < MDL_ARRAY_SIZE(needs); i++)
		if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, needs[i].cap) <= 0) {
			*ret_why = needs[i].name;
			return -ENODEV;
		}
	*ret_why = "create a virtual machine";
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	return vm->vm_fd < 0 ? -errno : 0;
}

static int add_ram(struct mdl_vm *vm, uint64_t bytes)
{
	int err = mdl_memfd_create("medley-vm-ram", bytes, &vm->ram_fd);

	if (err)
		return err;
	vm->ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, vm->ram_fd,
		       0);
	if (vm->ram == MAP_FAILED) {
		vm->ram = NULL;
		return -errno;
	}
	vm->ram_bytes = bytes;
	madvise(vm->ram, bytes, MADV_HUGEPAGE); /* a wish; refused where memfds cannot */
	return mdl_vm_add_memory(vm, 0, vm->ram, bytes);
}

static int add_cpu(struct mdl_vm *vm)
{
	int run_bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (run_bytes < (int)sizeof(struct kvm_run))
		return -EINVAL;
	vm->cpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);
	if (vm->cpu_fd < 0)
		return -errno;
	vm->run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu_fd, 0);
	if (vm->run == MAP_FAILED) {
		vm->run = NULL;
		return -errno;
	}
	vm->run_bytes = (size_t)run_bytes;
	return 0;
}

int mdl_vm_create(uint64_t ram_bytes, struct mdl_vm **ret_vm, const char **ret_why)
{
	/* Pages that some processors need for real mode; the guest never sees them. */
	uint64_t identity_map = 0xfffbc000;
	struct mdl_vm *vm;
	int err;

	*ret_why = "memory size";
	if (ram_bytes < MDL_VM_RAM_MIN || ram_bytes > MDL_VM_RAM_MAX ||
	    !mdl_is_aligned(ram_bytes, 2 << 20))
		return -EINVAL;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->kvm_fd = vm->vm_fd = vm->cpu_fd = vm->ram_fd = -1;

	err = open_kvm(vm, ret_why);
	if (err)
		goto fail;
	*ret_why = "set up the interrupt controllers";
	err = vm_ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	if (!err && ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, identity_map + 0x1000) < 0)
		err = -errno;
	if (!err)
		err = vm_ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, NULL);
	if (err)
		goto fail;
	*ret_why = "allocate guest memory";
	err = add_ram(vm, ram_bytes);
	if (err)
		goto fail;
	*ret_why = "create a CPU";
	err = add_cpu(vm);
	if (!err)
		err = mdl_vm_cpu_init(vm);
	if (err)
		goto fail;
	*ret_vm = vm;
	return 0;
fail:
	mdl_vm_destroy(vm);
	return err;
}

void mdl_vm_destroy(struct mdl_vm *vm)
{
	if (!vm)
		return;
	if (vm->run)
		munmap(vm->run, vm->run_bytes);
	mdl_close_fd(&vm->cpu_fd);
	mdl_close_fd(&vm->vm_fd);
	mdl_close_fd(&vm->kvm_fd);
	if (vm->ram)
		munmap(vm->ram, vm->ram_bytes);
	mdl_close_fd(&vm->ram_fd);
	free(vm);
}

void *mdl_vm_ram(const struct mdl_vm *vm, uint64_t addr, uint64_t bytes)
{
	return mdl_range_ok(addr, bytes, vm->ram_bytes) ? vm->ram + addr : NULL;
}

int mdl_vm_add_memory(struct mdl_vm *vm, uint64_t addr, void *host, uint64_t bytes)
{
	struct kvm_userspace_memory_region slot = {
		.slot = vm->slots,
		.guest_phys_addr = addr,
		.memory_size = bytes,
		.userspace_addr = (uint64_t)(uintptr_t)host,
	};
	int err = vm_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);

	if (!err)
		vm->slots++;
	return err;
}

int mdl_vm_add_doorbell(struct mdl_vm *vm, uint64_t addr, uint32_t bytes, int fd)
{
	struct kvm_ioeventfd bell = { .addr = addr, .len = bytes, .fd = fd };

	return vm_ioctl(vm->vm_fd, KVM_IOEVENTFD, &bell);
}

int mdl_vm_alloc_vectors(struct mdl_vm *vm, uint32_t count, uint32_t *ret_first)
{
	if (!mdl_range_ok(vm->vectors, count, MDL_MICRO_VECTOR_LAST - MDL_MICRO_VECTOR_FIRST + 1))
		return -ENOSPC;
	*ret_first = MDL_MICRO_VECTOR_FIRST + vm->vectors;
	vm->vectors += count;
	return 0;
}

int mdl_vm_route_irqs(struct mdl_vm *vm)
{
	mdl_autofree struct kvm_irq_routing *table =
		calloc(1, sizeof(*table) + vm->vectors * sizeof(table->entries[0]));

	if (!table)
		return -ENOMEM;
	table->nr = vm->vectors;
	for (uint32_t i = 0; i < vm->vectors; i++) {
		table->entries[i].gsi = GSI_FIRST + i;
		table->entries[i].type = KVM_IRQ_ROUTING_MSI;
		/* Fixed delivery, edge, to the CPU with APIC id 0. */
		table->entries[i].u.msi.address_lo = MDL_MICRO_LAPIC;
		table->entries[i].u.msi.data = MDL_MICRO_VECTOR_FIRST + i;
	}
	return vm_ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, table);
}

int mdl_vm_add_irqfd(struct mdl_vm *vm, uint32_t vector, int fd)
{
	struct kvm_irqfd irq = { .fd = (uint32_t)fd,
				 .gsi = GSI_FIRST + vector - MDL_MICRO_VECTOR_FIRST };

	return vm_ioctl(vm->vm_fd, KVM_IRQFD, &irq);
}
