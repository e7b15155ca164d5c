/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which descriptors of this program lead to clear_refs or pagemap, and of whom. Only a hint is kept,
 * one bit for each number; what it really is gets looked up at each use, so that no way of
 * closing or replacing a descriptor can make the answer wrong. Must not know what is done with them.
 */
#ifndef SDI_PRELOAD_FILES_H
#define SDI_PRELOAD_FILES_H

#include <stdbool.h>
#include <sys/types.h>

enum sdi_file_kind { SDI_FILE_OTHER, SDI_FILE_CLEAR_REFS, SDI_FILE_PAGEMAP };

struct sdi_file {
	enum sdi_file_kind kind;
	pid_t pid;		/* -1: not known, or it has no number in our pid namespace */
	char proc[64];		/* the directory of the process; "" if not known */
};

/* At the start of the program: look at what it has inherited. Again in the child of a fork. */
void sdi_file_start(void);
void sdi_file_forked(void);

/* A call has returned fd (or a negative number). path: how it was opened, NULL if not known. */
void sdi_file_opened(int fd, const char *path);
void sdi_file_copied(int from, int to);

/* May it be one of these files? Costs no system call. */
bool sdi_file_hint(int fd);

/* What is it? Leaves errno alone. */
enum sdi_file_kind sdi_file_look(int fd, struct sdi_file *ret);

#endif
