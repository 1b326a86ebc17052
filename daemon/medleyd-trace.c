/* SPDX-License-Identifier: MIT */
/*
 * The ring of recent lease intervals: which vGPU ran when, for charts. Fixed size; the oldest are
 * overwritten. Names are kept once for each vGPU and forgotten when the ring holds nothing of it
 * any more. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ident {
	struct ident *next;
	uint64_t last; /* sequence number of its latest interval */
	char uuid[MDL_MDEV_UUID_BYTES];
	char name[MDL_MDEV_NAME_MAX + 1];
};

struct interval {
	uint64_t start_ns, end_ns;
	struct ident *who;
	enum trace_kind kind;
};

struct trace {
	struct ident *idents;
	uint64_t next; /* sequence number of the next interval */
	struct interval ring[TRACE_INTERVALS];
};

int trace_create(struct trace **ret_trace)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	*ret_trace = t;
	return 0;
}

void trace_destroy(struct trace *t)
{
	while (t && t->idents) {
		struct ident *i = t->idents;

		t->idents = i->next;
		free(i);
	}
	free(t);
}

static uint64_t oldest(const struct trace *t)
{
	return t->next > TRACE_INTERVALS ? t->next - TRACE_INTERVALS : 0;
}

static struct ident *find_ident(struct trace *t, const struct vgpu *v)
{
	struct ident *i, **p = &t->idents;

	while ((i = *p)) {
		if (!strcmp(i->uuid, v->inst->uuid) && !strcmp(i->name, v->inst->name))
			return i;
		/* One that is overwritten just now is still looked at below. */
		if (i->last + 1 < oldest(t)) {
			*p = i->next;
			free(i);
		} else {
			p = &i->next;
		}
	}
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	memcpy(i->uuid, v->inst->uuid, sizeof(i->uuid));
	memcpy(i->name, v->inst->name, sizeof(i->name));
	i->next = t->idents;
	t->idents = i;
	return i;
}

void trace_add(struct trace *t, const struct vgpu *v, uint64_t start_ns, uint64_t end_ns,
	       enum trace_kind kind)
{
	struct ident *who = find_ident(t, v);

	if (!who || end_ns <= start_ns)
		return;
	who->last = t->next;
	t->ring[t->next++ % TRACE_INTERVALS] = (struct interval) { start_ns, end_ns, who, kind };
}

json_t *trace_read(struct trace *t, uint64_t since, uint32_t max, uint64_t *ret_next,
		   uint64_t *ret_dropped)
{
	json_t *list = json_array();
	uint64_t first = mdl_max_u64(since, oldest(t));

	*ret_dropped = first - since;
	for (*ret_next = first; *ret_next < t->next && max--; (*ret_next)++) {
		const struct interval *i = &t->ring[*ret_next % TRACE_INTERVALS];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:I, s:I, s:s}", "vgpu", i->who->uuid, "name",
					i->who->name, "start_ns", (json_int_t)i->start_ns, "end_ns",
					(json_int_t)i->end_ns, "kind",
					i->kind == TRACE_PREEMPTED ? "preempted" : "run"));
	}
	return list;
}
