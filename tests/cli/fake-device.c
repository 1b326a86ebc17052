/* SPDX-License-Identifier: MIT */
/*
 * Stands in for medley-device in the tests of medleyd. The vGPU's name says what it does: words
 * between dots, the first for the test's use. Each word that it does not know itself names the
 * behaviour of an executor (fake-exec.c), which it asks for in a context of its own. It prints what
 * it hears, so that the test finds it in medleyd's log.
 *
 *   die      exits at once                    silent   never says that it is ready
 *   spam     breaks the protocol              wild     asks for a context out of range
 *   reopen   asks again for a lost context    close    closes each context that it gets, and opens it again, 5 times
 *   flood    never reads its link, and asks for contexts and closes them as fast as it can
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "ipc/ipc.h"
#include "tests/cli/fake.h"

static int control[64], map[64];
static const char *behaviour[64];
static int contexts;
static bool reopen;
static int closes;
static bool closing;

static void send_ctx(uint32_t type, uint32_t ctx)
{
	struct mdl_ipc_ctx m = { .hdr = { type, sizeof(m) }, .ctx = ctx };

	while (mdl_ipc_send(MDL_FD_DEVICE_LINK, &m, NULL, 0) == -EAGAIN)
		poll(NULL, 0, 1);
}

static void granted(const struct mdl_ipc_ctx *m, int fds[2])
{
	struct mdl_ipc_exec_setup setup = { .hdr = { MDL_IPC_EXEC_SETUP, sizeof(setup) },
					    .ctx = m->ctx };

	fprintf(stderr, "fake-device: granted %u error %u\n", m->ctx, m->error);
	if (m->error)
		return;
	control[m->ctx] = fds[0];
	map[m->ctx] = fds[1];
	/* The executor's behaviour travels in a field that the real one has for something else. */
	setup.compute_units = fake_behaviour(behaviour[m->ctx]);
	mdl_ipc_send(control[m->ctx], &setup, NULL, 0);
	closing = closes > 0;
	if (closing) {
		closes--;
		send_ctx(MDL_IPC_CTX_CLOSE, m->ctx);
	}
}

static void lost(const struct mdl_ipc_lost *m)
{
	fprintf(stderr, "fake-device: lost %u error %u channel %#x tag %#x\n", m->ctx, m->error,
		m->chan, m->tag);
	close(control[m->ctx]);
	close(map[m->ctx]);
	if (reopen || closing)
		send_ctx(MDL_IPC_CTX_OPEN, m->ctx);
}

static void serve(void)
{
	union {
		struct mdl_ipc_ctx ctx;
		struct mdl_ipc_lost lost;
		char bytes[MDL_IPC_MAX_BYTES];
	} msg;
	int fds[MDL_IPC_MAX_FDS];
	size_t nfds;

	for (;;) {
		if (mdl_ipc_recv(MDL_FD_DEVICE_LINK, &msg, sizeof(msg), fds, &nfds) == -EAGAIN) {
			struct pollfd p = { .fd = MDL_FD_DEVICE_LINK, .events = POLLIN };

			poll(&p, 1, -1);
			if (p.revents & POLLHUP && !(p.revents & POLLIN))
				exit(0);
			continue;
		}
		switch (msg.ctx.hdr.type) {
		case MDL_IPC_CTX_GRANTED:
			granted(&msg.ctx, fds);
			break;
		case MDL_IPC_CTX_LOST:
			lost(&msg.lost);
			break;
		case MDL_IPC_DEVICE_PING:
			msg.ctx.hdr.type = MDL_IPC_DEVICE_PONG;
			mdl_ipc_send(MDL_FD_DEVICE_LINK, &msg, NULL, 0);
			break;
		default:
			exit(1);
		}
	}
}

static void check_descriptors(uint64_t vram)
{
	struct stat st;
	int on = 0;
	socklen_t len = sizeof(on);

	if (getsockopt(MDL_FD_DEVICE_LISTEN, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) || !on)
		fprintf(stderr, "fake-device: no listening socket\n");
	if (fstat(MDL_FD_DEVICE_VRAM, &st) || (uint64_t)st.st_size < vram)
		fprintf(stderr, "fake-device: no VRAM\n");
	for (int fd = MDL_FD_DEVICE_VRAM + 1; fd < 1024; fd++)
		if (!fstat(fd, &st))
			fprintf(stderr, "fake-device: descriptor %d is open\n", fd);
}

int main(int argc, char **argv)
{
	struct mdl_ipc_hdr ready = { MDL_IPC_DEVICE_READY, sizeof(ready) };
	struct mdl_ipc_vmm_state vmm = { { MDL_IPC_VMM_STATE, sizeof(vmm) }, 1, 4711 };
	bool silent = false;
	char *name = NULL;

	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], "--name"))
			name = argv[i + 1];
	if (!name)
		return 2;
	check_descriptors(256ull << 20);
	strtok(name, ".");
	for (char *w; (w = strtok(NULL, "."));) {
		if (!strcmp(w, "die"))
			return 3;
		else if (!strcmp(w, "silent"))
			silent = true;
		else if (!strcmp(w, "reopen"))
			reopen = true;
		else if (!strcmp(w, "close"))
			closes = 5;
		else if (!strcmp(w, "spam"))
			send(MDL_FD_DEVICE_LINK, "nonsense", 8, MSG_NOSIGNAL);
		else if (!strcmp(w, "wild"))
			send_ctx(MDL_IPC_CTX_OPEN, 4000000000u);
		else if (!strcmp(w, "vmm"))
			behaviour[63] = w;
		else if (!strcmp(w, "flood"))
			for (;;) {
				send_ctx(MDL_IPC_CTX_OPEN, 0);
				send_ctx(MDL_IPC_CTX_CLOSE, 0);
			}
		else
			behaviour[contexts++] = w;
	}
	if (!silent)
		mdl_ipc_send(MDL_FD_DEVICE_LINK, &ready, NULL, 0);
	if (behaviour[63])
		mdl_ipc_send(MDL_FD_DEVICE_LINK, &vmm, NULL, 0);
	for (int i = 0; i < contexts; i++)
		send_ctx(MDL_IPC_CTX_OPEN, (uint32_t)i);
	serve();
}
