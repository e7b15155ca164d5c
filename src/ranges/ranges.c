/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ranges/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { KEEP_CAP = 4096 };	/* runs of memory a reset list may hold on to */

void sdi_ranges_fini(struct sdi_ranges *list)
{
	if (list->cap)
		free(list->r);
	*list = (struct sdi_ranges){ 0 };
}

void sdi_ranges_reset(struct sdi_ranges *list)
{
	if (list->cap > KEEP_CAP || !list->cap)
		sdi_ranges_fini(list);
	list->n = 0;
}

void sdi_ranges_swap(struct sdi_ranges *a, struct sdi_ranges *b)
{
	struct sdi_ranges t = *a;

	*a = *b;
	*b = t;
}

static int grow(struct sdi_ranges *list)
{
	if (list->n < list->cap)
		return 0;
	size_t cap = MAX(list->n + list->n / 2, 16);
	struct softdirty_range *r = realloc(list->cap ? list->r : NULL, cap * sizeof(*r));
	if (!r)
		return -ENOMEM;
	if (!list->cap && list->n)
		memcpy(r, list->r, list->n * sizeof(*r));
	list->r = r;
	list->cap = cap;
	return 0;
}

int sdi_ranges_push(struct sdi_ranges *list, uint64_t start, uint64_t end, uint32_t flags,
		    uint32_t reason)
{
	if (start >= end)
		return 0;
	int err = grow(list);
	if (err)
		return err;
	list->r[list->n++] = (struct softdirty_range){ start, end, flags, reason };
	return 0;
}

static bool goes_on(const struct softdirty_range *a, const struct softdirty_range *b)
{
	return a->end == b->start && a->flags == b->flags && a->reason == b->reason;
}

int sdi_ranges_append(struct sdi_ranges *list, uint64_t start, uint64_t end, uint32_t flags,
		      uint32_t reason)
{
	struct softdirty_range next = { start, end, flags, reason };

	if (list->n && start < end && goes_on(&list->r[list->n - 1], &next)) {
		list->r[list->n - 1].end = end;
		return 0;
	}
	return sdi_ranges_push(list, start, end, flags, reason);
}

int sdi_ranges_push_all(struct sdi_ranges *list, const struct sdi_ranges *from)
{
	int err = 0;

	for (size_t i = 0; i < from->n && !err; i++)
		err = sdi_ranges_push(list, from->r[i].start, from->r[i].end, from->r[i].flags,
				      from->r[i].reason);
	return err;
}

static int strength(uint32_t flags)
{
	if (flags & SOFTDIRTY_NEW)
		return 3;
	if (flags & SOFTDIRTY_UNTRACKED)
		return 2;
	return !!(flags & SOFTDIRTY_WRITTEN);
}

/* What holds where both a and b do. */
static struct softdirty_range overlay(const struct softdirty_range *a,
				      const struct softdirty_range *b)
{
	const struct softdirty_range *why = strength(a->flags) >= strength(b->flags) ? a : b;

	/* New because of exec says more than new. */
	if (why->flags & b->flags & SOFTDIRTY_NEW && !why->reason)
		why = b;
	return (struct softdirty_range){
		.flags = (a->flags & ~SOFTDIRTY_WHY) | (why->flags & SOFTDIRTY_WHY),
		.reason = why->reason,
	};
}

/*
 * Walk two lists at once, from border to border. For each piece *pa and *pb are the runs that
 * cover it, or NULL.
 */
struct walk {
	const struct sdi_ranges *a, *b;
	size_t i, j;
	uint64_t pos;
};

static bool walk_next(struct walk *w, uint64_t *end, const struct softdirty_range **pa,
		      const struct softdirty_range **pb)
{
	while (w->i < w->a->n && w->a->r[w->i].end <= w->pos)
		w->i++;
	while (w->j < w->b->n && w->b->r[w->j].end <= w->pos)
		w->j++;
	const struct softdirty_range *a = w->i < w->a->n ? &w->a->r[w->i] : NULL;
	const struct softdirty_range *b = w->j < w->b->n ? &w->b->r[w->j] : NULL;
	if (!a && !b)
		return false;

	uint64_t first = MIN(a ? a->start : UINT64_MAX, b ? b->start : UINT64_MAX);
	if (w->pos < first)
		w->pos = first;
	*pa = a && a->start <= w->pos ? a : NULL;
	*pb = b && b->start <= w->pos ? b : NULL;
	*end = UINT64_MAX;
	if (a)
		*end = MIN(*end, *pa ? a->end : a->start);
	if (b)
		*end = MIN(*end, *pb ? b->end : b->start);
	return true;
}

int sdi_ranges_merge(const struct sdi_ranges *a, const struct sdi_ranges *b,
		     struct sdi_ranges *ret)
{
	struct walk w = { .a = a, .b = b };
	const struct softdirty_range *pa, *pb;
	uint64_t end;

	sdi_ranges_reset(ret);
	for (; walk_next(&w, &end, &pa, &pb); w.pos = end) {
		struct softdirty_range r = pa && pb ? overlay(pa, pb) : pa ? *pa : *pb;
		int err = sdi_ranges_append(ret, w.pos, end, r.flags, r.reason);
		if (err)
			return err;
	}
	return 0;
}

static int select_a(const struct sdi_ranges *a, const struct sdi_ranges *b, bool in_b,
		    struct sdi_ranges *ret)
{
	struct walk w = { .a = a, .b = b };
	const struct softdirty_range *pa, *pb;
	uint64_t end;

	sdi_ranges_reset(ret);
	for (; w.i < a->n && walk_next(&w, &end, &pa, &pb); w.pos = end) {
		if (!pa || !!pb != in_b)
			continue;
		int err = sdi_ranges_append(ret, w.pos, end, pa->flags, pa->reason);
		if (err)
			return err;
	}
	return 0;
}

int sdi_ranges_subtract(const struct sdi_ranges *a, const struct sdi_ranges *b,
			struct sdi_ranges *ret)
{
	return select_a(a, b, false, ret);
}

int sdi_ranges_intersect(const struct sdi_ranges *a, const struct sdi_ranges *b,
			 struct sdi_ranges *ret)
{
	return select_a(a, b, true, ret);
}

typedef int operation(const struct sdi_ranges *, const struct sdi_ranges *, struct sdi_ranges *);

static int in_place(operation *op, struct sdi_ranges *a, const struct sdi_ranges *b)
{
	struct sdi_ranges ret = { 0 };
	int err = op(a, b, &ret);

	if (!err)
		sdi_ranges_swap(a, &ret);
	sdi_ranges_fini(&ret);
	return err;
}

int sdi_ranges_add(struct sdi_ranges *a, const struct sdi_ranges *b)
{
	return b->n ? in_place(sdi_ranges_merge, a, b) : 0;
}

bool sdi_ranges_inside(const struct sdi_ranges *a, const struct sdi_ranges *b)
{
	size_t j = 0;

	for (size_t i = 0; i < a->n; i++) {
		while (j < b->n && b->r[j].end <= a->r[i].start)
			j++;
		if (j == b->n || b->r[j].start > a->r[i].start || b->r[j].end < a->r[i].end)
			return false;
		if (b->r[j].end >= a->r[a->n - 1].end)
			break;
	}
	return true;
}

int sdi_ranges_keep(struct sdi_ranges *a, const struct sdi_ranges *b)
{
	/* The usual answer, and then nothing need be copied. */
	return !sdi_ranges_inside(a, b) ? in_place(sdi_ranges_intersect, a, b) : 0;
}

int sdi_ranges_remove(struct sdi_ranges *a, const struct sdi_ranges *b)
{
	return a->n && b->n ? in_place(sdi_ranges_subtract, a, b) : 0;
}

static int by_start(const void *pa, const void *pb)
{
	const struct softdirty_range *a = pa, *b = pb;

	return a->start < b->start ? -1 : a->start > b->start;
}

static bool in_order(const struct sdi_ranges *list)
{
	for (size_t i = 1; i < list->n; i++)
		if (list->r[i].start < list->r[i - 1].end)
			return false;
	return true;
}

/*
 * Merge sort of lists: the pushed runs are split where the order breaks, and the pieces, each in
 * order, are merged two by two.
 */
static int sort_part(const struct softdirty_range *r, size_t n, struct sdi_ranges *ret)
{
	struct sdi_ranges part = { .r = (struct softdirty_range *)r, .n = n };

	if (n <= 1 || in_order(&part)) {
		for (size_t i = 0; i < n; i++) {
			int err = sdi_ranges_append(ret, r[i].start, r[i].end, r[i].flags,
						    r[i].reason);
			if (err)
				return err;
		}
		return 0;
	}
	struct sdi_ranges a = { 0 }, b = { 0 };
	int err = sort_part(r, n / 2, &a);
	if (!err)
		err = sort_part(r + n / 2, n - n / 2, &b);
	if (!err)
		err = sdi_ranges_merge(&a, &b, ret);
	sdi_ranges_fini(&a);
	sdi_ranges_fini(&b);
	return err;
}

/* Runs in order that touch and are alike become one. */
static void join(struct sdi_ranges *list)
{
	size_t n = list->n, i = 1;

	while (i < n && !goes_on(&list->r[i - 1], &list->r[i]))
		i++;	/* mostly to the end */
	list->n = MIN(i, n);
	for (; i < n; i++) {
		struct softdirty_range r = list->r[i];

		/* There is room: cannot fail. */
		sdi_ranges_append(list, r.start, r.end, r.flags, r.reason);
	}
}

int sdi_ranges_sort(struct sdi_ranges *list)
{
	struct sdi_ranges ret = { 0 };

	if (in_order(list)) {
		join(list);
		return 0;
	}
	qsort(list->r, list->n, sizeof(*list->r), by_start);
	int err = sort_part(list->r, list->n, &ret);
	if (!err)
		sdi_ranges_swap(list, &ret);
	sdi_ranges_fini(&ret);
	return err;
}

size_t sdi_ranges_find(const struct sdi_ranges *list, uint64_t addr)
{
	size_t lo = 0, hi = list->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (list->r[mid].end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

bool sdi_ranges_cover(const struct sdi_ranges *list, uint64_t start, uint64_t end)
{
	for (size_t i = sdi_ranges_find(list, start); i < list->n && start < end; i++) {
		if (list->r[i].start > start)
			return false;
		start = list->r[i].end;
	}
	return start >= end;
}
