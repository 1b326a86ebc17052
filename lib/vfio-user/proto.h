/* SPDX-License-Identifier: MIT */
/*
 * The vfio-user protocol's constants and layouts, shared by server and client; private to this folder and its tests. Layouts
 * that the kernel has too come from <linux/vfio.h>. The protocol's text is docs/interop/vfio-user.rst of QEMU.
 *
 * Left out: migration (17, 18), dirty pages (14), a twin socket for the server's requests.
 */
#ifndef MDL_VFIO_USER_PROTO_H
#define MDL_VFIO_USER_PROTO_H

#include <linux/vfio.h>
#include <stdint.h>

enum mdl_vu_command {
	MDL_VU_VERSION = 1,
	MDL_VU_DMA_MAP,
	MDL_VU_DMA_UNMAP,
	MDL_VU_GET_INFO,
	MDL_VU_GET_REGION_INFO,
	MDL_VU_GET_REGION_IO_FDS,
	MDL_VU_GET_IRQ_INFO,
	MDL_VU_SET_IRQS,
	MDL_VU_REGION_READ,
	MDL_VU_REGION_WRITE,
	MDL_VU_DMA_READ,	/* server to client, as is the next */
	MDL_VU_DMA_WRITE,
	MDL_VU_RESET,
	MDL_VU_REGION_WRITE_MULTI = 15,
	MDL_VU_FEATURE,
	MDL_VU_MIG_DATA_READ,
	MDL_VU_MIG_DATA_WRITE,
};

#define MDL_VU_MAJOR		0
#define MDL_VU_MINOR		1

#define MDL_VU_TYPE_MASK	0xfu
#define MDL_VU_TYPE_COMMAND	0x0u
#define MDL_VU_TYPE_REPLY	0x1u
#define MDL_VU_NO_REPLY		(1u << 4)
#define MDL_VU_ERROR		(1u << 5)

/* Data of one region or DMA access: what we announce, and what holds for a peer that announces nothing. */
#define MDL_VU_MAX_XFER		(1u << 20)
/* Payload of any message: an access of the largest size with its fields in front. */
#define MDL_VU_MAX_PAYLOAD	(MDL_VU_MAX_XFER + 32)
/* Descriptors in one message to the server: as many as QEMU accepts to hear. */
#define MDL_VU_SERVER_FDS	16
/* Descriptors in one message to our client: the kernel's own limit (SCM_MAX_FD). */
#define MDL_VU_CLIENT_FDS	253
#define MDL_VU_DEFAULT_FDS	1

struct mdl_vu_hdr {
	uint16_t id, command;
	uint32_t size;		/* header included */
	uint32_t flags, error;
};

struct mdl_vu_version {
	uint16_t major, minor;
	char json[];		/* NUL-terminated */
};

struct mdl_vu_dma_map_req {
	uint32_t argsz, flags;	/* VFIO_DMA_MAP_FLAG_* */
	uint64_t offset, addr, size;
};

struct mdl_vu_dma_unmap_req {	/* and its reply */
	uint32_t argsz, flags;	/* VFIO_DMA_UNMAP_FLAG_* */
	uint64_t addr, size;
};

/* Request and reply grew with the kernel's structure: 16 bytes, then cap_offset, then padding. The reply is as long as the request. */
struct mdl_vu_info {
	uint32_t argsz, flags, num_regions, num_irqs;
	uint32_t cap_offset, pad;
};
#define MDL_VU_INFO_MIN		16u

struct mdl_vu_io_fds {		/* request, and the front of the reply */
	uint32_t argsz, flags, index, count;
};

struct mdl_vu_io_fd {		/* one sub-region, `count` of which follow */
	uint64_t offset, size;
	uint32_t fd_index, type, flags, pad;
	uint64_t datamatch;
};
#define MDL_VU_IO_FD_IOEVENTFD	0u

struct mdl_vu_access {		/* REGION_READ, REGION_WRITE: then data */
	uint64_t offset;
	uint32_t region, count;
};

struct mdl_vu_dma_access {	/* DMA_READ, DMA_WRITE: then data */
	uint64_t addr, count;
};

struct mdl_vu_multi_entry {
	uint64_t offset;
	uint32_t region, count;	/* count: 1 to 8 */
	uint8_t data[8];
};

struct mdl_vu_multi {
	uint64_t count;
	struct mdl_vu_multi_entry entry[];
};

_Static_assert(sizeof(struct mdl_vu_hdr) == 16, "wire layout");
_Static_assert(sizeof(struct mdl_vu_dma_map_req) == 32, "wire layout");
_Static_assert(sizeof(struct mdl_vu_dma_unmap_req) == 24, "wire layout");
_Static_assert(sizeof(struct vfio_region_info) == 32, "wire layout");
_Static_assert(sizeof(struct vfio_irq_info) == 16, "wire layout");
_Static_assert(sizeof(struct vfio_irq_set) == 20, "wire layout");
_Static_assert(sizeof(struct mdl_vu_io_fd) == 40, "wire layout");
_Static_assert(sizeof(struct mdl_vu_multi_entry) == 24, "wire layout");

#endif
