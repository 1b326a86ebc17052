/* SPDX-License-Identifier: MIT */
/*
 * What is measured, the same for the guest and natively: kernels, sizes, and how the guest program tells its results. A line
 * "rep KEY START N T1 .. TN" is one repetition that began at START: N times in nanoseconds (START is on the host's
 * CLOCK_MONOTONIC). After each the guest idles for BENCH_PAUSE_NS, in which medley-bench stops it, takes its native turn and lets
 * it go on. "end" is the last line.
 */
#ifndef MDL_BENCH_WORK_H
#define MDL_BENCH_WORK_H

#define BENCH_PAUSE_NS	  50000000
#define BENCH_WARM_UPS	  2
#define BENCH_SAMPLES_MAX 128

#define SAXPY_N	    (16u << 20)
#define SAXPY_LOCAL 256u
#define SGEMM_N	    1024u
#define SGEMM_TILE  16u
#define NBODY_N	    8192u
#define NBODY_LOCAL 256u
#define COPY_BYTES  (64ull << 20)
#define SUBMIT_N    100u /* empty kernels in one repetition */
#define TRAP_N	    50u

static const char bench_source[] =
	"kernel void saxpy(float a, global const float *x, global float *y)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	y[i] = a * x[i] + y[i];\n"
	"}\n"
	"#define T 16\n"
	"kernel __attribute__((reqd_work_group_size(T, T, 1)))\n"
	"void sgemm(uint n, global const float *a, global const float *b, global float *c)\n"
	"{\n"
	"	local float ta[T][T], tb[T][T];\n"
	"	uint row = get_global_id(1), col = get_global_id(0);\n"
	"	uint lr = get_local_id(1), lc = get_local_id(0);\n"
	"	float sum = 0;\n"
	"	for (uint t = 0; t < n; t += T) {\n"
	"		ta[lr][lc] = a[row * n + t + lc];\n"
	"		tb[lr][lc] = b[(t + lr) * n + col];\n"
	"		barrier(CLK_LOCAL_MEM_FENCE);\n"
	"		for (uint k = 0; k < T; k++)\n"
	"			sum += ta[lr][k] * tb[k][lc];\n"
	"		barrier(CLK_LOCAL_MEM_FENCE);\n"
	"	}\n"
	"	c[row * n + col] = sum;\n"
	"}\n"
	"kernel void nbody(uint n, global const float4 *pos, global float4 *acc)\n"
	"{\n"
	"	uint i = get_global_id(0);\n"
	"	float4 p = pos[i];\n"
	"	float ax = 0, ay = 0, az = 0;\n"
	"	for (uint j = 0; j < n; j++) {\n"
	"		float4 q = pos[j];\n"
	"		float dx = q.x - p.x, dy = q.y - p.y, dz = q.z - p.z;\n"
	"		float r = rsqrt(dx * dx + dy * dy + dz * dz + 1e-6f);\n"
	"		float f = q.w * r * r * r;\n"
	"		ax += f * dx;\n"
	"		ay += f * dy;\n"
	"		az += f * dz;\n"
	"	}\n"
	"	acc[i] = (float4)(ax, ay, az, 0);\n"
	"}\n"
	"kernel void empty(void) { }\n";

/* One kernel as both sides launch it: buffers of `floats` floats, of which the first ones are filled by the rule below. */
struct bench_kernel {
	const char *name;
	unsigned int dims, global[3], local[3];
	unsigned int scalar; /* first argument: 0: the float 2, else this number */
	unsigned int buffers;
	unsigned int floats[3];
};

static const struct bench_kernel bench_kernels[] = {
	{ "saxpy", 1, { SAXPY_N, 1, 1 }, { SAXPY_LOCAL, 1, 1 }, 0, 2, { SAXPY_N, SAXPY_N } },
	{ "sgemm",
	  2,
	  { SGEMM_N, SGEMM_N, 1 },
	  { SGEMM_TILE, SGEMM_TILE, 1 },
	  SGEMM_N,
	  3,
	  { SGEMM_N * SGEMM_N, SGEMM_N *SGEMM_N, SGEMM_N *SGEMM_N } },
	{ "nbody",
	  1,
	  { NBODY_N, 1, 1 },
	  { NBODY_LOCAL, 1, 1 },
	  NBODY_N,
	  2,
	  { NBODY_N * 4, NBODY_N * 4 } },
};
#define BENCH_KERNELS (sizeof(bench_kernels) / sizeof(bench_kernels[0]))

static inline void bench_fill(float *data, unsigned int floats)
{
	for (unsigned int i = 0; i < floats; i++)
		data[i] = (float)(i % 1021) / 1021.0f;
}

#endif
