/* SPDX-License-Identifier: MIT */
/*
 * An executor's helpers, taken over: the mapper's stack lies in the guest's reach, the compiler reads the guest's source. What stands in
 * for the attack is a tracer that makes them execute system calls of its choice; what counts is what their filters answer.
 */
#include "harness.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "base/util.h"
#include "tests/unit/check.h"

#define SYSCALL_INSN_BYTES	2
#define RESTARTS		(-512)	/* the kernel's ERESTARTSYS: seen by tracers only */

struct victim {
	pid_t pid;
	struct user_regs_struct regs;	/* rip: at a syscall instruction */
};

static bool has_name(pid_t pid, const char *name)
{
	char path[64], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "re");
	if (f && !fgets(comm, sizeof(comm), f))
		comm[0] = 0;
	if (f)
		fclose(f);
	comm[strcspn(comm, "\n")] = 0;
	return !strcmp(comm, name);
}

static pid_t find_child(pid_t parent, const char *name)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	f = fopen(path, "re");
	CHECK(f);
	while (fscanf(f, "%d", &pid) == 1 && !has_name(pid, name))
		;
	fclose(f);
	CHECK(pid && has_name(pid, name));
	return pid;
}

static void await_stop(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, __WALL), pid);
	CHECK(WIFSTOPPED(status));
}

/* Stops it while it waits for orders in the system call `nr`: then the instruction before is the one that makes system calls. */
static void take_over(struct victim *v, pid_t executor, const char *name, long nr)
{
	v->pid = find_child(executor, name);
	if (ptrace(PTRACE_SEIZE, v->pid, NULL, NULL) < 0)
		check_skip("may not trace");
	for (int ms = 0;; ms++) {
		CHECK(ms < H_WAIT_MS);
		CHECK(!ptrace(PTRACE_INTERRUPT, v->pid, NULL, NULL));
		await_stop(v->pid);
		CHECK(!ptrace(PTRACE_GETREGS, v->pid, NULL, &v->regs));
		if ((long)v->regs.orig_rax == nr && (long)v->regs.rax == RESTARTS)
			break;
		/* Not there yet. */
		CHECK(!ptrace(PTRACE_CONT, v->pid, NULL, NULL));
		poll(NULL, 0, 1);
	}
	v->regs.rip -= SYSCALL_INSN_BYTES;
}

static long call(const struct victim *v, long nr, long a, long b, long c, long d, long e)
{
	struct user_regs_struct regs = v->regs;

	regs.rax = (unsigned long)nr;
	regs.orig_rax = -1ul;	/* or the kernel would go on with the call that was interrupted */
	regs.rdi = (unsigned long)a;
	regs.rsi = (unsigned long)b;
	regs.rdx = (unsigned long)c;
	regs.r10 = (unsigned long)d;
	regs.r8 = (unsigned long)e;
	regs.r9 = 0;
	CHECK(!ptrace(PTRACE_SETREGS, v->pid, NULL, &regs));
	CHECK(!ptrace(PTRACE_SINGLESTEP, v->pid, NULL, NULL));
	await_stop(v->pid);
	CHECK(!ptrace(PTRACE_GETREGS, v->pid, NULL, &regs));
	return (long)regs.rax;
}

/* It goes on where it was interrupted. */
static void release(const struct victim *v)
{
	struct user_regs_struct regs = v->regs;

	regs.rip += SYSCALL_INSN_BYTES;
	regs.rax = (unsigned long)-EINTR;
	regs.orig_rax = -1ul;
	CHECK(!ptrace(PTRACE_SETREGS, v->pid, NULL, &regs));
	CHECK(!ptrace(PTRACE_DETACH, v->pid, NULL, NULL));
}

/* Memory that no limit counts would be the host's: the mapper has none of the executor's limits. */
static void mapper(void)
{
	const long rw = PROT_READ | PROT_WRITE, gib = 1l << 30;
	struct victim v;
	struct h h;

	h_start(&h, 1);
	take_over(&v, h.pid, "medley-exec", SYS_recvmsg);
	CHECK_EQ(call(&v, SYS_getpid, 0, 0, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_mmap, 0, gib, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1), -EPERM);
	CHECK_EQ(call(&v, SYS_mmap, H_HOLE_VA, gib, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1), -EPERM);
	CHECK_EQ(call(&v, SYS_mmap, H_HOLE_VA, gib, rw, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1), -EPERM);
	CHECK_EQ(call(&v, SYS_mmap, H_HOLE_VA, 4096, rw, MAP_PRIVATE | MAP_FIXED, 1), -EPERM);	/* copies of guest memory */
	CHECK_EQ(call(&v, SYS_mmap, H_HOLE_VA, 1 << 21, rw, MAP_SHARED | MAP_FIXED | MAP_HUGETLB, 1), -EPERM);
	CHECK_EQ(call(&v, SYS_memfd_create, H_VRAM_VA, 0, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_clone, SIGCHLD, 0, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_mprotect, H_VRAM_VA, 4096, rw | PROT_EXEC, 0, 0), -EPERM);
	/* What it is for still works. */
	CHECK_EQ(call(&v, SYS_mmap, H_HOLE_VA, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, 1), H_HOLE_VA);
	CHECK_EQ(call(&v, SYS_mmap, H_HOLE_VA, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1), H_HOLE_VA);
	release(&v);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_VRAM, 0, true), 0);
	h_stop(&h);
}

static void compiler(void)
{
	const long rw = PROT_READ | PROT_WRITE;
	struct victim v;
	struct h h;

	h_start(&h, 1);
	take_over(&v, h.pid, "medley-compile", SYS_read);
	CHECK(call(&v, SYS_getpid, 0, 0, 0, 0, 0) > 1);
	CHECK_EQ(call(&v, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_clone3, (long)v.regs.rsp, 64, 0, 0, 0), -ENOSYS);
	CHECK_EQ(call(&v, SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_memfd_create, (long)v.regs.rsp, 0, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_mmap, 0, 1 << 21, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1), -EPERM);
	CHECK_EQ(call(&v, SYS_socket, 1, 1, 0, 0, 0), -EPERM);
	CHECK_EQ(call(&v, SYS_ptrace, PTRACE_ATTACH, 1, 0, 0, 0), -EPERM);
	CHECK(call(&v, SYS_kill, 1, SIGCONT, 0, 0, 0) < 0);
	release(&v);
	h_load_ok(&h, 0, "__kernel void nop(void) { }\n");
	h_stop(&h);
}

static const struct check_case cases[] = {
	{ "mapper", mapper, 60 },
	{ "compiler", compiler, 60 },
};
CHECK_MAIN(cases)
