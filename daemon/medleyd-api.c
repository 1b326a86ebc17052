/* SPDX-License-Identifier: MIT */
/*
 * The API's connections: a Unix stream socket, one JSON object a line in each direction
 * (docs/api.md). Here are lines and limits, in medleyd-methods.c what the requests mean.
 *
 * A client costs a bounded amount of everything: requests of at most LINE_MAX bytes, LINES_A_TURN
 * of them before others have their turn, replies buffered up to OUT_MAX, CLIENTS_MAX connections (a
 * new one displaces the one that has been silent longest). A client that does not read is dropped.
 * Part of medleyd's one thread; works at the lowest priority.
 */
#include "medleyd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LINE_BYTES_MAX 65536
#define OUT_BYTES_MAX  (4u << 20)
#define CLIENTS_MAX    64
#define LINES_A_TURN   8
#define STUCK_NS       (10 * MDL_NS_PER_S) /* has replies to read and reads nothing */

struct api_client {
	struct api_client *next;
	struct api *api;
	uint64_t number;
	int fd;
	sd_event_source *source;
	sd_event_source *more; /* complete lines are waiting although the socket is empty */
	char *in, *out;
	size_t in_bytes, out_bytes, out_done, out_room;
	uint64_t heard_ns, wrote_ns;
	uint32_t later; /* replies that are due, and not made yet */
	bool more_lines; /* complete, and not run yet */
	bool subscribed;
	bool closing, ended; /* runs no more requests; has sent all that it will */
	bool in_use; /* a handler runs: freed when it has returned */
	bool dead;
};

struct api {
	struct manager *m;
	int listen_fd;
	sd_event_source *source, *reaper;
	struct api_client *clients;
	uint32_t num_clients;
	uint64_t next_number;
};

static void free_client(struct api_client *c)
{
	struct api_client **p = &c->api->clients;

	c->dead = true;
	if (c->in_use)
		return;
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->api->num_clients--;
	sd_event_source_disable_unref(c->source);
	sd_event_source_disable_unref(c->more);
	close(c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

static void want_events(struct api_client *c)
{
	bool full = c->in_bytes >= LINE_BYTES_MAX;
	uint32_t events =
		(c->closing || c->ended || full ? 0 : EPOLLIN) | (c->out_bytes > c->out_done ? EPOLLOUT : 0);

	sd_event_source_set_io_events(c->source, events);
}

static void flush(struct api_client *c)
{
	while (!c->dead && c->out_done < c->out_bytes) {
		ssize_t n = send(c->fd, c->out + c->out_done, c->out_bytes - c->out_done,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			c->dead = true;
		if (n <= 0)
			break;
		c->out_done += (size_t)n;
		c->wrote_ns = mdl_now_ns();
	}
	if (c->out_done == c->out_bytes) {
		free(c->out);
		c->out = NULL;
		c->out_done = c->out_bytes = c->out_room = 0;
	}
}

/*
 * Room for `bytes` more, by doubling, so that a slow reader costs no more copying than a fast one.
 */
static bool make_out_room(struct api_client *c, size_t bytes)
{
	size_t left = c->out_bytes - c->out_done, room;
	char *out;

	if (bytes <= c->out_room - c->out_bytes)
		return true;
	room = mdl_max_u64(2 * left, left + bytes);
	out = malloc(room);
	if (!out)
		return false;
	if (left)
		memcpy(out, c->out + c->out_done, left);
	free(c->out);
	c->out = out;
	c->out_room = room;
	c->out_bytes = left;
	c->out_done = 0;
	return true;
}

/* Queues one line and takes over `msg`. The client may be dead afterwards. */
static void send_line(struct api_client *c, json_t *msg)
{
	size_t bytes = msg ? json_dumpb(msg, NULL, 0, JSON_COMPACT) : 0,
	       left = c->out_bytes - c->out_done;

	if (c->dead || !bytes || left + bytes + 1 > OUT_BYTES_MAX) {
		c->dead = true;
		json_decref(msg);
		return;
	}
	if (!left)
		c->wrote_ns = mdl_now_ns();
	if (!make_out_room(c, bytes + 1)) {
		c->dead = true;
		json_decref(msg);
		return;
	}
	json_dumpb(msg, c->out + c->out_bytes, bytes, JSON_COMPACT);
	c->out_bytes += bytes;
	c->out[c->out_bytes++] = '\n';
	json_decref(msg);
	flush(c);
}

static void send_error(struct api_client *c, json_t *id, const char *code, const char *message)
{
	send_line(c, json_pack("{s:O?, s:{s:s, s:s}}", "id", id, "error", "code", code, "message",
			       message));
}

/* ---- requests ---- */

static void run_request(struct api_client *c, json_t *request)
{
	struct method_call call = {
		.m = c->api->m, .client = c, .code = "internal", .message = "internal error"
	};
	json_t *id = json_object_get(request, "id"), *params = json_object_get(request, "params"),
	       *result;
	const char *method = json_string_value(json_object_get(request, "method")), *key;
	json_t *value;

	if (id && !json_is_integer(id) && !json_is_string(id) && !json_is_null(id)) {
		send_error(c, NULL, "bad-request", "\"id\" must be a number or a string");
		return;
	}
	json_object_foreach(request, key, value) {
		if (strcmp(key, "id") && strcmp(key, "method") && strcmp(key, "params")) {
			send_error(c, id, "bad-request",
				   "a request has \"id\", \"method\" and \"params\", nothing else");
			return;
		}
	}
	if (!method || (params && !json_is_object(params))) {
		send_error(c, id, "bad-request",
			   "\"method\" must be a string and \"params\" an object");
		return;
	}
	call.id = id;
	call.params = params;
	/* Before: a method that is answered later may be answered before it returns. */
	c->later++;
	result = method_run(&call, method);
	c->later -= !call.later;
	if (result)
		send_line(c, json_pack("{s:O?, s:o}", "id", id, "result", result));
	else if (!call.later)
		send_error(c, id, call.code, call.message);
}

static void run_line(struct api_client *c, const char *line, size_t bytes)
{
	json_error_t error;
	json_t *request;
	char message[256];

	if (bytes && line[bytes - 1] == '\r')
		bytes--;
	if (!bytes)
		return;
	request = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(request)) {
		if (request)
			snprintf(message, sizeof(message), "a request is a JSON object");
		else
			snprintf(message, sizeof(message),
				 "not JSON: wrong, incomplete or repeated at byte %d",
				 error.position);
		send_error(c, NULL, "bad-json", message);
	} else {
		run_request(c, request);
	}
	json_decref(request);
}

/* Runs complete lines, a few. */
static void run_lines(struct api_client *c)
{
	size_t used = 0;
	char *end = NULL;
	int lines = 0;

	while (!c->dead && !c->closing && lines++ < LINES_A_TURN &&
	       (end = memchr(c->in + used, '\n', c->in_bytes - used))) {
		run_line(c, c->in + used, (size_t)(end - (c->in + used)));
		used = (size_t)(end + 1 - c->in);
	}
	c->in_bytes -= used;
	memmove(c->in, c->in + used, c->in_bytes);
	end = memchr(c->in, '\n', c->in_bytes);
	if (!end && c->in_bytes >= LINE_BYTES_MAX && !c->closing) {
		send_error(c, NULL, "too-long", "a request is at most 65536 bytes");
		c->closing = true;
	}
	c->more_lines = end && !c->closing;
	sd_event_source_set_enabled(c->more, c->more_lines ? SD_EVENT_ON : SD_EVENT_OFF);
	if (!c->in_bytes) {
		free(c->in);
		c->in = NULL;
	}
}

/* Everything that was asked is answered, and nothing more will be. One that hangs up altogether is not waited for. */
static bool finished(const struct api_client *c)
{
	return (c->closing || c->ended) && !c->more_lines && !c->later && c->out_done == c->out_bytes;
}

static void settle_client(struct api_client *c)
{
	c->in_use = false;
	if (c->dead || finished(c))
		free_client(c);
	else
		want_events(c);
}

static int on_more(sd_event_source *s, void *arg)
{
	struct api_client *c = arg;

	c->in_use = true;
	if (c->in)
		run_lines(c);
	settle_client(c);
	return 0;
}

static void read_input(struct api_client *c)
{
	ssize_t n;

	if (!c->in)
		c->in = malloc(LINE_BYTES_MAX);
	if (!c->in) {
		c->dead = true;
		return;
	}
	n = recv(c->fd, c->in + c->in_bytes, LINE_BYTES_MAX - c->in_bytes, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		c->ended = true;
		c->dead = n < 0;
		return;
	}
	c->heard_ns = mdl_now_ns();
	c->in_bytes += (size_t)n;
	run_lines(c);
}

static int on_client(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct api_client *c = arg;

	c->in_use = true;
	if (revents & EPOLLOUT)
		flush(c);
	if (!c->dead && !c->closing && !c->ended && (revents & EPOLLIN))
		read_input(c);
	else if (!(revents & (EPOLLIN | EPOLLOUT)))
		c->dead = true; /* hung up while we wanted nothing of it, or an error */
	settle_client(c);
	return 0;
}

/* ---- connections ---- */

static void make_room(struct api *a)
{
	struct api_client *longest = NULL;

	for (struct api_client *c = a->clients; c; c = c->next)
		if (!longest || c->heard_ns < longest->heard_ns)
			longest = c;
	if (longest)
		free_client(longest);
}

static int on_connect(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct api *a = arg;
	mdl_autofd conn = accept4(a->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct api_client *c;

	if (conn < 0) {
		if (errno == EMFILE || errno == ENFILE)
			make_room(a);
		return 0;
	}
	if (a->num_clients == CLIENTS_MAX)
		make_room(a);
	c = calloc(1, sizeof(*c));
	if (!c)
		return 0;
	c->api = a;
	c->number = ++a->next_number;
	c->fd = mdl_take_fd(&conn);
	c->heard_ns = mdl_now_ns();
	c->next = a->clients;
	a->clients = c;
	a->num_clients++;
	if (sd_event_add_io(a->m->event, &c->source, c->fd, EPOLLIN, on_client, c) < 0 ||
	    sd_event_add_defer(a->m->event, &c->more, on_more, c) < 0) {
		free_client(c);
		return 0;
	}
	sd_event_source_set_priority(c->source, PRIORITY_API);
	sd_event_source_set_priority(c->more, PRIORITY_API);
	sd_event_source_set_enabled(c->more, SD_EVENT_OFF);
	return 0;
}

static int on_reaper(sd_event_source *s, uint64_t usec, void *arg)
{
	struct api *a = arg;
	struct api_client *c, *next;
	uint64_t now = mdl_now_ns();

	for (c = a->clients; c; c = next) {
		next = c->next;
		if (c->dead || (c->out_bytes > c->out_done && now - c->wrote_ns > STUCK_NS))
			free_client(c);
	}
	sd_event_source_set_time_relative(s, STUCK_NS / 2000);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int api_start(struct manager *m, int listen_fd)
{
	struct api *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	a->m = m;
	a->listen_fd = listen_fd;
	m->api = a;
	err = sd_event_add_io(m->event, &a->source, listen_fd, EPOLLIN, on_connect, a);
	if (err >= 0)
		err = sd_event_add_time_relative(m->event, &a->reaper, CLOCK_MONOTONIC,
						 STUCK_NS / 2000, 1000000, on_reaper, a);
	if (err < 0)
		return err;
	sd_event_source_set_priority(a->source, PRIORITY_API);
	return 0;
}

void api_stop(struct manager *m)
{
	struct api *a = m->api;

	if (!a)
		return;
	while (a->clients)
		free_client(a->clients);
	sd_event_source_disable_unref(a->source);
	sd_event_source_disable_unref(a->reaper);
	m->api = NULL;
	free(a);
}

/* ---- what others send ---- */

/* Outside of a handler of this client: a client that died of it goes at once. */
static void push(struct api_client *c, json_t *msg)
{
	send_line(c, msg);
	if (!c->in_use)
		settle_client(c);
}

void api_event(struct manager *m, const char *what, struct vgpu *v, json_t *extra)
{
	struct api_client *c, *next;
	json_t *event;

	if (!m->api || !m->api->clients) {
		json_decref(extra);
		return;
	}
	event = json_pack("{s:s, s:I, s:s, s:s, s:s}", "event", what, "time_ns",
			  (json_int_t)mdl_now_ns(), "uuid", v->inst->uuid, "name", v->inst->name,
			  "state",
			  v->removing ? "removing" : mdl_instance_state_name(v->inst->state));
	if (event && extra)
		json_object_update(event, extra);
	for (c = m->api->clients; c && event; c = next) {
		next = c->next;
		if (c->subscribed)
			push(c, json_incref(event));
	}
	json_decref(event);
	json_decref(extra);
}

void api_reply_later(struct manager *m, uint64_t client, json_t *id, json_t *result)
{
	json_t *reply = json_pack("{s:o, s:o}", "id", id, "result", result);

	for (struct api_client *c = m->api ? m->api->clients : NULL; c; c = c->next) {
		if (c->number == client) {
			c->later--;
			push(c, reply);
			return;
		}
	}
	json_decref(reply);
}

void api_subscribe(struct api_client *c)
{
	c->subscribed = true;
}

uint64_t api_client_number(const struct api_client *c)
{
	return c->number;
}
