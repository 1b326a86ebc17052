/* SPDX-License-Identifier: MIT */
/*
 * medley-vm without devices: guests that end well, badly or not at all, input and output,
 * arguments.
 */
#include <signal.h>
#include <time.h>

#include "tests/micro/vm.h"

static void test_hello(void)
{
	const struct vm_result *r = VM("@hello", "0", "two words", "--memory");

	CHECK_STR(r->out, "hello from ring 3, 256 MiB of memory\nargument 1: 0\n"
			  "argument 2: two words\nargument 3: --memory\n");
	CHECK_STR(r->err, "");
	CHECK_EQ(r->status, 0);
}

static void test_status(void)
{
	CHECK_EQ(VM("@hello", "1")->status, 1);
	CHECK_EQ(VM("@hello", "63")->status, 63);
	/* 64 and above are medley-vm's own. */
	CHECK_EQ(VM("@hello", "77")->status, 63);
	CHECK_EQ(VM("@hello", "-1")->status, 63);
}

static void self(const char *name)
{
	const struct vm_result *r = VM("--timeout", "30", "@selftest", name);

	if (r->status)
		fprintf(stderr, "# %s# %s", r->out, r->err);
	CHECK_EQ(r->status, 0);
	CHECK_STR(r->err, "");
}

static void test_mem(void)
{
	self("mem");
}

static void test_heap(void)
{
	self("heap");
}

static void test_libc(void)
{
	self("libc");
}

static void test_vectors(void)
{
	self("vectors");
}

static void test_ports(void)
{
	CHECK_STR(VM("@selftest", "ports")->out, "string port\nports: ok\n");
}

/* The guest's clock is the host's, within what starting and ending take. */
static void test_time(void)
{
	struct timespec before, after;
	const struct vm_result *r;
	unsigned long long ns = 0;

	clock_gettime(CLOCK_MONOTONIC, &before);
	r = VM("--timeout", "30", "@selftest", "time");
	clock_gettime(CLOCK_MONOTONIC, &after);
	CHECK_EQ(r->status, 0);
	CHECK(sscanf(r->out, "now %llu", &ns) == 1);
	CHECK(ns > before.tv_sec * 1000000000ull + before.tv_nsec &&
	      ns < after.tv_sec * 1000000000ull + after.tv_nsec);
}

static void test_small_and_large(void)
{
	const char *said = "too small";

	CHECK(!strncmp(VM("--memory", "2M", "@hello")->out, "hello from ring 3, 2 MiB", 24));
	CHECK(!strncmp(VM("--memory", "3G", "@hello")->out, "hello from ring 3, 3072 MiB", 27));
	CHECK(vm_said(VM("--memory", "2M", "--out", vm_path("o"), "@hello"), "--out"));
	CHECK(vm_said(VM("--memory", "4M", "--out", vm_path("o:3900K"), "@hello"), said));
	CHECK(vm_said(VM("--memory", "4M", "--out", vm_path("o:100G"), "@hello"), said));
	CHECK(access(vm_path("o"), F_OK));
}

static void test_crashes(void)
{
	static const struct {
		const char *how, *said;
	} cases[] = {
		{ "null", "guest exception: vector 14 (page fault), rip 0x10" },
		{ "null", "address 0x8, error code 0x6" },
		/* The guard page below the stack at the top of 256 MiB. */
		{ "stack", "address 0xffbf" },
		{ "system", "address 0xc000, error code 0x7" },
		{ "handlers", "address 0xd000, error code 0x7" },
		{ "beyond", "address 0x10000000, error code 0x4" },
		{ "noncanonical", "vector 13 (general protection)" },
		{ "divide", "vector 0 (division error)" },
		{ "invalid", "vector 6 (invalid instruction)" },
		{ "breakpoint", "vector 3 (breakpoint)" },
		{ "hlt", "vector 13 (general protection)" },
		{ "cli", "vector 13 (general protection)" },
		{ "port", "vector 13 (general protection)" },
		/* 13, or 6 on hosts that emulate ring 0 and do not know this instruction there. */
		{ "int", "guest exception: vector " },
		{ "fault-port", "guest wrote to the fault port" },
		{ "rsp", "vector 14 (page fault)" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct vm_result *r =
			VM("--timeout", "30", "@selftest", "crash", cases[i].how);

		if (r->status != 70 || strcmp(r->out, ""))
			fprintf(stderr, "# %s: %s\n", cases[i].how, r->out);
		CHECK_EQ(r->status, 70);
		CHECK(vm_said(r, cases[i].said));
		CHECK_STR(r->out, "");
	}
}

static void test_chaos(void)
{
	for (int seed = 0; seed < 12; seed++) {
		char text[16];
		const struct vm_result *r;

		snprintf(text, sizeof(text), "%d", seed);
		r = VM("--timeout", "1", "@selftest", "chaos", text);
		if (r->status)
			fprintf(stderr, "# seed %d: %d %s", seed, r->status, r->err);
		CHECK(r->status == 0 || r->status == 70 || r->status == 124);
	}
}

static void test_abort(void)
{
	const struct vm_result *r = VM("@selftest", "crash", "abort");

	CHECK_STR(r->out, "abort\n");
	CHECK_EQ(r->status, 62);
	r = VM("@selftest", "crash", "assert");
	CHECK(strstr(r->out, "assertion failed: zero == 1"));
	CHECK_EQ(r->status, 62);
	CHECK_EQ(VM("@selftest", "crash", "free")->status, 62);
}

static void test_data_out(void)
{
	enum {
		N = 1000001
	};
	char *data = malloc(N), *back;
	size_t bytes;

	CHECK(data);
	for (int i = 0; i < N; i++)
		data[i] = (char)(i * 7 + (i >> 8));
	vm_write_file(vm_path("in"), data, N);
	CHECK_EQ(
		VM("--data", vm_path("in"), "--out", vm_path("out:2M"), "@selftest", "data")->status,
		0);
	back = vm_read_file(vm_path("out"), &bytes);
	CHECK_EQ(bytes, N);
	for (int i = 0; i < N; i++)
		CHECK(back[i] == data[N - 1 - i]);
	free(back);
	/*
	 * A longer file is overwritten as a whole; one that a failing VM did not finish is as
	 * before.
	 */
	vm_write_file(vm_path("in"), data, 5);
	free(data);
	CHECK_EQ(
		VM("--data", vm_path("in"), "--out", vm_path("out:2M"), "@selftest", "data")->status,
		0);
	free(vm_read_file(vm_path("out"), &bytes));
	CHECK_EQ(bytes, 5);
	CHECK_EQ(VM("--out", vm_path("out:2M"), "@selftest", "crash", "null")->status, 70);
	free(vm_read_file(vm_path("out"), &bytes));
	CHECK_EQ(bytes, 5);
	CHECK_EQ(VM("--out", vm_path("new:2M"), "@selftest", "crash", "null")->status, 70);
	CHECK(access(vm_path("new"), F_OK));
	/* An empty result is a file too. */
	CHECK_EQ(VM("--out", vm_path("empty:1"), "@hello")->status, 0);
	free(vm_read_file(vm_path("empty"), &bytes));
	CHECK_EQ(bytes, 0);
}

static void test_timeout(void)
{
	const struct vm_result *r = VM("--timeout", "0.2", "@selftest", "spin");

	CHECK_EQ(r->status, 124);
	CHECK(vm_said(r, "time is up; the guest was at rip 0x10"));
	CHECK(r->seconds >= 0.2);
	CHECK_EQ(VM("--timeout", "0.2", "@selftest", "storm")->status, 124);
	r = VM("--timeout", "0.2", "@selftest", "sleep");
	CHECK_EQ(r->status, 124);
	CHECK(r->seconds >= 0.2);
}

/* A guest that floods a console that nobody reads can still be ended. */
static void test_flood(void)
{
	const char *const argv[] = { "--timeout", "0.3", "@selftest", "flood", NULL };
	const struct vm_result *r = vm_run(argv, (struct vm_options) { .no_reader = 1 });

	CHECK_EQ(r->status, 124);
}

/* It comes while the guest sleeps, is more than it takes at once, and ends. */
static void test_input(void)
{
	static const char *const echo[] = { "--input", "@selftest", "input", NULL },
				 *const deaf[] = { "@selftest", "input", NULL };
	const struct vm_result *r;

	r = vm_run(echo, (struct vm_options) { .input = "one two three\n" });
	CHECK_EQ(r->status, 0);
	CHECK_STR(r->out, "listening\none two three\nended\ninput: ok\n");
	/* Not without being asked to. */
	r = vm_run(deaf, (struct vm_options) { .input = "one two three\n" });
	CHECK_EQ(r->status, 0);
	CHECK_STR(r->out, "listening\nended\ninput: ok\n");
}

static void test_signals(void)
{
	static const char *const spin[] = { "@selftest", "spin", NULL }, *const sleep_[] = {
		"@selftest", "sleep", NULL
	};
	const struct vm_result *r;

	r = vm_run(spin, (struct vm_options) { .poke_signal = SIGTERM });
	CHECK_EQ(r->status, 143);
	CHECK(vm_said(r, "stopped by a signal"));
	CHECK_EQ(vm_run(sleep_, (struct vm_options) { .poke_signal = SIGINT })->status, 130);
}

static void refused(int status, const char *said, const char *const *argv)
{
	const struct vm_result *r = vm_run(argv, (struct vm_options) { .any_kvm = 1 });

	CHECK(vm_said(r, said));
	CHECK_EQ(r->status, status);
	CHECK_STR(r->out, "");
}

#define REFUSED(status, said, ...) \
	refused(status, said, (const char *const[]) { __VA_ARGS__, NULL })

static void test_arguments(void)
{
	refused(64, "no guest program", (const char *const[]) { NULL });
	REFUSED(64, "no guest program", "--memory", "64M");
	REFUSED(64, "unknown option --wrong", "--wrong", "@hello");
	REFUSED(64, "unknown option -x", "-x", "@hello");
	REFUSED(64, "--memory needs a value", "--memory");
	REFUSED(64, "--memory 0", "--memory", "0", "@hello");
	REFUSED(64, "--memory -5M", "--memory", "-5M", "@hello");
	REFUSED(64, "--memory 1M", "--memory", "1M", "@hello");
	REFUSED(64, "--memory 3M", "--memory", "3M", "@hello");
	REFUSED(64, "--memory 4G", "--memory", "4G", "@hello");
	REFUSED(64, "--memory 99999999999999999999", "--memory", "99999999999999999999", "@hello");
	REFUSED(64, "--memory 99999999999G", "--memory", "99999999999G", "@hello");
	REFUSED(64, "--memory 64X", "--memory", "64X", "@hello");
	REFUSED(64, "--memory 64MB", "--memory", "64MB", "@hello");
	REFUSED(64, "--timeout soon", "--timeout", "soon", "@hello");
	REFUSED(64, "--timeout 0", "--timeout", "0", "@hello");
	REFUSED(64, "--timeout nan", "--timeout", "nan", "@hello");
	REFUSED(64, "--timeout 1e300", "--timeout", "1e300", "@hello");
	REFUSED(64, "--out x", "--out", "x", "@hello");
	REFUSED(64, "--out :4K", "--out", ":4K", "@hello");
	REFUSED(64, "--out x:", "--out", "x:", "@hello");
	REFUSED(64, "at most 8 --vgpu", "--vgpu", "a", "--vgpu", "a", "--vgpu", "a", "--vgpu", "a",
		"--vgpu", "a", "--vgpu", "a", "--vgpu", "a", "--vgpu", "a", "--vgpu", "a",
		"@hello");
}

static void test_files(void)
{
	static char longs[40000];
	const struct vm_result *r = VM("--data", "/nonexistent/data", "@hello");

	CHECK_EQ(r->status, 65);
	CHECK(vm_said(r, "/nonexistent/data: No such file"));
	r = VM("--data", "/dev/zero", "@hello");
	CHECK_EQ(r->status, 65);
	CHECK(vm_said(r, "/dev/zero: not a regular file"));
	r = VM("--out", "/nonexistent/out:4K", "@hello");
	CHECK_EQ(r->status, 65);
	CHECK(vm_said(r, "/nonexistent/out: No such file"));
	r = VM("--out", "/dev/null:4K", "@hello");
	CHECK_EQ(r->status, 65);
	r = VM("--vgpu", vm_path("no.sock"), "--out", vm_path("unmade:4K"), "@hello");
	CHECK_EQ(r->status, 69);
	CHECK(vm_said(r, "no.sock: cannot connect: No such file"));
	CHECK(access(vm_path("unmade"), F_OK));
	vm_write_file(vm_path("file"), longs, sizeof(longs));
	CHECK_EQ(VM("--vgpu", vm_path("file"), "@hello")->status, 69);
	memset(longs, 'x', sizeof(longs) - 1);
	r = VM("@hello", longs);
	CHECK_EQ(r->status, 65);
	CHECK(vm_said(r, "arguments for the guest are longer"));
}

static void test_no_rights(void)
{
	static const char *const argv[] = { "@hello", NULL };
	const struct vm_result *r;

	if (getuid())
		check_skip("needs root to become a user without rights");
	(void)VM("@hello"); /* skips without KVM, which would say the same for another reason */
	r = vm_run(argv, (struct vm_options) { .uid = 65534, .any_kvm = 1 });
	CHECK_EQ(r->status, 77);
	CHECK(vm_said(r, "no rights to use /dev/kvm"));
}

static const struct check_case cases[] = {
	{ "hello", test_hello },
	{ "status", test_status },
	{ "mem", test_mem, 60 },
	{ "heap", test_heap, 60 },
	{ "libc", test_libc },
	{ "vectors", test_vectors },
	{ "ports", test_ports },
	{ "time", test_time, 60 },
	{ "small-and-large", test_small_and_large },
	{ "crashes", test_crashes, 60 },
	{ "chaos", test_chaos, 60 },
	{ "abort", test_abort },
	{ "data-out", test_data_out },
	{ "timeout", test_timeout, 60 },
	{ "flood", test_flood, 60 },
	{ "input", test_input, 60 },
	{ "signals", test_signals, 60 },
	{ "arguments", test_arguments },
	{ "files", test_files },
	{ "no-rights", test_no_rights },
};

VM_MAIN(cases)
