/* SPDX-License-Identifier: MIT */
/*
 * An executor's life: makes its private file system and companions while it is privileged and single-threaded, gives up its rights,
 * lets the OpenCL runtime start under the ordinary root (it loads libraries and asks the machine about itself), and only then
 * closes the door: an empty root with the kernel cache, read-only, and the system call filter on all threads. From there on it is
 * taken to be the guest's.
 *
 * Processes: this one; the mapper (mapper.c); the compiler companion (compiler.c); and, for a moment, the usher, which keeps the
 * right to change the root until the runtime has started.
 */
#include "exec/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/compile.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/util.h"
#include "exec/compiler.h"
#include "exec/fault.h"
#include "exec/frontend.h"
#include "exec/mapper.h"
#include "ipc/ipc.h"
#include "ipc/lease.h"

/* Mount points in this process's own mount namespace, in a tmpfs over /tmp. The cache keeps its path in every root. */
#define CACHE		"/tmp/cache"
#define EXEC_ROOT	"/tmp/root"
#define COMPILER_ROOT	"/tmp/compiler-root"
#define ROOT_BYTES	(64u << 10)

#define DATA_BYTES	(4ull << 30)	/* private memory: the runtime, programs, private and local memory of work-items */
/* Code, stacks, reserved arenas; bounds the page tables of what is only reserved. The window cannot be given back for it. */
#define ADDRESS_BYTES	(MDL_WINDOW_BYTES + MDL_USER_AREA_BYTES + (64ull << 30))
#define POLL_FEW	(UINT32_MAX & ~7u)	/* bits of a number above 7 */
#define OPEN_FILES	1024		/* doorbells and vectors, kernel objects while they are loaded */

/*
 * Addresses of this process's own memory have this bit; those of the window and the user area, which are the mapper's alone, do not.
 * A range that begins at one of the former never reaches the latter.
 */
#define OWN_ADDRESS	(1ull << 46)
_Static_assert(MDL_WINDOW_BASE + MDL_WINDOW_BYTES <= OWN_ADDRESS && MDL_USER_AREA_BASE + MDL_USER_AREA_BYTES <= OWN_ADDRESS,
	       "the bit tells");

/*
 * Private only, since shared memory escapes RLIMIT_DATA; nothing that counts as stack (MAP_GROWSDOWN does, and escapes it too), takes
 * the machine's huge pages or locks memory.
 */
#define MAP_ALLOWED	(MAP_PRIVATE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK | MAP_DENYWRITE)
#define MAP_FLAGS	{ 3, UINT32_MAX & ~(uint64_t)(MAP_ALLOWED & ~MAP_TYPE), MAP_PRIVATE }

/*
 * What the front end and PoCL's workers need. No mremap: it would keep a second way to memory that the device has unmapped. No mprotect
 * in the window: what the guest's page tables map read-only stays so.
 */
static const struct mdl_sandbox_rule rules[] = {
	{ SYS_mmap, { MAP_FLAGS, { 0, UINT64_MAX, 0 } } },
	{ SYS_mmap, { MAP_FLAGS, { 0, OWN_ADDRESS, OWN_ADDRESS } } },
	{ SYS_munmap, { { 0, OWN_ADDRESS, OWN_ADDRESS } } },
	{ SYS_mprotect, { { 0, OWN_ADDRESS, OWN_ADDRESS } } },
	{ SYS_madvise, { { 2, UINT32_MAX, MADV_DONTNEED } } },
	{ SYS_madvise, { { 2, UINT32_MAX, MADV_FREE } } },
	{ SYS_recvmsg }, { SYS_sendmsg }, { SYS_sendto }, { SYS_epoll_ctl }, { SYS_epoll_wait }, { SYS_epoll_pwait },
	/* Few at once: each entry is one more to walk for medleyd when it writes to what is waited for. */
	{ SYS_poll, { { 1, POLL_FEW, 0 } } }, { SYS_ppoll, { { 1, POLL_FEW, 0 } } }, { SYS_pread64 }, { SYS_fcntl, { { 1, UINT32_MAX, F_GETFL } } },
	/* Kernel objects and bitcode, from the cache: reading only. */
	{ SYS_openat, { { 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY } } },
	{ SYS_open, { { 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY } } },
	{ SYS_newfstatat }, { SYS_stat }, { SYS_lstat }, { SYS_statx }, { SYS_access }, { SYS_faccessat }, { SYS_faccessat2 },
	{ SYS_readlink }, { SYS_getcwd },
	/* PoCL makes sure of directories that are there; everything is read-only. */
	{ SYS_mkdir }, { SYS_mkdirat },
	{ SYS_getdents64 }, { SYS_sysinfo }, { SYS_sched_getaffinity }, { SYS_getcpu }, { SYS_set_robust_list },
	/* close_door() takes standard error away, once this filter is known to be there. */
	{ SYS_dup2, { { 1, UINT32_MAX, STDERR_FILENO } } },
	/*
	 * abort(): to a thread of this process, which is what pid 1 of our own namespace is. No other signal: SIGCONT would undo the stop at the
	 * end of a turn.
	 */
	{ SYS_tgkill, { { 0, UINT32_MAX, 1 }, { 2, UINT32_MAX, SIGABRT } } },
};

static int fail(const char *what, int err)
{
	mdl_log(MDL_LOG_ERROR, "%s: %s", what, strerror(-err));
	return err;
}

/* ---- File system ---- */

static int make_dir(const char *path, uid_t owner)
{
	if (mkdir(path, 0755) < 0 || (owner != MDL_SANDBOX_KEEP_ID && chown(path, owner, owner) < 0))
		return -errno;
	return 0;
}

static int make_roots(uid_t compiler_uid)
{
	int err = mdl_sandbox_isolate();

	if (!err)
		err = mdl_sandbox_tmpfs("/tmp", MDL_COMPILER_CACHE_BYTES, 0755);
	/* The companion writes the cache; this process's user may only read it. */
	if (!err)
		err = make_dir(CACHE, compiler_uid);
	if (!err)
		err = make_dir(EXEC_ROOT, MDL_SANDBOX_KEEP_ID);
	return err ? err : make_dir(COMPILER_ROOT, MDL_SANDBOX_KEEP_ID);
}

static int change_root(void)
{
	static const char *const binds[] = { CACHE, NULL };
	int err = mdl_sandbox_tmpfs(EXEC_ROOT, ROOT_BYTES, 0755);

	if (!err)
		err = mdl_sandbox_bind(EXEC_ROOT, binds);
	return err ? err : mdl_sandbox_pivot(EXEC_ROOT);
}

/*
 * The usher: a copy of this process from before it gave up its rights. At a byte on the pipe it changes the root of the mount
 * namespace, and with it this process's (pivot_root(2)), and ends with status 0.
 */
static int usher_start(int *ret_pipe, pid_t *ret_pid)
{
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		char go;

		close(p[1]);
		_exit(read(p[0], &go, 1) == 1 && !change_root() ? 0 : 1);
	}
	close(p[0]);
	if (pid < 0) {
		close(p[1]);
		return -errno;
	}
	*ret_pipe = p[1];
	*ret_pid = pid;
	return 0;
}

static int usher_go(int pipe_fd, pid_t pid)
{
	int status;

	if (write(pipe_fd, "", 1) != 1 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* ---- Start ---- */

struct process {
	const struct mdl_exec_options *options;
	struct mdl_lease *lease;
	int compiler, usher_pipe;
	pid_t compiler_pid, usher, mapper;
	struct mdl_backend *backend;
	struct mdl_exec *frontend;
};

static int map_lease(struct mdl_lease **ret_lease)
{
	void *page = mmap(NULL, sizeof(struct mdl_lease), PROT_READ | PROT_WRITE, MAP_SHARED, MDL_FD_EXEC_LEASE, 0);

	if (page == MAP_FAILED)
		return -errno;
	close(MDL_FD_EXEC_LEASE);
	*ret_lease = page;
	return 0;
}

/* Privileged and single-threaded up to mdl_sandbox_drop(). */
static int give_up_rights(struct process *p)
{
	uid_t uid = p->options->uid;
	struct mdl_compiler compiler = {
		.cache = CACHE,
		.scratch = CACHE "/scratch",
		.root = COMPILER_ROOT,
		.uid = uid == MDL_SANDBOX_KEEP_ID ? uid : uid + 1,
	};
	int err;

	err = make_roots(compiler.uid);
	if (err == -EINVAL)
		return fail("/ is not a mount point (a plain chroot?): mount it on itself, so that mounts can be made private", err);
	if (err)
		return fail("cannot make a private file system", err);
	err = mdl_compile_environment(CACHE, p->options->compute_units);
	if (!err)
		err = mdl_compiler_start(&compiler, &p->compiler, &p->compiler_pid);
	if (err)
		return fail("cannot start the compiler companion", err);
	err = usher_start(&p->usher_pipe, &p->usher);
	if (!err)
		err = mdl_sandbox_drop(uid);
	return err ? fail("cannot give up rights", err) : 0;
}

struct kernel_threads {
	const struct mdl_exec_options *options;
	_Atomic int error;
};

/* On each thread that runs kernels. */
static void kernel_thread(void *arg)
{
	struct kernel_threads *t = arg;

	mdl_fault_thread_stack();
	if (t->options->own_cpus && sched_setaffinity(0, sizeof(t->options->cpus), &t->options->cpus) < 0)
		t->error = errno;
}

/* Unprivileged, under the machine's root. */
static int start_engines(struct process *p)
{
	struct mdl_frontend_config config = {
		.ops = &mdl_backend_cpu,
		.compute_units = p->options->compute_units,
		.control = MDL_FD_EXEC_CONTROL,
		.grant = MDL_FD_EXEC_GRANT,
		.want = MDL_FD_EXEC_WANT,
		.lease = p->lease,
	};
	int err = mdl_mapper_reserve();
	struct kernel_threads threads = { .options = p->options };

	if (!err)
		err = mdl_mapper_start(MDL_FD_EXEC_MAP, &p->mapper);
	if (err)
		return fail("cannot start the mapper", err);
	err = config.ops->create(p->options->compute_units, mdl_take_fd(&p->compiler), &p->backend);
	if (err == -ENODEV)
		return fail("there is no PoCL among this machine's OpenCL platforms (Debian: pocl-opencl-icd)", err);
	if (err == -ENOEXEC || err == -ENOMEM || err == -ETIMEDOUT)
		return fail("the compiler companion cannot compile a test kernel with this machine's PoCL", err);
	if (err)
		return fail("cannot start the OpenCL runtime", err);
	config.backend = p->backend;
	err = mdl_frontend_create(&config, &p->frontend);
	if (!err)
		err = mdl_fault_install(MDL_FD_EXEC_CONTROL);
	if (!err)
		err = config.ops->on_threads(p->backend, kernel_thread, &threads);
	if (!err && threads.error)
		return fail("cannot run kernels on the CPUs asked for", -threads.error);
	return err ? fail("cannot start the front end", err) : 0;
}

static int close_door(struct process *p)
{
	static const struct mdl_sandbox_limits limits = { .nofile = OPEN_FILES, .data = DATA_BYTES, .as = ADDRESS_BYTES };
	int err = usher_go(p->usher_pipe, p->usher);

	if (err)
		return fail("cannot change the root", err);
	close(p->usher_pipe);
	err = mdl_sandbox_limits(&limits);
	if (!err)
		err = mdl_sandbox_filter(true, rules, MDL_ARRAY_SIZE(rules));
	if (err)
		return fail("cannot confine the process", err);
	/* Nothing a guest can cause is written to the log from here. Standard output is /dev/null. */
	return dup2(STDOUT_FILENO, STDERR_FILENO) < 0 ? -errno : 0;
}

int mdl_exec_process(const struct mdl_exec_options *options)
{
	struct process p = { .options = options, .compiler = -1, .usher_pipe = -1 };
	int err = map_lease(&p.lease);

	if (err) {
		fail("lease page", err);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	err = give_up_rights(&p);
	if (!err)
		err = start_engines(&p);
	if (!err)
		err = close_door(&p);
	if (!err)
		err = mdl_frontend_run(p.frontend);
	/* The kernel takes back everything else, mapper and companion included. */
	return err ? 1 : 0;
}
