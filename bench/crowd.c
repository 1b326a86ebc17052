/* SPDX-License-Identifier: MIT */
/* See crowd.h. */
#include "crowd.h"

#include <errno.h>
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

bool crowd_start(struct crowd *c, size_t count, size_t bytes_each)
{
	int pipefd[2];
	bool ok = true;
	char byte;

	c->count = 0;
	if (pipe2(pipefd, O_CLOEXEC) < 0) {
		fprintf(stderr, "medley-bench: pipe: %s\n", strerror(errno));
		return false;
	}
	while (ok && c->count < count && c->count < CROWD_MAX) {
		pid_t pid = fork();

		if (!pid)
			child(pipefd[1], bytes_each);
		ok = pid > 0 && read(pipefd[0], &byte, 1) == 1;
		if (pid > 0)
			c->pid[c->count++] = pid;
	}
	if (!ok)
		fprintf(stderr, "medley-bench: %zu idle processes of %zu MiB cannot be made\n",
			count, bytes_each >> 20);
	close(pipefd[0]);
	close(pipefd[1]);
	return ok;
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
