/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a correct program may do next: nothing that faults, no call that fails. Generator and
 * shrinker ask here, so that every program they make is one that a process survives.
 */
#include "spec.h"

#include <sys/mman.h>

enum { LOAD_MAX = 16 };

static bool inside(unsigned first, unsigned n, unsigned end)
{
	return n && first < end && n <= end - first;
}

/* Pages of one area: their addresses are neighbours. */
static bool one_area(unsigned first, unsigned n)
{
	if (first < SPEC_ARENA)
		return inside(first, n, SPEC_ARENA);
	return inside(first, n, first < SPEC_HEAP_END ? SPEC_HEAP_END : SPEC_PAGES);
}

static bool mapped(const struct spec *s, unsigned first, unsigned n)
{
	if (!one_area(first, n))
		return false;
	for (unsigned i = first; i < first + n; i++)
		if (!s->page[i].mapped)
			return false;
	return true;
}

static bool accessible(const struct spec *s, unsigned first, unsigned n, int prot)
{
	if (!mapped(s, first, n))
		return false;
	for (unsigned i = first; i < first + n; i++)
		if (s->page[i].guard || (s->page[i].vma.prot & prot) != prot)
			return false;
	return true;
}

static bool all_anon(const struct spec *s, unsigned first, unsigned n)
{
	if (!mapped(s, first, n))
		return false;
	for (unsigned i = first; i < first + n; i++)
		if (spec_is_file(&s->page[i].vma))
			return false;
	return true;
}

/* Only within what is one mapping for sure the kernel moves and resizes. */
static bool one_vma(const struct spec *s, unsigned first, unsigned n)
{
	if (!inside(first, n, SPEC_ARENA) || !mapped(s, first, n))
		return false;
	for (unsigned i = first + 1; i < first + n; i++)
		if (s->page[i].vma.id != s->page[first].vma.id)
			return false;
	return true;
}

static bool shared_objects_left(const struct spec *s)
{
	bool used[SPEC_OBJECTS] = { 0 };
	unsigned n = SPEC_OBJECT_SHANON;

	for (unsigned i = 0; i < SPEC_ARENA; i++) {
		const struct spec_page *p = &s->page[i];

		if (p->mapped && p->vma.kind == SPEC_SHANON && !used[p->vma.object]) {
			used[p->vma.object] = true;
			n++;
		}
	}
	return n < SPEC_OBJECTS;
}

static bool valid_mmap(const struct spec *s, const struct op *op)
{
	if (!inside(op->page, op->n, SPEC_ARENA) || op->kind >= SPEC_KINDS ||
	    op->prot & ~(PROT_READ | PROT_WRITE) || op->prot == PROT_WRITE)
		return false;
	if (op->kind == SPEC_ANON)
		return true;
	if (op->kind == SPEC_SHANON)
		return op->n <= SPEC_OBJECT_PAGES && shared_objects_left(s);
	return inside(op->to, op->n, SPEC_OBJECT_PAGES);
}

static bool valid_move(const struct spec *s, const struct op *op)
{
	if (!one_vma(s, op->page, op->n) || !inside(op->to, op->n, SPEC_ARENA))
		return false;
	if (op->code == OP_DONTUNMAP && !all_anon(s, op->page, op->n))
		return false;
	return op->to + op->n <= op->page || op->page + op->n <= op->to;
}

static bool valid_grow(const struct spec *s, const struct op *op)
{
	unsigned end = op->page + op->n;

	if (!one_vma(s, op->page, op->n) || !inside(end, op->to, SPEC_ARENA))
		return false;
	for (unsigned i = end; i < end + op->to; i++)
		if (s->page[i].mapped)
			return false;
	const struct spec_vma *last = &s->page[end - 1].vma;
	return !spec_is_file(last) || last->off + op->to < s->object_pages[last->object];
}

static bool valid_remove(const struct spec *s, const struct op *op)
{
	if (!accessible(s, op->page, op->n, PROT_WRITE))
		return false;
	for (unsigned i = op->page; i < op->page + op->n; i++)
		if (s->page[i].vma.kind != SPEC_SHANON && s->page[i].vma.kind != SPEC_MEMFD)
			return false;
	return true;
}

static bool valid_memwrite(const struct spec *s, const struct op *op)
{
	if (!accessible(s, op->page, op->n, PROT_READ))
		return false;
	for (unsigned i = op->page; i < op->page + op->n; i++)
		if (spec_is_shared(&s->page[i].vma))
			return false;
	return true;
}

static bool valid_forkwrite(const struct spec *s, const struct op *op)
{
	if (!accessible(s, op->page, op->n, PROT_WRITE))
		return false;
	for (unsigned i = op->page; i < op->page + op->n; i++)
		if (s->page[i].vma.dontfork)
			return false;
	return true;
}

static bool valid_consumer(const struct op *op)
{
	return op->kind < SPEC_MARKS && (!op->n || one_area(op->page, op->n));
}

bool spec_valid(const struct spec *s, const struct op *op)
{
	switch ((enum op_code)op->code) {
	case OP_LOAD:
		return op->n <= LOAD_MAX && accessible(s, op->page, op->n, PROT_READ);
	case OP_POPREAD: case OP_MLOCK:
		return accessible(s, op->page, op->n, PROT_READ);
	case OP_STORE: case OP_SYSREAD: case OP_VMWRITE: case OP_THREAD: case OP_POPWRITE:
		return accessible(s, op->page, op->n, PROT_WRITE);
	case OP_MEMWRITE:	return valid_memwrite(s, op);
	case OP_FORKWRITE:	return valid_forkwrite(s, op);
	case OP_FILEWRITE:
		return op->kind <= SPEC_OBJECT_FILE && op->page < SPEC_OBJECT_PAGES;
	case OP_MMAP:		return valid_mmap(s, op);
	case OP_MUNMAP:		return inside(op->page, op->n, SPEC_ARENA);
	case OP_MPROTECT:
		return !(op->prot & ~(PROT_READ | PROT_WRITE)) && op->prot != PROT_WRITE &&
			mapped(s, op->page, op->n);
	case OP_MOVE: case OP_DONTUNMAP: return valid_move(s, op);
	case OP_GROW:		return valid_grow(s, op);
	case OP_SHRINK:		return op->to && op->to < op->n && one_vma(s, op->page, op->n);
	case OP_BRK:		return op->n <= SPEC_HEAP;
	case OP_REMOVE:		return valid_remove(s, op);
	case OP_DONTNEED: case OP_COLD: case OP_PAGEOUT:
		return mapped(s, op->page, op->n);
	case OP_DONTFORK: case OP_DOFORK:	/* a heap with a hole refuses brk */
		return op->page < SPEC_ARENA && mapped(s, op->page, op->n);
	case OP_FREE: case OP_WIPEONFORK: case OP_KEEPONFORK: case OP_GUARD: case OP_UNGUARD:
		return all_anon(s, op->page, op->n);
	case OP_FORK: case OP_EXEC: case OP_FREEZE: case OP_REOPEN:
		return true;
	case OP_CLEAR: case OP_READ: case OP_READCLEAR: case OP_FORGET: case OP_PAGES:
		return valid_consumer(op);
	case OP_FAILREAD: case OP_FAILCLEAR:
		return valid_consumer(op) && s->marks & 1 << op->kind && op->to < SPEC_ALLOCS;
	case OP_CODES:
		break;
	}
	return false;
}
