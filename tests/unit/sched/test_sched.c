/* SPDX-License-Identifier: MIT */
/*
 * The scheduler core and round-robin under an injected clock: textbook cases step by step, and
 * random histories checked against what must always hold. The owner here is a table of fake
 * processes that obey, or do not, as each case says.
 */
#include "sched/sched.h"

#include "base/util.h"
#include "tests/unit/check.h"

#define MAX 16
#define US  1000ull
#define MS  1000000ull

struct proc {
	struct mdl_sched_entity e;
	bool running; /* between grant and take, release or stop */
	bool busy; /* running something: cannot be taken */
	bool starting; /* about to run something: taken only when its turn is over */
	bool asked, stopped;
	bool late_stop; /* the stop is confirmed later, by the test */
	bool wants_more; /* what take() and stop() report */
	bool gives_back; /* from inside of ask() */
	uint64_t kernel_ns; /* what ask() reports: how long its kernel has run */
};

static struct proc proc[MAX];
static struct mdl_sched *sched;
static uint64_t now;
static char history[4096]; /* one letter an action and the entity's number: G0 A0 S0 T0 */
static size_t history_len;

static int idx(struct mdl_sched_entity *e)
{
	return (int)((struct proc *)e->owner - proc);
}

static void note(char what, struct mdl_sched_entity *e)
{
	if (history_len + 8 < sizeof(history))
		history_len +=
			(size_t)snprintf(history + history_len, sizeof(history) - history_len,
					 "%s%c%d", history_len ? " " : "", what, idx(e));
}

static void expect(const char *want)
{
	CHECK_STR(history, want);
	history_len = 0;
	history[0] = 0;
}

static int running(void)
{
	int n = 0;

	for (int i = 0; i < MAX; i++)
		n += proc[i].running;
	return n;
}

static void grant(void *ctx, struct mdl_sched_entity *e)
{
	struct proc *p = e->owner;

	note('G', e);
	CHECK_EQ(running(), 0); /* never two holders */
	p->running = true;
	p->asked = p->stopped = false;
}

static bool take(void *ctx, struct mdl_sched_entity *e, bool over, bool *ret_awake)
{
	struct proc *p = e->owner;

	CHECK(p->running);
	if (p->busy || (p->starting && !over))
		return false;
	note('T', e);
	p->running = false;
	*ret_awake = p->wants_more;
	return true;
}

static uint64_t ask(void *ctx, struct mdl_sched_entity *e)
{
	struct proc *p = e->owner;

	note('A', e);
	CHECK(p->running);
	p->asked = true;
	if (p->gives_back) {
		p->running = false;
		mdl_sched_released(sched, e, p->wants_more, now);
	}
	return p->kernel_ns;
}

static void stop(void *ctx, struct mdl_sched_entity *e)
{
	struct proc *p = e->owner;

	note('S', e);
	CHECK(p->running && p->asked);
	p->stopped = true;
	if (p->late_stop)
		return;
	p->running = false;
	mdl_sched_released(sched, e, p->wants_more, now); /* from inside the action */
}

static void expire(void *ctx, struct mdl_sched_entity *e)
{
	note('X', e);
	CHECK(((struct proc *)e->owner)->stopped);
	((struct proc *)e->owner)->running = false;
}

static const struct mdl_sched_actions actions = {
	.grant = grant, .take = take, .ask = ask, .stop = stop, .expire = expire
};
static const struct mdl_sched_params params = { .quantum_ns = 2 * MS,
						.grace_ns = 200 * US,
						.stop_limit_ns = 5 * MS };

static void start(int n)
{
	now = 1000 * MS;
	CHECK_EQ(mdl_sched_create(&mdl_sched_round_robin, &params, &actions, NULL, now, &sched), 0);
	for (int i = 0; i < n; i++) {
		proc[i].e.owner = &proc[i];
		proc[i].busy = proc[i].wants_more = true;
		CHECK_EQ(mdl_sched_attach(sched, &proc[i].e, now), 0);
	}
}

static void finish(void)
{
	for (int i = 0; i < MAX; i++) {
		proc[i].running = false;
		if (proc[i].e.owner)
			mdl_sched_detach(sched, &proc[i].e, now);
	}
	mdl_sched_destroy(sched);
}

static void at(uint64_t ns)
{
	now = 1000 * MS + ns;
	mdl_sched_run(sched, now);
}

static void give_back(int i, bool more)
{
	proc[i].running = false;
	mdl_sched_released(sched, &proc[i].e, more, now);
}

/* Alone: one grant, and then nothing for ever. */
static void sole_user(void)
{
	start(2);
	mdl_sched_wake(sched, &proc[0].e, now);
	expect("G0");
	CHECK(mdl_sched_deadline(sched) == MDL_SCHED_NEVER);
	at(500 * MS);
	mdl_sched_sleep(sched, &proc[0].e, now);
	CHECK(mdl_sched_deadline(sched) == MDL_SCHED_NEVER);
	mdl_sched_wake(sched, &proc[0].e, now);
	at(900 * MS);
	expect("");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_HOLDING);
	finish();
	CHECK_EQ(proc[0].e.held_ns, 900 * MS);
	CHECK_EQ(proc[0].e.grants, 1);
}

/*
 * Three at work, quantum 2 ms, all obey at once. 0 wakes at 0 and holds; 1 and 2 at 0.5 ms: 0's
 * turn ends at 2 ms, 1's at 4 ms, 2's at 6 ms, then 0 again.
 */
static void three_turns(void)
{
	start(3);
	mdl_sched_wake(sched, &proc[0].e, now);
	at(500 * US);
	mdl_sched_wake(sched, &proc[1].e, now);
	mdl_sched_wake(sched, &proc[2].e, now);
	expect("G0");
	CHECK_EQ(mdl_sched_deadline(sched), 1002 * MS);
	at(2 * MS - 1);
	expect("");
	at(2 * MS);
	expect("A0");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_ASKED);
	CHECK_EQ(mdl_sched_deadline(sched), 1002 * MS + 200 * US);
	give_back(0, true);
	expect("G1");
	CHECK_EQ(proc[1].e.waited_ns, 1500 * US);
	at(4 * MS);
	give_back(1, true);
	expect("A1 G2");
	CHECK_EQ(proc[2].e.waited_max_ns, 3500 * US);
	at(6 * MS);
	give_back(2, true);
	expect("A2 G0");
	at(8 * MS);
	give_back(0, false); /* has no more work: only 1 and 2 go on */
	expect("A0 G1");
	at(10 * MS);
	give_back(1, true);
	expect("A1 G2");
	at(12 * MS);
	give_back(2, true);
	expect("A2 G1");
	CHECK_EQ(proc[0].e.held_ns, 4 * MS);
	finish();
}

/*
 * Worth the grace of 200 us is a kernel that has run for up to 800 us. One that has run for longer is
 * stopped when it is asked, from inside or outside of the input, unless nobody is ever stopped; one
 * that gives back at once is not.
 */
static void old_kernels(void)
{
	struct mdl_sched_params p = params;

	start(2);
	mdl_sched_wake(sched, &proc[0].e, now);
	mdl_sched_wake(sched, &proc[1].e, now);
	proc[0].kernel_ns = 800 * US;
	proc[1].kernel_ns = 800 * US + MDL_SCHED_GRACE_WORTH;
	at(2 * MS);
	expect("G0 A0");
	at(2 * MS + 200 * US);
	expect("S0 G1");
	CHECK_EQ(mdl_sched_deadline(sched), now + 2 * MS);
	at(4 * MS + 200 * US);
	expect("A1 S1 G0");
	CHECK_EQ(proc[1].e.state, MDL_SCHED_WAITING);
	CHECK_EQ(proc[1].e.asks, 1);
	CHECK_EQ(proc[1].e.stops, 1);

	p.nonpreemptive = true;
	CHECK_EQ(mdl_sched_set_params(sched, &p, now), 0);
	proc[0].kernel_ns = UINT64_MAX;
	at(9 * MS);
	expect("A0");
	CHECK_EQ(mdl_sched_deadline(sched), MDL_SCHED_NEVER);
	mdl_sched_set_params(sched, &params, now);
	expect("S0 G1");

	proc[1].gives_back = true;
	at(12 * MS);
	expect("A1 G0");
	CHECK_EQ(proc[1].e.stops, 1);
	finish();
}

/* 0 does not give back: asked at 2 ms, stopped at 2.2 ms, and has its next turn all the same. */
static void enforced(void)
{
	start(2);
	mdl_sched_wake(sched, &proc[0].e, now);
	mdl_sched_wake(sched, &proc[1].e, now);
	at(2 * MS);
	expect("G0 A0");
	at(2 * MS + 200 * US - 1);
	expect("");
	at(2 * MS + 200 * US);
	expect("S0 G1");
	CHECK_EQ(proc[0].e.stops, 1);
	CHECK_EQ(proc[0].e.state, MDL_SCHED_WAITING);
	at(4 * MS + 200 * US);
	give_back(1, true);
	expect("A1 G0");
	finish();
}

/*
 * The stop is confirmed late: nobody runs meanwhile. Never confirmed: after stop_limit the next one
 * runs.
 */
static void late_stop(void)
{
	start(2);
	proc[0].late_stop = true;
	mdl_sched_wake(sched, &proc[0].e, now);
	mdl_sched_wake(sched, &proc[1].e, now);
	at(2 * MS);
	at(2200 * US);
	expect("G0 A0 S0");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_STOPPING);
	CHECK_EQ(mdl_sched_deadline(sched), 1007200 * US);
	at(2300 * US);
	expect("");
	give_back(0, true);
	expect("G1");
	at(4300 * US);
	give_back(1, true);
	expect("A1 G0");
	at(6300 * US);
	at(6500 * US);
	expect("A0 S0");
	at(11500 * US);
	expect("X0 G1");
	mdl_sched_released(sched, &proc[0].e, false, now); /* too late to matter */
	CHECK_EQ(proc[1].e.state, MDL_SCHED_HOLDING);
	finish();
}

/*
 * A GPU that its holder leaves idle is taken the moment somebody wants it, in whatever order the
 * two are noticed.
 */
static void idle_is_lent(void)
{
	start(2);
	mdl_sched_wake(sched, &proc[0].e, now);
	at(100 * US);
	proc[0].busy = proc[0].wants_more = false; /* falls idle, tells nobody */
	at(200 * US);
	expect("G0");
	mdl_sched_wake(sched, &proc[1].e, now);
	expect("T0 G1");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_ASLEEP);

	mdl_sched_wake(sched, &proc[0].e, now);
	expect("");
	at(300 * US);
	proc[1].busy = proc[1].wants_more = false; /* falls idle while 0 waits, and says so */
	mdl_sched_sleep(sched, &proc[1].e, now);
	expect("T1 G0");

	/* Says it sleeps, but is busy again when we look: keeps its turn, until its end. */
	proc[0].busy = true;
	mdl_sched_wake(sched, &proc[1].e, now);
	mdl_sched_sleep(sched, &proc[0].e, now);
	expect("");
	at(2300 * US);
	expect("A0");
	proc[1].busy = false;
	proc[1].starting = proc[1].wants_more = true; /* 1 gets the GPU and does not start */
	give_back(0, true);
	mdl_sched_sleep(sched, &proc[1].e, now);
	expect("G1");
	at(4300 * US);
	expect("T1 G0");
	CHECK_EQ(proc[1].e.state, MDL_SCHED_WAITING);
	finish();
}

/*
 * A sole user beyond its quantum is asked the moment a second one comes, and gets at most a grace
 * period more.
 */
static void overdue_at_wake(void)
{
	start(2);
	mdl_sched_wake(sched, &proc[0].e, now);
	at(50 * MS);
	mdl_sched_wake(sched, &proc[1].e, now);
	expect("G0 A0");
	at(50 * MS + 200 * US);
	expect("S0 G1");
	finish();
}

static void removed_while(void)
{
	start(4);
	for (int i = 0; i < 4; i++)
		mdl_sched_wake(sched, &proc[i].e, now);
	expect("G0");
	proc[0].running = false;
	mdl_sched_detach(sched, &proc[0].e, now); /* holding */
	expect("G1");
	mdl_sched_detach(sched, &proc[2].e, now); /* waiting */
	CHECK_EQ(mdl_sched_waiting(sched), 1);
	at(2 * MS);
	expect("A1");
	proc[1].running = false;
	mdl_sched_detach(sched, &proc[1].e, now); /* asked */
	expect("G3");
	CHECK_EQ(mdl_sched_attach(sched, &proc[0].e, now), 0);
	CHECK_EQ(mdl_sched_attach(sched, &proc[0].e, now), -EBUSY);
	mdl_sched_wake(sched, &proc[0].e, now);
	proc[3].late_stop = true;
	at(4 * MS);
	at(5 * MS);
	expect("A3 S3");
	proc[3].running = false;
	mdl_sched_detach(sched, &proc[3].e, now); /* stopping */
	expect("G0");
	mdl_sched_detach(sched, &proc[3].e, now); /* already gone */
	mdl_sched_wake(sched, &proc[3].e, now); /* late messages of it */
	mdl_sched_released(sched, &proc[3].e, true, now);
	mdl_sched_charge(sched, &proc[3].e, 5, now);
	CHECK_EQ(proc[3].e.state, MDL_SCHED_DETACHED);
	CHECK_EQ(proc[3].e.charged_ns, 0);
	finish();
}

/* An owner that has just got the GPU back charges for it first, however late that is. */
static void charge_decides_nothing(void)
{
	start(2);
	mdl_sched_wake(sched, &proc[0].e, now);
	mdl_sched_wake(sched, &proc[1].e, now);
	proc[0].late_stop = true;
	at(2 * MS);
	at(3 * MS);
	expect("G0 A0 S0");
	now += 6 * MS; /* later than a stop may take */
	mdl_sched_charge(sched, &proc[0].e, 3 * MS, now);
	expect("");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_STOPPING);
	CHECK(mdl_sched_deadline(sched) <= now);
	give_back(0, true);
	expect("G1");
	CHECK_EQ(proc[0].e.state, MDL_SCHED_WAITING);
	finish();
}

static void time_going_backwards(void)
{
	start(2);
	mdl_sched_wake(sched, &proc[0].e, now);
	mdl_sched_wake(sched, &proc[1].e, now);
	at(1 * MS);
	mdl_sched_run(sched, 5); /* far in the past */
	mdl_sched_run(sched, 0);
	expect("G0");
	CHECK_EQ(mdl_sched_deadline(sched), 1002 * MS);
	give_back(0, true);
	CHECK_EQ(proc[0].e.held_ns, 1 * MS);
	mdl_sched_wake(sched, &proc[1].e, 3);
	proc[1].running = false;
	mdl_sched_released(sched, &proc[1].e, true,
			   7); /* as if it had held for less than no time */
	CHECK_EQ(proc[1].e.held_ns, 0);
	CHECK_EQ(proc[1].e.waited_ns, 1 * MS);
	mdl_sched_run(sched, UINT64_MAX); /* far in the future: ends turns, does not wrap */
	CHECK(mdl_sched_deadline(sched) >= 1002 * MS);
	finish();
}

static void parameters_live(void)
{
	struct mdl_sched_params p = params;

	start(2);
	p.quantum_ns = 0;
	CHECK_EQ(mdl_sched_set_params(sched, &p, now), -EINVAL);
	mdl_sched_wake(sched, &proc[0].e, now);
	mdl_sched_wake(sched, &proc[1].e, now);
	p.quantum_ns = 10 * MS;
	CHECK_EQ(mdl_sched_set_params(sched, &p, now), 0);
	at(2 * MS); /* the present turn keeps its length */
	give_back(0, true);
	expect("G0 A0 G1");
	at(11 * MS);
	expect("");
	at(12 * MS);
	expect("A1");
	CHECK(mdl_sched_policy_find("round-robin") == &mdl_sched_round_robin);
	CHECK(!mdl_sched_policy_find("none-such"));
	CHECK_EQ(mdl_sched_set_policy(sched, mdl_sched_policy_find("round-robin"), now), 0);
	CHECK_EQ(proc[1].e.state, MDL_SCHED_ASKED);
	give_back(1, true);
	expect("G0");
	finish();
}

/*
 * ---- A policy that uses every optional slot: a gate that opens each 10 ms for one, the last in
 * first, and preempts. ----
 */
struct gate {
	struct mdl_sched_entity *stack[MAX];
	int n, configured, attached, ticks;
	uint64_t next, charged;
};

static void gate_configure(void *data, const struct mdl_sched_params *p, uint64_t t)
{
	((struct gate *)data)->configured++;
}

static void gate_attach(void *data, struct mdl_sched_entity *e, uint64_t t)
{
	((struct gate *)data)->attached++;
	CHECK_EQ(*(uint64_t *)e->policy_data, 0);
	*(uint64_t *)e->policy_data = 0x6761746500000000ull + (uint64_t)idx(e);
}

static void gate_detach(void *data, struct mdl_sched_entity *e, uint64_t t)
{
	((struct gate *)data)->attached--;
	CHECK_EQ(*(uint64_t *)e->policy_data, 0x6761746500000000ull + (uint64_t)idx(e));
}

static void gate_enqueue(void *data, struct mdl_sched_entity *e, bool fresh, uint64_t t)
{
	struct gate *g = data;

	g->stack[g->n++] = e;
}

static void gate_dequeue(void *data, struct mdl_sched_entity *e, uint64_t t)
{
	struct gate *g = data;
	int i = 0;

	while (g->stack[i] != e)
		CHECK(++i < g->n);
	memmove(&g->stack[i], &g->stack[i + 1], (size_t)(--g->n - i) * sizeof(g->stack[0]));
}

static struct mdl_sched_entity *gate_pick(void *data, uint64_t t, uint64_t *ret_again)
{
	struct gate *g = data;

	CHECK(*ret_again == MDL_SCHED_NEVER);
	if (t < g->next) {
		*ret_again = g->next;
		return NULL;
	}
	g->next = t + 10 * MS;
	return g->n ? g->stack[--g->n] : NULL;
}

static uint64_t gate_quantum(void *data, struct mdl_sched_entity *e, uint64_t t)
{
	return 3 * MS;
}

static void gate_charge(void *data, struct mdl_sched_entity *e, uint64_t ran, uint64_t t)
{
	((struct gate *)data)->charged += ran;
}

static uint64_t gate_cut(void *data, struct mdl_sched_entity *woken,
			 struct mdl_sched_entity *holder, uint64_t t)
{
	return idx(woken) == 2 ? 0 : MDL_SCHED_NEVER;
}

static uint64_t gate_tick(void *data, uint64_t t)
{
	((struct gate *)data)->ticks++;
	return t + 100 * MS;
}

static const struct mdl_sched_policy gate_policy = {
	.name = "gate",
	.sched_bytes = sizeof(struct gate),
	.entity_bytes = 8,
	.configure = gate_configure,
	.attach = gate_attach,
	.detach = gate_detach,
	.enqueue = gate_enqueue,
	.dequeue = gate_dequeue,
	.pick = gate_pick,
	.quantum = gate_quantum,
	.charge = gate_charge,
	.cut = gate_cut,
	.tick = gate_tick,
};

static void policy_slots(void)
{
	start(3);
	CHECK_EQ(mdl_sched_set_policy(sched, &gate_policy, now), 0);
	CHECK(mdl_sched_policy_of(sched) == &gate_policy);
	mdl_sched_wake(sched, &proc[0].e, now);
	mdl_sched_wake(sched, &proc[1].e, now);
	expect("G0");
	CHECK_EQ(mdl_sched_deadline(sched), 1003 * MS);
	at(1 * MS);
	mdl_sched_wake(sched, &proc[2].e, now); /* preempts */
	expect("A0");
	mdl_sched_charge(sched, &proc[0].e, 777, now);
	CHECK_EQ(proc[0].e.charged_ns, 777);
	give_back(0, true);
	expect(""); /* the gate is closed until 10 ms */
	CHECK(!mdl_sched_holder(sched));
	CHECK_EQ(mdl_sched_deadline(sched), 1010 * MS);
	at(10 * MS);
	expect("G0"); /* last in */
	give_back(0, false);
	CHECK_EQ(mdl_sched_deadline(sched), 1020 * MS);
	/*
	 * Back to round-robin while the gate is closed: those it held back wait in the new queue.
	 */
	CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_round_robin, now), 0);
	expect("G1");
	CHECK_EQ(mdl_sched_waiting(sched), 1);
	CHECK_EQ(mdl_sched_set_policy(sched, &gate_policy, now), 0);
	CHECK_EQ(mdl_sched_deadline(sched), 1012 * MS);
	give_back(1, false);
	expect("G2");
	CHECK_EQ(mdl_sched_deadline(sched), 1110 * MS); /* the periodic work */
	finish();
}

/* ---- Random histories ---- */
static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % n;
}

static void check_invariants(int n)
{
	int holders = 0, waiting = 0;

	for (int i = 0; i < n; i++) {
		bool holds = proc[i].e.state >= MDL_SCHED_HOLDING;

		holders += holds;
		waiting += proc[i].e.state == MDL_SCHED_WAITING;
		CHECK(holds == (mdl_sched_holder(sched) == &proc[i].e));
		CHECK(!proc[i].running || holds);
	}
	CHECK(holders <= 1);
	CHECK_EQ(waiting, mdl_sched_waiting(sched));
	CHECK(!waiting || holders); /* work-conserving */
	CHECK(!waiting || mdl_sched_deadline(sched) != MDL_SCHED_NEVER);
}

static void random_histories(void)
{
	enum {
		N = 9,
		STEPS = 20000
	};
	/*
	 * Each of the others has at most one turn before mine, each turn at most this long; time
	 * goes in steps of 700 us.
	 */
	const uint64_t turn =
		params.quantum_ns + params.grace_ns + params.stop_limit_ns + 4 * 700 * US;

	for (int round = 0; round < 20; round++) {
		uint64_t t = 1000 * MS;

		seed = 0x9e3779b97f4a7c15ull * (uint64_t)(round + 1);
		memset(proc, 0, sizeof(proc));
		start(N);
		for (int i = 0; i < STEPS; i++) {
			struct proc *p = &proc[rnd(N)];

			t += rnd(700) * US;
			now = rnd(50) ? t
				      : t - rnd(5000) * US; /* now and then the clock steps back */
			p->busy = rnd(3);
			p->starting = rnd(2);
			p->wants_more = rnd(2);
			p->gives_back = !rnd(4);
			p->kernel_ns = rnd(2000) * US;
			switch (rnd(9)) {
			case 0:
			case 1:
			case 2:
				mdl_sched_wake(sched, &p->e, now);
				break;
			case 3:
				mdl_sched_sleep(sched, &p->e, now);
				break;
			case 4:
				if (p->running && p->asked) {
					p->running = false;
					mdl_sched_released(sched, &p->e, p->wants_more, now);
				}
				break;
			case 5:
				p->late_stop = rnd(2);
				break;
			case 6:
				if (p->stopped && p->running) {
					p->running = false;
					mdl_sched_released(sched, &p->e, true, now);
				}
				break;
			case 7:
				if (!rnd(10)) {
					p->running = false;
					mdl_sched_detach(sched, &p->e, now);
					CHECK_EQ(mdl_sched_attach(sched, &p->e, now), 0);
				}
				break;
			case 8:
				if (!rnd(100))
					CHECK_EQ(mdl_sched_set_policy(sched, &mdl_sched_round_robin,
								      now),
						 0);
				break;
			}
			mdl_sched_run(sched, now);
			check_invariants(N);
			for (int j = 0; j < N; j++)
				if (proc[j].e.state == MDL_SCHED_WAITING && t > proc[j].e.since_ns)
					CHECK(t - proc[j].e.since_ns <= N * turn);
		}
		for (int i = 0; i < N; i++)
			CHECK(proc[i].e.waited_max_ns <= N * turn && proc[i].e.grants);
		finish();
	}
}

/*
 * Eight that never give back, each stopped at the end of its turn: equal shares to within one turn.
 */
static void equal_shares(void)
{
	enum {
		N = 8
	};
	uint64_t min = UINT64_MAX, max = 0;

	start(N);
	for (int i = 0; i < N; i++)
		mdl_sched_wake(sched, &proc[i].e, now);
	while (now < 11000 * MS) {
		uint64_t due = mdl_sched_deadline(sched);

		CHECK(due > now);
		now = due;
		mdl_sched_run(sched, now);
		check_invariants(N);
	}
	for (int i = 0; i < N; i++) {
		min = mdl_min_u64(min, proc[i].e.held_ns);
		max = mdl_max_u64(max, proc[i].e.held_ns);
	}
	CHECK(max - min <= 2200 * US);
	CHECK(min > 10000 * MS / N - 2200 * US);
	finish();
}

static const struct check_case cases[] = {
	{ "sole user keeps the lease", sole_user },
	{ "three take turns", three_turns },
	{ "overdue lease is taken", enforced },
	{ "no grace for a kernel that has run for long", old_kernels },
	{ "stop confirmed late or never", late_stop },
	{ "idle time is lent at once", idle_is_lent },
	{ "overdue sole user at wake", overdue_at_wake },
	{ "removed in every state", removed_while },
	{ "a charge decides nothing", charge_decides_nothing },
	{ "time going backwards", time_going_backwards },
	{ "parameters change live", parameters_live },
	{ "every policy slot", policy_slots },
	{ "random histories", random_histories, 60 },
	{ "equal shares", equal_shares },
};

CHECK_MAIN(cases)
