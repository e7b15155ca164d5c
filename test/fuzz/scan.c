/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arguments of PAGEMAP_SCAN for a few pages of our own. The library is made up: the input says
 * which of them are dirty.
 *
 * Asked about all pages at once, or about one after the other: the answers are the same, as far as
 * the caller has room for them.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "emulate/emulate.h"
#include "fuzz.h"

enum { PAGES = 16, ROOM = 20 };

struct spec {
	uint16_t dirty;
	uint8_t marks, flags;
	uint8_t start, end, vec_len, max_pages;
	uint16_t inverted, mask, anyof, ret;
	int64_t more;			/* added to the end, to leave what we know */
} __attribute__((packed));

static struct softdirty_range dirty[PAGES];
static size_t n_dirty;
static bool leaves_marks;
static uint64_t base, page;
static int pagemap = -1;

int softdirty_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		   uint64_t end, const struct softdirty_range **ranges, size_t *n)
{
	*ranges = dirty;
	*n = n_dirty;
	return 0;
}

int softdirty_mappings(struct softdirty *sd, const struct softdirty_mapping **ret, size_t *n)
{
	static struct softdirty_mapping m;

	m = (struct softdirty_mapping){ .start = base, .end = base + PAGES * page };
	*ret = &m;
	*n = 1;
	return 0;
}

int softdirty_info(struct softdirty *sd, struct softdirty_info *ret)
{
	strcpy(ret->backend, leaves_marks ? "wp-async" : "hash");
	return 0;
}

/* Every other page has been written, so that there are two kinds. */
static void set_up(void)
{
	if (pagemap >= 0)
		return;
	page = sysconf(_SC_PAGESIZE);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	char *p = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	FUZZ_OK(pagemap >= 0 && p != MAP_FAILED);
	madvise(p, PAGES * page, MADV_NOHUGEPAGE);
	for (int i = 0; i < PAGES; i += 2)
		p[i * page] = 1;
	base = (uintptr_t)p;
}

static void set_dirty(const struct spec *s)
{
	n_dirty = 0;
	leaves_marks = s->marks & 1;
	for (int i = 0; i < PAGES; i++)
		if (s->dirty & 1 << i)
			dirty[n_dirty++] = (struct softdirty_range){
				base + i * page, base + (i + 1) * page, SOFTDIRTY_WRITTEN, 0,
			};
}

static bool is_dirty(uint64_t addr)
{
	for (size_t i = 0; i < n_dirty; i++)
		if (dirty[i].start == addr)
			return true;
	return false;
}

static struct pm_scan_arg argument(const struct spec *s, struct page_region *vec)
{
	return (struct pm_scan_arg){
		.size = sizeof(struct pm_scan_arg), .flags = s->flags, .vec = (uintptr_t)vec,
		.vec_len = s->vec_len % (ROOM + 1), .max_pages = s->max_pages,
		.start = base + s->start % PAGES * page,
		.end = base + s->end % (PAGES + 1) * page + s->more,
		.category_inverted = s->inverted, .category_mask = s->mask,
		.category_anyof_mask = s->anyof, .return_mask = s->ret,
	};
}

static int scan(struct pm_scan_arg *arg)
{
	struct sdi_view v = { .sd = (void *)1, .mark = "", .proc = "/proc/self" };

	return sdi_emulate_scan(&v, pagemap, getpid(), -1, arg);
}

static void check_order(const struct pm_scan_arg *arg, const struct page_region *r, int n)
{
	uint64_t pages = 0, at = arg->start;

	FUZZ_OK((uint64_t)n <= arg->vec_len);
	FUZZ_OK(arg->walk_end >= arg->start && arg->walk_end <= ((arg->end + page - 1) & -page));
	for (int i = 0; i < n; i++) {
		FUZZ_OK(r[i].start >= at && r[i].start < r[i].end);
		FUZZ_OK(!((r[i].start | r[i].end) & (page - 1)));
		FUZZ_OK(!(r[i].categories & ~arg->return_mask));
		at = r[i].end;
		pages += (r[i].end - r[i].start) / page;
	}
	FUZZ_OK(!n || at <= arg->walk_end);
	FUZZ_OK(!arg->max_pages || pages <= arg->max_pages);
	if (arg->vec_len && arg->walk_end < arg->end)
		FUZZ_OK((uint64_t)n == arg->vec_len || pages == arg->max_pages);
}

/* The part of the answer about one page; NULL: it is not in it. */
static const struct page_region *find(const struct page_region *r, int n, uint64_t addr)
{
	for (; n--; r++)
		if (addr >= r->start && addr < r->end)
			return r;
	return NULL;
}

static void check_page(const struct pm_scan_arg *all, const struct page_region *part,
		       uint64_t addr)
{
	struct page_region one;
	struct pm_scan_arg arg = *all;

	arg.start = addr;
	arg.end = addr + page;
	arg.vec = (uintptr_t)&one;
	arg.vec_len = 1;
	int n = scan(&arg);
	FUZZ_OK(n == !!part);
	FUZZ_OK(!part || part->categories == one.categories);
	if (part && all->return_mask & PAGE_IS_SOFT_DIRTY)
		FUZZ_OK(!(one.categories & PAGE_IS_SOFT_DIRTY) == !is_dirty(addr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct page_region vec[ROOM + 1];
	struct spec s;

	set_up();
	fuzz_take(&data, &size, &s, sizeof(s));
	set_dirty(&s);
	struct pm_scan_arg arg = argument(&s, vec), before = arg;
	memset(vec, 0x5a, sizeof(vec));
	int n = scan(&arg);
	FUZZ_OK(fuzz_untouched(vec + arg.vec_len, 0x5a, sizeof(vec) - arg.vec_len * sizeof(*vec)));
	if (n < 0)
		return 0;
	before.walk_end = arg.walk_end;
	FUZZ_OK(!memcmp(&arg, &before, sizeof(arg)));
	check_order(&arg, vec, n);
	uint64_t end = MIN(arg.walk_end, base + PAGES * page);
	for (uint64_t addr = arg.start; arg.vec_len && !arg.flags && addr < end; addr += page)
		check_page(&arg, find(vec, n, addr), addr);
	return 0;
}
