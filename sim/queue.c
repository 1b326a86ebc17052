/* SPDX-License-Identifier: MIT */
/* The event queue: a binary heap of item numbers, each at most once, that knows where each one is. */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>

#define ABSENT UINT32_MAX

int sim_queue_init(struct sim_queue *q, uint32_t items)
{
	*q = (struct sim_queue) { .items = items };
	q->heap = calloc(items, sizeof(*q->heap));
	q->where = calloc(items, sizeof(*q->where));
	q->time = calloc(items, sizeof(*q->time));
	if (!q->heap || !q->where || !q->time) {
		sim_queue_fini(q);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < items; i++)
		q->where[i] = ABSENT;
	return 0;
}

void sim_queue_fini(struct sim_queue *q)
{
	free(q->heap);
	free(q->where);
	free(q->time);
	*q = (struct sim_queue) { 0 };
}

static bool before(const struct sim_queue *q, uint32_t a, uint32_t b)
{
	return q->time[a] < q->time[b] || (q->time[a] == q->time[b] && a < b);
}

static void put(struct sim_queue *q, uint32_t at, uint32_t item)
{
	q->heap[at] = item;
	q->where[item] = at;
}

static void sift(struct sim_queue *q, uint32_t at)
{
	uint32_t item = q->heap[at], child;

	for (; at && before(q, item, q->heap[(at - 1) / 2]); at = (at - 1) / 2)
		put(q, at, q->heap[(at - 1) / 2]);
	while ((child = 2 * at + 1) < q->count) {
		if (child + 1 < q->count && before(q, q->heap[child + 1], q->heap[child]))
			child++;
		if (!before(q, q->heap[child], item))
			break;
		put(q, at, q->heap[child]);
		at = child;
	}
	put(q, at, item);
}

void sim_queue_set(struct sim_queue *q, uint32_t item, uint64_t time)
{
	uint32_t at = q->where[item];

	if (time == SIM_NEVER) {
		if (at == ABSENT)
			return;
		q->where[item] = ABSENT;
		if (at != --q->count) {
			put(q, at, q->heap[q->count]);
			sift(q, at);
		}
		return;
	}
	if (at != ABSENT && q->time[item] == time)
		return;
	q->time[item] = time;
	if (at == ABSENT)
		put(q, at = q->count++, item);
	sift(q, at);
}

bool sim_queue_first(const struct sim_queue *q, uint32_t *ret_item, uint64_t *ret_time)
{
	if (!q->count)
		return false;
	*ret_item = q->heap[0];
	*ret_time = q->time[q->heap[0]];
	return true;
}
