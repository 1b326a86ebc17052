/* SPDX-License-Identifier: MIT */
/* See fleet.h. Starting, ending and parameters; what is said to guests is in fleet-talk.c, the trace in fleet-trace.c. */
#include "fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define TYPE	      "share-256m"
#define VRAM	      "32G" /* sparse: what is not used costs nothing */
#define START_TIMEOUT (60 * MDL_NS_PER_S)
#define TRIES_ITERS   1000
#define TOGETHER      4 /* guests that start at the same time */
#define CALIBRATIONS  7

static bool fail(const char *what)
{
	fprintf(stderr, "medley-bench: %s: %s\n", what, strerror(errno));
	return false;
}

void fleet_sleep_ns(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / MDL_NS_PER_S),
			       .tv_nsec = (long)(ns % MDL_NS_PER_S) };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* Half of the CPUs are the GPU. False: there is only one, or they cannot be told. */
static bool divide_cpus(cpu_set_t *ret_guests, char *gpu, size_t bytes, int *ret_gpu)
{
	cpu_set_t all;
	int seen = 0, last = -1;
	size_t used = 0;

	if (sched_getaffinity(0, sizeof(all), &all) < 0 || CPU_COUNT(&all) < 2)
		return false;
	CPU_ZERO(ret_guests);
	gpu[0] = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		last = cpu;
		if (seen++ < CPU_COUNT(&all) - CPU_COUNT(&all) / 2)
			CPU_SET(cpu, ret_guests);
		else if (used < bytes)
			used += (size_t)snprintf(gpu + used, bytes - used, "%s%d", used ? "," : "",
						 cpu);
	}
	*ret_gpu = last;
	return used < bytes;
}

bool fleet_start(struct fleet *f, const char *bin, const char *dir, const char *pool)
{
	char path[600], gpu[4096];
	const char *more[] = { "--pool", pool, NULL, gpu, NULL };
	cpu_set_t guests;
	int cpu = -1;
	bool divided = divide_cpus(&guests, gpu, sizeof(gpu), &cpu);

	*f = (struct fleet) { .api.fd = -1, .gpu_cpu = divided ? cpu : -1 };
	if (divided)
		more[2] = "--compute-cpus";
	if (!stack_start_medleyd(&f->stack, bin, dir, VRAM, more))
		return false;
	/* Guests inherit it. */
	if (divided && sched_setaffinity(0, sizeof(guests), &guests) < 0)
		return fail("sched_setaffinity");
	snprintf(path, sizeof(path), "%s/run/api.sock", f->stack.dir);
	return api_open(&f->api, path);
}

static bool create_vgpu(struct fleet *f, struct fleet_guest *g, char *socket, size_t bytes)
{
	json_t *made = api_call(&f->api, "create", json_pack("{s:s}", "type", TYPE));
	const char *uuid = json_string_value(json_object_get(made, "uuid"));
	const char *path = json_string_value(json_object_get(made, "socket"));
	uint64_t start = mdl_now_ns();
	bool ready = false;

	if (uuid && path) {
		snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
		snprintf(socket, bytes, "%s", path);
	}
	json_decref(made);
	while (uuid && path && !ready && mdl_now_ns() - start < START_TIMEOUT) {
		json_t *show = api_call(&f->api, "show", json_pack("{s:s}", "vgpu", g->uuid));
		const char *state = json_string_value(json_object_get(show, "state"));

		ready = state && !strcmp(state, "ready");
		json_decref(show);
		if (!ready)
			fleet_sleep_ns(10 * MDL_NS_PER_MS);
	}
	if (!ready)
		fprintf(stderr, "medley-bench: no vGPU of type %s\n", TYPE);
	return ready;
}

static bool start_guest(struct fleet *f, bool attached)
{
	struct fleet_guest *g = calloc(1, sizeof(*g));
	char vm[600], program[600], socket[512], uri[600], memory[] = "48M";
	char *more = attached ? (char *)"attach" : NULL;
	char *in_vm[] = { vm,	     "--vgpu", socket,	 "--memory", memory,
			  "--input", program,  "micro:", more,	     NULL };
	char *process[] = { program, uri, more, NULL };
	int in[2], out[2];

	if (!g || f->guests == FLEET_MAX)
		return false;
	g->in = g->out = -1;
	f->guest[f->guests++] = g;
	if (!create_vgpu(f, g, socket, sizeof(socket)))
		return false;
	snprintf(vm, sizeof(vm), "%s/vmm/medley-vm", f->stack.bin);
	snprintf(program, sizeof(program), "%s/bench/bench-load%s", f->stack.bin,
		 f->stack.kvm ? ".elf" : "");
	snprintf(uri, sizeof(uri), "socket:%s", socket);
	if (pipe2(in, O_CLOEXEC) < 0)
		return fail("pipe");
	if (pipe2(out, O_CLOEXEC) < 0)
		return fail("pipe");
	g->pid = stack_spawn(f->stack.kvm ? in_vm : process, in[0], out[1], -1, SIGKILL);
	close(in[0]);
	close(out[1]);
	g->in = in[1];
	g->out = out[0];
	return g->pid > 0 ? true : fail("guest");
}

/* How many trips of the inner loop take LOAD_CHUNK_NS when a guest has the GPU alone: the fastest of some, by rule of three. */
static bool calibrate(struct fleet *f)
{
	const uint64_t chunks =
		20 * MDL_NS_PER_MS * f->units / LOAD_CHUNK_NS / LOAD_GROUPS(f->units);
	uint64_t best = UINT64_MAX;

	f->iters = TRIES_ITERS;
	for (unsigned int round = 0; round < 2; round++) {
		best = UINT64_MAX;
		if (!fleet_tell(f, 0, "iters %u", f->iters))
			return false;
		for (unsigned int i = 0; i < CALIBRATIONS; i++) {
			uint64_t took = fleet_calibrate(f, 0, chunks);

			if (!took)
				return false;
			best = mdl_min_u64(best, took);
		}
		f->chunk_ns = (double)best * f->units / (double)(chunks * LOAD_GROUPS(f->units));
		if (!round)
			f->iters = (uint32_t)(f->iters * LOAD_CHUNK_NS / f->chunk_ns) + 1;
	}
	return true;
}

static bool grow_some(struct fleet *f, unsigned int n, bool attached)
{
	unsigned int first = f->guests;
	char line[LOAD_LINE];

	while (f->guests < n)
		if (!start_guest(f, attached))
			return false;
	for (unsigned int i = first; i < n; i++)
		if (!fleet_reply(f, i, line, sizeof(line)) ||
		    sscanf(line, "ready %u", &f->units) != 1) {
			fprintf(stderr, "medley-bench: guest %u does not start: %s\n", i, line);
			return false;
		}
	return true;
}

bool fleet_grow(struct fleet *f, unsigned int n, bool attached)
{
	unsigned int first = f->guests;

	/* Each needs CPU time to start, and has only so long. */
	while (f->guests < n)
		if (!grow_some(f, f->guests + (n - f->guests < TOGETHER ? n - f->guests : TOGETHER),
			       attached))
			return false;
	if (!first && n && !attached && !calibrate(f))
		return false;
	for (unsigned int i = first; !attached && i < n; i++)
		if (!fleet_tell(f, i, "iters %u", f->iters))
			return false;
	return true;
}

static void end_guest(struct fleet_guest *g)
{
	if (g->in >= 0)
		close(g->in);
	if (g->out >= 0)
		close(g->out);
	if (g->pid > 0) {
		kill(g->pid, SIGKILL); /* it has nothing to save */
		waitpid(g->pid, NULL, 0);
	}
	free(g);
}

bool fleet_shrink(struct fleet *f, unsigned int n)
{
	bool ok = true;

	while (f->guests > n) {
		struct fleet_guest *g = f->guest[--f->guests];
		json_t *which = json_pack("{s:s}", "vgpu", g->uuid);

		end_guest(g);
		ok = api_do(&f->api, "remove", which) && ok;
	}
	return ok;
}

void fleet_stop(struct fleet *f)
{
	while (f->guests)
		end_guest(f->guest[--f->guests]);
	api_close(&f->api);
	stack_stop(&f->stack);
	free(f->turn);
	f->turn = NULL;
}

double fleet_work_s(const struct fleet *f, uint64_t chunks)
{
	return (double)chunks * f->chunk_ns / f->units / 1e9;
}

/* ---- parameters ---- */

bool fleet_set_policy(struct fleet *f, const char *policy, bool nonpreemptive)
{
	return api_do(&f->api, "set-pgpu",
		      json_pack("{s:s, s:b}", "policy", policy, "nonpreemptive", nonpreemptive));
}

bool fleet_set(struct fleet *f, unsigned int i, json_t *params)
{
	json_object_set_new(params, "vgpu", json_string(f->guest[i]->uuid));
	return api_do(&f->api, "set", params);
}

bool fleet_set_weights(struct fleet *f, const double *weight, unsigned int n)
{
	double sum = 0, least = weight[0], most = weight[0];

	for (unsigned int i = 0; i < n; i++) {
		sum += weight[i];
		least = weight[i] < least ? weight[i] : least;
		most = weight[i] > most ? weight[i] : most;
	}
	/* All shares together may never be above 100 percent, not even in between. */
	for (unsigned int i = 0; i < n; i++)
		if (!fleet_set(f, i, json_pack("{s:i}", "share_percent", 0)))
			return false;
	for (unsigned int i = 0; i < n; i++) {
		/* Those alike share equally, which whole percents may not be. */
		int percent = least < most ? (int)(100 * weight[i] / sum + 0.5) : 0;

		if (!fleet_set(f, i,
			       json_pack("{s:i, s:i}", "weight", (int)(64 * weight[i]),
					 "share_percent", percent)))
			return false;
	}
	return true;
}
