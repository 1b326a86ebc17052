# SPDX-License-Identifier: MIT
"""What medleyd records: who ran when, as text, JSON and for Perfetto; and that the simulator, fed with it, comes to the same shares."""
import json
import os
import subprocess

from cases import case
from stack import Stack, check

MIX = {"heavy": ("--weight", "768"), "endless": ("--weight", "256"), "sleeper": ("--weight", "256"),
       "capped": ("--weight", "256", "--cap", "10")}
TRIES = 2
AGREE = 0.01    # of the GPU
RECORD_S = 6


def start_mix(stack):
    """Weights 3:1, one that sleeps most of the time, one that may have a tenth, and one whose kernel never ends."""
    vgpus = {name: stack.create("share-256m", "--name", name, *args) for name, args in MIX.items()}
    work = {"heavy": (200000, 4, 0, 0), "sleeper": (100000, 1, 30, 70), "capped": (100000, 4, 0, 0)}
    clients = []
    for name, args in work.items():     # they build their program undisturbed
        clients.append(stack.client("load", vgpus[name], *args))
        clients[-1].expect("ready")
    stack.client("spin", vgpus["endless"]).expect("running")
    for client in clients:
        client.order("go")
    return vgpus


def simulate(stack, trace, *args):
    done = subprocess.run([stack.programs["sim"], "--replay", "-", *args], input=json.dumps(trace), capture_output=True, text=True,
                          timeout=60, check=False)
    check(done.returncode == 0, f"medley-sim: {done.stderr}")
    return json.loads(done.stdout), done.stderr


def shares(trace):
    """Measured: GPU time used, by vGPU."""
    length = trace["end_ns"] - trace["start_ns"]
    used = {}
    for i in trace["intervals"]:
        used[i["name"]] = used.get(i["name"], 0) + i.get("used_ns", 0) + i.get("overrun_ns", 0)
    return {name: ns / length for name, ns in used.items()}


def check_trace(trace):
    start, end = trace["start_ns"], trace["end_ns"]
    turns = sorted((i for i in trace["intervals"] if "used_ns" in i), key=lambda i: i["start_ns"])
    for i in turns:
        check(start <= i["start_ns"] < i["end_ns"] <= end and i["used_ns"] <= i["end_ns"] - i["start_ns"], f"times of {i}")
        check((i["kind"] == "run") == (i["asked_ns"] == 0), f"who is asked does not just run: {i}")
        check(i["asked_ns"] <= i["end_ns"] and i["late_ns"] <= i["end_ns"] - i["start_ns"], f"asked after the end: {i}")
    for a, b in zip(turns, turns[1:]):
        check(a["end_ns"] <= b["start_ns"], f"two at a time: {a} {b}")
    kinds = {name: {i["kind"] for i in trace["intervals"] if i["name"] == name} for name in MIX}
    check({"preempted", "stopped"} <= kinds["endless"] and "yielded" not in kinds["endless"], f"the endless one is stopped: {kinds}")
    stops = [i for i in trace["intervals"] if i["kind"] == "stopped"]
    overruns = sorted(i["overrun_ns"] for i in stops)
    check(overruns[len(stops) // 2] < 10**5, f"what the one who was stopped still gets: {overruns}")
    preempted = sum(i["kind"] == "preempted" for i in trace["intervals"])
    # All of its threads stand still before its next turn, unless that comes very soon, or one waited for a CPU all the time.
    check(0.2 * preempted < len(stops) <= preempted + len(MIX), f"{len(stops)} of {preempted} stops confirmed")
    for name in MIX:    # wake and sleep take turns
        wants = next(b["wants"] for b in trace["before"] if b["name"] == name)
        for i in trace["intervals"]:
            if i["name"] == name and i["kind"] in ("wake", "sleep"):
                check(wants == (i["kind"] == "sleep"), f"{name}: {i['kind']} twice")
                wants = not wants
    check({"wake", "sleep"} <= kinds["sleeper"], "the sleeper wakes and sleeps")
    before = {b["name"]: b for b in trace["before"]}
    check({n: (b["weight"], b["cap"]) for n, b in before.items()} ==
          {"heavy": (768, 0), "endless": (256, 0), "sleeper": (256, 0), "capped": (256, 10)}, f"parameters: {before}")


def replay_policy(stack, policy):
    check(stack.medley("set-pgpu", "cpu0", "--policy", policy).returncode == 0, f"set-pgpu {policy}")
    # What the host does with its CPUs meanwhile is in no trace: on a busy machine a record may not agree. Wrong simulation never does.
    for left in range(TRIES - 1, -1, -1):
        trace = stack.medley_json("trace", "--seconds", str(RECORD_S))
        check(trace["dropped"] == 0 and trace["end_ns"] - trace["start_ns"] >= RECORD_S * 10**9, "the trace is whole")
        check_trace(trace)
        measured = shares(trace)
        check(0.05 < measured["capped"] < 0.13 and measured["heavy"] > 1.5 * measured["endless"], f"measured: {measured}")
        result, table = simulate(stack, trace)
        print(table)
        for v in result["each"]:
            check(abs(v["recorded_share"] - measured[v["spec"]]) < 0.001, f"{v['spec']}: recorded {measured} {v}")
            check(abs(v["share"] - v["recorded_share"]) <= result["replay"]["difference_max"] + 1e-6, f"what it says itself: {result['replay']}")
        if result["replay"]["difference_max"] <= AGREE:
            break
        check(left, f"recorded and simulated do not agree, {TRIES} times:\n{table}")
    return trace


@case
def trace_replay(programs):
    """Recorded shares and those of the simulator, which knows only the trace, agree to within a percent of the GPU."""
    with Stack(programs) as stack:
        start_mix(stack)
        replay_policy(stack, "credit")
        trace = replay_policy(stack, "fair")
        # It could have come out otherwise: with another policy it does.
        other, table = simulate(stack, trace, "--policy", "round-robin")
        check(other["replay"]["difference_max"] > 5 * AGREE, f"round-robin gives the same:\n{table}")


@case
def trace_perfetto(programs):
    """The file for Perfetto holds well-formed trace events and says the same as the JSON; a trace follows until it is told to end."""
    with Stack(programs) as stack:
        start_mix(stack)
        path = os.path.join(stack.dir, "run", "trace.json")
        done = stack.medley("trace", "--perfetto", "--seconds", "1", "--output", path)
        check(done.returncode == 0 and not done.stdout, f"trace: {done.stderr}")
        with open(path, encoding="utf-8") as f:
            trace = json.load(f)
        os.unlink(path)
        check_perfetto(trace)
        follow = stack.spawn([programs["medley"], "--runtime-dir", stack.runtime, "trace", "--follow", "--json"], "follow")
        kinds = {json.loads(follow.line())["kind"] for _ in range(500)}
        check("run" in kinds and "preempted" in kinds, f"kinds {kinds}")
        follow.process.terminate()
        check(follow.process.wait(30) == 0, "it ends in good order when told to")
        text = stack.medley("trace", "--seconds", "0.2").stdout
        check(text.startswith(" ") and "preempted" in text and "endless" in text, text[:500])


def check_perfetto(trace):
    events = trace["traceEvents"]
    need = {"X": {"name", "pid", "tid", "ts", "dur"}, "i": {"name", "pid", "tid", "ts", "s"}, "C": {"name", "pid", "ts", "args"},
            "M": {"name", "pid", "args"}}
    for e in events:
        check(e["ph"] in need and need[e["ph"]] <= e.keys(), f"event {e}")
        for key in ("ts", "dur"):
            check(e.get(key, 0) >= 0 and isinstance(e.get(key, 0), (int, float)), f"event {e}")
        check(e["ph"] != "C" or all(isinstance(v, (int, float)) for v in e["args"].values()), f"event {e}")
    tracks = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    check(sorted(tracks.values()) == sorted(MIX), f"a track for each vGPU: {tracks}")
    check({e["args"]["name"] for e in events if e["name"] == "process_name"} == {"GPU cpu0"}, "a process for the pGPU")
    slices = [e for e in events if e["ph"] == "X"]
    check({e["name"] for e in slices} >= {"run", "preempted", "taken back"}, "kinds of slices")
    span = max(e["ts"] + e["dur"] for e in slices)
    check(0.9e6 < span < 3e6, f"microseconds: {span}")
    turns = sorted((e for e in slices if e["name"] != "taken back"), key=lambda e: e["ts"])
    for a, b in zip(turns, turns[1:]):
        check(a["ts"] + a["dur"] <= b["ts"] + 0.01, f"two at a time: {a} {b}")
    for e in slices:    # slices of a track must nest
        if e["name"] == "taken back":
            check(any(t["tid"] == e["tid"] and t["ts"] <= e["ts"] and e["ts"] + e["dur"] <= t["ts"] + t["dur"] + 0.01
                      for t in turns), f"outside of a turn: {e}")
    counters = {e["name"] for e in events if e["ph"] == "C"}
    check(counters >= {f"share of {name}" for name in MIX} | {"want the GPU"}, f"counters {counters}")
    instants = {e["name"] for e in events if e["ph"] == "i"}
    check({"wake", "sleep", "stopped"} <= instants, f"instants {instants}")
