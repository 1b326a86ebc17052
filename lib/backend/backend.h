/* SPDX-License-Identifier: MIT */
/*
 * The pGPU interface as an executor uses it: programs, launches, copies, on memory that is mapped in this process at its GPU address
 * (or, for a GPU with memory of its own, in the address space that the backend made). One instance for each executor, that is for each
 * guest context. Mapping itself is done by the executor's mapper; backends whose memory is not the process's get the map operations
 * as slots when such a backend exists. One thread (the executor's front end) makes all calls.
 *
 * Everything that comes through this interface was written by a guest. Backends check handles and sizes; addresses are checked by
 * the MMU: a stray access is a fault of the context.
 */
#ifndef MDL_BACKEND_BACKEND_H
#define MDL_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hw/medley_hw.h"

struct mdl_backend;

struct mdl_launch_arg {
	uint32_t kind;		/* enum mdl_hw_arg_kind */
	uint32_t size;
	const void *data;	/* VALUE: size bytes; BUFFER: points at the 8-byte address; LOCAL: NULL */
};

struct mdl_launch {
	uint32_t program, kernel;
	uint32_t dims;
	size_t global[3], local[3], offset[3];	/* local all zero: the backend chooses */
	uint32_t nargs;
	struct mdl_launch_arg arg[MDL_ARGS_MAX];
};

struct mdl_program_source {
	uint32_t format;
	const char *source;	/* not terminated */
	size_t source_bytes;
	const char *options;	/* NUL-terminated */
};

struct mdl_program_built {	/* owned by the backend, valid until unload of the program */
	uint32_t status;	/* enum mdl_hw_program_status */
	const char *log;	/* NUL-terminated, never NULL */
	uint32_t num_kernels;
	const struct mdl_hw_kernel_info *kernel;
};

struct mdl_backend_ops {
	const char *name;
	/*
	 * Mandatory. May take hundreds of milliseconds; called before the process is sandboxed and given work. `compiler` is a stream
	 * socket to the compiler companion (backend/compile.h), owned by the backend from here on, also when it fails; -1 for
	 * backends that never compile.
	 */
	int (*create)(uint32_t compute_units, int compiler, struct mdl_backend **ret_backend);
	void (*destroy)(struct mdl_backend *b);
	/*
	 * Starts building a program under a handle (< MDL_PROGRAM_MAX, replaces what was there). Does not block: ready_fd() becomes
	 * readable and compile_poll() tells. One compilation at a time: -EBUSY.
	 */
	int (*program_load)(struct mdl_backend *b, uint32_t program, const struct mdl_program_source *src);
	void (*program_unload)(struct mdl_backend *b, uint32_t program);
	/*
	 * Whether a launch can start now: 0 ready; -EINPROGRESS code generation was started (as program_load, one at a time);
	 * -EBUSY another compilation is under way, ask again; -ENOENT no such program or kernel; -EINVAL arguments do not fit;
	 * -ETIMEDOUT, -ENOMEM, -ENOEXEC code generation failed earlier for this very launch.
	 */
	int (*launch_ready)(struct mdl_backend *b, const struct mdl_launch *l);
	/* -1 when the backend never compiles; else a descriptor to poll while a compilation is under way. */
	int (*compile_fd)(struct mdl_backend *b);
	/* -EINPROGRESS, or 0: done; *ret_built is set when it was a program_load. */
	int (*compile_poll)(struct mdl_backend *b, uint32_t *ret_program, const struct mdl_program_built **ret_built);
	/*
	 * Runs to completion. Only inside a lease. -EAGAIN: not what launch_ready() saw, since the program was replaced or unloaded: ask
	 * that again. -EIO: the runtime refused.
	 */
	int (*launch)(struct mdl_backend *b, const struct mdl_launch *l);
	/*
	 * Calls fn(arg) once on each thread that runs guest code, to prepare it; nothing is running then. A backend without such threads
	 * in this process does nothing.
	 */
	int (*on_threads)(struct mdl_backend *b, void (*fn)(void *arg), void *arg);
	void (*copy)(struct mdl_backend *b, void *dst, const void *src, size_t bytes);
	void (*fill)(struct mdl_backend *b, void *dst, size_t bytes, uint64_t pattern, uint32_t pattern_bytes);
	void (*copy_2d)(struct mdl_backend *b, void *dst, const void *src, uint32_t width_bytes, uint32_t height,
			uint32_t dst_pitch, uint32_t src_pitch);
};

extern const struct mdl_backend_ops mdl_backend_cpu;
extern const struct mdl_backend_ops mdl_backend_null;

#endif
