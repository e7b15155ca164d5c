/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that clears itself waits in a system call for our answer and cannot be stopped there to
 * make a userfaultfd. So it is stopped on its way out of open(), before it can do anything else.
 */
#ifndef SDI_PROCVIEW_BORROW_H
#define SDI_PROCVIEW_BORROW_H

#include <stdbool.h>
#include <sys/types.h>

struct borrow {
	pid_t helper;
	int sock;
};

/* The thread that waits for us shall stop as soon as it has its answer. False: it cannot be had. */
bool borrow_begin(struct borrow *b, pid_t tid);

/* It has its answer. Take a userfaultfd of its memory and let it go on. -1: none. */
int borrow_end(struct borrow *b);

#endif
