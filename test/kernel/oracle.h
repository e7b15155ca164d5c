/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who wrote what, exactly: two counters for each page, in memory that the writers and the test
 * share. A writer counts begun, writes, counts ended.
 *
 *	before the read:	completed = ended
 *	page reported:		accounted = begun			after the read
 *	page not reported:	completed > accounted, forgiven		a write was lost
 *
 * for then a write began after the last read that reported the page and ended before this one.
 * Writes whose content was dropped since (MADV_DONTNEED) are forgiven: there is nothing to report.
 * Knows nothing about softdirty.
 */
#ifndef T_ORACLE_H
#define T_ORACLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

struct t_oracle {
	size_t n;
	_Atomic uint64_t n_writes;
	struct {
		_Atomic uint32_t begun, ended, forgiven;
		uint32_t completed, accounted;
	} page[];
};

static inline struct t_oracle *t_oracle_new(size_t n)
{
	struct t_oracle *o = mmap(NULL, sizeof(*o) + n * sizeof(o->page[0]),
				  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (o == MAP_FAILED)
		abort();
	o->n = n;
	return o;
}

static inline void t_oracle_begin(struct t_oracle *o, size_t i)
{
	atomic_fetch_add(&o->page[i].begun, 1);
}

static inline void t_oracle_end(struct t_oracle *o, size_t i)
{
	atomic_fetch_add(&o->page[i].ended, 1);
}

/* The content is gone. Nobody writes to the page meanwhile. */
static inline void t_oracle_forgive(struct t_oracle *o, size_t i)
{
	atomic_store(&o->page[i].forgiven, atomic_load(&o->page[i].begun));
}

/* How many writes have ended, of all pages: none is no test. */
static inline uint64_t t_oracle_total(const struct t_oracle *o)
{
	uint64_t ret = 0;

	for (size_t i = 0; i < o->n; i++)
		ret += atomic_load(&o->page[i].ended);
	return ret;
}

/* Just before softdirty_read(SOFTDIRTY_READ_CLEAR). */
static inline void t_oracle_before(struct t_oracle *o)
{
	for (size_t i = 0; i < o->n; i++)
		o->page[i].completed = atomic_load(&o->page[i].ended);
}

/* Just after it, for each page. Returns whether a write to it was lost. */
static inline bool t_oracle_after(struct t_oracle *o, size_t i, bool reported)
{
	uint32_t completed = o->page[i].completed;

	if (!reported)
		return (int32_t)(completed - o->page[i].accounted) > 0 &&
		       (int32_t)(completed - atomic_load(&o->page[i].forgiven)) > 0;
	o->page[i].accounted = atomic_load(&o->page[i].begun);
	return false;
}

#endif
