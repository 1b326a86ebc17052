# SPDX-License-Identifier: MIT
"""End-to-end cases of tools/live-load: what it prints, and that it leaves nothing, however it ends."""
import os
import pathlib
import re
import signal
import subprocess

from cases import case
from stack import LONG, Stack, check, wait_until

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/live-load"


def start(stack, *args):
    build = pathlib.Path(stack.programs["medley"]).resolve().parent.parent
    return subprocess.Popen([TOOL, "--build", build, "--runtime-dir", stack.runtime, *args], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=stack.env)


def end(stack, process, status):
    out, err = process.communicate(timeout=LONG)
    check(process.returncode == status, f"exit {process.returncode}, not {status}: {err}")
    check(stack.medley_json("list") == [], f"vGPUs are left: {stack.medley('list').stdout}")
    return out, err


def check_table(out, least):
    """A row for each guest, with `least` percent of the work at least."""
    rows = {line.split()[0]: line for line in out.splitlines() if "%" in line}
    check(set(rows) == {"a", "b"}, f"a row for each guest: {out}")
    parts = [float(re.search(r"([0-9.]+) %", row).group(1)) for row in rows.values()]
    check(abs(sum(parts) - 100) < 0.2 and min(parts) >= least or max(parts) == least == 0, f"parts of the work: {out}")
    check("median" not in rows["a"] and ("median" in rows["b"] or not least), f"latencies of the waker: {out}")


@case
def live_load(programs):
    with Stack(programs) as stack:
        loads = ["a=loop 1000", "b=waker 10000 1000"]
        check_table(end(stack, start(stack, *loads, "--seconds", "1"), 0)[0], 0.1)
        # Ctrl-C ends it in good order, and so does SIGTERM, without a table.
        for number, status in ((signal.SIGINT, 0), (signal.SIGTERM, 143)):
            process = start(stack, *loads)
            check(process.stdout.readline().startswith("running; Ctrl-C"), "it says that it runs")
            check({v["name"] for v in stack.medley_json("list")} == {"a", "b"}, "both are there")
            process.send_signal(number)
            out, _ = end(stack, process, status)
            if not status:
                check_table(out, 0)     # there was hardly time for any
        # Before it runs, too.
        process = start(stack, *loads)
        wait_until(lambda: stack.medley_json("list"), "it begins")
        process.send_signal(signal.SIGINT)
        end(stack, process, 130)
        for bad, why in ((["a=frob"], "'frob' is no load"), (["a=loop"], "'loop' is no load"), (["a"], "NAME=LOAD"), (["a=idle", "a=idle"], "a"),
                         (["a=endless", "--type", "no-such"], "no-such")):
            out, err = end(stack, start(stack, *bad), 1)
            check(err.startswith("live-load: ") and why in err and err.count("\n") == 1 and not out, f"{bad}: {err} {out}")
    process = subprocess.run([TOOL, "--build", pathlib.Path(programs["medley"]).resolve().parent.parent, "--runtime-dir", os.devnull, "a=idle"],
                             capture_output=True, text=True, timeout=LONG)
    check(process.returncode == 1 and process.stderr.count("\n") == 1, f"no medleyd: {process.stderr}")
