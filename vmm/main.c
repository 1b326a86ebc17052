/* SPDX-License-Identifier: MIT */
/*
 * medley-vm: runs one bare-metal program (guest/micro) in a virtual machine with vGPUs. Options,
 * order of set-up, exit codes; one thread. Everything is opened before the guest runs; then the
 * process confines itself. See micro_abi.h for the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "vmm/device.h"
#include "vmm/events.h"
#include "vmm/loader.h"
#include "vmm/run.h"
#include "vmm/sandbox.h"
#include "vmm/vm.h"

enum exit_code { /* 0 to MDL_MICRO_EXIT_MAX are the guest's */
	EXIT_USAGE = 64,
	EXIT_BAD_INPUT = 65, /* program, data or output file */
	EXIT_DEVICE = 69,
	EXIT_CRASHED = 70,
	EXIT_SYSTEM = 71,
	EXIT_NO_KVM = 77,
	EXIT_TIMEOUT = 124,
	EXIT_SIGNAL = 128, /* plus the signal */
};

#define SECONDS_MAX 1000000

struct options {
	const char *vgpu[MDL_MICRO_DEVICES];
	uint32_t num_vgpus;
	uint64_t memory_bytes, out_bytes, timeout_ns;
	const char *data;
	char *out; /* heap */
	bool input;
	char **guest_argv;
	int guest_argc;
};

struct machine { /* what main has set up and must take down */
	struct mdl_vm *vm;
	struct mdl_vm_device *device[MDL_MICRO_DEVICES];
	uint32_t num_devices;
	struct mdl_events events;
	int out_fd;
	uint64_t out_addr;
	bool out_made; /* the output file did not exist before */
};

static const char usage[] =
	"usage: medley-vm [options] GUEST.elf [args...]\n"
	"  --vgpu SOCKET      plug in the vGPU at this vfio-user socket (up to 8 times)\n"
	"  --memory SIZE      guest memory, 2M to 3G (default 256M)\n"
	"  --data FILE        put FILE into the guest's memory\n"
	"  --out FILE:SIZE    give the guest a buffer of SIZE and write what it leaves there to FILE\n"
	"  --input            let the guest read standard input\n"
	"  --timeout SECONDS  end the guest after this time\n";

static int __attribute__((format(printf, 2, 3))) fail(int code, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	mdl_log(MDL_LOG_ERROR, "%s", text);
	return code;
}

/* A positive number with an optional K, M or G. */
static bool parse_size(const char *s, uint64_t *ret_bytes)
{
	static const char units[] = "KMG";
	unsigned long long v;
	const char *unit;
	char *rest;
	int shift = 0;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &rest, 10);
	if (errno || !v)
		return false;
	if (*rest) {
		unit = strchr(units, *rest);
		if (!unit || rest[1])
			return false;
		shift = 10 * (int)(unit - units + 1);
	}
	if (v > UINT64_MAX >> shift)
		return false;
	*ret_bytes = v << shift;
	return true;
}

static bool parse_seconds(const char *s, uint64_t *ret_ns)
{
	char *rest;
	double v = strtod(s, &rest);

	if (*s < '0' || *s > '9' || *rest || !(v > 0 && v <= SECONDS_MAX))
		return false;
	*ret_ns = mdl_max_u64((uint64_t)(v * 1e9), 1);
	return true;
}

static bool parse_out(struct options *o, const char *arg)
{
	const char *colon = strrchr(arg, ':');

	if (!colon || colon == arg || !parse_size(colon + 1, &o->out_bytes))
		return false;
	free(o->out);
	o->out = strndup(arg, (size_t)(colon - arg));
	return o->out;
}

/* 0, or the exit code with the reason printed; -1: help was asked for. */
static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "vgpu", required_argument, NULL, 'v' },
		{ "memory", required_argument, NULL, 'm' },
		{ "data", required_argument, NULL, 'd' },
		{ "out", required_argument, NULL, 'o' },
		{ "input", no_argument, NULL, 'i' },
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:", longs, NULL)) != -1) {
		switch (c) {
		case 'v':
			if (o->num_vgpus == MDL_MICRO_DEVICES)
				return fail(EXIT_USAGE, "at most %d --vgpu", MDL_MICRO_DEVICES);
			o->vgpu[o->num_vgpus++] = optarg;
			break;
		case 'm':
			if (!parse_size(optarg, &o->memory_bytes) ||
			    o->memory_bytes < MDL_VM_RAM_MIN || o->memory_bytes > MDL_VM_RAM_MAX ||
			    !mdl_is_aligned(o->memory_bytes, 2 << 20))
				return fail(EXIT_USAGE,
					    "--memory %s: a multiple of 2M from 2M to 3G is needed",
					    optarg);
			break;
		case 'd':
			o->data = optarg;
			break;
		case 'o':
			if (!parse_out(o, optarg))
				return fail(EXIT_USAGE,
					    "--out %s: FILE:SIZE is needed, as in result.bin:4M",
					    optarg);
			break;
		case 'i':
			o->input = true;
			break;
		case 't':
			if (!parse_seconds(optarg, &o->timeout_ns))
				return fail(EXIT_USAGE,
					    "--timeout %s: seconds are needed, as in 2.5", optarg);
			break;
		case 'h':
			return -1;
		case ':':
			return fail(EXIT_USAGE, "%s needs a value", argv[optind - 1]);
		default:
			return fail(EXIT_USAGE, "unknown option %s (see --help)", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return fail(EXIT_USAGE, "no guest program given (see --help)");
	o->guest_argv = argv + optind;
	o->guest_argc = argc - optind;
	return 0;
}

/* Before the guest runs, so that a name that cannot be written is noticed at once. */
static int open_out(struct machine *m, const char *path)
{
	struct stat st;

	m->out_made = true;
	m->out_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (m->out_fd < 0 && errno == EEXIST) {
		m->out_made = false;
		m->out_fd = open(path, O_WRONLY | O_CLOEXEC);
	}
	if (m->out_fd < 0)
		return fail(EXIT_BAD_INPUT, "%s: %s", path, strerror(errno));
	if (fstat(m->out_fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(EXIT_BAD_INPUT, "%s: not a regular file", path);
	return 0;
}

static int write_out(struct machine *m, const struct options *o)
{
	struct mdl_micro_boot boot;
	uint64_t used, done = 0;
	const char *data;

	/* Only the length is the guest's word; where the buffer lies is ours. */
	memcpy(&boot, mdl_vm_ram(m->vm, MDL_MICRO_BOOT_PAGE, sizeof(boot)), sizeof(boot));
	used = mdl_min_u64(boot.out_used, o->out_bytes);
	data = mdl_vm_ram(m->vm, m->out_addr, used);
	if (ftruncate(m->out_fd, 0) < 0)
		return fail(EXIT_BAD_INPUT, "%s: %s", o->out, strerror(errno));
	while (done < used) {
		ssize_t n = pwrite(m->out_fd, data + done, used - done, (off_t)done);

		if (n <= 0)
			return fail(EXIT_BAD_INPUT, "%s: %s", o->out,
				    n ? strerror(errno) : "cannot be written");
		done += (uint64_t)n;
	}
	m->out_made = false; /* it is complete: keep it */
	return 0;
}

static int make_vm(struct machine *m, const struct options *o)
{
	const char *why;
	int err = mdl_vm_create(o->memory_bytes, &m->vm, &why);

	if (err == -ENODEV)
		return fail(EXIT_NO_KVM, "no KVM on this machine (%s)", why);
	if (err == -EACCES)
		return fail(EXIT_NO_KVM, "no rights to use /dev/kvm (is the user in group kvm?)");
	return err ? fail(EXIT_SYSTEM, "%s: %s", why, strerror(-err)) : 0;
}

static int attach_devices(struct machine *m, const struct options *o)
{
	struct mdl_vm_space space = { .vectors_max =
					      (MDL_MICRO_VECTOR_LAST + 1 - MDL_MICRO_VECTOR_FIRST) /
					      (o->num_vgpus ? o->num_vgpus : 1) };
	const char *why;
	int err;

	for (uint32_t i = 0; i < o->num_vgpus; i++) {
		err = mdl_vm_device_attach(m->vm, &space, o->vgpu[i], &m->device[i], &why);
		if (err)
			return fail(EXIT_DEVICE, "vGPU %s: cannot %s: %s", o->vgpu[i], why,
				    err == -EBUSY ? "another VMM has it" : strerror(-err));
		m->num_devices++;
	}
	err = mdl_vm_route_irqs(m->vm);
	if (err)
		return fail(EXIT_SYSTEM, "cannot route interrupts: %s", strerror(-err));
	for (uint32_t i = 0; i < m->num_devices; i++) {
		err = mdl_vm_device_start(m->vm, m->device[i], &why);
		if (err)
			return fail(EXIT_DEVICE, "vGPU %s: cannot %s: %s", o->vgpu[i], why,
				    strerror(-err));
	}
	return 0;
}

static int load_guest(struct machine *m, const struct options *o)
{
	struct mdl_micro_device info[MDL_MICRO_DEVICES] = { 0 };
	struct mdl_loader what = {
		.program = o->guest_argv[0],
		.argv = o->guest_argv,
		.argc = (uint32_t)o->guest_argc,
		.data = o->data,
		.out_bytes = o->out_bytes,
		.device = info,
		.num_devices = m->num_devices,
	};
	char why[MDL_LOADER_WHY_BYTES];
	int err;

	for (uint32_t i = 0; i < m->num_devices; i++)
		info[i] = *mdl_vm_device_info(m->device[i]);
	err = mdl_loader_run(m->vm, &what, &m->out_addr, why);
	return err ? fail(EXIT_BAD_INPUT, "%s", why) : 0;
}

static void report_death(const struct mdl_vm_device *dev)
{
	mdl_log(MDL_LOG_ERROR, "vGPU %s: connection lost; its registers read all-ones from here on",
		mdl_vm_device_path(dev));
}

static int run_guest(struct machine *m, const struct options *o)
{
	struct mdl_run r = {
		.vm = m->vm,
		.events = &m->events,
		.device = m->device,
		.num_devices = m->num_devices,
		.console_fd = STDOUT_FILENO,
		.input_fd = o->input ? STDIN_FILENO : -1,
	};
	int err = mdl_events_start(&m->events, o->timeout_ns);

	for (uint32_t i = 0; !err && i < m->num_devices; i++)
		err = mdl_events_add_device(&m->events, mdl_vm_device_fd(m->device[i]));
	if (!err && o->input)
		err = mdl_events_add_device(&m->events, STDIN_FILENO);
	if (!err)
		err = mdl_vm_sandbox_enter();
	if (err)
		return fail(EXIT_SYSTEM, "cannot prepare to run: %s", strerror(-err));
	mdl_run(&r, report_death);
	switch (r.end) {
	case MDL_RUN_EXITED:
		err = o->out ? write_out(m, o) : 0;
		return err ? err : r.status;
	case MDL_RUN_CRASHED:
		return fail(EXIT_CRASHED, "%s", r.text);
	case MDL_RUN_TIMEOUT:
		return fail(EXIT_TIMEOUT, "%s", r.text);
	case MDL_RUN_INTERRUPTED:
		return fail(EXIT_SIGNAL + r.status, "%s", r.text);
	default:
		return fail(EXIT_SYSTEM, "%s", r.text);
	}
}

static void take_down(struct machine *m, const struct options *o)
{
	for (uint32_t i = 0; i < MDL_MICRO_DEVICES; i++)
		mdl_vm_device_detach(m->device[i]);
	mdl_events_fini(&m->events);
	mdl_vm_destroy(m->vm);
	if (m->out_fd >= 0 && m->out_made)
		unlink(o->out);
	mdl_close_fd(&m->out_fd);
}

int main(int argc, char **argv)
{
	struct options o = { .memory_bytes = 256ull << 20 };
	struct machine m = { .out_fd = -1, .events.fd = -1 };
	int code;

	mdl_log_init("medley-vm", MDL_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	code = parse_options(argc, argv, &o);
	if (code < 0) {
		fputs(usage, stdout);
		return 0;
	}
	if (!code)
		code = make_vm(&m, &o);
	if (!code)
		code = attach_devices(&m, &o);
	/* From here on signals wait for the run loop, so that no half-made file stays behind. */
	if (!code && mdl_events_init(&m.events, m.vm->cpu_fd))
		code = fail(EXIT_SYSTEM, "cannot wait for signals");
	if (!code && o.out)
		code = open_out(&m, o.out);
	if (!code)
		code = load_guest(&m, &o);
	if (!code)
		code = run_guest(&m, &o);
	take_down(&m, &o);
	free(o.out);
	return code;
}
