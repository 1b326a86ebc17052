/* SPDX-License-Identifier: MIT */
/*
 * medley-vm with vfio-user devices: the guest's selftest drives the toy device, whose server runs
 * beside.
 */
#include <signal.h>

#include "tests/micro/toy-server.h"
#include "tests/micro/vm.h"

static void device_case(const char *name)
{
	pid_t toy = toy_start(vm_path(name), TOY_GOOD);
	const struct vm_result *r =
		VM("--vgpu", vm_path(name), "--timeout", "50", "@selftest", name);

	toy_stop(toy);
	fprintf(stderr, "# %s", r->out);
	CHECK_STR(r->err, "");
	CHECK_EQ(r->status, 0);
}

static void test_registers(void)
{
	device_case("registers");
}

static void test_mapped(void)
{
	device_case("mapped");
}

static void test_dma(void)
{
	device_case("dma");
}

static void test_doorbell(void)
{
	device_case("doorbell");
}

static void test_irq(void)
{
	device_case("irq");
}

static void test_wakeups(void)
{
	device_case("wakeups");
}

static void test_dead(void)
{
	pid_t toy = toy_start(vm_path("dead"), TOY_GOOD);
	const struct vm_result *r =
		VM("--vgpu", vm_path("dead"), "--timeout", "50", "@selftest", "dead");

	toy_stop(toy);
	CHECK_STR(r->out, "alive\ndead: ok\n");
	CHECK(vm_said(r, "connection lost"));
	CHECK_EQ(r->status, 0);
}

/* Nothing but trapped accesses: time-outs get through. */
static void test_storm(void)
{
	pid_t toy = toy_start(vm_path("storm"), TOY_GOOD);
	const struct vm_result *r =
		VM("--vgpu", vm_path("storm"), "--timeout", "0.3", "@selftest", "access-storm");

	toy_stop(toy);
	CHECK(vm_said(r, "time is up"));
	CHECK_EQ(r->status, 124);
}

/* A device that dies while the guest sleeps is reported then, not at the next access. */
static void test_dead_asleep(void)
{
	pid_t toy = toy_start(vm_path("asleep"), TOY_GOOD), killer = fork();
	const struct vm_result *r;

	if (!killer) {
		usleep(300000); /* asleep by then; if not yet, the test passes all the same */
		kill(toy, SIGKILL);
		_exit(0);
	}
	r = VM("--vgpu", vm_path("asleep"), "--timeout", "1.5", "@selftest", "sleep");
	waitpid(killer, NULL, 0);
	toy_stop(toy);
	CHECK(strstr(r->err, "connection lost") && strstr(r->err, "time is up"));
	CHECK_EQ(r->status, 124);
}

/* One server serves one VM after the other; BARs and vectors of two devices do not meet. */
static void test_two(void)
{
	pid_t a = toy_start(vm_path("a"), TOY_GOOD), b = toy_start(vm_path("b"), TOY_GOOD);
	const char *const names[] = { "registers", "mapped", "irq", "dma" };

	for (size_t i = 0; i < 4; i++) {
		CHECK_EQ(VM("--vgpu", vm_path("a"), "--vgpu", vm_path("b"), "@selftest", names[i],
			    "1")
				 ->status,
			 0);
		CHECK_EQ(VM("--vgpu", vm_path("b"), "--vgpu", vm_path("a"), "@selftest",
			    "registers", "1")
				 ->status,
			 0);
	}
	toy_stop(a);
	toy_stop(b);
}

/* As many devices as fit share the CPU's vectors: 176 for eight. */
static void test_eight(void)
{
	static const char *const names[] = { "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7" };
	const char *argv[20];
	const struct vm_result *r;
	pid_t toy[8];
	int n = 0;

	for (int i = 0; i < 8; i++) {
		toy[i] = toy_start(vm_path(names[i]), TOY_GOOD);
		argv[n++] = "--vgpu";
		argv[n++] = vm_path(names[i]);
	}
	argv[n++] = "@hello";
	argv[n] = NULL;
	r = vm_run(argv, (struct vm_options) { 0 });
	for (int i = 0; i < 8; i++)
		toy_stop(toy[i]);
	CHECK_EQ(r->status, 0);
	CHECK(strstr(r->out, "device 0: 4d44:7079, 22 vectors from 0x40\n"));
	CHECK(strstr(r->out, "device 7: 4d44:7079, 22 vectors from 0xda\n"));
}

static void test_faulty(void)
{
	pid_t loop = toy_start(vm_path("loop"), TOY_CAP_LOOP),
	      brief = toy_start(vm_path("short"), TOY_SHORT_FILE);
	const struct vm_result *r = VM("--vgpu", vm_path("loop"), "@hello");

	/* No MSI-X was found, so the device has no vectors. */
	CHECK_EQ(r->status, 0);
	CHECK(strstr(r->out, ", 0 vectors"));
	r = VM("--vgpu", vm_path("short"), "@hello");
	CHECK_EQ(r->status, 69);
	CHECK(vm_said(r, "cannot map a BAR"));
	toy_stop(loop);
	toy_stop(brief);
}

/* Not checked: printed for whoever reads the log. */
static void test_costs(void)
{
	pid_t toy = toy_start(vm_path("costs"), TOY_GOOD);
	const struct vm_result *r =
		VM("--vgpu", vm_path("costs"), "--timeout", "50", "@selftest", "measure");
	const char *line = r->out, *next;

	toy_stop(toy);
	CHECK_EQ(r->status, 0);
	for (; (next = strchr(line, '\n')); line = next + 1)
		fprintf(stderr, "# %.*s\n", (int)(next - line), line);
}

static const struct check_case cases[] = {
	{ "registers", test_registers, 60 },
	{ "mapped", test_mapped, 60 },
	{ "dma", test_dma, 60 },
	{ "doorbell", test_doorbell, 60 },
	{ "irq", test_irq, 60 },
	{ "wakeups", test_wakeups, 60 },
	{ "dead", test_dead, 60 },
	{ "storm", test_storm, 60 },
	{ "dead-asleep", test_dead_asleep, 60 },
	{ "two", test_two, 60 },
	{ "eight", test_eight, 60 },
	{ "faulty", test_faulty, 60 },
	{ "costs", test_costs, 60 },
};

VM_MAIN(cases)
