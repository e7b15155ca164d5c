/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A target under load that knows of each page how often it was written, the softdirty command as a
 * child that may be killed, and what must be as before when nobody tracks any more.
 *
 * The test adopts all orphans, so keepers and helpers are its children: none can stay unnoticed.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "softdirty.h"
#include "t.h"

/* So many pages, written so seldom, that one which was lost is hardly written again before a read. */
enum { F_PAGE = 4096, F_PAGES = 1024, F_THREADS = 4 };

struct f_shared;

struct f_target {
	pid_t pid;
	struct f_shared *shared;
	char *mem;			/* F_PAGES pages, at the same address as in the test */
	char before[4096];		/* its threads, masks and descriptors when nobody tracked */
};

/*
 * First thing in main(): "PROGRAM [SOFTDIRTY [nobody]]", the command's path and whether to become an
 * ordinary user. Does not return in a keeper. Ends with 77 where the backend does not work.
 */
void f_main(int argc, char **argv);
bool f_has_command(void);
extern const char *f_backend;		/* its name, as SOFTDIRTY_BACKEND says */

/* Below n; from a seed that is printed once, or is what SOFTDIRTY_TEST_SEED says. */
uint64_t f_random(uint64_t n);
void f_nap(uint64_t ns);

struct f_target f_start(void);		/* with a child process that only sleeps */
void f_end(struct f_target *t);

/* Are threads, masks and descriptors as before, and nothing is stopped or traced, within ms? */
bool f_as_before(const struct f_target *t, unsigned ms);
/* Forgive calls that a signal seems to have interrupted, until now. */
void f_interrupted(const struct f_target *t);
/* It lives, every thread makes progress, and threads, masks and descriptors are as before. */
void f_unharmed(const struct f_target *t);
/* That, and no write protection, no process but the target, and no file are left. */
void f_no_trace(const struct f_target *t);

/* What one mark was told; see f_after(). */
struct f_view {
	uint32_t completed[F_PAGES], accounted[F_PAGES];
};

/* Before a read of the mark begins; after it was told the pages in told. Returns how many are lost. */
void f_before(const struct f_target *t, struct f_view *v);
int f_after(const struct f_target *t, struct f_view *v, const bool *told);
/* After a clear of the mark. */
void f_forget(const struct f_target *t, struct f_view *v);
/* Add a list of the library, or the text of "read --format ranges". */
void f_tell(const struct f_target *t, bool *told, const struct softdirty_range *r, size_t n);
void f_tell_text(const struct f_target *t, bool *told, const char *text);

/* The command as a child. */
struct f_run {
	pid_t pid;
	int out, err;			/* what it prints */
	uint64_t began_ns;
};
/* "%" in the list stands for the pid of the target; NULL ends it. before() runs in the child. */
struct f_run f_run(const struct f_target *t, const char *const *words, void (*before)(void));
int f_wait(struct f_run *r);		/* the wait status */
char *f_text(int fd);			/* all that was printed; lives until the next call */
void f_run_end(struct f_run *r);

/* Children other than the target. Those that have ended are reaped first. */
size_t f_children(const struct f_target *t, pid_t *ret, size_t max);
/* One that keeps, or 0. Never a helper, which may be at work in the target. */
pid_t f_keeper(const struct f_target *t);

/* Wait for a "read --clear --format ranges", begun after f_before(). If it succeeded nothing may be
 * lost. Returns whether it did. */
bool f_finish(const struct f_target *t, struct f_run *r, struct f_view *v);
/* One that must succeed. */
void f_read_all(const struct f_target *t, struct f_view *v, const char *mark);
void f_stop(const struct f_target *t);	/* "stop --tree" */

#endif
