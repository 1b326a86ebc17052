# SPDX-License-Identifier: MIT
"""End-to-end cases of what is enforced: the watchdog on kernels, the pauses of those who lose executors in a loop, the modes."""
import time

from cases import case
from stack import Stack, check, wait_until


def set_vgpu(stack, vgpu, *args):
    done = stack.medley("set", vgpu.uuid, *args)
    check(done.returncode == 0, f"medley set: {done.stderr.strip()}")


def set_pgpu(stack, *args):
    done = stack.medley("set-pgpu", *args)
    check(done.returncode == 0, f"medley set-pgpu: {done.stderr.strip()}")


@case
def watchdog(programs):
    """An endless kernel costs its context, and nothing else: neither another context of that VM nor another VM."""
    with Stack(programs) as stack:
        a, b = stack.create("share-256m", "--kernel-limit", "300ms"), stack.create()
        neighbour = stack.client("worker", b, 400, 3)
        neighbour.expect("ready")
        client = stack.client("watchdog", a)
        client.expect("ready")
        rounds = []
        for _ in range(2):
            client.ask("spin", "running")
            rounds.append(int(client.expect("reset").split()[1]))
        check(min(rounds) >= 1, f"rounds of the other context: {rounds}")
        info = a.show()
        check(info["resets"] == 2 and info["executors_lost"] == 0 and info["contexts"] == 2, str(info))
        neighbour.expect("done")
        neighbour.end()
        check(b.show()["resets"] == 0 and b.show()["faults"] == 0, "the neighbour has none")
        # Without a limit it runs on, and a limit set live ends it.
        set_vgpu(stack, a, "--kernel-limit", "0")
        client.ask("spin", "running")
        used = a.show()["gpu_time_ns"]
        wait_until(lambda: a.show()["gpu_time_ns"] > used + 10**9, "it runs for a second")
        check(a.show()["resets"] == 2, "without a limit")
        set_vgpu(stack, a, "--kernel-limit", "500ms")
        client.expect("reset")
        check(a.show()["resets"] == 3, "with a limit again")
        client.ask("quit", "ok")
        client.end()


def smoke_seconds(stack, vgpu):
    start = time.monotonic()
    check(stack.run_client("smoke", vgpu) == "ok", "smoke")
    return time.monotonic() - start


@case
def crash_loop(programs):
    """A guest whose contexts crash in a loop gets them back ever more slowly; its neighbour opens its own without delay."""
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        alone = smoke_seconds(stack, b)
        crasher = stack.client("crash", a)
        crasher.expect("running")
        wait_until(lambda: a.show()["throttled"], "it is throttled")
        # A few times as long, for the executors that are started beside it; not a minute.
        beside = [smoke_seconds(stack, b) for _ in range(3)]
        check(sorted(beside)[1] < 4 * alone + 10, f"the neighbour took {beside} s, alone {alone} s")
        # It loses four at a time. Pauses of 0.05, 0.1, ... s: the eighth loss is followed by one of 1.6 s, the twelfth by 10 s.
        wait_until(lambda: a.show()["contexts_opened"] >= 12, "it comes back all the same")
        check(a.show()["contexts_opened"] <= 12 or a.show()["age_ns"] > 8 * 10**9, "but slowly")
        check(b.show()["throttled"] is False, "the neighbour is not throttled")
        crasher.order("quit")
        crasher.expect("crashes")
        crasher.end()


@case
def nonpreemptive(programs):
    """Without preemption an endless kernel keeps the GPU; when preemption comes back it loses it at once."""
    with Stack(programs) as stack:
        set_pgpu(stack, "--nonpreemptive", "yes")
        a, b = stack.create(), stack.create()
        waiter = stack.client("hold", b)
        waiter.expect("ready")
        spinner = stack.client("spin", a)
        spinner.expect("running")
        waiter.order("work")
        wait_until(lambda: b.show()["lease"] == "waiting", "the other one waits")
        held = a.show()["gpu_time_ns"]
        wait_until(lambda: a.show()["gpu_time_ns"] > held + 10**9, "it keeps the GPU for a second")
        check(b.show()["lease"] == "waiting" and a.show()["preemptions"] == 0, "all the time")
        set_pgpu(stack, "--nonpreemptive", "no")
        check(waiter.expect("work", 20) == "work 0 error 0 lost 0", "the other one works")
        check(a.show()["preemptions"] > 0, "it was stopped")
        spinner.ask("release", "ok")
        spinner.end()
        waiter.ask("quit", "bye")
        waiter.end()
