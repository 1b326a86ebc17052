/* SPDX-License-Identifier: MIT */
/*
 * Kernels of mdl-smoke: one for each way of passing arguments, and one that notes its place in the
 * launch.
 */
struct many {
	int factor[20];
};

kernel void saxpy(global float *y, global const float *x, float a, uint n)
{
	uint i = get_global_id(0);

	if (i < n)
		y[i] = a * x[i] + y[i];
}

/* Sums of work-groups through local memory given as an argument. */
kernel void sums(global const uint *in, global uint *out, local uint *scratch)
{
	uint l = get_local_id(0);

	scratch[l] = in[get_global_id(0)];
	barrier(CLK_LOCAL_MEM_FENCE);
	for (uint n = get_local_size(0) / 2; n > 0; n /= 2) {
		if (l < n)
			scratch[l] += scratch[l + n];
		barrier(CLK_LOCAL_MEM_FENCE);
	}
	if (l == 0)
		out[get_group_id(0)] = scratch[0];
}

/* A value too long for a register. */
kernel void scale(global int *out, struct many m)
{
	uint i = get_global_id(0);

	out[i] = m.factor[i];
}

kernel void places(global uint *out)
{
	uint x = get_global_id(0) - get_global_offset(0);
	uint y = get_global_id(1) - get_global_offset(1);
	uint z = get_global_id(2) - get_global_offset(2);
	uint at = (z * get_global_size(1) + y) * get_global_size(0) + x;

	out[at] = get_global_id(0) | get_global_id(1) << 8 | get_global_id(2) << 16;
}

/* Pointers inside memory: a list built with GPU addresses. */
struct node {
	ulong next;
	ulong value;
};

kernel void walk(ulong head, global ulong *sum)
{
	global struct node *n;
	ulong s = 0;

	for (n = (global struct node *)head; n; n = (global struct node *)n->next)
		s += n->value;
	*sum = s;
}

kernel void nothing(void)
{
}
