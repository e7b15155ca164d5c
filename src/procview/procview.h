/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's soft-dirty interface as files of a FUSE file system: DIR/PID/clear_refs and
 * DIR/PID/pagemap. Everybody sees and may do there what the kernel would let them see and do in
 * /proc. Must not know the command line.
 */
#ifndef SDI_PROCVIEW_PROCVIEW_H
#define SDI_PROCVIEW_PROCVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct sdi_procview {
	const char *dir;		/* where to mount; NULL: over the files of these processes */
	const pid_t *over;
	size_t n_over;
	bool allow_other;		/* serve other users too; always so with over */
	const char *keeper;		/* the command to start keepers with */
	void (*ready)(void);		/* called once, when the files can be used */
	void (*say)(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
					/* what goes wrong while it serves; from any thread */
};

/*
 * Serve until SIGINT, SIGTERM or SIGHUP, until somebody unmounts it, or until the last process of
 * over has ended; leave nothing behind. Returns 0; or -1, having served nobody, with the reason.
 */
int sdi_procview_run(const struct sdi_procview *o, char why[static 256]);

#endif
