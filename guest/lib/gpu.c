/* SPDX-License-Identifier: MIT */
/*
 * The device: opening and closing it, its registers, function reset, fault ring. Everything here is
 * a trapped register access or done once. Left out: the device's configuration space, which is the
 * port's business. Owned by the device's one thread.
 */
#include "internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAULT_SLOTS (1u << MDL_FAULT_RING_LOG2)

int mdl_gpu_read(struct mdl_gpu *gpu, uint32_t offset, uint32_t *ret_value)
{
	uint64_t v;
	int r = gpu->port->ops->read(gpu->port, offset, 4, &v);

	if (r == 0)
		*ret_value = (uint32_t)v;
	return r;
}

int mdl_gpu_read64(struct mdl_gpu *gpu, uint32_t offset, uint64_t *ret_value)
{
	return gpu->port->ops->read(gpu->port, offset, 8, ret_value);
}

int mdl_gpu_write(struct mdl_gpu *gpu, uint32_t offset, uint32_t value)
{
	return gpu->port->ops->write(gpu->port, offset, 4, value);
}

int mdl_gpu_write64(struct mdl_gpu *gpu, uint32_t offset, uint64_t value)
{
	return gpu->port->ops->write(gpu->port, offset, 8, value);
}

uint64_t mdl_gpu_now_ns(struct mdl_gpu *gpu)
{
	return gpu->port->ops->now_ns(gpu->port);
}

bool mdl_gpu_expired(struct mdl_gpu *gpu, uint64_t start_ns, int64_t timeout_ns)
{
	return timeout_ns >= 0 && mdl_gpu_now_ns(gpu) - start_ns >= (uint64_t)timeout_ns;
}

int mdl_gpu_settle(struct mdl_gpu *gpu, uint32_t offset, uint32_t *ret_status)
{
	uint64_t start = mdl_gpu_now_ns(gpu), pause = 20 * MDL_NS_PER_US;
	uint32_t status;

	for (;;) {
		int r = mdl_gpu_read(gpu, offset, &status);

		if (r < 0)
			return r;
		if (status == UINT32_MAX) /* what a guest reads where the device was */
			return -ENODEV;
		if (status != MDL_STATUS_PENDING)
			break;
		if (mdl_gpu_expired(gpu, start, MDL_READY_LIMIT_NS))
			return -ETIMEDOUT;
		gpu->port->ops->sleep_ns(gpu->port, pause);
		pause = mdl_min_u64(pause * 2, MDL_NS_PER_MS);
	}
	*ret_status = status;
	return 0;
}

int mdl_bit_take(uint64_t *bits, uint32_t limit, uint32_t *ret_bit)
{
	for (uint32_t i = 0; i < limit; i++) {
		if (bits[i / 64] >> (i % 64) & 1)
			continue;
		bits[i / 64] |= 1ull << (i % 64);
		*ret_bit = i;
		return 0;
	}
	return -EBUSY;
}

void mdl_bit_put(uint64_t *bits, uint32_t bit)
{
	bits[bit / 64] &= ~(1ull << (bit % 64));
}

static int read_info(struct mdl_gpu *gpu)
{
	struct mdl_gpu_info *info = &gpu->info;
	uint32_t id = 0, version = 0;
	int r;

	if ((r = mdl_gpu_read(gpu, MDL_REG_ID, &id)) < 0 ||
	    (r = mdl_gpu_read(gpu, MDL_REG_VERSION, &version)) < 0)
		return r;
	if (id != MDL_HW_MAGIC || version >> 16 != MDL_HW_VERSION_MAJOR)
		return -ENODEV;
	info->version_major = version >> 16;
	info->version_minor = version & 0xffff;
	if ((r = mdl_gpu_read64(gpu, MDL_REG_FEATURES, &info->features)) < 0 ||
	    (r = mdl_gpu_read64(gpu, MDL_REG_VRAM_BYTES, &info->vram_bytes)) < 0 ||
	    (r = mdl_gpu_read64(gpu, MDL_REG_VA_BASE, &info->va_base)) < 0 ||
	    (r = mdl_gpu_read64(gpu, MDL_REG_VA_LIMIT, &info->va_limit)) < 0 ||
	    (r = mdl_gpu_read(gpu, MDL_REG_NUM_CHANNELS, &info->num_channels)) < 0 ||
	    (r = mdl_gpu_read(gpu, MDL_REG_NUM_CONTEXTS, &info->num_contexts)) < 0 ||
	    (r = mdl_gpu_read(gpu, MDL_REG_COMPUTE_UNITS, &info->compute_units)) < 0)
		return r;
	info->num_vectors = gpu->port->num_vectors;
	strncpy(info->port, gpu->port->ops->scheme, sizeof(info->port) - 1);
	if (info->vram_bytes < MDL_PAGE_BYTES || info->vram_bytes > gpu->port->vram_bytes ||
	    info->num_contexts > MDL_HW_CTX_MAX || info->num_channels > MDL_HW_CHAN_MAX ||
	    !mdl_range_ok(0, info->num_channels * (uint64_t)MDL_HW_USER_STRIDE,
			  gpu->port->user_bytes) ||
	    info->va_base >= info->va_limit || info->va_limit > 1ull << 48 ||
	    !mdl_is_aligned(info->va_base | info->va_limit, MDL_PAGE_BYTES))
		return -ENODEV;
	return 0;
}

static int reset_function(struct mdl_gpu *gpu)
{
	uint32_t status;
	int r = mdl_gpu_write(gpu, MDL_REG_FUNC_CTRL, MDL_CTRL_RESET);

	if (r == 0)
		r = mdl_gpu_settle(gpu, MDL_REG_FUNC_STATUS, &status);
	return r;
}

static int start_fault_ring(struct mdl_gpu *gpu)
{
	uint64_t base = gpu->faults.frame ? gpu->faults.frame[0] : gpu->faults.base;
	int r = mdl_gpu_write64(gpu, MDL_REG_FAULT_BASE, base);

	if (r == 0)
		r = mdl_gpu_write(gpu, MDL_REG_FAULT_GET, 0);
	if (r == 0)
		r = mdl_gpu_write(gpu, MDL_REG_FAULT_LOG2, MDL_FAULT_RING_LOG2);
	gpu->fault_get = 0;
	return r;
}

static void gpu_free(struct mdl_gpu *gpu)
{
	if (gpu->faults.ptr)
		gpu->port->ops->dma_free(gpu->port, &gpu->faults);
	mdl_space_fini(&gpu->vram);
	gpu->port->ops->close(gpu->port);
	free(gpu);
}

int mdl_gpu_open_port(struct mdl_port *port, struct mdl_gpu **ret_gpu)
{
	struct mdl_gpu *gpu = calloc(1, sizeof(*gpu));
	int r;

	if (!gpu) {
		port->ops->close(port);
		return -ENOMEM;
	}
	gpu->port = port;
	gpu->spin_ns = 50 * MDL_NS_PER_US;
	r = read_info(gpu);
	if (r == 0)
		r = mdl_space_init(&gpu->vram, 0, gpu->info.vram_bytes);
	if (r == 0)
		r = reset_function(gpu);
	if (r == 0)
		r = port->ops->dma_alloc(port, MDL_PAGE_BYTES, &gpu->faults);
	if (r == 0)
		r = start_fault_ring(gpu);
	if (r < 0) {
		gpu_free(gpu);
		return r;
	}
	*ret_gpu = gpu;
	return 0;
}

int mdl_gpu_open(const char *uri, struct mdl_gpu **ret_gpu)
{
	const struct mdl_port_ops *ops = NULL;
	const char *arg = "";
	struct mdl_port *port;
	int r;

	if (!uri) {
		ops = mdl_ports[0];
	} else {
		for (size_t i = 0; mdl_ports[i] && !ops; i++) {
			size_t len = strlen(mdl_ports[i]->scheme);

			if (!strncmp(uri, mdl_ports[i]->scheme, len) && uri[len] == ':') {
				ops = mdl_ports[i];
				arg = uri + len + 1;
			}
		}
	}
	if (!ops)
		return -EINVAL;
	r = ops->open(arg, &port);
	return r < 0 ? r : mdl_gpu_open_port(port, ret_gpu);
}

void mdl_gpu_close(struct mdl_gpu *gpu)
{
	if (!gpu)
		return;
	/* The fault ring's memory goes away: the device must have let go of it. */
	reset_function(gpu);
	gpu_free(gpu);
}

void mdl_gpu_info(const struct mdl_gpu *gpu, struct mdl_gpu_info *ret_info)
{
	*ret_info = gpu->info;
}

int mdl_gpu_timestamp(struct mdl_gpu *gpu, uint64_t *ret_ns)
{
	return mdl_gpu_read64(gpu, MDL_REG_TIMESTAMP, ret_ns);
}

int mdl_gpu_reset(struct mdl_gpu *gpu)
{
	int r;

	/* Even if it fails now: what was there can no longer be relied on. */
	gpu->resets++;
	gpu->ctx_used = 0;
	memset(gpu->chan_used, 0, sizeof(gpu->chan_used));
	r = reset_function(gpu);
	return r < 0 ? r : start_fault_ring(gpu);
}

int mdl_gpu_next_fault(struct mdl_gpu *gpu, struct mdl_hw_fault *ret_fault)
{
	const struct mdl_hw_fault *ring = gpu->faults.ptr;
	uint32_t put = 0;
	int r = mdl_gpu_read(gpu, MDL_REG_FAULT_PUT, &put);

	if (r < 0)
		return r;
	if (put == gpu->fault_get)
		return -EAGAIN;
	atomic_thread_fence(memory_order_acquire); /* the entry was written before put moved */
	*ret_fault = ring[gpu->fault_get & (FAULT_SLOTS - 1)];
	gpu->fault_get++;
	return mdl_gpu_write(gpu, MDL_REG_FAULT_GET, gpu->fault_get);
}

int mdl_gpu_faults_lost(struct mdl_gpu *gpu, uint32_t *ret_count)
{
	return mdl_gpu_read(gpu, MDL_REG_FAULT_LOST, ret_count);
}

static bool reg_ok(uint32_t offset, uint32_t width)
{
	return (width == 4 || width == 8) && mdl_is_aligned(offset, width) &&
	       mdl_range_ok(offset, width, MDL_HW_BAR0_BYTES);
}

int mdl_gpu_read_reg(struct mdl_gpu *gpu, uint32_t offset, uint32_t width, uint64_t *ret_value)
{
	if (!reg_ok(offset, width))
		return -EINVAL;
	return gpu->port->ops->read(gpu->port, offset, width, ret_value);
}

int mdl_gpu_write_reg(struct mdl_gpu *gpu, uint32_t offset, uint32_t width, uint64_t value)
{
	if (!reg_ok(offset, width))
		return -EINVAL;
	return gpu->port->ops->write(gpu->port, offset, width, value);
}

void *mdl_gpu_aperture(struct mdl_gpu *gpu)
{
	return gpu->port->vram;
}

void mdl_gpu_set_spin(struct mdl_gpu *gpu, uint64_t spin_ns)
{
	gpu->spin_ns = spin_ns;
}

const char *mdl_error_name(uint32_t error)
{
	static const char *const names[] = {
		[MDL_ERR_NONE] = "none",
		[MDL_ERR_BAD_PACKET] = "bad packet",
		[MDL_ERR_PAGE_FAULT] = "page fault",
		[MDL_ERR_BAD_RING] = "bad ring index",
		[MDL_ERR_BAD_PROGRAM] = "bad program, kernel or arguments",
		[MDL_ERR_KERNEL_CRASH] = "kernel crashed",
		[MDL_ERR_TIMEOUT] = "kernel ran too long",
		[MDL_ERR_CONTEXT_LOST] = "context lost",
		[MDL_ERR_BAD_PTE] = "bad page-table entry",
		[MDL_ERR_NO_RESOURCES] = "out of resources",
		[MDL_ERR_LAUNCH] = "launch refused",
		[MDL_ERR_COMPILE] = "code generation failed",
	};

	if (error >= MDL_ARRAY_SIZE(names) || !names[error])
		return "unknown error";
	return names[error];
}
