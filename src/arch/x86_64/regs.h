/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers of x86_64: see arch/arch.h. */
#define SDI_SYSCALL_INSN "\x0f\x05"	/* syscall */
#define SDI_INSN_ALIGN 1
#define SDI_ARG0_IS_LOST 0

struct sdi_regs {
	struct user_regs_struct u;
};

static inline void sdi_regs_call(struct sdi_regs *r, uint64_t pc, long nr, const uint64_t a[3])
{
	r->u.rip = pc;
	r->u.rax = nr;
	r->u.orig_rax = -1;	/* arch_do_signal_or_restart() leaves it alone then */
	r->u.rdi = a[0];
	r->u.rsi = a[1];
	r->u.rdx = a[2];
}

static inline bool sdi_regs_calls(const struct sdi_regs *r, long nr)
{
	return (long)r->u.orig_rax == nr;
}

static inline long sdi_regs_result(const struct sdi_regs *r)
{
	return r->u.rax;
}

static inline uint64_t *sdi_regs_pc(struct sdi_regs *r)
{
	return (uint64_t *)&r->u.rip;
}

static inline bool sdi_regs_broken_off(const struct sdi_regs *r)
{
	return (long)r->u.rax == -EINTR && sdi_call_can_go_on(r->u.orig_rax);
}

/*
 * With -ERESTARTNOHAND in rax the kernel itself decides when the thread runs again: EINTR if a
 * signal handler is to run, the same call once more if not (arch_do_signal_or_restart(),
 * handle_signal()). No signal can slip in between.
 */
static inline void sdi_regs_resume(struct sdi_regs *r, uint64_t arg0)
{
	enum { ERESTARTNOHAND = 514 };

	r->u.rax = -ERESTARTNOHAND;
}

/*
 * The same in 32-bit code. PTRACE_GETREGS knows no form of its own for its registers; these are the
 * calls of sdi_call_can_go_on() by their numbers there.
 */
static inline void sdi_resume_32(pid_t tid)
{
	static const short calls[] = {
		3 /* read */, 4 /* write */, 102 /* socketcall */, 117 /* ipc */, 145 /* readv */,
		146 /* writev */, 177 /* rt_sigtimedwait */, 247 /* io_getevents */,
		256 /* epoll_wait */, 319 /* epoll_pwait */, 337 /* recvmmsg */, 345 /* sendmmsg */,
		362 /* connect */, 364 /* accept4 */, 369 /* sendto */, 370 /* sendmsg */,
		371 /* recvfrom */, 372 /* recvmsg */, 385 /* io_pgetevents */,
		416 /* io_pgetevents_time64 */, 417 /* recvmmsg_time64 */,
		420 /* semtimedop_time64 */, 421 /* rt_sigtimedwait_time64 */,
		426 /* io_uring_enter */, 441 /* epoll_pwait2 */,
	};
	struct sdi_regs r;

	if (ptrace(PTRACE_GETREGS, tid, 0, &r.u) || (int)r.u.rax != -EINTR)
		return;
	sdi_regs_resume(&r, 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i] == (int)r.u.orig_rax)
			ptrace(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, rax), r.u.rax);
}

static inline int sdi_regs_again(const struct sdi_regs *r)
{
	return 0;
}

static inline uint64_t sdi_regs_arg0(const struct sdi_regs *r)
{
	return 0;
}

static inline void sdi_regs_fail(struct sdi_regs *r, int err)
{
}
