/* SPDX-License-Identifier: MIT */
/*
 * The compiler companion's process: takes a request, forks a job with limits on time and memory, collects its reply and
 * answers. The guest's source is hostile input to a compiler of a million lines, so a job is taken to be the guest's: it sees a
 * read-only view of the tool chain, can write the private kernel cache only, and has a user of its own. The companion itself
 * parses only the request header and the options. Single-threaded; each job's process is forked from a state in which the
 * runtime's libraries are loaded but not initialised.
 */
#include "exec/compiler.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/compile.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/util.h"

#define ROOT_BYTES	(1u << 20)
#define NFTW_FDS	8
#define NICE		10
#define ERR_TAIL	2048	/* bytes of a dead job's standard error that are looked at */

/* What compiling and linking open: libraries, compiler resources, the linker. Nothing of the machine's configuration or state. */
static const char *const toolchain[] = {
	"/lib", "/lib32", "/lib64", "/libx32", "/bin", "/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64",
	"/usr/libx32", "/usr/libexec", "/usr/local/lib", "/usr/local/share/pocl", "/usr/share/pocl",
	"/etc/OpenCL", "/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu", NULL,
};

#define NAMESPACES	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/*
 * Companion and jobs; PoCL forks the linker. No sockets, no namespaces, no tracing; kill reaches the own user only, and never lets
 * anybody go on who was stopped. No memory beside
 * what the limits count: no memfd, no huge pages, nothing locked.
 */
static const struct mdl_sandbox_rule rules[] = {
	/* In a user namespace of its own a job would have every capability. clone3's flags are in memory, where no filter sees them. */
	{ SYS_clone, { { 0, NAMESPACES, 0 } } }, { SYS_clone3, .error = ENOSYS }, { SYS_fork }, { SYS_vfork },
	{ SYS_mmap, { { 3, MAP_HUGETLB | MAP_LOCKED, 0 } } },
	{ SYS_munmap }, { SYS_mprotect }, { SYS_madvise }, { SYS_mremap }, { SYS_openat }, { SYS_open }, { SYS_newfstatat }, { SYS_stat }, { SYS_lstat }, { SYS_statx },
	{ SYS_access }, { SYS_faccessat }, { SYS_faccessat2 }, { SYS_readlink }, { SYS_readlinkat },
	{ SYS_getdents64 }, { SYS_getcwd }, { SYS_chdir }, { SYS_pread64 }, { SYS_pwrite64 }, { SYS_fcntl },
	{ SYS_dup }, { SYS_dup2 }, { SYS_dup3 }, { SYS_pipe2 }, { SYS_pipe }, { SYS_poll }, { SYS_ppoll },
	{ SYS_ioctl, { { 1, UINT32_MAX, 0x5401 /* TCGETS: isatty() */ } } },
	{ SYS_mkdir }, { SYS_mkdirat }, { SYS_rename }, { SYS_renameat }, { SYS_renameat2 }, { SYS_unlink },
	{ SYS_unlinkat }, { SYS_rmdir }, { SYS_ftruncate }, { SYS_fallocate }, { SYS_fsync }, { SYS_fdatasync },
	{ SYS_chmod }, { SYS_fchmod }, { SYS_fchmodat }, { SYS_umask }, { SYS_utimensat }, { SYS_statfs }, { SYS_fstatfs },
	{ SYS_execve }, { SYS_wait4 }, { SYS_waitid },
	{ SYS_set_tid_address }, { SYS_set_robust_list }, { SYS_arch_prctl }, { SYS_prlimit64 }, { SYS_getrlimit },
	{ SYS_setrlimit }, { SYS_getrusage }, { SYS_prctl }, { SYS_sched_getaffinity }, { SYS_sysinfo }, { SYS_uname },
	{ SYS_getppid }, { SYS_getuid }, { SYS_geteuid }, { SYS_getgid }, { SYS_getegid }, { SYS_getpgrp },
	{ SYS_setpgid }, { SYS_kill, { { 1, UINT32_MAX, SIGKILL } } }, { SYS_tgkill, { { 2, UINT32_MAX, SIGABRT } } }, { SYS_time }, { SYS_times }, { SYS_getcpu },
	{ SYS_clock_getres }, { SYS_get_mempolicy },
};

/* ---- One job ---- */

/* What a request asks for, and where its result goes. */
struct job {
	struct mdl_compile_req req;
	char *input, *options;
	struct mdl_compile_reply reply;
	char *log, *output;
};

/* The process that serves the link. */
struct companion {
	const struct mdl_compiler *config;
	int link;
	int err_fd;	/* file that is each job's standard error, one after the other */
};

static void job_fini(struct job *job)
{
	free(job->input);
	free(job->options);
	free(job->log);
	free(job->output);
}

static __attribute__((noreturn)) void job_process(const struct job *job, const char *cache, int result, int err_fd)
{
	const struct mdl_sandbox_limits limits = {
		.fsize = MDL_COMPILER_FILE_BYTES,
		.as = MDL_COMPILER_BYTES,
		.data = MDL_COMPILER_BYTES,
		.cpu_s = MDL_COMPILER_CPU_S,
	};

	if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || dup2(err_fd, STDERR_FILENO) < 0 ||
	    mdl_sandbox_limits(&limits))
		_exit(1);
	mdl_compile_job(&job->req, job->input, job->options, cache, result);
}

/* Why a job died without a reply. LLVM and libstdc++ say so when memory is gone, then abort. */
static uint32_t cause_of_death(int status, int err_fd, const char **ret_text)
{
	static const char *const memory[] = { "out of memory", "bad_alloc", "Cannot allocate memory", "memory exhausted" };
	char tail[ERR_TAIL + 1];
	off_t end = lseek(err_fd, 0, SEEK_END);
	ssize_t n = pread(err_fd, tail, ERR_TAIL, end > ERR_TAIL ? end - ERR_TAIL : 0);

	tail[n > 0 ? n : 0] = 0;
	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL)) {
		*ret_text = "medley: the compiler ran out of time\n";
		return MDL_PROGRAM_TIMEOUT;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ) {
		*ret_text = "medley: the compiler's output is too large\n";
		return MDL_PROGRAM_NO_MEMORY;
	}
	for (size_t i = 0; i < MDL_ARRAY_SIZE(memory); i++) {
		if (strstr(tail, memory[i])) {
			*ret_text = "medley: the compiler ran out of memory\n";
			return MDL_PROGRAM_NO_MEMORY;
		}
	}
	*ret_text = "medley: the compiler crashed on this source\n";
	return MDL_PROGRAM_BUILD_FAILED;
}

/* PoCL's temporary files of jobs that were killed. */
static void sweep_cache(const char *cache)
{
	DIR *dir = opendir(cache);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (!strncmp(e->d_name, "tempfile", 8))
			unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
}

static bool cache_full(const char *cache)
{
	struct statvfs s;

	return statvfs(cache, &s) < 0 || (uint64_t)s.f_bavail * s.f_frsize < MDL_COMPILER_CACHE_SPARE;
}

/* Ends the job with all that it started. */
static void reap(const struct mdl_compiler *c, pid_t pid, int *ret_status)
{
	int status;

	kill(-pid, SIGKILL);
	/* A job that a guest took over may have left its group, but not its user, who is this companion's alone. */
	if (c->uid != MDL_SANDBOX_KEEP_ID)
		kill(-1, SIGKILL);
	if (waitpid(pid, ret_status, 0) != pid)
		*ret_status = 0;
	/* The linker, if the job died before it: this process is its reaper. */
	while (waitpid(-1, &status, WNOHANG) > 0)
		;
}

/* Replaces what a job said by a failure. */
static void set_result(struct job *job, uint32_t status, const char *log)
{
	free(job->log);
	free(job->output);
	job->output = NULL;
	job->log = strdup(log ? log : "");
	job->reply = (struct mdl_compile_reply){ .status = status };
}

static int read_reply(int fd, uint64_t deadline_ns, struct job *job)
{
	int err = mdl_compile_read(fd, &job->reply, sizeof(job->reply), deadline_ns);

	return err ? err : mdl_compile_read_rest(fd, &job->reply, &job->log, &job->output, deadline_ns);
}

/* A job that closed its pipe is ending by itself: its own status shall tell why, but is not waited for for ever. */
static void await_end(pid_t pid)
{
	struct pollfd none = { .fd = -1 };

	for (int ms = 0; ms < 1000; ms++) {
		siginfo_t info = { 0 };

		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) || info.si_pid == pid)
			return;
		poll(&none, 1, 1);
	}
}

/* The directory of a job that has a cache of its own goes with it. */
static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* The runtime keeps some files to its own user; the executor, another user, reads them. */
static int open_up(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type == FTW_F && (st->st_mode & 0444) != 0444)
		chmod(path, st->st_mode | 0444);
	else if (type == FTW_D && (st->st_mode & 0555) != 0555)
		chmod(path, st->st_mode | 0555);
	return 0;
}

static void settle_cache(const struct mdl_compiler *c)
{
	nftw(c->scratch, remove_entry, NFTW_FDS, FTW_DEPTH | FTW_PHYS);
	sweep_cache(c->cache);
	nftw(c->cache, open_up, NFTW_FDS, FTW_PHYS);
}

/* Runs one job in a process; its reply, or the reason why there is none, in job. */
static int run_process(const struct companion *me, struct job *job, uint64_t deadline_ns)
{
	const struct mdl_compiler *c = me->config;
	const char *cache = job->req.kind == MDL_COMPILE_PROGRAM ? c->scratch : c->cache;
	mdl_autofd result_r = -1, result_w = -1;
	const char *text = "medley: the compiler ran out of time\n";
	int p[2], status = 0, err;
	pid_t pid;

	/* Nothing of the job before is alive to write there. */
	if (ftruncate(me->err_fd, 0) < 0 || lseek(me->err_fd, 0, SEEK_SET) < 0 || pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	result_r = p[0];
	result_w = p[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		job_process(job, cache, result_w, me->err_fd);
	setpgid(pid, pid);	/* both sides do it, so that it is done before either goes on */
	mdl_close_fd(&result_w);
	err = read_reply(result_r, deadline_ns, job);
	if (err == -EPIPE)
		await_end(pid);
	reap(c, pid, &status);
	if (err) {
		job->reply = (struct mdl_compile_reply){ .status = MDL_PROGRAM_TIMEOUT };
		if (err != -ETIMEDOUT)
			job->reply.status = cause_of_death(status, me->err_fd, &text);
		job->log = strdup(text);
	}
	return 0;
}

static int run_job(const struct companion *me, struct job *job)
{
	uint64_t deadline = mdl_now_ns() + MDL_COMPILER_WALL_S * MDL_NS_PER_S;
	int err = run_process(me, job, deadline);

	if (!err && job->req.kind == MDL_COMPILE_PROGRAM && job->reply.status == MDL_PROGRAM_OK) {
		/* The second half: what the executor will open by its bitcode must be in the cache under that key. */
		struct job install = { .req = job->req, .input = job->output, .options = job->options };

		install.req.kind = MDL_COMPILE_INSTALL;
		install.req.input_bytes = job->reply.output_bytes;
		err = run_process(me, &install, deadline);
		if (!err && install.reply.status != MDL_PROGRAM_OK)
			set_result(job, install.reply.status, install.log);
		free(install.log);
		free(install.output);
	}
	settle_cache(me->config);
	if (!err && job->reply.status == MDL_PROGRAM_OK && cache_full(me->config->cache))
		set_result(job, MDL_PROGRAM_NO_MEMORY, "medley: this context's kernel cache is full\n");
	return err;
}

/* ---- Requests ---- */

static bool request_ok(const struct mdl_compile_req *req)
{
	if (req->reserved || !req->input_bytes || !req->options_bytes || req->options_bytes > MDL_PROGRAM_OPTIONS_MAX + 1)
		return false;
	if (req->kind == MDL_COMPILE_PROGRAM)
		return req->input_bytes <= MDL_PROGRAM_SOURCE_MAX;
	if (req->kind != MDL_COMPILE_KERNEL || req->input_bytes > MDL_COMPILE_BITCODE_MAX || req->dims < 1 || req->dims > 3 ||
	    req->nargs > MDL_ARGS_MAX || !memchr(req->kernel, 0, sizeof(req->kernel)))
		return false;
	for (uint32_t i = 0; i < req->nargs; i++)
		if (req->arg[i].kind == MDL_ARG_VALUE && req->arg[i].size > MDL_ARG_BYTES_MAX)
			return false;
	return true;
}

static int read_text(int link, size_t bytes, char **ret_text)
{
	char *text = calloc(1, bytes + 1);

	*ret_text = text;	/* job_fini() frees it */
	return text ? mdl_compile_read(link, text, bytes, 0) : -ENOMEM;
}

static char *refused_option(const char *options)
{
	const char *bad;
	size_t len;
	char *log = NULL;

	if (!mdl_compile_check_options(options, &bad, &len))
		return NULL;
	if (asprintf(&log, "medley: compiler option not allowed: %.*s\n", (int)mdl_min_u64(len, 200), bad) < 0)
		return NULL;
	return log;
}

static int answer(int link, struct job *job)
{
	int err;

	job->reply.log_bytes = job->log ? (uint32_t)strlen(job->log) : 0;
	err = mdl_compile_write(link, &job->reply, sizeof(job->reply));
	if (!err)
		err = mdl_compile_write(link, job->log, job->reply.log_bytes);
	return err ? err : mdl_compile_write(link, job->output, job->reply.output_bytes);
}

static int serve_one(const struct companion *me)
{
	__attribute__((cleanup(job_fini))) struct job job = { 0 };
	int err = mdl_compile_read(me->link, &job.req, sizeof(job.req), 0);

	if (err)
		return err;
	if (!request_ok(&job.req))
		return -EPROTO;
	err = read_text(me->link, job.req.input_bytes, &job.input);
	if (!err)
		err = read_text(me->link, job.req.options_bytes, &job.options);
	if (err)
		return err;
	job.reply.status = MDL_PROGRAM_BUILD_FAILED;
	job.log = refused_option(job.options);
	if (!job.log && run_job(me, &job))
		set_result(&job, MDL_PROGRAM_NO_MEMORY, "medley: the compiler cannot start\n");
	return answer(me->link, &job);
}

/* ---- The process ---- */

/* PoCL asks /proc for the size of memory and refuses to start without. It need not learn the machine's. */
static int make_meminfo(const char *root)
{
	mdl_autofd fd = -1;
	char path[256], text[128];
	int n;

	snprintf(path, sizeof(path), "%s/proc", root);
	if (mkdir(path, 0755) < 0)
		return -errno;
	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return -errno;
	n = snprintf(text, sizeof(text), "MemTotal: %llu kB\nMemFree: %llu kB\n", MDL_COMPILER_BYTES >> 10,
		     MDL_COMPILER_BYTES >> 10);
	return write(fd, text, (size_t)n) == n ? 0 : -EIO;
}

static int enter_root(const struct mdl_compiler *c)
{
	int err;

	/* A mount namespace of its own: the executor's root will be another one. The cache's tmpfs is shared by both. */
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	err = mdl_sandbox_tmpfs(c->root, ROOT_BYTES, 0755);
	if (!err)
		err = mdl_sandbox_bind(c->root, toolchain);
	if (!err)
		err = mdl_sandbox_bind_writable(c->root, c->cache);
	if (!err)
		err = make_meminfo(c->root);
	return err ? err : mdl_sandbox_pivot(c->root);
}

static int confine(const struct mdl_compiler *c)
{
	struct mdl_sandbox_limits limits = { .nofile = 256 };
	int err = c->root ? enter_root(c) : 0;

	if (!err)
		err = mdl_sandbox_drop(c->uid);
	/* The number of processes counts by user: a limit only where the user is this companion's alone. */
	if (c->uid != MDL_SANDBOX_KEEP_ID)
		limits.nproc = MDL_COMPILER_PROCS;
	if (!err)
		err = mdl_sandbox_limits(&limits);
	if (!err && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		err = -errno;
	if (!err)
		err = mdl_compile_preload();
	return err ? err : mdl_sandbox_filter(true, rules, MDL_ARRAY_SIZE(rules));
}

static void be_nice_group(void)
{
	mdl_autofd fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	char text[8];
	int n = snprintf(text, sizeof(text), "%d", NICE);

	/* Not there: this kernel does not group. */
	if (fd >= 0 && write(fd, text, (size_t)n) != n)
		mdl_log(MDL_LOG_DEBUG, "compiler: its session cannot be made nice");
}

static __attribute__((noreturn)) void companion(const struct mdl_compiler *c, int link)
{
	struct companion me = { .config = c };
	int err;

	prctl(PR_SET_NAME, "medley-compile");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	/* Control link, lease page, eventfds of the executor: none of the compiler's business. */
	me.link = STDERR_FILENO + 1;
	if ((link != me.link && dup3(link, me.link, O_CLOEXEC) < 0) || syscall(SYS_close_range, me.link + 1, ~0u, 0) < 0)
		_exit(1);
	me.err_fd = memfd_create("job", MFD_CLOEXEC);
	if (me.err_fd < 0)
		_exit(1);
	/*
	 * Compiling is not accounted to the lease: it must not crowd out running kernels. A session of its own: SIGCONT to the executor
	 * is not allowed from here, the executor's group can be reniced without this process, and where the kernel groups processes by
	 * session for scheduling (autogroup) the group is nice too.
	 */
	setsid();
	setpriority(PRIO_PROCESS, 0, NICE);
	be_nice_group();
	err = confine(c);
	if (err) {
		mdl_log(MDL_LOG_ERROR, "compiler: cannot confine itself: %s", strerror(-err));
		_exit(1);
	}
	while (!err)
		err = serve_one(&me);
	_exit(err == -EPIPE ? 0 : 1);
}

int mdl_compiler_start(const struct mdl_compiler *c, int *ret_link, pid_t *ret_pid)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		companion(c, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	*ret_link = pair[0];
	*ret_pid = pid;
	return 0;
}
