/* SPDX-License-Identifier: MIT */
/*
 * The watchdog: a limit on the GPU time that one packet of one context may use. A context that
 * passes it is reset: its executor is killed, and CTX_LOST tells its device why and whose packet it
 * was. Other contexts of the same vGPU, and other vGPUs, go on.
 *
 * Time counts while the vGPU holds the GPU and the executor is busy, as for the accounts
 * (medleyd-account.c calls watchdog_count() whenever it looks); waiting and stopped time does not.
 * What it is that runs, and since when, is the executor's word (packet_since_ns of the lease page):
 * one that lies gains or loses its own guest's limit, and the grace of young kernels (sched.h).
 *
 * The time at which somebody can first be over it is kept in struct gpu, so the timer of the leases
 * serves here too, and a grant costs no system call more. Part of medleyd's one thread.
 */
#include "medleyd.h"

/* In one hold not looked at more often than this, whatever a page says. */
#define LOOK_NS MDL_NS_PER_MS

void watchdog_count(struct executor *x, uint64_t used, uint64_t now)
{
	/* Acquire: `packet`, read when it is too late, is not older than this. */
	uint64_t since = atomic_load_explicit(&x->lease->packet_since_ns, memory_order_acquire);

	if (since != x->packet_since_ns) {
		x->packet_since_ns = since;
		x->packet_ns = 0;
		used = mdl_min_u64(used, since < now ? now - since : 0);
	}
	x->packet_ns = since ? x->packet_ns + used : 0;
}

static void plan(struct vgpu *v, uint64_t now, uint64_t not_before)
{
	uint64_t left = v->kernel_limit_ns;

	v->gpu->watchdog_ns = MDL_SCHED_NEVER;
	if (!v->kernel_limit_ns || !lease_holding(v))
		return;
	for (const struct executor *x = v->executors; x; x = x->vgpu_next)
		if (!x->killed && x->packet_ns)
			left = mdl_min_u64(left, v->kernel_limit_ns > x->packet_ns ?
							 v->kernel_limit_ns - x->packet_ns :
							 0);
	v->gpu->watchdog_ns = mdl_max_u64(now + left, not_before);
}

void watchdog_begin_hold(struct vgpu *v, uint64_t now)
{
	plan(v, now, now);
}

void watchdog_end_hold(struct vgpu *v)
{
	v->gpu->watchdog_ns = MDL_SCHED_NEVER;
}

static void reset(struct executor *x)
{
	struct vgpu *v = x->vgpu;
	uint64_t packet = atomic_load_explicit(&x->lease->packet, memory_order_relaxed);

	x->lost_error = MDL_ERR_TIMEOUT;
	x->lost_chan = packet >> 32 < v->inst->type.channels ? (uint16_t)(packet >> 32) :
							       MDL_FAULT_NO_CHANNEL;
	x->lost_tag = (uint32_t)packet;
	v->resets++;
	mdl_log_limited(&v->lost_log, MDL_LOG_WARN,
			"%s: a kernel of context %u has used %.3f s of the GPU, its limit is %g s: "
			"context reset ('medley set %s --kernel-limit TIME' changes the limit)",
			v->inst->name, x->ctx, (double)x->packet_ns / MDL_NS_PER_S,
			(double)v->kernel_limit_ns / MDL_NS_PER_S, v->inst->name);
	if (!v->lost_log.dropped)
		api_event(v->m, "reset", v,
			  json_pack("{s:i, s:I}", "context", x->ctx, "ran_ns",
				    (json_int_t)x->packet_ns));
	executor_kill(x);
}

void watchdog_run(struct gpu *g, uint64_t now)
{
	struct mdl_sched_entity *e = mdl_sched_holder(g->sched);
	struct vgpu *v = e ? e->owner : NULL;

	if (now < g->watchdog_ns)
		return;
	g->watchdog_ns = MDL_SCHED_NEVER;
	if (!v)
		return;
	account_update(v, now);
	/* Before the kills: one of them may end the hold, and another begins. */
	plan(v, now, now + LOOK_NS);
	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		if (!x->killed && v->kernel_limit_ns && x->packet_ns >= v->kernel_limit_ns)
			reset(x);
}

void watchdog_rearm(struct vgpu *v)
{
	uint64_t now = mdl_now_ns();

	if (!lease_holding(v))
		return;
	account_update(v, now);
	plan(v, now, now);
	lease_rearm(v->gpu);
}
