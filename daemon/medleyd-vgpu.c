/* SPDX-License-Identifier: MIT */
/*
 * A vGPU's life: created with its listening socket and its device process, which serves one VMM
 * after the other; when the device dies, a new one takes its place behind the same socket (with
 * fresh VRAM), and its executors end; removed when the last of its processes is gone, so that what
 * it held is free when the API says so.
 *
 * A device that dies again and again is started ever more slowly, and given up after
 * QUICK_DEATHS_MAX quick deaths in a row. What a device says is checked by lib/ipc's table and
 * here; a device that breaks the protocol is ended. Part of medleyd's one thread.
 */
#include "medleyd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define QUICK_DEATH_NS	 (10 * MDL_NS_PER_S)
#define QUICK_DEATHS_MAX 8
#define RESTART_FIRST_US 50000
#define MESSAGES_A_TURN	 32
#define PING_EVERY_NS	 (5 * MDL_NS_PER_S)
#define PING_LIMIT_NS	 (15 * MDL_NS_PER_S)
#define PASSED_MAX_NS	 (2 * MDL_NS_PER_S)

static int start_device(struct vgpu *v);

static void set_state(struct vgpu *v, enum mdl_instance_state state)
{
	if (v->inst->state == state || !mdl_instance_set_state(v->inst, state))
		return;
	api_event(v->m, "state", v, NULL);
}

/* ---- executors ---- */

static void send_device(struct vgpu *v, const void *msg, const int *fds, size_t nfds)
{
	int err;

	if (v->link < 0)
		return;
	err = mdl_ipc_send(v->link, msg, fds, nfds);
	if (!err || err == -EPIPE)
		return; /* gone: its end will be noticed */
	/* It has not read what must fit easily: it hangs, or wants us to grow. */
	mdl_log_limited(&v->protocol_log, MDL_LOG_WARN,
			"%s: device does not read its link (%s): ended", v->inst->name,
			strerror(-err));
	process_signal(&v->device, SIGKILL);
}

void vgpu_send_ctx(struct vgpu *v, uint32_t type, uint32_t ctx, uint32_t error, const int *fds,
		   size_t nfds)
{
	struct mdl_ipc_ctx m = { .hdr = { type, sizeof(m) }, .ctx = ctx, .error = error };

	send_device(v, &m, fds, nfds);
}

void vgpu_send_lost(struct vgpu *v, const struct executor *x)
{
	struct mdl_ipc_lost m = { .hdr = { MDL_IPC_CTX_LOST, sizeof(m) },
				  .ctx = x->ctx,
				  .error = x->lost_error,
				  .chan = x->lost_error ? x->lost_chan : MDL_FAULT_NO_CHANNEL,
				  .tag = x->lost_tag };

	send_device(v, &m, NULL, 0);
}

static struct executor *find_executor(struct vgpu *v, uint32_t ctx)
{
	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		if (x->ctx == ctx)
			return x;
	return NULL;
}

static void kill_executors(struct vgpu *v)
{
	v->open_wanted = 0;
	for (struct executor *x = v->executors; x; x = x->vgpu_next)
		executor_kill(x);
}

/* ---- the device's link ---- */

static int ctx_open(struct vgpu *v, const void *msg)
{
	const struct mdl_ipc_ctx *m = msg;

	if (m->ctx >= v->inst->type.contexts)
		return -EPROTO;
	if (find_executor(v, m->ctx) || v->open_wanted >> m->ctx & 1)
		return -EPROTO;
	v->open_wanted |= 1ull << m->ctx;
	executor_serve(v->m);
	return 0;
}

/*
 * CTX_CLOSE and CTX_KILL. Whatever became of it, the device gets one CTX_LOST for each executor, when that is dead. One that has to be
 * killed counts as lost, whether we or the device saw first that it ended.
 */
static int ctx_end(struct vgpu *v, const void *msg)
{
	const struct mdl_ipc_ctx *m = msg;
	struct executor *x = m->ctx < v->inst->type.contexts ? find_executor(v, m->ctx) : NULL;

	if (x) {
		x->expected |= m->hdr.type == MDL_IPC_CTX_CLOSE;
		x->faulted |= m->hdr.type == MDL_IPC_CTX_CLOSE && m->error;
		executor_kill(x);
	}
	return 0;
}

static int vmm_state(struct vgpu *v, const void *msg)
{
	const struct mdl_ipc_vmm_state *m = msg;

	v->vmm_pid = m->connected ? m->pid : 0;
	set_state(v, m->connected ? MDL_INSTANCE_ACTIVE : MDL_INSTANCE_READY);
	return 0;
}

static int fault_note(struct vgpu *v, const void *msg)
{
	const struct mdl_ipc_fault_note *m = msg;

	v->faults += m->count;
	mdl_log_limited(&v->fault_log, MDL_LOG_INFO,
			"%s: GPU fault: context %u, error %u, address 0x%llx", v->inst->name,
			m->ctx, m->error, (unsigned long long)m->va);
	if (v->fault_log.dropped)
		return 0;
	api_event(v->m, "fault", v,
		  json_pack("{s:i, s:i, s:I}", "context", m->ctx, "error", m->error, "address",
			    (json_int_t)m->va));
	return 0;
}

static int device_ready(struct vgpu *v, const void *msg)
{
	set_state(v, MDL_INSTANCE_READY);
	return 0;
}

static int device_pong(struct vgpu *v, const void *msg)
{
	v->pinged = false;
	v->silent_ns = 0;
	return 0;
}

/*
 * A device can wait in the kernel for good on what its VMM gave it (a FUSE file as memory, say). It
 * may wait for silent mappers, some seconds each, and for a CPU: the limit is far beyond that, so
 * that a machine that is merely busy ends nobody.
 */
void vgpu_check_device(struct vgpu *v, uint64_t passed)
{
	const struct mdl_ipc_hdr ping = { MDL_IPC_DEVICE_PING, sizeof(ping) };

	if (v->link < 0 || v->inst->state == MDL_INSTANCE_STARTING)
		return;
	/* Time in which we did not run ourselves says nothing about others. */
	v->silent_ns += mdl_min_u64(passed, PASSED_MAX_NS);
	if (!v->pinged && v->silent_ns >= PING_EVERY_NS) {
		v->pinged = true;
		v->silent_ns = 0;
		send_device(v, &ping, NULL, 0);
	} else if (v->pinged && v->silent_ns > PING_LIMIT_NS) {
		mdl_log(MDL_LOG_ERROR, "%s: device hangs: ended", v->inst->name);
		v->pinged = false;
		process_signal(&v->device, SIGKILL);
	}
}

static int (*const handlers[])(struct vgpu *v, const void *msg) = {
	[MDL_IPC_CTX_OPEN] = ctx_open,	   [MDL_IPC_CTX_CLOSE] = ctx_end,
	[MDL_IPC_CTX_KILL] = ctx_end,	   [MDL_IPC_VMM_STATE] = vmm_state,
	[MDL_IPC_FAULT_NOTE] = fault_note, [MDL_IPC_DEVICE_READY] = device_ready,
	[MDL_IPC_DEVICE_PONG] = device_pong,
};

static int read_link(struct vgpu *v)
{
	union {
		struct mdl_ipc_hdr hdr;
		char bytes[MDL_IPC_MAX_BYTES];
	} msg;
	int fds[MDL_IPC_MAX_FDS];
	size_t nfds;
	int err;

	err = mdl_ipc_recv(v->link, &msg, sizeof(msg), fds, &nfds);
	if (err)
		return err;
	while (nfds)
		close(fds[--nfds]);
	if (msg.hdr.type >= MDL_ARRAY_SIZE(handlers) || !handlers[msg.hdr.type])
		return -EPROTO;
	return handlers[msg.hdr.type](v, &msg);
}

static int on_link(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct vgpu *v = arg;
	int err = 0;

	for (int i = 0; i < MESSAGES_A_TURN && !err; i++)
		err = read_link(v);
	if (!err || err == -EAGAIN)
		return 0;
	if (err == -EPROTO)
		mdl_log_limited(&v->protocol_log, MDL_LOG_WARN,
				"%s: device broke the protocol: ended", v->inst->name);
	/* Its end is noticed by its pidfd; until then nothing it says counts. */
	v->link_source = sd_event_source_disable_unref(v->link_source);
	mdl_close_fd(&v->link);
	process_signal(&v->device, SIGKILL);
	return 0;
}

/* ---- the device process ---- */

/* A VMM that connects is refused rather than left waiting for ever. */
static void give_up(struct vgpu *v)
{
	unlink(v->socket_path);
	mdl_close_fd(&v->listen_fd);
	set_state(v, MDL_INSTANCE_FAILED);
}

static int on_restart(sd_event_source *s, uint64_t usec, void *arg)
{
	struct vgpu *v = arg;
	int err;

	v->restart_timer = sd_event_source_disable_unref(v->restart_timer);
	err = start_device(v);
	if (err) {
		mdl_log(MDL_LOG_ERROR, "%s: cannot start the device again: %s", v->inst->name,
			strerror(-err));
		give_up(v);
	}
	return 0;
}

static void restart_device(struct vgpu *v)
{
	uint64_t delay = RESTART_FIRST_US << v->quick_deaths;
	int err;

	if (++v->quick_deaths > QUICK_DEATHS_MAX) {
		mdl_log(MDL_LOG_ERROR,
			"%s: device died %u times in a row: given up; remove the vGPU",
			v->inst->name, v->quick_deaths);
		give_up(v);
		return;
	}
	v->device_restarts++;
	set_state(v, MDL_INSTANCE_STARTING);
	err = sd_event_add_time_relative(v->m->event, &v->restart_timer, CLOCK_MONOTONIC, delay,
					 1000, on_restart, v);
	if (err < 0)
		give_up(v);
}

static void on_device_ended(struct process *p, int status)
{
	struct vgpu *v = mdl_container_of(p, struct vgpu, device);
	char how[80];

	v->link_source = sd_event_source_disable_unref(v->link_source);
	mdl_close_fd(&v->link);
	v->vmm_pid = 0;
	kill_executors(v);
	if (v->removing) {
		vgpu_settle_removal(v);
		return;
	}
	process_describe_end(status, how, sizeof(how));
	mdl_log(MDL_LOG_WARN, "%s: device %s", v->inst->name, how);
	api_event(v->m, "device-died", v, json_pack("{s:s}", "how", how));
	if (mdl_now_ns() - v->device_started_ns > QUICK_DEATH_NS)
		v->quick_deaths = 0;
	restart_device(v);
}

static int start_device(struct vgpu *v)
{
	const struct mdl_vgpu_type *type = &v->inst->type;
	char channels[16], contexts[16], units[16];
	const char *args[] = {
		"--name", v->inst->name,     "--channels", channels, "--contexts",
		contexts, "--compute-units", units,	   NULL,
	};
	mdl_autofd vram = -1, theirs = -1, ours = -1;
	int pair[2], err;

	snprintf(channels, sizeof(channels), "%u", type->channels);
	snprintf(contexts, sizeof(contexts), "%u", type->contexts);
	snprintf(units, sizeof(units), "%u", v->inst->pgpu->compute_units);
	err = mdl_memfd_create("medley-vram", type->vram_bytes, &vram);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	err = process_start(&v->device, v->m, "medley-device", args,
			    (int[]) { theirs, v->listen_fd, vram }, 3, on_device_ended);
	if (err)
		return err;
	v->device_started_ns = mdl_now_ns();
	v->silent_ns = 0;
	v->pinged = false;
	err = sd_event_add_io(v->m->event, &v->link_source, ours, EPOLLIN, on_link, v);
	if (err < 0) {
		process_end_now(&v->device);
		return err;
	}
	v->link = mdl_take_fd(&ours);
	return 0;
}

/* ---- creation and removal ---- */

static int describe_failure(int err, const char *what, char *why, size_t why_bytes)
{
	snprintf(why, why_bytes, "cannot %s: %s", what, strerror(-err));
	return err;
}

static void free_vgpu(struct vgpu *v)
{
	v->link_source = sd_event_source_disable_unref(v->link_source);
	v->restart_timer = sd_event_source_disable_unref(v->restart_timer);
	v->open_timer = sd_event_source_disable_unref(v->open_timer);
	lease_detach(v);
	mdl_close_fd(&v->link);
	if (v->listen_fd >= 0)
		unlink(v->socket_path);
	mdl_close_fd(&v->listen_fd);
	json_decref(v->remove_id);
	if (v->m->serve_next == v)
		v->m->serve_next = NULL;
	mdl_instance_remove(v->m->mdev, v->inst);
	free(v);
}

int vgpu_create(struct manager *m, const struct mdl_instance_request *req,
		const struct vgpu_params *params, char *why, size_t why_bytes, struct vgpu **ret_v)
{
	static const struct mdl_log_limit limit = MDL_LOG_LIMIT_INIT;
	struct mdl_instance *inst;
	struct vgpu *v;
	int err;

	err = mdl_instance_create(m->mdev, req, why, why_bytes, &inst);
	if (err)
		return err;
	v = calloc(1, sizeof(*v));
	if (!v) {
		mdl_instance_remove(m->mdev, inst);
		return describe_failure(-ENOMEM, "create a vGPU", why, why_bytes);
	}
	v->m = m;
	v->inst = inst;
	v->gpu = inst->pgpu->owner;
	v->link = v->listen_fd = v->wants_fd = v->device.pidfd = -1;
	v->created_ns = v->audit_ns = mdl_now_ns();
	v->fault_log = v->lost_log = v->protocol_log = limit;
	snprintf(v->socket_path, sizeof(v->socket_path), "%s/vgpu/%s.sock", m->rundir.path,
		 inst->uuid);
	inst->owner = v;
	err = rundir_listen(v->socket_path, m->opt.socket_mode, m->opt.socket_uid,
			    m->opt.socket_gid);
	if (err < 0) {
		describe_failure(err, v->socket_path, why, why_bytes);
		if (err == -EADDRINUSE)
			snprintf(why, why_bytes, "socket %s is in use", v->socket_path);
	} else {
		v->listen_fd = err;
		err = lease_attach(v);
		if (err)
			describe_failure(err, "schedule the vGPU", why, why_bytes);
		else
			err = params_apply(v, params, why, why_bytes);
	}
	if (!err) {
		err = start_device(v);
		if (err)
			describe_failure(err, "start medley-device", why, why_bytes);
	}
	if (err) {
		free_vgpu(v);
		return err;
	}
	mdl_log(MDL_LOG_INFO, "%s: created, %s, %s", inst->name, inst->type.name, inst->uuid);
	api_event(m, "created", v, NULL);
	*ret_v = v;
	return 0;
}

void vgpu_remove(struct vgpu *v)
{
	v->removing = true;
	v->restart_timer = sd_event_source_disable_unref(v->restart_timer);
	/* Nobody connects any more; a VMM that is connected sees the end of the device. */
	unlink(v->socket_path);
	mdl_close_fd(&v->listen_fd);
	process_signal(&v->device, SIGKILL);
	kill_executors(v);
	vgpu_settle_removal(v);
}

void vgpu_settle_removal(struct vgpu *v)
{
	if (!v->removing || v->device.pid || v->executors)
		return;
	mdl_log(MDL_LOG_INFO, "%s: removed", v->inst->name);
	api_event(v->m, "removed", v, NULL);
	if (v->remove_id)
		api_reply_later(v->m, v->remove_client, json_incref(v->remove_id),
				json_pack("{s:s}", "uuid", v->inst->uuid));
	free_vgpu(v);
}

void vgpu_destroy_now(struct vgpu *v)
{
	process_end_now(&v->device);
	free_vgpu(v);
}
