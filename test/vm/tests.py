#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests.py BUILD - print what ninja must build for the tests that run in a virtual machine.

Those are the tests of the Meson build directory BUILD that are programs of its own. As a module:
the same tests, and the files that each needs.
"""
import json
import os
import subprocess
import sys

# Not for the machine: they look at the sources or the installed files, only measure, or do the same
# many hundred times.
HOST_SUITES = {'lint', 'abi', 'bench', 'fuzz', 'fault'}


def introspect(build, what):
    out = subprocess.run(['meson', 'introspect', what, str(build)], check=True,
                         stdout=subprocess.PIPE)
    return json.loads(out.stdout)


def programs(build):
    return {name for target in introspect(build, '--targets')
            if target['type'] == 'executable' for name in target['filename']}


def absolute(build, known, word):
    """Meson names programs among the arguments as seen from the build directory."""
    path = os.path.normpath(os.path.join(build, word))
    return path if path in known else word


def vm_tests(build):
    """As Meson describes them, with the key 'files': the programs of the build they name."""
    known = programs(build)
    tests = []
    for t in introspect(build, '--tests'):
        t['cmd'] = [absolute(build, known, word) for word in t['cmd']]
        suites = {s.split(':')[-1] for s in t['suite']}
        if t['cmd'][0] in known and not HOST_SUITES & suites:
            t['files'] = known & {*t['cmd'], *t['env'].values()}
            tests.append(t)
    return tests


def main(build):
    files = {f for t in vm_tests(build) for f in t['files']}
    files |= {p for p in programs(build) if os.path.basename(p) == 'vm-init'}
    print('\n'.join(sorted(os.path.relpath(f, build) for f in files)))


if __name__ == '__main__':
    main(os.path.realpath(sys.argv[1]))
