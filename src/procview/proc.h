/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real /proc, as far as the files show it. Every function sees what the calling thread may see;
 * see caller.h.
 */
#ifndef SDI_PROCVIEW_PROC_H
#define SDI_PROCVIEW_PROC_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Get hold of /proc as it is mounted here and now; again after that has changed. 0 or -errno. */
int proc_setup(void);

/* /proc/PID: keeps meaning that process when its pid is reused. The descriptor or -errno. */
int proc_dir(pid_t pid);

/* When it was started, in clock ticks since boot; 0 if it has ended. */
uint64_t proc_start_time(int dir);

/* A process with memory of its own, whose pagemap the calling thread may read? */
bool proc_is_visible(pid_t pid);

/* Is it a process, and not one of its further threads? */
bool proc_is_leader(pid_t pid);

/* What /proc/PID or /proc/PID/name (name not NULL) looks like. 0 or -errno. */
int proc_stat(pid_t pid, const char *name, struct stat *ret);

/* May the calling thread access it so (R_OK, W_OK, X_OK)? 0 or -errno. */
int proc_access(pid_t pid, const char *name, int mask);

/* All of /proc, from the start; or NULL. */
DIR *proc_list(void);

/* The pid that a name stands for; 0: none. */
pid_t proc_pid(const char *name);

#endif
