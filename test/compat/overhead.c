/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long the calls of the soft-dirty interface take, and some that have nothing to do with it: one
 * line "CALL NANOSECONDS" each, the median of many. Run natively and under `softdirty exec` in the
 * same machine, the quotient is what the compatibility layer costs (see the script overhead).
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "uapi/pagemap_scan.h"

enum { PAGES = 16384, RUNS = 31, CHEAP = 200 };	/* 64 MiB */

static char *mem;
static uint64_t entries[PAGES];
static struct page_region vec[1024];
static int clear_refs, pagemap, pipes[2], zero;
static size_t page;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void dirty_all(void)
{
	for (size_t i = 0; i < PAGES; i++)
		mem[i * page]++;
}

static void dirty_some(void)
{
	for (size_t i = 0; i < PAGES; i += 100)
		mem[i * page]++;
}

static void nothing(void) { }

static void do_clear(void)
{
	must(write(clear_refs, "4", 1) == 1, "clear_refs");
}

static void read_n(size_t n)
{
	must(pread(pagemap, entries, n * 8, (uintptr_t)mem / page * 8) == (ssize_t)n * 8, "pagemap");
}

static void read_one(void) { read_n(1); }
static void read_512(void) { read_n(512); }
static void read_all(void) { read_n(PAGES); }

static void scan_all(void)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)mem, .end = (uintptr_t)mem + PAGES * page,
		.vec = (uintptr_t)vec, .vec_len = 1024, .category_mask = PAGE_IS_SOFT_DIRTY,
		.return_mask = PAGE_IS_SOFT_DIRTY,
	};

	must(ioctl(pagemap, PAGEMAP_SCAN, &arg) >= 0, "PAGEMAP_SCAN");
}

static void use_pipe(void)
{
	char c[64];

	for (int i = 0; i < CHEAP; i++)
		must(write(pipes[1], c, 64) == 64 && read(pipes[0], c, 64) == 64, "pipe");
}

static void open_file(void)
{
	for (int i = 0; i < CHEAP; i++)
		close(open("/proc/self/status", O_RDONLY));
}

static void read_zero(void)
{
	for (int i = 0; i < CHEAP; i++)
		must(pread(zero, entries, 8, 0) == 8, "/dev/zero");
}

static int compare(const void *a, const void *b)
{
	return *(const uint64_t *)a < *(const uint64_t *)b ? -1 : 1;
}

static void measure(const char *name, void (*before)(void), void (*call)(void), int times)
{
	uint64_t ns[RUNS];

	for (int i = 0; i < RUNS; i++) {
		before();
		ns[i] = now();
		call();
		ns[i] = now() - ns[i];
	}
	qsort(ns, RUNS, sizeof(ns[0]), compare);
	printf("%s %lu\n", name, (unsigned long)(ns[RUNS / 2] / times));
}

int main(void)
{
	char path[64];

	page = sysconf(_SC_PAGESIZE);
	mem = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(mem != MAP_FAILED, "mmap");
	madvise(mem, PAGES * page, MADV_NOHUGEPAGE);
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", getpid());
	clear_refs = open(path, O_WRONLY);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	zero = open("/dev/zero", O_RDONLY);
	must(clear_refs >= 0 && pagemap >= 0 && zero >= 0 && !pipe(pipes), "open");
	dirty_all();
	do_clear();
	measure("clear_all_dirty", dirty_all, do_clear, 1);
	measure("clear_1%_dirty", dirty_some, do_clear, 1);
	measure("clear_none_dirty", nothing, do_clear, 1);
	dirty_some();
	measure("read_1_entry", nothing, read_one, 1);
	measure("read_512_entries", nothing, read_512, 1);
	measure("read_16384_entries", nothing, read_all, 1);
	measure("PAGEMAP_SCAN_64_MiB", nothing, scan_all, 1);
	measure("pipe_write+read", nothing, use_pipe, CHEAP);
	measure("open+close", nothing, open_file, CHEAP);
	measure("pread_/dev/zero", nothing, read_zero, CHEAP);
	return 0;
}
