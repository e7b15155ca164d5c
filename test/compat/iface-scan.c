/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PAGE_IS_SOFT_DIRTY in every mask of ioctl(PAGEMAP_SCAN), and the limits of the call. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iface.h"
#include "t.h"
#include "uapi/pagemap_scan.h"

enum { N = 8 };
#define SD ((uint64_t)PAGE_IS_SOFT_DIRTY)
#define HERE ((uint64_t)PAGE_IS_PRESENT)

static char *mem;
static int fd;
static struct page_region vec[16];
static struct pm_scan_arg arg;

/* Of 8 written pages, 2, 3 and 6 are written again after the clear. */
static void prepare(void)
{
	size_t page = iface_page();

	mem = iface_map_written(N);
	iface_clear(getpid());
	mem[2 * page] = mem[3 * page] = mem[6 * page] = 2;
	memset(vec, 0, sizeof(vec));
	arg = (struct pm_scan_arg){
		.size = sizeof(arg), .start = (uintptr_t)mem, .end = (uintptr_t)mem + N * page,
		.vec = (uintptr_t)vec, .vec_len = 16, .return_mask = HERE | SD,
	};
}

static int scan(void)
{
	return ioctl(fd, PAGEMAP_SCAN, &arg);
}

static void check_region(int i, int first, int end, uint64_t categories)
{
	T_EQ((vec[i].start - (uintptr_t)mem) / iface_page(), first);
	T_EQ((vec[i].end - (uintptr_t)mem) / iface_page(), end);
	T_EQ(vec[i].categories, categories);
}

static void soft_dirty_is_returned(void)
{
	prepare();
	T_EQ(scan(), 5);
	check_region(0, 0, 2, HERE);
	check_region(1, 2, 4, HERE | SD);
	check_region(2, 4, 6, HERE);
	check_region(3, 6, 7, HERE | SD);
	check_region(4, 7, 8, HERE);
	T_EQ(arg.walk_end, arg.end);
}

static void soft_dirty_in_the_mask_selects(void)
{
	prepare();
	arg.category_mask = HERE | SD;
	T_EQ(scan(), 2);
	check_region(0, 2, 4, HERE | SD);
	check_region(1, 6, 7, HERE | SD);
	T_EQ(arg.walk_end, arg.end);
}

static void soft_dirty_inverted_selects_the_clean(void)
{
	prepare();
	arg.category_mask = arg.category_inverted = SD;
	arg.return_mask = HERE;
	T_EQ(scan(), 3);
	check_region(0, 0, 2, HERE);
	check_region(1, 4, 6, HERE);
	check_region(2, 7, 8, HERE);
}

static void soft_dirty_in_the_anyof_mask_selects(void)
{
	prepare();
	arg.category_anyof_mask = SD | PAGE_IS_PFNZERO;
	arg.return_mask = SD;
	T_EQ(scan(), 2);
	check_region(0, 2, 4, SD);
	check_region(1, 6, 7, SD);
}

/* As CRIU asks (pagemap-cache.c). */
static void criu_s_question_is_answered(void)
{
	prepare();
	arg.category_inverted = arg.category_mask = PAGE_IS_PFNZERO | PAGE_IS_FILE;
	arg.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
	arg.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | SD;
	T_EQ(scan(), 5);
	check_region(1, 2, 4, HERE | SD);
}

static void a_small_vec_is_filled_and_resumed(void)
{
	int n = 0, got;

	prepare();
	arg.category_mask = SD;
	arg.vec_len = 1;
	while (arg.start < arg.end && n < 4) {
		got = scan();
		T_MUST(got == 0 || got == 1);
		n += got;
		T_OK(arg.walk_end > arg.start);
		arg.start = arg.walk_end;
	}
	T_EQ(n, 2);
	T_EQ(arg.start, arg.end);
}

static void max_pages_is_kept(void)
{
	prepare();
	arg.category_mask = SD;
	arg.max_pages = 1;
	T_EQ(scan(), 1);
	check_region(0, 2, 3, HERE | SD);
	T_EQ((arg.walk_end - arg.start) / iface_page(), 3);
	arg.max_pages = 2;
	T_EQ(scan(), 1);
	check_region(0, 2, 4, HERE | SD);
}

static void untouched_pages_are_not_soft_dirty(void)
{
	prepare();
	T_MUST(!madvise(mem, N * iface_page(), MADV_DONTNEED));
	arg.category_mask = HERE;
	T_EQ(scan(), 0);
	T_EQ(arg.walk_end, arg.end);
	arg.category_mask = PAGE_IS_SWAPPED;
	T_EQ(scan(), 0);
}

static void no_trace_of_tracking_shows(void)
{
	prepare();
	arg.category_mask = PAGE_IS_WPALLOWED;
	T_EQ(scan(), 0);
	arg.category_mask = PAGE_IS_WRITTEN;
	arg.return_mask = PAGE_IS_WRITTEN;
	T_EQ(scan(), 1);
	check_region(0, 0, 8, PAGE_IS_WRITTEN);
}

static void write_protection_of_unregistered_memory_does_nothing(void)
{
	prepare();
	arg.flags = PM_SCAN_WP_MATCHING;
	arg.category_mask = PAGE_IS_WRITTEN;
	arg.return_mask = PAGE_IS_WRITTEN;
	T_EQ(scan(), 0);
	T_EQ(iface_dirty_pages(mem, N), 1 << 2 | 1 << 3 | 1 << 6);
	arg.flags |= PM_SCAN_CHECK_WPASYNC;
	T_EQ(scan(), -1);
	T_EQ(errno, EPERM);
}

static void wrong_arguments_are_refused_as_ever(void)
{
	prepare();
	arg.start++;
	T_EQ(scan(), -1);
	T_EQ(errno, EINVAL);
	prepare();
	arg.return_mask = 1ull << 40;
	T_EQ(scan(), -1);
	T_EQ(errno, EINVAL);
	prepare();
	arg.size++;
	T_EQ(scan(), -1);
	T_EQ(errno, EINVAL);
	prepare();
	arg.vec = 8;
	T_EQ(scan(), -1);
	T_EQ(errno, EFAULT);
	T_EQ(ioctl(fd, PAGEMAP_SCAN, (void *)8), -1);
	T_EQ(errno, EFAULT);
}

/* CRIU's search for guard regions goes on until walk_end is there (collect_madv_guards()). */
static void a_scan_of_all_memory_ends_at_its_end(void)
{
	static struct page_region many[32];
	uint64_t end = 0x7ffffffff000ull & -iface_page();
	int n_calls = 0;

	arg = (struct pm_scan_arg){
		.size = sizeof(arg), .end = end, .vec = (uintptr_t)many, .vec_len = 32,
		.category_mask = HERE, .return_mask = SD,
	};
	while (arg.start < end && n_calls++ < 100000) {
		T_MUST(scan() >= 0);
		T_MUST(arg.walk_end > arg.start);
		arg.start = arg.walk_end;
	}
	T_EQ(arg.start, end);
}

/* More regions than the kernel hands over in one go. */
static void many_regions_come_once_each(void)
{
	enum { PAGES = 4000 };
	size_t page = iface_page(), n_dirty = 0;
	char *big = iface_map_written(PAGES);
	struct page_region *v = calloc(PAGES, sizeof(*v));

	iface_clear(getpid());
	for (size_t i = 0; i < PAGES; i += 2)
		big[i * page] = 3;
	arg = (struct pm_scan_arg){
		.size = sizeof(arg), .start = (uintptr_t)big, .end = (uintptr_t)big + PAGES * page,
		.vec = (uintptr_t)v, .vec_len = PAGES, .return_mask = SD,
	};
	T_EQ(scan(), PAGES);
	for (size_t i = 0; i < PAGES; i++) {
		T_MUST(v[i].start == (uintptr_t)big + i * page && v[i].end == v[i].start + page);
		n_dirty += !!(v[i].categories & SD);
	}
	T_EQ(n_dirty, PAGES / 2);
	/* Kernels stop counting 512 regions before (seen in 6.12 and 7.2). */
	T_OK(arg.walk_end > arg.start && arg.walk_end <= arg.end);
	free(v);
	munmap(big, PAGES * page);
}

void iface_scan_claims(void)
{
	fd = iface_open(getpid(), "pagemap", O_RDONLY);
	prepare();
	if (scan() < 0 && errno == ENOTTY) {
		t_note("this kernel has no PAGEMAP_SCAN (Linux 6.7)");
		return;
	}
	T_RUN(soft_dirty_is_returned);
	T_RUN(soft_dirty_in_the_mask_selects);
	T_RUN(soft_dirty_inverted_selects_the_clean);
	T_RUN(soft_dirty_in_the_anyof_mask_selects);
	T_RUN(criu_s_question_is_answered);
	T_RUN(a_small_vec_is_filled_and_resumed);
	T_RUN(max_pages_is_kept);
	T_RUN(untouched_pages_are_not_soft_dirty);
	T_RUN(no_trace_of_tracking_shows);
	T_RUN(write_protection_of_unregistered_memory_does_nothing);
	T_RUN(wrong_arguments_are_refused_as_ever);
	T_RUN(a_scan_of_all_memory_ends_at_its_end);
	T_RUN(many_regions_come_once_each);
	close(fd);
}
