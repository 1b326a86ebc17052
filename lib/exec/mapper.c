/* SPDX-License-Identifier: MIT */
/*
 * The mapper: keeps the executor's address space equal to what medley-device orders. It is a process of its own that shares the
 * executor's memory (CLONE_VM) and nothing else, so that
 *  - it alone holds descriptors of VRAM and guest memory, which the executor can neither pass on nor map elsewhere;
 *  - it goes on when the executor is stopped (SIGSTOP): unmapping never waits for the scheduler.
 * It runs on a stack in shared memory, next to whatever guest code does in this address space, and on the C library's thread
 * state of the thread that made it: so it uses raw system calls only, no errno, no allocation, no signal handler. What it could
 * be made to do by a guest that overwrites its stack is bounded by its own filter and descriptors: memory of the same VM, and no
 * other memory, since the limits of the executor are not the mapper's.
 */
#include "exec/mapper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sandbox.h"
#include "base/util.h"
#include "hw/medley_hw.h"
#include "ipc/ipc.h"

#define STACK_BYTES	(64u << 10)

/* The two kinds of mapping that it makes: of a memory object, and of nothing. */
#define MAP_OBJECT	(MAP_SHARED | MAP_FIXED)
#define MAP_NOTHING	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED)

static const struct mdl_sandbox_rule rules[] = {
	{ SYS_recvmsg }, { SYS_sendmsg }, { SYS_fstat }, { SYS_close }, { SYS_exit_group },
	{ SYS_mmap, { { 3, UINT64_MAX, MAP_OBJECT } } },
	{ SYS_mmap, { { 3, UINT64_MAX, MAP_NOTHING }, { 2, UINT64_MAX, PROT_NONE } } },
};

struct mapper {
	int link;
	struct sock_fprog filter;
	_Atomic int state;		/* 0 starting, 1 serving, negative errno */
	struct {
		bool used;
		int fd;
		uint64_t bytes;
	} mem[MDL_MEM_MAX];
	union {
		struct mdl_ipc_hdr hdr;
		struct mdl_ipc_mem mem;
		struct mdl_ipc_map map;
	} msg;
};

static long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* ---- Orders ---- */

static bool va_ok(uint64_t va, uint64_t bytes)
{
	return mdl_range_in(va, bytes, MDL_WINDOW_BASE, MDL_WINDOW_BYTES) ||
	       mdl_range_in(va, bytes, MDL_USER_AREA_BASE, MDL_USER_AREA_BYTES);
}

static bool file_bytes(int fd, uint64_t *ret_bytes)
{
	struct stat st;

	if (sys(SYS_fstat, fd, (long)&st, 0, 0, 0, 0) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0)
		return false;
	*ret_bytes = (uint64_t)st.st_size;
	return true;
}

/* Whether the range lies in the object. A file that is not sealed may have grown since it was added: guest memory that was plugged in. */
static bool in_object(struct mapper *m, const struct mdl_map_entry *e)
{
	return mdl_range_ok(e->offset, e->bytes, m->mem[e->mem].bytes) ||
	       (file_bytes(m->mem[e->mem].fd, &m->mem[e->mem].bytes) && mdl_range_ok(e->offset, e->bytes, m->mem[e->mem].bytes));
}

static int map(struct mapper *m, const struct mdl_map_entry *e)
{
	int prot = PROT_READ | (e->prot & MDL_MAP_PROT_WRITE ? PROT_WRITE : 0);
	long ret;

	if (e->prot & ~(uint32_t)(MDL_MAP_PROT_READ | MDL_MAP_PROT_WRITE) || !(e->prot & MDL_MAP_PROT_READ))
		return EINVAL;
	if (e->mem >= MDL_MEM_MAX || !m->mem[e->mem].used || !mdl_is_aligned(e->offset, MDL_PAGE_BYTES))
		return EINVAL;
	if (!in_object(m, e))
		return ERANGE;
	ret = sys(SYS_mmap, (long)e->va, (long)e->bytes, prot, MAP_OBJECT, m->mem[e->mem].fd, (long)e->offset);
	return ret == (long)e->va ? 0 : (int)-ret;
}

/* The range becomes part of the reservation again; the kernel has no page of it left when the call returns. */
static int unmap(const struct mdl_map_entry *e)
{
	long ret = sys(SYS_mmap, (long)e->va, (long)e->bytes, PROT_NONE, MAP_NOTHING, -1, 0);

	return ret == (long)e->va ? 0 : (int)-ret;
}

static int apply(struct mapper *m, const struct mdl_map_entry *e)
{
	if (!e->bytes || !mdl_is_aligned(e->va | e->bytes, MDL_PAGE_BYTES) || e->reserved || !va_ok(e->va, e->bytes))
		return EINVAL;
	switch (e->op) {
	case MDL_MAP_MAP:
		return map(m, e);
	case MDL_MAP_UNMAP:
		return unmap(e);
	default:
		return EINVAL;
	}
}

static int mem_del(struct mapper *m, uint32_t i)
{
	if (i >= MDL_MEM_MAX || !m->mem[i].used)
		return EINVAL;
	sys(SYS_close, m->mem[i].fd, 0, 0, 0, 0, 0);
	m->mem[i].used = false;
	return 0;
}

/* Takes fd. */
static int mem_add(struct mapper *m, uint32_t i, int fd)
{
	if (i >= MDL_MEM_MAX || m->mem[i].used || !file_bytes(fd, &m->mem[i].bytes)) {
		sys(SYS_close, fd, 0, 0, 0, 0, 0);
		return EINVAL;
	}
	m->mem[i].fd = fd;
	m->mem[i].used = true;
	return 0;
}

/* ---- The link ---- */

/* Receives one message. *ret_fd is the one descriptor that came with it, or -1. False: the peer is gone or speaks nonsense. */
static bool receive(struct mapper *m, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];	/* room for one: the kernel closes what does not fit */
	} control;
	struct iovec iov = { .iov_base = &m->msg, .iov_len = sizeof(m->msg) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	long n;

	do {
		n = sys(SYS_recvmsg, m->link, (long)&mh, MSG_CMSG_CLOEXEC, 0, 0, 0);
	} while (n == -EINTR);
	*ret_fd = -1;
	c = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		__builtin_memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return n >= (long)sizeof(m->msg.hdr) && m->msg.hdr.bytes == (uint64_t)n && !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
}

static bool answer(struct mapper *m, int error, uint32_t done)
{
	struct mdl_ipc_map_done reply = {
		.hdr = { .type = MDL_IPC_MAP_DONE, .bytes = sizeof(reply) },
		.error = (uint32_t)error,
		.done = done,
	};
	struct iovec iov = { .iov_base = &reply, .iov_len = sizeof(reply) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	long n;

	do {
		n = sys(SYS_sendmsg, m->link, (long)&mh, MSG_NOSIGNAL, 0, 0, 0);
	} while (n == -EINTR);
	return n == (long)sizeof(reply);
}

static bool map_batch(struct mapper *m)
{
	const struct mdl_ipc_map *msg = &m->msg.map;
	uint32_t i = 0;
	int error = 0;

	if (msg->hdr.bytes < offsetof(struct mdl_ipc_map, entry) || !msg->count || msg->count > MDL_MAP_BATCH || msg->reserved ||
	    msg->hdr.bytes != offsetof(struct mdl_ipc_map, entry) + msg->count * sizeof(msg->entry[0]))
		return false;
	while (i < msg->count) {
		error = apply(m, &msg->entry[i]);
		if (error)
			break;
		i++;
	}
	return answer(m, error, i);
}

static bool serve_one(struct mapper *m)
{
	bool ok, mem;
	int fd, error;

	ok = receive(m, &fd);
	mem = ok && m->msg.hdr.bytes == sizeof(m->msg.mem) && !m->msg.mem.reserved;
	if (mem && m->msg.hdr.type == MDL_IPC_MEM_ADD && fd >= 0) {
		error = mem_add(m, m->msg.mem.mem, fd);
		return answer(m, error, !error);
	}
	if (fd >= 0)
		sys(SYS_close, fd, 0, 0, 0, 0, 0);
	if (!ok || fd >= 0)
		return false;
	if (mem && m->msg.hdr.type == MDL_IPC_MEM_DEL) {
		error = mem_del(m, m->msg.mem.mem);
		return answer(m, error, !error);
	}
	return m->msg.hdr.type == MDL_IPC_MAP && map_batch(m);
}

/* ---- The process ---- */

static long confine(struct mapper *m)
{
	long err = sys(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);

	/* Everything but the link: first it moves down to 0, then the rest goes. */
	if (!err)
		err = sys(SYS_dup3, m->link, 0, O_CLOEXEC, 0, 0, 0);
	if (err >= 0)
		err = sys(SYS_close_range, 1, (long)~0u, 0, 0, 0, 0);
	if (err >= 0)
		err = sys(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&m->filter, 0, 0, 0);
	m->link = 0;
	return err;
}

static int mapper_main(void *arg)
{
	struct mapper *m = arg;
	long err = confine(m);

	atomic_store_explicit(&m->state, err < 0 ? (int)err : 1, memory_order_release);
	while (err >= 0 && serve_one(m))
		;
	sys(SYS_exit_group, err < 0, 0, 0, 0, 0, 0);
	return 0;
}

int mdl_mapper_reserve(void)
{
	static const struct {
		uint64_t base, bytes;
	} area[] = { { MDL_WINDOW_BASE, MDL_WINDOW_BYTES }, { MDL_USER_AREA_BASE, MDL_USER_AREA_BYTES } };

	for (size_t i = 0; i < MDL_ARRAY_SIZE(area); i++) {
		void *want = (void *)(uintptr_t)area[i].base;
		void *got = mmap(want, area[i].bytes, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

		if (got == MAP_FAILED)
			return -errno;
	}
	return 0;
}

/* The mapper's stack and state, one allocation that lives as long as the process. */
static int make_state(int link, struct mapper **ret_m)
{
	size_t bytes = STACK_BYTES + mdl_align_up(sizeof(struct mapper), MDL_PAGE_BYTES), count;
	mdl_autofree void *prog = NULL;
	struct mapper *m;
	char *mem;
	int err;

	err = mdl_sandbox_compile(false, rules, MDL_ARRAY_SIZE(rules), &prog, &count);
	if (err)
		return err;
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	m = (struct mapper *)(mem + STACK_BYTES);
	m->link = link;
	m->filter.len = (unsigned short)count;
	m->filter.filter = mdl_take_ptr(prog);
	*ret_m = m;
	return 0;
}

int mdl_mapper_start(int link, pid_t *ret_pid)
{
	mdl_autofd own = link;
	struct mapper *m;
	int err, state;
	pid_t pid;

	err = make_state(own, &m);
	if (err)
		return err;
	pid = clone(mapper_main, m, CLONE_VM | SIGCHLD, m);
	if (pid < 0)
		return -errno;
	/* It makes five system calls, then serves. */
	while (!(state = atomic_load_explicit(&m->state, memory_order_acquire))) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return -ECHILD;
		sched_yield();
	}
	free(m->filter.filter);
	if (state < 0)
		return state;
	*ret_pid = pid;
	return 0;
}
