/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each step does to pages and mappings. The whole truth about soft-dirty is in five small
 * functions: page_new, page_gone, page_write, page_read and page_zap; the rest says which step is
 * which of them. Must not know how a kernel or the library finds out.
 */
#include "spec.h"

#include <string.h>
#include <sys/mman.h>

bool spec_is_file(const struct spec_vma *v)
{
	return v->kind != SPEC_ANON;
}

bool spec_is_shared(const struct spec_vma *v)
{
	return v->kind == SPEC_SHANON || v->kind == SPEC_MEMFD || v->kind == SPEC_FILE;
}

static struct spec_data *object_data(struct spec *s, const struct spec_page *p)
{
	return &s->object[p->vma.object][p->vma.off];
}

struct spec_data spec_content(const struct spec *s, const struct spec_page *p)
{
	if (p->pte == SPEC_OWN)
		return p->own;
	return spec_is_file(&p->vma) ? s->object[p->vma.object][p->vma.off]
				     : (struct spec_data){ 0 };
}

/* A mapping appears here: whole, new for everybody. */
static void page_new(struct spec_page *p, const struct spec_vma *vma)
{
	struct spec_page fresh = { .mapped = true, .vma = *vma, .fresh = true, .new = SPEC_ALL,
				   .was_mapped = p->was_mapped };

	memcpy(fresh.snap, p->snap, sizeof(p->snap));
	fresh.may[SPEC_HOLE] = spec_is_shared(vma) ? SPEC_ALL : 0;
	fresh.may[SPEC_UNREADABLE] = vma->prot ? 0 : SPEC_ALL;
	*p = fresh;
}

static void page_gone(struct spec_page *p)
{
	struct spec_page gone = { .was_mapped = p->was_mapped };

	memcpy(gone.snap, p->snap, sizeof(p->snap));
	*p = gone;
}

/* Somebody else changed what this page shows. */
static void page_alias(struct spec_page *p)
{
	p->may[SPEC_ALIAS] = SPEC_ALL;
}

static void object_changed(struct spec *s, unsigned object, unsigned off,
			   const struct spec_page *writer)
{
	for (struct spec_page *p = s->page; p < s->page + SPEC_PAGES; p++)
		if (p != writer && p->mapped && spec_is_file(&p->vma) && p->pte != SPEC_OWN &&
		    p->vma.object == object && p->vma.off == off)
			page_alias(p);
}

/* A write fault or a write: private memory gets a page of its own. */
static struct spec_data *page_touch(struct spec *s, struct spec_page *p)
{
	p->written = SPEC_ALL;
	p->unsure = false;
	if (spec_is_shared(&p->vma)) {
		p->pte = SPEC_CACHE;
		return object_data(s, p);
	}
	p->own = spec_content(s, p);
	p->pte = SPEC_OWN;
	return &p->own;
}

static void page_write(struct spec *s, struct spec_page *p, unsigned slot, uint32_t tag)
{
	page_touch(s, p)->slot[slot] = tag;
	p->stored = SPEC_ALL;
	if (spec_is_shared(&p->vma))
		object_changed(s, p->vma.object, p->vma.off, p);
}

/* A read fault writes nothing. */
static void page_read(struct spec_page *p)
{
	if (p->pte == SPEC_NONE)
		p->pte = spec_is_file(&p->vma) ? SPEC_CACHE : SPEC_ZERO;
	if (!p->unknown)
		p->unsure = false;
}

/* The content of private memory is given up. Shared memory keeps its content, and its state. */
static void page_zap(struct spec_page *p)
{
	bool shared = spec_is_shared(&p->vma);

	if (!shared && (p->pte != SPEC_NONE || p->unsure || p->guard)) {
		p->may[SPEC_ZAPPED] = SPEC_ALL;
		p->written = 0;
	}
	p->may[SPEC_HOLE] = shared ? SPEC_ALL : 0;
	p->pte = SPEC_NONE;
	p->own = (struct spec_data){ 0 };
	p->unknown = p->unsure = false;
}

/*
 * The kernel may join a new mapping with a neighbour of the same kind, and then hold both for new.
 * Here: every run of alike pages with a fresh one among them.
 */
static bool alike(const struct spec_page *a, const struct spec_page *b)
{
	return a->mapped && b->mapped && a->vma.kind == b->vma.kind &&
	       a->vma.object == b->vma.object;
}

static void merge_run(struct spec_page *first, const struct spec_page *end)
{
	bool fresh = false, moved = false;

	for (const struct spec_page *p = first; p < end; p++) {
		fresh |= p->fresh;
		moved |= p->moved;
	}
	for (struct spec_page *p = first; p < end; p++) {
		p->fresh = fresh;
		p->moved = moved;
		if (fresh)
			p->may[SPEC_MERGED] = SPEC_ALL;
		if (moved)
			p->may[SPEC_MOVED_IN] = SPEC_ALL;
	}
}

static void merge_runs(struct spec *s)
{
	struct spec_page *last = s->page + SPEC_PAGES, *end;

	for (struct spec_page *p = s->page; p < last; p = end) {
		for (end = p + 1; end < last && alike(end - 1, end); end++)
			;
		merge_run(p, end);
	}
}

static uint16_t object_create(struct spec *s, unsigned pages)
{
	bool used[SPEC_OBJECTS] = { [SPEC_OBJECT_MEMFD] = true, [SPEC_OBJECT_FILE] = true };

	for (const struct spec_page *p = s->page; p < s->page + SPEC_ARENA; p++)
		if (p->mapped && p->vma.kind == SPEC_SHANON)
			used[p->vma.object] = true;
	for (unsigned o = SPEC_OBJECT_SHANON; o < SPEC_OBJECTS; o++) {
		if (used[o])
			continue;
		memset(s->object[o], 0, sizeof(s->object[o]));
		s->object_pages[o] = pages;
		return o;
	}
	return 0;	/* spec_valid() does not let it come to that */
}

static void do_mmap(struct spec *s, const struct op *op)
{
	struct spec_vma vma = { .kind = op->kind, .prot = op->prot, .id = ++s->last_id };

	for (unsigned i = 0; i < op->n; i++)
		page_gone(&s->page[op->page + i]);
	if (op->kind == SPEC_SHANON)
		vma.object = object_create(s, op->n);
	else if (op->kind != SPEC_ANON)
		vma.object = op->kind == SPEC_MEMFD || op->kind == SPEC_MEMFD_PRIV ?
			SPEC_OBJECT_MEMFD : SPEC_OBJECT_FILE;
	for (unsigned i = 0; i < op->n; i++) {
		vma.off = op->kind == SPEC_ANON ? op->page + i :
			  op->kind == SPEC_SHANON ? i : op->to + i;
		page_new(&s->page[op->page + i], &vma);
	}
}

/*
 * The page table entry moves along; for the new place it is a new mapping. For a moment there are both,
 * so that the new one may be joined with what is left of the old one.
 */
static void do_move(struct spec *s, const struct op *op)
{
	uint32_t id = ++s->last_id;

	for (unsigned i = 0; i < op->n; i++) {
		const struct spec_page *from = &s->page[op->page + i];
		struct spec_page *to = &s->page[op->to + i];

		page_new(to, &from->vma);
		to->vma.id = id;
		to->moved = true;
		to->pte = from->pte;
		to->own = from->own;
		to->guard = from->guard;
		to->unknown = from->unknown;
		to->unsure = from->unsure;
		if (to->was_mapped && (to->pte == SPEC_NONE || to->unsure))
			to->emptied = SPEC_ALL;
	}
	merge_runs(s);
	for (unsigned i = 0; i < op->n; i++) {
		struct spec_page *from = &s->page[op->page + i];

		if (op->code == OP_MOVE) {
			page_gone(from);
		} else {
			page_zap(from);
			from->guard = false;
		}
	}
}

static void do_grow(struct spec *s, const struct op *op)
{
	struct spec_vma vma = s->page[op->page + op->n - 1].vma;

	for (unsigned i = 0; i < op->to; i++) {
		struct spec_page *p = &s->page[op->page + op->n + i];

		vma.off++;
		page_new(p, &vma);
		if (p->was_mapped)
			p->regrown = SPEC_ALL;
	}
}

static void do_brk(struct spec *s, const struct op *op)
{
	struct spec_vma vma = { .kind = SPEC_ANON, .prot = PROT_READ | PROT_WRITE,
				.id = ++s->last_id };

	for (unsigned i = s->brk; i < op->n; i++) {
		vma.off = SPEC_ARENA + i;
		page_new(&s->page[SPEC_ARENA + i], &vma);
	}
	for (unsigned i = op->n; i < s->brk; i++)
		page_gone(&s->page[SPEC_ARENA + i]);
	s->brk = op->n;
}

/* A hole in a shared object: whoever shows that part of it sees zeroes now. */
static void do_remove(struct spec *s, const struct op *op)
{
	for (unsigned i = 0; i < op->n; i++) {
		const struct spec_vma v = s->page[op->page + i].vma;

		s->object[v.object][v.off] = (struct spec_data){ 0 };
		for (struct spec_page *p = s->page; p < s->page + SPEC_PAGES; p++) {
			if (!p->mapped || !spec_is_file(&p->vma) || p->pte == SPEC_OWN ||
			    p->vma.object != v.object || p->vma.off != v.off)
				continue;
			p->may[SPEC_ZAPPED] = SPEC_ALL;
			p->written = 0;
			p->pte = SPEC_NONE;
			p->may[SPEC_HOLE] = spec_is_shared(&p->vma) ? SPEC_ALL : 0;
			page_alias(p);
		}
	}
}

/* The child: a process nobody has looked at yet, with the memory that it inherits. */
static void do_fork(struct spec *s)
{
	for (struct spec_page *p = s->page; p < s->page + SPEC_PAGES; p++) {
		if (p->mapped && p->vma.dontfork)
			page_gone(p);
		if (p->mapped && p->vma.wipeonfork) {
			page_zap(p);
			p->guard = false;
		}
		/* A mapping without a page of its own is not copied, it faults again. */
		p->unsure |= p->pte == SPEC_ZERO || p->pte == SPEC_CACHE;
	}
	spec_reopen(s);
}

static void do_exec(struct spec *s)
{
	struct spec_vma image = { .kind = SPEC_ANON, .prot = PROT_READ | PROT_WRITE,
				  .id = ++s->last_id };

	s->brk = 0;
	for (unsigned i = 0; i < SPEC_PAGES; i++) {
		page_gone(&s->page[i]);
		image.off = i;
		if (i >= SPEC_HEAP_END)
			page_new(&s->page[i], &image);
	}
}

void spec_init(struct spec *s)
{
	memset(s, 0, sizeof(*s));
	s->object_pages[SPEC_OBJECT_MEMFD] = s->object_pages[SPEC_OBJECT_FILE] = SPEC_OBJECT_PAGES;
	do_exec(s);
}

/* What a child does to its own pages is nothing to us; shared ones are everybody's. */
static void child_writes(struct spec *s, const struct op *op, const struct spec_page *p)
{
	if (!spec_is_shared(&p->vma))
		return;
	object_data(s, p)->slot[op->slot] = op->tag;
	object_changed(s, p->vma.object, p->vma.off, NULL);
}

/* The content may go at any time, or never. */
static void page_free(struct spec_page *p)
{
	if (p->pte != SPEC_OWN)
		return;
	p->may[SPEC_ZAPPED] = SPEC_ALL;
	p->written = 0;
	p->unknown = p->unsure = true;
}

static void page_guard(struct spec_page *p)
{
	page_zap(p);
	p->guard = true;
	p->may[SPEC_ZAPPED] = SPEC_ALL;
}

/* Where a page is kept is not what it holds; but one of a file may leave the page table. */
static void page_out(struct spec_page *p)
{
	if (spec_is_shared(&p->vma))
		p->may[SPEC_HOLE] = SPEC_ALL;
	p->unsure |= spec_is_file(&p->vma);
}

static void page_protect(struct spec_page *p, int prot)
{
	p->vma.prot = prot;
	if (!prot)
		p->may[SPEC_UNREADABLE] = SPEC_ALL;
}

/* Populates for writing where that gives a page of its own. */
static void page_lock(struct spec *s, struct spec_page *p)
{
	if (spec_is_shared(&p->vma) || !(p->vma.prot & PROT_WRITE))
		page_read(p);
	else
		page_touch(s, p);
}

/* Steps that treat each of their pages alike. */
static void each_page(struct spec *s, const struct op *op, struct spec_page *p)
{
	switch ((enum op_code)op->code) {
	case OP_STORE: case OP_SYSREAD: case OP_VMWRITE: case OP_MEMWRITE: case OP_THREAD:
		page_write(s, p, op->slot, op->tag);
		break;
	case OP_FORKWRITE:	child_writes(s, op, p); break;
	case OP_LOAD:
	case OP_POPREAD:	page_read(p); break;
	case OP_POPWRITE:	page_touch(s, p); break;
	case OP_MLOCK:		page_lock(s, p); break;
	case OP_MUNMAP:		page_gone(p); break;
	case OP_MPROTECT:	page_protect(p, op->prot); break;
	case OP_WIPEONFORK:
	case OP_KEEPONFORK:	p->vma.wipeonfork = op->code == OP_WIPEONFORK; break;
	case OP_DONTFORK:
	case OP_DOFORK:		p->vma.dontfork = op->code == OP_DONTFORK; break;
	case OP_DONTNEED:	page_zap(p); break;
	case OP_FREE:		page_free(p); break;
	case OP_GUARD:		page_guard(p); break;
	case OP_UNGUARD:	p->guard = false; break;
	case OP_PAGEOUT:	page_out(p); break;
	default:		break;
	}
}

/* Steps after which the kernel may have more borders between mappings than before. */
static bool new_borders(enum op_code code)
{
	return code == OP_MPROTECT || code == OP_MLOCK || code == OP_GUARD ||
	       (code >= OP_WIPEONFORK && code <= OP_DOFORK);
}

/*
 * When the kernel joins two mappings because they have become alike, it may forget that one of them is
 * new: before Linux 6.19, that propagates VM_SOFTDIRTY.
 */
static void joined(struct spec *s)
{
	for (struct spec_page *p = s->page; p < s->page + SPEC_PAGES; p++)
		if (p->mapped && p->fresh && p->was_mapped && (p->pte == SPEC_NONE || p->unsure))
			p->emptied = SPEC_ALL;
}

static void cut_out(struct spec *s, unsigned first, unsigned n)
{
	uint32_t old = 0;

	for (struct spec_page *p = s->page + first; p < s->page + first + n; p++) {
		if (p->vma.id != old)
			s->last_id++;
		old = p->vma.id;
		p->vma.id = s->last_id;
	}
}

/* A hole makes two mappings of one; who fills it may be a third one. */
static void split_at_holes(struct spec *s)
{
	for (struct spec_page *p = s->page; p < s->page + SPEC_PAGES; p++) {
		const struct spec_page *before = p > s->page ? p - 1 : NULL, *q = s->page;
		uint32_t id = p->vma.id;

		if (!p->mapped || (before && before->mapped && before->vma.id == id))
			continue;
		while (q < p && !(q->mapped && q->vma.id == id))
			q++;
		if (q == p)
			continue;
		s->last_id++;
		for (struct spec_page *r = p; r < s->page + SPEC_PAGES && r->vma.id == id; r++)
			r->vma.id = s->last_id;
	}
}

void spec_apply(struct spec *s, const struct op *op)
{
	switch ((enum op_code)op->code) {
	case OP_MMAP:	   do_mmap(s, op); break;
	case OP_MOVE: case OP_DONTUNMAP: do_move(s, op); break;
	case OP_GROW:	   do_grow(s, op); break;
	case OP_BRK:	   do_brk(s, op); break;
	case OP_REMOVE:	   do_remove(s, op); break;
	case OP_FORK:	   do_fork(s); break;
	case OP_EXEC:	   do_exec(s); break;
	case OP_SHRINK:
		for (unsigned i = op->to; i < op->n; i++)
			page_gone(&s->page[op->page + i]);
		break;
	case OP_FILEWRITE:
		s->object[op->kind][op->page].slot[op->slot] = op->tag;
		object_changed(s, op->kind, op->page, NULL);
		break;
	default:
		for (unsigned i = 0; i < op->n; i++)
			each_page(s, op, &s->page[op->page + i]);
		if (new_borders(op->code)) {
			cut_out(s, op->page, op->n);
			joined(s);
		}
	}
	split_at_holes(s);
	merge_runs(s);
}

uint64_t spec_fold(uint64_t sum, const struct spec_data *data)
{
	for (int i = 0; i < 4; i++)
		sum = (sum ^ data->slot[i]) * 0x100000001b3u + i;
	return sum;
}

uint64_t spec_result(const struct spec *s, const struct op *op, bool *checked)
{
	uint64_t sum = 0;

	*checked = true;
	if (op->code != OP_LOAD)
		return 0;
	for (unsigned i = 0; i < op->n; i++) {
		const struct spec_page *p = &s->page[op->page + i];
		struct spec_data data = spec_content(s, p);

		*checked &= !p->unknown;
		sum = spec_fold(sum, &data);
	}
	return sum;
}
