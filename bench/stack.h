/* SPDX-License-Identifier: MIT */
/*
 * A Medley for one measurement: medleyd with a directory of its own, one vGPU, one guest. Everything ends with the process that
 * started it: medleyd gets SIGTERM when its parent dies.
 */
#ifndef MDL_BENCH_STACK_H
#define MDL_BENCH_STACK_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct stack {
	char bin[512]; /* build folder */
	char dir[512]; /* temporary, the caller's to remove */
	char socket[512]; /* of the vGPU */
	pid_t medleyd, guest;
	bool kvm;
	FILE *lines; /* what the guest says */
};

/* All of these write a line to standard error and return false when they fail. */
bool stack_start(struct stack *s, const char *bin, const char *dir, const char *type);
/* Only medleyd, with more arguments (NULL: none) up to a NULL, 8 at most. */
bool stack_start_medleyd(struct stack *s, const char *bin, const char *dir, const char *vram,
			 const char *const *more);
/*
 * A child that ends with us: standard input, output and error from and to these, or nothing, nothing and our own for -1. Its pid,
 * or -1.
 */
pid_t stack_spawn(char *const *argv, int in, int out, int err, int death_signal);
bool stack_run_guest(struct stack *s, const char *benchmark, int repetitions);
/* Returns when the guest is stopped, and lets it go on. */
bool stack_pause(struct stack *s);
bool stack_resume(struct stack *s);
/* Waits until medleyd has no executor that is only starting. */
void stack_wait_pool(struct stack *s);
/* Waits for the guest's end; whether it was a good one. */
bool stack_end_guest(struct stack *s);
void stack_stop(struct stack *s);

#endif
