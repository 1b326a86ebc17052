/* SPDX-License-Identifier: MIT */
/*
 * The run loop: KVM_RUN, then what the guest asked for: trapped device registers and the ports of
 * micro_abi.h. Owned by the VMM's one thread; the guest does not run meanwhile, so what is read of
 * its memory here does not change underneath (devices may write to it, which is why it is copied
 * first all the same).
 */
#include "vmm/run.h"

#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/util.h"
#include "vmm/micro_abi.h"

/* Longest sleep that is armed; the guest looks at its clock and waits again. */
#define WAIT_MAX_NS (3600 * MDL_NS_PER_S)

static const char *const exception_name[] = {
	[0] = "division error",
	[1] = "debug",
	[2] = "NMI",
	[3] = "breakpoint",
	[4] = "overflow",
	[5] = "bound range",
	[6] = "invalid instruction",
	[7] = "no FPU",
	[8] = "double fault",
	[10] = "invalid TSS",
	[11] = "segment not present",
	[12] = "stack fault",
	[13] = "general protection",
	[14] = "page fault",
	[16] = "x87 error",
	[17] = "alignment check",
	[18] = "machine check",
	[19] = "SIMD error",
	[20] = "virtualization",
	[21] = "control protection",
};

static bool __attribute__((format(printf, 3, 4)))
end(struct mdl_run *r, enum mdl_run_end how, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
	r->end = how;
	return false;
}

static bool report_fault(struct mdl_run *r)
{
	struct mdl_vm_fault f;
	const char *name = NULL;
	char where[40] = "";

	if (!mdl_vm_cpu_fault(r->vm, &f))
		return end(r, MDL_RUN_CRASHED, "guest wrote to the fault port at rip 0x%llx",
			   (unsigned long long)mdl_vm_cpu_rip(r->vm));
	if (f.vector < MDL_ARRAY_SIZE(exception_name))
		name = exception_name[f.vector];
	if (f.vector == 14)
		snprintf(where, sizeof(where), ", address 0x%llx", (unsigned long long)f.addr);
	return end(r, MDL_RUN_CRASHED,
		   "guest exception: vector %u (%s), rip 0x%llx%s, error code 0x%llx", f.vector,
		   name ? name : "reserved", (unsigned long long)f.rip, where,
		   (unsigned long long)f.error);
}

static uint64_t irq_count(const struct mdl_vm *vm, uint32_t vector)
{
	const volatile uint64_t *count =
		mdl_vm_ram(vm, MDL_MICRO_IRQ_PAGE, MDL_MICRO_VECTORS * sizeof(*count));
	uint64_t sum = 0;

	if (vector)
		return vector < MDL_MICRO_VECTORS ? count[vector] : 0;
	for (uint32_t i = MDL_MICRO_VECTOR_FIRST; i <= MDL_MICRO_INPUT_COUNTER; i++)
		sum += count[i];
	return sum;
}

/*
 * The guest idles. Its CPU is stopped here, so no handler runs between the comparison and the halt;
 * an interrupt that arrives in between waits in the local APIC and ends the halt at once.
 */
static void guest_wait(struct mdl_run *r, uint32_t addr)
{
	const void *p = mdl_vm_ram(r->vm, addr, sizeof(struct mdl_micro_wait));
	struct mdl_micro_wait w;

	if (!p)
		return;
	memcpy(&w, p, sizeof(w));
	if (!w.timeout_ns || irq_count(r->vm, w.vector) != w.seen)
		return;
	if (mdl_events_arm_wait(r->events, w.timeout_ns == UINT64_MAX
						   ? 0
						   : mdl_min_u64(w.timeout_ns, WAIT_MAX_NS)) == 0)
		(void)mdl_vm_cpu_halt(r->vm, true);
}

static void guest_print(struct mdl_run *r, uint32_t addr)
{
	const void *p = mdl_vm_ram(r->vm, addr, sizeof(struct mdl_micro_print));
	struct mdl_micro_print w;

	if (!p)
		return;
	memcpy(&w, p, sizeof(w));
	w.bytes = mdl_min_u64(w.bytes, MDL_MICRO_PRINT_MAX);
	p = mdl_vm_ram(r->vm, w.addr, w.bytes);
	if (p)
		mdl_events_write(r->events, r->console_fd, p, w.bytes);
}

static bool input_ready(const struct mdl_run *r)
{
	struct pollfd p = { .fd = r->input_fd, .events = POLLIN };

	return r->input_fd >= 0 && poll(&p, 1, 0) > 0;
}

/* Counts for a guest that waits. Its CPU is stopped here; whether it halts is for the caller. */
static bool count_input(struct mdl_run *r)
{
	volatile uint64_t *count =
		mdl_vm_ram(r->vm, MDL_MICRO_IRQ_PAGE, MDL_MICRO_VECTORS * sizeof(*count));

	if (!input_ready(r))
		return false;
	count[MDL_MICRO_INPUT_COUNTER]++;
	return true;
}

static void guest_input(struct mdl_run *r, uint32_t addr)
{
	struct mdl_micro_input *at = mdl_vm_ram(r->vm, addr, sizeof(*at)), input;
	ssize_t n = -1;
	void *to;

	if (!at)
		return;
	memcpy(&input, at, sizeof(input));
	input.bytes = (uint32_t)mdl_min_u64(input.bytes, MDL_MICRO_INPUT_MAX);
	to = mdl_vm_ram(r->vm, input.addr, input.bytes);
	if (to && input.bytes && input_ready(r))
		n = read(r->input_fd, to, input.bytes);
	input.bytes = n > 0 ? (uint32_t)n : 0;
	input.ended = n == 0 || r->input_fd < 0;
	memcpy(at, &input, sizeof(input));
}

static bool port_out(struct mdl_run *r, uint16_t port, const uint8_t *data, uint32_t width,
		     uint32_t count)
{
	uint32_t value = 0;

	memcpy(&value, data, width);
	switch (port) {
	case MDL_MICRO_PORT_CONSOLE:
		mdl_events_write(r->events, r->console_fd, data, (size_t)width * count);
		return true;
	case MDL_MICRO_PORT_PRINT:
		guest_print(r, value);
		return true;
	case MDL_MICRO_PORT_EXIT:
		r->end = MDL_RUN_EXITED;
		r->status = value < MDL_MICRO_EXIT_MAX ? (int)value : MDL_MICRO_EXIT_MAX;
		return false;
	case MDL_MICRO_PORT_WAIT:
		guest_wait(r, value);
		return true;
	case MDL_MICRO_PORT_INPUT:
		guest_input(r, value);
		return true;
	case MDL_MICRO_PORT_FAULT:
		return report_fault(r);
	default:
		return true;
	}
}

static void port_in(uint16_t port, uint8_t *data, uint32_t bytes)
{
	memset(data, 0xff, bytes);
	if (port == MDL_MICRO_PORT_RANDOM)
		(void)!getrandom(data, bytes, GRND_NONBLOCK);
}

static bool on_io(struct mdl_run *r)
{
	struct kvm_run *run = r->vm->run;
	uint32_t width = run->io.size, count = run->io.count;

	/* KVM keeps these consistent; a kernel that did not would make us read elsewhere. */
	if (width > 4 ||
	    !mdl_range_ok(run->io.data_offset, (uint64_t)width * count, r->vm->run_bytes))
		return end(r, MDL_RUN_FAILED, "strange port access from KVM");
	if (run->io.direction == KVM_EXIT_IO_OUT)
		return port_out(r, run->io.port, (uint8_t *)run + run->io.data_offset, width,
				count);
	port_in(run->io.port, (uint8_t *)run + run->io.data_offset, width * count);
	return true;
}

static void report_deaths(struct mdl_run *r, void (*on_death)(const struct mdl_vm_device *dev))
{
	for (size_t i = 0; i < r->num_devices; i++)
		if (mdl_vm_device_died(r->device[i]))
			on_death(r->device[i]);
}

static void on_mmio(struct mdl_run *r, void (*on_death)(const struct mdl_vm_device *dev))
{
	struct kvm_run *run = r->vm->run;
	uint32_t bytes =
		run->mmio.len <= sizeof(run->mmio.data) ? run->mmio.len : sizeof(run->mmio.data);

	for (size_t i = 0; i < r->num_devices; i++) {
		if (!mdl_vm_device_access(r->device[i], run->mmio.phys_addr, run->mmio.data, bytes,
					  run->mmio.is_write))
			continue;
		/*
		 * The reply has raised MDL_EVENT_DEVICE: take it now, or it ends the next KVM_RUN
		 * for nothing.
		 */
		r->events->pending = mdl_events_take(r->events);
		report_deaths(r, on_death);
		return;
	}
	if (!run->mmio.is_write)
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
}

/* False: the VM ends. */
static bool handle_events(struct mdl_run *r, void (*on_death)(const struct mdl_vm_device *dev))
{
	unsigned int events = mdl_events_take(r->events);

	if (events & (MDL_EVENT_STOP_INT | MDL_EVENT_STOP_TERM)) {
		r->status = events & MDL_EVENT_STOP_INT ? 2 : 15;
		return end(r, MDL_RUN_INTERRUPTED, "stopped by a signal");
	}
	if (events & MDL_EVENT_TIMEOUT)
		return end(r, MDL_RUN_TIMEOUT, "time is up; the guest was at rip 0x%llx",
			   (unsigned long long)mdl_vm_cpu_rip(r->vm));
	if (events & MDL_EVENT_DEVICE) {
		for (size_t i = 0; i < r->num_devices; i++)
			mdl_vm_device_process(r->device[i]);
		report_deaths(r, on_death);
		if (count_input(r) && mdl_vm_cpu_halted(r->vm))
			(void)mdl_vm_cpu_halt(r->vm, false);
	}
	/* If an interrupt has ended the wait, the CPU runs already and this is late news. */
	if ((events & MDL_EVENT_WAIT_OVER) && mdl_vm_cpu_halted(r->vm))
		(void)mdl_vm_cpu_halt(r->vm, false);
	return true;
}

static bool run_once(struct mdl_run *r, void (*on_death)(const struct mdl_vm_device *dev))
{
	struct kvm_run *run = r->vm->run;

	if (r->events->pending && !handle_events(r, on_death))
		return false;
	if (ioctl(r->vm->cpu_fd, KVM_RUN, 0) < 0) {
		if (errno == EINTR || errno == EAGAIN)
			return handle_events(r, on_death);
		if (errno == EFAULT)
			return end(r, MDL_RUN_CRASHED,
				   "guest memory is gone (a device took it back?), rip 0x%llx",
				   (unsigned long long)mdl_vm_cpu_rip(r->vm));
		return end(r, MDL_RUN_FAILED, "KVM cannot run the guest: %s", strerror(errno));
	}
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return on_io(r);
	case KVM_EXIT_MMIO:
		on_mmio(r, on_death);
		return true;
	case KVM_EXIT_SHUTDOWN:
		return end(r, MDL_RUN_CRASHED, "guest crashed (triple fault), rip 0x%llx",
			   (unsigned long long)mdl_vm_cpu_rip(r->vm));
	case KVM_EXIT_INTERNAL_ERROR:
		return end(r, MDL_RUN_CRASHED,
			   "KVM cannot emulate the guest's instruction at rip 0x%llx (suberror %u)",
			   (unsigned long long)mdl_vm_cpu_rip(r->vm), run->internal.suberror);
	case KVM_EXIT_FAIL_ENTRY:
		return end(r, MDL_RUN_FAILED,
			   "the processor refuses the guest's state (reason 0x%llx)",
			   (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	default:
		return end(r, MDL_RUN_CRASHED, "unexpected exit %u from KVM at rip 0x%llx",
			   run->exit_reason, (unsigned long long)mdl_vm_cpu_rip(r->vm));
	}
}

void mdl_run(struct mdl_run *r, void (*on_death)(const struct mdl_vm_device *dev))
{
	count_input(r); /* what came before anybody listened */
	while (run_once(r, on_death))
		;
}
