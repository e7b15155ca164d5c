/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table has one block for each 512 pages in which there is anything, as page tables do, and so is
 * as large as those: 8 bytes a page.
 *
 *	block    |v|v| | |v| ... 512 |	  value 0: as it was born. No page, or zeros in anonymous
 *					  memory; no page or the file's own in a private file mapping
 *
 * Reading swapped pages brings them back to memory; nothing else in the target changes.
 */
#include "track/content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/pagemap.h"

enum {
	BLOCK = 512,		/* pages */
	BATCH = 64,		/* pages read at once: as much as stays in the second cache */
};

/* Values that are no hash. */
enum { BORN = 0, UNREADABLE = 1, FIRST_HASH = 2 };

struct block {
	uint64_t first;
	uint64_t value[BLOCK];
};

struct sdi_content {
	int mem;			/* /proc/PID/mem */
	uint64_t page;			/* size of one */
	uint64_t zero;			/* hash of a page of zeros */
	char *buf;			/* BATCH pages */
	struct block **table;		/* in order of .first, but see find() */
	size_t n, n_sorted, cap;
};

/* What is being looked at: one block and what is there now. */
struct look {
	const struct sdi_tracker *tr;
	struct sdi_content *c;
	const struct sdi_maps *maps;
	enum sdi_collect how;
	struct sdi_ranges pages;	/* populated now */
	struct sdi_ranges changed;
	uint64_t first;			/* of this block */
	uint64_t value[BLOCK];
	uint32_t kind[BLOCK];		/* 0: not populated */
	uint16_t todo[BLOCK];		/* indexes of pages to read */
	size_t n_todo;
};

/* --- the table ------------------------------------------------------------------------------ */

static int by_first(const void *pa, const void *pb)
{
	const struct block *a = *(struct block *const *)pa, *b = *(struct block *const *)pb;

	return a->first < b->first ? -1 : a->first > b->first;
}

/* Index of the first block at or after `first` of those that were there when the round began. */
static size_t find(const struct sdi_content *c, uint64_t first)
{
	size_t lo = 0, hi = c->n_sorted;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (c->table[mid]->first >= first)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* A new block goes to the end of the table until the round is over. */
static struct block *add_block(struct sdi_content *c, uint64_t first)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap + c->cap / 2 : 64;
		struct block **table = realloc(c->table, cap * sizeof(*table));

		if (!table)
			return NULL;
		c->table = table;
		c->cap = cap;
	}
	struct block *b = calloc(1, sizeof(*b));
	if (b) {
		b->first = first;
		c->table[c->n++] = b;
	}
	return b;
}

static bool is_empty(const uint64_t *value)
{
	for (int i = 0; i < BLOCK; i++)
		if (value[i] != BORN)
			return false;
	return true;
}

/* Also after a round that failed: it must not leave the table out of order. */
static void end_round(struct sdi_content *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++) {
		if (is_empty(c->table[i]->value))
			free(c->table[i]);
		else
			c->table[n++] = c->table[i];
	}
	if (n > c->n_sorted || n < c->n)
		qsort(c->table, n, sizeof(*c->table), by_first);
	c->n = c->n_sorted = n;
}

/* --- reading pages -------------------------------------------------------------------------- */

static uint64_t hash_page(const struct sdi_content *c, const void *content)
{
	uint64_t hash = XXH3_64bits(content, c->page);

	return hash < FIRST_HASH ? FIRST_HASH : hash;
}

/*
 * /proc/PID/mem also reads what the target itself may not, PROT_NONE. But of a device it would read
 * the registers. Such mappings are never in l->pages where PAGEMAP_SCAN made them (it steps over
 * VM_PFNMAP), and are files.
 */
static bool may_force(const struct look *l, uint64_t addr)
{
	const struct sdi_vma *v = sdi_maps_find(l->maps, addr);

	return sdi_scan_works() || (v && !(v->flags & SDI_VMA_FILE));
}

/* One page that process_vm_readv() refused. */
static int read_hard(struct look *l, int i)
{
	struct sdi_content *c = l->c;
	uint64_t addr = l->first + i * c->page;
	ssize_t n = -1;

	l->value[i] = UNREADABLE;
	if (may_force(l, addr))
		n = pread(c->mem, c->buf, c->page, addr);
	if (n == 0)
		return -ESRCH;	/* that memory is gone */
	if (n == (ssize_t)c->page)
		l->value[i] = hash_page(c, c->buf);
	return 0;
}

/* Read todo[from ... to) at once; the count of pages that came. */
static size_t read_easy(struct look *l, size_t from, size_t to)
{
	struct iovec remote[BATCH], local = { l->c->buf, (to - from) * l->c->page };
	unsigned long n_remote = 0;

	for (size_t k = from; k < to; k++) {
		if (k > from && l->todo[k] == l->todo[k - 1] + 1) {
			remote[n_remote - 1].iov_len += l->c->page;
			continue;
		}
		remote[n_remote].iov_base = (void *)(uintptr_t)(l->first + l->todo[k] * l->c->page);
		remote[n_remote++].iov_len = l->c->page;
	}
	ssize_t n = process_vm_readv(l->tr->target.pid, &local, 1, remote, n_remote, 0);
	return n > 0 ? n / l->c->page : 0;
}

static int read_todo(struct look *l)
{
	for (size_t at = 0; at < l->n_todo;) {
		size_t to = MIN(at + BATCH, l->n_todo);
		size_t got = read_easy(l, at, to);

		for (size_t k = 0; k < got; k++)
			l->value[l->todo[at + k]] =
				hash_page(l->c, l->c->buf + k * l->c->page);
		at += got;
		if (at < to) {
			int err = read_hard(l, l->todo[at++]);
			if (err)
				return err;
		}
	}
	return 0;
}

/* --- one block ------------------------------------------------------------------------------ */

static uint64_t block_end(const struct look *l)
{
	return l->first + BLOCK * l->c->page;
}

/* What is populated in this block; r is the first run that may be. */
static void list_block(struct look *l, size_t r)
{
	memset(l->value, 0, sizeof(l->value));
	memset(l->kind, 0, sizeof(l->kind));
	l->n_todo = 0;
	for (; r < l->pages.n && l->pages.r[r].start < block_end(l); r++) {
		uint64_t from = MAX(l->pages.r[r].start, l->first);
		uint64_t to = MIN(l->pages.r[r].end, block_end(l));
		uint32_t kind = l->pages.r[r].flags;
		bool file = (kind & SOFTDIRTY_FILE) && !(kind & SOFTDIRTY_SHARED);

		for (; from < to; from += l->c->page) {
			int i = (from - l->first) / l->c->page;

			l->kind[i] = kind;
			if (!file && !(kind & SOFTDIRTY_ZERO))
				l->todo[l->n_todo++] = i;
		}
	}
}

/*
 * A page of zeros is what anonymous memory was born as, whether a page stands for it or not. A page of a
 * file was born as what the file holds; the zero page in its place is what KSM made of a copy.
 */
static uint64_t born_or_not(const struct look *l, const struct sdi_vma *v, int i)
{
	bool shared = v->flags & SDI_VMA_SHARED, file = v->flags & SDI_VMA_FILE;

	if (!shared && !file && l->value[i] == l->c->zero)
		return BORN;
	if (!shared && file && l->kind[i] & SOFTDIRTY_ZERO)
		return l->c->zero;
	return l->value[i];
}

/* Compare the part of the mapping that lies in this block. */
static int report(struct look *l, const struct block *b, const struct sdi_vma *v)
{
	uint64_t from = MAX(MAX(v->start, l->first), l->tr->from);
	uint64_t to = MIN(MIN(v->end, block_end(l)), l->tr->to);

	for (; from < to; from += l->c->page) {
		int i = (from - l->first) / l->c->page;
		uint64_t before = b ? b->value[i] : BORN, now = born_or_not(l, v, i);

		l->value[i] = now;
		uint32_t kind = l->kind[i] ? l->kind[i] : sdi_vma_kind(v);
		int err = 0;

		if (now == UNREADABLE)
			err = sdi_ranges_append(&l->changed, from, from + l->c->page,
						SOFTDIRTY_UNTRACKED | kind,
						SOFTDIRTY_REASON_UNREADABLE);
		else if (now != before)
			err = sdi_ranges_append(&l->changed, from, from + l->c->page,
						SOFTDIRTY_WRITTEN | kind, 0);
		if (err)
			return err;
	}
	return 0;
}

static int look_at_block(struct look *l, struct block *b, size_t first_run)
{
	const struct sdi_maps *m = l->maps;

	list_block(l, first_run);
	int err = read_todo(l);
	const struct sdi_vma *v = sdi_maps_find(m, l->first);
	for (; !err && v && v < m->v + m->n && v->start < block_end(l); v++)
		err = report(l, b, v);
	if (err || l->how == SDI_PEEK)
		return err;
	if (!b && is_empty(l->value))
		return 0;
	if (!b)
		b = add_block(l->c, l->first);
	if (!b)
		return -ENOMEM;
	memcpy(b->value, l->value, sizeof(b->value));
	return 0;
}

/* Every block with a populated page or an old value in it, in order. */
static int look_at_blocks(struct look *l)
{
	struct sdi_content *c = l->c;
	const uint64_t size = BLOCK * c->page;
	uint64_t at = l->tr->from & ~(size - 1);

	for (;;) {
		size_t t = find(c, at), r = sdi_ranges_find(&l->pages, at);
		uint64_t old = t < c->n_sorted ? c->table[t]->first : UINT64_MAX;
		uint64_t run = r < l->pages.n ? MAX(l->pages.r[r].start, at) & ~(size - 1) :
						UINT64_MAX;

		l->first = MIN(old, run);
		if (l->first >= l->tr->to || l->first == UINT64_MAX)
			return 0;
		int err = look_at_block(l, old == l->first ? c->table[t] : NULL, r);
		if (err)
			return err;
		at = l->first + size;
	}
}

/* --- all of it ------------------------------------------------------------------------------ */

/*
 * Shared memory keeps what was written to it when the page table forgets the page (MADV_DONTNEED,
 * reclaim), and only faulting it in again would tell what it holds.
 */
static int push_empty_shared(struct look *l, struct sdi_ranges *found)
{
	struct sdi_ranges shared = { 0 }, empty = { 0 };
	int err = 0;

	for (size_t i = 0; i < l->maps->n && !err; i++) {
		const struct sdi_vma *v = &l->maps->v[i];

		if (v->flags & SDI_VMA_SHARED)
			err = sdi_ranges_append(&shared, MAX(v->start, l->tr->from),
						MIN(v->end, l->tr->to),
						SOFTDIRTY_UNTRACKED | sdi_vma_kind(v),
						SOFTDIRTY_REASON_UNREADABLE);
	}
	if (!err)
		err = sdi_ranges_subtract(&shared, &l->pages, &empty);
	if (!err)
		err = sdi_ranges_push_all(found, &empty);
	sdi_ranges_fini(&shared);
	sdi_ranges_fini(&empty);
	return err;
}

static int look(struct look *l, struct sdi_ranges *found)
{
	int err = sdi_populated(&l->tr->target, l->tr->pagemap, l->maps, l->tr->from,
				l->tr->to, 0, 0, &l->pages);

	if (!err)
		err = look_at_blocks(l);
	if (!err)
		err = sdi_ranges_push_all(found, &l->changed);
	return err ? err : push_empty_shared(l, found);
}

int sdi_content_look(struct sdi_content *c, const struct sdi_tracker *tr, const struct sdi_maps *m,
		     enum sdi_collect how, struct sdi_ranges *found)
{
	struct look *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	*l = (struct look){ .tr = tr, .c = c, .maps = m, .how = how };
	int err = look(l, found);
	end_round(c);
	sdi_ranges_fini(&l->pages);
	sdi_ranges_fini(&l->changed);
	free(l);
	return err;
}

void sdi_content_close(struct sdi_content *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		free(c->table[i]);
	free(c->table);
	free(c->buf);
	sdi_cleanup_fd(&c->mem);
	free(c);
}

int sdi_content_open(const struct sdi_target *t, struct sdi_content **ret)
{
	struct sdi_content *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->mem = sdi_target_openat(t, "mem", O_RDONLY);
	c->page = sdi_page_size();
	c->buf = aligned_alloc(c->page, BATCH * c->page);
	int err = c->mem < 0 ? c->mem : c->buf ? 0 : -ENOMEM;
	if (err) {
		sdi_content_close(c);
		return err;
	}
	memset(c->buf, 0, c->page);
	c->zero = hash_page(c, c->buf);
	*ret = c;
	return 0;
}
