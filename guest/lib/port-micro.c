/* SPDX-License-Identifier: MIT */
/*
 * Port of guest/micro guests: BARs are pointers, any memory is device memory at its own address,
 * interrupts are counters. "micro:" is the first device, "micro:N" the N-th from 0.
 */
#include "port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/micro/micro.h"
#include "hw/medley_hw.h"

struct micro_port {
	struct mdl_port port;
	const struct micro_device *dev;
	uint64_t seen; /* micro_irq_count() at the last clear */
};

static struct micro_port *self(struct mdl_port *p)
{
	return (struct micro_port *)p;
}

static int find(const char *arg, const struct micro_device **ret_dev)
{
	size_t want = *arg ? strtoul(arg, NULL, 10) : 0;

	for (size_t i = 0; i < micro_device_count(); i++) {
		const struct micro_device *d = micro_device(i);

		if (d->vendor != MDL_HW_PCI_VENDOR || d->device != MDL_HW_PCI_DEVICE || want--)
			continue;
		if (!d->bar[MDL_HW_BAR_REGS].base || !d->bar[MDL_HW_BAR_VRAM].base ||
		    !d->bar[MDL_HW_BAR_USER].base ||
		    d->bar[MDL_HW_BAR_REGS].bytes < MDL_HW_BAR0_BYTES)
			return -ENODEV;
		*ret_dev = d;
		return 0;
	}
	return -ENODEV;
}

static int micro_open(const char *arg, struct mdl_port **ret_port)
{
	const struct micro_device *d = NULL;
	struct micro_port *m;
	int r = find(arg, &d);

	if (r < 0)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->dev = d;
	m->port.ops = &mdl_port_micro;
	m->port.vram = d->bar[MDL_HW_BAR_VRAM].base;
	m->port.vram_bytes = d->bar[MDL_HW_BAR_VRAM].bytes;
	m->port.user = d->bar[MDL_HW_BAR_USER].base;
	m->port.user_bytes = d->bar[MDL_HW_BAR_USER].bytes;
	m->port.num_vectors =
		d->num_vectors < MDL_HW_MSIX_VECTORS ? d->num_vectors : MDL_HW_MSIX_VECTORS;
	*ret_port = &m->port;
	return 0;
}

static void micro_close(struct mdl_port *p)
{
	free(self(p));
}

static int micro_read(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t *ret_value)
{
	const uint8_t *at = (const uint8_t *)self(p)->dev->bar[MDL_HW_BAR_REGS].base + offset;

	*ret_value = width == 8 ? micro_read64(at) : micro_read32(at);
	return 0;
}

static int micro_write(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t value)
{
	uint8_t *at = (uint8_t *)self(p)->dev->bar[MDL_HW_BAR_REGS].base + offset;

	if (width == 8)
		micro_write64(at, value);
	else
		micro_write32(at, (uint32_t)value);
	return 0;
}

static int micro_dma_get(struct mdl_port *p, uint64_t bytes, struct mdl_dma *ret_dma)
{
	void *ptr =
		micro_dma_alloc(bytes, bytes >= MDL_HUGE_BYTES ? MDL_HUGE_BYTES : MDL_PAGE_BYTES);

	if (!ptr)
		return -ENOMEM;
	*ret_dma = (struct mdl_dma) { .ptr = ptr, .bytes = bytes, .base = micro_pa(ptr) };
	return 0;
}

static void micro_dma_put(struct mdl_port *p, struct mdl_dma *dma)
{
	free(dma->ptr);
	memset(dma, 0, sizeof(*dma));
}

/*
 * One counter for all vectors: a wait may end early for another vector's sake, and its caller looks
 * again.
 */
static void micro_clear(struct mdl_port *p, uint32_t mask)
{
	self(p)->seen = micro_irq_count(MICRO_IRQ_ANY);
}

static int micro_wait(struct mdl_port *p, uint32_t mask, uint64_t timeout_ns)
{
	int r = micro_irq_wait(MICRO_IRQ_ANY, self(p)->seen, timeout_ns);

	return r == -ETIMEDOUT ? 0 : r;
}

static uint64_t micro_now(struct mdl_port *p)
{
	return micro_now_ns();
}

static void micro_sleep(struct mdl_port *p, uint64_t ns)
{
	micro_irq_wait(MICRO_IRQ_ANY, micro_irq_count(MICRO_IRQ_ANY), ns);
}

const struct mdl_port_ops mdl_port_micro = {
	.scheme = "micro",
	.open = micro_open,
	.close = micro_close,
	.read = micro_read,
	.write = micro_write,
	.dma_alloc = micro_dma_get,
	.dma_free = micro_dma_put,
	.irq_clear = micro_clear,
	.irq_wait = micro_wait,
	.now_ns = micro_now,
	.sleep_ns = micro_sleep,
};
