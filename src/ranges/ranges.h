/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was found: sorted runs [start, end) that never overlap. The one type that travels from
 * the backends to every consumer. Pure data: knows no process and no kernel.
 */
#ifndef SDI_RANGES_RANGES_H
#define SDI_RANGES_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "softdirty.h"

struct sdi_ranges {
	struct softdirty_range *r;
	size_t n, cap;
};

/*
 * All zero is an empty list. _fini frees and leaves an empty list. With cap 0 the runs are in somebody
 * else's memory: they are not freed, and are copied before the list grows.
 */
void sdi_ranges_fini(struct sdi_ranges *list);

/* Empty it, keep the memory unless it is much. */
void sdi_ranges_reset(struct sdi_ranges *list);

/* Exchange two lists. */
void sdi_ranges_swap(struct sdi_ranges *a, struct sdi_ranges *b);

/*
 * Append a run that starts at or after the end of the last; joined to it where it touches and is
 * alike. Empty runs are ignored. Returns 0 or -ENOMEM (the list is as before).
 */
int sdi_ranges_append(struct sdi_ranges *list, uint64_t start, uint64_t end, uint32_t flags,
		      uint32_t reason);

/* Append a run anywhere; sdi_ranges_sort() must follow before any other use. */
int sdi_ranges_push(struct sdi_ranges *list, uint64_t start, uint64_t end, uint32_t flags,
		    uint32_t reason);

/* Push all runs of another list. Returns 0 or -ENOMEM. */
int sdi_ranges_push_all(struct sdi_ranges *list, const struct sdi_ranges *from);

/* Bring pushed runs into order; where they overlap the stronger why wins. Returns 0 or -ENOMEM. */
int sdi_ranges_sort(struct sdi_ranges *list);

/*
 * The operations below write to *ret, which is reset first and must be neither a nor b.
 * They return 0 or -ENOMEM; linear in a->n + b->n.
 *
 *   a        |---A---|      |--A--|
 *   b            |----B----|
 *   merge    |-A-|A+B|--B--||--A--|     A+B: the stronger why, what it is as in a
 *   subtract |-A-|          |--A--|
 *   intersect    |-A-|
 */
int sdi_ranges_merge(const struct sdi_ranges *a, const struct sdi_ranges *b,
		     struct sdi_ranges *ret);
int sdi_ranges_subtract(const struct sdi_ranges *a, const struct sdi_ranges *b,
			struct sdi_ranges *ret);
int sdi_ranges_intersect(const struct sdi_ranges *a, const struct sdi_ranges *b,
			 struct sdi_ranges *ret);

/* a = merge(a, b). */
int sdi_ranges_add(struct sdi_ranges *a, const struct sdi_ranges *b);

/* a = intersect(a, b). */
int sdi_ranges_keep(struct sdi_ranges *a, const struct sdi_ranges *b);

/* a = subtract(a, b). */
int sdi_ranges_remove(struct sdi_ranges *a, const struct sdi_ranges *b);

/* Does each run of a lie within one run of b? */
bool sdi_ranges_inside(const struct sdi_ranges *a, const struct sdi_ranges *b);

/* Is [start, end) wholly inside the list? */
bool sdi_ranges_cover(const struct sdi_ranges *list, uint64_t start, uint64_t end);

/* Index of the first run that ends after addr; list->n if none. */
size_t sdi_ranges_find(const struct sdi_ranges *list, uint64_t addr);

#endif
