/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns all reading of /proc/PID/pagemap: PAGEMAP_SCAN where the kernel has it, else the 64-bit
 * entries. Knows what the kernel says about pages, not who wrote them when.
 */
#include "target/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/pace.h"
#include "target/smaps.h"

/* The kernel works with 512 regions at a time (PAGEMAP_WALK_SIZE). A call that is given more and
 * finishes returns the walk_end of an earlier pass, so never give it more. */
enum { VEC = 512 };

/* One call that stops after max_pages, 0: never. The count of regions or -errno. */
static int scan_once(int pagemap, const struct sdi_scan *what, uint64_t start, uint64_t end,
		     uint64_t max_pages, struct page_region *vec, size_t n_vec, uint64_t *walk_end)
{
	struct pm_scan_arg scan = {
		.size = sizeof(scan), .flags = what->flags, .start = start, .end = end,
		.vec = (uintptr_t)vec, .vec_len = n_vec, .max_pages = max_pages,
		.category_inverted = what->inverted, .category_mask = what->mask,
		.category_anyof_mask = what->anyof, .return_mask = what->ret,
	};
	int n = ioctl(pagemap, PAGEMAP_SCAN, &scan);

	*walk_end = scan.walk_end;
	return n < 0 ? -errno : n;
}

int sdi_scan(int pagemap, const struct sdi_scan *what, uint64_t start, uint64_t end,
	     sdi_scan_fn *fn, void *arg)
{
	struct page_region vec[VEC];

	while (start < end) {
		uint64_t walk_end;
		int n = scan_once(pagemap, what, start, end, 0, vec, VEC, &walk_end);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			int err = fn(arg, vec[i].start, vec[i].end, vec[i].categories);
			if (err)
				return err;
		}
		/* Finished, but not at the end: the span cut a hugetlb page, which the kernel then
		 * steps over. */
		if (n < VEC && walk_end < end)
			return -EINVAL;
		start = n < VEC ? end : MAX(walk_end, vec[n - 1].end);
	}
	return 0;
}

int sdi_scan_first(int pagemap, const struct sdi_scan *what, uint64_t start, uint64_t end,
		   uint64_t *ret)
{
	struct page_region first;
	uint64_t walk_end;
	int n = scan_once(pagemap, what, start, end, 1, &first, 1, &walk_end);

	if (n < 0)
		return n;
	*ret = n ? first.start : end;
	return 0;
}

/*
 * Full memory ends it at once. Page tables that are there and empty do not: so much of them takes the
 * kernel a millisecond or three.
 */
int sdi_scan_empty(int pagemap, struct sdi_pace *pace, uint64_t *hop, uint64_t start, uint64_t end,
		   uint64_t *ret)
{
	static const struct sdi_scan any = {
		.anyof = PAGE_IS_PRESENT | PAGE_IS_SWAPPED, .ret = PAGE_IS_PRESENT,
	};
	const uint64_t max_hop = 4ull << 30;

	for (*ret = start; *ret < end;) {
		uint64_t t0 = sdi_now_ns(), cut = *ret + MIN(*hop, end - *ret);
		int err = sdi_scan_first(pagemap, &any, *ret, cut, ret);
		uint64_t took = sdi_now_ns() - t0;

		sdi_pace_keep(pace, took, NULL);
		if (err || *ret < cut)
			return err;
		*hop = sdi_pace_is_quick(took) ? MIN(*hop * 2, max_hop) : SDI_PIECE_MAX;
	}
	return 0;
}

static int ignore(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	return 0;
}

/* Scan one page of our own for a category. */
static int try_scan(uint64_t category)
{
	struct sdi_scan what = { .anyof = category, .ret = category };
	size_t size = sysconf(_SC_PAGESIZE);

	autoclose int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	void *page = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	int err = sdi_scan(fd, &what, (uintptr_t)page, (uintptr_t)page + size, ignore, NULL);
	munmap(page, size);
	return err;
}

/* Two threads may both try; they find the same. Being out of descriptors is not an answer. */
static bool tried(atomic_int *known, uint64_t category)
{
	enum { UNKNOWN, YES, NO };

	if (atomic_load(known) == UNKNOWN) {
		int err = try_scan(category);
		if (!err)
			atomic_store(known, YES);
		else if (err == -ENOTTY || err == -EINVAL)
			atomic_store(known, NO);
	}
	return atomic_load(known) == YES;
}

bool sdi_scan_works(void)
{
	static atomic_int known;

	return tried(&known, PAGE_IS_PRESENT);
}

uint64_t sdi_scan_guard(void)
{
	static atomic_int known;

	return tried(&known, PAGE_IS_GUARD) ? PAGE_IS_GUARD : 0;
}

uint32_t sdi_kind(const struct sdi_vma *v, uint64_t categories)
{
	uint32_t kind = sdi_vma_kind(v);

	/* A written page of a private file mapping is anonymous, and so is all that is in swap. */
	if (!(v->flags & SDI_VMA_SHARED) && categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
		kind = categories & PAGE_IS_FILE ? SOFTDIRTY_FILE : 0;
	if (categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
		kind |= SOFTDIRTY_POPULATED;
	if (categories & PAGE_IS_PFNZERO)
		kind |= SOFTDIRTY_ZERO;
	if (categories & PAGE_IS_SWAPPED)
		kind |= SOFTDIRTY_SWAPPED;
	if (categories & PAGE_IS_HUGE)
		kind |= SOFTDIRTY_HUGE;
	return kind;
}

#define HUGE (2ull << 20)

/* Where it is not worth while any more to go on from v: at the first gap that wide, or at `to`. */
static uint64_t before_gap(const struct sdi_maps *m, const struct sdi_vma *v, uint64_t to,
			   uint64_t wide)
{
	while (v->end < to && v + 1 < m->v + m->n && v[1].start - v->end < wide)
		v++;
	return MIN(v->end, to);
}

int sdi_scan_mappings(int pagemap, const struct sdi_maps *m, const struct sdi_scan *what, bool hurry,
		      uint64_t start, uint64_t end, sdi_scan_fn *fn, void *arg)
{
	struct sdi_pace pace = { .hurry = hurry };
	uint64_t piece = SDI_PIECE_START;

	while (start < end) {
		const struct sdi_vma *v = sdi_maps_find(m, start);
		if (!v || v->start >= end)
			break;
		start = MAX(start, v->start);
		uint64_t to = MIN(end, (start + piece) & ~(HUGE - 1));
		to = before_gap(m, v, to, 16 * HUGE);
		uint64_t before = sdi_now_ns();
		int err = sdi_scan(pagemap, what, start, to, fn, arg);
		if (err)
			return err;
		sdi_pace_keep(&pace, sdi_now_ns() - before, &piece);
		start = to;
	}
	return 0;
}

static int each_by_scan(int pagemap, const struct sdi_maps *m, uint64_t any, bool gently,
			uint64_t start, uint64_t end, sdi_scan_fn *fn, void *arg)
{
	const struct sdi_scan what = {
		.anyof = any,
		.ret = any | PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE | PAGE_IS_PFNZERO |
		       PAGE_IS_HUGE | sdi_scan_guard(),
	};

	return sdi_scan_mappings(pagemap, m, &what, !gently, start, end, fn, arg);
}

static uint64_t categories_of(uint64_t entry)
{
	return (entry & PM_ENTRY_PRESENT ? PAGE_IS_PRESENT : 0) |
	       (entry & PM_ENTRY_SWAP ? PAGE_IS_SWAPPED : 0) |
	       (entry & PM_ENTRY_FILE ? PAGE_IS_FILE : 0) |
	       (entry & PM_ENTRY_SOFT_DIRTY ? PAGE_IS_SOFT_DIRTY : 0);
}

/* The pages of entries[0 ... n), which begin at start, in runs of equal ones. */
static int visit_entries(const uint64_t *entries, size_t n, uint64_t start, uint64_t any,
			 sdi_scan_fn *fn, void *arg)
{
	const uint64_t page = sdi_page_size();

	for (size_t i = 0, j; i < n; i = j) {
		uint64_t categories = categories_of(entries[i]);

		for (j = i + 1; j < n && categories_of(entries[j]) == categories; j++)
			;
		int err = categories & any ? fn(arg, start + i * page, start + j * page, categories)
					   : 0;
		if (err)
			return err;
	}
	return 0;
}

/* The kernel lets go of mmap_lock every 2 MiB of a read by itself. */
enum { ENTRIES = 4096 };

static int each_by_entries(int pagemap, const struct sdi_maps *m, uint64_t any, uint64_t start,
			   uint64_t end, sdi_scan_fn *fn, void *arg)
{
	const uint64_t page = sdi_page_size();
	uint64_t entries[ENTRIES];

	while (start < end) {
		const struct sdi_vma *v = sdi_maps_find(m, start);
		if (!v || v->start >= end)
			break;
		start = MAX(start, v->start);
		/* One call costs as much as some hundred entries, which are 0 in a gap. */
		uint64_t to = before_gap(m, v, MIN(end, start + ENTRIES * page), HUGE / 2);
		ssize_t n = pread(pagemap, entries, (to - start) / page * sizeof(*entries),
				  start / page * sizeof(*entries));
		if (n <= 0)
			return n < 0 ? -errno : -ESRCH;
		n /= sizeof(*entries);
		int err = visit_entries(entries, n, start, any, fn, arg);
		if (err)
			return err;
		start += n * page;
	}
	return 0;
}

/* Reading the entries of empty space takes 1 s for each TiB. Beyond this much smaps is faster. */
#define SPARSE (64ull << 30)

static bool is_sparse(const struct sdi_maps *m, uint64_t start, uint64_t end)
{
	const struct sdi_vma *v = sdi_maps_find(m, start);
	uint64_t size = 0;

	for (; v && v < m->v + m->n && v->start < end; v++)
		size += MIN(v->end, end) - MAX(v->start, start);
	return size > SPARSE;
}

struct sparse {
	int pagemap;
	const struct sdi_maps *m;
	uint64_t any, start, end;
	sdi_scan_fn *fn;
	void *arg;
};

static int visit_mapping(void *arg, const struct sdi_smap *m)
{
	const struct sparse *s = arg;
	uint64_t start = MAX(m->vma.start, s->start), end = MIN(m->vma.end, s->end);

	if (start >= end)
		return 0;
	if (m->flags & SDI_SMAP_POPULATED)
		return each_by_entries(s->pagemap, s->m, s->any, start, end, s->fn, s->arg);
	return m->flags & SDI_SMAP_NEW && s->any & PAGE_IS_SOFT_DIRTY ?
	       s->fn(s->arg, start, end, PAGE_IS_SOFT_DIRTY) : 0;
}

int sdi_pages_each(const struct sdi_target *t, int pagemap, const struct sdi_maps *m, uint64_t any,
		   bool gently, uint64_t start, uint64_t end, sdi_scan_fn *fn, void *arg)
{
	size_t n = m->n;

	/* [vsyscall] lies beyond what the kernel lets us ask for. */
	while (n && m->v[n - 1].flags & SDI_VMA_KERNEL)
		n--;
	if (!n)
		return 0;
	end = MIN(end, m->v[n - 1].end);
	if (sdi_scan_works())
		return each_by_scan(pagemap, m, any, gently, start, end, fn, arg);
	if (!t || !is_sparse(m, start, end))
		return each_by_entries(pagemap, m, any, start, end, fn, arg);
	struct sparse s = { pagemap, m, any, start, end, fn, arg };
	return sdi_smaps_each(t, visit_mapping, &s);
}

struct populated {
	const struct sdi_vma *v, *end;	/* mappings still to come */
	uint32_t extra, reason;
	struct sdi_ranges *out;
};

/* A region may span several mappings, and lie in ones that are newer than the list. */
static int add_region(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct populated *p = arg;

	/* A guard page is listed as swapped, but there is nothing in it. */
	if (categories & PAGE_IS_GUARD)
		return 0;
	for (; p->v < p->end && p->v->start < end; p->v++) {
		uint64_t from = MAX(start, p->v->start), to = MIN(end, p->v->end);
		int err = from >= to || p->v->flags & SDI_VMA_KERNEL ? 0 :
			  sdi_ranges_append(p->out, from, to,
					    sdi_kind(p->v, categories) | p->extra, p->reason);
		if (err)
			return err;
		if (p->v->end > end)
			break;
	}
	return 0;
}

int sdi_populated(const struct sdi_target *t, int pagemap, const struct sdi_maps *m, uint64_t start,
		  uint64_t end, uint32_t extra, uint32_t reason, struct sdi_ranges *out)
{
	struct populated p = { sdi_maps_find(m, start), m->v + m->n, extra, reason, out };

	return !p.v ? 0 : sdi_pages_each(t, pagemap, m, PAGE_IS_PRESENT | PAGE_IS_SWAPPED, true,
					 start, end, add_region, &p);
}
