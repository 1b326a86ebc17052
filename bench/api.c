/* SPDX-License-Identifier: MIT */
/* See api.h. */
#include "api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool api_open(struct api *a, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*a = (struct api) { .fd = -1 };
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		fprintf(stderr, "medley-bench: %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	a->fd = fd;
	a->in = fdopen(fd, "r");
	return a->in;
}

void api_close(struct api *a)
{
	if (a->in)
		fclose(a->in);
	*a = (struct api) { .fd = -1 };
}

static bool send_line(struct api *a, const char *method, json_t *params)
{
	json_t *request =
		json_pack("{s:i, s:s, s:o*}", "id", 1, "method", method, "params", params);
	char *text = json_dumps(request, JSON_COMPACT);
	bool ok = text && dprintf(a->fd, "%s\n", text) > 0;

	free(text);
	json_decref(request);
	return ok;
}

json_t *api_call(struct api *a, const char *method, json_t *params)
{
	json_t *reply = NULL, *result;
	char *line = NULL;
	size_t room = 0;

	if (send_line(a, method, params) && getline(&line, &room, a->in) > 0)
		reply = json_loads(line, 0, NULL);
	free(line);
	result = json_incref(json_object_get(reply, "result"));
	if (!result) {
		const char *why = json_string_value(
			json_object_get(json_object_get(reply, "error"), "message"));

		fprintf(stderr, "medley-bench: medleyd: %s: %s\n", method, why ? why : "no reply");
	}
	json_decref(reply);
	return result;
}

bool api_do(struct api *a, const char *method, json_t *params)
{
	json_t *result = api_call(a, method, params);

	json_decref(result);
	return result;
}
