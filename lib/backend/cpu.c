/* SPDX-License-Identifier: MIT */
/*
 * The cpu pGPU: kernels are OpenCL C, run by PoCL on this process's memory, zero-copy. PoCL's worker threads are the compute units.
 * Compilation happens in the compiler companion (compile_job.c), never here: this process finds finished code in PoCL's cache.
 * Left out: images, device-side queues, printf (goes to /dev/null). Front end's thread, and one thread that waits for the
 * companion (cpu_compile.c).
 */
#include "backend/cpu.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory.h"
#include "base/cleanup.h"

/* Its first build loads what PoCL loads lazily, and its first launch starts what starts lazily: all before the sandbox. */
static const char warm_up_source[] = "__kernel void medley_warm_up(__global int *p) { if (p) *p = 1; }\n";

static void cpu_destroy(struct mdl_backend *b)
{
	if (!b)
		return;
	cpu_compile_stop(b);
	if (b->job.orphan)
		cpu_program_free(b->job.program);
	for (uint32_t i = 0; i < MDL_PROGRAM_MAX; i++)
		cpu_program_free(b->program[i]);
	cpu_buffers_drop(b);
	mdl_cl_close(&b->cl);
	free(b);
}

static int wait_compile(struct mdl_backend *b)
{
	struct pollfd p = { .fd = b->ready_fd, .events = POLLIN };
	const struct mdl_program_built *built;
	uint32_t handle;
	int err;

	do {
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
		err = cpu_compile_poll(b, &handle, &built);
	} while (err == -EINPROGRESS);
	return err ? err : built ? cpu_status_errno(built->status) : 0;
}

/* Also the test that this machine's PoCL takes its code from the companion: -ENOEXEC when it does not. */
static int warm_up(struct mdl_backend *b)
{
	struct mdl_program_source src = {
		.source = warm_up_source,
		.source_bytes = sizeof(warm_up_source) - 1,
		.options = "",
	};
	uint64_t null = 0;
	struct mdl_launch l = {
		.dims = 1,
		.global = { b->compute_units, 1, 1 },
		.local = { 1, 1, 1 },
		.nargs = 1,
		.arg[0] = { .kind = MDL_ARG_BUFFER, .size = sizeof(null), .data = &null },
	};
	int err = cpu_program_load(b, 0, &src);

	if (!err)
		err = wait_compile(b);
	if (!err)
		err = cpu_launch_ready(b, &l);
	if (err == -EINPROGRESS) {
		err = wait_compile(b);
		if (!err)
			err = cpu_launch_ready(b, &l);
	}
	if (!err)
		err = cpu_launch(b, &l);
	cpu_program_unload(b, 0);
	return err;
}

static int device_limits(struct mdl_backend *b)
{
	cl_ulong local = 0;

	if (clGetDeviceInfo(b->cl.device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(b->max_local), &b->max_local, NULL) != CL_SUCCESS ||
	    clGetDeviceInfo(b->cl.device, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof(b->max_items), b->max_items, NULL) != CL_SUCCESS ||
	    clGetDeviceInfo(b->cl.device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof(local), &local, NULL) != CL_SUCCESS)
		return -ENODEV;
	b->local_bytes = local;
	return 0;
}

static int cpu_create(uint32_t compute_units, int compiler, struct mdl_backend **ret_backend)
{
	struct mdl_backend *b = calloc(1, sizeof(*b));
	int err;

	if (!b) {
		mdl_cleanup_close(&compiler);
		return -ENOMEM;
	}
	b->compute_units = compute_units;
	b->compiler = compiler;
	b->ready_fd = -1;
	err = mdl_cl_open(&b->cl);
	if (!err)
		err = device_limits(b);
	if (!err)
		err = cpu_compile_start(b);
	if (!err)
		err = warm_up(b);
	if (err) {
		cpu_destroy(b);
		return err;
	}
	*ret_backend = b;
	return 0;
}

static int cpu_compile_fd(struct mdl_backend *b)
{
	return b->ready_fd;
}

struct thread_call {
	pthread_barrier_t all;
	void (*fn)(void *arg);
	void *arg;
};

static void CL_CALLBACK call_on_thread(void *arg)
{
	struct thread_call *call = *(struct thread_call **)arg;

	call->fn(call->arg);
	/* No thread takes a second call before each has one. */
	pthread_barrier_wait(&call->all);
}

static int cpu_on_threads(struct mdl_backend *b, void (*fn)(void *arg), void *fn_arg)
{
	struct thread_call call = { .fn = fn, .arg = fn_arg }, *arg = &call;
	cl_command_queue queue;
	cl_uint threads = 0;
	cl_int status;

	/* PoCL has as many workers as it reports compute units. */
	clGetDeviceInfo(b->cl.device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(threads), &threads, NULL);
	queue = clCreateCommandQueue(b->cl.context, b->cl.device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &status);
	if (status != CL_SUCCESS || !threads)
		return -ENODEV;
	pthread_barrier_init(&call.all, NULL, threads);
	for (cl_uint i = 0; i < threads && status == CL_SUCCESS; i++)
		status = clEnqueueNativeKernel(queue, call_on_thread, &arg, sizeof(arg), 0, NULL, NULL, 0, NULL, NULL);
	/* Half of them enqueued would wait for ever: the process is of no use then, the caller ends it. */
	if (status != CL_SUCCESS)
		return -ENOTSUP;
	clFinish(queue);
	pthread_barrier_destroy(&call.all);
	clReleaseCommandQueue(queue);
	return 0;
}

const struct mdl_backend_ops mdl_backend_cpu = {
	.name = "cpu",
	.create = cpu_create,
	.destroy = cpu_destroy,
	.program_load = cpu_program_load,
	.program_unload = cpu_program_unload,
	.launch_ready = cpu_launch_ready,
	.compile_fd = cpu_compile_fd,
	.compile_poll = cpu_compile_poll,
	.launch = cpu_launch,
	.on_threads = cpu_on_threads,
	.copy = mdl_memory_copy,
	.fill = mdl_memory_fill,
	.copy_2d = mdl_memory_copy_2d,
};
