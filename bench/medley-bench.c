/* SPDX-License-Identifier: MIT */
/*
 * medley-bench NAME [options]: measures one part of Medley in KVM guests (without KVM: in processes on the vGPUs' sockets). What one
 * guest does is measured beside its native counterpart on the host. The two take turns in one run: the guest is stopped while
 * the native side works, so neither disturbs the other and both see the same machine. What many guests do to each other is in
 * the files named in shared.h.
 *
 * Two processes: the measuring one, and a parent that only cleans up, however the other ends.
 */
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "bench-commit.h"
#include "native.h"
#include "shared.h"
#include "stack.h"
#include "work.h"

#define SERIES_MAX 8
#define KEY_MAX	   32
#define EXIT_USAGE 2

struct samples {
	uint64_t *value;
	size_t count;
};

struct series { /* one key of the guest's, with what stands beside it */
	char key[KEY_MAX];
	struct samples guest, native;
	unsigned int repetitions;
};

struct run {
	const char *name;
	int repetitions;
	struct stack stack;
	struct native *native;
	struct series series[SERIES_MAX];
	size_t num_series;
	uint64_t resumed_ns; /* when the guest was last let go on */
};

#define REPETITIONS_MAX 1000000
#define SECONDS_MAX	3600
#define VGPUS_MAX	64

static const struct benchmark {
	const char *name, *type;
	int repetitions;
} benchmarks[] = {
	{ "kernel", "share-512m", 15 }, { "aperture", "share-256m", 30 },
	{ "copy", "share-512m", 30 },	{ "submit", "share-256m", 15 },
	{ "trap", "share-256m", 10 },	{ "context", "share-256m", 20 },
};

static const struct shared {
	const char *name;
	json_t *(*run)(const struct shared_options *o);
	void (*print)(const json_t *figures);
	unsigned int least_vgpus; /* for --vgpus; 0: it does not take that */
	bool policies; /* takes --policy */
} shared[] = {
	{ "fairness", fairness_run, fairness_print, .least_vgpus = 2, .policies = true },
	{ "preempt", preempt_run, shared_print },
	{ "overhead", overhead_run, shared_print, .least_vgpus = 1 },
	{ "latency", latency_run, shared_print },
	{ "watchdog", watchdog_run, shared_print },
};

static const char help[] =
	"usage: medley-bench NAME [options]\n"
	"One guest, beside the same natively:\n"
	"  kernel     OpenCL kernels\n"
	"  aperture   the CPU's access to VRAM\n"
	"  copy       copies within VRAM\n"
	"  submit     an empty kernel, there and back\n"
	"  trap       a register access\n"
	"  context    opening and closing a GPU context\n"
	"Many guests on one GPU:\n"
	"  fairness   shares against entitlements, each policy, each window\n"
	"  preempt    how fast the GPU is taken back from a kernel that does not end\n"
	"  overhead   what sharing costs, and what 64 idle vGPUs cost\n"
	"  latency    a light guest beside a heavy one\n"
	"  watchdog   a guest whose kernels do not end is reset: what that is to its neighbour\n"
	"Options:\n"
	"  --json             print JSON\n"
	"  --repetitions N    those of one guest: how often, 1 to 1000000\n"
	"  --seconds N        those of many guests: length of each measurement, up to 3600\n"
	"  --policy NAME      fairness: only this policy; may be repeated\n"
	"  --vgpus N          fairness, overhead: no more vGPUs than N, up to 64\n"
	"  --help\n";

/* ---- measuring ---- */

static void add_samples(struct samples *s, const uint64_t *value, size_t count)
{
	if (!count)
		return;
	s->value = realloc(s->value, (s->count + count) * sizeof(*value));
	if (!s->value)
		abort();
	memcpy(s->value + s->count, value, count * sizeof(*value));
	s->count += count;
}

static struct series *find_series(struct run *r, const char *key)
{
	for (size_t i = 0; i < r->num_series; i++)
		if (!strcmp(r->series[i].key, key))
			return &r->series[i];
	if (r->num_series == SERIES_MAX)
		abort();
	snprintf(r->series[r->num_series].key, KEY_MAX, "%s", key);
	return &r->series[r->num_series++];
}

/* A line "rep ...": the guest idles now. */
static bool on_repetition(struct run *r, char *line)
{
	uint64_t guest[BENCH_SAMPLES_MAX], native[BENCH_SAMPLES_MAX], start;
	unsigned int count, n;
	char key[KEY_MAX], *at;
	struct series *s;
	int used;

	if (sscanf(line, "rep %31s %" SCNu64 " %u%n", key, &start, &count, &used) != 3 ||
	    count > BENCH_SAMPLES_MAX)
		return false;
	at = line + used;
	for (unsigned int i = 0; i < count; i++)
		guest[i] = strtoull(at, &at, 10);
	if (!stack_pause(&r->stack))
		return false;
	n = native_turn(r->native, key, native);
	/* A guest that was stopped only after it had begun again has measured our turn: that one does not count. */
	if (start >= r->resumed_ns) {
		s = find_series(r, key);
		add_samples(&s->guest, guest, count);
		add_samples(&s->native, native, n);
		s->repetitions++;
	}
	/* Contexts are opened from a filled pool; how long one takes to fill is another figure. */
	if (!strcmp(key, "close"))
		stack_wait_pool(&r->stack);
	r->resumed_ns = mdl_now_ns();
	return stack_resume(&r->stack);
}

static bool measure(struct run *r)
{
	char *line = NULL;
	size_t cap = 0;
	bool ended = false, ok = true;
	unsigned int units;

	while (ok && getline(&line, &cap, r->stack.lines) > 0) {
		if (sscanf(line, "units %u", &units) == 1) {
			char cache[600];

			snprintf(cache, sizeof(cache), "%s/pocl", r->stack.dir);
			/* The guest idles after this line too. */
			ok = stack_pause(&r->stack);
			r->native = native_create(units, cache);
			ok = ok && r->native && stack_resume(&r->stack);
		} else if (!strncmp(line, "rep ", 4) && r->native) {
			ok = on_repetition(r, line);
		} else if (!strcmp(line, "end\n")) {
			ended = true;
		} else {
			fprintf(stderr, "medley-bench: guest: %s", line);
		}
	}
	free(line);
	return stack_end_guest(&r->stack) && ok && ended;
}

/* ---- results ---- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double quantile(const struct samples *s, double q)
{
	if (!s->count)
		return 0;
	qsort(s->value, s->count, sizeof(*s->value), compare);
	return (double)s->value[(size_t)(q * (double)(s->count - 1) + 0.5)];
}

static double median(const struct samples *s)
{
	return quantile(s, 0.5);
}

static void put_samples(json_t *out, const char *key, const char *side, const struct samples *s)
{
	char name[KEY_MAX + 16];

	if (!s->count)
		return;
	snprintf(name, sizeof(name), "%s.%s_ns", key, side);
	json_object_set_new(out, name,
			    json_pack("{s:f, s:f, s:f, s:I}", "median", median(s), "best",
				      quantile(s, 0), "p99", quantile(s, 0.99), "samples",
				      (json_int_t)s->count));
}

static void put_number(json_t *out, const char *key, double value)
{
	json_object_set_new(out, key, json_real((double)(int64_t)(value * 10000 + 0.5) / 10000));
}

static void put_ratio(json_t *out, const char *key, double native, double guest)
{
	char name[KEY_MAX + 16];

	snprintf(name, sizeof(name), "%s.ratio", key);
	put_number(out, name, guest > 0 ? native / guest : 0);
}

/* The figures that the manual names, beside medians and p99. */
static void put_figures(struct run *r, json_t *out)
{
	struct series *s[SERIES_MAX];

	for (size_t i = 0; i < r->num_series; i++)
		s[i] = &r->series[i];
	if (!strcmp(r->name, "kernel") || !strcmp(r->name, "copy")) {
		for (size_t i = 0; i < r->num_series; i++)
			put_ratio(out, s[i]->key, median(&s[i]->native), median(&s[i]->guest));
	} else if (!strcmp(r->name, "aperture")) {
		struct series *w = find_series(r, "write"), *rd = find_series(r, "read");

		put_ratio(out, "aperture.write", median(&w->native), median(&w->guest));
		put_ratio(out, "aperture.read", median(&rd->native), median(&rd->guest));
		put_ratio(out, "aperture", median(&w->native) + median(&rd->native),
			  median(&w->guest) + median(&rd->guest));
	} else if (!strcmp(r->name, "submit")) {
		struct series *sub = find_series(r, "submit");

		/* How many times native, unlike the others: smaller is better. */
		put_ratio(out, "submit", median(&sub->guest), median(&sub->native));
		put_number(out, "submit_us", median(&sub->guest) / 1e3);
		put_number(out, "semaphore_us", median(&find_series(r, "semaphore")->guest) / 1e3);
	} else if (!strcmp(r->name, "trap")) {
		put_number(out, "trap_us", median(&find_series(r, "trap")->guest) / 1e3);
	} else if (!strcmp(r->name, "context")) {
		put_number(out, "context_open_ms", median(&find_series(r, "open")->guest) / 1e6);
		put_number(out, "context_close_ms", median(&find_series(r, "close")->guest) / 1e6);
		put_number(out, "context_ms",
			   (median(&find_series(r, "open")->guest) +
			    median(&find_series(r, "close")->guest)) /
				   1e6);
	}
}

static void machine_name(char *text, size_t bytes)
{
	char line[256], model[128] = "unknown CPU";
	FILE *f = fopen("/proc/cpuinfo", "re");
	struct utsname u;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "model name : %127[^\n]", model) == 1)
			break;
	if (f)
		fclose(f);
	uname(&u);
	snprintf(text, bytes, "%s, %ld CPUs, %s %s", model, sysconf(_SC_NPROCESSORS_ONLN),
		 u.sysname, u.release);
}

/* What every benchmark's result begins with. */
static json_t *describe_run(const char *name, bool kvm)
{
	char machine[512];

	machine_name(machine, sizeof(machine));
	return json_pack("{s:s, s:s, s:s, s:s}", "benchmark", name, "accelerator",
			 kvm ? "kvm" : "none (socket back end)", "machine", machine, "commit",
			 BENCH_COMMIT);
}

static json_t *results(struct run *r)
{
	unsigned int repetitions = r->num_series ? r->series[0].repetitions : 0;
	json_t *out = describe_run(r->name, r->stack.kvm);

	for (size_t i = 1; i < r->num_series; i++)
		if (r->series[i].repetitions < repetitions)
			repetitions = r->series[i].repetitions;
	json_object_set_new(out, "repetitions", json_integer(repetitions));
	for (size_t i = 0; i < r->num_series; i++) {
		put_samples(out, r->series[i].key, "guest", &r->series[i].guest);
		put_samples(out, r->series[i].key, "native", &r->series[i].native);
	}
	put_figures(r, out);
	return out;
}

static void print_text(const json_t *out)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)out, key, value) {
		if (json_is_object(value))
			printf("%-20s median %12.1f us   p99 %12.1f us\n", key,
			       json_real_value(json_object_get(value, "median")) / 1e3,
			       json_real_value(json_object_get(value, "p99")) / 1e3);
		else if (json_is_real(value))
			printf("%-20s %.4f\n", key, json_real_value(value));
		else if (json_is_string(value))
			printf("%-20s %s\n", key, json_string_value(value));
		else
			printf("%-20s %lld\n", key, (long long)json_integer_value(value));
	}
}

/* ---- processes ---- */

static int work(struct run *r, const char *bin, const char *dir, const char *type, bool as_json)
{
	json_t *out;
	bool ok;

	ok = stack_start(&r->stack, bin, dir, type) &&
	     stack_run_guest(&r->stack, r->name, r->repetitions) && measure(r);
	stack_stop(&r->stack);
	if (!ok)
		return EXIT_FAILURE;
	out = results(r);
	if (as_json)
		json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)), putchar('\n');
	else
		print_text(out);
	json_decref(out);
	native_destroy(r->native);
	for (size_t i = 0; i < r->num_series; i++) {
		free(r->series[i].guest.value);
		free(r->series[i].native.value);
	}
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int work_shared(const struct shared *s, const struct shared_options *o, bool as_json)
{
	json_t *figures = s->run(o), *out;

	if (!figures)
		return EXIT_FAILURE;
	out = describe_run(s->name, access("/dev/kvm", R_OK | W_OK) == 0);
	json_object_set_new(out, "cpus",
			    json_string("half are the GPU (medleyd --compute-cpus), the others run "
					"guests and everything else; a single one is both"));
	if (as_json) {
		json_object_update(out, figures);
		json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)), putchar('\n');
	} else {
		print_text(out);
		s->print(figures);
	}
	json_decref(figures);
	json_decref(out);
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* Waits for the measuring process and for what it left to us, then removes the directory. */
static int clean_up(pid_t worker, const char *dir)
{
	int status, ret = EXIT_FAILURE;
	pid_t pid;

	while ((pid = wait(&status)) > 0 || errno == EINTR)
		if (pid == worker && WIFEXITED(status))
			ret = WEXITSTATUS(status);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return ret;
}

/* ---- options ---- */

struct options {
	const struct benchmark *one;
	const struct shared *many; /* one of the two */
	struct shared_options shared;
	int repetitions;
	bool json;
};

static int __attribute__((format(printf, 1, 2))) refuse(const char *fmt, ...)
{
	va_list ap;

	fputs("medley-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

static bool whole_number(const char *text, long most, long *ret)
{
	char *end;

	errno = 0;
	*ret = strtol(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *ret >= 1 && *ret <= most;
}

static int take_policy(struct shared_options *o, const char *name)
{
	if (!fairness_knows(name))
		return refuse(
			"--policy: '%s' is not a policy; 'medley-sim --list' prints their names",
			name);
	if (o->policies == SHARED_POLICIES)
		return refuse("--policy: given more than %d times", SHARED_POLICIES);
	o->policy[o->policies++] = name;
	return 0;
}

static int find_benchmark(const char *name, struct options *o)
{
	for (size_t i = 0; i < MDL_ARRAY_SIZE(benchmarks); i++)
		if (!strcmp(name, benchmarks[i].name))
			o->one = &benchmarks[i];
	for (size_t i = 0; i < MDL_ARRAY_SIZE(shared); i++)
		if (!strcmp(name, shared[i].name))
			o->many = &shared[i];
	return o->one || o->many
		       ? 0
		       : refuse("'%s' is not a benchmark; 'medley-bench --help' lists them", name);
}

/* Whatever has no effect is refused: somebody expects one. */
static int check_use(const struct options *o)
{
	const struct shared_options *s = &o->shared;
	const char *name = o->one ? o->one->name : o->many->name;

	if (o->one && s->seconds > 0)
		return refuse("%s does not take --seconds: it measures --repetitions", name);
	if (o->many && o->repetitions)
		return refuse("%s does not take --repetitions: it measures for --seconds", name);
	if (s->policies && !(o->many && o->many->policies))
		return refuse("%s does not take --policy: only fairness does", name);
	if (s->vgpus && !(o->many && o->many->least_vgpus))
		return refuse("%s does not take --vgpus: only fairness and overhead do", name);
	if (s->vgpus && s->vgpus < o->many->least_vgpus)
		return refuse("--vgpus: %s needs at least %u", name, o->many->least_vgpus);
	return 0;
}

/* 0, EXIT_USAGE with the reason printed, or -1: help was asked for. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "repetitions", required_argument, NULL, 'r' },
						 { "seconds", required_argument, NULL, 's' },
						 { "policy", required_argument, NULL, 'p' },
						 { "vgpus", required_argument, NULL, 'v' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	int opt, err = 0;
	double seconds;
	char *end;
	long n;

	argv[0] = program_invocation_short_name; /* what getopt's errors begin with */
	while (!err && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			o->json = true;
			break;
		case 'r':
			if (!whole_number(optarg, REPETITIONS_MAX, &n))
				return refuse(
					"--repetitions: '%s' is not a whole number from 1 to %d",
					optarg, REPETITIONS_MAX);
			o->repetitions = (int)n;
			break;
		case 's':
			seconds = strtod(optarg, &end);
			if (end == optarg || *end || !(seconds > 0 && seconds <= SECONDS_MAX))
				return refuse("--seconds: '%s' is not a number above 0, up to %d",
					      optarg, SECONDS_MAX);
			o->shared.seconds = seconds;
			break;
		case 'p':
			err = take_policy(&o->shared, optarg);
			break;
		case 'v':
			if (!whole_number(optarg, VGPUS_MAX, &n))
				return refuse("--vgpus: '%s' is not a whole number from 1 to %d",
					      optarg, VGPUS_MAX);
			o->shared.vgpus = (unsigned int)n;
			break;
		case 'h':
			return -1;
		default:
			return EXIT_USAGE; /* getopt said why */
		}
	}
	if (err)
		return err;
	if (optind == argc)
		return refuse("no benchmark; 'medley-bench --help' lists them");
	err = find_benchmark(argv[optind], o);
	if (!err && optind < argc - 1)
		err = refuse("'%s' is one argument too many: one benchmark at a time",
			     argv[optind + 1]);
	return err ? err : check_use(o);
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	struct options o = { 0 };
	static struct run run;
	char dir[256], bin[512];
	ssize_t n;
	pid_t pid;
	int err = parse(argc, argv, &o);

	if (err < 0)
		return fputs(help, stdout) < 0 || fflush(stdout);
	if (err)
		return err;
	if (o.one) {
		run.name = o.one->name;
		run.repetitions = o.repetitions ? o.repetitions : o.one->repetitions;
	}
	/* build/bench/medley-bench */
	n = readlink("/proc/self/exe", bin, sizeof(bin) - 1);
	bin[n > 0 ? n : 0] = 0;
	for (int up = 0; up < 2 && strrchr(bin, '/'); up++)
		*strrchr(bin, '/') = 0;
	snprintf(dir, sizeof(dir), "%s/medley-bench-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		fprintf(stderr, "medley-bench: %s: %s\n", dir, strerror(errno));
		return EXIT_FAILURE;
	}
	/* Interrupted or not, orphans of the measuring process are waited for here. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		o.shared.bin = bin;
		o.shared.dir = dir;
		exit(o.many ? work_shared(o.many, &o.shared, o.json)
			    : work(&run, bin, dir, o.one->type, o.json));
	}
	return clean_up(pid, dir);
}
