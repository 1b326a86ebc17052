/* SPDX-License-Identifier: MIT */
/* The device in the test's own process: see mock.h. */
#include "mock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

static struct mock *self(struct mdl_port *p)
{
	return (struct mock *)p;
}

static struct mdl_hw_user_page *user_page(struct mock *m, uint32_t chan)
{
	return (struct mdl_hw_user_page *)((uint8_t *)m->port.user + chan * MDL_HW_USER_STRIDE);
}

/* ---- memory ---- */

uint8_t *mock_walk(struct mock *m, uint32_t ctx, uint64_t va, uint64_t *ret_pte)
{
	uint64_t entry = m->ctx[ctx].root;

	for (int level = 0; level < 5; level++) {
		uint64_t frame = entry & MDL_PTE_FRAME, page = MDL_PAGE_BYTES;
		bool leaf = level == 4 || (level == 3 && entry & MDL_PTE_HUGE);
		uint8_t *base = entry & MDL_PTE_SYSTEM ? m->ram : m->port.vram;
		uint64_t limit =
			entry & MDL_PTE_SYSTEM ? MOCK_RAM_PAGES * MDL_PAGE_BYTES : MOCK_VRAM_BYTES;

		if (!(entry & MDL_PTE_VALID) || entry & MDL_PTE_RESERVED)
			return NULL;
		if (!leaf && entry & (MDL_PTE_HUGE | MDL_PTE_WRITE))
			return NULL;
		if (leaf && level == 3)
			page = MDL_HUGE_BYTES;
		if (!mdl_range_ok(frame, page, limit) || !mdl_is_aligned(frame, page))
			return NULL;
		if (leaf) {
			if (ret_pte)
				*ret_pte = entry;
			return base + frame + va % page;
		}
		memcpy(&entry, base + frame + 8 * (va >> (39 - 9 * level) & 511), sizeof(entry));
	}
	return NULL;
}

/* Moves bytes between GPU addresses and a buffer; -1 at a page that is not there. */
static int gpu_copy(struct mock *m, uint32_t ctx, uint64_t va, void *data, uint64_t bytes,
		    bool write)
{
	while (bytes) {
		uint64_t n = mdl_min_u64(bytes, MDL_PAGE_BYTES - va % MDL_PAGE_BYTES), pte;
		uint8_t *p = mock_walk(m, ctx, va, &pte);

		if (!p || (write && !(pte & MDL_PTE_WRITE)))
			return mock_kill_ctx(m, ctx, MDL_ERR_PAGE_FAULT, va), -1;
		if (write)
			memcpy(p, data, n);
		else
			memcpy(data, p, n);
		va += n;
		data = (uint8_t *)data + n;
		bytes -= n;
	}
	return 0;
}

static int gpu_read(struct mock *m, uint32_t ctx, uint64_t va, void *data, uint64_t bytes)
{
	return gpu_copy(m, ctx, va, data, bytes, false);
}

static int gpu_write(struct mock *m, uint32_t ctx, uint64_t va, const void *data, uint64_t bytes)
{
	return gpu_copy(m, ctx, va, (void *)data, bytes, true);
}

/* ---- faults ---- */

void mock_fault(struct mock *m, uint32_t ctx, uint32_t chan, uint32_t error, uint64_t va,
		uint32_t tag)
{
	struct mdl_hw_fault *ring = (struct mdl_hw_fault *)(m->ram + m->fault_base);
	uint32_t slots = 1u << m->fault_log2;

	if (!m->fault_log2 || m->fault_put - m->fault_get >= slots) {
		m->fault_lost++;
		return;
	}
	ring[m->fault_put++ % slots] = (struct mdl_hw_fault) { .error = (uint16_t)error,
							       .context = (uint16_t)ctx,
							       .channel = (uint16_t)chan,
							       .tag = tag,
							       .va = va,
							       .time_ns = m->now };
	m->irq_pending |= 1;
}

static void stop_chan(struct mock *m, uint32_t chan, uint32_t error, uint64_t va)
{
	struct mdl_hw_user_page *u = user_page(m, chan);

	m->chan[chan].status = MDL_STATUS_FAULTED;
	m->chan[chan].error = error;
	m->chan[chan].fault_va = va;
	u->error_get = u->get;
	u->error = error;
}

void mock_kill_ctx(struct mock *m, uint32_t ctx, uint32_t error, uint64_t va)
{
	m->ctx[ctx].status = MDL_STATUS_FAULTED;
	m->ctx[ctx].error = error;
	m->ctx[ctx].fault_va = va;
	for (uint32_t i = 0; i < MOCK_CHANNELS; i++) {
		if (m->chan[i].status == MDL_STATUS_READY && m->chan[i].context == ctx)
			stop_chan(m, i, MDL_ERR_CONTEXT_LOST, 0);
	}
	mock_fault(m, ctx, MDL_FAULT_NO_CHANNEL, error, va, 0);
}

/* ---- engine ---- */

/*
 * Any source with "fail" in it fails; every other has the kernels "mix" (value, buffer, local,
 * value) and "none".
 */
static int load_program(struct mock *m, uint32_t ctx, const struct mdl_hw_packet *p)
{
	static const char log[] = "mock: error: no";
	struct {
		struct mdl_hw_program_result head;
		struct mdl_hw_kernel_info k[2];
	} r = { 0 };
	struct mdl_hw_program_load l;
	char source[4096] = "";
	int ret;

	if (gpu_read(m, ctx, p->program.load_va, &l, sizeof(l)))
		return -1;
	ret = gpu_read(m, ctx, l.source_va, source,
		       mdl_min_u64(l.source_bytes, sizeof(source) - 1));
	if (!ret && strstr(source, "fail")) {
		r.head.status = MDL_PROGRAM_BUILD_FAILED;
		r.head.log_bytes = sizeof(log);
		ret = gpu_write(m, ctx, l.log_va, log, sizeof(log));
	} else if (!ret) {
		m->programs_loaded++;
		r.head.num_kernels = 2;
		strcpy(r.k[0].name, "mix");
		r.k[0].nargs = 4;
		r.k[0].arg_kind[1] = MDL_ARG_BUFFER;
		r.k[0].arg_kind[2] = MDL_ARG_LOCAL;
		r.k[0].max_local = 256;
		strcpy(r.k[1].name, "none");
		r.k[1].max_local = 256;
		r.k[1].reqd_local[0] = 8;
		r.k[1].reqd_local[1] = r.k[1].reqd_local[2] = 1;
	}
	return ret || gpu_write(m, ctx, l.result_va, &r, sizeof(r));
}

static int dispatch(struct mock *m, uint32_t ctx, const struct mdl_hw_packet *p)
{
	struct mock_launch *l = &m->launch[m->launches % MOCK_LAUNCHES];
	struct mdl_hw_args a = { 0 };

	memset(l, 0, sizeof(*l));
	l->packet = p->dispatch;
	if (p->dispatch.args_va && gpu_read(m, ctx, p->dispatch.args_va, &a, sizeof(a)))
		return -1;
	memcpy(l->global_offset, a.global_offset, sizeof(l->global_offset));
	l->nargs = a.nargs;
	if (a.nargs > MDL_ARGS_MAX ||
	    gpu_read(m, ctx, p->dispatch.args_va + sizeof(a), l->arg, a.nargs * sizeof(l->arg[0])))
		return -1;
	for (uint32_t i = 0; i < a.nargs; i++) {
		uint8_t data[MDL_ARG_BYTES_MAX];

		if (l->arg[i].kind != MDL_ARG_VALUE || l->arg[i].size <= 8)
			continue;
		if (gpu_read(m, ctx, l->arg[i].value, data, l->arg[i].size))
			return -1;
		for (uint32_t b = 0; b < l->arg[i].size; b++)
			l->sum += data[b];
	}
	m->launches++;
	return 0;
}

/* 0 done, 1 not yet, -1 the context died. */
static int execute(struct mock *m, uint32_t ctx, const struct mdl_hw_packet *p)
{
	uint64_t v;

	switch (p->opcode) {
	case MDL_OP_BARRIER:
		return 0;
	case MDL_OP_UNLOAD_PROGRAM:
		m->unloads++;
		return 0;
	case MDL_OP_LOAD_PROGRAM:
		return load_program(m, ctx, p);
	case MDL_OP_DISPATCH:
		return dispatch(m, ctx, p);
	case MDL_OP_COPY:
		for (uint64_t i = 0; i < p->copy.bytes; i++) {
			if (gpu_read(m, ctx, p->copy.src_va + i, &v, 1) ||
			    gpu_write(m, ctx, p->copy.dst_va + i, &v, 1))
				return -1;
		}
		return 0;
	case MDL_OP_FILL:
		for (uint64_t i = 0; i < p->fill.bytes; i += p->fill.pattern_bytes) {
			if (gpu_write(m, ctx, p->fill.dst_va + i, &p->fill.pattern,
				      p->fill.pattern_bytes))
				return -1;
		}
		return 0;
	case MDL_OP_COPY_2D:
		for (uint64_t y = 0; y < p->copy_2d.height; y++) {
			for (uint64_t x = 0; x < p->copy_2d.width_bytes; x++) {
				if (gpu_read(m, ctx,
					     p->copy_2d.src_va + y * p->copy_2d.src_pitch + x, &v,
					     1) ||
				    gpu_write(m, ctx,
					      p->copy_2d.dst_va + y * p->copy_2d.dst_pitch + x, &v,
					      1))
					return -1;
			}
		}
		return 0;
	case MDL_OP_TIMESTAMP:
		return gpu_write(m, ctx, p->timestamp.va, &m->now, 8);
	case MDL_OP_SEM_RELEASE:
		if (gpu_read(m, ctx, p->sem.va, &v, 8))
			return -1;
		v = p->sem.op == MDL_SEM_SET   ? p->sem.value
		    : p->sem.op == MDL_SEM_ADD ? v + p->sem.value
					       : v | p->sem.value;
		return gpu_write(m, ctx, p->sem.va, &v, 8);
	case MDL_OP_SEM_WAIT:
		if (gpu_read(m, ctx, p->sem.va, &v, 8))
			return -1;
		return !(p->sem.op == MDL_SEM_EQ   ? v == p->sem.value
			 : p->sem.op == MDL_SEM_GE ? v >= p->sem.value
			 : p->sem.op == MDL_SEM_NE ? v != p->sem.value
						   : (v & p->sem.value) != 0);
	default:
		return -2;
	}
}

uint32_t mock_run(struct mock *m, uint32_t chan, uint32_t n)
{
	struct mock_chan *c = &m->chan[chan];
	struct mdl_hw_user_page *u = user_page(m, chan);
	uint32_t done = 0;

	while (done < n && c->status == MDL_STATUS_READY && u->get != u->put) {
		struct mdl_hw_packet p;
		int r;

		if (u->put - u->get > 1ull << c->ring_log2) {
			stop_chan(m, chan, MDL_ERR_BAD_RING, 0);
			break;
		}
		if (gpu_read(m, c->context,
			     c->ring_va + (u->get & ((1u << c->ring_log2) - 1)) * sizeof(p), &p,
			     sizeof(p)))
			break;
		r = execute(m, c->context, &p);
		if (r == -2) {
			mock_fault(m, c->context, chan, MDL_ERR_BAD_PACKET, 0, p.tag);
			stop_chan(m, chan, MDL_ERR_BAD_PACKET, 0);
		}
		if (r)
			break;
		if (p.flags & MDL_PKT_SIGNAL &&
		    gpu_write(m, c->context, p.signal_va, &p.signal_value, 8))
			break;
		u->get++;
		done++;
		if (p.flags & MDL_PKT_IRQ) {
			m->irqs++;
			m->irq_pending |= 1u << c->vector;
		}
	}
	return done;
}

static void run_some(struct mock *m)
{
	for (uint32_t i = 0; m->step && i < MOCK_CHANNELS; i++)
		mock_run(m, i, m->step);
}

/* ---- registers ---- */

static void reset_function(struct mock *m)
{
	m->func_resets++;
	memset(m->ctx, 0, sizeof(m->ctx));
	memset(m->chan, 0, sizeof(m->chan));
	memset(m->port.vram, 0, MOCK_VRAM_BYTES);
	memset(m->port.user, 0, m->port.user_bytes);
	m->fault_put = m->fault_get = m->fault_log2 = m->fault_lost = 0;
}

static uint32_t status(struct mock *m, uint32_t v)
{
	if (!m->pending)
		return v;
	m->pending--;
	return MDL_STATUS_PENDING;
}

static uint64_t read_global(struct mock *m, uint32_t off)
{
	switch (off) {
	case MDL_REG_ID:
		return MDL_HW_MAGIC;
	case MDL_REG_VERSION:
		return MDL_HW_VERSION_MAJOR << 16 | MDL_HW_VERSION_MINOR;
	case MDL_REG_VRAM_BYTES:
		return MOCK_VRAM_BYTES;
	case MDL_REG_VA_BASE:
		return MOCK_VA_BASE;
	case MDL_REG_VA_LIMIT:
		return MOCK_VA_LIMIT;
	case MDL_REG_NUM_CHANNELS:
		return MOCK_CHANNELS;
	case MDL_REG_NUM_CONTEXTS:
		return MOCK_CONTEXTS;
	case MDL_REG_COMPUTE_UNITS:
		return 2;
	case MDL_REG_TIMESTAMP:
		return m->now;
	case MDL_REG_FUNC_STATUS:
		return status(m, MDL_STATUS_READY);
	case MDL_REG_FAULT_PUT:
		return m->fault_put;
	case MDL_REG_FAULT_LOST:
		return m->fault_lost;
	default:
		return 0;
	}
}

static int gone(struct mock *m)
{
	m->accesses++;
	return m->fail_after && m->accesses >= m->fail_after ? -EPIPE : 0;
}

static int mock_read(struct mdl_port *p, uint32_t off, uint32_t width, uint64_t *ret_value)
{
	struct mock *m = self(p);
	uint64_t v = 0;

	if (gone(m))
		return -EPIPE;
	if (off < MDL_HW_CTX_BASE) {
		v = read_global(m, off);
	} else if (off < MDL_HW_CHAN_BASE) {
		struct mock_ctx *c = &m->ctx[(off - MDL_HW_CTX_BASE) / MDL_HW_CTX_STRIDE];

		switch (off % MDL_HW_CTX_STRIDE) {
		case MDL_REG_CTX_STATUS:
			v = status(m, c->status);
			break;
		case MDL_REG_CTX_ERROR:
			v = c->error;
			break;
		case MDL_REG_CTX_FAULT_VA:
			v = c->fault_va;
			break;
		}
	} else {
		struct mock_chan *c = &m->chan[(off - MDL_HW_CHAN_BASE) / MDL_HW_CHAN_STRIDE];

		switch (off % MDL_HW_CHAN_STRIDE) {
		case MDL_REG_CHAN_STATUS:
			v = status(m, c->status);
			break;
		case MDL_REG_CHAN_ERROR:
			v = c->error;
			break;
		case MDL_REG_CHAN_FAULT_VA:
			v = c->fault_va;
			break;
		}
	}
	*ret_value = v;
	return 0;
}

static void write_ctx(struct mock *m, uint32_t i, uint32_t reg, uint64_t v)
{
	struct mock_ctx *c = &m->ctx[i];

	switch (reg) {
	case MDL_REG_CTX_PT_ROOT:
		c->root = v;
		break;
	case MDL_REG_CTX_INV_VA:
		c->inv_va = v;
		break;
	case MDL_REG_CTX_INV_BYTES:
		c->inv_bytes = v;
		break;
	case MDL_REG_CTX_INVALIDATE:
		m->invalidates++;
		break;
	case MDL_REG_CTX_CTRL:
		if (v == MDL_CTRL_ENABLE && c->status == MDL_STATUS_OFF) {
			c->status = MDL_STATUS_READY;
		} else if (v != MDL_CTRL_ENABLE) {
			c->status = MDL_STATUS_OFF;
			c->error = 0;
			c->fault_va = 0;
		}
		break;
	}
}

static void write_chan(struct mock *m, uint32_t i, uint32_t reg, uint64_t v)
{
	struct mock_chan *c = &m->chan[i];
	struct mdl_hw_user_page *u = user_page(m, i);

	switch (reg) {
	case MDL_REG_CHAN_CONTEXT:
		c->context = (uint32_t)v;
		break;
	case MDL_REG_CHAN_RING_LOG2:
		c->ring_log2 = (uint32_t)v;
		break;
	case MDL_REG_CHAN_RING_VA:
		c->ring_va = v;
		break;
	case MDL_REG_CHAN_VECTOR:
		c->vector = (uint32_t)v;
		break;
	case MDL_REG_CHAN_CTRL:
		if (v == MDL_CTRL_ENABLE) {
			u->get = 0;
			c->status = MDL_STATUS_READY;
			if (c->context >= MOCK_CONTEXTS ||
			    m->ctx[c->context].status != MDL_STATUS_READY)
				stop_chan(m, i, MDL_ERR_CONTEXT_LOST, 0);
			u->doorbell_wanted = !m->awake;
		} else {
			c->status = MDL_STATUS_OFF;
			c->error = 0;
			c->fault_va = 0;
			u->error = 0;
		}
		break;
	}
}

static int mock_write(struct mdl_port *p, uint32_t off, uint32_t width, uint64_t v)
{
	struct mock *m = self(p);

	if (gone(m))
		return -EPIPE;
	if (off >= MDL_HW_DOORBELL_BASE) {
		m->doorbells++;
		if (m->automatic)
			mock_run(m, (off - MDL_HW_DOORBELL_BASE) / 4, UINT32_MAX);
	} else if (off >= MDL_HW_CHAN_BASE) {
		write_chan(m, (off - MDL_HW_CHAN_BASE) / MDL_HW_CHAN_STRIDE,
			   off % MDL_HW_CHAN_STRIDE, v);
	} else if (off >= MDL_HW_CTX_BASE) {
		write_ctx(m, (off - MDL_HW_CTX_BASE) / MDL_HW_CTX_STRIDE, off % MDL_HW_CTX_STRIDE,
			  v);
	} else if (off == MDL_REG_FUNC_CTRL) {
		reset_function(m);
	} else if (off == MDL_REG_FAULT_BASE) {
		m->fault_base = v;
	} else if (off == MDL_REG_FAULT_LOG2) {
		m->fault_log2 = (uint32_t)v;
		m->fault_put = m->fault_get = 0;
	} else if (off == MDL_REG_FAULT_GET) {
		m->fault_get = (uint32_t)v;
	}
	return 0;
}

/* ---- the rest of the port ---- */

static void mock_dma_free(struct mdl_port *p, struct mdl_dma *dma)
{
	for (uint64_t i = 0; i < dma->bytes / MDL_PAGE_BYTES; i++) {
		self(p)->ram_used[dma->frame[i] / MDL_PAGE_BYTES] = 0;
		self(p)->dma_pages--;
	}
	munmap(dma->ptr, dma->bytes);
	free((void *)dma->frame);
	memset(dma, 0, sizeof(*dma));
}

static int mock_dma_alloc(struct mdl_port *p, uint64_t bytes, struct mdl_dma *ret_dma)
{
	uint64_t pages = bytes / MDL_PAGE_BYTES, *frame = calloc(pages, sizeof(*frame));
	struct mock *m = self(p);
	uint8_t *ptr;

	if (!frame)
		return -ENOMEM;
	if (m->dma_pages + pages > MOCK_RAM_PAGES) {
		free(frame);
		return -ENOMEM;
	}
	ptr = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (uint64_t i = 0; i < pages; i++) {
		do
			m->ram_next = (m->ram_next + 5003) %
				      MOCK_RAM_PAGES; /* a prime: comes by everywhere */
		while (m->ram_used[m->ram_next]);
		m->ram_used[m->ram_next] = 1;
		m->dma_pages++;
		frame[i] = m->ram_next * MDL_PAGE_BYTES;
		memset(m->ram + frame[i], 0, MDL_PAGE_BYTES);
		mmap(ptr + i * MDL_PAGE_BYTES, MDL_PAGE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_FIXED, m->ram_fd, (off_t)frame[i]);
	}
	*ret_dma = (struct mdl_dma) { .ptr = ptr, .bytes = bytes, .frame = frame };
	return 0;
}

static void mock_irq_clear(struct mdl_port *p, uint32_t mask)
{
	self(p)->irq_pending &= ~mask;
}

static int mock_irq_wait(struct mdl_port *p, uint32_t mask, uint64_t timeout_ns)
{
	struct mock *m = self(p);

	m->waits++;
	run_some(m);
	if (m->mute_irq || !(m->irq_pending & mask))
		m->now += timeout_ns;
	return 0;
}

static uint64_t mock_now(struct mdl_port *p)
{
	struct mock *m = self(p);

	if (m->run_at_look && !--m->run_at_look)
		mock_run(m, 0, 1);
	return m->now += 1000;
}

static void mock_sleep(struct mdl_port *p, uint64_t ns)
{
	self(p)->sleeps++;
	self(p)->now += ns;
	run_some(self(p));
}

static void mock_close(struct mdl_port *p)
{
	struct mock *m = self(p);

	munmap(m->ram, MOCK_RAM_PAGES * MDL_PAGE_BYTES);
	munmap(p->vram, MOCK_VRAM_BYTES);
	munmap(p->user, p->user_bytes);
	close(m->ram_fd);
	free(m->launch);
	free(m);
}

static const struct mdl_port_ops mock_ops = {
	.scheme = "mock",
	.close = mock_close,
	.read = mock_read,
	.write = mock_write,
	.dma_alloc = mock_dma_alloc,
	.dma_free = mock_dma_free,
	.irq_clear = mock_irq_clear,
	.irq_wait = mock_irq_wait,
	.now_ns = mock_now,
	.sleep_ns = mock_sleep,
};

const struct mdl_port_ops *const mdl_ports[] = { &mock_ops, NULL };

struct mdl_port *mock_create(struct mock **ret_mock)
{
	struct mock *m = calloc(1, sizeof(*m));
	int prot = PROT_READ | PROT_WRITE;

	m->port.ops = &mock_ops;
	m->port.vram_bytes = MOCK_VRAM_BYTES;
	m->port.vram = mmap(NULL, MOCK_VRAM_BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m->port.user_bytes = MOCK_CHANNELS * MDL_HW_USER_STRIDE;
	m->port.user = mmap(NULL, m->port.user_bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m->port.num_vectors = MDL_HW_MSIX_VECTORS;
	m->launch = calloc(MOCK_LAUNCHES, sizeof(*m->launch));
	if (mdl_memfd_create("mock-ram", MOCK_RAM_PAGES * MDL_PAGE_BYTES, &m->ram_fd) < 0)
		abort();
	m->ram = mmap(NULL, MOCK_RAM_PAGES * MDL_PAGE_BYTES, prot, MAP_SHARED, m->ram_fd, 0);
	m->automatic = true;
	*ret_mock = m;
	return &m->port;
}
