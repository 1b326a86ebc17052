/* SPDX-License-Identifier: MIT */
/*
 * The copy engine of backends whose memory is the process's own: copies and fills by the front end's thread. The C library's
 * memcpy is as fast as this memory gets. Overlapping ranges have undefined contents (hw/medley_hw.h). Stateless.
 */
#include "backend/memory.h"

#include <string.h>

void mdl_memory_copy(struct mdl_backend *b, void *dst, const void *src, size_t bytes)
{
	memmove(dst, src, bytes);
}

void mdl_memory_fill(struct mdl_backend *b, void *dst, size_t bytes, uint64_t pattern, uint32_t pattern_bytes)
{
	size_t done = pattern_bytes < bytes ? pattern_bytes : bytes;

	if (pattern_bytes == 1) {
		memset(dst, (int)(pattern & 0xff), bytes);
		return;
	}
	/* Doubles what is there already, up to a block that stays in the cache, then repeats the block. */
	memcpy(dst, &pattern, done);
	while (done < bytes) {
		size_t n = done < 32768 ? done : 32768;

		if (n > bytes - done)
			n = bytes - done;
		memcpy((char *)dst + done, dst, n);
		done += n;
	}
}

void mdl_memory_copy_2d(struct mdl_backend *b, void *dst, const void *src, uint32_t width_bytes, uint32_t height,
			uint32_t dst_pitch, uint32_t src_pitch)
{
	for (uint32_t y = 0; y < height; y++)
		memmove((char *)dst + (size_t)y * dst_pitch, (const char *)src + (size_t)y * src_pitch, width_bytes);
}
