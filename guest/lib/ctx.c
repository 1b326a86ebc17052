/* SPDX-License-Identifier: MIT */
/*
 * Contexts: register window, executor start and recovery, the allocator of GPU addresses,
 * invalidation. The lists of mappings, channels and programs of a context hang here. Owned by the
 * device's one thread.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

static bool alive(const struct mdl_ctx *ctx)
{
	return ctx->resets == ctx->gpu->resets;
}

/* Gives the context an executor that sees the current page tables. */
static int start(struct mdl_ctx *ctx)
{
	struct mdl_gpu *gpu = ctx->gpu;
	uint32_t status;
	int r;

	r = mdl_gpu_write(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_CTRL), MDL_CTRL_RESET);
	if (r == 0)
		r = mdl_gpu_settle(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_STATUS), &status);
	if (r == 0)
		r = mdl_gpu_write64(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_PT_ROOT),
				    mdl_ptab_root_entry(ctx));
	if (r == 0)
		r = mdl_gpu_write(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_CTRL), MDL_CTRL_ENABLE);
	if (r == 0)
		r = mdl_gpu_settle(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_STATUS), &status);
	if (r < 0)
		return r;
	ctx->executor++;
	return status == MDL_STATUS_READY ? 0 : -EIO;
}

static void ctx_free(struct mdl_ctx *ctx)
{
	mdl_ptab_destroy(ctx);
	mdl_space_fini(&ctx->va);
	if (alive(ctx))
		mdl_bit_put(&ctx->gpu->ctx_used, ctx->id);
	free(ctx);
}

int mdl_ctx_create(struct mdl_gpu *gpu, const struct mdl_ctx_options *options,
		   struct mdl_ctx **ret_ctx)
{
	struct mdl_ctx *ctx;
	uint32_t id;
	int r;

	if (options && options->page_tables > MDL_PLACE_SYSTEM)
		return -EINVAL;
	r = mdl_bit_take(&gpu->ctx_used, gpu->info.num_contexts, &id);
	if (r < 0)
		return r;
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx) {
		mdl_bit_put(&gpu->ctx_used, id);
		return -ENOMEM;
	}
	ctx->gpu = gpu;
	ctx->id = id;
	ctx->resets = gpu->resets;
	ctx->place = options ? options->page_tables : MDL_PLACE_VRAM;
	r = mdl_space_init(&ctx->va, gpu->info.va_base, gpu->info.va_limit - gpu->info.va_base);
	if (r == 0)
		r = mdl_ptab_create(ctx);
	if (r == 0)
		r = start(ctx);
	if (r < 0) {
		if (ctx->root) { /* it may have been told of the tables that go away now */
			uint32_t status;

			mdl_gpu_write(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_CTRL), MDL_CTRL_RESET);
			mdl_gpu_settle(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_STATUS), &status);
		}
		ctx_free(ctx);
		return r;
	}
	*ret_ctx = ctx;
	return 0;
}

void mdl_ctx_destroy(struct mdl_ctx *ctx)
{
	uint32_t status;

	if (!ctx)
		return;
	if (alive(ctx)) {
		/*
		 * RESET rather than DISABLE: it also clears a fault, so the window is clean for the
		 * next user.
		 */
		mdl_gpu_write(ctx->gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_CTRL), MDL_CTRL_RESET);
		mdl_gpu_settle(ctx->gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_STATUS), &status);
	}
	/* Buffers may outlive the context: they forget their mappings in it. */
	while (ctx->mappings) {
		struct mdl_mapping *m = ctx->mappings, **at = &m->buf->mappings;

		while (*at != m)
			at = &(*at)->next_of_buf;
		*at = m->next_of_buf;
		ctx->mappings = m->next_of_ctx;
		free(m);
	}
	ctx_free(ctx);
}

uint32_t mdl_ctx_id(const struct mdl_ctx *ctx)
{
	return ctx->id;
}

struct mdl_gpu *mdl_ctx_gpu(const struct mdl_ctx *ctx)
{
	return ctx->gpu;
}

int mdl_ctx_state(struct mdl_ctx *ctx, struct mdl_ctx_state *ret_state)
{
	struct mdl_ctx_state s;
	int r;

	if (!alive(ctx)) {
		*ret_state = (struct mdl_ctx_state) { .status = MDL_STATUS_OFF,
						      .error = MDL_ERR_CONTEXT_LOST };
		return 0;
	}
	if ((r = mdl_gpu_read(ctx->gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_STATUS), &s.status)) < 0 ||
	    (r = mdl_gpu_read(ctx->gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_ERROR), &s.error)) < 0 ||
	    (r = mdl_gpu_read64(ctx->gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_FAULT_VA), &s.fault_va)) < 0)
		return r;
	*ret_state = s;
	return 0;
}

int mdl_ctx_invalidate(struct mdl_ctx *ctx, uint64_t va, uint64_t bytes)
{
	struct mdl_gpu *gpu = ctx->gpu;
	uint64_t start_va = mdl_align_down(va, MDL_PAGE_BYTES);
	uint32_t error;
	int r;

	if (!mdl_range_ok(va, bytes, 1ull << 48))
		return -EINVAL;
	if (!alive(ctx))
		return -EIO;
	if (!bytes)
		start_va = 0;
	else
		bytes = mdl_align_up(va + bytes, MDL_PAGE_BYTES) - start_va;
	if ((r = mdl_gpu_write64(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_INV_VA), start_va)) < 0 ||
	    (r = mdl_gpu_write64(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_INV_BYTES), bytes)) < 0 ||
	    (r = mdl_gpu_write(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_INVALIDATE), 1)) < 0 ||
	    (r = mdl_gpu_read(gpu, mdl_ctx_reg(ctx, MDL_REG_CTX_ERROR), &error)) < 0)
		return r;
	/* Cut-off tables may belong to other ranges whose invalidate was left to the caller. */
	if (!bytes)
		ctx->deferred = false;
	if (!ctx->deferred)
		mdl_ptab_reap(ctx);
	return error == MDL_ERR_NONE ? 0 : -EIO;
}

int mdl_ctx_reset(struct mdl_ctx *ctx)
{
	int r;

	if (!alive(ctx))
		return -EIO;
	r = start(ctx);
	return r < 0 ? r : mdl_ctx_invalidate(ctx, 0, 0);
}

int mdl_ctx_reserve(struct mdl_ctx *ctx, uint64_t bytes, uint64_t align, uint64_t *ret_va)
{
	struct mdl_block *b;
	int r;

	if (!bytes || bytes > 1ull << 48 || (align && !mdl_is_pow2(align)))
		return -EINVAL;
	bytes = mdl_align_up(bytes, MDL_PAGE_BYTES);
	if (!align && bytes >= MDL_HUGE_BYTES)
		align = MDL_HUGE_BYTES;
	r = mdl_space_alloc(&ctx->va, bytes, mdl_max_u64(align, MDL_PAGE_BYTES), false, &b);
	if (r < 0)
		return r;
	b->reserved = true;
	*ret_va = b->start;
	return 0;
}

int mdl_ctx_unreserve(struct mdl_ctx *ctx, uint64_t va)
{
	struct mdl_block *b = mdl_space_find(&ctx->va, va);

	if (!b || !b->reserved || b->start != va)
		return -ENOENT;
	for (struct mdl_mapping *m = ctx->mappings; m; m = m->next_of_ctx) {
		if (mdl_range_in(m->va, 1, b->start, b->bytes))
			return -EBUSY;
	}
	mdl_space_free(&ctx->va, b);
	return 0;
}
