/* SPDX-License-Identifier: MIT */
/*
 * See mock.h. The naive walk here goes page by page from the root, with no thought for speed: the
 * oracle of gmmu.c and shadow.c.
 */
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

/* Index in the model of a page, or -1. */
static long page_index(uint64_t va)
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

static uint64_t page_va(long index)
{
	long l3 = index / MDL_PT_ENTRIES;

	return (uint64_t)mock_index[l3 / (MOCK_INDEXES * MOCK_INDEXES)] << 39 |
	       (uint64_t)mock_index[l3 / MOCK_INDEXES % MOCK_INDEXES] << 30 |
	       (uint64_t)mock_index[l3 % MOCK_INDEXES] << 21 |
	       (uint64_t)(index % MDL_PT_ENTRIES) << 12;
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
		long i = page_index(e->va + at);

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

/* ---- Page tables ---- */

/*
 * 8 tables in VRAM, 8 in the first region, 2 each in the read-only region and in the one behind it.
 */
uint64_t mock_table(unsigned int n)
{
	static const uint64_t base[] = { 0x10000, 0x600000, 0x800000 };

	if (n < 8)
		return MDL_PTE_VALID | (uint64_t)n << 12;
	if (n < 16)
		return MDL_PTE_VALID | MDL_PTE_SYSTEM | (base[0] + ((uint64_t)(n - 8) << 12));
	return MDL_PTE_VALID | MDL_PTE_SYSTEM |
	       (base[1 + (n - 16) / 2] + ((uint64_t)(n % 2) << 12));
}

uint64_t *mock_table_mem(struct mock *m, unsigned int n)
{
	uint64_t entry = mock_table(n), frame = entry & MDL_PTE_FRAME;

	return entry & MDL_PTE_SYSTEM ? mock_guest_page(m, frame) : (void *)(m->vram + frame);
}

uint64_t mock_pte(uint32_t kind, uint32_t value)
{
	static const uint64_t sys[] = { 0,	  0x9f000,     0x100000,   0x3ff000,
					0x5ff000, 0x600000,    0x7ff000,   0x800000,
					0x9ff000, 0x100000000, 0x1003ff000 };
	static const uint64_t bad[] = { 0,
					MOCK_VRAM,
					0xa0000 | MDL_PTE_SYSTEM,
					0xa00000 | MDL_PTE_SYSTEM,
					MDL_PTE_FRAME,
					MDL_PTE_FRAME | MDL_PTE_SYSTEM,
					1ull << 63,
					1 << 4,
					1 << 11,
					0x1000,
					0x1000 | MDL_PTE_SYSTEM,
					1ull << 52 };
	uint64_t flags = MDL_PTE_VALID | (value & 1 ? MDL_PTE_WRITE : 0);

	value >>= 1;
	switch (kind % 8) {
	case 0:
		return value & 1 ? 0
				 : (uint64_t)value << 32 &
					   ~MDL_PTE_VALID; /* absent, whatever else it says */
	case 1:
	case 2:
		return mock_table(value % MOCK_TABLES);
	case 3:
		return flags | (uint64_t)(value % (MOCK_VRAM >> 12)) << 12;
	case 4:
		return flags | MDL_PTE_SYSTEM | sys[value % MDL_ARRAY_SIZE(sys)];
	case 5:
		return flags | MDL_PTE_HUGE | (uint64_t)(value % (MOCK_VRAM >> 21)) << 21;
	case 6:
		return flags | MDL_PTE_HUGE | MDL_PTE_SYSTEM | (value & 1 ? 0x100000000 : 0) |
		       (uint64_t)(value >> 1 & 7) << 21;
	default:
		return flags | (value & 1 ? MDL_PTE_HUGE : 0) |
		       bad[(value >> 1) % MDL_ARRAY_SIZE(bad)];
	}
}

/* ---- The naive walk ---- */

enum naive {
	ABSENT,
	MAPPED,
	BAD
};

static bool naive_system(const struct mock *m, uint64_t gpa, bool write, struct mock_page *ret_page)
{
	for (unsigned int i = 0; i < MOCK_REGIONS; i++) {
		const struct mock_layout *l = &mock_layout[i];

		if (!m->region[i] || (write && !l->write) ||
		    !mdl_range_in(gpa, MDL_PAGE_BYTES, l->gpa, l->bytes))
			continue;
		ret_page->mem = l->mem;
		ret_page->offset = l->offset + (gpa - l->gpa);
		ret_page->gpa = gpa;
		return true;
	}
	return false;
}

/* Whether the VM has all pages of a leaf in guest memory. */
static bool naive_system_all(struct mock *m, uint64_t e, uint64_t span)
{
	uint64_t frame = e & MDL_PTE_FRAME;
	struct mock_page p;

	if (e == m->checked_entry && span > MDL_PAGE_BYTES)
		return m->checked_ok;
	m->checked_entry = span > MDL_PAGE_BYTES ? e : 0;
	m->checked_ok = true;
	for (uint64_t at = 0; at < span; at += MDL_PAGE_BYTES)
		m->checked_ok &= naive_system(m, frame + at, e & MDL_PTE_WRITE, &p);
	return m->checked_ok;
}

static enum naive naive_leaf(struct mock *m, uint64_t e, uint64_t skip, uint64_t span,
			     struct mock_page *ret_page)
{
	uint64_t frame = e & MDL_PTE_FRAME;
	bool write = e & MDL_PTE_WRITE;

	if (frame % span)
		return BAD;
	if (e & MDL_PTE_SYSTEM) {
		if (!naive_system_all(m, e, span))
			return BAD;
		naive_system(m, frame + skip, write, ret_page);
	} else {
		if (frame >= MOCK_VRAM)
			return BAD;
		*ret_page = (struct mock_page) { .mem = MDL_MEM_VRAM, .offset = frame + skip };
	}
	ret_page->prot = MDL_MAP_PROT_READ | (write ? MDL_MAP_PROT_WRITE : 0);
	return MAPPED;
}

static enum naive naive_walk(struct mock *m, uint64_t root, uint64_t va, struct mock_page *ret_page,
			     uint64_t *ret_bad, uint64_t *ret_span)
{
	uint64_t e = root, span = 1ull << 48;

	*ret_bad = 0;
	*ret_span = span;
	if (!(e & MDL_PTE_VALID))
		return ABSENT;
	for (int level = 1; level <= 4; level++) {
		const uint64_t *table;
		struct mock_page p;

		if (e & MDL_PTE_SYSTEM) {
			if (!naive_system(m, e & MDL_PTE_FRAME, false, &p))
				return BAD;
			table = (const uint64_t *)(m->mem[p.mem] + p.offset);
		} else {
			if ((e & MDL_PTE_FRAME) >= MOCK_VRAM)
				return BAD;
			table = (const uint64_t *)(m->vram + (e & MDL_PTE_FRAME));
		}
		*ret_span = span /= 512;
		e = table[va / span % 512];
		*ret_bad = va / span * span;
		if (!(e & MDL_PTE_VALID))
			return ABSENT;
		if (e & MDL_PTE_RESERVED)
			return BAD;
		if (level == 3 && e & MDL_PTE_HUGE)
			break;
		if (e & MDL_PTE_HUGE || (level < 4 && e & MDL_PTE_WRITE))
			return BAD;
	}
	if (va < MDL_WINDOW_BASE || va >= MDL_WINDOW_BASE + MDL_WINDOW_BYTES)
		return BAD;
	return naive_leaf(m, e, va % span, span, ret_page);
}

/* Updates the model's pages in [start, end). Returns whether something was bad, and where first. */
static bool model_update(struct mock *m, uint32_t ctx, uint64_t start, uint64_t end,
			 uint64_t *ret_bad)
{
	uint64_t root = mock_read(m, mock_ctx_reg(ctx, PT_ROOT), 8), at, span;
	bool bad = false;

	m->checked_entry = 0;
	for (long i = 0; i < MOCK_PAGES; i++) {
		uint64_t va = page_va(i);
		struct mock_page p = { 0 };

		if (va < start || va >= end)
			continue;
		switch (naive_walk(m, root, va, &p, &at, &span)) {
		case MAPPED:
			m->ctx[ctx].model[i] = p;
			m->ctx[ctx].mapped = true;
			break;
		case BAD:
			if (!bad)
				*ret_bad = mdl_max_u64(at, start);
			bad = true;
			/* fallthrough */
		case ABSENT:
			m->ctx[ctx].model[i] = (struct mock_page) { 0 };
			/*
			 * Nothing in all of these 2 MiB: the one short cut, for the fuzzer's sake.
			 */
			if (!bad && span >= MDL_HUGE_BYTES && i % MDL_PT_ENTRIES == 0 &&
			    end - va >= MDL_HUGE_BYTES) {
				memset(&m->ctx[ctx].model[i], 0, MDL_PT_ENTRIES * sizeof(p));
				i += MDL_PT_ENTRIES - 1;
			}
			break;
		}
	}
	return bad;
}

static bool model_over_limits(const struct mock *m, uint32_t ctx)
{
	const struct mock_page *p = m->ctx[ctx].model;
	uint64_t owned = MOCK_VRAM, total = 0, runs = 0;

	for (unsigned int i = 0; i < MOCK_REGIONS; i++)
		owned += m->region[i] ? mock_layout[i].bytes : 0;
	for (long i = 0; i < MOCK_PAGES; i++) {
		if (!p[i].prot)
			continue;
		total += MDL_PAGE_BYTES;
		if (!i || !p[i - 1].prot || page_va(i) != page_va(i - 1) + MDL_PAGE_BYTES ||
		    p[i].mem != p[i - 1].mem || p[i].prot != p[i - 1].prot ||
		    p[i].offset != p[i - 1].offset + MDL_PAGE_BYTES ||
		    (p[i].mem && p[i].gpa != p[i - 1].gpa + MDL_PAGE_BYTES))
			runs++;
	}
	return runs > MOCK_RUNS_MAX || total > 4 * owned;
}

static void check_after_invalidate(struct mock *m, uint32_t ctx, bool bad, uint64_t bad_va,
				   uint32_t notes)
{
	uint32_t status = (uint32_t)mock_read(m, mock_ctx_reg(ctx, STATUS), 4);
	uint32_t error = (uint32_t)mock_read(m, mock_ctx_reg(ctx, ERROR), 4);

	if (m->ctx[ctx].doomed) {
		MOCK_CHECK(status == MDL_STATUS_PENDING);
	} else if (m->loose) {
		MOCK_CHECK(status == (m->ctx[ctx].alive ? MDL_STATUS_READY : MDL_STATUS_FAULTED));
		MOCK_CHECK(!m->unmap_after_map);
	} else if (model_over_limits(m, ctx)) {
		MOCK_CHECK(status == MDL_STATUS_FAULTED && error == MDL_ERR_NO_RESOURCES);
		MOCK_CHECK(!m->ctx[ctx].alive && m->notes == notes + 1);
	} else {
		MOCK_CHECK(status == MDL_STATUS_READY && m->ctx[ctx].alive);
		MOCK_CHECK(error == (bad ? MDL_ERR_BAD_PTE : MDL_ERR_NONE));
		MOCK_CHECK(mock_read(m, mock_ctx_reg(ctx, FAULT_VA), 8) == (bad ? bad_va : 0));
		MOCK_CHECK(m->notes == notes + bad);
		MOCK_CHECK(!m->unmap_after_map);
	}
	mock_sync_dead(m);
	if (!m->loose)
		mock_compare(m);
}

void mock_invalidate(struct mock *m, uint32_t ctx, uint64_t va, uint64_t bytes)
{
	uint64_t start = va & 0x0000fffffffff000, len = bytes & 0x0001fffffffff000, end, bad_va = 0;
	uint32_t notes = m->notes;
	bool bad;

	if (!len) {
		start = 0;
		end = 1ull << 48;
	} else {
		end = mdl_min_u64(start + len, 1ull << 48);
	}
	mock_write(m, mock_ctx_reg(ctx, INV_VA), 8, va);
	mock_write(m, mock_ctx_reg(ctx, INV_BYTES), 8, bytes);
	m->map_seen = m->unmap_after_map = false;
	mock_write(m, mock_ctx_reg(ctx, INVALIDATE), 4, 1);
	bad = model_update(m, ctx, start, end, &bad_va);
	check_after_invalidate(m, ctx, bad, bad_va, notes);
}

void mock_model_full(struct mock *m, uint32_t ctx)
{
	uint64_t bad;

	if (m->loose || m->count_only)
		return;
	model_update(m, ctx, 0, 1ull << 48, &bad);
	mock_sync_dead(m);
	mock_compare(m);
}

void mock_open_ctx(struct mock *m, uint32_t ctx)
{
	mock_write(m, mock_ctx_reg(ctx, CTRL), 4, MDL_CTRL_ENABLE);
	MOCK_CHECK(m->ctx[ctx].opening);
	MOCK_CHECK(mock_read(m, mock_ctx_reg(ctx, STATUS), 4) == MDL_STATUS_PENDING);
	m->ctx[ctx].opening = false;
	m->ctx[ctx].alive = true;
	mdl_vgpu_ctx_opened(m->v, ctx, 0);
	mock_model_full(m, ctx);
}

void mock_settle(struct mock *m)
{
	for (uint32_t i = 0; i < MOCK_CTXS; i++) {
		struct mock_ctx *c = &m->ctx[i];

		if (c->doomed) {
			c->doomed = false;
			mdl_vgpu_ctx_lost(m->v, i, MDL_ERR_CONTEXT_LOST);
		}
		if (c->opening) {
			c->opening = false;
			c->alive = true;
			mdl_vgpu_ctx_opened(m->v, i, 0);
			mock_model_full(m, i);
		}
		for (uint32_t ch = 0; ch < MOCK_CHANS; ch++) {
			if (!(c->chan_closing & 1u << ch))
				continue;
			c->chan_closing &= ~(1u << ch);
			c->chan_open &= ~(1u << ch);
			mdl_vgpu_chan_closed(m->v, ch);
		}
		if (c->doomed) { /* the unmap of a user page failed just now */
			c->doomed = false;
			mdl_vgpu_ctx_lost(m->v, i, MDL_ERR_CONTEXT_LOST);
		}
	}
	mock_sync_dead(m);
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

void mock_compare(struct mock *m)
{
	for (uint32_t c = 0; c < MOCK_CTXS; c++)
		for (long i = 0; (m->ctx[c].used || m->ctx[c].mapped) && i < MOCK_PAGES; i++) {
			const struct mock_page *e = &m->ctx[c].exec[i], *want = &m->ctx[c].model[i];

			MOCK_CHECK(e->prot == want->prot);
			MOCK_CHECK(!e->prot || (e->mem == want->mem && e->offset == want->offset));
		}
}

void mock_sync_dead(struct mock *m)
{
	for (uint32_t i = 0; i < MOCK_CTXS; i++) {
		if (!m->ctx[i].alive && m->ctx[i].mapped) {
			memset(m->ctx[i].model, 0, MOCK_PAGES * sizeof(struct mock_page));
			m->ctx[i].mapped = false;
		}
	}
}
