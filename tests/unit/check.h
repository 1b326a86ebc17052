/* SPDX-License-Identifier: MIT */
/*
 * The unit tests' harness. A test program lists its cases in a table and calls check_main(); each case runs in a child process of
 * its own with a time limit, so a crash or a hang fails that case alone. Output is TAP. CHECK() ends the case when it fails;
 * check_skip() ends it as skipped, with the reason.
 */
#ifndef MDL_TESTS_CHECK_H
#define MDL_TESTS_CHECK_H

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct check_case {
	const char *name;
	void (*run)(void);
	unsigned int timeout_s;		/* on an idle machine; 0: 20 */
};

/* A machine with other work, or one that is slow, takes longer; only what hangs meets the limit. */
#define CHECK_PATIENCE 3

#define CHECK(cond) do { \
	if (!(cond)) { \
		fprintf(stderr, "# %s:%d: %s: not true: %s (errno %d)\n", __FILE__, __LINE__, __func__, #cond, errno); \
		_exit(1); \
	} \
} while (0)

#define CHECK_EQ(a, b) do { \
	long long ca_ = (long long)(a), cb_ = (long long)(b); \
	if (ca_ != cb_) { \
		fprintf(stderr, "# %s:%d: %s: %s is %lld (0x%llx), expected %s = %lld (0x%llx)\n", __FILE__, __LINE__, \
			__func__, #a, ca_, (unsigned long long)ca_, #b, cb_, (unsigned long long)cb_); \
		_exit(1); \
	} \
} while (0)

#define CHECK_STR(a, b) do { \
	const char *sa_ = (a), *sb_ = (b); \
	if (strcmp(sa_, sb_)) { \
		fprintf(stderr, "# %s:%d: %s: \"%s\", expected \"%s\"\n", __FILE__, __LINE__, __func__, sa_, sb_); \
		_exit(1); \
	} \
} while (0)

static inline __attribute__((noreturn)) void check_skip(const char *why)
{
	fprintf(stderr, "# skipped: %s\n", why);
	_exit(77);
}

static inline int check_main(const struct check_case *cases, size_t n)
{
	int failed = 0;

	printf("1..%zu\n", n);
	for (size_t i = 0; i < n; i++) {
		int status;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			alarm(CHECK_PATIENCE * (cases[i].timeout_s ? cases[i].timeout_s : 20));
			cases[i].run();
			exit(0);	/* not _exit: leak checkers and coverage run at exit */
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid) {
			printf("Bail out! fork: %s\n", strerror(errno));
			return 1;
		}
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
			printf("ok %zu %s\n", i + 1, cases[i].name);
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			printf("ok %zu %s # SKIP\n", i + 1, cases[i].name);
		} else {
			failed = 1;
			if (WIFSIGNALED(status))
				printf("# ended by signal %d%s\n", WTERMSIG(status),
				       WTERMSIG(status) == SIGALRM ? " (time limit)" : "");
			printf("not ok %zu %s\n", i + 1, cases[i].name);
		}
	}
	return failed;
}

#define CHECK_MAIN(cases) int main(void) { return check_main((cases), sizeof(cases) / sizeof((cases)[0])); }

#endif
