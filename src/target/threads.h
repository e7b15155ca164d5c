/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads of a target under ptrace: list, choose, stop, let go. Runs in helper processes, so
 * it uses no malloc(). Must not know what the stop is for.
 */
#ifndef SDI_TARGET_THREADS_H
#define SDI_TARGET_THREADS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"
#include "target/target.h"

/* Call fn for every thread until it returns non-zero, which is returned. 0 or -errno else. */
int sdi_each_thread(const struct sdi_target *t, int (*fn)(void *arg, pid_t tid), void *arg);

/* A thread to run a system call in. */
struct sdi_candidate {
	pid_t tid;
	int rank;	/* the lower, the less it is disturbed */
	int seccomp;	/* as in sdi_status */
	pid_t tracer;
};

/* The best threads first, none of the kernel's. Returns how many, or -errno. */
int sdi_pick_threads(const struct sdi_target *t, struct sdi_candidate *ret, int max);

/* A thread that is stopped for a while. */
struct sdi_held {
	pid_t tid;
	/* The system call that the stop broke off, where the registers do not tell: as it was before */
	long nr;		/* -1: none, or not known */
	uint64_t arg0, sp, pc;
	long sleeps;		/* of the thread, so far */
};

/* PTRACE_SEIZE. 0, -ESRCH (also when the thread is just ending), -EPERM. */
int sdi_seize(const struct sdi_target *t, pid_t tid, unsigned long options);

/* Begin to stop a seized thread: h->tid. */
void sdi_interrupt(const struct sdi_target *t, struct sdi_held *h);

/*
 * Wait until it has stopped. Signals on their way are delivered first. deadline_ns on CLOCK_MONOTONIC.
 * 0, -ESRCH, -ETIMEDOUT.
 */
int sdi_wait_stop(const struct sdi_target *t, struct sdi_held *h, uint64_t deadline_ns);

/*
 * waitpid() for one thread with a deadline (0: none). SIGCHLD must be blocked if there is one.
 * Returns 0 and the wait status, -ESRCH when the thread has ended, -ETIMEDOUT.
 */
int sdi_wait_status(pid_t tid, uint64_t deadline_ns, int *status);

/* All registers of a stopped thread. -EOPNOTSUPP: it runs 32-bit code. 0 or -errno. */
int sdi_get_regs(pid_t tid, struct sdi_regs *ret);
int sdi_set_regs(pid_t tid, const struct sdi_regs *r);

/* Let a stopped thread go on as if it had never been stopped. */
void sdi_release(const struct sdi_target *t, const struct sdi_held *h);

#endif
