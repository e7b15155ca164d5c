/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of verifying, for people and for scripts. Pure: data in, FILE out. */
#ifndef SDI_REPORT_VERIFY_H
#define SDI_REPORT_VERIFY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "report/report.h"

enum { SDI_N_WHYS = 3 };

/* One interval, or the sum of several. All numbers are pages. */
struct sdi_verify_round {
	uint64_t populated;
	uint64_t changed;		/* their content differs from the last look */
	uint64_t reported;		/* populated ones in the tracker's answer */
	uint64_t unreadable;		/* could not be compared */
	uint64_t late;			/* written while we looked: in the next answer */
	uint64_t outside;		/* shared or file memory, changed by somebody else */
	uint64_t discarded;		/* given back with madvise() or the like, zero now */
	/* Reported, but the content is the same; by why (written, new, untracked) and reason. */
	uint64_t same[SDI_N_WHYS][SDI_N_REASONS];
	struct softdirty_range *missed;	/* changed, private, and not reported: never */
	size_t n_missed, cap_missed;
};

struct sdi_verify_report {
	pid_t pid;
	const char *process, *backend;
	uint32_t page_size;
	unsigned rounds;
	uint64_t interval_ns;
};

/* 0, 1, 2 for written, new, untracked. */
int sdi_why_index(uint32_t flags);

/* Note a missed page; ascending. 0 or -ENOMEM. */
int sdi_verify_miss(struct sdi_verify_round *round, uint64_t start, uint64_t end);
uint64_t sdi_verify_missed(const struct sdi_verify_round *round, uint32_t page_size);
uint64_t sdi_verify_same(const struct sdi_verify_round *round);

/* sum += round, except the list of missed pages. */
void sdi_verify_add(struct sdi_verify_round *sum, const struct sdi_verify_round *round);

/* Text: a head, one line for each round as it comes, a foot. */
void sdi_verify_text_head(FILE *out, const struct sdi_verify_report *r);
void sdi_verify_text_round(FILE *out, const struct sdi_verify_report *r, unsigned number,
			   const struct sdi_verify_round *round);
void sdi_verify_text_foot(FILE *out, unsigned done, const struct sdi_verify_round *sum,
			  uint64_t missed);

/* One JSON object, written in the same three steps. 0 or -ENOMEM. */
int sdi_verify_json_head(FILE *out, const struct sdi_verify_report *r);
int sdi_verify_json_round(FILE *out, const struct sdi_verify_report *r, unsigned number,
			  const struct sdi_verify_round *round);
int sdi_verify_json_foot(FILE *out, const struct sdi_verify_round *sum, uint64_t missed);

#endif
