/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the tests of softdirty mount: a server, a process to look at, and doing things as somebody
 * else. Every process that is started here ends with the test.
 */
#ifndef VIEW_H
#define VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "t.h"
#include "uapi/pagemap_scan.h"

#define PAGE 4096ull
#define NOBODY 65534

/* The softdirty command, the test's first argument; skips everything without FUSE. */
void view_setup(int argc, char **argv);
extern const char *softdirty;

/* For claims about command lines: small machines have no shell. */
bool have_shell(void);

/* --- a server ------------------------------------------------------------------------------- */

struct server {
	pid_t pid;
	int out;		/* what it prints, after the first line */
	char dir[64];		/* "/proc" with --over */
	char line[128];		/* the first line */
};

/*
 * softdirty mount in a new directory, or in dir if that is not NULL, or over these processes (0
 * terminated). Waits until it is ready; .pid is 0 if it is not, and .line what it said.
 */
struct server serve(const char *dir, const char *option);
struct server serve_over(const pid_t *pids);

/* Send a signal (0: none) and wait for its end. The exit status, or -1. The directory stays. */
int server_end(struct server *s, int sig);

/* End it by SIGTERM and remove the directory. */
void server_done(struct server *s);

/* How many mounts of ours /proc/self/mountinfo has at or below that path. */
int count_mounts(const char *path);

/* --- a process ------------------------------------------------------------------------------ */

enum { N_PAGES = 16 };

struct target {
	pid_t pid;
	int sock;
	char *mem;		/* N_PAGES, all written; at the same place in the test */
};

struct target target_start(void);
void target_end(struct target *t);
void target_write(const struct target *t, int page);

/* Run prctl(PR_SET_DUMPABLE) in it, or become nobody, or wait for the last command to be done. */
void target_tell(const struct target *t, char command);
enum { T_UNDUMPABLE = 'd', T_NOBODY = 'n', T_OWN_PAGEMAP = 'p', T_NOTHING = '.' };

/* The answer to T_OWN_PAGEMAP: could it read its own /proc/self/pagemap? */
bool target_reads_itself(const struct target *t);

/* --- the files ------------------------------------------------------------------------------ */

const char *file_of(const struct server *s, pid_t pid, const char *name);

/* Write to clear_refs. 0 or -errno of open or write. */
int clear_refs(const struct server *s, pid_t pid, const char *text);

/* The dirty ones of the N_PAGES as a bit mask; or -errno of open or read. */
int dirty_pages(const struct server *s, const struct target *t);

/* --- as somebody else ----------------------------------------------------------------------- */

/* Run fn(arg) in a child of another identity. Returns what fn returned, 0 to 127; or 128. */
int as(uid_t uid, uint64_t caps, int (*fn)(void *), void *arg);

#endif
