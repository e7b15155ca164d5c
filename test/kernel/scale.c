/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Large address spaces, many mappings, many threads: still right. The times are printed beside
 * that of one plain walk over the same thing by the kernel; they decide nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "target.h"
#include "uapi/pagemap_scan.h"

#define TIB (1ull << 40)
#define GIB (1ull << 30)
#define MAX_MAPPINGS 60000
#define MAX_THREADS 1000

static size_t on_slow(size_t n)
{
	return t_is_slow() ? n / 8 : n;
}

/* Milliseconds that reading the whole maps file takes: what every answer begins with. */
static double maps_ms(pid_t pid)
{
	static char buf[65536];
	uint64_t start = t_now();
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
	return (double)(t_now() - start) / 1e6;
}

/* Page numbers within [start, end) that are reported, in order; at most max. */
static size_t reported(struct t_target *tg, uint64_t start, uint64_t end, uint32_t why,
		       uint64_t *list, size_t max)
{
	const struct softdirty_range *r;
	uint64_t t0 = t_now();
	size_t n, found = 0;

	T_MUST(softdirty_read(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n) == 0);
	t_note("read --clear took %.1f ms, %zu ranges; the bare maps file %.1f ms",
	       (double)(t_now() - t0) / 1e6, n, maps_ms(tg->pid));
	for (size_t i = 0; i < n; i++) {
		uint64_t from = r[i].start < start ? start : r[i].start;

		if ((r[i].flags & SOFTDIRTY_WHY) != why)
			continue;
		for (; from < r[i].end && from < end && found < max; from += t_page_size())
			list[found++] = from;
	}
	return found;
}

static void clear(struct t_target *tg)
{
	uint64_t t0 = t_now();

	T_EQ(softdirty_clear(tg->sd, NULL), 0);
	t_note("clear took %.1f ms", (double)(t_now() - t0) / 1e6);
}

/* Returns the address, or -errno. */
static long op_reserve(long size, long prot, long flags, long d)
{
	void *p = mmap(NULL, (size_t)size, (int)prot, (int)flags | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? -errno : (long)p;
}

/* 1 TiB; less on a slow machine, and without PAGEMAP_SCAN: there the kernel needs a second for it. */
static uint64_t vast(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool scans = ioctl(fd, PAGEMAP_SCAN, NULL) && errno != ENOTTY;

	close(fd);
	return (scans ? TIB : TIB / 8) / (t_is_slow() ? 8 : 1);
}

/* What is untracked there has that reason; NONE: nothing is. */
static void check_untracked(struct t_target *tg, uint64_t start, uint64_t end,
			    enum softdirty_reason reason)
{
	const struct softdirty_range *r;
	size_t n, n_untracked = 0;

	T_MUST(softdirty_read(tg->sd, NULL, 0, start, end, &r, &n) == 0);
	for (size_t i = 0; i < n; i++) {
		if (!(r[i].flags & SOFTDIRTY_UNTRACKED))
			continue;
		n_untracked++;
		if (!T_EQ(r[i].reason, reason))
			return;
	}
	T_EQ(n_untracked > 0, reason != SOFTDIRTY_REASON_NONE);
}

static void sparse(int flags, enum softdirty_reason reason)
{
	T_TARGET tg = t_start();
	uint64_t size = vast(), far = size - size / 8, list[8];
	long none = t_call(&tg, op_reserve, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
	long mem = t_call(&tg, op_reserve, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS);
	uint64_t start = (uint64_t)mem;

	if (none < 0 || mem < 0)
		T_SKIP("no address space of %llu GiB here", (unsigned long long)(size / GIB));
	t_call(&tg, t_op_madvise, mem, size, MADV_NOHUGEPAGE);	/* a page is a page */
	T_MUST(t_call(&tg, t_op_touch, mem, size / GIB, GIB) == 0);
	t_watch(&tg);
	clear(&tg);
	t_call(&tg, t_op_write, start + 5 * GIB);
	t_call(&tg, t_op_write, start + far);
	t_call(&tg, t_op_write, start + far + 123 * t_page_size());
	T_EQ(reported(&tg, start, start + size, SOFTDIRTY_WRITTEN, list, 8), 3);
	T_EQ(list[0], start + 5 * GIB);
	T_EQ(list[1], start + far);
	T_EQ(list[2], start + far + 123 * t_page_size());
	T_EQ(reported(&tg, start, start + size, SOFTDIRTY_WRITTEN, list, 8), 0);
	check_untracked(&tg, start, start + size, reason);
}

static void vast_sparse_memory(void)
{
	sparse(MAP_PRIVATE, SOFTDIRTY_REASON_NONE);
}

/* What is untouched of it may be called untracked; what was touched is exact, where it can be. */
static void vast_sparse_shared_memory(void)
{
	sparse(MAP_SHARED, t_backend() == T_WP_ASYNC ? SOFTDIRTY_REASON_SPARSE :
						       SOFTDIRTY_REASON_UNREADABLE);
}

/* Most of it is stepped over: what is not must be seen all the same. */
static void few_pages_of_a_vast_reservation(void)
{
	enum { N = 64, EVERY = 3, N_WRITTEN = (N + EVERY - 1) / EVERY };
	T_TARGET tg = t_start();
	uint64_t size = vast() * (t_is_slow() ? 2 : 16), part = size / N;
	uint64_t at[N], list[N_WRITTEN + 1];
	long mem = t_call(&tg, op_reserve, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS);

	if (mem < 0)
		T_SKIP("no address space of %llu GiB here", (unsigned long long)(size / GIB));
	t_call(&tg, t_op_madvise, mem, size, MADV_NOHUGEPAGE);
	for (uint64_t i = 0, x = 1; i < N; i++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		at[i] = (uint64_t)mem + i * part + (x >> 20) % part / t_page_size() * t_page_size();
		t_call(&tg, t_op_write, at[i]);
	}
	t_watch(&tg);
	clear(&tg);
	for (uint64_t i = 0; i < N; i += EVERY)
		t_call(&tg, t_op_write, at[i]);
	T_EQ(reported(&tg, mem, mem + size, SOFTDIRTY_WRITTEN, list, N_WRITTEN + 1), N_WRITTEN);
	for (uint64_t i = 0; i < N_WRITTEN; i++)
		T_EQ(list[i], at[i * EVERY]);
	T_EQ(reported(&tg, mem, mem + size, SOFTDIRTY_WRITTEN, list, N_WRITTEN + 1), 0);
}

/* Every other page another protection, so that nothing merges. */
static long op_many_mappings(long n, long b, long c, long d)
{
	size_t page = t_page_size();
	char *p = mmap(NULL, (size_t)n * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	for (long i = 0; i < n; i += 2)
		if (mprotect(p + i * (long)page, page, PROT_READ | PROT_WRITE | PROT_EXEC))
			return -errno;
	for (long i = 0; i < n; i++)
		p[i * (long)page] = 1;
	return (long)p;
}

static void many_mappings(void)
{
	size_t n = on_slow(MAX_MAPPINGS);
	T_TARGET tg = t_start();
	char text[32];
	long mem;
	uint64_t start, list[16];
	size_t page = t_page_size();

	t_read_file("/proc/sys/vm/max_map_count", text, sizeof(text));
	if (strtol(text, NULL, 10) < (long)n + 1000)
		T_SKIP("vm.max_map_count is too low");
	mem = t_call(&tg, op_many_mappings, n);
	T_MUST(mem > 0);
	start = (uint64_t)mem;
	t_watch(&tg);
	clear(&tg);
	for (uint64_t i = 0; i < 10; i++)
		t_call(&tg, t_op_write, start + i * (n / 10 - 1) * page);
	T_EQ(reported(&tg, start, start + n * page, SOFTDIRTY_WRITTEN, list, 16), 10);
	for (uint64_t i = 0; i < 10; i++)
		T_EQ(list[i], start + i * (n / 10 - 1) * page);
	T_EQ(reported(&tg, start, start + n * page, SOFTDIRTY_WRITTEN, list, 16), 0);
}

static struct {
	_Atomic int round, done;
	int n;
	char *mem;
} *threads;

static void *write_each_round(void *arg)
{
	size_t i = (size_t)arg, page = t_page_size();

	for (int seen = 0; seen < 2;) {
		while (atomic_load(&threads->round) == seen)
			syscall(SYS_futex, &threads->round, FUTEX_WAIT, seen, NULL, NULL, 0);
		seen++;
		threads->mem[i * page]++;
		atomic_fetch_add(&threads->done, 1);
	}
	return NULL;
}

static long op_many_threads(long mem, long b, long c, long d)
{
	pthread_attr_t attr;
	pthread_t t;

	threads->mem = (char *)mem;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (long i = 0; i < threads->n; i++)
		if (pthread_create(&t, &attr, write_each_round, (void *)i))
			return -EAGAIN;
	return 0;
}

static void next_round(void)
{
	atomic_store(&threads->done, 0);
	atomic_fetch_add(&threads->round, 1);
	syscall(SYS_futex, &threads->round, FUTEX_WAKE, threads->n, NULL, NULL, 0);
	while (atomic_load(&threads->done) < threads->n)
		t_sleep_ms(5);
}

static void many_threads(void)
{
	T_TARGET tg;
	static uint64_t list[MAX_THREADS + 1];
	uint64_t t0;

	threads = mmap(NULL, sizeof(*threads), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	threads->n = (int)on_slow(MAX_THREADS);
	tg = t_start();
	t_map_touched(&tg, threads->n);
	if (t_call(&tg, op_many_threads, tg.mem))
		T_SKIP("not allowed to start so many threads");
	t0 = t_now();
	t_watch(&tg);
	t_note("open and clear took %.1f ms", (double)(t_now() - t0) / 1e6);
	next_round();
	T_EQ(reported(&tg, tg.mem, t_page(&tg, threads->n), SOFTDIRTY_WRITTEN, list, threads->n + 1),
	     threads->n);
	t0 = t_now();
	T_EQ(softdirty_freeze(tg.sd), 0);
	t_note("freezing them took %.1f ms", (double)(t_now() - t0) / 1e6);
	softdirty_thaw(tg.sd);
	next_round();
	T_EQ(reported(&tg, tg.mem, t_page(&tg, threads->n), SOFTDIRTY_WRITTEN, list, threads->n + 1),
	     threads->n);
}

int main(void)
{
	t_need_backend();
	T_RUN(vast_sparse_memory);
	T_RUN(vast_sparse_shared_memory);
	T_RUN(few_pages_of_a_vast_reservation);
	T_RUN(many_mappings);
	T_RUN(many_threads);
	return t_done();
}
