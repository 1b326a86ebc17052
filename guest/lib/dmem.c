/* SPDX-License-Identifier: MIT */
/*
 * Memory that the device reaches: blocks of VRAM, or system memory of the port. Large VRAM blocks
 * are 2 MiB aligned at the bottom of VRAM, so that 2 MiB pages can map them; small ones (page
 * tables, rings) gather at the top.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

int mdl_dmem_alloc(struct mdl_gpu *gpu, uint64_t bytes, enum mdl_place place,
		   struct mdl_dmem *ret_mem)
{
	bool huge = bytes >= MDL_HUGE_BYTES;
	struct mdl_dmem m = { .place = place, .bytes = bytes };
	int r;

	if (place == MDL_PLACE_SYSTEM) {
		r = gpu->port->ops->dma_alloc(gpu->port, bytes, &m.dma);
		m.ptr = m.dma.ptr;
	} else {
		r = mdl_space_alloc(&gpu->vram, bytes, huge ? MDL_HUGE_BYTES : MDL_PAGE_BYTES,
				    !huge, &m.block);
		if (r == -ENOSPC && huge)
			r = mdl_space_alloc(&gpu->vram, bytes, MDL_PAGE_BYTES, false, &m.block);
		if (r == 0)
			m.ptr = (uint8_t *)gpu->port->vram + m.block->start;
	}
	if (r == 0)
		*ret_mem = m;
	return r;
}

void mdl_dmem_free(struct mdl_gpu *gpu, struct mdl_dmem *mem)
{
	if (!mem->ptr)
		return;
	if (mem->place == MDL_PLACE_SYSTEM)
		gpu->port->ops->dma_free(gpu->port, &mem->dma);
	else
		mdl_space_free(&gpu->vram, mem->block);
	memset(mem, 0, sizeof(*mem));
}

uint64_t mdl_dmem_frame(const struct mdl_dmem *mem, uint64_t offset)
{
	if (mem->place == MDL_PLACE_VRAM)
		return mem->block->start + offset;
	if (mem->dma.frame)
		return mem->dma.frame[offset / MDL_PAGE_BYTES] | MDL_PTE_SYSTEM;
	return (mem->dma.base + offset) | MDL_PTE_SYSTEM;
}
