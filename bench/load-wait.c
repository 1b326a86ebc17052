/* SPDX-License-Identifier: MIT */
/* See load-wait.h. Owned by the load generator's one thread. */
#include "load-wait.h"

#include <string.h>

#ifdef MDL_MICRO
#include "guest/micro/micro.h"

void load_wait_init(struct load_wait *w)
{
	*w = (struct load_wait) { .seen = UINT64_MAX };
}

static int more(struct load_wait *w)
{
	uint64_t count = micro_irq_count(MICRO_INPUT);
	int n;

	/* Asking costs an exit: only when something may be there. */
	if (w->seen == count)
		return 0;
	n = micro_input_read(w->text + w->used, sizeof(w->text) - w->used);
	if (n == 0)
		w->seen = count;
	return n;
}

void load_wait(struct load_wait *w, const struct mdl_fence *fence, uint64_t until_ns)
{
	/* Before looking: an interrupt that comes after the look ends the wait. */
	uint64_t seen = micro_irq_count(MICRO_IRQ_ANY), now = micro_now_ns();

	if ((fence && mdl_fence_poll(fence)) || w->seen != micro_irq_count(MICRO_INPUT) ||
	    now >= until_ns)
		return;
	micro_irq_wait(MICRO_IRQ_ANY, seen,
		       until_ns == UINT64_MAX ? MICRO_FOREVER : until_ns - now);
}

#else
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define SLICE_NS (5 * MDL_NS_PER_MS) /* commands wait no longer than this */

void load_wait_init(struct load_wait *w)
{
	*w = (struct load_wait) { 0 };
}

static int look(uint64_t ns)
{
	const struct timespec ts = { .tv_sec = (time_t)(ns / MDL_NS_PER_S),
				     .tv_nsec = (long)(ns % MDL_NS_PER_S) };
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

	return ppoll(&p, 1, &ts, NULL);
}

static int more(struct load_wait *w)
{
	ssize_t n;

	if (look(0) <= 0)
		return 0;
	n = read(STDIN_FILENO, w->text + w->used, sizeof(w->text) - w->used);
	return n > 0 ? (int)n : -ESHUTDOWN;
}

void load_wait(struct load_wait *w, const struct mdl_fence *fence, uint64_t until_ns)
{
	uint64_t now = mdl_now_ns(), left = until_ns > now ? until_ns - now : 0;

	if (fence)
		mdl_fence_wait(fence, (int64_t)mdl_min_u64(left, SLICE_NS));
	else
		look(mdl_min_u64(left, MDL_NS_PER_S));
}
#endif

int load_wait_line(struct load_wait *w, char *ret_line, size_t bytes)
{
	char *end;
	size_t n;
	int r = 1;

	while (!(end = memchr(w->text, '\n', w->used)) && w->used < sizeof(w->text)) {
		r = more(w);
		if (r <= 0)
			return r;
		w->used += (size_t)r;
	}
	n = end ? (size_t)(end - w->text) : w->used;
	if (n >= bytes)
		return -ESHUTDOWN; /* no line of ours */
	memcpy(ret_line, w->text, n);
	ret_line[n] = 0;
	n += end != NULL;
	memmove(w->text, w->text + n, w->used - n);
	w->used -= n;
	return 1;
}
