/* SPDX-License-Identifier: MIT */
/* Descriptors: see fd.h. Stateless. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

int mdl_memfd_create(const char *name, uint64_t bytes, int *ret_fd)
{
	mdl_autofd fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (bytes > INT64_MAX || ftruncate(fd, (off_t)bytes) < 0)
		return bytes > INT64_MAX ? -EFBIG : -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = mdl_take_fd(&fd);
	return 0;
}

int mdl_eventfd_signal(int fd)
{
	uint64_t one = 1;
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	/*
	 * A peer may have passed a blocking eventfd and filled its counter. O_NONBLOCK would not help: the flag belongs to the open
	 * file, so the peer can take it away. Nor is there a write that does not wait: eventfds know RWF_NOWAIT for reads only.
	 */
	if (poll(&p, 1, 0) >= 0 && !(p.revents & (POLLOUT | POLLNVAL)))
		return -EAGAIN;	/* full; POLLERR when the kernel itself has counted up to the very end */
	return write(fd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

uint64_t mdl_eventfd_take(int fd)
{
	uint64_t n;
	struct iovec iov = { .iov_base = &n, .iov_len = sizeof(n) };
	ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	/* Older kernels have no such read of timerfds. Those are never shared, so their flag holds. */
	if (got < 0 && errno == EOPNOTSUPP)
		got = read(fd, &n, sizeof(n));
	return got == sizeof(n) ? n : 0;
}

int mdl_wait_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t end = mdl_now_ns() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * MDL_NS_PER_MS;
	int n;

	for (;;) {
		n = poll(&p, 1, timeout_ms);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
		if (timeout_ms > 0) {
			uint64_t now = mdl_now_ns();

			timeout_ms = now >= end ? 0 : (int)((end - now) / MDL_NS_PER_MS) + 1;
		}
	}
}
