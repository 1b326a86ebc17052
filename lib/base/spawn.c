/* SPDX-License-Identifier: MIT */
/*
 * Starting a confined process: the parent's half of sandbox.h. The child runs between clone and exec with system calls only (no
 * allocation, no stdio), because it is a copy of a process that may have had threads. Stateless.
 */
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define SPAWN_FDS_MAX	16
#define SPAWN_FD_FIRST	3
#define SPAWN_FD_PARK	64	/* above every target number: targets never collide with parked sources */

static int write_file(const char *path, const char *text)
{
	mdl_autofd fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* In a new user namespace: the outer user is root inside, so that the capabilities survive exec; see user_namespaces(7). */
static int map_ids(const char *uid_map, const char *gid_map)
{
	int err = write_file("/proc/self/setgroups", "deny");

	if (!err || err == -ENOENT)
		err = write_file("/proc/self/uid_map", uid_map);
	return err ? err : write_file("/proc/self/gid_map", gid_map);
}

static int place_fds(const struct mdl_spawn *spawn, int *report)
{
	int parked[SPAWN_FDS_MAX];
	int null;

	for (size_t i = 0; i < spawn->nfds; i++) {
		parked[i] = spawn->fds[i] < 0 ? -1 : fcntl(spawn->fds[i], F_DUPFD, SPAWN_FD_PARK);
		if (spawn->fds[i] >= 0 && parked[i] < 0)
			return -errno;
	}
	*report = fcntl(*report, F_DUPFD_CLOEXEC, SPAWN_FD_PARK);
	if (*report < 0)
		return -errno;
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	for (int fd = SPAWN_FD_FIRST; fd < SPAWN_FD_PARK; fd++)
		close(fd);
	for (size_t i = 0; i < spawn->nfds; i++)
		if (parked[i] >= 0 && dup2(parked[i], SPAWN_FD_FIRST + (int)i) < 0)
			return -errno;
	/* Everything parked goes away at exec, the report pipe only there. */
	if (syscall(SYS_close_range, SPAWN_FD_PARK, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) < 0)
		return -errno;
	return 0;
}

/*
 * What it forks, be it before the parent gets to calm_down(), has an ordinary priority. With an ordinary one of its own there is
 * nothing to ask for: a filter on real-time policies would refuse it.
 */
static int keep_priority_to_itself(void)
{
	struct sched_param p;
	int policy = sched_getscheduler(0);

	if (policy != SCHED_RR && policy != SCHED_FIFO && getpriority(PRIO_PROCESS, 0) >= 0)
		return 0;
	if (policy < 0 || sched_getparam(0, &p) < 0 ||
	    sched_setscheduler(0, policy | SCHED_RESET_ON_FORK, &p) < 0)
		return -errno;
	return 0;
}

static int child_setup(const struct mdl_spawn *spawn, bool new_user, const char *uid_map,
		       const char *gid_map, int *report)
{
	sigset_t none;
	int err;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	if (new_user) {
		err = map_ids(uid_map, gid_map);
		if (err)
			return err;
	}
	err = keep_priority_to_itself();
	if (err)
		return err;
	if (setsid() < 0)
		return -errno;
	/* When memory runs out, these go before their parent and before VMs. */
	write_file("/proc/self/oom_score_adj", "500");
	/* Handlers first: they are the parent's, and none of its may run here. */
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return place_fds(spawn, report);
}

static __attribute__((noreturn)) void child_main(const struct mdl_spawn *spawn, bool new_user,
						 const char *uid_map, const char *gid_map, int report)
{
	static char *const no_env[] = { NULL };
	int err = child_setup(spawn, new_user, uid_map, gid_map, &report);

	if (!err) {
		execve(spawn->path, spawn->argv, spawn->envp ? spawn->envp : no_env);
		err = -errno;
	}
	if (write(report, &err, sizeof(err)) < 0)
		_exit(126);
	_exit(127);
}

/*
 * The parent waits until the child has executed its program. If the child did not have the parent's priority meanwhile, a real-time
 * parent would wait for everybody else's time slices on a busy machine (measured: 5 to 50 ms instead of 1.5 ms). So the child
 * inherits it, and loses it here, when it runs the new program; for how long already depends on when the parent gets a CPU, so
 * what it starts meanwhile must not inherit it.
 */
static int calm_down(pid_t pid)
{
	const struct sched_param normal = { 0 };
	int policy = sched_getscheduler(0);

	if ((policy == SCHED_RR || policy == SCHED_FIFO) &&
	    sched_setscheduler(pid, SCHED_OTHER | SCHED_RESET_ON_FORK, &normal) < 0)
		return -errno;
	if (getpriority(PRIO_PROCESS, 0) < 0 && setpriority(PRIO_PROCESS, (id_t)pid, 0) < 0)
		return -errno;
	return 0;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int mdl_sandbox_spawn(const struct mdl_spawn *spawn, pid_t *ret_pid, int *ret_pidfd)
{
	bool isolate = spawn->flags & MDL_SPAWN_ISOLATE, new_user = isolate && geteuid() != 0;
	mdl_autofd report_r = -1, report_w = -1;
	mdl_autofd pidfd = -1;
	char uid_map[32], gid_map[32];
	struct clone_args args = { .flags = CLONE_PIDFD, .exit_signal = SIGCHLD };
	int pipefd[2], err = 0;
	ssize_t n;
	long pid;

	if (spawn->nfds > SPAWN_FDS_MAX)
		return -EINVAL;
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return -errno;
	report_r = pipefd[0];
	report_w = pipefd[1];
	snprintf(uid_map, sizeof(uid_map), "0 %u 1", geteuid());
	snprintf(gid_map, sizeof(gid_map), "0 %u 1", getegid());
	if (isolate)
		args.flags |= CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			      (new_user ? CLONE_NEWUSER : 0);
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_main(spawn, new_user, uid_map, gid_map, report_w);
	mdl_close_fd(&report_w);
	/* End of file: exec closed the pipe. */
	do {
		n = read(report_r, &err, sizeof(err));
	} while (n < 0 && errno == EINTR);
	if (n == sizeof(err)) {
		reap((pid_t)pid);
		return err;
	}
	err = calm_down((pid_t)pid);
	if (err) {
		kill((pid_t)pid, SIGKILL);
		reap((pid_t)pid);
		return err;
	}
	*ret_pid = (pid_t)pid;
	*ret_pidfd = mdl_take_fd(&pidfd);
	return 0;
}
