/* SPDX-License-Identifier: MIT */
/*
 * The shadow page table of a context: the sorted list of runs that its executor has mapped, and the
 * `lazy` way of keeping it: at an invalidate the range is walked again, the result compared with
 * the list, and only the difference sent, unmaps before maps.
 *
 * The list is an array that is rebuilt for each change: one copy of at most MDL_RUNS_MAX runs, far
 * cheaper than the mappings that follow. Changes are sent in batches of MDL_MAP_BATCH; the list
 * changes only when all of them are in force.
 *
 * Left out: the other shadow strategies. Owned by the caller's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "priv.h"

static uint64_t run_end(const struct mdl_run *r)
{
	return r->va + r->bytes;
}

static bool continues(const struct mdl_run *a, const struct mdl_run *b)
{
	return run_end(a) == b->va && a->mem == b->mem && a->prot == b->prot &&
	       a->offset + a->bytes == b->offset &&
	       (a->mem == MDL_MEM_VRAM || a->gpa + a->bytes == b->gpa);
}

/*
 * Makes room for more runs. Up to twice the limit: cutting runs in two while taking memory away may
 * pass it, an invalidate may not.
 */
static int reserve(struct mdl_runs *r, size_t more)
{
	size_t cap = r->cap ? r->cap : 16;
	struct mdl_run *grown;

	if (more > 2 * MDL_RUNS_MAX - r->count)
		return -ENOSPC;
	if (r->count + more <= r->cap)
		return 0;
	while (cap < r->count + more)
		cap *= 2;
	grown = reallocarray(r->run, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->run = grown;
	r->cap = cap;
	return 0;
}

int mdl_runs_add(struct mdl_runs *r, const struct mdl_run *run)
{
	int ret;

	if (r->count && continues(&r->run[r->count - 1], run)) {
		r->run[r->count - 1].bytes += run->bytes;
		return 0;
	}
	ret = reserve(r, 1);
	if (ret < 0)
		return ret;
	r->run[r->count++] = *run;
	return 0;
}

/* Appends a piece of another list, which is coalesced in itself. */
static int append(struct mdl_runs *r, const struct mdl_run *run, size_t count)
{
	int ret;

	if (!count)
		return 0;
	ret = mdl_runs_add(r, &run[0]);
	if (ret == 0)
		ret = reserve(r, count - 1);
	if (ret < 0)
		return ret;
	memcpy(&r->run[r->count], &run[1], (count - 1) * sizeof(*run));
	r->count += count - 1;
	return 0;
}

void mdl_runs_free(struct mdl_runs *r)
{
	free(r->run);
	*r = (struct mdl_runs) { 0 };
}

/* The part of a run inside [start, end), which it must reach into. */
static struct mdl_run clip(const struct mdl_run *r, uint64_t start, uint64_t end)
{
	struct mdl_run part = *r;
	uint64_t skip = start > r->va ? start - r->va : 0;

	part.va += skip;
	part.offset += skip;
	if (part.mem != MDL_MEM_VRAM)
		part.gpa += skip;
	part.bytes = mdl_min_u64(run_end(r), end) - part.va;
	return part;
}

/* Index of the first run that ends behind va. */
static size_t first_behind(const struct mdl_runs *r, uint64_t va)
{
	size_t lo = 0, hi = r->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (run_end(&r->run[mid]) <= va)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct batch {
	struct mdl_vgpu *v;
	uint32_t ctx;
	size_t count;
	struct mdl_map_entry entry[MDL_MAP_BATCH];
};

static int batch_flush(struct batch *b)
{
	int ret = 0;

	if (b->count)
		ret = mdl_ctx_map(b->v, b->ctx, b->entry, b->count);
	b->count = 0;
	return ret;
}

static int batch_add(struct batch *b, const struct mdl_map_entry *e)
{
	struct mdl_map_entry *last = b->count ? &b->entry[b->count - 1] : NULL;

	if (last && last->op == e->op && last->va + last->bytes == e->va &&
	    (e->op == MDL_MAP_UNMAP || (last->mem == e->mem && last->prot == e->prot &&
					last->offset + last->bytes == e->offset))) {
		last->bytes += e->bytes;
		return 0;
	}
	if (b->count == MDL_MAP_BATCH) {
		int ret = batch_flush(b);

		if (ret < 0)
			return ret;
	}
	b->entry[b->count++] = *e;
	return 0;
}

/* Same memory with the same rights at pos, where both runs are. */
static bool same_at(const struct mdl_run *a, const struct mdl_run *b, uint64_t pos)
{
	return a->mem == b->mem && a->prot == b->prot &&
	       a->offset + (pos - a->va) == b->offset + (pos - b->va);
}

/*
 * Compares two lists in [start, end), piece by piece where either begins or ends, and sends one
 * kind of change: what only `old` has (op UNMAP) or what `new` has differently (op MAP, which
 * replaces).
 */
static int send_difference(struct batch *b, enum mdl_map_op op, const struct mdl_runs *old,
			   const struct mdl_runs *new, uint64_t start, uint64_t end)
{
	size_t i = first_behind(old, start), j = first_behind(new, start);
	uint64_t pos = start;

	while (pos < end) {
		const struct mdl_run *o = i < old->count ? &old->run[i] : NULL;
		const struct mdl_run *n = j < new->count ? &new->run[j] : NULL;
		bool in_o = o && o->va <= pos, in_n = n && n->va <= pos;
		uint64_t stop = end;
		int ret = 0;

		if (o)
			stop = mdl_min_u64(stop, in_o ? run_end(o) : o->va);
		if (n)
			stop = mdl_min_u64(stop, in_n ? run_end(n) : n->va);
		if (op == MDL_MAP_UNMAP && in_o && !in_n)
			ret = batch_add(b, &(struct mdl_map_entry) {
						   .op = op,
						   .va = pos,
						   .bytes = stop - pos,
					   });
		else if (op == MDL_MAP_MAP && in_n && !(in_o && same_at(o, n, pos)))
			ret = batch_add(b, &(struct mdl_map_entry) {
						   .op = op,
						   .prot = n->prot,
						   .va = pos,
						   .bytes = stop - pos,
						   .offset = n->offset + (pos - n->va),
						   .mem = n->mem,
					   });
		if (ret < 0)
			return ret;
		pos = stop;
		i += in_o && run_end(o) == pos;
		j += in_n && run_end(n) == pos;
	}
	return 0;
}

/*
 * Turns the executor's mappings in [start, end) from the context's list into v->next, which then
 * becomes the list.
 */
static int commit_next(struct mdl_vgpu *v, uint32_t ctx, uint64_t start, uint64_t end)
{
	struct mdl_runs *runs = &v->ctx[ctx].runs, old;
	struct batch b = { .v = v, .ctx = ctx };
	int ret;

	ret = send_difference(&b, MDL_MAP_UNMAP, runs, &v->next, start, end);
	if (ret == 0)
		ret = send_difference(&b, MDL_MAP_MAP, runs, &v->next, start, end);
	if (ret == 0)
		ret = batch_flush(&b);
	if (ret < 0)
		return ret;
	old = *runs;
	*runs = v->next;
	v->next = old;
	return 0;
}

static uint64_t total_bytes(const struct mdl_runs *r)
{
	uint64_t total = 0;

	for (size_t i = 0; i < r->count; i++)
		total += r->run[i].bytes;
	return total;
}

/*
 * Runs do not overlap, so their total stays below 2^48; what the VM owns may not, so the limit is
 * compared by division.
 */
static bool over_limits(const struct mdl_vgpu *v, const struct mdl_runs *r)
{
	uint64_t dma = mdl_dma_total_bytes(v), vram = v->config.vram_bytes;
	uint64_t owned = dma > UINT64_MAX - vram ? UINT64_MAX : dma + vram;

	return r->count > MDL_RUNS_MAX || total_bytes(r) / MDL_ALIAS_MAX > owned;
}

/* What a list has before va. */
static int append_before(struct mdl_runs *r, const struct mdl_runs *old, uint64_t va)
{
	size_t whole = first_behind(old, va);
	int ret = append(r, old->run, whole);

	if (ret == 0 && whole < old->count && old->run[whole].va < va) {
		struct mdl_run part = clip(&old->run[whole], 0, va);

		ret = mdl_runs_add(r, &part);
	}
	return ret;
}

/* What a list has from va on. */
static int append_from(struct mdl_runs *r, const struct mdl_runs *old, uint64_t va)
{
	size_t i = first_behind(old, va);
	int ret = 0;

	if (i < old->count && old->run[i].va < va) {
		struct mdl_run part = clip(&old->run[i], va, MDL_VA_END);

		ret = mdl_runs_add(r, &part);
		i++;
	}
	if (ret == 0 && i < old->count)
		ret = append(r, &old->run[i], old->count - i);
	return ret;
}

int mdl_shadow_replace(struct mdl_vgpu *v, uint32_t ctx, uint64_t start, uint64_t end)
{
	const struct mdl_runs *old = &v->ctx[ctx].runs;
	struct mdl_runs *next = &v->next;
	int ret;

	next->count = 0;
	ret = append_before(next, old, start);
	if (ret == 0)
		ret = append(next, v->found.run, v->found.count);
	if (ret == 0)
		ret = append_from(next, old, end);
	if (ret < 0)
		return ret;
	if (over_limits(v, next))
		return -ENOSPC;
	return commit_next(v, ctx, start, end);
}

int mdl_shadow_remove_gpa(struct mdl_vgpu *v, uint32_t ctx, uint64_t gpa, uint64_t bytes)
{
	const struct mdl_runs *old = &v->ctx[ctx].runs;
	int ret = 0;

	v->next.count = 0;
	for (size_t i = 0; ret == 0 && i < old->count; i++) {
		const struct mdl_run *r = &old->run[i];
		uint64_t cut, cut_end;
		struct mdl_run part;

		if (r->mem == MDL_MEM_VRAM || !mdl_range_overlap(r->gpa, r->bytes, gpa, bytes)) {
			ret = mdl_runs_add(&v->next, r);
			continue;
		}
		cut = r->va + (gpa > r->gpa ? gpa - r->gpa : 0);
		cut_end = r->va + mdl_min_u64(r->bytes, gpa + bytes - r->gpa);
		if (r->va < cut) {
			part = clip(r, 0, cut);
			ret = mdl_runs_add(&v->next, &part);
		}
		if (ret == 0 && cut_end < run_end(r)) {
			part = clip(r, cut_end, MDL_VA_END);
			ret = mdl_runs_add(&v->next, &part);
		}
	}
	if (ret < 0)
		return ret;
	return commit_next(v, ctx, 0, MDL_VA_END);
}
