/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may still be written by a device is said again: long enough, and not longer. */
#include <stdlib.h>

#include "t.h"
#include "track/carry.h"

#define SECOND 1000000000ull
#define FLIGHT SDI_MAX_FLIGHT_NS

/* An interval that ends at now and found the page [page, page + 1), or nothing (0). */
static void interval(struct sdi_carry *c, uint64_t page, bool in_flight, uint64_t now)
{
	struct sdi_ranges found = { 0 };

	if (page)
		T_MUST(!sdi_ranges_push(&found, page << 12, (page + 1) << 12, SOFTDIRTY_WRITTEN, 0));
	T_MUST(!sdi_carry_next(c, &found, found.n, in_flight, now));
	sdi_ranges_fini(&found);
}

static bool says(const struct sdi_carry *c, uint64_t page)
{
	struct sdi_ranges found = { 0 };
	bool ret;

	T_MUST(!sdi_carry_push(c, &found) && !sdi_ranges_sort(&found));
	ret = sdi_ranges_cover(&found, page << 12, (page + 1) << 12);
	sdi_ranges_fini(&found);
	return ret;
}

static void a_page_is_said_again_for_as_long_as_a_transfer_may_take(void)
{
	struct sdi_carry c = { 0 };
	uint64_t now = 100 * SECOND, found = now;

	interval(&c, 7, true, now);
	for (; now < found + FLIGHT; now += SECOND / 10) {
		T_OK(says(&c, 7));
		interval(&c, 8, true, now);
	}
	for (; says(&c, 7); now += SECOND / 10)
		interval(&c, 8, true, now);
	T_OK(now <= found + 2 * FLIGHT + SECOND);
	T_OK(says(&c, 8));
	sdi_carry_fini(&c);
}

/* Just before young becomes old, where half of the time for it is over already, too. */
static void and_for_no_less_whenever_it_is_found(void)
{
	for (uint64_t phase = 0; phase < 2 * FLIGHT; phase += SECOND / 10) {
		struct sdi_carry c = { 0 };
		uint64_t now = 100 * SECOND, found = now + phase;

		for (; now < found; now += SECOND / 10)
			interval(&c, 8, true, now);
		interval(&c, 7, true, found);
		while (says(&c, 7) && now < found + FLIGHT) {
			now += SECOND / 10;
			interval(&c, 8, true, now);
		}
		if (!T_OK(now == found + FLIGHT))
			t_note("found %llu ms after the first", (unsigned long long)phase / 1000000);
		sdi_carry_fini(&c);
	}
}

/* softdirty(7) says so. */
static void that_is_five_seconds(void)
{
	T_EQ(FLIGHT, 5000000000);
}

static void and_at_least_once(void)
{
	struct sdi_carry c = { 0 };

	interval(&c, 7, true, 100 * SECOND);
	T_OK(says(&c, 7));
	interval(&c, 8, true, 100 * SECOND + 3 * FLIGHT);
	T_OK(!says(&c, 7) && says(&c, 8));
	interval(&c, 0, true, 100 * SECOND + 6 * FLIGHT);
	T_OK(!says(&c, 8));
	sdi_carry_fini(&c);
}

static void nothing_is_said_again_where_no_transfer_is_possible(void)
{
	struct sdi_carry c = { 0 };

	interval(&c, 7, false, 100 * SECOND);
	T_OK(!says(&c, 7));
	sdi_carry_fini(&c);
}

/* The descriptor that told of it may be closed while it goes on. */
static void a_transfer_goes_on_when_none_seems_possible(void)
{
	struct sdi_carry c = { 0 };

	interval(&c, 8, true, 101 * SECOND);
	for (int s = 102; s < 106; s++) {
		T_OK(says(&c, 8));
		interval(&c, 9, false, s * SECOND);
	}
	T_OK(says(&c, 8) && !says(&c, 9));
	interval(&c, 9, false, 101 * SECOND + 2 * FLIGHT);
	interval(&c, 9, false, 101 * SECOND + 3 * FLIGHT);
	T_OK(!says(&c, 8) && !says(&c, 9));
	sdi_carry_fini(&c);
}

static void after_a_lost_interval_everything_is_carried(void)
{
	struct sdi_carry c = { 0 };

	interval(&c, 7, true, 100 * SECOND);
	sdi_carry_all(&c, 101 * SECOND);
	T_OK(says(&c, 3) && says(&c, 7) && says(&c, 1ull << 40));
	sdi_carry_fini(&c);
}

/* It began in the interval that was lost, where nothing else was in flight. */
static void also_for_a_transfer_that_ends_two_intervals_later(void)
{
	struct sdi_carry c = { 0 };

	interval(&c, 0, false, 100 * SECOND);
	sdi_carry_all(&c, 110 * SECOND);
	T_OK(says(&c, 3));
	interval(&c, 0, true, 111 * SECOND);
	T_OK(says(&c, 3));
	interval(&c, 8, true, 112 * SECOND);
	T_OK(says(&c, 3));
	interval(&c, 8, true, 112 * SECOND + 2 * FLIGHT);
	T_OK(!says(&c, 3) && says(&c, 8));
	sdi_carry_fini(&c);
}

static void but_not_where_no_transfer_is_possible_any_more(void)
{
	struct sdi_carry c = { 0 };

	sdi_carry_all(&c, 100 * SECOND);
	sdi_carry_all(&c, 101 * SECOND);
	T_OK(says(&c, 3));
	interval(&c, 7, false, 102 * SECOND);
	T_OK(!says(&c, 3));
	sdi_carry_fini(&c);
}

int main(void)
{
	T_RUN(a_page_is_said_again_for_as_long_as_a_transfer_may_take);
	T_RUN(and_for_no_less_whenever_it_is_found);
	T_RUN(that_is_five_seconds);
	T_RUN(and_at_least_once);
	T_RUN(nothing_is_said_again_where_no_transfer_is_possible);
	T_RUN(a_transfer_goes_on_when_none_seems_possible);
	T_RUN(after_a_lost_interval_everything_is_carried);
	T_RUN(also_for_a_transfer_that_ends_two_intervals_later);
	T_RUN(but_not_where_no_transfer_is_possible_any_more);
	return t_done();
}
