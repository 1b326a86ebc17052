#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs one end-to-end case: run.py CASE --program NAME=PATH...; --list names the cases. Exit 0 passed, 1 failed, 77 skipped."""
import argparse
import signal
import sys

import cases
import cpu_cases  # noqa: F401 (adds its cases)
import enforce_cases  # noqa: F401 (adds its cases)
import hostile_cases  # noqa: F401 (adds its cases)
import load_cases  # noqa: F401 (adds its cases)
import trace_cases  # noqa: F401
from stack import Failure


def interrupted(number, frame):
    # The `with` blocks of the case clean up.
    sys.exit(128 + number)


def main():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--program", action="append", default=[])
    args = parser.parse_args()
    if args.list:
        print(" ".join(cases.CASES))
        return 0
    programs = dict(p.split("=", 1) for p in args.program)
    try:
        cases.CASES[args.case](programs)
    except cases.Skip as skip:
        print(f"SKIP {skip}")
        return 77
    except Failure as failure:
        print(f"FAIL {failure}")
        return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
