/* SPDX-License-Identifier: MIT */
/* See fake-manager.h. One thread serves all links; tests read under the lock. */
#include "fake-manager.h"

#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/sandbox.h"
#include "base/util.h"
#include "tests/unit/check.h"

union any {
	struct mdl_ipc_hdr hdr;
	struct mdl_ipc_ctx ctx;
	struct mdl_ipc_chan chan;
	struct mdl_ipc_exec_setup setup;
	struct mdl_ipc_irq_set irq;
	struct mdl_ipc_mem mem;
	struct mdl_ipc_map map;
	struct mdl_ipc_vmm_state vmm;
	uint8_t bytes[MDL_IPC_MAX_BYTES];
};

static void pair(int ret_fds[2])
{
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) == 0);
}

static void drop_exec(struct fake_exec *e)
{
	mdl_close_fd(&e->control);
	mdl_close_fd(&e->map);
	mdl_close_fd(&e->doorbell);
	for (uint32_t i = 0; i < MDL_HW_MSIX_VECTORS; i++)
		mdl_close_fd(&e->irq[i]);
	e->there = false;
}

static void send_ctx(struct fake *f, uint32_t type, uint32_t ctx, uint32_t error, const int *fds)
{
	struct mdl_ipc_ctx m = { .hdr = { type, sizeof(m) }, .ctx = ctx, .error = error };

	CHECK_EQ(mdl_ipc_send(f->link, &m, fds, fds ? 2 : 0), 0);
}

static void open_ctx(struct fake *f, uint32_t ctx)
{
	struct fake_exec *e = &f->exec[ctx];
	int control[2], map[2], refuse = atomic_load(&f->refuse);

	f->opened++;
	CHECK(!e->there);
	if (refuse) {
		send_ctx(f, MDL_IPC_CTX_GRANTED, ctx, (uint32_t)refuse, NULL);
		return;
	}
	pair(control);
	pair(map);
	*e = (struct fake_exec) {
		.there = true, .control = control[0], .map = map[0], .doorbell = -1
	};
	for (uint32_t i = 0; i < MDL_HW_MSIX_VECTORS; i++)
		e->irq[i] = -1;
	send_ctx(f, MDL_IPC_CTX_GRANTED, ctx, 0, (int[]) { control[1], map[1] });
	close(control[1]);
	close(map[1]);
}

static void end_ctx(struct fake *f, uint32_t ctx, uint32_t error)
{
	struct mdl_ipc_lost m = {
		.hdr = { MDL_IPC_CTX_LOST, sizeof(m) },
		.ctx = ctx,
		.chan = f->lost_chan,
		.tag = f->lost_tag,
	};

	if (!f->exec[ctx].there)
		return;
	drop_exec(&f->exec[ctx]);
	m.error = (uint16_t)error;
	CHECK_EQ(mdl_ipc_send(f->link, &m, NULL, 0), 0);
}

static void manager_message(struct fake *f, const union any *m)
{
	switch (m->hdr.type) {
	case MDL_IPC_CTX_OPEN:
		open_ctx(f, m->ctx.ctx);
		break;
	case MDL_IPC_CTX_CLOSE:
		f->closed++;
		end_ctx(f, m->ctx.ctx, 0);
		break;
	case MDL_IPC_CTX_KILL:
		f->killed++;
		end_ctx(f, m->ctx.ctx, f->lost_error);
		break;
	case MDL_IPC_VMM_STATE:
		f->vmm = m->vmm.connected;
		break;
	case MDL_IPC_FAULT_NOTE:
		f->notes++;
		break;
	case MDL_IPC_DEVICE_READY:
		f->ready = true;
		break;
	}
}

static void control_message(struct fake *f, struct fake_exec *e, const union any *m, int fd)
{
	struct mdl_ipc_chan closed = m->chan;

	switch (m->hdr.type) {
	case MDL_IPC_EXEC_SETUP:
		e->setup = m->setup;
		break;
	case MDL_IPC_CHAN_OPEN:
		e->chans_opened++;
		mdl_close_fd(&e->doorbell);
		e->doorbell = fd;
		return;
	case MDL_IPC_CHAN_CLOSE:
		closed.hdr.type = MDL_IPC_CHAN_CLOSED;
		if (!f->deaf)
			CHECK_EQ(mdl_ipc_send(e->control, &closed, NULL, 0), 0);
		break;
	case MDL_IPC_IRQ_SET:
		e->irq_sets++;
		mdl_close_fd(&e->irq[m->irq.vector]);
		e->irq[m->irq.vector] = fd;
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void map_message(struct fake *f, struct fake_exec *e, const union any *m, int fd)
{
	struct mdl_ipc_map_done done = { .hdr = { MDL_IPC_MAP_DONE, sizeof(done) } };

	if (fd >= 0)
		close(fd);
	switch (atomic_load(&f->mapper)) {
	case FAKE_SILENT:
		return;
	case FAKE_FAILS:
		done.error = ENOMEM;
		break;
	case FAKE_GARBAGE:
		CHECK(send(e->map, "garbage", 7, MSG_NOSIGNAL) == 7);
		return;
	case FAKE_FAULTS:
		mdl_ipc_send(e->control, &f->fault, NULL, 0);
		shutdown(e->control, SHUT_RDWR);
		shutdown(e->map, SHUT_RDWR);
		return;
	case FAKE_WRONG_TYPE: {
		struct mdl_ipc_lost wrong = { .hdr = { MDL_IPC_CTX_LOST, sizeof(wrong) } };

		CHECK_EQ(mdl_ipc_send(e->map, &wrong, NULL, 0), 0);
		return;
	}
	}
	if (m->hdr.type == MDL_IPC_MEM_ADD)
		e->mem |= 1ull << m->mem.mem;
	else if (m->hdr.type == MDL_IPC_MEM_DEL)
		e->mem &= ~(1ull << m->mem.mem);
	for (uint32_t i = 0; m->hdr.type == MDL_IPC_MAP && i < m->map.count; i++) {
		e->last = m->map.entry[i];
		CHECK(e->last.op != MDL_MAP_MAP || e->mem & (1ull << e->last.mem));
		*(e->last.op == MDL_MAP_MAP ? &e->maps : &e->unmaps) += 1;
	}
	CHECK_EQ(mdl_ipc_send(e->map, &done, NULL, 0), 0);
}

/* Whether a message was there. */
static bool take(int link, union any *m, int *ret_fd)
{
	int fds[MDL_IPC_MAX_FDS], err;
	size_t nfds;

	if (link < 0)
		return false;
	err = mdl_ipc_recv(link, m, sizeof(*m), fds, &nfds);
	CHECK(err == 0 || err == -EAGAIN || err == -EPIPE);
	if (err)
		return false;
	CHECK(nfds <= 1);
	*ret_fd = nfds ? fds[0] : -1;
	return true;
}

static void take_time(struct fake *f)
{
	const struct timespec ts = { .tv_nsec = atomic_load(&f->close_ms) * 1000000l };

	pthread_mutex_unlock(&f->lock);
	nanosleep(&ts, NULL);
	pthread_mutex_lock(&f->lock);
}

static void *serve(void *arg)
{
	struct fake *f = arg;

	for (;;) {
		struct pollfd p[2 + 2 * FAKE_CONTEXTS] = { { f->stop, POLLIN, 0 },
							   { f->link, POLLIN, 0 } };
		nfds_t n = 2;
		union any m;
		int fd;

		for (int i = 0; i < FAKE_CONTEXTS; i++) {
			if (!f->exec[i].there)
				continue;
			p[n++] = (struct pollfd) { f->exec[i].control, POLLIN, 0 };
			p[n++] = (struct pollfd) { f->exec[i].map, POLLIN, 0 };
		}
		poll(p, n, -1);
		pthread_mutex_lock(&f->lock);
		/* Executors first: what the device told one before it ended it counts. */
		for (int i = 0; i < FAKE_CONTEXTS; i++) {
			struct fake_exec *e = &f->exec[i];

			while (e->there && take(e->control, &m, &fd))
				control_message(f, e, &m, fd);
			while (e->there && take(e->map, &m, &fd))
				map_message(f, e, &m, fd);
		}
		while (take(f->link, &m, &fd)) {
			if (m.hdr.type == MDL_IPC_CTX_CLOSE && atomic_load(&f->close_ms))
				take_time(f);
			manager_message(f, &m);
		}
		pthread_mutex_unlock(&f->lock);
		if (p[0].revents)
			return NULL;
		/* A link whose device end is closed stays readable until CTX_CLOSE or CTX_KILL is there. */
		sched_yield();
	}
}

static bool is_ready(struct fake *f)
{
	return f->ready;
}

void fake_start(struct fake *f, const char *program, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char *argv[] = { (char *)program,   "--name", "test", "--channels", "4", "--contexts", "4",
			 "--compute-units", "2",      NULL };
	int link[2], listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct mdl_spawn spawn = { .path = program, .argv = argv, .nfds = 3 };

	*f = (struct fake) { .lost_error = MDL_ERR_TIMEOUT, .lock = PTHREAD_MUTEX_INITIALIZER };
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	CHECK(bind(listener, (void *)&addr, sizeof(addr)) == 0 && listen(listener, 4) == 0);
	pair(link);
	CHECK_EQ(mdl_memfd_create("vram", FAKE_VRAM, &f->vram), 0);
	spawn.fds = (int[]) { link[1], listener, f->vram };
	CHECK_EQ(mdl_sandbox_spawn(&spawn, &f->pid, &f->pidfd), 0);
	close(link[1]);
	close(listener);
	f->link = link[0];
	f->stop = eventfd(0, EFD_CLOEXEC);
	CHECK(f->stop >= 0);
	CHECK_EQ(pthread_create(&f->thread, NULL, serve, f), 0);
	fake_wait(f, is_ready, "DEVICE_READY");
}

static void end_thread(struct fake *f)
{
	CHECK_EQ(mdl_eventfd_signal(f->stop), 0);
	CHECK_EQ(pthread_join(f->thread, NULL), 0);
}

static void end_device(struct fake *f)
{
	int status;

	CHECK(waitpid(f->pid, &status, 0) == f->pid);
	CHECK_EQ(status, 0);
}

static void release(struct fake *f)
{
	for (int i = 0; i < FAKE_CONTEXTS; i++)
		if (f->exec[i].there)
			drop_exec(&f->exec[i]);
	mdl_close_fd(&f->link);
	close(f->pidfd);
	close(f->vram);
	close(f->stop);
}

void fake_end(struct fake *f)
{
	struct mdl_ipc_hdr m = { MDL_IPC_DEVICE_STOP, sizeof(m) };

	CHECK_EQ(mdl_ipc_send(f->link, &m, NULL, 0), 0);
	end_device(f);
	end_thread(f);
	release(f);
}

void fake_die(struct fake *f)
{
	end_thread(f);
	mdl_close_fd(&f->link);
	end_device(f);
	release(f);
}

void fake_wait(struct fake *f, bool (*condition)(struct fake *f), const char *what)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	uint64_t start = mdl_now_ns();

	for (;;) {
		bool yes;

		pthread_mutex_lock(&f->lock);
		yes = condition(f);
		pthread_mutex_unlock(&f->lock);
		if (yes)
			return;
		if (mdl_now_ns() - start > 15 * MDL_NS_PER_S) {
			fprintf(stderr, "# waited in vain: %s\n", what);
			_exit(1);
		}
		nanosleep(&ms, NULL);
	}
}

void fake_send(struct fake *f, uint32_t ctx, const void *msg)
{
	pthread_mutex_lock(&f->lock);
	CHECK_EQ(mdl_ipc_send(f->exec[ctx].control, msg, NULL, 0), 0);
	pthread_mutex_unlock(&f->lock);
}
