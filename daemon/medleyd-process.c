/* SPDX-License-Identifier: MIT */
/*
 * medleyd's children: devices and executors. Each is started confined (lib/base/sandbox.h), with a
 * user of its own when medleyd is root, and watched by its pidfd. Its number is given up only when
 * its end is known here (medleyd-reaper.c), so its pid stays its own as long as we use it. Part of
 * medleyd's one thread.
 */
#include "medleyd.h"

#include <dirent.h>
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

#define ARGS_MAX 16

static int pidfd_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

void process_signal(struct process *p, int sig)
{
	if (p->pid)
		pidfd_signal(p->pidfd, sig);
}

void process_find_threads(struct process *p)
{
	char path[64];
	struct dirent *e;
	DIR *dir;

	p->threads = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", p->pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		pid_t *more = e->d_name[0] == '.'
				      ? NULL
				      : reallocarray(p->thread, p->threads + 1, sizeof(*p->thread));

		if (!more)
			continue;
		p->thread = more;
		p->thread[p->threads++] = (pid_t)atoi(e->d_name);
	}
	if (dir)
		closedir(dir);
}

/*
 * A signal to the process is first seen by one thread, its main thread as a rule, and only that one tells the others to stop. While it
 * waits for a CPU, and on a busy machine that is milliseconds, they would work on. So each thread gets one: the first that is on a CPU
 * stops them all. The last one is for all that are not known. What is then still pending SIGCONT takes away.
 */
void process_stop(struct process *p)
{
	for (uint32_t i = p->threads; p->pid && i > 0; i--)
		syscall(SYS_tgkill, p->pid, p->thread[i - 1], SIGSTOP);
	process_signal(p, SIGSTOP);
}

/*
 * The clock's number is made as clock_getcpuclockid() does, without asking the kernel whether there is such a process: that comes out
 * here, and this is asked twice in each hand-over of the GPU.
 */
uint64_t process_cpu_ns(pid_t pid)
{
	struct timespec ts;

	if (pid <= 0 || clock_gettime((clockid_t)(~(unsigned int)pid << 3 | 2), &ts) < 0)
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

/* ---- user ids ---- */

/*
 * A pair that no living process has. Counting on alone would not do: a device lives for months, and
 * a guest that opens and closes contexts uses up all pairs within an hour.
 */
static int take_uids(struct process *p, struct manager *m, uid_t *ret_uid)
{
	for (uint32_t i = 0; i < UID_SLOTS; i++) {
		uint32_t slot = (m->uid_next + i) % UID_SLOTS;

		if (m->uid_used[slot / 8] >> slot % 8 & 1)
			continue;
		m->uid_used[slot / 8] |= (uint8_t)(1 << slot % 8);
		m->uid_next = (slot + 1) % UID_SLOTS;
		p->uid_slot = slot + 1;
		*ret_uid = m->opt.uid_base + 2 * slot;
		return 0;
	}
	return -EAGAIN;
}

static void release_uids(struct process *p, struct manager *m)
{
	uint32_t slot = p->uid_slot - 1;

	if (p->uid_slot)
		m->uid_used[slot / 8] &= (uint8_t) ~(1 << slot % 8);
	p->uid_slot = 0;
}

/* ---- a process's life ---- */

/* As wait(2) gives it. */
static int status_of(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (info->si_status & 0xff) << 8;
	return info->si_status | (info->si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

/* True when it has ended. */
static bool take_end(struct process *p, int options, int *ret_status)
{
	uint64_t cpu = process_cpu_ns(p->pid);
	siginfo_t info = { 0 };
	int err;

	do {
		err = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOWAIT | options);
	} while (err < 0 && errno == EINTR);
	if (!err && !info.si_pid)
		return false;
	*ret_status = err < 0 ? 0 : status_of(&info);
	p->cpu_ns = cpu;
	if (!err)
		reaper_take(&p->m->reaper, p->pid);
	p->source = sd_event_source_disable_unref(p->source);
	mdl_close_fd(&p->pidfd);
	p->pid = 0;
	free(p->thread);
	p->thread = NULL;
	p->threads = 0;
	release_uids(p, p->m);
	return true;
}

static int on_ended(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct process *p = arg;
	int status;

	if (take_end(p, WNOHANG, &status))
		p->ended(p, status);
	return 0;
}

static int find_program(const struct manager *m, const char *program, char *path, size_t bytes)
{
	int n = snprintf(path, bytes, "%s/%s", m->opt.libexec_dir, program);

	return n < 0 || (size_t)n >= bytes ? -ENAMETOOLONG : 0;
}

/*
 * Where the kernel forbids namespaces it does so from the first process on. A refusal later is an
 * error: nothing that a guest can bring about makes the processes of others less confined.
 */
static int spawn(struct process *p, struct manager *m, struct mdl_spawn *what)
{
	int err;

	what->flags = m->isolate ? MDL_SPAWN_ISOLATE : 0;
	err = mdl_sandbox_spawn(what, &p->pid, &p->pidfd);
	if (err == -EPERM && m->isolate && !m->isolated) {
		mdl_log(MDL_LOG_WARN,
			"this system forbids new namespaces: processes are confined without them");
		m->isolate = false;
		what->flags = 0;
		err = mdl_sandbox_spawn(what, &p->pid, &p->pidfd);
	}
	m->isolated = m->isolated || (!err && m->isolate);
	return err;
}

int process_start(struct process *p, struct manager *m, const char *program,
		  const char *const *args, const int *fds, size_t nfds,
		  void (*ended)(struct process *p, int status))
{
	char path[4096], uid_text[16];
	char *argv[ARGS_MAX + 4];
	struct mdl_spawn what = { .path = path, .argv = argv, .fds = fds, .nfds = nfds };
	size_t n = 0;
	uid_t uid;
	int err;

	err = find_program(m, program, path, sizeof(path));
	if (err)
		return err;
	argv[n++] = (char *)program;
	if (m->privileged) {
		err = take_uids(p, m, &uid);
		if (err)
			return err;
		snprintf(uid_text, sizeof(uid_text), "%u", uid);
		argv[n++] = "--uid";
		argv[n++] = uid_text;
	}
	for (size_t i = 0; args[i] && i < ARGS_MAX; i++)
		argv[n++] = (char *)args[i];
	argv[n] = NULL;
	err = spawn(p, m, &what);
	if (err) {
		p->pid = 0;
		p->pidfd = -1;
		release_uids(p, m);
		return err;
	}
	p->m = m;
	p->ended = ended;
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
	take_end(p, 0, &status);
}

void process_describe_end(int status, char *text, size_t bytes)
{
	if (WIFSIGNALED(status))
		snprintf(text, bytes, "was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, bytes, "exited with status %d", WEXITSTATUS(status));
}
