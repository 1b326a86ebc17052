/* SPDX-License-Identifier: MIT */
/* What the backends share (compiler options, copy engine, transfers) and the null backend. No OpenCL. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "backend/compile.h"
#include "backend/memory.h"
#include "backend/null.h"
#include "base/util.h"
#include "tests/unit/check.h"

static int option(const char *text)
{
	const char *bad = NULL;
	size_t len = 0;
	int err = mdl_compile_check_options(text, &bad, &len);

	/* What is named as bad lies in the text, except for a -D that ends it. */
	if (err)
		CHECK(bad && len && len <= strlen(text));
	return err;
}

static void options(void)
{
	static const char *const good[] = { "", "   ", "-w", "-Werror -g", "-DX", "-D X", "-DX=1 -D Y=(a+b)*2", "-cl-std=CL1.2",
					    "-cl-fast-relaxed-math  -cl-mad-enable ", "-DF(x)=x" };
	static const char *const wrong[] = { "-D", "-D ", "-I.", "-I", "-D 1X", "-DX=\"a b\"", "-DX='a'", "-DX=a\\ b", "-o x", "x.cl",
					     "-cl-std=CL9", "-cl-", "-include x", "-Xclang", "-load", "@file", "-w\t-w", "-DX=$(x)", "-DX=`x`",
					     "-w\n-w", "-fplugin=x", "-DX=\xc3\xa9" };

	for (size_t i = 0; i < MDL_ARRAY_SIZE(good); i++)
		CHECK_EQ(option(good[i]), 0);
	for (size_t i = 0; i < MDL_ARRAY_SIZE(wrong); i++)
		CHECK_EQ(option(wrong[i]), -EINVAL);
}

static void fill(void)
{
	static uint8_t mem[100000 + 16], want[sizeof(mem)];
	static const uint32_t size[] = { 1, 2, 4, 8 };

	for (size_t s = 0; s < 4; s++) {
		for (size_t bytes = size[s]; bytes <= 100000; bytes = bytes * 3 / size[s] * size[s]) {
			const uint64_t pattern = 0x8877665544332211ull;

			memset(mem, 0xee, sizeof(mem));
			memset(want, 0xee, sizeof(want));
			for (size_t i = 0; i < bytes; i++)
				want[8 + i] = (uint8_t)(pattern >> (i % size[s] * 8));
			mdl_memory_fill(NULL, mem + 8, bytes, pattern, size[s]);
			CHECK(!memcmp(mem, want, sizeof(mem)));
		}
	}
}

static void copy_2d(void)
{
	char from[32] = "abcd1234ABCD5678", to[32];

	memset(to, '.', sizeof(to));
	mdl_memory_copy_2d(NULL, to, from, 2, 4, 5, 4);
	CHECK(!memcmp(to, "ab...12...AB...56....", 20));
}

static void transfers(void)
{
	struct mdl_compile_reply reply = { .log_bytes = 3, .output_bytes = 2 };
	char buf[8], *log = NULL, *output = NULL;
	int p[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	/* Half of it, then silence: the deadline holds. */
	CHECK_EQ(mdl_compile_write(p[0], "abcd", 4), 0);
	CHECK_EQ(mdl_compile_read(p[1], buf, 8, mdl_now_ns() + 20 * MDL_NS_PER_MS), -ETIMEDOUT);
	CHECK_EQ(mdl_compile_write(p[0], "logou", 5), 0);
	CHECK_EQ(mdl_compile_read_rest(p[1], &reply, &log, &output, 0), 0);
	CHECK_STR(log, "log");
	CHECK_STR(output, "ou");
	free(log);
	free(output);
	reply.log_bytes = MDL_PROGRAM_LOG_MAX + 1;
	CHECK_EQ(mdl_compile_read_rest(p[1], &reply, &log, &output, 0), -EPROTO);
	reply = (struct mdl_compile_reply){ .output_bytes = MDL_COMPILE_BITCODE_MAX + 1 };
	CHECK_EQ(mdl_compile_read_rest(p[1], &reply, &log, &output, 0), -EPROTO);
	close(p[0]);
	CHECK_EQ(mdl_compile_read(p[1], buf, 1, 0), -EPIPE);
	close(p[1]);
}

static void null_backend(void)
{
	const struct mdl_backend_ops *ops = &mdl_backend_null;
	const struct mdl_program_source src = { .source = "x", .source_bytes = 1, .options = "" };
	const struct mdl_program_built *built = NULL;
	struct mdl_launch l = { .program = 4, .dims = 1, .global = { 1, 1, 1 } };
	struct mdl_backend *b;
	uint32_t program = 0;

	CHECK_EQ(ops->create(2, -1, &b), 0);
	CHECK_EQ(ops->launch_ready(b, &l), -ENOENT);
	CHECK_EQ(ops->program_load(b, MDL_PROGRAM_MAX, &src), -EINVAL);
	CHECK_EQ(ops->compile_poll(b, &program, &built), -EINPROGRESS);
	CHECK_EQ(ops->program_load(b, 4, &src), 0);
	CHECK_EQ(ops->program_load(b, 5, &src), -EBUSY);
	CHECK_EQ(poll(&(struct pollfd){ .fd = ops->compile_fd(b), .events = POLLIN }, 1, 0), 1);
	CHECK_EQ(ops->compile_poll(b, &program, &built), 0);
	CHECK_EQ(program, 4);
	CHECK_EQ(built->num_kernels, 1);
	CHECK_EQ(ops->launch_ready(b, &l), 0);
	CHECK_EQ(ops->launch(b, &l), 0);
	l.kernel = 1;
	CHECK_EQ(ops->launch_ready(b, &l), -ENOENT);
	CHECK_EQ(mdl_null_counts(b).launches, 1);
	ops->program_unload(b, 4);
	l.kernel = 0;
	CHECK_EQ(ops->launch_ready(b, &l), -ENOENT);
	/* It was ready, and is not any more. */
	CHECK_EQ(ops->launch(b, &l), -EAGAIN);
	CHECK_EQ(mdl_null_counts(b).launches, 1);
	ops->destroy(b);
}

static const struct check_case cases[] = {
	{ "options", options },
	{ "fill", fill },
	{ "copy_2d", copy_2d },
	{ "transfers", transfers },
	{ "null_backend", null_backend },
};
CHECK_MAIN(cases)
