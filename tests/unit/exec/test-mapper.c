/* SPDX-License-Identifier: MIT */
/* Orders to the mapper: what it must refuse, and what mappings do. */
#include "harness.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/util.h"
#include "tests/unit/check.h"

static void refuses(void)
{
	struct h h;
	int fd;

	h_start(&h, 1);
	/* Places outside the window and the user area: the executor's own memory, the edges, a wrap. */
	CHECK_EQ(h_map(&h, 0x10000, 4096, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, MDL_WINDOW_BASE - 4096, 8192, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, MDL_WINDOW_BASE + MDL_WINDOW_BYTES - 4096, 8192, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, MDL_WINDOW_BASE, ~0ull & ~4095ull, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, MDL_USER_AREA_BASE + MDL_USER_AREA_BYTES, 4096, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_unmap(&h, 0x400000, 4096), EINVAL);
	CHECK_EQ(h_unmap(&h, MDL_WINDOW_BASE - 4096, 4096), EINVAL);
	/* Alignment, sizes, objects. */
	CHECK_EQ(h_map(&h, H_HOLE_VA + 1, 4096, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4095, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 0, MDL_MEM_VRAM, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_VRAM, 1, true), EINVAL);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_VRAM, H_VRAM_BYTES, true), ERANGE);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 8192, MDL_MEM_VRAM, H_VRAM_BYTES - 4096, true), ERANGE);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_VRAM, ~0ull & ~4095ull, true), ERANGE);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, 9, 0, true), EINVAL);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_MAX, 0, true), EINVAL);
	CHECK_EQ(h_mem_add(&h, MDL_MEM_VRAM, h.vram_fd), EINVAL);	/* taken */
	CHECK_EQ(h_mem_add(&h, MDL_MEM_MAX, h.vram_fd), EINVAL);
	CHECK_EQ(h_mem_del(&h, 9), EINVAL);
	/* Only files are memory. */
	fd = eventfd(0, EFD_CLOEXEC);
	CHECK_EQ(h_mem_add(&h, 9, fd), EINVAL);
	close(fd);
	/* It still works, also in a batch of which one is bad: the ones before are applied. */
	{
		struct mdl_ipc_map msg = { .hdr = { .type = MDL_IPC_MAP }, .count = 3 };
		struct mdl_ipc_map_done done;
		int fds[MDL_IPC_MAX_FDS];
		char buf[MDL_IPC_MAX_BYTES];
		size_t nfds;

		for (int i = 0; i < 3; i++)
			msg.entry[i] = (struct mdl_map_entry){
				.op = i == 1 ? 9 : MDL_MAP_MAP, .prot = MDL_MAP_PROT_READ, .va = H_HOLE_VA + i * 4096ull, .bytes = 4096,
			};
		msg.hdr.bytes = offsetof(struct mdl_ipc_map, entry) + 3 * sizeof(msg.entry[0]);
		CHECK_EQ(mdl_ipc_send(h.map, &msg, NULL, 0), 0);
		CHECK_EQ(mdl_wait_readable(h.map, H_WAIT_MS), 1);
		CHECK_EQ(mdl_ipc_recv(h.map, buf, sizeof(buf), fds, &nfds), 0);
		memcpy(&done, buf, sizeof(done));
		CHECK_EQ(done.error, EINVAL);
		CHECK_EQ(done.done, 1);
	}
	h_stop(&h);
}

/* A mapping replaces what is there, may be read-only, and outlives the object's number. */
static void mappings(void)
{
	struct mdl_hw_packet p;
	uint64_t to;
	char *other;
	struct h h;
	int fd;

	h_start(&h, 1);
	to = h_alloc(&h, 4096);
	CHECK_EQ(mdl_memfd_create("ram", 1 << 20, &fd), 0);
	other = "guest memory";
	CHECK_EQ(pwrite(fd, other, 13, 8192), 13);
	strcpy((char *)h.vram + (50 << 20), "vram");
	CHECK_EQ(h_mem_add(&h, MDL_MEM_RAM_FIRST, fd), 0);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_VRAM, 50 << 20, true), 0);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_COPY, .copy = { to, H_HOLE_VA, 16 } };
	h_run(&h, 0, &p);
	CHECK_STR(h_ptr(&h, to), "vram");
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_RAM_FIRST, 8192, false), 0);
	CHECK_EQ(h_mem_del(&h, MDL_MEM_RAM_FIRST), 0);
	h_run(&h, 0, &p);
	CHECK_STR(h_ptr(&h, to), "guest memory");
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_RAM_FIRST, 8192, false), EINVAL);
	close(fd);
	h_stop(&h);
}

/* A file that grows: what is new in it can be mapped, what is not there cannot. */
static void growing(void)
{
	struct mdl_hw_packet p;
	struct h h;
	int fd;

	h_start(&h, 1);
	fd = memfd_create("ram", MFD_CLOEXEC);
	CHECK(!ftruncate(fd, 4096));
	CHECK_EQ(h_mem_add(&h, MDL_MEM_RAM_FIRST, fd), 0);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_RAM_FIRST, 4096, true), ERANGE);
	CHECK(!ftruncate(fd, 8192));
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_RAM_FIRST, 8192, true), ERANGE);
	CHECK_EQ(h_map(&h, H_HOLE_VA, 4096, MDL_MEM_RAM_FIRST, 4096, true), 0);
	CHECK_EQ(pwrite(fd, "new", 4, 4096), 4);
	p = (struct mdl_hw_packet){ .opcode = MDL_OP_COPY, .copy = { H_VRAM_VA + (50 << 20), H_HOLE_VA, 4 } };
	h_run(&h, 0, &p);
	CHECK_STR((char *)h.vram + (50 << 20), "new");
	close(fd);
	h_stop(&h);
}

/* Nonsense on the link ends the mapper, which the device sees; no order is carried out. */
static void nonsense(void)
{
	struct mdl_ipc_mem msg = { .hdr = { MDL_IPC_MEM_DEL, 8 } };
	struct h h;
	char c;

	h_start(&h, 1);
	CHECK_EQ(send(h.map, &msg, sizeof(msg), MSG_NOSIGNAL), sizeof(msg));
	CHECK_EQ(mdl_wait_readable(h.map, H_WAIT_MS), 1);
	CHECK_EQ(recv(h.map, &c, 1, MSG_DONTWAIT), 0);
	h_stop(&h);
}

static const struct check_case cases[] = {
	{ "refuses", refuses, 60 },
	{ "mappings", mappings, 60 },
	{ "growing", growing, 60 },
	{ "nonsense", nonsense, 60 },
};
CHECK_MAIN(cases)
