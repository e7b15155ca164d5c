/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plain text: the summary for people, and the lines that are promised to scripts. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "report/report.h"

enum { WRITTEN, NEW, UNTRACKED, N_WHYS };

struct row {			/* of the table by mapping: all mappings of one name */
	const char *name;
	uint64_t pages[N_WHYS];
	uint64_t populated;
};

struct sums {
	uint64_t pages[N_WHYS];
	uint64_t populated[N_WHYS];	/* those of them that are populated */
	uint64_t all_populated;
	bool reasons[N_WHYS][SDI_N_REASONS];
	struct row *rows;
	size_t n_rows;
};

static int why_index(uint32_t flags)
{
	if (flags & SOFTDIRTY_NEW)
		return NEW;
	return flags & SOFTDIRTY_UNTRACKED ? UNTRACKED : WRITTEN;
}

static uint64_t row_dirty(const struct row *row)
{
	return row->pages[WRITTEN] + row->pages[NEW] + row->pages[UNTRACKED];
}

static int by_name(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;

	return strcmp(a->name, b->name);
}

/* What was written most comes first. */
static int by_pages(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;

	if (a->pages[WRITTEN] != b->pages[WRITTEN])
		return a->pages[WRITTEN] < b->pages[WRITTEN] ? 1 : -1;
	if (row_dirty(a) != row_dirty(b))
		return row_dirty(a) < row_dirty(b) ? 1 : -1;
	return strcmp(a->name, b->name);
}

static struct row *row_of(struct sums *s, const struct sdi_report *r, const struct sdi_piece *p)
{
	return &s->rows[p->mapping ? (size_t)(p->mapping - r->mappings) : r->n_mappings];
}

static void add_up(struct sums *s, const struct sdi_report *r)
{
	struct sdi_pieces it;
	struct sdi_piece p;

	sdi_pieces_init(&it, r, r->ranges, r->n_ranges);
	while (sdi_pieces_next(&it, &p)) {
		uint64_t n = (p.range.end - p.range.start) / r->page_size;
		int why = why_index(p.range.flags);

		s->pages[why] += n;
		if (p.range.flags & SOFTDIRTY_POPULATED)
			s->populated[why] += n;
		if (p.range.reason < SDI_N_REASONS)
			s->reasons[why][p.range.reason] = true;
		row_of(s, r, &p)->pages[why] += n;
	}
	sdi_pieces_init(&it, r, r->pages, r->n_pages);
	while (sdi_pieces_next(&it, &p)) {
		uint64_t n = (p.range.end - p.range.start) / r->page_size;

		s->all_populated += n;
		row_of(s, r, &p)->populated += n;
	}
}

/* One row for each name instead of one for each mapping. */
static void join_rows(struct sums *s)
{
	size_t n = 0;

	qsort(s->rows, s->n_rows, sizeof(*s->rows), by_name);
	for (size_t i = 1; i < s->n_rows; i++) {
		struct row *to = &s->rows[n], *from = &s->rows[i];

		if (strcmp(to->name, from->name)) {
			s->rows[++n] = *from;
			continue;
		}
		for (int why = 0; why < N_WHYS; why++)
			to->pages[why] += from->pages[why];
		to->populated += from->populated;
	}
	s->n_rows = n + 1;
	qsort(s->rows, s->n_rows, sizeof(*s->rows), by_pages);
}

static int sums_init(struct sums *s, const struct sdi_report *r)
{
	*s = (struct sums){ .n_rows = r->n_mappings + 1 };
	s->rows = calloc(s->n_rows, sizeof(*s->rows));
	if (!s->rows)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_mappings; i++)
		s->rows[i].name = *r->mappings[i].name ? r->mappings[i].name : "[anon]";
	s->rows[r->n_mappings].name = "(unmapped meanwhile)";
	add_up(s, r);
	join_rows(s);
	return 0;
}

static void put_head(FILE *out, const struct sdi_report *r, const struct sums *s)
{
	uint64_t dirty = s->populated[WRITTEN] + s->populated[NEW] + s->populated[UNTRACKED];
	uint64_t all = dirty > s->all_populated ? dirty : s->all_populated;	/* counted later */
	char size[16];

	sdi_put_name(out, r->process);
	fprintf(out, " (%d)", r->pid);
	if (r->end)
		fprintf(out, " %" PRIx64 "-%" PRIx64, r->start, r->end);
	fprintf(out, ": %" PRIu64 " of %" PRIu64 " populated pages (%s", dirty, all,
		sdi_human_size(dirty * r->page_size, size));
	fprintf(out, " of %s) to be taken as written", sdi_human_size(all * r->page_size, size));
	if (*r->mark) {
		fputs(" since mark ", out);
		sdi_put_name(out, r->mark);
	}
	fprintf(out, "\n\n");
}

static void put_reasons(FILE *out, const bool *reasons)
{
	const char *separator = "   ";

	for (unsigned reason = 1; reason < SDI_N_REASONS; reason++) {
		if (!reasons[reason])
			continue;
		fprintf(out, "%s%s", separator, softdirty_reason_text(reason));
		separator = "; ";
	}
}

static void put_sums(FILE *out, const struct sdi_report *r, const struct sums *s)
{
	static const char *const words[] = { "written", "new", "untracked" };
	char size[16];

	fprintf(out, "  %-10s %12s %12s %12s\n", "why", "pages", "size", "populated");
	for (int why = 0; why < N_WHYS; why++) {
		fprintf(out, "  %-10s %12" PRIu64 " %12s %12" PRIu64, words[why], s->pages[why],
			sdi_human_size(s->pages[why] * r->page_size, size), s->populated[why]);
		put_reasons(out, s->reasons[why]);
		putc('\n', out);
	}
	putc('\n', out);
}

static void put_table(FILE *out, const struct sums *s)
{
	uint64_t quiet_pages = 0;
	size_t quiet = 0;

	fprintf(out, "  %10s %10s %10s %10s  mapping\n", "written", "new", "untracked",
		"populated");
	for (size_t i = 0; i < s->n_rows; i++) {
		const struct row *row = &s->rows[i];

		if (!row_dirty(row)) {
			quiet += row->populated > 0;
			quiet_pages += row->populated;
			continue;
		}
		fprintf(out, "  %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "  ",
			row->pages[WRITTEN], row->pages[NEW], row->pages[UNTRACKED],
			row->populated);
		sdi_put_name(out, row->name);
		putc('\n', out);
	}
	if (quiet)
		fprintf(out, "  %10u %10u %10u %10" PRIu64 "  (%zu others)\n", 0, 0, 0,
			quiet_pages, quiet);
}

int sdi_report_summary(FILE *out, const struct sdi_report *r)
{
	struct sums s;
	int err = sums_init(&s, r);

	if (err)
		return err;
	put_head(out, r, &s);
	put_sums(out, r, &s);
	put_table(out, &s);
	fprintf(out, "\n  backend: %s\n", r->backend);
	free(s.rows);
	return 0;
}

void sdi_report_ranges(FILE *out, const struct sdi_report *r)
{
	const char *kind[SDI_KIND_WORDS];
	struct sdi_pieces it;
	struct sdi_piece p;

	sdi_pieces_init(&it, r, r->ranges, r->n_ranges);
	while (sdi_pieces_next(&it, &p)) {
		fprintf(out, "%" PRIx64 "-%" PRIx64 "\t%" PRIu64 "\t%s\t", p.range.start,
			p.range.end, (p.range.end - p.range.start) / r->page_size,
			sdi_word_why(p.range.flags));
		sdi_words_kind(p.range.flags, kind);
		for (size_t i = 0; kind[i]; i++)
			fprintf(out, "%s%s", i ? "," : "", kind[i]);
		putc('\t', out);
		sdi_put_name(out, p.mapping && *p.mapping->name ? p.mapping->name : "-");
		putc('\n', out);
	}
}
