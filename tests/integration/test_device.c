/* SPDX-License-Identifier: MIT */
/*
 * medley-device alone, between a VMM (raw.h) and a faked manager with faked executors: what it tells whom, and that a bad executor
 * costs its guest's context and nothing else.
 */
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/sandbox.h"
#include "fake-manager.h"
#include "raw.h"
#include "tests/unit/check.h"

#define SOCKET "device.sock"

static const char *program;

static void start(struct fake *f, struct raw *r)
{
	fake_start(f, program, SOCKET);
	*r = (struct raw) { 0 };
	raw_init(r, SOCKET, true);
	raw_make_tables(r->vram + RAW_TABLES_AT, RAW_TABLES_AT, 0);
}

static void end(struct fake *f, struct raw *r)
{
	mdl_vu_client_close(r->c);
	fake_end(f);
}

static uint32_t ctx_reg(struct raw *r, uint32_t ctx, uint32_t reg)
{
	return (uint32_t)raw_read(r, MDL_HW_CTX_BASE + ctx * MDL_HW_CTX_STRIDE + reg, 4);
}

static uint32_t chan_reg(struct raw *r, uint32_t chan, uint32_t reg)
{
	return (uint32_t)raw_read(r, MDL_HW_CHAN_BASE + chan * MDL_HW_CHAN_STRIDE + reg, 4);
}

static bool chan_is_open(struct fake *f)
{
	return f->exec[0].chans_opened == 1;
}

static bool nobody_there(struct fake *f)
{
	for (int i = 0; i < FAKE_CONTEXTS; i++)
		if (f->exec[i].there)
			return false;
	return true;
}

static bool vmm_gone(struct fake *f)
{
	return !f->vmm;
}

static void opens_context_and_channel(void)
{
	struct mdl_vu_client_ioeventfd fds[FAKE_CHANNELS];
	struct mdl_ipc_exec_setup setup;
	struct fake f;
	struct raw r;
	size_t n;

	start(&f, &r);
	raw_start(&r, 1, RAW_TABLES_AT);
	raw_start(&r, 0, RAW_TABLES_AT);
	fake_wait(&f, chan_is_open, "CHAN_OPEN");
	pthread_mutex_lock(&f.lock);
	setup = f.exec[1].setup;
	CHECK_EQ(setup.ctx, 1);
	CHECK_EQ(setup.compute_units, 2);
	CHECK(setup.epoch_ns > 0 && setup.epoch_ns < mdl_now_ns());
	/* VRAM, user pages and the one file of guest memory; ring and scratch, guest memory, user page. */
	CHECK_EQ(f.exec[0].mem, 7);
	CHECK(f.exec[0].maps >= 3);
	CHECK_EQ(f.exec[0].last.va, MDL_USER_AREA_BASE);
	CHECK_EQ(f.exec[0].last.mem, MDL_MEM_USER);
	pthread_mutex_unlock(&f.lock);
	/* Both ways of a doorbell. */
	raw_write(&r, MDL_HW_DOORBELL_BASE, 4, 1);
	CHECK(mdl_wait_readable(f.exec[0].doorbell, 10000) == 1);
	CHECK_EQ(mdl_eventfd_take(f.exec[0].doorbell), 1);
	CHECK_EQ(mdl_vu_client_io_fds(r.c, VFIO_PCI_BAR0_REGION_INDEX, fds, FAKE_CHANNELS, &n), 0);
	CHECK_EQ(n, FAKE_CHANNELS);
	CHECK_EQ(fds[1].offset, MDL_HW_DOORBELL_BASE + 4);
	CHECK_EQ(mdl_eventfd_signal(fds[1].fd), 0);
	CHECK_EQ(mdl_eventfd_take(f.exec[0].doorbell), 0);
	CHECK_EQ(mdl_eventfd_take(f.exec[1].doorbell), 1);
	for (size_t i = 0; i < n; i++)
		close(fds[i].fd);
	/* Closing waits until the executor is gone. */
	atomic_store(&f.close_ms, 100);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_DISABLE);
	pthread_mutex_lock(&f.lock);
	CHECK(!f.exec[0].there && f.exec[1].there);
	CHECK_EQ(f.closed, 1);
	CHECK_EQ(f.killed, 0);
	pthread_mutex_unlock(&f.lock);
	end(&f, &r);
}

static void bad_mapper(int how)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	atomic_store(&f.mapper, how);
	raw_write_ctx(&r, 0, MDL_REG_CTX_PT_ROOT, RAW_TABLES_AT | MDL_PTE_VALID);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_ENABLE);
	CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_FAULTED);
	CHECK_EQ(f.killed, 1);
	CHECK(nobody_there(&f));
	/* The next one is good. */
	atomic_store(&f.mapper, FAKE_MAPS);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_RESET);
	CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_OFF);
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

static void mapper_fails(void)
{
	bad_mapper(FAKE_FAILS);
}

static void mapper_is_silent(void)
{
	bad_mapper(FAKE_SILENT);
}

static void mapper_sends_garbage(void)
{
	bad_mapper(FAKE_GARBAGE);
}

static void mapper_sends_something_else(void)
{
	bad_mapper(FAKE_WRONG_TYPE);
}

static void refused_executor(void)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	atomic_store(&f.refuse, ENOMEM);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_ENABLE);
	CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_FAULTED);
	CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_ERROR), MDL_ERR_NO_RESOURCES);
	atomic_store(&f.refuse, 0);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_RESET);
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

/* What an executor says about others is not believed. */
static void executor_lies(void)
{
	struct mdl_ipc_fault error = { .hdr = { MDL_IPC_CHAN_ERROR, sizeof(error) },
				       .ctx = 0,
				       .chan = 0,
				       .error = MDL_ERR_BAD_PACKET };
	struct mdl_ipc_chan closed = { .hdr = { MDL_IPC_CHAN_CLOSED, sizeof(closed) }, .chan = 0 };
	struct mdl_ipc_fault fault = { .hdr = { MDL_IPC_CTX_FAULT, sizeof(fault) },
				       .ctx = 0,
				       .chan = 0,
				       .error = MDL_ERR_PAGE_FAULT,
				       .va = 0x1234 };
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	raw_start(&r, 1, RAW_TABLES_AT);
	fake_send(&f, 1, &error);
	error.chan = 3;
	fake_send(&f, 1, &error);
	error.chan = 0xfff0;
	fake_send(&f, 1, &error);
	fake_send(&f, 1, &closed);
	closed.chan = UINT32_MAX;
	fake_send(&f, 1, &closed);
	fake_send(&f, 1, &fault);
	/* Its own context is the one that faults; that is the last of its messages. */
	while (ctx_reg(&r, 1, MDL_REG_CTX_STATUS) != MDL_STATUS_FAULTED)
		raw_nap();
	CHECK_EQ(ctx_reg(&r, 1, MDL_REG_CTX_ERROR), MDL_ERR_PAGE_FAULT);
	CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_STATUS), MDL_STATUS_READY);
	CHECK_EQ(chan_reg(&r, 0, MDL_REG_CHAN_STATUS), MDL_STATUS_READY);
	CHECK_EQ(chan_reg(&r, 1, MDL_REG_CHAN_ERROR), MDL_ERR_CONTEXT_LOST);
	/* What it says of its own channel is. */
	error.chan = 0;
	error.va = 0x5000;
	fake_send(&f, 0, &error);
	while (chan_reg(&r, 0, MDL_REG_CHAN_STATUS) != MDL_STATUS_FAULTED)
		raw_nap();
	CHECK_EQ(chan_reg(&r, 0, MDL_REG_CHAN_ERROR), MDL_ERR_BAD_PACKET);
	CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_STATUS), MDL_STATUS_READY);
	end(&f, &r);
}

/* The manager knows why, and which channel it was; a channel of another context, or none, is not believed. */
static void executor_ends(void)
{
	static const struct { uint16_t blamed; uint32_t error; } cases[] = {
		{ 1, MDL_ERR_TIMEOUT },
		{ 0, MDL_ERR_CONTEXT_LOST },
		{ 0xfff0, MDL_ERR_CONTEXT_LOST },
		{ MDL_FAULT_NO_CHANNEL, MDL_ERR_CONTEXT_LOST },
	};
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(cases); i++) {
		raw_start(&r, 1, RAW_TABLES_AT);
		pthread_mutex_lock(&f.lock);
		f.lost_chan = cases[i].blamed;
		shutdown(f.exec[1].control, SHUT_RDWR);
		pthread_mutex_unlock(&f.lock);
		while (ctx_reg(&r, 1, MDL_REG_CTX_STATUS) != MDL_STATUS_FAULTED)
			raw_nap();
		CHECK_EQ(ctx_reg(&r, 1, MDL_REG_CTX_ERROR), MDL_ERR_TIMEOUT);
		CHECK_EQ(chan_reg(&r, 1, MDL_REG_CHAN_STATUS), MDL_STATUS_FAULTED);
		CHECK_EQ(chan_reg(&r, 1, MDL_REG_CHAN_ERROR), cases[i].error);
		CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_STATUS), MDL_STATUS_READY);
		CHECK_EQ(chan_reg(&r, 0, MDL_REG_CHAN_STATUS), MDL_STATUS_READY);
		raw_write_ctx(&r, 1, MDL_REG_CTX_CTRL, MDL_CTRL_RESET);
	}
	raw_start(&r, 1, RAW_TABLES_AT);
	end(&f, &r);
}

/* The manager ends an executor just as the device needs its mapper: the guest hears of the manager's reason. */
static void ended_during_unmap(void)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	f.lost_chan = 0;
	atomic_store(&f.mapper, FAKE_FAILS);
	CHECK_EQ(mdl_vu_client_dma_unmap(r.c, RAW_GPA, RAW_RAM_BYTES), 0);
	CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_FAULTED);
	CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_ERROR), MDL_ERR_TIMEOUT);
	CHECK_EQ(chan_reg(&r, 0, MDL_REG_CHAN_ERROR), MDL_ERR_TIMEOUT);
	end(&f, &r);
}

/* An executor that faults while the device waits for its mapper: the guest hears of the fault. */
static void fault_during_unmap(void)
{
	struct mdl_ipc_fault fault = { .hdr = { MDL_IPC_CTX_FAULT, sizeof(fault) },
				       .chan = 0,
				       .error = MDL_ERR_PAGE_FAULT,
				       .va = RAW_RAM_VA };
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	atomic_store(&f.mapper, FAKE_FAULTS);
	f.fault = fault;
	CHECK_EQ(mdl_vu_client_dma_unmap(r.c, RAW_GPA, RAW_RAM_BYTES), 0);
	CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_FAULTED);
	CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_ERROR), MDL_ERR_PAGE_FAULT);
	CHECK_EQ(chan_reg(&r, 0, MDL_REG_CHAN_ERROR), MDL_ERR_PAGE_FAULT);
	CHECK(nobody_there(&f));
	atomic_store(&f.mapper, FAKE_MAPS);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_RESET);
	raw_write_chan(&r, 0, MDL_REG_CHAN_CTRL, MDL_CTRL_RESET);
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

static void deaf_executor_can_be_disabled(void)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	f.deaf = true;
	raw_start(&r, 0, RAW_TABLES_AT);
	raw_write_chan(&r, 0, MDL_REG_CHAN_CTRL, MDL_CTRL_DISABLE);
	CHECK_EQ(chan_reg(&r, 0, MDL_REG_CHAN_STATUS), MDL_STATUS_PENDING);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_DISABLE);
	CHECK_EQ(chan_reg(&r, 0, MDL_REG_CHAN_STATUS), MDL_STATUS_OFF);
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

/* An executor that sends without end and reads nothing: its guest's other context goes on. */
static void flooding_executor(void)
{
	struct mdl_ipc_fault error = { .hdr = { MDL_IPC_CHAN_ERROR, sizeof(error) }, .chan = 7 };
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	raw_start(&r, 1, RAW_TABLES_AT);
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&f.lock);
		mdl_ipc_send(f.exec[1].control, &error, NULL, 0);
		pthread_mutex_unlock(&f.lock);
		if (i % 100 == 0)
			CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_STATUS), MDL_STATUS_READY);
	}
	raw_write_ctx(&r, 1, MDL_REG_CTX_CTRL, MDL_CTRL_DISABLE);
	CHECK_EQ(ctx_reg(&r, 1, MDL_REG_CTX_STATUS), MDL_STATUS_OFF);
	end(&f, &r);
}

static void disconnect_is_a_reset(void)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	raw_start(&r, 2, RAW_TABLES_AT);
	memset(r.vram + FAKE_VRAM - 4096, 0xa5, 4096);
	CHECK(f.vmm);
	mdl_vu_client_close(r.c);
	fake_wait(&f, vmm_gone, "VMM_STATE 0");
	CHECK(nobody_there(&f));
	CHECK_EQ(f.closed, 2);
	CHECK_EQ(r.vram[FAKE_VRAM - 1], 0);
	CHECK_EQ(r.vram[RAW_TABLES_AT + 3 * 4096], 0);
	/* The next VMM. */
	raw_connect(&r, SOCKET);
	raw_make_tables(r.vram + RAW_TABLES_AT, RAW_TABLES_AT, 0);
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

/* Executors whose mappers are stuck, all of them: the next VMM does not wait for each in turn. */
static void disconnect_asks_no_mapper(void)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	for (uint32_t i = 0; i < 3; i++)
		raw_start(&r, i, RAW_TABLES_AT);
	atomic_store(&f.mapper, FAKE_SILENT);
	mdl_vu_client_close(r.c);
	fake_wait(&f, vmm_gone, "VMM_STATE 0");
	CHECK(nobody_there(&f));
	CHECK_EQ(f.closed, 3);
	CHECK_EQ(f.killed, 0);
	atomic_store(&f.mapper, FAKE_MAPS);
	raw_connect(&r, SOCKET);
	raw_make_tables(r.vram + RAW_TABLES_AT, RAW_TABLES_AT, 0);
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

static void unmap_reaches_executors_first(void)
{
	struct fake f;
	struct raw r;
	uint32_t unmaps;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	unmaps = f.exec[0].unmaps;
	CHECK_EQ(mdl_vu_client_dma_unmap(r.c, RAW_GPA, RAW_RAM_BYTES), 0);
	/* Already, when the reply is there. */
	pthread_mutex_lock(&f.lock);
	CHECK_EQ(f.exec[0].unmaps, unmaps + 1);
	CHECK_EQ(f.exec[0].mem & ~3ull, 0);
	pthread_mutex_unlock(&f.lock);
	/* A mapper that does not answer is dead before the reply. */
	raw_map_ram(&r);
	raw_write_ctx(&r, 0, MDL_REG_CTX_INVALIDATE, 1);
	CHECK_EQ(f.exec[0].mem, 7);
	atomic_store(&f.mapper, FAKE_SILENT);
	CHECK_EQ(mdl_vu_client_dma_unmap(r.c, RAW_GPA, RAW_RAM_BYTES), 0);
	CHECK(nobody_there(&f));
	CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_FAULTED);
	end(&f, &r);
}

static bool irq_came(struct fake *f)
{
	return f->exec[0].irq[3] >= 0 && f->exec[0].irq_sets >= 1;
}

static bool irq_changed(struct fake *f)
{
	return f->exec[0].irq_sets >= 2;
}

static void interrupts_go_to_executors(void)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	f.exec[0].irq_sets = 0;
	CHECK_EQ(mdl_vu_client_set_irqs(r.c, VFIO_PCI_MSIX_IRQ_INDEX, 3, 1, &event), 0);
	fake_wait(&f, irq_came, "IRQ_SET");
	CHECK_EQ(mdl_eventfd_signal(f.exec[0].irq[3]), 0);
	CHECK_EQ(mdl_eventfd_take(event), 1);
	/* Masked: the executor's interrupt waits, and comes at unmask. */
	pthread_mutex_lock(&f.lock);
	f.exec[0].irq_sets = 1;
	pthread_mutex_unlock(&f.lock);
	CHECK_EQ(mdl_vu_client_mask_irq(r.c, VFIO_PCI_MSIX_IRQ_INDEX, 3, true), 0);
	fake_wait(&f, irq_changed, "IRQ_SET after mask");
	CHECK(f.exec[0].irq[3] >= 0);
	CHECK_EQ(mdl_eventfd_signal(f.exec[0].irq[3]), 0);
	while (!(raw_read(&r, MDL_HW_MSIX_PBA, 4) & 8))
		raw_nap();
	CHECK_EQ(mdl_eventfd_take(event), 0);
	CHECK_EQ(mdl_vu_client_mask_irq(r.c, VFIO_PCI_MSIX_IRQ_INDEX, 3, false), 0);
	CHECK(mdl_wait_readable(event, 10000) == 1);
	CHECK_EQ(mdl_eventfd_take(event), 1);
	end(&f, &r);
	close(event);
}

/* Memory that could make the device wait, or that is not there, is not mapped. */
static void other_files_are_not_used(void)
{
	struct fake f;
	struct raw r;
	int pipes[2], small;

	start(&f, &r);
	CHECK(pipe2(pipes, O_CLOEXEC) == 0);
	/* Known, but as memory without descriptor. */
	CHECK_EQ(mdl_vu_client_dma_map(r.c, 0x80000000, 4096, true, pipes[0], 0, NULL), 0);
	CHECK_EQ(mdl_vu_client_dma_unmap(r.c, 0x80000000, 4096), 0);
	CHECK_EQ(mdl_memfd_create("small", 4096, &small), 0);
	CHECK(mdl_vu_client_dma_map(r.c, 0x80000000, 8192, true, small, 0, NULL) < 0);
	CHECK(mdl_vu_client_dma_map(r.c, 0x80000000, 4096, true, small, 4096, NULL) < 0);
	CHECK_EQ(mdl_vu_client_dma_map(r.c, 0x80000000, 4096, true, small, 0, NULL), 0);
	end(&f, &r);
	close(pipes[0]);
	close(pipes[1]);
	close(small);
}

/* As a vIOMMU maps it: many small pieces of one file. */
static void scattered_memory(void)
{
	const uint64_t pieces = 200, gpa = 0x100000000;
	struct fake f;
	struct raw r;
	int file;

	start(&f, &r);
	CHECK_EQ(mdl_memfd_create("pieces", pieces * 4096, &file), 0);
	for (uint64_t i = 0; i < pieces; i++)
		CHECK_EQ(mdl_vu_client_dma_map(r.c, gpa + 8192 * i, 4096, true, file,
					       4096 * (pieces - 1 - i), NULL),
			 0);
	/* The last one is there for the GPU: it can hold the page tables. */
	raw_write_ctx(&r, 0, MDL_REG_CTX_PT_ROOT,
		      (gpa + 8192 * (pieces - 1)) | MDL_PTE_SYSTEM | MDL_PTE_VALID);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_ENABLE);
	CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_READY);
	CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_ERROR), MDL_ERR_NONE);
	for (uint64_t i = 0; i < pieces; i++)
		CHECK_EQ(mdl_vu_client_dma_unmap(r.c, gpa + 8192 * i, 4096), 0);
	raw_write_ctx(&r, 0, MDL_REG_CTX_INVALIDATE, 1);
	CHECK_EQ(ctx_reg(&r, 0, MDL_REG_CTX_ERROR), MDL_ERR_BAD_PTE);
	end(&f, &r);
	close(file);
}

/* A VMM holds the doorbells too, and the flags of an eventfd belong to all of its holders. */
static void doorbells_made_blocking(void)
{
	struct mdl_vu_client_ioeventfd fds[FAKE_CHANNELS];
	struct fake f;
	struct raw r;
	size_t n;

	start(&f, &r);
	CHECK_EQ(mdl_vu_client_io_fds(r.c, VFIO_PCI_BAR0_REGION_INDEX, fds, FAKE_CHANNELS, &n), 0);
	for (size_t i = 0; i < n; i++) {
		CHECK(fcntl(fds[i].fd, F_SETFL, fcntl(fds[i].fd, F_GETFL) & ~O_NONBLOCK) == 0);
		close(fds[i].fd);
	}
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

static void memory_that_shrinks(void)
{
	uint64_t one = 1;
	struct fake f;
	struct raw r = { 0 };
	int err = 0;

	fake_start(&f, program, SOCKET);
	raw_init(&r, SOCKET, false);
	raw_make_tables(r.ram, RAW_GPA, MDL_PTE_SYSTEM);
	raw_start(&r, 0, RAW_GPA | MDL_PTE_SYSTEM);
	CHECK(ftruncate(r.ram_fd, 0) == 0);
	for (int i = 0; i < 1000 && !err; i++)
		err = mdl_vu_client_write(r.c, VFIO_PCI_BAR0_REGION_INDEX,
					  MDL_HW_CTX_BASE + MDL_REG_CTX_INVALIDATE, &one, 4);
	CHECK(err < 0);
	fake_wait(&f, vmm_gone, "VMM_STATE 0");
	/* The device lives, for a VMM with sound memory. */
	mdl_vu_client_close(r.c);
	raw_init(&r, SOCKET, true);
	raw_make_tables(r.vram + RAW_TABLES_AT, RAW_TABLES_AT, 0);
	raw_start(&r, 0, RAW_TABLES_AT);
	end(&f, &r);
}

/* Noticed also when it is not the VMM's access that touches the memory. */
static void shrunk_memory_of_a_late_executor(void)
{
	struct fake f;
	struct raw r = { 0 };

	fake_start(&f, program, SOCKET);
	raw_init(&r, SOCKET, false);
	CHECK(ftruncate(r.ram_fd, 0) == 0);
	raw_write_ctx(&r, 0, MDL_REG_CTX_PT_ROOT, RAW_GPA | MDL_PTE_SYSTEM | MDL_PTE_VALID);
	raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_ENABLE);
	fake_wait(&f, vmm_gone, "VMM_STATE 0");
	end(&f, &r);
}

/* More often than the device may hold descriptors. */
static void leaks_nothing(void)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	for (int i = 0; i < 800; i++) {
		raw_write_ctx(&r, 0, MDL_REG_CTX_PT_ROOT, RAW_TABLES_AT | MDL_PTE_VALID);
		raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_ENABLE);
		CHECK_EQ(raw_ctx_status(&r, 0), MDL_STATUS_READY);
		CHECK_EQ(mdl_vu_client_dma_unmap(r.c, RAW_GPA, RAW_RAM_BYTES), 0);
		raw_map_ram(&r);
		raw_write_ctx(&r, 0, MDL_REG_CTX_CTRL, MDL_CTRL_DISABLE);
	}
	end(&f, &r);
}

static void manager_dies(void)
{
	struct fake f;
	struct raw r;

	start(&f, &r);
	raw_start(&r, 0, RAW_TABLES_AT);
	fake_die(&f);
	mdl_vu_client_close(r.c);
}

static void bad_arguments(void)
{
	static char *const argvs[][4] = {
		{ "medley-device", NULL },
		{ "medley-device", "--channels", "0", NULL },
		{ "medley-device", "--channels", "x", NULL },
		{ "medley-device", "--wrong", NULL },
	};

	for (size_t i = 0; i < MDL_ARRAY_SIZE(argvs); i++) {
		struct mdl_spawn spawn = { .path = program, .argv = argvs[i] };
		int status, pidfd;
		pid_t pid;

		CHECK_EQ(mdl_sandbox_spawn(&spawn, &pid, &pidfd), 0);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		close(pidfd);
	}
}

static const struct check_case cases[] = {
	{ "opens a context and a channel", opens_context_and_channel, 0 },
	{ "a mapper that fails", mapper_fails, 0 },
	{ "a mapper that is silent", mapper_is_silent, 0 },
	{ "a mapper that sends garbage", mapper_sends_garbage, 0 },
	{ "a mapper that sends something else", mapper_sends_something_else, 0 },
	{ "no executor", refused_executor, 0 },
	{ "an executor that lies", executor_lies, 0 },
	{ "an executor that ends", executor_ends, 0 },
	{ "ended by the manager during an unmap", ended_during_unmap, 0 },
	{ "a fault during an unmap", fault_during_unmap, 0 },
	{ "a deaf executor", deaf_executor_can_be_disabled, 0 },
	{ "a flooding executor", flooding_executor, 0 },
	{ "disconnect is a reset", disconnect_is_a_reset, 0 },
	{ "disconnect asks no mapper", disconnect_asks_no_mapper, 0 },
	{ "unmap reaches executors first", unmap_reaches_executors_first, 0 },
	{ "interrupts go to executors", interrupts_go_to_executors, 0 },
	{ "other files are not used", other_files_are_not_used, 0 },
	{ "scattered memory", scattered_memory, 0 },
	{ "doorbells made blocking", doorbells_made_blocking, 0 },
	{ "memory that shrinks", memory_that_shrinks, 0 },
	{ "shrunk memory of a late executor", shrunk_memory_of_a_late_executor, 0 },
	{ "leaks nothing", leaks_nothing, 60 },
	{ "the manager dies", manager_dies, 0 },
	{ "bad arguments", bad_arguments, 0 },
};

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	char dir[256], *full = realpath(argv[1], NULL);
	int failed;

	snprintf(dir, sizeof(dir), "%s/medley-device-XXXXXX", tmp ? tmp : "/tmp");
	CHECK(argc == 2 && full && mkdtemp(dir) && chdir(dir) == 0);
	program = full;
	failed = check_main(cases, MDL_ARRAY_SIZE(cases));
	unlink(SOCKET);
	CHECK(chdir("/") == 0 && rmdir(dir) == 0);
	free(full);
	return failed;
}
