/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/carry.h"

static int push_again(const struct sdi_ranges *list, struct sdi_ranges *found)
{
	int err = 0;

	for (size_t i = 0; i < list->n && !err; i++)
		err = sdi_ranges_push(found, list->r[i].start, list->r[i].end, SOFTDIRTY_WRITTEN,
				      SOFTDIRTY_REASON_CARRIED);
	return err;
}

int sdi_carry_push(const struct sdi_carry *c, struct sdi_ranges *found)
{
	int err = push_again(&c->old, found);

	return err ? err : push_again(&c->young, found);
}

static bool is_whole(const struct sdi_carry *c)
{
	return c->young.r == &c->whole || c->old.r == &c->whole;
}

int sdi_carry_next(struct sdi_carry *c, const struct sdi_ranges *found, size_t n, bool in_flight,
		   uint64_t now_ns)
{
	struct sdi_ranges first = { .r = found->r, .n = n }, now = { 0 };
	int err = in_flight ? push_again(&first, &now) : 0;

	if (!err)
		err = sdi_ranges_sort(&now);
	if (!in_flight && is_whole(c))
		sdi_carry_fini(c);
	if (now_ns - c->since_ns >= SDI_MAX_FLIGHT_NS) {
		sdi_ranges_swap(&c->old, &c->young);
		sdi_ranges_reset(&c->young);
		c->since_ns = now_ns;
	}
	if (now_ns - c->last_ns >= SDI_MAX_FLIGHT_NS)
		sdi_ranges_reset(&c->old);
	if (!err)
		err = sdi_ranges_add(&c->young, &now);
	c->last_ns = now_ns;
	sdi_ranges_fini(&now);
	return err;
}

void sdi_carry_all(struct sdi_carry *c, uint64_t now_ns)
{
	sdi_carry_fini(c);
	c->whole = (struct softdirty_range){ 0, UINT64_MAX, SOFTDIRTY_WRITTEN,
					     SOFTDIRTY_REASON_CARRIED };
	c->young = (struct sdi_ranges){ .r = &c->whole, .n = 1 };
	c->since_ns = c->last_ns = now_ns;
}

void sdi_carry_fini(struct sdi_carry *c)
{
	sdi_ranges_fini(&c->young);
	sdi_ranges_fini(&c->old);
	*c = (struct sdi_carry){ 0 };
}
