# SPDX-License-Identifier: MIT
"""The end-to-end cases: real medleyd, medley-device and medley-exec; guests are clients of the vfio-user socket, or KVM guests."""
import os
import signal
import time

from stack import Stack, check, descendants, wait_until

CASES = {}


class Skip(Exception):
    pass


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


@case
def smoke(programs):
    with Stack(programs) as stack:
        vgpu = stack.create()
        check(stack.run_client("smoke", vgpu) == "ok", "smoke")
        # The next VMM on the same socket.
        check(stack.run_client("smoke", vgpu) == "ok", "smoke again")
        wait_until(lambda: vgpu.show()["state"] == "ready", "ready for the next VMM")
        info = vgpu.show()
        check(info["kernels"] >= 4, f"kernels counted: {info['kernels']}")
        check(info["gpu_time_ns"] > 0, "GPU time is accounted")


@case
def two_vgpus(programs):
    """Two vGPUs at work at once, and neither sees what the other, or the one before it, had in VRAM."""
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        workers = [stack.client("worker", v, 40, seed) for v, seed in ((a, 11), (b, 22))]
        for worker in workers:
            worker.expect("ready")
        for worker in workers:
            worker.expect("done")
            worker.end()
        secret = stack.client("secret", a, 1234)
        secret.expect("ready")
        check(stack.run_client("look", b, 1234) == "clean", "the neighbour's secret")
        secret.ask("check", "intact")
        secret.kill()
        check(stack.run_client("look", a, 1234) == "clean", "the secret of the VM before")
        # VRAM goes back to the pGPU and to another vGPU.
        check(stack.medley("remove", a.uuid).returncode == 0, "remove")
        c = stack.create()
        check(stack.run_client("look", c, 1234) == "clean", "the secret of a removed vGPU")


@case
def three_contexts(programs):
    with Stack(programs) as stack:
        check(stack.run_client("contexts", stack.create(), 3) == "ok", "contexts")


@case
def sixteen_contexts(programs):
    with Stack(programs) as stack:
        vgpu = stack.create("share-512m")
        check(stack.run_client("contexts", vgpu, 16) == "ok", "contexts")
        check(stack.run_client("contexts", vgpu, 16) == "ok", "contexts again")


@case
def stray_pointer(programs):
    """A stray access is a fault with its address; the neighbour computes on, and so does the faulty one after a reset."""
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        neighbour = stack.client("worker", b, 60, 5)
        neighbour.expect("ready")
        check(stack.run_client("stray", a) == "ok", "stray")
        neighbour.expect("done")
        neighbour.end()
        wait_until(lambda: a.show()["faults"] >= 4, "faults are counted")
        check(b.show()["faults"] == 0, "the neighbour has none")


@case
def bad_packets(programs):
    with Stack(programs) as stack:
        check(stack.run_client("bad-packets", stack.create()) == "ok", "bad packets")


@case
def infinite_kernel(programs):
    """A kernel without end loses the GPU at the end of its quantum, and gets it back in its turn."""
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        spinner = stack.client("spin", a)
        spinner.expect("running")
        worker = stack.client("worker", b, 20, 3)
        worker.expect("ready")
        text = worker.expect("done")
        worker.end()
        # 20 rounds of a fraction of a millisecond, with the GPU shared: seconds would mean that the lease was not taken.
        check(float(text.split()[2]) < 3000, f"slowest round: {text}")
        check(a.show()["preemptions"] > 0, "the spinner was preempted")
        spinner.ask("release", "ok")
        spinner.end()
        spinner = stack.client("spin", a)
        spinner.expect("running")
        spinner.ask("reset", "ok")
        spinner.end()


def executors(stack):
    return stack.children("medley-exec")


def kill_all(stack, pids):
    """Until medleyd has noticed: it must not lend dead ones."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_until(lambda: not set(pids) & set(executors(stack)), "killed executors are gone")


@case
def executor_killed(programs):
    """A dead executor is a lost context of its guest: reported, and as good as new after a reset."""
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        before = set(executors(stack))
        holder = stack.client("hold", a)
        holder.expect("ready")
        kill_all(stack, executors(stack))
        text = holder.ask("work", "work")
        check(text == "work -5 error 7 lost 1", f"after the kill: {text}")
        check(holder.ask("faults", "faults").endswith("last 7"), "the fault ring tells")
        holder.ask("recover", "recovered")
        check(holder.ask("work", "work") == "work 0 error 0 lost 0", "work after recovery")
        check(not before & set(executors(stack)), "new executors")
        check(stack.run_client("smoke", b) == "ok", "the neighbour")
        holder.ask("quit", "bye")
        holder.end()


@case
def executor_stopped(programs):
    """Executors that somebody stopped for good, mapper and all, can still be taken away, and cost their guest one context."""
    with Stack(programs) as stack:
        a = stack.create()
        holder = stack.client("hold", a)
        holder.expect("ready")
        for pid in executors(stack):
            os.kill(pid, signal.SIGSTOP)
        # Closes the channel, the context, then the device. A channel has 5 s to close.
        began = time.monotonic()
        holder.ask("quit", "bye")
        check(time.monotonic() - began < 30, "closing is bounded")
        holder.end()
        kill_all(stack, executors(stack))
        check(stack.run_client("smoke", a) == "ok", "usable again")


@case
def device_killed(programs):
    """medleyd starts a dead device again, on the same socket, with clean VRAM; the neighbour does not notice."""
    with Stack(programs) as stack:
        a = stack.create()
        first = stack.children("medley-device")
        b = stack.create()
        neighbour = stack.client("worker", b, 60, 9)
        neighbour.expect("ready")
        secret = stack.client("secret", a, 4321)
        secret.expect("ready")
        check(len(first) == 1, f"devices: {first}")
        os.kill(first[0], signal.SIGKILL)
        secret.kill()
        wait_until(lambda: len(stack.children("medley-device")) == 2 and
                   first[0] not in stack.children("medley-device"), "a new device")
        wait_until(lambda: a.show()["state"] == "ready", "the vGPU is ready again")
        check(stack.run_client("look", a, 4321) == "clean", "VRAM after the restart")
        check(stack.run_client("smoke", a) == "ok", "usable again")
        neighbour.expect("done")
        neighbour.end()


@case
def vmm_killed(programs):
    """A dead VMM leaves nothing running and its vGPU ready for the next one."""
    with Stack(programs) as stack:
        a = stack.create()
        device = stack.children("medley-device")
        for _ in range(3):
            spinner = stack.client("spin", a)
            spinner.expect("running")
            spinner.kill()
            wait_until(lambda: a.show()["state"] == "ready", "ready for the next VMM")
            check(stack.run_client("smoke", a) == "ok", "usable again")
        check(stack.children("medley-device") == device, "the device lived on")


@case
def dma_unmap(programs):
    with Stack(programs) as stack:
        check(stack.run_client("dma", stack.create()) == "ok", "dma")


@case
def shrunk_memory(programs):
    """A VMM that makes its memory's file shorter is thrown out; the device process lives."""
    with Stack(programs) as stack:
        a = stack.create()
        device = stack.children("medley-device")
        check(stack.run_client("shrink", a) == "ok", "shrink")
        check(stack.run_client("smoke", a) == "ok", "usable again")
        check(stack.children("medley-device") == device, "the device lived on")


@case
def medleyd_killed(programs):
    """Without medleyd nothing lives on, and a new one in the same directory works."""
    with Stack(programs) as stack:
        a = stack.create()
        holder = stack.client("hold", a)
        holder.expect("ready")
        children = stack.children()
        check(children, "medleyd has children")
        stack.medleyd.kill()
        stack.medleyd.wait()
        wait_until(lambda: not [x for x in stack.leftovers() if x.startswith("process")], "its children end")
        check(not descendants(stack.medleyd.pid), "no orphans")
        holder.kill()
        stack.start_medleyd()
        check(stack.run_client("smoke", stack.create()) == "ok", "usable again")


def need_kvm(programs):
    for name in ("medley-vm", "smoke-elf", "hostile-elf"):
        check(name in programs, f"no program {name}")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("needs /dev/kvm")


def guest(stack, vgpu, elf, *args):
    return stack.spawn([stack.programs["medley-vm"], "--vgpu", vgpu.socket, "--timeout", "200",
                        stack.programs[elf], *args], elf)


@case
def kvm_smoke(programs):
    """Two KVM guests share the GPU, one after the other and at once."""
    need_kvm(programs)
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        guest(stack, a, "smoke-elf").end(240)
        guests = [guest(stack, v, "smoke-elf") for v in (a, b)]
        for g in guests:
            g.end(240)


@case
def kvm_guest_killed(programs):
    need_kvm(programs)
    with Stack(programs) as stack:
        a = stack.create()
        first = guest(stack, a, "smoke-elf")
        wait_until(lambda: a.show()["state"] == "active" or first.process.poll() is not None, "the guest is connected")
        first.kill()
        wait_until(lambda: a.show()["state"] == "ready", "ready for the next VMM")
        guest(stack, a, "smoke-elf").end(240)


@case
def hostile_guest(programs):
    """A guest that does everything wrong, next to one whose results stay right and in time."""
    need_kvm(programs)
    with Stack(programs) as stack:
        a, b = stack.create(), stack.create()
        neighbour = stack.client("worker", b, 300, 17)
        neighbour.expect("ready")
        hostile = guest(stack, a, "hostile-elf", "--seed", os.environ.get("MEDLEY_SEED", "1"))
        neighbour.expect("done", 240)
        neighbour.end()
        check(stack.run_client("smoke", b) == "ok", "the neighbour, with the hostile guest still there")
        hostile.end(240)
        check(stack.medleyd.poll() is None, "medleyd lives")
        wait_until(lambda: a.show()["state"] == "ready", "ready for the next VMM")
        check(stack.run_client("smoke", a) == "ok", "usable again")
