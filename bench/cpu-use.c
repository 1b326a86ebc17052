/* SPDX-License-Identifier: MIT */
/* See cpu-use.h. */
#include "cpu-use.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"

/* Calls `found` for each number that is a name in the folder. */
static void each_number(const char *folder, void (*found)(pid_t number, void *arg), void *arg)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (isdigit((unsigned char)e->d_name[0]))
			found((pid_t)atoi(e->d_name), arg);
	if (dir)
		closedir(dir);
}

struct threads {
	pid_t pid;
	uint64_t ns;
};

static void add_thread(pid_t tid, void *arg)
{
	struct threads *t = arg;
	uint64_t ns = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", t->pid, tid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%" SCNu64, &ns) == 1)
		t->ns += ns;
	if (f)
		fclose(f);
}

static uint64_t process_ns(pid_t pid)
{
	struct threads t = { .pid = pid };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	each_number(path, add_thread, &t);
	return t.ns;
}

struct parents {
	struct {
		pid_t pid, parent;
	} all[8192];
	size_t n;
};

static void add_parent(pid_t pid, void *arg)
{
	struct parents *p = arg;
	char path[64];
	pid_t parent;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	/* Names with a parenthesis are not ours. */
	if (f && fscanf(f, "%*d (%*[^)]) %*c %d", &parent) == 1 &&
	    p->n < MDL_ARRAY_SIZE(p->all)) {
		p->all[p->n].pid = pid;
		p->all[p->n++].parent = parent;
	}
	if (f)
		fclose(f);
}

static bool listed(const struct cpu_use *u, pid_t pid)
{
	for (size_t i = 0; i < u->processes; i++)
		if (u->process[i].pid == pid)
			return true;
	return false;
}

static void find_ours(struct cpu_use *u, const struct parents *p)
{
	bool more = true;

	u->process[u->processes++].pid = getpid();
	while (more) {
		more = false;
		for (size_t i = 0; i < p->n && u->processes < CPU_USE_MAX; i++)
			if (!listed(u, p->all[i].pid) && listed(u, p->all[i].parent)) {
				u->process[u->processes++].pid = p->all[i].pid;
				more = true;
			}
	}
}

static bool read_machine(struct cpu_use *u)
{
	uint64_t user, nice, system, idle, iowait, irq, softirq, stolen;
	const uint64_t tick_ns = MDL_NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
	FILE *f = fopen("/proc/stat", "re");
	bool ok = f && fscanf(f,
			      "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			      " %" SCNu64 " %" SCNu64 " %" SCNu64,
			      &user, &nice, &system, &idle, &iowait, &irq, &softirq, &stolen) == 8;

	if (f)
		fclose(f);
	if (!ok) {
		fprintf(stderr, "medley-bench: /proc/stat does not tell how busy the CPUs are\n");
		return false;
	}
	u->busy_ns = (user + nice + system + irq + softirq) * tick_ns;
	u->stolen_ns = stolen * tick_ns;
	return true;
}

bool cpu_use_read(struct cpu_use *u)
{
	struct parents *p = calloc(1, sizeof(*p));
	bool ok;

	*u = (struct cpu_use) { 0 };
	if (!p)
		return false;
	each_number("/proc", add_parent, p);
	find_ours(u, p);
	free(p);
	ok = read_machine(u);
	u->at_ns = mdl_now_ns();
	for (size_t i = 0; i < u->processes; i++)
		u->process[i].ns = process_ns(u->process[i].pid);
	return ok;
}

static uint64_t used(const struct cpu_use *a, const struct cpu_use *b, pid_t pid)
{
	uint64_t from = 0, to = 0;

	for (size_t i = 0; i < a->processes; i++)
		from = a->process[i].pid == pid ? a->process[i].ns : from;
	for (size_t i = 0; i < b->processes; i++)
		to = b->process[i].pid == pid ? b->process[i].ns : to;
	return from && to > from ? to - from : 0;
}

static double per_time(double ns, const struct cpu_use *a, const struct cpu_use *b)
{
	return b->at_ns > a->at_ns ? ns / (double)(b->at_ns - a->at_ns) : 0;
}

double cpu_use_of(const struct cpu_use *a, const struct cpu_use *b, pid_t pid)
{
	return per_time((double)used(a, b, pid), a, b);
}

double cpu_use_of_new(const struct cpu_use *old, const struct cpu_use *a, const struct cpu_use *b)
{
	double ns = 0;

	for (size_t i = 0; i < b->processes; i++)
		if (!listed(old, b->process[i].pid))
			ns += (double)used(a, b, b->process[i].pid);
	return per_time(ns, a, b);
}

double cpu_use_of_others(const struct cpu_use *a, const struct cpu_use *b)
{
	double ns = (double)b->busy_ns - (double)a->busy_ns;

	for (size_t i = 0; i < b->processes; i++)
		ns -= (double)used(a, b, b->process[i].pid);
	return per_time(ns, a, b);
}

double cpu_use_stolen(const struct cpu_use *a, const struct cpu_use *b)
{
	return per_time((double)b->stolen_ns - (double)a->stolen_ns, a, b);
}
