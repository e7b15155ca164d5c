/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One answer of the library, kept together: what the handle lends one after the other. */
#ifndef SDI_CLI_ANSWER_H
#define SDI_CLI_ANSWER_H

#include "cli/args.h"
#include "softdirty.h"

struct sdi_answer {
	char process[64];
	char backend[16];
	uint32_t page_size;
	int pagemap;				/* for SDI_FORMAT_PAGEMAP, else -1 */
	struct softdirty_mapping *mappings;
	size_t n_mappings;
	char *names;				/* of the mappings */
	struct softdirty_range *pages;		/* populated */
	size_t n_pages;
	const struct softdirty_range *ranges;	/* lent by the handle */
	size_t n_ranges;
};

/*
 * Ask for what args want. The ranges come last: as long as the handle is not used again, a mark that
 * moved is moved back should this process end before it has delivered them.
 * 0 or -errno; *ret is to be ended with _fini in both cases.
 */
int sdi_answer_get(struct softdirty *sd, const struct sdi_args *args, struct sdi_answer *ret);
void sdi_answer_fini(struct sdi_answer *a);

#endif
