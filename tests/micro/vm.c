/* SPDX-License-Identifier: MIT */
#include "tests/micro/vm.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <dirent.h>

#include "base/util.h"
#include "tests/unit/check.h"

#define LIMIT_NS (60 * MDL_NS_PER_S)
#define NO_KVM	 77

static char dir[64];

/* What is handed out for ever stays reachable, or leak checkers complain. */
static void *keep(void *p)
{
	static struct kept {
		struct kept *next;
		void *p;
	} * all;
	struct kept *k = malloc(sizeof(*k));

	CHECK(k && p);
	*k = (struct kept) { .next = all, .p = p };
	all = k;
	return p;
}

static void remove_dir(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

/*
 * The directory is made and removed here, outside the cases' processes, so that a failing case
 * leaves none behind either.
 */
int vm_main(const struct check_case *cases, size_t n)
{
	const char *tmp = getenv("TMPDIR");
	int failed;

	snprintf(dir, sizeof(dir), "%.40s/mdl-micro-XXXXXX", tmp ? tmp : "/tmp");
	CHECK(mkdtemp(dir) && chmod(dir, 0755) == 0);
	failed = check_main(cases, n);
	remove_dir();
	return failed;
}

const char *vm_path(const char *name)
{
	char *path;

	CHECK(asprintf(&path, "%s/%s", dir, name) > 0);
	return keep(path);
}

const char *vm_guest(const char *name)
{
	char *path;

	CHECK(getenv("MEDLEY_GUESTS") &&
	      asprintf(&path, "%s/%s.elf", getenv("MEDLEY_GUESTS"), name) > 0);
	return keep(path);
}

void vm_write_file(const char *path, const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
	close(fd);
}

void *vm_read_file(const char *path, size_t *ret_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *data;

	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	data = malloc((size_t)st.st_size + 1);
	CHECK(data && read(fd, data, (size_t)st.st_size) == st.st_size);
	close(fd);
	*ret_bytes = (size_t)st.st_size;
	return data;
}

static void child(const char *const *argv, const struct vm_options *o, int in, int out, int err)
{
	const char *args[32] = { getenv("MEDLEY_VM") };
	/* Opened first: another user may not get as far as the build folder. */
	int n = 1, program = open(args[0], O_RDONLY | O_CLOEXEC);

	for (; *argv; argv++) {
		CHECK(n < 31);
		args[n++] = **argv == '@' ? vm_guest(*argv + 1) : *argv;
	}
	if (o->input)
		dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	if (o->uid && (setgid(o->uid) || setuid(o->uid)))
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fexecve(program, (char *const *)args, environ);
	_exit(127);
}

/* Reads what is there; false at the end. Keeps room for the NUL; what is more is dropped. */
static bool take(int fd, char *to, size_t room, size_t *used)
{
	char scrap[4096];
	bool full = *used + 1 >= room;
	ssize_t n = full ? read(fd, scrap, sizeof(scrap)) : read(fd, to + *used, room - 1 - *used);

	if (n > 0 && !full)
		*used += (size_t)n;
	to[*used] = 0;
	return n > 0;
}

const struct vm_result *vm_run(const char *const *argv, struct vm_options o)
{
	struct vm_result *r = keep(calloc(1, sizeof(*r)));
	uint64_t start = mdl_now_ns();
	size_t err_bytes = 0;
	int in[2], out[2], err[2], status;
	bool poked = false;
	pid_t pid;

	CHECK(getenv("MEDLEY_VM") && pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 &&
	      pipe2(err, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		child(argv, &o, in[0], out[1], err[1]);
	close(in[0]);
	close(out[1]);
	close(err[1]);
	for (struct pollfd p[2] = { { o.no_reader ? -1 : out[0], POLLIN, 0 },
				    { err[0], POLLIN, 0 } };
	     p[0].fd >= 0 || p[1].fd >= 0;) {
		if (poll(p, 2, 1000) < 0 || mdl_now_ns() - start > LIMIT_NS)
			break;
		if (p[0].revents && !take(out[0], r->out, sizeof(r->out), &r->out_bytes))
			p[0].fd = -1;
		if (p[1].revents && !take(err[0], r->err, sizeof(r->err), &err_bytes))
			p[1].fd = -1;
		if (o.poke_signal && !poked && r->out_bytes) {
			poked = true;
			kill(pid, o.poke_signal);
		}
		if (o.input && !poked && r->out_bytes) {
			poked = true;
			CHECK(write(in[1], o.input, strlen(o.input)) == (ssize_t)strlen(o.input));
			close(in[1]);
		}
	}
	if (mdl_now_ns() - start > LIMIT_NS)
		kill(pid, SIGKILL);
	CHECK(waitpid(pid, &status, 0) == pid);
	if (!o.input || !poked)
		close(in[1]);
	close(out[0]);
	close(err[0]);
	r->seconds = (double)(mdl_now_ns() - start) / 1e9;
	r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
	if (r->status == NO_KVM && !o.any_kvm)
		check_skip("no usable /dev/kvm");
	return r;
}

int vm_said(const struct vm_result *r, const char *text)
{
	const char *newline = strchr(r->err, '\n');

	if (newline && !newline[1] && strstr(r->err, text))
		return 1;
	fprintf(stderr, "# standard error was: %s", r->err);
	return 0;
}
