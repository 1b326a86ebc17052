/* SPDX-License-Identifier: MIT */
/*
 * medley: makes, shows and removes vGPUs, and shows who uses the GPU, by asking medleyd. The table
 * below lists the commands; each has its own options beside the common ones, which may stand before
 * or after it.
 */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct args {
	const char *runtime_dir;
	bool json, once;
	const char *type, *name, *uuid, *pgpu;
	double interval;
	struct trace_options trace;
	json_t *params; /* what --weight and its like say */
	const char *which; /* the command's own argument: a vGPU or a pGPU; or NULL */
};

static struct {
	void (*fn)(void *arg);
	void *arg;
} failing;

void before_fail(void (*fn)(void *arg), void *arg)
{
	failing.fn = fn;
	failing.arg = arg;
}

void fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	if (failing.fn)
		failing.fn(failing.arg);
	fputs("medley: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

static const char usage[] =
	"Usage: medley [--runtime-dir DIR] COMMAND [ARGUMENT]...\n"
	"\n"
	"  types                   kinds of vGPU, and how many of each still fit\n"
	"  pgpus                   physical GPUs and what of them is in use\n"
	"  create --type TYPE      make a vGPU; prints its UUID and the socket to give to the VMM\n"
	"         [--name NAME] [--uuid UUID] [--pgpu PGPU] [PARAMETER]...\n"
	"  set VGPU PARAMETER...   change its parameters, at any time\n"
	"  set-pgpu [PGPU] [--policy NAME] [--quantum TIME] [--grace TIME] [--nonpreemptive yes|no]\n"
	"                          change how a pGPU is shared, at any time\n"
	"  list                    all vGPUs\n"
	"  show VGPU               everything about one, by name or UUID\n"
	"  remove VGPU             end and remove it\n"
	"  top [--once] [--interval S]  who uses the GPU, live; q ends it\n"
	"  trace [--perfetto] [--seconds S] [--follow] [--output FILE]\n"
	"                          who ran when, lately or for the next S seconds; as lines, JSON,\n"
	"                          or a file for ui.perfetto.dev\n"
	"  events                  what happens, as it happens, until Ctrl-C\n"
	"\n"
	"Parameters of a vGPU; which of them count depends on the policy; times as 500us, 2ms, 1.5s:\n"
	"  --weight N              part of the GPU in proportion to others: 0 to 65536 (256)\n"
	"  --cap PERCENT           never more of the GPU: 1 to 100; 0: no cap (0)\n"
	"  --reservation PERCENT   at least that whenever it has work: 0 to 90 (0)\n"
	"  --share-percent PERCENT its part where parts are fixed: 1 to 100; 0: an equal part of the\n"
	"                          rest (0)\n"
	"  --priority LEVEL        low, normal or high (normal)\n"
	"  --quantum TIME          length of its turns: 50us to 10s; 0: the pGPU's (0)\n"
	"  --kernel-limit TIME     GPU time that one kernel may use: 1ms to 86400s; 0: any\n"
	"                          (medleyd --kernel-limit)\n"
	"Of a pGPU: --quantum 50us to 10s, --grace 0 to 10s.\n"
	"\n"
	"  --json                  print JSON\n"
	"  --runtime-dir DIR       medleyd's; default: MEDLEY_RUNTIME_DIR, else /run/medley (root)\n"
	"                          or $XDG_RUNTIME_DIR/medley\n"
	"  --help, --version\n"
	"\n"
	"A VM gets the vGPU with: qemu-system-x86_64 ... -device\n"
	"  '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"SOCKET\"}}'\n";

static void finish(json_t *j, const struct args *a, void (*print)(const json_t *j))
{
	if (a->json)
		print_json(j);
	else
		print(j);
	json_decref(j);
}

static void run_types(struct client *c, const struct args *a)
{
	finish(client_call(c, "types", NULL), a, print_types);
}

static void run_pgpus(struct client *c, const struct args *a)
{
	finish(client_call(c, "pgpus", NULL), a, print_pgpus);
}

static void run_list(struct client *c, const struct args *a)
{
	finish(client_call(c, "list", NULL), a, print_vgpus);
}

static void print_created(const json_t *v)
{
	printf("%s\n%s\n", text_of(v, "uuid"), text_of(v, "socket"));
}

static void run_create(struct client *c, const struct args *a)
{
	json_t *p;

	if (!a->type)
		fail("create needs --type; 'medley types' lists them");
	p = json_pack("{s:s, s:s*, s:s*, s:s*}", "type", a->type, "name", a->name, "uuid", a->uuid,
		      "pgpu", a->pgpu);
	if (!p || json_object_update(p, a->params))
		fail("arguments must be UTF-8");
	finish(client_call(c, "create", p), a, print_created);
}

static json_t *vgpu_param(const struct args *a)
{
	json_t *p = json_pack("{s:s}", "vgpu", a->which);

	if (!p)
		fail("arguments must be UTF-8");
	return p;
}

static void run_show(struct client *c, const struct args *a)
{
	finish(client_call(c, "show", vgpu_param(a)), a, print_vgpu);
}

static void print_nothing(const json_t *j)
{
}

static void run_remove(struct client *c, const struct args *a)
{
	finish(client_call(c, "remove", vgpu_param(a)), a, print_nothing);
}

static void run_set(struct client *c, const struct args *a)
{
	json_t *p = vgpu_param(a);

	if (!json_object_size(a->params))
		fail("set needs a parameter to change; 'medley --help' lists them");
	json_object_update(p, a->params);
	finish(client_call(c, "set", p), a, print_nothing);
}

static void run_set_pgpu(struct client *c, const struct args *a)
{
	json_t *p = json_pack("{s:s*}", "pgpu", a->which);

	if (!p)
		fail("arguments must be UTF-8");
	if (!json_object_size(a->params))
		fail("set-pgpu needs something to change: --policy, --quantum, --grace or "
		     "--nonpreemptive");
	json_object_update(p, a->params);
	finish(client_call(c, "set-pgpu", p), a, print_nothing);
}

static void run_top(struct client *c, const struct args *a)
{
	top_run(c, a->once, a->json, a->interval);
}

static void run_trace(struct client *c, const struct args *a)
{
	struct trace_options o = a->trace;

	o.json = a->json;
	trace_run(c, &o);
}

static void run_events(struct client *c, const struct args *a)
{
	json_decref(client_call(c, "subscribe", NULL));
	for (;;) {
		json_t *e = client_read(c);

		if (a->json) {
			json_dumpf(e, stdout, JSON_COMPACT);
			putchar('\n');
		} else {
			print_event(e);
		}
		json_decref(e);
		if (fflush(stdout))
			return;
	}
}

#define PARAMS "weight cap reservation share-percent priority quantum kernel-limit"

static const struct command {
	const char *name;
	enum {
		NOTHING,
		VGPU, /* needs one */
		MAYBE_PGPU
	} takes;
	const char *options; /* its own, beside the common ones */
	void (*run)(struct client *c, const struct args *a);
} commands[] = {
	{ "types", NOTHING, "", run_types },
	{ "pgpus", NOTHING, "", run_pgpus },
	{ "create", NOTHING, "type name uuid pgpu " PARAMS, run_create },
	{ "set", VGPU, PARAMS, run_set },
	{ "set-pgpu", MAYBE_PGPU, "policy quantum grace nonpreemptive", run_set_pgpu },
	{ "list", NOTHING, "", run_list },
	{ "show", VGPU, "", run_show },
	{ "remove", VGPU, "", run_remove },
	{ "top", NOTHING, "once interval", run_top },
	{ "trace", NOTHING, "perfetto seconds follow output", run_trace },
	{ "events", NOTHING, "", run_events },
};

static const char *default_runtime_dir(void)
{
	const char *env = getenv("MEDLEY_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");
	static char path[256];

	if (env && *env)
		return env;
	if (!geteuid())
		return "/run/medley";
	if (!xdg || !*xdg)
		fail("no runtime directory: set XDG_RUNTIME_DIR or give --runtime-dir");
	snprintf(path, sizeof(path), "%s/medley", xdg);
	return path;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	fail("unknown command '%s'; 'medley --help' lists them", name);
}

int main(int argc, char **argv)
{
	enum {
		TYPE = 1,
		NAME,
		UUID,
		PGPU,
		ONCE,
		INTERVAL,
		PERFETTO,
		SECONDS,
		FOLLOW,
		OUTPUT,
		PARAM, /* one of those that params.c knows */
		JSON,
		RUNTIME_DIR,
		HELP,
		VERSION
	};
	static const struct option options[] = {
		{ "type", required_argument, NULL, TYPE },
		{ "name", required_argument, NULL, NAME },
		{ "uuid", required_argument, NULL, UUID },
		{ "pgpu", required_argument, NULL, PGPU },
		{ "once", no_argument, NULL, ONCE },
		{ "interval", required_argument, NULL, INTERVAL },
		{ "perfetto", no_argument, NULL, PERFETTO },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "follow", no_argument, NULL, FOLLOW },
		{ "output", required_argument, NULL, OUTPUT },
		{ "weight", required_argument, NULL, PARAM },
		{ "cap", required_argument, NULL, PARAM },
		{ "reservation", required_argument, NULL, PARAM },
		{ "share-percent", required_argument, NULL, PARAM },
		{ "priority", required_argument, NULL, PARAM },
		{ "quantum", required_argument, NULL, PARAM },
		{ "kernel-limit", required_argument, NULL, PARAM },
		{ "policy", required_argument, NULL, PARAM },
		{ "grace", required_argument, NULL, PARAM },
		{ "nonpreemptive", required_argument, NULL, PARAM },
		{ "json", no_argument, NULL, JSON },
		{ "runtime-dir", required_argument, NULL, RUNTIME_DIR },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ NULL },
	};
	struct args a = { .interval = 1, .params = json_object() };
	struct { /* options that belong to certain commands, with their values */
		const char *name, *value;
	} own[64];
	const struct command *cmd;
	size_t num_own = 0;
	struct client *c;
	int opt, index = 0;
	char *end;

	argv[0] = program_invocation_short_name; /* what getopt's errors begin with */
	while ((opt = getopt_long(argc, argv, "", options, &index)) != -1) {
		switch (opt) {
		case TYPE:
			a.type = optarg;
			break;
		case NAME:
			a.name = optarg;
			break;
		case UUID:
			a.uuid = optarg;
			break;
		case PGPU:
			a.pgpu = optarg;
			break;
		case ONCE:
			a.once = true;
			break;
		case INTERVAL:
			a.interval = strtod(optarg, &end);
			if (end == optarg || *end || !(a.interval >= 0.1 && a.interval <= 3600))
				fail("--interval: '%s' is not a number of seconds from 0.1 to 3600",
				     optarg);
			break;
		case PERFETTO:
			a.trace.perfetto = true;
			break;
		case SECONDS:
			a.trace.seconds = strtod(optarg, &end);
			if (end == optarg || *end ||
			    !(a.trace.seconds >= 0.1 && a.trace.seconds <= 86400))
				fail("--seconds: '%s' is not a number from 0.1 to 86400", optarg);
			break;
		case FOLLOW:
			a.trace.follow = true;
			break;
		case OUTPUT:
			a.trace.output = optarg;
			break;
		case PARAM:
			break; /* once it is known of what it is one */
		case JSON:
			a.json = true;
			break;
		case RUNTIME_DIR:
			a.runtime_dir = optarg;
			break;
		case HELP:
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case VERSION:
			puts("medley " MDL_VERSION);
			return EXIT_SUCCESS;
		default:
			return EXIT_FAILURE; /* getopt said why */
		}
		if (opt >= JSON)
			continue;
		if (num_own == sizeof(own) / sizeof(own[0]))
			fail("too many options");
		own[num_own].name = options[index].name;
		own[num_own++].value = optarg;
	}
	if (optind == argc)
		fail("no command; 'medley --help' lists them");
	cmd = find_command(argv[optind++]);
	for (size_t i = 0; i < num_own; i++) {
		if (!word_listed(cmd->options, own[i].name))
			fail("%s does not take --%s", cmd->name, own[i].name);
		if (own[i].value)
			param_add(a.params, cmd->takes == MAYBE_PGPU, own[i].name, own[i].value);
	}
	if (cmd->takes == VGPU && optind == argc)
		fail("%s needs the name or UUID of a vGPU; 'medley list' shows them", cmd->name);
	if (cmd->takes != NOTHING && optind < argc)
		a.which = argv[optind++];
	if (optind < argc)
		fail("%s: '%s' is one argument too many", cmd->name, argv[optind]);
	c = client_connect(a.runtime_dir ? a.runtime_dir : default_runtime_dir());
	cmd->run(c, &a);
	client_close(c);
	json_decref(a.params);
	if (fflush(stdout) || ferror(stdout))
		fail("cannot write the output");
	return EXIT_SUCCESS;
}
