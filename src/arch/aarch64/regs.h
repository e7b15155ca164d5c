/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers of aarch64: see arch/arch.h. */
#define SDI_SYSCALL_INSN "\x01\x00\x00\xd4"	/* svc #0 */
#define SDI_INSN_ALIGN 4
#define SDI_ARG0_IS_LOST 1

struct sdi_regs {
	struct user_regs_struct u;
};

/*
 * BTYPE says that it has just jumped: in a page that is guarded (BTI; the vdso since Linux 5.8) anything
 * but a landing pad would be a SIGILL then.
 */
static inline void sdi_regs_call(struct sdi_regs *r, uint64_t pc, long nr, const uint64_t a[3])
{
	enum { PSR_BTYPE_MASK = 0xc00 };

	r->u.pstate &= ~(uint64_t)PSR_BTYPE_MASK;
	r->u.pc = pc;
	r->u.regs[8] = nr;
	r->u.regs[0] = a[0];
	r->u.regs[1] = a[1];
	r->u.regs[2] = a[2];
}

static inline bool sdi_regs_calls(const struct sdi_regs *r, long nr)
{
	return (long)r->u.regs[8] == nr;
}

static inline long sdi_regs_result(const struct sdi_regs *r)
{
	return r->u.regs[0];
}

static inline uint64_t *sdi_regs_pc(struct sdi_regs *r)
{
	return (uint64_t *)&r->u.pc;
}

/* x8 is the number, if it was a call at all: the caller must know that from before the stop. */
static inline bool sdi_regs_broken_off(const struct sdi_regs *r)
{
	return (long)r->u.regs[0] == -EINTR && sdi_call_can_go_on(r->u.regs[8]);
}

/*
 * arm64 decides about restarts before the stop (do_signal(): pc points at the svc again, x0 is the first
 * argument). So the same is done here.
 */
static inline void sdi_regs_resume(struct sdi_regs *r, uint64_t arg0)
{
	r->u.regs[0] = arg0;
	r->u.pc -= sizeof(SDI_SYSCALL_INSN) - 1;
}

/*
 * It may also be about to make that call for the first time. So that must not matter: not connect(), where
 * EINTR says that it goes on by itself, and not a sleep that is to tell how much is left. Nor futex():
 * it has several such errors, and some of its operations never return EINTR.
 */
static inline int sdi_regs_again(const struct sdi_regs *r)
{
	enum { ERESTARTSYS = 512, ERESTARTNOHAND = 514 };
	const uint64_t *x = (const uint64_t *)r->u.regs;

	switch (x[8]) {
	case __NR_read: case __NR_readv: case __NR_write: case __NR_writev: case __NR_recvfrom:
	case __NR_recvmsg: case __NR_sendto: case __NR_sendmsg: case __NR_accept:
	case __NR_accept4: case __NR_wait4: case __NR_waitid: case __NR_flock: case __NR_fcntl:
		return -ERESTARTSYS;
	case __NR_ppoll: case __NR_pselect6: case __NR_rt_sigsuspend: case __NR_msgrcv:
	case __NR_msgsnd:
		return -ERESTARTNOHAND;
	case __NR_nanosleep:
		return !x[1] || x[1] == x[0] ? -ERESTARTNOHAND : 0;
	case __NR_clock_nanosleep:
		return !x[3] || x[3] == x[2] ? -ERESTARTNOHAND : 0;
	}
	return 0;
}

static inline uint64_t sdi_regs_arg0(const struct sdi_regs *r)
{
	return r->u.regs[0];
}

static inline void sdi_regs_fail(struct sdi_regs *r, int err)
{
	r->u.regs[0] = err;
	r->u.pc += sizeof(SDI_SYSCALL_INSN) - 1;
}

/*
 * Nothing is done for AArch32, where the numbers are others and the instruction may have two bytes: there
 * such a call returns EINTR, see softdirty(7).
 */
static inline void sdi_resume_32(pid_t tid)
{
}
