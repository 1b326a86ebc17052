/* SPDX-License-Identifier: MIT */
/*
 * medley trace: reads what medleyd has recorded, page by page (it has a scheduler to run beside
 * answering us), and writes it as lines, as JSON for medley-sim and plot-sched, or in the trace
 * event format of Chrome for ui.perfetto.dev (perfetto.c). Nothing is kept: what is read is written
 * at once.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "daemon/param-limits.h"

#define POLL_MS 200

struct reader {
	struct client *client;
	const struct trace_options *opt;
	struct trace_writer w;
	int signals;
	bool begun;
	json_t *before; /* UUID: how things stood before what is written first */
	uint64_t next, dropped, thinned;
	uint64_t start_ns; /* what ended before is not written; 0: all is */
	uint64_t end_ns; /* time of the last page */
	json_t *pgpus;
};

/* ---- lines for people ---- */

static void text_begin(struct trace_writer *w)
{
	fprintf(w->out, "%14s %12s %9s  %-9s %s\n", "START MS", "MS", "TAKEN US", "KIND", "VGPU");
}

static void text_entry(struct trace_writer *w, const json_t *e)
{
	uint64_t start = int_of(e, "start_ns"), end = int_of(e, "end_ns"),
		 asked = int_of(e, "asked_ns");
	char length[32] = "", taken[32] = "";

	if (end > start)
		snprintf(length, sizeof(length), "%.3f", (double)(end - start) / 1e6);
	if (asked)
		snprintf(taken, sizeof(taken), "%.1f", (double)(end - asked) / 1e3);
	fprintf(w->out, "%14.3f %12s %9s  %-9s %s", ((double)start - (double)w->base_ns) / 1e6,
		length, taken, text_of(e, "kind"), text_of(e, "name"));
	if (!strcmp(text_of(e, "kind"), "params"))
		fprintf(w->out,
			" weight %" PRIu64 ", cap %" PRIu64 ", reservation %" PRIu64
			", share-percent %" PRIu64 ", priority %s, quantum %" PRIu64 " us",
			int_of(e, "weight"), int_of(e, "cap"), int_of(e, "reservation"),
			int_of(e, "share_percent"), text_of(e, "priority"),
			int_of(e, "quantum_ns") / 1000);
	fputc('\n', w->out);
}

static void text_end(struct trace_writer *w, const json_t *about)
{
	if (int_of(about, "dropped"))
		fprintf(w->out, "%" PRIu64 " older ones were dropped\n", int_of(about, "dropped"));
}

/* ---- JSON: one object, or with --follow one a line ---- */

static void json_begin(struct trace_writer *w)
{
	if (!w->lines)
		fputs("{\"intervals\": [", w->out);
}

static void json_entry(struct trace_writer *w, const json_t *e)
{
	if (!w->lines)
		fputs(w->entries ? ",\n" : "\n", w->out);
	json_dumpf(e, w->out, JSON_COMPACT);
	if (w->lines)
		fputc('\n', w->out);
}

static void json_end(struct trace_writer *w, const json_t *about)
{
	if (w->lines)
		return;
	fputs("],\n", w->out);
	/* The rest of the object: without its opening brace. */
	char *text = json_dumps(about, JSON_INDENT(1) | JSON_PRESERVE_ORDER);

	fputs(text ? text + 1 : "}", w->out);
	fputc('\n', w->out);
	free(text);
}

static const struct trace_format text_format = { text_begin, text_entry, text_end },
				 json_format = { json_begin, json_entry, json_end };

/* ---- reading ---- */

/* What comes before the first entry that is written changes how things stood. */
static void fold(struct reader *r, json_t *e)
{
	const char *uuid = text_of(e, "vgpu"), *kind = text_of(e, "kind");
	json_t *state = json_object_get(r->before, uuid);
	bool params = !strcmp(kind, "params");

	if (!strcmp(kind, "removed")) {
		json_object_del(r->before, uuid);
		return;
	}
	if (!state) {
		state = json_pack("{s:s, s:s, s:s, s:b}", "vgpu", uuid, "name", text_of(e, "name"),
				  "pgpu", text_of(e, "pgpu"), "wants", 0);
		json_object_set_new(r->before, uuid, state);
	}
	if (!strcmp(kind, "wake") || !strcmp(kind, "sleep"))
		json_object_set_new(state, "wants", json_boolean(!strcmp(kind, "wake")));
	if (params) {
		json_object_del(e, "kind");
		json_object_del(e, "start_ns");
		json_object_del(e, "end_ns");
		json_object_update(state, e);
	}
}

static void take_before(struct reader *r, const json_t *list)
{
	json_t *v;
	size_t i;

	/* After a gap in the middle nothing can be said about what was missed. */
	if (r->begun)
		return;
	json_object_clear(r->before);
	json_array_foreach((json_t *)list, i, v)
		json_object_set(r->before, text_of(v, "vgpu"), v);
}

static void begin(struct reader *r, const json_t *list)
{
	const json_t *e;
	size_t i;

	if (r->begun)
		return;
	r->begun = true;
	/* Times are shown from here: entries are ordered by their ends. */
	r->w.base_ns = r->start_ns ? r->start_ns : UINT64_MAX;
	json_array_foreach((json_t *)list, i, e) {
		uint64_t start = int_of(e, "start_ns");

		if (start < r->w.base_ns)
			r->w.base_ns = start;
	}
	r->w.format->begin(&r->w);
}

/* One page; whether there may be more at once. quiet: only to know how things stand. */
static bool read_page(struct reader *r, bool quiet)
{
	json_t *page = client_call(r->client, "trace",
				   json_pack("{s:I}", "since", (json_int_t)r->next)),
	       *list = json_object_get(page, "intervals"), *e;
	bool more = json_array_size(list) >= TRACE_PAGE_MAX;
	size_t i;

	if (json_object_get(page, "before"))
		take_before(r, json_object_get(page, "before"));
	if (!quiet) {
		begin(r, list);
		r->dropped += int_of(page, "dropped");
	}
	r->next = int_of(page, "next");
	r->thinned = int_of(page, "thinned");
	r->end_ns = int_of(page, "time_ns");
	json_decref(r->pgpus);
	r->pgpus = json_incref(json_object_get(page, "pgpus"));
	json_array_foreach(list, i, e) {
		if (quiet || int_of(e, "end_ns") <= r->start_ns) {
			fold(r, e);
			continue;
		}
		r->w.format->entry(&r->w, e);
		r->w.entries++;
	}
	json_decref(page);
	if (r->opt->follow && !quiet)
		fflush(r->w.out);
	return more;
}

/* Whether somebody wants us to end. */
static bool interrupted(struct reader *r, int wait_ms)
{
	struct pollfd p = { .fd = r->signals, .events = POLLIN };

	return poll(&p, 1, wait_ms) > 0;
}

/* No longer than what is left, so that a short trace is as short as asked for. */
static int wait_ms(const struct reader *r, uint64_t span)
{
	uint64_t done = r->end_ns - r->start_ns;

	if (!span || span - mdl_min_u64(span, done) > POLL_MS * MDL_NS_PER_MS)
		return POLL_MS;
	return (int)((span - mdl_min_u64(span, done)) / MDL_NS_PER_MS) + 1;
}

/* What has been written to a file when a trace cannot be finished is no trace. */
struct output {
	const char *path;
	bool complete;
};

static void discard(int status, void *arg)
{
	struct output *o = arg;

	if (!o->complete)
		unlink(o->path);
	free(o);
}

static void open_output(struct reader *r, struct output **ret_output)
{
	struct output *o = calloc(1, sizeof(*o));
	struct stat st;

	if (!o)
		fail("out of memory");
	o->path = r->opt->output;
	/* A device or a pipe is not ours to remove. */
	o->complete = !stat(o->path, &st) && !S_ISREG(st.st_mode);
	r->w.out = fopen(o->path, "we");
	if (!r->w.out)
		fail("%s: %s", o->path, strerror(errno));
	if (on_exit(discard, o))
		fail("out of memory");
	*ret_output = o;
}

static void watch(struct reader *r)
{
	uint64_t span = (uint64_t)(r->opt->seconds * 1e9);

	while (read_page(r, true))
		if (interrupted(r, 0))
			break;
	/* All that was running has been written up to now. */
	r->start_ns = r->end_ns;
	while (!interrupted(r, wait_ms(r, span)) && !ferror(r->w.out)) {
		while (read_page(r, false))
			;
		if (span && r->end_ns - r->start_ns >= span)
			break;
	}
}

static json_t *about(const struct reader *r)
{
	json_t *all = json_array(), *state;
	const char *uuid;

	json_object_foreach(r->before, uuid, state)
		json_array_append(all, state);
	return json_pack("{s:o, s:O?, s:I, s:I, s:I, s:I}", "before", all, "pgpus", r->pgpus,
			 "start_ns", (json_int_t)(r->start_ns ? r->start_ns : r->w.base_ns),
			 "end_ns", (json_int_t)r->end_ns, "dropped", (json_int_t)r->dropped,
			 "thinned", (json_int_t)r->thinned);
}

void trace_run(struct client *c, const struct trace_options *opt)
{
	struct reader r = { .client = c,
			    .opt = opt,
			    .before = json_object(),
			    .w = { .format = opt->perfetto ? &perfetto_format
					     : opt->json   ? &json_format
							   : &text_format,
				   .out = stdout,
				   .lines = opt->json && opt->follow } };
	struct output *output = NULL;
	json_t *j;

	if (opt->json && opt->perfetto)
		fail("--json or --perfetto, not both");
	if (opt->output)
		open_output(&r, &output);
	if (opt->follow || opt->seconds > 0) {
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, SIGINT);
		sigaddset(&set, SIGTERM);
		sigprocmask(SIG_BLOCK, &set, NULL);
		r.signals = signalfd(-1, &set, SFD_CLOEXEC);
		if (r.signals < 0)
			fail("signalfd: %s", strerror(errno));
		watch(&r);
		close(r.signals);
	} else {
		while (read_page(&r, false))
			;
	}
	begin(&r, NULL);
	if (r.w.base_ns == UINT64_MAX)
		r.w.base_ns = r.end_ns;
	j = about(&r);
	r.w.format->end(&r.w, j);
	json_decref(j);
	json_decref(r.pgpus);
	json_decref(r.before);
	json_decref(r.w.tracks);
	if (fflush(r.w.out) || ferror(r.w.out) || (opt->output && fclose(r.w.out)))
		fail("cannot write the output");
	if (output)
		output->complete = true;
}
