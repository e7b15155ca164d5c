/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel holds the target's mmap_lock for a whole call on its page tables, and a caller in a tight
 * loop takes it again before a waiting mmap() of the target wakes up. So: calls that last about
 * 0.1 ms, and a real sleep after that much. Must not know what the calls do.
 *
 *	struct sdi_pace pace = { 0 };
 *	uint64_t piece = SDI_PIECE_START;
 *	for (each piece of that many bytes)
 *		t0 = sdi_now_ns(), call, sdi_pace_keep(&pace, sdi_now_ns() - t0, &piece);
 */
#ifndef SDI_TARGET_PACE_H
#define SDI_TARGET_PACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Also the least: that much takes 0.13 ms when all of it was written. A slow or busy machine would make
 * pieces ever smaller, and so many that they never end. Over empty space they grow to 256 MiB, not
 * more, since full memory may begin at any moment.
 */
#define SDI_PIECE_START (32ull << 20)
#define SDI_PIECE_MAX (256ull << 20)

struct sdi_pace {
	bool hurry;		/* the target is stopped, nobody waits: do not sleep */
	uint64_t held_ns;	/* since the last sleep */
};

/*
 * A call took so long: sleep a moment if it is time to. *piece gets the size of the next one; NULL:
 * the call is no measure for others.
 */
void sdi_pace_keep(struct sdi_pace *p, uint64_t took_ns, uint64_t *piece);

/* So quick for half of SDI_PIECE_MAX that there is hardly a page in it? Full memory takes 32 us. */
bool sdi_pace_is_quick(uint64_t took_ns);

#endif
