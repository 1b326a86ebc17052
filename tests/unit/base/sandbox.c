/* SPDX-License-Identifier: MIT */
/* Starting processes, and system call filters. The sandbox as a whole is tried from inside by the exec and integration suites. */
#include "base/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/util.h"
#include "tests/unit/check.h"

static char *const shell[] = { "sh", "-c", "read line <&3; exit 5", NULL };

static int lowest_free_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static void end(pid_t pid, int pidfd, int status)
{
	int got;

	CHECK_EQ(waitpid(pid, &got, 0), pid);
	CHECK(WIFEXITED(got));
	CHECK_EQ(WEXITSTATUS(got), status);
	close(pidfd);
}

/* The error comes from the caller's call, and nothing is left of the attempt. */
static void no_program(void)
{
	const struct mdl_spawn spawn = { .path = "/does/not/exist", .argv = shell };
	int fd = lowest_free_fd(), pidfd = -7;
	pid_t pid = -7;

	CHECK_EQ(mdl_sandbox_spawn(&spawn, &pid, &pidfd), -ENOENT);
	CHECK_EQ(pid, -7);
	CHECK_EQ(pidfd, -7);
	CHECK_EQ(lowest_free_fd(), fd);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

/* Bit i: descriptor i is open in the process. */
static uint64_t open_in(pid_t pid)
{
	char path[64];
	struct dirent *e;
	uint64_t set = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	CHECK(dir);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			set |= 1ull << atoi(e->d_name);
	closedir(dir);
	return set;
}

/* Descriptors at their numbers and no others, whatever numbers they had. */
static void descriptors(void)
{
	static char *const argv[] = { "sleep", "1000", NULL };
	int from[2], fds[3], pidfd;
	pid_t pid;

	CHECK(!pipe(from));
	fds[0] = fcntl(from[0], F_DUPFD, 200);
	fds[1] = -1;
	fds[2] = fcntl(from[1], F_DUPFD, 3);
	CHECK_EQ(mdl_sandbox_spawn(&(struct mdl_spawn){ .path = "/bin/sleep", .argv = argv, .fds = fds, .nfds = 3 }, &pid, &pidfd), 0);
	/* Its loader opens libraries first. */
	for (int ms = 0; open_in(pid) != (1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5); ms++) {
		CHECK(ms < 5000);
		poll(NULL, 0, 1);
	}
	CHECK(fcntl(fds[0], F_GETFD) >= 0);
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	close(pidfd);
}

/* A caller with more than normal priority does not hand it on. */
static void priority(void)
{
	const struct sched_param rt = { .sched_priority = 1 };
	int pipefd[2], pidfd, own = getpriority(PRIO_PROCESS, 0);
	pid_t pid;

	if (sched_setscheduler(0, SCHED_RR, &rt) < 0 && setpriority(PRIO_PROCESS, 0, -5) < 0)
		check_skip("may not raise its priority");
	CHECK(!pipe(pipefd));
	CHECK_EQ(mdl_sandbox_spawn(&(struct mdl_spawn){ .path = "/bin/sh", .argv = shell, .fds = pipefd, .nfds = 1 }, &pid, &pidfd), 0);
	CHECK_EQ(sched_getscheduler(pid) & ~SCHED_RESET_ON_FORK, SCHED_OTHER);
	CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)pid), own > 0 ? own : 0);
	CHECK_EQ(write(pipefd[1], "\n", 1), 1);
	end(pid, pidfd, 5);
}

/* ---- Filters ---- */

static void filtered(const struct mdl_sandbox_rule *rules, size_t nrules)
{
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_EQ(mdl_sandbox_filter(true, rules, nrules), 0);
}

/* What a rule does not allow fails: by its number, by its arguments, or with the errno that the rule says. */
static void filter(void)
{
	static const struct mdl_sandbox_rule rules[] = {
		{ SYS_dup },
		{ SYS_clone, { { 0, CLONE_NEWUSER | CLONE_NEWNS, 0 } } },
		{ SYS_clone3, .error = ENOSYS },
		{ SYS_wait4 },
		{ -1 },
	};
	int status;
	pid_t pid;

	filtered(rules, MDL_ARRAY_SIZE(rules));
	CHECK(syscall(SYS_dup, 2) >= 0);
	CHECK(syscall(SYS_dup2, 2, 2) < 0 && errno == EPERM);
	CHECK(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
	CHECK(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) < 0 && errno == EPERM);
	CHECK(syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0) < 0 && errno == EPERM);
	pid = fork();
	if (pid == 0)
		_exit(4);
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4);
	_exit(0);	/* a leak checker would want system calls that are refused by now */
}

static const struct check_case cases[] = {
	{ "a program that is not there", no_program },
	{ "descriptors of a child", descriptors },
	{ "priority of a child", priority },
	{ "a filter", filter },
};
CHECK_MAIN(cases)
