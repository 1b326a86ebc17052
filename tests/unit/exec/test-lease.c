/* SPDX-License-Identifier: MIT */
/* The lease: nothing runs without it, it is given back when asked for, and a stopped executor's memory can still be changed. */
#include "harness.h"

#include <poll.h>
#include <signal.h>

#include "base/fd.h"
#include "base/util.h"
#include "tests/unit/check.h"

static void wait_state(struct h *h, uint32_t state)
{
	for (int i = 0; atomic_load(&h->lease->state) != state; i++) {
		CHECK(i < H_WAIT_MS);
		poll(NULL, 0, 1);
	}
}

static void grant(struct h *h)
{
	atomic_store(&h->lease->state, MDL_LEASE_IDLE);
	mdl_eventfd_signal(h->grant);
}

static void none(void)
{
	const struct mdl_hw_packet p = { .opcode = MDL_OP_BARRIER };
	struct h h;

	h_start(&h, 1);
	h_run(&h, 0, &p);
	wait_state(&h, MDL_LEASE_IDLE);
	/* The manager takes an idle lease without asking. */
	CHECK(atomic_compare_exchange_strong(&h.lease->state, &(uint32_t){ MDL_LEASE_IDLE }, MDL_LEASE_NONE));
	mdl_eventfd_take(h.want);
	h_push(&h, 0, &p);
	CHECK_EQ(mdl_wait_readable(h.want, H_WAIT_MS), 1);
	CHECK_EQ(atomic_load(&h.lease->want), 1);
	CHECK(!h_done(&h, 0, 100));
	grant(&h);
	CHECK(h_done(&h, 0, H_WAIT_MS));
	wait_state(&h, MDL_LEASE_IDLE);
	for (int i = 0; atomic_load(&h.lease->want); i++) {
		CHECK(i < H_WAIT_MS);
		poll(NULL, 0, 1);
	}
	/* Fallen idle while others wait: it says so. */
	mdl_eventfd_take(h.want);
	atomic_store(&h.lease->contended, 1);
	h_run(&h, 0, &p);
	CHECK_EQ(mdl_wait_readable(h.want, H_WAIT_MS), 1);
	h_stop(&h);
}

/* Asked for in the middle of a long copy: given back long before its end, and the copy goes on later. */
static void yield(void)
{
	struct mdl_hw_packet p;
	struct h h;

	h_start(&h, 1);
	/* A large range, all of it the same 2 MiB of VRAM. */
	for (int i = 0; i < 512; i++)
		CHECK_EQ(h_map(&h, H_HOLE_VA + (uint64_t)i * (2 << 20), 2 << 20, MDL_MEM_VRAM, 32 << 20, true), 0);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_FILL, .fill = { H_HOLE_VA, 1ull << 30, 3, 8 } };
	mdl_eventfd_take(h.want);
	h_push(&h, 0, &p);
	wait_state(&h, MDL_LEASE_BUSY);
	CHECK(h.lease->busy_since_ns);
	CHECK(atomic_compare_exchange_strong(&h.lease->state, &(uint32_t){ MDL_LEASE_BUSY }, MDL_LEASE_YIELD));
	wait_state(&h, MDL_LEASE_NONE);
	CHECK_EQ(h.user[0]->get, 0);
	CHECK_EQ(mdl_wait_readable(h.want, H_WAIT_MS), 1);
	CHECK_EQ(atomic_load(&h.lease->want), 1);
	CHECK(h.lease->busy_ns > 0);
	CHECK(!h_done(&h, 0, 50));
	grant(&h);
	CHECK(h_done(&h, 0, H_WAIT_MS));
	h_stop(&h);
}

/* SIGSTOP in a kernel; the mapper works on; SIGCONT: the kernel sees what the mapper did. */
static void stopped(void)
{
	struct h_args a;
	struct mdl_hw_packet p;
	struct mdl_ipc_fault f;
	uint64_t flag, va = H_HOLE_VA;
	struct h h;

	h_start(&h, 1);
	h_load_ok(&h, 0, "__kernel void wait(__global volatile ulong *flag, ulong va) {\n"
			 "  flag[0] = 1; while (flag[1] == 0) ; flag[2] = *(volatile __global ulong *)va; }\n");
	flag = h_alloc(&h, 64);
	a = h_args(&h);
	h_arg_buffer(&a, flag);
	h_arg_value(&a, &va, 8);
	p = h_dispatch(0, 0, 1, 1, &a);
	h_push(&h, 0, &p);
	while (!((volatile uint64_t *)h_ptr(&h, flag))[0])
		poll(NULL, 0, 1);
	CHECK_EQ(kill(h.pid, SIGSTOP), 0);
	{
		siginfo_t info = { 0 };

		CHECK_EQ(waitid(P_PIDFD, (id_t)h.pidfd, &info, WSTOPPED), 0);
		CHECK_EQ(info.si_code, CLD_STOPPED);
	}
	/* All of this while it stands still. */
	*(uint64_t *)(h.vram + (40 << 20)) = 0xabcd;
	CHECK_EQ(h_map(&h, va, 4096, MDL_MEM_VRAM, 40 << 20, false), 0);
	((volatile uint64_t *)h_ptr(&h, flag))[1] = 1;
	CHECK(!h_done(&h, 0, 100));
	CHECK_EQ(kill(h.pid, SIGCONT), 0);
	CHECK(h_done(&h, 0, H_WAIT_MS));
	CHECK_EQ(((uint64_t *)h_ptr(&h, flag))[2], 0xabcd);
	/* Unmapped again, the same kernel faults. */
	CHECK_EQ(h_unmap(&h, va, 4096), 0);
	h_push(&h, 0, &p);
	f = h_expect_fault(&h);
	CHECK_EQ(f.va, va);
	h_stop(&h);
}

/* What the watchdog goes by: each kernel has a time of its own at which it began, on a channel that has run nothing else too. */
static void kernel_began(void)
{
	uint64_t seen[2] = { 0 };
	struct h_args args;
	struct h h;

	h_start(&h, 2);
	h_load_ok(&h, 0, "kernel void spin(global uint *p) { uint x = p[0]; for (uint i = 0; i < 20000000; i++) x = x * 1664525 + i; p[0] = x; }");
	args = h_args(&h);
	h_arg_buffer(&args, h_alloc(&h, 64));
	for (int i = 0; i < 2; i++) {
		struct mdl_hw_packet p = h_dispatch(0, 0, 1, 1, &args);
		uint64_t start = h_now_ns(), since;

		h_push(&h, 1, &p);
		while (!h_done(&h, 1, 0)) {
			since = atomic_load(&h.lease->packet_since_ns);
			seen[i] = since ? since : seen[i];
		}
		CHECK(seen[i] >= start);
	}
	h_stop(&h);
}

/* A channel that is closed in the middle of a copy leaves nothing behind that the watchdog would time; another one's stays told. */
static void closed_half_done(void)
{
	struct mdl_hw_packet p = { .opcode = MDL_OP_FILL, .tag = 5, .fill = { H_HOLE_VA, 1ull << 30, 3, 8 } };
	const struct mdl_hw_packet barrier = { .opcode = MDL_OP_BARRIER };
	uint32_t told, other;
	struct h h;

	h_start(&h, 2);
	for (int i = 0; i < 512; i++)
		CHECK_EQ(h_map(&h, H_HOLE_VA + (uint64_t)i * (2 << 20), 2 << 20, MDL_MEM_VRAM, 32 << 20, true), 0);
	/* Both run a piece or more before the lease is asked for. */
	h_push(&h, 0, &p);
	h_push(&h, 1, &p);
	for (uint32_t seen = 0; seen != 3;) {
		if (atomic_load(&h.lease->packet_since_ns))
			seen |= 1u << (atomic_load(&h.lease->packet) >> 32);
		CHECK(!h.user[0]->get && !h.user[1]->get);
	}
	CHECK(atomic_compare_exchange_strong(&h.lease->state, &(uint32_t){ MDL_LEASE_BUSY }, MDL_LEASE_YIELD));
	wait_state(&h, MDL_LEASE_NONE);
	told = (uint32_t)(atomic_load(&h.lease->packet) >> 32);
	other = 1 - told;
	CHECK(atomic_load(&h.lease->packet_since_ns));
	h_chan_close(&h, other);
	CHECK(atomic_load(&h.lease->packet_since_ns));
	h_chan_close(&h, told);
	CHECK_EQ(atomic_load(&h.lease->packet_since_ns), 0);
	h_chan_open(&h, told);
	grant(&h);
	h_run(&h, told, &barrier);
	h_stop(&h);
}

static const struct check_case cases[] = {
	{ "closed half done", closed_half_done, 60 },
	{ "each kernel's beginning is told", kernel_began, 0 },
	{ "none", none, 60 },
	{ "yield", yield, 60 },
	{ "stopped", stopped, 60 },
};
CHECK_MAIN(cases)
