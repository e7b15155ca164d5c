/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's soft-dirty interface, spoken on top of include/softdirty.h: what clear_refs takes,
 * the 64-bit entries of pagemap and ioctl(PAGEMAP_SCAN). Must not know how the caller got hold of
 * the files: the preloaded library and the mounted files both come here.
 *
 * A handle belongs to one thread at a time: callers lock it around each of these functions. When
 * the library cannot answer, pages are shown as dirty: that is never wrong, only more work.
 */
#ifndef SDI_EMULATE_EMULATE_H
#define SDI_EMULATE_EMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "softdirty.h"
#include "uapi/pagemap_scan.h"

/* The kernel has one soft-dirty bit for all, so all users of its interface share one mark. */
#define SDI_KERNEL_MARK "clear_refs"

/* What is dirty in a process that stays stopped for a while: asked once for many calls. */
struct sdi_frozen {
	struct softdirty_range *dirty;
	size_t n_dirty;
	bool leaves_marks;	/* tracking shows in uffd-wp bits and markers */
};

/* A process as its reader shall see it. */
struct sdi_view {
	struct softdirty *sd;		/* NULL: never cleared, so everything is dirty */
	const char *mark;
	const char *proc;		/* its directory, "/proc/123"; NULL: not known, sd is NULL too */
	bool native;			/* the kernel's own soft-dirty bit is the answer */
	uint64_t whole_start, whole_end; /* shown as present and dirty whatever else is known:
					  * CRIU's [vdso]; 0, 0 if none */
	const struct sdi_frozen *frozen; /* from sdi_view_freeze(), or NULL: ask each time */
};

/* Ask about all memory of it; all is dirty without a handle. 0 or as softdirty_read(). */
int sdi_view_freeze(const struct sdi_view *v, struct sdi_frozen *ret);
void sdi_frozen_fini(struct sdi_frozen *f);

/*
 * The number that the kernel reads in n bytes written to clear_refs (it looks at 12 at most).
 * -EINVAL if it is none.
 */
int sdi_clear_refs_number(const char *buf, size_t n);

/* The kernel looks at this many bytes of what is written to clear_refs, and returns that count. */
#define SDI_CLEAR_REFS_MAX 12

/*
 * Turn n entries that were just read from pagemap, for the pages from first_page on, into those
 * of a kernel with soft-dirty: bit 55 true, no trace of tracking.
 */
void sdi_emulate_entries(const struct sdi_view *v, uint64_t first_page, uint64_t *entries,
			 size_t n);

/*
 * Answer PAGEMAP_SCAN. arg->vec points into the memory of process caller; caller_pidfd says whether
 * that pid is still the caller's (-1: it is ourselves). Returns what the ioctl would (sets
 * arg->walk_end) or -errno.
 */
int sdi_emulate_scan(const struct sdi_view *v, int pagemap, pid_t caller, int caller_pidfd,
		     struct pm_scan_arg *arg);

/* Is that, as "[vdso]", the name in a line of maps? That of a file may hold anything. */
bool sdi_maps_line_is(const char *line, const char *name);

/* Does the answer to that call depend on soft-dirty, or show traces of tracking? */
bool sdi_scan_concerns(const struct pm_scan_arg *arg);

#endif
