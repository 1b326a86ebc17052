/* SPDX-License-Identifier: MIT */
/* See cpu-use.h. */
#include "cpu-use.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

static uint64_t process_ns(pid_t pid)
{
	struct timespec ts = { 0 };
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * MDL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

struct parents {
	struct {
		pid_t pid, parent;
	} all[8192];
	size_t n;
};

static void read_parents(struct parents *p)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;

	p->n = 0;
	while (proc && (e = readdir(proc)) && p->n < MDL_ARRAY_SIZE(p->all)) {
		char path[300];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		f = isdigit((unsigned char)e->d_name[0]) ? fopen(path, "re") : NULL;
		if (!f)
			continue;
		/* Names with a parenthesis are not ours. */
		if (fscanf(f, "%d (%*[^)]) %*c %d", &p->all[p->n].pid, &p->all[p->n].parent) == 2)
			p->n++;
		fclose(f);
	}
	if (proc)
		closedir(proc);
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
	read_parents(p);
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

pid_t cpu_use_busiest(const struct cpu_use *a, const struct cpu_use *b, double *ret_cpus)
{
	uint64_t most = 0;
	pid_t pid = -1;

	for (size_t i = 0; i < b->processes; i++)
		if (used(a, b, b->process[i].pid) > most) {
			most = used(a, b, b->process[i].pid);
			pid = b->process[i].pid;
		}
	*ret_cpus = per_time((double)most, a, b);
	return pid;
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
