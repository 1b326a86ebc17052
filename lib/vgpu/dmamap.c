/* SPDX-License-Identifier: MIT */
/*
 * The guest memory that the VMM has mapped for the device: a sorted array of regions, none
 * overlapping another. Frames of page tables and of the fault ring are looked up here at the moment
 * of use; nothing keeps a pointer into a region across calls. Left out: regions without a
 * descriptor, which are never added.
 *
 * Owned by the caller's thread.
 */
#include <errno.h>
#include <string.h>

#include "priv.h"

/* Index of the first region that ends behind gpa. */
static size_t first_behind(const struct mdl_vgpu *v, uint64_t gpa)
{
	size_t lo = 0, hi = v->num_dma;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (v->dma[mid].gpa + (v->dma[mid].bytes - 1) < gpa)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct mdl_dma_region *mdl_dma_at(const struct mdl_vgpu *v, uint64_t gpa)
{
	size_t i = first_behind(v, gpa);

	return i < v->num_dma && v->dma[i].gpa <= gpa ? &v->dma[i] : NULL;
}

const struct mdl_dma_region *mdl_dma_find(const struct mdl_vgpu *v, uint64_t gpa, uint64_t bytes)
{
	const struct mdl_dma_region *r = mdl_dma_at(v, gpa);

	return r && mdl_range_in(gpa, bytes, r->gpa, r->bytes) ? r : NULL;
}

uint64_t mdl_dma_total_bytes(const struct mdl_vgpu *v)
{
	uint64_t total = 0;

	for (size_t i = 0; i < v->num_dma; i++)
		total += mdl_min_u64(v->dma[i].bytes, UINT64_MAX - total);
	return total;
}

int mdl_vgpu_dma_map(struct mdl_vgpu *v, uint64_t gpa, uint64_t bytes, bool write, void *host,
		     uint32_t mem, uint64_t offset)
{
	size_t i;

	if (!bytes || !mdl_is_aligned(gpa | bytes | offset, MDL_PAGE_BYTES) ||
	    !mdl_range_ok(gpa, bytes, UINT64_MAX) || !mdl_range_ok(offset, bytes, INT64_MAX) ||
	    !host || !mdl_is_aligned((uintptr_t)host, sizeof(uint64_t)) ||
	    mem < MDL_MEM_RAM_FIRST || mem >= MDL_MEM_MAX)
		return -EINVAL;
	i = first_behind(v, gpa);
	if (i < v->num_dma && mdl_range_overlap(gpa, bytes, v->dma[i].gpa, v->dma[i].bytes))
		return -EEXIST;
	if (v->num_dma == MDL_VGPU_DMA_REGIONS_MAX)
		return -ENOSPC;
	memmove(&v->dma[i + 1], &v->dma[i], (v->num_dma - i) * sizeof(v->dma[0]));
	v->dma[i] = (struct mdl_dma_region) {
		.gpa = gpa,
		.bytes = bytes,
		.offset = offset,
		.host = host,
		.mem = mem,
		.write = write,
	};
	v->num_dma++;
	return 0;
}

void mdl_vgpu_dma_unmap(struct mdl_vgpu *v, uint64_t gpa, uint64_t bytes)
{
	size_t i;

	if (!bytes)
		return;
	if (bytes - 1 > UINT64_MAX - gpa) /* clients unmap "everything" with any length */
		bytes = UINT64_MAX - gpa;
	i = first_behind(v, gpa);
	while (i < v->num_dma && mdl_range_overlap(gpa, bytes, v->dma[i].gpa, v->dma[i].bytes)) {
		struct mdl_dma_region gone = v->dma[i];

		/* Out of the list first: nothing can find it again while executors let go of it. */
		v->num_dma--;
		memmove(&v->dma[i], &v->dma[i + 1], (v->num_dma - i) * sizeof(v->dma[0]));
		for (uint32_t ctx = 0; ctx < v->config.contexts; ctx++)
			mdl_ctx_remove_gpa(v, ctx, gone.gpa, gone.bytes);
	}
}
