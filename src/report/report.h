/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The answer about one process, for people and for scripts. Pure: data in, FILE out. Must not know
 * where the data came from, nor where the FILE leads; errors of the FILE are its owner's to find.
 */
#ifndef SDI_REPORT_REPORT_H
#define SDI_REPORT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "softdirty.h"

enum { SDI_N_REASONS = SOFTDIRTY_REASON_MOVED + 1 };

struct sdi_report {
	pid_t pid;
	const char *process;		/* its name */
	const char *mark;		/* "" is the default mark */
	const char *backend;
	uint32_t page_size;
	uint64_t start, end;		/* what was asked for; end 0: all memory */
	const struct softdirty_range *ranges;	/* the answer */
	size_t n_ranges;
	const struct softdirty_mapping *mappings;	/* of the process */
	size_t n_mappings;
	const struct softdirty_range *pages;	/* populated */
	size_t n_pages;
};

/* For people: sums, and a table by mapping. 0 or -ENOMEM (nothing was printed). */
int sdi_report_summary(FILE *out, const struct sdi_report *r);

/* START-END PAGES WHY KIND MAPPING, separated by tabs, one line for each run. */
void sdi_report_ranges(FILE *out, const struct sdi_report *r);

/* One JSON object on one line. 0 or -ENOMEM (then the line is cut short). */
int sdi_report_json(FILE *out, const struct sdi_report *r);

/*
 * A part of a run that lies in mappings of one name.
 *
 *   ranges    |------- written -------|   |-new-|
 *   mappings  |--[heap]--|----libc----|
 *   pieces    |--[heap]--|----libc----|   |-----|  (no mapping any more: NULL)
 */
struct sdi_piece {
	struct softdirty_range range;
	const struct softdirty_mapping *mapping;
};
struct sdi_pieces {
	const struct sdi_report *report;
	const struct softdirty_range *list;
	size_t n, next, mapping;
	uint64_t pos;
};

void sdi_pieces_init(struct sdi_pieces *it, const struct sdi_report *r,
		     const struct softdirty_range *list, size_t n);
bool sdi_pieces_next(struct sdi_pieces *it, struct sdi_piece *ret);

/* How many pages are in a list. */
uint64_t sdi_count_pages(const struct softdirty_range *list, size_t n, uint32_t page_size);

/* "written", "new" or "untracked". */
const char *sdi_word_why(uint32_t flags);

/* The kind words that hold for flags, in their order; the list ends with NULL. */
enum { SDI_KIND_WORDS = 7 };
void sdi_words_kind(uint32_t flags, const char *ret[static SDI_KIND_WORDS]);

/* Control characters as \ooo, so that a name can neither break a line nor a terminal. */
void sdi_put_name(FILE *out, const char *name);

/* The size in bytes for people: "3.9 MiB". */
const char *sdi_human_size(uint64_t bytes, char buf[static 16]);

#endif
