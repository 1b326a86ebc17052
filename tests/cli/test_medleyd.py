#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""medleyd and medley from outside, with fake devices and executors. argv: case, medleyd, medley, fake-device, fake-exec.

One file although it is long: a list of independent cases over the same few helpers (rig.py has what other files need too). What is
about enforcement or parameters is in test_enforce.py and test_params.py."""

import json
import os
import pty
import random
import select
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time

from rig import (ApiError, Daemon, Failed, MEDLEY, SANITIZED, WAIT_S, alive, check, children, cpu_ns, rss_kib, state_of, wait_for)

NOBODY = 65534


def refused(call, code, *words):
    try:
        call()
    except ApiError as e:
        check(e.code == code, f"code {e.code}, not {code}: {e}")
        for w in words:
            check(w in str(e), f"'{w}' in '{e}'")
        return
    raise Failed(f"was not refused with {code}")


def create(api, name, type="share-256m"):
    v = api("create", type=type, name=name)
    return v["name"]


def ready(api, name):
    wait_for(lambda: api.show(name)["state"] in ("ready", "active"), f"{name} is ready")


def busy(api, *names):
    """All have an executor at work."""
    wait_for(lambda: all(api.show(n)["grants"] > 0 for n in names), f"{names} at work")


def gpu_times(api, seconds, *names):
    """GPU time used by each in the next while, as fractions of it."""
    t0 = time.monotonic()
    before = [api.show(n)["gpu_time_ns"] for n in names]
    time.sleep(seconds)     # a measurement, not a wait
    after = [api.show(n)["gpu_time_ns"] for n in names]
    dt = (time.monotonic() - t0) * 1e9
    return [(b - a) / dt for a, b in zip(before, after)]


def turns(api, seconds, *names):
    """The part of each of the lease time in the next while: unlike GPU time, the same on a machine that is busy otherwise."""
    before = [api.show(n)["held_ns"] for n in names]
    time.sleep(seconds)     # a measurement, not a wait
    got = [api.show(n)["held_ns"] - b for n, b in zip(names, before)]
    check(sum(got) > 0, "nobody had the lease")
    return [g / sum(got) for g in got]


# ---- the command ----

def case_cli():
    with Daemon() as d:
        check("no vGPUs" in d.cli("list"), "empty list")
        out = d.cli("create", "--type", "share-512m", "--name", "desk")
        uuid, path = out.split()
        check(path == f"{d.run_dir}/vgpu/{uuid}.sock", path)
        mode = os.stat(path).st_mode
        check(stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600, oct(mode))
        wait_for(lambda: "ready" in d.cli("list"), "the vGPU is ready")
        listed = d.cli("list")
        for word in ("desk", uuid, "share-512m", path):
            check(word in listed, f"{word} in {listed}")
        j = json.loads(d.cli("--json", "show", "desk"))
        for key in ("name", "uuid", "type", "state", "socket", "vram_bytes", "gpu_time_ns", "commands", "kernels",
                    "preemptions", "faults", "share"):
            check(key in j, key)
        check(j["vram_bytes"] == 512 << 20 and j["uuid"] == uuid, str(j))
        check(json.loads(d.cli("list", "--json"))[0]["uuid"] == uuid, "list --json")
        check(uuid in d.cli("show", uuid.upper()), "show by UUID")
        types = d.cli("types")
        check("share-256m" in types and "pass-full" in types, types)
        check({t["name"]: t["available"] for t in json.loads(d.cli("types", "--json"))} ==
              {"share-256m": 14, "share-512m": 7, "share-1g": 3, "share-2g": 1, "share-4g": 0, "pass-full": 0}, "types")
        check("512M of 4G" in d.cli("pgpus"), d.cli("pgpus"))
        top = d.cli("top", "--once")
        check("desk" in top and "cpu0" in top and "\033" not in top, top)
        check(json.loads(d.cli("top", "--once", "--json"))["vgpus"][0]["name"] == "desk", "top --json")
        trace = json.loads(d.cli("trace", "--json"))
        check([i["kind"] for i in trace["intervals"]] == ["params"] and trace["dropped"] == 0, "trace")
        check("START" in d.cli("trace"), "trace")
        check("Usage" in d.cli("--help") and "medley 0" in d.cli("--version"), "help")
        check(d.cli("remove", "desk") == "", "remove says nothing")
        check(not os.path.exists(path), "the socket is gone")
        check("no vGPUs" in d.cli("list"), "empty again")
        u = "0b1d6c2e-3f54-4a76-9b98-aabbccddeeff"
        check(d.cli("create", "--type", "share-256m", "--uuid", u.upper()).split()[0] == u, "given UUID")


def case_trace_removed():
    """A trace that begins now knows nothing of those that are gone; one of the past says when they went."""
    with Daemon() as d:
        api = d.api()
        for name in ("old.hog", "new.hog"):
            create(api, name)
            busy(api, name)
            gpu_times(api, 0.1, name)
            if name == "old.hog":
                api("remove", vgpu=name)
        lately = json.loads(d.cli("trace", "--json"))
        gone = [i for i in lately["intervals"] if i["kind"] == "removed"]
        check([i["name"] for i in gone] == ["old.hog"] and gone[0]["start_ns"] == gone[0]["end_ns"], f"who went: {gone}")
        of_old = [i for i in lately["intervals"] if i["name"] == "old.hog"]
        check(of_old[-1] == gone[0] and len(of_old) > 2, f"the last of it: {of_old[-3:]}")
        check("removed" in d.cli("trace") and "removed" in d.cli("trace", "--perfetto"), "in every form")
        counts = [e["args"]["vGPUs"] for e in json.loads(d.cli("trace", "--perfetto"))["traceEvents"] if e["name"] == "want the GPU"]
        check(counts and max(counts) == 1, f"those that want it at a time: {counts}")
        now = json.loads(d.cli("trace", "--json", "--seconds", "0.2"))
        check([b["name"] for b in now["before"]] == ["new.hog"], f"before: {now['before']}")
        check({i["name"] for i in now["intervals"]} == {"new.hog"}, "and in it")


def case_trace_output():
    """A trace is no longer than asked for; one that cannot be finished leaves no file."""
    with Daemon() as d:
        spans = []
        while len(spans) < 20 and not any(s < 190e6 for s in spans):
            t = json.loads(d.cli("trace", "--json", "--seconds", "0.1"))
            spans.append(t["end_ns"] - t["start_ns"])
            check(spans[-1] >= 100e6, f"{spans[-1]} ns")
        check(spans[-1] < 190e6, f"spans of 100 ms: {spans}")
        file = d.dir / "trace.json"
        out = subprocess.Popen([str(MEDLEY), "--runtime-dir", d.run_dir, "trace", "--json", "--seconds", "100", "--output", file],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(file.exists, "it has begun")
            d.proc.kill()
            d.proc.wait()
            _, err = out.communicate(timeout=60)
            check(out.returncode == 1 and err.startswith("medley: "), err)
            check(not file.exists(), "half a trace is none")
        finally:
            out.kill()
            out.wait()
        d.log_path.unlink()
        d.start()  # one that ends as it should


def case_cli_errors():
    with Daemon() as d:
        def bad(*args):
            err = d.cli(*args, ok=False)
            check(err.startswith("medley: ") or "medley:" in err, err)
            return err
        check("share-256m share-512m" in bad("create", "--type", "share-3g"), "known types are listed")
        check("'medley types'" in bad("create"), "no type")
        check("bad UUID 'xyz'" in bad("create", "--type", "share-256m", "--uuid", "xyz"), "UUID")
        check("bad name 'a/b'" in bad("create", "--type", "share-256m", "--name", "a/b"), "name")
        check("pGPU 'gpu9'" in bad("create", "--type", "share-256m", "--pgpu", "gpu9"), "pGPU")
        bad("create", "--type", "share-256m", "--name", "\udcff")
        bad("create", "--type", "share-256m", "extra")
        check("no vGPU 'nix'" in bad("show", "nix"), "show")
        check("no vGPU 'nix'" in bad("remove", "nix"), "remove")
        bad("show")
        bad("show", "a", "b")
        bad()
        bad("frobnicate")
        bad("list", "--type", "share-1g")
        bad("list", "--frob")
        bad("create", "--type")
        bad("top", "--interval", "0")
        bad("top", "--interval", "x")
        d.cli("create", "--type", "share-2g", "--name", "a")
        check("exists already" in bad("create", "--type", "share-256m", "--name", "a"), "name taken")
        check("has 1 vGPU" in bad("create", "--type", "pass-full"), "pass-full")
        check("2048 MiB of 4096 MiB free" in bad("create", "--type", "share-4g"), "how much is free")
        d.cli("remove", "a")
        d.cli("create", "--type", "pass-full", "--name", "all")
        check("pass-full" in bad("create", "--type", "share-256m"), "taken as a whole")
        d.cli("remove", "all")
        check(json.loads(d.cli("pgpus", "--json"))[0]["vram_used"] == 0, "failed starts leave nothing")
        if os.geteuid() == 0:
            # A copy where nobody can read it: the build tree may be private.
            import shutil
            copy = d.dir / "medley"
            shutil.copy(sys.argv[3], copy)
            r = subprocess.run([copy, "--runtime-dir", d.run_dir, "list"], user=NOBODY, group=NOBODY, extra_groups=[],
                               capture_output=True, text=True)
            check(r.returncode == 1 and "no permission" in r.stderr and r.stderr.count("\n") == 1, r.stderr)
    d2 = Daemon()
    try:
        err = d2.cli("list", ok=False)
        check("no medleyd runs on" in err and "start it with" in err, err)
        d2.run_dir = d2.run_dir / ("x" * 200)
        check("too long" in d2.cli("list", ok=False), "too long")
    finally:
        d2.__exit__(None, None, None)


def case_start():
    """Second start, stale leftovers, bad arguments; children of a killed medleyd."""
    d = Daemon()

    def refuse(*options):
        r = subprocess.run(d.command(*options), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S)
        check(r.returncode == 1 and not r.stdout and r.stderr.count("\n") == 1, f"{options}: {r}")
        return r.stderr

    try:
        check("'3x'" in refuse("--vram", "3x"), "vram")
        for options in (["--vram", "1M"], ["--vram", "-4G"], ["--vram", "99999999T"], ["--pool", "x"], ["--pool", "-1"],
                        ["--compute-cpus", "x"], ["--compute-cpus", "0-"], ["--compute-cpus", "0-1023"],
                        ["--quantum", "0"], ["--quantum", "2"], ["--grace", "11s"], ["--socket-mode", "999"], ["--socket-owner", "no-such-user"],
                        ["--runtime-dir", "relative"], ["--runtime-dir", "/" + "x" * 100], ["argument"], ["--frob"],
                        ["--libexec-dir", "/nonexistent"], ["--runtime-dir", "/proc/x/y"]):
            refuse(*options)
        check("round-robin" in refuse("--policy", "nice"), "known policies are listed")
        check(refuse("--frob") == "medleyd: unrecognized option '--frob'\n", "not with the program's path before it")
        d.start()
        check(f"(pid {d.proc.pid})" in refuse(), "a live medleyd is named")
        api = d.api()
        create(api, "a.idle")
        ready(api, "a.idle")
        sock = api.show("a.idle")["socket"]
        kids = children(d.proc.pid)
        check(len(kids) >= 3, str(kids))
        d.proc.kill()
        d.proc.wait()
        wait_for(lambda: not [p for p in kids if alive(p)], "children end with a killed medleyd")
        check(os.path.exists(sock), "a killed medleyd leaves its sockets")
        d.log_path.unlink()
        d.start()
        check(not os.path.exists(sock), "the next one removes them")
        check(d.api()("list") == [], "and begins empty")
        d.stop()
        # What is not a stale socket is never removed.
        d.run_dir.mkdir(exist_ok=True)
        (d.run_dir / "api.sock").write_text("mine")
        check("in the way" in refuse(), "a file in place of the socket")
        (d.run_dir / "api.sock").unlink()
        if os.geteuid() == 0:
            os.chown(d.run_dir, NOBODY, NOBODY)
            check("belongs to user" in refuse(), "a foreign directory")
            os.chown(d.run_dir, 0, 0)
        d.run_dir.chmod(0o777)
        check("written by others" in refuse(), "a directory that others can write")
        d.run_dir.chmod(0o755)
        (d.run_dir / "lock").unlink(missing_ok=True)
        (d.run_dir / "lock").symlink_to(d.dir / "victim")
        refuse()
        check(not (d.dir / "victim").exists(), "no symbolic link is followed")
        (d.run_dir / "lock").unlink()
    finally:
        d.__exit__(*sys.exc_info())


def case_unprivileged():
    if os.geteuid() != 0:
        print("# skipped: needs root, to be somebody else")
        sys.exit(77)
    with Daemon(user=NOBODY) as d:
        api = d.api()
        create(api, "a.obey")
        ready(api, "a.obey")
        busy(api, "a.obey")
        check(all(os.stat(f"/proc/{p}").st_uid == NOBODY for p in children(d.proc.pid)), "all of it is that user's")


def case_top():
    """On a terminal: takes the screen, refreshes, ends with q and leaves the terminal as it was."""
    with Daemon() as d:
        api = d.api()
        create(api, "a.obey")
        busy(api, "a.obey")
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        top = subprocess.Popen([sys.argv[3], "--runtime-dir", d.run_dir, "top", "--interval", "0.1"], stdin=slave, stdout=slave,
                               stderr=slave)
        out = b""
        while out.count(b"a.obey") < 3:
            check(select.select([master], [], [], WAIT_S)[0], "it draws")
            out += os.read(master, 65536)
        os.write(master, b"q")
        wait_for(lambda: top.poll() is not None, "q ends it")
        out += os.read(master, 65536)
        check(top.returncode == 0, f"status {top.returncode}")
        check(b"\033[?1049h" in out and out.rstrip().endswith(b"\033[?1049l"), f"the screen is given back: {out[-60:]}")
        check(termios.tcgetattr(slave) == before, "and the terminal's mode")
        # A reader that goes away ends it quietly.
        r = subprocess.run(f"{sys.argv[3]} --runtime-dir {d.run_dir} top --interval 0.1 | head -n 1", shell=True, timeout=WAIT_S,
                           capture_output=True, text=True)
        check("cpu0" in r.stdout and not r.stderr, f"{r}")
        # The terminal comes back also when medleyd goes away, and then the reason is on it.
        top = subprocess.Popen([sys.argv[3], "--runtime-dir", d.run_dir, "top", "--interval", "0.1"], stdin=slave, stdout=slave,
                               stderr=slave)
        out = b""
        while b"a.obey" not in out:
            check(select.select([master], [], [], WAIT_S)[0], "it draws again")
            out += os.read(master, 65536)
        d.stop()
        while b"closed the connection" not in out:
            check(select.select([master], [], [], WAIT_S)[0], f"it tells: {out[-200:]}")
            out += os.read(master, 65536)
        check(top.wait(WAIT_S) == 1, f"status {top.returncode}")
        check(b"\033[?1049l" in out[:out.index(b"closed the connection")], f"the screen is given back: {out[-200:]}")
        check(termios.tcgetattr(slave) == before, "and the terminal's mode, once more")
        os.close(master)
        os.close(slave)


# ---- scheduling ----

def case_turns():
    """Three that obey share equally; what they used adds up to the GPU; nobody runs at the same time."""
    with Daemon() as d:
        api = d.api()
        names = [create(api, f"{n}.obey") for n in "abc"]
        busy(api, *names)
        parts = turns(api, 1, *names)
        check(all(abs(s - 1 / 3) < 0.06 for s in parts), f"parts {parts}")
        for n in names:     # they are asked, and as a rule obey in time
            v = api.show(n)
            check(v["asked"] > 50 and v["preemptions"] < 0.8 * v["asked"], f"asked {v['asked']} stopped {v['preemptions']}")
        shares = gpu_times(api, 1, *names)
        check(all(0.05 < s < 0.4 for s in shares) and sum(shares) <= 1.02, f"shares {shares}")
        live = [api.show(n)["share"] for n in names]
        check(all(0.05 < s < 0.4 for s in live) and sum(live) <= 1.02, f"live shares {live}")
        trace = json.loads(d.cli("trace", "--json"))
        ivs = sorted((i for i in trace["intervals"] if "used_ns" in i), key=lambda i: i["start_ns"])
        check(len(ivs) > 100 and trace["dropped"] == 0, f"{len(ivs)} intervals")
        check({i["name"] for i in ivs} == set(names) and {i["kind"] for i in ivs} <= {"run", "yielded", "preempted"}, "names")
        check(any(i["kind"] == "yielded" and i["start_ns"] < i["asked_ns"] <= i["end_ns"] for i in ivs), "some obeyed")
        for a, b in zip(ivs, ivs[1:]):
            check(a["start_ns"] < a["end_ns"] <= b["start_ns"], f"two at a time: {a} {b}")


def case_hog():
    """One that never gives back is stopped at the end of each turn, and charged for what it used."""
    with Daemon() as d:
        api = d.api()
        create(api, "h.hog")
        busy(api, "h.hog")
        alone = gpu_times(api, 0.5, "h.hog")[0]
        check(alone > 0.9, f"alone {alone}")
        check(api.show("h.hog")["preemptions"] == 0, "a sole user is never stopped")
        switches = api("pgpus")[0]["switches"]
        check(switches == 1, f"{switches} switches for a sole user")
        create(api, "o.obey")
        busy(api, "o.obey")
        parts = turns(api, 1.5, "h.hog", "o.obey")
        check(all(abs(s - 0.5) < 0.1 for s in parts), f"parts {parts}")
        hog = api.show("h.hog")
        # Stopped indeed, and not only on paper.
        pid = max(d.executors(), key=cpu_ns)
        seen = []
        for _ in range(300):
            seen.append(state_of(pid))
            time.sleep(0.002)
        # Half of the time; less on a busy machine, where a stop takes effect when it would get a CPU.
        check(0.08 < seen.count("T") / len(seen) < 0.75, f"stopped half of the time: {seen.count('T')} of {len(seen)}")
        check(hog["preemptions"] > 100, f"{hog['preemptions']} preemptions")
        check(api.show("o.obey")["waited_max_ns"] < 500e6, "the other one's longest wait")
        kinds = [i["kind"] for i in json.loads(d.cli("trace", "--json"))["intervals"] if i["name"] == "h.hog"]
        check(kinds.count("preempted") > 100, "the trace tells")
        # The hog goes while it is stopped or holds: the other one has it all.
        api("remove", vgpu="h.hog")
        check(gpu_times(api, 0.5, "o.obey")[0] > 0.9, "the GPU is free")


def case_two_contexts():
    """A vGPU's executors get the lease together: two of them have no more than one turn."""
    with Daemon() as d:
        api = d.api()
        create(api, "a.hog.hog")
        create(api, "b.obey")
        busy(api, "a.hog.hog", "b.obey")
        parts = turns(api, 1, "a.hog.hog", "b.obey")
        check(abs(parts[1] - 0.5) < 0.12, f"parts {parts}")


def case_idle_is_lent():
    """Beside a hog, one that has work now and then gets it soon, and what it leaves is the hog's."""
    with Daemon() as d:
        api = d.api()
        create(api, "h.obey")
        create(api, "l.light")
        create(api, "i.idle")
        busy(api, "h.obey", "l.light")
        shares = gpu_times(api, 2, "h.obey", "l.light", "i.idle")
        check(shares[0] > 0.6 and 0 < shares[1] < 0.15 and shares[2] == 0, f"shares {shares}")
        # What it does not need of its turn is lent at once: it works 200 us in 5 ms, and a turn is 2 ms.
        parts = turns(api, 1, "h.obey", "l.light")
        check(parts[1] < 0.25, f"parts {parts}")
        light = api.show("l.light")
        check(light["commands"] > 100, f"{light['commands']} rounds of light work")
        # Longest wait that it saw itself: at most a quantum, a grace period, and what a busy machine adds.
        check(light["compile_ns"] < 100e6, f"longest wait {light['compile_ns']} ns")
        mean = light["waited_ns"] / light["grants"]
        check(mean < 4e6, f"mean wait {mean} ns")


def case_liars():
    """Claims do not help: neither those of no use at all nor work without a lease."""
    with Daemon() as d:
        api = d.api()
        create(api, "l.liar")
        create(api, "o.obey")
        busy(api, "l.liar", "o.obey")
        # By its CPU clock while it is alone; while others wait, all that it holds.
        before = api.show("l.liar")
        parts = turns(api, 1, "l.liar", "o.obey")
        check(abs(parts[1] - 0.5) < 0.1, f"it gets no more for it: {parts}")
        after = api.show("l.liar")
        charged = (after["gpu_time_ns"] - before["gpu_time_ns"]) / (after["held_ns"] - before["held_ns"])
        check(0.9 < charged < 1.05, f"the liar is charged: {charged}")
        wait_for(lambda: api.show("l.liar")["unclaimed_ns"] > 100e6, "it is told apart")
        api("remove", vgpu="l.liar")
        create(api, "s.sneak")
        wait_for(lambda: api.show("s.sneak")["confinements"], "the sneak is confined", 60)
        # Stopped whenever it has no lease: it burns no more than its turns.
        wait_for(lambda: any(state_of(p) == "T" for p in d.executors()) and api.show("s.sneak")["lease"] == "waiting",
                 "it is stopped")
        parts = turns(api, 1, "o.obey", "s.sneak")
        check(parts[0] > 0.4, f"the neighbour has at least its share: {parts}")


def case_sips():
    """Many executors that each work a little without a lease: what counts is the vGPU's sum."""
    with Daemon() as d:
        api = d.api()
        create(api, "o.obey")
        create(api, "s.sip.sip.sip.sip.sip.sip.sip.sip")
        wait_for(lambda: api.show("s.sip.sip.sip.sip.sip.sip.sip.sip")["contexts"] == 8, "all have executors")
        busy(api, "o.obey")
        wait_for(lambda: api.show("s.sip.sip.sip.sip.sip.sip.sip.sip")["confinements"] >= 4, "they are confined", 60)
        check(turns(api, 1, "o.obey", "s.sip.sip.sip.sip.sip.sip.sip.sip")[0] > 0.4, "the neighbour has its share")


def case_thieves():
    """A second process of an executor that works on its own account, which no lease stops: the context ends."""
    d = Daemon()
    d.exec_mode("helper")
    with d:
        api = d.api()
        create(api, "o.obey")
        busy(api, "o.obey")
        obey = set(wait_for(lambda: [p for p in d.executors() if cpu_ns(p) > 100e6], "its executor works"))
        thief = "t.reopen.thief.thief.thief"
        create(api, thief)
        wait_for(lambda: api.show(thief)["executors_lost"] >= 3, "the contexts end", 60)
        check("on its own account" in d.log(), "the log tells")
        # It opens them again and again, and all in all gets a part of one CPU (how often depends on how
        # busy the machine is, since it is CPU time that is counted).
        used, last, end = 0, {}, time.monotonic() + 6     # a measurement
        while time.monotonic() < end:
            now = {}
            for p in d.executors():
                try:
                    now[p] = cpu_ns(p)
                except OSError:
                    pass
            hogs = {p: t for p, t in now.items() if t > 20e6}
            used += sum(t - last.get(p, t) for p, t in hogs.items() if p not in obey)
            last = now
            time.sleep(0.05)
        check(used < 6 * 0.6e9, f"the thieves used {used / 1e9:.2f} s of CPU in 6 s")
        check(api.show("o.obey")["executors_lost"] == 0, "the neighbour")


def case_noise():
    """Pages full of nonsense and floods of wishes cost the neighbour nothing but turns, and medleyd little."""
    with Daemon() as d:
        api = d.api()
        create(api, "o.obey")
        create(api, "g.garbage")
        create(api, "w.wants")
        busy(api, "o.obey")
        wait_for(lambda: api.show("w.wants")["contexts"] and api.show("g.garbage")["contexts"], "all have executors")
        c0, t0 = cpu_ns(d.proc.pid), time.monotonic()
        parts = turns(api, 2, "o.obey", "g.garbage", "w.wants")
        used = (cpu_ns(d.proc.pid) - c0) / 1e9 / (time.monotonic() - t0)
        check(parts[0] > 0.28, f"neighbour's part {parts}")
        check(used < 0.5, f"medleyd used {used:.2f} of a CPU")


def medleyd_cpu(*names):
    """CPUs that medleyd uses beside vGPUs of these names."""
    with Daemon() as d:
        api = d.api()
        for n in names:
            create(api, n)
            wait_for(lambda n=n: api.show(n)["contexts"] == n.count("."), "all have executors")
        c0, t0 = cpu_ns(d.proc.pid), time.monotonic()
        time.sleep(2)     # a measurement
        return (cpu_ns(d.proc.pid) - c0) / 1e9 / (time.monotonic() - t0)


def case_want_flood():
    """A vGPU that floods medleyd with wishes from eight contexts costs it hardly more than from one, and little."""
    seen = []
    for _ in range(3):     # the machine may be busy just then
        seen.append((medleyd_cpu("f.wants"), medleyd_cpu("f" + 8 * ".wants")))
        print("# medleyd uses {:.3f} of a CPU beside a flood from one context, {:.3f} beside one from eight".format(*seen[-1]))
        if seen[-1][1] < min(0.25, seen[-1][0] + 0.12):
            return
    raise Failed(f"medleyd uses of a CPU: {seen}")


def case_brief():
    """Honest ones that wait for each packet of 2 us, in eight contexts, lose no turns by the limit on wishes."""
    with Daemon() as d:
        api, name = d.api(), "b" + 8 * ".brief"
        create(api, "o.obey")
        create(api, name)
        wait_for(lambda: api.show(name)["contexts"] == 8, "all have executors")
        before = api.show(name)["commands"]
        parts = turns(api, 1.5, "o.obey", name)
        done = api.show(name)["commands"] - before
        print(f"# turns {parts}, {done} packets")
        check(abs(parts[1] - 0.5) < 0.12, f"parts {parts}")
        check(done > 2000, f"{done} packets in its turns")


def case_idle_costs_nothing():
    with Daemon() as d:
        api = d.api()
        names = [create(api, f"v{i}.idle") for i in range(12)]
        wait_for(lambda: all(api.show(n)["contexts"] for n in names), "all have executors")
        api.close()
        # After a while of nothing the audit slows down; that is what we wait for, by its effect.
        def quiet():
            c0 = cpu_ns(d.proc.pid)
            time.sleep(1)
            return cpu_ns(d.proc.pid) - c0 < 3e6
        wait_for(quiet, "medleyd uses less than 0.3 % of a CPU")


# ---- deaths ----

def case_dead_executor():
    with Daemon() as d:
        api, watcher = d.api(), d.api()
        watcher("subscribe")
        create(api, "a.hog")
        create(api, "b.obey")
        busy(api, "a.hog", "b.obey")
        victims = [p for p in d.executors() if cpu_ns(p) > 50e6]
        wait_for(lambda: [p for p in d.executors() if cpu_ns(p) > 50e6], "they burn")
        for p in [p for p in d.executors() if cpu_ns(p) > 20e6]:
            os.kill(p, signal.SIGKILL)
        for n in ("a.hog", "b.obey"):
            wait_for(lambda n=n: api.show(n)["contexts"] == 0, f"{n} has lost its executor")
            v = api.show(n)
            check(v["executors_lost"] == 1 and v["state"] == "ready" and v["lease"] == "asleep", str(v))
        check(d.log().count("fake-device: lost 0") == 2, "each device is told once")
        seen = []
        while len([e for e in seen if e["event"] == "executor-lost"]) < 2:
            seen.append(watcher.line())
        check({e["name"] for e in seen if e["event"] == "executor-lost"} == {"a.hog", "b.obey"}, str(seen))
        # A vGPU whose executor crashes and is opened again, over and over, at a limited pace.
        create(api, "c.reopen.crash")
        wait_for(lambda: api.show("c.reopen.crash")["executors_lost"] >= 5, "it crashes again and again")
        create(api, "e.obey")
        busy(api, "e.obey")


def case_close():
    """CTX_CLOSE: one CTX_LOST for each executor, which is dead by then; nothing in the log of losses."""
    with Daemon() as d:
        api = d.api()
        create(api, "a.close.hog")
        wait_for(lambda: d.log().count("fake-device: granted 0 error 0") == 6, "opened six times")
        wait_for(lambda: d.log().count("fake-device: lost 0") == 5, "closed five times")
        check(api.show("a.close.hog")["executors_lost"] == 0, "none counts as lost")
        wait_for(lambda: api("stats")["executors"]["warm"] == 2, "the pool is full again")
        check(len(d.executors()) == 3, f"executors {d.executors()}")


def case_dead_device():
    with Daemon() as d:
        api = d.api()
        create(api, "a.hog")
        busy(api, "a.hog")
        v = api.show("a.hog")
        execs = [p for p in d.executors() if cpu_ns(p) > 20e6]
        os.kill(v["device_pid"], signal.SIGKILL)
        wait_for(lambda: api.show("a.hog")["device_pid"] not in (0, v["device_pid"]), "a new device")
        wait_for(lambda: not [p for p in execs if alive(p)], "the executors of the dead one end")
        ready(api, "a.hog")
        busy(api, "a.hog")
        check(api.show("a.hog")["device_restarts"] == 1, "counted")
        s = socket.socket(socket.AF_UNIX)
        s.connect(api.show("a.hog")["socket"])      # the same socket, listening all the time
        s.close()
        # One that dies at once is started ever more slowly, and can be removed at any time.
        create(api, "b.die")
        wait_for(lambda: api.show("b.die")["device_restarts"] >= 4, "restarts")
        t0, n0 = time.monotonic(), api.show("b.die")["device_restarts"]
        check(api.show("b.die")["state"] == "starting", "state")
        api("remove", vgpu="b.die")
        # Devices that break the protocol are ended; one that floods its link hurts nobody.
        for bad in ("spam", "wild"):
            create(api, f"{bad}.{bad}")
            wait_for(lambda bad=bad: api.show(f"{bad}.{bad}")["device_restarts"] >= 1, f"{bad} is ended")
            check("broke the protocol" in d.log(), bad)
            api("remove", vgpu=f"{bad}.{bad}")
        create(api, "f.flood")
        wait_for(lambda: api.show("f.flood")["device_restarts"] >= 1, "the flood is ended")
        api("remove", vgpu="f.flood")
        check(gpu_times(api, 0.5, "a.hog")[0] > 0.8, "the first one works on")


def case_given_up():
    """A device that never lives is given up in the end; the vGPU can be removed."""
    with Daemon() as d:
        api = d.api()
        create(api, "b.die")
        wait_for(lambda: api.show("b.die")["state"] == "failed", "given up", 60)
        check("given up" in d.log(), "logged")
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(api.show("b.die")["socket"])
            raise Failed("a VMM could still connect")
        except FileNotFoundError:
            s.close()
        api("remove", vgpu="b.die")
        check(api("list") == [], "gone")


def case_bad_executors():
    """Executors that die at the start, or never get ready: contexts are refused, medleyd does not spin."""
    d = Daemon()
    d.exec_mode("die")
    with d:
        api = d.api()
        create(api, "a.obey")
        wait_for(lambda: "granted 0 error" in d.log(), "an answer")
        check("granted 0 error 0" not in d.log(), "a refusal")
        c0 = cpu_ns(d.proc.pid)
        deaths = d.log().count("that was starting exited")
        time.sleep(1)
        check(cpu_ns(d.proc.pid) - c0 < 100e6, "medleyd is quiet")
        check(d.log().count("that was starting exited") - deaths < 12, "few attempts")
        d.exec_mode("")
        create(api, "b.obey")
        wait_for(lambda: api("stats")["executors"]["warm"] == 2, "it gets better when they do")
        create(api, "c.obey")
        busy(api, "c.obey")


def case_mute_executors():
    """Executors that do nothing and never get ready are given up within half a minute; it gets better when they do."""
    d = Daemon()
    d.exec_mode("mute")
    with d:
        api = d.api()
        create(api, "a.obey")
        wait_for(lambda: len(d.executors()) == 2, "two start")
        mute = d.executors()
        time.sleep(5)     # a measurement
        check(d.executors() == mute, "not at the first delay")
        d.exec_mode("")
        wait_for(lambda: "and does nothing: ended" in d.log(), "given up", 45)
        busy(api, "a.obey")
        check("granted 0 error 0" in d.log() and d.log().count("granted") == 1, "the context waited, and was not refused")
        wait_for(lambda: not [p for p in mute if alive(p)], "they are gone")


def case_pool():
    d = Daemon("--pool", "3")
    d.exec_mode("slow")
    with d:
        api = d.api()
        create(api, "a.obey")       # before any is warm: waits for the first
        wait_for(lambda: api.show("a.obey")["contexts"] == 1, "served when one is warm")
        wait_for(lambda: api("stats")["executors"]["warm"] == 3, "filled")
        t0 = time.monotonic()
        create(api, "b.obey")
        busy(api, "b.obey")
        check(time.monotonic() - t0 < 0.8, "from the pool, not from a slow start")
        wait_for(lambda: api("stats")["executors"]["warm"] == 3, "filled again")
        check(api("stats")["executors"] == {"warm": 3, "warming": 0, "granted": 2}, "counted")


# ---- leaks, books, hostile clients ----

def open_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def case_churn():
    """A thousand vGPUs come and go: nothing stays."""
    with Daemon() as d:
        api = d.api()
        wait_for(lambda: api("stats")["executors"]["warm"] == 2, "the pool is full")
        for i in range(20):
            api("remove", vgpu=create(api, f"w{i}"))
        fds, rss, kids = open_fds(d.proc.pid), rss_kib(d.proc.pid), len(children(d.proc.pid))
        for i in range(1000):
            name = create(api, f"v{i}.silent" if i % 2 else f"v{i}")
            api("remove", vgpu=name)
        check(open_fds(d.proc.pid) == fds, f"{open_fds(d.proc.pid)} descriptors, before {fds}")
        check(len(children(d.proc.pid)) == kids, "processes")
        check(SANITIZED or rss_kib(d.proc.pid) < rss + 2048, f"{rss_kib(d.proc.pid)} KiB, before {rss}")
        check(os.listdir(d.run_dir / "vgpu") == [], "sockets")
        check(api("pgpus")[0]["vram_used"] == 0 and api("pgpus")[0]["channels_used"] == 0, "books")
        # With executors, in every phase of their coming.
        for i in range(25):
            name = create(api, f"x{i}.hog.obey.crash")
            if i % 3:
                wait_for(lambda: api.show(name)["contexts_opened"] >= i % 4, "some are open")
            api("remove", vgpu=name)
        wait_for(lambda: api("stats")["executors"] == {"warm": 2, "warming": 0, "granted": 0}, "executors are gone")
        wait_for(lambda: open_fds(d.proc.pid) == fds, "descriptors again")


def case_books():
    """Random requests of three clients at a time: the accounts are the sum of what the list shows."""
    with Daemon() as d:
        def client(seed, errors):
            rnd = random.Random(seed)
            try:
                api = d.api()
                for _ in range(60):
                    have = api("list")
                    if have and rnd.random() < 0.45:
                        try:
                            api("remove", vgpu=rnd.choice(have)["uuid"])
                        except ApiError as e:
                            check(e.code in ("not-found", "busy"), str(e))
                    else:
                        try:
                            api("create", type=rnd.choice(["share-256m", "share-512m", "share-1g", "share-2g", "pass-full"]))
                        except ApiError as e:
                            check(e.code in ("no-space", "busy"), str(e))
                    s = api("stats")
                    used = sum(v["vram_bytes"] for v in s["vgpus"])
                    channels = sum(v["channels"] for v in s["vgpus"])
                    p = s["pgpus"][0]
                    check(p["vram_used"] == used <= p["vram_bytes"], f"{p} {used}")
                    check(p["channels_used"] == channels <= p["channels"], f"{p} {channels}")
                    check(p["vgpus"] == len(s["vgpus"]), "number")
            except Exception as e:  # pylint: disable=broad-except
                errors.append(repr(e))
        errors = []
        threads = [threading.Thread(target=client, args=(i, errors)) for i in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check(not errors, str(errors))
        api = d.api()
        for v in api("list"):
            api("remove", vgpu=v["uuid"])
        check(api("pgpus")[0]["vram_used"] == 0, "empty")


def raw(d):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(WAIT_S)
    while True:
        try:
            s.connect(str(d.run_dir / "api.sock"))
            return s
        except BlockingIOError:     # the queue of the socket is full: medleyd has more urgent things to do
            time.sleep(0.01)


def read_all(s):
    data = b""
    try:
        while True:
            got = s.recv(65536)
            if not got:
                return data
            data += got
    except ConnectionResetError:
        return data


def case_half_closed():
    """Who has said all, and shuts down that side, still hears every answer, late ones too, and then the end; nothing stays."""
    with Daemon() as d:
        api = d.api()
        wait_for(lambda: api("stats")["executors"]["warm"] == 2, "the pool is full")
        fds = open_fds(d.proc.pid)

        def ask(*lines):
            s = raw(d)
            s.sendall(b"".join(line + b"\n" for line in lines))
            s.shutdown(socket.SHUT_WR)
            replies = [json.loads(line) for line in read_all(s).splitlines()]
            s.close()
            return replies

        for name in ("a.obey.hog", "b.idle", "c.silent"):
            create(api, name)
        busy(api, "a.obey.hog")
        # Answered when all of its processes are gone.
        for i, name in enumerate(("a.obey.hog", "b.idle", "c.silent")):
            replies = ask(b'{"id":%d,"method":"remove","params":{"vgpu":"%s"}}' % (i, name.encode()))
            check(len(replies) == 1 and replies[0]["id"] == i and "uuid" in replies[0]["result"], f"{name}: {replies}")
            check(name not in [v["name"] for v in api("list")], "and it is removed by then")
        # More lines than are run in one go; the late answer is the last one, and the half line no request.
        create(api, "d.obey")
        busy(api, "d.obey")
        replies = ask(b'{"id":-1,"method":"remove","params":{"vgpu":"d.obey"}}',
                      *(b'{"id":%d,"method":"version"}' % i for i in range(100)), b'{"id":100,"method":"no-such"}', b'{"id":10')
        check(sorted(r["id"] for r in replies if "id" in r and r["id"] is not None) == list(range(-1, 101)), f"all are answered: {replies}")
        check(ask() == [] and ask(b"") == [] and ask(b'{"id":1,"method":"subscribe"}') == [{"id": 1, "result": {}}], "nothing is waited for")
        # Hangs up while its answer is due: gone at once.
        create(api, "e.obey")
        busy(api, "e.obey")
        s = raw(d)
        s.sendall(b'{"id":1,"method":"remove","params":{"vgpu":"e.obey"}}\n')
        s.shutdown(socket.SHUT_WR)
        s.close()
        wait_for(lambda: api("list") == [], "removed")
        wait_for(lambda: open_fds(d.proc.pid) == fds, f"descriptors: {open_fds(d.proc.pid)}, before {fds}")


def case_hostile_clients():
    with Daemon() as d:
        api = d.api()
        create(api, "o.obey")
        busy(api, "o.obey")
        rss = rss_kib(d.proc.pid)

        # Lines that are not requests: an error each, and the connection lives.
        bad = [b"{", b"nonsense", b"[]", b"1", b'"x"', b"null", b"{}", b'{"id":1}', b'{"method":1}', b'{"method":"list","x":1}',
               b'{"method":"list","params":[]}', b'{"method":"list","method":"list"}', b'{"id":{},"method":"list"}',
               b'{"method":"list","params":{"a":1}}', b'{"method":"create"}', b'{"method":"create","params":{"type":1}}',
               b'{"method":"show","params":{"vgpu":"' + b"x" * 5000 + b'"}}', b"\xff\xfe", b'{"method":"\\u0000"}', b"[" * 5000,
               b'{"a":' * 3000, b'{"method":"trace","params":{"since":-1}}', b'{"method":"trace","params":{"max":0}}',
               b'{"method":"trace","params":{"since":1e99}}', b'{"id":99999999999999999999999,"method":"list"}', b"\0\0\0"]
        s = raw(d)
        f = s.makefile("rb")
        for line in bad:
            s.sendall(line + b"\n")
            reply = json.loads(f.readline())
            check("error" in reply and "\n" not in reply["error"]["message"], f"{line[:60]}: {reply}")
        s.sendall(b'\n\r\n{"id":"x","method":"version"}\r\n')
        check(json.loads(f.readline())["id"] == "x", "and works on")
        # Byte by byte, and several in one packet.
        for b in b'{"id":7,"method":"list"}\n':
            s.sendall(bytes([b]))
        check(json.loads(f.readline())["id"] == 7, "byte by byte")
        s.sendall(b'{"id":8,"method":"types"}\n' * 100)
        for _ in range(100):
            check(json.loads(f.readline())["id"] == 8, "many at once")
        s.close()

        # A line without end.
        s = raw(d)
        try:
            for _ in range(64):
                s.sendall(b"x" * 65536)
        except OSError:
            pass
        check(b"too-long" in read_all(s), "told so and dropped")
        s.close()

        # Half lines for ever, from more clients than there is room for: others still get in.
        half = []
        for _ in range(200):
            s = raw(d)
            s.sendall(b'{"id":1,"meth')
            half.append(s)
        d.api()("version")

        # Asks without end, never reads: dropped, at a bounded cost.
        s = raw(d)
        s.settimeout(0.2)
        sent = 0
        dropped = False
        end = time.monotonic() + WAIT_S
        while not dropped and time.monotonic() < end:
            try:
                sent += s.send(b'{"id":1,"method":"types"}\n' * 500)
            except TimeoutError:
                continue
            except OSError:
                dropped = True
        check(dropped, f"dropped after {sent} bytes")
        s.close()

        # Hangs up in the middle of everything.
        for i in range(100):
            s = raw(d)
            s.sendall(b'{"id":1,"method":"stats"}\n{"id":2,"method":"create","params":{"type":"share-256m"}}\n{"id'[:random.randrange(1, 90)])
            s.close()
        for s in half:
            s.close()
        api = d.api()
        for v in api("list"):
            if v["name"] != "o.obey":
                api("remove", vgpu=v["uuid"])
        check(SANITIZED or rss_kib(d.proc.pid) < rss + 16384, f"{rss_kib(d.proc.pid)} KiB, before {rss}")
        # A reply that nobody waits for any more.
        s = raw(d)
        s.sendall(b'{"id":1,"method":"create","params":{"type":"share-256m","name":"gone"}}\n')
        wait_for(lambda: "gone" in d.cli("list"), "created")
        s.sendall(b'{"id":2,"method":"remove","params":{"vgpu":"gone"}}\n')
        s.close()
        wait_for(lambda: "gone" not in d.cli("list"), "removed")
        check(d.api().show("o.obey")["commands"] >= 0 and gpu_times(d.api(), 0.5, "o.obey")[0] > 0.5, "all along, the GPU worked")


CASES = {name[5:].replace("_", "-"): f for name, f in list(globals().items()) if name.startswith("case_")}

if __name__ == "__main__":
    if sys.argv[1] == "--list":
        print("\n".join(CASES))
        sys.exit(0)
    try:
        CASES[sys.argv[1]]()
    except Failed as e:
        sys.exit(f"failed: {e}")
