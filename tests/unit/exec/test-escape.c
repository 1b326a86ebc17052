/* SPDX-License-Identifier: MIT */
/*
 * Native code in an executor tries to get out. An OpenCL kernel with inline assembly makes system calls, on a worker thread with
 * everything that the process has; the kernel's memory may be forged, so what counts is what the kernel answers. Each attempt must
 * fail, or end the context and nothing else.
 */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/util.h"
#include "tests/unit/check.h"

static const char source[] =
	"__kernel void call(__global long *io) {\n"
	"  long ret;\n"
	"  __asm__ volatile(\"movq %5, %%r10; movq %6, %%r8; movq %7, %%r9; syscall\" : \"=a\"(ret)\n"
	"    : \"a\"(io[0]), \"D\"(io[1]), \"S\"(io[2]), \"d\"(io[3]), \"m\"(io[4]), \"m\"(io[5]), \"m\"(io[6])\n"
	"    : \"rcx\", \"r8\", \"r9\", \"r10\", \"r11\", \"memory\");\n"
	"  io[7] = ret;\n"
	"}\n"
	/* Through the 32-bit entry, whose numbers differ: 5 is open there, 4 write. */
	"__kernel void call32(__global long *io) {\n"
	"  long ret; __asm__ volatile(\"int $0x80\" : \"=a\"(ret) : \"a\"(io[0]), \"b\"(io[1]), \"c\"(io[2]), \"d\"(io[3]) : \"memory\");\n"
	"  io[7] = ret;\n"
	"}\n";

struct attempt {
	const char *what;
	long nr, arg[6];	/* STR(n) in place of a pointer to text number n */
};

#define STR(n)	(-1000 - (n))
static const char *const text[] = { "/etc/passwd", "/", "/tmp/cache/x", "/proc/self/mem", "/bin/true", "/dev/null", "..", "/tmp/cache" };

static const struct attempt attempts[] = {
	{ "open a file of the host", SYS_openat, { AT_FDCWD, STR(0), O_RDONLY } },
	{ "open itself through /proc", SYS_openat, { AT_FDCWD, STR(3), O_RDONLY } },
	{ "open a device", SYS_openat, { AT_FDCWD, STR(5), O_RDONLY } },
	{ "create a file", SYS_openat, { AT_FDCWD, STR(2), O_WRONLY | O_CREAT, 0644 } },
	{ "create a file in the root", SYS_mkdir, { STR(2), 0755 } },
	{ "open the root for writing", SYS_openat, { AT_FDCWD, STR(7), O_RDWR | O_TMPFILE, 0600 } },
	{ "old open", SYS_open, { STR(0), O_RDONLY } },
	{ "creat", SYS_creat, { STR(2), 0644 } },
	{ "openat2", SYS_openat2, { AT_FDCWD, STR(1), 0, 24 } },
	{ "name_to_handle_at", SYS_open_by_handle_at, { AT_FDCWD, 0, 0 } },
	{ "socket", SYS_socket, { AF_INET, SOCK_STREAM, 0 } },
	{ "unix socket", SYS_socket, { AF_UNIX, SOCK_STREAM, 0 } },
	{ "socketpair", SYS_socketpair, { AF_UNIX, SOCK_STREAM, 0, 0 } },
	{ "connect", SYS_connect, { 3, 0, 0 } },
	{ "netlink", SYS_socket, { 16, 3, 0 } },
	{ "fork", SYS_fork, { 0 } },
	{ "vfork", SYS_vfork, { 0 } },
	{ "clone", SYS_clone, { SIGCHLD, 0, 0, 0, 0 } },
	{ "clone3", SYS_clone3, { 0, 88 } },
	{ "execve", SYS_execve, { STR(4), 0, 0 } },
	{ "execveat", SYS_execveat, { AT_FDCWD, STR(4), 0, 0, 0 } },
	{ "ptrace the init process", SYS_ptrace, { 16 /* ATTACH */, 1, 0, 0 } },
	{ "ptrace the companion", SYS_ptrace, { 16, 2, 0, 0 } },
	{ "process_vm_writev", SYS_process_vm_writev, { 2, 0, 0, 0, 0, 0 } },
	{ "kill everything", SYS_kill, { -1, SIGKILL } },
	{ "kill the companion", SYS_kill, { 2, SIGKILL } },
	{ "tgkill the companion", SYS_tgkill, { 2, 2, SIGKILL } },
	{ "continue itself", SYS_tgkill, { 1, 1, SIGCONT } },
	{ "tkill", SYS_tkill, { 2, SIGKILL } },
	{ "sigqueue", SYS_rt_sigqueueinfo, { 2, SIGKILL, 0 } },
	{ "pidfd_open", SYS_pidfd_open, { 2, 0 } },
	{ "pidfd_getfd", SYS_pidfd_getfd, { 3, 4, 0 } },
	{ "setuid", SYS_setuid, { 0 } },
	{ "setresuid", SYS_setresuid, { 0, 0, 0 } },
	{ "capset", SYS_capset, { 0, 0 } },
	{ "unshare", SYS_unshare, { 0x10000000 /* NEWUSER */ } },
	{ "setns", SYS_setns, { 3, 0 } },
	{ "mount", SYS_mount, { STR(1), STR(1), 0, 4096, 0 } },
	{ "pivot_root", SYS_pivot_root, { STR(1), STR(1) } },
	{ "chroot", SYS_chroot, { STR(6) } },
	{ "umount", SYS_umount2, { STR(1), 2 } },
	{ "memfd_create", SYS_memfd_create, { STR(0), 0 } },
	{ "shared memory", SYS_mmap, { 0, 4096, 3, 0x21 /* SHARED | ANONYMOUS */, -1, 0 } },
	{ "the lease page as code", SYS_shmget, { 0, 4096, 01777 } },
	{ "io_uring", SYS_io_uring_setup, { 8, 0 } },
	{ "bpf", SYS_bpf, { 0, 0, 0 } },
	{ "perf", SYS_perf_event_open, { 0, 0, -1, -1, 0 } },
	{ "userfaultfd", SYS_userfaultfd, { 0 } },
	{ "keyctl", SYS_keyctl, { 0, 0 } },
	{ "module", SYS_init_module, { 0, 0, 0 } },
	{ "reboot", SYS_reboot, { 0xfee1dead, 672274793, 0x1234567 } },
	{ "raise its own limits", SYS_prlimit64, { 0, 7 /* NOFILE */, 0, 0 } },
	{ "no seccomp of its own", SYS_seccomp, { 1, 0, 0 } },
	{ "prctl dumpable", SYS_prctl, { 4, 1 } },
	{ "change the clock", SYS_clock_settime, { 0, 0 } },
	{ "poll of many", SYS_poll, { STR(0), 8, 0 } },	/* numbers that are no descriptors: it would return at once */
	{ "ppoll of many", SYS_ppoll, { STR(0), 8, 0, 0, 8 } },
	{ "ioctl", SYS_ioctl, { 2, 0x5412 /* TIOCSTI */, 0 } },
};

static long attempt(struct h *h, uint16_t kernel, uint64_t io_va, const struct attempt *a)
{
	int64_t *io = h_ptr(h, io_va);
	struct h_args args = h_args(h);
	struct mdl_hw_packet p;

	io[0] = a->nr;
	io[7] = 12345678;
	for (size_t i = 0; i < 6; i++) {
		io[1 + i] = a->arg[i];
		for (size_t s = 0; s < MDL_ARRAY_SIZE(text); s++)
			if (a->arg[i] == STR((long)s))
				io[1 + i] = (int64_t)(io_va + 1024 + 64 * s);
	}
	h_arg_buffer(&args, io_va);
	p = h_dispatch(0, kernel, 1, 1, &args);
	h_run(h, 0, &p);
	CHECK(io[7] != 12345678);
	return io[7];
}

static uint64_t prepare(struct h *h)
{
	uint64_t io;

	h_start(h, 1);
	h_load_ok(h, 0, source);
	io = h_alloc(h, 4096);
	for (size_t s = 0; s < MDL_ARRAY_SIZE(text); s++)
		strcpy((char *)h_ptr(h, io) + 1024 + 64 * s, text[s]);
	return io;
}

static void system_calls(void)
{
	struct h h;
	uint64_t io = prepare(&h);
	int bad = 0;

	/* The kernel does make system calls: one that is allowed works. It is pid 1 of its own world. */
	CHECK_EQ(attempt(&h, 0, io, &(struct attempt){ "getpid", SYS_getpid, { 0 } }), 1);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(attempts); i++) {
		long ret = attempt(&h, 0, io, &attempts[i]);

		if (ret >= 0) {
			fprintf(stderr, "# %s: succeeded with %ld\n", attempts[i].what, ret);
			bad++;
		}
	}
	CHECK_EQ(bad, 0);
	/* The companion and the mapper are as they were. */
	h_load_ok(&h, 1, "__kernel void nop(void) { }\n");
	h_stop(&h);
}

/* What it holds: no descriptor is memory or a directory, and there are no more than those that are meant. */
static void descriptors(void)
{
	struct h h;
	uint64_t io = prepare(&h);
	struct attempt a = { "fstat", SYS_fstat, { 0 } };
	int open_fds = 0;

	a.arg[1] = (long)(io + 2048);
	for (long fd = 0; fd < 64; fd++) {
		a.arg[0] = fd;
		if (attempt(&h, 0, io, &a) == 0) {
			uint32_t mode;

			/* struct stat on x86-64: st_mode at 24. */
			memcpy(&mode, (char *)h_ptr(&h, io) + 2048 + 24, 4);
			CHECK((mode & 0170000) != 0100000);
			CHECK((mode & 0170000) != 0040000);
			open_fds++;
		}
	}
	/* 0-2, control, grant, want, epoll, ready, companion, one doorbell. */
	CHECK(open_fds <= 10);
	/* Nor can a mapped object be read through an inherited descriptor of the mapper: 4 was its link. */
	a = (struct attempt){ "recvmsg on the map link", SYS_recvmsg, { 4, (long)(io + 2048), 0 } };
	CHECK(attempt(&h, 0, io, &a) < 0);
	h_stop(&h);
}

/* A call by another numbering ends the context, and only that. */
static void other_entry(uint16_t kernel, long nr)
{
	int64_t *io;
	struct h h;
	uint64_t io_va = prepare(&h);
	struct h_args args = h_args(&h);
	struct mdl_hw_packet p;
	siginfo_t info = { 0 };

	io = h_ptr(&h, io_va);
	io[0] = nr;
	h_arg_buffer(&args, io_va);
	p = h_dispatch(0, kernel, 1, 1, &args);
	h_push(&h, 0, &p);
	CHECK_EQ(waitid(P_PIDFD, (id_t)h.pidfd, &info, WEXITED | WNOWAIT), 0);
	CHECK(info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED || info.si_status != 0);
	h_stop(&h);
}

static long h_syscall(struct h *h, uint64_t io, long nr, long a, long b, long c, long d, long e)
{
	return attempt(h, 0, io, &(struct attempt){ "", nr, { a, b, c, d, e, 0 } });
}

/* The window is the mapper's alone: no second way to what is unmapped later, no more rights than the device gave. */
static void window(void)
{
	struct mdl_ipc_fault fault;
	struct mdl_hw_packet p;
	struct h_args args;
	struct h h;
	uint64_t io = prepare(&h);
	int bad = 0;

	CHECK_EQ(h_map(&h, H_HOLE_VA, 8192, MDL_MEM_VRAM, 50 << 20, false), 0);
	strcpy((char *)h.vram + (50 << 20), "frame");
	const struct {
		const char *what;
		long ret;
	} got[] = {
		{ "a copy of a mapping", h_syscall(&h, io, SYS_mremap, H_HOLE_VA, 0, 4096, 1 /* MAYMOVE */, 0) },
		{ "moving a mapping", h_syscall(&h, io, SYS_mremap, H_HOLE_VA + 4096, 4096, 8192, 1, 0) },
		{ "more rights", h_syscall(&h, io, SYS_mprotect, H_HOLE_VA, 4096, 3, 0, 0) },
		{ "code in the window", h_syscall(&h, io, SYS_mprotect, H_VRAM_VA, 4096, 7, 0, 0) },
		{ "giving back the window", h_syscall(&h, io, SYS_munmap, H_HOLE_VA + (1ull << 40), 1 << 30, 0, 0, 0) },
		{ "own memory in the window",
		  h_syscall(&h, io, SYS_mmap, H_HOLE_VA + (1ull << 40), 1 << 30, 1, 0x32 /* PRIVATE, FIXED, ANONYMOUS */, -1) },
		{ "changing a user page", h_syscall(&h, io, SYS_munmap, MDL_USER_AREA_BASE, 4096, 0, 0, 0) },
		{ "punching holes", h_syscall(&h, io, SYS_madvise, H_VRAM_VA + (50 << 20), 4096, 9 /* REMOVE */, 0, 0) },
		{ "sharing of equal pages", h_syscall(&h, io, SYS_madvise, H_VRAM_VA, 4096, 12 /* MERGEABLE */, 0, 0) },
	};

	for (size_t i = 0; i < MDL_ARRAY_SIZE(got); i++) {
		if (got[i].ret >= 0) {
			fprintf(stderr, "# %s: succeeded with %ld\n", got[i].what, got[i].ret);
			bad++;
		}
	}
	CHECK_EQ(bad, 0);
	/* And a write there is still a fault. */
	h_load_ok(&h, 1, "__kernel void poke(__global int *p) { p[0] = 1; }\n");
	args = h_args(&h);
	h_arg_buffer(&args, H_HOLE_VA);
	p = h_dispatch(1, 0, 1, 1, &args);
	h_push(&h, 0, &p);
	fault = h_expect_fault(&h);
	CHECK_EQ(fault.va, H_HOLE_VA);
	CHECK_STR((char *)h.vram + (50 << 20), "frame");
	h_stop(&h);
}

/* Ways around the limit on private memory. */
static void memory_limits(void)
{
	struct h h;
	uint64_t io = prepare(&h);
	long rw = 3, private_anon = 0x22, gib = 1l << 30, own;

	CHECK(h_syscall(&h, io, SYS_mmap, 0, 64 * gib, rw, private_anon, -1) < 0);
	CHECK(h_syscall(&h, io, SYS_mmap, 0, 64 * gib, rw, private_anon | 0x4000 /* NORESERVE */, -1) < 0);
	CHECK(h_syscall(&h, io, SYS_mmap, 0, 64 * gib, rw, private_anon | 0x100 /* GROWSDOWN: counts as stack */, -1) < 0);
	CHECK(h_syscall(&h, io, SYS_mmap, 0, 1 << 20, rw, private_anon | 0x100, -1) < 0);
	CHECK(h_syscall(&h, io, SYS_mmap, 0, 1 << 21, rw, private_anon | 0x40000 /* HUGETLB: the machine's */, -1) < 0);
	CHECK(h_syscall(&h, io, SYS_mmap, 0, 1 << 20, rw, private_anon | 0x2000 /* LOCKED */, -1) < 0);
	/* Page tables of what is only read: 2 GiB for 1 TiB. */
	CHECK(h_syscall(&h, io, SYS_mmap, 0, 1024 * gib, 1, private_anon | 0x4000, -1) < 0);
	own = h_syscall(&h, io, SYS_mmap, 0, 1 << 20, 1, private_anon, -1);
	CHECK(own > 0);
	CHECK_EQ(h_syscall(&h, io, SYS_mprotect, own, 1 << 20, 3, 0, 0), 0);
	CHECK_EQ(h_syscall(&h, io, SYS_munmap, own, 1 << 20, 0, 0, 0), 0);
	h_stop(&h);
}

static void entry_32(void)
{
	other_entry(1, 5);
}

static void entry_x32(void)
{
	other_entry(0, 0x40000000 | SYS_getpid);
}

static const struct check_case cases[] = {
	{ "system_calls", system_calls, 120 },
	{ "descriptors", descriptors, 60 },
	{ "window", window, 60 },
	{ "memory_limits", memory_limits, 60 },
	{ "entry_32", entry_32, 60 },
	{ "entry_x32", entry_x32, 60 },
};
CHECK_MAIN(cases)
