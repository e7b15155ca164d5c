/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this kernel does, found out by doing it. Knows no target. */
#ifndef SDI_TRACK_PROBE_H
#define SDI_TRACK_PROBE_H

#include "track/tracker.h"

/*
 * Does the soft-dirty bit work? In a child with memory of its own: the caller's bits are not touched.
 * 0 or -EOPNOTSUPP; -ENOMEM and the like when it could not be tried.
 */
int sdi_probe_soft_dirty(struct sdi_why *why);

#endif
