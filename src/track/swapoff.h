/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * swapoff(2) brings all pages back from swap, and before Linux 5.19 (commit 14a762dd1977) without the
 * soft-dirty bit that the entry in the page table had. Must not know targets: it is for all of them.
 */
#ifndef SDI_TRACK_SWAPOFF_H
#define SDI_TRACK_SWAPOFF_H

#include <stdbool.h>

struct sdi_swapoff {
	int fd;			/* /proc/swaps, or -1: there is no swap */
	bool seen;		/* since the last SDI_TAKE */
};

void sdi_swapoff_init(struct sdi_swapoff *s);
void sdi_swapoff_fini(struct sdi_swapoff *s);

/*
 * Has swap space been taken away since the last SDI_TAKE, or is it being taken away now? After the bits
 * were read, as with sdi_mergeable_push(). (Adding some is not told apart.) 1, 0 or -errno.
 */
int sdi_swapoff_ran(struct sdi_swapoff *s);

/* An SDI_TAKE has ended, and told what was asked. */
void sdi_swapoff_taken(struct sdi_swapoff *s);

#endif
