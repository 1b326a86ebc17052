/* SPDX-License-Identifier: MIT */
/*
 * BAR0: which register an access means, and what it does. The rows of hw/regs.def become the table
 * below, each with the two functions that its handler column names: read_<handler> for RO
 * registers, write_<handler> for the others. Beside the registers BAR0 holds the doorbells and the
 * MSI-X table and pending bits.
 *
 * Whatever is not exactly one register (or one half of an 8-byte one), of an object that exists, in
 * a direction that it has, is a bad access: reads give zeroes, writes do nothing,
 * stats.bad_accesses counts. Reading a write-only register gives zeroes and is fine.
 *
 * Owned by the caller's thread.
 */
#include <string.h>

#include "priv.h"

enum access {
	RO = 1,
	RW = 3,
	WO = 2
}; /* bit 0: has a value to read, bit 1: may be written */
enum block {
	GLOBAL,
	CTX,
	CHAN
};

struct reg {
	uint16_t offset;
	uint8_t width, access, block;
	uint64_t reset, wmask;
	uint64_t (*read)(const struct mdl_vgpu *v,
			 uint32_t index); /* computes the value; NULL: storage */
	void (*write)(struct mdl_vgpu *v, uint32_t index,
		      uint64_t value); /* after storage was changed */
};

/* ---- Handlers ---- */

static uint64_t read_vram_bytes(const struct mdl_vgpu *v, uint32_t index)
{
	return v->config.vram_bytes;
}

static uint64_t read_va_base(const struct mdl_vgpu *v, uint32_t index)
{
	return MDL_WINDOW_BASE;
}

static uint64_t read_va_limit(const struct mdl_vgpu *v, uint32_t index)
{
	return MDL_WINDOW_END;
}

static uint64_t read_num_channels(const struct mdl_vgpu *v, uint32_t index)
{
	return v->config.channels;
}

static uint64_t read_num_contexts(const struct mdl_vgpu *v, uint32_t index)
{
	return v->config.contexts;
}

static uint64_t read_compute_units(const struct mdl_vgpu *v, uint32_t index)
{
	return v->config.compute_units;
}

static uint64_t read_timestamp(const struct mdl_vgpu *v, uint32_t index)
{
	return v->ops->now_ns(v->h) - v->epoch_ns;
}

static void write_func_ctrl(struct mdl_vgpu *v, uint32_t index, uint64_t value)
{
	if (value & MDL_CTRL_RESET)
		mdl_func_reset(v);
}

static uint64_t read_func_status(const struct mdl_vgpu *v, uint32_t index)
{
	return mdl_func_status(v);
}

static void write_fault_log2(struct mdl_vgpu *v, uint32_t index, uint64_t value)
{
	mdl_fault_set_log2(v);
}

static uint64_t read_fault_put(const struct mdl_vgpu *v, uint32_t index)
{
	return v->fault_put;
}

static uint64_t read_fault_lost(const struct mdl_vgpu *v, uint32_t index)
{
	return v->fault_lost;
}

static void write_ctx_ctrl(struct mdl_vgpu *v, uint32_t index, uint64_t value)
{
	mdl_ctx_ctrl(v, index, (uint32_t)value);
}

static uint64_t read_ctx_status(const struct mdl_vgpu *v, uint32_t index)
{
	return mdl_ctx_status(v, index);
}

static void write_ctx_invalidate(struct mdl_vgpu *v, uint32_t index, uint64_t value)
{
	if (value)
		mdl_ctx_invalidate(v, index);
}

static uint64_t read_ctx_error(const struct mdl_vgpu *v, uint32_t index)
{
	return v->ctx[index].error;
}

static uint64_t read_ctx_fault_va(const struct mdl_vgpu *v, uint32_t index)
{
	return v->ctx[index].fault_va;
}

static void write_chan_ctrl(struct mdl_vgpu *v, uint32_t index, uint64_t value)
{
	mdl_chan_ctrl(v, index, (uint32_t)value);
}

static uint64_t read_chan_status(const struct mdl_vgpu *v, uint32_t index)
{
	return mdl_chan_status(v, index);
}

static uint64_t read_chan_error(const struct mdl_vgpu *v, uint32_t index)
{
	return v->chan[index].error;
}

static uint64_t read_chan_fault_va(const struct mdl_vgpu *v, uint32_t index)
{
	return v->chan[index].fault_va;
}

/* ---- The table ---- */

#define read_none   NULL
#define write_none  NULL
#define READ_RO(h)  read_##h
#define READ_RW(h)  NULL
#define READ_WO(h)  NULL
#define WRITE_RO(h) NULL
#define WRITE_RW(h) write_##h
#define WRITE_WO(h) write_##h

static const struct reg regs[] = {
#define MDL_REG(name_, offset_, width_, access_, reset_, wmask_, block_, handler_, text_) \
	{ .offset = (offset_),                                                            \
	  .width = (width_),                                                              \
	  .access = (access_),                                                            \
	  .block = (block_),                                                              \
	  .reset = (reset_),                                                              \
	  .wmask = (wmask_),                                                              \
	  .read = READ_##access_(handler_),                                               \
	  .write = WRITE_##access_(handler_) },
#include "hw/regs.def"
#undef MDL_REG
};

/* No register may lie outside its block's window, where storage would end too. */
#define MDL_REG(name_, offset_, width_, access_, reset_, wmask_, block_, handler_, text_)         \
	_Static_assert((offset_) % (width_) == 0 && ((width_) == 4 || (width_) == 8) &&           \
			       (offset_) + (width_) <= ((block_) == GLOBAL ? MDL_REG_GLOBAL_BYTES \
							: (block_) == CTX  ? MDL_HW_CTX_STRIDE    \
									   : MDL_HW_CHAN_STRIDE),  \
		       #name_ " is misplaced");
#include "hw/regs.def"
#undef MDL_REG

/* ---- Dispatch ---- */

struct target {
	const struct reg *reg;
	uint64_t *storage;
	uint32_t index; /* of the context or channel */
	uint32_t shift; /* 32 for the upper half of an 8-byte register, else 0 */
	uint64_t mask; /* of the accessed bits, before shift */
};

/* The block that offset lies in, the object's index, and the offset inside its window. */
static bool find_block(struct mdl_vgpu *v, uint32_t offset, enum block *ret_block,
		       uint32_t *ret_index, uint32_t *ret_offset, uint64_t **ret_storage)
{
	uint32_t ctx = (offset - MDL_HW_CTX_BASE) / MDL_HW_CTX_STRIDE;
	uint32_t chan = (offset - MDL_HW_CHAN_BASE) / MDL_HW_CHAN_STRIDE;

	if (offset < MDL_REG_GLOBAL_BYTES) {
		*ret_block = GLOBAL;
		*ret_index = 0;
		*ret_offset = offset;
		*ret_storage = v->reg;
	} else if (offset >= MDL_HW_CTX_BASE && ctx < v->config.contexts) {
		*ret_block = CTX;
		*ret_index = ctx;
		*ret_offset = offset % MDL_HW_CTX_STRIDE;
		*ret_storage = v->ctx[ctx].reg;
	} else if (offset >= MDL_HW_CHAN_BASE && chan < v->config.channels) {
		*ret_block = CHAN;
		*ret_index = chan;
		*ret_offset = offset % MDL_HW_CHAN_STRIDE;
		*ret_storage = v->chan[chan].reg;
	} else {
		return false;
	}
	return true;
}

static bool find_reg(struct mdl_vgpu *v, uint32_t offset, uint32_t count, struct target *ret_target)
{
	enum block block;
	uint32_t index, at;
	uint64_t *storage;

	if ((count != 4 && count != 8) || !mdl_is_aligned(offset, count) ||
	    !find_block(v, offset, &block, &index, &at, &storage))
		return false;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(regs); i++) {
		const struct reg *r = &regs[i];

		if (r->block != block || count > r->width || at < r->offset ||
		    at + count > (uint32_t)r->offset + r->width)
			continue;
		*ret_target = (struct target) {
			.reg = r,
			.storage = &storage[r->offset / 4],
			.index = index,
			.shift = (at - r->offset) * 8,
			.mask = count == 8 ? UINT64_MAX : UINT32_MAX,
		};
		return true;
	}
	return false;
}

/*
 * One aligned 4- or 8-byte piece of the MSI-X table. VMMs usually keep the table themselves; then
 * this is never reached.
 */
static uint32_t *msix_entry(struct mdl_vgpu *v, uint32_t offset, uint32_t count)
{
	if (!mdl_range_in(offset, count, MDL_HW_MSIX_TABLE, sizeof(v->msix_table)) ||
	    (count != 4 && count != 8) || !mdl_is_aligned(offset, count))
		return NULL;
	return &v->msix_table[(offset - MDL_HW_MSIX_TABLE) / 4];
}

static bool is_doorbell(const struct mdl_vgpu *v, uint32_t offset, uint32_t count)
{
	return count == 4 && mdl_is_aligned(offset, 4) &&
	       mdl_range_in(offset, 4, MDL_HW_DOORBELL_BASE, 4ull * v->config.channels);
}

void mdl_vgpu_bar0_read(struct mdl_vgpu *v, uint32_t offset, void *data, uint32_t count)
{
	const uint32_t *entry = msix_entry(v, offset, count);
	struct target t;
	uint64_t value;

	v->stats.reg_reads++;
	memset(data, 0, count);
	if (entry) {
		memcpy(data, entry, count);
	} else if (mdl_range_in(offset, count, MDL_HW_MSIX_PBA, 8) &&
		   mdl_is_aligned(offset, count) && (count == 4 || count == 8)) {
		value = v->ops->msix_pending(v->h, 0) >> (8 * (offset - MDL_HW_MSIX_PBA));
		memcpy(data, &value, count);
	} else if (find_reg(v, offset, count, &t)) {
		if (!(t.reg->access & RO))
			return;
		value = t.reg->read ? t.reg->read(v, t.index) : *t.storage;
		value = value >> t.shift & t.mask;
		memcpy(data, &value, count);
	} else if (!is_doorbell(v, offset, count)) {
		v->stats.bad_accesses++;
	}
}

void mdl_vgpu_bar0_write(struct mdl_vgpu *v, uint32_t offset, const void *data, uint32_t count)
{
	uint32_t *entry = msix_entry(v, offset, count);
	uint64_t value = 0, wmask;
	struct target t;

	v->stats.reg_writes++;
	if (entry) {
		memcpy(entry, data, count);
	} else if (is_doorbell(v, offset, count)) {
		mdl_chan_doorbell(v, (offset - MDL_HW_DOORBELL_BASE) / 4);
	} else if (find_reg(v, offset, count, &t) && t.reg->access & WO) {
		memcpy(&value, data, count);
		wmask = t.reg->wmask & t.mask << t.shift;
		value = value << t.shift & wmask;
		if (t.reg->access & RO)
			*t.storage = (*t.storage & ~wmask) | value;
		if (t.reg->write)
			t.reg->write(v, t.index, value);
	} else {
		v->stats.bad_accesses++;
	}
}

static void reset_block(enum block block, uint64_t *storage)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(regs); i++)
		if (regs[i].block == block)
			storage[regs[i].offset / 4] = regs[i].reset;
}

void mdl_regs_reset(struct mdl_vgpu *v)
{
	reset_block(GLOBAL, v->reg);
	for (uint32_t i = 0; i < v->config.contexts; i++)
		reset_block(CTX, v->ctx[i].reg);
	for (uint32_t i = 0; i < v->config.channels; i++)
		reset_block(CHAN, v->chan[i].reg);
	memset(v->msix_table, 0, sizeof(v->msix_table));
	for (uint32_t i = 0; i < MDL_HW_MSIX_VECTORS; i++)
		v->msix_table[4 * i + 3] = 1; /* masked */
	v->fault_put = 0;
	v->fault_lost = 0;
}
