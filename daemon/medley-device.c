/* SPDX-License-Identifier: MIT */
/*
 * medley-device: one vGPU. It puts together the PCI function for VMMs (lib/vfio-user), the guest-visible GPU (lib/vgpu) and the
 * executors that medleyd lends it (device-ctx.c). medleyd starts it with its link, a listening socket and the VRAM as open
 * descriptors (ipc.h), and it ends when the link ends. One thread, one event loop.
 *
 * A VMM that goes away is a function reset: contexts closed, VRAM zeroed, ready for the next one.
 *
 * BAR2 (VRAM) and BAR4 (user pages) are mapped whole into the guest; BAR0 never is: its registers act, and it holds the MSI-X table.
 * Interrupts: executors signal the VMM's eventfds themselves. For a vector without one (masked, say) they are given a parked
 * eventfd, from which this process sets the pending bit.
 *
 * Left out: guest memory that only messages reach; display; any change of size at run time.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"

#define CONFIG_BYTES 4096

/* ---- what the vgpu needs of its host, beyond executors ---- */

static uint64_t host_now_ns(void *h)
{
	return mdl_now_ns();
}

static void host_irq(void *h, uint32_t vector)
{
	struct mdl_device *d = h;

	mdl_vu_irq_raise(d->server, VFIO_PCI_MSIX_IRQ_INDEX, vector);
}

static uint64_t host_msix_pending(void *h, uint32_t word)
{
	struct mdl_device *d = h;

	return mdl_vu_msix_pending(d->server, word);
}

/* A guest can make faults faster than they are worth hearing of one by one: they are told of at most so often. */
#define FAULT_NOTE_US 20000

static void send_fault_note(struct mdl_device *d)
{
	struct mdl_ipc_fault_note *n = &d->fault_note;
	int on;

	if (!n->count || (sd_event_source_get_enabled(d->fault_timer, &on) >= 0 && on != SD_EVENT_OFF))
		return;
	n->hdr = (struct mdl_ipc_hdr) { MDL_IPC_FAULT_NOTE, sizeof(*n) };
	/* When the link is full, next time. */
	if (mdl_ipc_send(d->link, n, NULL, 0) != -EAGAIN)
		n->count = 0;
	sd_event_source_set_time_relative(d->fault_timer, FAULT_NOTE_US);
	sd_event_source_set_enabled(d->fault_timer, SD_EVENT_ONESHOT);
}

static int on_fault_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	send_fault_note(arg);
	return 0;
}

static void host_fault_note(void *h, const struct mdl_ipc_fault *fault)
{
	struct mdl_device *d = h;
	struct mdl_ipc_fault_note *n = &d->fault_note;

	n->count++;
	n->ctx = fault->ctx;
	n->error = fault->error;
	n->va = fault->va;
	send_fault_note(d);
}

static const struct mdl_vgpu_host vgpu_host = {
	.now_ns = host_now_ns,
	.irq = host_irq,
	.msix_pending = host_msix_pending,
	.ctx_open = dev_ctx_open,
	.ctx_close = dev_ctx_close,
	.ctx_map = dev_ctx_map,
	.chan_open = dev_chan_open,
	.chan_close = dev_chan_close,
	.doorbell = dev_doorbell,
	.fault_note = host_fault_note,
};

/* ---- what the vfio-user server needs of its device ---- */

static int on_region_read(void *h, uint32_t region, uint64_t offset, void *data, uint32_t count)
{
	struct mdl_device *d = h;

	switch (region) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		mdl_vgpu_config_read(d->vgpu, (uint32_t)offset, data, count);
		return 0;
	case VFIO_PCI_BAR0_REGION_INDEX:
		mdl_vgpu_bar0_read(d->vgpu, (uint32_t)offset, data, count);
		return 0;
	case VFIO_PCI_BAR2_REGION_INDEX:
		memcpy(data, (char *)d->vram + offset, count);
		return 0;
	case VFIO_PCI_BAR4_REGION_INDEX:
		memcpy(data, (char *)d->user_pages + offset, count);
		return 0;
	default:
		return -EINVAL;
	}
}

static int on_region_write(void *h, uint32_t region, uint64_t offset, const void *data,
			   uint32_t count)
{
	struct mdl_device *d = h;

	switch (region) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		mdl_vgpu_config_write(d->vgpu, (uint32_t)offset, data, count);
		return 0;
	case VFIO_PCI_BAR0_REGION_INDEX:
		mdl_vgpu_bar0_write(d->vgpu, (uint32_t)offset, data, count);
		return 0;
	case VFIO_PCI_BAR2_REGION_INDEX:
		memcpy((char *)d->vram + offset, data, count);
		return 0;
	case VFIO_PCI_BAR4_REGION_INDEX:
		memcpy((char *)d->user_pages + offset, data, count);
		return 0;
	default:
		return -EINVAL;
	}
}

/* An executor raised a vector that the VMM has no eventfd for. */
static int on_parked_irq(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct dev_irq *irq = arg;
	struct mdl_device *d = irq->dev;

	if (mdl_eventfd_take(fd))
		mdl_vu_irq_raise(d->server, VFIO_PCI_MSIX_IRQ_INDEX, (uint32_t)(irq - d->irq));
	return 0;
}

/* Made when first needed; without it (no descriptors left) interrupts of the vector are lost while it is masked. */
static void park_irq(struct dev_irq *irq)
{
	if (irq->parked >= 0)
		return;
	irq->parked = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (irq->parked < 0)
		return;
	if (sd_event_add_io(irq->dev->event, &irq->parked_source, irq->parked, EPOLLIN,
			    on_parked_irq, irq) < 0)
		mdl_close_fd(&irq->parked);
}

static void on_irq_changed(void *h, uint32_t index, uint32_t vector, int fd)
{
	struct mdl_device *d = h;
	struct dev_irq *irq;

	if (index != VFIO_PCI_MSIX_IRQ_INDEX || vector >= MDL_HW_MSIX_VECTORS)
		return;
	irq = &d->irq[vector];
	mdl_close_fd(&irq->fd);
	if (fd >= 0)
		irq->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	else
		park_irq(irq);
	dev_irq_announce(d, vector);
}

static void on_reset(void *h)
{
	struct mdl_device *d = h;

	mdl_vgpu_reset(d->vgpu);
}

static void send_vmm_state(struct mdl_device *d, bool connected, pid_t pid)
{
	struct mdl_ipc_vmm_state m = { .hdr = { MDL_IPC_VMM_STATE, sizeof(m) },
				       .connected = connected,
				       .pid = pid > 0 ? (uint32_t)pid : 0 };

	dev_manager_send(d, &m);
}

static void on_connected(void *h, pid_t peer)
{
	struct mdl_device *d = h;

	mdl_log(MDL_LOG_DEBUG, "VMM connected, process %d", (int)peer);
	send_vmm_state(d, true, peer);
}

static void on_disconnected(void *h)
{
	struct mdl_device *d = h;

	mdl_log(MDL_LOG_DEBUG, "VMM went away");
	mdl_vgpu_reset(d->vgpu);
	send_vmm_state(d, false, 0);
}

static const struct mdl_vu_ops server_ops = {
	.region_read = on_region_read,
	.region_write = on_region_write,
	.dma_map = dev_dma_map,
	.dma_unmap = dev_dma_unmap,
	.irq_changed = on_irq_changed,
	.reset = on_reset,
	.connected = on_connected,
	.disconnected = on_disconnected,
};

void dev_check_memory(struct mdl_device *d)
{
	if (!dev_mem_take_shrunk(d))
		return;
	mdl_log_limited(&d->vmm_log, MDL_LOG_ERROR,
			"the VMM made its memory's file shorter: disconnected");
	mdl_vu_server_disconnect(d->server);
}

static int on_server(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct mdl_device *d = arg;
	int err = mdl_vu_server_process(d->server);

	if (err) {
		mdl_log(MDL_LOG_ERROR, "vfio-user socket: %s", strerror(-err));
		return err;
	}
	dev_check_memory(d);
	return 0;
}

/* ---- life ---- */

static uint64_t round_up_pow2(uint64_t v)
{
	uint64_t p = 1;

	while (p < v)
		p <<= 1;
	return p;
}

static int map_shared(int fd, uint64_t bytes, void **ret_map)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	*ret_map = map;
	return 0;
}

static int init_memory(struct mdl_device *d)
{
	struct stat st;
	int err;

	d->vram_fd = MDL_FD_DEVICE_VRAM;
	if (fstat(d->vram_fd, &st) < 0)
		return -errno;
	d->vram_bytes = (uint64_t)st.st_size;
	if (!mdl_is_pow2(d->vram_bytes) || d->vram_bytes < MDL_HUGE_BYTES)
		return -EINVAL;
	err = map_shared(d->vram_fd, d->vram_bytes, &d->vram);
	if (err)
		return err;
	d->user_bytes = round_up_pow2(d->channels * (uint64_t)MDL_HW_USER_STRIDE);
	err = mdl_memfd_create("medley-user-pages", d->user_bytes, &d->user_fd);
	if (err)
		return err;
	return map_shared(d->user_fd, d->user_bytes, &d->user_pages);
}

static int init_server(struct mdl_device *d)
{
	struct mdl_vu_region none = { .fd = -1 };
	int err;

	for (size_t i = 0; i < MDL_VU_REGIONS; i++)
		d->pci.region[i] = none;
	d->pci.region[VFIO_PCI_BAR0_REGION_INDEX] = (struct mdl_vu_region) {
		.bytes = MDL_HW_BAR0_BYTES, .read = true, .write = true, .fd = -1
	};
	d->pci.region[VFIO_PCI_BAR2_REGION_INDEX] = (struct mdl_vu_region) {
		.bytes = d->vram_bytes, .read = true, .write = true, .fd = d->vram_fd
	};
	d->pci.region[VFIO_PCI_BAR4_REGION_INDEX] = (struct mdl_vu_region) {
		.bytes = d->user_bytes, .read = true, .write = true, .fd = d->user_fd
	};
	d->pci.region[VFIO_PCI_CONFIG_REGION_INDEX] = (struct mdl_vu_region) {
		.bytes = CONFIG_BYTES, .read = true, .write = true, .fd = -1
	};
	d->pci.irq_count[VFIO_PCI_MSIX_IRQ_INDEX] = MDL_HW_MSIX_VECTORS;
	d->pci.dma_max_regions = DEV_DMA_REGIONS_MAX;
	for (uint32_t i = 0; i < d->channels; i++)
		d->doorbell[i] = (struct mdl_vu_ioeventfd) { .region = VFIO_PCI_BAR0_REGION_INDEX,
							     .bytes = 4,
							     .offset = MDL_HW_DOORBELL_BASE + 4 * i,
							     .fd = d->chan[i].doorbell };
	d->pci.ioeventfds = d->doorbell;
	d->pci.num_ioeventfds = d->channels;
	err = mdl_vu_server_create(MDL_FD_DEVICE_LISTEN, &d->pci, &server_ops, d, &d->server);
	if (err)
		return err;
	return sd_event_add_io(d->event, NULL, mdl_vu_server_fd(d->server), EPOLLIN, on_server, d);
}

static int init_vgpu(struct mdl_device *d)
{
	struct mdl_vgpu_config config = {
		.vram_bytes = d->vram_bytes,
		.channels = d->channels,
		.contexts = d->contexts,
		.compute_units = d->compute_units,
		.vram = d->vram,
		.user_pages = d->user_pages,
	};

	return mdl_vgpu_create(&config, &vgpu_host, d, &d->vgpu);
}

static int init_loop(struct mdl_device *d)
{
	sigset_t set;
	int err = sd_event_default(&d->event);

	if (err < 0)
		return err;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	/* Made now: the sandbox has no call for the loop's timer. */
	err = sd_event_add_time(d->event, &d->fault_timer, CLOCK_MONOTONIC, 0, 1000, on_fault_timer, d);
	if (err >= 0)
		err = sd_event_source_set_enabled(d->fault_timer, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_signal(d->event, NULL, SIGTERM, NULL, NULL);
	if (err >= 0)
		err = sd_event_add_signal(d->event, NULL, SIGINT, NULL, NULL);
	return err < 0 ? err : 0;
}

static int fail(const char *what, int err)
{
	mdl_log(MDL_LOG_ERROR, "%s: %s", what, strerror(-err));
	return EXIT_FAILURE;
}

static int run(struct mdl_device *d)
{
	struct mdl_ipc_ctx ready = { .hdr = { MDL_IPC_DEVICE_READY, sizeof(struct mdl_ipc_hdr) } };
	int err;

	err = init_loop(d);
	if (err)
		return fail("event loop", err);
	err = init_memory(d);
	if (err)
		return fail("VRAM", err);
	err = dev_mem_init(d);
	if (!err)
		err = dev_manager_init(d);
	if (!err)
		err = dev_ctx_init(d);
	if (err)
		return fail("set-up", err);
	err = init_vgpu(d);
	if (err)
		return fail("vGPU", err);
	err = init_server(d);
	if (err < 0)
		return fail("vfio-user", err);
	err = dev_sandbox_enter(d->uid);
	if (err)
		return fail("sandbox", err);
	dev_manager_send(d, &ready);
	err = sd_event_loop(d->event);

	dev_ctx_stop(d);
	mdl_vu_server_destroy(d->server);
	dev_mem_fini(d);
	mdl_vgpu_destroy(d->vgpu);
	dev_ctx_fini(d);
	dev_manager_fini(d);
	return err < 0 ? fail("event loop", err) : EXIT_SUCCESS;
}

static bool parse_count(const char *s, uint32_t max, uint32_t *ret_n)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || end == s || *end || *s == '-' || n < 1 || n > max)
		return false;
	*ret_n = (uint32_t)n;
	return true;
}

static int usage(const char *bad)
{
	mdl_log(MDL_LOG_ERROR,
		"%s; usage: medley-device [--uid N] --name NAME [--uuid UUID] --channels 1..%d --contexts 1..%d "
		"--compute-units N; medleyd starts it",
		bad, MDL_HW_CHAN_MAX, MDL_HW_CTX_MAX);
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static struct mdl_device device;
	static const struct option options[] = {
		{ "uid", required_argument, NULL, 'i' },
		{ "name", required_argument, NULL, 'n' },
		{ "uuid", required_argument, NULL, 'u' },
		{ "channels", required_argument, NULL, 'c' },
		{ "contexts", required_argument, NULL, 'x' },
		{ "compute-units", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	struct mdl_device *d = &device;
	char prefix[32] = "device";
	int opt;

	mdl_log_init(prefix, MDL_LOG_INFO);
	d->uid = MDL_SANDBOX_KEEP_ID;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		bool ok = true;

		switch (opt) {
		case 'n':
			snprintf(prefix, sizeof(prefix), "device %.20s", optarg);
			break;
		case 'u':
			break; /* for people who look at the process list */
		case 'i':
			ok = parse_count(optarg, INT_MAX, &d->uid);
			break;
		case 'c':
			ok = parse_count(optarg, MDL_HW_CHAN_MAX, &d->channels);
			break;
		case 'x':
			ok = parse_count(optarg, MDL_HW_CTX_MAX, &d->contexts);
			break;
		case 'p':
			ok = parse_count(optarg, INT_MAX, &d->compute_units);
			break;
		default:
			return usage("unknown argument");
		}
		if (!ok)
			return usage("number out of range");
	}
	if (optind < argc || !d->channels || !d->contexts || !d->compute_units)
		return usage("arguments missing");
	mdl_log_init(prefix, MDL_LOG_INFO);
	d->link = MDL_FD_DEVICE_LINK;
	d->user_fd = -1;
	d->vmm_log = d->exec_log = (struct mdl_log_limit)MDL_LOG_LIMIT_INIT;
	for (size_t i = 0; i < MDL_ARRAY_SIZE(d->irq); i++)
		d->irq[i] = (struct dev_irq) { .dev = d, .fd = -1, .parked = -1 };
	return run(d);
}
