/* SPDX-License-Identifier: MIT */
/* Every packet type, valid, against a real executor. */
#include "harness.h"

#include "base/util.h"
#include "tests/unit/check.h"

static void copy_fill(void)
{
	struct h h;
	uint64_t a, b;
	struct mdl_hw_packet p;

	h_start(&h, 1);
	a = h_alloc(&h, 20 << 20);
	b = h_alloc(&h, 20 << 20);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_FILL, .fill = { a, (20 << 20) - 8, 0x1122334455667788, 8 } };
	h_run(&h, 0, &p);
	CHECK_EQ(((uint64_t *)h_ptr(&h, a))[(20 << 17) - 2], 0x1122334455667788);
	CHECK_EQ(((uint64_t *)h_ptr(&h, a))[(20 << 17) - 1], 0);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_COPY, .copy = { b + 3, a + 1, (20 << 20) - 16 } };
	h_run(&h, 0, &p);
	CHECK(!memcmp(h_ptr(&h, b + 3), h_ptr(&h, a + 1), (20 << 20) - 16));
	CHECK_EQ(*(uint8_t *)h_ptr(&h, b + 2), 0);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_FILL, .fill = { b, 6, 0xaabb, 2 } };
	h_run(&h, 0, &p);
	CHECK_EQ(*(uint32_t *)h_ptr(&h, b), 0xaabbaabb);
	/* Two rows of 3 bytes out of pitch 5 into pitch 8. */
	memcpy(h_ptr(&h, a), "abcdeABCDE", 10);
	memset(h_ptr(&h, b), '.', 16);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_COPY_2D, .copy_2d = { b, a, 3, 2, 8, 5 } };
	h_run(&h, 0, &p);
	CHECK(!memcmp(h_ptr(&h, b), "abc.....ABC.....", 16));
	/* Nothing to do is no error, wherever it points. */
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_COPY, .copy = { a, b, 0 } };
	h_run(&h, 0, &p);
	h_stop(&h);
}

static void dispatch(void)
{
	static const char source[] =
		"__kernel void add(__global float *a, __global const uchar *b, float k, __local float *l) {\n"
		"  size_t i = get_global_id(0), j = get_local_id(0);\n"
		"  l[j] = k; barrier(CLK_LOCAL_MEM_FENCE);\n"
		"  a[i] += b[i] + l[(j + 1) % get_local_size(0)];\n"
		"}\n"
		"__kernel __attribute__((reqd_work_group_size(4, 2, 1))) void two(__global uint *p) {\n"
		"  __local uint t[8];\n"
		"  size_t i = get_local_id(1) * 4 + get_local_id(0);\n"
		"  t[i] = i + 1; barrier(CLK_LOCAL_MEM_FENCE);\n"
		"  p[get_global_id(1) * 8 + get_global_id(0) - get_global_offset(0)] = t[7 - i] + 100 * get_global_offset(0);\n"
		"}\n";
	const struct mdl_hw_program_result *r;
	struct mdl_hw_packet p;
	struct h_args args;
	const char *log;
	uint64_t a, b;
	float k = 0.5f;
	struct h h;

	h_start(&h, 1);
	r = h_load(&h, 7, source, "-DX=1", &log);
	if (r->status)
		fprintf(stderr, "# %u %s\n", r->status, log);
	CHECK_EQ(r->status, 0);
	CHECK_EQ(r->num_kernels, 2);
	CHECK_STR(r->kernel[0].name, "add");
	CHECK_EQ(r->kernel[0].nargs, 4);
	CHECK_EQ(r->kernel[0].arg_kind[0], MDL_ARG_BUFFER);
	CHECK_EQ(r->kernel[0].arg_kind[1], MDL_ARG_BUFFER);
	CHECK_EQ(r->kernel[0].arg_kind[2], MDL_ARG_VALUE);
	CHECK_EQ(r->kernel[0].arg_kind[3], MDL_ARG_LOCAL);
	CHECK_EQ(r->kernel[0].reqd_local[0], 0);
	CHECK(r->kernel[0].max_local >= 64);
	CHECK_EQ(r->kernel[1].reqd_local[0], 4);
	CHECK_EQ(r->kernel[1].reqd_local[1], 2);
	CHECK(r->kernel[1].local_bytes >= 32);
	/* Pointers at odd places: 4-byte aligned and byte aligned only. */
	a = h_alloc(&h, 8192) + 4;
	b = h_alloc(&h, 4096) + 1;
	for (int i = 0; i < 1000; i++) {
		((float *)h_ptr(&h, a))[i] = (float)i;
		((uint8_t *)h_ptr(&h, b))[i] = (uint8_t)i;
	}
	args = h_args(&h);
	h_arg_buffer(&args, a);
	h_arg_buffer(&args, b);
	h_arg_value(&args, &k, sizeof(k));
	h_arg_local(&args, 4096);
	p = h_dispatch(7, 0, 1000, 0, &args);
	h_run(&h, 0, &p);
	for (int i = 0; i < 1000; i++)
		CHECK(((float *)h_ptr(&h, a))[i] == (float)i + (float)(uint8_t)i + 0.5f);
	/* Again with another group size: another code generation. */
	p = h_dispatch(7, 0, 1000, 100, &args);
	h_run(&h, 0, &p);
	CHECK(((float *)h_ptr(&h, a))[3] == 3 + 2 * 3.5f);
	/* Two dimensions, a required size, an offset. */
	args = h_args(&h);
	h_arg_buffer(&args, b + 3);
	args.a->global_offset[0] = 8;
	memset(h_ptr(&h, b + 3), 0, 1024);
	p = h_dispatch(7, 1, 8, 0, &args);
	p.dispatch.dims = 2;
	p.dispatch.global[1] = 4;
	h_run(&h, 0, &p);
	CHECK_EQ(((uint32_t *)h_ptr(&h, b + 3))[8 + 1], 3 + 800);	/* row 1, item 1: slot 5, which reads slot 2 */
	CHECK_EQ(h.lease->kernels, 3);
	CHECK(h.lease->compile_ns > 0);
	CHECK(h.lease->busy_ns > 0);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_UNLOAD_PROGRAM, .program = { .program = 7 } };
	h_run(&h, 0, &p);
	h_stop(&h);
}

static void completion(void)
{
	struct mdl_ipc_irq_set irq = { .hdr = { MDL_IPC_IRQ_SET, sizeof(irq) }, .vector = 0 };
	struct mdl_hw_packet p;
	uint64_t sem, stamp;
	struct h h;
	int fd;

	h_start(&h, 2);
	fd = h.doorbell[7];
	CHECK_EQ(mdl_ipc_send(h.control, &irq, &fd, 1), 0);
	sem = h_alloc(&h, 64);
	stamp = h_alloc(&h, 64);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_BARRIER, .flags = MDL_PKT_SIGNAL | MDL_PKT_IRQ | MDL_PKT_BARRIER,
				    .signal_va = sem, .signal_value = 42 };
	h_run(&h, 0, &p);
	CHECK_EQ(*(uint64_t *)h_ptr(&h, sem), 42);
	{
		uint64_t n = 0;

		while (read(fd, &n, sizeof(n)) != sizeof(n))
			;
		CHECK_EQ(n, 1);
		/* The VMM changed the eventfd meanwhile: the new one hears of it too, once. */
		fd = h.doorbell[6];
		CHECK_EQ(mdl_ipc_send(h.control, &irq, &fd, 1), 0);
		while (read(fd, &n, sizeof(n)) != sizeof(n))
			;
		fd = h.doorbell[5];
		CHECK_EQ(mdl_ipc_send(h.control, &irq, &fd, 1), 0);
		p = (struct mdl_hw_packet){ .opcode = MDL_OP_BARRIER };
		h_run(&h, 0, &p);
		CHECK(read(fd, &n, sizeof(n)) < 0);
	}
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_TIMESTAMP, .timestamp = { stamp } };
	h_run(&h, 0, &p);
	CHECK(*(uint64_t *)h_ptr(&h, stamp) <= h_now_ns() - 1000);
	CHECK(*(uint64_t *)h_ptr(&h, stamp) > h_now_ns() - 1000 - 10 * MDL_NS_PER_S);
	/* Channel 1 waits for what channel 0 releases; channel 0 is not held up. */
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_SEM_WAIT, .sem = { sem, 44, MDL_SEM_GE } };
	h_push(&h, 1, &p);
	CHECK(!h_done(&h, 1, 20));
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_SEM_RELEASE, .sem = { sem, 1, MDL_SEM_ADD } };
	h_run(&h, 0, &p);
	CHECK(!h_done(&h, 1, 20));
	CHECK_EQ(atomic_load(&h.lease->state), MDL_LEASE_IDLE);	/* waiting does not hold it */
	h_run(&h, 0, &p);
	CHECK(h_done(&h, 1, H_WAIT_MS));
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_SEM_RELEASE, .sem = { sem, 0x80, MDL_SEM_OR } };
	h_run(&h, 0, &p);
	CHECK_EQ(*(uint64_t *)h_ptr(&h, sem), 0x80 | 44);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_SEM_WAIT, .sem = { sem, 0x80, MDL_SEM_AND_NZ } };
	h_run(&h, 1, &p);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_SEM_RELEASE, .sem = { sem, 9, MDL_SEM_SET } };
	h_run(&h, 0, &p);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_SEM_WAIT, .sem = { sem, 9, MDL_SEM_EQ } };
	h_run(&h, 1, &p);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_SEM_WAIT, .sem = { sem, 8, MDL_SEM_NE } };
	h_run(&h, 1, &p);
	CHECK_EQ(h.lease->commands, 11);
	h_stop(&h);
}

static const struct check_case cases[] = {
	{ "completion", completion, 60 },
	{ "copy_fill", copy_fill, 60 },
	{ "dispatch", dispatch, 60 },
};
CHECK_MAIN(cases)
