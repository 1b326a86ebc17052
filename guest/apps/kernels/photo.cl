/* SPDX-License-Identifier: MIT */
/*
 * The chain that mdl-photo runs on a picture: a separable Gaussian blur with tiles in local memory,
 * edges (Sobel), a histogram of the brightness with atomics in local memory, and its sum as a tree
 * reduction. Integers only, so the result is the same everywhere, bit by bit; photo_cpu.c computes
 * it plainly. Work-groups are TILE by TILE (the sum's: GROUP by 1).
 */
#define TILE   16
#define RADIUS 6
#define GROUP  256

/* Binomial weights, sum 4096. */
constant int weight[2 * RADIUS + 1] = { 1, 12, 66, 220, 495, 792, 924, 792, 495, 220, 66, 12, 1 };

inline uint luma(uchar4 p)
{
	return (77u * p.x + 150u * p.y + 29u * p.z) >> 8;
}

kernel __attribute__((reqd_work_group_size(TILE, TILE, 1)))
void blur_h(global const uchar4 *src, global uchar4 *dst, int width, int height)
{
	local uchar4 tile[TILE][TILE + 2 * RADIUS];
	int x = get_global_id(0), y = get_global_id(1);
	int lx = get_local_id(0), ly = get_local_id(1);
	int left = get_group_id(0) * TILE - RADIUS, row = min(y, height - 1);
	int4 sum = 2048;

	for (int i = lx; i < TILE + 2 * RADIUS; i += TILE)
		tile[ly][i] = src[row * width + clamp(left + i, 0, width - 1)];
	barrier(CLK_LOCAL_MEM_FENCE);
	for (int i = 0; i <= 2 * RADIUS; i++)
		sum += weight[i] * convert_int4(tile[ly][lx + i]);
	if (x < width && y < height)
		dst[y * width + x] = convert_uchar4(sum >> 12);
}

kernel __attribute__((reqd_work_group_size(TILE, TILE, 1)))
void blur_v(global const uchar4 *src, global uchar4 *dst, int width, int height)
{
	local uchar4 tile[TILE + 2 * RADIUS][TILE];
	int x = get_global_id(0), y = get_global_id(1);
	int lx = get_local_id(0), ly = get_local_id(1);
	int top = get_group_id(1) * TILE - RADIUS, column = min(x, width - 1);
	int4 sum = 2048;

	for (int i = ly; i < TILE + 2 * RADIUS; i += TILE)
		tile[i][lx] = src[clamp(top + i, 0, height - 1) * width + column];
	barrier(CLK_LOCAL_MEM_FENCE);
	for (int i = 0; i <= 2 * RADIUS; i++)
		sum += weight[i] * convert_int4(tile[ly + i][lx]);
	if (x < width && y < height)
		dst[y * width + x] = convert_uchar4(sum >> 12);
}

kernel __attribute__((reqd_work_group_size(TILE, TILE, 1)))
void edges(global const uchar4 *src, global uchar4 *dst, int width, int height, local int *tile)
{
	int x = get_global_id(0), y = get_global_id(1);
	int lx = get_local_id(0), ly = get_local_id(1);
	int left = get_group_id(0) * TILE - 1, top = get_group_id(1) * TILE - 1;
	const int side = TILE + 2;
	local const int *t = tile + ly * side + lx;
	int gx, gy;
	uchar m;

	for (int i = ly * TILE + lx; i < side * side; i += TILE * TILE) {
		int sx = clamp(left + i % side, 0, width - 1);
		int sy = clamp(top + i / side, 0, height - 1);

		tile[i] = luma(src[sy * width + sx]);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	gx = t[2] + 2 * t[side + 2] + t[2 * side + 2] - t[0] - 2 * t[side] - t[2 * side];
	gy = t[2 * side] + 2 * t[2 * side + 1] + t[2 * side + 2] - t[0] - 2 * t[1] - t[2];
	m = min(abs(gx) + abs(gy), 255u);
	if (x < width && y < height)
		dst[y * width + x] = (uchar4)(m, m, m, 255);
}

/*
 * Any number of work-groups of GROUP; each strides over the pixels. partial gets one sum for each
 * work-group.
 */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void histogram(global const uchar4 *src, uint pixels, global uint *bins, global ulong *partial)
{
	local uint count[256];
	local ulong sum[GROUP];
	uint l = get_local_id(0);
	ulong mine = 0;

	count[l] = 0;
	barrier(CLK_LOCAL_MEM_FENCE);
	for (uint i = get_global_id(0); i < pixels; i += get_global_size(0)) {
		uint v = luma(src[i]);

		atomic_inc(&count[v]);
		mine += v;
	}
	sum[l] = mine;
	barrier(CLK_LOCAL_MEM_FENCE);
	for (uint n = GROUP / 2; n > 0; n /= 2) {
		if (l < n)
			sum[l] += sum[l + n];
		barrier(CLK_LOCAL_MEM_FENCE);
	}
	atomic_add(&bins[l], count[l]);
	if (l == 0)
		partial[get_group_id(0)] = sum[0];
}

kernel void total(global const ulong *partial, uint n, global ulong *sum)
{
	ulong s = 0;

	for (uint i = 0; i < n; i++)
		s += partial[i];
	*sum = s;
}
