# SPDX-License-Identifier: MIT
"""End-to-end cases of --compute-cpus: where the threads of executors may run, and where they do."""
import os

from cases import Skip, case, executors, kill_all
from stack import Stack, check, read_proc, wait_until


def threads(pid):
    """tid -> CPUs that it may use."""
    found = {}
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            found[int(tid)] = os.sched_getaffinity(int(tid))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def cpu_ns(pid, tid):
    return int((read_proc(pid, f"task/{tid}/schedstat") or "0").split()[0])


def last_cpu(pid, tid):
    return int(read_proc(pid, f"task/{tid}/stat").rsplit(")", 1)[1].split()[36])


def check_places(stack, gpu, rest):
    """Executors have a thread for each of the GPU's CPUs, which may run on these only; nothing else of Medley may run there."""
    check(os.sched_getaffinity(stack.medleyd.pid) == rest, "medleyd leaves them")
    # Warm ones: they have closed their door when their threads are in place.
    mains = [pid for pid in executors(stack) if len(threads(pid)) > 1 and "Seccomp:\t2" in read_proc(pid, "status")]
    check(mains, "there are executors")
    for pid in stack.children("medley-"):
        name = read_proc(pid, "comm").strip()
        for tid, cpus in threads(pid).items():
            # Some of the operator's CPUs may be left out for a moment, when a front end is moved.
            own = name.startswith("medley-exec") and tid != pid and cpus == gpu
            check(own or cpus <= rest, f"thread {tid} of {name} {pid} may run on {cpus}")
    for pid in mains:
        kernels = [tid for tid, cpus in threads(pid).items() if cpus == gpu]
        if len(kernels) != len(gpu):     # unless it is that of a guest that has just left
            wait_until(lambda pid=pid: pid not in executors(stack), f"executor {pid} has {len(kernels)} threads on {gpu}", 10)
    return [pid for pid in mains if pid in executors(stack)]


def check_kernel_runs(stack, mains, gpu):
    """A kernel without end: who burns the CPU is a thread that may do so only there, and does."""
    before = {(pid, tid): cpu_ns(pid, tid) for pid in mains for tid in threads(pid)}

    def burner():
        burnt = {k: cpu_ns(*k) - v for k, v in before.items()}
        busiest = max(burnt, key=burnt.get)
        return busiest if burnt[busiest] > 3 * 10**8 else None
    pid, tid = wait_until(burner, "the kernel runs")
    check(threads(pid)[tid] == gpu, f"the kernel may run on {threads(pid)[tid]}")
    check(last_cpu(pid, tid) in gpu, f"the kernel runs on CPU {last_cpu(pid, tid)}")


@case
def compute_cpus(programs):
    """Kernels run on the GPU's CPUs and nothing else of Medley does; that holds for executors that come later, too."""
    machine = sorted(os.sched_getaffinity(0))
    if len(machine) < 2:
        raise Skip("needs two CPUs")
    # An operator who leaves Medley some of the machine's CPUs, where there are enough.
    ours = machine if len(machine) < 4 else machine[:-1]
    os.sched_setaffinity(0, ours)
    gpu = set(ours[-2:] if len(ours) > 3 else ours[-1:])
    rest = set(ours) - gpu
    with Stack(programs, ["--compute-cpus", ",".join(str(c) for c in sorted(gpu))]) as stack:
        a, b = stack.create(), stack.create()
        holder = stack.client("hold", a)
        holder.expect("ready")
        check(stack.medley_json("pgpus")[0]["compute_units"] == len(gpu), "as many compute units")
        check_places(stack, gpu, rest)
        # Executors die and are replaced, that of the guest and those of the pool.
        old = executors(stack)
        kill_all(stack, old)
        holder.ask("work", "work -5")
        holder.ask("recover", "recovered")
        check(holder.ask("work", "work") == "work 0 error 0 lost 0", "work after recovery")
        new = check_places(stack, gpu, rest)
        check(not set(new) & set(old), "new executors")
        # Work enough for front ends to poll, sleep, and ask to be moved.
        worker = stack.client("worker", b, 100, 5)
        worker.expect("ready")
        worker.expect("done")
        check_places(stack, gpu, rest)
        worker.end()
        spinner = stack.client("spin", b)
        spinner.expect("running")
        check_kernel_runs(stack, check_places(stack, gpu, rest), gpu)
        spinner.ask("release", "ok")
        spinner.end()
        holder.ask("quit", "bye")
        holder.end()
