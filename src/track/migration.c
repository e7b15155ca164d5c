/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/migration.h"

#include <errno.h>

#include "base/cleanup.h"
#include "target/pagemap.h"
#include "target/smaps.h"
#include "track/untracked.h"

void sdi_migration_fini(struct sdi_migration *m)
{
	sdi_ranges_fini(&m->away);
	sdi_ranges_fini(&m->doubtful);
}

struct look {
	struct sdi_ranges *ret;
	bool fixed;
};

static int note_away(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct look *l = arg;

	if (categories & PAGE_IS_GUARD)
		return 0;
	if (l->fixed && l->ret->n == l->ret->cap)
		return -ENOSPC;
	return sdi_ranges_append(l->ret, start, end, 0, 0);
}

static int look(struct sdi_tracker *tr, bool fixed, bool gently, struct sdi_ranges *ret)
{
	struct look l = { ret, fixed };

	ret->n = 0;
	return sdi_pages_each(fixed ? NULL : &tr->target, tr->pagemap, &tr->maps, PAGE_IS_SWAPPED,
			      gently, 0, UINT64_MAX, note_away, &l);
}

int sdi_migration_look(struct sdi_migration *m, struct sdi_tracker *tr, bool fixed)
{
	return look(tr, fixed, false, &m->away);
}

static uint64_t bytes_in(const struct sdi_ranges *list, uint64_t start, uint64_t end)
{
	uint64_t n = 0;

	for (size_t i = sdi_ranges_find(list, start); i < list->n && list->r[i].start < end; i++)
		n += MIN(list->r[i].end, end) - MAX(list->r[i].start, start);
	return n;
}

struct judge {
	const struct sdi_ranges *away;
	struct sdi_ranges swapped;	/* mappings where all of `away` is in swap */
};

/* smaps counts what is in swap, and not what is being moved. */
static int compare_count(void *arg, const struct sdi_smap *m)
{
	struct judge *j = arg;
	const struct sdi_vma *v = &m->vma;
	uint64_t n = bytes_in(j->away, v->start, v->end);

	return !n || n != (v->flags & SDI_VMA_FILE ? m->swapped_alone : m->swapped) ? 0 :
	       sdi_ranges_push(&j->swapped, v->start, v->end, 0, 0);
}

/* Only if it was so before and after it was counted: others may go to swap meanwhile. */
static int acquit(struct sdi_migration *m, struct sdi_tracker *tr, const struct sdi_ranges *swapped)
{
	struct sdi_ranges now = { 0 }, both = { 0 }, still = { 0 };
	int err = look(tr, false, true, &now);

	if (!err)
		err = sdi_ranges_intersect(&m->away, &now, &both);
	for (size_t i = 0; i < swapped->n && !err; i++) {
		const struct softdirty_range *v = &swapped->r[i];
		uint64_t n = bytes_in(&both, v->start, v->end);

		if (n == bytes_in(&m->away, v->start, v->end) &&
		    n == bytes_in(&now, v->start, v->end))
			err = sdi_ranges_append(&still, v->start, v->end, 0, 0);
	}
	if (!err)
		err = sdi_ranges_remove(&m->doubtful, &still);
	sdi_ranges_fini(&now);
	sdi_ranges_fini(&both);
	sdi_ranges_fini(&still);
	return err;
}

int sdi_migration_judge(struct sdi_migration *m, struct sdi_tracker *tr)
{
	struct judge j = { .away = &m->away };

	sdi_ranges_reset(&m->doubtful);
	if (!m->away.n)
		return 0;
	int err = sdi_ranges_push_all(&m->doubtful, &m->away);
	if (!err)
		err = sdi_smaps_each(&tr->target, compare_count, &j);
	if (!err)
		err = sdi_ranges_sort(&j.swapped);
	if (!err && j.swapped.n)
		err = acquit(m, tr, &j.swapped);
	sdi_ranges_fini(&j.swapped);
	return err;
}

int sdi_migration_push(const struct sdi_migration *m, const struct sdi_tracker *tr,
		       struct sdi_ranges *found)
{
	int err = 0;

	/* The content of shared memory is compared. */
	for (size_t i = 0; i < m->doubtful.n && !err; i++)
		err = sdi_push_untracked(tr, m->doubtful.r[i].start, m->doubtful.r[i].end,
					 SOFTDIRTY_REASON_MOVED, SOFTDIRTY_SHARED, found);
	return err;
}
