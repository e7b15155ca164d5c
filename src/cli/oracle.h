/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What memory really holds: a hash of each populated page, taken by reading it. Finds the pages
 * whose content changed since the last look, and judges an answer of the tracker by them. Must not
 * know how the tracker came to its answer.
 */
#ifndef SDI_CLI_ORACLE_H
#define SDI_CLI_ORACLE_H

#include <sys/types.h>

#include "report/verify.h"
#include "softdirty.h"

struct sdi_oracle;

/* 0 or -errno. */
int sdi_oracle_open(pid_t pid, uint32_t page_size, struct sdi_oracle **ret);
void sdi_oracle_close(struct sdi_oracle *o);

/*
 * Look at the populated pages (of a target that stands still) and compare them with the last look.
 * said is the tracker's answer for the same interval. Adds what comes of it to *round; pages that
 * changed without being in the answer go to round->missed. round NULL: the first look.
 * 0, -ENOMEM.
 */
int sdi_oracle_look(struct sdi_oracle *o, const struct softdirty_range *pages, size_t n_pages,
		    const struct softdirty_range *said, size_t n_said,
		    struct sdi_verify_round *round);

#endif
