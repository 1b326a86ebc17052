/* SPDX-License-Identifier: MIT */
/*
 * medleyd, inside: the manager of one machine's GPUs. Its parts:
 *   medleyd.c           arguments, event loop, start and end
 *   medleyd-rundir.c    the runtime directory: lock, sockets, what a dead medleyd left
 *   medleyd-process.c   children: start, notice their end
 *   medleyd-reaper.c    gives up the numbers of ended ones, aside
 *   medleyd-vgpu.c      a vGPU's life: its device process, the link to it
 *   medleyd-executor.c  executors: the warm pool, handing them to contexts
 *   medleyd-warm.c      executors that do not get ready
 *   medleyd-lease.c     carries out the scheduler's decisions on lease pages and processes
 *   medleyd-place.c     moves front ends off CPUs that they must share
 *   medleyd-account.c   who used the GPU how long; executors that lie
 *   medleyd-watchdog.c  ends contexts whose kernels run too long
 *   medleyd-trace.c     who ran when, who wanted to, and with what parameters
 *   medleyd-api.c       API connections: lines in, lines out
 *   medleyd-methods.c   what the API can do
 *   medleyd-params.c    what its clients give: checks, and the parameters of vGPUs
 *   medleyd-describe.c  what they are told
 * One thread and one event loop run all of it but the reaper. Devices, executors, lease pages and API clients are
 * untrusted. Nothing here ever looks into guest memory.
 */
#ifndef MDL_DAEMON_MEDLEYD_H
#define MDL_DAEMON_MEDLEYD_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "base/util.h"
#include "daemon/param-limits.h"
#include "hw/medley_hw.h"
#include "ipc/ipc.h"
#include "ipc/lease.h"
#include "mdev/mdev.h"
#include "sched/sched.h"

/*
 * What must not wait goes first: taking and granting the GPU, then ends of processes, links, and
 * the API last.
 */
#define PRIORITY_LEASE (-100)
#define PRIORITY_CHILD (-50)
#define PRIORITY_LINK  0
#define PRIORITY_API   50
#define PRIORITY_POOL  100

#define EXECUTORS_MAX 512 /* of all vGPUs together; each costs a process with an OpenCL runtime */
#define EXECUTOR_HELPERS 4
#define SHARE_SAMPLES 16 /* of gpu_time, one each audit: a little more than a second, of one that is quiet more */

struct manager;

struct options {
	char *runtime_dir, *libexec_dir;
	char *compute_cpus; /* kernels run there and nothing else of ours; NULL: anywhere */
	uint64_t vram_bytes;
	uint32_t channels, compute_units, pool;
	struct mdl_sched_params sched;
	const struct mdl_sched_policy *policy;
	uint64_t kernel_limit_ns; /* of new vGPUs */
	uid_t uid_base;
	mode_t socket_mode;
	uid_t socket_uid;
	gid_t socket_gid;
};

/* ---- medleyd-reaper.c ---- */
struct reaper {
	pthread_t thread;
	int fd; /* where it reads process numbers */
	bool started;
};

int reaper_start(struct reaper *r);
/* The child has ended and nobody uses its number any more. Without a thread it is reaped at once. */
void reaper_take(struct reaper *r, pid_t pid);
/* Returns when all are reaped. */
void reaper_stop(struct reaper *r);

/* ---- medleyd-process.c ---- */
/* Pairs of user ids: the process itself, and for executors their compiler companion. */
#define UID_SLOTS (1u << 15)
struct process {
	struct manager *m;
	pid_t pid; /* 0: none */
	int pidfd;
	sd_event_source *source;
	void (*ended)(struct process *p, int status); /* reaped; status as of wait(2) */
	uint64_t cpu_ns; /* its CPU clock, when it is reaped */
	pid_t *thread; /* its threads, as of process_find_threads() */
	uint32_t threads;
	uint32_t uid_slot; /* 1 + its place in manager.uid_used; 0: none */
};

/* fds become 3, 4, ... in the child and stay the caller's. -errno. */
int process_start(struct process *p, struct manager *m, const char *program,
		  const char *const *args, const int *fds, size_t nfds,
		  void (*ended)(struct process *p, int status));
void process_signal(struct process *p, int sig);
/* Before process_stop(), when it has started all of its threads. */
void process_find_threads(struct process *p);
/* Stops all of it (SIGSTOP), as soon as any of them is on a CPU. */
void process_stop(struct process *p);
/*
 * CPU time so far; 0 when the process cannot be asked. What a thread that is on a CPU has used since
 * the last tick (4 ms) may be missing.
 */
uint64_t process_cpu_ns(pid_t pid);
/* The pids of its children, at most max; their number. */
size_t process_children(const struct process *p, pid_t *pids, size_t max);
/* Kills it and waits until it is gone; `ended` is not called. For the end of medleyd. */
void process_end_now(struct process *p);
void process_describe_end(int status, char *text, size_t bytes);

/* ---- medleyd-executor.c, medleyd-lease.c ---- */
struct executor {
	struct executor *prev, *next; /* in manager.executors */
	struct executor *vgpu_next; /* in vgpu.executors */
	struct manager *m;
	struct process process;
	struct mdl_lease *lease;
	int control, map; /* the device's ends, until they are handed over */
	int grant_fd, want_fd;
	sd_event_source *ready_source;
	uint64_t started_ns;
	bool warm;
	struct warming {
		uint64_t look_ns, cpu_ns; /* the last look, and the CPU clock when it last got on */
		uint32_t quiet; /* looks since */
	} warming;
	uint64_t warm_cpu_ns; /* what getting warm took */
	bool expected; /* its end was asked for: no reason for a log line */
	bool killed;
	bool faulted; /* its guest made it fault, says the device */
	bool nice; /* it warms up at low priority: nobody waits for it */
	struct vgpu *vgpu; /* NULL: in the pool, or finished with */
	uint32_t ctx;

	struct place *place; /* medleyd-place.c */
	bool stop_sent; /* SIGSTOP sent and not continued since */
	bool stopping; /* sent at the end of a turn; what it still gets is charged */
	bool still; /* and it has stopped; only within medleyd-lease.c */
	uint32_t stop_strikes; /* audits in which it worked though confined and stopped */
	bool confined; /* burns without lease: stopped whenever it has none */
	uint64_t confined_until_ns, confine_ns;

	uint64_t cpu_ns; /* process CPU clock at the last look */
	uint64_t hold_cpu_ns; /* and when its last hold began */
	uint64_t claim_ns; /* busy time by the page at the last look */
	uint64_t cpu_unleased_ns; /* CPU time without a lease since the last audit */
	int64_t burn_ns; /* CPU time that it may yet use without a lease */
	/* Its other processes, from before it had a guest: mapper, compiler. No lease stops them. */
	pid_t helper[EXECUTOR_HELPERS];
	uint32_t helpers, helper_strikes;
	uint64_t helper_cpu_ns;
	uint64_t commands, kernels, compile_ns; /* by the page, never decreasing */

	/* Of the watchdog: the packet that runs, by the page, and the GPU time that it has used. */
	uint64_t packet_since_ns, packet_ns;
	/* Why we killed it, for its device: error 0, nothing to add. */
	uint16_t lost_error, lost_chan;
	uint32_t lost_tag;
};

int executor_pool_start(struct manager *m);
void executor_pool_stop(struct manager *m);
void executor_pool_fill(struct manager *m);
/* Serves vGPUs that wait for an executor as far as there are warm ones. */
void executor_serve(struct manager *m);
/* Finished with: killed; when it is dead its device is told CTX_LOST. */
void executor_kill(struct executor *x);
void executor_free(struct executor *x);

/* ---- medleyd-warm.c ---- */
#define WARM_LOOK_NS MDL_NS_PER_S
/* Needed every WARM_LOOK_NS while it gets warm, harmless more often. NULL, or why it should be ended. */
const char *warm_look(struct executor *x, uint64_t now);

/* ---- medleyd-vgpu.c ---- */
enum trace_kind { /* of what medleyd-trace.c records */
	TRACE_RUN, /* a turn: ended by itself, or goes on in the next piece */
	TRACE_YIELDED, /* asked, and gave back */
	TRACE_PREEMPTED, /* asked, then stopped */
	TRACE_WAKE, /* events: wants the GPU from now on; no more */
	TRACE_SLEEP,
	TRACE_STOPPED, /* who was preempted stands still */
	TRACE_PARAMS,
	TRACE_REMOVED /* the last of its vGPU */
};

struct vgpu {
	struct manager *m;
	struct mdl_instance *inst;
	struct gpu *gpu;
	struct mdl_sched_entity entity;
	struct process device;
	int link, listen_fd;
	sd_event_source *link_source, *restart_timer, *open_timer;
	struct executor *executors;
	int wants_fd; /* epoll: the WANT eventfds of all of them */
	sd_event_source *wants_source;
	uint64_t open_wanted; /* bit per context: asked for an executor */
	int64_t burn_ns; /* CPU time that all of its executors may yet use without a lease */
	uint64_t open_tat_ns; /* pace of executors handed out, see executor_serve() */
	uint32_t losses; /* executors that its guest lost in a row */
	uint64_t losses_since_ns, pause_end_ns; /* the first of them; no new one before */
	char socket_path[160];
	uint32_t vmm_pid;
	uint64_t created_ns, device_started_ns;
	uint64_t silent_ns; /* since the last ping to the device, or its answer */
	bool pinged; /* and not answered yet */
	uint32_t quick_deaths;
	bool removing;
	uint64_t remove_client; /* who waits for the removal */
	json_t *remove_id;
	struct mdl_log_limit fault_log, lost_log, protocol_log;

	/* Accounts; those of executors that are gone included. */
	uint64_t gpu_time_ns, commands, kernels, compile_ns;
	uint64_t preemptions, faults, contexts_opened, executors_lost, device_restarts;
	uint64_t kernel_limit_ns; /* GPU time of one packet; 0: no limit. Then watchdog_rearm() */
	uint64_t resets; /* contexts that the watchdog ended */
	bool throttled; /* lost executors again and again: gets new ones slowly */
	uint64_t unclaimed_ns; /* charged beyond what its executors said */
	uint64_t confinements; /* worked without lease */
	uint64_t uncharged_ns; /* used, and the policy not told yet */
	uint64_t window_ns; /* since when time is not accounted yet */
	struct trace_ident *trace; /* or NULL: nothing of it is recorded */
	uint64_t run_start_ns, run_used_ns; /* open interval of the trace; 0: none */
	uint64_t asked_ns; /* this hold: when it was asked to end; 0: was not */
	uint64_t late_ns; /* and how late that was: the timer's delay */
	uint64_t hold_used_ns; /* charged in this hold, or since the last began */
	uint64_t stop_ns; /* when it was last stopped at the end of a turn */
	uint64_t overrun_ns; /* charged for what it got after that, and not in the trace yet */
	enum trace_kind ending; /* and how it ends */
	struct {
		uint64_t at_ns, gpu_time_ns;
	} sample[SHARE_SAMPLES];
	uint32_t samples;
	uint64_t audit_ns, audit_quiet; /* the last audit; how many in a row saw nothing */
};

struct vgpu_params { /* what of it may change at any time */
	struct mdl_sched_entity_params sched;
	uint64_t kernel_limit_ns; /* GPU time that one kernel may use; 0: any */
};

/* why: one line for the user. On failure there is nothing. */
int vgpu_create(struct manager *m, const struct mdl_instance_request *req,
		const struct vgpu_params *params, char *why, size_t why_bytes, struct vgpu **ret_v);
/* Ends its processes; vgpu_settle_removal() frees it when the last is gone. */
void vgpu_remove(struct vgpu *v);
void vgpu_settle_removal(struct vgpu *v);
void vgpu_send_ctx(struct vgpu *v, uint32_t type, uint32_t ctx, uint32_t error, const int *fds,
		   size_t nfds);
/* `passed` since the last call. A device that has been silent for too long is ended. */
void vgpu_check_device(struct vgpu *v, uint64_t passed);
void vgpu_send_lost(struct vgpu *v, const struct executor *x);
void vgpu_destroy_now(struct vgpu *v);

/* ---- medleyd-lease.c ---- */
struct gpu {
	struct manager *m;
	struct mdl_pgpu *pgpu;
	struct mdl_sched *sched;
	sd_event_source *timer;
	uint64_t watchdog_ns; /* when the holder may first be over its limit */
	uint64_t contended_ns; /* since when somebody has been waiting; 0: nobody */
	uint64_t timer_ns; /* what its timer is set to, which may have passed by then */
	uint64_t timer_due_ns; /* when the timer should run */
	bool in_timer;
	uint64_t idle_since_ns;
	uint64_t switches;
};

int gpu_create(struct manager *m, struct mdl_pgpu *pgpu, struct gpu **ret_gpu);
void gpu_destroy(struct gpu *g);
int lease_attach(struct vgpu *v);
void lease_detach(struct vgpu *v);
/* An executor joined the vGPU, or is about to leave it. */
void lease_join(struct executor *x);
void lease_leave(struct executor *x);
/* Looks at the vGPU's pages and tells the scheduler what has changed. */
void lease_update(struct vgpu *v);
/* Lets executors go on that have nothing to stop: when stops are confirmed, and now and then. */
void lease_revive(struct vgpu *v);
/* A child has stopped. */
void lease_confirm_stops(struct manager *m);
/* After anything that may have changed when the scheduler wants to be called. */
void lease_rearm(struct gpu *g);
void lease_confine(struct executor *x, bool confined);
bool lease_holding(const struct vgpu *v);

/* ---- medleyd-place.c ---- */
/* Moves its front end to another CPU if the lease page asks for it. */
void place_look(struct executor *x);
void place_end(struct executor *x);

/* ---- medleyd-account.c ---- */
int account_start(struct manager *m);
void account_stop(struct manager *m);
/* Brings the accounts of a vGPU up to date; held: its lease time since the last call counts. */
void account_update(struct vgpu *v, uint64_t now);
/* And tells the policy. */
void account_charge(struct vgpu *v, uint64_t now);
void account_admit(struct executor *x);
void account_begin_hold(struct vgpu *v, uint64_t now);
/* The first executor has been told: from now on it can use it. */
void account_hold_begun(struct vgpu *v, uint64_t now);
/* Writes an open interval to the trace and begins a new one. */
void account_flush(struct vgpu *v, uint64_t now);
void account_end_hold(struct vgpu *v, uint64_t now);
void account_retire(struct executor *x);
/* It does something again: looked at often from now on. */
void account_wake_audit(struct vgpu *v);
/* Share of its GPU in the last second, 0 to 1. */
double account_share(struct vgpu *v, uint64_t now);

/* ---- medleyd-watchdog.c ---- */
#define KERNEL_LIMIT_NS (60 * MDL_NS_PER_S) /* unless told otherwise */
void watchdog_begin_hold(struct vgpu *v, uint64_t now);
void watchdog_end_hold(struct vgpu *v);
/* The executor used so much of the GPU since the last call. */
void watchdog_count(struct executor *x, uint64_t used, uint64_t now);
/* Needed at g->watchdog_ns, harmless at any time. */
void watchdog_run(struct gpu *g, uint64_t now);
/* After v->kernel_limit_ns was changed. */
void watchdog_rearm(struct vgpu *v);

/* ---- medleyd-trace.c ---- */
#define TRACE_INTERVALS (1u << 17)
struct trace;
struct trace_turn { /* a turn, or a piece of one */
	uint64_t start_ns, end_ns;
	uint64_t asked_ns; /* when it was asked to give back, in the last piece; 0: was not */
	uint64_t late_ns; /* so much later than it should have been */
	uint64_t used_ns; /* GPU time charged in it */
	uint64_t overrun_ns; /* and between the turns before, not told yet */
	enum trace_kind kind; /* how it ended */
};
int trace_create(struct trace **ret_trace);
void trace_destroy(struct trace *t);
/* At its creation, when it may be scheduled; at its end. */
void trace_attach(struct vgpu *v);
void trace_detach(struct vgpu *v, uint64_t now);
/* After its parameters were set, the first ones too. */
void trace_params(struct vgpu *v, uint64_t now);
/* Whether it wants the GPU now; said twice it counts once. */
void trace_demand(struct vgpu *v, bool wants, uint64_t now);
void trace_add(struct vgpu *v, const struct trace_turn *turn);
/* All of it stands still after it was preempted; overrun_ns: GPU time charged since. */
void trace_stopped(struct vgpu *v, uint64_t overrun_ns, uint64_t now);
/*
 * What was recorded from sequence number `since`, at most max, as a JSON array. *ret_before: NULL,
 * or, at the beginning and after a gap, how things were just before. *ret_next: where to go on;
 * *ret_dropped: overwritten; *ret_thinned: wake and sleep events ever left out.
 */
json_t *trace_read(struct trace *t, uint64_t since, uint32_t max, json_t **ret_before,
		   uint64_t *ret_next, uint64_t *ret_dropped, uint64_t *ret_thinned);
/* Whether such a reader will see the latest. */
bool trace_reaches_end(const struct trace *t, uint64_t since, uint32_t max);

/* ---- medleyd-api.c ---- */
struct api;
struct api_client;
int api_start(struct manager *m, int listen_fd);
void api_stop(struct manager *m);
/* To all that subscribed. Takes over `event`. */
void api_event(struct manager *m, const char *what, struct vgpu *v, json_t *extra);
/* A late answer to a request: id is taken over. Dropped when the client is gone. */
void api_reply_later(struct manager *m, uint64_t client, json_t *id, json_t *result);
void api_subscribe(struct api_client *c);
uint64_t api_client_number(const struct api_client *c);

struct method_call {
	struct manager *m;
	struct api_client *client;
	json_t *id, *params;
	const char *code; /* error code, when the method returned NULL and is not answered later */
	char message[512];
	bool later; /* answered by api_reply_later() */
};
/* ---- medleyd-params.c ---- */
enum arg_kind {
	ARG_TEXT,
	ARG_FLAG,
	ARG_NUMBER,
	ARG_PRIORITY
};

struct arg { /* a table of them ends with a name of NULL */
	const char *name;
	enum arg_kind kind;
	bool required;
	uint64_t least, max; /* numbers: 0, or from least to max */
};

/*
 * Whether call->params has what it must and nothing else, in form and range; the parameters of a
 * vGPU are known too with with_params. If not, code and message say why.
 */
bool args_check(struct method_call *call, const struct arg *own, bool with_params);
/* Of checked arguments. */
const char *arg_text(const struct method_call *call, const char *name); /* NULL: not given */
uint64_t arg_number(const struct method_call *call, const char *name, uint64_t otherwise);

/* Replaces those that were given. */
void params_read(const struct method_call *call, struct vgpu_params *p);
struct vgpu_params params_of(const struct vgpu *v);
/* All or nothing; why: one line. -EINVAL, -ENOSPC. */
int params_apply(struct vgpu *v, const struct vgpu_params *p, char *why, size_t why_bytes);

/* ---- medleyd-describe.c ---- */
json_t *describe_type(const struct mdl_pgpu *p, const struct mdl_vgpu_type *t);
json_t *describe_vgpu_params(const struct vgpu_params *p);
/* Before any vGPU is described: who has work now, and what is due to whom by that. */
void describe_look(struct manager *m);
json_t *describe_vgpu(struct vgpu *v, uint64_t now);
/* What only `show` tells, beside the rest. */
json_t *describe_more(struct vgpu *v);
json_t *describe_pgpu(const struct mdl_pgpu *p);

/* ---- medleyd-methods.c ---- */
/* Returns the result, or NULL with code and message set, or NULL with later set. */
json_t *method_run(struct method_call *call, const char *method);

/* ---- medleyd-rundir.c ---- */
struct rundir {
	int lock_fd;
	char path[108];
	char api_path[108];
};
/* Claims the directory; on failure `why` says what is wrong. */
int rundir_claim(struct rundir *r, const char *path, char *why, size_t why_bytes);
void rundir_release(struct rundir *r);
/* A listening stream socket; -errno. */
int rundir_listen(const char *path, mode_t mode, uid_t uid, gid_t gid);

/* ---- medleyd.c ---- */
struct manager {
	sd_event *event;
	struct options opt;
	struct rundir rundir;
	struct mdl_mdev *mdev;
	struct gpu *gpu[MDL_MDEV_PGPUS_MAX];
	struct reaper reaper;
	struct executor executors; /* list head: all, with or without vGPU */
	uint32_t num_executors;
	uint32_t pool_deaths; /* in a row, before they were warm */
	uint64_t pool_last_ns; /* when the last one was started */
	sd_event_source *pool_timer;
	struct mdl_log_limit pool_log;
	struct vgpu *serve_next; /* whose turn it is to get an executor */
	uint32_t uid_next; /* slot to try first: a user id rests for long before it is used again */
	uint8_t uid_used[UID_SLOTS / 8]; /* a bit for each pair of user ids that a living process has */
	bool isolate; /* namespaces for children: false if the kernel refused them from the start */
	bool isolated; /* it did not */
	bool privileged;
	bool stopping;
	sd_event_source *audit;
	bool audit_slow; /* all vGPUs are quiet */
	int64_t cpus; /* online when medleyd started */
	struct trace *trace;
	struct api *api;
	uint64_t started_ns;
};

#endif
