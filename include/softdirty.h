/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * softdirty.h - which pages did a process write since we last asked?
 *
 *     open -> clear -> (let it run) -> read(CLEAR) -> (let it run) -> read(CLEAR) ... -> close
 *
 * Units    Addresses and sizes are bytes in the target's address space. A range is
 *          [start, end), page aligned; lists of ranges are sorted and never overlap.
 * Marks    A mark is a named "since when" of one consumer (NULL or "" is the default
 *          one). clear() moves it to now. A mark that was never cleared sees everything
 *          as new. Moving one mark never takes a page from another.
 * Errors   int functions return 0 or a negative errno and leave errno alone.
 *          softdirty_error() has the sentence to show a person.
 * Threads  Different handles may be used from different threads at the same time. One
 *          handle belongs to one thread at a time; the caller locks if it shares it.
 * Hosts    The library never prints, never exits, and leaves the signal handlers,
 *          SIGCHLD, umask and working directory of its host alone. It starts short-lived
 *          children that no wait() of the host can see (they have no exit signal). A keeper
 *          belongs to init, or to the nearest child subreaper: a host that is one, or that
 *          is process 1 of a container, has it as a child (softdirty_info.keeper).
 */
#ifndef SOFTDIRTY_H
#define SOFTDIRTY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One target: a process and what is known about its writes. */
struct softdirty;

/* Why a range is reported (one of these three), and what it is (any of the others). */
enum softdirty_flags {
	SOFTDIRTY_WRITTEN   = 1 << 0, /* written since the mark */
	SOFTDIRTY_NEW       = 1 << 1, /* mapping created, moved or grown since, or never cleared */
	SOFTDIRTY_UNTRACKED = 1 << 2, /* cannot be known, treat as written; see reason */

	SOFTDIRTY_POPULATED = 1 << 3, /* pages are present or swapped */
	SOFTDIRTY_FILE      = 1 << 4, /* pages of a file or of shared memory; else anonymous */
	SOFTDIRTY_SHARED    = 1 << 5, /* MAP_SHARED; else MAP_PRIVATE */
	SOFTDIRTY_ZERO      = 1 << 6, /* the kernel's zero page: holds nothing but zeros */
	SOFTDIRTY_SWAPPED   = 1 << 7, /* not present, content in swap (or guarded) */
	SOFTDIRTY_HUGE      = 1 << 8, /* transparent huge page or hugetlb */
};
#define SOFTDIRTY_WHY (SOFTDIRTY_WRITTEN | SOFTDIRTY_NEW | SOFTDIRTY_UNTRACKED)

/* Why a range is what it is, in more detail. softdirty_reason_text() has the words. */
enum softdirty_reason {
	SOFTDIRTY_REASON_NONE = 0,    /* plainly written, or plainly new */
	SOFTDIRTY_REASON_NEVER,       /* this mark was never cleared */
	SOFTDIRTY_REASON_EXEC,        /* the target called exec since the mark */
	SOFTDIRTY_REASON_CARRIED,     /* direct I/O may have been in flight: reported again */
	SOFTDIRTY_REASON_PINNED,      /* registered with io_uring, RDMA or the like */
	SOFTDIRTY_REASON_SPECIAL,     /* the kernel does not track this kind of mapping */
	SOFTDIRTY_REASON_UFFD,        /* the target uses userfaultfd itself, or somebody else for it */
	SOFTDIRTY_REASON_HUGETLB,     /* native soft-dirty never sees hugetlb writes */
	SOFTDIRTY_REASON_MERGED,      /* the kernel marks the whole of a grown mapping */
	SOFTDIRTY_REASON_SPARSE,      /* huge shared memory: what is untouched is not watched */
	SOFTDIRTY_REASON_UNREADABLE,  /* content could not be read for comparing */
	SOFTDIRTY_REASON_REFUSED,     /* the kernel refused to track it at this moment */
	SOFTDIRTY_REASON_LOST,        /* tracking was interrupted: everything counts */
	SOFTDIRTY_REASON_KSM,         /* merging equal pages makes native soft-dirty forget */
	SOFTDIRTY_REASON_MOVED,       /* the kernel moved it elsewhere, and may have forgotten */
};

struct softdirty_range {
	uint64_t start;
	uint64_t end;
	uint32_t flags;		/* enum softdirty_flags */
	uint32_t reason;	/* enum softdirty_reason */
};

/* How to open a target. Grows at the end only; bytes unknown to the library must be 0. */
struct softdirty_options {
	size_t size;		/* sizeof(struct softdirty_options) */
	const char *backend;	/* "wp-async", "soft-dirty", "hash"; NULL or "auto": the best that
				 * works, or (not with EXISTING) what SOFTDIRTY_BACKEND names */
	uint32_t flags;		/* SOFTDIRTY_OPEN_* */
	int uffd;		/* with SOFTDIRTY_OPEN_UFFD: from softdirty_borrow(); consumed, also
				 * when open fails */
	const char *keeper;	/* with SOFTDIRTY_OPEN_SHARED: the softdirty command to start a
				 * keeper with; NULL: the installed one, or $SOFTDIRTY_COMMAND */
};
enum softdirty_open_flags {
	/*
	 * Hold the tracking in a keeper process, so that it outlives this handle and is shared
	 * with every other program of the same user. Without it this handle is the keeper.
	 * A keeper ends with its target, or by softdirty_stop(). One that was killed is replaced
	 * at the next call or open: everything is dirty then, with SOFTDIRTY_REASON_LOST.
	 */
	SOFTDIRTY_OPEN_SHARED = 1 << 0,
	/* With SHARED: do not begin to track; fail with -ENOENT where no keeper does. */
	SOFTDIRTY_OPEN_EXISTING = 1 << 1,
	/* options.uffd holds the target's userfaultfd: attach without stopping the target. */
	SOFTDIRTY_OPEN_UFFD = 1 << 2,
};

/*
 * Open a process for tracking. pid 0 is the caller itself (never with SHARED). The target is
 * stopped once, one thread of it, for well under a millisecond; nothing stays in it. Nothing
 * is watched before the first softdirty_clear() or softdirty_read(SOFTDIRTY_READ_CLEAR).
 * options may be NULL. On success *ret is the handle, to be closed with softdirty_close().
 *
 * -ESRCH       no such process (or it is a zombie)
 * -EPERM       not allowed to trace it: same user, or root (CAP_SYS_PTRACE), is needed
 * -EOPNOTSUPP  no backend (or not the one asked for) works on it; softdirty_error() lists why
 * -EBUSY       another softdirty tracks it with the backend that was asked for: use SHARED, or end
 *              that one; or with SHARED and a backend: its keeper uses another one
 * -EINVAL      unknown backend or flag; a kernel thread, or a thread that does not lead its process
 * -E2BIG       options.size has unknown non-zero bytes
 * -EMFILE, -ENFILE, -ENOMEM  too few descriptors are free, too little memory
 * -ENOENT      SOFTDIRTY_OPEN_EXISTING and no keeper; or no such command to start one with
 * With SHARED also -EPERM if the runtime directory is not ours alone, and what creating a socket
 * and a process may fail with.
 */
int softdirty_open(pid_t pid, const struct softdirty_options *options, struct softdirty **ret);

/*
 * Close a handle (NULL is fine). Ends the tracking, unless a keeper holds it. The target runs on
 * at full speed, without any trace of having been watched.
 */
void softdirty_close(struct softdirty *sd);

/*
 * Set a mark to now: what was written before is forgotten for this mark only.
 *
 * -ESRCH   the target has ended
 * -ENOMEM  not enough memory. All marks see everything then, with SOFTDIRTY_REASON_LOST, unless it
 *          failed before anything began. So it is after any error but -EINVAL and -ESRCH.
 * -EAGAIN  it calls exec again and again
 * -EINVAL  mark is longer than 63 bytes or has a control character in it
 * With SHARED also -EBUSY (another program holds the target stopped) and what open may fail with, as a
 * keeper that was killed is replaced.
 */
int softdirty_clear(struct softdirty *sd, const char *mark);

enum softdirty_read_flags {
	/* Move the mark to now in the same step: a write that races with the call is reported now
	 * or next time, never in neither. */
	SOFTDIRTY_READ_CLEAR = 1 << 0,
};

/*
 * Lend the ranges of [start, end) written since the mark (end 0: to the end of memory). With
 * SOFTDIRTY_READ_CLEAR the mark moves for these addresses only. The list belongs to the handle and
 * lives until its next call. Neighbouring ranges differ in flags or reason. Addresses may have tags in
 * their upper bits (arm64, x86-64 with LAM), the ranges have none.
 *
 * With SOFTDIRTY_OPEN_SHARED the mark has moved for good at the next call on the handle, or at
 * softdirty_close(). If this process ends before that, the next read tells these ranges again: a
 * consumer that is killed half way through the list loses nothing.
 *
 * Errors as softdirty_clear(), but without SOFTDIRTY_READ_CLEAR nothing is changed by them; -EINVAL also
 * for unknown flags, for addresses that are not page aligned, and for a start above the end.
 */
int softdirty_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		   uint64_t end, const struct softdirty_range **ranges, size_t *n);

/*
 * Lend the populated pages (present or swapped) of [start, end) with what they are; no reasons.
 * Ownership and errors as softdirty_read(). Needs no mark and changes nothing.
 */
int softdirty_pages(struct softdirty *sd, uint64_t start, uint64_t end,
		    const struct softdirty_range **ranges, size_t *n);

struct softdirty_mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset;	/* in the file, bytes */
	uint64_t inode;		/* 0: none */
	uint32_t prot;		/* PROT_READ | PROT_WRITE | PROT_EXEC */
	uint32_t flags;		/* SOFTDIRTY_FILE, SOFTDIRTY_SHARED */
	const char *name;	/* as in /proc/PID/maps; "" if it has none */
};

/* Lend the mappings of the target as they are now. Ownership and errors as softdirty_read(). */
int softdirty_mappings(struct softdirty *sd, const struct softdirty_mapping **ret, size_t *n);

/* Drop a mark, so that nothing is remembered for it. -ENOENT: there is no such mark. */
int softdirty_forget(struct softdirty *sd, const char *mark);

/*
 * Stop all threads of the target until softdirty_thaw(), softdirty_close() or the end of this
 * process, whichever is first. System calls that are waiting go on afterwards as if nothing
 * had happened. Other clients of the same keeper wait until then; after ten seconds they get
 * -EBUSY.
 *
 * -EBUSY  already frozen, or a debugger has it; -EINVAL: the target is the calling process
 * -EPERM, -ESRCH as softdirty_open()
 * -ETIMEDOUT  a thread sleeps in the kernel uninterruptibly; nothing is stopped any more
 */
int softdirty_freeze(struct softdirty *sd);

/* Let it run again. Always succeeds; harmless when it is not frozen. */
void softdirty_thaw(struct softdirty *sd);

struct softdirty_info {
	size_t size;		/* in: sizeof(struct softdirty_info) */
	pid_t pid;
	uint32_t page_size;
	uint64_t start_time;	/* of the process, in clock ticks since boot, as /proc/PID/stat */
	uint64_t generation;	/* grows when all marks saw everything dirty (exec, lost) */
	uint64_t attach_ns;	/* how long attaching stopped the target, 0 if it did not */
	uint32_t n_marks;
	pid_t keeper;		/* the process that holds the tracking; 0: this one */
	char backend[16];
	char passed_over[464];	/* better backends that were not used, and why; "" if none */
};

/* Describe the handle. -EINVAL: size is larger than this library knows. */
int softdirty_info(struct softdirty *sd, struct softdirty_info *ret);

/* With SOFTDIRTY_OPEN_SHARED: end the keeper and with it all marks. Else nothing. */
int softdirty_stop(struct softdirty *sd);

struct softdirty_backend {
	const char *name;
	int works;		/* 1 yes, 0 no */
	const char *why;	/* one line: what was tried and what came of it, what to change */
};

/*
 * Try every backend, best first, and lend the results: on this kernel (pid 0) or for that process,
 * which is only looked at, never stopped. The list is valid until the thread's next call.
 * -ESRCH, -EPERM as softdirty_open().
 */
int softdirty_check(pid_t pid, const struct softdirty_backend **ret, size_t *n);

/*
 * For a caller that already ptraces tid (seized or attached) and has it in a stop: take a
 * userfaultfd of its memory for softdirty_open() with SOFTDIRTY_OPEN_UFFD. Registers, signal mask and
 * interrupted system call are as before; the ptrace options are PTRACE_O_TRACESYSGOOD alone, since no
 * kernel tells what they were: set yours again. On success *uffd is the caller's to close.
 *
 * -EOPNOTSUPP  this kernel cannot track that way, or the thread's seccomp filter is in the way
 * -ESRCH       tid is not stopped under the calling thread's ptrace
 */
int softdirty_borrow(pid_t tid, int *uffd);

/* The sentence for the last failure in the calling thread, "" if none. Never NULL. */
const char *softdirty_error(void);

/* The words for a reason; "" for SOFTDIRTY_REASON_NONE. Never NULL. */
const char *softdirty_reason_text(unsigned reason);

#ifdef __cplusplus
}
#endif
#endif
