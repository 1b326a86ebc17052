/* SPDX-License-Identifier: MIT */
/*
 * medleyd's main: arguments, the event loop, start and end. Everything that it starts ends with it:
 * in order on SIGTERM and SIGINT, by the kernel (death signal, pid namespaces, closed links) when
 * it is killed. See medleyd.h for the parts.
 */
#include "medleyd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/cpus.h"
#include "base/duration.h"

#define UID_BASE_DEFAULT 0x60000000u
#define CHANNELS_DEFAULT 4096
#define VRAM_DEFAULT_MAX (64ull << 30)

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	mdl_log(MDL_LOG_ERROR, "%s", line);
	exit(EXIT_FAILURE);
}

/* ---- arguments ---- */

static const char usage[] =
	"Usage: medleyd [OPTION]...\n"
	"Shares GPUs among virtual machines: keeps the vGPUs, schedules them, serves the medley command.\n"
	"\n"
	"  --runtime-dir DIR      sockets and lock; default: MEDLEY_RUNTIME_DIR, else /run/medley (root)\n"
	"                         or $XDG_RUNTIME_DIR/medley\n"
	"  --vram SIZE            VRAM of the cpu pGPU, as 4G or 512M; default: half of the memory\n"
	"  --channels N           channels of the pGPU (4096)\n"
	"  --compute-units N      host threads that are the pGPU's compute units (all CPUs)\n"
	"  --compute-cpus LIST    CPUs that are the compute units, as 2-3: kernels run there only, and\n"
	"                         nothing else of Medley's does; VMs belong on the others\n"
	"  --pool N               executors kept ready (2)\n"
	"  --policy NAME          scheduling policy (fair)\n"
	"  --quantum TIME         a vGPU's turn while others wait (2ms)\n"
	"  --grace TIME           between asking for the GPU and taking it, for young kernels (50us)\n"
	"  --nonpreemptive        never take it from a kernel that runs\n"
	"  --kernel-limit TIME    GPU time that one kernel may use, as 500ms; 0: any (60s)\n"
	"  --socket-mode MODE     mode of vGPU sockets, octal (0600)\n"
	"  --socket-owner U[:G]   owner of vGPU sockets, so that U may run VMs; names or numbers\n"
	"  --uid-base N           first of 65536 user ids that processes run as, when started as root\n"
	"  --libexec-dir DIR      where medley-device and medley-exec are\n"
	"  --verbose              log more\n"
	"  --help, --version\n";

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max, int base)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, base);
	if (errno || end == text || *end || text[0] == '-' || v < min || v > max)
		die(base == 8 ? "--%s: '%s' is not an octal number from %llo to %llo"
			      : "--%s: '%s' is not a number from %llu to %llu",
		    option, text, (unsigned long long)min, (unsigned long long)max);
	return v;
}

static uint64_t size(const char *option, const char *text)
{
	static const char units[] = "kmgt";
	unsigned long long v;
	const char *unit;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end | 0x20) : NULL;
	if (errno || end == text || text[0] == '-' || (*end && (!unit || end[1])))
		die("--%s: '%s' is not a size, as 512M or 4G", option, text);
	for (const char *u = units; unit && u <= unit; u++) {
		if (v > UINT64_MAX >> 10)
			die("--%s: '%s' is too large", option, text);
		v <<= 10;
	}
	if (v < 256ull << 20 || v > 1ull << 44)
		die("--%s: '%s' is not between 256M and 16T", option, text);
	return v;
}

/* zero: that is allowed too, whatever the least time. */
static uint64_t duration(const char *option, const char *text, bool zero, uint64_t min,
			 uint64_t max)
{
	bool ms = min && min % MDL_NS_PER_MS == 0;
	uint64_t ns;

	if (!mdl_duration_parse(text, &ns) || (ns ? ns < min : !zero) || ns > max)
		die("--%s: '%s' is not %sa time from %llu%s to %llus, as 500us, 2ms or 1.5s",
		    option, text, zero && min ? "0, nor " : "",
		    (unsigned long long)(min / (ms ? MDL_NS_PER_MS : MDL_NS_PER_US)),
		    ms ? "ms" : "us", (unsigned long long)(max / MDL_NS_PER_S));
	return ns;
}

static void owner(struct options *o, const char *text)
{
	char user[64];
	const char *group = strchr(text, ':');
	struct passwd *pw;
	struct group *gr;
	char *end;

	snprintf(user, sizeof(user), "%.*s", group ? (int)(group - text) : (int)strlen(text), text);
	pw = getpwnam(user);
	o->socket_uid = pw ? pw->pw_uid : (uid_t)strtoul(user, &end, 10);
	if (!pw && (!user[0] || *end))
		die("--socket-owner: no user '%s'", user);
	if (!group++)
		return;
	gr = getgrnam(group);
	o->socket_gid = gr ? gr->gr_gid : (gid_t)strtoul(group, &end, 10);
	if (!gr && (!*group || *end))
		die("--socket-owner: no group '%s'", group);
}

static char *format(const char *fmt, const char *a)
{
	char *s;

	if (asprintf(&s, fmt, a) < 0)
		die("out of memory");
	return s;
}

static char *default_runtime_dir(void)
{
	const char *env = getenv("MEDLEY_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");

	if (env && *env)
		return format("%s", env);
	if (!geteuid())
		return format("%s", "/run/medley");
	if (!xdg || !*xdg)
		die("no runtime directory: set XDG_RUNTIME_DIR or give --runtime-dir");
	return format("%s/medley", xdg);
}

/*
 * In a build tree and in tests the programs lie beside medleyd; installed ones have a directory of
 * their own.
 */
static char *default_libexec_dir(void)
{
	char path[4096], *slash;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);

	if (n > 0) {
		path[n] = 0;
		slash = strrchr(path, '/');
		strcpy(slash, "/medley-device");
		if (!access(path, X_OK)) {
			*slash = 0;
			return format("%s", path[0] ? path : "/");
		}
	}
	return format("%s", MDL_LIBEXECDIR);
}

static uint64_t default_vram(void)
{
	uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
	uint64_t vram = VRAM_DEFAULT_MAX;

	while (vram > bytes && vram > 256ull << 20)
		vram >>= 1;
	return vram;
}

static uint32_t default_compute_units(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (uint32_t)CPU_COUNT(&set);
}

/*
 * The CPUs that are the GPU. All of ours but the threads that run kernels leave them: children
 * inherit this process's mask.
 */
static void compute_cpus(struct options *o)
{
	const char *text = o->compute_cpus;
	cpu_set_t cpus, ours, rest;

	if (!mdl_cpus_parse(text, &cpus))
		die("--compute-cpus: '%s' is not a list of CPUs, as 2-3 or 0,4", text);
	if (sched_getaffinity(0, sizeof(ours), &ours) < 0)
		die("--compute-cpus: %s", strerror(errno));
	CPU_AND(&rest, &ours, &cpus);
	if (!CPU_EQUAL(&rest, &cpus))
		die("--compute-cpus: '%s': this process may not use all of these CPUs", text);
	CPU_XOR(&rest, &ours, &cpus);
	if (!CPU_COUNT(&rest))
		die("--compute-cpus: '%s' leaves no CPU for anything else", text);
	o->compute_units = (uint32_t)CPU_COUNT(&cpus);
	if (sched_setaffinity(0, sizeof(rest), &rest) < 0)
		die("--compute-cpus: %s", strerror(errno));
}

static void parse_arguments(struct options *o, int argc, char **argv)
{
	enum {
		RUNTIME_DIR = 1,
		VRAM,
		CHANNELS,
		UNITS,
		CPUS,
		POOL,
		POLICY,
		QUANTUM,
		GRACE,
		NONPREEMPTIVE,
		KERNEL_LIMIT,
		MODE,
		OWNER,
		UID_BASE,
		LIBEXEC,
		VERBOSE,
		HELP,
		VERSION
	};
	static const struct option options[] = {
		{ "runtime-dir", required_argument, NULL, RUNTIME_DIR },
		{ "vram", required_argument, NULL, VRAM },
		{ "channels", required_argument, NULL, CHANNELS },
		{ "compute-units", required_argument, NULL, UNITS },
		{ "compute-cpus", required_argument, NULL, CPUS },
		{ "pool", required_argument, NULL, POOL },
		{ "policy", required_argument, NULL, POLICY },
		{ "quantum", required_argument, NULL, QUANTUM },
		{ "grace", required_argument, NULL, GRACE },
		{ "nonpreemptive", no_argument, NULL, NONPREEMPTIVE },
		{ "kernel-limit", required_argument, NULL, KERNEL_LIMIT },
		{ "socket-mode", required_argument, NULL, MODE },
		{ "socket-owner", required_argument, NULL, OWNER },
		{ "uid-base", required_argument, NULL, UID_BASE },
		{ "libexec-dir", required_argument, NULL, LIBEXEC },
		{ "verbose", no_argument, NULL, VERBOSE },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ NULL },
	};
	int opt, index = 0;

	*o = (struct options) {
		.vram_bytes = default_vram(),
		.channels = CHANNELS_DEFAULT,
		.compute_units = default_compute_units(),
		.pool = 2,
		.sched = MDL_SCHED_PARAMS_DEFAULT,
		.policy = &mdl_sched_fair,
		.kernel_limit_ns = KERNEL_LIMIT_NS,
		.uid_base = UID_BASE_DEFAULT,
		.socket_mode = 0600,
		.socket_uid = (uid_t)-1,
		.socket_gid = (gid_t)-1,
	};
	argv[0] = program_invocation_short_name; /* what getopt's errors begin with */
	while ((opt = getopt_long(argc, argv, "", options, &index)) != -1) {
		const char *name = options[index].name;

		switch (opt) {
		case RUNTIME_DIR:
			free(o->runtime_dir);
			o->runtime_dir = format("%s", optarg);
			break;
		case LIBEXEC:
			free(o->libexec_dir);
			o->libexec_dir = format("%s", optarg);
			break;
		case VRAM:
			o->vram_bytes = size(name, optarg);
			break;
		case CHANNELS:
			o->channels = (uint32_t)number(name, optarg, 1, 1u << 20, 10);
			break;
		case CPUS:
			free(o->compute_cpus);
			o->compute_cpus = format("%s", optarg);
			break;
		case UNITS:
			o->compute_units = (uint32_t)number(name, optarg, 1, 1024, 10);
			break;
		case POOL:
			o->pool = (uint32_t)number(name, optarg, 0, 64, 10);
			break;
		case QUANTUM:
			o->sched.quantum_ns = duration(name, optarg, false, QUANTUM_MIN_NS,
						       MDL_SCHED_QUANTUM_MAX_NS);
			break;
		case GRACE:
			o->sched.grace_ns = duration(name, optarg, true, 0, GRACE_MAX_NS);
			break;
		case NONPREEMPTIVE:
			o->sched.nonpreemptive = true;
			break;
		case KERNEL_LIMIT:
			o->kernel_limit_ns =
				duration(name, optarg, true, KERNEL_LIMIT_MIN_NS, KERNEL_LIMIT_MAX_NS);
			break;
		case MODE:
			o->socket_mode = (mode_t)number(name, optarg, 0, 0777, 8);
			break;
		case OWNER:
			owner(o, optarg);
			break;
		case UID_BASE:
			o->uid_base = (uid_t)number(name, optarg, 1000, 0xfff00000u, 10);
			break;
		case VERBOSE:
			mdl_log_init("medleyd", MDL_LOG_DEBUG);
			break;
		case HELP:
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		case VERSION:
			puts("medleyd " MDL_VERSION);
			exit(EXIT_SUCCESS);
		case POLICY:
			o->policy = mdl_sched_policy_find(optarg);
			if (!o->policy) {
				char known[256] = "";
				const struct mdl_sched_policy *p;

				for (size_t i = 0; (p = mdl_sched_policy_at(i)); i++)
					snprintf(known + strlen(known),
						 sizeof(known) - strlen(known), " %s", p->name);
				die("--policy: unknown policy '%s'; known:%s", optarg, known);
			}
			break;
		default:
			exit(EXIT_FAILURE); /* getopt said why */
		}
	}
	if (optind < argc)
		die("'%s': medleyd takes options only; see --help", argv[optind]);
	if (o->compute_cpus)
		compute_cpus(o);
	if (!o->runtime_dir)
		o->runtime_dir = default_runtime_dir();
	if (!o->libexec_dir)
		o->libexec_dir = default_libexec_dir();
}

/* ---- start ---- */

static void check_programs(const struct options *o)
{
	static const char *const programs[] = { "medley-device", "medley-exec" };
	mdl_autofree char *path = NULL;

	for (size_t i = 0; i < MDL_ARRAY_SIZE(programs); i++) {
		free(path);
		if (asprintf(&path, "%s/%s", o->libexec_dir, programs[i]) < 0)
			die("out of memory");
		if (access(path, X_OK) < 0)
			die("%s: %s (--libexec-dir says where it is)", path, strerror(errno));
	}
}

/*
 * The scheduler's decisions are late by as much as it waits for a CPU. A child has this priority
 * until its program runs, since it is waited for, and then a normal one (mdl_sandbox_spawn()).
 */
static void raise_priority(void)
{
	struct sched_param p = { .sched_priority = 1 };

	if (!sched_setscheduler(0, SCHED_RR, &p)) {
		mdl_log(MDL_LOG_DEBUG, "runs at real-time priority 1");
		return;
	}
	if (setpriority(PRIO_PROCESS, 0, -10) < 0)
		mdl_log(MDL_LOG_INFO,
			"may not raise its priority: turns may last longer than set on a busy machine");
}

static void raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur == r.rlim_max)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static int on_end_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct manager *m = arg;

	m->stopping = true;
	return sd_event_exit(m->event, 0);
}

static int on_child_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct manager *m = arg;

	lease_confirm_stops(m);
	return 0;
}

static int start_signals(struct manager *m)
{
	sd_event_source *child;
	sigset_t set;
	int err;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	err = sd_event_add_signal(m->event, NULL, SIGTERM, on_end_signal, m);
	if (err >= 0)
		err = sd_event_add_signal(m->event, NULL, SIGINT, on_end_signal, m);
	if (err >= 0)
		err = sd_event_add_signal(m->event, NULL, SIGHUP, on_end_signal, m);
	if (err >= 0)
		err = sd_event_add_signal(m->event, &child, SIGCHLD, on_child_signal, m);
	if (err >= 0) {
		sd_event_source_set_priority(child, PRIORITY_LEASE);
		err = sd_event_source_set_floating(child, true);
		sd_event_source_unref(child);
	}
	return err < 0 ? err : 0;
}

static int start_parts(struct manager *m)
{
	struct mdl_pgpu *pgpu;
	int err;

	err = sd_event_new(&m->event);
	if (err >= 0)
		err = start_signals(m);
	/* Before the priority is raised, and with all signals that are waited for blocked. */
	if (!err)
		err = reaper_start(&m->reaper);
	if (!err)
		err = mdl_mdev_create(&m->mdev);
	if (!err)
		err = mdl_mdev_add_pgpu(m->mdev, "cpu0", "cpu", m->opt.vram_bytes, m->opt.channels,
					m->opt.compute_units, &pgpu);
	if (!err)
		err = gpu_create(m, pgpu, &m->gpu[0]);
	if (!err)
		err = trace_create(&m->trace);
	if (!err)
		err = account_start(m);
	if (!err)
		err = executor_pool_start(m);
	return err;
}

static void stop_parts(struct manager *m)
{
	struct mdl_instance *i;

	m->stopping = true;
	api_stop(m);
	account_stop(m);
	/*
	 * Links and exit notices of what is being ended are nobody's business any more: executors
	 * first, then their devices.
	 */
	if (m->event)
		executor_pool_stop(m);
	while (m->mdev && (i = mdl_instance_next(m->mdev, NULL)))
		vgpu_destroy_now(i->owner);
	for (size_t k = 0; k < MDL_MDEV_PGPUS_MAX; k++)
		gpu_destroy(m->gpu[k]);
	reaper_stop(&m->reaper);
	trace_destroy(m->trace);
	mdl_mdev_destroy(m->mdev);
	sd_event_unref(m->event);
	rundir_release(&m->rundir);
	free(m->opt.runtime_dir);
	free(m->opt.libexec_dir);
	free(m->opt.compute_cpus);
}

int main(int argc, char **argv)
{
	static struct manager m = { .rundir.lock_fd = -1 };
	static const struct mdl_log_limit limit = MDL_LOG_LIMIT_INIT;
	mdl_autofd listen_fd = -1;
	char why[512];
	int err, null;

	/*
	 * Started with closed standard descriptors: what we open next must not take their numbers.
	 */
	do {
		null = open("/dev/null", O_RDWR);
	} while (null >= 0 && null <= STDERR_FILENO);
	close(null);
	mdl_log_init("medleyd", MDL_LOG_INFO);
	parse_arguments(&m.opt, argc, argv);
	check_programs(&m.opt);
	m.pool_log = limit;
	m.isolate = true;
	m.privileged = geteuid() == 0;
	m.started_ns = mdl_now_ns();
	if (rundir_claim(&m.rundir, m.opt.runtime_dir, why, sizeof(why)))
		die("%s", why);
	raise_limits();
	err = start_parts(&m);
	if (!err) {
		listen_fd = rundir_listen(m.rundir.api_path, 0600, (uid_t)-1, (gid_t)-1);
		err = listen_fd < 0 ? listen_fd : api_start(&m, listen_fd);
	}
	if (err) {
		stop_parts(&m);
		die("cannot start: %s", strerror(-err));
	}
	raise_priority();
	executor_pool_fill(&m);
	mdl_log(MDL_LOG_INFO,
		"ready on %s: cpu0, %llu MiB VRAM, %u compute units, %s, quantum %llu us%s",
		m.rundir.path, (unsigned long long)(m.opt.vram_bytes >> 20), m.opt.compute_units,
		m.opt.policy->name, (unsigned long long)(m.opt.sched.quantum_ns / 1000),
		m.opt.sched.nonpreemptive ? ", not preemptive" : "");
	sd_notify(0, "READY=1");
	err = sd_event_loop(m.event);
	if (err < 0)
		mdl_log(MDL_LOG_ERROR, "event loop: %s", strerror(-err));
	sd_notify(0, "STOPPING=1");
	stop_parts(&m);
	return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
