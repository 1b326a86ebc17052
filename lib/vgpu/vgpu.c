/* SPDX-License-Identifier: MIT */
/*
 * The vGPU object: creation, function-level reset, statistics.
 *
 * A reset ends all executors. One that the host is still killing cannot be waited for here: its
 * context is ENDING until the host says that it is gone, and FUNC_STATUS says PENDING so long.
 *
 * Owned by the caller's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "priv.h"

#define VRAM_BYTES_MIN (2ull << 20)
#define VRAM_BYTES_MAX (1ull << 46)

static bool config_ok(const struct mdl_vgpu_config *c)
{
	return mdl_is_pow2(c->vram_bytes) && c->vram_bytes >= VRAM_BYTES_MIN &&
	       c->vram_bytes <= VRAM_BYTES_MAX && c->channels >= 1 &&
	       c->channels <= MDL_HW_CHAN_MAX && c->contexts >= 1 &&
	       c->contexts <= MDL_HW_CTX_MAX && c->vram &&
	       mdl_is_aligned((uintptr_t)c->vram, sizeof(uint64_t)) && c->user_pages &&
	       mdl_is_aligned((uintptr_t)c->user_pages, sizeof(uint64_t));
}

int mdl_vgpu_create(const struct mdl_vgpu_config *config, const struct mdl_vgpu_host *ops, void *h,
		    struct mdl_vgpu **ret_vgpu)
{
	struct mdl_vgpu *v;

	if (!config_ok(config))
		return -EINVAL;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->config = *config;
	v->ops = ops;
	v->h = h;
	v->epoch_ns = ops->now_ns(h);
	mdl_pci_init(v);
	mdl_regs_reset(v);
	*ret_vgpu = v;
	return 0;
}

void mdl_vgpu_destroy(struct mdl_vgpu *v)
{
	if (!v)
		return;
	for (uint32_t i = 0; i < v->config.contexts; i++)
		mdl_ctx_reset(v, i);
	mdl_runs_free(&v->found);
	mdl_runs_free(&v->next);
	free(v);
}

/* Shared memory gives its pages back; anything else is written over. */
static void zero(void *mem, uint64_t bytes)
{
	if (madvise(mem, bytes, MADV_REMOVE) < 0)
		memset(mem, 0, bytes);
}

void mdl_func_reset(struct mdl_vgpu *v)
{
	for (uint32_t i = 0; i < v->config.contexts; i++)
		mdl_ctx_reset(v, i);
	/*
	 * All contexts are without channels now. What is left are channels that failed to enable.
	 */
	for (uint32_t i = 0; i < v->config.channels; i++)
		mdl_chan_reset(v, i);
	mdl_regs_reset(v);
	zero(v->config.vram, v->config.vram_bytes);
	zero(v->config.user_pages, (uint64_t)v->config.channels * MDL_HW_USER_STRIDE);
	v->stats.resets++;
}

uint32_t mdl_func_status(const struct mdl_vgpu *v)
{
	for (uint32_t i = 0; i < v->config.contexts; i++)
		if (v->ctx[i].state == MDL_CTX_ENDING)
			return MDL_STATUS_PENDING;
	return MDL_STATUS_READY;
}

void mdl_vgpu_reset(struct mdl_vgpu *v)
{
	mdl_func_reset(v);
	mdl_pci_init(v);
}

uint64_t mdl_vgpu_epoch_ns(const struct mdl_vgpu *v)
{
	return v->epoch_ns;
}

void mdl_vgpu_stats(const struct mdl_vgpu *v, struct mdl_vgpu_stats *ret_stats)
{
	*ret_stats = v->stats;
}
