/* SPDX-License-Identifier: MIT */
/* mdl-smoke's checks: each one aspect of the device, on a channel of its own. */
#include "smoke.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "smoke_cl.h"

#define OK(call)                                 \
	do {                                     \
		if (!smoke_ok(s, (call), #call)) \
			return;                  \
	} while (0)
#define TRUE(cond)                                 \
	do {                                       \
		if (!smoke_true(s, (cond), #cond)) \
			return;                    \
	} while (0)

static int finish(struct smoke *s)
{
	return mdl_chan_finish(s->chan, SMOKE_WAIT_NS);
}

static void registers(struct smoke *s)
{
	uint64_t a, b, v;

	OK(mdl_gpu_write_reg(s->gpu, MDL_REG_SCRATCH, 4, 0x12345678));
	OK(mdl_gpu_read_reg(s->gpu, MDL_REG_SCRATCH, 4, &v));
	TRUE(v == 0x12345678);
	OK(mdl_gpu_read_reg(s->gpu, MDL_REG_VRAM_BYTES, 8, &a));
	OK(mdl_gpu_read_reg(s->gpu, MDL_REG_VRAM_BYTES, 4, &v));
	OK(mdl_gpu_read_reg(s->gpu, MDL_REG_VRAM_BYTES + 4, 4, &b));
	TRUE(a == (v | b << 32));
	OK(mdl_gpu_read_reg(s->gpu, 0xff8, 8, &v)); /* nothing there */
	TRUE(v == 0);
	OK(mdl_gpu_timestamp(s->gpu, &a));
	OK(mdl_gpu_timestamp(s->gpu, &b));
	TRUE(b > a);
}

/* The CPU's and the GPU's view of memory are the same memory. */
static void memory(struct smoke *s)
{
	uint64_t *vram = mdl_buf_ptr(s->vram), *system = mdl_buf_ptr(s->system);

	for (uint32_t i = 0; i < SMOKE_BYTES / 8; i++)
		vram[i] = i * 0x9e3779b97f4a7c15ull;
	OK(mdl_chan_copy(s->chan, mdl_buf_va(s->system), mdl_buf_va(s->vram), SMOKE_BYTES));
	OK(finish(s));
	TRUE(!memcmp(vram, system, SMOKE_BYTES));
	memset(system, 0x5a, SMOKE_BYTES);
	OK(mdl_chan_copy(s->chan, mdl_buf_va(s->vram), mdl_buf_va(s->system), SMOKE_BYTES - 13));
	OK(mdl_chan_copy(s->chan, mdl_buf_va(s->vram), mdl_buf_va(s->system), 0));
	OK(finish(s));
	TRUE(!memcmp(vram, system, SMOKE_BYTES - 13));
	TRUE(((uint8_t *)vram)[SMOKE_BYTES - 13] != 0x5a);
	TRUE((uint8_t *)vram == (uint8_t *)mdl_gpu_aperture(s->gpu) + mdl_buf_vram_offset(s->vram));
}

static void fill(struct smoke *s)
{
	uint8_t *p = mdl_buf_ptr(s->vram);
	uint64_t va = mdl_buf_va(s->vram), pattern = 0x1122334455667788;

	memset(p, 0, 65536);
	for (uint32_t w = 1; w <= 8; w *= 2)
		OK(mdl_chan_fill(s->chan, va + w * 4096 + w, 17 * w, pattern, w));
	OK(finish(s));
	for (uint32_t w = 1; w <= 8; w *= 2) {
		uint8_t *at = p + w * 4096;

		TRUE(at[w - 1] == 0 && at[w + 17 * w] == 0);
		for (uint32_t i = 0; i < 17; i++)
			TRUE(!memcmp(at + w + i * w, &pattern, w));
	}
}

static void copy_2d(struct smoke *s)
{
	uint8_t *src = mdl_buf_ptr(s->system), *dst = mdl_buf_ptr(s->vram);

	for (uint32_t i = 0; i < 65536; i++) {
		src[i] = (uint8_t)(i * 31 >> 3);
		dst[i] = 0xee;
	}
	OK(mdl_chan_copy_2d(s->chan, mdl_buf_va(s->vram) + 10, 300, mdl_buf_va(s->system) + 5, 200,
			    131, 90));
	OK(finish(s));
	for (uint32_t y = 0; y < 90; y++) {
		TRUE(!memcmp(dst + 10 + y * 300, src + 5 + y * 200, 131));
		TRUE(dst[10 + y * 300 + 131] == 0xee);
	}
	TRUE(dst[9] == 0xee && dst[10 + 90 * 300] == 0xee);
}

static void update(struct smoke *s)
{
	uint64_t *p = mdl_buf_ptr(s->vram);

	/* More than the argument memory holds at once. */
	for (uint64_t i = 0; i < 3000; i++) {
		uint64_t data[8] = { i, ~i, i, i, i, i, i, i * i };

		OK(mdl_chan_update(s->chan, mdl_buf_va(s->vram) + i * 64, data, sizeof(data)));
	}
	OK(finish(s));
	for (uint64_t i = 0; i < 3000; i++)
		TRUE(p[i * 8] == i && p[i * 8 + 1] == ~i && p[i * 8 + 7] == i * i);
}

static void semaphores(struct smoke *s)
{
	uint64_t *sem = mdl_buf_ptr(s->system), va = mdl_buf_va(s->system);
	struct mdl_chan *other;
	struct mdl_fence f;

	memset(sem, 0, 4096);
	OK(mdl_chan_create(s->ctx, NULL, &other));
	/* The other channel waits for this one, which waits for the CPU. */
	if (smoke_ok(s, mdl_chan_sem_wait(other, va, MDL_SEM_GE, 3), "wait") &&
	    smoke_ok(s, mdl_chan_sem_release(other, va + 64, MDL_SEM_SET, 77), "release")) {
		mdl_chan_fence(other, &f);
		smoke_ok(s, mdl_chan_sem_wait(s->chan, va + 128, MDL_SEM_AND_NZ, 8), "wait");
		smoke_ok(s, mdl_chan_sem_release(s->chan, va, MDL_SEM_ADD, 1), "release");
		smoke_ok(s, mdl_chan_sem_release(s->chan, va, MDL_SEM_OR, 2), "release");
		smoke_true(s, mdl_fence_wait(&f, 20000000) == -ETIMEDOUT,
			   "the other channel waits");
		smoke_true(s, __atomic_load_n(&sem[8], __ATOMIC_ACQUIRE) == 0,
			   "nothing released yet");
		__atomic_store_n(&sem[16], 9, __ATOMIC_RELEASE);
		smoke_ok(s, mdl_fence_wait(&f, SMOKE_WAIT_NS), "chain of semaphores");
		smoke_true(s, sem[0] == 3 && sem[8] == 77, "values");
	}
	/* EQ and NE that hold at once. */
	smoke_ok(s, mdl_chan_sem_wait(s->chan, va, MDL_SEM_EQ, 3), "eq");
	smoke_ok(s, mdl_chan_sem_wait(s->chan, va, MDL_SEM_NE, 4), "ne");
	smoke_ok(s, finish(s), "eq and ne");
	mdl_chan_destroy(other);
}

static void timestamps(struct smoke *s)
{
	uint64_t *t = mdl_buf_ptr(s->vram), before, after;

	OK(mdl_gpu_timestamp(s->gpu, &before));
	OK(mdl_chan_timestamp(s->chan, mdl_buf_va(s->vram)));
	OK(mdl_chan_barrier(s->chan));
	OK(mdl_chan_timestamp(s->chan, mdl_buf_va(s->vram) + 8));
	OK(finish(s));
	OK(mdl_gpu_timestamp(s->gpu, &after));
	TRUE(before <= t[0] && t[0] <= t[1] && t[1] <= after);
}

/* Through a small ring, many times around, with batches of all sizes. */
static void ring(struct smoke *s)
{
	uint64_t *count = mdl_buf_ptr(s->vram), n = 0;
	struct mdl_chan *small;
	struct mdl_fence f;

	*count = 0;
	OK(mdl_chan_create(s->ctx,
			   &(struct mdl_chan_options) { .ring_log2 = 3, .place = MDL_PLACE_SYSTEM },
			   &small));
	for (uint32_t i = 0; i < 400 && !s->failed; i++) {
		smoke_ok(s, mdl_chan_begin(small), "begin");
		for (uint32_t k = 0; k < i % 20; k++, n++)
			smoke_ok(s,
				 mdl_chan_sem_release(small, mdl_buf_va(s->vram), MDL_SEM_ADD, 1),
				 "add");
		smoke_ok(s, mdl_chan_commit(small, i % 3 ? 0 : MDL_COMMIT_IRQ, &f), "commit");
		if (i % 50 == 0)
			smoke_ok(s, mdl_fence_wait(&f, SMOKE_WAIT_NS), "wait");
	}
	smoke_ok(s, mdl_chan_finish(small, SMOKE_WAIT_NS), "finish");
	smoke_true(s, *count == n, "every packet ran once");
	mdl_chan_destroy(small);
}

/* Waiting asleep: the interrupt, where there is one, ends it. */
static void interrupts(struct smoke *s)
{
	uint64_t *sem = mdl_buf_ptr(s->system);
	struct mdl_fence f;

	mdl_gpu_set_spin(s->gpu, 0);
	for (int i = 0; i < 20 && !s->failed; i++) {
		*sem = 0;
		if (!smoke_ok(s, mdl_chan_begin(s->chan), "begin"))
			break;
		smoke_ok(s, mdl_chan_fill(s->chan, mdl_buf_va(s->vram), SMOKE_BYTES, i, 8), "fill");
		smoke_ok(s, mdl_chan_commit(s->chan, i % 2 ? MDL_COMMIT_IRQ : 0, &f), "commit");
		smoke_ok(s, mdl_fence_wait(&f, SMOKE_WAIT_NS), "wait");
	}
	mdl_gpu_set_spin(s->gpu, 50000);
}

static void page_tables(struct smoke *s)
{
	uint64_t base, small, *p = mdl_buf_ptr(s->vram);
	struct mdl_ctx *other = NULL;

	memset(p, 0, SMOKE_BYTES);
	/*
	 * The same memory at a second address with small pages, read-only at a third, and in
	 * another context.
	 */
	OK(mdl_buf_map(s->vram, s->ctx, MDL_VA_ANY, MDL_MAP_RW | MDL_MAP_SMALL, &small));
	OK(mdl_ctx_reserve(s->ctx, 64 << 20, 0, &base));
	OK(mdl_buf_map(s->vram, s->ctx, base + 4096, MDL_MAP_READ, NULL));
	OK(mdl_chan_fill(s->chan, small + SMOKE_BYTES - 8, 8, 42, 8));
	OK(mdl_chan_copy(s->chan, mdl_buf_va(s->vram), base + 4096 + SMOKE_BYTES - 8, 8));
	OK(finish(s));
	TRUE(p[0] == 42 && p[SMOKE_BYTES / 8 - 1] == 42);
	OK(mdl_ctx_create(s->gpu, &(struct mdl_ctx_options) { .page_tables = MDL_PLACE_SYSTEM },
			  &other));
	if (smoke_ok(s, mdl_buf_map(s->vram, other, base + 4096, MDL_MAP_RW, NULL),
		     "map in another context")) {
		struct mdl_chan *chan = NULL;

		if (smoke_ok(s, mdl_chan_create(other, NULL, &chan),
			     "channel of the other context")) {
			smoke_ok(s, mdl_chan_fill(chan, base + 4096, 8, 43, 8),
				 "fill in the other context");
			smoke_ok(s, mdl_chan_finish(chan, SMOKE_WAIT_NS),
				 "finish in the other context");
			smoke_true(s, p[0] == 43, "seen by both");
		}
		mdl_chan_destroy(chan);
	}
	mdl_ctx_destroy(other);
	/* After unmapping, the address is gone: a fault with that address, and recovery. */
	OK(mdl_buf_unmap(s->vram, s->ctx, small, 0));
	OK(mdl_chan_fill(s->chan, mdl_buf_va(s->vram), 8, 44, 8));
	OK(finish(s));
	TRUE(p[0] == 44);
}

static void faults(struct smoke *s)
{
	uint64_t va = mdl_buf_va(s->vram), ro;
	struct mdl_chan_error e;
	struct mdl_hw_packet bad = { .opcode = 99, .tag = 1234 };

	OK(mdl_buf_map(s->vram, s->ctx, MDL_VA_ANY, MDL_MAP_READ, &ro));
	/* A bad packet stops its channel only. */
	OK(mdl_chan_packet(s->chan, &bad));
	TRUE(finish(s) == -EIO);
	OK(mdl_chan_error(s->chan, &e));
	TRUE(e.error == MDL_ERR_BAD_PACKET && e.tag == 1234 && e.packet == 0 && !e.context_lost);
	OK(mdl_chan_reset(s->chan));
	/* Writing where only reading is allowed, then where nothing is. */
	for (int i = 0; i < 2; i++) {
		uint64_t at = (i ? ro + SMOKE_BYTES + (1ull << 30) : ro) + 4096;

		OK(mdl_chan_fill(s->chan, at, 8, 1, 8));
		TRUE(finish(s) == -EIO);
		OK(mdl_chan_error(s->chan, &e));
		TRUE(e.error == MDL_ERR_PAGE_FAULT && e.va == at && e.context_lost);
		OK(mdl_ctx_reset(s->ctx));
		OK(mdl_chan_reset(s->chan));
		OK(mdl_chan_fill(s->chan, va, 4096, 7, 8));
		OK(finish(s));
		TRUE(*(uint64_t *)mdl_buf_ptr(s->vram) == 7);
	}
}

static void fault_ring(struct smoke *s)
{
	struct mdl_hw_packet bad = { .opcode = 98, .tag = 777 };
	struct mdl_hw_fault f;
	int found = 0, r;

	while (mdl_gpu_next_fault(s->gpu, &f) == 0)
		;
	OK(mdl_chan_packet(s->chan, &bad));
	TRUE(finish(s) == -EIO);
	while ((r = mdl_gpu_next_fault(s->gpu, &f)) == 0) {
		if (f.error == MDL_ERR_BAD_PACKET && f.tag == 777 &&
		    f.context == mdl_ctx_id(s->ctx) && f.channel == mdl_chan_id(s->chan))
			found++;
	}
	TRUE(r == -EAGAIN);
	TRUE(found == 1);
}

static void programs(struct smoke *s)
{
	struct mdl_prog *p = NULL;
	const char *bad = "kernel void broken(global int *p) { *p = nonsense; }";

	OK(mdl_prog_create(s->ctx, &p));
	smoke_true(s, mdl_prog_build(p, s->chan, bad, strlen(bad), "", SMOKE_WAIT_NS) == -ENOEXEC,
		   "must not build");
	smoke_true(s, strstr(mdl_prog_log(p), "nonsense"), "the log names the error");
	if (smoke_ok(s,
		     mdl_prog_build(p, s->chan, smoke_cl, strlen(smoke_cl), "-DUNUSED=1",
				    SMOKE_WAIT_NS),
		     "build")) {
		const struct mdl_hw_kernel_info *sums = NULL;

		smoke_true(s, mdl_prog_num_kernels(p) == 6, "six kernels");
		for (uint32_t i = 0; i < mdl_prog_num_kernels(p); i++) {
			if (!strcmp(mdl_prog_kernel(p, i)->name, "sums"))
				sums = mdl_prog_kernel(p, i);
		}
		smoke_true(s,
			   sums && sums->nargs == 3 && sums->arg_kind[0] == MDL_ARG_BUFFER &&
				   sums->arg_kind[2] == MDL_ARG_LOCAL,
			   "arguments of a kernel");
	}
	mdl_prog_destroy(p);
	OK(finish(s));
}

/* A kernel of a freshly built program; both are ended by done(). */
static struct mdl_kern *get(struct smoke *s, const char *name, struct mdl_prog **ret_prog)
{
	struct mdl_kern *k = NULL;

	*ret_prog = NULL;
	if (smoke_ok(s, mdl_prog_create(s->ctx, ret_prog), "program") &&
	    smoke_ok(s,
		     mdl_prog_build(*ret_prog, s->chan, smoke_cl, strlen(smoke_cl), NULL,
				    SMOKE_WAIT_NS),
		     "build"))
		smoke_ok(s, mdl_kern_create(*ret_prog, name, &k), name);
	return k;
}

static void done(struct mdl_prog *p, struct mdl_kern *k)
{
	mdl_kern_destroy(k);
	mdl_prog_destroy(p);
}

static void kernel_saxpy(struct smoke *s)
{
	uint32_t n = 100003, global[] = { 100096 }, local[] = { 64 };
	float *x = mdl_buf_ptr(s->vram), *y = mdl_buf_ptr(s->system), a = 3;
	struct mdl_prog *p;
	struct mdl_kern *k = get(s, "saxpy", &p);

	for (uint32_t i = 0; i < n + 1; i++) {
		x[i] = (float)i;
		y[i] = 1;
	}
	if (k && smoke_ok(s, mdl_kern_set_buffer(k, 0, s->system, 0), "argument 0") &&
	    smoke_ok(s, mdl_kern_set_buffer(k, 1, s->vram, 0), "argument 1") &&
	    smoke_ok(s, mdl_kern_set_value(k, 2, &a, sizeof(a)), "argument 2") &&
	    smoke_ok(s, mdl_kern_set_value(k, 3, &n, sizeof(n)), "argument 3") &&
	    smoke_ok(s, mdl_chan_launch(s->chan, k, 1, global, local, NULL), "launch") &&
	    smoke_ok(s, finish(s), "run")) {
		for (uint32_t i = 0; i < n; i++)
			smoke_true(s, y[i] == 3 * (float)i + 1, "y = 3 x + 1");
		smoke_true(s, y[n] == 1, "nothing past the end");
	}
	done(p, k);
}

static void kernel_local(struct smoke *s)
{
	uint32_t *in = mdl_buf_ptr(s->vram), *out = mdl_buf_ptr(s->system), sum = 0,
		 global[] = { 4096 };
	struct mdl_prog *p;
	struct mdl_kern *k = get(s, "sums", &p);

	for (uint32_t size = 1; k && size <= 256 && !s->failed; size *= 4) {
		uint32_t local[] = { size };

		for (uint32_t i = 0; i < 4096; i++)
			in[i] = i * 7 + size;
		memset(out, 0xff, 4097 * 4);
		if (!smoke_ok(s, mdl_kern_set_buffer(k, 0, s->vram, 0), "argument 0") ||
		    !smoke_ok(s, mdl_kern_set_buffer(k, 1, s->system, 0), "argument 1") ||
		    !smoke_ok(s, mdl_kern_set_local(k, 2, size * 4), "argument 2") ||
		    !smoke_ok(s, mdl_chan_launch(s->chan, k, 1, global, local, NULL), "launch") ||
		    !smoke_ok(s, finish(s), "run"))
			break;
		for (uint32_t g = 0; g < 4096 / size; g++) {
			sum = 0;
			for (uint32_t i = 0; i < size; i++)
				sum += in[g * size + i];
			smoke_true(s, out[g] == sum, "sum of a work-group");
		}
		smoke_true(s, out[4096 / size] == 0xffffffff, "one sum for each work-group");
	}
	done(p, k);
}

static void kernel_long_value(struct smoke *s)
{
	int32_t factor[20], *out = mdl_buf_ptr(s->vram);
	uint32_t global[] = { 20 };
	struct mdl_prog *p;
	struct mdl_kern *k = get(s, "scale", &p);

	/* Several launches in flight, each with its own copy of the value. */
	for (int n = 0; k && n < 8 && !s->failed; n++) {
		for (int i = 0; i < 20; i++)
			factor[i] = i * n - 5;
		smoke_ok(s, mdl_kern_set_buffer(k, 0, s->vram, (uint64_t)n * 4096), "argument 0");
		smoke_ok(s, mdl_kern_set_value(k, 1, factor, sizeof(factor)), "argument 1");
		smoke_ok(s, mdl_chan_launch(s->chan, k, 1, global, NULL, NULL), "launch");
	}
	if (!s->failed)
		smoke_ok(s, finish(s), "run");
	for (int n = 0; n < 8 && !s->failed; n++) {
		for (int i = 0; i < 20; i++)
			smoke_true(s, out[n * 1024 + i] == i * n - 5, "each launch its own value");
	}
	done(p, k);
}

static void kernel_places(struct smoke *s)
{
	static const uint32_t global[] = { 12, 6, 4 }, local[] = { 4, 3, 2 };
	static const uint64_t offset[] = { 5, 100, 7 };
	uint32_t *out = mdl_buf_ptr(s->vram);
	struct mdl_prog *p;
	struct mdl_kern *k = get(s, "places", &p);

	for (uint32_t dims = 1; k && dims <= 3 && !s->failed; dims++) {
		uint32_t at = 0;

		memset(out, 0, 4096);
		if (!smoke_ok(s, mdl_kern_set_buffer(k, 0, s->vram, 0), "argument") ||
		    !smoke_ok(s, mdl_chan_launch(s->chan, k, dims, global, local, offset),
			      "launch") ||
		    !smoke_ok(s, finish(s), "run"))
			break;
		for (uint32_t z = 0; z < (dims > 2 ? global[2] : 1); z++) {
			for (uint32_t y = 0; y < (dims > 1 ? global[1] : 1); y++) {
				for (uint32_t x = 0; x < global[0]; x++) {
					uint32_t oy = dims > 1 ? 100 : 0, oz = dims > 2 ? 7 : 0;

					smoke_true(s,
						   out[at++] == ((x + 5) | (y + oy) << 8 |
								 (z + oz) << 16),
						   "global id with offset");
				}
			}
		}
		smoke_true(s, out[at] == 0, "no more work-items than asked for");
	}
	done(p, k);
}

/* GPU addresses stored in memory work as pointers. */
static void kernel_pointers(struct smoke *s)
{
	struct {
		uint64_t next, value;
	} *node = mdl_buf_ptr(s->vram);
	uint64_t va = mdl_buf_va(s->vram), *sum = mdl_buf_ptr(s->system), want = 0;
	uint32_t one[] = { 1 };
	struct mdl_prog *p;
	struct mdl_kern *k = get(s, "walk", &p);

	for (uint32_t i = 0; i < 1000; i++) {
		node[i * 200].next = i < 999 ? va + (i + 1) * 200 * sizeof(*node) : 0;
		node[i * 200].value = i * i;
		want += i * i;
	}
	if (k && smoke_ok(s, mdl_kern_set_value(k, 0, &va, sizeof(va)), "argument 0") &&
	    smoke_ok(s, mdl_kern_set_buffer(k, 1, s->system, 0), "argument 1") &&
	    smoke_ok(s, mdl_chan_launch(s->chan, k, 1, one, one, NULL), "launch") &&
	    smoke_ok(s, finish(s), "run"))
		smoke_true(s, *sum == want, "sum of a list");
	done(p, k);
}

/*
 * A kernel that follows a stray pointer: a fault with its address; the program is lost, the rest
 * recovers.
 */
static void kernel_fault(struct smoke *s)
{
	uint64_t va = mdl_buf_va(s->vram) + (1ull << 33), *p64 = mdl_buf_ptr(s->vram);
	uint32_t one[] = { 1 };
	struct mdl_chan_error e;
	struct mdl_prog *p;
	struct mdl_kern *k = get(s, "walk", &p);

	p64[0] = 99;
	if (k && smoke_ok(s, mdl_kern_set_value(k, 0, &va, sizeof(va)), "argument 0") &&
	    smoke_ok(s, mdl_kern_set_buffer(k, 1, s->vram, 0), "argument 1") &&
	    smoke_ok(s, mdl_chan_launch(s->chan, k, 1, one, one, NULL), "launch")) {
		smoke_true(s, finish(s) == -EIO, "the channel stops");
		smoke_ok(s, mdl_chan_error(s->chan, &e), "error");
		smoke_true(s, e.error == MDL_ERR_PAGE_FAULT && e.context_lost, "page fault");
		/* Which member of the node is read first is the compiler's choice. */
		smoke_true(s, e.va >= va && e.va < va + 16, "address of the fault");
		smoke_ok(s, mdl_ctx_reset(s->ctx), "context reset");
		smoke_ok(s, mdl_chan_reset(s->chan), "channel reset");
		smoke_true(s, mdl_chan_launch(s->chan, k, 1, one, one, NULL) == -ESTALE,
			   "the kernel is stale");
		smoke_true(s, p64[0] == 99, "memory is kept");
	}
	done(p, k);
}

static void empty_kernel(struct smoke *s)
{
	uint32_t one[] = { 1 };
	struct mdl_prog *p;
	struct mdl_kern *k = get(s, "nothing", &p);

	for (int i = 0; k && i < 200 && !s->failed; i++) {
		smoke_ok(s, mdl_chan_launch(s->chan, k, 1, one, one, NULL), "launch");
		smoke_ok(s, finish(s), "run");
	}
	done(p, k);
}

const struct smoke_check smoke_checks[] = {
	{ "registers", registers },
	{ "memory", memory },
	{ "fill", fill },
	{ "copy-2d", copy_2d },
	{ "update", update },
	{ "semaphores", semaphores },
	{ "timestamps", timestamps },
	{ "ring", ring },
	{ "interrupts", interrupts },
	{ "page-tables", page_tables },
	{ "faults", faults },
	{ "fault-ring", fault_ring },
	{ "programs", programs },
	{ "kernel-saxpy", kernel_saxpy },
	{ "kernel-local", kernel_local },
	{ "kernel-long-value", kernel_long_value },
	{ "kernel-places", kernel_places },
	{ "kernel-pointers", kernel_pointers },
	{ "kernel-empty", empty_kernel },
	{ "kernel-fault", kernel_fault },
	{ NULL, NULL },
};
