/* SPDX-License-Identifier: MIT */
/*
 * The packets: one table says what each opcode's reserved bytes are, how it is checked and prepared outside the lease, and how it
 * runs inside. Copies and fills run in pieces, so that a long one gives the lease back in time. Works on the channel's private
 * copy of the packet only. Front end's thread.
 */
#include <string.h>

#include "base/fd.h"
#include "base/util.h"
#include "exec/channel.h"
#include "exec/fault.h"

#define PIECE_BYTES	(8u << 20)	/* of a copy or fill at a time: about 1 ms */
#define PAYLOAD		offsetof(struct mdl_hw_packet, raw)
#define PAYLOAD_BYTES	(sizeof(struct mdl_hw_packet) - PAYLOAD)

#define MASK(off, n)	((((uint64_t)1 << (n)) - 1) << (off))
#define FIELD(t, f)	MASK(offsetof(struct t, f), sizeof(((struct t *)0)->f))
#define TAIL(t)		MASK(sizeof(struct t), PAYLOAD_BYTES - sizeof(struct t))

#define AT(member)	((uint32_t)offsetof(struct mdl_hw_packet, member))

void *mdl_exec_ptr(uint64_t va, uint64_t bytes, uint16_t access)
{
	if (!mdl_range_in(va, bytes, MDL_WINDOW_BASE, MDL_WINDOW_BYTES))
		mdl_fault_raise(MDL_ERR_PAGE_FAULT, va, access, 0);
	return (void *)(uintptr_t)va;
}

static enum mdl_step bad(struct mdl_exec_chan *c, uint32_t offset)
{
	return mdl_step_fail(c, MDL_ERR_BAD_PACKET, offset);
}

static enum mdl_step ready(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	return MDL_STEP_READY;
}

static enum mdl_step done(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	return MDL_STEP_DONE;
}

/* ---- Copy, fill ---- */

static enum mdl_step run_copy(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_copy *p = &c->pkt.copy;
	uint64_t n = mdl_min_u64(PIECE_BYTES, p->bytes - c->pos);
	char *dst = mdl_exec_ptr(p->dst_va, p->bytes, MDL_ACCESS_WRITE);
	const char *src = mdl_exec_ptr(p->src_va, p->bytes, MDL_ACCESS_READ);

	x->ops->copy(x->backend, dst + c->pos, src + c->pos, n);
	c->pos += n;
	return c->pos < p->bytes ? MDL_STEP_MORE : MDL_STEP_DONE;
}

static enum mdl_step prepare_fill(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_fill *p = &c->pkt.fill;

	if (p->pattern_bytes > 8 || !mdl_is_pow2(p->pattern_bytes))
		return bad(c, AT(fill.pattern_bytes));
	if (!mdl_is_aligned(p->dst_va, p->pattern_bytes))
		return bad(c, AT(fill.dst_va));
	if (!mdl_is_aligned(p->bytes, p->pattern_bytes))
		return bad(c, AT(fill.bytes));
	return MDL_STEP_READY;
}

static enum mdl_step run_fill(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_fill *p = &c->pkt.fill;
	uint64_t n = mdl_min_u64(PIECE_BYTES, p->bytes - c->pos);
	char *dst = mdl_exec_ptr(p->dst_va, p->bytes, MDL_ACCESS_WRITE);

	if (n)
		x->ops->fill(x->backend, dst + c->pos, n, p->pattern, p->pattern_bytes);
	c->pos += n;
	return c->pos < p->bytes ? MDL_STEP_MORE : MDL_STEP_DONE;
}

static enum mdl_step prepare_copy_2d(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_copy_2d *p = &c->pkt.copy_2d;

	if (p->dst_pitch < p->width_bytes)
		return bad(c, AT(copy_2d.dst_pitch));
	if (p->src_pitch < p->width_bytes)
		return bad(c, AT(copy_2d.src_pitch));
	return MDL_STEP_READY;
}

static uint64_t span_2d(const struct mdl_hw_pkt_copy_2d *p, uint32_t pitch)
{
	return (uint64_t)(p->height - 1) * pitch + p->width_bytes;
}

static enum mdl_step run_copy_2d(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_copy_2d *p = &c->pkt.copy_2d;
	uint64_t rows;
	const char *src;
	char *dst;

	if (!p->width_bytes || !p->height)
		return MDL_STEP_DONE;
	rows = mdl_min_u64(mdl_max_u64(PIECE_BYTES / p->width_bytes, 1), p->height - c->pos);
	dst = mdl_exec_ptr(p->dst_va, span_2d(p, p->dst_pitch), MDL_ACCESS_WRITE);
	src = mdl_exec_ptr(p->src_va, span_2d(p, p->src_pitch), MDL_ACCESS_READ);
	x->ops->copy_2d(x->backend, dst + c->pos * p->dst_pitch, src + c->pos * p->src_pitch, p->width_bytes, (uint32_t)rows,
			p->dst_pitch, p->src_pitch);
	c->pos += rows;
	return c->pos < p->height ? MDL_STEP_MORE : MDL_STEP_DONE;
}

/* ---- Semaphores, time ---- */

static enum mdl_step prepare_sem_wait(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_sem *p = &c->pkt.sem;
	uint64_t now;
	bool met;

	if (!mdl_is_aligned(p->va, 8))
		return bad(c, AT(sem.va));
	if (p->op > MDL_SEM_AND_NZ)
		return bad(c, AT(sem.op));
	/* Acquire: what the releasing side wrote before is seen by the packets after this one. */
	now = atomic_load_explicit((_Atomic uint64_t *)mdl_exec_ptr(p->va, 8, MDL_ACCESS_READ), memory_order_acquire);
	switch (p->op) {
	case MDL_SEM_EQ:
		met = now == p->value;
		break;
	case MDL_SEM_GE:
		met = now >= p->value;
		break;
	case MDL_SEM_NE:
		met = now != p->value;
		break;
	default:
		met = (now & p->value) != 0;
		break;
	}
	return met ? MDL_STEP_READY : MDL_STEP_BLOCKED;
}

static enum mdl_step prepare_sem_release(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	if (!mdl_is_aligned(c->pkt.sem.va, 8))
		return bad(c, AT(sem.va));
	if (c->pkt.sem.op > MDL_SEM_OR)
		return bad(c, AT(sem.op));
	return MDL_STEP_READY;
}

static enum mdl_step run_sem_release(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_pkt_sem *p = &c->pkt.sem;
	_Atomic uint64_t *sem = mdl_exec_ptr(p->va, 8, MDL_ACCESS_WRITE);

	/* Release: pairs with the waiter's acquire, in another channel, context or CPU of the guest. */
	switch (p->op) {
	case MDL_SEM_SET:
		atomic_store_explicit(sem, p->value, memory_order_release);
		break;
	case MDL_SEM_ADD:
		atomic_fetch_add_explicit(sem, p->value, memory_order_release);
		break;
	default:
		atomic_fetch_or_explicit(sem, p->value, memory_order_release);
		break;
	}
	return MDL_STEP_DONE;
}

static enum mdl_step prepare_timestamp(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	return mdl_is_aligned(c->pkt.timestamp.va, 8) ? MDL_STEP_READY : bad(c, AT(timestamp.va));
}

static enum mdl_step run_timestamp(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	_Atomic uint64_t *p = mdl_exec_ptr(c->pkt.timestamp.va, 8, MDL_ACCESS_WRITE);

	atomic_store_explicit(p, mdl_now_ns() - x->epoch_ns, memory_order_relaxed);
	return MDL_STEP_DONE;
}

/* ---- The table ---- */

static const struct packet_op {
	uint64_t reserved;	/* bit i: byte i of the payload must be zero */
	/* Mandatory; outside the lease. Called again until it says something else than BLOCKED or COMPILING. */
	enum mdl_step (*prepare)(struct mdl_exec *x, struct mdl_exec_chan *c);
	/* Mandatory; inside the lease. Called again while it says MORE. */
	enum mdl_step (*run)(struct mdl_exec *x, struct mdl_exec_chan *c);
} packet_ops[MDL_OP_COUNT] = {
	[MDL_OP_DISPATCH] = {
		FIELD(mdl_hw_pkt_dispatch, reserved0) | FIELD(mdl_hw_pkt_dispatch, reserved1),
		mdl_program_prepare_dispatch, mdl_program_run_dispatch,
	},
	[MDL_OP_BARRIER] = { MASK(0, PAYLOAD_BYTES), ready, done },
	[MDL_OP_COPY] = { FIELD(mdl_hw_pkt_copy, reserved), ready, run_copy },
	[MDL_OP_FILL] = {
		FIELD(mdl_hw_pkt_fill, reserved0) | FIELD(mdl_hw_pkt_fill, reserved1), prepare_fill, run_fill,
	},
	[MDL_OP_COPY_2D] = { FIELD(mdl_hw_pkt_copy_2d, reserved), prepare_copy_2d, run_copy_2d },
	[MDL_OP_SEM_WAIT] = {
		FIELD(mdl_hw_pkt_sem, reserved0) | FIELD(mdl_hw_pkt_sem, reserved1), prepare_sem_wait, done,
	},
	[MDL_OP_SEM_RELEASE] = {
		FIELD(mdl_hw_pkt_sem, reserved0) | FIELD(mdl_hw_pkt_sem, reserved1), prepare_sem_release, run_sem_release,
	},
	[MDL_OP_TIMESTAMP] = { FIELD(mdl_hw_pkt_timestamp, reserved), prepare_timestamp, run_timestamp },
	[MDL_OP_LOAD_PROGRAM] = {
		FIELD(mdl_hw_pkt_program, reserved0) | FIELD(mdl_hw_pkt_program, reserved1),
		mdl_program_prepare_load, mdl_program_run_load,
	},
	[MDL_OP_UNLOAD_PROGRAM] = {
		FIELD(mdl_hw_pkt_program, load_va) | FIELD(mdl_hw_pkt_program, reserved0) | FIELD(mdl_hw_pkt_program, reserved1),
		mdl_program_prepare_unload, mdl_program_run_unload,
	},
};

_Static_assert(sizeof(struct mdl_hw_pkt_dispatch) == PAYLOAD_BYTES && sizeof(struct mdl_hw_pkt_copy) == PAYLOAD_BYTES &&
	       sizeof(struct mdl_hw_pkt_fill) == PAYLOAD_BYTES && sizeof(struct mdl_hw_pkt_copy_2d) == PAYLOAD_BYTES &&
	       sizeof(struct mdl_hw_pkt_sem) == PAYLOAD_BYTES && sizeof(struct mdl_hw_pkt_timestamp) == PAYLOAD_BYTES &&
	       sizeof(struct mdl_hw_pkt_program) == PAYLOAD_BYTES, "reserved masks cover the whole payload");

/* What all packets have in common. */
static enum mdl_step check_common(struct mdl_exec_chan *c)
{
	const struct mdl_hw_packet *p = &c->pkt;
	const uint8_t *payload = (const uint8_t *)p->raw;

	if (p->opcode == MDL_OP_INVALID || p->opcode >= MDL_OP_COUNT)
		return bad(c, AT(opcode));
	if (p->flags & ~MDL_PKT_FLAGS)
		return bad(c, AT(flags));
	if (p->reserved0)
		return bad(c, AT(reserved0));
	if ((p->flags & MDL_PKT_SIGNAL) && !mdl_is_aligned(p->signal_va, 8))
		return bad(c, AT(signal_va));
	for (uint32_t i = 0, first = 0; i < PAYLOAD_BYTES; i++) {
		if (!(packet_ops[p->opcode].reserved >> i & 1))
			first = i + 1;
		else if (payload[i])	/* reported by where the reserved bytes begin */
			return bad(c, (uint32_t)PAYLOAD + first);
	}
	return MDL_STEP_READY;
}

enum mdl_step mdl_packet_prepare(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	enum mdl_step step;

	if (c->prepared)
		return MDL_STEP_READY;
	mdl_fault_set_packet((uint16_t)c->index, c->pkt.tag);
	step = check_common(c);
	if (step == MDL_STEP_READY)
		step = packet_ops[c->pkt.opcode].prepare(x, c);
	c->prepared = step == MDL_STEP_READY;
	return step;
}

/* For the manager's watchdog. After a piece of another channel's packet it counts from zero again: it is no kernel that hangs. */
static void announce(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	struct mdl_lease *page = x->lease.page;

	if (!c->since_ns)
		c->since_ns = mdl_now_ns();
	atomic_store_explicit(&page->packet, (uint64_t)c->index << 32 | c->pkt.tag, memory_order_relaxed);
	atomic_store_explicit(&page->packet_since_ns, c->since_ns, memory_order_release);
}

enum mdl_step mdl_packet_run(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	enum mdl_step step;

	mdl_fault_set_packet((uint16_t)c->index, c->pkt.tag);
	announce(x, c);
	step = packet_ops[c->pkt.opcode].run(x, c);
	if (step != MDL_STEP_MORE)
		atomic_store_explicit(&x->lease.page->packet_since_ns, 0, memory_order_relaxed);
	return step;
}

void mdl_packet_forget(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	struct mdl_lease *page = x->lease.page;

	/* Half done: nobody would say that it is over. Another channel's packet may be the one announced by now. */
	if (c->have && c->since_ns && atomic_load_explicit(&page->packet, memory_order_relaxed) >> 32 == c->index)
		atomic_store_explicit(&page->packet_since_ns, 0, memory_order_relaxed);
}

void mdl_packet_complete(struct mdl_exec *x, struct mdl_exec_chan *c)
{
	const struct mdl_hw_packet *p = &c->pkt;

	/* Release: who sees the signal, or get, sees what the packet wrote. */
	if (p->flags & MDL_PKT_SIGNAL)
		atomic_store_explicit((_Atomic uint64_t *)mdl_exec_ptr(p->signal_va, 8, MDL_ACCESS_WRITE), p->signal_value,
				      memory_order_release);
	c->get++;
	atomic_store_explicit((_Atomic uint64_t *)&c->user->get, c->get, memory_order_release);
	atomic_fetch_add_explicit(&x->lease.page->commands, 1, memory_order_relaxed);
	if (p->opcode == MDL_OP_DISPATCH)
		atomic_fetch_add_explicit(&x->lease.page->kernels, 1, memory_order_relaxed);
	if ((p->flags & MDL_PKT_IRQ) && c->vector < MDL_HW_MSIX_VECTORS && x->irq_fd[c->vector] >= 0) {
		mdl_eventfd_signal(x->irq_fd[c->vector]);
		x->irq_raised |= 1u << c->vector;
	}
	c->have = false;
}
