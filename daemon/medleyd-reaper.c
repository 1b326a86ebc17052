/* SPDX-License-Identifier: MIT */
/*
 * Frees the process numbers of ended children, on a thread of its own with an ordinary priority. Reaping makes the kernel throw a
 * process's entries out of /proc's cache, and try again and again as long as somebody else looks into one of them. Who looks (ps, top,
 * perf) may be waiting for the very CPU on which medleyd, at real-time priority, would try: measured, 0.95 s without scheduling, until
 * the kernel's bound on real-time tasks. So medleyd only reads how a child has ended, and leaves the rest to this thread, which nobody
 * waits for; until then the number stays taken.
 *
 * The thread has no state but its pipe, and touches nothing of medleyd's.
 */
#include "medleyd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

static void wait_for(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void *run(void *arg)
{
	int fd = (int)(intptr_t)arg;
	pid_t pid;

	while (read(fd, &pid, sizeof(pid)) == sizeof(pid))
		wait_for(pid);
	close(fd);
	return NULL;
}

int reaper_start(struct reaper *r)
{
	sigset_t all, old;
	int fds[2], err;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	/* A full pipe does not make medleyd wait. */
	if (fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0) {
		err = errno;
	} else {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		err = pthread_create(&r->thread, NULL, run, (void *)(intptr_t)fds[0]);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (err) {
		close(fds[0]);
		close(fds[1]);
		return -err;
	}
	r->fd = fds[1];
	r->started = true;
	return 0;
}

void reaper_take(struct reaper *r, pid_t pid)
{
	if (!r->started || write(r->fd, &pid, sizeof(pid)) != sizeof(pid))
		wait_for(pid);
}

void reaper_stop(struct reaper *r)
{
	if (!r->started)
		return;
	mdl_close_fd(&r->fd);
	pthread_join(r->thread, NULL);
	r->started = false;
}
