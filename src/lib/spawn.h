/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting a keeper so that the host never notices a child, unless all orphans become its own
 * (PR_SET_CHILD_SUBREAPER, process 1). Knows nothing of what it will do.
 */
#ifndef SDI_LIB_SPAWN_H
#define SDI_LIB_SPAWN_H

#include <sys/types.h>

/*
 * Run `COMMAND keeper PID` with channel as descriptor SDI_WIRE_START_FD, as a child of init. 0 once
 * it has been exec'ed, or -errno. The host sees no child, no SIGCHLD and no copy of its memory.
 */
int sdi_spawn_keeper(const char *command, pid_t pid, int channel);

#endif
