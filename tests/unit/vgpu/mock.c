/* SPDX-License-Identifier: MIT */
/* The host of mock.h: what executors have mapped, and what the vGPU may ask for when. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "mock.h"

const struct mock_layout mock_layout[MOCK_REGIONS] = {
	{ 0, 0xa0000, true, 2, 0 },
	{ 0x100000, 0x500000, true, 2, 0x100000 },
	{ 0x600000, 0x200000, false, 3, 0 },
	/* Continues the one before it, in the guest and in the memory object, with other rights. */
	{ 0x800000, 0x200000, true, 3, 0x200000 },
	/* Continues the second one in the memory object, but not in the guest: RAM above 4 GiB. */
	{ 0x100000000, 0x400000, true, 2, 0x600000 },
};

static const uint64_t mem_bytes[MDL_MEM_MAX] = {
	[2] = 0xa00000,
	[3] = 0x400000,
};

/* 64 and 95 are the first and last root entries of the window. */
const uint16_t mock_index[MOCK_INDEXES] = { 0, 63, 64, 65, 95, 511 };

/* ---- The host ---- */

static bool countdown(int *n)
{
	return *n > 0 && --*n == 0;
}

static uint64_t host_now(void *h)
{
	struct mock *m = h;

	return m->now;
}

static void host_irq(void *h, uint32_t vector)
{
	struct mock *m = h;

	MOCK_CHECK(vector < MDL_HW_MSIX_VECTORS);
	m->irqs[vector]++;
}

static uint64_t host_pending(void *h, uint32_t word)
{
	struct mock *m = h;

	return word == 0 ? m->pending : 0;
}

static int host_ctx_open(void *h, uint32_t ctx)
{
	struct mock *m = h;
	struct mock_ctx *c = &m->ctx[ctx];

	MOCK_CHECK(ctx < MOCK_CTXS && !c->opening && !c->alive && !c->doomed);
	m->opens++;
	if (countdown(&m->fail_open))
		return -ENOMEM;
	c->opening = true;
	return 0;
}

static void forget(struct mock_ctx *c)
{
	c->alive = false;
	c->user_mapped = c->chan_open = c->chan_closing = 0;
	if (c->used)
		memset(c->exec, 0, MOCK_PAGES * sizeof(*c->exec));
	c->used = false;
}

static void host_ctx_close(void *h, uint32_t ctx)
{
	struct mock *m = h;

	MOCK_CHECK(ctx < MOCK_CTXS && m->ctx[ctx].alive);
	m->closes++;
	forget(&m->ctx[ctx]);
}

long mock_page_index(uint64_t va)
{
	long index = 0;

	for (int level = 0; level < 3; level++) {
		unsigned int i = 0, slot = va >> (39 - 9 * level) & 511;

		while (i < MOCK_INDEXES && mock_index[i] != slot)
			i++;
		if (i == MOCK_INDEXES)
			return -1;
		index = index * MOCK_INDEXES + i;
	}
	return index * MDL_PT_ENTRIES + (va >> 12 & 511);
}

/* Memory that the VM owns at this moment, with the rights. */
static void check_owned(struct mock *m, const struct mdl_map_entry *e)
{
	uint64_t at = e->offset, end = e->offset + e->bytes;

	if (e->mem == MDL_MEM_VRAM) {
		MOCK_CHECK(mdl_range_ok(e->offset, e->bytes, MOCK_VRAM));
		return;
	}
	while (at < end) {
		unsigned int i = 0;

		while (i < MOCK_REGIONS &&
		       !(m->region[i] && mock_layout[i].mem == e->mem &&
			 mdl_range_in(at, 1, mock_layout[i].offset, mock_layout[i].bytes)))
			i++;
		MOCK_CHECK(i < MOCK_REGIONS);
		MOCK_CHECK(mock_layout[i].write || !(e->prot & MDL_MAP_PROT_WRITE));
		at = mock_layout[i].offset + mock_layout[i].bytes;
	}
}

static void apply_user(struct mock *m, struct mock_ctx *c, const struct mdl_map_entry *e)
{
	uint64_t chan = (e->va - MDL_USER_AREA_BASE) / MDL_PAGE_BYTES;

	MOCK_CHECK(chan < MOCK_CHANS && e->bytes == MDL_PAGE_BYTES);
	if (e->op == MDL_MAP_MAP) {
		MOCK_CHECK(e->mem == MDL_MEM_USER && e->offset == chan * MDL_PAGE_BYTES &&
			   e->prot == (MDL_MAP_PROT_READ | MDL_MAP_PROT_WRITE));
		MOCK_CHECK(!(c->user_mapped & 1u << chan));
		for (size_t i = 0; i < MDL_PAGE_BYTES; i++)
			MOCK_CHECK(m->user[chan * MDL_PAGE_BYTES + i] == 0);
		c->user_mapped |= 1u << chan;
	} else {
		MOCK_CHECK(c->user_mapped & 1u << chan && !(c->chan_open & 1u << chan));
		c->user_mapped &= ~(1u << chan);
	}
}

static void apply(struct mock *m, struct mock_ctx *c, const struct mdl_map_entry *e)
{
	MOCK_CHECK(e->op == MDL_MAP_MAP || e->op == MDL_MAP_UNMAP);
	MOCK_CHECK(e->bytes && mdl_is_aligned(e->va | e->bytes | e->offset, MDL_PAGE_BYTES));
	if (mdl_range_in(e->va, e->bytes, MDL_USER_AREA_BASE, MDL_USER_AREA_BYTES)) {
		apply_user(m, c, e);
		return;
	}
	MOCK_CHECK(mdl_range_in(e->va, e->bytes, MDL_WINDOW_BASE, MDL_WINDOW_BYTES));
	*(e->op == MDL_MAP_MAP ? &m->maps : &m->unmaps) += 1;
	if (e->op == MDL_MAP_MAP) {
		MOCK_CHECK(e->prot == MDL_MAP_PROT_READ ||
			   e->prot == (MDL_MAP_PROT_READ | MDL_MAP_PROT_WRITE));
		check_owned(m, e);
		m->map_seen = true;
	} else if (m->map_seen) {
		m->unmap_after_map = true;
	}
	if (m->count_only)
		return;
	for (uint64_t at = 0; at < e->bytes; at += MDL_PAGE_BYTES) {
		long i = mock_page_index(e->va + at);

		MOCK_CHECK(i >= 0 || m->loose);
		if (i < 0)
			continue;
		if (e->op == MDL_MAP_UNMAP) {
			MOCK_CHECK(c->exec[i].prot); /* only what is there is unmapped */
			c->exec[i] = (struct mock_page) { 0 };
			continue;
		}
		/* Only differences are sent. */
		MOCK_CHECK(c->exec[i].prot != e->prot || c->exec[i].mem != e->mem ||
			   c->exec[i].offset != e->offset + at);
		c->used = true;
		c->exec[i] = (struct mock_page) {
			.mem = e->mem,
			.prot = e->prot,
			.offset = e->offset + at,
		};
	}
}

static int host_ctx_map(void *h, uint32_t ctx, const struct mdl_map_entry *entry, size_t count)
{
	struct mock *m = h;
	struct mock_ctx *c = &m->ctx[ctx];

	MOCK_CHECK(ctx < MOCK_CTXS && c->alive && count >= 1 && count <= MDL_MAP_BATCH);
	m->map_calls++;
	m->map_entries += count;
	if (countdown(&m->fail_map)) {
		forget(c);
		c->doomed = true;
		return -EPIPE;
	}
	for (size_t i = 0; i < count; i++)
		apply(m, c, &entry[i]);
	return 0;
}

static int host_chan_open(void *h, uint32_t ctx, uint32_t chan, uint64_t ring_va,
			  uint32_t ring_log2, uint32_t vector)
{
	struct mock *m = h;
	struct mock_ctx *c = &m->ctx[ctx];

	MOCK_CHECK(ctx < MOCK_CTXS && chan < MOCK_CHANS && c->alive);
	MOCK_CHECK(c->user_mapped & 1u << chan && !(c->chan_open & 1u << chan));
	MOCK_CHECK(ring_log2 >= MDL_RING_LOG2_MIN && ring_log2 <= MDL_RING_LOG2_MAX);
	MOCK_CHECK(mdl_is_aligned(ring_va, 64) &&
		   mdl_range_in(ring_va, 64ull << ring_log2, MDL_WINDOW_BASE, MDL_WINDOW_BYTES));
	MOCK_CHECK(vector < MDL_HW_MSIX_VECTORS);
	m->last_vector = vector;
	if (countdown(&m->fail_chan_open))
		return -EAGAIN;
	c->chan_open |= 1u << chan;
	return 0;
}

static int host_chan_close(void *h, uint32_t ctx, uint32_t chan)
{
	struct mock *m = h;
	struct mock_ctx *c = &m->ctx[ctx];

	MOCK_CHECK(ctx < MOCK_CTXS && chan < MOCK_CHANS && c->alive);
	MOCK_CHECK(c->chan_open & 1u << chan && !(c->chan_closing & 1u << chan));
	if (countdown(&m->fail_chan_close))
		return -EAGAIN;
	c->chan_closing |= 1u << chan;
	return 0;
}

static void host_doorbell(void *h, uint32_t ctx, uint32_t chan)
{
	struct mock *m = h;

	MOCK_CHECK(ctx < MOCK_CTXS && chan < MOCK_CHANS && m->ctx[ctx].chan_open & 1u << chan);
	m->doorbells++;
}

static void host_fault_note(void *h, const struct mdl_ipc_fault *fault)
{
	struct mock *m = h;

	MOCK_CHECK(fault->error != MDL_ERR_NONE && fault->error <= MDL_ERR_COMPILE);
	m->notes++;
	m->last_note = *fault;
}

static const struct mdl_vgpu_host host_ops = {
	.now_ns = host_now,
	.irq = host_irq,
	.msix_pending = host_pending,
	.ctx_open = host_ctx_open,
	.ctx_close = host_ctx_close,
	.ctx_map = host_ctx_map,
	.chan_open = host_chan_open,
	.chan_close = host_chan_close,
	.doorbell = host_doorbell,
	.fault_note = host_fault_note,
};

/* ---- Set-up ---- */

/*
 * One mock at a time. Not from the heap: faulting 16 MiB in for each input would be most of a
 * fuzzer's time.
 */
static struct mock_page exec_pages[MOCK_CTXS][MOCK_PAGES], model_pages[MOCK_CTXS][MOCK_PAGES];

static void *pages(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	MOCK_CHECK(p != MAP_FAILED);
	return p;
}

void mock_init(struct mock *m)
{
	struct mdl_vgpu_config config = {
		.vram_bytes = MOCK_VRAM,
		.channels = MOCK_CHANS,
		.contexts = MOCK_CTXS,
		.compute_units = 2,
	};

	*m = (struct mock) { .now = 1000 };
	m->vram = config.vram = pages(MOCK_VRAM);
	m->user = config.user_pages = pages(MOCK_CHANS * MDL_HW_USER_STRIDE);
	for (uint32_t i = 0; i < MDL_MEM_MAX; i++)
		if (mem_bytes[i])
			m->mem[i] = pages(mem_bytes[i]);
	for (uint32_t i = 0; i < MOCK_CTXS; i++) {
		m->ctx[i].exec = exec_pages[i];
		m->ctx[i].model = model_pages[i];
	}
	MOCK_CHECK(mdl_vgpu_create(&config, &host_ops, m, &m->v) == 0);
	for (unsigned int i = 0; i < MOCK_REGIONS; i++)
		MOCK_CHECK(mock_map_region(m, i));
}

void mock_fini(struct mock *m)
{
	mdl_vgpu_destroy(m->v);
	for (uint32_t i = 0; i < MOCK_CTXS; i++)
		MOCK_CHECK(!m->ctx[i].alive && !m->ctx[i].used);
	mock_sync_dead(m);
	munmap(m->vram, MOCK_VRAM);
	munmap(m->user, MOCK_CHANS * MDL_HW_USER_STRIDE);
	for (uint32_t i = 0; i < MDL_MEM_MAX; i++)
		if (mem_bytes[i])
			munmap(m->mem[i], mem_bytes[i]);
}

uint64_t mock_read(struct mock *m, uint32_t offset, uint32_t bytes)
{
	uint64_t value = 0;

	mdl_vgpu_bar0_read(m->v, offset, &value, bytes);
	return value;
}

void mock_write(struct mock *m, uint32_t offset, uint32_t bytes, uint64_t value)
{
	mdl_vgpu_bar0_write(m->v, offset, &value, bytes);
}

void *mock_guest_page(struct mock *m, uint64_t gpa)
{
	for (unsigned int i = 0; i < MOCK_REGIONS; i++)
		if (mdl_range_in(gpa, MDL_PAGE_BYTES, mock_layout[i].gpa, mock_layout[i].bytes))
			return m->mem[mock_layout[i].mem] + mock_layout[i].offset +
			       (gpa - mock_layout[i].gpa);
	return NULL;
}

bool mock_map_region(struct mock *m, unsigned int region)
{
	const struct mock_layout *l = &mock_layout[region];
	int ret = mdl_vgpu_dma_map(m->v, l->gpa, l->bytes, l->write, m->mem[l->mem] + l->offset,
				   l->mem, l->offset);

	MOCK_CHECK(ret == (m->region[region] ? -EEXIST : 0));
	m->region[region] = true;
	return ret == 0;
}

void mock_unmap(struct mock *m, uint64_t gpa, uint64_t bytes)
{
	uint64_t len = mdl_min_u64(bytes, UINT64_MAX - gpa);

	/* Gone for the mock too before the call: a map that reaches it now is an error. */
	for (unsigned int r = 0; r < MOCK_REGIONS; r++) {
		const struct mock_layout *l = &mock_layout[r];

		if (!m->region[r] || !mdl_range_overlap(gpa, len, l->gpa, l->bytes))
			continue;
		m->region[r] = false;
		for (uint32_t c = 0; c < MOCK_CTXS; c++)
			for (long i = 0; m->ctx[c].mapped && !m->loose && i < MOCK_PAGES; i++) {
				struct mock_page *p = &m->ctx[c].model[i];

				if (p->prot && p->mem != MDL_MEM_VRAM &&
				    mdl_range_in(p->gpa, MDL_PAGE_BYTES, l->gpa, l->bytes))
					*p = (struct mock_page) { 0 };
			}
	}
	mdl_vgpu_dma_unmap(m->v, gpa, bytes);
	mock_sync_dead(m);
	mock_check_owned(m);
	if (!m->loose)
		mock_compare(m);
}

void mock_check_owned(struct mock *m)
{
	for (uint32_t c = 0; c < MOCK_CTXS; c++)
		for (long i = 0; m->ctx[c].used && i < MOCK_PAGES; i++) {
			const struct mock_page *p = &m->ctx[c].exec[i];

			if (p->prot)
				check_owned(m, &(struct mdl_map_entry) {
						       .mem = p->mem,
						       .prot = p->prot,
						       .offset = p->offset,
						       .bytes = MDL_PAGE_BYTES,
					       });
		}
}
