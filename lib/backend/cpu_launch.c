/* SPDX-License-Identifier: MIT */
/*
 * The cpu backend's launches. Pointers: a kernel argument that is a GPU address becomes a one-byte cl_mem on that very address
 * (CL_MEM_USE_HOST_PTR; PoCL passes the pointer on and never looks at the memory), kept in a table by address. Any byte address
 * will do: PoCL asks for alignment only of sub-buffers, which are not used. Front end's thread.
 */
#include "backend/cpu.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define LOCAL_PREFERRED		256	/* work-items in a group when the guest leaves the choice to us */
#define GROUPS_MAX		INT32_MAX	/* PoCL counts groups in 32 bits */
#define SMALL_GRID		65535	/* PoCL: grid_width_specialization_limit of CPU devices */

/* ---- Buffers by address ---- */

static uint32_t hash(uint64_t va)
{
	return (uint32_t)((va * 0x9e3779b97f4a7c15ull) >> (64 - CPU_BUFFERS_LOG2));
}

void cpu_buffers_drop(struct mdl_backend *b)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(b->buffer); i++)
		if (b->buffer[i].va)
			clReleaseMemObject(b->buffer[i].mem);
	memset(b->buffer, 0, sizeof(b->buffer));
	b->num_buffers = 0;
}

static cl_mem buffer_at(struct mdl_backend *b, uint64_t va)
{
	uint32_t mask = (1u << CPU_BUFFERS_LOG2) - 1, i = hash(va);
	cl_int status;
	cl_mem mem;

	for (; b->buffer[i].va; i = (i + 1) & mask)
		if (b->buffer[i].va == va)
			return b->buffer[i].mem;
	mem = clCreateBuffer(b->cl.context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, 1, (void *)(uintptr_t)va, &status);
	if (status != CL_SUCCESS)
		return NULL;
	b->buffer[i] = (struct cpu_buffer){ .va = va, .mem = mem };
	b->num_buffers++;
	return mem;
}

/* ---- Checks ---- */

/*
 * The work-group size: the guest's, the kernel's own, or one that divides the global size. Few different sizes come out of the
 * last, since each costs a code generation.
 */
static void choose_local(const struct mdl_launch *l, const struct mdl_hw_kernel_info *info, size_t local[3])
{
	size_t limit = mdl_min_u64(LOCAL_PREFERRED, info->max_local ? info->max_local : 1);

	for (size_t i = 0; i < 3; i++)
		local[i] = l->local[0] ? l->local[i] : info->reqd_local[0] ? info->reqd_local[i] : 1;
	if (l->local[0] || info->reqd_local[0])
		return;
	for (size_t n = limit; n > 1; n--) {
		if (l->global[0] % n == 0) {
			local[0] = n;
			return;
		}
	}
}

static bool sizes_ok(const struct mdl_backend *b, const struct mdl_launch *l, const struct mdl_hw_kernel_info *info,
		     const size_t local[3])
{
	size_t items = 1, groups = 1;

	if (l->dims < 1 || l->dims > 3)
		return false;
	for (size_t i = 0; i < 3; i++) {
		if (!l->global[i] || !local[i] || local[i] > b->max_items[i] || l->global[i] % local[i])
			return false;
		if (i >= l->dims && (l->global[i] != 1 || local[i] != 1))
			return false;
		if (info->reqd_local[0] && local[i] != info->reqd_local[i])
			return false;
		items *= local[i];
		if (l->global[i] / local[i] > GROUPS_MAX / groups)
			return false;
		groups *= l->global[i] / local[i];
	}
	return items <= info->max_local;
}

static bool args_ok(const struct mdl_backend *b, const struct mdl_launch *l, const struct mdl_hw_kernel_info *info)
{
	uint64_t local = info->local_bytes;

	if (l->nargs != info->nargs)
		return false;
	for (uint32_t i = 0; i < l->nargs; i++) {
		const struct mdl_launch_arg *arg = &l->arg[i];

		if (arg->kind != info->arg_kind[i])
			return false;
		if (arg->kind == MDL_ARG_LOCAL)
			local += arg->size;
		if (!arg->size || (arg->kind == MDL_ARG_BUFFER && arg->size != sizeof(uint64_t)))
			return false;
		if (arg->kind == MDL_ARG_VALUE && arg->size > MDL_ARG_BYTES_MAX)
			return false;
	}
	return local <= b->local_bytes;
}

/* The kernel of a launch, or NULL. */
static struct cpu_kernel *find_kernel(struct mdl_backend *b, const struct mdl_launch *l,
				      const struct mdl_hw_kernel_info **ret_info)
{
	struct cpu_program *p = l->program < MDL_PROGRAM_MAX ? b->program[l->program] : NULL;

	if (!p || p->built.status != MDL_PROGRAM_OK || l->kernel >= p->built.num_kernels)
		return NULL;
	*ret_info = &p->info[l->kernel];
	return &p->kernel[l->kernel];
}

/* ---- Launching ---- */

static int set_args(struct mdl_backend *b, const struct mdl_launch *l, cl_kernel kernel)
{
	if (b->num_buffers + MDL_ARGS_MAX > CPU_BUFFERS_MAX)
		cpu_buffers_drop(b);	/* nothing runs: no launch uses them any more */
	for (cl_uint i = 0; i < l->nargs; i++) {
		const struct mdl_launch_arg *arg = &l->arg[i];
		const void *data = arg->data;
		size_t size = arg->size;
		cl_mem mem = NULL;
		uint64_t va;
		cl_int status;

		if (arg->kind == MDL_ARG_BUFFER) {
			memcpy(&va, arg->data, sizeof(va));
			mem = va ? buffer_at(b, va) : NULL;
			if (va && !mem)
				return -ENOMEM;
			data = &mem;
			size = sizeof(mem);
		}
		status = clSetKernelArg(kernel, i, size, arg->kind == MDL_ARG_LOCAL ? NULL : data);
		if (status != CL_SUCCESS)
			return status == CL_OUT_OF_HOST_MEMORY ? -ENOMEM : -EINVAL;
	}
	return 0;
}

static void variant_of(const struct mdl_launch *l, const size_t local[3], struct cpu_variant *v)
{
	size_t widest = mdl_max_u64(l->global[0], mdl_max_u64(l->global[1], l->global[2]));

	memset(v, 0, sizeof(*v));
	memcpy(v->local, local, sizeof(v->local));
	v->zero_offset = !l->offset[0] && !l->offset[1] && !l->offset[2];
	v->small_grid = widest < SMALL_GRID;
}

static struct cpu_variant *find_variant(struct cpu_kernel *k, const struct cpu_variant *want)
{
	for (size_t i = 0; i < CPU_VARIANTS_MAX; i++) {
		struct cpu_variant *v = &k->variant[i];

		if (v->done && !memcmp(v->local, want->local, sizeof(v->local)) && v->zero_offset == want->zero_offset &&
		    v->small_grid == want->small_grid)
			return v;
	}
	return NULL;
}

static void start_codegen(struct mdl_backend *b, const struct mdl_launch *l, struct cpu_kernel *k,
			  const struct cpu_variant *want, const char *name)
{
	struct cpu_program *p = b->program[l->program];
	uint32_t slot = k->next_variant++ % CPU_VARIANTS_MAX;
	struct mdl_compile_req *req = &b->job.req;

	k->variant[slot] = *want;
	b->job = (struct cpu_job){ .program = p, .handle = l->program, .kernel = l->kernel, .variant = slot };
	req->kind = MDL_COMPILE_KERNEL;
	req->input_bytes = (uint32_t)p->code_bytes;
	req->options_bytes = (uint32_t)strlen(p->options) + 1;
	req->dims = l->dims;
	req->nargs = l->nargs;
	for (size_t i = 0; i < 3; i++) {
		req->global[i] = l->global[i];
		req->local[i] = want->local[i];
		req->offset[i] = l->offset[i];
	}
	strcpy(req->kernel, name);
	for (uint32_t i = 0; i < l->nargs; i++) {
		req->arg[i].kind = l->arg[i].kind;
		req->arg[i].size = l->arg[i].size;
	}
	cpu_compile_submit(b);
}

/* A launch, checked against the kernel that is there now. */
struct checked {
	struct cpu_kernel *kernel;
	const struct mdl_hw_kernel_info *info;
	size_t local[3];
	struct cpu_variant variant;	/* which machine code it needs */
	struct cpu_variant *code;	/* NULL: not generated */
};

static int check(struct mdl_backend *b, const struct mdl_launch *l, struct checked *ret_c)
{
	struct checked c = { .kernel = find_kernel(b, l, &c.info) };

	if (!c.kernel)
		return -ENOENT;
	choose_local(l, c.info, c.local);
	if (!sizes_ok(b, l, c.info, c.local) || !args_ok(b, l, c.info))
		return -EINVAL;
	variant_of(l, c.local, &c.variant);
	c.code = find_variant(c.kernel, &c.variant);
	*ret_c = c;
	return 0;
}

int cpu_launch_ready(struct mdl_backend *b, const struct mdl_launch *l)
{
	struct checked c;
	int err = check(b, l, &c);

	if (err)
		return err;
	if (c.code)
		return c.code->error;
	if (cpu_compile_busy(b))
		return -EBUSY;
	err = set_args(b, l, c.kernel->kernel);	/* finds values of a wrong size before a compiler is started */
	if (err)
		return err;
	start_codegen(b, l, c.kernel, &c.variant, c.info->name);
	return -EINPROGRESS;
}

/*
 * All checks again: since launch_ready() another channel may have put another program under this handle. Its arguments would be taken for
 * what they are not, a number for the runtime's own object, and the runtime would generate code here, which it must not.
 */
int cpu_launch(struct mdl_backend *b, const struct mdl_launch *l)
{
	struct checked c;
	int err;

	if (check(b, l, &c) || !c.code || c.code->error)
		return -EAGAIN;
	err = set_args(b, l, c.kernel->kernel);
	if (err)
		return err;
	if (clEnqueueNDRangeKernel(b->cl.queue, c.kernel->kernel, l->dims, l->offset, l->global, c.local, 0, NULL, NULL) != CL_SUCCESS ||
	    clFinish(b->cl.queue) != CL_SUCCESS)
		return -EIO;
	return 0;
}
