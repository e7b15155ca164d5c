/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that is watched: who it is (pid and start time, so that a reused pid is never
 * mistaken) and its /proc files. Must not know why anybody looks at it.
 */
#ifndef SDI_TARGET_TARGET_H
#define SDI_TARGET_TARGET_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sdi_target {
	pid_t pid;
	bool self;		/* the caller's own process */
	int pidfd;		/* -1 where the kernel has none (before 5.3) */
	int procfd;		/* /proc/PID */
	uint64_t start_time;	/* field 22 of /proc/PID/stat */
};

/*
 * Open pid (0: the caller). -ESRCH: no such process, or a zombie; -EINVAL: a thread that does not
 * lead its process, or a kernel thread. *ret is written only on success.
 */
int sdi_target_open(pid_t pid, struct sdi_target *ret);
void sdi_target_close(struct sdi_target *t);

/* 0 while it lives, -ESRCH when it has ended (also as a zombie). */
int sdi_target_alive(const struct sdi_target *t);

/* Is it just ending, or has ended? What is asked of it then fails in many ways, as if forbidden. */
bool sdi_target_ends(const struct sdi_target *t);

/*
 * Open a file of the target's memory ("maps", "pagemap", "mem", "clear_refs", ...). Works also when
 * the main thread has ended and others run on. Returns the descriptor or -errno.
 */
int sdi_target_openat(const struct sdi_target *t, const char *name, int flags);

/*
 * Call fn with a folder as /proc/PID/fd for each table of descriptors of the target, until it returns
 * non-zero. A process has one, but a thread can have its own: unshare(CLONE_FILES). One may be
 * visited twice. Returns what fn returned, 0 or -errno; -EACCES also when the target is just ending.
 */
typedef int sdi_fds_fn(void *arg, DIR *fds);
int sdi_each_fds(const struct sdi_target *t, sdi_fds_fn *fn, void *arg);

/*
 * Has the target a userfaultfd of its own among its descriptors? One of this process is none: a fork
 * inherits it, whichever memory it is of. 1, 0 or -errno.
 */
int sdi_target_has_uffd(const struct sdi_target *t);

/* What fdinfo says of every open file. */
struct sdi_fdinfo {
	unsigned flags;		/* O_* */
	unsigned mount;		/* its id, as in mountinfo */
};

/* path: an entry of an fdinfo folder, below dir. 0 or -errno; -EBADMSG: its lines are not understood. */
int sdi_fdinfo_read(int dir, const char *path, struct sdi_fdinfo *ret);

/* Start time of /proc/PID below procfd, 0 (and errno) if it cannot be read. */
uint64_t sdi_start_time(int procfd);

/* Tells one memory (mm) of the target from the next: changes when it calls exec. */
uint64_t sdi_memory_id(const struct sdi_target *t);

/* Page faults that all threads of the target have had; how many threads there are. 0 or -ESRCH. */
int sdi_fault_count(const struct sdi_target *t, uint64_t *ret);
int sdi_thread_count(const struct sdi_target *t, uint64_t *ret);

/* The same of whose stat file is below dirfd. */
int sdi_task_faults(int dirfd, const char *path, uint64_t *ret);

/*
 * Is that thread the kernel's (of io_uring, vhost)? It looks like any other but never returns to the
 * code of the process, so it must not be waited for to do so; nor stopped, which would break off what it
 * waits for: the request of the process would fail with EINTR.
 */
bool sdi_is_kernel_worker(const struct sdi_target *t, pid_t tid);

/* What /proc/.../status says, of a process or of one thread. */
struct sdi_status {
	char state;		/* R S D T t Z X I */
	pid_t tgid;
	pid_t tracer;
	int seccomp;		/* 0 none, 1 strict, 2 filter, -1 unknown */
	bool kernel_thread;	/* no memory of its own */
	bool memory;		/* it has some: not a kernel thread, and not about to end */
	uint64_t vm_pin;	/* bytes pinned for long (VmPin) */
	long sleeps;		/* how often the thread has waited (voluntary_ctxt_switches) */
	uint64_t pending;	/* signals pending for the thread or the process ... */
	uint64_t blocked;	/* ... and those blocked */
};

/* Has it ended, or is it just ending? It gives its memory away before it is a zombie. */
bool sdi_status_ended(const struct sdi_status *s);

/* Read the status file below dirfd ("status", "task/TID/status"). 0 or -errno. */
int sdi_status_read(int dirfd, const char *path, struct sdi_status *ret);

/*
 * The same of the target: of its main thread, or of one that lives where that has ended, since what is
 * said of the memory is only there. -ESRCH: none lives.
 */
int sdi_target_status(const struct sdi_target *t, struct sdi_status *ret);

/* The same of one thread. */
int sdi_thread_status(const struct sdi_target *t, pid_t tid, struct sdi_status *ret);

/* Has the thread not ended? Then *ret is its status. */
bool sdi_thread_lives(const struct sdi_target *t, pid_t tid, struct sdi_status *ret);

#endif
