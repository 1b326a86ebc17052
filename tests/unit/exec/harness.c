/* SPDX-License-Identifier: MIT */
/* See harness.h. The executor's path comes in the environment variable MEDLEY_EXEC. */
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "base/fd.h"
#include "base/sandbox.h"
#include "base/util.h"
#include "tests/unit/check.h"

#define TEST_UID	"61000"	/* any that is nobody's; the companion gets 61001 */

uint64_t h_now_ns(void)
{
	return mdl_now_ns();
}

static void send_msg(int link, const void *msg, int fd)
{
	CHECK_EQ(mdl_ipc_send(link, msg, &fd, fd >= 0), 0);
}

static void recv_msg(int link, void *buf, int ms)
{
	int fds[MDL_IPC_MAX_FDS];
	size_t nfds = 0;

	CHECK_EQ(mdl_wait_readable(link, ms), 1);
	CHECK_EQ(mdl_ipc_recv(link, buf, MDL_IPC_MAX_BYTES, fds, &nfds), 0);
	CHECK_EQ(nfds, 0);
}

/* ---- The mapper ---- */

static int order(struct h *h, const void *msg, int fd)
{
	union {
		char bytes[MDL_IPC_MAX_BYTES];
		struct mdl_ipc_map_done done;
	} reply;

	send_msg(h->map, msg, fd);
	recv_msg(h->map, &reply, H_WAIT_MS);
	CHECK_EQ(reply.done.hdr.type, MDL_IPC_MAP_DONE);
	return (int)reply.done.error;
}

int h_mem_add(struct h *h, uint32_t mem, int fd)
{
	struct mdl_ipc_mem msg = { .hdr = { MDL_IPC_MEM_ADD, sizeof(msg) }, .mem = mem };

	return order(h, &msg, fd);
}

int h_mem_del(struct h *h, uint32_t mem)
{
	struct mdl_ipc_mem msg = { .hdr = { MDL_IPC_MEM_DEL, sizeof(msg) }, .mem = mem };

	return order(h, &msg, -1);
}

static int order_map(struct h *h, const struct mdl_map_entry *e)
{
	struct mdl_ipc_map msg = { .count = 1 };

	msg.hdr.type = MDL_IPC_MAP;
	msg.hdr.bytes = offsetof(struct mdl_ipc_map, entry) + sizeof(*e);
	msg.entry[0] = *e;
	return order(h, &msg, -1);
}

int h_map(struct h *h, uint64_t va, uint64_t bytes, uint32_t mem, uint64_t offset, bool writable)
{
	return order_map(h, &(struct mdl_map_entry){
		.op = MDL_MAP_MAP,
		.prot = MDL_MAP_PROT_READ | (writable ? MDL_MAP_PROT_WRITE : 0),
		.va = va, .bytes = bytes, .mem = mem, .offset = offset,
	});
}

int h_unmap(struct h *h, uint64_t va, uint64_t bytes)
{
	return order_map(h, &(struct mdl_map_entry){ .op = MDL_MAP_UNMAP, .va = va, .bytes = bytes });
}

/* ---- Control link ---- */

void h_expect(struct h *h, uint32_t type, void *msg, size_t bytes)
{
	union {
		char bytes[MDL_IPC_MAX_BYTES];
		struct mdl_ipc_hdr hdr;
	} buf;

	recv_msg(h->control, &buf, H_WAIT_MS);
	if (buf.hdr.type == MDL_IPC_CTX_FAULT && type != MDL_IPC_CTX_FAULT) {
		const struct mdl_ipc_fault *f = (const struct mdl_ipc_fault *)&buf;

		fprintf(stderr, "# executor faulted: error %u va 0x%llx access %u info %u chan %u tag %u\n", f->error,
			(unsigned long long)f->va, f->access, f->info, f->chan, f->tag);
	}
	CHECK_EQ(buf.hdr.type, type);
	CHECK_EQ(buf.hdr.bytes, bytes);
	memcpy(msg, &buf, bytes);
}

struct mdl_ipc_fault h_expect_fault(struct h *h)
{
	struct mdl_ipc_fault f;
	siginfo_t info = { 0 };

	h_expect(h, MDL_IPC_CTX_FAULT, &f, sizeof(f));
	CHECK_EQ(waitid(P_PIDFD, (id_t)h->pidfd, &info, WEXITED | WNOWAIT), 0);
	return f;
}

struct mdl_ipc_fault h_expect_error(struct h *h, uint32_t chan)
{
	struct mdl_ipc_fault f;

	h_expect(h, MDL_IPC_CHAN_ERROR, &f, sizeof(f));
	CHECK_EQ(f.chan, chan);
	/* The page tells which packet; its code is the device's to write, when registers and fault ring have it too. */
	CHECK_EQ(h->user[chan]->error_get, h->user[chan]->get);
	CHECK_EQ(h->user[chan]->error, MDL_ERR_NONE);
	return f;
}

static uint64_t ring_offset(uint32_t chan)
{
	return (uint64_t)chan * (sizeof(struct mdl_hw_packet) << H_RING_LOG2);
}

void h_chan_open(struct h *h, uint32_t chan)
{
	struct mdl_ipc_chan msg = {
		.hdr = { MDL_IPC_CHAN_OPEN, sizeof(msg) },
		.chan = chan,
		.ring_log2 = H_RING_LOG2,
		.ring_va = H_VRAM_VA + ring_offset(chan),
		.vector = chan,
	};

	memset(h->user[chan], 0, sizeof(*h->user[chan]));
	h->put[chan] = 0;
	CHECK_EQ(h_map(h, MDL_USER_AREA_BASE + chan * 4096ull, 4096, MDL_MEM_USER, chan * 4096ull, true), 0);
	send_msg(h->control, &msg, h->doorbell[chan]);
}

void h_chan_close(struct h *h, uint32_t chan)
{
	struct mdl_ipc_chan msg = { .hdr = { MDL_IPC_CHAN_CLOSE, sizeof(msg) }, .chan = chan }, reply;

	send_msg(h->control, &msg, -1);
	h_expect(h, MDL_IPC_CHAN_CLOSED, &reply, sizeof(reply));
	CHECK_EQ(reply.chan, chan);
	CHECK_EQ(h_unmap(h, MDL_USER_AREA_BASE + chan * 4096ull, 4096), 0);
}

/* ---- Life ---- */

static int memfd(const char *name, uint64_t bytes, void *ret_ptr)
{
	int fd;

	CHECK_EQ(mdl_memfd_create(name, bytes, &fd), 0);
	*(void **)ret_ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(*(void **)ret_ptr != MAP_FAILED);
	return fd;
}

static int link_pair(int *ret_theirs)
{
	int p[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p), 0);
	*ret_theirs = p[1];
	return p[0];
}

static void spawn(struct h *h, int lease_fd)
{
	const char *path = getenv("MEDLEY_EXEC");
	char *argv[] = { (char *)"medley-exec", (char *)"--compute-units", (char *)"2", NULL, NULL, NULL };
	int control, map, err;
	struct mdl_spawn s = { .path = path, .argv = argv, .nfds = 5, .flags = MDL_SPAWN_ISOLATE };

	CHECK(path);
	if (geteuid() == 0) {
		argv[3] = (char *)"--uid";
		argv[4] = (char *)TEST_UID;
	}
	h->control = link_pair(&control);
	h->map = link_pair(&map);
	/* The mapper blocks in recvmsg: its end is a blocking one. */
	CHECK_EQ(fcntl(map, F_SETFL, 0), 0);
	s.fds = (const int[]){ control, map, lease_fd, h->grant, h->want };
	err = mdl_sandbox_spawn(&s, &h->pid, &h->pidfd);
	if (err == -EPERM || err == -ENOSPC)
		check_skip("this machine does not let us make namespaces");
	CHECK_EQ(err, 0);
	close(control);
	close(map);
}

void h_start(struct h *h, uint32_t chans)
{
	struct mdl_ipc_exec_setup setup = {
		.hdr = { MDL_IPC_EXEC_SETUP, sizeof(setup) }, .ctx = 5, .compute_units = 2, .epoch_ns = 1000,
	};
	struct mdl_ipc_hdr ready;
	char *user;
	int fd;

	memset(h, 0, sizeof(*h));
	h->grant = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->want = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fd = memfd("lease", 4096, &h->lease);
	atomic_store(&h->lease->state, MDL_LEASE_IDLE);
	h->vram_fd = memfd("vram", H_VRAM_BYTES, &h->vram);
	h->user_fd = memfd("user", H_CHANS * 4096, &user);
	h->heap = H_HEAP;
	spawn(h, fd);
	close(fd);
	h_expect(h, MDL_IPC_EXEC_READY, &ready, sizeof(ready));
	send_msg(h->control, &setup, -1);
	CHECK_EQ(h_mem_add(h, MDL_MEM_VRAM, h->vram_fd), 0);
	CHECK_EQ(h_mem_add(h, MDL_MEM_USER, h->user_fd), 0);
	CHECK_EQ(h_map(h, H_VRAM_VA, H_VRAM_BYTES, MDL_MEM_VRAM, 0, true), 0);
	for (uint32_t i = 0; i < H_CHANS; i++) {
		h->user[i] = (struct mdl_hw_user_page *)(user + i * 4096);
		h->doorbell[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	for (uint32_t i = 0; i < chans; i++)
		h_chan_open(h, i);
}

void h_stop(struct h *h)
{
	int status;

	close(h->control);
	CHECK_EQ(mdl_wait_readable(h->pidfd, H_WAIT_MS), 1);
	CHECK_EQ(waitpid(h->pid, &status, 0), h->pid);
	/* The mapper had the other end of the map link: it is gone, too. */
	CHECK_EQ(mdl_wait_readable(h->map, H_WAIT_MS), 1);
	CHECK_EQ(recv(h->map, &status, sizeof(status), MSG_DONTWAIT), 0);
}

/* ---- Rings ---- */

uint64_t h_alloc(struct h *h, uint64_t bytes)
{
	uint64_t at = h->heap;

	h->heap = (at + bytes + 63) & ~63ull;
	CHECK(h->heap <= H_VRAM_BYTES);
	return H_VRAM_VA + at;
}

void *h_ptr(struct h *h, uint64_t va)
{
	CHECK(va >= H_VRAM_VA && va < H_VRAM_VA + H_VRAM_BYTES);
	return h->vram + (va - H_VRAM_VA);
}

void h_push(struct h *h, uint32_t chan, const struct mdl_hw_packet *pkt)
{
	struct mdl_hw_packet *ring = (struct mdl_hw_packet *)(h->vram + ring_offset(chan));
	struct mdl_hw_user_page *user = h->user[chan];

	ring[h->put[chan] & ((1u << H_RING_LOG2) - 1)] = *pkt;
	atomic_store_explicit((_Atomic uint64_t *)&user->put, ++h->put[chan], memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load((_Atomic uint32_t *)&user->doorbell_wanted))
		mdl_eventfd_signal(h->doorbell[chan]);
}

bool h_done(struct h *h, uint32_t chan, int ms)
{
	uint64_t end = mdl_now_ns() + (uint64_t)ms * MDL_NS_PER_MS;
	struct pollfd p = { .fd = h->control, .events = POLLIN };

	for (uint32_t n = 0;; n++) {
		if (atomic_load_explicit((_Atomic uint64_t *)&h->user[chan]->get, memory_order_acquire) == h->put[chan])
			return true;
		if (n < 2000)
			continue;
		if (mdl_now_ns() > end)
			return false;
		/* News on the control link are an error or the end: do not wait for nothing. */
		if (poll(&p, 1, 1) == 1)
			return false;
	}
}

void h_run(struct h *h, uint32_t chan, const struct mdl_hw_packet *pkt)
{
	struct mdl_ipc_fault f;

	h_push(h, chan, pkt);
	if (h_done(h, chan, H_WAIT_MS))
		return;
	if (mdl_wait_readable(h->control, 0) == 1) {
		h_expect(h, MDL_IPC_CHAN_ERROR, &f, sizeof(f));
		fprintf(stderr, "# channel error %u, info %u\n", f.error, f.info);
	}
	CHECK(!"the packet completes");
}

const struct mdl_hw_program_result *h_load(struct h *h, uint32_t handle, const char *source, const char *options,
					    const char **ret_log)
{
	size_t source_bytes = strlen(source), options_bytes = strlen(options);
	uint64_t src = h_alloc(h, source_bytes), opt = h_alloc(h, options_bytes + 1), log = h_alloc(h, 65536);
	uint64_t load_va = h_alloc(h, sizeof(struct mdl_hw_program_load));
	uint64_t res = h_alloc(h, sizeof(struct mdl_hw_program_result) + 16 * sizeof(struct mdl_hw_kernel_info));
	struct mdl_hw_program_load *load = h_ptr(h, load_va);
	struct mdl_hw_packet pkt = { .opcode = MDL_OP_LOAD_PROGRAM };

	memcpy(h_ptr(h, src), source, source_bytes);
	memcpy(h_ptr(h, opt), options, options_bytes);
	*load = (struct mdl_hw_program_load){
		.source_va = src, .source_bytes = source_bytes, .options_va = opt, .options_bytes = (uint32_t)options_bytes,
		.log_va = log, .log_bytes = 65536, .result_va = res, .max_kernels = 16,
	};
	pkt.program.load_va = load_va;
	pkt.program.program = handle;
	h_run(h, 0, &pkt);
	if (ret_log)
		*ret_log = h_ptr(h, log);
	return h_ptr(h, res);
}

void h_load_ok(struct h *h, uint32_t handle, const char *source)
{
	const char *log;
	const struct mdl_hw_program_result *r = h_load(h, handle, source, "", &log);

	if (r->status)
		fprintf(stderr, "# status %u, log: %s\n", r->status, log);
	CHECK_EQ(r->status, MDL_PROGRAM_OK);
}

struct h_args h_args(struct h *h)
{
	struct h_args a = { .va = h_alloc(h, sizeof(struct mdl_hw_args) + MDL_ARGS_MAX * sizeof(struct mdl_hw_arg)) };

	a.a = h_ptr(h, a.va);
	memset(a.a, 0, sizeof(*a.a));
	return a;
}

void h_arg_buffer(struct h_args *a, uint64_t va)
{
	a->a->arg[a->a->nargs++] = (struct mdl_hw_arg){ .kind = MDL_ARG_BUFFER, .size = 8, .value = va };
}

void h_arg_value(struct h_args *a, const void *value, uint32_t bytes)
{
	struct mdl_hw_arg arg = { .kind = MDL_ARG_VALUE, .size = bytes };

	CHECK(bytes <= 8);
	memcpy(&arg.value, value, bytes);
	a->a->arg[a->a->nargs++] = arg;
}

void h_arg_local(struct h_args *a, uint32_t bytes)
{
	a->a->arg[a->a->nargs++] = (struct mdl_hw_arg){ .kind = MDL_ARG_LOCAL, .size = bytes };
}

struct mdl_hw_packet h_dispatch(uint32_t program, uint16_t kernel, uint32_t global, uint16_t local, const struct h_args *args)
{
	return (struct mdl_hw_packet){
		.opcode = MDL_OP_DISPATCH,
		.tag = 77,
		.dispatch = {
			.program = program, .kernel = kernel, .dims = 1, .global = { global, 1, 1 },
			.local = { local, local ? 1 : 0, local ? 1 : 0 }, .args_va = args ? args->va : 0,
		},
	};
}
