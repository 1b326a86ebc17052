/* SPDX-License-Identifier: MIT */
/*
 * A process confines itself: see sandbox.h. Each privileged request below says what makes it safe or why it is needed. Left out:
 * Landlock and cgroups; the empty root and medleyd's accounts do their work. Stateless.
 */
#include "base/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define SCRATCH "/tmp"	/* exists on every system; only this process's namespace sees the mount */

static int err_of(long ret)
{
	return ret < 0 ? -errno : 0;
}

static int write_self(const char *path, const char *text)
{
	mdl_autofd fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return err_of(write(fd, text, strlen(text)));
}

int mdl_sandbox_isolate(void)
{
	int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	char map[32];
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int err;

	if (getpid() == 1)
		return 0;
	if (uid == 0)
		return err_of(unshare(flags));
	if (unshare(CLONE_NEWUSER | flags) < 0)
		return -errno;
	err = write_self("/proc/self/setgroups", "deny");
	if (err)
		return err;
	snprintf(map, sizeof(map), "0 %u 1", uid);
	err = write_self("/proc/self/uid_map", map);
	if (err)
		return err;
	snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_self("/proc/self/gid_map", map);
}

int mdl_sandbox_tmpfs(const char *path, uint64_t bytes, uint32_t mode)
{
	char opts[64];

	/* Nothing that happens to mounts here may travel to the namespace that we came from. */
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	snprintf(opts, sizeof(opts), "mode=%o,size=%llu", mode, (unsigned long long)bytes);
	return err_of(mount("medley", path, "tmpfs", MS_NOSUID | MS_NODEV, opts));
}

/* Makes the directories above `path`. */
static int make_parents(char *path)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return 0;
}

static int read_only(const char *path, unsigned int flags)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
	};

	return err_of(syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attr, sizeof(attr)));
}

static int bind_one(const char *root, const char *path)
{
	char target[PATH_MAX], link[PATH_MAX];
	struct stat st;
	ssize_t n;
	int err;

	if (lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (snprintf(target, sizeof(target), "%s%s", root, path) >= (int)sizeof(target))
		return -ENAMETOOLONG;
	err = make_parents(target);
	if (err)
		return err;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			return -errno;
		link[n] = 0;
		return symlink(link, target) < 0 && errno != EEXIST ? -errno : 0;
	}
	if (S_ISDIR(st.st_mode)) {
		if (mkdir(target, 0755) < 0 && errno != EEXIST)
			return -errno;
	} else {
		mdl_autofd fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		if (fd < 0)
			return -errno;
	}
	if (mount(path, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	return read_only(target, AT_RECURSIVE);
}

int mdl_sandbox_bind(const char *root, const char *const *binds)
{
	for (; binds && *binds; binds++) {
		int err = bind_one(root, *binds);

		if (err)
			return err;
	}
	return 0;
}

int mdl_sandbox_bind_writable(const char *root, const char *dir)
{
	char target[PATH_MAX];
	int err;

	if (snprintf(target, sizeof(target), "%s%s", root, dir) >= (int)sizeof(target))
		return -ENAMETOOLONG;
	err = make_parents(target);
	if (err)
		return err;
	if (mkdir(target, 0755) < 0 && errno != EEXIST)
		return -errno;
	return err_of(mount(dir, target, NULL, MS_BIND, NULL));
}

int mdl_sandbox_pivot(const char *root)
{
	/* pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is detached. */
	if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return -errno;
	if (chdir("/") < 0)
		return -errno;
	/* Also where its owner is who we will be: without root. What is mounted in it has its own rights. */
	return read_only("/", 0);
}

int mdl_sandbox_root(const char *const *binds)
{
	int err = mdl_sandbox_tmpfs(SCRATCH, 1 << 20, 0755);

	if (!err)
		err = mdl_sandbox_bind(SCRATCH, binds);
	if (!err)
		err = mdl_sandbox_pivot(SCRATCH);
	return err;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return err_of(syscall(SYS_capset, &hdr, none));
}

int mdl_sandbox_drop(uid_t uid)
{
	/* The bounding set first: it needs CAP_SETPCAP. EPERM: an unconfined, unprivileged caller; nothing to drop. */
	for (int cap = 0; cap <= 63; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL && errno != EPERM)
			return -errno;
	if (uid != MDL_SANDBOX_KEEP_ID) {
		if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
			return -errno;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	if (drop_capabilities() < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* No core, no ptrace and no /proc/pid of ours for others with our uid; changing the user reset the death signal. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return err_of(prctl(PR_SET_PDEATHSIG, SIGKILL));
}

static int limit(int what, uint64_t value)
{
	struct rlimit r = { .rlim_cur = value, .rlim_max = value }, now;

	if (getrlimit((__rlimit_resource_t)what, &now) < 0)
		return -errno;
	if (now.rlim_max < value)
		r = now;
	return err_of(setrlimit((__rlimit_resource_t)what, &r));
}

int mdl_sandbox_limits(const struct mdl_sandbox_limits *l)
{
	const struct {
		int what;
		uint64_t value;
	} table[] = {
		{ RLIMIT_NOFILE, l->nofile }, { RLIMIT_NPROC, l->nproc }, { RLIMIT_FSIZE, l->fsize },
		{ RLIMIT_DATA, l->data },     { RLIMIT_AS, l->as },	  { RLIMIT_CPU, l->cpu_s },
	};
	int err = limit(RLIMIT_CORE, 0);

	for (size_t i = 0; !err && i < MDL_ARRAY_SIZE(table); i++)
		if (table[i].value)
			err = limit(table[i].what, table[i].value);
	return err;
}

int mdl_sandbox_enter(const struct mdl_sandbox *sb)
{
	int err = mdl_sandbox_isolate();

	if (!err)
		err = mdl_sandbox_root(sb->binds);
	if (!err)
		err = mdl_sandbox_drop(sb->uid);
	if (!err)
		err = mdl_sandbox_limits(&sb->limits);
	return err ? err : mdl_sandbox_filter(true, sb->rules, sb->nrules);
}
