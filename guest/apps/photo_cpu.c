/* SPDX-License-Identifier: MIT */
/*
 * mdl-photo's computation in plain C, written from the definition and not from the kernels: what
 * the GPU's result is compared with.
 */
#include "photo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t weight[] = { 1, 12, 66, 220, 495, 792, 924, 792, 495, 220, 66, 12, 1 };

static int64_t clamp(int64_t v, int64_t limit)
{
	return v < 0 ? 0 : v >= limit ? limit - 1 : v;
}

/* One direction of the blur: dx, dy is the step, (1, 0) or (0, 1). */
static void blur(uint32_t width, uint32_t height, int dx, int dy, const uint8_t *src, uint8_t *dst)
{
	for (int64_t y = 0; y < height; y++) {
		for (int64_t x = 0; x < width; x++) {
			for (int c = 0; c < 4; c++) {
				uint32_t sum = 0;

				for (int i = -6; i <= 6; i++) {
					int64_t sx = clamp(x + i * dx, width),
						sy = clamp(y + i * dy, height);

					sum += weight[i + 6] * src[(sy * width + sx) * 4 + c];
				}
				dst[(y * width + x) * 4 + c] = (uint8_t)((sum + 2048) / 4096);
			}
		}
	}
}

static uint32_t luma(const uint8_t *p)
{
	return (77u * p[0] + 150u * p[1] + 29u * p[2]) / 256;
}

static void find_edges(uint32_t width, uint32_t height, const uint8_t *src, uint8_t *dst)
{
	static const int sobel[3][3] = { { -1, 0, 1 }, { -2, 0, 2 }, { -1, 0, 1 } };

	for (int64_t y = 0; y < height; y++) {
		for (int64_t x = 0; x < width; x++) {
			uint8_t *out = dst + (y * width + x) * 4;
			int gx = 0, gy = 0, m;

			for (int j = 0; j < 3; j++) {
				for (int i = 0; i < 3; i++) {
					int64_t sx = clamp(x + i - 1, width),
						sy = clamp(y + j - 1, height);
					int v = (int)luma(src + (sy * width + sx) * 4);

					gx += sobel[j][i] * v;
					gy += sobel[i][j] * v;
				}
			}
			m = abs(gx) + abs(gy);
			out[0] = out[1] = out[2] = m > 255 ? 255 : (uint8_t)m;
			out[3] = 255;
		}
	}
}

int photo_cpu(uint32_t width, uint32_t height, const uint8_t *pixels, uint8_t *result)
{
	struct photo_layout l = photo_layout(width, height);
	uint8_t *between = malloc(l.picture);
	uint32_t bins[256] = { 0 };
	uint64_t sum = 0;

	if (!between)
		return -ENOMEM;
	blur(width, height, 1, 0, pixels, between);
	blur(width, height, 0, 1, between, result + l.blurred);
	free(between);
	find_edges(width, height, result + l.blurred, result + l.edges);
	for (size_t i = 0; i < (size_t)width * height; i++) {
		uint32_t v = luma(result + l.blurred + 4 * i);

		bins[v]++;
		sum += v;
	}
	memcpy(result + l.histogram, bins, sizeof(bins));
	memcpy(result + l.sum, &sum, sizeof(sum));
	return 0;
}
