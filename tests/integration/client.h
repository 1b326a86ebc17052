/* SPDX-License-Identifier: MIT */
/*
 * The guest's part of the end-to-end tests: a process that drives one vGPU over its vfio-user socket, in a role that the
 * test names. It talks to the test line by line: results on standard output, orders on standard input. The first failed check
 * prints a line that starts with FAIL and ends the process.
 */
#ifndef MDL_TESTS_INTEGRATION_CLIENT_H
#define MDL_TESTS_INTEGRATION_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "medley/medley.h"

#define CHECK(cond, ...)                                                       \
	do {                                                                   \
		if (!(cond)) {                                                 \
			printf("FAIL %s:%d: %s: ", __FILE__, __LINE__, #cond); \
			printf("" __VA_ARGS__);                                \
			printf("\n");                                          \
			fflush(stdout);                                        \
			exit(1);                                               \
		}                                                              \
	} while (0)
/* For calls that give 0 or a negative errno. */
#define OK(call)                                                   \
	do {                                                       \
		int ok_err_ = (call);                              \
		CHECK(ok_err_ == 0, "%s gave %d", #call, ok_err_); \
	} while (0)

#define SECOND 1000000000ll
/* Nothing in a test takes this long unless it hangs; the machine may be very busy. */
#define LONG   (150 * SECOND)

/* One context with a channel and the test program. */
struct work {
	struct mdl_gpu *gpu;
	struct mdl_ctx *ctx;
	struct mdl_chan *chan;
	struct mdl_prog *prog;
	struct mdl_buf *in, *out;
	uint32_t items;
};

void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Next order of the test, without its newline; NULL at its end. Valid until the next call. */
const char *hear(void);

/* Whether there is one, or its end. */
bool ordered(void);

struct mdl_gpu *gpu_open(const char *socket);
void work_init(struct work *w, struct mdl_gpu *gpu, uint32_t items);
void work_fini(struct work *w);
void work_build(struct work *w);
/* Launches a kernel whose arguments are 64-bit values (addresses, numbers), over n items. */
int work_launch(struct work *w, const char *kernel, uint32_t n, const uint64_t *arg,
		uint32_t nargs);
/* One round of known work; 0 if it ran and all of it is right, -EIO if the channel stopped. */
int work_round(struct work *w, uint32_t seed);

int role_smoke(int argc, char **argv);
int role_worker(int argc, char **argv);
int role_hold(int argc, char **argv);
int role_stray(int argc, char **argv);
int role_spin(int argc, char **argv);
int role_bad_packets(int argc, char **argv);
int role_contexts(int argc, char **argv);
int role_secret(int argc, char **argv);
int role_look(int argc, char **argv);
int role_dma(int argc, char **argv);
int role_shrink(int argc, char **argv);
int role_storm(int argc, char **argv);
int role_bombs(int argc, char **argv);
int role_watchdog(int argc, char **argv);
int role_crash(int argc, char **argv);
int role_load(int argc, char **argv);

#endif
