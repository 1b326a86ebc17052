/* SPDX-License-Identifier: MIT */
/* See crowd.h. */
#include "crowd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static __attribute__((noreturn)) void child(int ready, size_t bytes)
{
	void *memory;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memory = bytes ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) :
			 NULL;
	if (memory == MAP_FAILED)
		_exit(1);
	if (memory)
		memset(memory, 1, bytes);
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Returns when it has its memory, or -1 when it cannot have it: then it has ended, and the pipe with it. */
static pid_t start_one(size_t bytes)
{
	int pipefd[2];
	bool ready;
	char byte;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (!pid)
		child(pipefd[1], bytes);
	close(pipefd[1]);
	ready = pid > 0 && read(pipefd[0], &byte, 1) == 1;
	close(pipefd[0]);
	if (pid > 0 && !ready)
		waitpid(pid, NULL, 0);
	return ready ? pid : -1;
}

bool crowd_start(struct crowd *c, size_t count, size_t bytes_each)
{
	for (c->count = 0; c->count < count && c->count < CROWD_MAX; c->count++) {
		c->pid[c->count] = start_one(bytes_each);
		if (c->pid[c->count] < 0) {
			fprintf(stderr, "medley-bench: %zu idle processes of %zu MiB cannot be made\n",
				count, bytes_each >> 20);
			return false;
		}
	}
	return true;
}

void crowd_stop(struct crowd *c)
{
	for (size_t i = 0; i < c->count; i++)
		kill(c->pid[i], SIGKILL);
	for (size_t i = 0; i < c->count; i++)
		waitpid(c->pid[i], NULL, 0);
	c->count = 0;
}

size_t crowd_memory_used(void)
{
	unsigned long long kib, total = 0, available = 0;
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemTotal: %llu", &kib) == 1)
			total = kib;
		else if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			available = kib;
	}
	if (f)
		fclose(f);
	return total > available ? (size_t)(total - available) << 10 : 0;
}
