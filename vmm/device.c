/* SPDX-License-Identifier: MIT */
/*
 * See device.h. The server is not trusted to be right: sizes and descriptors that it offers are
 * checked before they are mapped. Leaves out INTx, I/O BARs, expansion ROMs, and programming of the
 * MSI-X table by the guest: all vectors are unmasked from the start, and their eventfds go straight
 * to KVM, so neither completion nor doorbell passes the VMM.
 */
#include "vmm/device.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "vfio-user/client.h"

#define BARS	      6
#define DOORBELLS_MAX 512
#define CAPS_MAX      48 /* a capability list has at most (256 - 64) / 4 members */
#define TIMEOUT_MS    5000 /* what QEMU allows */
#define PAGE	      4096ull

struct bar_area {
	void *host;
	uint64_t bytes;
};

struct mdl_vm_device {
	struct mdl_vu_client *client;
	char *path;
	struct mdl_micro_device info;
	struct bar_area area[BARS][MDL_VU_CLIENT_AREAS];
	int irq_fd[MDL_MICRO_VECTOR_LAST - MDL_MICRO_VECTOR_FIRST + 1];
	uint32_t msix_cap; /* offset in configuration space, 0: none */
	bool dead, death_seen;
};

static int config_read(struct mdl_vm_device *dev, uint32_t offset, void *data, uint32_t bytes)
{
	return mdl_vu_client_read(dev->client, VFIO_PCI_CONFIG_REGION_INDEX, offset, data, bytes);
}

static int config_write(struct mdl_vm_device *dev, uint32_t offset, const void *data,
			uint32_t bytes)
{
	return mdl_vu_client_write(dev->client, VFIO_PCI_CONFIG_REGION_INDEX, offset, data, bytes);
}

static int place(struct mdl_vm_space *space, bool is64, uint64_t bytes, uint64_t *ret_addr)
{
	uint64_t *next = is64 ? &space->next64 : &space->next32;
	uint64_t last = is64 ? MDL_VM_MMIO64_LAST : MDL_VM_MMIO32_LAST;
	uint64_t addr;

	if (!*next)
		*next = is64 ? MDL_VM_MMIO64_FIRST : MDL_VM_MMIO32_FIRST;
	if (bytes > last)
		return -ENOSPC;
	addr = mdl_align_up(*next, bytes);
	if (!mdl_range_ok(addr, bytes, last + 1))
		return -ENOSPC;
	*next = addr + bytes;
	*ret_addr = addr;
	return 0;
}

/* Rounds up to a power of two of at least a page; 0: too large. */
static uint64_t bar_size(uint64_t bytes)
{
	uint64_t size = PAGE;

	while (size < bytes && size <= MDL_VM_MMIO64_LAST)
		size <<= 1;
	return size >= bytes ? size : 0;
}

/*
 * Maps one area of a region here and in the guest. The file must be as long as the server says:
 * beyond its end is a SIGBUS.
 */
static int map_area(struct mdl_vm *vm, struct bar_area *area,
		    const struct mdl_vu_client_region *region, size_t i, uint64_t addr)
{
	uint64_t offset = region->area[i].offset, bytes = region->area[i].bytes;
	struct stat st;
	void *host;

	if (!bytes || !mdl_range_ok(offset, bytes, region->bytes) ||
	    !mdl_is_aligned(offset | bytes | region->fd_offset, PAGE))
		return -EPROTO;
	if (fstat(region->fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) &&
	    (!mdl_range_ok(region->fd_offset, offset + bytes, (uint64_t)st.st_size)))
		return -EPROTO;
	host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd,
		    (off_t)(region->fd_offset + offset));
	if (host == MAP_FAILED)
		return -errno;
	madvise(host, bytes, MADV_HUGEPAGE); /* a wish */
	*area = (struct bar_area) { .host = host, .bytes = bytes };
	return mdl_vm_add_memory(vm, addr + offset, host, bytes);
}

static int add_doorbells(struct mdl_vm *vm, struct mdl_vm_device *dev, uint32_t bar)
{
	mdl_autofree struct mdl_vu_client_ioeventfd *bells = calloc(DOORBELLS_MAX, sizeof(*bells));
	const struct mdl_micro_bar *where = &dev->info.bar[bar];
	size_t count = 0;
	int err;

	if (!bells)
		return -ENOMEM;
	/* A server need not know the request: then doorbells are trapped accesses. */
	if (mdl_vu_client_io_fds(dev->client, bar, bells, DOORBELLS_MAX, &count))
		return mdl_vu_client_fd(dev->client) < 0 ? -EPIPE : 0;
	err = 0;
	for (size_t i = 0; i < count; i++) {
		if (!err && mdl_range_ok(bells[i].offset, bells[i].bytes, where->bytes))
			err = mdl_vm_add_doorbell(vm, where->addr + bells[i].offset, bells[i].bytes,
						  bells[i].fd);
		close(bells[i].fd); /* KVM holds the eventfd itself */
	}
	return err;
}

/* Returns how many BAR registers it took (2 for a 64-bit BAR), or negative errno. */
static int add_bar(struct mdl_vm *vm, struct mdl_vm_device *dev, struct mdl_vm_space *space,
		   uint32_t i)
{
	struct mdl_micro_bar *bar = &dev->info.bar[i];
	struct mdl_vu_client_region region;
	uint32_t offset = PCI_BASE_ADDRESS_0 + 4 * i, reg;
	uint64_t size;
	bool is64;
	int err;

	err = mdl_vu_client_region(dev->client, i, &region);
	if (err)
		return err;
	err = config_read(dev, offset, &reg, sizeof(reg));
	is64 = !err && (reg & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64 &&
	       i + 1 < BARS;
	if (err || !region.bytes || (reg & PCI_BASE_ADDRESS_SPACE_IO))
		goto out;
	size = bar_size(region.bytes);
	err = size ? place(space, is64, size, &bar->addr) : -ENOSPC;
	if (!err)
		err = config_write(dev, offset, &bar->addr, is64 ? 8 : 4);
	if (err)
		goto out;
	bar->bytes = region.bytes;
	for (size_t k = 0; !err && region.mappable && k < region.num_areas; k++)
		err = map_area(vm, &dev->area[i][k], &region, k, bar->addr);
	if (!err)
		err = mdl_vm_map(vm, bar->addr, mdl_align_up(region.bytes, PAGE));
	if (!err)
		err = add_doorbells(vm, dev, i);
out:
	mdl_close_fd(&region.fd);
	return err ? err : is64 ? 2 : 1;
}

static int find_msix(struct mdl_vm_device *dev, uint32_t *ret_count)
{
	uint16_t status, control;
	uint8_t at, cap[2];
	int err = config_read(dev, PCI_STATUS, &status, sizeof(status));

	*ret_count = 0;
	if (err || !(status & PCI_STATUS_CAP_LIST))
		return err;
	err = config_read(dev, PCI_CAPABILITY_LIST, &at, sizeof(at));
	for (int i = 0; !err && at >= 0x40 && at <= 0xf8 && i < CAPS_MAX; i++) {
		at &= 0xfc;
		err = config_read(dev, at, cap, sizeof(cap));
		if (!err && cap[0] == PCI_CAP_ID_MSIX) {
			dev->msix_cap = at;
			err = config_read(dev, at + PCI_MSIX_FLAGS, &control, sizeof(control));
			if (!err)
				*ret_count = (control & PCI_MSIX_FLAGS_QSIZE) + 1u;
			return err;
		}
		at = cap[1];
	}
	return err;
}

static int add_vectors(struct mdl_vm *vm, struct mdl_vm_device *dev, uint32_t max)
{
	uint32_t table, offered;
	int err = find_msix(dev, &table);

	if (!err)
		err = mdl_vu_client_irq_count(dev->client, VFIO_PCI_MSIX_IRQ_INDEX, &offered);
	if (err)
		return err;
	dev->info.num_vectors = (uint32_t)mdl_min_u64(
		mdl_min_u64(table, offered), mdl_min_u64(max, MDL_ARRAY_SIZE(dev->irq_fd)));
	err = mdl_vm_alloc_vectors(vm, dev->info.num_vectors, &dev->info.first_vector);
	for (uint32_t i = 0; !err && i < dev->info.num_vectors; i++) {
		dev->irq_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (dev->irq_fd[i] < 0)
			err = -errno;
	}
	return err;
}

static int read_identity(struct mdl_vm_device *dev)
{
	uint32_t revision;
	int err = config_read(dev, PCI_VENDOR_ID, &dev->info.vendor, sizeof(dev->info.vendor));

	if (!err)
		err = config_read(dev, PCI_DEVICE_ID, &dev->info.device, sizeof(dev->info.device));
	if (!err)
		err = config_read(dev, PCI_CLASS_REVISION, &revision, sizeof(revision));
	if (!err)
		dev->info.class_code = revision >> 8;
	return err;
}

int mdl_vm_device_attach(struct mdl_vm *vm, struct mdl_vm_space *space, const char *path,
			 struct mdl_vm_device **ret_dev, const char **ret_why)
{
	struct mdl_vm_device *dev = calloc(1, sizeof(*dev));
	int err = -ENOMEM;

	*ret_why = "connect";
	if (!dev)
		return err;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(dev->irq_fd); i++)
		dev->irq_fd[i] = -1;
	dev->path = strdup(path);
	if (!dev->path)
		goto fail;
	err = mdl_vu_client_connect(path, TIMEOUT_MS, &dev->client);
	if (err)
		goto fail;
	*ret_why = "share the guest's memory";
	err = mdl_vu_client_dma_map(dev->client, 0, vm->ram_bytes, true, vm->ram_fd, 0, vm->ram);
	if (err)
		goto fail;
	*ret_why = "read the configuration";
	err = read_identity(dev);
	if (err)
		goto fail;
	*ret_why = "map a BAR";
	for (int i = 0; i < BARS;) {
		int used = add_bar(vm, dev, space, (uint32_t)i);

		if (used < 0) {
			err = used;
			goto fail;
		}
		i += used;
	}
	*ret_why = "set up interrupts";
	err = add_vectors(vm, dev, space->vectors_max);
	if (err)
		goto fail;
	*ret_dev = dev;
	return 0;
fail:
	mdl_vm_device_detach(dev);
	return err;
}

int mdl_vm_device_start(struct mdl_vm *vm, struct mdl_vm_device *dev, const char **ret_why)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
		 control;
	int err = 0;

	*ret_why = "start interrupts";
	for (uint32_t i = 0; !err && i < dev->info.num_vectors; i++)
		err = mdl_vm_add_irqfd(vm, dev->info.first_vector + i, dev->irq_fd[i]);
	if (!err && dev->info.num_vectors)
		err = mdl_vu_client_set_irqs(dev->client, VFIO_PCI_MSIX_IRQ_INDEX, 0,
					     dev->info.num_vectors, dev->irq_fd);
	if (!err && dev->info.num_vectors)
		err = config_read(dev, dev->msix_cap + PCI_MSIX_FLAGS, &control, sizeof(control));
	if (!err && dev->info.num_vectors) {
		control = (uint16_t)((control | PCI_MSIX_FLAGS_ENABLE) & ~PCI_MSIX_FLAGS_MASKALL);
		err = config_write(dev, dev->msix_cap + PCI_MSIX_FLAGS, &control, sizeof(control));
	}
	if (err)
		return err;
	*ret_why = "turn it on";
	return config_write(dev, PCI_COMMAND, &command, sizeof(command));
}

void mdl_vm_device_detach(struct mdl_vm_device *dev)
{
	if (!dev)
		return;
	mdl_vu_client_close(dev->client);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(dev->irq_fd); i++)
		mdl_close_fd(&dev->irq_fd[i]);
	for (size_t i = 0; i < BARS; i++)
		for (size_t k = 0; k < MDL_VU_CLIENT_AREAS; k++)
			if (dev->area[i][k].host)
				munmap(dev->area[i][k].host, dev->area[i][k].bytes);
	free(dev->path);
	free(dev);
}

const struct mdl_micro_device *mdl_vm_device_info(const struct mdl_vm_device *dev)
{
	return &dev->info;
}

const char *mdl_vm_device_path(const struct mdl_vm_device *dev)
{
	return dev->path;
}

int mdl_vm_device_fd(const struct mdl_vm_device *dev)
{
	return mdl_vu_client_fd(dev->client);
}

/*
 * -EPIPE is what the client gives for a connection that is gone, at the latest for the call after
 * the one that found it so; other errors are the device's answer to this access.
 */
static void note_error(struct mdl_vm_device *dev, int err)
{
	if (err == -EPIPE)
		dev->dead = true;
}

bool mdl_vm_device_access(struct mdl_vm_device *dev, uint64_t addr, void *data, uint32_t bytes,
			  bool write)
{
	for (uint32_t i = 0; i < BARS; i++) {
		const struct mdl_micro_bar *bar = &dev->info.bar[i];
		int err = -EPIPE;

		if (!bar->bytes || addr < bar->addr ||
		    addr - bar->addr >= mdl_align_up(bar->bytes, PAGE))
			continue;
		if (!mdl_range_ok(addr - bar->addr, bytes, bar->bytes))
			err = -EINVAL;
		else if (!dev->dead && write)
			err = mdl_vu_client_write(dev->client, i, addr - bar->addr, data, bytes);
		else if (!dev->dead)
			err = mdl_vu_client_read(dev->client, i, addr - bar->addr, data, bytes);
		if (err && !write)
			memset(data, 0xff, bytes);
		if (err)
			note_error(dev, err);
		return true;
	}
	return false;
}

void mdl_vm_device_process(struct mdl_vm_device *dev)
{
	int err = dev->dead ? 0 : mdl_vu_client_process(dev->client);

	if (err)
		note_error(dev, err);
}

bool mdl_vm_device_died(struct mdl_vm_device *dev)
{
	bool news = dev->dead && !dev->death_seen;

	dev->death_seen = dev->dead;
	return news;
}
