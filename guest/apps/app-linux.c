/* SPDX-License-Identifier: MIT */
/* Input and output under Linux: files and block devices. */
#include "app.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int app_input(const char *path, size_t max, void **ret_data, size_t *ret_bytes)
{
	mdl_autofree uint8_t *data = NULL;
	mdl_autofd fd = -1;
	size_t got = 0;
	off_t size;

	if (!path)
		return -EINVAL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size = lseek(fd, 0, SEEK_END); /* block devices too */
	if (size < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	if ((uint64_t)size < max)
		max = (size_t)size;
	data = malloc(max ? max : 1);
	if (!data)
		return -ENOMEM;
	while (got < max) {
		ssize_t n = read(fd, data + got, max - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*ret_bytes = got;
	*ret_data = mdl_take_ptr(data);
	return 0;
}

void app_input_end(void *data, size_t bytes)
{
	free(data);
}

int app_output(const char *path, const void *data, size_t bytes)
{
	mdl_autofd fd = -1;
	size_t done = 0;

	if (!path)
		return -EINVAL;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	while (done < bytes) {
		ssize_t n = write(fd, (const uint8_t *)data + done, bytes - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	/* A guest may be switched off right after; pipes and the like cannot be synced. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		return -errno;
	return 0;
}

bool app_has_files(void)
{
	return true;
}

const char *app_default_device(void)
{
	return "sysfs:";
}
