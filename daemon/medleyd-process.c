/* SPDX-License-Identifier: MIT */
/*
 * medleyd's children: devices and executors. Each is started confined (lib/base/sandbox.h), with a
 * user of its own when medleyd is root, and watched by its pidfd; it is reaped here and nowhere
 * else, so its pid stays its own as long as we use it. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sandbox.h"

#define ARGS_MAX       16
/* Two for each process: itself, and for executors their compiler companion. */
#define UIDS_A_PROCESS 2
#define UIDS	       (1u << 16)

static int pidfd_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

void process_signal(struct process *p, int sig)
{
	if (p->pid)
		pidfd_signal(p->pidfd, sig);
}

uint64_t process_cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * MDL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

size_t process_children(const struct process *p, pid_t *pids, size_t max)
{
	char path[64], text[256], *at = text, *end;
	mdl_autofd fd = -1;
	size_t n = 0;
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", p->pid, p->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[got > 0 ? got : 0] = 0;
	for (; n < max; at = end) {
		long pid = strtol(at, &end, 10);

		if (end == at || pid <= 0)
			break;
		pids[n++] = (pid_t)pid;
	}
	return n;
}

/* True when it was there to be reaped. */
static bool reap(struct process *p, int options, int *ret_status)
{
	uint64_t cpu = process_cpu_ns(p->pid);
	int status;
	pid_t pid;

	do {
		pid = waitpid(p->pid, &status, options);
	} while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return false;
	*ret_status = pid < 0 ? 0 : status;
	p->cpu_ns = cpu;
	p->source = sd_event_source_disable_unref(p->source);
	mdl_close_fd(&p->pidfd);
	p->pid = 0;
	return true;
}

static int on_ended(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct process *p = arg;
	int status;

	if (reap(p, WNOHANG, &status))
		p->ended(p, status);
	return 0;
}

static int find_program(const struct manager *m, const char *program, char *path, size_t bytes)
{
	int n = snprintf(path, bytes, "%s/%s", m->opt.libexec_dir, program);

	return n < 0 || (size_t)n >= bytes ? -ENAMETOOLONG : 0;
}

static uint32_t next_uid(struct manager *m)
{
	uint32_t uid = m->opt.uid_base + m->uid_next;

	/*
	 * Wraps after 32768 processes: far more than there are at a time, so two live ones never
	 * share.
	 */
	m->uid_next = (m->uid_next + UIDS_A_PROCESS) % UIDS;
	return uid;
}

int process_start(struct process *p, struct manager *m, const char *program,
		  const char *const *args, const int *fds, size_t nfds,
		  void (*ended)(struct process *p, int status))
{
	char path[4096], uid[16];
	char *argv[ARGS_MAX + 4];
	struct mdl_spawn spawn = { .path = path,
				   .argv = argv,
				   .fds = fds,
				   .nfds = nfds,
				   .flags = m->isolate ? MDL_SPAWN_ISOLATE : 0 };
	size_t n = 0;
	int err;

	err = find_program(m, program, path, sizeof(path));
	if (err)
		return err;
	argv[n++] = (char *)program;
	if (m->privileged) {
		snprintf(uid, sizeof(uid), "%u", next_uid(m));
		argv[n++] = "--uid";
		argv[n++] = uid;
	}
	for (size_t i = 0; args[i] && i < ARGS_MAX; i++)
		argv[n++] = (char *)args[i];
	argv[n] = NULL;
	err = mdl_sandbox_spawn(&spawn, &p->pid, &p->pidfd);
	if (err == -EPERM && m->isolate) {
		mdl_log(MDL_LOG_WARN,
			"this system forbids new namespaces: processes are confined without them");
		m->isolate = false;
		spawn.flags = 0;
		err = mdl_sandbox_spawn(&spawn, &p->pid, &p->pidfd);
	}
	if (err) {
		p->pid = 0;
		p->pidfd = -1;
		return err;
	}
	p->m = m;
	p->ended = ended;
	fcntl(p->pidfd, F_SETFD, FD_CLOEXEC);
	err = sd_event_add_io(m->event, &p->source, p->pidfd, EPOLLIN, on_ended, p);
	if (err < 0) {
		process_end_now(p);
		return err;
	}
	sd_event_source_set_priority(p->source, PRIORITY_CHILD);
	return 0;
}

void process_end_now(struct process *p)
{
	int status;

	if (!p->pid)
		return;
	pidfd_signal(p->pidfd, SIGKILL);
	reap(p, 0, &status);
}

void process_describe_end(int status, char *text, size_t bytes)
{
	if (WIFSIGNALED(status))
		snprintf(text, bytes, "was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, bytes, "exited with status %d", WEXITSTATUS(status));
}
