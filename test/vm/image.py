#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""image.py BUILD KERNEL STRIP OUT ONLY - write the initramfs OUT of one virtual machine.

It holds init, the tests of the Meson build directory BUILD (see tests.py), the plan for init that
runs them, and the modules that tests use from the directory KERNEL (see fetch.sh). STRIP is the
program that makes binaries of that CPU smaller, ONLY a pattern of test names. Knows what a test needs only from Meson.
"""
import lzma
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from tests import vm_tests

# A software emulation on a busy host is that much slower; but one test must not eat up the time of
# all of them.
SLOWER = 10
LONGEST_SECONDS = 300
# How long tests run that do something at random, or very often; and how many steps of the model, with
# all backends together.
RANDOM_SECONDS = 3
MODEL_STEPS = 50000
DISK_BYTES = 320 << 20      # as in setup.c
MODULES = ['zstd', 'lz4', 'lzo_rle', 'zram', 'loop', 'fuse', 'vhost_vsock', 'af_alg', 'aes_generic',
           'ghash_generic', 'ctr', 'gcm', 'tls']
DIRECTORIES = ['bin', 'proc', 'sys', 'dev', 'tmp', 'run', 'var/tmp', 'etc', 'lib/modules']


def plan(tests, build):
    lines = []
    for t in tests:
        inside = lambda word: word.replace(str(build), '/build')
        lines.append(f"seconds {min(t['timeout'] * SLOWER, LONGEST_SECONDS)}")
        lines += [f'env T_SECONDS={RANDOM_SECONDS}', f'env T_ALL_OPS={MODEL_STEPS}']
        lines += [f'env {k}={inside(v)}' for k, v in t['env'].items()]
        lines += [f'arg {inside(a)}' for a in t['cmd']]
        lines.append(f"test {t['name']}")
    return '\n'.join(lines) + '\n'


def module_closure(kernel):
    """Paths of the modules in the order of loading, from modules.dep."""
    base = next((kernel / 'lib/modules').iterdir())
    needs = {}
    for line in (base / 'modules.dep').read_text().splitlines():
        path, _, deps = line.partition(':')
        needs[path] = deps.split()
    by_name = {pathlib.Path(p).name.split('.')[0].replace('-', '_'): p for p in needs}
    order = []
    for name in MODULES:
        path = by_name.get(name)
        order += [p for p in reversed([path] + needs[path]) if p not in order] if path else []
    return [base / p for p in order]


def add_modules(kernel, root):
    """Unpacked, because old kernels cannot do that themselves."""
    names = []
    for path in module_closure(kernel):
        data = path.read_bytes()
        if path.suffix == '.xz':
            data = lzma.decompress(data)
        names.append(f'/lib/modules/{path.name.split(".")[0]}.ko')
        (root / names[-1][1:]).write_bytes(data)
    (root / 'modules').write_text('\n'.join(names) + '\n')


def add_tests(build, strip, only, root):
    tests = [t for t in vm_tests(build) if re.search(only, t['name'])]
    for path in {f for t in tests for f in t['files']}:
        to = root / 'build' / os.path.relpath(path, build)
        to.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([strip, '-o', str(to), path], check=True)
    (root / 'plan').write_text(plan(tests, build))


def add_disk(root):
    """An empty file system; init gives the file its length, so that the zeros need not be here."""
    disk = root / 'disk.ext4'
    with open(disk, 'wb') as f:
        f.truncate(DISK_BYTES)
    env = dict(os.environ, PATH=os.environ['PATH'] + ':/sbin:/usr/sbin')
    # All of its tables are in front, and no copies of them behind.
    subprocess.run(['mke2fs', '-q', '-t', 'ext4', '-b', '4096', '-N', '4096', '-O',
                    'sparse_super2,^resize_inode', '-E',
                    'root_owner=0:0,packed_meta_blocks=1,num_backup_sb=0', str(disk)],
                   check=True, env=env)
    disk.write_bytes(disk.read_bytes().rstrip(b'\0'))


def add_users(root):
    (root / 'etc/passwd').write_text('root:x:0:0::/tmp:/bin/sh\n'
                                     'nobody:x:65534:65534::/tmp:/bin/sh\n')
    (root / 'etc/group').write_text('root:x:0:\nnogroup:x:65534:\n')


def pack(root, out):
    """newc, owned by root; not compressed: the emulated CPU would have to undo it."""
    names = '\0'.join(str(p.relative_to(root)) for p in sorted(root.rglob('*')))
    with open(out, 'wb') as f:
        subprocess.run(['cpio', '--quiet', '-0', '-o', '-H', 'newc', '-R', '0:0'], cwd=root,
                       input=names.encode(), stdout=f, check=True)


def main():
    build, kernel, out = (pathlib.Path(sys.argv[i]).resolve() for i in (1, 2, 4))
    strip, only = sys.argv[3], sys.argv[5]
    with tempfile.TemporaryDirectory() as tmp:
        root = pathlib.Path(tmp)
        for d in DIRECTORIES:
            (root / d).mkdir(parents=True, exist_ok=True)
        add_modules(kernel, root)
        add_tests(build, strip, only, root)
        add_disk(root)
        add_users(root)
        subprocess.run([strip, '-o', str(root / 'init'),
                        str(build / 'test/vm/vm-init')], check=True)
        pack(root, out)


main()
