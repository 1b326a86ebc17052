/* SPDX-License-Identifier: MIT */
/*
 * Stands in for medley-exec in the tests of medleyd: holds leases well or badly, as EXEC_SETUP
 * says.
 *
 *   idle     never wants anything
 *   obey     always has work; gives back when asked; counts honestly
 *   hog      always has work; never gives back; counts honestly
 *   nap      works 1 ms, then has nothing to do for 20 ms
 *   light    has 200 us of work every 5 ms; puts its longest wait for the lease in compile_ns
 *   liar     as hog, and claims that it was never busy
 *   sneak    works without a lease and without asking for one
 *   sip      as sneak, but only a tenth of the time
 *   thief    lets a process that it has work for it, if exec.mode is "helper"
 *   doze     holds its lease asleep, claims nothing, and gives back when asked
 *   stuck    as hog, and says that all of it is one packet (of channel 5, tagged 0x77)
 *   late     always has work; says that it has none, for a moment, just before each turn's end
 *   flip     always has work; while it has no lease it says, again and again, that it has none and that it has
 *   cheat    as hog, and says all the time that a new packet has begun
 *   brief    has 2 us of work, again and again, each piece once the one before is done: a guest that waits for each packet
 *   trance   stands still in the kernel while it has the lease, where no stop reaches it; a child gives the lease back, late
 *   crash    dies of a stray access
 *   wants    signals WANT without end
 *   garbage  writes nonsense all over its page
 *
 * A file exec.mode beside the program changes how it starts: "die" exits, "mute" is never ready,
 * "slow" takes a second, "helper" starts a second process, as the real one does.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/util.h"
#include "ipc/ipc.h"
#include "ipc/lease.h"
#include "tests/cli/fake.h"

#define US	1000ull
#define FOREVER (1ull << 62)

static struct mdl_lease *page;
static uint32_t behaviour;
static int helper = -1; /* a byte here makes the second process work */

static bool move(uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&page->state, &from, to);
}

static void spin(uint64_t ns)
{
	uint64_t end = mdl_now_ns() + ns;

	while (mdl_now_ns() < end)
		;
}

static void doze(uint64_t ns)
{
	const struct timespec ts = { .tv_nsec = (long)ns };

	nanosleep(&ts, NULL);
}

static void acquire(void)
{
	atomic_store(&page->want, 1);
	while (!move(MDL_LEASE_IDLE, MDL_LEASE_BUSY)) {
		struct pollfd p = { .fd = MDL_FD_EXEC_GRANT, .events = POLLIN };

		mdl_eventfd_signal(MDL_FD_EXEC_WANT);
		if (move(MDL_LEASE_IDLE, MDL_LEASE_BUSY))
			break;
		poll(&p, 1, -1);
		mdl_eventfd_take(MDL_FD_EXEC_GRANT);
	}
	atomic_store(&page->busy_since_ns, mdl_now_ns());
}

/* Works for ns, or until asked if it obeys. Returns how much is left. */
static uint64_t work(uint64_t ns, bool obey, bool honest)
{
	uint64_t start = mdl_now_ns(), left = ns;

	if (!honest)
		atomic_store(&page->busy_since_ns, 0);
	while (left && !(obey && atomic_load(&page->state) == MDL_LEASE_YIELD)) {
		uint64_t step = mdl_min_u64(left, 20 * US);

		if (behaviour == FAKE_CHEAT)
			atomic_store(&page->packet_since_ns, mdl_now_ns());
		(behaviour == FAKE_DOZE ? doze : spin)(step);
		left -= step;
	}
	if (honest)
		atomic_fetch_add(&page->busy_ns, mdl_now_ns() - start);
	atomic_store(&page->busy_since_ns, 0);
	atomic_fetch_add(&page->commands, 1);
	if (!left)
		atomic_store(&page->want, 0);
	if (move(MDL_LEASE_BUSY, MDL_LEASE_IDLE)) {
		if (!left && atomic_load(&page->contended))
			mdl_eventfd_signal(MDL_FD_EXEC_WANT);
	} else {
		move(MDL_LEASE_YIELD, MDL_LEASE_NONE);
		mdl_eventfd_signal(MDL_FD_EXEC_WANT);
	}
	return left;
}

static void run(uint64_t ns, bool obey, bool honest)
{
	while (ns) {
		acquire();
		ns = work(ns, obey, honest);
	}
}

static void light(void)
{
	uint64_t t0, waited;

	for (;;) {
		poll(NULL, 0, 5);
		t0 = mdl_now_ns();
		acquire();
		waited = mdl_now_ns() - t0;
		if (waited > atomic_load(&page->compile_ns))
			atomic_store(&page->compile_ns, waited);
		if (work(200 * US, true, true))
			run(200 * US, true, true);
	}
}

static void flip(void)
{
	for (;;) {
		atomic_store(&page->want, 1);
		mdl_eventfd_signal(MDL_FD_EXEC_WANT);
		doze(30 * US);
		if (move(MDL_LEASE_IDLE, MDL_LEASE_BUSY)) {
			atomic_store(&page->busy_since_ns, mdl_now_ns());
			work(FOREVER, true, true);
			continue;
		}
		atomic_store(&page->want, 0);
		mdl_eventfd_signal(MDL_FD_EXEC_WANT);
		doze(30 * US);
	}
}

/*
 * Shares the memory of its parent, which waits for it in the kernel and stops there only when it is gone. Asked, it gives back when the
 * manager waits no longer: the parent stops without lease, and with nothing to do.
 */
static int trance_child(void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (atomic_load(&page->state) == MDL_LEASE_BUSY)
		spin(20 * US);
	spin(1000 * US);
	atomic_store(&page->want, 0);
	move(MDL_LEASE_YIELD, MDL_LEASE_NONE);
	mdl_eventfd_signal(MDL_FD_EXEC_WANT);
	_exit(0);
}

static void trance(void)
{
	static char stack[65536] __attribute__((aligned(16)));

	for (;;) {
		acquire();
		if (clone(trance_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) < 0)
			exit(7);
		wait(NULL);
		move(MDL_LEASE_BUSY, MDL_LEASE_IDLE);
	}
}

static void start_helper(void)
{
	int p[2];
	char byte;

	if (pipe(p))
		exit(5);
	if (!fork()) {
		close(p[1]);
		if (read(p[0], &byte, 1) == 1)
			spin(FOREVER);
		_exit(0);
	}
	close(p[0]);
	helper = p[1];
}

static void behave(void)
{
	volatile int *volatile nowhere = NULL;
	uint32_t noise = 1;

	switch (behaviour) {
	case FAKE_OBEY:
		run(FOREVER, true, true);
		break;
	case FAKE_HOG:
		run(FOREVER, false, true);
		break;
	case FAKE_LIAR:
		run(FOREVER, false, false);
		break;
	case FAKE_DOZE:
		run(FOREVER, true, false);
		break;
	case FAKE_LATE:
		for (;;)
			run(1900 * US, true, false);
	case FAKE_STUCK:
	case FAKE_CHEAT:
		atomic_store(&page->packet, 5ull << 32 | 0x77);
		atomic_store(&page->packet_since_ns, mdl_now_ns());
		run(FOREVER, false, true);
		break;
	case FAKE_LIGHT:
		light();
		break;
	case FAKE_FLIP:
		flip();
		break;
	case FAKE_TRANCE:
		trance();
		break;
	case FAKE_BRIEF:
		for (;;)
			run(2 * US, true, true);
	case FAKE_SNEAK:
		spin(FOREVER);
		break;
	case FAKE_SIP:
		for (;;) {
			spin(8000 * US);
			poll(NULL, 0, 72);
		}
	case FAKE_THIEF:
		if (write(helper, "", 1) != 1)
			exit(6);
		break;
	case FAKE_CRASH:
		*nowhere = 1;
		break;
	case FAKE_NAP:
		for (;;) {
			run(1000 * US, true, true);
			poll(NULL, 0, 20);
		}
	case FAKE_WANTS:
		for (;;)
			mdl_eventfd_signal(MDL_FD_EXEC_WANT);
	case FAKE_GARBAGE:
		for (;;) {
			for (size_t i = 0; i < sizeof(*page) / 4; i++)
				((volatile uint32_t *)page)[i] = noise =
					noise * 1664525u + 1013904223u;
			mdl_eventfd_signal(MDL_FD_EXEC_WANT);
			spin(20 * US);
		}
	default:
		break;
	}
}

static void start_mode(void)
{
	char path[512], mode[16] = "";
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
	FILE *f;

	if (n < 0)
		return;
	path[n] = 0;
	strcpy(strrchr(path, '/'), "/exec.mode");
	f = fopen(path, "r");
	if (!f)
		return;
	if (!fgets(mode, sizeof(mode), f))
		mode[0] = 0;
	fclose(f);
	if (!strcmp(mode, "die"))
		exit(4);
	if (!strcmp(mode, "mute"))
		for (;;)
			pause();
	if (!strcmp(mode, "slow"))
		poll(NULL, 0, 1000);
	if (!strcmp(mode, "helper"))
		start_helper();
}

int main(int argc, char **argv)
{
	struct mdl_ipc_hdr ready = { MDL_IPC_EXEC_READY, sizeof(ready) };
	struct pollfd p = { .fd = MDL_FD_EXEC_CONTROL, .events = POLLIN };
	union {
		struct mdl_ipc_exec_setup setup;
		char bytes[MDL_IPC_MAX_BYTES];
	} msg;
	int fds[MDL_IPC_MAX_FDS];
	struct stat st;
	size_t nfds;

	for (int fd = MDL_FD_EXEC_WANT + 1; fd < 1024; fd++)
		if (!fstat(fd, &st))
			fprintf(stderr, "fake-exec: descriptor %d is open\n", fd);
	start_mode();
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, MDL_FD_EXEC_LEASE, 0);
	if (page == MAP_FAILED)
		return 2;
	mdl_ipc_send(MDL_FD_EXEC_CONTROL, &ready, NULL, 0);
	do {
		poll(&p, 1, -1);
		if (mdl_ipc_recv(MDL_FD_EXEC_CONTROL, &msg, sizeof(msg), fds, &nfds))
			return 0;
	} while (msg.setup.hdr.type != MDL_IPC_EXEC_SETUP);
	behaviour = msg.setup.compute_units;
	behave();
	poll(&p, 1, -1);
	for (;;)
		pause();
}
