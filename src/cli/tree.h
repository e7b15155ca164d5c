/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which processes a command is about: those named, and with --tree all their descendants. */
#ifndef SDI_CLI_TREE_H
#define SDI_CLI_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct sdi_pids {
	pid_t *pid;		/* parents before children, nobody twice */
	size_t n, cap;
	size_t n_named;		/* the first ones; the others are descendants */
};

/* 0 or -ENOMEM. A process that nobody can see has no descendants; that is no error. */
int sdi_pids_list(const pid_t *named, size_t n, bool tree, struct sdi_pids *ret);
void sdi_pids_fini(struct sdi_pids *pids);

#endif
