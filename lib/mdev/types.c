/* SPDX-License-Identifier: MIT */
/*
 * The types that a pGPU offers: share-<VRAM>, doubling from 256 MiB up to the whole, each with
 * channels and contexts in proportion, and pass-full. VRAM is a power of two because it is a PCI
 * region; a pGPU whose VRAM is not can be shared out completely but not be given to one. Pure
 * functions.
 */
#include "mdev/mdev.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "hw/medley_hw.h"

#define SMALLEST (256ull << 20)

bool mdl_pgpu_type(const struct mdl_pgpu *p, size_t i, struct mdl_vgpu_type *ret_type)
{
	struct mdl_vgpu_type t = { .class = MDL_VGPU_SHARE };
	uint64_t largest = 1ull << (63 - __builtin_clzll(p->vram_bytes));
	size_t shares = (size_t)(__builtin_ctzll(largest) - __builtin_ctzll(SMALLEST)) + 1;

	if (i > shares)
		return false;
	if (i == shares) {
		snprintf(t.name, sizeof(t.name), "pass-full");
		t.class = MDL_VGPU_PASS;
		t.vram_bytes = largest;
		t.channels = (uint32_t)mdl_min_u64(MDL_HW_CHAN_MAX, p->channels);
		t.contexts = MDL_HW_CTX_MAX;
	} else {
		t.vram_bytes = SMALLEST << i;
		if (t.vram_bytes < 1ull << 30)
			snprintf(t.name, sizeof(t.name), "share-%um",
				 (unsigned int)(t.vram_bytes >> 20));
		else
			snprintf(t.name, sizeof(t.name), "share-%ug",
				 (unsigned int)(t.vram_bytes >> 30));
		t.channels = (uint32_t)mdl_min_u64(32ull << i, MDL_HW_CHAN_MAX);
		t.contexts = (uint32_t)mdl_min_u64(8ull << i, MDL_HW_CTX_MAX);
	}
	*ret_type = t;
	return true;
}

bool mdl_pgpu_find_type(const struct mdl_pgpu *p, const char *name, struct mdl_vgpu_type *ret_type)
{
	struct mdl_vgpu_type t;

	for (size_t i = 0; mdl_pgpu_type(p, i, &t); i++) {
		if (strcmp(t.name, name))
			continue;
		*ret_type = t;
		return true;
	}
	return false;
}

uint32_t mdl_pgpu_available(const struct mdl_pgpu *p, const struct mdl_vgpu_type *type)
{
	if (p->exclusive || (type->class == MDL_VGPU_PASS && p->instances))
		return 0;
	if (type->class == MDL_VGPU_PASS)
		return 1;
	return (uint32_t)mdl_min_u64((p->vram_bytes - p->vram_used) / type->vram_bytes,
				     (p->channels - p->channels_used) / type->channels);
}
