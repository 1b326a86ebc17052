# SPDX-License-Identifier: MIT
"""End-to-end cases of guests that want more than their share, and of what confines the processes that work for them."""
import os
import time

from cases import case
from stack import Stack, check, read_proc, wait_until


def field(pid, name):
    for line in read_proc(pid, "status").splitlines():
        if line.startswith(name + ":"):
            return line.split()[1:]
    return []


@case
def confinement(programs):
    """Users, sessions, priorities and namespaces of what runs for a guest, as the machine sees them."""
    with Stack(programs) as stack:
        vgpu = stack.create()
        holder = stack.client("hold", vgpu)
        holder.expect("ready")
        # Executors in the pool are confined when they are warm.
        wait_until(lambda: all(field(pid, "Seccomp") == ["2"] for pid in stack.children("medley-")), "all have a filter")
        pids = stack.children("medley-")
        check(len(stack.children("medley-compile")) >= 1, "a compiler is there")
        for pid in pids:
            name = read_proc(pid, "comm").strip()
            check(field(pid, "NoNewPrivs") == ["1"], f"{name}: may gain rights")
            check(field(pid, "CapEff") == ["0" * 16], f"{name}: capabilities")
            check(os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER, f"{name}: ordinary priority")
            check(read_proc(pid, "oom_score_adj").strip() == "500", f"{name}: goes first when memory runs out")
            if os.geteuid() == 0:
                check(field(pid, "Uid")[0] != "0", f"{name}: user")
        for pid in stack.children("medley-compile"):
            check(os.getsid(pid) == pid, "the compiler's session is its own")
            check(os.getpriority(os.PRIO_PROCESS, pid) == 10, "the compiler is nice, also when its executor is warm")
        holder.ask("quit", "bye")
        holder.end()


@case
def context_storm(programs):
    """A guest that opens and closes contexts without end: the neighbour opens one, and computes."""
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        storm = stack.client("storm", a)
        storm.expect("running")
        wait_until(lambda: a.show()["contexts_opened"] > 6, "the storm blows")
        for _ in range(3):
            start = time.monotonic()
            worker = stack.client("worker", b, 20, 5)
            worker.expect("ready")
            ready = time.monotonic() - start
            worker.expect("done")
            worker.end()
            check(ready < 20, f"a context took {ready:.1f} s")
        storm.ask("quit", "bye")
        storm.end()


@case
def compile_bombs(programs):
    """Every context of a guest compiles without end: the neighbour keeps computing."""
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        worker = stack.client("worker", b, 200, 5)
        worker.expect("ready")
        alone = float(worker.expect("done").split()[4])
        worker.end()
        bombs = stack.client("bombs", a, 6)
        bombs.expect("running")
        worker = stack.client("worker", b, 200, 5)
        worker.expect("ready")
        beside = float(worker.expect("done").split()[4])
        worker.end()
        print(f"200 rounds alone {alone:.0f} ms, beside compilers {beside:.0f} ms")
        check(beside < 10 * alone + 3000, f"{alone:.0f} ms alone, {beside:.0f} ms beside compilers")
        bombs.kill()
        check(stack.run_client("smoke", b) == "ok", "the neighbour")
