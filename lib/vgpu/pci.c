/* SPDX-License-Identifier: MIT */
/*
 * PCI configuration space: a type 0 header, and the capabilities power management, MSI-X and PCI
 * Express endpoint. Every byte has a mask of the bits that a write changes, so BAR sizing (all ones
 * written, size read back) needs no code of its own.
 *
 * Writes with an effect: FLR in the PCIe device control register, nothing else. COMMAND is stored;
 * the VMM decodes addresses by it, and neither it nor the power state gates what the function does.
 * Left out: INTx, expansion ROM, extended capabilities (offset 256 and up reads zero).
 *
 * Owned by the caller's thread.
 */
#include <linux/pci_regs.h>
#include <string.h>

#include "priv.h"

#define CAP_PM	 0x40
#define CAP_MSIX 0x50
#define CAP_EXP	 0x60

#define EXP_SPEED 1 /* 2.5 GT/s, one lane: the link is not real; these values suit every driver */
#define EXP_WIDTH 1

struct field {
	uint32_t offset, width;
	uint32_t value, mask; /* mask: writable bits */
};

static const struct field fields[] = {
	{ PCI_VENDOR_ID, 2, MDL_HW_PCI_VENDOR, 0 },
	{ PCI_DEVICE_ID, 2, MDL_HW_PCI_DEVICE, 0 },
	{ PCI_COMMAND, 2, 0,
	  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
		  PCI_COMMAND_INTX_DISABLE },
	{ PCI_STATUS, 2, PCI_STATUS_CAP_LIST, 0 },
	{ PCI_CLASS_REVISION, 4, MDL_HW_PCI_CLASS << 8 | MDL_HW_PCI_REVISION, 0 },
	{ PCI_CACHE_LINE_SIZE, 1, 0, 0xff },
	{ PCI_SUBSYSTEM_VENDOR_ID, 2, MDL_HW_PCI_VENDOR, 0 },
	{ PCI_SUBSYSTEM_ID, 2, MDL_HW_PCI_DEVICE, 0 },
	{ PCI_CAPABILITY_LIST, 1, CAP_PM, 0 },
	{ PCI_INTERRUPT_LINE, 1, 0, 0xff },

	/* NO_SOFT_RESET: leaving D3hot keeps all state. */
	{ CAP_PM, 2, PCI_CAP_ID_PM | CAP_MSIX << 8, 0 },
	{ CAP_PM + PCI_PM_PMC, 2, 3, 0 },
	{ CAP_PM + PCI_PM_CTRL, 2, PCI_PM_CTRL_NO_SOFT_RESET, PCI_PM_CTRL_STATE_MASK },

	{ CAP_MSIX, 2, PCI_CAP_ID_MSIX | CAP_EXP << 8, 0 },
	{ CAP_MSIX + PCI_MSIX_FLAGS, 2, MDL_HW_MSIX_VECTORS - 1,
	  PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL },
	{ CAP_MSIX + PCI_MSIX_TABLE, 4, MDL_HW_MSIX_TABLE | MDL_HW_BAR_REGS, 0 },
	{ CAP_MSIX + PCI_MSIX_PBA, 4, MDL_HW_MSIX_PBA | MDL_HW_BAR_REGS, 0 },

	{ CAP_EXP, 2, PCI_CAP_ID_EXP, 0 },
	{ CAP_EXP + PCI_EXP_FLAGS, 2, 2 | PCI_EXP_TYPE_ENDPOINT << 4, 0 },
	{ CAP_EXP + PCI_EXP_DEVCAP, 4, PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR, 0 },
	{ CAP_EXP + PCI_EXP_DEVCTL, 2,
	  PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B,
	  0xffff & ~PCI_EXP_DEVCTL_BCR_FLR },
	{ CAP_EXP + PCI_EXP_LNKCAP, 4, EXP_SPEED | EXP_WIDTH << 4, 0 },
	{ CAP_EXP + PCI_EXP_LNKCTL, 2, 0, PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES },
	{ CAP_EXP + PCI_EXP_LNKSTA, 2, EXP_SPEED | EXP_WIDTH << 4, 0 },
	{ CAP_EXP + PCI_EXP_LNKCAP2, 4, PCI_EXP_LNKCAP2_SLS_2_5GB, 0 },
	{ CAP_EXP + PCI_EXP_LNKCTL2, 2, EXP_SPEED, PCI_EXP_LNKCTL2_TLS },
};

static void put_le(uint8_t *at, uint32_t width, uint64_t value)
{
	for (uint32_t i = 0; i < width; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t round_up_pow2(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p <<= 1;
	return p;
}

uint64_t mdl_vgpu_bar_bytes(const struct mdl_vgpu *v, uint32_t bar)
{
	switch (bar) {
	case MDL_HW_BAR_REGS:
		return MDL_HW_BAR0_BYTES;
	case MDL_HW_BAR_VRAM:
		return v->config.vram_bytes;
	case MDL_HW_BAR_USER:
		return round_up_pow2((uint64_t)v->config.channels) * MDL_HW_USER_STRIDE;
	default:
		return 0;
	}
}

static void bar_init(struct mdl_vgpu *v, uint32_t bar, uint32_t flags)
{
	uint32_t at = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint32_t width = flags & PCI_BASE_ADDRESS_MEM_TYPE_64 ? 8 : 4;

	put_le(&v->pci[at], width, flags);
	put_le(&v->pci_mask[at], width, ~(mdl_vgpu_bar_bytes(v, bar) - 1));
}

void mdl_pci_init(struct mdl_vgpu *v)
{
	const uint32_t mem64 = PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;

	memset(v->pci, 0, sizeof(v->pci));
	memset(v->pci_mask, 0, sizeof(v->pci_mask));
	for (size_t i = 0; i < MDL_ARRAY_SIZE(fields); i++) {
		put_le(&v->pci[fields[i].offset], fields[i].width, fields[i].value);
		put_le(&v->pci_mask[fields[i].offset], fields[i].width, fields[i].mask);
	}
	bar_init(v, MDL_HW_BAR_REGS, 0);
	bar_init(v, MDL_HW_BAR_VRAM, mem64);
	bar_init(v, MDL_HW_BAR_USER, mem64);
}

void mdl_vgpu_config_read(struct mdl_vgpu *v, uint32_t offset, void *data, uint32_t count)
{
	memset(data, 0, count);
	if (offset < MDL_PCI_CONFIG_BYTES)
		memcpy(data, &v->pci[offset], mdl_min_u64(count, MDL_PCI_CONFIG_BYTES - offset));
}

void mdl_vgpu_config_write(struct mdl_vgpu *v, uint32_t offset, const void *data, uint32_t count)
{
	const uint32_t flr_at = CAP_EXP + PCI_EXP_DEVCTL + 1; /* DEVCTL's byte with the bit */
	const uint8_t *bytes = data;
	bool flr = false;

	for (uint32_t i = 0; i < count && offset + i < MDL_PCI_CONFIG_BYTES; i++) {
		uint32_t at = offset + i;

		v->pci[at] ^= (v->pci[at] ^ bytes[i]) & v->pci_mask[at];
		flr |= at == flr_at && bytes[i] & PCI_EXP_DEVCTL_BCR_FLR >> 8;
	}
	if (flr)
		mdl_vgpu_reset(v);
}
