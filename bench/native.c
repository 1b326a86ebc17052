/* SPDX-License-Identifier: MIT */
/* See native.h. Everything is set up at its first use and warmed up as the guest is. One thread, beside OpenCL's own. */
#define CL_TARGET_OPENCL_VERSION 120
#include "native.h"

#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "work.h"

struct native {
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	cl_program program;
	cl_kernel kernel[BENCH_KERNELS], empty;
	cl_mem buffer[BENCH_KERNELS][3];
	char *a, *b; /* COPY_BYTES each */
};

static void must(cl_int status, const char *what)
{
	if (status == CL_SUCCESS)
		return;
	fprintf(stderr, "medley-bench: native OpenCL: %s: %d\n", what, status);
	exit(EXIT_FAILURE);
}

static cl_device_id find_device(void)
{
	cl_platform_id platform[8];
	cl_device_id device = NULL;
	cl_uint n = 0;
	char name[64];

	clGetPlatformIDs(8, platform, &n);
	for (cl_uint i = 0; i < n && i < 8 && !device; i++)
		if (!clGetPlatformInfo(platform[i], CL_PLATFORM_NAME, sizeof(name), name, NULL) &&
		    !strcmp(name, "Portable Computing Language"))
			clGetDeviceIDs(platform[i], CL_DEVICE_TYPE_CPU, 1, &device, NULL);
	return device;
}

struct native *native_create(unsigned int threads, const char *cache_dir)
{
	struct native *n = calloc(1, sizeof(*n));
	const char *source = bench_source;
	char text[16];
	cl_int status;

	if (!n)
		return NULL;
	snprintf(text, sizeof(text), "%u", threads);
	setenv("POCL_MAX_PTHREAD_COUNT", text, 1);
	setenv("POCL_CACHE_DIR", cache_dir, 1);
	n->device = find_device();
	if (!n->device) {
		fprintf(stderr, "medley-bench: no PoCL on this host\n");
		free(n);
		return NULL;
	}
	n->context = clCreateContext(NULL, 1, &n->device, NULL, NULL, &status);
	must(status, "context");
	n->queue = clCreateCommandQueue(n->context, n->device, 0, &status);
	must(status, "queue");
	n->program = clCreateProgramWithSource(n->context, 1, &source, NULL, &status);
	must(status, "program");
	must(clBuildProgram(n->program, 1, &n->device, "", NULL, NULL), "build");
	return n;
}

static uint64_t run_kernel(struct native *n, const struct bench_kernel *k, cl_kernel kernel)
{
	size_t global[3], local[3];
	uint64_t start;

	for (int i = 0; i < 3; i++) {
		global[i] = k->global[i];
		local[i] = k->local[i];
	}
	start = mdl_now_ns();
	must(clEnqueueNDRangeKernel(n->queue, kernel, k->dims, NULL, global, local, 0, NULL, NULL),
	     "enqueue");
	must(clFinish(n->queue), "finish");
	return mdl_now_ns() - start;
}

static void prepare_kernel(struct native *n, size_t i)
{
	const struct bench_kernel *k = &bench_kernels[i];
	float two = 2;
	cl_int status;

	n->kernel[i] = clCreateKernel(n->program, k->name, &status);
	must(status, k->name);
	must(clSetKernelArg(n->kernel[i], 0, 4, k->scalar ? (const void *)&k->scalar : &two),
	     "argument");
	for (cl_uint b = 0; b < k->buffers; b++) {
		float *data = malloc(k->floats[b] * 4ull);

		if (!data)
			must(CL_OUT_OF_HOST_MEMORY, "memory");
		bench_fill(data, k->floats[b]);
		n->buffer[i][b] =
			clCreateBuffer(n->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
				       k->floats[b] * 4ull, data, &status);
		free(data);
		must(status, "buffer");
		must(clSetKernelArg(n->kernel[i], b + 1, sizeof(cl_mem), &n->buffer[i][b]),
		     "argument");
	}
	for (int w = 0; w < BENCH_WARM_UPS; w++)
		run_kernel(n, k, n->kernel[i]);
}

static unsigned int turn_kernel(struct native *n, size_t i, uint64_t *sample)
{
	/* The one before is done with: both sides hold one kernel's memory at a time. */
	if (!n->kernel[i]) {
		for (int b = 0; i && b < 3; b++)
			if (n->buffer[i - 1][b]) {
				clReleaseMemObject(n->buffer[i - 1][b]);
				n->buffer[i - 1][b] = NULL;
			}
		prepare_kernel(n, i);
	}
	sample[0] = run_kernel(n, &bench_kernels[i], n->kernel[i]);
	return 1;
}

static unsigned int turn_copy(struct native *n, bool back, uint64_t *sample)
{
	uint64_t start;

	if (!n->a) {
		n->a = aligned_alloc(4096, COPY_BYTES);
		n->b = aligned_alloc(4096, COPY_BYTES);
		if (!n->a || !n->b)
			must(CL_OUT_OF_HOST_MEMORY, "memory");
		memset(n->a, 1, COPY_BYTES);
		memset(n->b, 2, COPY_BYTES);
		for (int i = 0; i < BENCH_WARM_UPS; i++)
			memcpy(n->b, n->a, COPY_BYTES);
	}
	start = mdl_now_ns();
	memcpy(back ? n->a : n->b, back ? n->b : n->a, COPY_BYTES);
	sample[0] = mdl_now_ns() - start;
	return 1;
}

static unsigned int turn_submit(struct native *n, uint64_t *sample)
{
	const struct bench_kernel empty = {
		.name = "empty", .dims = 1, .global = { 1, 1, 1 }, .local = { 1, 1, 1 }
	};
	cl_int status;

	if (!n->empty) {
		n->empty = clCreateKernel(n->program, "empty", &status);
		must(status, "empty");
		for (unsigned int i = 0; i < SUBMIT_N; i++)
			run_kernel(n, &empty, n->empty);
	}
	for (unsigned int i = 0; i < SUBMIT_N; i++)
		sample[i] = run_kernel(n, &empty, n->empty);
	return SUBMIT_N;
}

static unsigned int turn_context(struct native *n, bool close, uint64_t *sample)
{
	uint64_t start = mdl_now_ns(), opened;
	cl_command_queue queue;
	cl_context context;
	cl_int status;

	context = clCreateContext(NULL, 1, &n->device, NULL, NULL, &status);
	must(status, "context");
	queue = clCreateCommandQueue(context, n->device, 0, &status);
	must(status, "queue");
	opened = mdl_now_ns();
	clReleaseCommandQueue(queue);
	clReleaseContext(context);
	sample[0] = close ? mdl_now_ns() - opened : opened - start;
	return 1;
}

unsigned int native_turn(struct native *n, const char *key, uint64_t *sample)
{
	for (size_t i = 0; i < BENCH_KERNELS; i++)
		if (!strcmp(key, bench_kernels[i].name))
			return turn_kernel(n, i, sample);
	if (!strcmp(key, "write") || !strcmp(key, "copy"))
		return turn_copy(n, false, sample);
	if (!strcmp(key, "read"))
		return turn_copy(n, true, sample);
	if (!strcmp(key, "submit"))
		return turn_submit(n, sample);
	if (!strcmp(key, "open") || !strcmp(key, "close"))
		return turn_context(n, !strcmp(key, "close"), sample);
	return 0;
}

void native_destroy(struct native *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < BENCH_KERNELS; i++) {
		for (int b = 0; b < 3; b++)
			if (n->buffer[i][b])
				clReleaseMemObject(n->buffer[i][b]);
		if (n->kernel[i])
			clReleaseKernel(n->kernel[i]);
	}
	if (n->empty)
		clReleaseKernel(n->empty);
	clReleaseProgram(n->program);
	clReleaseCommandQueue(n->queue);
	clReleaseContext(n->context);
	free(n->a);
	free(n->b);
	free(n);
}
