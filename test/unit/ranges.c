/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists of ranges against the dumbest thing that can do the same: one cell for each page. Every
 * failure prints the seed of its round.
 */
#include "ranges/ranges.h"

#include <string.h>

#include "t.h"

enum { PAGES = 96, PAGE = 4096 };
#define ROUNDS (t_is_slow() ? 4000 : 20000)

struct cell {
	bool in;
	uint32_t flags, reason;
};

static uint64_t seed;

static unsigned rnd(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 20) % below;
}

static uint32_t random_why(void)
{
	static const uint32_t why[] = {
		0, SOFTDIRTY_WRITTEN, SOFTDIRTY_NEW, SOFTDIRTY_UNTRACKED,
	};
	return why[rnd(4)];
}

static uint32_t random_kind(void)
{
	static const uint32_t kind[] = {
		SOFTDIRTY_POPULATED, SOFTDIRTY_POPULATED | SOFTDIRTY_FILE, SOFTDIRTY_SHARED,
	};
	return kind[rnd(3)];
}

static int strength(uint32_t flags)
{
	return flags & SOFTDIRTY_NEW ? 3 : flags & SOFTDIRTY_UNTRACKED ? 2 :
	       flags & SOFTDIRTY_WRITTEN ? 1 : 0;
}

/* A list in order, and the cells it stands for. */
static void random_list(struct sdi_ranges *list, struct cell *cells)
{
	unsigned gaps = 1 + rnd(8), lengths = 1 + rnd(12);

	memset(cells, 0, PAGES * sizeof(*cells));
	sdi_ranges_reset(list);
	for (unsigned at = rnd(2) ? 0 : rnd(PAGES); at < PAGES;) {
		unsigned end = at + 1 + rnd(lengths);
		if (end > PAGES)
			end = PAGES;
		struct cell c = { true, random_why() | random_kind(), rnd(2) };
		T_MUST(!sdi_ranges_append(list, (uint64_t)at * PAGE, (uint64_t)end * PAGE, c.flags,
					  c.reason));
		for (; at < end; at++)
			cells[at] = c;
		at += rnd(gaps);
	}
}

/* Sorted, apart, and joined wherever two neighbours are alike. */
static bool well_formed(const struct sdi_ranges *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct softdirty_range *r = &list->r[i];
		if (r->start >= r->end)
			return false;
		if (!i)
			continue;
		if (r->start < r[-1].end)
			return false;
		if (r->start == r[-1].end && r->flags == r[-1].flags && r->reason == r[-1].reason)
			return false;
	}
	return true;
}

static void same(const struct sdi_ranges *list, const struct cell *want)
{
	static struct cell got[PAGES];
	bool ok = well_formed(list);

	memset(got, 0, sizeof(got));
	for (size_t i = 0; ok && i < list->n; i++)
		for (uint64_t p = list->r[i].start / PAGE; p < list->r[i].end / PAGE; p++)
			got[p] = (struct cell){ true, list->r[i].flags, list->r[i].reason };
	for (int p = 0; ok && p < PAGES; p++)
		ok = got[p].in == want[p].in &&
		     (!got[p].in ||
		      (got[p].flags == want[p].flags && got[p].reason == want[p].reason));
	T_OK(ok);
}

static struct cell merged(struct cell a, struct cell b)
{
	if (!a.in || !b.in)
		return a.in ? a : b;
	bool from_b = strength(b.flags) > strength(a.flags);

	if (a.flags & b.flags & SOFTDIRTY_NEW && !a.reason)
		from_b = true;

	return (struct cell){
		true,
		(a.flags & ~SOFTDIRTY_WHY) | ((from_b ? b : a).flags & SOFTDIRTY_WHY),
		(from_b ? b : a).reason,
	};
}

enum operation { MERGE, SUBTRACT, INTERSECT };

static struct cell reference(enum operation op, struct cell a, struct cell b)
{
	if (op == MERGE)
		return merged(a, b);
	return a.in && b.in == (op == INTERSECT) ? a : (struct cell){ 0 };
}

static void try_operation(enum operation op)
{
	static int (*const with_ret[])(const struct sdi_ranges *, const struct sdi_ranges *,
				       struct sdi_ranges *) = {
		sdi_ranges_merge, sdi_ranges_subtract, sdi_ranges_intersect,
	};
	static int (*const in_place[])(struct sdi_ranges *, const struct sdi_ranges *) = {
		sdi_ranges_add, sdi_ranges_remove, sdi_ranges_keep,
	};
	struct sdi_ranges a = { 0 }, b = { 0 }, ret = { 0 };
	struct cell ca[PAGES], cb[PAGES], want[PAGES];

	for (int round = 1; round <= ROUNDS; round++) {
		seed = round * 0x9e3779b97f4a7c15u + op;
		random_list(&a, ca);
		random_list(&b, cb);
		if (rnd(20) == 0) {
			sdi_ranges_reset(rnd(2) ? &a : &b);
			memset(a.n ? cb : ca, 0, sizeof(ca));
		}
		for (int p = 0; p < PAGES; p++)
			want[p] = reference(op, ca[p], cb[p]);
		T_EQ(with_ret[op](&a, &b, &ret), 0);
		same(&ret, want);
		T_EQ(in_place[op](&a, &b), 0);
		same(&a, want);
	}
	sdi_ranges_fini(&a);
	sdi_ranges_fini(&b);
	sdi_ranges_fini(&ret);
}

static void merge_keeps_every_page_and_the_stronger_why(void)
{
	try_operation(MERGE);
}

static void subtract_leaves_only_what_b_has_not(void)
{
	try_operation(SUBTRACT);
}

static void intersect_leaves_only_what_both_have(void)
{
	try_operation(INTERSECT);
}

/* Pushed anywhere, overlapping: which kind wins is open, the why and its reason are not. */
static void sort_puts_overlapping_pushes_in_order(void)
{
	struct sdi_ranges list = { 0 };
	struct softdirty_range pushed[40];

	for (int round = 1; round <= ROUNDS; round++) {
		seed = round * 0x9e3779b97f4a7c15u + 77;
		unsigned n = rnd(40), longest = 1 + rnd(PAGES / 2);
		sdi_ranges_reset(&list);
		for (unsigned i = 0; i < n; i++) {
			uint64_t start = rnd(PAGES), end = start + rnd(longest);
			pushed[i] = (struct softdirty_range){
				start * PAGE, (end > PAGES ? PAGES : end) * PAGE,
				random_why() | random_kind(), rnd(3),
			};
			T_MUST(!sdi_ranges_push(&list, pushed[i].start, pushed[i].end,
						pushed[i].flags, pushed[i].reason));
		}
		T_EQ(sdi_ranges_sort(&list), 0);
		T_OK(well_formed(&list));
		for (uint64_t at = 0; at < (uint64_t)PAGES * PAGE; at += PAGE) {
			size_t k = sdi_ranges_find(&list, at);
			const struct softdirty_range *got =
				k < list.n && list.r[k].start <= at ? &list.r[k] : NULL;
			int best = -1;
			bool kind = false, reason = false;
			for (unsigned i = 0; i < n; i++) {
				const struct softdirty_range *p = &pushed[i];
				if (at < p->start || at >= p->end)
					continue;
				if (strength(p->flags) > best)
					best = strength(p->flags), reason = false;
				if (!got)
					continue;
				kind |= (p->flags & ~SOFTDIRTY_WHY) == (got->flags & ~SOFTDIRTY_WHY);
				reason |= strength(p->flags) == best && p->reason == got->reason;
			}
			if (T_EQ(got != NULL, best >= 0) && got)
				T_OK(strength(got->flags) == best && kind && reason);
		}
	}
	sdi_ranges_fini(&list);
}

static void find_and_cover_agree_with_the_cells(void)
{
	struct sdi_ranges list = { 0 };
	struct cell cells[PAGES];

	for (int round = 1; round <= ROUNDS / 10; round++) {
		seed = round * 0x9e3779b97f4a7c15u + 99;
		random_list(&list, cells);
		for (int at = 0; at < PAGES; at++) {
			size_t k = sdi_ranges_find(&list, (uint64_t)at * PAGE);
			bool in = k < list.n && list.r[k].start <= (uint64_t)at * PAGE;
			T_OK(in == cells[at].in);
			T_OK(k == 0 || list.r[k - 1].end <= (uint64_t)at * PAGE);
			bool all = true;
			for (int end = at; end <= PAGES; all &= end < PAGES && cells[end].in, end++)
				T_EQ(sdi_ranges_cover(&list, (uint64_t)at * PAGE,
						      (uint64_t)end * PAGE), all);
		}
	}
	sdi_ranges_fini(&list);
}

static void empty_runs_are_nothing(void)
{
	struct sdi_ranges list = { 0 };

	T_EQ(sdi_ranges_append(&list, PAGE, PAGE, 0, 0), 0);
	T_EQ(sdi_ranges_push(&list, 2 * PAGE, PAGE, 0, 0), 0);
	T_EQ(sdi_ranges_sort(&list), 0);
	T_EQ(list.n, 0);
	T_EQ(sdi_ranges_append(&list, PAGE, 2 * PAGE, 0, 0), 0);
	T_EQ(sdi_ranges_append(&list, 2 * PAGE, 2 * PAGE, 0, 0), 0);
	T_EQ(sdi_ranges_append(&list, 2 * PAGE, 3 * PAGE, 0, 0), 0);
	T_EQ(list.n, 1);
	sdi_ranges_fini(&list);
}

/* A list in somebody else's memory: never freed, and copied when it has to grow. */
static void borrowed_runs_are_left_alone(void)
{
	struct softdirty_range own[2] = { { PAGE, 2 * PAGE, 1, 0 }, { 3 * PAGE, 4 * PAGE, 2, 0 } };
	struct sdi_ranges list = { .r = own, .n = 2 }, other = { 0 };

	T_EQ(sdi_ranges_append(&list, 8 * PAGE, 9 * PAGE, 4, 0), 0);
	T_OK(list.r != own && list.n == 3 && list.r[1].flags == 2 && list.r[2].flags == 4);
	sdi_ranges_fini(&list);
	list = (struct sdi_ranges){ .r = own, .n = 2 };
	T_EQ(sdi_ranges_append(&other, 3 * PAGE, 4 * PAGE, 0, 0), 0);
	T_EQ(sdi_ranges_remove(&list, &other), 0);
	T_OK(list.r != own && list.n == 1);
	sdi_ranges_fini(&list);
	list = (struct sdi_ranges){ .r = own, .n = 2 };
	sdi_ranges_reset(&list);
	T_EQ(sdi_ranges_append(&list, PAGE, 2 * PAGE, 7, 0), 0);
	T_OK(list.r != own && own[0].flags == 1);
	sdi_ranges_fini(&list);
	sdi_ranges_fini(&other);
}

static void the_last_page_of_memory_is_no_special_case(void)
{
	const uint64_t top = UINT64_MAX & ~(uint64_t)(PAGE - 1);
	struct sdi_ranges a = { 0 }, b = { 0 }, ret = { 0 };

	T_MUST(!sdi_ranges_append(&a, top - PAGE, UINT64_MAX, SOFTDIRTY_WRITTEN, 0));
	T_MUST(!sdi_ranges_append(&b, top, UINT64_MAX, SOFTDIRTY_NEW, 0));
	T_EQ(sdi_ranges_merge(&a, &b, &ret), 0);
	T_EQ(ret.n, 2);
	T_EQ(sdi_ranges_subtract(&a, &b, &ret), 0);
	T_OK(ret.n == 1 && ret.r[0].end == top);
	sdi_ranges_fini(&a);
	sdi_ranges_fini(&b);
	sdi_ranges_fini(&ret);
}

int main(void)
{
	T_RUN(merge_keeps_every_page_and_the_stronger_why);
	T_RUN(subtract_leaves_only_what_b_has_not);
	T_RUN(intersect_leaves_only_what_both_have);
	T_RUN(sort_puts_overlapping_pushes_in_order);
	T_RUN(find_and_cover_agree_with_the_cells);
	T_RUN(empty_runs_are_nothing);
	T_RUN(borrowed_runs_are_left_alone);
	T_RUN(the_last_page_of_memory_is_no_special_case);
	return t_done();
}
