/* SPDX-License-Identifier: MIT */
/*
 * Port of Linux guests without the kernel driver, for root: the PCI function's resources are mapped
 * from sysfs. Device memory is huge pages where the system has some, else locked pages scattered
 * over RAM; bus addresses come from /proc/self/pagemap, so there must be no IOMMU in the way. The
 * kernel may still move locked pages to make larger free areas, which the device would not notice:
 * that is turned off (vm.compact_unevictable_allowed) once the first such memory is made. No
 * interrupts: waiting polls. Owned by one thread.
 */
#include "port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "hw/medley_hw.h"

#define DEVICES		"/sys/bus/pci/devices"
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_PFN	((1ull << 55) - 1)

struct sysfs_port {
	struct mdl_port port;
	void *regs;
	bool pinned; /* compaction was told to leave locked pages alone */
};

static struct sysfs_port *self(struct mdl_port *p)
{
	return (struct sysfs_port *)p;
}

static int open_file(const char *function, const char *file, int flags, int *ret_fd)
{
	char path[256];
	int fd;

	if (snprintf(path, sizeof(path), DEVICES "/%s/%s", function, file) >= (int)sizeof(path))
		return -EINVAL;
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	*ret_fd = fd;
	return 0;
}

static bool is_medley(const char *function)
{
	uint16_t id[2];
	mdl_autofd fd = -1;

	return open_file(function, "config", O_RDONLY, &fd) == 0 &&
	       pread(fd, id, sizeof(id), PCI_VENDOR_ID) == sizeof(id) &&
	       id[0] == MDL_HW_PCI_VENDOR && id[1] == MDL_HW_PCI_DEVICE;
}

/* The first function in the order of names, which is that of bus addresses. */
static int find(char *ret_function, size_t bytes)
{
	char best[64] = "";
	DIR *dir = opendir(DEVICES);
	struct dirent *e;

	if (!dir)
		return -ENODEV;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof(best) ||
		    !is_medley(e->d_name))
			continue;
		if (!*best || strcmp(e->d_name, best) < 0)
			strcpy(best, e->d_name);
	}
	closedir(dir);
	if (!*best)
		return -ENODEV;
	snprintf(ret_function, bytes, "%s", best);
	return 0;
}

static int enable(const char *function)
{
	mdl_autofd enable_fd = -1, config = -1;
	uint16_t command;
	int r = open_file(function, "enable", O_WRONLY, &enable_fd);

	if (r < 0)
		return r;
	/* Already enabled by somebody: the count goes up, no harm. */
	if (write(enable_fd, "1", 1) != 1)
		return -errno;
	r = open_file(function, "config", O_RDWR, &config);
	if (r < 0)
		return r;
	if (pread(config, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
		return -EIO;
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	return pwrite(config, &command, sizeof(command), PCI_COMMAND) == sizeof(command) ? 0 : -EIO;
}

static int map_bar(const char *function, unsigned int bar, void **ret_ptr, uint64_t *ret_bytes)
{
	mdl_autofd fd = -1;
	char file[16];
	struct stat st;
	void *ptr;
	int r;

	snprintf(file, sizeof(file), "resource%u", bar);
	r = open_file(function, file, O_RDWR, &fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	ptr = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ptr == MAP_FAILED)
		return -errno;
	*ret_ptr = ptr;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static void sysfs_close(struct mdl_port *p)
{
	struct sysfs_port *s = self(p);

	if (s->regs)
		munmap(s->regs, MDL_HW_BAR0_BYTES);
	if (p->vram)
		munmap(p->vram, p->vram_bytes);
	if (p->user)
		munmap(p->user, p->user_bytes);
	free(s);
}

static int set_up(struct sysfs_port *s, const char *arg)
{
	char function[64];
	uint64_t bytes = 0;
	int r;

	if (*arg) {
		if (strchr(arg, '/') || strlen(arg) >= sizeof(function))
			return -EINVAL;
		strcpy(function, arg);
		if (!is_medley(function))
			return -ENODEV;
	} else if ((r = find(function, sizeof(function))) < 0) {
		return r;
	}
	if ((r = enable(function)) < 0 ||
	    (r = map_bar(function, MDL_HW_BAR_REGS, &s->regs, &bytes)) < 0)
		return r;
	if (bytes != MDL_HW_BAR0_BYTES)
		return -ENODEV;
	r = map_bar(function, MDL_HW_BAR_VRAM, &s->port.vram, &s->port.vram_bytes);
	return r < 0 ? r : map_bar(function, MDL_HW_BAR_USER, &s->port.user, &s->port.user_bytes);
}

static int sysfs_open(const char *arg, struct mdl_port **ret_port)
{
	struct sysfs_port *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->port.ops = &mdl_port_sysfs;
	r = set_up(s, arg);
	if (r < 0) {
		sysfs_close(&s->port);
		return r;
	}
	*ret_port = &s->port;
	return 0;
}

static int sysfs_read(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t *ret_value)
{
	const uint8_t *at = (const uint8_t *)self(p)->regs + offset;

	/* One plain load or store: a trap emulator decodes the instruction, so nothing cleverer. */
	*ret_value = width == 8 ? *(const volatile uint64_t *)at : *(const volatile uint32_t *)at;
	return 0;
}

static int sysfs_write(struct mdl_port *p, uint32_t offset, uint32_t width, uint64_t value)
{
	uint8_t *at = (uint8_t *)self(p)->regs + offset;

	if (width == 8)
		*(volatile uint64_t *)at = value;
	else
		*(volatile uint32_t *)at = (uint32_t)value;
	return 0;
}

static void pin(struct sysfs_port *s)
{
	mdl_autofd fd = -1;

	if (s->pinned)
		return;
	s->pinned = true;
	fd = open("/proc/sys/vm/compact_unevictable_allowed", O_WRONLY | O_CLOEXEC);
	/* Absent in kernels without compaction, which then move nothing. */
	if (fd >= 0 && write(fd, "0", 1) != 1)
		s->pinned = false;
}

/* Bus addresses of pages that are there and stay there. */
static int translate(void *ptr, uint64_t pages, uint64_t *frame)
{
	mdl_autofd fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t first = (uintptr_t)ptr / MDL_PAGE_BYTES;
	size_t want = pages * sizeof(frame[0]), got = 0;

	if (fd < 0)
		return -errno;
	while (got < want) {
		ssize_t n = pread(fd, (uint8_t *)frame + got, want - got,
				  (off_t)(first * sizeof(frame[0]) + got));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		got += (size_t)n;
	}
	for (uint64_t i = 0; i < pages; i++) {
		/* Without the right to see frame numbers they read as 0. */
		if (!(frame[i] & PAGEMAP_PRESENT) || !(frame[i] & PAGEMAP_PFN))
			return -EPERM;
		frame[i] = (frame[i] & PAGEMAP_PFN) * MDL_PAGE_BYTES;
	}
	return 0;
}

/*
 * Shared mappings: a fork must not make the parent's next write copy a page away from the device.
 */
static int map_pages(struct sysfs_port *s, uint64_t *bytes, void **ret_ptr)
{
	uint64_t huge = mdl_align_up(*bytes, MDL_HUGE_BYTES);
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
	void *ptr = MAP_FAILED;

	if (*bytes >= MDL_HUGE_BYTES)
		ptr = mmap(NULL, huge, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
	if (ptr != MAP_FAILED) {
		*bytes = huge;
	} else {
		ptr = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
		if (ptr == MAP_FAILED)
			return -ENOMEM;
	}
	pin(s);
	if (mlock(ptr, *bytes) < 0) {
		munmap(ptr, *bytes);
		return -ENOMEM;
	}
	*ret_ptr = ptr;
	return 0;
}

static int sysfs_dma_alloc(struct mdl_port *p, uint64_t bytes, struct mdl_dma *ret_dma)
{
	mdl_autofree uint64_t *frame = calloc(bytes / MDL_PAGE_BYTES, sizeof(frame[0]));
	uint64_t mapped = bytes;
	void *ptr = NULL;
	int r;

	if (!frame)
		return -ENOMEM;
	r = map_pages(self(p), &mapped, &ptr);
	if (r < 0)
		return r;
	r = translate(ptr, bytes / MDL_PAGE_BYTES, frame);
	if (r < 0) {
		munmap(ptr, mapped);
		return r;
	}
	*ret_dma = (struct mdl_dma) {
		.ptr = ptr, .bytes = bytes, .frame = frame, .priv = (void *)(uintptr_t)mapped
	};
	frame = NULL; /* the caller's now */
	return 0;
}

static void sysfs_dma_free(struct mdl_port *p, struct mdl_dma *dma)
{
	munmap(dma->ptr, (uintptr_t)dma->priv);
	free((void *)dma->frame);
	memset(dma, 0, sizeof(*dma));
}

static uint64_t sysfs_now(struct mdl_port *p)
{
	return mdl_now_ns();
}

static void sysfs_sleep(struct mdl_port *p, uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / MDL_NS_PER_S),
			       .tv_nsec = (long)(ns % MDL_NS_PER_S) };

	nanosleep(&ts, NULL);
}

const struct mdl_port_ops mdl_port_sysfs = {
	.scheme = "sysfs",
	.open = sysfs_open,
	.close = sysfs_close,
	.read = sysfs_read,
	.write = sysfs_write,
	.dma_alloc = sysfs_dma_alloc,
	.dma_free = sysfs_dma_free,
	.now_ns = sysfs_now,
	.sleep_ns = sysfs_sleep,
};
