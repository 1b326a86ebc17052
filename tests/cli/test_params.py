#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Parameters of vGPUs and pGPUs: given at creation, changed while guests work, refused when wrong. argv as test_medleyd.py."""

import fcntl
import json
import os
import pty
import random
import select
import struct
import subprocess
import sys
import termios
import time

from rig import ApiError, Daemon, Failed, WAIT_S, check, wait_for
from test_medleyd import busy, create, refused, turns

DEFAULTS = {"weight": 256, "cap": 0, "reservation": 0, "share_percent": 0, "priority": "normal", "quantum_ns": 0,
            "kernel_limit_ns": 60_000_000_000}
ALL = {"weight": 7, "cap": 80, "reservation": 20, "share_percent": 30, "priority": "high", "quantum_ns": 1_000_000,
       "kernel_limit_ns": 0}
POLICIES = ["best-effort", "fixed-share", "equal-share", "round-robin", "credit", "credit-gdev", "band", "band-gpuvm", "fair"]


def params(v):
    return {k: v[k] for k in DEFAULTS}


def pgpu(api):
    p = api("pgpus")[0]
    return {k: p[k] for k in ("policy", "quantum_ns", "grace_ns", "nonpreemptive")}


def used(api, seconds, *names):
    """The part of the time for which each has used the GPU in the next while."""
    t0, before = time.monotonic(), [api.show(n)["gpu_time_ns"] for n in names]
    time.sleep(seconds)     # a measurement, not a wait
    after, t1 = [api.show(n)["gpu_time_ns"] for n in names], time.monotonic()
    return [(b - a) / 1e9 / (t1 - t0) for a, b in zip(before, after)]


def near(got, want, by, what):
    check(all(abs(g - w) <= by for g, w in zip(got, want)), f"{what}: {[round(g, 3) for g in got]}, expected {want}")


def settle(api, seconds, names, want, by, what):
    """Their parts of the lease time come to be these: debts of before, and a machine that is busy otherwise, pass."""
    for _ in range(8):
        got = turns(api, seconds, *names)
        if all(abs(g - w) <= by for g, w in zip(got, want)):
            return
    near(got, want, by, what)


# ---- the API ----

def case_params():
    """Defaults, all at creation, all and single ones by set; what is shown is what is in force."""
    with Daemon() as d:
        api = d.api()
        check(params(api("create", type="share-256m", name="a")) == DEFAULTS, "defaults")
        check(params(api("create", type="share-256m", name="b", **ALL)) == ALL, "at creation")
        check(params(api.show("b")) == ALL and params(api("list")[1]) == ALL and params(api("stats")["vgpus"][1]) == ALL, "shown")
        for k, v in ALL.items():
            got = api("set", vgpu="a", **{k: v if k != "share_percent" else 70})
            check(got[k] == (v if k != "share_percent" else 70) and "lease" in got, f"set {k}: {got}")
        check(params(api.show("a")) == {**ALL, "share_percent": 70}, "one after the other")
        check(params(api("set", vgpu="a")) == {**ALL, "share_percent": 70}, "nothing to set changes nothing")
        check(params(api("set", vgpu="a", **DEFAULTS)) == DEFAULTS, "and back, all at once")
        for k, least, most in (("weight", 0, 65536), ("cap", 0, 100), ("share_percent", 0, 70), ("quantum_ns", 50_000, 10**10),
                               ("kernel_limit_ns", 10**6, 86400 * 10**9), ("priority", "low", "high")):
            check(api("set", vgpu="a", **{k: least})[k] == least and api("set", vgpu="a", **{k: most})[k] == most, k)
        for k in ("entitlement", "queue", "resets", "throttled"):
            check(k in api.show("a"), k)
        # What a removed one had is free again.
        api("set", vgpu="a", **DEFAULTS)
        refused(lambda: api("set", vgpu="a", reservation=71), "no-space", "70 of 90 percent left", "cpu0")
        api("remove", vgpu="b")
        check(api("set", vgpu="a", reservation=90, share_percent=100)["reservation"] == 90, "all of it")


def case_params_errors():
    """Nothing is created, nothing is changed, and the line names what is wrong."""
    with Daemon() as d:
        api = d.api()
        api("create", type="share-256m", name="a", reservation=50, share_percent=60)
        before = api.show("a")
        wrong = [({"weight": -1}, "weight", "65536"), ({"weight": 65537}, "weight"), ({"weight": "9"}, "weight"),
                 ({"weight": 1.5}, "weight"), ({"weight": None}, "weight"), ({"weight": True}, "weight"),
                 ({"weight": 10**18}, "weight"), ({"cap": 101}, "cap", "100"), ({"reservation": 91}, "reservation", "90"),
                 ({"share_percent": 101}, "share_percent"), ({"priority": "urgent"}, "priority", "low"),
                 ({"priority": 1}, "priority"), ({"quantum_ns": 1}, "quantum_ns", "50000"), ({"quantum_ns": 10**10 + 1}, "quantum_ns"),
                 ({"kernel_limit_ns": 999_999}, "kernel_limit_ns"), ({"kernel_limit_ns": 10**15}, "kernel_limit_ns"),
                 ({"share": 5}, '"share"', "share_percent"), ({"Weight": 5}, '"Weight"'),
                 ({"cap": 10, "reservation": 20}, "reservation of 20", "cap of 10")]
        for p, *words in wrong:
            refused(lambda p=p: api("create", type="share-256m", name="b", **p), "bad-params", *words)
            valid = {"cap": 77} if "weight" in p else {"weight": 9}
            refused(lambda p=p, valid=valid: api("set", vgpu="a", **valid, **p), "bad-params", *words)
        refused(lambda: api("set", vgpu="a", cap=49), "bad-params", "50 percent", "49 percent")
        refused(lambda: api("create", type="share-256m", name="b", reservation=41), "no-space", "40 of 90")
        refused(lambda: api("create", type="share-256m", name="b", share_percent=41), "no-space", "40 of 100")
        refused(lambda: api("set", weight=1), "bad-params", '"vgpu" is missing')
        refused(lambda: api("set", vgpu=1), "bad-params", '"vgpu"')
        refused(lambda: api("set", vgpu="b", weight=1), "not-found", "'b'")
        refused(lambda: api("create", type="share-256m", name="a", weight=5), "exists")
        refused(lambda: api("show", vgpu="a", weight=1), "bad-params", '"weight"')
        check([v["name"] for v in api("list")] == ["a"] and params(api.show("a")) == params(before), "nothing has changed")
        check(api("pgpus")[0]["vram_used"] == 256 << 20 and "b.sock" not in os.listdir(d.run_dir / "vgpu"), "nothing is left")
        check(len(os.listdir(d.run_dir / "vgpu")) == 1, "nor a socket")
        # Messages are one line of text, whatever names they quote.
        for method, p in (("x" + "é" * 60, {}), ("list", {"x" + "é" * 60: 1}), ("a\nb", {}), ("list", {"a\nb\x7f": 1}),
                          ("show", {"vgpu": "x" + "é" * 60}), ("create", {"type": "x\n"})):
            try:
                api(method, **p)
                raise Failed(f"{method} was not refused")
            except ApiError as e:
                check(str(e) and str(e).isprintable(), f"{method}: {e!r}")
        refused(lambda: api("create"), "bad-params", '"type" is missing')
        refused(lambda: api("create", type="share-256m", colour="red"), "bad-params", '"colour"', "type name uuid pgpu weight")
        refused(lambda: api("types", a=1), "bad-params", '"a"', "none")
        api.send("remove", vgpu="a")
        api.send("remove", vgpu="a")
        replies = [api.line(), api.line()]
        check(any("result" in r for r in replies), "removed")


def case_pgpu_params():
    with Daemon() as d:
        api = d.api()
        default = {"policy": "fair", "quantum_ns": 2_000_000, "grace_ns": 50_000, "nonpreemptive": False}
        check(pgpu(api) == default, f"defaults: {pgpu(api)}")
        new = {"policy": "credit", "quantum_ns": 50_000, "grace_ns": 0, "nonpreemptive": True}
        got = api("set-pgpu", pgpu="cpu0", **new)
        check(pgpu(api) == new and got == api("pgpus")[0], "all at once")
        for k, v in default.items():
            check(api("set-pgpu", **{k: v})[k] == v, f"one by one: {k}")
        check(pgpu(api) == default, "and back")
        for p, *words in (({"policy": "nice"}, "'nice'", "round-robin", "fair"), ({"policy": 1}, "policy"), ({"quantum_ns": 0}, "quantum_ns"),
                          ({"quantum_ns": 49_999}, "quantum_ns", "50000"), ({"quantum_ns": 10**10 + 1}, "quantum_ns"),
                          ({"grace_ns": -1}, "grace_ns"), ({"grace_ns": 10**10 + 1}, "grace_ns"), ({"nonpreemptive": 1}, "nonpreemptive"),
                          ({"weight": 1}, '"weight"'), ({"pgpu": 0}, "pgpu")):
            valid = {k: v for k, v in new.items() if k not in p}
            refused(lambda p=p, valid=valid: api("set-pgpu", **valid, **p), "bad-params", *words)
        refused(lambda: api("set-pgpu", pgpu="gpu7", policy="band"), "not-found", "gpu7")
        check(pgpu(api) == default, "nothing has changed")
    with Daemon("--policy", "band", "--quantum", "500us", "--grace", "0", "--nonpreemptive", "--kernel-limit", "1.5s") as d:
        api = d.api()
        check(pgpu(api) == {"policy": "band", "quantum_ns": 500_000, "grace_ns": 0, "nonpreemptive": True}, "medleyd's options")
        check(api("create", type="share-256m")["kernel_limit_ns"] == 1_500_000_000, "the limit of new vGPUs")
        check(api("create", type="share-256m", kernel_limit_ns=0)["kernel_limit_ns"] == 0, "unless given")
        for bad in ("x", "", "1", "-1s", "1 s", "inf", "nans", "0x1s", "1e3ms", "1us", "2d", "90000s", "1.s", ".5s"):
            r = subprocess.run(d.command("--kernel-limit", bad), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S)
            check(r.returncode == 1 and "kernel-limit" in r.stderr and r.stderr.count("\n") == 1, f"'{bad}': {r.stderr}")


# ---- the command ----

def case_set():
    with Daemon() as d:
        d.cli("create", "--type", "share-256m", "--name", "a", "--weight", "7", "--cap", "80%", "--reservation", "20", "--share-percent", "30",
              "--priority", "high", "--quantum", "1ms", "--kernel-limit", "0")
        check(params(json.loads(d.cli("show", "a", "--json"))) == ALL, "create")
        shown = d.cli("show", "a")
        for word in ("weight            7\n", "cap               80 %", "reservation       20 %", "share percent     30 %", "priority          high",
                     "quantum           1.0 ms", "kernel limit      none", "due: 0.0 %", "queue", "resets"):
            check(word in shown, f"{word} in {shown}")
        check(d.cli("set", "a", "--kernel-limit", "1.5s", "--cap", "0", "--quantum", "0", "--priority", "low") == "", "set says nothing")
        check(params(json.loads(d.cli("show", "a", "--json"))) == {**ALL, "kernel_limit_ns": 1_500_000_000, "cap": 0, "quantum_ns": 0,
                                                                  "priority": "low"}, "set")
        check(json.loads(d.cli("set", "a", "--weight", "9", "--json"))["weight"] == 9, "set --json")
        check(d.cli("set-pgpu", "--policy", "band", "--quantum", "500us") == "", "set-pgpu says nothing")
        check(json.loads(d.cli("set-pgpu", "cpu0", "--grace", "0", "--nonpreemptive", "yes", "--json"))["nonpreemptive"], "named")
        check("band, nonpreemptive" in d.cli("pgpus") and "500 us" in d.cli("pgpus"), d.cli("pgpus"))
        d.cli("set-pgpu", "--nonpreemptive", "no")

        before = (d.cli("show", "a", "--json").split('"weight"')[1][:10], d.cli("pgpus"))
        for args, word in ((("set", "a"), "needs a parameter"), (("set",), "name or UUID"), (("set", "b", "--weight", "1"), "no vGPU 'b'"),
                           (("set", "a", "b", "--weight", "1"), "too many"), (("set", "a", "--weight", "x"), "--weight: 'x'"),
                           (("set", "a", "--weight", "-1"), "--weight"), (("set", "a", "--weight", " 1"), "--weight"), (("set", "a", "--weight", "1%"), "--weight"),
                           (("set", "a", "--weight", "99999999999999999999"), "--weight"), (("set", "a", "--weight", "70000"), "65536"),
                           (("set", "a", "--priority", "\udcff"), "UTF-8"), (("set", "a", "--policy", "fair"), "does not take --policy"),
                           (("set", "a", "--weight", "1", "--type", "x"), "does not take --type"), (("set-pgpu",), "something to change"),
                           (("set-pgpu", "cpu0"), "something to change"), (("set-pgpu", "gpu7", "--policy", "fair"), "gpu7"),
                           (("set-pgpu", "--policy", "nice"), "round-robin"), (("set-pgpu", "--nonpreemptive", "maybe"), "maybe"),
                           (("set-pgpu", "--weight", "1"), "does not take --weight"), (("list", "--weight", "1"), "does not take"),
                           (("set-pgpu", "cpu0", "x", "--grace", "0"), "too many"),
                           (("create", "--type", "share-256m", "--name", "c", "--reservation", "80"), "70 of 90")):
            err = d.cli(*args, ok=False)
            check(word in err, f"{args}: {err}")
        check(before == (d.cli("show", "a", "--json").split('"weight"')[1][:10], d.cli("pgpus")), "nothing has changed")
        check(len(json.loads(d.cli("list", "--json"))) == 1, "nothing was created")


def case_set_ranges():
    """Who types a value that is out of range is told the option and what it may be, in the units that he types; and what the
    command takes and refuses is what medleyd takes and refuses."""
    vgpu, pgpu_ = ("set", "a"), ("set-pgpu",)
    ranges = [(vgpu, "weight", "weight", "0", "65536", None, "65537", "a whole number from 0 to 65536"),
              (vgpu, "cap", "cap", "0", "100%", None, "101", "from 0 to 100 (0: no cap)"),
              (vgpu, "reservation", "reservation", "0", "90", None, "91%", "a whole number of percent from 0 to 90"),
              (vgpu, "share-percent", "share_percent", "0", "100", None, "101", "from 0 to 100 (0: an equal part)"),
              (vgpu, "quantum", "quantum_ns", "50us", "10s", "49.999us", "10000000001ns", "a time from 50us to 10s, as 500us, 2ms or 1.5s, nor 0 (the pGPU's)"),
              (vgpu, "kernel-limit", "kernel_limit_ns", "1ms", "86400s", "999us", "86400.1s", "a time from 1ms to 86400s, as 500us, 2ms or 1.5s, nor 0 (no limit)"),
              (pgpu_, "quantum", "quantum_ns", "50us", "10s", "0", "11s", "a time from 50us to 10s, as 500us, 2ms or 1.5s"),
              (pgpu_, "grace", "grace_ns", "0", "10s", None, "10.1s", "a time from 0 to 10s, as 500us, 2ms or 1.5s")]
    units = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "%": 1, "": 1}

    def plain(text):
        unit = text.lstrip("0123456789.")
        return round(float(text.removesuffix(unit)) * units[unit])
    with Daemon() as d:
        api = d.api()
        create(api, "a")
        for command, option, key, least, most, below, above, expected in ranges:
            name = {"vgpu": "a"} if command == vgpu else {}
            for good in (least, most):
                d.cli(*command, "--" + option, good)
                got = (api.show("a") if command == vgpu else api("pgpus")[0])[key]
                check(got == plain(good), f"{option} {good}: {got}")
            for bad in filter(None, (below, above, "x", "-1", "")):
                err = d.cli(*command, "--" + option, bad, ok=False)
                check(err.startswith(f"medley: --{option}: '{bad}' is not a ") and err.endswith(expected + "\n"), err)
                check("_" not in err and "50000" not in err, f"the API's names and units: {err}")
            for bad in filter(None, (below, above)):
                refused(lambda n=name, k=key, b=bad: api(command[0], **n, **{k: plain(b)}), "bad-params", key)
            if command == vgpu:     # the next ones shall have room
                api("set", vgpu="a", **DEFAULTS)
                err = d.cli("create", "--type", "share-256m", "--" + option, above, ok=False)
                check(f"--{option}: '{above}' is not " in err, err)
        for args, words in ((("set", "a", "--priority", "urgent"), "medley: --priority: 'urgent' is none of: low normal high\n"),
                            (("set", "a", "--priority", "low normal"), "medley: --priority: 'low normal' is none of: low normal high\n"),
                            (("set", "a", "--cap", "5", "--reservation", "6"), "medley: a reservation of 6 percent is more than the cap of 5 percent\n"),
                            (("set-pgpu", "--nonpreemptive", "maybe"), "medley: --nonpreemptive: 'maybe' is not yes or no\n"),
                            (("set", "a", "--frob"), "medley: unrecognized option '--frob'\n"),
                            (("set", "a", "--cap"), "medley: option '--cap' requires an argument\n")):
            err = d.cli(*args, ok=False)
            check(err == words, err)


def screen(d, columns, rows, until):
    """What `medley top` draws on a terminal of that size, as lines, when `until` is on it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    top = subprocess.Popen([sys.argv[3], "--runtime-dir", d.run_dir, "top", "--interval", "0.1"], stdin=slave, stdout=slave, stderr=slave)
    out = ""
    while out.count("\033[J") < 3 or until not in out:
        check(select.select([master], [], [], WAIT_S)[0], f"it draws: {out[-500:]}")
        out += os.read(master, 65536).decode()
    os.write(master, b"q")
    wait_for(lambda: top.poll() is not None or select.select([master], [], [], 0)[0] and os.read(master, 65536) == b"", "q ends it")
    os.close(master)
    os.close(slave)
    picture = out.split("\033[H")[2].split("\033[J")[0]
    for code in ("\033[K", "\033[7m", "\033[0m", "\r"):
        picture = picture.replace(code, "")
    return picture.splitlines()


def case_top_columns():
    """Fits 80 columns and the rows there are; shows more on wide screens; says what is hidden."""
    with Daemon() as d:
        api = d.api()
        create(api, "a-name-that-is-much-longer-than-its-column.hog")
        api("create", type="share-256m", name="b.obey", weight=512, cap=20, reservation=10)
        create(api, "c.idle")
        busy(api, "b.obey")
        lines = screen(d, 80, 24, "b.obey")
        check(all(len(line) <= 80 for line in lines), "80 columns: " + "\n".join(lines))
        titles = next(line for line in lines if line.startswith("VGPU")).split()
        check(titles == ["VGPU", "STATE", "SHARE", "DUE", "QUEUE", "PREEMPT", "FAULTS", "RESETS", "VRAM"], f"{titles}")
        rows = {line.split()[0]: line.split() for line in lines if "256M" in line and "%" in line and "busy" not in line}
        check(len(rows) == 3 and rows["b.obey"][3] == "20.0%" and rows["c.idle"][3] == "0.0%", f"due: {rows}")
        check(rows["a-name-that-is-much-l"][3] == "80.0%", f"due: {rows}")
        check("policy fair, quantum 2.0 ms, grace 50 us" in lines[0] and "busy" in lines[1], "the pGPU: " + "\n".join(lines[:2]))
        wide = screen(d, 180, 24, "b.obey")
        row = next(line for line in wide if line.startswith("b.obey"))
        check("512" in row and "10/20" in row and "share-256m" in row and "|" in row and len(row) <= 180, row)
        small = screen(d, 80, 8, "more")
        check(len(small) <= 7 and "and 2 more" in "\n".join(small), "\n".join(small))
        api("set-pgpu", policy="round-robin", nonpreemptive=True)
        once = d.cli("top", "--once")
        check("round-robin" in once and "nonpreemptive" in once and all(len(line) <= 80 for line in once.splitlines()), once)
        v = json.loads(d.cli("top", "--once", "--json"))["vgpus"][1]
        check(v["cap"] == 20 and v["entitlement"] > 0.3, f"{v}")


# ---- under load ----

def case_cap_alone():
    """One with a cap has just that of a GPU that is idle otherwise, and what it is changed to."""
    with Daemon() as d:
        api = d.api()
        for name in ("h.hog", "o.obey"):
            create(api, name)
            busy(api, name)
            near(used(api, 0.5, name), [1], 0.03, f"{name} without a cap")
            for policy, cap in (("fair", 30), ("fair", 5), ("fair", 90), ("credit", 30)):
                api("set-pgpu", policy=policy)
                api("set", vgpu=name, cap=cap)
                used(api, 0.3, name)
                check(abs(api.show(name)["entitlement"] - cap / 100) < 0.001, "entitlement")
                least = cap / 100 * (0.95 if policy == "fair" else 0.7)
                for _ in range(5):
                    part = used(api, 2, name)[0]
                    # Never more than a quantum (credit: a period's part) beyond it, and fair gives all of it.
                    check(part < cap / 100 * 1.02 + 0.006, f"{name}, {policy} with a cap of {cap}: {part}")
                    # Other work on the machine delays turns, and what is lost so is not made up for: the best of five counts.
                    if part > least:
                        break
                check(part > least, f"{name}, {policy} with a cap of {cap}: {part}")
            api("set", vgpu=name, cap=0)
            near(used(api, 0.5, name), [1], 0.03, f"{name}, its cap taken away")
            api("remove", vgpu=name)


def case_change_under_load():
    """Each parameter has its effect at once, while guests that do not give back are at work."""
    with Daemon() as d:
        api = d.api()
        names = [create(api, n) for n in ("a.hog", "b.hog", "c.obey")]
        busy(api, *names)

        def expect(parts, what, seconds=1.0, by=0.03):
            due = [api.show(n)["entitlement"] for n in names]
            near(due, parts, 0.002, f"{what}: due")
            settle(api, seconds, names, parts, by, what)
        expect([1 / 3] * 3, "equal weights")
        api("set", vgpu="a.hog", weight=512)
        api("set", vgpu="b.hog", weight=1536)
        expect([2 / 9, 6 / 9, 1 / 9], "weights 2:6:1")
        api("set", vgpu="b.hog", weight=0)
        expect([512 / 769, 1 / 769, 256 / 769], "a weight of 0")
        api("set", vgpu="b.hog", reservation=50)
        # Never less than that. Not much more either, but how much depends on how late turns end.
        expect([256 / 768, 0.5, 128 / 768], "half reserved", by=0.06)
        api("set", vgpu="a.hog", cap=10)
        expect([0.1, 0.5, 0.4], "a cap of 10")
        api("set-pgpu", policy="fixed-share")
        api("set", vgpu="a.hog", share_percent=60)
        api("set", vgpu="b.hog", share_percent=10)
        expect([0.6, 0.1, 0.3], "fixed shares", 2)
        api("set-pgpu", policy="round-robin")
        expect([1 / 3] * 3, "round-robin")
        api("set", vgpu="c.obey", quantum_ns=8_000_000)
        expect([1 / 6, 1 / 6, 4 / 6], "turns of 8 ms", 2)
        api("set-pgpu", quantum_ns=8_000_000)
        before = api("pgpus")[0]["switches"]
        expect([1 / 3] * 3, "turns of 8 ms for all", 2)
        switches = api("pgpus")[0]["switches"] - before
        check(switches < 2.3 * 125 * 1.3, f"{switches} switches in two seconds of turns of 8 ms")


def case_policy_under_load():
    """From every policy to every other while guests work: nobody is lost, nobody has it together with another."""
    with Daemon() as d:
        api = d.api()
        names = [create(api, n) for n in ("a.hog", "b.obey", "c.nap", "d.light", "e.hog.obey")]
        busy(api, *names)
        api("set", vgpu="a.hog", share_percent=20)
        api("set", vgpu="e.hog.obey", cap=40, reservation=10)
        rnd = random.Random(1)
        for a in POLICIES:
            for b in POLICIES:
                api("set-pgpu", policy=a)
                time.sleep(rnd.random() * 0.006)    # any moment of a turn
                check(api("set-pgpu", policy=b)["policy"] == b, b)
                before = {n: api.show(n)["grants"] for n in names}
                wait_for(lambda: all(api.show(n)["grants"] > before[n] for n in names), f"all go on after {a} -> {b}")
        # Everything at once, at any moment.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            v = rnd.choice(names)
            try:
                api("set", vgpu=v, weight=rnd.randrange(65537), cap=rnd.choice([0, 5, 50, 100]), reservation=rnd.randrange(60),
                    share_percent=rnd.randrange(60), priority=rnd.choice(["low", "normal", "high"]), quantum_ns=rnd.choice([0, 50_000, 3_000_000]))
            except ApiError as e:
                check(e.code in ("no-space", "bad-params"), str(e))
            api("set-pgpu", policy=rnd.choice(POLICIES), quantum_ns=rnd.choice([50_000, 500_000, 4_000_000]), grace_ns=rnd.choice([0, 50_000, 500_000]))
        api("set-pgpu", policy="fair", quantum_ns=2_000_000, grace_ns=50_000)
        for n in names:
            api("set", vgpu=n, **DEFAULTS)
        busy_ones = ["a.hog", "b.obey", "e.hog.obey"]
        settle(api, 1, busy_ones, [1 / 3] * 3, 0.03, "fair again")
        before = {n: api.show(n)["grants"] for n in names}
        wait_for(lambda: all(api.show(n)["grants"] > before[n] for n in names), "all go on")
        trace = json.loads(d.cli("trace", "--json"))
        ivs = sorted((i for i in trace["intervals"] if i["end_ns"] > i["start_ns"]), key=lambda i: i["start_ns"])
        check(len(ivs) > 500, f"{len(ivs)} intervals")
        for x, y in zip(ivs, ivs[1:]):
            check(x["end_ns"] <= y["start_ns"], f"two at a time: {x} {y}")
        kinds = [i for i in trace["intervals"] if i["kind"] == "params"]
        check(len(kinds) > 100 and kinds[-1]["weight"] == 256, "the trace tells the parameters")


def case_nonpreemptive():
    """Nobody is stopped while it is set; the moment that it is not, the one that has waited gets its turn."""
    with Daemon() as d:
        api = d.api()
        create(api, "h.hog")
        busy(api, "h.hog")
        api("set-pgpu", policy="round-robin", nonpreemptive=True)   # a policy that asks for no time back
        create(api, "o.obey")
        wait_for(lambda: api.show("h.hog")["lease"] == "asked", "the hog is asked")
        before = api.show("h.hog")["preemptions"]
        parts = used(api, 1, "h.hog", "o.obey")
        near(parts, [1, 0], 0.02, "the hog has it all the time")
        check(api.show("h.hog")["preemptions"] == before and api.show("o.obey")["lease"] == "waiting", "nobody is stopped")
        api("set-pgpu", nonpreemptive=False)
        settle(api, 1, ("h.hog", "o.obey"), [0.5, 0.5], 0.05, "preemptive again")


def case_entitlement():
    """Depends on who has work now; it is looked at, also of one that is alone and says nothing."""
    with Daemon() as d:
        api = d.api()
        create(api, "i.idle")
        create(api, "n.nap")
        busy(api, "n.nap")
        seen = set()
        wait_for(lambda: seen.add(round(api.show("n.nap")["entitlement"], 6)) or seen == {0, 1}, "it naps and wakes alone")
        check(api.show("i.idle")["entitlement"] == 0, "one without work")
        api("create", type="share-256m", name="h.hog", weight=768)
        busy(api, "h.hog")
        seen.clear()
        wait_for(lambda: seen.add(round(api.show("h.hog")["entitlement"], 6)) or seen == {0.75, 1}, "beside one that naps")


CASES = {name[5:].replace("_", "-"): f for name, f in list(globals().items()) if name.startswith("case_")}

if __name__ == "__main__":
    try:
        CASES[sys.argv[1]]()
    except Failed as e:
        sys.exit(f"failed: {e}")
