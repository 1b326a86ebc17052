/* SPDX-License-Identifier: MIT */
/*
 * The runtime directory: one medleyd at a time (a lock that the kernel drops when its holder dies),
 * the API socket, and vgpu/<uuid>.sock for each vGPU. Sockets that a dead medleyd left are removed
 * when the lock is ours; nothing else in the directory is touched. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Room for "/vgpu/<uuid>.sock" in a socket address. */
#define PATH_BYTES_MAX \
	(sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/vgpu/.sock") - MDL_MDEV_UUID_BYTES)

static int __attribute__((format(printf, 4, 5)))
fail(int err, char *why, size_t bytes, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, bytes, fmt, ap);
	va_end(ap);
	return err;
}

/* Everybody may look into root's (sockets have their own modes); a user's own is private. */
static int make_dir(const char *path)
{
	char part[108];

	for (const char *p = path; p;) {
		p = strchr(p + 1, '/');
		snprintf(part, sizeof(part), "%.*s", p ? (int)(p - path) : (int)strlen(path), path);
		if (part[0] && mkdir(part, geteuid() ? 0700 : 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int check_dir(const char *path, char *why, size_t why_bytes)
{
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return fail(-ENOTDIR, why, why_bytes, "runtime directory %s: not a directory",
			    path);
	if (st.st_uid != geteuid())
		return fail(-EPERM, why, why_bytes,
			    "runtime directory %s belongs to user %u, not to %u", path, st.st_uid,
			    geteuid());
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return fail(-EPERM, why, why_bytes, "runtime directory %s can be written by others",
			    path);
	return 0;
}

static void remove_stale(const struct rundir *r)
{
	char path[512];
	struct dirent *d;
	struct stat st;
	DIR *dir;

	if (!lstat(r->api_path, &st) && S_ISSOCK(st.st_mode))
		unlink(r->api_path);
	snprintf(path, sizeof(path), "%s/vgpu", r->path);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		size_t n = strlen(d->d_name);

		if (n < 5 || strcmp(d->d_name + n - 5, ".sock"))
			continue;
		if (!fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISSOCK(st.st_mode))
			unlinkat(dirfd(dir), d->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

static int take_lock(struct rundir *r, char *why, size_t why_bytes)
{
	char path[128], pid[16] = "";
	struct stat st;
	mdl_autofd fd = -1;

	snprintf(path, sizeof(path), "%s/lock", r->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(-errno, why, why_bytes, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return fail(-errno, why, why_bytes, "%s: %s", path, strerror(errno));
		if (read(fd, pid, sizeof(pid) - 1) < 0)
			pid[0] = 0;
		return fail(-EBUSY, why, why_bytes, "medleyd runs already on %s (pid %ld)", r->path,
			    strtol(pid, NULL, 10));
	}
	/*
	 * The medleyd that had it removed the file just before it let go: the name may be another
	 * file's already.
	 */
	if (fstat(fd, &st) < 0 || !st.st_nlink)
		return fail(-EAGAIN, why, why_bytes, "medleyd on %s is just ending: try again",
			    r->path);
	snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(fd, 0) < 0 || write(fd, pid, strlen(pid)) < 0)
		return fail(-errno, why, why_bytes, "%s: %s", path, strerror(errno));
	r->lock_fd = mdl_take_fd(&fd);
	return 0;
}

int rundir_claim(struct rundir *r, const char *path, char *why, size_t why_bytes)
{
	char sub[128];
	struct stat st;
	int err;

	r->lock_fd = -1;
	if (path[0] != '/')
		return fail(-EINVAL, why, why_bytes,
			    "runtime directory '%.200s' must be an absolute path", path);
	if (strlen(path) > PATH_BYTES_MAX)
		return fail(
			-ENAMETOOLONG, why, why_bytes,
			"runtime directory '%.200s' is too long: socket paths leave room for %zu characters",
			path, PATH_BYTES_MAX);
	snprintf(r->path, sizeof(r->path), "%s", path);
	snprintf(r->api_path, sizeof(r->api_path), "%s/api.sock", path);
	snprintf(sub, sizeof(sub), "%s/vgpu", path);
	err = make_dir(path);
	if (err)
		return fail(err, why, why_bytes, "cannot create runtime directory %s: %s", path,
			    strerror(-err));
	err = check_dir(path, why, why_bytes);
	if (!err)
		err = take_lock(r, why, why_bytes);
	if (err)
		return err;
	if (mkdir(sub, geteuid() ? 0700 : 0755) < 0 && errno != EEXIST)
		err = fail(-errno, why, why_bytes, "cannot create %s: %s", sub, strerror(errno));
	if (!err)
		err = check_dir(sub, why, why_bytes);
	if (!err)
		remove_stale(r);
	if (!err && !lstat(r->api_path, &st))
		err = fail(-EEXIST, why, why_bytes, "%s is in the way and not a socket",
			   r->api_path);
	if (err)
		mdl_close_fd(&r->lock_fd);
	return err;
}

void rundir_release(struct rundir *r)
{
	char path[128];

	if (r->lock_fd < 0)
		return;
	remove_stale(r);
	snprintf(path, sizeof(path), "%s/vgpu", r->path);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/lock", r->path);
	unlink(path);
	mdl_close_fd(&r->lock_fd);
}

int rundir_listen(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	mdl_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	mode_t mask;
	int ret;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	/* Nobody gets in between bind and chmod. */
	mask = umask(0177);
	ret = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	umask(mask);
	if (ret)
		return ret;
	if ((uid != (uid_t)-1 || gid != (gid_t)-1) && chown(path, uid, gid) < 0)
		ret = -errno;
	if (!ret && chmod(path, mode) < 0)
		ret = -errno;
	if (!ret && listen(fd, 128) < 0)
		ret = -errno;
	if (ret) {
		unlink(path);
		return ret;
	}
	return mdl_take_fd(&fd);
}
