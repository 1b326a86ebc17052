/* SPDX-License-Identifier: MIT */
/*
 * The null backend: accepts every program, runs nothing, completes at once, and counts. Copies and fills are real, so that the
 * control path can be tested and measured without an OpenCL runtime. Programs have one kernel, "null", without arguments.
 */
#include "backend/null.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "backend/memory.h"
#include "base/cleanup.h"
#include "base/fd.h"

struct mdl_backend {
	struct mdl_null_counts counts;
	bool loaded[MDL_PROGRAM_MAX];
	bool pending;
	uint32_t pending_program;
	int ready_fd;
	struct mdl_hw_kernel_info kernel;
	struct mdl_program_built built;
};

static void null_destroy(struct mdl_backend *b)
{
	if (!b)
		return;
	mdl_close_fd(&b->ready_fd);
	free(b);
}

static int null_create(uint32_t compute_units, int compiler, struct mdl_backend **ret_backend)
{
	struct mdl_backend *b = calloc(1, sizeof(*b));

	mdl_cleanup_close(&compiler);
	if (!b)
		return -ENOMEM;
	b->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->ready_fd < 0) {
		null_destroy(b);
		return -EMFILE;
	}
	strcpy(b->kernel.name, "null");
	b->kernel.max_local = UINT16_MAX;
	b->built = (struct mdl_program_built){ .status = MDL_PROGRAM_OK, .log = "", .num_kernels = 1, .kernel = &b->kernel };
	*ret_backend = b;
	return 0;
}

static int null_program_load(struct mdl_backend *b, uint32_t program, const struct mdl_program_source *src)
{
	if (program >= MDL_PROGRAM_MAX)
		return -EINVAL;
	if (b->pending)
		return -EBUSY;
	b->pending = true;
	b->pending_program = program;
	b->counts.loads++;
	return mdl_eventfd_signal(b->ready_fd);
}

static void null_program_unload(struct mdl_backend *b, uint32_t program)
{
	if (program < MDL_PROGRAM_MAX)
		b->loaded[program] = false;
}

static int null_launch_ready(struct mdl_backend *b, const struct mdl_launch *l)
{
	if (l->program >= MDL_PROGRAM_MAX || !b->loaded[l->program] || l->kernel >= b->built.num_kernels)
		return -ENOENT;
	return l->nargs ? -EINVAL : 0;
}

static int null_compile_fd(struct mdl_backend *b)
{
	return b->ready_fd;
}

static int null_compile_poll(struct mdl_backend *b, uint32_t *ret_program, const struct mdl_program_built **ret_built)
{
	if (!b->pending)
		return -EINPROGRESS;
	mdl_eventfd_take(b->ready_fd);
	b->pending = false;
	b->loaded[b->pending_program] = true;
	*ret_program = b->pending_program;
	*ret_built = &b->built;
	return 0;
}

static int null_launch(struct mdl_backend *b, const struct mdl_launch *l)
{
	if (null_launch_ready(b, l))
		return -EAGAIN;
	b->counts.launches++;
	return 0;
}

static int null_on_threads(struct mdl_backend *b, void (*fn)(void *arg), void *arg)
{
	return 0;
}

struct mdl_null_counts mdl_null_counts(const struct mdl_backend *b)
{
	return b->counts;
}

const struct mdl_backend_ops mdl_backend_null = {
	.name = "null",
	.create = null_create,
	.destroy = null_destroy,
	.program_load = null_program_load,
	.program_unload = null_program_unload,
	.launch_ready = null_launch_ready,
	.compile_fd = null_compile_fd,
	.compile_poll = null_compile_poll,
	.launch = null_launch,
	.on_threads = null_on_threads,
	.copy = mdl_memory_copy,
	.fill = mdl_memory_fill,
	.copy_2d = mdl_memory_copy_2d,
};
