/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run one system call in a thread that is traced and stopped, and leave it exactly as it was:
 * registers, also wide ones, signal mask, the system call it was in, restartable sequence.
 */
#ifndef SDI_TARGET_INJECT_H
#define SDI_TARGET_INJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"

/* struct ptrace_sud_config */
struct sdi_dispatch {
	uint64_t mode, selector, offset, len;
};

struct sdi_inject {
	pid_t tid;
	int mem;		/* /proc/TID/mem, not owned */
	uint64_t insn;		/* address of a system call instruction in it */
	bool let_go;		/* the thread runs on by PTRACE_DETACH afterwards */
	bool called;		/* something was injected */
	struct sdi_regs saved;
	struct sdi_lost lost;
	uint64_t saved_mask;
	struct sdi_dispatch dispatch;
};

/* Find a system call instruction: in the vdso, else in any code. The target may run. 0: none. */
uint64_t sdi_find_insn(int maps, int mem);

/*
 * Make ready: save all state and block signals. tid, mem, insn, let_go are set. 0, -ESRCH, or
 * -EOPNOTSUPP (32-bit code; the instruction is not there any more): nothing was changed then.
 */
int sdi_inject_begin(struct sdi_inject *in);

/*
 * Run nr(a[0], a[1], a[2]), which must not block. Returns what the call returned (-errno), or -ESRCH /
 * -ECANCELED when it could not be run, and was not: also when it has not begun at begin_by_ns
 * (CLOCK_MONOTONIC; the caller blocks SIGCHLD). 0: wait as long as it takes.
 */
long sdi_inject_call(struct sdi_inject *in, long nr, const uint64_t a[3], uint64_t begin_by_ns);

/* Put everything back. The thread stays stopped. */
void sdi_inject_end(struct sdi_inject *in);

#endif
