/* SPDX-License-Identifier: MIT */
/*
 * Recorded traces (`medley trace --json`): who held a GPU when. Each interval becomes work of that
 * length. It comes when the interval began, except after one that ended with a stop: then the guest
 * had more to do all the time, so it comes when that one ended. Intervals that touch are one.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VGPUS_MAX 4096

/* Nobody's clock; a JSON integer that may be anything. */
static bool time_of(json_t *interval, const char *key, uint64_t *ret)
{
	json_t *value = json_object_get(interval, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static int find(struct sim_trace *t, const char *uuid, const char *name, char **uuids, size_t room,
		uint32_t *ret_index)
{
	uint32_t i = 0;

	while (i < t->vgpus && strcmp(uuids[i], uuid))
		i++;
	*ret_index = i;
	if (i < t->vgpus)
		return 0;
	if (i == VGPUS_MAX)
		return -E2BIG;
	uuids[i] = strdup(uuid);
	t->name[i] = strdup(name ? name : uuid);
	t->arrival[i] = calloc(room, sizeof(**t->arrival));
	t->vgpus++;
	return uuids[i] && t->name[i] && t->arrival[i] ? 0 : -ENOMEM;
}

static int compare(const void *a, const void *b)
{
	const struct sim_arrival *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static int read_intervals(json_t *list, struct sim_trace *t, char **uuids)
{
	uint64_t first = UINT64_MAX, last = 0, start, end;
	size_t n = json_array_size(list), i;
	json_t *interval;

	json_array_foreach(list, i, interval) {
		if (!time_of(interval, "start_ns", &start) || !time_of(interval, "end_ns", &end) ||
		    end <= start)
			return -EINVAL;
		first = mdl_min_u64(first, start);
		last = mdl_max_u64(last, end);
	}
	t->length_ns = n ? last - first : 0;
	/* bit 63 of work: it ended with a stop, for the second pass */
	json_array_foreach(list, i, interval) {
		const char *uuid = json_string_value(json_object_get(interval, "vgpu"));
		const char *kind = json_string_value(json_object_get(interval, "kind"));
		struct sim_arrival *a;
		uint32_t v;
		int err;

		if (!uuid || !kind)
			return -EINVAL;
		err = find(t, uuid, json_string_value(json_object_get(interval, "name")), uuids, n,
			   &v);
		if (err)
			return err;
		time_of(interval, "start_ns", &start);
		time_of(interval, "end_ns", &end);
		a = &t->arrival[v][t->arrivals[v]++];
		a->at = start - first;
		a->work = (end - start) | (!strcmp(kind, "preempted") ? 1ull << 63 : 0);
		t->recorded_ns[v] += end - start;
	}
	return 0;
}

static void join(struct sim_trace *t, uint32_t v)
{
	struct sim_arrival *a = t->arrival[v];
	bool more = false;
	uint64_t end = 0;
	size_t n = 0;

	qsort(a, t->arrivals[v], sizeof(*a), compare);
	for (size_t i = 0; i < t->arrivals[v]; i++) {
		bool stopped = a[i].work >> 63;
		uint64_t work = a[i].work & ~(1ull << 63), until = a[i].at + work;

		if (n && (more || a[i].at <= end)) {
			/* Its work was there when the one before ended: more of the same. */
			a[n - 1].work += work;
		} else {
			a[n++] = (struct sim_arrival) { .at = a[i].at, .work = work };
		}
		more = stopped;
		end = until;
	}
	t->arrivals[v] = n;
}

int sim_trace_read(FILE *file, struct sim_trace *ret_trace)
{
	struct sim_trace t = { 0 };
	json_error_t error;
	json_t *root = json_loadf(file, 0, &error), *list = json_object_get(root, "intervals");
	char **uuids = calloc(VGPUS_MAX, sizeof(*uuids));
	int err = -ENOMEM;

	t.name = calloc(VGPUS_MAX, sizeof(*t.name));
	t.recorded_ns = calloc(VGPUS_MAX, sizeof(*t.recorded_ns));
	t.arrival = calloc(VGPUS_MAX, sizeof(*t.arrival));
	t.arrivals = calloc(VGPUS_MAX, sizeof(*t.arrivals));
	if (uuids && t.name && t.recorded_ns && t.arrival && t.arrivals) {
		err = json_is_array(list) && json_array_size(list) ? read_intervals(list, &t, uuids)
								   : -EINVAL;
		if (err == -EINVAL)
			fprintf(stderr, "medley-sim: not a trace of medley: %s\n",
				root ? "no good intervals" : error.text);
	}
	for (uint32_t v = 0; !err && v < t.vgpus; v++)
		join(&t, v);
	for (uint32_t v = 0; uuids && v < t.vgpus; v++)
		free(uuids[v]);
	free(uuids);
	json_decref(root);
	if (err)
		sim_trace_fini(&t);
	else
		*ret_trace = t;
	return err;
}

void sim_trace_fini(struct sim_trace *t)
{
	for (uint32_t v = 0; v < t->vgpus; v++) {
		free(t->name[v]);
		free(t->arrival[v]);
	}
	free(t->name);
	free(t->recorded_ns);
	free(t->arrival);
	free(t->arrivals);
	*t = (struct sim_trace) { 0 };
}
