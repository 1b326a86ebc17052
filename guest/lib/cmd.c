/* SPDX-License-Identifier: MIT */
/*
 * Commands: one function for each packet type, arguments checked as far as the library can; the
 * device checks the rest.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

static struct mdl_hw_packet packet(const struct mdl_chan *chan, enum mdl_hw_opcode opcode)
{
	return (struct mdl_hw_packet) {
		.opcode = opcode,
		.flags = chan->overlap ? 0 : MDL_PKT_BARRIER,
		.tag = chan->tag ? chan->tag : (uint32_t)chan->head,
	};
}

int mdl_chan_copy(struct mdl_chan *chan, uint64_t dst_va, uint64_t src_va, uint64_t bytes)
{
	struct mdl_hw_packet p = packet(chan, MDL_OP_COPY);

	p.copy.dst_va = dst_va;
	p.copy.src_va = src_va;
	p.copy.bytes = bytes;
	return mdl_ring_put(chan, &p);
}

int mdl_chan_fill(struct mdl_chan *chan, uint64_t dst_va, uint64_t bytes, uint64_t pattern,
		  uint32_t pattern_bytes)
{
	struct mdl_hw_packet p = packet(chan, MDL_OP_FILL);

	if (!mdl_is_pow2(pattern_bytes) || pattern_bytes > 8 ||
	    !mdl_is_aligned(dst_va | bytes, pattern_bytes))
		return -EINVAL;
	p.fill.dst_va = dst_va;
	p.fill.bytes = bytes;
	p.fill.pattern =
		pattern_bytes < 8 ? pattern & ((1ull << (8 * pattern_bytes)) - 1) : pattern;
	p.fill.pattern_bytes = pattern_bytes;
	return mdl_ring_put(chan, &p);
}

int mdl_chan_copy_2d(struct mdl_chan *chan, uint64_t dst_va, uint32_t dst_pitch, uint64_t src_va,
		     uint32_t src_pitch, uint32_t width_bytes, uint32_t height)
{
	struct mdl_hw_packet p = packet(chan, MDL_OP_COPY_2D);

	if (dst_pitch < width_bytes || src_pitch < width_bytes)
		return -EINVAL;
	p.copy_2d.dst_va = dst_va;
	p.copy_2d.src_va = src_va;
	p.copy_2d.width_bytes = width_bytes;
	p.copy_2d.height = height;
	p.copy_2d.dst_pitch = dst_pitch;
	p.copy_2d.src_pitch = src_pitch;
	return mdl_ring_put(chan, &p);
}

int mdl_chan_update(struct mdl_chan *chan, uint64_t dst_va, const void *data, uint32_t bytes)
{
	uint64_t va;
	void *ptr;
	int r = mdl_ring_args(chan, bytes, &ptr, &va);

	if (r < 0)
		return r;
	memcpy(ptr, data, bytes);
	return mdl_chan_copy(chan, dst_va, va, bytes);
}

static int sem(struct mdl_chan *chan, enum mdl_hw_opcode opcode, uint64_t va, uint32_t op,
	       uint64_t value)
{
	struct mdl_hw_packet p = packet(chan, opcode);

	if (!mdl_is_aligned(va, 8))
		return -EINVAL;
	p.sem.va = va;
	p.sem.value = value;
	p.sem.op = op;
	return mdl_ring_put(chan, &p);
}

int mdl_chan_sem_wait(struct mdl_chan *chan, uint64_t va, enum mdl_hw_sem_op op, uint64_t value)
{
	if ((uint32_t)op > MDL_SEM_AND_NZ)
		return -EINVAL;
	return sem(chan, MDL_OP_SEM_WAIT, va, op, value);
}

int mdl_chan_sem_release(struct mdl_chan *chan, uint64_t va, enum mdl_hw_sem_op op, uint64_t value)
{
	if ((uint32_t)op > MDL_SEM_OR)
		return -EINVAL;
	return sem(chan, MDL_OP_SEM_RELEASE, va, op, value);
}

int mdl_chan_timestamp(struct mdl_chan *chan, uint64_t va)
{
	struct mdl_hw_packet p = packet(chan, MDL_OP_TIMESTAMP);

	if (!mdl_is_aligned(va, 8))
		return -EINVAL;
	p.timestamp.va = va;
	return mdl_ring_put(chan, &p);
}

int mdl_chan_barrier(struct mdl_chan *chan)
{
	struct mdl_hw_packet p = packet(chan, MDL_OP_BARRIER);

	p.flags |= MDL_PKT_BARRIER;
	return mdl_ring_put(chan, &p);
}

int mdl_chan_packet(struct mdl_chan *chan, const struct mdl_hw_packet *raw)
{
	bool batch = chan->batch;
	int r;

	if (!(raw->flags & MDL_PKT_SIGNAL))
		return mdl_ring_put(chan, raw);
	/* Its signal is the caller's: the library's own goes on a packet behind it. */
	chan->batch = true;
	r = mdl_ring_put(chan, raw);
	chan->batch = batch;
	return r < 0 ? r : mdl_chan_barrier(chan);
}

/* Argument block: header, table, then the values that do not fit the table. */
static uint64_t args_bytes(const struct mdl_kern *k)
{
	uint64_t bytes = sizeof(struct mdl_hw_args) + k->info.nargs * sizeof(struct mdl_hw_arg);

	for (uint32_t i = 0; i < k->info.nargs; i++) {
		if (k->arg[i].data)
			bytes += mdl_align_up(k->arg[i].bytes, 16);
	}
	return bytes;
}

static void write_args(const struct mdl_kern *k, const uint64_t *offset, void *ptr, uint64_t va)
{
	uint64_t at = sizeof(struct mdl_hw_args) + k->info.nargs * sizeof(struct mdl_hw_arg);
	struct mdl_hw_args *a = ptr;

	memset(a, 0, sizeof(*a));
	if (offset)
		memcpy(a->global_offset, offset, sizeof(a->global_offset));
	a->nargs = k->info.nargs;
	for (uint32_t i = 0; i < k->info.nargs; i++) {
		a->arg[i] = (struct mdl_hw_arg) { .kind = k->info.arg_kind[i],
						  .size = k->arg[i].bytes,
						  .value = k->arg[i].value };
		if (k->arg[i].data) {
			memcpy((uint8_t *)ptr + at, k->arg[i].data, k->arg[i].bytes);
			a->arg[i].value = va + at;
			at += mdl_align_up(k->arg[i].bytes, 16);
		}
	}
}

static int check_launch(const struct mdl_chan *chan, const struct mdl_kern *k, uint32_t dims,
			const uint32_t *global, const uint32_t *local)
{
	const struct mdl_hw_kernel_info *info = &k->info;
	uint64_t items = 1;

	if (dims < 1 || dims > 3 || k->prog->ctx != chan->ctx)
		return -EINVAL;
	if (!mdl_kern_current(k))
		return -ESTALE;
	for (uint32_t i = 0; i < dims; i++) {
		if (!global[i] || (local && (!local[i] || local[i] > UINT16_MAX)))
			return -EINVAL;
		items *= local ? local[i] : 1;
		if (info->max_local && items > info->max_local)
			return -EINVAL;
	}
	for (uint32_t i = 0; i < 3 && local && info->reqd_local[0]; i++) {
		if ((i < dims ? local[i] : 1) != info->reqd_local[i])
			return -EINVAL;
	}
	for (uint32_t i = 0; i < info->nargs; i++) {
		if (!k->arg[i].bytes)
			return -ENODATA;
	}
	return 0;
}

int mdl_chan_launch(struct mdl_chan *chan, const struct mdl_kern *k, uint32_t dims,
		    const uint32_t *global, const uint32_t *local, const uint64_t *offset)
{
	uint64_t origin[3] = { 0, 0, 0 };
	struct mdl_hw_packet p;
	uint64_t va = 0;
	void *ptr;
	int r = check_launch(chan, k, dims, global, local);

	for (uint32_t i = 0; r == 0 && offset && i < dims; i++)
		origin[i] = offset[i];
	if (r == 0 && (k->info.nargs || origin[0] | origin[1] | origin[2])) {
		r = mdl_ring_args(chan, args_bytes(k), &ptr, &va);
		if (r == 0)
			write_args(k, origin, ptr, va);
	}
	if (r < 0)
		return r;
	p = packet(chan, MDL_OP_DISPATCH);
	p.dispatch.program = k->prog->handle;
	p.dispatch.kernel = k->index;
	p.dispatch.dims = dims;
	for (uint32_t i = 0; i < 3; i++) {
		p.dispatch.global[i] = i < dims ? global[i] : 1;
		p.dispatch.local[i] = !local ? 0 : i < dims ? local[i] : 1;
	}
	p.dispatch.args_va = va;
	return mdl_ring_put(chan, &p);
}
