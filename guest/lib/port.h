/* SPDX-License-Identifier: MIT */
/*
 * A port: how libmedley reaches a device. It gives registers, the two mapped BARs, memory that the
 * device can reach, interrupts and a clock, and knows nothing of what is done with them. One thread
 * makes all calls on a port.
 */
#ifndef MDL_GUEST_PORT_H
#define MDL_GUEST_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mdl_port;

/*
 * System memory that the device can reach. Page i (4 KiB) is at bus address frame[i], or base +
 * 4096 * i if frame is NULL.
 */
struct mdl_dma {
	void *ptr;
	uint64_t bytes;
	uint64_t base;
	const uint64_t *frame;
	void *priv; /* the port's */
};

struct mdl_port_ops {
	const char *scheme; /* of URIs, without the colon */
	/*
	 * arg: what follows the colon. The port is returned with the fields of struct mdl_port
	 * filled in.
	 */
	int (*open)(const char *arg, struct mdl_port **ret_port);
	void (*close)(struct mdl_port *p);
	/*
	 * One access to BAR0; width is 4 or 8, offset a multiple of it. -EPIPE: the device is gone.
	 */
	int (*read)(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t *ret_value);
	int (*write)(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t value);
	/* Optional: a cheaper doorbell of a channel than writing its register. */
	int (*doorbell)(struct mdl_port *p, uint32_t chan);
	/*
	 * Zeroed memory of bytes (a multiple of 4096), on page boundaries. *ret_dma stays valid
	 * memory until dma_free.
	 */
	int (*dma_alloc)(struct mdl_port *p, uint64_t bytes, struct mdl_dma *ret_dma);
	void (*dma_free)(struct mdl_port *p, struct mdl_dma *dma);
	/*
	 * Interrupts, absent if num_vectors is 0. irq_clear forgets those of the vectors in mask
	 * that have arrived. irq_wait sleeps until one of mask has arrived since its last clear, at
	 * most timeout_ns; it may return early.
	 */
	void (*irq_clear)(struct mdl_port *p, uint32_t mask);
	int (*irq_wait)(struct mdl_port *p, uint32_t mask, uint64_t timeout_ns);
	uint64_t (*now_ns)(struct mdl_port *p);
	void (*sleep_ns)(struct mdl_port *p, uint64_t ns);
};

struct mdl_port {
	const struct mdl_port_ops *ops;
	void *vram; /* BAR2 */
	uint64_t vram_bytes;
	void *user; /* BAR4 */
	uint64_t user_bytes;
	uint32_t num_vectors; /* at most 32 */
};

/* The ports of this build, the default one first, NULL at the end. One of ports-*.c defines it. */
extern const struct mdl_port_ops *const mdl_ports[];

extern const struct mdl_port_ops mdl_port_socket;
extern const struct mdl_port_ops mdl_port_sysfs;
extern const struct mdl_port_ops mdl_port_micro;

#endif
