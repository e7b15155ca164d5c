/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who noticed the writes. A backend is one kernel mechanism; the tracker chooses one, and turns its
 * answers into marks: several independent "since when"s on one target.
 *
 * To add a backend:
 *  1. write track/NAME.c with one const struct sdi_backend at its end;
 *  2. put it into the table in choose.c, at its place in the order of preference;
 *  3. add its name to test/kernel/meson.build, so that every test runs with it;
 *  4. describe it in softdirty(7).
 */
#ifndef SDI_TRACK_TRACKER_H
#define SDI_TRACK_TRACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ranges/ranges.h"
#include "target/maps.h"
#include "target/target.h"
#include "track/carry.h"
#include "track/mark.h"

/* One line for a person: why something works or not, and what to change. */
struct sdi_why {
	char text[256];
};
void sdi_why(struct sdi_why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct sdi_tracker;

enum sdi_collect {
	SDI_PEEK,	/* look only: the interval goes on */
	SDI_TAKE,	/* end the interval and begin the next, atomically for each page */
};

struct sdi_backend {
	const char *name;
	bool takes_uffd;	/* attach() takes tr->uffd; with one it need not ask suits() */

	/* Does this kernel have it? Found out by doing it in own memory. 0 or -EOPNOTSUPP. */
	int (*probe)(struct sdi_why *why);

	/* Would it work on that target? Only looks, never stops it. 0, -EOPNOTSUPP (try the next
	 * backend) or another error (none will work). */
	int (*suits)(const struct sdi_target *t, struct sdi_why *why);

	/* Begin. tr->target and tr->pagemap are open. Sets tr->state. -EOPNOTSUPP, or -EBUSY
	 * (somebody else tracks it this way): try the next. */
	int (*attach)(struct sdi_tracker *tr, struct sdi_why *why);

	/*
	 * Push onto *found (any order, overlaps allowed) every range that
	 *  - may have been written since the last SDI_TAKE: SOFTDIRTY_WRITTEN,
	 *  - was mapped, moved or grown since then, whole: SOFTDIRTY_NEW,
	 *  - cannot be known: SOFTDIRTY_UNTRACKED and the reason,
	 * each with what it is. tr->maps is fresh. The first call after attach need not report:
	 * the tracker counts everything as new then. The tracker has made sure that the memory is
	 * the one that was attached. After an error of SDI_TAKE it counts everything.
	 */
	int (*collect)(struct sdi_tracker *tr, enum sdi_collect how, struct sdi_ranges *found);

	/* End it; leaves nothing in the target. Also after a failed attach; state may be NULL. */
	void (*detach)(struct sdi_tracker *tr);
};

struct sdi_tracker {
	struct sdi_target target;
	int pagemap;			/* reopened after exec */
	int uffd;			/* given by the caller for the next attach, or -1 */
	const struct sdi_backend *backend;
	void *state;			/* the backend's */
	struct sdi_maps maps;		/* as of the present operation */
	struct sdi_ranges mapped;	/* the same as ranges, with kinds; without the kernel's own */
	struct sdi_mark *marks;
	struct sdi_carry carry;		/* what earlier SDI_TAKEs reported, to say again */
	uint32_t never;			/* the reason for marks that were never cleared: _NEVER, or
					 * _LOST where an earlier keeper of this target was killed */
	pid_t asker;			/* the thread that waits for the answer */
	bool frozen;			/* the caller holds all threads stopped (sdi_freeze):
					 * backends must not stop them themselves */
	uint64_t from, to;		/* SDI_PEEK need not look outside; SDI_TAKE always looks at all */
	uint64_t memory_id;		/* of the memory that is attached */
	uint64_t generation;		/* begins with the time, so that it also grows from a keeper that
					 * was killed to the next, which knows nothing of it */
	uint64_t attach_ns;
	struct sdi_why passed_over;
};

/* backend NULL: the first in the table that works. uffd: see SOFTDIRTY_OPEN_UFFD, or -1. */
int sdi_tracker_open(pid_t pid, const char *backend, int uffd, struct sdi_tracker **ret);
void sdi_tracker_close(struct sdi_tracker *tr);

/* As the public functions of the same names. ranges is written only on success. */
int sdi_tracker_clear(struct sdi_tracker *tr, const char *mark);
int sdi_tracker_read(struct sdi_tracker *tr, const char *mark, bool clear, uint64_t start,
		     uint64_t end, struct sdi_ranges *ranges);
int sdi_tracker_pages(struct sdi_tracker *tr, uint64_t start, uint64_t end,
		      struct sdi_ranges *ranges);
int sdi_tracker_forget(struct sdi_tracker *tr, const char *mark);

/* The consumer never got what sdi_tracker_read() with clear found: the mark has still to be told. */
void sdi_tracker_unread(struct sdi_tracker *tr, const char *mark, const struct sdi_ranges *ranges);

/* The table, best first, NULL at its end. */
const struct sdi_backend *const *sdi_backends(void);

extern const struct sdi_backend sdi_backend_wp_async;
extern const struct sdi_backend sdi_backend_soft_dirty;
extern const struct sdi_backend sdi_backend_hash;

#endif
