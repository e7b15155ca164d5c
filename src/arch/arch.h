/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registers of a stopped thread, as far as running one system call in it needs them. Each
 * CPU has a folder with a regs.h that defines the type and the functions listed here:
 *
 *	struct sdi_regs			what PTRACE_GETREGSET(NT_PRSTATUS) fills, whole
 *	SDI_SYSCALL_INSN		the bytes of the instruction that enters the kernel
 *	SDI_INSN_ALIGN			instructions begin at multiples of that
 *	sdi_regs_call(r, pc, nr, a)	make r execute system call nr(a[0], a[1], a[2]) at pc, and
 *					keep the kernel from restarting the one it was in
 *	sdi_regs_calls(r, nr)		at a system call entry stop: is it that call?
 *	sdi_regs_result(r)		at an exit stop: what the call returned
 *	sdi_regs_pc(r)			pointer to the program counter
 *	sdi_regs_broken_off(r)		at a stop: is this a system call that the stop made return EINTR?
 *	sdi_regs_resume(r, arg0)	let it go on waiting instead; arg0 was its first argument
 *	sdi_resume_32(tid)		both for a thread in 32-bit code
 *	SDI_ARG0_IS_LOST		1: that argument is not among the registers any more, and the kernel
 *					does not repeat the call by itself
 *	sdi_regs_again(r)		at a stop before a system call instruction, where the kernel has put
 *					it back to make the call again: with what error had it ended? 0: not
 *					known, or the kernel sees to it when the thread runs on
 *	sdi_regs_arg0(r)		its first argument
 *	sdi_regs_fail(r, err)		the same call as it ended with that error
 *
 * and a lost.h, or that of generic:
 *
 *	struct sdi_lost			what a system call takes of a thread that is not in one
 *	sdi_lost_save(tid, l)		at a stop, before the call: keep it
 *	sdi_lost_restore(tid, l)	at a stop after it, or without it: give it back
 */
#ifndef SDI_ARCH_ARCH_H
#define SDI_ARCH_ARCH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>

/*
 * Calls that return -EINTR for a stop without a signal, and can be entered again as they were:
 * they have done nothing yet when they return it. (close() is not among them.)
 */
static inline bool sdi_call_can_go_on(long nr)
{
	static const short calls[] = {
#ifdef __NR_epoll_wait
		__NR_epoll_wait,
#endif
		__NR_epoll_pwait, 441 /* epoll_pwait2 */, __NR_rt_sigtimedwait, __NR_semop,
		__NR_semtimedop, __NR_read, __NR_readv, __NR_write, __NR_writev, __NR_recvfrom,
		__NR_recvmsg, __NR_recvmmsg, __NR_sendto, __NR_sendmsg, __NR_sendmmsg, __NR_accept,
		__NR_accept4, __NR_connect, __NR_io_getevents, __NR_io_pgetevents,
		426 /* io_uring_enter */,
	};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i] == nr)
			return true;
	return false;
}

/* Waits that the kernel takes up again after any stop, as if nothing had been. */
static inline bool sdi_call_is_taken_up(long nr)
{
	switch (nr) {
#ifdef __NR_poll
	case __NR_poll: case __NR_select: case __NR_pause:
#endif
	case __NR_ppoll: case __NR_pselect6: case __NR_futex: case __NR_nanosleep:
	case __NR_clock_nanosleep: case __NR_rt_sigsuspend: case __NR_wait4: case __NR_waitid:
	case __NR_restart_syscall:
		return true;
	}
	return false;
}

#if defined(__x86_64__)
#include "arch/generic/lost.h"
#include "arch/x86_64/regs.h"
#elif defined(__aarch64__)
#include "arch/aarch64/lost.h"
#include "arch/aarch64/regs.h"
#else
#include "arch/generic/lost.h"
#include "arch/generic/regs.h"
#endif

#endif
