/* SPDX-License-Identifier: MIT */
/* The OpenCL runtime of this machine, opened: shared by the cpu backend (executor) and the compile job (companion). */
#ifndef MDL_BACKEND_CL_H
#define MDL_BACKEND_CL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <stdbool.h>
#include <stdint.h>

/* Appended to every program's options: tells argument kinds. Both sides must use the same string, it is part of the cache's key. */
#define MDL_CL_OPTIONS " -cl-kernel-arg-info"

struct mdl_cl {
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
};

/* Finds PoCL and opens its first device; starts the runtime's threads. -ENODEV when there is none. */
int mdl_cl_open(struct mdl_cl *ret_cl);
void mdl_cl_close(struct mdl_cl *cl);

/*
 * Compiles source to bitcode that is not linked with PoCL's library yet; builds a program from such bitcode. (Linking bitcode that is
 * linked already breaks PoCL 3.1.) *ret_program is set also when it fails (-ENOEXEC), for its log.
 */
int mdl_cl_compile(const struct mdl_cl *cl, const char *source, size_t bytes, const char *options, cl_program *ret_program);
int mdl_cl_build_bitcode(const struct mdl_cl *cl, const char *bitcode, size_t bytes, const char *options,
			 cl_program *ret_program);

/* The build log as a heap string, never NULL unless memory ran out. */
char *mdl_cl_log(const struct mdl_cl *cl, cl_program program);

#endif
