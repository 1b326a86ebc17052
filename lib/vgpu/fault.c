/* SPDX-License-Identifier: MIT */
/*
 * The fault ring: entries written into guest memory, counted in FAULT_PUT, and vector 0. The device
 * is the only writer of put, the guest of get; both are registers, so the trap orders them with the
 * entries. A ring that is off, full or not in guest memory loses the entry and counts it; the
 * interrupt is raised all the same.
 *
 * Owned by the caller's thread.
 */
#include <string.h>

#include "priv.h"

static uint64_t *reg(struct mdl_vgpu *v, uint32_t offset)
{
	return &v->reg[offset / 4];
}

/* A new size starts a new ring. */
void mdl_fault_set_log2(struct mdl_vgpu *v)
{
	uint64_t *log2 = reg(v, MDL_REG_FAULT_LOG2);

	*log2 = mdl_min_u64(*log2, MDL_FAULT_LOG2_MAX);
	*reg(v, MDL_REG_FAULT_GET) = 0;
	v->fault_put = 0;
}

static bool write_entry(struct mdl_vgpu *v, const struct mdl_hw_fault *entry)
{
	uint32_t log2 = (uint32_t)*reg(v, MDL_REG_FAULT_LOG2);
	uint32_t used = v->fault_put - (uint32_t)*reg(v, MDL_REG_FAULT_GET);
	const struct mdl_dma_region *r;
	uint64_t gpa;

	/* get is the guest's: a wild value makes `used` large, which reads as a full ring. */
	if (!log2 || used >= 1u << log2)
		return false;
	gpa = *reg(v, MDL_REG_FAULT_BASE) +
	      (uint64_t)(v->fault_put & ((1u << log2) - 1)) * sizeof(*entry);
	r = mdl_dma_find(v, gpa, sizeof(*entry));
	if (!r || !r->write)
		return false;
	memcpy(r->host + (gpa - r->gpa), entry, sizeof(*entry));
	v->fault_put++;
	return true;
}

void mdl_fault_report(struct mdl_vgpu *v, const struct mdl_ipc_fault *f)
{
	struct mdl_hw_fault entry = {
		.error = f->error,
		.context = f->ctx,
		.channel = f->chan,
		.access = f->access,
		.tag = f->tag,
		.info = f->info,
		.va = f->va,
		.time_ns = v->ops->now_ns(v->h) - v->epoch_ns,
	};

	v->stats.faults++;
	if (!write_entry(v, &entry))
		v->fault_lost++;
	v->ops->irq(v->h, 0);
	v->ops->fault_note(v->h, f);
}
