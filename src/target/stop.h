/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stop threads of the target by ptrace, and let them go as if nothing had happened: system calls
 * that were waiting go on, none returns an EINTR that it would not have returned.
 * All ptrace work is done in a helper process: its stops are invisible to the host's wait() and
 * SIGCHLD handler, and when the host is killed the helper finishes and lets go.
 */
#ifndef SDI_TARGET_STOP_H
#define SDI_TARGET_STOP_H

#include <stdbool.h>

#include "target/target.h"

struct sdi_freezer;

/*
 * Stop every thread but the kernel's workers, until sdi_thaw() or the end of this process. handed_on:
 * others are going to rely on it (sdi_freezer_fd), so after the end of this process it is they who let
 * go. -EPERM, -ESRCH, -EBUSY (another tracer), -ETIMEDOUT (nothing is stopped).
 */
int sdi_freeze(const struct sdi_target *t, bool handed_on, struct sdi_freezer **ret);

/*
 * Stop every thread of the calling process but the calling one, which until sdi_thaw() must not wait
 * for anything that the others may hold, such as the lock of malloc().
 */
int sdi_freeze_others(const struct sdi_target *self, struct sdi_freezer **ret);

/*
 * A socket that keeps them stopped also when this process dies, if it was handed on: until it is shut
 * down, or no copy is open. A child that was forked may have one: so whoever relies on it watches
 * sdi_freezer_owner(), a pidfd of this process (-1 before Linux 5.3), and shuts it down. Both are the
 * freezer's own.
 */
int sdi_freezer_fd(const struct sdi_freezer *f);
int sdi_freezer_owner(const struct sdi_freezer *f);

/* Let them run again and free the freezer. NULL is fine. */
void sdi_thaw(struct sdi_freezer *f);

/*
 * Run userfaultfd(flags) in one thread of the target, take the descriptor out of it and leave
 * nothing behind. *stop_ns: how long the thread was stopped. Returns the descriptor, or
 * -EOPNOTSUPP (this target, or kernel, cannot: try another backend), -EPERM, -ESRCH, -EBUSY;
 * always with the sentence set.
 */
int sdi_take_uffd(const struct sdi_target *t, int flags, uint64_t *stop_ns);

/* The same for a thread that the calling thread traces already and has in a stop. */
int sdi_borrow_uffd(pid_t tid, int flags);

#endif
