# SPDX-License-Identifier: MIT
"""A medleyd of one's own for one test: temporary directory, fake device and executor, API client, CLI."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# argv: case, medleyd, medley, fake-device, fake-exec
MEDLEYD, MEDLEY, FAKE_DEVICE, FAKE_EXEC = (pathlib.Path(p).resolve() for p in sys.argv[2:6])
WAIT_S = 60      # the machine may be busy; what does not hang takes less
SANITIZED = b"__asan_init" in MEDLEYD.read_bytes()     # memory is not what it costs otherwise


class Failed(Exception):
    pass


def check(cond, what):
    if not cond:
        raise Failed(what)


def wait_for(cond, what, seconds=WAIT_S):
    """Waits until cond() is true and returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        got = cond()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)


class ApiError(Exception):
    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]


class Api:
    def __init__(self, path, timeout=WAIT_S):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(str(path))
        self.buf = b""
        self.id = 0
        self.events = []

    def close(self):
        self.sock.close()

    def line(self):
        while b"\n" not in self.buf:
            got = self.sock.recv(1 << 16)
            if not got:
                raise EOFError
            self.buf += got
        line, self.buf = self.buf.split(b"\n", 1)
        return json.loads(line)

    def send(self, method, **params):
        self.id += 1
        self.sock.sendall(json.dumps({"id": self.id, "method": method, "params": params}).encode() + b"\n")

    def __call__(self, method, **params):
        self.send(method, **params)
        while True:
            msg = self.line()
            if "event" in msg:
                self.events.append(msg)
                continue
            check(msg["id"] == self.id, f"reply {msg} to request {self.id}")
            if "error" in msg:
                raise ApiError(msg["error"])
            return msg["result"]

    def show(self, name):
        return self("show", vgpu=name)


def children(pid):
    """All descendants of a process."""
    parents = {}
    for p in pathlib.Path("/proc").iterdir():
        if p.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (p / "stat").read_text()
                parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(p.name))
    found, todo = [], [pid]
    while todo:
        kids = parents.get(todo.pop(), [])
        found += kids
        todo += kids
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def cpu_seconds(pid):
    f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def cpu_ns(pid):
    """Exact, from the scheduler's statistics of the only thread."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def rss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Daemon:
    def __init__(self, *options, user=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="medleyd-"))
        self.run_dir = self.dir / "run"
        self.libexec = self.dir / "libexec"
        self.libexec.mkdir()
        shutil.copy(FAKE_DEVICE, self.libexec / "medley-device")
        shutil.copy(FAKE_EXEC, self.libexec / "medley-exec")
        self.dir.chmod(0o755)
        self.user = user
        self.binary = MEDLEYD
        if user is not None:    # the build tree may lie where that user cannot look
            self.binary = self.dir / "medleyd"
            shutil.copy(MEDLEYD, self.binary)
            os.chown(self.dir, user, user)
        self.options = options
        self.log_path = self.dir / "log"
        self.proc = None
        self.apis = []

    def exec_mode(self, mode):
        (self.libexec / "exec.mode").write_text(mode)

    def command(self, *options):
        return [str(self.binary), "--runtime-dir", str(self.run_dir), "--libexec-dir", str(self.libexec), "--vram", "4G",
                "--compute-units", "2", "--verbose", *self.options, *options]

    def start(self):
        user = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **user)
        wait_for(lambda: self.proc.poll() is not None or "ready on" in self.log(), "medleyd is ready")
        check(self.proc.poll() is None, "medleyd started: " + self.log())
        return self

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def api(self, timeout=WAIT_S):
        api = Api(self.run_dir / "api.sock", timeout)
        self.apis.append(api)
        return api

    def cli(self, *args, ok=True, user=None):
        who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        r = subprocess.run([str(MEDLEY), "--runtime-dir", str(self.run_dir), *args], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=WAIT_S, **who)
        if ok is None:
            return r
        if ok:
            check(r.returncode == 0 and not r.stderr, f"medley {args}: {r.returncode} {r.stderr}")
            return r.stdout
        check(r.returncode == 1 and not r.stdout, f"medley {args}: status {r.returncode}, output {r.stdout!r}")
        check(r.stderr.count("\n") == 1 and r.stderr.endswith("\n"), f"medley {args}: one line, not {r.stderr!r}")
        return r.stderr

    def executors(self):
        """Pids of the executors, by the fake's path."""
        return [p for p in children(self.proc.pid) if self.is_program(p, "medley-exec")]

    def is_program(self, pid, name):
        try:
            return os.path.basename(os.readlink(f"/proc/{pid}/exe")) == name
        except OSError:
            return False

    def stop(self):
        """Orderly; checks that nothing is left."""
        kids = children(self.proc.pid)
        self.proc.send_signal(signal.SIGTERM)
        status = self.proc.wait(WAIT_S)
        check(status == 0, f"medleyd ended with {status}")
        check(not [p for p in kids if alive(p)], "children outlived medleyd")
        left = [str(p.relative_to(self.run_dir)) for p in self.run_dir.rglob("*")]
        check(not left, f"left in the runtime directory: {left}")
        check("is open" not in self.log(), "a child had a descriptor too many: " + self.log())
        self.proc = None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, tb):
        try:
            for a in self.apis:
                a.close()
            if self.proc and kind is None:
                self.stop()
        finally:
            if self.proc:
                kids = children(self.proc.pid)
                self.proc.kill()
                self.proc.wait()
                wait_for(lambda: not [p for p in kids if alive(p)], "children end with a killed medleyd", 5)
            if kind is not None:
                sys.stderr.write("".join("# " + line + "\n" for line in self.log().splitlines()[-40:]))
            shutil.rmtree(self.dir)
