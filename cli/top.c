/* SPDX-License-Identifier: MIT */
/*
 * medley top: who uses the GPU now, refreshed once a second. On a terminal it takes the screen
 * (alternate buffer, ANSI sequences that every terminal knows) and ends with q or Ctrl-C; into a
 * pipe it prints one table, or one JSON line, a second.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define BAR_CELLS 20

struct screen {
	bool on;
	struct termios old;
	int signals;
	int rows, columns;
};

static void screen_stop(void *arg)
{
	struct screen *s = arg;

	before_fail(NULL, NULL);
	if (s->on) {
		fputs("\033[?7h\033[?25h\033[?1049l", stdout);
		tcsetattr(STDIN_FILENO, TCSANOW, &s->old);
	}
	fflush(stdout);
	close(s->signals);
}

static void screen_start(struct screen *s)
{
	struct termios raw;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC);
	s->on = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &s->old);
	if (!s->on)
		return;
	raw = s->old;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	/* Long lines are cut, not wrapped: what is seen is what was counted. */
	fputs("\033[?1049h\033[?25l\033[?7l", stdout);
	before_fail(screen_stop, s);
}

static void screen_size(struct screen *s)
{
	struct winsize w = { 0 };

	s->rows = 24;
	s->columns = 80;
	if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_row &&
	    w.ws_col) {
		s->rows = w.ws_row;
		s->columns = w.ws_col;
	}
}

/* True: the user wants to leave. */
static bool wait_or_leave(struct screen *s, int ms)
{
	struct pollfd p[2] = { { .fd = s->signals, .events = POLLIN },
			       { .fd = s->on ? STDIN_FILENO : -1, .events = POLLIN } };
	char key;

	if (poll(p, 2, ms) <= 0)
		return false;
	if (p[0].revents)
		return true;
	return p[1].revents &&
	       (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == 3);
}

static void end_line(const struct screen *s)
{
	/* Clears the next one before it is written: in the last column it would take a character. */
	fputs(s->on ? "\n\033[K" : "\n", stdout);
}

/* Short enough for its column, whatever it has grown to. */
static const char *count_text(uint64_t v, char *b, size_t n)
{
	if (v < 1000000)
		snprintf(b, n, "%" PRIu64, v);
	else if (v < 1000000000)
		snprintf(b, n, "%.1fM", (double)v / 1e6);
	else
		snprintf(b, n, "%.1fG", (double)v / 1e9);
	return b;
}

static double part(const json_t *v, const char *key)
{
	return json_real_value(json_object_get(v, key));
}

/* ---- columns ---- */

struct column {
	const char *title;
	int width;
	int from; /* shown on screens at least so wide */
	bool left;
	void (*cell)(const json_t *v, char *b, size_t n);
};

static void c_state(const json_t *v, char *b, size_t n)
{
	bool throttled = json_is_true(json_object_get(v, "throttled"));

	snprintf(b, n, "%s", throttled ? "throttled" : text_of(v, "state"));
}

static void c_share(const json_t *v, char *b, size_t n)
{
	snprintf(b, n, "%.1f%%", 100 * part(v, "share"));
}

static void c_due(const json_t *v, char *b, size_t n)
{
	snprintf(b, n, "%.1f%%", 100 * part(v, "entitlement"));
}

/* What it has, and a mark at what it is due. */
static void c_bar(const json_t *v, char *b, size_t n)
{
	int full = (int)(part(v, "share") * BAR_CELLS + 0.5);
	int mark = (int)(part(v, "entitlement") * BAR_CELLS + 0.5) - 1;

	for (int i = 0; i < BAR_CELLS && (size_t)i + 1 < n; i++) {
		b[i] = i == mark ? '|' : i < full ? '#' : '.';
		b[i + 1] = 0;
	}
}

#define COUNT(name, key)                                     \
	static void name(const json_t *v, char *b, size_t n) \
	{                                                    \
		count_text(int_of(v, key), b, n);            \
	}
COUNT(c_queue, "queue")
COUNT(c_preemptions, "preemptions")
COUNT(c_faults, "faults")
COUNT(c_resets, "resets")
COUNT(c_weight, "weight")
COUNT(c_commands, "commands")
COUNT(c_kernels, "kernels")

static void c_vram(const json_t *v, char *b, size_t n)
{
	size_text(int_of(v, "vram_bytes"), b, n);
}

static void c_gpu_time(const json_t *v, char *b, size_t n)
{
	time_text(int_of(v, "gpu_time_ns"), b, n);
}

static void c_bounds(const json_t *v, char *b, size_t n)
{
	char low[24] = "-", high[24] = "-";

	if (int_of(v, "reservation"))
		snprintf(low, sizeof(low), "%" PRIu64, int_of(v, "reservation"));
	if (int_of(v, "cap"))
		snprintf(high, sizeof(high), "%" PRIu64, int_of(v, "cap"));
	snprintf(b, n, "%s/%s", low, high);
}

static void c_type(const json_t *v, char *b, size_t n)
{
	snprintf(b, n, "%s", text_of(v, "type"));
}

/* After the name. Those for any screen take 59 columns: with names of 21, 80. */
static const struct column columns[] = {
	{ "STATE", 9, 0, true, c_state },	   { "SHARE", 6, 0, false, c_share },
	{ "", BAR_CELLS, 101, true, c_bar },	   { "DUE", 6, 0, false, c_due },
	{ "QUEUE", 6, 0, false, c_queue },	   { "PREEMPT", 7, 0, false, c_preemptions },
	{ "FAULTS", 6, 0, false, c_faults },	   { "RESETS", 6, 0, false, c_resets },
	{ "VRAM", 5, 0, false, c_vram },	   { "WEIGHT", 6, 118, false, c_weight },
	{ "RES/CAP", 7, 118, false, c_bounds },	   { "GPU TIME", 9, 150, false, c_gpu_time },
	{ "COMMANDS", 8, 150, false, c_commands }, { "KERNELS", 8, 168, false, c_kernels },
	{ "TYPE", 11, 168, true, c_type },
};

#define COLUMNS	       (sizeof(columns) / sizeof(columns[0]))
#define NAME_MAX_SHOWN 32

/* As wide as the longest, in what the other columns leave. */
static int name_width(const struct screen *s, const json_t *list)
{
	int width = 4, left = s->columns;
	const json_t *v;
	size_t i;

	for (size_t k = 0; k < COLUMNS; k++)
		if (s->columns >= columns[k].from)
			left -= columns[k].width + 1;
	json_array_foreach((json_t *)list, i, v) {
		int n = (int)strlen(text_of(v, "name"));

		width = n > width ? n : width;
	}
	left = left < 8 ? 8 : left < NAME_MAX_SHOWN ? left : NAME_MAX_SHOWN;
	return width < left ? width : left;
}

/* One row; v NULL: the titles. No blanks at its end. */
static void draw_row(const struct screen *s, const json_t *v, int name)
{
	char row[512], cell[64];
	int n = snprintf(row, sizeof(row), "%-*.*s", name, name, v ? text_of(v, "name") : "VGPU");

	for (size_t k = 0; k < COLUMNS; k++) {
		const struct column *c = &columns[k];

		if (s->columns < c->from)
			continue;
		if (v)
			c->cell(v, cell, sizeof(cell));
		else
			snprintf(cell, sizeof(cell), "%s", c->title);
		n += snprintf(row + n, sizeof(row) - (size_t)n, " %*.*s",
			      c->left ? -c->width : c->width, c->width, cell);
	}
	if (s->on && n > s->columns)
		row[n = s->columns] = 0;
	while (n && row[n - 1] == ' ')
		row[--n] = 0;
	if (s->on && !v)
		printf("\033[7m%s\033[0m", row);
	else
		fputs(row, stdout);
	end_line(s);
}

/* ---- the picture ---- */

static void draw_pgpu(const struct screen *s, const json_t *p, const json_t *list,
		      uint64_t uptime_ns)
{
	char a[24], b[24];
	double busy = 0;
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v)
		if (!strcmp(text_of(v, "pgpu"), text_of(p, "name")))
			busy += part(v, "share");
	printf("%s: policy %s, quantum %s, grace %s%s", text_of(p, "name"), text_of(p, "policy"),
	       time_text(int_of(p, "quantum_ns"), a, sizeof(a)),
	       time_text(int_of(p, "grace_ns"), b, sizeof(b)),
	       json_is_true(json_object_get(p, "nonpreemptive")) ? ", nonpreemptive" : "");
	end_line(s);
	printf("  %.1f%% busy, %" PRIu64 " waiting, VRAM %s of %s", 100 * busy,
	       int_of(p, "waiting"), size_text(int_of(p, "vram_used"), a, sizeof(a)),
	       size_text(int_of(p, "vram_bytes"), b, sizeof(b)));
	printf(", %" PRIu64 " vGPU%s, up %s", int_of(p, "vgpus"),
	       int_of(p, "vgpus") == 1 ? "" : "s", time_text(uptime_ns, a, sizeof(a)));
	end_line(s);
}

static void draw(const struct screen *s, const json_t *stats)
{
	const json_t *list = json_object_get(stats, "vgpus"),
		     *pgpus = json_object_get(stats, "pgpus"),
		     *x = json_object_get(stats, "executors"), *v;
	/* What stands above and below the rows. */
	size_t rest = 2 * json_array_size(pgpus) + 4, shown = json_array_size(list), i;
	int name = name_width(s, list);

	if (s->on && shown + rest > (size_t)s->rows)
		shown = (size_t)s->rows > rest + 1 ? (size_t)s->rows - rest - 1 : 0;
	if (s->on)
		fputs("\033[H\033[K", stdout);
	json_array_foreach((json_t *)pgpus, i, v)
		draw_pgpu(s, v, list, int_of(stats, "uptime_ns"));
	printf("executors: %" PRIu64 " in use, %" PRIu64 " warm, %" PRIu64 " warming",
	       int_of(x, "granted"), int_of(x, "warm"), int_of(x, "warming"));
	end_line(s);
	end_line(s);
	draw_row(s, NULL, name);
	for (i = 0; i < shown; i++)
		draw_row(s, json_array_get(list, i), name);
	if (shown < json_array_size(list)) {
		printf("and %zu more", json_array_size(list) - shown);
		end_line(s);
	}
	if (s->on)
		fputs("\033[J", stdout);
	else
		putchar('\n');
}

void top_run(struct client *c, bool once, bool json, double interval)
{
	struct screen s = { .signals = -1 };

	if (!once && !json)
		screen_start(&s);
	for (;;) {
		json_t *stats = client_call(c, "stats", NULL);

		screen_size(&s);
		if (json) {
			json_dumpf(stats, stdout, JSON_COMPACT);
			putchar('\n');
		} else {
			draw(&s, stats);
		}
		json_decref(stats);
		if (fflush(stdout) || ferror(stdout) || once)
			break;
		if (wait_or_leave(&s, (int)(interval * 1000)))
			break;
	}
	if (s.signals >= 0)
		screen_stop(&s);
}
