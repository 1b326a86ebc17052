/* SPDX-License-Identifier: MIT */
/* Input and output without an operating system: medley-vm's data module and output buffer. */
#include "app.h"

#include <errno.h>
#include <string.h>

#include "guest/micro/micro.h"

int app_input(const char *path, size_t max, void **ret_data, size_t *ret_bytes)
{
	size_t bytes;
	void *data = micro_data(&bytes);

	if (!data)
		return -ENOENT;
	*ret_data = data;
	*ret_bytes = bytes < max ? bytes : max;
	return 0;
}

void app_input_end(void *data, size_t bytes)
{
}

int app_output(const char *path, const void *data, size_t bytes)
{
	size_t room;
	void *out = micro_out(&room);

	if (!out || bytes > room)
		return -ENOSPC;
	memcpy(out, data, bytes);
	return micro_out_commit(bytes);
}

bool app_has_files(void)
{
	return false;
}

const char *app_default_device(void)
{
	return "micro:";
}
