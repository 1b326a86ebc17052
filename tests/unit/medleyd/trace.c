/* SPDX-License-Identifier: MIT */
/* The ring of medleyd-trace.c: what is kept, what is told of the time before, and that a guest that wakes all the time stays in bounds. */
#include "../check.h"

#include "../../../daemon/medleyd.h"

struct rig {
	struct manager m;
	struct mdl_pgpu pgpu;
	struct mdl_instance inst[8];
	struct vgpu v[8];
};

static void setup(struct rig *r, int vgpus)
{
	memset(r, 0, sizeof(*r));
	CHECK_EQ(trace_create(&r->m.trace), 0);
	strcpy(r->pgpu.name, "gpu0");
	for (int i = 0; i < vgpus; i++) {
		snprintf(r->inst[i].uuid, sizeof(r->inst[i].uuid), "uuid-%d", i);
		snprintf(r->inst[i].name, sizeof(r->inst[i].name), "v%d", i);
		r->inst[i].pgpu = &r->pgpu;
		r->v[i].m = &r->m;
		r->v[i].inst = &r->inst[i];
		r->v[i].entity.params.weight = 100;
		trace_attach(&r->v[i]);
		trace_params(&r->v[i], 1);
	}
}

static void teardown(struct rig *r, int vgpus)
{
	for (int i = 0; i < vgpus; i++)
		trace_detach(&r->v[i], 1);
	trace_destroy(r->m.trace);
}

static void add_turn(struct rig *r, int v, uint64_t start, uint64_t asked, enum trace_kind kind)
{
	trace_add(&r->v[v], &(struct trace_turn) { start, start + 10, asked, asked / 5, 7, 0, kind });
}

/* All of the ring: how many of a kind a vGPU has in it. */
static int count(struct rig *r, const char *uuid, const char *kind)
{
	uint64_t next = 0, dropped, thinned, last;
	int n = 0;

	do {
		json_t *before, *e, *list;
		size_t i;

		last = next;
		list = trace_read(r->m.trace, last, 1000, &before, &next, &dropped, &thinned);
		json_array_foreach(list, i, e)
			n += !strcmp(json_string_value(json_object_get(e, "vgpu")), uuid) &&
			     !strcmp(json_string_value(json_object_get(e, "kind")), kind);
		json_decref(list);
		json_decref(before);
	} while (next != last);
	return n;
}

static void entries(void)
{
	static const char *const kinds[] = { "params", "wake", "yielded", "params", "sleep" };
	uint64_t next, dropped, thinned;
	json_t *list, *before, *e;
	struct rig r;

	setup(&r, 1);
	trace_demand(&r.v[0], true, 100);
	trace_demand(&r.v[0], true, 101); /* said before */
	add_turn(&r, 0, 110, 115, TRACE_YIELDED);
	trace_add(&r.v[0], &(struct trace_turn) { 130, 130, 0, 0, 0, 0, TRACE_RUN }); /* nothing */
	trace_params(&r.v[0], 140); /* as they were */
	r.v[0].entity.params.cap_percent = 30;
	trace_params(&r.v[0], 150);
	trace_demand(&r.v[0], false, 160);
	list = trace_read(r.m.trace, 0, 100, &before, &next, &dropped, &thinned);
	CHECK_EQ(json_array_size(list), 5);
	for (size_t i = 0; i < 5; i++)
		CHECK_STR(json_string_value(json_object_get(json_array_get(list, i), "kind")), kinds[i]);
	e = json_array_get(list, 2);
	CHECK_STR(json_string_value(json_object_get(e, "pgpu")), "gpu0");
	CHECK_EQ(json_integer_value(json_object_get(e, "asked_ns")), 115);
	CHECK_EQ(json_integer_value(json_object_get(e, "late_ns")), 23);
	CHECK_EQ(json_integer_value(json_object_get(e, "used_ns")), 7);
	CHECK_EQ(json_integer_value(json_object_get(e, "end_ns")), 120);
	CHECK_EQ(json_integer_value(json_object_get(json_array_get(list, 3), "cap")), 30);
	CHECK_EQ(next, 5);
	CHECK_EQ(dropped + thinned, 0);
	CHECK_EQ(json_array_size(before), 0); /* all of it is in the list */
	json_decref(list);
	json_decref(before);
	list = trace_read(r.m.trace, 4, 100, &before, &next, &dropped, &thinned);
	CHECK_EQ(json_array_size(list), 1);
	CHECK(!before);
	json_decref(list);
	teardown(&r, 1);
}

/* What was overwritten still tells how things stood. */
static void before_the_oldest(void)
{
	uint64_t next, dropped, thinned;
	json_t *list, *before, *v;
	struct rig r;

	setup(&r, 2);
	trace_demand(&r.v[0], true, 100);
	r.v[0].entity.params.weight = 200;
	trace_params(&r.v[0], 101);
	for (uint32_t i = 0; i < TRACE_INTERVALS; i++)
		add_turn(&r, 1, 1000 + 10 * i, 0, TRACE_RUN);
	trace_demand(&r.v[0], false, 1 << 30);
	list = trace_read(r.m.trace, 0, 1, &before, &next, &dropped, &thinned);
	CHECK_EQ(dropped, 5);
	CHECK_EQ(json_array_size(before), 2);
	v = json_array_get(before, 0);
	CHECK_STR(json_string_value(json_object_get(v, "name")), "v0");
	CHECK(json_is_true(json_object_get(v, "wants")));
	CHECK_EQ(json_integer_value(json_object_get(v, "weight")), 200);
	CHECK(json_is_false(json_object_get(json_array_get(before, 1), "wants")));
	json_decref(list);
	json_decref(before);
	/* Gone and overwritten: forgotten. */
	trace_detach(&r.v[0], 1 << 30);
	for (uint32_t i = 0; i < TRACE_INTERVALS; i++)
		add_turn(&r, 1, 1000 + 10 * i, 0, TRACE_RUN);
	list = trace_read(r.m.trace, 0, 1, &before, &next, &dropped, &thinned);
	CHECK_EQ(json_array_size(before), 1);
	json_decref(list);
	json_decref(before);
	trace_detach(&r.v[1], 1 << 30);
	trace_destroy(r.m.trace);
}

/* Nobody who reads all of it keeps one that is gone in his picture. */
static void removed(void)
{
	uint64_t next, dropped, thinned;
	json_t *list, *before, *e;
	struct rig r;

	setup(&r, 2);
	trace_demand(&r.v[0], true, 100);
	trace_detach(&r.v[0], 150);
	add_turn(&r, 1, 200, 0, TRACE_RUN);
	list = trace_read(r.m.trace, 0, 100, &before, &next, &dropped, &thinned);
	CHECK_EQ(json_array_size(list), 6); /* params twice, wake, sleep, removed, the turn */
	CHECK_STR(json_string_value(json_object_get(json_array_get(list, 3), "kind")), "sleep");
	e = json_array_get(list, 4);
	CHECK_STR(json_string_value(json_object_get(e, "kind")), "removed");
	CHECK_STR(json_string_value(json_object_get(e, "vgpu")), "uuid-0");
	CHECK_EQ(json_integer_value(json_object_get(e, "start_ns")), 150);
	CHECK_EQ(json_integer_value(json_object_get(e, "end_ns")), 150);
	CHECK(!json_object_get(e, "used_ns") && !json_object_get(e, "weight"));
	json_decref(list);
	json_decref(before);
	/* As long as one of its entries is left, it was there before; that one tells that it is gone. */
	for (uint32_t i = 0; i < TRACE_INTERVALS - 2; i++)
		add_turn(&r, 1, 1000 + 10 * i, 0, TRACE_RUN);
	list = trace_read(r.m.trace, 0, 1, &before, &next, &dropped, &thinned);
	CHECK_STR(json_string_value(json_object_get(json_array_get(list, 0), "kind")), "removed");
	CHECK_EQ(json_array_size(before), 2);
	json_decref(list);
	json_decref(before);
	add_turn(&r, 1, 1 << 30, 0, TRACE_RUN);
	list = trace_read(r.m.trace, 0, 1, &before, &next, &dropped, &thinned);
	CHECK_STR(json_string_value(json_object_get(json_array_get(list, 0), "kind")), "run");
	CHECK_EQ(json_array_size(before), 1);
	CHECK_STR(json_string_value(json_object_get(json_array_get(before, 0), "name")), "v1");
	json_decref(list);
	json_decref(before);
	trace_detach(&r.v[1], 1ull << 31);
	trace_destroy(r.m.trace);
}

static void flood(void)
{
	uint64_t next, dropped, thinned;
	json_t *list, *before;
	struct rig r;

	setup(&r, 8);
	for (uint32_t i = 0; i < 100; i++)
		add_turn(&r, 1, 1000 + 10 * i, 0, TRACE_RUN);
	for (uint32_t i = 0; i < 4 * TRACE_INTERVALS; i++)
		trace_demand(&r.v[0], i % 2 == 0, 5000 + i);
	/* Another one's wakes, and who ran, are all there. */
	trace_demand(&r.v[2], true, 10000000);
	CHECK_EQ(count(&r, "uuid-1", "run"), 100);
	CHECK_EQ(count(&r, "uuid-2", "wake"), 1);
	CHECK_EQ(count(&r, "uuid-0", "wake"), TRACE_INTERVALS / 2 / 8 / 2);
	CHECK_EQ(count(&r, "uuid-0", "sleep"), TRACE_INTERVALS / 2 / 8 / 2);
	list = trace_read(r.m.trace, 0, 1, &before, &next, &dropped, &thinned);
	CHECK_EQ(thinned, 4 * TRACE_INTERVALS - TRACE_INTERVALS / 2 / 8);
	CHECK_EQ(dropped, 0);
	json_decref(list);
	json_decref(before);
	/* When its old ones are overwritten there is room for new ones, in pairs. */
	for (uint32_t i = 0; i < TRACE_INTERVALS; i++)
		add_turn(&r, 1, 1000 + 10 * i, 0, TRACE_RUN);
	trace_demand(&r.v[0], true, 20000000);
	trace_demand(&r.v[0], false, 20000001);
	CHECK_EQ(count(&r, "uuid-0", "wake"), 1);
	CHECK_EQ(count(&r, "uuid-0", "sleep"), 1);
	teardown(&r, 8);
}

/* Who sleeps after each turn, for as long as it likes, has all of it told. */
static void in_turns(void)
{
	uint64_t next, dropped, thinned;
	json_t *list, *before;
	struct rig r;

	setup(&r, 8);
	for (uint32_t i = 0; i < TRACE_INTERVALS; i++) {
		trace_demand(&r.v[0], true, 5000 + 100 * i);
		add_turn(&r, 0, 5020 + 100 * i, 0, TRACE_RUN);
		trace_demand(&r.v[0], false, 5040 + 100 * i);
	}
	CHECK_EQ(count(&r, "uuid-0", "wake"), TRACE_INTERVALS / 3);
	list = trace_read(r.m.trace, 0, 1, &before, &next, &dropped, &thinned);
	CHECK_EQ(thinned, 0);
	json_decref(list);
	json_decref(before);
	teardown(&r, 8);
}

int main(void)
{
	static const struct check_case cases[] = { { "entries", entries },
						   { "before-the-oldest", before_the_oldest },
						   { "removed", removed },
						   { "in-turns", in_turns },
						   { "flood", flood, 60 } };

	return check_main(cases, sizeof(cases) / sizeof(cases[0]));
}
