/* SPDX-License-Identifier: MIT */
/*
 * medley-exec: one GPU context. Started by medleyd with the descriptors of ipc.h; serves one medley-device until that closes the
 * control link. Everything is in lib/exec; here are the arguments.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "exec/process.h"
#include "ipc/ipc.h"

#define COMPUTE_UNITS_MAX	1024
#define UID_MAX			(UINT32_MAX - 2)

static bool number(const char *text, unsigned long max, unsigned long *ret_n)
{
	char *end;

	errno = 0;
	*ret_n = strtoul(text, &end, 10);
	return !errno && *text >= '0' && *text <= '9' && !*end && *ret_n >= 1 && *ret_n <= max;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "uid", required_argument, NULL, 'u' },
		{ "compute-units", required_argument, NULL, 'c' },
		{ "compute-cpus", required_argument, NULL, 'p' },
		{ 0 },
	};
	struct mdl_exec_options options = { .uid = MDL_SANDBOX_KEEP_ID, .compute_units = 1 };
	unsigned long n;
	int opt;

	mdl_log_init("medley-exec", MDL_LOG_INFO);
	argv[0] = program_invocation_short_name; /* what getopt's errors begin with */
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (opt == 'u' && number(optarg, UID_MAX, &n)) {
			options.uid = (uid_t)n;
		} else if (opt == 'c' && number(optarg, COMPUTE_UNITS_MAX, &n)) {
			options.compute_units = (uint32_t)n;
		} else if (opt == 'p' && mdl_cpus_parse(optarg, &options.cpus)) {
			options.own_cpus = true;
		} else {
			fprintf(stderr, "usage: medley-exec [--uid N] [--compute-units N] [--compute-cpus LIST]\nStarted by medleyd, not by hand.\n");
			return 2;
		}
	}
	if (optind != argc) {
		mdl_log(MDL_LOG_ERROR, "unexpected argument \"%s\"", argv[optind]);
		return 2;
	}
	if (fcntl(MDL_FD_EXEC_CONTROL, F_GETFD) < 0) {
		mdl_log(MDL_LOG_ERROR, "no control link: medleyd starts this, not a person");
		return 2;
	}
	if (geteuid() == 0 && getpid() != 1 && options.uid == MDL_SANDBOX_KEEP_ID)
		mdl_log(MDL_LOG_WARN, "runs as root: give it a user with --uid");
	return mdl_exec_process(&options);
}
