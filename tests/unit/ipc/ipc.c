/* SPDX-License-Identifier: MIT */
/*
 * The messages between the processes: every type with its right size and descriptors, with others, and what a broken or hostile
 * peer may put on the link instead. The expected table is written out here a second time on purpose.
 */
#include "ipc/ipc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/util.h"
#include "tests/unit/check.h"

static const struct { uint32_t type; size_t bytes, fds_min, fds_max; } expected[] = {
	{ MDL_IPC_CTX_OPEN, 16, 0, 0 }, { MDL_IPC_CTX_CLOSE, 16, 0, 0 }, { MDL_IPC_CTX_KILL, 16, 0, 0 },
	{ MDL_IPC_VMM_STATE, 16, 0, 0 }, { MDL_IPC_FAULT_NOTE, 24, 0, 0 }, { MDL_IPC_DEVICE_READY, 8, 0, 0 },
	{ MDL_IPC_CTX_GRANTED, 16, 2, 2 }, { MDL_IPC_CTX_LOST, 20, 0, 0 }, { MDL_IPC_DEVICE_STOP, 8, 0, 0 },
	{ MDL_IPC_DEVICE_PING, 8, 0, 0 }, { MDL_IPC_DEVICE_PONG, 8, 0, 0 },
	{ MDL_IPC_EXEC_SETUP, 24, 0, 0 }, { MDL_IPC_CHAN_OPEN, 32, 1, 1 }, { MDL_IPC_CHAN_CLOSE, 32, 0, 0 },
	{ MDL_IPC_IRQ_SET, 16, 0, 1 }, { MDL_IPC_EXEC_READY, 8, 0, 0 }, { MDL_IPC_CHAN_CLOSED, 32, 0, 0 },
	{ MDL_IPC_CHAN_ERROR, 32, 0, 0 }, { MDL_IPC_CTX_FAULT, 32, 0, 0 }, { MDL_IPC_MEM_ADD, 16, 1, 1 },
	{ MDL_IPC_MEM_DEL, 16, 0, 0 }, { MDL_IPC_MAP_DONE, 16, 0, 0 },
};

static size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void link_pair(int sv[2])
{
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
}

/* Sends past mdl_ipc_send(), as a broken peer would. */
static void send_raw(int link, const void *data, size_t len, const int *fds, size_t nfds)
{
	union { struct cmsghdr h; char b[CMSG_SPACE(32 * sizeof(int))]; } control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds) {
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&control.h), fds, nfds * sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	CHECK_EQ(sendmsg(link, &mh, MSG_NOSIGNAL), len);
}

static void every_type(void)
{
	union { struct mdl_ipc_hdr hdr; uint8_t b[MDL_IPC_MAX_BYTES]; } m, got;
	int sv[2], fds[MDL_IPC_MAX_FDS], in[MDL_IPC_MAX_FDS];
	size_t nfds, before;

	link_pair(sv);
	for (size_t i = 0; i < MDL_IPC_MAX_FDS; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	before = count_fds();
	for (size_t i = 0; i < MDL_ARRAY_SIZE(expected); i++) {
		for (size_t bytes = 8; bytes <= 64; bytes += 4) {
			for (size_t n = 0; n <= MDL_IPC_MAX_FDS; n++) {
				bool ok = bytes == expected[i].bytes && n >= expected[i].fds_min && n <= expected[i].fds_max;

				memset(&m, 0, sizeof(m));
				m.hdr = (struct mdl_ipc_hdr){ expected[i].type, (uint32_t)bytes };
				CHECK_EQ(mdl_ipc_send(sv[0], &m, fds, n), ok ? 0 : -EINVAL);
				if (!ok)
					send_raw(sv[0], &m, bytes, fds, n);	/* and the receiver does not take it either */
				CHECK_EQ(mdl_ipc_recv(sv[1], &got, sizeof(got), in, &nfds), ok ? 0 : -EPROTO);
				if (!ok) {
					CHECK_EQ(count_fds(), before);
					continue;
				}
				CHECK_EQ(nfds, n);
				CHECK(!memcmp(&got, &m, bytes));
				while (nfds) {
					CHECK(fcntl(in[--nfds], F_GETFD) & FD_CLOEXEC);
					close(in[nfds]);
				}
			}
		}
		CHECK(strcmp(mdl_ipc_name(expected[i].type), "unknown"));
	}
	CHECK_EQ(count_fds(), before);
}

static void unknown_types(void)
{
	struct mdl_ipc_ctx m = { .hdr.bytes = sizeof(m) };
	uint8_t buf[MDL_IPC_MAX_BYTES];
	int sv[2], in[MDL_IPC_MAX_FDS];
	size_t nfds;

	link_pair(sv);
	for (uint32_t type = 0; type < 300; type++) {
		bool known = type == MDL_IPC_MAP;

		for (size_t i = 0; i < MDL_ARRAY_SIZE(expected); i++)
			known |= expected[i].type == type;
		if (known)
			continue;
		m.hdr.type = type == 299 ? UINT32_MAX : type;
		CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), -EINVAL);
		send_raw(sv[0], &m, sizeof(m), NULL, 0);
		CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EPROTO);
		CHECK_STR(mdl_ipc_name(m.hdr.type), "unknown");
	}
}

static void granted(void)
{
	struct mdl_ipc_ctx m = { .hdr = { MDL_IPC_CTX_GRANTED, sizeof(m) }, .error = 12 };
	int sv[2];

	link_pair(sv);
	CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), 0);	/* refused: no links */
	CHECK_EQ(mdl_ipc_send(sv[0], &m, sv, 1), -EINVAL);
	CHECK_EQ(mdl_ipc_send(sv[0], &m, sv, 2), -EINVAL);
	m.error = 0;
	CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), -EINVAL);
	CHECK_EQ(mdl_ipc_send(sv[0], &m, sv, 2), 0);
}

static void map_batches(void)
{
	struct mdl_ipc_map m = { .hdr.type = MDL_IPC_MAP };
	uint8_t buf[MDL_IPC_MAX_BYTES];
	int sv[2], in[MDL_IPC_MAX_FDS];
	size_t nfds;

	link_pair(sv);
	for (uint32_t count = 0; count <= MDL_MAP_BATCH + 1; count++) {
		for (uint32_t carried = 0; carried <= MDL_MAP_BATCH; carried++) {
			bool ok = count == carried && count;

			m.count = count;
			m.hdr.bytes = (uint32_t)(16 + carried * sizeof(m.entry[0]));
			CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), ok ? 0 : -EINVAL);
			if (!ok)
				send_raw(sv[0], &m, m.hdr.bytes, NULL, 0);
			CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), ok ? 0 : -EPROTO);
		}
	}
	m.count = UINT32_MAX / sizeof(m.entry[0]) + 2;	/* count * size wraps */
	m.hdr.bytes = 16 + (uint32_t)sizeof(m.entry[0]);
	CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), -EINVAL);
}

static void broken_peers(void)
{
	struct mdl_ipc_hdr m = { MDL_IPC_DEVICE_READY, sizeof(m) };
	uint8_t big[MDL_IPC_MAX_BYTES + 100] = { 0 }, buf[MDL_IPC_MAX_BYTES];
	int sv[2], in[MDL_IPC_MAX_FDS], fds[9];
	size_t nfds, before;

	link_pair(sv);
	for (size_t i = 0; i < 9; i++)
		fds[i] = sv[0];
	before = count_fds();
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EAGAIN);
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf) - 1, in, &nfds), -EINVAL);
	m.bytes = 9;	/* says one thing, is another */
	send_raw(sv[0], &m, 8, NULL, 0);
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EPROTO);
	for (size_t len = 1; len < 8; len++) {
		send_raw(sv[0], &m, len, fds, 1);
		CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EPROTO);
	}
	memcpy(big, &(struct mdl_ipc_hdr){ MDL_IPC_MAP, sizeof(big) }, 8);
	send_raw(sv[0], big, sizeof(big), fds, 2);
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EPROTO);
	m.bytes = 8;
	send_raw(sv[0], &m, 8, fds, 9);	/* more than there is room for */
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EPROTO);
	CHECK_EQ(count_fds(), before);
	m.bytes = 4;
	CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), -EINVAL);
	m.bytes = 8;
	CHECK_EQ(mdl_ipc_send(sv[0], &m, fds, 9), -EINVAL);

	CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), 0);
	close(sv[0]);
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), 0);	/* what was sent before the end still comes */
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EPIPE);
	CHECK_EQ(mdl_ipc_send(sv[1], &m, NULL, 0), -EPIPE);	/* and no SIGPIPE */
}

static void full_link(void)
{
	struct mdl_ipc_hdr m = { MDL_IPC_DEVICE_READY, sizeof(m) };
	uint8_t buf[MDL_IPC_MAX_BYTES];
	int sv[2], in[MDL_IPC_MAX_FDS], ret, sent = 0;
	size_t nfds;

	link_pair(sv);
	while (!(ret = mdl_ipc_send(sv[0], &m, NULL, 0)))
		sent++;
	CHECK_EQ(ret, -EAGAIN);
	for (; sent; sent--)
		CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), 0);
	CHECK_EQ(mdl_ipc_recv(sv[1], buf, sizeof(buf), in, &nfds), -EAGAIN);
	CHECK_EQ(mdl_ipc_send(sv[0], &m, NULL, 0), 0);
}

static const struct check_case cases[] = {
	{ "every type, size and number of descriptors", every_type },
	{ "unknown types", unknown_types },
	{ "CTX_GRANTED", granted },
	{ "MAP batches", map_batches },
	{ "broken peers", broken_peers },
	{ "a full link", full_link },
};

CHECK_MAIN(cases)
