/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes by the kernel on behalf of the target, and by other processes into its memory. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target.h"

static void one(t_fn *fn, long size)
{
	T_TARGET tg = t_begin(4);

	T_EQ(t_call(&tg, fn, t_page(&tg, 1), size), 0);
	T_EVENT(&tg, .want = "-D--");
}

static long op_read_file(long address, long size, long c, long d)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, (void *)address, (size_t)size);

	close(fd);
	return n == size ? 0 : -errno;
}

static void read_from_a_file(void)
{
	one(op_read_file, 1000);
}

static long op_read_pipe(long address, long size, long c, long d)
{
	int fd[2];
	ssize_t n;

	if (pipe(fd) || write(fd[1], "abcdefgh", 8) != 8)
		return -errno;
	n = read(fd[0], (void *)address, 8);
	close(fd[0]);
	close(fd[1]);
	return n == 8 ? 0 : -errno;
}

static void read_from_a_pipe(void)
{
	one(op_read_pipe, 8);
}

static long op_readv_two(long a, long b, long c, long d)
{
	struct iovec iov[2] = { { (void *)a, 100 }, { (void *)b, 100 } };
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t n = readv(fd, iov, 2);

	close(fd);
	return n == 200 ? 0 : -errno;
}

static void readv_into_two_pages(void)
{
	T_TARGET tg = t_begin(4);

	T_EQ(t_call(&tg, op_readv_two, t_page(&tg, 1), t_page(&tg, 3)), 0);
	T_EVENT(&tg, .want = "-D-D");
}

static void read_across_two_pages(void)
{
	T_TARGET tg = t_begin(4);

	T_EQ(t_call(&tg, op_read_file, t_page(&tg, 2) - 10, 20), 0);
	T_EVENT(&tg, .want = "-DD-");
}

static long op_recv(long address, long size, long c, long d)
{
	int fd[2];
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) || send(fd[1], "abcdefgh", 8, 0) != 8)
		return -errno;
	n = recv(fd[0], (void *)address, 8, 0);
	close(fd[0]);
	close(fd[1]);
	return n == 8 ? 0 : -errno;
}

static void recv_from_a_socket(void)
{
	one(op_recv, 8);
}

static long op_getrandom(long address, long size, long c, long d)
{
	return syscall(SYS_getrandom, address, size, 0) == size ? 0 : -errno;
}

static void getrandom_into_a_page(void)
{
	one(op_getrandom, 64);
}

static long op_clock(long address, long b, long c, long d)
{
	return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, address) ? -errno : 0;
}

static void clock_gettime_into_a_page(void)
{
	one(op_clock, 0);
}

static long op_stat(long address, long b, long c, long d)
{
	return fstatat(AT_FDCWD, "/", (struct stat *)address, 0) ? -errno : 0;
}

static void stat_into_a_page(void)
{
	one(op_stat, 0);
}

static long op_rusage(long address, long b, long c, long d)
{
	return getrusage(RUSAGE_SELF, (struct rusage *)address) ? -errno : 0;
}

static void getrusage_into_a_page(void)
{
	one(op_rusage, 0);
}

static void process_vm_writev_by_another(void)
{
	T_TARGET tg = t_begin(4);
	struct iovec local = { "hello", 5 }, remote = { (void *)t_page(&tg, 1), 5 };

	if (process_vm_writev(tg.pid, &local, 1, &remote, 1, 0) != 5)
		T_SKIP("process_vm_writev: %s", strerror(errno));
	T_EVENT(&tg, .want = "-D--");
}

static void ptrace_poke(void)
{
	T_TARGET tg = t_begin(4);

	if (ptrace(PTRACE_ATTACH, tg.pid, 0, 0))
		T_SKIP("ptrace: %s", strerror(errno));
	T_MUST(waitpid(tg.pid, NULL, 0) == tg.pid);
	T_EQ(ptrace(PTRACE_POKEDATA, tg.pid, t_page(&tg, 1), 0x12345678), 0);
	T_EQ(ptrace(PTRACE_DETACH, tg.pid, 0, 0), 0);
	T_EVENT(&tg, .want = "-D--");
}

static bool write_mem(const struct t_target *tg, uintptr_t address)
{
	char path[64];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", tg->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	done = pwrite(fd, "hello", 5, (off_t)address) == 5;
	close(fd);
	return done;
}

static void proc_mem_written(void)
{
	T_TARGET tg = t_begin(4);

	if (!write_mem(&tg, t_page(&tg, 1)))
		T_SKIP("/proc/PID/mem: %s", strerror(errno));
	T_EVENT(&tg, .want = "-D--");
}

static void proc_mem_written_where_read_only(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ);
	t_watch(&tg);
	if (!write_mem(&tg, t_page(&tg, 1)))
		T_SKIP("/proc/PID/mem: %s", strerror(errno));
	T_EVENT(&tg, .want = "-D--");
}

static void on_signal(int signo)
{
}

static long op_signal_on(long stack, long size, long c, long d)
{
	stack_t ss = { .ss_sp = (void *)stack, .ss_size = (size_t)size };
	stack_t off = { .ss_flags = SS_DISABLE };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	if (sigaltstack(&ss, NULL) || sigaction(SIGUSR1, &sa, NULL) || raise(SIGUSR1))
		return -errno;
	return sigaltstack(&off, NULL) ? -errno : 0;
}

/* The kernel writes the frame at the top, the handler below it: a run of pages at the end. */
static void signal_frame_on_another_stack(void)
{
	T_TARGET tg = t_begin(32);
	char got[64];
	size_t first;

	T_EQ(t_call(&tg, op_signal_on, tg.mem, 32 * tg.unit), 0);
	t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, tg.mem, 32, tg.unit, got);
	first = strspn(got, "-");
	T_OK(first >= 16 && first < 32);
	T_OK(got[31] == 'D');
	T_EQ(strspn(got + first, "D"), 32 - first);
}

static long op_splice_vm(long from, long to, long c, long d)
{
	struct iovec iov = { (void *)from, t_page_size() };
	int fd[2];
	ssize_t n;

	if (pipe(fd))
		return -errno;
	n = vmsplice(fd[1], &iov, 1, 0);
	if (n == (ssize_t)t_page_size())
		n = read(fd[0], (void *)to, (size_t)n);
	close(fd[0]);
	close(fd[1]);
	return n == (ssize_t)t_page_size() ? 0 : -errno;
}

static void vmsplice_reads_one_page_into_another(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_touch, t_page(&tg, 1), 1, tg.unit);
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	T_EQ(t_call(&tg, op_splice_vm, t_page(&tg, 1), t_page(&tg, 2)), 0);
	T_EVENT(&tg, .want = "--D-");
}

int main(void)
{
	t_need_backend();
	T_RUN(read_from_a_file);
	T_RUN(read_from_a_pipe);
	T_RUN(readv_into_two_pages);
	T_RUN(read_across_two_pages);
	T_RUN(recv_from_a_socket);
	T_RUN(getrandom_into_a_page);
	T_RUN(clock_gettime_into_a_page);
	T_RUN(stat_into_a_page);
	T_RUN(getrusage_into_a_page);
	T_RUN(process_vm_writev_by_another);
	T_RUN(ptrace_poke);
	T_RUN(proc_mem_written);
	T_RUN(proc_mem_written_where_read_only);
	T_RUN(signal_frame_on_another_stack);
	T_RUN(vmsplice_reads_one_page_into_another);
	return t_done();
}
