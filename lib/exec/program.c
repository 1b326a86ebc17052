/* SPDX-License-Identifier: MIT */
/*
 * Programs and kernels: LOAD_PROGRAM, UNLOAD_PROGRAM and DISPATCH packets. Everything a guest wrote is copied once and checked in the
 * copy. Compiling is started here, outside the lease, and the channel waits; results are written to guest memory inside it.
 * Front end's thread.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "exec/channel.h"

#define AT(member)	((uint32_t)offsetof(struct mdl_hw_packet, member))

/* ---- LOAD_PROGRAM ---- */

/* Only one compilation runs at a time, so one start time will do. */
static void compile_started(struct mdl_exec *x)
{
	x->compile_since_ns = mdl_now_ns();
}

static enum mdl_step built(struct mdl_exec_chan *c, uint32_t status, const struct mdl_program_built *b)
{
	c->load_state = MDL_LOAD_BUILT;
	c->load_status = status;
	c->built = b;
	return MDL_STEP_READY;
}

/* A program goes away: a channel may hold the result of loading it, not yet written. */
static void drop_results(struct mdl_exec *x, uint32_t program)
{
	for (uint32_t i = 0; i < x->num_chans; i++) {
		struct mdl_exec_chan *c = x->chan[i];

		if (c->have && c->pkt.opcode == MDL_OP_LOAD_PROGRAM && c->built && c->pkt.program.program == program)
			built(c, MDL_PROGRAM_BUILD_FAILED, NULL);
	}
}

static enum mdl_step start_load(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	struct mdl_hw_program_load *load = &c->load;
	struct mdl_program_source src = { 0 };
	mdl_autofree char *options = NULL;
	mdl_autofree char *source = NULL;
	int err;

	memcpy(load, mdl_exec_ptr(c->pkt.program.load_va, sizeof(*load), MDL_ACCESS_READ), sizeof(*load));
	if (load->format != MDL_PROGRAM_OPENCL_C)
		return built(c, MDL_PROGRAM_UNSUPPORTED, NULL);
	if (!load->source_bytes || load->source_bytes > MDL_PROGRAM_SOURCE_MAX || load->options_bytes > MDL_PROGRAM_OPTIONS_MAX ||
	    load->log_bytes > MDL_PROGRAM_LOG_MAX || load->max_kernels > MDL_PROGRAM_KERNELS_MAX)
		return mdl_step_fail(c, MDL_ERR_BAD_PROGRAM, AT(program.load_va));
	source = malloc(load->source_bytes);
	options = calloc(1, load->options_bytes + 1);
	if (!source || !options)
		return built(c, MDL_PROGRAM_NO_MEMORY, NULL);
	memcpy(source, mdl_exec_ptr(load->source_va, load->source_bytes, MDL_ACCESS_READ), load->source_bytes);
	if (load->options_bytes)
		memcpy(options, mdl_exec_ptr(load->options_va, load->options_bytes, MDL_ACCESS_READ), load->options_bytes);
	src.format = load->format;
	src.source = source;
	src.source_bytes = load->source_bytes;
	src.options = options;
	drop_results(x, c->pkt.program.program);
	err = x->ops->program_load(x->backend, c->pkt.program.program, &src);
	if (err == -EBUSY)
		return MDL_STEP_COMPILING;
	if (err)
		return built(c, MDL_PROGRAM_NO_MEMORY, NULL);
	compile_started(x);
	c->load_state = MDL_LOAD_COMPILING;
	return MDL_STEP_COMPILING;
}

enum mdl_step mdl_program_prepare_load(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	if (c->pkt.program.program >= MDL_PROGRAM_MAX)
		return mdl_step_fail(c, MDL_ERR_BAD_PROGRAM, AT(program.program));
	switch (c->load_state) {
	case MDL_LOAD_COMPILING:
		return MDL_STEP_COMPILING;
	case MDL_LOAD_BUILT:
		return MDL_STEP_READY;
	default:
		/* Somebody's compilation is under way: do not copy a megabyte again and again only to hear so. */
		return x->compile_since_ns ? MDL_STEP_COMPILING : start_load(x, c);
	}
}

enum mdl_step mdl_program_run_load(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_program_load *load = &c->load;
	const struct mdl_program_built *b = c->built;
	const char *log = b ? b->log : "";
	struct mdl_hw_program_result head = { .status = c->load_status, .log_bytes = strlen(log) + 1 };
	uint64_t log_bytes = mdl_min_u64(head.log_bytes, load->log_bytes), info_bytes;
	struct mdl_hw_program_result *result;

	if (b && head.status == MDL_PROGRAM_OK)
		head.num_kernels = b->num_kernels;
	/* The driver could not name them all: it gets none, and the program stays unusable until it is loaded again. */
	if (head.num_kernels > load->max_kernels) {
		head.status = MDL_PROGRAM_TOO_MANY_KERNELS;
		head.num_kernels = 0;
	}
	info_bytes = head.num_kernels * sizeof(head.kernel[0]);
	if (log_bytes) {
		char *to = mdl_exec_ptr(load->log_va, log_bytes, MDL_ACCESS_WRITE);

		memcpy(to, log, log_bytes - 1);
		to[log_bytes - 1] = 0;
	}
	result = mdl_exec_ptr(load->result_va, sizeof(head) + info_bytes, MDL_ACCESS_WRITE);
	if (info_bytes)
		memcpy(result->kernel, b->kernel, info_bytes);
	memcpy(result, &head, sizeof(head));
	c->built = NULL;
	if (head.status != MDL_PROGRAM_OK)
		x->ops->program_unload(x->backend, c->pkt.program.program);
	return MDL_STEP_DONE;
}

enum mdl_step mdl_program_prepare_unload(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	if (c->pkt.program.program >= MDL_PROGRAM_MAX)
		return mdl_step_fail(c, MDL_ERR_BAD_PROGRAM, AT(program.program));
	return MDL_STEP_READY;
}

enum mdl_step mdl_program_run_unload(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	drop_results(x, c->pkt.program.program);
	x->ops->program_unload(x->backend, c->pkt.program.program);
	return MDL_STEP_DONE;
}

void mdl_program_compiled(struct mdl_exec *x)
{
	const struct mdl_program_built *b = NULL;
	uint32_t program = MDL_PROGRAM_MAX;

	if (x->ops->compile_poll(x->backend, &program, &b) == -EINPROGRESS)
		return;
	if (x->compile_since_ns)
		atomic_fetch_add_explicit(&x->lease.page->compile_ns, mdl_now_ns() - x->compile_since_ns, memory_order_relaxed);
	x->compile_since_ns = 0;
	/* At most one channel's load was being compiled. Without a result: the program was unloaded meanwhile. */
	for (uint32_t i = 0; i < x->num_chans; i++) {
		struct mdl_exec_chan *c = x->chan[i];

		if (c->have && c->pkt.opcode == MDL_OP_LOAD_PROGRAM && c->load_state == MDL_LOAD_COMPILING)
			built(c, b ? b->status : MDL_PROGRAM_BUILD_FAILED, b);
	}
}

void mdl_program_forget(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	if (c->have && c->pkt.opcode == MDL_OP_LOAD_PROGRAM && c->load_state == MDL_LOAD_COMPILING)
		x->ops->program_unload(x->backend, c->pkt.program.program);
}

/* ---- DISPATCH ---- */

/* Copies the argument block; false if it makes no sense. */
static bool read_args(struct mdl_exec_chan *c, uint64_t va)
{
	struct mdl_launch *l = &c->launch;
	struct mdl_hw_arg arg[MDL_ARGS_MAX];
	struct mdl_hw_args head;
	uint64_t used = 0, total = 0;

	if (!va)
		return true;
	memcpy(&head, mdl_exec_ptr(va, sizeof(head), MDL_ACCESS_READ), sizeof(head));
	if (head.nargs > MDL_ARGS_MAX || head.reserved)
		return false;
	memcpy(arg, mdl_exec_ptr(va + sizeof(head), head.nargs * sizeof(arg[0]), MDL_ACCESS_READ), head.nargs * sizeof(arg[0]));
	for (size_t i = 0; i < 3; i++)
		l->offset[i] = head.global_offset[i];
	l->nargs = head.nargs;
	for (uint32_t i = 0; i < head.nargs; i++) {
		struct mdl_launch_arg *to = &l->arg[i];

		*to = (struct mdl_launch_arg){ .kind = arg[i].kind, .size = arg[i].size };
		if (arg[i].kind == MDL_ARG_LOCAL) {
			if (arg[i].value)
				return false;
			continue;
		}
		if (arg[i].kind > MDL_ARG_LOCAL || arg[i].size > MDL_ARG_BYTES_MAX)
			return false;
		/* Values up to 8 bytes and addresses lie in the argument itself. `used` keeps every copy 8-byte aligned. */
		total += arg[i].size;
		if (total > MDL_ARG_BYTES_MAX)
			return false;
		to->data = c->arg_data + used;
		if (arg[i].size <= sizeof(arg[i].value))
			memcpy(c->arg_data + used, &arg[i].value, sizeof(arg[i].value));
		else
			memcpy(c->arg_data + used, mdl_exec_ptr(arg[i].value, arg[i].size, MDL_ACCESS_READ), arg[i].size);
		used += mdl_align_up(mdl_max_u64(arg[i].size, 8), 8);
	}
	return true;
}

static bool decode_dispatch(struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_dispatch *p = &c->pkt.dispatch;
	struct mdl_launch *l = &c->launch;

	l->program = p->program;
	l->kernel = p->kernel;
	l->dims = p->dims;
	l->nargs = 0;
	for (size_t i = 0; i < 3; i++) {
		l->global[i] = p->global[i];
		l->local[i] = p->local[i];
		l->offset[i] = 0;
	}
	return read_args(c, p->args_va);
}

enum mdl_step mdl_program_prepare_dispatch(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_dispatch *p = &c->pkt.dispatch;

	if (!c->pos) {
		if (p->dims < 1 || p->dims > 3)
			return mdl_step_fail(c, MDL_ERR_BAD_PACKET, AT(dispatch.dims));
		for (size_t i = 0; i < 3; i++)
			if (!p->global[i] || (i >= p->dims && p->global[i] != 1))
				return mdl_step_fail(c, MDL_ERR_BAD_PACKET, AT(dispatch.global) + (uint32_t)(i * 4));
		if (!decode_dispatch(c))
			return mdl_step_fail(c, MDL_ERR_BAD_PROGRAM, AT(dispatch.args_va));
		c->pos = 1;	/* read once, however often this is asked */
	}
	switch (x->ops->launch_ready(x->backend, &c->launch)) {
	case 0:
		return MDL_STEP_READY;
	case -EINPROGRESS:
		compile_started(x);
		return MDL_STEP_COMPILING;
	case -EBUSY:
		return MDL_STEP_COMPILING;
	case -ENOENT:
		return mdl_step_fail(c, MDL_ERR_BAD_PROGRAM, AT(dispatch.kernel));
	case -EINVAL:
		return mdl_step_fail(c, MDL_ERR_BAD_PROGRAM, AT(dispatch.args_va));
	default:
		return mdl_step_fail(c, MDL_ERR_COMPILE, 0);
	}
}

enum mdl_step mdl_program_run_dispatch(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	switch (x->ops->launch(x->backend, &c->launch)) {
	case 0:
		return MDL_STEP_DONE;
	case -EAGAIN:
		/* It has not begun: back to the checks, which say what is wrong with it, or to the compiler. */
		c->prepared = false;
		c->since_ns = 0;
		return MDL_STEP_COMPILING;
	case -ENOENT:
	case -EINVAL:
		return mdl_step_fail(c, MDL_ERR_BAD_PROGRAM, AT(dispatch.args_va));
	default:
		return mdl_step_fail(c, MDL_ERR_LAUNCH, 0);
	}
}
