/* SPDX-License-Identifier: MIT */
/*
 * The connection to medleyd: one line of JSON out, one line in. What medleyd sends is checked for
 * form, not for meaning.
 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
	int fd;
	FILE *in;
	char *line;
	size_t line_bytes;
	json_int_t id;
};

struct client *client_connect(const char *runtime_dir)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct client *c = calloc(1, sizeof(*c));
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/api.sock", runtime_dir);

	if (!c)
		fail("out of memory");
	if (n < 0 || (size_t)n >= sizeof(sa.sun_path))
		fail("runtime directory '%s' is too long for a socket", runtime_dir);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket: %s", strerror(errno));
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
			fail("no medleyd runs on %s%s: start it with 'medleyd --runtime-dir %s'%s",
			     runtime_dir,
			     runtime_dir[0] == '/' ? "" : " (which is not the absolute path that medleyd needs)",
			     runtime_dir,
			     strcmp(runtime_dir, "/run/medley") ? ""
								: " or 'systemctl start medleyd'");
		if (errno == EACCES || errno == EPERM)
			fail("no permission for %s: run as the user that runs medleyd",
			     sa.sun_path);
		fail("%s: %s", sa.sun_path, strerror(errno));
	}
	c->in = fdopen(c->fd, "r");
	if (!c->in)
		fail("out of memory");
	return c;
}

void client_close(struct client *c)
{
	fclose(c->in);
	free(c->line);
	free(c);
}

void client_send(struct client *c, const char *method, json_t *params)
{
	json_t *request = json_pack("{s:I, s:s, s:o}", "id", ++c->id, "method", method, "params",
				    params ? params : json_object());
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t bytes, done = 0;

	if (!text)
		fail("cannot send this: not UTF-8, or out of memory");
	bytes = strlen(text);
	text[bytes++] = '\n'; /* in place of the terminator */
	while (done < bytes) {
		ssize_t n = send(c->fd, text + done, bytes - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EPIPE)
			fail("medleyd closed the connection");
		if (n < 0 && errno != EINTR)
			fail("medleyd: %s", strerror(errno));
		done += n > 0 ? (size_t)n : 0;
	}
	free(text);
	json_decref(request);
}

json_t *client_read(struct client *c)
{
	ssize_t n = getline(&c->line, &c->line_bytes, c->in);
	json_t *msg;

	if (n <= 0)
		fail("medleyd closed the connection");
	msg = json_loadb(c->line, (size_t)n, 0, NULL);
	if (!json_is_object(msg))
		fail("medleyd sent something that is not a reply");
	return msg;
}

json_t *client_call(struct client *c, const char *method, json_t *params)
{
	json_t *reply, *result, *error;

	client_send(c, method, params);
	for (;;) {
		reply = client_read(c);
		if (json_integer_value(json_object_get(reply, "id")) == c->id)
			break;
		if (!json_object_get(reply, "event"))
			fail("medleyd: %s", text_of(json_object_get(reply, "error"), "message"));
		json_decref(reply);
	}
	error = json_object_get(reply, "error");
	if (error)
		fail("%s", text_of(error, "message"));
	result = json_incref(json_object_get(reply, "result"));
	if (!result)
		fail("medleyd sent something that is not a reply");
	json_decref(reply);
	return result;
}
