/* SPDX-License-Identifier: MIT */
/* medleyd's children: user ids that no two living ones share, notice of their end, failures that leave nothing behind. */
#include "daemon/medleyd.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include "tests/unit/check.h"

#define UIDS_BASE 70000u

static struct manager m; /* as in medleyd: zero at the start */
static uint32_t ended;
static int ended_status;

static void on_ended(struct process *p, int status)
{
	ended++;
	ended_status = status;
}

/* A libexec directory whose one program sleeps, or ends, or forks, if its second user argument says so. */
static void set_up(void)
{
	static char dir[] = "/tmp/medley-process-XXXXXX";
	static const char script[] = "#!/bin/sh\n[ \"$3\" = end ] && exit 7\n"
				     "[ \"$3\" = fork ] && { sleep 1000 & wait; }\nexec sleep 1000\n";
	const char *tmp = getenv("TMPDIR");
	char path[4096];
	int fd;

	if (tmp)
		CHECK(!chdir(tmp));
	m.opt.libexec_dir = mkdtemp(tmp ? dir + strlen("/tmp/") : dir);
	CHECK(m.opt.libexec_dir);
	snprintf(path, sizeof(path), "%s/program", m.opt.libexec_dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	CHECK_EQ(write(fd, script, strlen(script)), strlen(script));
	close(fd);
	CHECK(sd_event_new(&m.event) >= 0);
	CHECK_EQ(reaper_start(&m.reaper), 0);
	m.opt.uid_base = UIDS_BASE;
	m.privileged = true; /* gives user ids; the program does not take them */
}

static void tear_down(void)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/program", m.opt.libexec_dir);
	CHECK(!unlink(path) && !rmdir(m.opt.libexec_dir));
	sd_event_unref(m.event);
	reaper_stop(&m.reaper);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static int start(struct process *p, const char *program, const char *arg)
{
	const char *args[] = { arg, NULL };

	*p = (struct process){ .pidfd = -1 };
	return process_start(p, &m, program, args, NULL, 0, on_ended);
}

/* The user id that it was told to take. */
static uint32_t uid_of(const struct process *p)
{
	return UIDS_BASE + 2 * (p->uid_slot - 1);
}

static void user_ids(void)
{
	struct process old, next, third;

	set_up();
	CHECK_EQ(start(&old, "program", "stay"), 0);
	CHECK_EQ(uid_of(&old), UIDS_BASE);
	/* 32768 processes later. */
	m.uid_next = 0;
	CHECK_EQ(start(&next, "program", "stay"), 0);
	CHECK_EQ(uid_of(&next), UIDS_BASE + 2);
	m.uid_next = UID_SLOTS - 1;
	CHECK_EQ(start(&third, "program", "stay"), 0);
	CHECK_EQ(uid_of(&third), UIDS_BASE + 65534);
	process_end_now(&third);
	/* Free when it is gone, and not before. */
	process_end_now(&old);
	CHECK_EQ(m.uid_next, 0);
	CHECK_EQ(start(&third, "program", "stay"), 0);
	CHECK_EQ(uid_of(&third), UIDS_BASE);
	process_end_now(&third);
	process_end_now(&next);
	tear_down();
}

static void failures(void)
{
	struct process p;

	set_up();
	CHECK_EQ(start(&p, "none", "stay"), -ENOENT);
	CHECK_EQ(p.pid, 0);
	CHECK_EQ(p.pidfd, -1);
	for (size_t i = 0; i < sizeof(m.uid_used); i++)
		CHECK_EQ(m.uid_used[i], 0);
	process_end_now(&p); /* no harm */
	CHECK_EQ(ended, 0);
	tear_down();
}

/* Both ways of ending are told as wait(2) does, and what ended is reaped with a reaper and without. */
static void no_reaper(void)
{
	struct process p;

	set_up();
	reaper_stop(&m.reaper);
	CHECK_EQ(start(&p, "program", "end"), 0);
	ended = 0;
	while (!ended)
		CHECK(sd_event_run(m.event, UINT64_MAX) >= 0);
	CHECK(WIFEXITED(ended_status) && WEXITSTATUS(ended_status) == 7);
	CHECK_EQ(start(&p, "program", "stay"), 0);
	process_end_now(&p);
	ended = 0;
	tear_down();
}

/*
 * What a child forks has an ordinary priority from its first moment on, whatever its parent's. On one CPU, where the child runs on
 * while its parent is ready to calm it down.
 */
static void priorities(void)
{
	const struct sched_param high = { .sched_priority = 1 }, normal = { 0 };
	struct process p;
	cpu_set_t one;
	pid_t child = 0;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	set_up();
	if (sched_setscheduler(0, SCHED_RR, &high)) {
		tear_down();
		check_skip("no right to run at real-time priority");
	}
	CHECK_EQ(start(&p, "program", "fork"), 0);
	CHECK_EQ(sched_setscheduler(0, SCHED_OTHER, &normal), 0);
	while (!process_children(&p, &child, 1))
		sched_yield();
	CHECK_EQ(sched_getscheduler(child) & ~SCHED_RESET_ON_FORK, SCHED_OTHER);
	CHECK_EQ(sched_getscheduler(p.pid) & ~SCHED_RESET_ON_FORK, SCHED_OTHER);
	kill(child, SIGKILL);
	process_end_now(&p);
	tear_down();
}

static void *spin(void *arg)
{
	volatile bool on = true;

	while (on)
		;
	return NULL;
}

/* Each thread is signalled: here there is no descriptor to signal the process with. */
static void stop(void)
{
	struct process p = { .pidfd = -1 };
	pthread_t thread;
	siginfo_t info;

	p.pid = fork();
	if (!p.pid) {
		CHECK_EQ(pthread_create(&thread, NULL, spin, NULL), 0);
		for (;;)
			pause();
	}
	while (p.threads < 2)
		process_find_threads(&p);
	CHECK_EQ(p.threads, 2);
	CHECK_EQ(p.thread[0], p.pid);
	for (int i = 0; i < 20; i++) {
		process_stop(&p);
		CHECK_EQ(waitid(P_PID, (id_t)p.pid, &info, WSTOPPED), 0);
		CHECK_EQ(info.si_status, SIGSTOP);
		CHECK_EQ(kill(p.pid, SIGCONT), 0);
		CHECK_EQ(waitid(P_PID, (id_t)p.pid, &info, WCONTINUED), 0);
	}
	CHECK_EQ(waitid(P_PID, (id_t)p.pid, &info, WSTOPPED | WNOHANG), 0);
	CHECK_EQ(kill(p.pid, SIGKILL), 0);
	CHECK_EQ(waitpid(p.pid, NULL, 0), p.pid);
	free(p.thread);
}

static void notice(void)
{
	char text[80];
	struct process p;

	set_up();
	CHECK_EQ(start(&p, "program", "end"), 0);
	while (!ended)
		CHECK(sd_event_run(m.event, UINT64_MAX) >= 0);
	CHECK_EQ(ended, 1);
	process_describe_end(ended_status, text, sizeof(text));
	CHECK_STR(text, "exited with status 7");
	CHECK_EQ(p.pid, 0);
	CHECK_EQ(p.uid_slot, 0);
	CHECK_EQ(start(&p, "program", "stay"), 0);
	CHECK(process_cpu_ns(p.pid) > 0);
	process_signal(&p, SIGKILL);
	while (ended < 2)
		CHECK(sd_event_run(m.event, UINT64_MAX) >= 0);
	CHECK(p.cpu_ns > 0);
	process_describe_end(ended_status, text, sizeof(text));
	CHECK(strstr(text, "signal 9"));
	process_signal(&p, SIGKILL); /* nobody */
	tear_down();
}

static const struct check_case cases[] = {
	{ "user ids", user_ids },
	{ "what fails leaves nothing", failures },
	{ "notice of the end", notice },
	{ "an end without a reaper", no_reaper },
	{ "no priority is inherited", priorities },
	{ "a stop reaches every thread", stop },
};
CHECK_MAIN(cases)
