/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/mergeable.h"

#include "target/smaps.h"
#include "track/sysfs.h"
#include "track/untracked.h"

/* As if it had been at work: so the first round learns where it may be, when it is started. */
void sdi_mergeable_init(struct sdi_mergeable *m)
{
	*m = (struct sdi_mergeable){ .ksm.scans = SDI_UNKNOWN };
}

void sdi_mergeable_fini(struct sdi_mergeable *m)
{
	sdi_ranges_fini(&m->then);
}

static int append_mergeable(void *arg, const struct sdi_smap *m)
{
	return !(m->flags & SDI_SMAP_MERGEABLE) ? 0 :
	       sdi_ranges_append(arg, m->vma.start, m->vma.end, 0, 0);
}

static int push(const struct sdi_tracker *tr, const struct sdi_ranges *list, struct sdi_ranges *found)
{
	int err = 0;

	for (size_t i = 0; i < list->n && !err; i++)
		err = sdi_push_untracked(tr, list->r[i].start, list->r[i].end, SOFTDIRTY_REASON_KSM,
					 0, found);
	return err;
}

int sdi_mergeable_push(struct sdi_mergeable *m, const struct sdi_tracker *tr, enum sdi_collect how,
		       struct sdi_ranges *found)
{
	struct sdi_ksm ksm = sdi_ksm_look();
	struct sdi_ranges now = { 0 };
	int err = 0;

	if (sdi_ksm_ran(&m->ksm, &ksm)) {
		err = sdi_smaps_each(&tr->target, append_mergeable, &now);
		if (!err)
			err = push(tr, &m->then, found);
		if (!err)
			err = push(tr, &now, found);
		if (!err && how == SDI_TAKE)
			sdi_ranges_swap(&m->then, &now);
	}
	if (how == SDI_TAKE)
		m->ksm = ksm;
	sdi_ranges_fini(&now);
	return err;
}
