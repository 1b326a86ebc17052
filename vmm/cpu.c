/* SPDX-License-Identifier: MIT */
/*
 * The CPU: long mode set up from outside, so that no ring-0 guest code runs but exception handlers.
 * Page tables (identity, 2 MiB pages where possible), GDT with a TSS for the exception stack, IDT,
 * local APIC on, all vector extensions that the host has. Leaves out guest page tables, FPU state
 * of its own for handlers (they touch none), and debugging.
 */
#include "vmm/vm.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "vmm/layout.h"
#include "vmm/micro_abi.h"

extern const uint8_t mdl_vm_stubs[], mdl_vm_stubs_end[];

#define PTE_PRESENT (1ull << 0)
#define PTE_WRITE   (1ull << 1)
#define PTE_USER    (1ull << 2)
#define PTE_HUGE    (1ull << 7)
#define PTE_ADDR    0x000ffffffffff000ull
#define PAGE	    4096ull
#define HUGE_PAGE   (2ull << 20)

#define CR0_PE	       (1ull << 0)
#define CR0_MP	       (1ull << 1)
#define CR0_ET	       (1ull << 4)
#define CR0_NE	       (1ull << 5)
#define CR0_WP	       (1ull << 16)
#define CR0_PG	       (1ull << 31)
#define CR4_PAE	       (1ull << 5)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_OSXSAVE    (1ull << 18)
#define EFER_LME       (1ull << 8)
#define EFER_LMA       (1ull << 10)
#define RFLAGS_ON      (1ull << 1)
#define RFLAGS_IF      (1ull << 9)

#define XCR0_X87_SSE_AVX  0x7ull
#define XCR0_AVX512	  0xe0ull
#define CPUID_MAX	  256
#define MSR_TSC		  0x10
#define GATE_INTERRUPT	  0xe
#define GATE_TRAP	  0xf
#define LAPIC_SVR	  0xf0
#define LAPIC_SVR_ENABLED 0x100
#define LAPIC_SPURIOUS	  0xff
#define EXCEPTIONS	  32
#define TSS_BYTES	  0x68
/* One bit a port, and a byte of ones after the last one. */
#define IO_BITMAP_BYTES	  ((MDL_MICRO_PORT_LAST + 1) / 8 + 1)
#define TSS_LIMIT	  (TSS_BYTES + IO_BITMAP_BYTES - 1)

/* Next-level table under *entry, made if there is none. */
static uint64_t *pt_descend(struct mdl_vm *vm, uint64_t *entry)
{
	if (!(*entry & PTE_PRESENT)) {
		if (vm->pt_next >= MDL_VM_PT_END)
			return NULL;
		*entry = vm->pt_next | PTE_PRESENT | PTE_WRITE | PTE_USER;
		vm->pt_next += PAGE;
	}
	return (uint64_t *)(vm->ram + (*entry & PTE_ADDR));
}

static int map_pages(struct mdl_vm *vm, uint64_t addr, uint64_t bytes, uint64_t flags)
{
	while (bytes) {
		bool huge = mdl_is_aligned(addr, HUGE_PAGE) && bytes >= HUGE_PAGE;
		uint64_t step = huge ? HUGE_PAGE : PAGE;
		uint64_t *table = (uint64_t *)(vm->ram + MDL_VM_PT_FIRST);

		for (int shift = 39; shift > (huge ? 21 : 12); shift -= 9) {
			table = pt_descend(vm, &table[addr >> shift & 511]);
			if (!table)
				return -ENOSPC;
		}
		table[addr >> (huge ? 21 : 12) & 511] =
			addr | flags | PTE_PRESENT | (huge ? PTE_HUGE : 0);
		addr += step;
		bytes -= step;
	}
	return 0;
}

int mdl_vm_map(struct mdl_vm *vm, uint64_t addr, uint64_t bytes)
{
	return map_pages(vm, addr, bytes, PTE_WRITE | PTE_USER);
}

static int map_system(struct mdl_vm *vm)
{
	int err;

	vm->pt_next = MDL_VM_PT_FIRST + PAGE;
	err = map_pages(vm, MDL_MICRO_BOOT_PAGE, MDL_VM_GDT - MDL_MICRO_BOOT_PAGE,
			PTE_WRITE | PTE_USER);
	if (!err)
		err = map_pages(vm, MDL_VM_GDT, MDL_VM_STUBS - MDL_VM_GDT, PTE_WRITE);
	if (!err)
		err = map_pages(vm, MDL_VM_STUBS, MDL_VM_STUBS_BYTES, PTE_USER);
	if (!err)
		err = map_pages(vm, MDL_VM_FAULT_STACK, PAGE, PTE_WRITE);
	if (!err)
		err = map_pages(vm, MDL_MICRO_LAPIC, PAGE, PTE_WRITE | PTE_USER);
	return err;
}

static void set_gate(struct mdl_vm *vm, uint32_t vector, uint32_t stub, uint32_t type, uint32_t dpl,
		     bool ring3)
{
	uint64_t handler = MDL_VM_STUBS + (uint64_t)stub * MDL_VM_STUB_BYTES;
	uint64_t selector = ring3 ? MDL_VM_CS_USER : MDL_VM_CS_KERNEL, stack = ring3 ? 0 : 1;
	uint64_t *gate = (uint64_t *)(vm->ram + MDL_VM_IDT) + 2 * vector;

	gate[0] = (handler & 0xffff) | selector << 16 | stack << 32 |
		  (uint64_t)(type | dpl << 5 | 0x80) << 40 | (handler >> 16 & 0xffff) << 48;
	gate[1] = handler >> 32;
}

static void set_tables(struct mdl_vm *vm)
{
	uint64_t *gdt = (uint64_t *)(vm->ram + MDL_VM_GDT);
	uint64_t stack = MDL_VM_FAULT_STACK + PAGE, tss = MDL_VM_TSS;
	uint32_t devices = MDL_MICRO_VECTOR_LAST - MDL_MICRO_VECTOR_FIRST + 1;

	gdt[MDL_VM_CS_KERNEL / 8] = 0x00af9b000000ffffull;
	gdt[MDL_VM_DS_KERNEL / 8] = 0x00cf93000000ffffull;
	gdt[MDL_VM_DS_USER / 8] = 0x00cff3000000ffffull;
	gdt[MDL_VM_CS_USER / 8] = 0x00affb000000ffffull;
	gdt[MDL_VM_TSS_SELECTOR / 8] =
		TSS_LIMIT | (tss & 0xffffff) << 16 | 0x8bull << 40 | (tss >> 24) << 56;
	gdt[MDL_VM_TSS_SELECTOR / 8 + 1] = tss >> 32;
	memcpy(vm->ram + tss + 4, &stack, sizeof(stack)); /* RSP0 */
	memcpy(vm->ram + tss + 36, &stack, sizeof(stack)); /* IST1 */
	/*
	 * The I/O bitmap and not IOPL opens our ports: hosts that emulate ring 0 lose IOPL, and so
	 * the guest cannot mask interrupts.
	 */
	vm->ram[tss + 102] = TSS_BYTES;
	memset(vm->ram + tss + TSS_BYTES, 0xff, IO_BITMAP_BYTES);
	memset(vm->ram + tss + TSS_BYTES + MDL_MICRO_PORT_FIRST / 8, 0,
	       (MDL_MICRO_PORT_LAST + 1 - MDL_MICRO_PORT_FIRST) / 8);

	memcpy(vm->ram + MDL_VM_STUBS, mdl_vm_stubs, (size_t)(mdl_vm_stubs_end - mdl_vm_stubs));
	for (uint32_t i = 0; i < EXCEPTIONS; i++)
		set_gate(vm, i, i, GATE_INTERRUPT, i == 3 || i == 4 ? 3 : 0, false);
	for (uint32_t i = 0; i < devices; i++)
		set_gate(vm, MDL_MICRO_VECTOR_FIRST + i, EXCEPTIONS + i, GATE_TRAP, 0, true);
	set_gate(vm, LAPIC_SPURIOUS, EXCEPTIONS + devices, GATE_TRAP, 0, true);
}

static int set_cpuid(struct mdl_vm *vm)
{
	mdl_autofree struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };

	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = CPUID_MAX;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(vm->cpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		return -errno;
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0xd && cpuid->entries[i].index == 0)
			xcrs.xcrs[0].value =
				cpuid->entries[i].eax & (XCR0_X87_SSE_AVX | XCR0_AVX512);
	/* AVX-512 state is all three parts or none. */
	if ((xcrs.xcrs[0].value & XCR0_AVX512) != XCR0_AVX512)
		xcrs.xcrs[0].value &= ~XCR0_AVX512;
	if (!xcrs.xcrs[0].value)
		return -EOPNOTSUPP;
	return ioctl(vm->cpu_fd, KVM_SET_XCRS, &xcrs) < 0 ? -errno : 0;
}

/* Paravirtual EOI is a wish: without it the handlers find the word zero and use the register. */
static int set_lapic(struct mdl_vm *vm)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} eoi = {
		.head.nmsrs = 1,
		.entry = { .index = MSR_KVM_PV_EOI_EN,
			   .data = MDL_MICRO_EOI_WORD | KVM_MSR_ENABLED },
	};
	struct kvm_lapic_state lapic;
	uint32_t svr = LAPIC_SVR_ENABLED | LAPIC_SPURIOUS;

	if (ioctl(vm->cpu_fd, KVM_GET_LAPIC, &lapic) < 0)
		return -errno;
	memcpy(lapic.regs + LAPIC_SVR, &svr, sizeof(svr));
	if (ioctl(vm->cpu_fd, KVM_SET_LAPIC, &lapic) < 0)
		return -errno;
	(void)!ioctl(vm->cpu_fd, KVM_SET_MSRS, &eoi);
	return 0;
}

int mdl_vm_cpu_init(struct mdl_vm *vm)
{
	int err = map_system(vm);

	_Static_assert(MDL_VM_TSS + TSS_LIMIT < MDL_VM_IDT, "the TSS must fit");
	_Static_assert((EXCEPTIONS + MDL_MICRO_VECTOR_LAST - MDL_MICRO_VECTOR_FIRST + 2) *
				       MDL_VM_STUB_BYTES <=
			       MDL_VM_STUBS_BYTES,
		       "handlers must fit");
	if (err)
		return err;
	set_tables(vm);
	err = set_cpuid(vm);
	return err ? err : set_lapic(vm);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment) {
		.selector = selector,
		.type = type,
		.dpl = selector & 3,
		.present = 1,
		.s = 1,
		.g = 1,
		.limit = 0xffffffff,
		.l = code,
		.db = !code,
	};
}

int mdl_vm_cpu_start(struct mdl_vm *vm, uint64_t entry, uint64_t stack_top)
{
	struct kvm_regs regs = {
		.rip = entry,
		.rsp = stack_top,
		.rdi = MDL_MICRO_BOOT_PAGE,
		.rflags = RFLAGS_ON | RFLAGS_IF,
	};
	struct kvm_sregs sregs;

	if (ioctl(vm->cpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = segment(MDL_VM_CS_USER, 0xb, true);
	sregs.ss = sregs.ds = sregs.es = sregs.fs = sregs.gs = segment(MDL_VM_DS_USER, 0x3, false);
	sregs.tr = (struct kvm_segment) { .selector = MDL_VM_TSS_SELECTOR,
					  .type = 0xb,
					  .present = 1,
					  .base = MDL_VM_TSS,
					  .limit = TSS_LIMIT };
	sregs.ldt = (struct kvm_segment) { .unusable = 1 };
	sregs.gdt = (struct kvm_dtable) { .base = MDL_VM_GDT, .limit = MDL_VM_TSS_SELECTOR + 15 };
	sregs.idt = (struct kvm_dtable) { .base = MDL_VM_IDT, .limit = 0xfff };
	sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	sregs.cr3 = MDL_VM_PT_FIRST;
	sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	sregs.efer = EFER_LME | EFER_LMA;
	if (ioctl(vm->cpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(vm->cpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

int mdl_vm_clock(struct mdl_vm *vm, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_tsc_khz)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} tsc = {
		.head.nmsrs = 1,
		.entry.index = MSR_TSC,
	};
	int khz = ioctl(vm->cpu_fd, KVM_GET_TSC_KHZ, 0);
	uint64_t before, after;

	if (khz <= 0)
		return khz < 0 ? -errno : -EIO;
	/* Three tries against preemption between the two clocks. */
	for (int i = 0;; i++) {
		before = mdl_now_ns();
		if (ioctl(vm->cpu_fd, KVM_GET_MSRS, &tsc) != 1)
			return -EIO;
		after = mdl_now_ns();
		if (after - before < 20 * MDL_NS_PER_US || i == 2)
			break;
	}
	*ret_tsc = tsc.entry.data;
	*ret_ns = before + (after - before) / 2;
	*ret_tsc_khz = (uint64_t)khz;
	return 0;
}

bool mdl_vm_cpu_fault(struct mdl_vm *vm, struct mdl_vm_fault *ret_fault)
{
	struct {
		uint64_t vector, error, rip, cs, rflags, rsp, ss;
	} frame;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	const void *p;

	if (ioctl(vm->cpu_fd, KVM_GET_SREGS, &sregs) < 0 ||
	    ioctl(vm->cpu_fd, KVM_GET_REGS, &regs) < 0 || (sregs.cs.selector & 3))
		return false;
	p = mdl_vm_ram(vm, regs.rsp, sizeof(frame));
	if (!p)
		return false;
	memcpy(&frame, p, sizeof(frame));
	*ret_fault = (struct mdl_vm_fault) {
		.vector = (uint32_t)frame.vector,
		.error = frame.error,
		.rip = frame.rip,
		.rsp = frame.rsp,
		.addr = sregs.cr2,
	};
	return true;
}

int mdl_vm_cpu_halt(struct mdl_vm *vm, bool halt)
{
	struct kvm_mp_state state = { .mp_state =
					      halt ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE };

	return ioctl(vm->cpu_fd, KVM_SET_MP_STATE, &state) < 0 ? -errno : 0;
}

bool mdl_vm_cpu_halted(struct mdl_vm *vm)
{
	struct kvm_mp_state state;

	return ioctl(vm->cpu_fd, KVM_GET_MP_STATE, &state) == 0 &&
	       state.mp_state == KVM_MP_STATE_HALTED;
}

uint64_t mdl_vm_cpu_rip(struct mdl_vm *vm)
{
	struct kvm_regs regs;

	return ioctl(vm->cpu_fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}
