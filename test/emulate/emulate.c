/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's interface as src/emulate speaks it: real pages and real uffd-wp marks of this
 * process, and a made-up library whose answers each test gives.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "emulate/emulate.h"
#include "t.h"
#include "uapi/userfaultfd.h"

#define PAGE 4096ull
#define ALL (PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED)
#define DIRTY PAGE_IS_SOFT_DIRTY
#define MAX_REGIONS 8

/* --- the made-up library -------------------------------------------------------------------- */

static struct softdirty_range dirty[4];
static size_t n_dirty;
static struct softdirty_mapping mapping;
static const char *backend = "wp-async";
static int read_error;

int softdirty_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		   uint64_t end, const struct softdirty_range **ranges, size_t *n)
{
	*ranges = dirty;
	*n = n_dirty;
	return read_error;
}

int softdirty_mappings(struct softdirty *sd, const struct softdirty_mapping **ret, size_t *n)
{
	*ret = &mapping;
	*n = 1;
	return 0;
}

int softdirty_info(struct softdirty *sd, struct softdirty_info *ret)
{
	snprintf(ret->backend, sizeof(ret->backend), "%s", backend);
	return 0;
}

/* --- a few pages ---------------------------------------------------------------------------- */

static int pagemap;
static char *mem;		/* where the pages are */
static uint64_t base;		/* the same */
static int uffd = -1;
static struct page_region got[MAX_REGIONS];

static const struct sdi_view view = { .sd = (void *)1, .proc = "/proc/self" };

static void pages(int n, int flags)
{
	mem = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	T_MUST(mem != MAP_FAILED);
	madvise(mem, n * PAGE, MADV_NOHUGEPAGE);
	base = (uintptr_t)mem;
	mapping = (struct softdirty_mapping){ .start = base, .end = base + n * PAGE };
	n_dirty = 0;
	backend = "wp-async";
	read_error = 0;
}

static void set_dirty(int from, int to, uint32_t reason)
{
	dirty[n_dirty++] = (struct softdirty_range){
		base + from * PAGE, base + to * PAGE, SOFTDIRTY_WRITTEN, reason,
	};
}

/* As tracking leaves it: all protected, the empty pages of it by markers. */
static bool protect(int n)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	struct uffdio_register reg = { .range = { base, n * PAGE }, .mode = 2 };
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = base, .end = base + n * PAGE,
		.flags = PM_SCAN_WP_MATCHING, .category_mask = PAGE_IS_WRITTEN,
	};

	close(uffd);
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	return uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api) &&
	       !ioctl(uffd, UFFDIO_REGISTER, &reg) && !ioctl(pagemap, PAGEMAP_SCAN, &arg);
}

static void entries(uint64_t *e, int n)
{
	ssize_t size = n * 8;

	T_MUST(pread(pagemap, e, size, base / PAGE * 8) == size);
	sdi_emulate_entries(&view, base / PAGE, e, n);
}

static struct pm_scan_arg ask(int n, uint64_t mask, uint64_t ret)
{
	return (struct pm_scan_arg){
		.size = sizeof(struct pm_scan_arg), .start = base, .end = base + n * PAGE,
		.vec = (uintptr_t)got, .vec_len = MAX_REGIONS, .category_mask = mask,
		.return_mask = ret,
	};
}

static int scan(struct pm_scan_arg *arg)
{
	memset(got, 0, sizeof(got));
	return sdi_emulate_scan(&view, pagemap, getpid(), -1, arg);
}

static bool is_region(int i, int from, int to, uint64_t categories)
{
	bool same = got[i].start == base + from * PAGE && got[i].end == base + to * PAGE &&
		    got[i].categories == categories;

	if (!same)
		t_note("region %d is %lld-%lld %#llx", i, (long long)(got[i].start - base) / 4096,
		       (long long)(got[i].end - base) / 4096, got[i].categories);
	return same;
}

/* --- clear_refs ----------------------------------------------------------------------------- */

static void clear_refs_reads_numbers_as_the_kernel_does(void)
{
	T_EQ(sdi_clear_refs_number("4\n", 2), 4);
	T_EQ(sdi_clear_refs_number("4", 2), 4);
	T_EQ(sdi_clear_refs_number("  +4 \n", 6), 4);
	T_EQ(sdi_clear_refs_number("04", 2), 4);
	T_EQ(sdi_clear_refs_number("5", 1), 5);
	T_EQ(sdi_clear_refs_number("4 4", 3), -EINVAL);
	T_EQ(sdi_clear_refs_number("0x4", 3), -EINVAL);
	T_EQ(sdi_clear_refs_number("", 0), -EINVAL);
	T_EQ(sdi_clear_refs_number("+-4", 3), -EINVAL);
	T_EQ(sdi_clear_refs_number("44444444444444", 14), -EINVAL);
}

/* --- entries -------------------------------------------------------------------------------- */

static void bit_55_is_the_librarys_answer(void)
{
	uint64_t e[4];

	pages(4, MAP_PRIVATE);
	memset(mem, 1, 2 * PAGE);
	set_dirty(1, 3, 0);
	entries(e, 4);
	T_EQ(e[0] >> 55, (PM_ENTRY_PRESENT >> 55) | 2);	/* bit 56: mapped by nobody else */
	T_EQ(e[1] >> 55, (PM_ENTRY_PRESENT >> 55) | 3);
	T_EQ(e[2], PM_ENTRY_SOFT_DIRTY);
	T_EQ(e[3], 0);
}

/* The kernel looks past tags, and answers for the page. */
static void tagged_addresses_are_the_same_pages(void)
{
	uint64_t e[4], tag = 1ull << 57, answer[4];
	struct pm_scan_arg arg;

	pages(4, MAP_PRIVATE);
	memset(mem, 1, 4 * PAGE);
	set_dirty(1, 2, 0);
	T_MUST(pread(pagemap, e, sizeof(e), (off_t)(base / PAGE * 8)) == sizeof(e));
	memcpy(answer, e, sizeof(e));
	sdi_emulate_entries(&view, base / PAGE, e, 4);
	sdi_emulate_entries(&view, (base | tag) / PAGE, answer, 4);
	T_OK(e[1] >> 55 & 1);
	T_OK(!memcmp(e, answer, sizeof(e)));
	arg = ask(4, DIRTY, DIRTY);
	arg.start |= tag;
	arg.end |= tag;
	/* Which the kernel takes only where such tags are in use. */
	if (scan(&arg) == 1)
		T_OK(is_region(0, 1, 2, DIRTY));
}

static void everything_is_dirty_when_the_library_fails(void)
{
	uint64_t e[2];

	pages(2, MAP_PRIVATE);
	read_error = -ENOMEM;
	entries(e, 2);
	T_EQ(e[0], PM_ENTRY_SOFT_DIRTY);
	T_EQ(e[1], PM_ENTRY_SOFT_DIRTY);
}

static void marks_of_tracking_are_hidden(void)
{
	uint64_t e[3];

	pages(3, MAP_SHARED);
	mapping.flags = SOFTDIRTY_SHARED | SOFTDIRTY_FILE;
	mem[0] = 1;
	if (!protect(3))
		T_SKIP("this kernel has no WP_ASYNC");
	set_dirty(2, 3, 0);
	entries(e, 3);
	T_EQ(e[0] >> 55 & 0x1fd, (PM_ENTRY_PRESENT | PM_ENTRY_FILE) >> 55);
	T_EQ(e[1], 0);
	T_EQ(e[2], PM_ENTRY_SOFT_DIRTY);
}

static void marks_of_the_targets_own_userfaultfd_are_shown(void)
{
	uint64_t e[2];

	pages(2, MAP_SHARED);
	mem[0] = 1;
	if (!protect(2))
		T_SKIP("this kernel has no WP_ASYNC");
	set_dirty(0, 2, SOFTDIRTY_REASON_UFFD);
	entries(e, 2);
	T_OK(e[0] & PM_ENTRY_UFFD_WP);
	T_OK(e[1] & PM_ENTRY_SWAP);
	n_dirty = 0;
	backend = "hash";
	entries(e, 2);
	T_OK(e[0] & PM_ENTRY_UFFD_WP);
}

/* Nothing of this process is in swap, or all is uncertain and then dirty. */
static void a_marker_in_a_private_file_mapping_is_never_called_clean_data(void)
{
	uint64_t e[1];

	pages(1, MAP_SHARED);
	mapping.inode = 1;
	mapping.flags = SOFTDIRTY_FILE;
	if (!protect(1))
		T_SKIP("this kernel has no WP_ASYNC");
	entries(e, 1);
	T_OK(e[0] == 0 || (e[0] & PM_ENTRY_SOFT_DIRTY));
	if (t_proc_number("/proc/self/status", "VmSwap") == 0)
		T_EQ(e[0], 0);
}

/* --- PAGEMAP_SCAN --------------------------------------------------------------------------- */

static void regions_are_cut_where_dirtiness_changes(void)
{
	struct pm_scan_arg a;

	pages(6, MAP_PRIVATE);
	memset(mem, 1, 4 * PAGE);
	set_dirty(1, 2, 0);
	set_dirty(3, 5, 0);
	a = ask(6, PAGE_IS_PRESENT, PAGE_IS_PRESENT | DIRTY);
	T_EQ(scan(&a), 4);
	T_OK(is_region(0, 0, 1, PAGE_IS_PRESENT));
	T_OK(is_region(1, 1, 2, PAGE_IS_PRESENT | DIRTY));
	T_OK(is_region(2, 2, 3, PAGE_IS_PRESENT));
	T_OK(is_region(3, 3, 4, PAGE_IS_PRESENT | DIRTY));
	T_EQ(a.walk_end, a.end);
	a = ask(6, PAGE_IS_PRESENT, PAGE_IS_PRESENT);
	T_EQ(scan(&a), 1);
	T_OK(is_region(0, 0, 4, PAGE_IS_PRESENT));
}

static void soft_dirty_works_in_every_mask(void)
{
	struct pm_scan_arg a;

	pages(4, MAP_PRIVATE);
	memset(mem, 1, 3 * PAGE);
	set_dirty(1, 2, 0);
	set_dirty(3, 4, 0);
	a = ask(4, DIRTY, DIRTY);
	T_EQ(scan(&a), 2);
	T_OK(is_region(0, 1, 2, DIRTY));
	T_OK(is_region(1, 3, 4, DIRTY));	/* untouched, in a new mapping */
	a = ask(4, DIRTY, PAGE_IS_PRESENT);
	a.category_inverted = DIRTY;
	T_EQ(scan(&a), 2);
	T_OK(is_region(0, 0, 1, PAGE_IS_PRESENT));
	T_OK(is_region(1, 2, 3, PAGE_IS_PRESENT));
	a = ask(4, 0, PAGE_IS_PRESENT | DIRTY);
	a.category_anyof_mask = DIRTY | PAGE_IS_SWAPPED;
	T_EQ(scan(&a), 2);
	T_OK(is_region(0, 1, 2, PAGE_IS_PRESENT | DIRTY));
}

static void the_scan_stops_and_goes_on_where_it_must(void)
{
	struct pm_scan_arg a;

	pages(6, MAP_PRIVATE);
	memset(mem, 1, 6 * PAGE);
	set_dirty(1, 2, 0);
	set_dirty(3, 4, 0);
	a = ask(6, PAGE_IS_PRESENT, DIRTY);
	a.vec_len = 2;
	T_EQ(scan(&a), 2);
	T_EQ((a.walk_end - base) / PAGE, 2);
	a.start = a.walk_end;
	T_EQ(scan(&a), 2);
	T_OK(is_region(0, 2, 3, 0));
	T_EQ((a.walk_end - base) / PAGE, 4);
	a = ask(6, PAGE_IS_PRESENT, PAGE_IS_PRESENT);
	a.max_pages = 4;
	T_EQ(scan(&a), 1);
	T_OK(is_region(0, 0, 4, PAGE_IS_PRESENT));
	T_EQ((a.walk_end - base) / PAGE, 4);
	a = ask(6, DIRTY, DIRTY);
	a.max_pages = 2;
	T_EQ(scan(&a), 2);
	T_EQ(a.walk_end, a.end);	/* nothing follows */
}

/* More than the kernel's 512 at a time, where its own walk_end is stale. */
static void thousands_of_regions_end_at_the_end(void)
{
	enum { N = 6000 };
	struct page_region *vec = calloc(N, sizeof(*vec));
	struct pm_scan_arg a;
	uint64_t n_pages = 0;
	int n;

	pages(N, MAP_PRIVATE);
	for (int i = 0; i < N; i += 2)
		mem[i * PAGE] = 1;
	set_dirty(0, N, 0);
	a = ask(N, PAGE_IS_PRESENT, DIRTY);
	a.vec = (uintptr_t)vec;
	a.vec_len = N;
	n = scan(&a);
	T_EQ(n, N / 2);
	T_EQ(a.walk_end, a.end);
	for (int i = 0; i < n; i++)
		n_pages += vec[i].start == base + 2 * i * PAGE && vec[i].categories == DIRTY;
	T_EQ(n_pages, N / 2);
	free(vec);
}

static void a_scan_shows_no_marks_of_tracking(void)
{
	struct pm_scan_arg a;

	pages(3, MAP_SHARED);
	mapping.flags = SOFTDIRTY_SHARED | SOFTDIRTY_FILE;
	mem[0] = 1;
	if (!protect(3))
		T_SKIP("this kernel has no WP_ASYNC");
	a = ask(3, 0, ALL | DIRTY);
	T_EQ(scan(&a), 2);
	T_OK(is_region(0, 0, 1, PAGE_IS_PRESENT | PAGE_IS_WRITTEN));
	T_OK(is_region(1, 1, 3, PAGE_IS_WRITTEN));
	a = ask(3, PAGE_IS_SWAPPED, ALL);
	T_EQ(scan(&a), 0);
}

/* A write that follows would be lost: the page would look clean to the tracking. */
static void others_cannot_protect_what_is_tracked(void)
{
	struct pm_scan_arg a;
	uint64_t e;

	pages(1, MAP_PRIVATE);
	mem[0] = 1;
	if (!protect(1))
		T_SKIP("this kernel has no WP_ASYNC");
	mem[0] = 2;
	a = ask(1, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN);
	a.flags = PM_SCAN_WP_MATCHING;
	T_EQ(scan(&a), 0);
	T_EQ(a.walk_end, a.end);
	T_MUST(pread(pagemap, &e, 8, base / PAGE * 8) == 8);
	T_OK(!(e & PM_ENTRY_UFFD_WP));
	a.flags |= PM_SCAN_CHECK_WPASYNC;
	T_EQ(scan(&a), -EPERM);
	/* Where it is the target's own userfaultfd, it works. */
	set_dirty(0, 1, SOFTDIRTY_REASON_UFFD);
	a = ask(1, PAGE_IS_WRITTEN | DIRTY, PAGE_IS_WRITTEN | DIRTY);
	a.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	T_EQ(scan(&a), 1);
	T_OK(is_region(0, 0, 1, PAGE_IS_WRITTEN | DIRTY));
	T_MUST(pread(pagemap, &e, 8, base / PAGE * 8) == 8);
	T_OK(e & PM_ENTRY_UFFD_WP);
}

static void wrong_arguments_get_the_kernels_errors(void)
{
	struct pm_scan_arg a;

	pages(1, MAP_PRIVATE);
	mem[0] = 1;
	a = ask(1, 0, DIRTY);
	a.size--;
	T_EQ(scan(&a), -EINVAL);
	a = ask(1, 1ull << 60, DIRTY);
	T_EQ(scan(&a), -EINVAL);
	a = ask(1, 0, DIRTY);
	a.flags = 1 << 7;
	T_EQ(scan(&a), -EINVAL);
	a = ask(1, 0, DIRTY);
	a.start++;
	T_EQ(scan(&a), -EINVAL);
	a = ask(1, 0, DIRTY);
	a.end = a.start - PAGE;
	T_EQ(scan(&a), -EFAULT);
	a = ask(1, 0, DIRTY);
	a.end = UINT64_MAX;
	T_EQ(scan(&a), -EFAULT);
	a = ask(1, 0, DIRTY);
	a.vec = 8;
	T_EQ(scan(&a), -EFAULT);
	a = ask(1, 0, DIRTY);
	a.vec = 0;
	T_EQ(scan(&a), -EINVAL);
	a.vec_len = 0;
	T_EQ(scan(&a), 0);
	T_EQ(a.walk_end, a.end);
}

int main(void)
{
	struct pm_scan_arg empty = { .size = sizeof(empty) };

	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	T_MUST(pagemap >= 0);
	T_RUN(clear_refs_reads_numbers_as_the_kernel_does);
	T_RUN(bit_55_is_the_librarys_answer);
	T_RUN(tagged_addresses_are_the_same_pages);
	T_RUN(everything_is_dirty_when_the_library_fails);
	T_RUN(marks_of_tracking_are_hidden);
	T_RUN(marks_of_the_targets_own_userfaultfd_are_shown);
	T_RUN(a_marker_in_a_private_file_mapping_is_never_called_clean_data);
	if (ioctl(pagemap, PAGEMAP_SCAN, &empty)) {
		t_note("this kernel has no PAGEMAP_SCAN");
		return t_done();
	}
	T_RUN(regions_are_cut_where_dirtiness_changes);
	T_RUN(soft_dirty_works_in_every_mask);
	T_RUN(the_scan_stops_and_goes_on_where_it_must);
	T_RUN(thousands_of_regions_end_at_the_end);
	T_RUN(a_scan_shows_no_marks_of_tracking);
	T_RUN(others_cannot_protect_what_is_tracked);
	T_RUN(wrong_arguments_get_the_kernels_errors);
	return t_done();
}
