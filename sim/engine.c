/* SPDX-License-Identifier: MIT */
/*
 * Virtual time: pGPUs with a scheduler each, vGPUs with kernels to run, and the next event of each
 * in one queue. A pGPU's event is its scheduler's deadline, the end of the running kernel or the
 * moment at which a stop takes effect; a vGPU's is its guest's next wish.
 *
 * An executor is modelled as it behaves: asked for the lease, it gives it back at the end of its
 * kernel (a disobedient one never); stopped, it goes on for stop_ns. A grant costs switch_ns before
 * the first instruction. The kernel that was stopped goes on at the next grant. Recorded guests take
 * as long for all of that as they did on average.
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- time used ---- */

uint64_t sim_used(const struct sim_vgpu *v)
{
	const struct sim_gpu *g = v->gpu;
	uint64_t now = g->sim->now;

	return v->used +
	       (g->runs == v && now > g->started ? mdl_min_u64(now - g->started, v->left) : 0);
}

uint64_t sim_awake(const struct sim_vgpu *v)
{
	return v->awake_ns + (v->awake_since == SIM_NEVER ? 0 : v->gpu->sim->now - v->awake_since);
}

static bool thinks(const struct sim_group *group)
{
	return group->kind == SIM_REPLAY ||
	       (group->kind == SIM_LOOP && (group->think.choices > 1 || group->think.ns[0]));
}

bool sim_knows_demand(const struct sim_group *group)
{
	return thinks(group) || group->kind == SIM_WAKER;
}

/* Books what the running kernel has done so far. */
static void settle_use(struct sim_gpu *g)
{
	struct sim_vgpu *v = g->runs;
	uint64_t now = g->sim->now, ran;

	if (!v || now <= g->started)
		return;
	ran = mdl_min_u64(now - g->started, v->left);
	v->ran += ran;
	v->used += ran;
	if (v->left != SIM_ENDLESS)
		v->left -= ran;
	g->started = now;
	mdl_sched_charge(g->sched, &v->entity, ran, now);
}

/* ---- guests ---- */

static void set_next(struct sim_vgpu *v, uint64_t at)
{
	v->next = at;
	sim_queue_set(&v->gpu->sim->queue, v->gpu->sim->gpus + v->number, at);
}

/* The next kernel, if one is there now. */
static bool take_work(struct sim_vgpu *v)
{
	struct sim_group *group = v->group;
	uint64_t now = v->gpu->sim->now;

	v->ran = 0;
	switch (group->kind) {
	case SIM_LOOP:
		v->left = sim_draw(&group->kernel, &v->rng);
		v->since = now;
		break;
	case SIM_SLEEPER:
		if (now >= v->phase_end)
			return false;
		v->left = sim_draw(&group->kernel, &v->rng);
		v->since = now;
		break;
	case SIM_ENDLESS_KERNEL:
		v->left = SIM_ENDLESS;
		return true;
	case SIM_REPLAY:
		if (v->item_at > now)
			return false;
		v->left = v->replay->item[v->item++ % v->replay->items].work;
		v->since = now;
		break;
	case SIM_WAKER:
		if (!v->pending_count)
			return false;
		v->since = v->pending[v->pending_first];
		v->pending_first = (v->pending_first + 1) % SIM_PENDING;
		v->pending_count--;
		v->left = sim_draw(&group->kernel, &v->rng);
		break;
	}
	v->left = mdl_max_u64(v->left, 1);
	v->offered += v->left;
	return true;
}

/* A recorded guest's next piece of work, after the trace's end the first one again. */
static void think_on(struct sim_vgpu *v, uint64_t from)
{
	const struct sim_replay *r = v->replay;
	size_t item = r->items ? v->item % r->items : 0;

	if (!r->items)
		return;
	v->item_at = from + r->item[item].think + (v->item && !item ? r->tail_ns : 0);
	/* Never at once: it has to be asleep for a moment. */
	v->item_at = mdl_max_u64(v->item_at, v->gpu->sim->now + 1);
	set_next(v, v->item_at);
}

/* What a guest does when it has nothing more to run. */
static void fall_asleep(struct sim_vgpu *v)
{
	uint64_t now = v->gpu->sim->now;

	v->awake_ns = sim_awake(v);
	v->awake_since = SIM_NEVER;
	if (v->group->kind == SIM_LOOP)
		set_next(v, now + sim_draw(&v->group->think, &v->rng));
	else if (v->group->kind == SIM_SLEEPER)
		set_next(v, now + mdl_max_u64(sim_draw(&v->group->sleep, &v->rng), 1));
	else if (v->group->kind == SIM_REPLAY)
		think_on(v, now + v->replay->rest_ns);
}

/* Its event: new work may have come. */
static void guest_event(struct sim_vgpu *v)
{
	struct sim_gpu *g = v->gpu;
	uint64_t now = g->sim->now;

	set_next(v, SIM_NEVER);
	if (v->group->kind == SIM_WAKER) {
		for (uint32_t i = 0; i < v->group->batch; i++) {
			if (v->pending_count == SIM_PENDING) {
				v->group->dropped++;
				continue;
			}
			v->pending[(v->pending_first + v->pending_count++) % SIM_PENDING] = now;
		}
		set_next(v, now + mdl_max_u64(sim_draw(&v->group->every, &v->rng), 1));
	} else if (v->group->kind == SIM_SLEEPER) {
		v->phase_end = now + sim_draw(&v->group->run, &v->rng);
	}
	if (v->left || !take_work(v))
		return;
	v->awake_since = now;
	g->idle_at = mdl_sched_holder(g->sched) == &v->entity ? SIM_NEVER : g->idle_at;
	if (mdl_sched_holder(g->sched) == &v->entity) {
		g->runs = v;
		g->started = now;
	}
	mdl_sched_wake(g->sched, &v->entity, now);
}

/* ---- a pGPU ---- */

/* A kernel has ended. Whether its guest has another one. */
static bool complete(struct sim_vgpu *v)
{
	struct sim *s = v->gpu->sim;

	v->left = 0;
	v->kernels++;
	if (s->now > s->warmup_ns)
		sim_hist_add(&v->group->latency, s->now - v->since);
	if (!thinks(v->group) && take_work(v))
		return true;
	v->gpu->runs = NULL;
	fall_asleep(v);
	return false;
}

/* The holder has given the lease back, or lost it. Whether it wants it again. */
static bool leave(struct sim_gpu *g)
{
	bool more = false;

	settle_use(g);
	/* Its kernel may have ended at this very moment. */
	if (g->runs)
		more = g->runs->left || complete(g->runs);
	g->runs = NULL;
	g->asked = false;
	g->stop_at = g->idle_at = SIM_NEVER;
	return more;
}

static void on_grant(void *ctx, struct mdl_sched_entity *e)
{
	struct sim_gpu *g = ctx;
	struct sim_vgpu *v = e->owner;

	g->switches++;
	g->runs = v->left ? v : NULL;
	g->started = g->sim->now + (v->replay && !g->sim->switch_given ? v->replay->switch_ns
								       : g->sim->switch_ns);
}

static bool on_take(void *ctx, struct mdl_sched_entity *e, bool over, bool *ret_awake)
{
	struct sim_gpu *g = ctx;

	if (g->runs)
		return false;
	*ret_awake = leave(g);
	return true;
}

static uint64_t on_ask(void *ctx, struct mdl_sched_entity *e)
{
	struct sim_gpu *g = ctx;
	struct sim_vgpu *v = e->owner;

	settle_use(g);
	if (v->replay && g->runs) {
		/*
		 * As often as it did, it will have to be stopped. The grace that it then got is in
		 * the time that its stops took.
		 */
		g->asked = (double)(sim_random(&v->rng) >> 11) / 9007199254740992.0 >=
			   v->replay->stopped_part;
		if (g->asked)
			g->stop_at = g->sim->now + v->replay->yield_ns;
		return g->asked ? 0 : SIM_NEVER;
	}
	/* Not begun yet: there is nothing to wait for. */
	if (!g->runs || (!v->group->disobeys && g->sim->now < g->started))
		mdl_sched_released(g->sched, e, leave(g), g->sim->now);
	else
		g->asked = !v->group->disobeys;
	return v->ran;
}

/* What a recorded guest gets after its turn, until it stands still: some tens of microseconds, so counted at once. */
static void overrun(struct sim_gpu *g)
{
	struct sim_vgpu *v = g->runs;
	uint64_t ran = v && v->left ? mdl_min_u64(v->replay->overrun_ns, v->left - 1) : 0;

	if (!ran)
		return;
	v->used += ran;
	if (v->left != SIM_ENDLESS)
		v->left -= ran;
	mdl_sched_charge(g->sched, &v->entity, ran, g->sim->now);
}

static void on_stop(void *ctx, struct mdl_sched_entity *e)
{
	struct sim_gpu *g = ctx;

	struct sim_vgpu *v = e->owner;
	uint64_t takes = v->replay && !g->sim->stop_given ? v->replay->stop_ns : g->sim->stop_ns;

	g->stops++;
	/* The part of that in which it does not run; before the rest of it or after makes no difference. */
	if (v->replay && !g->sim->stop_given) {
		settle_use(g);
		g->started = mdl_max_u64(g->started, g->sim->now) + v->replay->lost_ns;
		overrun(g);
	}
	if (takes)
		g->stop_at = g->sim->now + takes;
	else
		mdl_sched_released(g->sched, e, leave(g), g->sim->now);
}

static void on_expire(void *ctx, struct mdl_sched_entity *e)
{
	leave(ctx);
}

static void on_account(void *ctx, struct mdl_sched_entity *e)
{
	settle_use(ctx);
}

static const struct mdl_sched_actions actions = {
	.grant = on_grant,
	.take = on_take,
	.ask = on_ask,
	.stop = on_stop,
	.expire = on_expire,
	.account = on_account,
};

/* The kernel that ran has ended, and that had no part in a turn's end. */
static void kernel_done(struct sim_gpu *g)
{
	struct sim_vgpu *v = g->runs;
	uint64_t now = g->sim->now;

	if (g->asked || !complete(v)) {
		bool asked = g->asked || v->entity.state > MDL_SCHED_HOLDING, more = leave(g);

		if (asked)
			mdl_sched_released(g->sched, &v->entity, more, now);
		else if (v->replay && v->replay->rest_ns)
			g->idle_at = now + v->replay->rest_ns;
		else
			mdl_sched_sleep(g->sched, &v->entity, now);
	}
}

static void gpu_event(struct sim_gpu *g)
{
	uint64_t now = g->sim->now;

	settle_use(g);
	if (g->runs && !g->runs->left)
		kernel_done(g);
	if (g->idle_at <= now) {
		g->idle_at = SIM_NEVER;
		mdl_sched_sleep(g->sched, mdl_sched_holder(g->sched), now);
	}
	if (g->stop_at <= now) {
		struct mdl_sched_entity *e = mdl_sched_holder(g->sched);

		mdl_sched_released(g->sched, e, leave(g), now);
	}
	mdl_sched_run(g->sched, now);
}

/* The scheduler's; a turn's end is as late as it was on average. */
static uint64_t deadline(const struct sim_gpu *g)
{
	const struct mdl_sched_entity *e = mdl_sched_holder(g->sched);
	const struct sim_vgpu *v = e ? e->owner : NULL;
	uint64_t at = mdl_sched_deadline(g->sched);

	if (at == MDL_SCHED_NEVER || !v || !v->replay || e->state != MDL_SCHED_HOLDING)
		return at;
	return at + v->replay->late_ns;
}

static void rearm(struct sim_gpu *g)
{
	uint64_t next = mdl_min_u64(deadline(g), mdl_min_u64(g->stop_at, g->idle_at));

	if (g->runs && g->runs->left != SIM_ENDLESS)
		next = mdl_min_u64(next, g->started + g->runs->left);
	sim_queue_set(&g->sim->queue, g->number, next);
}

/* ---- a run ---- */

/* spread: the one with the least weight; pack: the first. -1: none has room. */
static int64_t place(const struct sim *s, const struct mdl_sched_entity_params *p)
{
	int64_t best = -1;

	for (uint32_t i = 0; i < s->gpus; i++) {
		const struct sim_gpu *g = &s->gpu[i];

		if (g->count >= s->per_gpu ||
		    g->reserved + p->reservation_percent > MDL_SCHED_RESERVATION_MAX)
			continue;
		if (s->pack)
			return i;
		if (best < 0 || g->weight < s->gpu[best].weight)
			best = i;
	}
	return best;
}

static const struct mdl_sched_entity_params *params_of(const struct sim_vgpu *v)
{
	return v->replay ? &v->replay->params : &v->group->params;
}

static int add(struct sim *s, uint32_t number, struct sim_group *group, uint64_t *rng)
{
	struct sim_vgpu *v = &s->vgpu[number];
	const struct mdl_sched_entity_params *p = v->replay ? &v->replay->params : &group->params;
	/* A recorded one where it was, unless there are other pGPUs now. */
	int64_t at = v->replay && s->gpus == s->trace->gpus ? v->replay->gpu : place(s, p);
	struct sim_gpu *g;

	if (at < 0)
		return -ENOSPC;
	g = &s->gpu[at];
	v->entity.owner = v;
	v->group = group;
	v->gpu = g;
	v->number = number;
	v->rng = sim_random(rng);
	v->awake_since = SIM_NEVER;
	if (group->kind == SIM_WAKER && !(v->pending = calloc(SIM_PENDING, sizeof(*v->pending))))
		return -ENOMEM;
	*g->last = v;
	g->last = &v->gpu_next;
	g->count++;
	g->reserved += p->reservation_percent;
	g->weight += p->weight ? p->weight : 1;
	return mdl_sched_attach(g->sched, &v->entity, 0);
}

/*
 * Who was given a weight only has the corresponding share of what is not given away by name, for the policies that know no
 * weights. Those alike share equally anyway, which whole percents may not be.
 */
static int entitle(struct sim *s, struct sim_gpu *g)
{
	const struct sim_vgpu *first = NULL;
	uint64_t weights = 0, rest = 100;
	bool equal = true;

	for (struct sim_vgpu *v = g->vgpus; v; v = v->gpu_next) {
		if (v->group->explicit_share) {
			rest -= mdl_min_u64(rest, params_of(v)->share_percent);
			continue;
		}
		first = first ? first : v;
		equal &= params_of(v)->weight == params_of(first)->weight;
		weights += params_of(v)->weight;
	}
	for (struct sim_vgpu *v = g->vgpus; v; v = v->gpu_next) {
		struct mdl_sched_entity_params p = *params_of(v);
		int err;

		if (!v->group->explicit_share && !equal)
			p.share_percent = (uint32_t)(rest * p.weight / weights);
		err = mdl_sched_set_entity(g->sched, &v->entity, &p, 0);
		if (err)
			return err;
	}
	return 0;
}

static int start(struct sim *s)
{
	uint64_t rng = s->seed;
	uint32_t n = 0;
	int err;

	s->gpu = calloc(s->gpus, sizeof(*s->gpu));
	if (!s->gpu || (!s->vgpu && !(s->vgpu = calloc(s->vgpus, sizeof(*s->vgpu)))))
		return -ENOMEM;
	err = sim_queue_init(&s->queue, s->gpus + s->vgpus);
	for (uint32_t i = 0; !err && i < s->gpus; i++) {
		struct sim_gpu *g = &s->gpu[i];

		bool recorded = s->trace && s->trace->gpus == s->gpus;

		*g = (struct sim_gpu) {
			.sim = s, .number = i, .stop_at = SIM_NEVER, .idle_at = SIM_NEVER
		};
		g->last = &g->vgpus;
		err = mdl_sched_create(recorded ? s->trace->gpu[i].policy : s->policy,
				       recorded ? &s->trace->gpu[i].params : &s->params, &actions,
				       g, 0, &g->sched);
	}
	for (uint32_t i = 0; !err && i < s->groups; i++)
		for (uint32_t k = 0; !err && k < s->group[i].count; k++)
			err = add(s, n++, &s->group[i], &rng);
	for (uint32_t i = 0; !err && i < s->gpus; i++)
		err = entitle(s, &s->gpu[i]);
	if (err)
		return err;
	for (uint32_t i = 0; i < s->vgpus; i++) {
		struct sim_vgpu *v = &s->vgpu[i];
		uint64_t first = sim_random(&v->rng) % MDL_NS_PER_MS;

		/* Guests do not begin all at once. */
		if (v->group->kind == SIM_WAKER)
			first = sim_random(&v->rng) % (v->group->every.ns[0] + 1);
		else if (v->replay)
			first = v->item_at =
				v->replay->items ? v->replay->item[0].think : SIM_NEVER;
		set_next(v, first);
	}
	return sim_measure_init(s);
}

/* A recorded change of parameters. One that does not fit (parts of the trace are missing) is none. */
static void change(struct sim *s, const struct sim_change *c)
{
	struct sim_vgpu *v = &s->vgpu[c->vgpu];

	settle_use(v->gpu);
	mdl_sched_set_entity(v->gpu->sched, &v->entity, &c->params, s->now);
	rearm(v->gpu);
}

int sim_run(struct sim *s)
{
	uint64_t time, window;
	uint32_t item;
	int err = start(s);

	if (err)
		return err;
	window = sim_measure_next(s);
	while (sim_queue_first(&s->queue, &item, &time) || window <= s->end_ns) {
		struct sim_gpu *g;

		if (!s->queue.count)
			time = SIM_NEVER;
		/* A window ends before what happens at its end. */
		if (window <= time) {
			if (window > s->end_ns)
				break;
			s->now = window;
			sim_measure(s);
			window = sim_measure_next(s);
			continue;
		}
		if (s->change != s->change_end && s->change->at <= mdl_min_u64(time, s->end_ns)) {
			s->now = mdl_max_u64(s->now, s->change->at);
			change(s, s->change++);
			continue;
		}
		if (time > s->end_ns)
			break;
		assert(time >= s->now);
		s->now = time;
		s->events++;
		g = item < s->gpus ? &s->gpu[item] : s->vgpu[item - s->gpus].gpu;
		if (item < s->gpus)
			gpu_event(g);
		else
			guest_event(&s->vgpu[item - s->gpus]);
		rearm(g);
	}
	s->now = s->end_ns;
	return 0;
}

void sim_fini(struct sim *s)
{
	for (uint32_t i = 0; s->vgpu && i < s->vgpus; i++) {
		if (s->vgpu[i].gpu)
			mdl_sched_detach(s->vgpu[i].gpu->sched, &s->vgpu[i].entity, s->now);
		free(s->vgpu[i].pending);
	}
	for (uint32_t i = 0; s->gpu && i < s->gpus; i++)
		mdl_sched_destroy(s->gpu[i].sched);
	free(s->gpu);
	free(s->vgpu);
	sim_queue_fini(&s->queue);
	sim_measure_fini(s);
}
