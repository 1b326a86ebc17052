/* SPDX-License-Identifier: MIT */
/*
 * mdl-hostile's attacks, one for each thing that a guest can write: registers, packets, page
 * tables, ring indices, program sources, kernels. What comes of them inside this vGPU does not
 * matter; that the process behind it lives and others do not notice does.
 */
#include "hostile.h"

#include <stdio.h>
#include <string.h>

#include "hostile_cl.h"

/* ---- registers ---- */

/*
 * Writes anywhere, often where registers are. Left alone: the MSI-X table, where garbage hits this
 * guest's own CPU only, and fault rings in this guest's own memory, which would be overwritten.
 */
static void registers(struct hostile *h)
{
	for (int i = 0; i < 600; i++) {
		uint64_t r = hostile_random(h), value = hostile_random(h) >> (r >> 32) % 64;
		uint32_t offset, width = r & 1 ? 8 : 4;

		switch (r >> 1 & 3) {
		case 0:
			offset = (uint32_t)(r >> 8) % 0x80;
			break;
		case 1:
			offset = MDL_HW_CTX_BASE + (uint32_t)(r >> 8) % (4 * MDL_HW_CTX_STRIDE);
			break;
		case 2:
			offset = MDL_HW_CHAN_BASE + (uint32_t)(r >> 8) % (4 * MDL_HW_CHAN_STRIDE);
			break;
		default:
			offset = (uint32_t)(r >> 8) % MDL_HW_MSIX_TABLE;
			break;
		}
		offset &= ~(width - 1);
		if (r >> 3 & 1)
			mdl_gpu_read_reg(h->gpu, offset, width, &value);
		else if (offset == MDL_REG_FUNC_CTRL && r >> 4 & 7)
			continue; /* resets now and then, not all the time */
		else if (offset / 8 == MDL_REG_FAULT_BASE / 8)
			mdl_gpu_write_reg(h->gpu, MDL_REG_FAULT_BASE, 8, value | 1ull << 45);
		else
			mdl_gpu_write_reg(h->gpu, offset, width, value);
	}
}

/* Enables and disables everything in every order, faster than the device can follow. */
static void switching(struct hostile *h)
{
	for (int i = 0; i < 150; i++) {
		uint64_t r = hostile_random(h);
		uint32_t chan = (uint32_t)(r >> 16) % 4, ctx = (uint32_t)(r >> 24) % 4,
			 cmd = 1u << (r % 3);

		if (r >> 8 & 1) {
			mdl_gpu_write_reg(h->gpu,
					  MDL_HW_CTX_BASE + ctx * MDL_HW_CTX_STRIDE +
						  MDL_REG_CTX_CTRL,
					  4, cmd);
		} else {
			uint32_t base = MDL_HW_CHAN_BASE + chan * MDL_HW_CHAN_STRIDE;

			mdl_gpu_write_reg(h->gpu, base + MDL_REG_CHAN_CONTEXT, 4, ctx);
			mdl_gpu_write_reg(h->gpu, base + MDL_REG_CHAN_RING_LOG2, 4, r >> 32);
			mdl_gpu_write_reg(h->gpu, base + MDL_REG_CHAN_RING_VA, 8,
					  hostile_address(h));
			mdl_gpu_write_reg(h->gpu, base + MDL_REG_CHAN_CTRL, 4, cmd);
			mdl_gpu_write_reg(h->gpu, MDL_HW_DOORBELL_BASE + 4 * chan, 4, 1);
		}
	}
}

/* ---- packets ---- */

static struct mdl_hw_packet wild_packet(struct hostile *h)
{
	uint64_t r = hostile_random(h);
	struct mdl_hw_packet p = {
		.opcode = (uint8_t)(r & 15 ? (r >> 4) % (MDL_OP_COUNT + 1) : r >> 8),
		.flags = (uint8_t)(r >> 16 & (r >> 24 & 15 ? MDL_PKT_FLAGS : 0xff)),
		.tag = (uint32_t)(r >> 32),
		.signal_va = hostile_address(h) & ~7ull,
		.signal_value = hostile_random(h),
	};

	for (int i = 0; i < 5; i++)
		p.raw[i] = hostile_random(h) & 3 ? hostile_address(h)
						 : hostile_random(h) >> (hostile_random(h) % 64);
	/* Without an end some packets would wait for ever: that is for another attack. */
	if (p.opcode == MDL_OP_SEM_WAIT && hostile_random(h) & 7)
		p.opcode = MDL_OP_SEM_RELEASE;
	/* Sizes that take their time only now and then. */
	if ((p.opcode == MDL_OP_COPY || p.opcode == MDL_OP_FILL) && hostile_random(h) & 7)
		p.raw[p.opcode == MDL_OP_COPY ? 2 : 1] %= HOSTILE_BYTES;
	return p;
}

static void packets(struct hostile *h)
{
	for (int round = 0; round < 8; round++) {
		int n = 1 + (int)(hostile_random(h) % 30);

		for (int i = 0; i < n; i++) {
			struct mdl_hw_packet p = wild_packet(h);

			if (mdl_chan_packet(h->chan, &p) < 0)
				break;
		}
		hostile_recover(h);
	}
}

/* Waits that nobody ends, on every channel there is room for. */
static void waiting(struct hostile *h)
{
	struct mdl_chan *chan[3] = { NULL };

	memset(mdl_buf_ptr(h->buf), 0, 4096);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(chan); i++) {
		if (mdl_chan_create(h->ctx, NULL, &chan[i]) == 0)
			mdl_chan_sem_wait(chan[i], mdl_buf_va(h->buf), MDL_SEM_EQ, 1);
	}
	mdl_chan_sem_wait(h->chan, mdl_buf_va(h->buf), MDL_SEM_EQ, 1);
	mdl_chan_finish(h->chan, h->patience_ns / 4);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(chan); i++)
		mdl_chan_destroy(chan[i]);
}

/* ---- rings that lie ---- */

static void rings(struct hostile *h)
{
	for (int round = 0; round < 5; round++) {
		struct mdl_hw_user_page *user = h->chan->user;
		uint64_t r = hostile_random(h);

		for (uint32_t i = 0; i < 1u << h->chan->ring_log2; i++) {
			if (r & 1)
				h->chan->ring[i] = wild_packet(h);
			else
				memset(&h->chan->ring[i], (int)(r >> 8), sizeof(h->chan->ring[i]));
		}
		/* All over the user page, fields that are the device's too. */
		__atomic_store_n(&user->get, hostile_random(h), __ATOMIC_RELAXED);
		__atomic_store_n(&user->error, (uint32_t)hostile_random(h), __ATOMIC_RELAXED);
		__atomic_store_n(&user->doorbell_wanted, (uint32_t)(r >> 1 & 1), __ATOMIC_RELAXED);
		__atomic_store_n(&user->put, r >> 2 & 1 ? hostile_random(h) : (r >> 8) % 2048,
				 __ATOMIC_RELEASE);
		mdl_gpu_write(h->gpu, MDL_HW_DOORBELL_BASE + 4 * h->chan->id, 1);
		/* Packets that change while they are read. */
		for (int i = 0; i < 3000; i++) {
			h->chan->ring[i & 63].opcode ^= 7;
			h->chan->ring[i & 63].raw[i % 5] = hostile_address(h);
		}
		mdl_ctx_reset(h->ctx);
		mdl_chan_reset(h->chan);
	}
}

/* The ring itself goes away while it is in use. */
static void ring_unmapped(struct hostile *h)
{
	for (int i = 0; i < 200; i++)
		mdl_chan_copy(h->chan, mdl_buf_va(h->buf), mdl_buf_va(h->buf) + HOSTILE_BYTES / 2,
			      HOSTILE_BYTES / 2);
	mdl_ptab_unmap(h->ctx, h->chan->ring_va, MDL_PAGE_BYTES);
	mdl_ctx_invalidate(h->ctx, 0, 0);
	mdl_chan_barrier(h->chan);
	mdl_chan_finish(h->chan, h->patience_ns);
}

/* ---- page tables ---- */

static uint64_t wild_pte(struct hostile *h, uint64_t table_bytes)
{
	uint64_t r = hostile_random(h), frame;

	switch (r & 7) {
	case 0:
		return hostile_random(h); /* reserved bits and all */
	case 1:
		frame = (r >> 8) %
			(table_bytes / MDL_PAGE_BYTES); /* tables among themselves: loops */
		frame += mdl_buf_vram_offset(h->buf) / MDL_PAGE_BYTES;
		break;
	case 2:
	case 3:
		frame = (r >> 8) % (2 * h->gpu->info.vram_bytes /
				    MDL_PAGE_BYTES); /* half of them past the end */
		break;
	case 4:
		/* Guest memory only to read, to survive; past its end also to write. */
		frame = (r >> 8) % (1ull << 24);
		return frame << 12 | MDL_PTE_VALID | MDL_PTE_SYSTEM |
		       (frame >> 23 ? MDL_PTE_WRITE : 0);
	default:
		return 0;
	}
	return frame << 12 | MDL_PTE_VALID | (r >> 60 & 1 ? MDL_PTE_WRITE : 0) |
	       (r >> 58 & 7 ? 0 : MDL_PTE_HUGE);
}

/* Tables full of nonsense in the buffer, the context's root in the middle of them. */
static void page_tables(struct hostile *h)
{
	uint64_t *entry = mdl_buf_ptr(h->buf), tables = 64;

	for (int round = 0; round < 6; round++) {
		uint64_t root =
			mdl_buf_vram_offset(h->buf) + hostile_random(h) % tables * MDL_PAGE_BYTES;

		for (uint64_t i = 0; i < tables * MDL_PT_ENTRIES; i++)
			entry[i] = wild_pte(h, tables * MDL_PAGE_BYTES);
		mdl_gpu_write64(h->gpu, mdl_ctx_reg(h->ctx, MDL_REG_CTX_PT_ROOT),
				root | MDL_PTE_VALID | (round & 3 ? 0 : hostile_random(h)));
		mdl_ctx_invalidate(h->ctx, round & 1 ? hostile_address(h) & 0xfffffffff000 : 0,
				   round & 1 ? hostile_random(h) & 0xfffffff000 : 0);
		mdl_chan_fill(h->chan, hostile_address(h) & ~7ull, 4096, 0, 8);
		hostile_recover(h);
	}
}

/*
 * Every entry of every level maps the same few tables: the whole address space, without a gap, from
 * one page of tables.
 */
static void endless_tables(struct hostile *h)
{
	uint64_t *entry = mdl_buf_ptr(h->buf), base = mdl_buf_vram_offset(h->buf);

	for (int write = 0; write < 2; write++) {
		/* Four levels in four pages; then the root that is its own child. */
		for (uint64_t level = 0; level < 4; level++) {
			for (uint64_t i = 0; i < MDL_PT_ENTRIES; i++) {
				uint64_t next = write ? base : base + (level + 1) * MDL_PAGE_BYTES;

				entry[level * MDL_PT_ENTRIES + i] =
					next | MDL_PTE_VALID |
					(level == 3 && write ? MDL_PTE_WRITE : 0);
			}
		}
		mdl_gpu_write64(h->gpu, mdl_ctx_reg(h->ctx, MDL_REG_CTX_PT_ROOT),
				base | MDL_PTE_VALID);
		mdl_ctx_invalidate(h->ctx, 0, 0);
		mdl_chan_barrier(h->chan);
		hostile_recover(h);
	}
}

/* Entries that change while the device walks them, invalidates without end. */
static void mapping_storm(struct hostile *h)
{
	for (int i = 0; i < 60; i++) {
		struct mdl_buf *b;

		if (mdl_buf_create(h->gpu, 4096 * (1 + hostile_random(h) % 256), i & 1, &b) < 0)
			continue;
		for (int k = 0; k < 6; k++)
			mdl_buf_map(b, h->ctx, MDL_VA_ANY, MDL_MAP_RW | MDL_MAP_SMALL, NULL);
		mdl_chan_fill(h->chan, mdl_buf_va(b), 4096, i, 8);
		mdl_buf_destroy(b); /* while the fill may run */
		if (i % 10 == 0)
			hostile_recover(h);
	}
}

/* ---- programs and kernels ---- */

/* Sources that eat compilers, or ask for files of the host. */
static void sources(struct hostile *h)
{
	static const char *const source[] = {
		"#include \"/etc/passwd\"\nkernel void k(void) {}",
		"#include \"/proc/self/environ\"\nkernel void k(void) {}",
		"#include __FILE__\n#include __FILE__\nkernel void k(void) {}",
		("#define A(x) x x x x x x x x\n#define B(x) A(A(A(A(A(A(x))))))\n"
		 "kernel void k(global int *p) { B(B(p[0]++;)) }"),
		"kernel void k(global int *p) { for (;;) ; }",
		"kernel void k(void) { __asm__ volatile(\"syscall\" :: \"a\"(231), \"D\"(7)); }",
		"((((((((((((((((((((((((((((((((((((((((",
		("kernel void a_name_that_is_longer_than_the_sixty_three_characters_"
		 "that_fit_in_the_kernel_table(void) {}"),
	};
	static const char *const options[] = { "", "-I/etc -include passwd",
					       "-o /tmp/x -save-temps", "-DX=\"'; rm -rf /\"" };
	struct mdl_prog *p;

	if (mdl_prog_create(h->ctx, &p) < 0)
		return;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(source); i++) {
		const char *o = options[hostile_random(h) % MDL_ARRAY_SIZE(options)];

		mdl_prog_build(p, h->chan, source[i], strlen(source[i]), o,
			       20 * (int64_t)MDL_NS_PER_S);
		if (strstr(mdl_prog_log(p), "root:"))
			printf("FAIL sources: the build log shows a file of the host\n");
		hostile_recover(h);
	}
	mdl_prog_destroy(p);
}

static void launch(struct hostile *h, const char *name, uint64_t a, uint64_t b, int64_t wait_ns)
{
	const struct mdl_hw_kernel_info *info;
	struct mdl_prog *p = NULL;
	struct mdl_kern *k = NULL;
	uint64_t value[2] = { a, b };
	uint32_t global[] = { 64 };

	if (mdl_prog_create(h->ctx, &p) == 0 &&
	    mdl_prog_build(p, h->chan, hostile_cl, strlen(hostile_cl), NULL,
			   60 * (int64_t)MDL_NS_PER_S) == 0 &&
	    mdl_kern_create(p, name, &k) == 0) {
		info = mdl_kern_info(k);
		for (uint32_t i = 0; i < info->nargs; i++) {
			if (info->arg_kind[i] == MDL_ARG_BUFFER)
				mdl_kern_set_buffer(k, i, h->buf, 0);
			else
				mdl_kern_set_value(k, i, &value[i & 1], sizeof(value[0]));
		}
		if (mdl_chan_launch(h->chan, k, 1, global, NULL, NULL) == 0)
			mdl_chan_finish(h->chan, wait_ns);
	}
	mdl_kern_destroy(k);
	mdl_prog_destroy(p);
	mdl_ctx_reset(h->ctx);
	mdl_chan_reset(h->chan);
}

/*
 * Pointers at everything: null, the window's edges, where executables and libraries and stacks
 * usually are.
 */
static void stray_pointers(struct hostile *h)
{
	static const uint64_t usual[] = { 0,
					  8,
					  0x400000,
					  0x555555554000,
					  0x7ffff7000000,
					  0x7ffffffde000,
					  0xffffffffff600000,
					  0xffff888000000000 };

	for (int i = 0; i < 5; i++) {
		uint64_t va = i & 1 ? usual[hostile_random(h) % MDL_ARRAY_SIZE(usual)]
				    : hostile_address(h);

		launch(h, hostile_random(h) & 1 ? "peek" : "poke", va, hostile_random(h),
		       h->patience_ns * 10);
	}
}

static void crashing_kernels(struct hostile *h)
{
	memset(mdl_buf_ptr(h->buf), 0, 4096);
	launch(h, "divide", 0, 0, h->patience_ns * 10);
	launch(h, "deep", 0, 0, h->patience_ns * 10);
}

/* Not waited for: the reset that follows has to end it. */
static void infinite_kernel(struct hostile *h)
{
	launch(h, "forever", 0, 0, h->patience_ns);
}

const struct hostile_attack hostile_attacks[] = {
	{ "registers", registers },
	{ "switching", switching },
	{ "packets", packets },
	{ "waiting", waiting },
	{ "rings", rings },
	{ "ring-unmapped", ring_unmapped },
	{ "page-tables", page_tables },
	{ "endless-tables", endless_tables },
	{ "mapping-storm", mapping_storm },
	{ "sources", sources },
	{ "stray-pointers", stray_pointers },
	{ "crashing-kernels", crashing_kernels },
	{ "infinite-kernel", infinite_kernel },
	{ NULL, NULL },
};
