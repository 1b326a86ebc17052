/* SPDX-License-Identifier: MIT */
/*
 * How long an executor may take to get warm. Starting the OpenCL runtime and compiling a test kernel takes half a second of CPU
 * time; how long that is by the clock depends on who else is on the machine, all the more as it happens at low priority when nobody
 * waits. So what it was given counts: one that gets CPU time gets on; one that uses none, look after look, waits for something
 * that will not come; one that uses far too much, or takes an absurd time, is ended as well. A process, its companions and
 * their jobs are looked at together, since it waits for them. They are our own up to here: no guest has had a say.
 *
 * Looks count, and not the time between them: a machine that stood still, and medleyd with it, has made one. Part of
 * medleyd's one thread.
 */
#include "medleyd.h"

#define LOOKS_QUIET  20 /* in a row without progress: the runtime reads a hundred MB of libraries, perhaps from a slow disk */
#define PROGRESS_NS  MDL_NS_PER_MS
#define CPU_MAX_NS   (60 * MDL_NS_PER_S)
#define WALL_MAX_NS  (600 * MDL_NS_PER_S)
#define TREE_DEPTH   3 /* executor, companion, job, and what the job starts */
#define TREE_WIDTH   8

static uint64_t tree_cpu_ns(pid_t pid, int depth)
{
	const struct process p = { .pid = pid };
	uint64_t ns = process_cpu_ns(pid);
	pid_t child[TREE_WIDTH];
	size_t n = depth ? process_children(&p, child, TREE_WIDTH) : 0;

	for (size_t i = 0; i < n; i++)
		ns += tree_cpu_ns(child[i], depth - 1);
	return ns;
}

const char *warm_look(struct executor *x, uint64_t now)
{
	struct warming *w = &x->warming;
	uint64_t cpu, by;

	if (now - x->started_ns > WALL_MAX_NS)
		return "has not got ready in ten minutes";
	if (now - mdl_max_u64(w->look_ns, x->started_ns) < WARM_LOOK_NS)
		return NULL;
	w->look_ns = now;
	cpu = tree_cpu_ns(x->process.pid, TREE_DEPTH);
	if (cpu > CPU_MAX_NS)
		return "does not get ready, with a minute of CPU time";
	/* Less than before: a job has ended. */
	by = cpu > w->cpu_ns ? cpu - w->cpu_ns : w->cpu_ns - cpu;
	w->quiet = by < PROGRESS_NS ? w->quiet + 1 : 0;
	if (!w->quiet)
		w->cpu_ns = cpu;
	return w->quiet >= LOOKS_QUIET ? "does not get ready, and does nothing" : NULL;
}
