#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns an OpenCL C file into a C header with its text: embed.py IN.cl OUT.h NAME."""
import sys

source, out, name = sys.argv[1:]
with open(source, encoding='ascii') as f:
    lines = f.read().splitlines()
with open(out, 'w', encoding='ascii') as f:
    f.write('/* SPDX-License-Identifier: MIT */\n/* Made from %s.cl. */\n' % name)
    f.write('static const char %s_cl[] =\n' % name)
    for line in lines:
        text = line.replace('\\', '\\\\').replace('"', '\\"').replace('\t', '\\t')
        f.write('\t"%s\\n"\n' % text)
    f.write('\t;\n')
