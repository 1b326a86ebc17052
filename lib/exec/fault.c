/* SPDX-License-Identifier: MIT */
/*
 * Faults: see fault.h. A stray access of a kernel (on a PoCL worker) or of a packet (on the front end) arrives as SIGSEGV or SIGBUS
 * and becomes MDL_ERR_PAGE_FAULT with its address; an illegal instruction, a division error or an abort inside the runtime becomes
 * MDL_ERR_KERNEL_CRASH. Async-signal-safe throughout: one send(2), then _exit(2). Of several threads that fault at once, one
 * reports. The packet named is the one being run: there is only one at a time.
 */
#include "exec/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/util.h"
#include "hw/medley_hw.h"
#include "ipc/ipc.h"

#define STACK_BYTES	(32u << 10)	/* AVX-512 state in a signal frame alone takes 3 KiB */

/* x86 page-fault error code, Intel SDM volume 3, 4.7 "Page-Fault Exceptions". */
#define PF_WRITE	2
#define PF_EXEC		16
#define TRAP_PAGE_FAULT	14

static struct {
	int link;
	_Atomic uint16_t ctx, chan;
	_Atomic uint32_t tag;
	atomic_flag reported;
} fault = { .link = -1, .chan = MDL_FAULT_NO_CHANNEL, .reported = ATOMIC_FLAG_INIT };

void mdl_fault_raise(uint16_t error, uint64_t va, uint16_t access, uint32_t info)
{
	struct mdl_ipc_fault msg = {
		.hdr = { .type = MDL_IPC_CTX_FAULT, .bytes = sizeof(msg) },
		.ctx = atomic_load_explicit(&fault.ctx, memory_order_relaxed),
		.chan = atomic_load_explicit(&fault.chan, memory_order_relaxed),
		.tag = atomic_load_explicit(&fault.tag, memory_order_relaxed),
		.error = error,
		.access = access,
		.info = info,
		.va = va,
	};

	/* Another thread is reporting: it ends the process any moment. */
	while (atomic_flag_test_and_set(&fault.reported))
		pause();
	send(fault.link, &msg, sizeof(msg), MSG_NOSIGNAL | MSG_DONTWAIT);
	_exit(MDL_EXIT_FAULT);
}

static void handler(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uint64_t code = (uint64_t)uc->uc_mcontext.gregs[REG_ERR];
	bool page_fault = uc->uc_mcontext.gregs[REG_TRAPNO] == TRAP_PAGE_FAULT;
	uint16_t access = MDL_ACCESS_READ;

	/* si_code <= 0 or SI_KERNEL: not from the page-fault path. A non-canonical pointer comes so too, without its address. */
	if ((sig != SIGSEGV && sig != SIGBUS) || info->si_code <= 0)
		mdl_fault_raise(MDL_ERR_KERNEL_CRASH, 0, 0, (uint32_t)sig);
	if (info->si_code == SI_KERNEL)
		mdl_fault_raise(MDL_ERR_PAGE_FAULT, 0, 0, (uint32_t)sig);
	if (page_fault && (code & PF_WRITE))
		access = MDL_ACCESS_WRITE;
	else if (page_fault && (code & PF_EXEC))
		access = MDL_ACCESS_EXEC;
	mdl_fault_raise(MDL_ERR_PAGE_FAULT, (uint64_t)(uintptr_t)info->si_addr, access, (uint32_t)sig);
}

void mdl_fault_thread_stack(void)
{
	stack_t stack = { .ss_size = STACK_BYTES };

	/* Never freed: threads live as long as the process. */
	stack.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack.ss_sp != MAP_FAILED)
		sigaltstack(&stack, NULL);
}

int mdl_fault_install(int control_link)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	fault.link = control_link;
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &sa, NULL) < 0)
			return -errno;
	mdl_fault_thread_stack();
	return 0;
}

void mdl_fault_set_context(uint16_t ctx)
{
	atomic_store_explicit(&fault.ctx, ctx, memory_order_relaxed);
}

void mdl_fault_set_packet(uint16_t chan, uint32_t tag)
{
	atomic_store_explicit(&fault.chan, chan, memory_order_relaxed);
	atomic_store_explicit(&fault.tag, tag, memory_order_relaxed);
}
