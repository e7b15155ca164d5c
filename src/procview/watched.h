/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The processes whose files were used, each with its handle. Reading never attaches: a process that
 * nobody cleared is simply all dirty. The tracking is in keepers, so that it outlives one server,
 * and is shared with the other commands of the same user.
 */
#ifndef SDI_PROCVIEW_WATCHED_H
#define SDI_PROCVIEW_WATCHED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "procview/procview.h"
#include "softdirty.h"

struct watched;

/* For the whole of the run. Must be called before all else. */
void watched_setup(const struct sdi_procview *o);

/* The one for that process; NULL: no memory. To be given back. */
struct watched *watched_get(pid_t pid, uint64_t start_time);
void watched_ref(struct watched *w);
void watched_put(struct watched *w);

/* Its handle, to be used until _unlock; NULL: never cleared. */
struct softdirty *watched_lock(struct watched *w);
void watched_unlock(struct watched *w);

/* Use the keeper that tracks it already, if there is one. */
void watched_look(struct watched *w);

/*
 * Must it be attached before it can be cleared (never was, or has called exec since)? If so nobody
 * else attaches it until watched_attach(), which takes a userfaultfd of it (consumed) or -1, or
 * until watched_give_up().
 */
bool watched_begin_attach(struct watched *w);
int watched_attach(struct watched *w, int uffd);
void watched_give_up(struct watched *w);

/* What writing "4" does. 0, or -errno as a kernel might have it; the reason has been said. */
int watched_clear(struct watched *w);

/* Forget all that this server had cleared, and end what only it was using. */
void watched_finish(void);

#endif
