/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words that all formats share, and the cutting of runs at the borders of mappings. */
#include <string.h>

#include "report/report.h"

void sdi_pieces_init(struct sdi_pieces *it, const struct sdi_report *r,
		     const struct softdirty_range *list, size_t n)
{
	*it = (struct sdi_pieces){ .report = r, .list = list, .n = n };
}

/* The end of what lies side by side with mapping m under the same name, at most limit. */
static uint64_t end_of_name(const struct sdi_report *r, size_t m, uint64_t limit)
{
	const struct softdirty_mapping *maps = r->mappings;

	while (maps[m].end < limit && m + 1 < r->n_mappings &&
	       maps[m + 1].start == maps[m].end && !strcmp(maps[m + 1].name, maps[m].name))
		m++;
	return maps[m].end < limit ? maps[m].end : limit;
}

bool sdi_pieces_next(struct sdi_pieces *it, struct sdi_piece *ret)
{
	const struct sdi_report *r = it->report;

	if (it->next < it->n && it->pos >= it->list[it->next].end)
		it->next++;
	if (it->next >= it->n)
		return false;
	ret->range = it->list[it->next];
	if (it->pos > ret->range.start)
		ret->range.start = it->pos;

	while (it->mapping < r->n_mappings && r->mappings[it->mapping].end <= ret->range.start)
		it->mapping++;
	const struct softdirty_mapping *m =
		it->mapping < r->n_mappings ? &r->mappings[it->mapping] : NULL;
	ret->mapping = m && m->start <= ret->range.start ? m : NULL;
	if (ret->mapping)
		ret->range.end = end_of_name(r, it->mapping, ret->range.end);
	else if (m && m->start < ret->range.end)
		ret->range.end = m->start;
	it->pos = ret->range.end;
	return true;
}

uint64_t sdi_count_pages(const struct softdirty_range *list, size_t n, uint32_t page_size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (list[i].end - list[i].start) / page_size;
	return sum;
}

const char *sdi_word_why(uint32_t flags)
{
	if (flags & SOFTDIRTY_NEW)
		return "new";
	return flags & SOFTDIRTY_UNTRACKED ? "untracked" : "written";
}

void sdi_words_kind(uint32_t flags, const char *ret[static SDI_KIND_WORDS])
{
	static const struct {
		uint32_t flag;
		const char *yes, *no;
	} words[] = {
		{ SOFTDIRTY_FILE, "file", "anon" },
		{ SOFTDIRTY_SHARED, "shared", "private" },
		{ SOFTDIRTY_POPULATED, "populated", NULL },
		{ SOFTDIRTY_ZERO, "zero", NULL },
		{ SOFTDIRTY_SWAPPED, "swapped", NULL },
		{ SOFTDIRTY_HUGE, "huge", NULL },
	};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		const char *word = flags & words[i].flag ? words[i].yes : words[i].no;

		if (word)
			ret[n++] = word;
	}
	ret[n] = NULL;
}

void sdi_put_name(FILE *out, const char *name)
{
	for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
		if (*p < ' ' || *p == 0x7f)
			fprintf(out, "\\%03o", *p);
		else
			putc(*p, out);
	}
}

const char *sdi_human_size(uint64_t bytes, char buf[static 16])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = bytes / 1024.0;
	size_t unit = 0;

	while (value >= 999.95 && unit + 1 < sizeof(units) / sizeof(*units)) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, 16, "%.*f %s", unit ? 1 : 0, value, units[unit]);
	return buf;
}
