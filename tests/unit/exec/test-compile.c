/* SPDX-License-Identifier: MIT */
/* The compiler companion: errors with their log, hostile sources, limits, and channels that do not wait for each other. */
#include "harness.h"

#include <poll.h>

#include "base/fd.h"
#include "base/util.h"
#include "tests/unit/check.h"

static const char fine[] = "__kernel void set(__global int *p) { p[get_global_id(0)] = VALUE; }\n";

static void runs(struct h *h, uint32_t handle, int value)
{
	struct h_args a = h_args(h);
	uint64_t out = h_alloc(h, 64);
	struct mdl_hw_packet p;

	h_arg_buffer(&a, out);
	p = h_dispatch(handle, 0, 4, 4, &a);
	h_run(h, 0, &p);
	CHECK_EQ(((int *)h_ptr(h, out))[3], value);
}

static void errors(void)
{
	const struct mdl_hw_program_result *r;
	const char *log;
	struct h h;

	h_start(&h, 1);
	r = h_load(&h, 0, "__kernel void f(__global int *p) { p[0] = undeclared_thing; }\n", "", &log);
	CHECK_EQ(r->status, MDL_PROGRAM_BUILD_FAILED);
	CHECK_EQ(r->num_kernels, 0);
	CHECK(strstr(log, "undeclared_thing"));
	CHECK_EQ(r->log_bytes, strlen(log) + 1);
	/* The handle is not usable, but can be loaded again. */
	CHECK_EQ(h_load(&h, 0, fine, "-DVALUE=42 -cl-std=CL1.2 -w", &log)->status, 0);
	runs(&h, 0, 42);
	CHECK_EQ(h_load(&h, 0, fine, "-D VALUE=43", &log)->status, 0);
	runs(&h, 0, 43);
	/* The source may differ each time it is read. */
	CHECK_EQ(h_load(&h, 1, "__kernel void f(__global int *p) { p[get_global_id(0)] = sizeof(__FILE__ __TIME__) > 0; }\n", "", &log)
			 ->status, 0);
	runs(&h, 1, 1);
	/* Options that open files or load code. */
	for (int i = 0; i < 6; i++) {
		static const char *const options[] = {
			"-I/etc", "-include /etc/passwd", "-load /lib/x.so", "-DX=\"a -load /lib/x.so\"", "-cl-kernel-arg-inf", "-D",
		};

		r = h_load(&h, 2, fine, options[i], &log);
		CHECK_EQ(r->status, MDL_PROGRAM_BUILD_FAILED);
		CHECK(strstr(log, "not allowed"));
	}
	r = h_load(&h, 2, "__kernel void f(read_only image2d_t i) { }\n", "", &log);
	CHECK_EQ(r->status, MDL_PROGRAM_UNSUPPORTED);
	CHECK(strstr(log, "image"));
	r = h_load(&h, 2, "__kernel void a_name_that_is_longer_than_sixty_three_characters_which_is_the_limit(void) { }\n", "", &log);
	CHECK_EQ(r->status, MDL_PROGRAM_UNSUPPORTED);
	/* A function that nobody defines: found at the load or at the first launch, but never by crashing. */
	r = h_load(&h, 3, "int nowhere(int);\n__kernel void f(__global int *p) { p[0] = nowhere(1); }\n", "", &log);
	if (r->status == 0) {
		struct h_args a = h_args(&h);
		struct mdl_hw_packet p;

		h_arg_buffer(&a, h_alloc(&h, 64));
		p = h_dispatch(3, 0, 1, 1, &a);
		h_push(&h, 0, &p);
		CHECK_EQ(h_expect_error(&h, 0).error, MDL_ERR_COMPILE);
		h_chan_close(&h, 0);
		h_chan_open(&h, 0);
	}
	runs(&h, 0, 43);
	h_stop(&h);
}

/* Sources that read the machine: nothing is there. */
static void includes(void)
{
	static const char *const file[] = { "/etc/passwd", "/etc/shadow", "/dev/zero", "/proc/self/maps", "/proc/cpuinfo", "/etc/resolv.conf",
					    "/etc/hostname", "../../../etc/passwd" };
	const struct mdl_hw_program_result *r;
	const char *log;
	char source[256];
	struct h h;

	h_start(&h, 1);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(file); i++) {
		snprintf(source, sizeof(source), "#include \"%s\"\n__kernel void f(void) { }\n", file[i]);
		r = h_load(&h, 0, source, "", &log);
		CHECK_EQ(r->status, MDL_PROGRAM_BUILD_FAILED);
		CHECK(strstr(log, "file not found"));
	}
	snprintf(source, sizeof(source), "__kernel void f(void) { __asm__(\".incbin \\\"/etc/passwd\\\"\"); }\n");
	/* PoCL 3.1 goes on without the file that its assembler did not find. If there were one, these bytes would be run. */
	r = h_load(&h, 0, source, "", &log);
	if (r->status == 0) {
		struct mdl_hw_packet p = h_dispatch(0, 0, 1, 1, NULL);

		h_push(&h, 0, &p);
		if (!h_done(&h, 0, H_WAIT_MS))
			CHECK_EQ(h_expect_error(&h, 0).error, MDL_ERR_COMPILE);
	}
	h_stop(&h);
}

static char *repeat(char *to, const char *what, int n)
{
	while (n--)
		to = stpcpy(to, what);
	return to;
}

/* Sources that eat the compiler: each ends within the limits, with a status, and the next one is compiled as if nothing had been. */
static void bombs(void)
{
	static char nested[700000];
	const struct mdl_hw_program_result *r;
	const char *log;
	char source[4096], *s = source;
	uint64_t start;
	struct h h;

	h_start(&h, 1);
	/* 10^12 tokens out of nested macros. */
	s = stpcpy(s, "#define A0 p[0]++;\n");
	for (int i = 1; i <= 12; i++)
		s += sprintf(s, "#define A%d A%d A%d A%d A%d A%d A%d A%d A%d A%d A%d\n", i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1,
			     i - 1, i - 1, i - 1);
	sprintf(s, "__kernel void f(__global int *p) { A12 }\n");
	start = h_now_ns();
	r = h_load(&h, 0, source, "", &log);
	fprintf(stderr, "# macro bomb: status %u after %llu s: %s\n", r->status,
		(unsigned long long)((h_now_ns() - start) / MDL_NS_PER_S), log);
	CHECK(r->status == MDL_PROGRAM_TIMEOUT || r->status == MDL_PROGRAM_NO_MEMORY);
	/* The limit on CPU time ends it, or where there is little of that, the one on time. */
	CHECK(h_now_ns() - start < 150 * MDL_NS_PER_S);
	/* A stack overflow in the parser. */
	s = stpcpy(nested, "__kernel void f(__global int *p) { p[0] = ");
	s = repeat(s, "(", 300000);
	s = stpcpy(s, "1");
	s = repeat(s, ")", 300000);
	stpcpy(s, "; }\n");
	r = h_load(&h, 0, nested, "", &log);
	CHECK(r->status != MDL_PROGRAM_OK);
	/* An array that fills the disk. */
	r = h_load(&h, 0, "__constant char big[3000000000] = { 1 };\n__kernel void f(__global int *p) { p[0] = big[p[1]]; }\n", "", &log);
	if (r->status == 0) {
		struct h_args a = h_args(&h);
		struct mdl_hw_packet p;

		h_arg_buffer(&a, h_alloc(&h, 64));
		p = h_dispatch(0, 0, 1, 1, &a);
		h_push(&h, 0, &p);
		CHECK_EQ(h_expect_error(&h, 0).error, MDL_ERR_COMPILE);
		h_chan_close(&h, 0);
		h_chan_open(&h, 0);
	}
	CHECK_EQ(h_load(&h, 1, fine, "-DVALUE=5", &log)->status, 0);
	runs(&h, 1, 5);
	h_stop(&h);
}

/* While one channel compiles, the other works, and the lease is not held. */
static void aside(void)
{
	static const char plain[] = "__kernel void set(__global int *p) { p[get_global_id(0)] = 1; }\n";
	const struct mdl_hw_packet barrier = { .opcode = MDL_OP_BARRIER };
	struct mdl_hw_program_load *load;
	struct mdl_hw_packet p = { .opcode = MDL_OP_LOAD_PROGRAM };
	uint64_t va, src, res;
	struct h h;
	int n = 0;

	h_start(&h, 2);
	va = h_alloc(&h, sizeof(*load));
	src = h_alloc(&h, sizeof(plain));
	res = h_alloc(&h, 4096);
	memcpy(h_ptr(&h, src), plain, sizeof(plain));
	load = h_ptr(&h, va);
	*load = (struct mdl_hw_program_load){ .source_va = src, .source_bytes = sizeof(plain) - 1, .result_va = res, .max_kernels = 1 };
	p.program.load_va = va;
	h_push(&h, 0, &p);
	while (!h.user[0]->get) {
		h_run(&h, 1, &barrier);
		n++;
		poll(NULL, 0, 1);
	}
	CHECK(n > 10);
	CHECK_EQ(((struct mdl_hw_program_result *)h_ptr(&h, res))->status, 0);
	CHECK(h.lease->compile_ns > 10 * MDL_NS_PER_MS);
	CHECK(h.lease->busy_ns < h.lease->compile_ns / 2);
	/* Closed in the middle of it: the channel is gone at once, another load of the handle works. */
	h_push(&h, 0, &p);
	poll(NULL, 0, 20);
	h_chan_close(&h, 0);
	h_chan_open(&h, 0);
	CHECK_EQ(h_load(&h, 0, fine, "-DVALUE=9", NULL)->status, 0);
	runs(&h, 0, 9);
	h_stop(&h);
}

static void until(const _Atomic uint32_t *word, uint32_t value)
{
	for (int i = 0; atomic_load(word) != value; i++) {
		CHECK(i < H_WAIT_MS);
		poll(NULL, 0, 1);
	}
}

/*
 * A launch on channel 1 is checked and waits for the lease; then channel 0 puts another program under its handle, compiled but for
 * the packet's end; then both go on.
 */
static void replace_under_launch(struct h *h, const struct mdl_hw_packet *launch, const char *source)
{
	struct mdl_hw_packet p = { .opcode = MDL_OP_LOAD_PROGRAM };
	uint64_t va = h_alloc(h, sizeof(struct mdl_hw_program_load)), src = h_alloc(h, strlen(source)), compiled;

	memcpy(h_ptr(h, src), source, strlen(source));
	*(struct mdl_hw_program_load *)h_ptr(h, va) = (struct mdl_hw_program_load){
		.source_va = src, .source_bytes = strlen(source), .result_va = h_alloc(h, 4096), .max_kernels = 1,
	};
	p.program.load_va = va;
	until(&h->lease->want, 0);
	until(&h->lease->state, MDL_LEASE_IDLE);
	CHECK(atomic_compare_exchange_strong(&h->lease->state, &(uint32_t){ MDL_LEASE_IDLE }, MDL_LEASE_NONE));
	h_push(h, 1, launch);
	until(&h->lease->want, 1);
	compiled = atomic_load(&h->lease->compile_ns);
	h_push(h, 0, &p);
	for (int i = 0; atomic_load(&h->lease->compile_ns) == compiled; i++) {
		CHECK(i < H_WAIT_MS);
		poll(NULL, 0, 1);
	}
	CHECK_EQ(h->user[1]->get, h->put[1] - 1);
	atomic_store(&h->lease->state, MDL_LEASE_IDLE);
	mdl_eventfd_signal(h->grant);
}

static void replaced(void)
{
	static const char first[] = "__kernel void k(ulong v, __global ulong *p) { p[0] = v; }\n",
			  same[] = "__kernel void k(ulong v, __global ulong *p) { __local ulong t[4]; t[0] = v; p[0] = t[0] + 1; }\n",
			  other[] = "__kernel void k(__global ulong *p, ulong v) { p[0] = v; }\n",
			  fewer[] = "__kernel void k(ulong v) { }\n",
			  wide[] = "__kernel __attribute__((reqd_work_group_size(8, 1, 1))) void k(ulong v, __global ulong *p) { p[0] = v; }\n";
	/* What is neither an object of the runtime nor readable. */
	uint64_t v = 0x41414141414141, out;
	struct mdl_hw_packet p;
	struct h_args a;
	struct h h;

	h_start(&h, 2);
	out = h_alloc(&h, 64);
	a = h_args(&h);
	h_arg_value(&a, &v, 8);
	h_arg_buffer(&a, out);
	p = h_dispatch(0, 0, 1, 1, &a);
	h_load_ok(&h, 0, first);
	h_run(&h, 1, &p);
	CHECK_EQ(*(uint64_t *)h_ptr(&h, out), v);
	/* It fits the new one as well, whose code is generated aside first. */
	replace_under_launch(&h, &p, same);
	CHECK(h_done(&h, 1, H_WAIT_MS) && h_done(&h, 0, H_WAIT_MS));
	CHECK_EQ(*(uint64_t *)h_ptr(&h, out), v + 1);
	for (int i = 0; i < 3; i++) {
		const char *const source[] = { other, fewer, wide };
		struct mdl_ipc_fault f;

		h_load_ok(&h, 0, first);
		h_run(&h, 1, &p);
		replace_under_launch(&h, &p, source[i]);
		f = h_expect_error(&h, 1);
		CHECK_EQ(f.error, MDL_ERR_BAD_PROGRAM);
		CHECK_EQ(f.info, offsetof(struct mdl_hw_packet, dispatch.args_va));
		CHECK_EQ(f.tag, 77);
		CHECK(h_done(&h, 0, H_WAIT_MS));
		CHECK_EQ(atomic_load(&h.lease->packet_since_ns), 0);
		h_chan_close(&h, 1);
		h_chan_open(&h, 1);
	}
	h_stop(&h);
}

static const struct check_case cases[] = {
	{ "replaced", replaced, 120 },
	{ "errors", errors, 120 },
	{ "includes", includes, 120 },
	{ "aside", aside, 60 },
	{ "bombs", bombs, 180 },
};
CHECK_MAIN(cases)
