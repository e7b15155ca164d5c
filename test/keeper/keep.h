/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Targets that write when told, and handles on them through a keeper. Each test program is its own
 * `softdirty` command: started as "PROGRAM keeper PID" it is the keeper.
 */
#ifndef KEEP_H
#define KEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "softdirty.h"
#include "t.h"

enum { K_PAGES = 64, K_PAGE = 4096 };

struct k_target {
	pid_t pid;
	int ask, done;
	char *mem;		/* K_PAGES populated pages, at the same address as in the caller */
};

/* First thing in main(): does not return in a keeper. */
void k_main(int argc, char **argv);

/* The path of this program, to start a keeper with. */
const char *k_self(void);

struct k_target k_start(void);
void k_write(const struct k_target *t, unsigned page);	/* and wait until it is done */
void k_exec(const struct k_target *t);			/* it calls exec and sleeps */
void k_load(const struct k_target *t);			/* it writes all pages for ever */
uint64_t k_progress(const struct k_target *t);		/* rounds of k_load() so far */
bool k_moves(const struct k_target *t, unsigned ms);	/* three rounds more, within ms? */
void k_end(struct k_target *t);

/* Through a keeper; 0 or -errno. */
int k_open(pid_t pid, uint32_t flags, struct softdirty **ret);
struct softdirty *k_must_open(pid_t pid);

/* How many of the target's K_PAGES are reported, and the reason of the first. -1: the read failed. */
int k_read(struct softdirty *sd, const char *mark, unsigned flags, const struct k_target *t,
	   unsigned *reason);

pid_t k_keeper(struct softdirty *sd);
uint64_t k_generation(struct softdirty *sd);
void k_kill_keeper(pid_t keeper);		/* SIGKILL, and wait until it is gone */
int k_gone(pid_t pid, unsigned ms);		/* has that process ended within ms? */
int k_protected(pid_t pid);			/* mappings with userfaultfd write protection */
int k_count_keepers(pid_t target);		/* processes "softdirty keeper TARGET" */

/* Make a private runtime directory for an unprivileged caller, as XDG_RUNTIME_DIR. */
void k_private_runtime_dir(void);

/* Files of that target in the runtime directory of this process. */
int k_count_files(pid_t target);

#endif
