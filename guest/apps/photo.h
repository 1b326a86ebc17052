/* SPDX-License-Identifier: MIT */
/*
 * mdl-photo: file formats and the two computations, on the CPU (photo_cpu.c) and on the GPU
 * (photo_gpu.c). Little endian.
 *
 * Input: struct photo_in, then height rows of width RGBA8 pixels; more may follow (block devices
 * are padded). Output: struct photo_out, blurred picture, edges picture (both RGBA8 as the input),
 * uint32_t histogram[256] of the blurred picture's brightness, uint64_t sum of it. iterations
 * repeats the whole chain on the input, so the result does not depend on it.
 */
#ifndef MDL_GUEST_APPS_PHOTO_H
#define MDL_GUEST_APPS_PHOTO_H

#include <stddef.h>
#include <stdint.h>

#define PHOTO_IN_MAGIC	 "MDLI"
#define PHOTO_OUT_MAGIC	 "MDLO"
#define PHOTO_SIDE_MAX	 16384u
#define PHOTO_PIXELS_MAX (64u << 20)

struct photo_in {
	char magic[4];
	uint32_t width, height, iterations;
};

struct photo_out {
	char magic[4];
	uint32_t width, height, iterations;
	uint32_t status; /* 0; else errno of what went wrong, and nothing follows */
	uint32_t reserved;
	uint64_t packets; /* commands queued; 0 on the CPU */
	uint64_t kernels; /* of these, kernel launches */
	uint64_t elapsed_ns; /* of the repetitions only, without opening, building, copying */
	uint64_t reserved1[2];
};
_Static_assert(sizeof(struct photo_out) == 64, "header of the output");

/* Sizes of the parts, and where they begin behind the header. */
struct photo_layout {
	size_t picture; /* bytes of one picture */
	size_t blurred, edges, histogram, sum, bytes; /* bytes: of everything behind the header */
};

static inline struct photo_layout photo_layout(uint32_t width, uint32_t height)
{
	struct photo_layout l = { .picture = (size_t)width * height * 4 };

	l.edges = l.picture;
	l.histogram = 2 * l.picture;
	l.sum = l.histogram + 256 * sizeof(uint32_t);
	l.bytes = l.sum + sizeof(uint64_t);
	return l;
}

/* result: photo_layout().bytes, 4-byte aligned. -ENOMEM. */
int photo_cpu(uint32_t width, uint32_t height, const uint8_t *pixels, uint8_t *result);

/*
 * Runs on the device named by uri; fills in packets, kernels and elapsed_ns of out. Prints what
 * went wrong.
 */
int photo_gpu(const char *uri, const uint8_t *pixels, struct photo_out *out, uint8_t *result);

#endif
