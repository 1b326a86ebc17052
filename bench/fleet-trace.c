/* SPDX-License-Identifier: MIT */
/* See fleet.h: reading medleyd's trace into turns and events of demand. */
#include <stdlib.h>
#include <string.h>

#include "daemon/param-limits.h"
#include "fleet.h"

static int find_guest(const struct fleet *f, const char *uuid)
{
	for (unsigned int i = 0; uuid && i < f->guests; i++)
		if (!strcmp(f->guest[i]->uuid, uuid))
			return (int)i;
	return -1;
}

static uint64_t number(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* False: not enough memory. What is of a guest that has gone, or of no interest here, is left out. */
static bool add(struct fleet *f, const json_t *o)
{
	const char *kind = json_string_value(json_object_get(o, "kind"));
	int i = find_guest(f, json_string_value(json_object_get(o, "vgpu")));
	struct fleet_turn t = { 0 };

	if (i < 0 || !kind || !strcmp(kind, "params") || !strcmp(kind, "removed"))
		return true;
	t.record.vgpu = (unsigned int)i;
	t.record.start_ns = number(o, "start_ns");
	t.record.end_ns = number(o, "end_ns");
	t.record.kind = SHARES_RUN;
	if (!strcmp(kind, "wake") || !strcmp(kind, "sleep")) {
		f->guest[i]->awake = !strcmp(kind, "wake");
		t.record.kind = f->guest[i]->awake ? SHARES_WAKE : SHARES_SLEEP;
	} else if (!strcmp(kind, "stopped")) {
		t.stopped = true;
		t.record.used_ns = number(o, "overrun_ns");
		t.record.start_ns -= t.record.used_ns;
	} else {
		t.record.used_ns = number(o, "used_ns") + number(o, "overrun_ns");
		t.asked_ns = number(o, "asked_ns");
		t.preempted = !strcmp(kind, "preempted");
	}
	if (f->turns == f->turn_room) {
		size_t room = f->turn_room ? 2 * f->turn_room : 4096;
		struct fleet_turn *turn = realloc(f->turn, room * sizeof(*turn));

		if (!turn)
			return false;
		f->turn = turn;
		f->turn_room = room;
	}
	f->turn[f->turns++] = t;
	return true;
}

bool fleet_trace(struct fleet *f)
{
	size_t got = TRACE_PAGE_MAX, k;
	json_t *entry;
	bool ok = true;

	f->turns = 0;
	for (unsigned int i = 0; i < f->guests; i++)
		f->guest[i]->awake_before = f->guest[i]->awake;
	while (ok && got == TRACE_PAGE_MAX) {
		json_t *reply = api_call(&f->api, "trace",
					 json_pack("{s:I, s:i}", "since", (json_int_t)f->trace_next,
						   "max", (int)TRACE_PAGE_MAX));
		json_t *list = json_object_get(reply, "intervals");

		ok = reply && (!f->trace_next || !number(reply, "dropped"));
		if (reply && !ok)
			fprintf(stderr, "medley-bench: medleyd's trace was too short\n");
		f->trace_next = number(reply, "next");
		f->thinned = number(reply, "thinned");
		got = json_array_size(list);
		json_array_foreach(list, k, entry)
			ok = ok && add(f, entry);
		json_decref(reply);
	}
	return ok;
}
