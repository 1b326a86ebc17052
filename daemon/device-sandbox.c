/* SPDX-License-Identifier: MIT */
/*
 * What medley-device keeps once it is initialised: the descriptors it holds, memory, and talking over sockets that are open or
 * accepted from its listening one. No files, no processes, no new sockets, nothing executable.
 */
#include "device.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/util.h"

#define NOT_EXECUTABLE                                  \
	{                                               \
		.arg = 2, .mask = PROT_EXEC, .value = 0 \
	}

static const struct mdl_sandbox_rule rules[] = {
	{ SYS_mmap, { NOT_EXECUTABLE } },
	{ SYS_mprotect, { NOT_EXECUTABLE } },
	{ SYS_munmap },
	{ SYS_mremap },
	{ SYS_madvise },
	/* The event loops: ours and the server's. */
	{ SYS_epoll_ctl },
	{ SYS_epoll_wait },
	{ SYS_epoll_pwait },
	{ SYS_epoll_pwait2 },
	{ SYS_poll },
	{ SYS_ppoll },
	{ SYS_timerfd_settime },
	/* VMMs, the manager, executors. */
	{ SYS_accept4 },
	{ SYS_recvmsg },
	{ SYS_recvfrom },
	{ SYS_sendmsg },
	{ SYS_sendto },
	{ SYS_shutdown },
	{ SYS_getsockopt },
	/* Descriptors that a VMM sends: duplicated and looked at. */
	{ SYS_fcntl },
	{ SYS_newfstatat },
	{ SYS_fstatfs },
	/* Interrupts of masked vectors; zeroing VRAM by giving its pages back. */
	{ SYS_eventfd2 },
	{ SYS_fallocate },
};

int dev_sandbox_enter(uid_t uid)
{
	const struct mdl_sandbox_limits limits = {
		.nofile = DEV_FILES_MAX,
		.data = 256ull << 20,
	};
	int err = mdl_sandbox_isolate();

	if (!err)
		err = mdl_sandbox_root(NULL);
	if (err == -EPERM)
		mdl_log(MDL_LOG_WARN, "no namespaces here: confined by its system calls only");
	else if (err)
		return err;
	err = mdl_sandbox_drop(uid);
	if (!err)
		err = mdl_sandbox_limits(&limits);
	return err ? err : mdl_sandbox_filter(true, rules, MDL_ARRAY_SIZE(rules));
}
