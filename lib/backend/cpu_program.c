/* SPDX-License-Identifier: MIT */
/*
 * The cpu backend's programs: loading them through the compile thread, and the table of their kernels that guests get. Front end's
 * thread, but cpu_program_open(), which the compile thread calls on a program that nobody else can reach meanwhile.
 */
#include "backend/cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

void cpu_program_free(struct cpu_program *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; p->kernel && i < p->built.num_kernels; i++)
		if (p->kernel[i].kernel)
			clReleaseKernel(p->kernel[i].kernel);
	if (p->program)
		clReleaseProgram(p->program);
	free(p->kernel);
	free(p->info);
	free(p->log);
	free(p->code);
	free(p->options);
	free(p);
}

/* ---- What a guest learns about a kernel ---- */

static int arg_kind(cl_kernel kernel, cl_uint i, uint8_t *ret_kind)
{
	static const char *const opaque[] = { "image", "sampler_t", "pipe", "queue_t", "event_t", "reserve_id_t" };
	cl_kernel_arg_address_qualifier space;
	char type[64] = "";
	size_t bytes = 0;

	if (clGetKernelArgInfo(kernel, i, CL_KERNEL_ARG_ADDRESS_QUALIFIER, sizeof(space), &space, NULL) != CL_SUCCESS)
		return -EINVAL;
	/* A name that does not fit is a guest's own type, so none of these. */
	if (clGetKernelArgInfo(kernel, i, CL_KERNEL_ARG_TYPE_NAME, 0, NULL, &bytes) == CL_SUCCESS && bytes <= sizeof(type))
		clGetKernelArgInfo(kernel, i, CL_KERNEL_ARG_TYPE_NAME, sizeof(type), type, NULL);
	for (size_t k = 0; k < MDL_ARRAY_SIZE(opaque); k++)
		if (!strncmp(type, opaque[k], strlen(opaque[k])) && !strchr(type, '*'))
			return -ENOTSUP;
	switch (space) {
	case CL_KERNEL_ARG_ADDRESS_GLOBAL:
	case CL_KERNEL_ARG_ADDRESS_CONSTANT:
		*ret_kind = MDL_ARG_BUFFER;
		return 0;
	case CL_KERNEL_ARG_ADDRESS_LOCAL:
		*ret_kind = MDL_ARG_LOCAL;
		return 0;
	default:
		*ret_kind = MDL_ARG_VALUE;
		return 0;
	}
}

static int describe(struct mdl_backend *b, cl_kernel kernel, struct mdl_hw_kernel_info *info)
{
	size_t reqd[3] = { 0 }, max = 0;
	cl_ulong local = 0;
	cl_uint nargs = 0;
	int err;

	if (clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof(info->name), info->name, NULL) != CL_SUCCESS)
		return -ENAMETOOLONG;
	if (clGetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof(nargs), &nargs, NULL) != CL_SUCCESS)
		return -EINVAL;
	if (nargs > MDL_ARGS_MAX)
		return -E2BIG;
	if (clGetKernelWorkGroupInfo(kernel, b->cl.device, CL_KERNEL_WORK_GROUP_SIZE, sizeof(max), &max, NULL) != CL_SUCCESS ||
	    clGetKernelWorkGroupInfo(kernel, b->cl.device, CL_KERNEL_LOCAL_MEM_SIZE, sizeof(local), &local, NULL) != CL_SUCCESS ||
	    clGetKernelWorkGroupInfo(kernel, b->cl.device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof(reqd), reqd, NULL) != CL_SUCCESS)
		return -EINVAL;
	info->nargs = (uint16_t)nargs;
	info->max_local = (uint32_t)mdl_min_u64(max, UINT16_MAX);
	info->local_bytes = (uint32_t)mdl_min_u64(local, UINT32_MAX);
	for (size_t i = 0; i < 3; i++)
		info->reqd_local[i] = (uint32_t)mdl_min_u64(reqd[i], UINT32_MAX);
	for (cl_uint i = 0; i < nargs; i++) {
		err = arg_kind(kernel, i, &info->arg_kind[i]);
		if (err)
			return err;
	}
	return 0;
}

static int log_add(struct cpu_program *p, const char *text)
{
	size_t had = p->log ? strlen(p->log) : 0;
	char *log = realloc(p->log, had + strlen(text) + 1);

	if (!log)
		return -ENOMEM;
	strcpy(log + had, text);
	p->log = log;
	return 0;
}

static uint32_t refuse(struct cpu_program *p, int err)
{
	switch (err) {
	case -ENOTSUP:
		log_add(p, "medley: kernels with images, samplers, pipes or queues as arguments are not supported\n");
		return MDL_PROGRAM_UNSUPPORTED;
	case -ENAMETOOLONG:
		log_add(p, "medley: a kernel's name is longer than 63 characters\n");
		return MDL_PROGRAM_UNSUPPORTED;
	case -E2BIG:
		log_add(p, "medley: a kernel has more than 64 arguments\n");
		return MDL_PROGRAM_UNSUPPORTED;
	case -ENOMEM:
		return MDL_PROGRAM_NO_MEMORY;
	default:
		return MDL_PROGRAM_BUILD_FAILED;
	}
}

static int make_kernels(struct mdl_backend *b, struct cpu_program *p)
{
	cl_kernel kernel[MDL_PROGRAM_KERNELS_MAX];
	cl_uint n = p->built.num_kernels;
	int err = 0;

	p->kernel = calloc(n + 1, sizeof(*p->kernel));
	p->info = calloc(n + 1, sizeof(*p->info));
	if (!p->kernel || !p->info)
		return -ENOMEM;
	if (n && clCreateKernelsInProgram(p->program, n, kernel, NULL) != CL_SUCCESS)
		return -ENOMEM;
	for (cl_uint i = 0; i < n; i++)
		p->kernel[i].kernel = kernel[i];
	for (cl_uint i = 0; i < n && !err; i++)
		err = describe(b, kernel[i], &p->info[i]);
	return err;
}

uint32_t cpu_program_open(struct mdl_backend *b, struct cpu_program *p)
{
	cl_uint n = 0;
	int err = mdl_cl_build_bitcode(&b->cl, p->code, p->code_bytes, p->options, &p->program);

	if (err)
		return refuse(p, err);
	if (clCreateKernelsInProgram(p->program, 0, NULL, &n) != CL_SUCCESS)
		n = 0;
	if (n > MDL_PROGRAM_KERNELS_MAX)
		return MDL_PROGRAM_TOO_MANY_KERNELS;
	p->built.num_kernels = n;
	err = make_kernels(b, p);
	return err ? refuse(p, err) : MDL_PROGRAM_OK;
}

/* ---- Loading ---- */

static struct cpu_program *program_create(const struct mdl_program_source *src)
{
	struct cpu_program *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->code = calloc(1, src->source_bytes + 1);
	p->options = strdup(src->options);
	p->code_bytes = src->source_bytes;
	if (p->code && p->options) {
		memcpy(p->code, src->source, src->source_bytes);
		return p;
	}
	cpu_program_free(p);
	return NULL;
}

int cpu_program_load(struct mdl_backend *b, uint32_t handle, const struct mdl_program_source *src)
{
	struct cpu_program *p;

	if (handle >= MDL_PROGRAM_MAX || src->format != MDL_PROGRAM_OPENCL_C || !src->source_bytes ||
	    src->source_bytes > MDL_PROGRAM_SOURCE_MAX || strlen(src->options) > MDL_PROGRAM_OPTIONS_MAX)
		return -EINVAL;
	if (cpu_compile_busy(b))
		return -EBUSY;
	p = program_create(src);
	if (!p)
		return -ENOMEM;
	cpu_program_unload(b, handle);
	b->job = (struct cpu_job){
		.program = p,
		.handle = handle,
		.req = {
			.kind = MDL_COMPILE_PROGRAM,
			.input_bytes = (uint32_t)src->source_bytes,
			.options_bytes = (uint32_t)strlen(p->options) + 1,
		},
	};
	cpu_compile_submit(b);
	return 0;
}

void cpu_program_unload(struct mdl_backend *b, uint32_t handle)
{
	if (handle >= MDL_PROGRAM_MAX)
		return;
	/* The job's program is freed when the job is taken back, whether it is in the table or not. */
	if (cpu_compile_busy(b) && b->job.handle == handle && !b->job.orphan) {
		b->job.orphan = true;
		if (b->program[handle] == b->job.program)
			b->program[handle] = NULL;
	}
	cpu_program_free(b->program[handle]);
	b->program[handle] = NULL;
}

int cpu_status_errno(uint32_t status)
{
	switch (status) {
	case MDL_PROGRAM_OK:
		return 0;
	case MDL_PROGRAM_TIMEOUT:
		return -ETIMEDOUT;
	case MDL_PROGRAM_NO_MEMORY:
		return -ENOMEM;
	default:
		return -ENOEXEC;
	}
}

int cpu_compile_poll(struct mdl_backend *b, uint32_t *ret_program, const struct mdl_program_built **ret_built)
{
	struct cpu_job *job = &b->job;
	struct cpu_program *p;

	if (!cpu_compile_take(b))
		return -EINPROGRESS;
	p = job->program;
	*ret_built = NULL;
	if (job->orphan) {
		cpu_program_free(p);
		return 0;
	}
	if (job->req.kind == MDL_COMPILE_KERNEL) {
		p->kernel[job->kernel].variant[job->variant].done = true;
		p->kernel[job->kernel].variant[job->variant].error = cpu_status_errno(job->status);
		return 0;
	}
	p->built.status = job->status;
	p->built.log = p->log ? p->log : "";
	p->built.kernel = p->info;
	if (job->status == MDL_PROGRAM_TOO_MANY_KERNELS || !p->info)
		p->built.num_kernels = 0;
	b->program[job->handle] = p;
	*ret_program = job->handle;
	*ret_built = &p->built;
	return 0;
}
