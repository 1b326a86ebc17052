/* SPDX-License-Identifier: MIT */
/*
 * The naive model of mock.h. The walk here goes page by page from the root, with no thought for
 * speed: the oracle of gmmu.c and shadow.c.
 */
#include <string.h>

#include "base/util.h"
#include "mock.h"

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

static uint64_t page_va(long index)
{
	long l3 = index / MDL_PT_ENTRIES;

	return (uint64_t)mock_index[l3 / (MOCK_INDEXES * MOCK_INDEXES)] << 39 |
	       (uint64_t)mock_index[l3 / MOCK_INDEXES % MOCK_INDEXES] << 30 |
	       (uint64_t)mock_index[l3 % MOCK_INDEXES] << 21 |
	       (uint64_t)(index % MDL_PT_ENTRIES) << 12;
}

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
