/* SPDX-License-Identifier: MIT */
/* Range helpers against a naive model and at the edges, descriptors, cleanup, log lines. */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/util.h"
#include "tests/unit/check.h"

/* All ranges in a space of 12 bytes, byte by byte. */
static void ranges_naive(void)
{
	for (uint64_t a = 0; a < 12; a++) {
		for (uint64_t al = 0; al < 12; al++) {
			for (uint64_t b = 0; b < 12; b++) {
				for (uint64_t bl = 0; bl < 12; bl++) {
					bool shared = false;

					for (uint64_t i = a; i < a + al; i++)
						shared |= i >= b && i < b + bl;
					CHECK_EQ(mdl_range_overlap(a, al, b, bl), shared);
					CHECK_EQ(mdl_range_in(a, al, b, bl), a >= b && a + al <= b + bl);
				}
			}
			for (uint64_t limit = 0; limit < 24; limit++)
				CHECK_EQ(mdl_range_ok(a, al, limit), a + al <= limit);
		}
	}
}

static void ranges_edge(void)
{
	const uint64_t max = UINT64_MAX;

	CHECK(!mdl_range_ok(max, 1, 4096));
	CHECK(!mdl_range_ok(1, max, 4096));
	CHECK(!mdl_range_ok(max, max, 4096));
	CHECK(!mdl_range_ok(max, 2, max));
	CHECK(mdl_range_ok(max, 0, max));
	CHECK(mdl_range_ok(0, max, max));
	CHECK(!mdl_range_ok(1, max, max));
	CHECK(!mdl_range_in(max - 1, 4, 4096, 4096));
	CHECK(!mdl_range_in(0, 1, 4096, 4096));
	CHECK(mdl_range_overlap(max, 1, max - 4095, 4096));
	CHECK(!mdl_range_overlap(max, 1, 0, 4096));
	CHECK(mdl_range_overlap(0, max, max - 1, 1));
	CHECK(!mdl_range_overlap(0, max, max, 1));
	CHECK(mdl_is_pow2(1) && mdl_is_pow2(1ull << 63) && !mdl_is_pow2(0) && !mdl_is_pow2(3) && !mdl_is_pow2(max));
	CHECK_EQ(mdl_align_up(4097, 4096), 8192);
	CHECK_EQ(mdl_align_up(4096, 4096), 4096);
	CHECK_EQ(mdl_align_down(8191, 4096), 4096);
	CHECK(mdl_is_aligned(0, 4096) && mdl_is_aligned(8192, 4096) && !mdl_is_aligned(8200, 4096));
}

static void memfd(void)
{
	struct stat st;
	int fd = -1;

	CHECK_EQ(mdl_memfd_create("test", 12345, &fd), 0);
	CHECK(!fstat(fd, &st));
	CHECK_EQ(st.st_size, 12345);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK(ftruncate(fd, 1) < 0 && errno == EPERM);
	CHECK(ftruncate(fd, 1 << 20) < 0 && errno == EPERM);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
	CHECK_EQ(write(fd, "x", 1), 1);
	close(fd);
	fd = -7;
	CHECK(mdl_memfd_create("test", UINT64_MAX, &fd) < 0);
	CHECK_EQ(fd, -7);
}

static void eventfds(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), blocking = eventfd(0, EFD_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct itimerspec soon = { .it_value.tv_nsec = 1 };
	uint64_t most = UINT64_MAX - 1;

	CHECK_EQ(mdl_eventfd_take(fd), 0);
	CHECK_EQ(mdl_eventfd_signal(fd), 0);
	CHECK_EQ(mdl_eventfd_signal(fd), 0);
	CHECK_EQ(mdl_wait_readable(fd, -1), 1);
	CHECK_EQ(mdl_eventfd_take(fd), 2);
	CHECK_EQ(mdl_wait_readable(fd, 0), 0);
	CHECK_EQ(mdl_wait_readable(fd, 20), 0);
	CHECK_EQ(write(blocking, &most, 8), 8);
	CHECK_EQ(mdl_eventfd_signal(blocking), -EAGAIN);	/* does not wait */
	CHECK_EQ(mdl_eventfd_take(blocking), most);
	CHECK_EQ(mdl_eventfd_take(blocking), 0);	/* nor here */
	CHECK_EQ(mdl_eventfd_take(timer), 0);
	CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0);
	CHECK_EQ(mdl_wait_readable(timer, -1), 1);
	CHECK_EQ(mdl_eventfd_take(timer), 1);
	CHECK_EQ(mdl_eventfd_take(-1), 0);
	CHECK(mdl_eventfd_signal(-1) < 0);
}

/*
 * A count that only the kernel can bring to the very end: then the descriptor is not writable and not quite full either, but in error. A
 * VMM can do that to an interrupt's eventfd, by an ioeventfd of KVM on the same one.
 */
static void eventfd_overflow(void)
{
	int fd = eventfd(0, EFD_CLOEXEC), file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint64_t most = UINT64_MAX - 1;
	char byte;
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)file, .aio_buf = (uintptr_t)&byte, .aio_nbytes = 1,
		.aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)fd,
	}, *list = &cb;
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, 1, &ctx) < 0)
		check_skip("no asynchronous I/O here");
	CHECK_EQ(write(fd, &most, 8), 8);
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, &list), 1);
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(p.revents, POLLERR);
	CHECK_EQ(mdl_eventfd_signal(fd), -EAGAIN);
	CHECK_EQ(mdl_eventfd_take(fd), UINT64_MAX);
	CHECK_EQ(mdl_eventfd_signal(fd), 0);
	syscall(SYS_io_destroy, ctx);
}

static void ignore(int sig)
{
}

/* A signal neither ends the wait early nor prolongs it for ever. */
static void wait_interrupted(void)
{
	struct sigaction sa = { .sa_handler = ignore };
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t start = mdl_now_ns();
	pid_t self = getpid(), child;

	sigaction(SIGUSR1, &sa, NULL);
	child = fork();
	if (child == 0) {
		for (;;) {
			if (getppid() != self || kill(self, SIGUSR1))
				_exit(0);
			poll(NULL, 0, 5);
		}
	}
	CHECK_EQ(mdl_wait_readable(fd, 100), 0);
	CHECK(mdl_now_ns() - start >= 100 * MDL_NS_PER_MS);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int opened(int *ret_number)
{
	mdl_autofd fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	*ret_number = fd;
	return 0;
}

static int handed_on(void)
{
	mdl_autofd fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return mdl_take_fd(&fd);
}

static char *text_handed_on(void)
{
	mdl_autofree char *dropped = strdup("dropped");	/* a leak checker would tell */
	mdl_autofree char *kept = strdup("kept");

	CHECK_STR(dropped, "dropped");
	return mdl_take_ptr(kept);
}

static void cleanup(void)
{
	int fd = -1;
	char *text;

	opened(&fd);
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) < 0);
	fd = handed_on();
	CHECK(fcntl(fd, F_GETFD) >= 0);
	mdl_close_fd(&fd);
	CHECK_EQ(fd, -1);
	mdl_close_fd(&fd);
	text = text_handed_on();
	CHECK_STR(text, "kept");
	free(text);
}

/* Runs f with standard error in a memfd, and gives what it wrote. */
static void capture(void (*f)(void), char *buf, size_t cap)
{
	int fd = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
	ssize_t n;

	dup2(fd, STDERR_FILENO);
	f();
	dup2(saved, STDERR_FILENO);
	n = pread(fd, buf, cap - 1, 0);
	buf[n > 0 ? n : 0] = 0;
	close(saved);
	close(fd);
}

static void say_some(void)
{
	char longest[3000];

	memset(longest, 'y', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	mdl_log_init("tester", MDL_LOG_INFO);
	mdl_log(MDL_LOG_DEBUG, "not said");
	mdl_log(MDL_LOG_WARN, "a %s\nb\x1b[31m", "guest's");
	mdl_log(MDL_LOG_INFO, "%s", longest);
}

static void say_much(void)
{
	struct mdl_log_limit limit = { .interval_ns = 100 * MDL_NS_PER_S, .burst = 3, .tokens = 3, .last_ns = mdl_now_ns() };

	for (int i = 0; i < 100; i++)
		mdl_log_limited(&limit, MDL_LOG_ERROR, "line %d", i);
	limit.interval_ns = 1;	/* time passes */
	mdl_log_limited(&limit, MDL_LOG_ERROR, "later");
}

static void log_lines(void)
{
	char buf[8192];
	char *second;

	capture(say_some, buf, sizeof(buf));
	CHECK(!strncmp(buf, "tester: warning: a guest's?b?[31m\n", 34));
	second = buf + 34;
	CHECK(!strncmp(second, "tester: yyy", 11));
	CHECK(strlen(second) < 1100);
	CHECK(strchr(second, '\n') == second + strlen(second) - 1);
	capture(say_much, buf, sizeof(buf));
	CHECK_STR(buf, "tester: error: line 0\ntester: error: line 1\ntester: error: line 2\n"
		       "tester: error: later (97 similar lines dropped)\n");
}

static const struct check_case cases[] = {
	{ "ranges, against a naive model", ranges_naive },
	{ "ranges, at the edges", ranges_edge },
	{ "memfd", memfd },
	{ "eventfd", eventfds },
	{ "eventfd, counted up to the end by the kernel", eventfd_overflow },
	{ "an interrupted wait", wait_interrupted },
	{ "cleanup", cleanup },
	{ "log lines", log_lines },
};

CHECK_MAIN(cases)
