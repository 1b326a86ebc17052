/* SPDX-License-Identifier: MIT */
/* Copy and fill slots of mdl_backend_ops for backends whose memory is the process's own. See memory.c. */
#ifndef MDL_BACKEND_MEMORY_H
#define MDL_BACKEND_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct mdl_backend;

void mdl_memory_copy(struct mdl_backend *b, void *dst, const void *src, size_t bytes);
void mdl_memory_fill(struct mdl_backend *b, void *dst, size_t bytes, uint64_t pattern, uint32_t pattern_bytes);
void mdl_memory_copy_2d(struct mdl_backend *b, void *dst, const void *src, uint32_t width_bytes, uint32_t height,
			uint32_t dst_pitch, uint32_t src_pitch);

#endif
