/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an injected system call takes of a thread that is not in one, beside the registers of regs.h: that
 * it is in none; of the vectors Z all above 128 bits, the predicates P and FFR; and in streaming mode
 * everything, with the mode itself (Documentation/arch/arm64/sve.rst and sme.rst, fp_user_discard()). ZA
 * and ZT0 are kept.
 */
#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
	SDI_NT_ARM_SYSTEM_CALL = 0x404,
	SDI_NT_ARM_SVE = 0x405,		/* Linux 4.15 */
	SDI_NT_ARM_SSVE = 0x40b,	/* Linux 5.19: the same in streaming mode */
	SDI_NT_ARM_FPMR = 0x40e,	/* Linux 6.9 */
	SDI_SVE_WHOLE = 1,		/* SVE_PT_REGS_SVE: not only what FPSIMD has too */
};

/* struct user_sve_header, then Z0 to Z31, P0 to P15, FFR, FPSR, FPCR: for vectors of 2048 bits. */
struct sdi_lost_vectors {
	uint32_t size, max_size;
	uint16_t vl, max_vl, flags, reserved;
	uint8_t regs[32 * 256 + 16 * 32 + 32 + 16];
};

struct sdi_lost {
	int nr;		/* of the system call that it is in, -1: none */
	int type;	/* SDI_NT_ARM_SVE or _SSVE, 0: nothing is lost */
	size_t size;
	bool has_fpmr;
	uint64_t fpmr;
	struct sdi_lost_vectors v;
};

static inline int sdi_regset(enum __ptrace_request rq, pid_t tid, int type, void *data, size_t *size)
{
	struct iovec iov = { data, *size };

	if (ptrace(rq, tid, type, &iov))
		return -errno;
	*size = iov.iov_len;
	return 0;
}

/*
 * Linux 6.2 to 6.8 may give, for a thread in a system call, vectors of long ago (mended by commit
 * b017a0cea627 in 6.9). These do not begin with what is in the short registers.
 */
static inline bool sdi_lost_is_real(pid_t tid, const struct sdi_lost *l)
{
	struct user_fpsimd_struct fp;
	size_t size = sizeof(fp);

	if (sdi_regset(PTRACE_GETREGSET, tid, NT_PRFPREG, &fp, &size))
		return false;
	for (size_t i = 0; i < 32; i++)
		if (memcmp(&fp.vregs[i], &l->v.regs[i * l->v.vl], sizeof(fp.vregs[i])))
			return false;
	return true;
}

static inline bool sdi_lost_read(pid_t tid, int type, struct sdi_lost *l)
{
	l->type = type;
	l->size = sizeof(l->v);
	return !sdi_regset(PTRACE_GETREGSET, tid, type, &l->v, &l->size) &&
	       (l->v.flags & SDI_SVE_WHOLE) && l->size >= l->v.size && sdi_lost_is_real(tid, l);
}

/* The thread has stopped, and nothing was injected yet. */
static inline void sdi_lost_save(pid_t tid, struct sdi_lost *l)
{
	size_t nr_size = sizeof(l->nr), size = sizeof(l->fpmr);

	if (sdi_regset(PTRACE_GETREGSET, tid, SDI_NT_ARM_SYSTEM_CALL, &l->nr, &nr_size))
		l->nr = -1;
	l->has_fpmr = false;
	if (sdi_lost_read(tid, SDI_NT_ARM_SVE, l))
		return;
	if (sdi_lost_read(tid, SDI_NT_ARM_SSVE, l))
		l->has_fpmr = !sdi_regset(PTRACE_GETREGSET, tid, SDI_NT_ARM_FPMR, &l->fpmr, &size);
	else
		l->type = 0;
}

/*
 * Once the call is over. A thread that looks like being in one still would have it made again if x0 is like
 * -ERESTARTSYS by chance, and would lose the vectors once more if preempted (before Linux 6.16 commit
 * 398edaa12f9c). This takes back PR_SVE_SET_VL_ONEXEC, a vector length that waits for the next exec: the
 * kernel does not tell it.
 */
static inline void sdi_lost_restore(pid_t tid, const struct sdi_lost *l)
{
	size_t nr_size = sizeof(l->nr), size = l->size, fpmr_size = sizeof(l->fpmr);

	if (l->type)
		sdi_regset(PTRACE_SETREGSET, tid, l->type, (void *)&l->v, &size);
	if (l->has_fpmr)
		sdi_regset(PTRACE_SETREGSET, tid, SDI_NT_ARM_FPMR, (void *)&l->fpmr, &fpmr_size);
	sdi_regset(PTRACE_SETREGSET, tid, SDI_NT_ARM_SYSTEM_CALL, (void *)&l->nr, &nr_size);
}
