/* SPDX-License-Identifier: MIT */
/* Packets that make no sense: the channel stops with the right error; other channels, and the channel once reopened, go on. */
#include "harness.h"

#include "base/util.h"
#include "tests/unit/check.h"

#define AT(m)	((uint32_t)offsetof(struct mdl_hw_packet, m))
#define A	(H_VRAM_VA + H_HEAP)	/* any mapped place */

static const struct bad {
	const char *what;
	struct mdl_hw_packet pkt;
	uint16_t error;
	uint32_t info;
} table[] = {
	{ "empty slot", { .opcode = 0 }, MDL_ERR_BAD_PACKET, AT(opcode) },
	{ "opcode", { .opcode = MDL_OP_COUNT }, MDL_ERR_BAD_PACKET, AT(opcode) },
	{ "opcode 255", { .opcode = 255 }, MDL_ERR_BAD_PACKET, AT(opcode) },
	{ "flags", { .opcode = MDL_OP_BARRIER, .flags = 8 }, MDL_ERR_BAD_PACKET, AT(flags) },
	{ "reserved", { .opcode = MDL_OP_BARRIER, .reserved0 = 1 }, MDL_ERR_BAD_PACKET, AT(reserved0) },
	{ "barrier payload", { .opcode = MDL_OP_BARRIER, .raw = { [4] = 1ull << 56 } }, MDL_ERR_BAD_PACKET, AT(raw) },
	{ "signal alignment", { .opcode = MDL_OP_BARRIER, .flags = MDL_PKT_SIGNAL, .signal_va = A + 4 }, MDL_ERR_BAD_PACKET,
	  AT(signal_va) },
	{ "copy reserved", { .opcode = MDL_OP_COPY, .copy = { A, A, 8, { 0, 1 } } }, MDL_ERR_BAD_PACKET, AT(copy.reserved) },
	{ "fill pattern 0", { .opcode = MDL_OP_FILL, .fill = { A, 8, 0, 0 } }, MDL_ERR_BAD_PACKET, AT(fill.pattern_bytes) },
	{ "fill pattern 3", { .opcode = MDL_OP_FILL, .fill = { A, 9, 0, 3 } }, MDL_ERR_BAD_PACKET, AT(fill.pattern_bytes) },
	{ "fill pattern 16", { .opcode = MDL_OP_FILL, .fill = { A, 16, 0, 16 } }, MDL_ERR_BAD_PACKET, AT(fill.pattern_bytes) },
	{ "fill address", { .opcode = MDL_OP_FILL, .fill = { A + 1, 8, 0, 2 } }, MDL_ERR_BAD_PACKET, AT(fill.dst_va) },
	{ "fill size", { .opcode = MDL_OP_FILL, .fill = { A, 7, 0, 8 } }, MDL_ERR_BAD_PACKET, AT(fill.bytes) },
	{ "fill reserved", { .opcode = MDL_OP_FILL, .fill = { A, 8, 0, 8, 1 } }, MDL_ERR_BAD_PACKET, AT(fill.reserved0) },
	{ "2-D dst pitch", { .opcode = MDL_OP_COPY_2D, .copy_2d = { A, A, 8, 1, 7, 8 } }, MDL_ERR_BAD_PACKET, AT(copy_2d.dst_pitch) },
	{ "2-D src pitch", { .opcode = MDL_OP_COPY_2D, .copy_2d = { A, A, 8, 1, 8, 7 } }, MDL_ERR_BAD_PACKET, AT(copy_2d.src_pitch) },
	{ "2-D reserved", { .opcode = MDL_OP_COPY_2D, .copy_2d = { A, A, 8, 1, 8, 8, 1 } }, MDL_ERR_BAD_PACKET, AT(copy_2d.reserved) },
	{ "wait alignment", { .opcode = MDL_OP_SEM_WAIT, .sem = { A + 1 } }, MDL_ERR_BAD_PACKET, AT(sem.va) },
	{ "wait op", { .opcode = MDL_OP_SEM_WAIT, .sem = { A, 0, 4 } }, MDL_ERR_BAD_PACKET, AT(sem.op) },
	{ "wait reserved", { .opcode = MDL_OP_SEM_WAIT, .sem = { A, 0, 0, 1 } }, MDL_ERR_BAD_PACKET, AT(sem.reserved0) },
	{ "release alignment", { .opcode = MDL_OP_SEM_RELEASE, .sem = { A + 4 } }, MDL_ERR_BAD_PACKET, AT(sem.va) },
	{ "release op", { .opcode = MDL_OP_SEM_RELEASE, .sem = { A, 0, 3 } }, MDL_ERR_BAD_PACKET, AT(sem.op) },
	{ "timestamp alignment", { .opcode = MDL_OP_TIMESTAMP, .timestamp = { A + 2 } }, MDL_ERR_BAD_PACKET, AT(timestamp.va) },
	{ "timestamp reserved", { .opcode = MDL_OP_TIMESTAMP, .timestamp = { A, { 0, 0, 0, 1 } } }, MDL_ERR_BAD_PACKET, AT(timestamp.reserved) },
	{ "load handle", { .opcode = MDL_OP_LOAD_PROGRAM, .program = { A, MDL_PROGRAM_MAX } }, MDL_ERR_BAD_PROGRAM, AT(program.program) },
	{ "load nothing", { .opcode = MDL_OP_LOAD_PROGRAM, .program = { A } }, MDL_ERR_BAD_PROGRAM, AT(program.load_va) },
	{ "load reserved", { .opcode = MDL_OP_LOAD_PROGRAM, .program = { A, 0, 1 } }, MDL_ERR_BAD_PACKET, AT(program.reserved0) },
	{ "unload handle", { .opcode = MDL_OP_UNLOAD_PROGRAM, .program = { 0, ~0u } }, MDL_ERR_BAD_PROGRAM, AT(program.program) },
	{ "unload address", { .opcode = MDL_OP_UNLOAD_PROGRAM, .program = { A, 0 } }, MDL_ERR_BAD_PACKET, AT(program.load_va) },
	{ "no dimensions", { .opcode = MDL_OP_DISPATCH }, MDL_ERR_BAD_PACKET, AT(dispatch.dims) },
	{ "4 dimensions", { .opcode = MDL_OP_DISPATCH, .dispatch = { .dims = 4, .global = { 1, 1, 1 } } }, MDL_ERR_BAD_PACKET,
	  AT(dispatch.dims) },
	{ "no work", { .opcode = MDL_OP_DISPATCH, .dispatch = { .dims = 1, .global = { 0, 1, 1 } } }, MDL_ERR_BAD_PACKET,
	  AT(dispatch.global[0]) },
	{ "unused dimension", { .opcode = MDL_OP_DISPATCH, .dispatch = { .dims = 1, .global = { 1, 1, 2 } } }, MDL_ERR_BAD_PACKET,
	  AT(dispatch.global[2]) },
	{ "dispatch reserved", { .opcode = MDL_OP_DISPATCH, .dispatch = { .dims = 1, .global = { 1, 1, 1 }, .reserved1 = 1 } },
	  MDL_ERR_BAD_PACKET, AT(dispatch.reserved0) },
	{ "no program", { .opcode = MDL_OP_DISPATCH, .dispatch = { .dims = 1, .global = { 1, 1, 1 }, .program = 9 } },
	  MDL_ERR_BAD_PROGRAM, AT(dispatch.kernel) },
	{ "wild program", { .opcode = MDL_OP_DISPATCH, .dispatch = { .dims = 1, .global = { 1, 1, 1 }, .program = ~0u } },
	  MDL_ERR_BAD_PROGRAM, AT(dispatch.kernel) },
};

/* Pushes a packet that must fail, checks how, and reopens the channel. */
static void fails(struct h *h, const char *what, const struct mdl_hw_packet *pkt, uint16_t error, uint32_t info)
{
	const struct mdl_hw_packet fine = { .opcode = MDL_OP_BARRIER };
	struct mdl_hw_packet p = *pkt;
	struct mdl_ipc_fault f;

	p.tag = 99;
	h_push(h, 0, &fine);
	h_push(h, 0, &p);
	h_push(h, 0, &fine);
	f = h_expect_error(h, 0);
	if (f.error != error || f.info != info)
		fprintf(stderr, "# %s: error %u info %u, expected %u, %u\n", what, f.error, f.info, error, info);
	CHECK_EQ(f.error, error);
	CHECK_EQ(f.info, info);
	CHECK_EQ(f.tag, 99);
	/* It stands at the packet; the ones before and other channels are done. */
	CHECK_EQ(h->user[0]->get, 1);
	CHECK_EQ(h->user[0]->error_get, 1);
	h_run(h, 1, &fine);
	CHECK_EQ(h->user[0]->get, 1);
	h_chan_close(h, 0);
	h_chan_open(h, 0);
}

static void packets(void)
{
	struct h h;

	h_start(&h, 2);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(table); i++)
		fails(&h, table[i].what, &table[i].pkt, table[i].error, table[i].info);
	h_stop(&h);
}

/* Arguments that do not fit the kernel. */
static void arguments(void)
{
	struct mdl_hw_packet p;
	struct h_args a;
	uint64_t buf;
	struct h h;

	h_start(&h, 2);
	h_load_ok(&h, 3, "__kernel void k(__global int *p, int v, __local int *l) { p[0] = v; l[0] = v; }\n"
			 "__kernel __attribute__((reqd_work_group_size(8, 1, 1))) void r(__global int *p) { p[0] = 1; }\n");
	h_chan_close(&h, 0);
	h_chan_open(&h, 0);
	buf = h_alloc(&h, 64);
	p = h_dispatch(3, 2, 1, 1, NULL);
	fails(&h, "kernel index", &p, MDL_ERR_BAD_PROGRAM, AT(dispatch.kernel));
	p = h_dispatch(3, 0, 1, 1, NULL);
	fails(&h, "no arguments", &p, MDL_ERR_BAD_PROGRAM, AT(dispatch.args_va));
	for (int i = 0; i < 9; i++) {
		uint32_t global = 8;
		uint16_t kernel = 0, local = 1;

		a = h_args(&h);
		h_arg_buffer(&a, buf);
		h_arg_value(&a, &(int){ 7 }, 4);
		h_arg_local(&a, 64);
		switch (i) {
		case 0:
			a.a->arg[0].kind = MDL_ARG_VALUE;
			break;
		case 1:
			a.a->arg[1].size = 8;	/* an int has 4 */
			break;
		case 2:
			a.a->arg[2].size = 1u << 30;	/* more local memory than there is */
			break;
		case 3:
			a.a->nargs = MDL_ARGS_MAX + 1;
			break;
		case 4:
			a.a->arg[1].kind = 7;
			break;
		case 5:
			local = 3;	/* does not divide 8 */
			break;
		case 6:
			a.a->nargs = 1;
			kernel = 1;
			local = 4;	/* 8 required */
			break;
		case 7:
			a.a->arg[1].size = MDL_ARG_BYTES_MAX + 1;
			break;
		case 8:
			a.a->reserved = 1;
			break;
		}
		p = h_dispatch(3, kernel, global, local, &a);
		fails(&h, "argument", &p, MDL_ERR_BAD_PROGRAM, AT(dispatch.args_va));
	}
	/* After all that the right ones still work. */
	a = h_args(&h);
	h_arg_buffer(&a, buf);
	h_arg_value(&a, &(int){ 7 }, 4);
	h_arg_local(&a, 64);
	p = h_dispatch(3, 0, 8, 8, &a);
	h_run(&h, 0, &p);
	CHECK_EQ(*(int *)h_ptr(&h, buf), 7);
	h_stop(&h);
}

static void put_too_far(void)
{
	const struct mdl_hw_packet fine = { .opcode = MDL_OP_BARRIER };
	struct mdl_ipc_fault f;
	struct h h;

	h_start(&h, 2);
	h.put[0] = (1u << H_RING_LOG2);	/* put becomes one more than fits */
	h_push(&h, 0, &fine);
	f = h_expect_error(&h, 0);
	CHECK_EQ(f.error, MDL_ERR_BAD_RING);
	h_chan_close(&h, 0);
	h_chan_open(&h, 0);
	h.put[0] = ~0ull - 1;	/* put behind get */
	h_push(&h, 0, &fine);
	f = h_expect_error(&h, 0);
	CHECK_EQ(f.error, MDL_ERR_BAD_RING);
	h_run(&h, 1, &fine);
	h_chan_close(&h, 0);
	h_chan_open(&h, 0);
	/* A full ring is fine. What the guest writes into get has no effect. */
	h.user[0]->get = 1000;
	for (int i = 0; i < 3 << H_RING_LOG2; i++)
		h_run(&h, 0, &fine);
	h_stop(&h);
}

static const struct check_case cases[] = {
	{ "packets", packets, 60 },
	{ "arguments", arguments, 60 },
	{ "put_too_far", put_too_far, 60 },
};
CHECK_MAIN(cases)
