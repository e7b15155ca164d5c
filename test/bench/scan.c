/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a read --clear of 4 GiB costs, against one bare ioctl(PAGEMAP_SCAN) that gets and protects the
 * same memory in the same run, by CPU time of the caller without the library's pauses between pieces:
 * on a virtual machine, to go to sleep and wake up again costs more than what is scanned in between.
 * And what the target notices of it: how long its mmap() and munmap() wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "uapi/pagemap_scan.h"

#define SIZE (4 * GIB)
#define MAX_ROUNDS 101
#define MAX_REGIONS 32768
#define N_LATENCIES 20000

struct shared {
	_Atomic bool stop, measuring;
	_Atomic size_t n;
	double ms[N_LATENCIES];
};
static struct shared *shared;

static long op_dirty(long start, long step, long c, long d)
{
	for (unsigned long i = 0; step && i < SIZE; i += (unsigned long)step)
		*(volatile char *)(start + (long)i) += 1;
	return 0;
}

static void map(struct t_target *tg)
{
	bench_reserve(tg, SIZE);
	t_map(tg, SIZE / t_page_size(), t_page_size(), 0);
	t_call(tg, t_op_madvise, tg->mem, SIZE, MADV_NOHUGEPAGE);
	t_call(tg, op_dirty, tg->mem, t_page_size());
	t_watch(tg);
}

/* In place of the C library's for all of this program: what its pauses cost is counted. */
static uint64_t paused;

int nanosleep(const struct timespec *wanted, struct timespec *rest)
{
	uint64_t t0 = t_cpu();
	int r = (int)syscall(SYS_nanosleep, wanted, rest);

	paused += t_cpu() - t0;
	return r;
}

static double library_ms(struct t_target *tg)
{
	const struct softdirty_range *r;
	size_t n;
	uint64_t t0 = t_cpu() - paused;

	T_MUST(softdirty_read(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n) == 0);
	return (double)(t_cpu() - paused - t0) / 1e6;
}

static double bare_ms(const struct t_target *tg, int pagemap)
{
	static struct page_region vec[MAX_REGIONS];
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .flags = PM_SCAN_WP_MATCHING, .start = tg->mem,
		.end = tg->mem + SIZE, .vec = (uintptr_t)vec, .vec_len = MAX_REGIONS,
		.category_mask = PAGE_IS_WRITTEN,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_WRITTEN,
	};
	uint64_t t0;

	memset(vec, 0, sizeof(vec));
	t0 = t_cpu();
	T_MUST(ioctl(pagemap, PAGEMAP_SCAN, &arg) >= 0);
	return (double)(t_cpu() - t0) / 1e6;
}

static void compare(struct t_target *tg, int pagemap, const char *name, size_t step, size_t rounds)
{
	double library[MAX_ROUNDS], bare[MAX_ROUNDS], ratio[MAX_ROUNDS];
	char what[64];

	for (size_t i = 0; i < rounds; i++) {
		t_call(tg, op_dirty, tg->mem, step);
		library[i] = library_ms(tg);
		t_call(tg, op_dirty, tg->mem, step);
		bare[i] = bare_ms(tg, pagemap);
		ratio[i] = library[i] / bare[i];
	}
	printf("%s: library %.2f ms, bare %.2f ms (medians of %zu)\n", name,
	       quantile(library, rounds, 0.5), quantile(bare, rounds, 0.5), rounds);
	snprintf(what, sizeof(what), "read --clear of 4 GiB, %s", name);
	bench_line(what, quantile(ratio, rounds, 0.5), "x bare", 1.25);
}

static void read_clear_against_a_bare_scan(void)
{
	T_TARGET tg;
	char path[64];
	int pagemap;

	BENCH_NEED(SIZE + GIB);
	if (t_backend() != T_WP_ASYNC)
		T_SKIP("only wp-async scans");
	tg = t_start();
	map(&tg);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", tg.pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	T_MUST(pagemap >= 0);
	compare(&tg, pagemap, "nothing dirty", 0, MAX_ROUNDS);
	compare(&tg, pagemap, "1 % dirty", 100 * t_page_size(), MAX_ROUNDS);
	compare(&tg, pagemap, "all dirty", t_page_size(), 15);
	close(pagemap);
}

/* Maps and unmaps a page all the time and notes how long both took together. */
static long op_map_and_unmap(long a, long b, long c, long d)
{
	while (!shared->stop) {
		uint64_t t0 = t_now();
		void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			       0);
		double ms;

		munmap(p, 4096);
		ms = (double)(t_now() - t0) / 1e6;
		if (shared->measuring && shared->n < N_LATENCIES)
			shared->ms[shared->n++] = ms;
		usleep(100);
	}
	return 0;
}

static double p99_ms(struct t_target *tg, bool scan, double *max)
{
	const struct softdirty_range *r;
	uint64_t end = t_now() + 3000000000u;
	size_t n;

	shared->n = 0;
	shared->measuring = true;
	while (t_now() < end && shared->n < N_LATENCIES) {
		if (scan)
			softdirty_read(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n);
		else
			t_sleep_ms(10);
	}
	shared->measuring = false;
	n = shared->n;
	*max = quantile(shared->ms, n, 1.0);
	return quantile(shared->ms, n, 0.99);
}

static void mmap_of_the_target_meanwhile(void)
{
	T_TARGET tg;
	double idle, busy, idle_max, busy_max;

	BENCH_NEED(SIZE + GIB);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	tg = t_start();
	map(&tg);
	t_post(&tg, op_map_and_unmap, 0, 0, 0);
	idle = p99_ms(&tg, false, &idle_max);
	busy = p99_ms(&tg, true, &busy_max);
	shared->stop = true;
	t_wait(&tg);
	printf("mmap and munmap, p99: idle %.3f ms, during read --clear %.3f ms; longest %.2f and "
	       "%.2f ms\n", idle, busy, idle_max, busy_max);
	bench_line("mmap p99 above idle", busy - idle, "ms", 0.2);
}

static void first_write_after_a_clear(void)
{
	T_TARGET tg;
	size_t n = 64 * MIB / t_page_size();
	double plain = 1e9, first = 1e9;

	BENCH_NEED(256 * MIB);
	tg = t_begin(n);
	for (int i = 0; i < 5; i++) {
		uint64_t t0, t1, t2;

		T_EQ(softdirty_clear(tg.sd, NULL), 0);
		t0 = t_now();
		t_call(&tg, t_op_touch, tg.mem, n, t_page_size());
		t1 = t_now();
		t_call(&tg, t_op_touch, tg.mem, n, t_page_size());
		t2 = t_now();
		first = (double)(t1 - t0) < first ? (double)(t1 - t0) : first;
		plain = (double)(t2 - t1) < plain ? (double)(t2 - t1) : plain;
	}
	printf("bench store: %.0f ns for the first after a clear, %.1f ns plain\n",
	       first / (double)n, plain / (double)n);
}

int main(void)
{
	t_need_backend();
	T_RUN(read_clear_against_a_bare_scan);
	T_RUN(mmap_of_the_target_meanwhile);
	T_RUN(first_write_after_a_clear);
	return t_done();
}
