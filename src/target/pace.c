/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/pace.h"

#include <stddef.h>
#include <time.h>

#include "base/cleanup.h"

#define HOLD_NS 100000ull

bool sdi_pace_is_quick(uint64_t took_ns)
{
	return took_ns < HOLD_NS / 4;
}

/*
 * A piece that takes a little less, if the next is like this one. At most twice as large: it may not be.
 * Each call and each sleep costs as much as some MiB, so it pays to come near.
 */
static uint64_t fitting(uint64_t piece, uint64_t took_ns)
{
	const uint64_t goal_ns = HOLD_NS * 9 / 10;
	uint64_t next = piece * goal_ns / MAX(took_ns, goal_ns / 2);

	return MIN(MAX(next, SDI_PIECE_START), SDI_PIECE_MAX);
}

void sdi_pace_keep(struct sdi_pace *p, uint64_t took_ns, uint64_t *piece)
{
	if (piece)
		*piece = fitting(*piece, took_ns);
	p->held_ns += took_ns;
	/* Room for one more such call? */
	if (p->held_ns + took_ns < HOLD_NS || p->hurry)
		return;
	p->held_ns = 0;
	nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
}
