#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/gen-regs: tables kept up to date, errors said in one line, a dictionary that libFuzzer can read."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
TOOL = os.path.join(TOP, "tools", "gen-regs")
ROW = 'MDL_REG(%s, %s, 4, RW, 0, 0x1, GLOBAL, none, "Says, \\"so\\".")\n'
MARKERS = "".join(f"<!-- registers {b} begin -->\nold\n<!-- registers {b} end -->\n" for b in ("GLOBAL", "CTX", "CHAN"))


class GenRegs(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)

    def path(self, name, text=None):
        path = os.path.join(self.tmp.name, name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        return path

    def run_tool(self, *args):
        return subprocess.run([sys.executable, TOOL, *args], capture_output=True, text=True, timeout=60, check=False)

    def fails(self, pattern, *args):
        r = self.run_tool(*args)
        self.assertNotEqual(r.returncode, 0)
        self.assertRegex(r.stderr, pattern)
        self.assertEqual(r.stderr.count("\n"), 1)

    def test_tables(self):
        regs = self.path("regs", ROW % ("ONE", "0x10"))
        manual = self.path("manual", "before\n" + MARKERS + "after\n")
        self.fails("differ", "--regs", regs, "--manual", manual, "--check")
        self.assertEqual(self.run_tool("--regs", regs, "--manual", manual).returncode, 0)
        with open(manual, encoding="utf-8") as f:
            text = f.read()
        self.assertIn('| 0x10 | `ONE` | 4 | RW | 0 | 0x1 | Says, "so". |', text)
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n") and "old" not in text)
        self.assertEqual(self.run_tool("--regs", regs, "--manual", manual, "--check").returncode, 0)
        with open(regs, "a", encoding="utf-8") as f:
            f.write(ROW % ("TWO", "0x14"))
        self.fails("differ", "--regs", regs, "--manual", manual, "--check")

    def test_errors(self):
        manual = self.path("manual", "no markers\n")
        good = self.path("good", ROW % ("ONE", "0"))
        self.fails("markers", "--regs", good, "--manual", manual)
        self.fails("No such file", "--regs", self.path("absent"), "--manual", manual)
        for name, text, pattern in (
                ("overlap", ROW % ("ONE", "0") + ROW % ("TWO", "0"), "overlaps"),
                ("odd", ROW % ("ONE", "2"), "not aligned"),
                ("twice", ROW % ("ONE", "0") + ROW % ("ONE", "4"), "unique"),
                ("empty", "/* nothing */\n", "unique"),
                ("number", ROW % ("ONE", "zero"), ":1:"),
                ("fields", 'MDL_REG(ONE, 0, 4, RW, 0, GLOBAL, none, "x")\n', ":1:"),
                ("split", "MDL_REG(ONE, 0,\n4)\n", "one line"),
                ("block", (ROW % ("ONE", "0")).replace("GLOBAL", "MOON"), "unknown block")):
            with self.subTest(name):
                self.fails(pattern, "--regs", self.path(name, text), "--dict", self.path("out"))

    def test_dictionary(self):
        out = self.path("dict")
        self.assertEqual(self.run_tool("--dict", out).returncode, 0)
        with open(out, encoding="utf-8") as f:
            lines = [line.rstrip("\n") for line in f if not line.startswith("#")]
        for line in lines:
            self.assertRegex(line, r'^[a-z0-9_]+="(\\x[0-9a-f]{2})+"$')
        self.assertIn(r'ctx_invalidate_1="\x60\x10"', lines)
        names = [re.match("[a-z0-9_]+", line).group() for line in lines]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
