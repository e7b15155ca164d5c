/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compares what a backend says about the region of a target, page by page, with what the promise
 * says, and prints the result as one line for the table of kernels. Knows no kernel mechanism.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

#define MAX_UNITS 4096

static const char *const names[] = {
	[T_WP_ASYNC] = "wp-async", [T_HASH] = "hash", [T_SOFT_DIRTY] = "soft-dirty",
};

static const struct softdirty_backend *chosen(void)
{
	const char *forced = getenv("SOFTDIRTY_BACKEND");
	const struct softdirty_backend *list;
	size_t n;

	T_MUST(softdirty_check(0, &list, &n) == 0);
	for (size_t i = 0; i < n; i++)
		if (forced ? strcmp(list[i].name, forced) == 0 : list[i].works)
			return &list[i];
	t_skip_all("no backend %s", forced ? forced : "works");
}

void t_need_backend(void)
{
	const struct softdirty_backend *b = chosen();

	if (!b->works)
		t_skip_all("%s does not work on this kernel: %s", b->name, b->why);
	t_backend();
}

int t_open_default(pid_t pid, struct softdirty **ret)
{
	const char *forced = getenv("SOFTDIRTY_BACKEND");
	int err;

	t_backend();
	unsetenv("SOFTDIRTY_BACKEND");
	err = softdirty_open(pid, NULL, ret);
	if (forced)
		setenv("SOFTDIRTY_BACKEND", names[t_backend()], 1);
	return err;
}

const char *t_backend_name(void)
{
	return names[t_backend()];
}

enum t_backend t_backend(void)
{
	static int found = -1;
	const char *name;

	if (found >= 0)
		return (enum t_backend)found;
	name = chosen()->name;
	for (int i = 0; i < 3; i++)
		if (strcmp(names[i], name) == 0)
			found = i;
	T_MUST(found >= 0);
	return (enum t_backend)found;
}

static char letter(uint32_t why)
{
	switch (why) {
	case SOFTDIRTY_WRITTEN:
		return 'D';
	case SOFTDIRTY_NEW:
		return 'n';
	case SOFTDIRTY_UNTRACKED:
		return 'u';
	default:
		return '?';
	}
}

static void check_list(const struct softdirty_range *r, size_t n, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < n; i++) {
		T_OK(r[i].start < r[i].end);
		T_OK(r[i].start >= start && r[i].end <= end);
		T_OK((r[i].start | r[i].end) % t_page_size() == 0);
		T_OK(i == 0 || r[i].start >= r[i - 1].end);
		T_OK(letter(r[i].flags & SOFTDIRTY_WHY) != '?');
		T_OK(softdirty_reason_text(r[i].reason) != NULL);
	}
}

/* reasons: of each unit, or NULL. */
static void read_units(struct softdirty *sd, const char *mark, unsigned flags, uintptr_t start, size_t n,
		       size_t unit, char *letters, uint32_t *reasons)
{
	const struct softdirty_range *r;
	size_t n_ranges;
	int ret = softdirty_read(sd, mark, flags, start, start + n * unit, &r, &n_ranges);

	memset(letters, '-', n);
	letters[n] = '\0';
	if (!T_EQ(ret, 0)) {
		t_note("%s", softdirty_error());
		return;
	}
	check_list(r, n_ranges, start, start + n * unit);
	for (size_t i = 0; i < n_ranges; i++)
		for (size_t u = (r[i].start - start) / unit; u <= (r[i].end - 1 - start) / unit; u++) {
			letters[u] = letter(r[i].flags & SOFTDIRTY_WHY);
			if (reasons)
				reasons[u] = r[i].reason;
		}
}

void t_letters(struct softdirty *sd, const char *mark, unsigned flags, uintptr_t start, size_t n,
	       size_t unit, char *letters)
{
	read_units(sd, mark, flags, start, n, unit, letters, NULL);
}

/* "DDDDDDDDDD-" -> "D*10-" */
static void shorten(const char *letters, char *ret, size_t size)
{
	size_t out = 0;

	ret[0] = '\0';
	for (size_t i = 0, run; letters[i] && out + 16 < size; i += run) {
		for (run = 1; letters[i + run] == letters[i]; run++)
			;
		if (run < 5)
			out += (size_t)snprintf(ret + out, size - out, "%.*s", (int)run, letters + i);
		else
			out += (size_t)snprintf(ret + out, size - out, "%c*%zu", letters[i], run);
	}
}

/* "D*10-" -> "DDDDDDDDDD-" */
static void lengthen(const char *text, char *ret)
{
	size_t out = 0;

	while (*text) {
		char *end = (char *)text + 1;
		unsigned long n = text[1] == '*' ? strtoul(text + 2, &end, 10) : 1;

		T_MUST(out + n < MAX_UNITS);
		memset(ret + out, *text, n);
		out += n;
		text = end;
	}
	ret[out] = '\0';
}

const char *t_pages(struct t_target *tg, const char *mark, unsigned flags)
{
	static char letters[MAX_UNITS + 1], text[MAX_UNITS];

	T_MUST(tg->n <= MAX_UNITS);
	t_letters(tg->sd, mark, flags, tg->mem, tg->n, tg->unit, letters);
	shorten(letters, text, sizeof(text));
	return text;
}

unsigned t_reason(struct t_target *tg, const char *mark, size_t i)
{
	const struct softdirty_range *r;
	size_t n;
	int ret = softdirty_read(tg->sd, mark, 0, t_page(tg, i), t_page(tg, i + 1), &r, &n);

	return ret == 0 && n ? r[0].reason : SOFTDIRTY_REASON_NONE;
}

/* The native bit does not tell written from new. */
static bool same(char a, char b)
{
	return a == b || (t_backend() == T_SOFT_DIRTY && strchr("Dn", a) && strchr("Dn", b));
}

static const char *stated(const struct t_expect *e)
{
	const char *own[] = { [T_WP_ASYNC] = e->wp, [T_HASH] = e->hash, [T_SOFT_DIRTY] = e->sd };

	return own[t_backend()] ? own[t_backend()] : e->want;
}

struct verdict {
	bool wrong, extra, unseen, superset;
};

static struct verdict judge(const char *got, const char *want, const char *own)
{
	struct verdict v = { .wrong = strlen(want) != strlen(got) || strlen(own) != strlen(got) };

	for (size_t i = 0; got[i] && !v.wrong; i++) {
		bool expected = same(got[i], want[i]) || same(got[i], own[i]);
		bool more = got[i] == 'D' && want[i] == '-';

		v.extra |= !expected && more;
		v.wrong |= !expected && !more;
		v.unseen |= got[i] == '-' && want[i] != '-';
		v.superset |= got[i] != '-' && want[i] == '-';
	}
	return v;
}

/*
 * While anybody's huge pages are split, zero pages count as written: see zero.h in src/track. Then a claim
 * for which too much was reported, and nothing else, is left undecided.
 */
static bool is_disturbed(const struct t_target *tg, struct verdict v)
{
	if (!v.extra || v.wrong || t_huge_splits() == tg->splits)
		return false;
	t_skip("huge pages were split on this machine meanwhile");
	return true;
}

static void check_answer(const struct t_target *tg, const char *name, const char *got,
			 const struct t_expect *e)
{
	char want[MAX_UNITS], own[MAX_UNITS], text[MAX_UNITS];
	struct verdict v;

	lengthen(e->want, want);
	lengthen(stated(e), own);
	v = judge(got, want, own);
	shorten(got, text, sizeof(text));
	if (is_disturbed(tg, v))
		return;
	if (!T_OK(!v.wrong && !v.extra))
		t_note("%s: got %s, promised is %s, expected from %s %s", name, text, e->want,
		       t_backend_name(), stated(e));
	else
		printf("event %s backend %s: %s %s\n", name, t_backend_name(),
		       v.unseen ? "unseen" : v.superset ? "superset" : "exact",
		       (v.unseen || v.superset) && e->why ? e->why : "");
}

/* Nothing is untracked without the reason that the event says. */
static void check_reasons(const char *name, const char *got, const uint32_t *reasons,
			  const struct t_expect *e)
{
	const char *u = strchr(got, 'u');

	while (u && reasons[u - got] == (uint32_t)e->reason)
		u = strchr(u + 1, 'u');
	if (u && !T_EQ(reasons[u - got], e->reason))
		t_note("%s: unit %td is untracked: %s", name, u - got,
		       softdirty_reason_text(reasons[u - got]));
}

/* What was reported once is not reported again; what is untracked is, always. */
static void check_again(struct t_target *tg, const char *name, const char *first,
			const struct t_expect *e)
{
	char got[MAX_UNITS + 1], want[MAX_UNITS];
	uint32_t reasons[MAX_UNITS];

	if (e->again)
		lengthen(e->again, want);
	else
		for (size_t i = 0; i <= tg->n; i++)
			want[i] = first[i] == 'u' || first[i] == '\0' ? first[i] : '-';
	read_units(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, tg->n, tg->unit, got, reasons);
	if (!is_disturbed(tg, judge(got, want, want)))
		T_STREQ(got, want);
	check_reasons(name, got, reasons, e);
}

/* Whatever happened to the region, the next write to it is seen. */
static void check_next_write(struct t_target *tg)
{
	char got[MAX_UNITS + 1];

	if (t_call(tg, t_op_poke, t_page(tg, tg->n - 1)) != 0)
		return;
	t_letters(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, tg->n, tg->unit, got);
	if (!T_OK(got[tg->n - 1] == 'D' || got[tg->n - 1] == 'u'))
		t_note("after the event and a clear, a write of the last page gives %s", got);
}

void t_event(struct t_target *tg, const char *name, const struct t_expect *e)
{
	char first[MAX_UNITS + 1], second[MAX_UNITS + 1];
	uint32_t reasons[MAX_UNITS];

	T_MUST(tg->n <= MAX_UNITS);
	t_letters(tg->sd, NULL, 0, tg->mem, tg->n, tg->unit, first);
	read_units(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, tg->n, tg->unit, second, reasons);
	check_answer(tg, name, second, e);
	check_reasons(name, second, reasons, e);
	if (!is_disturbed(tg, judge(second, first, first)))
		T_STREQ(second, first);		/* a read without --clear changes nothing */
	if (e->lasting_reason)
		return;
	check_again(tg, name, second, e);
	check_next_write(tg);
}
