/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/inject.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/threads.h"

enum {
	INSN_SIZE = sizeof(SDI_SYSCALL_INSN) - 1,
	END_TIMEOUT_NS = 1000000000,
};

/* buf is a copy of memory from the beginning of a page on. NULL: none. */
static const char *first_insn(const char *buf, size_t n)
{
	const char *at = buf;

	while (INSN_SIZE > 0 && (at = memmem(at, buf + n - at, SDI_SYSCALL_INSN, INSN_SIZE))) {
		if ((at - buf) % SDI_INSN_ALIGN == 0)
			return at;
		at++;
	}
	return NULL;
}

static uint64_t search(int mem, uint64_t start, uint64_t end)
{
	char buf[4096 + INSN_SIZE];

	/* The instruction may cross the border of two blocks. */
	for (; start < end; start += 4096) {
		ssize_t n = pread(mem, buf, MIN(sizeof(buf), end - start), start);
		if (n <= 0)
			return 0;
		const char *hit = first_insn(buf, n);
		if (hit)
			return start + (hit - buf);
	}
	return 0;
}

/* Read a maps file line by line without malloc(); long names are cut. */
struct lines {
	int fd;
	size_t have, at;
	char buf[4096];
};

static bool next_char(struct lines *l, char *ret)
{
	if (l->at == l->have) {
		ssize_t n = read(l->fd, l->buf, sizeof(l->buf));

		if (n <= 0)
			return false;
		l->have = n;
		l->at = 0;
	}
	*ret = l->buf[l->at++];
	return true;
}

static bool next_line(struct lines *l, char *line, size_t size)
{
	size_t n = 0;
	char c = 0;

	while (next_char(l, &c) && c != '\n')
		if (n < size - 1)
			line[n++] = c;
	line[n] = '\0';
	return c == '\n';
}

uint64_t sdi_find_insn(int maps, int mem)
{
	struct lines l = { .fd = maps };
	char line[256];
	uint64_t other = 0;

	while (next_line(&l, line, sizeof(line))) {
		unsigned long long start, end;
		char perms[5];

		if (sscanf(line, "%llx-%llx %4s", &start, &end, perms) != 3 || perms[2] != 'x')
			continue;
		bool vdso = strstr(line, "[vdso]");
		if (!vdso && (other || strstr(line, "[vsyscall]")))
			continue;
		uint64_t hit = search(mem, start, end);
		if (vdso && hit)
			return hit;
		if (!other)
			other = hit;
	}
	return other;
}

/* Linux 5.13 commit 90f093fa8ea4. */
#define GET_RSEQ_CONFIGURATION ((enum __ptrace_request)0x420f)
struct rseq_configuration {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

struct rseq_section {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

/*
 * The kernel forgets a restartable sequence when the thread enters it from elsewhere, as the
 * injected call does; a later preemption would then not abort it. So it is aborted now, which may
 * happen to such a sequence at any time.
 */
static void abort_rseq(struct sdi_inject *in)
{
	struct rseq_configuration conf;
	struct rseq_section cs;
	uint64_t section, *pc = sdi_regs_pc(&in->saved);

	if (ptrace(GET_RSEQ_CONFIGURATION, in->tid, sizeof(conf), &conf) < 0 || !conf.pointer)
		return;
	if (pread(in->mem, &section, sizeof(section), conf.pointer + 8) != sizeof(section) ||
	    !section || pread(in->mem, &cs, sizeof(cs), section) != sizeof(cs))
		return;
	if (*pc - cs.start < cs.length)
		*pc = cs.abort;
}

/*
 * Syscall user dispatch (Linux 6.4 commit 3f67987cdc09 for these requests): Wine has the kernel
 * answer system calls from foreign code with SIGSYS. Off while ours runs.
 */
#define SET_SYSCALL_USER_DISPATCH ((enum __ptrace_request)0x4210)
#define GET_SYSCALL_USER_DISPATCH ((enum __ptrace_request)0x4211)

static int set_dispatch(pid_t tid, struct sdi_dispatch *d)
{
	return ptrace(SET_SYSCALL_USER_DISPATCH, tid, sizeof(*d), d) ? -errno : 0;
}

/*
 * The range that is dispatched (Linux 6.17 commit a2fc422ed757) is told as the one that is not, which goes
 * round the end of all addresses and so is not taken back.
 */
static void complement(struct sdi_dispatch *d)
{
	enum { INCLUSIVE = 2 };

	d->mode = INCLUSIVE;
	d->offset += d->len;
	d->len = -d->len;
}

/* Not without having seen that it can be set again. */
static int pause_dispatch(struct sdi_inject *in)
{
	struct sdi_dispatch off = { 0 };

	if (ptrace(GET_SYSCALL_USER_DISPATCH, in->tid, sizeof(in->dispatch), &in->dispatch))
		in->dispatch.mode = 0;
	if (!in->dispatch.mode)
		return 0;
	int err = set_dispatch(in->tid, &in->dispatch);
	if (err == -EINVAL) {
		complement(&in->dispatch);
		err = set_dispatch(in->tid, &in->dispatch);
	}
	if (!err)
		err = set_dispatch(in->tid, &off);
	if (err)
		in->dispatch.mode = 0;
	return err ? -EOPNOTSUPP : 0;
}

static void resume_dispatch(struct sdi_inject *in)
{
	if (in->dispatch.mode)
		set_dispatch(in->tid, &in->dispatch);
}

static void put_back(struct sdi_inject *in)
{
	resume_dispatch(in);
	sdi_set_regs(in->tid, &in->saved);
	ptrace(PTRACE_SETSIGMASK, in->tid, sizeof(in->saved_mask), &in->saved_mask);
}

static bool at_insn(const struct sdi_inject *in, uint64_t address)
{
	char insn[INSN_SIZE + 1];

	return pread(in->mem, insn, INSN_SIZE, address) == INSN_SIZE &&
	       !memcmp(insn, SDI_SYSCALL_INSN, INSN_SIZE);
}

int sdi_inject_begin(struct sdi_inject *in)
{
	int err = sdi_get_regs(in->tid, &in->saved);

	if (err)
		return err;
	if (!at_insn(in, in->insn))
		return -EOPNOTSUPP;
	if (ptrace(PTRACE_GETSIGMASK, in->tid, sizeof(in->saved_mask), &in->saved_mask))
		return -ESRCH;

	/* A pending signal would be delivered on the way into the call, and its handler run. */
	uint64_t all = ~0ull;
	if (ptrace(PTRACE_SETSIGMASK, in->tid, sizeof(all), &all))
		return -ESRCH;
	abort_rseq(in);
	sdi_lost_save(in->tid, &in->lost);
	in->called = false;
	err = pause_dispatch(in);
	if (err)
		put_back(in);
	return err;
}

/*
 * Run the thread to the next system call stop. One that does not get there in time, because its control
 * group was frozen say, is called back: it has not come to our call, so it may have its registers back.
 */
static int to_syscall_stop(struct sdi_inject *in, uint64_t deadline_ns)
{
	unsigned long signo = 0;
	bool late = false;

	/* A stop signal to the process shows up as one more event; go on through it. */
	for (int tries = 0; tries < 64; tries++) {
		int status, err;

		if (ptrace(PTRACE_SYSCALL, in->tid, 0, signo))
			return -ESRCH;
		err = sdi_wait_status(in->tid, late ? 0 : deadline_ns, &status);
		if (err == -ETIMEDOUT) {
			late = true;
			ptrace(PTRACE_INTERRUPT, in->tid, 0, 0);
			err = sdi_wait_status(in->tid, 0, &status);
		}
		if (err)
			return err;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 0;
		/* No mask holds SIGSTOP back: hand it over, the process stops when we let go. */
		signo = status >> 16 ? 0 : WSTOPSIG(status);
		if (status >> 16 != PTRACE_EVENT_STOP && signo != SIGSTOP)
			return -ECANCELED;
		if (late && !signo)
			return -ECANCELED;
	}
	return -ECANCELED;
}

long sdi_inject_call(struct sdi_inject *in, long nr, const uint64_t a[3], uint64_t begin_by_ns)
{
	struct sdi_regs r = in->saved;

	sdi_regs_call(&r, in->insn, nr, a);
	int err = sdi_set_regs(in->tid, &r);
	if (!err)
		err = to_syscall_stop(in, begin_by_ns);
	if (!err)
		err = sdi_get_regs(in->tid, &r);
	bool ours = !err && sdi_regs_calls(&r, nr);
	if (!err)
		err = to_syscall_stop(in, 0);
	if (!err && !ours)
		err = -ECANCELED;
	if (!err)
		err = sdi_get_regs(in->tid, &r);
	in->called |= !err;
	return err ? err : sdi_regs_result(&r);
}

/* The error of the call that the kernel is going to make again for the thread, or 0. */
static int own_error(struct sdi_inject *in)
{
	return at_insn(in, *sdi_regs_pc(&in->saved)) ? sdi_regs_again(&in->saved) : 0;
}

/*
 * If a signal handler is to run now, that call has to return EINTR instead. The kernel saw to that while
 * the thread was in the stop that broke it off, but does not know of it any more after ours. So it gets to
 * see the end of it once more: one more call of ours begins with the same first argument, which is the one
 * that the kernel remembers, and ends with that error. PTRACE_DETACH makes it look (signal_wake_up()).
 */
static bool end_again(struct sdi_inject *in)
{
	const uint64_t a[3] = { sdi_regs_arg0(&in->saved) };
	int err = in->let_go && in->called ? own_error(in) : 0;

	if (!err || sdi_inject_call(in, SYS_getpid, a, sdi_now_ns() + END_TIMEOUT_NS) < 0)
		return false;
	sdi_regs_fail(&in->saved, err);
	return true;
}

void sdi_inject_end(struct sdi_inject *in)
{
	if (!end_again(in))
		sdi_lost_restore(in->tid, &in->lost);
	put_back(in);
}
