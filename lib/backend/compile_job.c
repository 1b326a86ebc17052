/* SPDX-License-Identifier: MIT */
/*
 * One compile job, the whole life of a process: builds the program and, for machine code, enqueues a kernel exactly as the
 * executor will. PoCL generates code at that point, writes the shared object into its cache and calls dlopen() on it; our
 * dlopen() takes its place, reports success and ends the process. So PoCL's own code makes the object, under PoCL's own key,
 * through the public API, and nothing that a guest wrote is ever loaded or run here.
 *
 * PoCL's worker thread makes the call, so the state below is set before the first enqueue and only read afterwards. The executable
 * must export dlopen (it does when it links libOpenCL, which refers to it).
 */
#include "backend/compile.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cl.h"
#include "base/cleanup.h"
#include "base/util.h"

#define DUMMY_BYTES	4096	/* of the buffer that stands for every pointer argument: never touched */

/* Process-wide by nature: a symbol that replaces libc's has no other way to its state. The one exception to the rule on globals. */
static struct {
	const char *cache_dir;	/* not NULL: armed */
	int result;
} handover;

static __attribute__((noreturn)) void finish_with(int result, uint32_t status, const char *log, const char *output,
						  uint32_t output_bytes)
{
	struct mdl_compile_reply reply = { .status = status, .output_bytes = output_bytes };

	reply.log_bytes = log ? (uint32_t)mdl_min_u64(strlen(log), MDL_PROGRAM_LOG_MAX) : 0;
	if (mdl_compile_write(result, &reply, sizeof(reply)) || mdl_compile_write(result, log, reply.log_bytes) ||
	    mdl_compile_write(result, output, output_bytes))
		_exit(1);
	_exit(0);
}

static __attribute__((noreturn)) void finish(int result, uint32_t status, const char *log)
{
	finish_with(result, status, log, NULL, 0);
}

void *dlopen(const char *file, int mode) __attribute__((visibility("default")));

void *dlopen(const char *file, int mode)
{
	void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
	size_t len = handover.cache_dir ? strlen(handover.cache_dir) : 0;

	if (len && file && !strncmp(file, handover.cache_dir, len) && file[len] == '/')
		finish(handover.result, MDL_PROGRAM_OK, NULL);
	return next(file, mode);
}

/* ---- Source to bitcode ---- */

/* PoCL keeps a program's bitcode in a file of this name. In a cache of this job's own there is one, some directories down. */
static int open_bitcode(int dir_fd, int depth)
{
	DIR *dir = fdopendir(dir_fd);
	struct dirent *e;
	int fd = -1;

	while (dir && fd < 0 && (e = readdir(dir))) {
		if (!strcmp(e->d_name, "program.bc")) {
			fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC);
		} else if (e->d_name[0] != '.' && depth) {
			int sub = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			fd = sub < 0 ? -1 : open_bitcode(sub, depth - 1);
		}
	}
	if (dir)
		closedir(dir);
	return fd;
}

static __attribute__((noreturn)) void finish_program(const char *cache, int result, const char *log)
{
	int dir = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = dir < 0 ? -1 : open_bitcode(dir, 3);
	off_t bytes = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	void *bitcode;

	if (bytes <= 0)
		finish(result, MDL_PROGRAM_UNSUPPORTED, "this OpenCL runtime does not keep bitcode in its cache\n");
	bitcode = bytes > MDL_COMPILE_BITCODE_MAX ? NULL : malloc((size_t)bytes);
	if (!bitcode || pread(fd, bitcode, (size_t)bytes, 0) != bytes)
		finish(result, MDL_PROGRAM_NO_MEMORY, "the program is too large\n");
	finish_with(result, MDL_PROGRAM_OK, log, bitcode, (uint32_t)bytes);
}

/* ---- Bitcode to machine code ---- */

static int set_dummy_args(const struct mdl_cl *cl, const struct mdl_compile_req *req, cl_kernel kernel)
{
	static const char zero[MDL_ARG_BYTES_MAX];
	cl_int status;
	cl_mem buffer = clCreateBuffer(cl->context, CL_MEM_READ_WRITE, DUMMY_BYTES, NULL, &status);

	if (status != CL_SUCCESS)
		return -ENOMEM;
	for (cl_uint i = 0; i < req->nargs; i++) {
		switch (req->arg[i].kind) {
		case MDL_ARG_BUFFER:
			status = clSetKernelArg(kernel, i, sizeof(buffer), &buffer);
			break;
		case MDL_ARG_LOCAL:
			status = clSetKernelArg(kernel, i, req->arg[i].size, NULL);
			break;
		default:
			status = clSetKernelArg(kernel, i, req->arg[i].size, zero);
			break;
		}
		if (status != CL_SUCCESS)
			return -EINVAL;
	}
	return 0;
}

static int generate(const struct mdl_cl *cl, const struct mdl_compile_req *req, cl_program program)
{
	size_t global[3], local[3], offset[3];
	cl_int status;
	cl_kernel kernel = clCreateKernel(program, req->kernel, &status);

	if (status != CL_SUCCESS || set_dummy_args(cl, req, kernel))
		return -EINVAL;
	for (size_t i = 0; i < 3; i++) {
		global[i] = req->global[i];
		local[i] = req->local[i];
		offset[i] = req->offset[i];
	}
	status = clEnqueueNDRangeKernel(cl->queue, kernel, req->dims, offset, global, local, 0, NULL, NULL);
	if (status != CL_SUCCESS || clFinish(cl->queue) != CL_SUCCESS)
		return -EINVAL;
	/* The kernel ran: this PoCL does not load its objects with dlopen(), the trick does not work. */
	return -ENOSYS;
}

void mdl_compile_job(const struct mdl_compile_req *req, const char *input, const char *options, const char *cache, int result)
{
	cl_program program = NULL;
	struct mdl_cl cl;
	int err;

	if (setenv("POCL_CACHE_DIR", cache, 1) || mdl_cl_open(&cl))
		finish(result, MDL_PROGRAM_NO_MEMORY, "the compiler cannot start\n");
	if (req->kind == MDL_COMPILE_PROGRAM)
		err = mdl_cl_compile(&cl, input, req->input_bytes, options, &program);
	else
		err = mdl_cl_build_bitcode(&cl, input, req->input_bytes, options, &program);
	if (err)
		finish(result, program ? MDL_PROGRAM_BUILD_FAILED : MDL_PROGRAM_NO_MEMORY, mdl_cl_log(&cl, program));
	if (req->kind == MDL_COMPILE_PROGRAM)
		finish_program(cache, result, mdl_cl_log(&cl, program));
	if (req->kind == MDL_COMPILE_INSTALL)
		finish(result, MDL_PROGRAM_OK, NULL);
	handover.result = result;
	handover.cache_dir = cache;
	switch (generate(&cl, req, program)) {
	case -ENOSYS:
		finish(result, MDL_PROGRAM_UNSUPPORTED, "this OpenCL runtime cannot generate code ahead of a launch\n");
	default:
		finish(result, MDL_PROGRAM_BUILD_FAILED, "the kernel cannot be enqueued with these sizes and arguments\n");
	}
}
