/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared memory, memfd and files: reads are no writes, writes through this mapping are seen. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "target.h"
#include "uapi/pagemap_scan.h"

#define UNKNOWN "what the file holds where the page table has nothing is not known"
#define ELSEWHERE "only the page table of the writer notices"

/* Map 4 pages of a memfd or a file. Returns the target's descriptor. */
static int map(struct t_target *tg, t_fn *file, int flags)
{
	int fd = (int)t_call(tg, file, 4 * t_page_size());

	T_MUST(fd >= 0);
	t_slot(tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(tg, t_op_mmap, tg->mem, 4 * tg->unit, flags, fd) == 0);
	return fd;
}

static void shared_anonymous_written(void)
{
	T_TARGET tg = t_start();

	t_slot(&tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED | MAP_ANONYMOUS, -1) == 0);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

/* Who copied the page in between has another content. */
static void shared_anonymous_written_and_written_back(void)
{
	T_TARGET tg = t_start();

	t_slot(&tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED | MAP_ANONYMOUS, -1) == 0);
	t_call(&tg, t_op_fill, tg.mem, 4 * tg.unit, 0x11);
	t_watch(&tg);
	t_call(&tg, t_op_fill, t_page(&tg, 1), tg.unit, 0x22);
	t_call(&tg, t_op_fill, t_page(&tg, 1), tg.unit, 0x11);
	T_EVENT(&tg, .want = "-D--", .hash = "----", .why = "the content is as before");
}

static void shared_anonymous_untouched_read(void)
{
	T_TARGET tg = t_start();

	t_slot(&tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED | MAP_ANONYMOUS, -1) == 0);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----", .hash = "uDuu", .sd = "uDuu", .why = UNKNOWN,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void memfd_untouched_written(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_memfd, MAP_SHARED);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .hash = "uDuu", .sd = "uDuu", .why = UNKNOWN,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void memfd_untouched_read(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_memfd, MAP_SHARED);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----", .hash = "uDuu", .sd = "uDuu", .why = UNKNOWN,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void memfd_new_mapping(void)
{
	T_TARGET tg = t_start();

	t_watch(&tg);
	map(&tg, t_op_memfd, MAP_SHARED);
	T_EVENT(&tg, .want = "nnnn", .again = t_backend() == T_WP_ASYNC ? NULL : "uuuu",
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void memfd_mapped_again_at_the_same_place(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED, fd) == 0);
	T_EVENT(&tg, .want = "nnnn", .hash = "uuuu", .why = UNKNOWN,
		.again = t_backend() == T_WP_ASYNC ? NULL : "uuuu",
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

/* Map it from a descriptor for reading only: the mapping can never become writable. */
static long op_mmap_read_only(long at, long size, long fd, long offset)
{
	char path[32];
	int again;
	void *p;

	snprintf(path, sizeof(path), "/proc/self/fd/%ld", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	p = mmap((void *)at, (size_t)size, PROT_READ, MAP_SHARED | MAP_FIXED, again, offset);
	close(again);
	return p == MAP_FAILED ? -errno : 0;
}

static void memfd_mapped_for_reading_then_for_writing(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	T_MUST(t_call(&tg, op_mmap_read_only, tg.mem, 4 * tg.unit, fd) == 0);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	t_watch(&tg);
	T_STREQ(t_pages(&tg, NULL, 0), "----");
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED | MAP_FIXED, fd) == 0);
	for (size_t i = 0; i < 4; i++)
		t_call(&tg, i == 1 ? t_op_write : t_op_read, t_page(&tg, i));
	T_EVENT(&tg, .want = "nnnn", .hash = "DDDD", .sd = "DDDD",
		.why = "compared for the first time");
}

/* Both halves are the same part of the same file as before. */
static void memfd_mapped_for_reading_then_half_of_it_for_writing(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	T_MUST(t_call(&tg, op_mmap_read_only, tg.mem, 4 * tg.unit, fd) == 0);
	t_watch(&tg);
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 2 * tg.unit, MAP_SHARED | MAP_FIXED, fd) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 0));
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "nn--", .hash = "DDuu", .sd = "DDuu", .why = UNKNOWN,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void window_on_a_file_moved_on(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);

	T_MUST(t_call(&tg, op_mmap_read_only, tg.mem, 4 * tg.unit, fd) == 0);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_mmap_read_only, tg.mem, 4 * tg.unit, fd, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "nnnn");
}

static long op_mremap_larger(long start, long size, long c, long d)
{
	void *p = mremap((void *)start, (size_t)size, (size_t)size + t_page_size(), MREMAP_MAYMOVE);

	return p == MAP_FAILED ? -errno : 0;
}

/* Watched again in part, the mapping would be two, which mremap() refuses. */
static void memfd_mapped_for_reading_then_a_larger_one_for_writing(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);

	T_MUST(t_call(&tg, t_op_munmap, t_page(&tg, 2), 2 * tg.unit) == 0);
	T_MUST(t_call(&tg, op_mmap_read_only, tg.mem, 2 * tg.unit, fd) == 0);
	t_watch(&tg);
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED | MAP_FIXED, fd) == 0);
	if (t_backend() == T_WP_ASYNC)
		T_STREQ(t_pages(&tg, NULL, 0), "nnnn");
	T_EQ(t_call(&tg, op_mremap_larger, tg.mem, 4 * tg.unit), 0);
}

/* One mapping of the file cannot be written, a later one can; it is written between two looks. */
static void memfd_writable_only_in_another_place(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);
	long other = (long)tg.mem;

	T_MUST(t_call(&tg, op_mmap_read_only, other, 4 * tg.unit, fd) == 0);
	t_slot(&tg, 4 * t_page_size(), t_page_size());
	t_watch(&tg);
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED, fd) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ);
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ | PROT_WRITE);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ);
	T_EVENT(&tg, .want = "-D--", .hash = "uDuu", .sd = "uDuu", .why = UNKNOWN,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void private_file_read(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_PRIVATE);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----");
}

static void private_file_written(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_PRIVATE);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_write, t_page(&tg, 3));
	T_EVENT(&tg, .want = "-D-D");
}

static void private_file_copied_page_written(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_PRIVATE);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT_NAMED(&tg, "private_file_copied_page_read", .want = "----");
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void private_file_paged_out_and_read(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_PRIVATE);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	t_call(&tg, t_op_read, t_page(&tg, 2));
	t_watch(&tg);
	if (t_call(&tg, t_op_madvise, tg.mem, 4 * tg.unit, 21 /* MADV_PAGEOUT */))
		T_SKIP("no MADV_PAGEOUT (Linux 5.4)");
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----");
}

static long op_msync(long start, long size, long c, long d)
{
	return msync((void *)start, (size_t)size, MS_SYNC) ? -errno : 0;
}

static void shared_file_written(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_SHARED);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void shared_file_written_then_synced(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_SHARED);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_MUST(t_call(&tg, op_msync, tg.mem, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "-D--");
}

static void shared_file_synced_only(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_SHARED);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_msync, tg.mem, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "----");
}

static void shared_file_read(void)
{
	T_TARGET tg = t_start();

	map(&tg, t_op_file, MAP_SHARED);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	/* Which pages around it the kernel maps in passing depends on the moment. */
	char own[] = "uDuu";
	for (size_t i = 0; i < 4; i++)
		if (t_pagemap_entry(tg.pid, t_page(&tg, i)) & PM_ENTRY_PRESENT)
			own[i] = 'D';
	T_EQ(own[1], 'D');
	T_EVENT(&tg, .want = "----", .wp = own, .hash = own, .sd = own, .why = UNKNOWN,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

/* Write it to the disk and make the kernel forget it, in the page table and in memory. */
static long op_reclaim(long start, long size, long fd, long d)
{
	if (fsync((int)fd) || madvise((void *)start, (size_t)size, 21 /* MADV_PAGEOUT */))
		return -errno;
	return -posix_fadvise((int)fd, 0, 0, POSIX_FADV_DONTNEED);
}

static long op_punch(long fd, long size, long c, long d)
{
	return fallocate((int)fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size) ? -errno : 0;
}

/* Protection that is left where a page was makes mlock() hang: see wp_scan.c. */
static void shared_file_reclaimed_then_locked(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_file, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	if (t_call(&tg, op_reclaim, tg.mem, 4 * tg.unit, fd))
		T_SKIP("no MADV_PAGEOUT (Linux 5.4)");
	T_EQ(t_call(&tg, t_op_mlock, tg.mem, 4 * tg.unit), 0);
	T_EVENT(&tg, .want = "----");
}

/* The same for a private mapping, whose pages are given back. Locking it copies them all. */
static void private_file_dropped_then_locked(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_file, MAP_PRIVATE);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_EQ(t_call(&tg, t_op_madvise, tg.mem, 4 * tg.unit, MADV_DONTNEED), 0);
	t_call(&tg, op_reclaim, tg.mem, 4 * tg.unit, fd);
	T_EQ(t_call(&tg, t_op_mlock, tg.mem, 4 * tg.unit), 0);
	T_EVENT(&tg, .want = "DDDD");
}

/* The same for an access to a locked mapping of a file that got a hole. */
static void shared_file_locked_then_punched(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_file, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	T_EQ(t_call(&tg, t_op_mlock, tg.mem, 4 * tg.unit), 0);
	t_watch(&tg);
	if (t_call(&tg, op_punch, fd, 4 * tg.unit))
		T_SKIP("no holes in files here");
	for (size_t i = 0; i < 4; i++)
		T_EQ(t_call(&tg, t_op_read, t_page(&tg, i)), 0);
	T_EVENT(&tg, .want = "DDDD");
}

static long op_write_through_another_mapping(long fd, long offset, long c, long d)
{
	char *p = mmap(NULL, 4 * t_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	p[offset]++;
	return munmap(p, 4 * t_page_size());
}

static void memfd_written_through_another_mapping(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_write_through_another_mapping, fd, tg.unit) == 0);
	T_EVENT(&tg, .want = "-D--", .wp = "----", .sd = "----", .why = ELSEWHERE);
}

static long op_pwrite(long fd, long offset, long c, long d)
{
	return pwrite((int)fd, "other", 5, offset) == 5 ? 0 : -errno;
}

static void memfd_written_by_write(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_memfd, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_pwrite, fd, tg.unit) == 0);
	T_EVENT(&tg, .want = "-D--", .wp = "----", .sd = "----", .why = ELSEWHERE);
}

static void shared_file_written_through_another_mapping(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_file, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_write_through_another_mapping, fd, tg.unit) == 0);
	T_EVENT(&tg, .want = "-D--");
}

static void shared_file_written_by_write(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_file, MAP_SHARED);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_pwrite, fd, tg.unit) == 0);
	T_EVENT(&tg, .want = "-D--");
}

static void private_file_changed_by_write(void)
{
	T_TARGET tg = t_start();
	int fd = map(&tg, t_op_file, MAP_PRIVATE);

	t_call(&tg, t_op_read, t_page(&tg, 1));
	t_watch(&tg);
	T_MUST(t_call(&tg, op_pwrite, fd, tg.unit) == 0);
	T_EVENT(&tg, .want = "-D--", .wp = "----", .hash = "----", .sd = "----", .why = ELSEWHERE);
}

int main(void)
{
	t_need_backend();
	T_RUN(shared_anonymous_written);
	T_RUN(shared_anonymous_written_and_written_back);
	T_RUN(shared_anonymous_untouched_read);
	T_RUN(memfd_untouched_written);
	T_RUN(memfd_untouched_read);
	T_RUN(memfd_new_mapping);
	T_RUN(memfd_mapped_again_at_the_same_place);
	T_RUN(memfd_mapped_for_reading_then_for_writing);
	T_RUN(memfd_mapped_for_reading_then_half_of_it_for_writing);
	T_RUN(window_on_a_file_moved_on);
	T_RUN(memfd_mapped_for_reading_then_a_larger_one_for_writing);
	T_RUN(memfd_writable_only_in_another_place);
	T_RUN(private_file_read);
	T_RUN(private_file_written);
	T_RUN(private_file_copied_page_written);
	T_RUN(private_file_paged_out_and_read);
	T_RUN(shared_file_written);
	T_RUN(shared_file_written_then_synced);
	T_RUN(shared_file_synced_only);
	T_RUN(shared_file_read);
	T_RUN(shared_file_reclaimed_then_locked);
	T_RUN(private_file_dropped_then_locked);
	T_RUN(shared_file_locked_then_punched);
	T_RUN(shared_file_written_through_another_mapping);
	T_RUN(shared_file_written_by_write);
	T_RUN(memfd_written_through_another_mapping);
	T_RUN(memfd_written_by_write);
	T_RUN(private_file_changed_by_write);
	return t_done();
}
