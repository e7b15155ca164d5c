/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process to be watched: a child of the test that runs the functions it is told to, one at a
 * time, and a region of its memory whose pages the test compares one by one with what the promise
 * says. Reaches the library only through softdirty.h.
 *
 *	T_TARGET tg = t_begin(4);			a child with 4 written pages, cleared
 *	t_call(&tg, t_op_write, t_page(&tg, 1));	it writes page 1
 *	T_EVENT(&tg, .want = "-D--");			reported is page 1 and nothing else
 */
#ifndef T_TARGET_H
#define T_TARGET_H

#include "softdirty.h"
#include "t.h"

struct t_ctl;

struct t_target {
	pid_t pid;
	struct t_ctl *ctl;
	struct softdirty *sd;
	uintptr_t arena, arena_end;	/* free addresses in it, see t_slot() */
	uintptr_t mem;			/* the region ... */
	size_t n;			/* ... of this many units ... */
	uint64_t splits;		/* t_huge_splits() as it began to be watched */
	size_t unit;			/* ... of this size: a page, or a huge page */
};

typedef long t_fn(long a, long b, long c, long d);

/* Start a child; t_stop() kills it. t_begin() also maps n written pages, opens and clears. */
struct t_target t_start(void);
struct t_target t_begin(size_t n_pages);
void t_stop(struct t_target *tg);
#define T_TARGET __attribute__((cleanup(t_stop))) struct t_target

/* Open the child with the backend under test and set its default mark to now. */
void t_watch(struct t_target *tg);

/* Open any process with the best backend, whichever is under test. */
int t_open_default(pid_t pid, struct softdirty **ret);

/* Run fn in the child and return what it returns. */
#define t_call(tg, ...) t_call_(tg, __VA_ARGS__, 0, 0, 0, 0)
#define t_call_(tg, fn, a, b, c, d, ...) \
	t_call4(tg, fn, (long)(a), (long)(b), (long)(c), (long)(d))
long t_call4(struct t_target *tg, t_fn *fn, long a, long b, long c, long d);

/* The same in two steps: begin it; wait for its end (dead: -1 with T_OK failed). */
void t_post(struct t_target *tg, t_fn *fn, long a, long b, long c);
long t_wait(struct t_target *tg);
bool t_idle(const struct t_target *tg);		/* has it ended? */

/*
 * An address in the child with size bytes of unmapped memory and a hole on either side, aligned
 * to align; it becomes the region with that unit.
 */
uintptr_t t_slot(struct t_target *tg, size_t size, size_t unit);

/* Map anonymous memory there (flags beside MAP_PRIVATE | MAP_FIXED), touched or not. */
void t_map(struct t_target *tg, size_t n_units, size_t unit, int flags);
void t_map_touched(struct t_target *tg, size_t n_pages);

/* Address of unit i of the region. */
uintptr_t t_page(const struct t_target *tg, size_t i);
size_t t_page_size(void);

/* What smaps says of the mapping in which the region begins: KiB of "key:", -1 if it does not. */
long t_mapping_kib(const struct t_target *tg, const char *key);

/* The entry of that page in the pagemap of a process. */
uint64_t t_pagemap_entry(pid_t pid, uintptr_t address);

/* Functions for t_call(). They return 0 or -errno, or what the system call returns. */
t_fn t_op_write;	/* (address): another value than before, one store */
t_fn t_op_touch;	/* (address, count, step): t_op_write each */
t_fn t_op_fill;		/* (address, size, byte) */
t_fn t_op_read;		/* (address): one load */
t_fn t_op_poke;		/* (address): as t_op_write, but -EFAULT instead of SIGSEGV */
t_fn t_op_mmap;		/* (address, size, flags, fd): MAP_FIXED, read and write */
t_fn t_op_munmap;	/* (address, size) */
t_fn t_op_madvise;	/* (address, size, advice) */
t_fn t_op_mprotect;	/* (address, size, protection) */
t_fn t_op_mlock;	/* (address, size) */
t_fn t_op_close;	/* (descriptor) */
t_fn t_op_exec;		/* become another program: it sleeps for ever */
t_fn t_op_memfd;	/* (size): a new memfd */
t_fn t_op_file;		/* (size): a new file on a disk without a name, full of 'x' */

enum t_backend { T_WP_ASYNC, T_HASH, T_SOFT_DIRTY };

/* The backend under test: what the handle uses. Ends the program with 77 if it cannot work. */
enum t_backend t_backend(void);
const char *t_backend_name(void);
void t_need_backend(void);

/*
 * What is expected of the units of the region: '-' clean, 'D' written, 'n' new, 'u' untracked;
 * "D*510" stands for 510 of them. Where a backend cannot say what the promise says, its own
 * answer and the reason. Both are accepted for each page, the line printed tells which it was:
 *	event NAME backend B: exact | superset WHY | unseen WHY
 */
struct t_expect {
	const char *want;
	const char *wp, *hash, *sd;
	const char *why;
	enum softdirty_reason reason;	/* of all units that are untracked, with whatever backend */
	const char *again;	/* a second read --clear; NULL: clean, untracked stays so */
	bool lasting_reason;	/* do not check the second read, nor a write after it */
};
#define T_EVENT(tg, ...) t_event(tg, t_name(), &(struct t_expect){ __VA_ARGS__ })
#define T_EVENT_NAMED(tg, name, ...) t_event(tg, name, &(struct t_expect){ __VA_ARGS__ })
void t_event(struct t_target *tg, const char *name, const struct t_expect *expect);

/* Read [start, start + n * unit) of a mark into letters (n + 1 bytes). */
void t_letters(struct softdirty *sd, const char *mark, unsigned flags, uintptr_t start, size_t n,
	       size_t unit, char *letters);
/* The same as a string that lives until the next call, with runs as in "D*510". */
const char *t_pages(struct t_target *tg, const char *mark, unsigned flags);

/* The reason of the first range reported for unit i. */
unsigned t_reason(struct t_target *tg, const char *mark, size_t i);

#endif
