/* SPDX-License-Identifier: MIT */
/*
 * A trace as Chrome's trace events in a JSON object, which ui.perfetto.dev and chrome://tracing
 * load: a process for each pGPU, in it a thread for each vGPU, with a slice for each turn, named
 * after how it ended, a slice "taken back" at the end of those that were asked, instants where a
 * vGPU began or ceased to want the GPU or was stopped, and counters: each vGPU's share of each
 * 100 ms and how many want the GPU. Times are microseconds from the beginning of the trace.
 *
 * Left out: flows, and anything that must be known before it is written: a counter that does not
 * change is not repeated.
 */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_NS 100000000ull

static double us(const struct trace_writer *w, uint64_t ns)
{
	return ((double)ns - (double)w->base_ns) / 1e3;
}

/* Where it starts, as far as it is shown. */
static uint64_t from(const struct trace_writer *w, const json_t *e)
{
	uint64_t start = int_of(e, "start_ns");

	return start > w->base_ns ? start : w->base_ns;
}

/* Takes `event` over. */
static void put(struct trace_writer *w, json_t *event)
{
	fputs(w->events++ ? ",\n" : "\n", w->out);
	if (event)
		json_dumpf(event, w->out, JSON_COMPACT | JSON_REAL_PRECISION(15));
	json_decref(event);
}

static void put_name(struct trace_writer *w, const char *what, int pid, int tid, const char *name)
{
	put(w, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "ph", "M", "name", what, "pid", pid,
			 "tid", tid, "args", "name", name));
}

/* The object of that key, made if need be, with numbers counted from 1. */
static json_t *track(json_t *all, const char *key, bool *ret_new)
{
	json_t *t = json_object_get(all, key);

	*ret_new = !t;
	if (!t) {
		t = json_pack("{s:i}", "number", (int)json_object_size(all) + 1);
		json_object_set_new(all, key, t);
	}
	return t;
}

static void add_int(json_t *obj, const char *key, json_int_t by)
{
	json_object_set_new(obj, key, json_integer((json_int_t)int_of(obj, key) + by));
}

static void put_share(struct trace_writer *w, int pid, const json_t *vgpu, uint64_t window,
		      double used)
{
	char name[128];

	snprintf(name, sizeof(name), "share of %s", text_of(vgpu, "name"));
	put(w, json_pack("{s:s, s:s, s:i, s:f, s:{s:f}}", "ph", "C", "name", name, "pid", pid, "ts",
			 us(w, w->base_ns + window * WINDOW_NS), "args", "percent",
			 100 * fmin(used / (double)WINDOW_NS, 1)));
}

/* Writes the window that is open, and that the next one has nothing yet. */
static void close_window(struct trace_writer *w, int pid, json_t *vgpu, uint64_t next)
{
	uint64_t window = int_of(vgpu, "window");

	put_share(w, pid, vgpu, window, json_real_value(json_object_get(vgpu, "used")));
	if (next > window + 1)
		put_share(w, pid, vgpu, window + 1, 0);
	json_object_set_new(vgpu, "window", json_integer((json_int_t)next));
	json_object_set_new(vgpu, "used", json_real(0));
}

static void count_share(struct trace_writer *w, int pid, json_t *vgpu, const json_t *e)
{
	uint64_t start = from(w, e) - w->base_ns, end = int_of(e, "end_ns") - w->base_ns;
	double part = (double)int_of(e, "used_ns") / (double)(end - start);

	while (start < end) {
		uint64_t window = start / WINDOW_NS, until = (window + 1) * WINDOW_NS;

		if (window > int_of(vgpu, "window"))
			close_window(w, pid, vgpu, window);
		until = until < end ? until : end;
		json_object_set_new(vgpu, "used",
				    json_real(json_real_value(json_object_get(vgpu, "used")) +
					      part * (double)(until - start)));
		start = until;
	}
}

static void put_turn(struct trace_writer *w, const json_t *e, int pid, int tid)
{
	/* Of the colours that chrome://tracing knows; Perfetto colours by name. */
	static const struct {
		const char *kind, *colour;
	} colours[] = { { "run", "good" }, { "yielded", "rail_response" }, { "preempted", "bad" } };
	uint64_t start = from(w, e), end = int_of(e, "end_ns"), asked = int_of(e, "asked_ns");
	const char *kind = text_of(e, "kind"), *colour = "generic_work";

	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
		if (!strcmp(kind, colours[i].kind))
			colour = colours[i].colour;
	put(w, json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:{s:f}}", "ph", "X", "name",
			 kind, "cat", "turn", "cname", colour, "pid", pid, "tid", tid, "ts",
			 us(w, start), "dur", (double)(end - start) / 1e3, "args", "used us",
			 (double)int_of(e, "used_ns") / 1e3));
	if (asked >= start && asked < end)
		put(w, json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f}", "ph", "X", "name",
				 "taken back", "cat", "turn", "pid", pid, "tid", tid, "ts",
				 us(w, asked), "dur", (double)(end - asked) / 1e3));
}

/* wake, sleep, stopped, params, removed. */
static void put_instant(struct trace_writer *w, const json_t *e, json_t *pgpu, int pid, int tid)
{
	static const char *const shown[] = { "weight",		"cap",	     "reservation",
					     "share_percent",	"priority",  "quantum_ns",
					     "kernel_limit_ns", "overrun_ns" };
	const char *kind = text_of(e, "kind");
	json_t *args = json_object();

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		if (json_object_get(e, shown[i]))
			json_object_set(args, shown[i], json_object_get(e, shown[i]));
	put(w, json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:o}", "ph", "i", "s", "t", "name",
			 kind, "cat", "demand", "pid", pid, "tid", tid, "ts",
			 us(w, int_of(e, "start_ns")), "args", args));
	if (strcmp(kind, "wake") && strcmp(kind, "sleep"))
		return;
	add_int(pgpu, "want", !strcmp(kind, "wake") ? 1 : int_of(pgpu, "want") ? -1 : 0);
	put(w, json_pack("{s:s, s:s, s:i, s:f, s:{s:I}}", "ph", "C", "name", "want the GPU", "pid",
			 pid, "ts", us(w, int_of(e, "start_ns")), "args", "vGPUs",
			 (json_int_t)int_of(pgpu, "want")));
}

static void perfetto_begin(struct trace_writer *w)
{
	fputs("{\"displayTimeUnit\": \"ns\", \"traceEvents\": [", w->out);
	w->tracks = json_object();
}

static void perfetto_entry(struct trace_writer *w, const json_t *e)
{
	json_t *pgpu, *vgpus, *vgpu;
	bool fresh;
	int pid, tid;

	pgpu = track(w->tracks, text_of(e, "pgpu"), &fresh);
	pid = (int)int_of(pgpu, "number");
	if (fresh) {
		char name[64];

		snprintf(name, sizeof(name), "GPU %s", text_of(e, "pgpu"));
		put_name(w, "process_name", pid, 0, name);
		json_object_set_new(pgpu, "vgpus", json_object());
	}
	vgpus = json_object_get(pgpu, "vgpus");
	vgpu = track(vgpus, text_of(e, "vgpu"), &fresh);
	tid = (int)int_of(vgpu, "number");
	if (fresh) {
		put_name(w, "thread_name", pid, tid, text_of(e, "name"));
		json_object_set_new(vgpu, "name", json_string(text_of(e, "name")));
	}
	if (!json_object_get(e, "used_ns")) {
		put_instant(w, e, pgpu, pid, tid);
	} else if (int_of(e, "end_ns") > from(w, e)) {
		put_turn(w, e, pid, tid);
		count_share(w, pid, vgpu, e);
	}
}

static void perfetto_end(struct trace_writer *w, const json_t *about)
{
	const char *key;
	json_t *pgpu, *vgpu;
	char *text;

	json_object_foreach(w->tracks, key, pgpu)
		json_object_foreach(json_object_get(pgpu, "vgpus"), key, vgpu)
			close_window(w, (int)int_of(pgpu, "number"), vgpu,
				     int_of(vgpu, "window") + 2);
	text = json_dumps(about, JSON_COMPACT);
	fprintf(w->out, "\n], \"otherData\": %s}\n", text ? text : "{}");
	free(text);
}

const struct trace_format perfetto_format = { perfetto_begin, perfetto_entry, perfetto_end };
