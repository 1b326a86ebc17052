/* SPDX-License-Identifier: MIT */
/*
 * System call allow-lists: the filter step of sandbox.h, over libseccomp. What is not listed fails with EPERM: a C library newer
 * than ours may try a call that it can do without, and must not die of it. Stateless.
 */
#include "base/sandbox.h"

#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"

/* What changes mappings but brk is not here: what of it is safe depends on what is mapped. */
const struct mdl_sandbox_rule mdl_sandbox_base_rules[] = {
	{ SYS_read }, { SYS_write }, { SYS_readv }, { SYS_writev }, { SYS_preadv2 }, { SYS_close }, { SYS_fstat },
	{ SYS_lseek }, { SYS_brk },
	{ SYS_futex }, { SYS_sched_yield }, { SYS_restart_syscall },
	{ SYS_clock_gettime }, { SYS_clock_nanosleep }, { SYS_nanosleep }, { SYS_gettimeofday },
	{ SYS_rt_sigreturn }, { SYS_rt_sigprocmask }, { SYS_rt_sigaction }, { SYS_sigaltstack },
	{ SYS_getpid }, { SYS_gettid }, { SYS_getrandom }, { SYS_rseq }, { SYS_membarrier },
	{ SYS_exit }, { SYS_exit_group },
};
const size_t mdl_sandbox_base_nrules = MDL_ARRAY_SIZE(mdl_sandbox_base_rules);

static int add_rules(scmp_filter_ctx ctx, const struct mdl_sandbox_rule *rules, size_t nrules)
{
	for (size_t i = 0; i < nrules; i++) {
		struct scmp_arg_cmp cmp[2];
		unsigned int n = 0;
		int err;

		if (rules[i].nr < 0)
			continue;
		for (size_t c = 0; c < MDL_ARRAY_SIZE(rules[i].cond); c++) {
			const struct mdl_sandbox_cond *cond = &rules[i].cond[c];

			if (cond->mask)
				cmp[n++] = SCMP_CMP(cond->arg, SCMP_CMP_MASKED_EQ, cond->mask, cond->value);
		}
		err = seccomp_rule_add_array(ctx, rules[i].error ? SCMP_ACT_ERRNO((uint16_t)rules[i].error) : SCMP_ACT_ALLOW,
					     rules[i].nr, n, cmp);
		/* EEXIST: allowed already, and at least as widely. */
		if (err && err != -EEXIST)
			return err;
	}
	return 0;
}

static int build(bool base, const struct mdl_sandbox_rule *rules, size_t nrules, scmp_filter_ctx *ret)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err;

	if (!ctx)
		return -ENOMEM;
	/* A call through another architecture's entry (int 0x80) would be numbered differently: kill. */
	err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err && base)
		err = add_rules(ctx, mdl_sandbox_base_rules, mdl_sandbox_base_nrules);
	if (!err)
		err = add_rules(ctx, rules, nrules);
	if (err)
		seccomp_release(ctx);
	else
		*ret = ctx;
	return err;
}

int mdl_sandbox_filter(bool base, const struct mdl_sandbox_rule *rules, size_t nrules)
{
	scmp_filter_ctx ctx;
	int err = build(base, rules, nrules, &ctx);

	if (err)
		return err;
	err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

int mdl_sandbox_compile(bool base, const struct mdl_sandbox_rule *rules, size_t nrules, void **ret_prog,
			size_t *ret_count)
{
	mdl_autofd fd = memfd_create("filter", MFD_CLOEXEC);
	mdl_autofree void *prog = NULL;
	scmp_filter_ctx ctx;
	off_t bytes;
	int err;

	if (fd < 0)
		return -errno;
	err = build(base, rules, nrules, &ctx);
	if (err)
		return err;
	err = seccomp_export_bpf(ctx, fd);
	seccomp_release(ctx);
	if (err)
		return err;
	bytes = lseek(fd, 0, SEEK_END);
	if (bytes < 0)
		return -errno;
	prog = malloc((size_t)bytes);
	if (!prog)
		return -ENOMEM;
	if (pread(fd, prog, (size_t)bytes, 0) != bytes)
		return -EIO;
	*ret_count = (size_t)bytes / sizeof(struct sock_filter);
	*ret_prog = mdl_take_ptr(prog);
	return 0;
}
