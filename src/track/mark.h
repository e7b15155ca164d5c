/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One consumer's "since when": what it has not been told yet. Must not know how that was found, nor what
 * is mapped.
 */
#ifndef SDI_TRACK_MARK_H
#define SDI_TRACK_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "ranges/ranges.h"

struct sdi_mark {
	struct sdi_mark *next;
	struct sdi_ranges pending;
	struct softdirty_range whole;	/* what is pending when everything is */
	char name[64];
};

/* 0 or -EINVAL. */
int sdi_mark_check_name(const char *mark);

/* Where in the list it stands; *result is NULL: there is none of that name. */
struct sdi_mark **sdi_mark_find(struct sdi_mark **list, const char *name);

/* The mark of that name. A new one has seen nothing yet, for the reason never. 0, -EINVAL or -ENOMEM. */
int sdi_mark_get(struct sdi_mark **list, const char *name, uint32_t never, struct sdi_mark **ret);

/* It has to be told everything. Cannot fail: it is the way out when there is no memory. */
void sdi_mark_everything(struct sdi_mark *m, uint32_t reason);

/* It has to be told these as well. 0 or -ENOMEM. */
int sdi_mark_add(struct sdi_mark *m, const struct sdi_ranges *found);

/* Is all of the window new to it, so that nothing that may be found could change the answer? */
bool sdi_mark_sees_all(const struct sdi_mark *m, const struct softdirty_range *window);

/* False: there is none of that name. */
bool sdi_mark_drop(struct sdi_mark **list, const char *name);

#endif
