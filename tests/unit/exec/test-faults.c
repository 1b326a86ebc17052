/* SPDX-License-Identifier: MIT */
/* Guest work that goes wrong: each is a fault of its context with the right address, and the executor is gone afterwards. */
#include "harness.h"

#include <signal.h>

#include "tests/unit/check.h"

static const char source[] =
	"__kernel void peek(__global ulong *out, ulong va) { out[get_global_id(0)] = *(volatile __global ulong *)va; }\n"
	"__kernel void poke(__global ulong *out, ulong va) { *(volatile __global ulong *)va = 1; }\n"
	"__kernel void jump(__global ulong *out, ulong va) {\n"
	"  __asm__ volatile(\"call *%0\" : : \"r\"(va) : \"memory\"); }\n"
	"__kernel void divide(__global ulong *out, ulong va) {\n"
	"  uint a = 1, b = 0; __asm__ volatile(\"xorl %%edx, %%edx; divl %1\" : \"+a\"(a) : \"r\"(b) : \"edx\"); out[0] = a; }\n"
	"__kernel void illegal(__global ulong *out, ulong va) { __asm__ volatile(\"ud2\"); }\n"
	"__kernel void deep(__global ulong *out, ulong va) {\n"
	"  __asm__ volatile(\"1: push %%rax; jmp 1b\" : : : \"memory\"); }\n"
	"__kernel void spin(__global volatile ulong *out, ulong va) { while (!out[0]) ; }\n";

enum { PEEK, POKE, JUMP, DIVIDE, ILLEGAL, DEEP, SPIN };

/* Starts a kernel that will not complete. */
static void launch(struct h *h, uint16_t kernel, uint64_t va)
{
	struct h_args a;
	struct mdl_hw_packet p;

	h_start(h, 2);
	h_load_ok(h, 0, source);
	a = h_args(h);
	h_arg_buffer(&a, h_alloc(h, 4096));
	h_arg_value(&a, &va, 8);
	p = h_dispatch(0, kernel, 1, 1, &a);
	h_push(h, 0, &p);
}

static struct mdl_ipc_fault fault_of(uint16_t kernel, uint64_t va)
{
	struct mdl_ipc_fault f;
	struct h h;

	launch(&h, kernel, va);
	f = h_expect_fault(&h);
	CHECK_EQ(f.ctx, 5);
	CHECK_EQ(f.chan, 0);
	CHECK_EQ(f.tag, 77);
	h_stop(&h);
	return f;
}

static void page(uint16_t kernel, uint64_t va, uint16_t access)
{
	struct mdl_ipc_fault f = fault_of(kernel, va);

	CHECK_EQ(f.error, MDL_ERR_PAGE_FAULT);
	CHECK_EQ(f.va, va);
	CHECK_EQ(f.access, access);
}

static void kernel_read(void)
{
	page(PEEK, H_HOLE_VA + 8, MDL_ACCESS_READ);
}

static void kernel_write(void)
{
	page(POKE, MDL_WINDOW_BASE + MDL_WINDOW_BYTES - 8, MDL_ACCESS_WRITE);
}

static void kernel_null(void)
{
	page(POKE, 0, MDL_ACCESS_WRITE);
}

static void kernel_exec(void)
{
	page(JUMP, H_VRAM_VA, MDL_ACCESS_EXEC);	/* mapped, but memory is never code */
}

static void kernel_wild(void)
{
	struct mdl_ipc_fault f = fault_of(PEEK, 0xdead000000000000ull);	/* non-canonical: the processor gives no address */

	CHECK_EQ(f.error, MDL_ERR_PAGE_FAULT);
}

static void kernel_divide(void)
{
	CHECK_EQ(fault_of(DIVIDE, 0).error, MDL_ERR_KERNEL_CRASH);
}

static void kernel_illegal(void)
{
	CHECK_EQ(fault_of(ILLEGAL, 0).error, MDL_ERR_KERNEL_CRASH);
}

static void kernel_stack(void)
{
	CHECK_EQ(fault_of(DEEP, 0).error, MDL_ERR_PAGE_FAULT);
}

static void kernel_read_only(void)
{
	struct mdl_ipc_fault f;
	struct mdl_hw_packet p;
	struct h_args a;
	uint64_t va = H_HOLE_VA, out;
	struct h h;

	h_start(&h, 1);
	h_load_ok(&h, 0, source);
	CHECK_EQ(h_map(&h, va, 4096, MDL_MEM_VRAM, H_VRAM_BYTES - 4096, false), 0);
	*(uint64_t *)(h.vram + H_VRAM_BYTES - 4096) = 0x1234;
	a = h_args(&h);
	out = h_alloc(&h, 64);
	h_arg_buffer(&a, out);
	h_arg_value(&a, &va, 8);
	p = h_dispatch(0, PEEK, 1, 1, &a);
	h_run(&h, 0, &p);
	CHECK_EQ(*(uint64_t *)h_ptr(&h, out), 0x1234);
	p = h_dispatch(0, POKE, 1, 1, &a);
	h_push(&h, 0, &p);
	f = h_expect_fault(&h);
	CHECK_EQ(f.error, MDL_ERR_PAGE_FAULT);
	CHECK_EQ(f.access, MDL_ACCESS_WRITE);
	CHECK_EQ(f.va, va);
	CHECK_EQ(*(uint64_t *)(h.vram + H_VRAM_BYTES - 4096), 0x1234);
	h_stop(&h);
}

/* A packet of the front end's own that touches what is not there. */
static void packet(const struct mdl_hw_packet *pkt, uint64_t va, uint16_t access)
{
	struct mdl_hw_packet p = *pkt;
	struct mdl_ipc_fault f;
	struct h h;

	h_start(&h, 2);
	p.tag = 4242;
	h_push(&h, 1, &p);
	f = h_expect_fault(&h);
	CHECK_EQ(f.error, MDL_ERR_PAGE_FAULT);
	/* Structures are copied in any order. */
	CHECK(f.va - va < sizeof(p));
	CHECK_EQ(f.access, access);
	CHECK_EQ(f.chan, 1);
	CHECK_EQ(f.tag, 4242);
	h_stop(&h);
}

static void packets(void)
{
	const uint64_t hole = H_HOLE_VA, user = MDL_USER_AREA_BASE;

	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_COPY, .copy = { H_VRAM_VA + H_HEAP, hole, 8 } }, hole, MDL_ACCESS_READ);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_FILL, .fill = { hole, 8, 1, 8 } }, hole, MDL_ACCESS_WRITE);
	/* Outside the window lies the executor itself: not even touched. */
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_COPY, .copy = { H_VRAM_VA + H_HEAP, user, 8 } }, user, MDL_ACCESS_READ);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_FILL, .fill = { user, 8, 1, 8 } }, user, MDL_ACCESS_WRITE);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_COPY, .copy = { H_VRAM_VA, H_VRAM_VA, ~0ull } }, H_VRAM_VA,
	       MDL_ACCESS_WRITE);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_COPY_2D, .copy_2d = { ~0ull - 4, H_VRAM_VA, 8, ~0u, ~0u, ~0u } },
	       ~0ull - 4, MDL_ACCESS_WRITE);
}

static void packets_sync(void)
{
	const uint64_t hole = H_HOLE_VA, user = MDL_USER_AREA_BASE;

	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_SEM_WAIT, .sem = { hole, 1, 0 } }, hole, MDL_ACCESS_READ);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_SEM_RELEASE, .sem = { user, 1, 0 } }, user, MDL_ACCESS_WRITE);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_TIMESTAMP, .timestamp = { hole } }, hole, MDL_ACCESS_WRITE);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_BARRIER, .flags = MDL_PKT_SIGNAL, .signal_va = hole }, hole,
	       MDL_ACCESS_WRITE);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_LOAD_PROGRAM, .program = { .load_va = hole } }, hole, MDL_ACCESS_READ);
	packet(&(struct mdl_hw_packet){ .opcode = MDL_OP_DISPATCH, .dispatch = { .dims = 1, .global = { 1, 1, 1 }, .args_va = hole } },
	       hole, MDL_ACCESS_READ);
}

/* The ring goes away under a running channel. */
static void ring(void)
{
	struct mdl_hw_packet p = { .opcode = MDL_OP_BARRIER };
	struct mdl_ipc_fault f;
	struct h h;

	h_start(&h, 1);
	h_run(&h, 0, &p);
	CHECK_EQ(h_unmap(&h, H_VRAM_VA, 4096), 0);
	h_push(&h, 0, &p);
	f = h_expect_fault(&h);
	CHECK_EQ(f.error, MDL_ERR_PAGE_FAULT);
	CHECK_EQ(f.va, H_VRAM_VA + sizeof(p));
	CHECK_EQ(f.chan, 0);
	h_stop(&h);
}

/* An infinite kernel does not look at anything, but it can be stopped and killed, and nothing stays behind. */
static void infinite(void)
{
	struct h h;

	launch(&h, SPIN, 0);
	/* get is 1 since the program was loaded. */
	while (atomic_load(&h.lease->state) != MDL_LEASE_BUSY)
		usleep(1000);
	CHECK(!h_done(&h, 0, 200));
	CHECK_EQ(atomic_load(&h.lease->state), MDL_LEASE_BUSY);
	CHECK_EQ(kill(h.pid, SIGKILL), 0);
	h_stop(&h);
}

static const struct check_case cases[] = {
	{ "kernel_read", kernel_read, 60 },
	{ "kernel_write", kernel_write, 60 },
	{ "kernel_null", kernel_null, 60 },
	{ "kernel_exec", kernel_exec, 60 },
	{ "kernel_wild", kernel_wild, 60 },
	{ "kernel_divide", kernel_divide, 60 },
	{ "kernel_illegal", kernel_illegal, 60 },
	{ "kernel_stack", kernel_stack, 60 },
	{ "kernel_read_only", kernel_read_only, 60 },
	{ "packets", packets, 120 },
	{ "packets_sync", packets_sync, 120 },
	{ "ring", ring, 60 },
	{ "infinite", infinite, 60 },
};
CHECK_MAIN(cases)
