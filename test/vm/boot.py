#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""boot.py NAME ARCH KERNEL INITRAMFS RESULT - run one virtual machine and judge it.

Prints one line for each test and a sum for the machine, and writes what happened to RESULT.json,
the console's text to RESULT.console and the numbers for run to RESULT.count. Exits with 0 if all is well, 1 if a test failed or the kernel complained, 3 if the
machine itself was lost. The lines that init writes are described in plan.c and kmsg.c. Knows
nothing of how tests are built.
"""
import json
import os
import pathlib
import re
import selectors
import subprocess
import sys
import time

MACHINES = {
    # Every feature is emulated too: 'max' takes a fifth longer, and on arm64 two thirds for the ciphers
    # of pointer authentication and wide registers of 2048 bits. No test is about the ciphers, and short
    # wide registers suffice.
    'amd64': ['qemu-system-x86_64', '-machine', 'pc', '-cpu', 'qemu64'],
    'arm64': ['qemu-system-aarch64', '-machine', 'virt', '-cpu', 'max,pauth=off,sve256=on'],
}
CONSOLES = {'amd64': 'ttyS0', 'arm64': 'ttyAMA0'}
# The emulation runs one CPU: with two, some kernels crash at boot under it. The watchdogs of
# the kernel measure the host's load here, not the kernel.
MACHINE = ['-accel', 'tcg', '-smp', '1', '-m', '2048', '-display', 'none', '-monitor', 'none',
           '-serial', 'stdio', '-nic', 'none', '-no-reboot']
COMMAND_LINE = 'quiet panic=-1 oops=panic mitigations=off init_on_alloc=0 nowatchdog rcupdate.rcu_cpu_stall_suppress=1 console='
LIMIT_SECONDS = 20 * 60
SILENCE_SECONDS = 360
COMPLAINT = re.compile(r'\b(BUG|WARNING|Oops|UBSAN|KASAN):|general protection fault|Bad page')
SKIPPED = 77


class Lost(Exception):
    """The machine ended, or fell silent, before it was done."""


def console(process):
    """The lines of the console until init says that it is done."""
    end = time.monotonic() + LIMIT_SECONDS
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    rest = b''
    while True:
        limit = end - time.monotonic()
        if limit <= 0:
            raise Lost(f'not done after {LIMIT_SECONDS} s')
        wait = min(limit, SILENCE_SECONDS)
        if not selector.select(wait):
            raise Lost(f'silent for {wait:.0f} s')
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            raise Lost('it ended')
        *lines, rest = (rest + data).split(b'\n')
        for line in lines:
            yield line.decode(errors='replace').rstrip('\r')


class Machine:
    """What the console's lines add up to."""

    def __init__(self, name, arch):
        self.result = {'name': name, 'arch': arch, 'release': None, 'lost': None, 'notes': [],
                       'complaints': [], 'tests': []}
        self.run = None
        self.stray = []     # what the kernel printed by itself: a panic

    def line(self, line):
        """Take one line; true when the machine is done."""
        kind, _, text = line.partition(' ')
        if kind == '@off':
            return True
        if kind == '@boot':
            self.result['release'] = text
        elif kind == '@note':
            self.result['notes'].append(text)
        elif kind == '@begin':
            name, _, user = text.rpartition(' as ')
            self.run = {'name': name, 'user': user, 'how': 'lost', 'ms': 0, 'lines': [],
                        'complaints': []}
            self.result['tests'].append(self.run)
        elif kind == '@|' and self.run:
            self.run['lines'].append(text)
        elif kind == '@end' and self.run:
            how, ms = text.rsplit(' ', 1)
            self.run.update(how=how, ms=int(ms))
        elif kind == '@kernel':
            self.kernel(text)
        elif line:
            self.stray.append(line)
        return False

    def kernel(self, text):
        """Complaints before the first test are the emulation's doing."""
        if COMPLAINT.search(text):
            (self.run['complaints'] if self.run else self.result['complaints']).append(text)


def command(arch, kernel, initramfs):
    return MACHINES[arch] + MACHINE + ['-kernel', str(pathlib.Path(kernel) / 'vmlinuz'), '-initrd',
                                       initramfs, '-append', COMMAND_LINE + CONSOLES[arch]]


def run(machine, argv, log):
    """Follow the machine to its end; the console's text is kept in log."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(10)) as process:
        last = None
        try:
            for line in console(process):
                log.write(line + '\n')
                log.flush()
                done = machine.line(line)
                last = report_ended(machine, last)
                if done:
                    return
        except Lost as e:
            where = f' in {machine.run["name"]}' if machine.run else ' before the first test'
            said = f': {machine.stray[-1]}' if machine.stray else ''
            machine.result['lost'] = f'{e}{where}{said}'
        finally:
            process.kill()


def verdict(runs):
    """of the runs of one test, as one user and perhaps as another."""
    if any(r['how'] not in ('exit 0', f'exit {SKIPPED}') or r['complaints'] for r in runs):
        return 'FAIL'
    return 'ok' if any(r['how'] == 'exit 0' for r in runs) else 'skip'


def by_name(machine):
    tests = {}
    for r in machine.result['tests']:
        tests.setdefault(r['name'], []).append(r)
    return tests


def report_ended(machine, last):
    """Print the test that came before the one which runs now; returns the one that runs now."""
    now = machine.run['name'] if machine.run else None
    if last and now != last:
        report(machine, last)
    return now


def report(machine, name):
    runs = by_name(machine)[name]
    how = verdict(runs)
    seconds = sum(r['ms'] for r in runs) / 1000
    reason = f': {runs[-1]["lines"][-1]}' if how == 'skip' and runs[-1]['lines'] else ''
    details = []
    for r in runs if how == 'FAIL' else []:
        details.append(f'as {r["user"]}: {r["how"]}')
        details += r['lines'] + [f'kernel: {c}' for c in r['complaints']]
    print('\n      '.join([f'{how:5} {machine.result["name"]}: {name}{reason} ({seconds:.1f} s)'] +
                          details), flush=True)


def finish(machine):
    """Print what is left to say; returns how many passed, failed, were skipped, and lost."""
    result = machine.result
    if machine.run:
        report(machine, machine.run['name'])
    verdicts = [verdict(runs) for runs in by_name(machine).values()]
    count = [verdicts.count(v) for v in ('ok', 'FAIL', 'skip')]
    print(f'{result["name"]}: Linux {result["release"]}: {count[0]} passed, {count[1]} failed, '
          f'{count[2]} skipped', flush=True)
    if result['lost']:
        print(f'LOST  {result["name"]}: the machine: {result["lost"]}', flush=True)
    return count + [1 if result['lost'] else 0]


def main(name, arch, kernel, initramfs, result):
    machine = Machine(name, arch)
    with open(result + '.console', 'w', encoding='utf-8') as log:
        run(machine, command(arch, kernel, initramfs), log)
    count = finish(machine)
    with open(result + '.json', 'w', encoding='utf-8') as f:
        json.dump(machine.result, f, indent=1)
    with open(result + '.count', 'w', encoding='utf-8') as f:
        print(*count, file=f)
    return 3 if count[3] else 1 if count[1] else 0


sys.exit(main(*sys.argv[1:6]))
