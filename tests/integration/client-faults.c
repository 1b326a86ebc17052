/* SPDX-License-Identifier: MIT */
/* Roles that do wrong: stray pointers, kernels without end, packets that are none. Each recovers and computes again. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "client.h"

#define ITEMS 4096

static void recover(struct work *w)
{
	OK(mdl_ctx_reset(w->ctx));
	OK(mdl_chan_reset(w->chan));
	work_build(w);
	OK(work_round(w, 5));
}

static void expect_fault(struct work *w, const char *kernel, uint64_t va, uint64_t arg1,
			 uint32_t access)
{
	struct mdl_chan_error ce;
	struct mdl_ctx_state cs;
	struct mdl_hw_fault f;
	uint64_t arg[] = { va, arg1 };

	mdl_chan_set_tag(w->chan, 0xabcd);
	OK(work_launch(w, kernel, 1, arg, 2));
	mdl_chan_set_tag(w->chan, 0);
	CHECK(mdl_chan_finish(w->chan, LONG) == -EIO, "%s at %#llx went through", kernel,
	      (unsigned long long)va);
	OK(mdl_chan_error(w->chan, &ce));
	CHECK(ce.error == MDL_ERR_PAGE_FAULT && ce.context_lost, "error %s",
	      mdl_error_name(ce.error));
	CHECK(ce.va >> 12 == va >> 12, "channel's address %#llx", (unsigned long long)ce.va);
	OK(mdl_ctx_state(w->ctx, &cs));
	CHECK(cs.status == MDL_STATUS_FAULTED && cs.error == MDL_ERR_PAGE_FAULT, "context %u",
	      cs.status);
	CHECK(cs.fault_va >> 12 == va >> 12, "context's address %#llx",
	      (unsigned long long)cs.fault_va);
	OK(mdl_gpu_next_fault(w->gpu, &f));
	CHECK(f.error == MDL_ERR_PAGE_FAULT && f.context == mdl_ctx_id(w->ctx), "ring: %u",
	      f.error);
	CHECK(f.va >> 12 == va >> 12 && f.access == access && f.tag == 0xabcd,
	      "ring: va %#llx access %u tag %#x", (unsigned long long)f.va, f.access, f.tag);
	CHECK(f.channel == mdl_chan_id(w->chan), "ring: channel %u", f.channel);
	recover(w);
}

/* Writes and reads in the window where nothing is, and a write where only reading is allowed. */
int role_stray(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	struct mdl_gpu_info info;
	struct mdl_buf *ro;
	struct work w;
	uint64_t va;

	mdl_gpu_info(gpu, &info);
	work_init(&w, gpu, ITEMS);
	expect_fault(&w, "poke", info.va_limit - 4096 + 0x123 * 4, 1, MDL_ACCESS_WRITE);
	expect_fault(&w, "peek", info.va_base + (info.va_limit - info.va_base) / 2,
		     mdl_buf_va(w.out), MDL_ACCESS_READ);
	OK(mdl_buf_create(gpu, 4096, MDL_PLACE_VRAM, &ro));
	OK(mdl_buf_map(ro, w.ctx, MDL_VA_ANY, MDL_MAP_READ, &va));
	*(uint32_t *)mdl_buf_ptr(ro) = 77;
	OK(work_launch(&w, "peek", 1, (uint64_t[]) { va, mdl_buf_va(w.out) }, 2));
	OK(mdl_chan_finish(w.chan, LONG));
	CHECK(*(uint32_t *)mdl_buf_ptr(w.out) == 77, "read-only page reads wrong");
	expect_fault(&w, "poke", va, 78, MDL_ACCESS_WRITE);
	CHECK(*(uint32_t *)mdl_buf_ptr(ro) == 77, "read-only page was written");
	/* After unmap the address is stray too. */
	OK(mdl_buf_unmap(ro, w.ctx, va, 0));
	expect_fault(&w, "peek", va, mdl_buf_va(w.out), MDL_ACCESS_READ);
	mdl_buf_destroy(ro);
	work_fini(&w);
	mdl_gpu_close(gpu);
	say("ok");
	return 0;
}

/* A kernel without end, until "release" lets it end or "reset" ends its context. */
int role_spin(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	const struct timespec ms = { .tv_nsec = 1000000 };
	volatile uint32_t *flag;
	const char *order;
	struct mdl_buf *buf;
	struct work w;
	uint64_t start;

	work_init(&w, gpu, ITEMS);
	OK(mdl_buf_alloc(w.ctx, 4096, MDL_PLACE_VRAM, &buf));
	flag = mdl_buf_ptr(buf);
	memset(mdl_buf_ptr(buf), 0, 4096);
	OK(work_launch(&w, "spin", 1, (uint64_t[]) { mdl_buf_va(buf) }, 1));
	start = mdl_gpu_now_ns(gpu);
	while (!flag[0]) {
		CHECK(mdl_gpu_now_ns(gpu) - start < LONG, "kernel does not start");
		nanosleep(&ms, NULL);
	}
	say("running");
	order = hear();
	if (order && !strcmp(order, "release")) {
		flag[1] = 1;
		OK(mdl_chan_finish(w.chan, LONG));
		CHECK(flag[2] == 1, "kernel did not reach its end");
		OK(work_round(&w, 3));
	} else if (order && !strcmp(order, "reset")) {
		recover(&w);
		CHECK(flag[2] == 0, "kernel ran on");
	}
	mdl_buf_destroy(buf);
	work_fini(&w);
	mdl_gpu_close(gpu);
	say("ok");
	return 0;
}

static void expect_error(struct work *w, const struct mdl_hw_packet *p, uint32_t error)
{
	struct mdl_chan_error ce;
	int err;

	OK(mdl_chan_packet(w->chan, p));
	err = mdl_chan_finish(w->chan, LONG);
	CHECK(err == -EIO, "opcode %u flags %#x: %d", p->opcode, p->flags, err);
	OK(mdl_chan_error(w->chan, &ce));
	CHECK(ce.error == error, "opcode %u: error %s", p->opcode, mdl_error_name(ce.error));
	/* Only the channel stopped; the context and its program live. */
	CHECK(!ce.context_lost, "opcode %u took the context along", p->opcode);
	OK(mdl_chan_reset(w->chan));
	OK(work_round(w, p->opcode));
}

int role_bad_packets(int argc, char **argv)
{
	struct mdl_gpu *gpu = gpu_open(argv[0]);
	struct work w;

	work_init(&w, gpu, ITEMS);
	expect_error(&w, &(struct mdl_hw_packet) { .opcode = MDL_OP_INVALID }, MDL_ERR_BAD_PACKET);
	expect_error(&w, &(struct mdl_hw_packet) { .opcode = MDL_OP_COUNT }, MDL_ERR_BAD_PACKET);
	expect_error(&w, &(struct mdl_hw_packet) { .opcode = 255 }, MDL_ERR_BAD_PACKET);
	expect_error(&w, &(struct mdl_hw_packet) { .opcode = MDL_OP_BARRIER, .flags = 0xf0 },
		     MDL_ERR_BAD_PACKET);
	expect_error(&w, &(struct mdl_hw_packet) { .opcode = MDL_OP_BARRIER, .reserved0 = 1 },
		     MDL_ERR_BAD_PACKET);
	expect_error(&w,
		     &(struct mdl_hw_packet) { .opcode = MDL_OP_SEM_RELEASE,
					       .sem = { .va = mdl_buf_va(w.out) + 1 } },
		     MDL_ERR_BAD_PACKET);
	expect_error(&w,
		     &(struct mdl_hw_packet) { .opcode = MDL_OP_FILL,
					       .fill = { .dst_va = mdl_buf_va(w.out),
							 .bytes = 16,
							 .pattern_bytes = 3 } },
		     MDL_ERR_BAD_PACKET);
	expect_error(&w,
		     &(struct mdl_hw_packet) {
			     .opcode = MDL_OP_DISPATCH,
			     .dispatch = { .program = 200, .dims = 1, .global = { 1, 1, 1 } } },
		     MDL_ERR_BAD_PROGRAM);
	expect_error(&w,
		     &(struct mdl_hw_packet) { .opcode = MDL_OP_DISPATCH,
					       .dispatch = { .program = 0,
							     .kernel = 100,
							     .dims = 1,
							     .global = { 1, 1, 1 } } },
		     MDL_ERR_BAD_PROGRAM);
	work_fini(&w);
	mdl_gpu_close(gpu);
	say("ok");
	return 0;
}
