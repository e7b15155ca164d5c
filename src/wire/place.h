/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where keepers are found: a directory that only its owner can enter, with a socket and a lock file
 * for each target, named after its pid and start time. Everything is reached through the
 * descriptor of the directory, so nothing can be swapped on the way. Knows no protocol.
 *
 * A keeper takes the lock before all else and holds it for its whole life, so there is never more
 * than one. A socket file whose lock is free is the trace of a keeper that was killed.
 */
#ifndef SDI_WIRE_PLACE_H
#define SDI_WIRE_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sdi_place {
	int dir;
	char path[256];		/* for people only */
};

/*
 * Open the directory of the calling user; make it if create. -ENOENT: it is not there; -EPERM: it
 * is not ours, or open to others; or another -errno, always with the sentence set.
 */
int sdi_place_open(bool create, struct sdi_place *ret);
void sdi_place_close(struct sdi_place *p);

/* What the files of a target are called, without ".sock" and ".lock". */
struct sdi_place_name {
	char text[40];
};
struct sdi_place_name sdi_place_name(pid_t pid, uint64_t start_time);

/*
 * Connect to the keeper there. Returns the socket, -ENOENT (there is none), -ECONNREFUSED (it was
 * killed, or does not listen yet), or another -errno.
 */
int sdi_place_connect(int dir, const struct sdi_place_name *name);

/* Get the lock. Returns its descriptor, -EAGAIN (somebody else has it), or -errno. */
int sdi_place_lock(int dir, const struct sdi_place_name *name);

/* With the lock: bind and listen. *stale: there was a socket of a keeper that was killed. */
int sdi_place_listen(int dir, const struct sdi_place_name *name, bool *stale);

/* With the lock: remove both files; or leave the socket, as the trace of a keeper that was killed. */
void sdi_place_remove(int dir, const struct sdi_place_name *name, bool leave_stale);

/* Remove what killed keepers left behind for targets that have ended as well. */
void sdi_place_sweep(int dir);

#endif
