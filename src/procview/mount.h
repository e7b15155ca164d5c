/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the files appear: on a directory, or over those of a process in the real /proc. Knows
 * mounts, not requests.
 */
#ifndef SDI_PROCVIEW_MOUNT_H
#define SDI_PROCVIEW_MOUNT_H

#include <stddef.h>
#include <sys/types.h>

#define MOUNT_FSNAME "softdirty"
#define MOUNT_TYPE "fuse.softdirty"

/*
 * Remove what a server that was killed has left on dir. 0; -EBUSY: somebody serves there; or another
 * -errno: it is not usable.
 */
int mount_clean_dir(const char *dir);

/* The same for the files of a process. */
int mount_clean_over(pid_t pid);

/*
 * To serve files over those in /proc one must not see them oneself, neither the server nor its
 * keepers. So this process leaves for a mount namespace of its own, in which /proc stays as it is,
 * and children go back to mount and unmount.
 *
 *	over_begin()	forks the child that will mount, and leaves
 *	over_mount()	makes the child mount; *fuse is what to serve
 *	over_bind()	makes it cover the files, while other threads serve already
 *	over_unmount()	undoes it
 *
 * All return 0 or -errno, with what was tried in why.
 */
struct over {
	const pid_t *pids;
	size_t n;
	int home;			/* the mount namespace that we came from */
	pid_t child;
	int fuse;			/* /dev/fuse, before it is given away; -1 */
	int channel;			/* to the child */
};
int over_begin(struct over *o, char why[static 256]);
int over_mount(struct over *o, int *fuse, char why[static 256]);
int over_bind(struct over *o, char why[static 256]);
void over_unmount(struct over *o);

#endif
