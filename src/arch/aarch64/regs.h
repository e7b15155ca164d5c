/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers of aarch64: see arch/arch.h. */
#define SDI_SYSCALL_INSN "\x01\x00\x00\xd4"	/* svc #0 */

struct sdi_regs {
	struct user_regs_struct u;
};

static inline void sdi_regs_call(struct sdi_regs *r, uint64_t pc, long nr, const uint64_t a[3])
{
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

/*
 * arm64 prepares restarts before the stop (do_signal(): pc points at the svc again, x0 is the first
 * argument), but x0 of a call that has returned EINTR is lost to us: such a call cannot go on.
 * The choice of the thread (target/pick.c) avoids those.
 */
static inline bool sdi_regs_resume(struct sdi_regs *r)
{
	return false;
}
