/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is mapped newly, against one cell for each page in random layouts. */
#include "track/known.h"

#include "t.h"

enum { PAGES = 80, PAGE = 4096, ROUNDS = 20000, KERNEL = 4 };

static uint64_t seed;

static unsigned rnd(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 20) % below;
}

/* cells: 0 nothing, KERNEL the kernel's own, 1 no file, 2 and 3 two places of a file */
static void random_maps(struct sdi_vma *v, struct sdi_maps *m, int *cells)
{
	unsigned gaps = 1 + rnd(4), at = rnd(5);

	*m = (struct sdi_maps){ .v = v };
	for (int i = 0; i < PAGES; i++)
		cells[i] = 0;
	while (at < PAGES) {
		unsigned end = at + 1 + rnd(9), what = 1 + rnd(4);
		if (end > PAGES)
			end = PAGES;
		v[m->n++] = (struct sdi_vma){
			.start = (uint64_t)at * PAGE, .end = (uint64_t)end * PAGE,
			.ident = what == 2 || what == 3, .base = what == 3 ? PAGE : 0,
			.flags = what == KERNEL ? SDI_VMA_KERNEL : SDI_VMA_READ,
		};
		for (; at < end; at++)
			cells[at] = what;
		at += rnd(gaps);
	}
}

static void fresh_is_what_was_not_or_was_something_else(void)
{
	static struct sdi_vma vt[PAGES], vn[PAGES];
	struct sdi_maps then, now, copy = { 0 };
	int ct[PAGES], cn[PAGES];
	struct sdi_ranges fresh = { 0 };

	for (int round = 1; round <= ROUNDS; round++) {
		seed = round * 0x9e3779b97f4a7c15u;
		random_maps(vt, &then, ct);
		random_maps(vn, &now, cn);
		T_EQ(sdi_known_set(&copy, &then), 0);
		T_EQ(copy.n, then.n);
		sdi_ranges_reset(&fresh);
		T_EQ(sdi_known_fresh(&copy, &now, &fresh), 0);
		for (int i = 0; i < PAGES; i++) {
			bool want = cn[i] && cn[i] != KERNEL && ct[i] != cn[i];
			T_EQ(sdi_ranges_cover(&fresh, (uint64_t)i * PAGE, (uint64_t)(i + 1) * PAGE),
			     want);
		}
	}
	sdi_ranges_fini(&fresh);
	sdi_maps_fini(&copy);
}

static void what_is_remembered_needs_no_more_room_than_it_has(void)
{
	static struct sdi_vma v[10000];
	struct sdi_maps now = { .v = v, .n = 10000 }, then = { 0 };

	T_EQ(sdi_known_set(&then, &now), 0);
	T_OK(then.cap >= 10000 && then.cap < 12000);
	now.n = 10;
	T_EQ(sdi_known_set(&then, &now), 0);
	T_OK(then.n == 10 && then.cap < 100);
	sdi_maps_fini(&then);
}

int main(void)
{
	T_RUN(fresh_is_what_was_not_or_was_something_else);
	T_RUN(what_is_remembered_needs_no_more_room_than_it_has);
	return t_done();
}
