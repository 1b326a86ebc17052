/* SPDX-License-Identifier: MIT */
/* See stack.h. */
#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define START_TIMEOUT_NS (60 * MDL_NS_PER_S)

static bool fail(const char *what)
{
	fprintf(stderr, "medley-bench: %s: %s\n", what, strerror(errno));
	return false;
}

static void nap(void)
{
	const struct timespec ts = { .tv_nsec = 10000000 };

	nanosleep(&ts, NULL);
}

pid_t stack_spawn(char *const *argv, int in, int out, int err, int death_signal)
{
	pid_t parent = getpid(), pid = fork();
	int null;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, death_signal);
	if (getppid() != parent)
		_exit(127);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (dup2(in >= 0 ? in : null, 0) < 0 || dup2(out >= 0 ? out : null, 1) < 0 ||
	    (err >= 0 && dup2(err, 2) < 0))
		_exit(127);
	execv(argv[0], argv);
	fprintf(stderr, "medley-bench: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Runs the medley command and parses what it prints. */
static json_t *medley(struct stack *s, const char *const *args)
{
	char program[600], runtime[600];
	char *argv[16] = { program, "--runtime-dir", runtime };
	int fds[2], status, n = 3;
	json_t *json;
	FILE *out;
	pid_t pid;

	snprintf(program, sizeof(program), "%s/cli/medley", s->bin);
	snprintf(runtime, sizeof(runtime), "%s/run", s->dir);
	while (*args && n < 15)
		argv[n++] = (char *)*args++;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	pid = stack_spawn(argv, -1, fds[1], -1, SIGKILL);
	close(fds[1]);
	out = fdopen(fds[0], "r");
	json = json_loadf(out, 0, NULL);
	fclose(out);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		json_decref(json);
		return NULL;
	}
	return json;
}

static bool start_medleyd(struct stack *s, const char *vram, const char *const *more)
{
	char program[600], runtime[600], log[600], api[700];
	char *argv[16] = { program, "--runtime-dir", runtime, "--vram", (char *)vram };
	uint64_t start = mdl_now_ns();
	struct stat st;
	int fd;

	for (int i = 0; more && more[i] && i < 8; i++)
		argv[5 + i] = (char *)more[i];
	snprintf(program, sizeof(program), "%s/daemon/medleyd", s->bin);
	snprintf(runtime, sizeof(runtime), "%s/run", s->dir);
	snprintf(log, sizeof(log), "%s/log", s->dir);
	snprintf(api, sizeof(api), "%s/api.sock", runtime);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(log);
	s->medleyd = stack_spawn(argv, -1, fd, fd, SIGTERM);
	close(fd);
	while (stat(api, &st) < 0) {
		if (waitpid(s->medleyd, NULL, WNOHANG) || mdl_now_ns() - start > START_TIMEOUT_NS) {
			fprintf(stderr, "medley-bench: medleyd does not start\n");
			return false;
		}
		nap();
	}
	return true;
}

static bool vgpu_ready(struct stack *s, const char *uuid)
{
	json_t *show = medley(s, (const char *[]) { "show", uuid, "--json", NULL });
	const char *state = json_string_value(json_object_get(show, "state"));
	bool ready = state && !strcmp(state, "ready");

	json_decref(show);
	return ready;
}

static bool create_vgpu(struct stack *s, const char *type)
{
	json_t *made = medley(s, (const char *[]) { "create", "--type", type, "--json", NULL });
	const char *uuid = json_string_value(json_object_get(made, "uuid"));
	const char *path = json_string_value(json_object_get(made, "socket"));
	uint64_t start = mdl_now_ns();
	bool ok = uuid && path;

	if (ok)
		snprintf(s->socket, sizeof(s->socket), "%s", path);
	while (ok && !vgpu_ready(s, uuid)) {
		ok = mdl_now_ns() - start < START_TIMEOUT_NS;
		nap();
	}
	json_decref(made);
	if (!ok)
		fprintf(stderr, "medley-bench: no vGPU of type %s\n", type);
	return ok;
}

void stack_wait_pool(struct stack *s)
{
	uint64_t start = mdl_now_ns();
	json_int_t warming = 1;

	while (warming && mdl_now_ns() - start < START_TIMEOUT_NS) {
		json_t *stats = medley(s, (const char *[]) { "top", "--once", "--json", NULL });

		warming = json_integer_value(
			json_object_get(json_object_get(stats, "executors"), "warming"));
		json_decref(stats);
		if (warming)
			nap();
	}
}

bool stack_start_medleyd(struct stack *s, const char *bin, const char *dir, const char *vram,
			 const char *const *more)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	*s = (struct stack) { .kvm = kvm >= 0 };
	if (kvm >= 0)
		close(kvm);
	snprintf(s->bin, sizeof(s->bin), "%s", bin);
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	return start_medleyd(s, vram, more);
}

bool stack_start(struct stack *s, const char *bin, const char *dir, const char *type)
{
	return stack_start_medleyd(s, bin, dir, "2G", NULL) && create_vgpu(s, type);
}

bool stack_run_guest(struct stack *s, const char *benchmark, int repetitions)
{
	char program[600], vm[600], uri[600], count[16];
	char *in_vm[] = { vm,	   "--vgpu", s->socket,		"--memory", "512M",
			  program, "micro:", (char *)benchmark, count,	    NULL };
	char *process[] = { program, uri, (char *)benchmark, count, NULL };
	int fds[2];

	snprintf(vm, sizeof(vm), "%s/vmm/medley-vm", s->bin);
	snprintf(program, sizeof(program), "%s/bench/bench-guest%s", s->bin, s->kvm ? ".elf" : "");
	snprintf(uri, sizeof(uri), "socket:%s", s->socket);
	snprintf(count, sizeof(count), "%d", repetitions);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail("pipe");
	s->guest = stack_spawn(s->kvm ? in_vm : process, -1, fds[1], -1, SIGKILL);
	close(fds[1]);
	s->lines = fdopen(fds[0], "r");
	return s->guest > 0 && s->lines ? true : fail("guest");
}

static bool change(struct stack *s, int signal, unsigned int what)
{
	siginfo_t info;

	if (kill(s->guest, signal) < 0 ||
	    waitid(P_PID, (id_t)s->guest, &info, (int)what | WEXITED | WNOWAIT) < 0)
		return fail("guest");
	/* It may have ended just before: that is for stack_end_guest() to find. */
	if (info.si_code != CLD_STOPPED && info.si_code != CLD_CONTINUED)
		return true;
	/* Takes the report away. */
	return waitid(P_PID, (id_t)s->guest, &info, (int)what) == 0;
}

bool stack_pause(struct stack *s)
{
	return change(s, SIGSTOP, WSTOPPED);
}

bool stack_resume(struct stack *s)
{
	return change(s, SIGCONT, WCONTINUED);
}

bool stack_end_guest(struct stack *s)
{
	int status;
	bool ok = waitpid(s->guest, &status, 0) == s->guest && status == 0;

	fclose(s->lines);
	s->lines = NULL;
	s->guest = 0;
	if (!ok)
		fprintf(stderr, "medley-bench: the guest failed\n");
	return ok;
}

void stack_stop(struct stack *s)
{
	if (s->medleyd <= 0)
		return;
	kill(s->medleyd, SIGTERM);
	waitpid(s->medleyd, NULL, 0);
	s->medleyd = 0;
}
