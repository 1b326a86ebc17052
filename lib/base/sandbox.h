/* SPDX-License-Identifier: MIT */
/*
 * Confinement of the processes that work on a guest's behalf, in two halves.
 *
 * The parent (medleyd, tests) starts them with mdl_sandbox_spawn(): new pid, mount, network, ipc and uts namespaces (inside a new
 * user namespace when the parent is not root), own session, exactly the descriptors given, killed with the parent.
 *
 * The process confines itself before it reads the first byte of untrusted input, by mdl_sandbox_enter() or by its steps one by one:
 *   mdl_sandbox_isolate()  the namespaces that it was not started with
 *   mdl_sandbox_root()     an empty root file system with what is listed, read-only
 *   mdl_sandbox_drop()     own user, no capability, no way to gain any
 *   mdl_sandbox_limits()   resource limits
 *   mdl_sandbox_filter()   seccomp: system calls that are not in the table fail with EPERM, in all threads
 * All functions are for single-threaded processes but limits and filter, which act on all threads. 0 or -errno. A step that fails
 * leaves the process half confined: exit.
 */
#ifndef MDL_BASE_SANDBOX_H
#define MDL_BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MDL_SANDBOX_KEEP_ID	((uid_t)-1)

/* ---- Starting a process ---- */
#define MDL_SPAWN_ISOLATE	1u	/* new namespaces; without: only session, descriptors, death signal */

struct mdl_spawn {
	const char *path;	/* executable */
	char *const *argv;
	char *const *envp;	/* NULL: an empty environment */
	const int *fds;		/* fds[i] becomes descriptor 3 + i; stay the caller's. -1: that number is left closed */
	size_t nfds;
	uint32_t flags;		/* MDL_SPAWN_* */
};

/*
 * Starts a process. Standard input and output are /dev/null, standard error is inherited, every other descriptor is closed. The
 * uid does not change here: the process needs its rights to build its root and drops them itself (mdl_sandbox_drop). Returns
 * when the new program runs: a missing executable is an error here. Until then the child has the caller's scheduling priority, since
 * the caller waits for it; then a normal one, if the caller's was above that, as has all that it forks from the start. The caller
 * owns *ret_pidfd and reaps *ret_pid. -EPERM: the kernel or a container forbids the namespaces.
 */
int mdl_sandbox_spawn(const struct mdl_spawn *spawn, pid_t *ret_pid, int *ret_pidfd);

/* ---- Confining oneself ---- */
struct mdl_sandbox_cond {	/* (argument & mask) == value; mask 0: no condition */
	uint32_t arg;
	uint64_t mask, value;
};

struct mdl_sandbox_rule {	/* a system call that is allowed; a second rule for the same call is an alternative */
	int nr;			/* SYS_*, or negative: not on this machine, skipped */
	struct mdl_sandbox_cond cond[2];
	int error;		/* not 0: not allowed, fails with this errno. ENOSYS makes the C library fall back to an older call */
};

struct mdl_sandbox_limits {	/* 0: leave as it is */
	uint64_t nofile, nproc, fsize, data, as, cpu_s;
};

struct mdl_sandbox {
	uid_t uid;		/* and gid; MDL_SANDBOX_KEEP_ID when not root */
	const char *const *binds;	/* NULL-terminated; read-only in the new root under the same path; missing ones are skipped */
	struct mdl_sandbox_limits limits;
	const struct mdl_sandbox_rule *rules;	/* beside mdl_sandbox_base_rules */
	size_t nrules;
};

/* All steps in order. */
int mdl_sandbox_enter(const struct mdl_sandbox *sb);

/* Enters new namespaces if the process was not spawned with MDL_SPAWN_ISOLATE (its pid tells). No new pid namespace then. */
int mdl_sandbox_isolate(void);

/*
 * Mounts an empty tmpfs of `bytes` bytes at `path` (existing directory) in this mount namespace: nosuid, nodev. -EINVAL: / is no
 * mount point, as in a plain chroot; what is mounted there could show up outside.
 */
int mdl_sandbox_tmpfs(const char *path, uint64_t bytes, uint32_t mode);

/*
 * Fills the directory `root` (a mount point of this mount namespace) with read-only bind mounts of `binds`, under the same paths. A
 * symbolic link is made again as the same link.
 */
int mdl_sandbox_bind(const char *root, const char *const *binds);

/* The same for one directory that stays writable, as it is mounted now. */
int mdl_sandbox_bind_writable(const char *root, const char *dir);

/* Makes `root` (a mount point) the root, read-only, of all processes of the mount namespace that had the old one, which goes away. */
int mdl_sandbox_pivot(const char *root);

/* An empty tmpfs with `binds` becomes the root; read-only. The steps above with a scratch directory. */
int mdl_sandbox_root(const char *const *binds);

/* Takes uid (and the same gid, no groups) unless MDL_SANDBOX_KEEP_ID; drops all capabilities, sets no_new_privs, not dumpable. */
int mdl_sandbox_drop(uid_t uid);

int mdl_sandbox_limits(const struct mdl_sandbox_limits *limits);

/* Calls that every one of our processes needs: the heap, threads' futexes, reading and writing open descriptors, clocks, exit. */
extern const struct mdl_sandbox_rule mdl_sandbox_base_rules[];
extern const size_t mdl_sandbox_base_nrules;

/* Installs the filter for all threads of the process: base rules (if `base`) and `rules`. Needs no_new_privs. */
int mdl_sandbox_filter(bool base, const struct mdl_sandbox_rule *rules, size_t nrules);

/*
 * The same filter as a BPF program, for a process that must load it with nothing but system calls. *ret_prog is an array of
 * *ret_count struct sock_filter that the caller frees.
 */
int mdl_sandbox_compile(bool base, const struct mdl_sandbox_rule *rules, size_t nrules, void **ret_prog, size_t *ret_count);

#endif
