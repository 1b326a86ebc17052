/* SPDX-License-Identifier: MIT */
/*
 * The VM's memory as this device sees it. Each region that the VMM announces with a descriptor is mapped here, for page-table reads
 * and the fault ring, and its file is a memory object that mappers may map from. Regions of one file share one memory object, so
 * the number of files is limited (MDL_MEM_MAX), not the number of regions.
 *
 * Only files of tmpfs and hugetlbfs are used (memfd, /dev/shm, huge pages): a page of another file system, FUSE say, could take for
 * ever to come. Others count as regions without descriptor: known, but their frames do not exist for the GPU.
 *
 * A file may shrink under us unless it is sealed. QEMU seals its memfds, other VMMs may not, so it is not demanded: the access then
 * raises SIGBUS, the handler puts zeroes in the place of the whole region, and the main loop disconnects that VMM.
 *
 * Left out: memory that only messages reach (DMA_READ, DMA_WRITE), and the page-granular rights of what executors map: a mapper
 * holds the whole file and is told exact ranges.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* The handler has no argument: this is the main's one device, set once before the signal can come. */
static struct mdl_device *bus_device;
static volatile sig_atomic_t bus_shrunk;

static void on_sigbus(int sig, siginfo_t *info, void *uctx)
{
	static const char msg[] = "medley-device: error: SIGBUS outside guest memory\n";
	struct mdl_device *d = bus_device;
	uint64_t addr = (uint64_t)(uintptr_t)info->si_addr;

	for (size_t i = 0; i < d->num_regions; i++) {
		struct dev_region *r = &d->region[i];

		if (!r->host || !mdl_range_in(addr, 1, (uintptr_t)r->host, r->bytes))
			continue;
		/* All of it: huge pages cannot be replaced piecewise. mmap is a bare system call here. */
		if (mmap(r->host, r->bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			 0) == MAP_FAILED)
			break;
		bus_shrunk = 1;
		return;
	}
	if (write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0)
		_exit(2);
	_exit(1);
}

int dev_mem_init(struct mdl_device *d)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	d->region = calloc(DEV_DMA_REGIONS_MAX, sizeof(*d->region));
	if (!d->region)
		return -ENOMEM;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(d->mem); i++)
		d->mem[i].fd = -1;
	bus_device = d;
	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}

bool dev_mem_take_shrunk(struct mdl_device *d)
{
	bool shrunk = bus_shrunk;

	bus_shrunk = 0;
	return shrunk;
}

int dev_mem_fd(const struct mdl_device *d, uint32_t mem)
{
	if (mem == MDL_MEM_VRAM)
		return d->vram_fd;
	if (mem == MDL_MEM_USER)
		return d->user_fd;
	return mem < MDL_MEM_MAX ? d->mem[mem].fd : -1;
}

/* 0 and what the file is, or the reason why the GPU cannot use it. */
static int check_file(const struct mdl_vu_dma *dma, struct stat *ret_st, bool *ret_writable)
{
	struct statfs fs;
	int flags;

	if (fstat(dma->fd, ret_st) < 0 || fstatfs(dma->fd, &fs) < 0)
		return -errno;
	flags = fcntl(dma->fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (!S_ISREG(ret_st->st_mode) || (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
		return -EMEDIUMTYPE;
	if (!mdl_range_ok(dma->fd_offset, dma->bytes, (uint64_t)ret_st->st_size))
		return -EINVAL;
	if ((flags & O_ACCMODE) == O_WRONLY)
		return -EACCES;
	*ret_writable = (flags & O_ACCMODE) == O_RDWR;
	return dma->write && !*ret_writable ? -EACCES : 0;
}

/* Finds or makes the memory object of a file and counts one region more in it. */
static int get_mem(struct mdl_device *d, int fd, const struct stat *st, bool writable,
		   uint32_t *ret_mem)
{
	uint32_t unused = 0;

	for (uint32_t i = MDL_MEM_RAM_FIRST; i < MDL_MEM_MAX; i++) {
		struct dev_mem *m = &d->mem[i];

		if (m->fd < 0) {
			if (!unused)
				unused = i;
		} else if (m->dev == st->st_dev && m->ino == st->st_ino &&
			   m->writable == writable) {
			m->regions++;
			*ret_mem = i;
			return 0;
		}
	}
	if (!unused)
		return -ENOSPC;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	d->mem[unused] = (struct dev_mem) {
		.fd = fd, .dev = st->st_dev, .ino = st->st_ino, .writable = writable, .regions = 1
	};
	*ret_mem = unused;
	return 0;
}

static void put_mem(struct mdl_device *d, uint32_t mem)
{
	if (--d->mem[mem].regions)
		return;
	dev_mem_forget(d, mem);
	mdl_close_fd(&d->mem[mem].fd);
}

static int map_region(struct mdl_device *d, const struct mdl_vu_dma *dma, struct dev_region *r)
{
	struct stat st;
	bool writable = false;
	uint32_t mem = 0;
	void *host;
	int err;

	err = check_file(dma, &st, &writable);
	if (err)
		return err;
	err = get_mem(d, dma->fd, &st, writable, &mem);
	if (err)
		return err;
	host = mmap(NULL, dma->bytes, PROT_READ | (dma->write ? PROT_WRITE : 0),
		    MAP_SHARED | MAP_NORESERVE, dma->fd, (off_t)dma->fd_offset);
	if (host == MAP_FAILED) {
		err = -errno;
		put_mem(d, mem);
		return err;
	}
	/* In the table before the vgpu may touch it: the SIGBUS handler looks there. */
	r->host = host;
	r->mem = mem;
	err = mdl_vgpu_dma_map(d->vgpu, dma->iova, dma->bytes, dma->write, host, mem,
			       dma->fd_offset);
	if (err) {
		r->host = NULL;
		munmap(host, dma->bytes);
		put_mem(d, mem);
	}
	return err;
}

int dev_dma_map(void *h, const struct mdl_vu_dma *dma)
{
	struct mdl_device *d = h;
	struct dev_region *r = &d->region[d->num_regions];
	int err;

	if (d->num_regions == DEV_DMA_REGIONS_MAX)
		return -ENOSPC;
	*r = (struct dev_region) { .iova = dma->iova, .bytes = dma->bytes };
	d->num_regions++;
	if (dma->fd < 0 || !dma->read)
		return 0;
	err = map_region(d, dma, r);
	if (err == -EMEDIUMTYPE) {
		mdl_log_limited(
			&d->vmm_log, MDL_LOG_WARN,
			"guest memory at %#llx is a file of another kind than tmpfs or hugetlbfs: not used",
			(unsigned long long)dma->iova);
		return 0;
	}
	if (err) {
		d->num_regions--;
		mdl_log_limited(&d->vmm_log, MDL_LOG_WARN,
				"guest memory at %#llx, %llu bytes, refused: %s",
				(unsigned long long)dma->iova, (unsigned long long)dma->bytes,
				strerror(-err));
	}
	return err;
}

static void drop_region(struct mdl_device *d, size_t i)
{
	struct dev_region r = d->region[i];

	if (r.host) {
		/* The vgpu lets go first: its mappings in executors are gone when this returns. */
		mdl_vgpu_dma_unmap(d->vgpu, r.iova, r.bytes);
		munmap(r.host, r.bytes);
		put_mem(d, r.mem);
	}
	d->region[i] = d->region[--d->num_regions];
}

void dev_dma_unmap(void *h, uint64_t iova, uint64_t bytes)
{
	struct mdl_device *d = h;

	for (size_t i = d->num_regions; i-- > 0;)
		if (mdl_range_overlap(iova, bytes, d->region[i].iova, d->region[i].bytes))
			drop_region(d, i);
}

void dev_mem_fini(struct mdl_device *d)
{
	while (d->num_regions)
		drop_region(d, d->num_regions - 1);
	free(d->region);
	d->region = NULL;
}
