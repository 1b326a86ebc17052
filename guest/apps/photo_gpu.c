/* SPDX-License-Identifier: MIT */
/*
 * mdl-photo on the GPU. The picture and all intermediate results stay in VRAM; each iteration is
 * one batch: a copy of the picture, a fill of the histogram, five kernels. A few iterations are in
 * flight at a time.
 */
#include "photo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "medley/medley.h"
#include "photo_cl.h"

#define TILE	  16u
#define GROUP	  256u
#define GROUPS	  64u
#define IN_FLIGHT 4u
#define BUILD_NS  120000000000ll
#define CHAIN_NS \
	120000000000ll /* one iteration: code generation at the first one, other guests' turns */

enum {
	BLUR_H,
	BLUR_V,
	EDGES,
	HISTOGRAM,
	TOTAL,
	KERNELS
};
static const char *const kernel_name[KERNELS] = { "blur_h", "blur_v", "edges", "histogram",
						  "total" };

enum {
	INPUT,
	WORK,
	BETWEEN,
	RESULT,
	PARTIAL,
	BUFFERS
};

struct run {
	struct mdl_gpu *gpu;
	struct mdl_ctx *ctx;
	struct mdl_chan *chan;
	struct mdl_prog *prog;
	struct mdl_kern *kern[KERNELS];
	struct mdl_buf *buf[BUFFERS];
	struct photo_layout layout;
	uint32_t width, height;
};

static int fail(struct run *r, const char *what, int error)
{
	struct mdl_chan_error e;

	printf("mdl-photo: %s: %s\n", what, strerror(-error));
	if (r->chan && mdl_chan_error(r->chan, &e) == 0 && e.error)
		printf("mdl-photo: the GPU says: %s, address 0x%llx, packet %llu\n",
		       mdl_error_name(e.error), (unsigned long long)e.va,
		       (unsigned long long)e.packet);
	return error;
}

static int open_gpu(struct run *r, const char *uri)
{
	int ret = mdl_gpu_open(uri, &r->gpu);

	if (ret < 0)
		return fail(r, "open", ret);
	ret = mdl_ctx_create(r->gpu, NULL, &r->ctx);
	if (ret < 0)
		return fail(r, "context", ret);
	ret = mdl_chan_create(r->ctx, NULL, &r->chan);
	return ret < 0 ? fail(r, "channel", ret) : 0;
}

static int make_buffers(struct run *r)
{
	const uint64_t bytes[BUFFERS] = {
		[INPUT] = r->layout.picture,	       [WORK] = r->layout.picture,
		[BETWEEN] = r->layout.picture,	       [RESULT] = r->layout.bytes,
		[PARTIAL] = GROUPS * sizeof(uint64_t),
	};

	for (int i = 0; i < BUFFERS; i++) {
		int ret = mdl_buf_alloc(r->ctx, bytes[i], MDL_PLACE_VRAM, &r->buf[i]);

		if (ret < 0)
			return fail(r, "buffers", ret);
	}
	return 0;
}

static int build(struct run *r)
{
	int ret = mdl_prog_create(r->ctx, &r->prog);

	if (ret == 0)
		ret = mdl_prog_build(r->prog, r->chan, photo_cl, strlen(photo_cl), "", BUILD_NS);
	if (ret < 0) {
		if (r->prog)
			printf("%s\n", mdl_prog_log(r->prog));
		return fail(r, "build", ret);
	}
	for (int i = 0; i < KERNELS; i++) {
		ret = mdl_kern_create(r->prog, kernel_name[i], &r->kern[i]);
		if (ret < 0)
			return fail(r, kernel_name[i], ret);
	}
	return 0;
}

/* Picture to picture: the first four arguments. */
static int set_picture_args(struct run *r, struct mdl_kern *k, int src, int dst,
			    uint64_t dst_offset)
{
	int ret = mdl_kern_set_buffer(k, 0, r->buf[src], 0);

	if (ret == 0)
		ret = mdl_kern_set_buffer(k, 1, r->buf[dst], dst_offset);
	if (ret == 0)
		ret = mdl_kern_set_value(k, 2, &r->width, sizeof(r->width));
	if (ret == 0)
		ret = mdl_kern_set_value(k, 3, &r->height, sizeof(r->height));
	return ret;
}

static int set_args(struct run *r)
{
	uint32_t pixels = r->width * r->height, groups = GROUPS;
	struct mdl_kern **k = r->kern;
	int ret;

	/*
	 * The sum's address: the total kernel stores 64 bits there, so photo_layout keeps it 8-byte
	 * aligned in this buffer.
	 */
	if ((ret = set_picture_args(r, k[BLUR_H], WORK, BETWEEN, 0)) < 0 ||
	    (ret = set_picture_args(r, k[BLUR_V], BETWEEN, RESULT, r->layout.blurred)) < 0 ||
	    (ret = set_picture_args(r, k[EDGES], RESULT, RESULT, r->layout.edges)) < 0 ||
	    (ret = mdl_kern_set_local(k[EDGES], 4, (TILE + 2) * (TILE + 2) * sizeof(int32_t))) <
		    0 ||
	    (ret = mdl_kern_set_buffer(k[HISTOGRAM], 0, r->buf[RESULT], r->layout.blurred)) < 0 ||
	    (ret = mdl_kern_set_value(k[HISTOGRAM], 1, &pixels, sizeof(pixels))) < 0 ||
	    (ret = mdl_kern_set_buffer(k[HISTOGRAM], 2, r->buf[RESULT], r->layout.histogram)) < 0 ||
	    (ret = mdl_kern_set_buffer(k[HISTOGRAM], 3, r->buf[PARTIAL], 0)) < 0 ||
	    (ret = mdl_kern_set_buffer(k[TOTAL], 0, r->buf[PARTIAL], 0)) < 0 ||
	    (ret = mdl_kern_set_value(k[TOTAL], 1, &groups, sizeof(groups))) < 0 ||
	    (ret = mdl_kern_set_buffer(k[TOTAL], 2, r->buf[RESULT], r->layout.sum)) < 0)
		return fail(r, "arguments", ret);
	return 0;
}

static int queue_iteration(struct run *r, struct mdl_fence *ret_fence)
{
	static const uint32_t tile[] = { TILE, TILE }, group[] = { GROUP };
	uint32_t area[] = { (r->width + TILE - 1) / TILE * TILE,
			    (r->height + TILE - 1) / TILE * TILE };
	uint32_t stride[] = { GROUP * GROUPS }, one[] = { 1 };
	uint64_t result = mdl_buf_va(r->buf[RESULT]);
	int ret;

	if ((ret = mdl_chan_begin(r->chan)) < 0 ||
	    (ret = mdl_chan_copy(r->chan, mdl_buf_va(r->buf[WORK]), mdl_buf_va(r->buf[INPUT]),
				 r->layout.picture)) < 0 ||
	    (ret = mdl_chan_fill(r->chan, result + r->layout.histogram, 256 * sizeof(uint32_t), 0,
				 4)) < 0 ||
	    (ret = mdl_chan_launch(r->chan, r->kern[BLUR_H], 2, area, tile, NULL)) < 0 ||
	    (ret = mdl_chan_launch(r->chan, r->kern[BLUR_V], 2, area, tile, NULL)) < 0 ||
	    (ret = mdl_chan_launch(r->chan, r->kern[EDGES], 2, area, tile, NULL)) < 0 ||
	    (ret = mdl_chan_launch(r->chan, r->kern[HISTOGRAM], 1, stride, group, NULL)) < 0 ||
	    (ret = mdl_chan_launch(r->chan, r->kern[TOTAL], 1, one, one, NULL)) < 0)
		return ret;
	return mdl_chan_commit(r->chan, MDL_COMMIT_IRQ, ret_fence);
}

static int run_chain(struct run *r, struct photo_out *out)
{
	struct mdl_fence fence[IN_FLIGHT] = { 0 };
	uint64_t start = mdl_gpu_now_ns(r->gpu);

	for (uint32_t i = 0; i < out->iterations; i++) {
		int ret = mdl_fence_wait(&fence[i % IN_FLIGHT], CHAIN_NS);

		if (ret == 0)
			ret = queue_iteration(r, &fence[i % IN_FLIGHT]);
		if (ret < 0)
			return fail(r, "chain", ret);
		out->packets += 7;
		out->kernels += KERNELS;
	}
	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		int ret = mdl_fence_wait(&fence[i], CHAIN_NS);

		if (ret < 0)
			return fail(r, "chain", ret);
	}
	out->elapsed_ns = mdl_gpu_now_ns(r->gpu) - start;
	return 0;
}

static void close_gpu(struct run *r)
{
	for (int i = 0; i < KERNELS; i++)
		mdl_kern_destroy(r->kern[i]);
	mdl_prog_destroy(r->prog);
	mdl_chan_destroy(r->chan);
	for (int i = 0; i < BUFFERS; i++)
		mdl_buf_destroy(r->buf[i]);
	mdl_ctx_destroy(r->ctx);
	mdl_gpu_close(r->gpu);
}

int photo_gpu(const char *uri, const uint8_t *pixels, struct photo_out *out, uint8_t *result)
{
	struct run r = { .width = out->width,
			 .height = out->height,
			 .layout = photo_layout(out->width, out->height) };
	int ret;

	if ((ret = open_gpu(&r, uri)) == 0 && (ret = make_buffers(&r)) == 0 &&
	    (ret = build(&r)) == 0 && (ret = set_args(&r)) == 0) {
		memcpy(mdl_buf_ptr(r.buf[INPUT]), pixels, r.layout.picture);
		ret = run_chain(&r, out);
		if (ret == 0)
			memcpy(result, mdl_buf_ptr(r.buf[RESULT]), r.layout.bytes);
	}
	close_gpu(&r);
	return ret;
}
