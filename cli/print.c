/* SPDX-License-Identifier: MIT */
/*
 * What people read: tables with columns as wide as their contents, details as aligned lines.
 * Missing fields print as "-" or 0.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS_MAX 8

const char *text_of(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "-";
}

uint64_t int_of(const json_t *obj, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(obj, key));

	return v > 0 ? (uint64_t)v : 0;
}

const char *size_text(uint64_t bytes, char *buf, size_t n)
{
	if (bytes >= 1ull << 30 && !(bytes & ((1ull << 30) - 1)))
		snprintf(buf, n, "%" PRIu64 "G", bytes >> 30);
	else
		snprintf(buf, n, "%" PRIu64 "M", bytes >> 20);
	return buf;
}

const char *time_text(uint64_t ns, char *buf, size_t n)
{
	if (ns < 1000000)
		snprintf(buf, n, "%" PRIu64 " us", ns / 1000);
	else if (ns < 1000000000)
		snprintf(buf, n, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(buf, n, "%.2f s", (double)ns / 1e9);
	return buf;
}

void print_json(const json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

/* One cell of a row, in a buffer of its own. */
typedef const char *cell_fn(const json_t *row, char *buf, size_t n);

struct column {
	const char *title;
	cell_fn *cell;
	bool right;
};

static void print_cell(const struct column *col, const char *text, int width, bool last)
{
	/* No blanks at the end of a line. */
	printf("%*s%s", col->right ? width : last ? 0 : -width, text, last ? "\n" : "  ");
}

static void print_table(const json_t *list, const struct column *col, size_t cols,
			const char *empty)
{
	int width[COLUMNS_MAX];
	char buf[128];
	const json_t *row;
	size_t i;

	if (!json_array_size(list)) {
		puts(empty);
		return;
	}
	for (size_t k = 0; k < cols; k++) {
		width[k] = (int)strlen(col[k].title);
		json_array_foreach((json_t *)list, i, row) {
			int n = (int)strlen(col[k].cell(row, buf, sizeof(buf)));

			width[k] = n > width[k] ? n : width[k];
		}
	}
	for (size_t k = 0; k < cols; k++)
		print_cell(&col[k], col[k].title, width[k], k + 1 == cols);
	json_array_foreach((json_t *)list, i, row)
		for (size_t k = 0; k < cols; k++)
			print_cell(&col[k], col[k].cell(row, buf, sizeof(buf)), width[k],
				   k + 1 == cols);
}

static const char *c_name(const json_t *r, char *b, size_t n)
{
	return text_of(r, "name");
}
static const char *c_uuid(const json_t *r, char *b, size_t n)
{
	return text_of(r, "uuid");
}
static const char *c_type(const json_t *r, char *b, size_t n)
{
	return text_of(r, "type");
}
static const char *c_state(const json_t *r, char *b, size_t n)
{
	return text_of(r, "state");
}
static const char *c_socket(const json_t *r, char *b, size_t n)
{
	return text_of(r, "socket");
}
static const char *c_pgpu(const json_t *r, char *b, size_t n)
{
	return text_of(r, "pgpu");
}
static const char *c_policy(const json_t *r, char *b, size_t n)
{
	snprintf(b, n, "%s%s", text_of(r, "policy"),
		 json_is_true(json_object_get(r, "nonpreemptive")) ? ", nonpreemptive" : "");
	return b;
}
static const char *c_quantum(const json_t *r, char *b, size_t n)
{
	return time_text(int_of(r, "quantum_ns"), b, n);
}
static const char *c_grace(const json_t *r, char *b, size_t n)
{
	return time_text(int_of(r, "grace_ns"), b, n);
}

static const char *c_vram(const json_t *r, char *b, size_t n)
{
	return size_text(int_of(r, "vram_bytes"), b, n);
}

static const char *number(const json_t *r, const char *key, char *b, size_t n)
{
	snprintf(b, n, "%" PRIu64, int_of(r, key));
	return b;
}

static const char *c_channels(const json_t *r, char *b, size_t n)
{
	return number(r, "channels", b, n);
}
static const char *c_contexts(const json_t *r, char *b, size_t n)
{
	return number(r, "contexts", b, n);
}
static const char *c_available(const json_t *r, char *b, size_t n)
{
	return number(r, "available", b, n);
}
static const char *c_units(const json_t *r, char *b, size_t n)
{
	return number(r, "compute_units", b, n);
}
static const char *c_vgpus(const json_t *r, char *b, size_t n)
{
	return number(r, "vgpus", b, n);
}

static const char *c_vram_used(const json_t *r, char *b, size_t n)
{
	char used[24], all[24];

	snprintf(b, n, "%s of %s", size_text(int_of(r, "vram_used"), used, sizeof(used)),
		 size_text(int_of(r, "vram_bytes"), all, sizeof(all)));
	return b;
}

static const char *c_channels_used(const json_t *r, char *b, size_t n)
{
	snprintf(b, n, "%" PRIu64 " of %" PRIu64, int_of(r, "channels_used"),
		 int_of(r, "channels"));
	return b;
}

void print_vgpus(const json_t *list)
{
	static const struct column col[] = {
		{ "NAME", c_name },   { "UUID", c_uuid },     { "TYPE", c_type },
		{ "STATE", c_state }, { "SOCKET", c_socket },
	};

	print_table(list, col, sizeof(col) / sizeof(col[0]),
		    "no vGPUs; 'medley create --type share-256m' makes one");
}

void print_types(const json_t *list)
{
	static const struct column col[] = {
		{ "TYPE", c_name },
		{ "PGPU", c_pgpu },
		{ "VRAM", c_vram, true },
		{ "CHANNELS", c_channels, true },
		{ "CONTEXTS", c_contexts, true },
		{ "AVAILABLE", c_available, true },
	};

	print_table(list, col, sizeof(col) / sizeof(col[0]), "no types");
}

void print_pgpus(const json_t *list)
{
	static const struct column col[] = {
		{ "PGPU", c_name },
		{ "VRAM", c_vram_used, true },
		{ "CHANNELS", c_channels_used, true },
		{ "UNITS", c_units, true },
		{ "VGPUS", c_vgpus, true },
		{ "QUANTUM", c_quantum, true },
		{ "GRACE", c_grace, true },
		{ "POLICY", c_policy },
	};

	print_table(list, col, sizeof(col) / sizeof(col[0]), "no pGPUs");
}

static void line(const char *title, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void line(const char *title, const char *fmt, ...)
{
	va_list ap;

	printf("%-18s", title);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* 0 is said in words. */
static void percent_line(const json_t *v, const char *key, const char *title, const char *none)
{
	if (int_of(v, key))
		line(title, "%" PRIu64 " %%", int_of(v, key));
	else
		line(title, "%s", none);
}

static void time_line(const json_t *v, const char *key, const char *title, const char *none)
{
	char b[32];

	line(title, "%s", int_of(v, key) ? time_text(int_of(v, key), b, sizeof(b)) : none);
}

static void print_params(const json_t *v)
{
	line("weight", "%" PRIu64, int_of(v, "weight"));
	percent_line(v, "cap", "cap", "none");
	percent_line(v, "reservation", "reservation", "none");
	percent_line(v, "share_percent", "share percent", "an equal part of the rest");
	line("priority", "%s", text_of(v, "priority"));
	time_line(v, "quantum_ns", "quantum", "the pGPU's");
	time_line(v, "kernel_limit_ns", "kernel limit", "none");
}

void print_vgpu(const json_t *v)
{
	static const char *const counters[] = {
		"queue",	   "commands",	     "kernels",		"preemptions",	"faults",
		"resets",	   "contexts",	     "contexts_opened", "executors_lost",
		"device_restarts", "confinements",
	};
	char b[32];

	line("uuid", "%s", text_of(v, "uuid"));
	line("name", "%s", text_of(v, "name"));
	line("type", "%s on %s", text_of(v, "type"), text_of(v, "pgpu"));
	line("state", "%s", text_of(v, "state"));
	line("socket", "%s", text_of(v, "socket"));
	line("vram", "%s", size_text(int_of(v, "vram_bytes"), b, sizeof(b)));
	line("channels", "%" PRIu64, int_of(v, "channels"));
	line("share", "%.1f %% of the last second; due: %.1f %%",
	     100 * json_real_value(json_object_get(v, "share")),
	     100 * json_real_value(json_object_get(v, "entitlement")));
	print_params(v);
	if (json_is_true(json_object_get(v, "throttled")))
		line("throttled", "its contexts end again and again: new ones wait");
	line("GPU time", "%s", time_text(int_of(v, "gpu_time_ns"), b, sizeof(b)));
	line("lease", "%s", text_of(v, "lease"));
	line("longest wait", "%s", time_text(int_of(v, "waited_max_ns"), b, sizeof(b)));
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		char title[32];

		snprintf(title, sizeof(title), "%s", counters[i]);
		for (char *p = title; *p; p++)
			*p = *p == '_' ? ' ' : *p;
		line(title, "%" PRIu64, int_of(v, counters[i]));
	}
	if (int_of(v, "vmm_pid"))
		line("processes", "device %" PRIu64 ", VMM %" PRIu64, int_of(v, "device_pid"),
		     int_of(v, "vmm_pid"));
	else
		line("processes", "device %" PRIu64, int_of(v, "device_pid"));
}

void print_event(const json_t *e)
{
	printf("%.3f %s %s %s", (double)int_of(e, "time_ns") / 1e9, text_of(e, "name"),
	       text_of(e, "event"), text_of(e, "state"));
	if (json_object_get(e, "context"))
		printf(" context %" PRIu64, int_of(e, "context"));
	if (json_object_get(e, "error"))
		printf(" error %" PRIu64 " address 0x%" PRIx64, int_of(e, "error"),
		       int_of(e, "address"));
	if (json_object_get(e, "how"))
		printf(" %s", text_of(e, "how"));
	putchar('\n');
}
