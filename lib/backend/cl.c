/* SPDX-License-Identifier: MIT */
/* Opening PoCL through the ICD loader: see cl.h. Public OpenCL API only. No state but the caller's. */
#include "backend/cl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/compile.h"
#include "base/cleanup.h"

#define PLATFORMS_MAX	8
#define POCL_ICD	"/etc/OpenCL/vendors/pocl.icd"
#define POCL_NAME	"Portable Computing Language"

static int find_platform(cl_platform_id *ret_platform)
{
	cl_platform_id id[PLATFORMS_MAX];
	cl_uint n = 0;
	char name[64];

	if (clGetPlatformIDs(PLATFORMS_MAX, id, &n) != CL_SUCCESS)
		return -ENODEV;
	for (cl_uint i = 0; i < n && i < PLATFORMS_MAX; i++) {
		if (clGetPlatformInfo(id[i], CL_PLATFORM_NAME, sizeof(name), name, NULL) == CL_SUCCESS &&
		    !strcmp(name, POCL_NAME)) {
			*ret_platform = id[i];
			return 0;
		}
	}
	return -ENODEV;
}

int mdl_compile_preload(void)
{
	cl_platform_id platform;

	/* PoCL sets itself up at the first clGetDeviceIDs(), not here. */
	return find_platform(&platform);
}

int mdl_compile_environment(const char *cache_dir, uint32_t compute_units)
{
	char units[16];
	int bad = 0;

	snprintf(units, sizeof(units), "%u", compute_units);
	bad |= setenv("POCL_CACHE_DIR", cache_dir, 1);
	bad |= setenv("POCL_MAX_PTHREAD_COUNT", units, 1);
	/* Division errors are the guest's faults (fault.c); PoCL would skip over them. */
	bad |= setenv("POCL_SIGFPE_HANDLER", "0", 1);
	/* Where the linker is; medleyd starts us with an empty environment. */
	bad |= setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
	/* Other vendors' drivers must not be loaded into executors. */
	if (access(POCL_ICD, R_OK) == 0)
		bad |= setenv("OCL_ICD_VENDORS", POCL_ICD, 1);
	return bad ? -ENOMEM : 0;
}

int mdl_cl_open(struct mdl_cl *ret_cl)
{
	struct mdl_cl cl = { 0 };
	cl_platform_id platform;
	cl_int status;
	int err = find_platform(&platform);

	if (err)
		return err;
	if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_CPU, 1, &cl.device, NULL) != CL_SUCCESS)
		return -ENODEV;
	cl.context = clCreateContext(NULL, 1, &cl.device, NULL, NULL, &status);
	if (status != CL_SUCCESS)
		return -ENOMEM;
	cl.queue = clCreateCommandQueue(cl.context, cl.device, 0, &status);
	if (status != CL_SUCCESS) {
		clReleaseContext(cl.context);
		return -ENOMEM;
	}
	*ret_cl = cl;
	return 0;
}

void mdl_cl_close(struct mdl_cl *cl)
{
	if (cl->queue)
		clReleaseCommandQueue(cl->queue);
	if (cl->context)
		clReleaseContext(cl->context);
	memset(cl, 0, sizeof(*cl));
}

static int build(const struct mdl_cl *cl, cl_program program, const char *options, bool link)
{
	mdl_autofree char *full = NULL;
	cl_int status;

	if (asprintf(&full, "%s" MDL_CL_OPTIONS, options) < 0) {
		full = NULL;
		return -ENOMEM;
	}
	if (link)
		status = clBuildProgram(program, 1, &cl->device, full, NULL, NULL);
	else
		status = clCompileProgram(program, 1, &cl->device, full, 0, NULL, NULL, NULL, NULL);
	return status == CL_SUCCESS ? 0 : -ENOEXEC;
}

int mdl_cl_compile(const struct mdl_cl *cl, const char *source, size_t bytes, const char *options, cl_program *ret_program)
{
	cl_int status;

	*ret_program = clCreateProgramWithSource(cl->context, 1, &source, &bytes, &status);
	return status == CL_SUCCESS ? build(cl, *ret_program, options, false) : -ENOMEM;
}

int mdl_cl_build_bitcode(const struct mdl_cl *cl, const char *bitcode, size_t bytes, const char *options,
			 cl_program *ret_program)
{
	const unsigned char *binary = (const unsigned char *)bitcode;
	cl_int each, status;

	*ret_program = clCreateProgramWithBinary(cl->context, 1, &cl->device, &bytes, &binary, &each, &status);
	return status == CL_SUCCESS ? build(cl, *ret_program, options, true) : -ENOEXEC;
}

char *mdl_cl_log(const struct mdl_cl *cl, cl_program program)
{
	size_t bytes = 0;
	char *log;

	if (!program || clGetProgramBuildInfo(program, cl->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes) != CL_SUCCESS)
		bytes = 0;
	log = calloc(1, bytes + 1);
	if (log && bytes && clGetProgramBuildInfo(program, cl->device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL) != CL_SUCCESS)
		log[0] = 0;
	return log;
}
