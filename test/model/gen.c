/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chooses steps: often where something is mapped, in small runs, and now and then what is known to
 * be difficult, such as moving a piece back to where it came from.
 */
#include "gen.h"

#include <sys/mman.h>

struct gen gen_seed(uint64_t seed)
{
	return (struct gen){ .state = seed * 0x9e3779b97f4a7c15u + 0x1234567 };
}

static uint32_t draw(struct gen *g)
{
	g->state ^= g->state >> 12;
	g->state ^= g->state << 25;
	g->state ^= g->state >> 27;
	return (g->state * 0x2545f4914f6cdd1du) >> 32;
}

static unsigned below(struct gen *g, unsigned n)
{
	return n ? draw(g) % n : 0;
}

static bool chance(struct gen *g, unsigned percent)
{
	return below(g, 100) < percent;
}

static enum op_code choose_code(struct gen *g, uint64_t works)
{
	unsigned total = 0;

	for (int c = 0; c < OP_CODES; c++)
		total += op_weight(c);
	for (;;) {
		unsigned at = below(g, total);
		int code = 0;

		while (at >= op_weight(code))
			at -= op_weight(code++);
		if (code >= OP_TARGET_CODES || works & 1ull << code)
			return code;
	}
}

static unsigned choose_length(struct gen *g)
{
	if (chance(g, 50))
		return 1;
	return 1 + below(g, chance(g, 80) ? 5 : 24);
}

static unsigned choose_page(struct gen *g, const struct spec *s)
{
	unsigned area = below(g, 100);
	unsigned first = area < 75 ? 0 : area < 93 ? SPEC_ARENA : SPEC_HEAP_END;
	unsigned end = area < 75 ? SPEC_ARENA : area < 93 ? SPEC_HEAP_END : SPEC_PAGES;
	unsigned page = first + below(g, end - first);

	/* Mostly the next page that is mapped. */
	for (unsigned i = 0; i < end - first && chance(g, 90) && !s->page[page].mapped; i++)
		page = page + 1 < end ? page + 1 : first;
	return page;
}

/* The run of one mapping around op->page: some of it, or all. */
static void choose_piece(struct gen *g, const struct spec *s, struct op *op)
{
	uint32_t id = s->page[op->page].vma.id;
	unsigned first = op->page, end = op->page + 1;

	while (first && s->page[first - 1].mapped && s->page[first - 1].vma.id == id)
		first--;
	while (end < SPEC_PAGES && s->page[end].mapped && s->page[end].vma.id == id)
		end++;
	if (op->code != OP_MOVE || chance(g, 40)) {
		op->page = first;
		op->n = end - first;
	} else if (op->n > end - op->page) {
		op->n = end - op->page;
	}
}

static void choose_destination(struct gen *g, const struct spec *s, struct op *op)
{
	unsigned how = below(g, 100), home = s->page[op->page].vma.off;

	op->to = below(g, SPEC_ARENA);
	if (how < 35 && !spec_is_file(&s->page[op->page].vma))
		op->to = home;
	else if (how < 45)
		op->to = op->page + op->n;
}

static void choose_details(struct gen *g, const struct spec *s, struct op *op)
{
	unsigned prot = below(g, 100);

	op->prot = prot < 75 ? PROT_READ | PROT_WRITE : prot < 90 ? PROT_READ : PROT_NONE;
	switch ((enum op_code)op->code) {
	case OP_MMAP:
		op->page = chance(g, 70) ? below(g, SPEC_ARENA) : op->page;
		op->kind = chance(g, 50) ? SPEC_ANON : below(g, SPEC_KINDS);
		op->to = below(g, SPEC_OBJECT_PAGES);
		break;
	case OP_MOVE: case OP_DONTUNMAP:
		choose_piece(g, s, op);
		choose_destination(g, s, op);
		break;
	case OP_GROW: case OP_SHRINK:
		choose_piece(g, s, op);
		op->to = op->code == OP_GROW ? 1 + below(g, 4) : below(g, op->n);
		break;
	case OP_BRK:
		op->page = 0;
		op->n = below(g, SPEC_HEAP + 1);
		break;
	case OP_FILEWRITE:
		op->kind = below(g, 2);
		op->page = below(g, SPEC_OBJECT_PAGES);
		break;
	case OP_FORK: case OP_EXEC: case OP_REOPEN:
		op->page = op->n = 0;
		break;
	case OP_FAILREAD: case OP_FAILCLEAR:
		op->to = below(g, SPEC_ALLOCS);
		/* fall through */
	case OP_CLEAR: case OP_READ: case OP_READCLEAR: case OP_FORGET: case OP_PAGES:
	case OP_FREEZE:
		op->kind = chance(g, 60) ? 0 : below(g, SPEC_MARKS);
		if (op->code == OP_CLEAR || op->code == OP_FORGET || op->code == OP_FREEZE ||
		    chance(g, 60))
			op->page = op->n = 0;
		break;
	default:
		break;
	}
}

struct op gen_next(struct gen *g, const struct spec *s, uint64_t works)
{
	struct op op = { 0 };

	g->tag++;
	for (int tries = 0; tries < 200; tries++) {
		op = (struct op){ .code = choose_code(g, works), .page = choose_page(g, s),
				  .n = choose_length(g), .slot = below(g, 4), .tag = g->tag };
		choose_details(g, s, &op);
		if (spec_valid(s, &op))
			return op;
	}
	return (struct op){ .code = OP_BRK, .n = SPEC_HEAP, .tag = g->tag };
}
