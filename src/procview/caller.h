/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who asks, and doing something in its place: a server that is root must not lend its rights. All
 * rules (owner, capabilities, dumpable, hidepid, user namespaces of the target) stay the kernel's:
 * the real file is opened with the caller's identity. Must not know what is asked for.
 */
#ifndef SDI_PROCVIEW_CALLER_H
#define SDI_PROCVIEW_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct caller {
	uid_t uid;
	gid_t gid;
	pid_t tid;		/* 0: in a pid namespace that we cannot see */
	pid_t tgid;		/* 0: unknown */
	uint64_t caps;		/* effective, in our user namespace */
	gid_t *groups;
	size_t n_groups;
};

/*
 * Find out whether this process can act for others; once, before all else. If it cannot, caller_enter
 * does nothing: only callers of the same user may be served then.
 */
bool caller_setup(void);

/* What is known of the thread tid that asks as uid and gid. 0 or -ENOMEM. */
int caller_init(struct caller *c, uid_t uid, gid_t gid, pid_t tid);
void caller_fini(struct caller *c);

/*
 * From _enter to _leave the calling thread (no other) looks at files as the caller would. 0, or
 * -errno and nothing has changed.
 */
int caller_enter(const struct caller *c);
void caller_leave(void);

/* A pidfd of the caller's process, made sure that it is still the one that asks; or -errno. */
int caller_pidfd(const struct caller *c);

#endif
