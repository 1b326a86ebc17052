# SPDX-License-Identifier: MIT
"""A running Medley for one test: medleyd with a runtime directory of its own, vGPUs made through the medley command, and clients.

Whatever a test does, leaving the `with` block ends every process that the test or its medleyd started and removes the
directory; what was left over is a failure of its own.
"""
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# Generous: the machine may be busy with other things. Nothing waits this long unless it hangs.
LONG = 200.0


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_until(condition, text, timeout=LONG):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"timed out: {text}")
        time.sleep(0.01)


def read_proc(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as f:
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def process_table():
    """pid -> (parent, start time, name, state) of all processes."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        stat = read_proc(entry, "stat")
        if ")" not in stat:
            continue
        name = stat[stat.index("(") + 1:stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2:].split()
        table[int(entry)] = (int(fields[1]), fields[19], name, fields[0])
    return table


def descendants(root):
    """(pid, start time, name) of everything below root."""
    table = process_table()
    found, frontier = [], [root]
    while frontier:
        parent = frontier.pop()
        for pid, (ppid, start, name, _) in table.items():
            if ppid == parent:
                found.append((pid, start, name))
                frontier.append(pid)
    return found


class Client:
    """A process of medley-test-client, or any other that talks in lines."""

    def __init__(self, stack, argv, name):
        self.name = name
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=stack.env)
        self.pid = self.process.pid
        self.buffer = b""

    def line(self, timeout=LONG):
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            check(left > 0, f"{self.name}: no answer in {timeout:.0f} s")
            if not select.select([self.process.stdout], [], [], left)[0]:
                continue
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Failure(f"{self.name}: ended with {self.process.wait(10)}; last: {self.buffer.decode()!r}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        text = line.decode(errors="replace")
        check(not text.startswith("FAIL"), f"{self.name}: {text}")
        return text

    def expect(self, start, timeout=LONG):
        text = self.line(timeout)
        check(text.startswith(start), f"{self.name}: said {text!r}, not {start!r}")
        return text

    def order(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, text, start, timeout=LONG):
        self.order(text)
        return self.expect(start, timeout)

    def end(self, timeout=LONG):
        """Waits for its end, which must be a good one."""
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name}: does not end") from None
        rest = self.buffer + self.process.stdout.read()
        check(status == 0, f"{self.name}: ended with {status}: {rest.decode(errors='replace')}")

    def kill(self):
        self.process.kill()
        self.process.wait()


class Vgpu:
    def __init__(self, stack, info):
        self.stack = stack
        self.uuid = info["uuid"]
        self.socket = info["socket"]

    def show(self):
        return self.stack.medley_json("show", self.uuid)

    def uri(self):
        return f"socket:{self.socket}"


class Stack:
    def __init__(self, programs, medleyd_args=()):
        self.programs = programs
        self.args = list(medleyd_args)
        self.clients = []
        self.seen = {}

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="medley-it-")
        self.runtime = os.path.join(self.dir, "run")
        self.log_path = os.path.join(self.dir, "log")
        os.chmod(self.dir, 0o711)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MEDLEY_")}
        self.env["TMPDIR"] = self.dir
        try:
            self.start_medleyd()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def start_medleyd(self):
        with open(self.log_path, "ab") as log:
            self.medleyd = subprocess.Popen(
                [self.programs["medleyd"], "--runtime-dir", self.runtime, *self.args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        api = os.path.join(self.runtime, "api.sock")

        def up():
            check(self.medleyd.poll() is None, f"medleyd ended with {self.medleyd.returncode}")
            return os.path.exists(api) and self.medley("list").returncode == 0
        wait_until(up, "medleyd comes up")

    # ---- the medley command ----

    def medley(self, *args):
        return subprocess.run([self.programs["medley"], "--runtime-dir", self.runtime, *args],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.env,
                              timeout=LONG, check=False)

    def medley_json(self, *args):
        done = self.medley(*args, "--json")
        check(done.returncode == 0, f"medley {' '.join(args)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def create(self, vgpu_type="share-256m", *args):
        vgpu = Vgpu(self, self.medley_json("create", "--type", vgpu_type, *args))
        wait_until(lambda: vgpu.show()["state"] == "ready", "the vGPU is ready")
        return vgpu

    # ---- processes ----

    def client(self, role, vgpu, *args):
        argv = [self.programs["client"], role, vgpu.socket, *[str(a) for a in args]]
        return self.spawn(argv, role)

    def spawn(self, argv, name):
        client = Client(self, argv, name)
        self.clients.append(client)
        return client

    def run_client(self, role, vgpu, *args):
        """A role from its start to its good end; its last line."""
        client = self.client(role, vgpu, *args)
        last = client.line()
        client.end()
        return last

    def children(self, name=None):
        """Living processes below medleyd, by the name of their program."""
        found = descendants(self.medleyd.pid)
        for pid, start, _ in found:
            self.seen[pid] = start
        return [pid for pid, _, n in found if name is None or n.startswith(name)]

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    # ---- the end ----

    def leftovers(self):
        table = process_table()
        left = [f"process {pid} ({table[pid][2]})" for pid, start in self.seen.items()
                if pid in table and table[pid][1] == start and table[pid][3] != "Z"]
        if os.path.isdir(self.runtime):
            for folder, _, files in os.walk(self.runtime):
                left += [os.path.join(folder, f) for f in files]
        for entry in os.listdir(self.dir):
            if entry not in ("run", "log"):
                left.append(os.path.join(self.dir, entry))
        return left

    def stop_medleyd(self):
        if self.medleyd.poll() is None:
            self.medleyd.send_signal(signal.SIGTERM)
            try:
                self.medleyd.wait(20)
            except subprocess.TimeoutExpired:
                self.medleyd.kill()
                self.medleyd.wait()
                raise Failure("medleyd does not end at SIGTERM") from None
        check(self.medleyd.returncode == 0, f"medleyd ended with {self.medleyd.returncode}")

    def __exit__(self, kind, value, trace):
        problem = None
        for client in self.clients:
            if client.process.poll() is None:
                client.kill()
            client.process.stdin.close()
            client.process.stdout.close()
        try:
            if hasattr(self, "medleyd"):
                if self.medleyd.poll() is None:
                    self.children()
                self.stop_medleyd()
                wait_until(lambda: not [x for x in self.leftovers() if x.startswith("process")],
                           "processes of medleyd end", 10)
                left = self.leftovers()
                check(not left, f"left behind: {', '.join(left)}")
        except Failure as failure:
            problem = failure
        for pid, start in self.seen.items():
            if process_table().get(pid, (0, None))[1] == start:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if kind or problem:
            print("---- log of medleyd ----", self.log(), "---- end of log ----", sep="\n", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)
        if problem and not kind:
            raise problem
        return False
