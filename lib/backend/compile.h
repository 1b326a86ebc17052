/* SPDX-License-Identifier: MIT */
/*
 * Between an executor and its compiler companion: one request, one reply, over a stream socket. The executor is the guest's, so
 * the companion checks every field; the reply is bounded on the other side too.
 *
 * Source becomes bitcode, which the executor gets back and from then on uses in its place: so it never runs a compiler's front end,
 * and what it asks for later is what was compiled then, even if the source says __TIME__. Machine code travels through PoCL's
 * kernel cache, a directory that the companion writes and the executor reads.
 */
#ifndef MDL_BACKEND_COMPILE_H
#define MDL_BACKEND_COMPILE_H

#include <stddef.h>
#include <stdint.h>

#include "hw/medley_hw.h"

enum mdl_compile_kind {
	MDL_COMPILE_PROGRAM = 1,	/* source to bitcode, which is then in the cache: finds the guest's errors */
	MDL_COMPILE_KERNEL = 2,		/* one kernel of bitcode, for one work-group size, to machine code */
	MDL_COMPILE_INSTALL = 3,	/* inside the companion only, second half of PROGRAM: bitcode into the cache */
};

#define MDL_COMPILE_BITCODE_MAX	(32u << 20)

struct mdl_compile_req {		/* followed by the input, then the options with their NUL */
	uint32_t kind;			/* enum mdl_compile_kind */
	uint32_t input_bytes;		/* source: 1 to MDL_PROGRAM_SOURCE_MAX; bitcode: 1 to MDL_COMPILE_BITCODE_MAX */
	uint32_t options_bytes;		/* 1 to MDL_PROGRAM_OPTIONS_MAX + 1 */
	uint32_t dims, nargs;		/* these and below: KERNEL only */
	uint32_t reserved;
	uint64_t global[3], local[3], offset[3];
	char kernel[64];
	struct {
		uint32_t kind, size;	/* enum mdl_hw_arg_kind */
	} arg[MDL_ARGS_MAX];
};

struct mdl_compile_reply {		/* followed by the log, not terminated, and the output */
	uint32_t status;		/* enum mdl_hw_program_status */
	uint32_t log_bytes;		/* at most MDL_PROGRAM_LOG_MAX */
	uint32_t output_bytes;		/* PROGRAM: bitcode, at most MDL_COMPILE_BITCODE_MAX; else 0 */
};

/*
 * What follows a reply: its log, NUL-terminated, and its output, as heap strings that the caller frees. -EPROTO when the sizes are
 * out of bounds.
 */
int mdl_compile_read_rest(int fd, const struct mdl_compile_reply *reply, char **ret_log, char **ret_output,
			  uint64_t deadline_ns);

/*
 * Reads or writes all of it on a blocking descriptor. -EPIPE at end of file. -ETIMEDOUT at the deadline (CLOCK_MONOTONIC; 0: none),
 * however slowly the bytes come.
 */
int mdl_compile_read(int fd, void *buf, size_t bytes, uint64_t deadline_ns);
int mdl_compile_write(int fd, const void *buf, size_t bytes);

/*
 * Whether compiler options are among those that a guest may give; else -EINVAL and *ret_bad points at the first that is not, with
 * *ret_bad_len. Only preprocessor definitions and OpenCL's own switches pass: the runtime hands the string to a compiler front end
 * whose other options open files and load code.
 */
int mdl_compile_check_options(const char *options, const char **ret_bad, size_t *ret_bad_len);

/*
 * One job, in a process of its own that has limits and is confined. Writes a reply to `result` and ends the process, on success
 * from inside the runtime, at the moment when it would load the finished code. `cache` is the runtime's cache for this job: for
 * PROGRAM a directory of its own, which does not exist yet.
 */
void mdl_compile_job(const struct mdl_compile_req *req, const char *input, const char *options, const char *cache, int result)
	__attribute__((noreturn));

/* Loads the runtime's libraries without initialising it (no threads), so that jobs start quickly. 0 or -ENODEV. */
int mdl_compile_preload(void);

/* Sets what the runtime reads from the environment. Before its first use, in a single-threaded process. */
int mdl_compile_environment(const char *cache_dir, uint32_t compute_units);

#endif
