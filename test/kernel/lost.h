/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writers that an oracle knows, against one read --clear of the target's region. */
#ifndef T_LOST_H
#define T_LOST_H

#include "oracle.h"
#include "target.h"

/* Read and clear the pages of the oracle, from tg->mem on. Returns how many writes were lost. */
static inline size_t t_lost_writes(struct t_target *tg, struct t_oracle *o)
{
	char *letters = malloc(o->n + 1);
	size_t lost = 0;

	T_MUST(letters);
	t_oracle_before(o);
	t_letters(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, o->n, t_page_size(), letters);
	for (size_t i = 0; i < o->n; i++)
		lost += t_oracle_after(o, i, letters[i] != '-');
	free(letters);
	return lost;
}

#endif
