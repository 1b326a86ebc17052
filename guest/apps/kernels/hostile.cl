/* SPDX-License-Identifier: MIT */
/* What mdl-hostile runs: kernels that do what kernels must not. */
kernel void poke(ulong address, ulong value)
{
	*(volatile global ulong *)address = value;
}

kernel void peek(ulong address, global ulong *out)
{
	*out = *(volatile global ulong *)address;
}

kernel void forever(global volatile ulong *counter)
{
	for (;;)
		counter[get_global_id(0) & 7]++;
}

kernel void divide(global volatile int *p)
{
	p[0] = p[1] / p[2];
}

kernel void deep(global volatile uint *p)
{
	volatile uint big[65536];

	for (uint i = 0; i < 65536; i++)
		big[i] = p[i & 7];
	p[0] = big[p[1] & 65535];
}
