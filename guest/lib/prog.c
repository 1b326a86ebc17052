/* SPDX-License-Identifier: MIT */
/*
 * Programs and kernels. A build is one LOAD_PROGRAM packet whose source, log and result lie in a
 * scratch buffer made for it; a build whose wait timed out keeps that buffer until the device is
 * done with it. Kernels are copies of the table that the build returned, tied to it by a build
 * number. Left out: binaries, asynchronous builds.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOG_BYTES (64u << 10)

int mdl_prog_create(struct mdl_ctx *ctx, struct mdl_prog **ret_prog)
{
	struct mdl_prog *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->ctx = ctx;
	r = mdl_bit_take(ctx->prog_used, MDL_PROGRAM_MAX, &p->handle);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret_prog = p;
	return 0;
}

static void forget(struct mdl_prog *p)
{
	free(p->log);
	free(p->kernel);
	p->log = NULL;
	p->kernel = NULL;
	p->num_kernels = 0;
	p->built = false;
}

/* Queues UNLOAD on the first channel of the context that takes it without waiting long. */
static void unload(struct mdl_prog *p)
{
	struct mdl_hw_packet packet = { .opcode = MDL_OP_UNLOAD_PROGRAM,
					.flags = MDL_PKT_BARRIER,
					.program.program = p->handle };

	if (!p->loaded || p->executor != p->ctx->executor)
		return;
	for (struct mdl_chan *c = p->ctx->chans; c; c = c->next) {
		int64_t limit = c->limit_ns;
		int r;

		c->limit_ns = (int64_t)(100 * MDL_NS_PER_MS);
		r = mdl_ring_put(c, &packet);
		c->limit_ns = limit;
		if (r == 0)
			return;
	}
}

void mdl_prog_destroy(struct mdl_prog *p)
{
	if (!p)
		return;
	unload(p);
	forget(p);
	/*
	 * Unmapped first: if the compiler still runs, its late result is a fault of this context,
	 * not a stray write.
	 */
	mdl_buf_destroy(p->scratch);
	mdl_bit_put(p->ctx->prog_used, p->handle);
	free(p);
}

/* Offsets of the parts of a scratch buffer. */
struct layout {
	uint64_t load, result, log, options, source, bytes;
};

static struct layout lay_out(size_t source_bytes, size_t options_bytes)
{
	struct layout l = { .load = 0 };

	l.result = mdl_align_up(sizeof(struct mdl_hw_program_load), 64);
	l.log = l.result +
		mdl_align_up(sizeof(struct mdl_hw_program_result) +
				     MDL_PROGRAM_KERNELS_MAX * sizeof(struct mdl_hw_kernel_info),
			     64);
	l.options = l.log + LOG_BYTES;
	l.source = l.options + mdl_align_up(options_bytes, 64);
	l.bytes = l.source + source_bytes;
	return l;
}

static int submit(struct mdl_prog *p, struct mdl_chan *chan, const struct layout *l,
		  const char *source, size_t bytes, const char *options, size_t options_bytes)
{
	uint8_t *ptr = mdl_buf_ptr(p->scratch);
	uint64_t va = mdl_buf_va(p->scratch);
	struct mdl_hw_packet packet = { .opcode = MDL_OP_LOAD_PROGRAM,
					.flags = MDL_PKT_BARRIER,
					.tag = (uint32_t)chan->head };
	int r;

	*(struct mdl_hw_program_load *)ptr = (struct mdl_hw_program_load) {
		.format = MDL_PROGRAM_OPENCL_C,
		.options_bytes = (uint32_t)options_bytes,
		.source_va = va + l->source,
		.source_bytes = bytes,
		.options_va = va + l->options,
		.log_va = va + l->log,
		.result_va = va + l->result,
		.log_bytes = LOG_BYTES,
		.max_kernels = MDL_PROGRAM_KERNELS_MAX,
	};
	memset(ptr + l->result, 0, sizeof(struct mdl_hw_program_result));
	ptr[l->log] = 0;
	memcpy(ptr + l->options, options, options_bytes);
	memcpy(ptr + l->source, source, bytes);
	packet.program.program = p->handle;
	packet.program.load_va = va;
	r = mdl_chan_begin(chan);
	if (r == 0) {
		r = mdl_ring_put(chan, &packet);
		if (r == 0)
			r = mdl_chan_commit(chan, MDL_COMMIT_IRQ, &p->scratch_fence);
		chan->batch = false;
	}
	return r;
}

static int status_error(uint32_t status)
{
	switch (status) {
	case MDL_PROGRAM_OK:
		return 0;
	case MDL_PROGRAM_BUILD_FAILED:
		return -ENOEXEC;
	case MDL_PROGRAM_TIMEOUT:
		return -ETIMEDOUT;
	case MDL_PROGRAM_NO_MEMORY:
		return -ENOMEM;
	case MDL_PROGRAM_TOO_MANY_KERNELS:
		return -E2BIG;
	case MDL_PROGRAM_UNSUPPORTED:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

/* Takes log and kernel table out of the scratch buffer. */
static int collect(struct mdl_prog *p, const struct layout *l)
{
	const uint8_t *ptr = mdl_buf_ptr(p->scratch);
	const struct mdl_hw_program_result *result = (const void *)(ptr + l->result);
	uint32_t n = result->num_kernels;
	int r = status_error(result->status);

	p->log = calloc(1, LOG_BYTES + 1);
	if (!p->log)
		return -ENOMEM;
	memcpy(p->log, ptr + l->log, LOG_BYTES);
	if (r < 0)
		return r;
	if (n > MDL_PROGRAM_KERNELS_MAX)
		return -EIO;
	p->loaded = true;
	p->kernel = calloc(n ? n : 1, sizeof(p->kernel[0]));
	if (!p->kernel)
		return -ENOMEM;
	memcpy(p->kernel, result->kernel, n * sizeof(p->kernel[0]));
	for (uint32_t i = 0; i < n; i++) {
		p->kernel[i].name[sizeof(p->kernel[i].name) - 1] = 0;
		if (p->kernel[i].nargs > MDL_ARGS_MAX)
			return -EIO;
	}
	p->num_kernels = n;
	p->built = true;
	return 0;
}

int mdl_prog_build(struct mdl_prog *p, struct mdl_chan *chan, const char *source, size_t bytes,
		   const char *options, int64_t timeout_ns)
{
	size_t options_bytes = options ? strlen(options) : 0;
	struct layout l;
	int r;

	if (chan->ctx != p->ctx || !bytes)
		return -EINVAL;
	if (bytes > MDL_PROGRAM_SOURCE_MAX || options_bytes > MDL_PROGRAM_OPTIONS_MAX)
		return -E2BIG;
	if (chan->batch)
		return -EBUSY;
	if (p->scratch) {
		if (mdl_fence_poll(&p->scratch_fence) == 0)
			return -EBUSY;
		mdl_buf_destroy(p->scratch);
		p->scratch = NULL;
	}
	forget(p);
	p->build++;
	p->executor = p->ctx->executor;
	l = lay_out(bytes, options_bytes);
	r = mdl_buf_alloc(p->ctx, l.bytes, MDL_PLACE_VRAM, &p->scratch);
	if (r < 0)
		return r;
	p->scratch_fence = (struct mdl_fence) { 0 };
	r = submit(p, chan, &l, source, bytes, options ? options : "", options_bytes);
	if (r == 0)
		r = mdl_fence_wait(&p->scratch_fence, timeout_ns);
	if (r == -ETIMEDOUT)
		return r; /* the scratch buffer stays */
	if (r == 0)
		r = collect(p, &l);
	mdl_buf_destroy(p->scratch);
	p->scratch = NULL;
	return r;
}

const char *mdl_prog_log(const struct mdl_prog *p)
{
	return p->log ? p->log : "";
}

uint32_t mdl_prog_num_kernels(const struct mdl_prog *p)
{
	return p->num_kernels;
}

const struct mdl_hw_kernel_info *mdl_prog_kernel(const struct mdl_prog *p, uint32_t index)
{
	return index < p->num_kernels ? &p->kernel[index] : NULL;
}

int mdl_kern_create(struct mdl_prog *p, const char *name, struct mdl_kern **ret_kern)
{
	for (uint32_t i = 0; i < p->num_kernels; i++) {
		struct mdl_kern *k;

		if (strcmp(p->kernel[i].name, name))
			continue;
		k = calloc(1, sizeof(*k));
		if (!k)
			return -ENOMEM;
		k->prog = p;
		k->build = p->build;
		k->index = i;
		k->info = p->kernel[i];
		*ret_kern = k;
		return 0;
	}
	return -ENOENT;
}

void mdl_kern_destroy(struct mdl_kern *k)
{
	if (!k)
		return;
	for (uint32_t i = 0; i < MDL_ARGS_MAX; i++)
		free(k->arg[i].data);
	free(k);
}

const struct mdl_hw_kernel_info *mdl_kern_info(const struct mdl_kern *k)
{
	return &k->info;
}

bool mdl_kern_current(const struct mdl_kern *k)
{
	return k->prog->built && k->build == k->prog->build &&
	       k->prog->executor == k->prog->ctx->executor;
}

static bool arg_is(const struct mdl_kern *k, uint32_t index, enum mdl_hw_arg_kind kind)
{
	return index < k->info.nargs && k->info.arg_kind[index] == kind;
}

static int set(struct mdl_kern *k, uint32_t index, uint32_t bytes, uint64_t value, void *data)
{
	free(k->arg[index].data);
	k->arg[index].bytes = bytes;
	k->arg[index].value = value;
	k->arg[index].data = data;
	return 0;
}

int mdl_kern_set_value(struct mdl_kern *k, uint32_t index, const void *data, uint32_t bytes)
{
	uint64_t value = 0;
	void *copy;

	if (!arg_is(k, index, MDL_ARG_VALUE) || !bytes || bytes > MDL_ARG_BYTES_MAX)
		return -EINVAL;
	if (bytes <= sizeof(value)) {
		memcpy(&value, data, bytes);
		return set(k, index, bytes, value, NULL);
	}
	copy = malloc(bytes);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, bytes);
	return set(k, index, bytes, 0, copy);
}

int mdl_kern_set_address(struct mdl_kern *k, uint32_t index, uint64_t va)
{
	if (!arg_is(k, index, MDL_ARG_BUFFER))
		return -EINVAL;
	return set(k, index, sizeof(va), va, NULL);
}

int mdl_kern_set_buffer(struct mdl_kern *k, uint32_t index, const struct mdl_buf *buf,
			uint64_t offset)
{
	if (!buf)
		return mdl_kern_set_address(k, index, 0);
	if (offset >= buf->mem.bytes)
		return -ERANGE;
	for (const struct mdl_mapping *m = buf->mappings; m; m = m->next_of_buf) {
		if (m->ctx == k->prog->ctx)
			return mdl_kern_set_address(k, index, m->va + offset);
	}
	return -ENOENT;
}

int mdl_kern_set_local(struct mdl_kern *k, uint32_t index, uint32_t bytes)
{
	if (!arg_is(k, index, MDL_ARG_LOCAL) || !bytes)
		return -EINVAL;
	return set(k, index, bytes, 0, NULL);
}
