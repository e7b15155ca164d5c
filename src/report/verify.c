/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "report/json.h"
#include "report/report.h"

int sdi_why_index(uint32_t flags)
{
	if (flags & SOFTDIRTY_NEW)
		return 1;
	return flags & SOFTDIRTY_UNTRACKED ? 2 : 0;
}

int sdi_verify_miss(struct sdi_verify_round *round, uint64_t start, uint64_t end)
{
	if (round->n_missed && round->missed[round->n_missed - 1].end == start) {
		round->missed[round->n_missed - 1].end = end;
		return 0;
	}
	if (round->n_missed == round->cap_missed) {
		size_t cap = round->cap_missed ? 2 * round->cap_missed : 16;
		void *bigger = realloc(round->missed, cap * sizeof(*round->missed));

		if (!bigger)
			return -ENOMEM;
		round->missed = bigger;
		round->cap_missed = cap;
	}
	round->missed[round->n_missed++] = (struct softdirty_range){ start, end, 0, 0 };
	return 0;
}

uint64_t sdi_verify_missed(const struct sdi_verify_round *round, uint32_t page_size)
{
	return sdi_count_pages(round->missed, round->n_missed, page_size);
}

uint64_t sdi_verify_same(const struct sdi_verify_round *round)
{
	uint64_t sum = 0;

	for (int why = 0; why < SDI_N_WHYS; why++)
		for (int reason = 0; reason < SDI_N_REASONS; reason++)
			sum += round->same[why][reason];
	return sum;
}

void sdi_verify_add(struct sdi_verify_round *sum, const struct sdi_verify_round *round)
{
	sum->populated += round->populated;
	sum->changed += round->changed;
	sum->reported += round->reported;
	sum->unreadable += round->unreadable;
	sum->late += round->late;
	sum->outside += round->outside;
	sum->discarded += round->discarded;
	for (int why = 0; why < SDI_N_WHYS; why++)
		for (int reason = 0; reason < SDI_N_REASONS; reason++)
			sum->same[why][reason] += round->same[why][reason];
}

/* Why a page with the same content may rightly have been reported. */
static const char *same_words(int why, unsigned reason)
{
	static const char *const plain[] = {
		"written: the same value was stored", "new mapping", "untracked",
	};

	return reason ? softdirty_reason_text(reason) : plain[why];
}

void sdi_verify_text_head(FILE *out, const struct sdi_verify_report *r)
{
	sdi_put_name(out, r->process);
	fprintf(out, " (%d): %u round%s of %g s with %s; all numbers are pages\n\n", r->pid,
		r->rounds, r->rounds == 1 ? "" : "s", r->interval_ns / 1e9, r->backend);
	fprintf(out, "%7s %10s %10s %10s %10s %10s\n", "round", "populated", "changed",
		"reported", "missed", "unchanged");
}

void sdi_verify_text_round(FILE *out, const struct sdi_verify_report *r, unsigned number,
			   const struct sdi_verify_round *round)
{
	fprintf(out, "%7u %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
		number, round->populated, round->changed, round->reported,
		sdi_verify_missed(round, r->page_size), sdi_verify_same(round));
	for (size_t i = 0; i < round->n_missed; i++)
		fprintf(out, "        missed %" PRIx64 "-%" PRIx64 "\n", round->missed[i].start,
			round->missed[i].end);
}

static void put_line(FILE *out, uint64_t pages, const char *words)
{
	if (pages)
		fprintf(out, "%10" PRIu64 "  %s\n", pages, words);
}

void sdi_verify_text_foot(FILE *out, unsigned done, const struct sdi_verify_round *sum,
			  uint64_t missed)
{
	fprintf(out, "\n%" PRIu64 " missed in %u round%s; %" PRIu64 " of %" PRIu64
		" reported pages had the same content as before%s\n", missed, done,
		done == 1 ? "" : "s", sdi_verify_same(sum), sum->reported, sdi_verify_same(sum) ? ":" : "");
	for (int why = 0; why < SDI_N_WHYS; why++)
		for (int reason = 0; reason < SDI_N_REASONS; reason++)
			put_line(out, sum->same[why][reason], same_words(why, reason));
	if (!(sum->outside + sum->discarded + sum->late + sum->unreadable))
		return;
	fprintf(out, "set apart, not counted as missed:\n");
	put_line(out, sum->outside, "file or shared memory, changed by somebody else or by write(2)");
	put_line(out, sum->discarded, "given back to the kernel by the process, zero now");
	put_line(out, sum->late, "written while we looked: in the next answer");
	put_line(out, sum->unreadable, "could not be compared");
}

static json_t *missed_list(const struct sdi_verify_round *round, uint32_t page_size)
{
	json_t *list = json_array();
	bool good = true;

	for (size_t i = 0; i < round->n_missed; i++) {
		const struct softdirty_range *m = &round->missed[i];
		json_t *o = json_object();

		good = good && sdi_json_set(o, "start", sdi_json_address(m->start)) &&
		       sdi_json_set(o, "end", sdi_json_address(m->end)) &&
		       sdi_json_set(o, "pages", json_integer((m->end - m->start) / page_size));
		good &= sdi_json_add(list, o);
	}
	return sdi_json_whole(list, good);
}

int sdi_verify_json_head(FILE *out, const struct sdi_verify_report *r)
{
	json_t *o = json_object();
	bool good = sdi_json_set(o, "pid", json_integer(r->pid)) &&
		sdi_json_set(o, "backend", json_string(r->backend)) &&
		sdi_json_set(o, "page_size", json_integer(r->page_size));

	putc('{', out);
	int err = sdi_json_put_members(out, sdi_json_whole(o, good));
	if (!err)
		fputs(",\"rounds\":[", out);
	return err;
}

int sdi_verify_json_round(FILE *out, const struct sdi_verify_report *r, unsigned number,
			  const struct sdi_verify_round *round)
{
	json_t *o = json_object();
	bool good = sdi_json_set(o, "populated_pages", json_integer(round->populated)) &&
		sdi_json_set(o, "changed_pages", json_integer(round->changed)) &&
		sdi_json_set(o, "reported_pages", json_integer(round->reported)) &&
		sdi_json_set(o, "unchanged_pages", json_integer(sdi_verify_same(round))) &&
		sdi_json_set(o, "missed", missed_list(round, r->page_size));

	if (number > 1)
		putc(',', out);
	return sdi_json_put(out, sdi_json_whole(o, good));
}

static json_t *same_object(const struct sdi_verify_round *sum)
{
	json_t *o = json_object();
	bool good = true;

	for (int why = 0; why < SDI_N_WHYS; why++) {
		for (int reason = 0; reason < SDI_N_REASONS; reason++) {
			const char *words = same_words(why, reason);
			json_int_t before = json_integer_value(json_object_get(o, words));

			if (sum->same[why][reason])
				good = good && sdi_json_set(o, words,
					json_integer(before + sum->same[why][reason]));
		}
	}
	return sdi_json_whole(o, good);
}

int sdi_verify_json_foot(FILE *out, const struct sdi_verify_round *sum, uint64_t missed)
{
	json_t *o = json_object();
	bool good = sdi_json_set(o, "missed_pages", json_integer(missed)) &&
		sdi_json_set(o, "reported_pages", json_integer(sum->reported)) &&
		sdi_json_set(o, "unchanged_pages", json_integer(sdi_verify_same(sum))) &&
		sdi_json_set(o, "unchanged_by_reason", same_object(sum)) &&
		sdi_json_set(o, "outside_pages", json_integer(sum->outside)) &&
		sdi_json_set(o, "discarded_pages", json_integer(sum->discarded)) &&
		sdi_json_set(o, "late_pages", json_integer(sum->late)) &&
		sdi_json_set(o, "not_compared_pages", json_integer(sum->unreadable));

	fputs("],", out);
	int err = sdi_json_put_members(out, sdi_json_whole(o, good));
	fputs("}\n", out);
	return err;
}
