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
	s->columns = 200;
	if (s->on && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_row && w.ws_col) {
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
	fputs(s->on ? "\033[K\n" : "\n", stdout);
}

static void bar(double share)
{
	int full = (int)(share * BAR_CELLS + 0.5);

	for (int i = 0; i < BAR_CELLS; i++)
		putchar(i < full ? '#' : '.');
}

static void draw_vgpu(const struct screen *s, const json_t *v)
{
	double share = json_real_value(json_object_get(v, "share"));
	char vram[24], used[24];

	printf("%-20.20s %-11s %-8s %5.1f%% ", text_of(v, "name"), text_of(v, "type"),
	       text_of(v, "state"), 100 * share);
	if (s->columns >= 120)
		bar(share);
	printf(" %10s %10" PRIu64 " %8" PRIu64 " %7" PRIu64 " %6" PRIu64 " %6s",
	       time_text(int_of(v, "gpu_time_ns"), used, sizeof(used)), int_of(v, "commands"),
	       int_of(v, "kernels"), int_of(v, "preemptions"), int_of(v, "faults"),
	       size_text(int_of(v, "vram_bytes"), vram, sizeof(vram)));
	end_line(s);
}

static double busy(const json_t *list, const char *pgpu)
{
	double total = 0;
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v)
		if (!strcmp(text_of(v, "pgpu"), pgpu))
			total += json_real_value(json_object_get(v, "share"));
	return total;
}

static void draw(const struct screen *s, const json_t *stats)
{
	const json_t *list = json_object_get(stats, "vgpus"),
		     *x = json_object_get(stats, "executors"), *v;
	char used[24], all[24], up[24];
	int rows = 0;
	size_t i;

	if (s->on)
		fputs("\033[H", stdout);
	json_array_foreach(json_object_get(stats, "pgpus"), i, v) {
		printf("%s: %5.1f%% busy, VRAM %s of %s, %" PRIu64 " vGPUs, %s, %" PRIu64
		       " waiting, up %s",
		       text_of(v, "name"), 100 * busy(list, text_of(v, "name")),
		       size_text(int_of(v, "vram_used"), used, sizeof(used)),
		       size_text(int_of(v, "vram_bytes"), all, sizeof(all)), int_of(v, "vgpus"),
		       text_of(v, "policy"), int_of(v, "waiting"),
		       time_text(int_of(stats, "uptime_ns"), up, sizeof(up)));
		end_line(s);
	}
	printf("executors: %" PRIu64 " in use, %" PRIu64 " warm, %" PRIu64 " warming",
	       int_of(x, "granted"), int_of(x, "warm"), int_of(x, "warming"));
	end_line(s);
	end_line(s);
	printf("%s%-20s %-11s %-8s %6s %*s %10s %10s %8s %7s %6s %6s%s", s->on ? "\033[7m" : "",
	       "VGPU", "TYPE", "STATE", "SHARE", s->columns >= 120 ? BAR_CELLS : 0, "", "GPU TIME",
	       "COMMANDS", "KERNELS", "PREEMPT", "FAULTS", "VRAM", s->on ? "\033[0m" : "");
	end_line(s);
	json_array_foreach((json_t *)list, i, v) {
		if (s->on && ++rows > s->rows - 6)
			break;
		draw_vgpu(s, v);
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
