#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs one Linux guest in stock QEMU: the driver of the end-to-end tests and of "make demo".

The guest is Debian's kernel (tools/fetch-kernel) with an initramfs (tools/mkinitramfs) on a q35
machine whose memory is a shared memfd. It runs one command, given here or built into the initramfs,
and powers off. vGPUs are vfio-user-pci devices at socket paths. Bytes go in and out through raw
virtio-blk disks: input NAME is /dev/disk/NAME, padded to whole sectors, and the environment
variable NAME_bytes has its true length; output NAME is a disk of a given size whose bytes are read
back after the guest stopped.

KVM is used where it can boot Linux, which is tried once and remembered (some nested hosts have a
/dev/kvm that cannot); else TCG. What was chosen and why is in Guest.accel and Guest.accel_reason.

Left out: a guest without an operating system (medley-vm runs those), networks, more than one CPU by
default. One reader thread a guest owns its logs and wakes whoever waits. A guest never outlives its
Guest object, nor the process (also when that is killed), and only QEMU processes started here are
ever ended.
"""

import argparse
import ctypes
import hashlib
import json
import os
import pathlib
import platform
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("MEDLEY_CACHE", TOP / "build"))
QEMU = CACHE / "bin" / "qemu-system-x86_64"
KERNEL = CACHE / "guest-kernel"

SECTOR = 512
# A guest writes a few KiB; one that floods its console is stopped before it fills the disk.
CONSOLE_LIMIT_BYTES = 16 << 20
BASE_CMDLINE = "console=ttyS0 panic=-1 loglevel=4 tsc=reliable no_timer_check mitigations=off"
UP = "medley-guest: up"
EXIT = r"medley-guest: exit (\d+)"
PR_SET_PDEATHSIG = 1


class GuestError(Exception):
    """The guest could not be started, or did not do what was awaited; the text is for the user."""


def die_with_parent():
    """Runs in the child between fork and exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def available():
    """Whether QEMU and the guest kernel have been fetched."""
    return QEMU.exists() and (KERNEL / "vmlinux").exists()


def make_initramfs(out, files=(), modules=()):
    """Builds an initramfs at OUT; files are (path, destination) pairs."""
    command = [str(TOP / "tools" / "mkinitramfs")]
    for module in modules:
        command += ["-m", module]
    command += [str(out)] + [f"{path}:{dest}" for path, dest in files]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise GuestError(done.stderr.strip() or "mkinitramfs failed")


class Guest:
    """One virtual machine. A context manager: leaving it ends QEMU and removes the temporary files.

    name        in messages
    initramfs   made by make_initramfs
    run         shell command for the guest; None: the /init.d/run of the initramfs
    devices     socket paths of vfio-user servers, plugged in order
    log_dir     where NAME.console and NAME.qemu are kept; None: in the temporary directory
    """

    def __init__(self, name, initramfs, run=None, devices=(), memory_mib=512, append="", accel=None,
                 cpus=1, machine="q35", extra=(), log_dir=None):
        self.name = name
        self._initramfs = initramfs
        self._run = run
        self._devices = list(devices)
        self._memory_mib = memory_mib
        self._append = append
        self._cpus = cpus
        self._machine = machine
        self._extra = list(extra)
        self._outputs = {}
        self._drives = []
        self._process = None
        self._reader = None
        self._changed = threading.Condition()
        self._console = bytearray()
        self._messages = bytearray()
        self._fault = None
        self._closed = False
        self.accel, self.accel_reason = (accel, "chosen") if accel else choose_accel()
        self._dir = pathlib.Path(tempfile.mkdtemp(prefix="medley-guest-"))
        self.log_dir = pathlib.Path(log_dir) if log_dir else self._dir

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Disks

    def _check_disk(self, name):
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,15}", name):
            raise GuestError(f"disk name '{name}': want up to 16 of a-z, 0-9 and _, a letter first")
        if name in [drive[0] for drive in self._drives]:
            raise GuestError(f"disk name '{name}' is used twice")

    def add_input(self, name, data):
        """The guest reads DATA (bytes) from /dev/disk/NAME; $NAME_bytes is its length."""
        self._check_disk(name)
        path = self._dir / f"{name}.img"
        path.write_bytes(data + bytes(-len(data) % SECTOR or (0 if data else SECTOR)))
        self._drives.append((name, path, True))
        self._append += f" {name}_bytes={len(data)}"

    def add_output(self, name, size):
        """The guest writes up to SIZE bytes to /dev/disk/NAME."""
        self._check_disk(name)
        path = self._dir / f"{name}.img"
        with open(path, "wb") as disk:
            disk.truncate(max(size + -size % SECTOR, SECTOR))
        self._drives.append((name, path, False))
        self._outputs[name] = (path, size)

    def output(self, name):
        """The bytes of an output disk, once the guest has stopped."""
        if self.running():
            raise GuestError(f"guest {self.name} has not stopped yet")
        path, size = self._outputs[name]
        return path.read_bytes()[:size]

    # Running

    def _command(self):
        cmdline = f"{BASE_CMDLINE} {self._append}"
        if self._run is not None:
            if '"' in self._run:
                raise GuestError("a guest command cannot contain a double quote")
            cmdline += f' medley.run="{self._run}"'
        if len(cmdline) > 2000:
            raise GuestError("the kernel command line is too long")
        command = [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", f"{self._machine},memory-backend=ram", "-smp", str(self._cpus),
            "-m", f"{self._memory_mib}M",
            "-object", f"memory-backend-memfd,id=ram,size={self._memory_mib}M,share=on",
            "-accel", self.accel, "-cpu", "host" if self.accel == "kvm" else "max,la57=off",
            "-serial", "stdio",
            "-kernel", KERNEL / "vmlinux", "-initrd", self._initramfs, "-append", cmdline,
        ]
        for name, path, read_only in self._drives:
            blockdev = {"driver": "raw", "node-name": name, "read-only": read_only,
                        "file": {"driver": "file", "filename": str(path)}}
            command += ["-blockdev", json.dumps(blockdev),
                        "-device", f"virtio-blk-pci,drive={name},serial={name}"]
        for path in self._devices:
            command += ["-device", json.dumps({"driver": "vfio-user-pci",
                                               "socket": {"type": "unix", "path": str(path)}})]
        return [str(word) for word in command + self._extra]

    def start(self):
        """Starts QEMU. It ends with the calling thread, so call this from one that stays."""
        if not available():
            raise GuestError("no QEMU or guest kernel: run tools/fetch-qemu, tools/fetch-kernel")
        try:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, preexec_fn=die_with_parent)
        except OSError as error:
            raise GuestError(f"cannot run QEMU: {error.strerror}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self):
        """The reader thread: takes in console and messages until QEMU has closed both."""
        process = self._process
        selector = selectors.DefaultSelector()
        logs = []
        for pipe, text, suffix in ((process.stdout, self._console, "console"),
                                   (process.stderr, self._messages, "qemu")):
            log = open(self.log_dir / f"{self.name}.{suffix}", "wb", buffering=0)
            logs.append(log)
            selector.register(pipe, selectors.EVENT_READ, (text, log))
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                text, log = key.data
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                log.write(data)
                with self._changed:
                    text += data
                    # QEMU stops the machine there, but does not exit.
                    if b"KVM internal error" in self._messages:
                        self._fault = "KVM cannot run this guest's code"
                    elif len(text) > CONSOLE_LIMIT_BYTES:
                        self._fault = "the guest floods its console"
                    if self._fault:
                        process.kill()
                    self._changed.notify_all()
        process.wait()
        for log in logs:
            log.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def running(self):
        return self._process is not None and not self._closed

    @property
    def pid(self):
        return self._process.pid

    @property
    def console(self):
        """All that the guest has written so far."""
        with self._changed:
            return self._text()

    def _text(self):
        return self._console.decode("utf-8", "replace").replace("\r", "")

    def wait_for(self, pattern, timeout):
        """Waits until a regular expression matches the console; the match."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                closed = self._closed
                match = regex.search(self._text())
                left = deadline - time.monotonic()
                if match:
                    return match
                if not closed and left > 0:
                    self._changed.wait(left)
                    continue
            if closed:
                raise self._error(f"stopped before it printed '{pattern}'")
            raise self._error(f"did not print '{pattern}' within {timeout:g} s")

    def wait(self, timeout):
        """Waits until the guest has powered off; the exit status of its command."""
        self._reader.join(timeout)
        if not self._closed:
            raise self._error(f"still running after {timeout:g} s")
        match = re.search(EXIT, self.console)
        if not match:
            status = self._process.returncode
            raise self._error(f"stopped without finishing its command (QEMU's status {status})")
        return int(match.group(1))

    def command_output(self):
        """What the console shows of the command: between the two marks of init."""
        return re.split(EXIT, self.console.partition(UP + "\n")[2], 1)[0]

    def _error(self, text):
        """A GuestError that carries what is needed to see why."""
        with self._changed:
            fault = f": {self._fault}" if self._fault else ""
            messages = self._messages.decode("utf-8", "replace").strip().splitlines()[-5:]
            console = self._text().splitlines()
        panic = [i for i, line in enumerate(console) if "Kernel panic" in line]
        console = console[max(panic[0] - 5, 0):panic[0] + 15] if panic else console[-15:]
        lines = [f"{self.name} ({self.accel}) {text}{fault}"]
        lines += [f"  qemu: {line}" for line in messages]
        lines += [f"  console: {line}" for line in console]
        return GuestError("\n".join(lines))

    def kill(self):
        """Ends QEMU at once; console and logs stay readable."""
        if self._process:
            self._process.kill()
            self._reader.join()

    def close(self):
        self.kill()
        if self._process:
            self._process.stdout.close()
            self._process.stderr.close()
            self._process = None
        shutil.rmtree(self._dir, ignore_errors=True)


# Accelerator

def _kvm_answer_file():
    """What KVM can do here depends on the host's kernel and CPU, and on the guest's kernel."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    key = "\0".join([platform.release(), platform.version(), cpu.group(1) if cpu else "",
                     (KERNEL / "version").read_text()])
    return CACHE / "cache" / f"kvm-boots-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _kvm_boots():
    """Whether Linux gets to user space under KVM. A host that can needs about 2 s of the 20."""
    with tempfile.TemporaryDirectory(prefix="medley-kvm-") as directory:
        initramfs = pathlib.Path(directory) / "initramfs"
        make_initramfs(initramfs)
        with Guest("kvm-probe", initramfs, run="true", accel="kvm") as guest:
            try:
                guest.start().wait_for(UP, 20)
            except GuestError:
                return False
    return True


def choose_accel():
    """(kvm or tcg, why)."""
    forced = os.environ.get("MEDLEY_ACCEL")
    if forced in ("kvm", "tcg"):
        return forced, "MEDLEY_ACCEL"
    if not os.path.exists("/dev/kvm"):
        return "tcg", "no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg", "no rights on /dev/kvm"
    if not (KERNEL / "version").exists():
        raise GuestError("no guest kernel yet: run tools/fetch-kernel")
    answer = _kvm_answer_file()
    if not answer.exists():
        boots = _kvm_boots()
        answer.parent.mkdir(parents=True, exist_ok=True)
        new = answer.with_name(f"{answer.name}.{os.getpid()}")
        new.write_text("yes" if boots else "no")
        new.rename(answer)
    if answer.read_text() == "yes":
        return "kvm", "boots Linux here"
    return "tcg", "KVM does not boot Linux on this host"


# Command line

def _pair(text):
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f"'{text}': want NAME=VALUE")
    return name, value


def _parse(argv):
    parser = argparse.ArgumentParser(
        description="Runs a command in a Linux guest; exits with its status, or 124 when the guest "
                    "could not run it to its end.")
    parser.add_argument("--name", default="linux", help="in messages and names of logs")
    parser.add_argument("--run", metavar="COMMAND",
                        help="shell command for the guest (default: the initramfs's /init.d/run)")
    parser.add_argument("--file", action="append", default=[], metavar="FILE:DEST",
                        help="put FILE into the initramfs")
    parser.add_argument("--module", action="append", default=[], help="load this kernel module")
    parser.add_argument("--device", action="append", default=[], metavar="SOCKET",
                        help="plug in the vfio-user device served at SOCKET")
    parser.add_argument("--input", action="append", default=[], type=_pair, metavar="NAME=FILE",
                        help="FILE is /dev/disk/NAME of the guest")
    parser.add_argument("--output", action="append", default=[], type=_pair,
                        metavar="NAME=FILE:BYTES",
                        help="the first BYTES that the guest writes to /dev/disk/NAME go to FILE")
    parser.add_argument("--memory", type=int, default=512, metavar="MIB")
    parser.add_argument("--append", default="", help="more words for the kernel command line")
    parser.add_argument("--log-dir", help="keep NAME.console and NAME.qemu there")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS")
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="default: kvm where it boots Linux")
    parser.add_argument("--which-accel", action="store_true",
                        help="print the accelerator and why, and stop")
    return parser.parse_args(argv)


def _main(argv):
    args = _parse(argv)
    if args.which_accel:
        print("%s (%s)" % choose_accel())
        return 0
    with tempfile.TemporaryDirectory(prefix="medley-guest-") as directory:
        initramfs = pathlib.Path(directory) / "initramfs"
        make_initramfs(initramfs, [pair.rpartition(":")[::2] for pair in args.file], args.module)
        with Guest(args.name, initramfs, args.run, args.device, args.memory, args.append,
                   args.accel, log_dir=args.log_dir) as guest:
            outputs = []
            for name, path in args.input:
                guest.add_input(name, pathlib.Path(path).read_bytes())
            for name, value in args.output:
                path, _, size = value.rpartition(":")
                if not path or not size.isdigit():
                    raise GuestError(f"--output {name}={value}: want NAME=FILE:BYTES")
                guest.add_output(name, int(size))
                outputs.append((name, path))
            print(f"{guest.name}: stock QEMU with {guest.accel} ({guest.accel_reason})",
                  flush=True)
            status = guest.start().wait(args.timeout)
            sys.stdout.write(guest.command_output())
            for name, path in outputs:
                pathlib.Path(path).write_bytes(guest.output(name))
            return status


def main(argv):
    # A time-out of the test runner comes as SIGTERM: leave through the context managers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _main(argv)
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
    except OSError as error:
        print(f"guest: {error.filename}: {error.strerror}", file=sys.stderr)
    return 124


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
