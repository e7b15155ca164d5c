/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A control group of version 2 for one process of a test, to freeze it. */
#ifndef T_CGROUP_H
#define T_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

/* Make one where such are mounted and move the process there. The caller removes path. */
bool t_cgroup_make(pid_t pid, char path[64]);

/* Freeze or thaw it, and wait until that is done (5 s at most). */
bool t_cgroup_freeze(const char *path, bool freeze);

#endif
