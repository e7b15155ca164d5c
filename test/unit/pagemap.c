/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of our own memory in every state, as PAGEMAP_SCAN and as the 64-bit entries show them.
 * Includes the source, to take the way that this kernel would not take.
 */
#include "target/pagemap.c"

#include <string.h>

#include "t.h"

enum { N = 8 };

static struct sdi_target self;
static int pagemap;
static uint64_t page;

struct shown {
	struct sdi_ranges by_scan, by_entries;
};

static void show(const char *base, size_t n_pages, struct shown *ret)
{
	uint64_t start = (uintptr_t)base, end = start + n_pages * page;
	struct sdi_maps m = { 0 };

	*ret = (struct shown){ 0 };
	T_MUST(!sdi_maps_read(&self, &m));
	const uint64_t any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
	struct populated scan = { m.v, m.v + m.n, SOFTDIRTY_NEW, 5, &ret->by_scan };
	struct populated entries = { m.v, m.v + m.n, SOFTDIRTY_NEW, 5, &ret->by_entries };
	if (sdi_scan_works())
		T_EQ(each_by_scan(pagemap, &m, any, true, start, end, add_region, &scan), 0);
	T_EQ(each_by_entries(pagemap, &m, any, start, end, add_region, &entries), 0);
	sdi_maps_fini(&m);
}

static void fini(struct shown *s)
{
	sdi_ranges_fini(&s->by_scan);
	sdi_ranges_fini(&s->by_entries);
}

/* One character for each page: what the list says it is. */
static void draw(const struct sdi_ranges *list, const char *base, size_t n_pages, char *ret)
{
	for (size_t i = 0; i < n_pages; i++) {
		uint64_t at = (uintptr_t)base + i * page;
		size_t k = sdi_ranges_find(list, at);
		uint32_t f = k < list->n && list->r[k].start <= at ? list->r[k].flags : 0;
		ret[i] = !f ? '-' : f & SOFTDIRTY_ZERO ? 'z' : f & SOFTDIRTY_SWAPPED ? 's' :
			 f & SOFTDIRTY_SHARED ? 'S' : f & SOFTDIRTY_FILE ? 'f' : 'a';
		T_OK(!f || (f & SOFTDIRTY_POPULATED && f & SOFTDIRTY_NEW && list->r[k].reason == 5));
	}
	ret[n_pages] = '\0';
}

static void expect(const char *base, const char *by_scan, const char *by_entries)
{
	struct shown s;
	char got[N + 1];

	show(base, N, &s);
	if (sdi_scan_works()) {
		draw(&s.by_scan, base, N, got);
		T_STREQ(got, by_scan);
	}
	draw(&s.by_entries, base, N, got);
	T_STREQ(got, by_entries);
	fini(&s);
}

static char *map(int flags, int fd)
{
	char *p = mmap(NULL, N * page, PROT_READ | PROT_WRITE, flags, fd, 0);

	T_MUST(p != MAP_FAILED);
	return p;
}

static char touch(volatile char *p)
{
	return *p;
}

static void anonymous_pages(void)
{
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(p, N * page, MADV_NOHUGEPAGE);
	expect(p, "--------", "--------");
	p[0] = p[5 * page] = 1;
	touch(p + 3 * page);
	expect(p, "a--z-a--", "a--a-a--");
	munmap(p, N * page);
}

static void pages_of_files(void)
{
	int fd = memfd_create("pages", MFD_CLOEXEC);

	T_MUST(fd >= 0 && !ftruncate(fd, N * page));
	char *shared = map(MAP_SHARED, fd), *private = map(MAP_PRIVATE, fd);
	shared[0] = shared[1 * page] = 1;
	expect(shared, "SS------", "SS------");
	madvise(private, N * page, MADV_RANDOM);
	touch(private);
	private[1 * page] = 1;
	expect(private, "fa------", "fa------");
	munmap(shared, N * page);
	munmap(private, N * page);
	close(fd);
}

/* Neighbours, holes, and more regions than one call of PAGEMAP_SCAN returns. */
static void every_page_comes_once_and_in_order(void)
{
	enum { MANY = 5000 };
	char *p = mmap(NULL, MANY * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	T_MUST(p != MAP_FAILED);
	madvise(p, MANY * page, MADV_NOHUGEPAGE);
	for (int i = 0; i < MANY; i++)
		if (i % 3 != 1)
			p[i * page] = 1;
	munmap(p + 7 * page, 1 * page);
	mprotect(p + 9 * page, page, PROT_READ);

	struct shown s;
	show(p, MANY, &s);
	const struct sdi_ranges *lists[] = { &s.by_entries, &s.by_scan };
	for (int l = 0; l < 1 + sdi_scan_works(); l++) {
		size_t n = 0;
		for (size_t i = 0; i < lists[l]->n; i++) {
			T_OK(!i || lists[l]->r[i].start > lists[l]->r[i - 1].end);
			n += (lists[l]->r[i].end - lists[l]->r[i].start) / page;
		}
		T_EQ(n, MANY - (MANY + 1) / 3);	/* the hole was never touched */
	}
	fini(&s);
	munmap(p, MANY * page);
}

/* New mappings that the list does not know are not in the answer; the rest is. */
static void only_listed_mappings_count(void)
{
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct sdi_vma v[] = {
		{ .start = (uintptr_t)p + page, .end = (uintptr_t)p + 3 * page },
		{ .start = (uintptr_t)p + 5 * page, .end = (uintptr_t)p + 6 * page },
	};
	struct sdi_maps m = { .v = v, .n = 2 };
	struct sdi_ranges out = { 0 };

	memset(p, 1, N * page);
	T_EQ(sdi_populated(&self, pagemap, &m, 0, UINT64_MAX, 0, 0, &out), 0);
	T_EQ(out.n, 2);
	T_OK(out.r[0].start == v[0].start && out.r[0].end == v[0].end);
	T_OK(out.r[1].start == v[1].start && out.r[1].end == v[1].end);
	sdi_ranges_fini(&out);
	munmap(p, N * page);
}

/* As old kernels do it, where reading the entries of 100 GiB would take long. */
static void empty_space_is_stepped_over(void)
{
	const uint64_t size = 100ull << 30;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct sdi_ranges out = { 0 };
	struct sdi_maps m = { 0 };

	T_MUST(p != MAP_FAILED);
	uint64_t start = (uintptr_t)p, end = start + size;
	T_MUST(!mprotect(p, page, PROT_NONE));	/* what follows is one empty mapping */
	T_MUST(!sdi_maps_read(&self, &m));
	T_OK(is_sparse(&m, 0, UINT64_MAX) && is_sparse(&m, start, end));
	T_OK(!is_sparse(&m, start, start + size / 2));
	struct populated pop = { sdi_maps_find(&m, start - N * page), m.v + m.n, 0, 0, &out };
	struct sparse s = { pagemap, &m, PAGE_IS_PRESENT, start, end, add_region, &pop };
	T_EQ(sdi_smaps_each(&self, visit_mapping, &s), 0);
	T_EQ(out.n, 0);
	munmap(p + 2 * page, size - 3 * page);
	p[page] = 1;
	T_EQ(sdi_smaps_each(&self, visit_mapping, &s), 0);
	T_OK(out.n == 1 && out.r[0].start == start + page && out.r[0].end == start + 2 * page);
	sdi_ranges_fini(&out);
	sdi_maps_fini(&m);
	munmap(p, 2 * page);
	munmap(p + size - page, page);
}

static int count(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	++*(int *)arg;
	return *(int *)arg == 600 ? 42 : 0;
}

static void a_scan_ends_with_what_its_function_returns(void)
{
	enum { MANY = 2000 };
	struct sdi_scan what = { .anyof = PAGE_IS_PRESENT, .ret = PAGE_IS_PRESENT };
	int n = 0;

	if (!sdi_scan_works())
		T_SKIP("no PAGEMAP_SCAN");
	char *p = mmap(NULL, MANY * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	madvise(p, MANY * page, MADV_NOHUGEPAGE);
	for (int i = 0; i < MANY; i += 2)
		p[i * page] = 1;
	T_EQ(sdi_scan(pagemap, &what, (uintptr_t)p, (uintptr_t)p + MANY * page, count, &n), 42);
	T_EQ(n, 600);
	munmap(p, MANY * page);
}

static uint64_t first_present(const char *start, const char *end)
{
	static const struct sdi_scan present = { .mask = PAGE_IS_PRESENT };
	uint64_t at = 1;

	T_EQ(sdi_scan_first(pagemap, &present, (uintptr_t)start, (uintptr_t)end, &at), 0);
	return at;
}

static void the_first_page_is_found(void)
{
	if (!sdi_scan_works())
		T_SKIP("no PAGEMAP_SCAN");
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(p, N * page, MADV_NOHUGEPAGE);
	T_EQ(first_present(p, p + N * page), (uintptr_t)p + N * page);
	p[2 * page] = p[3 * page] = p[6 * page] = 1;
	T_EQ(first_present(p, p + N * page), (uintptr_t)p + 2 * page);
	T_EQ(first_present(p + 3 * page, p + N * page), (uintptr_t)p + 3 * page);
	T_EQ(first_present(p + 4 * page, p + N * page), (uintptr_t)p + 6 * page);
	T_EQ(first_present(p + 7 * page, p + N * page), (uintptr_t)p + N * page);
	munmap(p, N * page);
}

static size_t n_huge(const char *p, size_t size)
{
	struct sdi_ranges list = { 0 };
	struct sdi_maps m = { 0 };
	size_t n = 0;

	T_MUST(!sdi_maps_read(&self, &m));
	T_EQ(sdi_populated(&self, pagemap, &m, (uintptr_t)p, (uintptr_t)p + size, 0, 0, &list), 0);
	for (size_t i = 0; i < list.n; i++)
		n += list.r[i].flags & SOFTDIRTY_HUGE ? list.r[i].end - list.r[i].start : 0;
	sdi_ranges_fini(&list);
	sdi_maps_fini(&m);
	return n;
}

/* The limit of one page must not break a huge one up. */
static void a_huge_page_stays_whole(void)
{
	const size_t huge = 2 << 20;

	if (!sdi_scan_works())
		T_SKIP("no PAGEMAP_SCAN");
	char *area = mmap(NULL, 3 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_MUST(area != MAP_FAILED);
	char *p = area + (-(uintptr_t)area & (huge - 1));
	madvise(p, huge, MADV_HUGEPAGE);
	p[0] = 1;
	if (n_huge(p, huge) == huge) {
		T_EQ(first_present(p, p + huge), (uintptr_t)p);
		T_EQ(first_present(p + 7 * page, p + huge), (uintptr_t)p + 7 * page);
		T_EQ(n_huge(p, huge), huge);
	} else {
		t_skip("got no huge page");
	}
	munmap(area, 3 * huge);
}

int main(void)
{
	page = sysconf(_SC_PAGESIZE);
	T_MUST(!sdi_target_open(0, &self));
	pagemap = sdi_target_openat(&self, "pagemap", O_RDONLY);
	T_MUST(pagemap >= 0);
	T_RUN(anonymous_pages);
	T_RUN(pages_of_files);
	T_RUN(every_page_comes_once_and_in_order);
	T_RUN(only_listed_mappings_count);
	T_RUN(empty_space_is_stepped_over);
	T_RUN(a_scan_ends_with_what_its_function_returns);
	T_RUN(the_first_page_is_found);
	T_RUN(a_huge_page_stays_whole);
	return t_done();
}
