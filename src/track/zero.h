/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the zero page stands for on this machine. Must not know backends. */
#ifndef SDI_TRACK_ZERO_H
#define SDI_TRACK_ZERO_H

#include <stdbool.h>

/*
 * May the kernel have put the zero page in place of one that was written? Else it stands for pages
 * that were only ever read. A setting of the machine, which may change at any time.
 */
bool sdi_zero_may_be_written(void);

#endif
