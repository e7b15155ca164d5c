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

void sdi_pace_keep(struct sdi_pace *p, uint64_t took_ns, uint64_t *piece)
{
	if (piece && took_ns > HOLD_NS)
		*piece = MAX(*piece / 2, SDI_PIECE_START);
	else if (piece && took_ns < HOLD_NS * 2 / 5)	/* then twice as much is below it */
		*piece = MIN(*piece * 2, SDI_PIECE_MAX);
	p->held_ns += took_ns;
	/* Room for one more such call? */
	if (p->held_ns + took_ns < HOLD_NS || p->hurry)
		return;
	p->held_ns = 0;
	nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
}
