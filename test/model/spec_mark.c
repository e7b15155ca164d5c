/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Marks, and the judgement on an answer: equal to the promise, more for a named reason, or wrong. */
#include "spec.h"

#include <string.h>

#include "softdirty.h"

const char *const spec_reason_name[SPEC_REASONS] = { "zapped", "alias", "merged",
	"moved-in",
	"hole", "unreadable", "lost" };
const char *const spec_omission_name[SPEC_OMISSIONS] = { "same-content", "regrown",
	"emptied" };

void spec_mark_clear(struct spec *s, int mark, unsigned first, unsigned n)
{
	uint8_t others = SPEC_ALL & ~(1 << mark);

	s->marks |= 1 << mark;
	if (s->lost_again)
		s->lost |= others;
	if (n == SPEC_PAGES)
		s->lost &= others;
	s->lost_again = false;
	for (unsigned i = first; i < first + n; i++) {
		struct spec_page *p = &s->page[i];

		p->new &= others;
		p->written &= others;
		p->regrown &= others;
		p->emptied &= others;
		p->stored &= others;
		for (int r = 0; r < SPEC_REASONS; r++)
			p->may[r] &= others;
		if (spec_is_shared(&p->vma) && (p->pte == SPEC_NONE || p->unsure))
			p->may[SPEC_HOLE] |= 1 << mark;
		if (p->mapped && !p->vma.prot)
			p->may[SPEC_UNREADABLE] |= 1 << mark;
		p->snap[mark] = (struct spec_snapshot){ p->mapped, p->unknown, p->pte == SPEC_OWN,
							p->vma, spec_content(s, p) };
	}
	for (unsigned i = 0; i < SPEC_PAGES; i++) {
		s->page[i].fresh = s->page[i].moved = false;
		s->page[i].was_mapped = s->page[i].mapped;
	}
}

void spec_mark_forget(struct spec *s, int mark)
{
	s->marks &= ~(1 << mark);
	for (unsigned i = 0; i < SPEC_PAGES; i++) {
		struct spec_page *p = &s->page[i];

		if (p->mapped)
			p->new |= 1 << mark;
		p->regrown &= ~(1 << mark);
		p->emptied &= ~(1 << mark);
		p->snap[mark] = (struct spec_snapshot){ 0 };
	}
}

void spec_reopen(struct spec *s)
{
	for (int mark = 0; mark < SPEC_MARKS; mark++)
		spec_mark_forget(s, mark);
	for (unsigned i = 0; i < SPEC_PAGES; i++)
		s->page[i].was_mapped = false;
	s->lost = 0;
	s->lost_again = false;
}

void spec_mark_failed(struct spec *s)
{
	s->lost = SPEC_ALL;
	s->lost_again = true;
}

/* Freed lazily, it may be empty by now; and so it was, as memory that was cut off and grown again. */
static bool may_be_zero_again(const struct spec_page *p, const struct spec_snapshot *snap)
{
	static const struct spec_data zero;

	return p->unknown && p->unsure && !snap->unknown && !memcmp(&snap->data, &zero, sizeof(zero));
}

/* Where contents are compared, what is as it was may stay unsaid. */
static bool same_content(const struct spec *s, const struct spec_page *p, int mark)
{
	const struct spec_snapshot *snap = &p->snap[mark];
	struct spec_data now = spec_content(s, p);

	if (!snap->mapped || snap->vma.kind != p->vma.kind ||
	    (spec_is_shared(&p->vma) && snap->vma.object != p->vma.object))
		return false;
	/* The same part of a file, of which it has nothing of its own: what changed is the file. */
	if (spec_is_file(&p->vma) && !spec_is_shared(&p->vma) && !snap->own && p->pte != SPEC_OWN &&
	    snap->vma.object == p->vma.object && snap->vma.off == p->vma.off)
		return true;
	if (p->unknown || snap->unknown)
		return !(p->stored & 1 << mark) || may_be_zero_again(p, snap);
	return !memcmp(&snap->data, &now, sizeof(now));
}

/* What was freed lazily may be taken at any later time. */
static bool may(const struct spec_page *p, enum spec_reason reason, uint8_t bit)
{
	return p->may[reason] & bit || (reason == SPEC_ZAPPED && p->unknown && p->unsure);
}

/* Of these pages the content is compared; of others there is a bit for each. */
static bool compares(enum spec_backend backend, const struct spec_page *p)
{
	return backend == SPEC_HASH ||
	       (backend == SPEC_SOFT_DIRTY && spec_is_shared(&p->vma)) ||
	       (backend == SPEC_WP_ASYNC &&
		(p->vma.kind == SPEC_FILE || p->vma.kind == SPEC_FILE_PRIV));
}

/* Which superset each backend may give: all that it cannot tell from a write. */
static bool reason_holds(enum spec_backend backend, enum spec_reason reason,
			 const struct spec_page *p)
{
	switch (reason) {
	case SPEC_ZAPPED:
		return true;
	case SPEC_MERGED:
		return backend == SPEC_SOFT_DIRTY;
	case SPEC_MOVED_IN:
		return backend != SPEC_HASH;
	default:
		return compares(backend, p);
	}
}

static enum spec_verdict wrong(const char **error, const char *text)
{
	*error = text;
	return SPEC_WRONG;
}

static enum spec_verdict judge_silence(const struct spec *s, enum spec_backend backend, int mark,
				       const struct spec_page *p, int *which, const char **error)
{
	bool new = p->new & 1 << mark, written = p->written & 1 << mark;

	if (!new && !written)
		return SPEC_EXACT;
	*which = SPEC_SAME;
	if (compares(backend, p) && same_content(s, p, mark))
		return SPEC_OMITTED;
	*which = SPEC_REGROWN;
	if (!written && p->regrown & 1 << mark)
		return SPEC_OMITTED;
	*which = SPEC_EMPTIED;
	if (backend == SPEC_SOFT_DIRTY && !written && p->emptied & 1 << mark)
		return SPEC_OMITTED;
	return wrong(error, written ? "LOST: written, reported clean"
				    : "LOST: new, reported clean");
}

static const char *wrong_kind(const struct spec_page *p, uint32_t flags)
{
	bool shared = spec_is_shared(&p->vma), file = flags & SOFTDIRTY_FILE;

	if (!!(flags & SOFTDIRTY_SHARED) != shared)
		return "wrong about MAP_SHARED";
	if (file && !spec_is_file(&p->vma))
		return "anonymous, but called file";
	if (!file && shared)
		return "file or shared memory, but called anonymous";
	if (p->unsure || p->pte == SPEC_NONE || shared)
		return NULL;
	if (file && p->pte == SPEC_OWN)
		return "a private copy, but called file";
	return !file && p->pte == SPEC_CACHE ? "a page of the file, but called anonymous" : NULL;
}

enum spec_verdict spec_judge(const struct spec *s, enum spec_backend backend, int mark,
			     unsigned page, const struct spec_report *r, int *which,
			     const char **error)
{
	const struct spec_page *p = &s->page[page];
	uint8_t bit = 1 << mark;

	if (!r->reported)
		return p->mapped ? judge_silence(s, backend, mark, p, which, error) : SPEC_EXACT;
	if (!p->mapped)
		return wrong(error, "reported, but nothing is mapped there");
	uint32_t why = r->flags & SOFTDIRTY_WHY;
	if (!why || why & (why - 1))
		return wrong(error, "not exactly one of written, new, untracked");
	*error = wrong_kind(p, r->flags);
	if (*error)
		return SPEC_WRONG;

	if (p->new & bit && (why == SOFTDIRTY_NEW || p->regrown & bit || backend == SPEC_HASH))
		return SPEC_EXACT;
	if (p->written & bit && !(p->new & bit) && why == SOFTDIRTY_WRITTEN)
		return SPEC_EXACT;
	*which = SPEC_LOST;
	if (s->lost & bit)
		return SPEC_SUPERSET;
	for (*which = 0; *which < SPEC_REASONS; ++*which)
		if (may(p, *which, bit) && reason_holds(backend, *which, p))
			return SPEC_SUPERSET;
	if (!((p->new | p->written) & bit))
		return wrong(error, "FALSE ALARM: neither written nor new");
	return wrong(error, p->new & bit ? "new, but reported otherwise"
					 : "only written, but reported otherwise");
}

const char *spec_judge_populated(const struct spec *s, unsigned page, const struct spec_report *r)
{
	const struct spec_page *p = &s->page[page];

	if (!p->mapped)
		return r->reported ? "populated, but nothing is mapped there" : NULL;
	if (r->reported && wrong_kind(p, r->flags))
		return wrong_kind(p, r->flags);
	if (spec_is_file(&p->vma) || p->unsure || p->guard)
		return NULL;
	if (r->reported != (p->pte != SPEC_NONE))
		return r->reported ? "not populated, but listed" : "populated, but not listed";
	bool zero = r->flags & SOFTDIRTY_ZERO;
	if (r->reported && zero != (p->pte == SPEC_ZERO) && (zero || s->zero_known))
		return "wrong about the zero page";
	return NULL;
}
