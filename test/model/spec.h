/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The promise of softdirty, as a small machine: pages with their page table entry, the mapping
 * each belongs to, and for each mark what it has to be told. Every step of a program is applied to
 * it; a read is then judged page by page. It knows no kernel interface and no library, only what
 * a process may do and what has to be reported then.
 *
 *	written	 a write since the mark: store, system call, another task's store, a forced
 *		 populate. Must be reported.
 *	new	 the mapping appeared, moved here, or grew over the page since the mark, or the
 *		 mark was never cleared. Must be reported, touched or not.
 *	neither  must not be reported, unless for one of the reasons named below.
 *
 * Pages are numbered; three areas stand for the places where memory comes from:
 *
 *	0            SPEC_ARENA         SPEC_HEAP_END        SPEC_PAGES
 *	|--- arena ---|------- heap -------|------ image ------|
 *	 mmap & Co.    brk                  the program's .bss
 */
#ifndef MODEL_SPEC_H
#define MODEL_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "op.h"

enum {
	SPEC_ARENA = 160,
	SPEC_HEAP = 40,
	SPEC_IMAGE = 8,
	SPEC_HEAP_END = SPEC_ARENA + SPEC_HEAP,
	SPEC_PAGES = SPEC_HEAP_END + SPEC_IMAGE,

	SPEC_MARKS = 3,
	SPEC_ALL = (1 << SPEC_MARKS) - 1,

	SPEC_ALLOCS = 48,	/* that a read may make, about */

	SPEC_OBJECTS = 64,	/* files and pieces of shared memory */
	SPEC_OBJECT_PAGES = 32,
};

/* What is mapped. The first two objects are a memfd and a file. */
enum spec_kind { SPEC_ANON, SPEC_SHANON, SPEC_MEMFD, SPEC_FILE, SPEC_MEMFD_PRIV, SPEC_FILE_PRIV,
		 SPEC_KINDS };
enum spec_object { SPEC_OBJECT_MEMFD, SPEC_OBJECT_FILE, SPEC_OBJECT_SHANON };

/* Why a page that was neither written nor new may be reported all the same. */
enum spec_reason {
	SPEC_ZAPPED,	/* the content was given up (DONTNEED, FREE, REMOVE, ...): it changed
			 * without a write. Reporting it is allowed, not owed. */
	SPEC_ALIAS,	/* the content changed through another mapping or the file below. Only who
			 * compares contents can see that. */
	SPEC_MERGED,	/* the kernel joined a new mapping with its neighbour, and holds both for
			 * new */
	SPEC_MOVED_IN,	/* the same, where mremap put a piece next to it */
	SPEC_HOLE,	/* shared, and not in the page table at the mark or since: what the file holds
			 * there is not known to who looks at the page table */
	SPEC_UNREADABLE,	/* PROT_NONE at the mark or since: some kernels do not let the content
				 * be read then */
	SPEC_LOST,	/* a read that clears failed in the middle: everything counts */
	SPEC_REASONS
};

/* Why a page that should be reported may be left out. */
enum spec_omission {
	SPEC_SAME,	/* compared, and the content is what it was at the mark */
	SPEC_REGROWN,	/* a mapping was cut off and grown again in place between two looks, and
			 * not written since: like SPEC_ZAPPED */
	SPEC_EMPTIED,	/* soft-dirty: an empty page where something was mapped; there is no page
			 * table entry to carry the bit. Moved there by mremap, or new and then
			 * joined with a neighbour, whose flags the kernel keeps */
	SPEC_OMISSIONS
};

enum spec_backend { SPEC_WP_ASYNC, SPEC_SOFT_DIRTY, SPEC_HASH, SPEC_BACKENDS };

/* The content of a page: four words of it, the rest is always zero. */
struct spec_data {
	uint32_t slot[4];
};

struct spec_vma {
	uint8_t kind, prot;
	bool wipeonfork, dontfork;
	uint16_t object;	/* SHANON, MEMFD, FILE */
	uint16_t off;		/* page of the object; anonymous: where it was first mapped */
	uint32_t id;		/* equal ids and neighbours: surely one mapping for the kernel */
};

enum spec_pte { SPEC_NONE, SPEC_ZERO, SPEC_CACHE, SPEC_OWN };

/* What was there when a mark was set. */
struct spec_snapshot {
	bool mapped;
	bool unknown;			/* what it held (MADV_FREE) */
	bool own;			/* it was not just what a file held there */
	struct spec_vma vma;
	struct spec_data data;
};

struct spec_page {
	bool mapped;
	struct spec_vma vma;
	enum spec_pte pte;
	struct spec_data own;		/* content, where pte is SPEC_OWN */
	bool guard;			/* faults, whatever the protection */
	bool unknown;			/* content not known (MADV_FREE) */
	bool unsure;			/* populated or not is not known */
	bool fresh;			/* new to the kernel: no mark was set since */
	bool moved;			/* and mremap brought it */
	bool was_mapped;		/* when a mark was last set */

	uint8_t new, written;		/* one bit for each mark */
	uint8_t may[SPEC_REASONS];
	uint8_t regrown, emptied;
	uint8_t stored;			/* written, and with other content than before */
	struct spec_snapshot snap[SPEC_MARKS];
};

struct spec {
	struct spec_page page[SPEC_PAGES];
	struct spec_data object[SPEC_OBJECTS][SPEC_OBJECT_PAGES];
	uint16_t object_pages[SPEC_OBJECTS];
	uint32_t last_id;
	uint16_t brk;			/* pages of the heap */
	uint8_t marks;			/* those that exist */
	uint8_t lost;			/* those that may be told everything, and ... */
	bool lost_again;		/* ... after the next clear of one all others as well */
	bool zero_known;		/* the kernel tells the zero page from others */
};

/* A process that was just started; no mark exists. */
void spec_init(struct spec *s);

/* Would a correct program do that now: does nothing fault, does no call fail? */
bool spec_valid(const struct spec *s, const struct op *op);

/* What the step returns in the process: 0, or for OP_LOAD what it finds. *checked is false where
 * that cannot be foretold. */
uint64_t spec_result(const struct spec *s, const struct op *op, bool *checked);

/* The step was done. */
void spec_apply(struct spec *s, const struct op *op);

/* Fold the contents of pages into one number, as a load does. */
uint64_t spec_fold(uint64_t sum, const struct spec_data *data);

/* Is a page of shared memory or of a file; is it MAP_SHARED? */
bool spec_is_file(const struct spec_vma *v);
bool spec_is_shared(const struct spec_vma *v);

/* What a page holds. */
struct spec_data spec_content(const struct spec *s, const struct spec_page *p);

/* spec_mark.c: a mark moves to now for [first, first + n); it is dropped; the handle is new. */
void spec_mark_clear(struct spec *s, int mark, unsigned first, unsigned n);
void spec_mark_forget(struct spec *s, int mark);
void spec_reopen(struct spec *s);

/* A clear has failed, or something in it. It may have moved what all marks are compared with. */
void spec_mark_failed(struct spec *s);

/* A page in the answer of a read: whether, why, and what it is (SOFTDIRTY_* flags). */
struct spec_report {
	bool reported;
	uint32_t flags, reason;
};

enum spec_verdict { SPEC_EXACT, SPEC_SUPERSET, SPEC_OMITTED, SPEC_WRONG };

/* Judge one page of an answer. *which: the reason or the omission; *error: what is wrong. */
enum spec_verdict spec_judge(const struct spec *s, enum spec_backend backend, int mark,
			     unsigned page, const struct spec_report *r, int *which,
			     const char **error);

/* Judge one page in the list of populated pages. NULL, or what is wrong. */
const char *spec_judge_populated(const struct spec *s, unsigned page,
				 const struct spec_report *r);

extern const char *const spec_reason_name[SPEC_REASONS];
extern const char *const spec_omission_name[SPEC_OMISSIONS];

#endif
