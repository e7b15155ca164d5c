/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of backends, the choice among them, and how one is attached. No kernel detail here. */
#ifndef SDI_TRACK_CHOOSE_H
#define SDI_TRACK_CHOOSE_H

struct sdi_tracker;

/*
 * Attach the backend of that name in the table, or the first that works (NULL); tr->passed_over tells of
 * the others.
 * 0 or -errno with the sentence set.
 */
int sdi_choose(struct sdi_tracker *tr, const char *name);

/* The same backend, to the memory that the target has now. */
int sdi_attach_again(struct sdi_tracker *tr);

void sdi_detach(struct sdi_tracker *tr);

#endif
