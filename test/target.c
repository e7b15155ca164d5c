/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The child that does as it is told, over a page of shared memory: the test writes a function and
 * its arguments and sets turn; the child runs it, writes the result and clears turn. The child is
 * a fork of the test, so a function has the same address in both.
 */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Address space for regions: reserved once, so that nothing else comes to lie next to them. */
#define ARENA_SIZE (1ul << 30)	/* old kernels take 1 ms per GiB to read it */
#define CALL_TIMEOUT_NS 60000000000ull

struct t_ctl {
	_Atomic uint32_t turn;
	t_fn *fn;
	long a[4];
	long ret;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	struct timespec ts = { 0, 100000000 };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void serve(struct t_ctl *ctl)
{
	for (;;) {
		while (atomic_load(&ctl->turn) == 0)
			futex_wait(&ctl->turn, 0);
		ctl->ret = ctl->fn(ctl->a[0], ctl->a[1], ctl->a[2], ctl->a[3]);
		atomic_store(&ctl->turn, 0);
		futex_wake(&ctl->turn);
	}
}

static long op_arena(long a, long b, long c, long d)
{
	return (long)mmap(NULL, ARENA_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);
}

struct t_target t_start(void)
{
	struct t_target tg = { .unit = t_page_size() };

	tg.ctl = mmap(NULL, t_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(tg.ctl != MAP_FAILED);
	tg.pid = t_fork();
	if (tg.pid == 0)
		serve(tg.ctl);
	tg.arena = (uintptr_t)t_call(&tg, op_arena);
	T_MUST((void *)tg.arena != MAP_FAILED);
	tg.arena_end = tg.arena + ARENA_SIZE;
	return tg;
}

struct t_target t_begin(size_t n_pages)
{
	struct t_target tg = t_start();

	t_map_touched(&tg, n_pages);
	t_watch(&tg);
	return tg;
}

void t_stop(struct t_target *tg)
{
	softdirty_close(tg->sd);
	tg->sd = NULL;
	t_kill(tg->pid);
	tg->pid = 0;
	munmap(tg->ctl, t_page_size());
}

void t_watch(struct t_target *tg)
{
	int ret;

	tg->splits = t_huge_splits();
	ret = softdirty_open(tg->pid, NULL, &tg->sd);
	if (!T_EQ(ret, 0))
		t_note("%s", softdirty_error());
	T_MUST(ret == 0);
	ret = softdirty_clear(tg->sd, NULL);
	if (!T_EQ(ret, 0))
		t_note("%s", softdirty_error());
	T_MUST(ret == 0);
}

static void post(struct t_target *tg, t_fn *fn, long a, long b, long c, long d)
{
	tg->ctl->fn = fn;
	tg->ctl->a[0] = a;
	tg->ctl->a[1] = b;
	tg->ctl->a[2] = c;
	tg->ctl->a[3] = d;
	atomic_store(&tg->ctl->turn, 1);
	futex_wake(&tg->ctl->turn);
}

void t_post(struct t_target *tg, t_fn *fn, long a, long b, long c)
{
	post(tg, fn, a, b, c, 0);
}

long t_wait(struct t_target *tg)
{
	uint64_t deadline = t_now() + CALL_TIMEOUT_NS;
	int status;

	while (atomic_load(&tg->ctl->turn)) {
		futex_wait(&tg->ctl->turn, 1);
		if (waitpid(tg->pid, &status, WNOHANG) == tg->pid) {
			tg->pid = 0;
			t_note("the target died, wait status 0x%x", status);
			T_MUST(!"a living target");
		}
		T_MUST(t_now() < deadline);
	}
	return tg->ctl->ret;
}

bool t_idle(const struct t_target *tg)
{
	return atomic_load(&tg->ctl->turn) == 0;
}

long t_call4(struct t_target *tg, t_fn *fn, long a, long b, long c, long d)
{
	post(tg, fn, a, b, c, d);
	return t_wait(tg);
}

uintptr_t t_slot(struct t_target *tg, size_t size, size_t unit)
{
	size_t hole = 64 * t_page_size();
	uintptr_t start = (tg->arena + 2 * hole + unit - 1) / unit * unit;
	uintptr_t end = (start + size + hole + t_page_size() - 1) / t_page_size() * t_page_size();

	T_MUST(end + hole <= tg->arena_end);
	T_MUST(t_call(tg, t_op_munmap, start - hole, end - (start - hole)) == 0);
	tg->arena = end + hole;
	tg->mem = start;
	tg->n = size / unit;
	tg->unit = unit;
	return start;
}

void t_map(struct t_target *tg, size_t n_units, size_t unit, int flags)
{
	uintptr_t start = t_slot(tg, n_units * unit, unit);

	T_MUST(t_call(tg, t_op_mmap, start, n_units * unit, MAP_PRIVATE | MAP_ANONYMOUS | flags,
		      -1) == 0);
}

void t_map_touched(struct t_target *tg, size_t n_pages)
{
	t_map(tg, n_pages, t_page_size(), 0);
	t_call(tg, t_op_touch, tg->mem, n_pages, t_page_size());
}

uintptr_t t_page(const struct t_target *tg, size_t i)
{
	return tg->mem + i * tg->unit;
}

size_t t_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

long t_op_write(long a, long b, long c, long d)
{
	volatile char *p = (char *)a;

	*p = (char)(*p + 1);
	return 0;
}

long t_op_touch(long start, long n, long step, long d)
{
	for (long i = 0; i < n; i++)
		t_op_write(start + i * step, 0, 0, 0);
	return 0;
}

uint64_t t_pagemap_entry(pid_t pid, uintptr_t address)
{
	uint64_t entry = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	T_EQ(pread(fd, &entry, sizeof(entry), (off_t)(address / t_page_size() * sizeof(entry))), 8);
	close(fd);
	return entry;
}

long t_mapping_kib(const struct t_target *tg, const char *key)
{
	char path[64], line[512];
	size_t len = strlen(key);
	bool found = false;
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", tg->pid);
	f = fopen(path, "re");
	T_MUST(f);
	while (kib < 0 && fgets(line, sizeof(line), f)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			found = tg->mem >= start && tg->mem < end;
		else if (found && !strncmp(line, key, len) && line[len] == ':')
			kib = strtol(line + len + 1, NULL, 10);
	}
	fclose(f);
	return kib;
}

long t_op_fill(long address, long size, long byte, long d)
{
	memset((void *)address, (int)byte, (size_t)size);
	return 0;
}

long t_op_read(long a, long b, long c, long d)
{
	return *(volatile char *)a;
}

long t_op_poke(long a, long b, long c, long d)
{
	int fd[2];
	char byte;
	long ret = -EFAULT;

	/* A pipe copies from and to memory, and tells where a store would be a fault. */
	if (pipe(fd))
		return -errno;
	if (write(fd[1], (char *)a, 1) == 1 && read(fd[0], &byte, 1) == 1) {
		byte++;
		if (write(fd[1], &byte, 1) == 1 && read(fd[0], (char *)a, 1) == 1)
			ret = 0;
	}
	close(fd[0]);
	close(fd[1]);
	return ret;
}

long t_op_mmap(long start, long size, long flags, long fd)
{
	void *p = mmap((void *)start, (size_t)size, PROT_READ | PROT_WRITE,
		       (int)flags | MAP_FIXED, (int)fd, 0);

	return p == MAP_FAILED ? -errno : 0;
}

long t_op_munmap(long start, long size, long c, long d)
{
	return munmap((void *)start, (size_t)size) ? -errno : 0;
}

long t_op_madvise(long start, long size, long advice, long d)
{
	return madvise((void *)start, (size_t)size, (int)advice) ? -errno : 0;
}

long t_op_mprotect(long start, long size, long prot, long d)
{
	return mprotect((void *)start, (size_t)size, (int)prot) ? -errno : 0;
}

/* The system call itself: under the sanitizers mlock() does nothing. */
long t_op_mlock(long start, long size, long c, long d)
{
	return syscall(SYS_mlock, start, size) ? -errno : 0;
}

long t_op_close(long fd, long b, long c, long d)
{
	return close((int)fd) ? -errno : 0;
}

long t_op_memfd(long size, long b, long c, long d)
{
	int fd = (int)syscall(SYS_memfd_create, "test", 0);

	if (fd < 0 || ftruncate(fd, size))
		return -errno;
	return fd;
}

long t_op_file(long size, long b, long c, long d)
{
	char path[64];
	int fd = t_temp_file(path);

	if (fd < 0)
		return fd;
	unlink(path);
	char block[4096];
	memset(block, 'x', sizeof(block));
	for (ssize_t n; size > 0; size -= n) {
		n = write(fd, block, (size_t)size < sizeof(block) ? (size_t)size : sizeof(block));
		if (n <= 0)
			return -errno;
	}
	fsync(fd);
	return fd;
}

#define EXEC_WORD "t-sleep-for-ever"

long t_op_exec(long a, long b, long c, long d)
{
	char *argv[] = { "t", EXEC_WORD, NULL };
	char *envp[] = { NULL };

	execve("/proc/self/exe", argv, envp);
	return -errno;
}

/* Runs before main(): what t_op_exec() becomes. */
__attribute__((constructor)) static void sleep_after_exec(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], EXEC_WORD) == 0)
		for (;;)
			pause();
}
