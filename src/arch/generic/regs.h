/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A CPU without a folder of its own: see arch/arch.h. No system call can be run in a target, so
 * only backends that need none are used.
 */
#define SDI_SYSCALL_INSN ""
#define SDI_INSN_ALIGN 1
#define SDI_ARG0_IS_LOST 0

struct sdi_regs {
	struct user_regs_struct u;
};

static inline void sdi_regs_call(struct sdi_regs *r, uint64_t pc, long nr, const uint64_t a[3])
{
}

static inline bool sdi_regs_calls(const struct sdi_regs *r, long nr)
{
	return false;
}

static inline long sdi_regs_result(const struct sdi_regs *r)
{
	return -ENOSYS;
}

static inline uint64_t *sdi_regs_pc(struct sdi_regs *r)
{
	static uint64_t none;

	return &none;
}

static inline bool sdi_regs_broken_off(const struct sdi_regs *r)
{
	return false;
}

static inline void sdi_regs_resume(struct sdi_regs *r, uint64_t arg0)
{
}

static inline void sdi_resume_32(pid_t tid)
{
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
