/* SPDX-License-Identifier: MIT */
/*
 * The medley command, inside: a client of medleyd's API (docs/api.md).
 *   medley.c   arguments and the table of commands
 *   client.c   connection, request, reply
 *   params.c   options that set parameters
 *   print.c    tables and details for people
 *   top.c      the live view
 *   trace.c    recorded turns, out in one of several formats
 *   perfetto.c one of them: Chrome's
 * One thread. An error is one line on standard error and exit status 1.
 */
#ifndef MDL_CLI_CLI_H
#define MDL_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Called by fail() before it prints; NULL: nothing. */
void before_fail(void (*fn)(void *arg), void *arg);

/* ---- client.c ---- */
struct client;
/* Fails (one line, exit) when there is no medleyd, or no right to talk to it. */
struct client *client_connect(const char *runtime_dir);
void client_close(struct client *c);
/*
 * The result; fails with the error's message if there is one. Takes over params. The caller owns
 * the result.
 */
json_t *client_call(struct client *c, const char *method, json_t *params);
/* Sends without waiting. */
void client_send(struct client *c, const char *method, json_t *params);
/* The next line that medleyd sends. */
json_t *client_read(struct client *c);

/* ---- params.c ---- */
/*
 * The value of a vGPU's or a pGPU's parameter, as the API wants it, into those of a request. Fails
 * if it is none, or out of range; other options change nothing.
 */
void param_add(json_t *into, bool pgpu, const char *option, const char *text);
/* Whether `word` is one of the words in `list`, which blanks separate. */
bool word_listed(const char *list, const char *word);

/* ---- print.c ---- */
void print_json(const json_t *j);
void print_vgpus(const json_t *list);
void print_vgpu(const json_t *v);
/* A line: when, which vGPU, what, its state, and what more there is to say. */
void print_event(const json_t *e);
void print_types(const json_t *list);
void print_pgpus(const json_t *list);
const char *text_of(const json_t *obj, const char *key);
uint64_t int_of(const json_t *obj, const char *key);
/* "256M", "1.5 s": into buf, which is returned. */
const char *size_text(uint64_t bytes, char *buf, size_t n);
const char *time_text(uint64_t ns, char *buf, size_t n);

/* ---- top.c ---- */
/* Once a second until q, Ctrl-C, or the output goes away; once: a single time. */
void top_run(struct client *c, bool once, bool json, double interval);

/* ---- trace.c, perfetto.c ---- */
struct trace_options {
	bool json, perfetto, follow;
	double seconds; /* 0: what is recorded already, or with follow all that comes */
	const char *output; /* NULL: standard output */
};
struct trace_format;
struct trace_writer {
	const struct trace_format *format;
	FILE *out;
	bool lines; /* JSON: an object a line */
	uint64_t base_ns; /* times are shown from here */
	uint64_t entries, events; /* written so far */
	json_t *tracks; /* perfetto.c */
};
struct trace_format {
	void (*begin)(struct trace_writer *w);
	void (*entry)(struct trace_writer *w, const json_t *e);
	/* about: start_ns, end_ns, dropped, before, ... */
	void (*end)(struct trace_writer *w, const json_t *about);
};
extern const struct trace_format perfetto_format;
void trace_run(struct client *c, const struct trace_options *opt);

#endif
