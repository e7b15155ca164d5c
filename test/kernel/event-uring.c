/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * io_uring and AIO: the rings are written by the kernel behind every page table, and so are
 * buffers that were registered before the clear. Both have to be called untracked.
 */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lost.h"
#include "uring.h"

static struct t_uring ring;

static long op_setup(long buffer, long size, long c, long d)
{
	int ret = t_uring_open(&ring);

	return ret || !buffer ? ret : t_uring_register_buffer(&ring, (void *)buffer, (size_t)size);
}

static long op_copy(long a, long b, long c, long d)
{
	return dup(ring.fd);
}

static long op_read(long opcode, long address, long size, long d)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int ret = t_uring_submit_read(&ring, (int)opcode, fd, (void *)address, (unsigned)size, 0);

	if (ret == 0)
		ret = t_uring_wait(&ring);
	close(fd);
	return ret;
}

/* What was written while a request may have been in flight is said again for some seconds. */
static void read_of_a_plain_buffer(void)
{
	T_TARGET tg = t_begin(4);
	long ret = t_call(&tg, op_setup, 0, 0);

	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	T_EQ(t_call(&tg, op_read, IORING_OP_READ, t_page(&tg, 1), 100), 100);
	T_EVENT(&tg, .want = "-D--", .again = "-D--");
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_CARRIED);
}

/* Registered before the clear: the kernel writes to the pages without any fault. */
static void read_of_a_registered_buffer(void)
{
	T_TARGET tg = t_begin(4);
	long ret = t_call(&tg, op_setup, t_page(&tg, 1), 2 * tg.unit);

	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	T_EQ(t_call(&tg, op_read, IORING_OP_READ_FIXED, t_page(&tg, 1), 100), 100);
	T_EVENT(&tg, .want = "-D--", .wp = "-uu-", .hash = "-uu-", .sd = "-uu-",
		.why = "pinned memory is written without a fault",
		.reason = SOFTDIRTY_REASON_PINNED);
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_PINNED);
}

static void registered_after_the_clear(void)
{
	T_TARGET tg = t_begin(4);
	long ret = t_call(&tg, op_setup, t_page(&tg, 1), 2 * tg.unit);

	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	T_EQ(t_call(&tg, op_read, IORING_OP_READ_FIXED, t_page(&tg, 1), 100), 100);
	T_EVENT(&tg, .want = "-D--", .wp = "-uu-", .hash = "-uu-", .sd = "-uu-",
		.why = "pinned memory is written without a fault",
		.reason = SOFTDIRTY_REASON_PINNED);
}

static long op_read_and_unregister(long address, long size, long c, long d)
{
	long ret = op_read(IORING_OP_READ_FIXED, address, size, 0);

	if (syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0))
		return -errno;
	return ret;
}

/* Nothing is pinned any more when it is looked at: what was is said again. */
static void unregistered_before_the_read(void)
{
	T_TARGET tg = t_begin(4);
	long ret = t_call(&tg, op_setup, t_page(&tg, 1), 2 * tg.unit);

	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	t_sleep_ms(5100);	/* the fault of the registration is not said again any more */
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	T_EQ(t_call(&tg, op_read_and_unregister, t_page(&tg, 1), 100), 100);
	T_EVENT(&tg, .want = "-D--", .wp = "-DD-", .hash = "-DD-", .sd = "-DD-", .again = "-DD-",
		.why = "pinned memory is written without a fault");
}

/* Every ring mapping is untracked, or a change of it was reported by content. */
static void rings_are_not_called_clean(const char *name)
{
	T_TARGET tg = t_start();
	const struct softdirty_mapping *m;
	size_t n, n_rings = 0;
	char got[64];
	long ret = t_call(&tg, op_setup, 0, 0);

	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	t_watch(&tg);
	T_EQ(t_call(&tg, op_read, IORING_OP_NOP, 0, 0), 0);
	T_MUST(softdirty_mappings(tg.sd, &m, &n) == 0);
	for (size_t i = 0; i < n; i++) {
		uint64_t start = m[i].start, pages = (m[i].end - start) / t_page_size();

		if (!strstr(m[i].name, name) || pages >= sizeof(got))
			continue;
		n_rings++;
		t_letters(tg.sd, NULL, 0, start, pages, t_page_size(), got);
		if (t_backend() != T_HASH)
			T_EQ(strspn(got, "u"), pages);
		else
			T_OK(strspn(got, "uD-") == pages);
		T_MUST(softdirty_mappings(tg.sd, &m, &n) == 0);
	}
	T_OK(n_rings > 0);
}

#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1u << 14)
#endif

/* A ring in the memory at address, with no mapping of its own (Linux 6.5). */
static long op_own_ring(long address, long b, long c, long d)
{
	struct io_uring_params p = { .flags = IORING_SETUP_NO_MMAP };
	long sqes = address + (long)t_page_size();
	int fd;

	/* user_addr, which old headers call resv2: the last member of both */
	memcpy((char *)(&p.cq_off + 1) - 8, &address, 8);
	memcpy((char *)(&p.sq_off + 1) - 8, &sqes, 8);
	fd = (int)syscall(SYS_io_uring_setup, 8, &p);
	return fd < 0 ? -errno : fd;
}

/* Also beside one that is mapped. Nobody says where it is: everything is untracked. */
static void ring_in_memory_of_the_target(void)
{
	T_TARGET tg = t_begin(4);
	long ret = t_call(&tg, op_setup, 0, 0), fd;

	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	fd = t_call(&tg, op_own_ring, t_page(&tg, 1));
	if (fd < 0)
		T_SKIP("no ring without a mapping here (%s)", strerror((int)-fd));
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "uuuu");
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_PINNED);
	T_EQ(t_call(&tg, t_op_close, fd), 0);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "DDDD");
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_CARRIED);
}

/* The same ring twice in the table of descriptors. */
static void descriptor_of_a_ring_copied(void)
{
	T_TARGET tg = t_begin(4);
	long ret = t_call(&tg, op_setup, 0, 0);

	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	T_OK(t_call(&tg, op_copy) >= 0);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
}

static void io_uring_rings(void)
{
	rings_are_not_called_clean("io_uring");
}

static long op_aio(long address, long b, long c, long d)
{
	aio_context_t ctx = 0;
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_buf = (uint64_t)address,
			   .aio_nbytes = 100 };
	struct iocb *list[] = { &cb };
	struct io_event event;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (syscall(SYS_io_setup, 4, &ctx))
		return -errno;
	cb.aio_fildes = (uint32_t)fd;
	if (syscall(SYS_io_submit, ctx, 1, list) != 1 ||
	    syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) != 1)
		return -errno;
	close(fd);
	return (long)event.res;
}

/* --- reads that the kernel's own threads do while the target is stopped --- */

enum { N_PAGES = 256, N_THREADS = 4, N_REQUESTS = 8, SECONDS = 2 };

static struct t_oracle *oracle;
static _Atomic bool *stop;
static int pipes[N_THREADS * N_REQUESTS][2];	/* one for each request */
static char *memory;

static long read_some(struct t_uring *u, int (*from)[2], size_t first)
{
	long ret = 0;

	for (size_t i = first; i < first + N_REQUESTS && !ret; i++) {
		t_oracle_begin(oracle, i);
		ret = t_uring_submit_read(u, IORING_OP_READ, from[i - first][0],
					  memory + i * t_page_size(), 8, 0);
	}
	for (size_t i = 0; i < N_REQUESTS && !ret; i++) {
		int n = t_uring_wait(u);

		ret = n == 8 ? 0 : n < 0 ? n : -EIO;
	}
	for (size_t i = first; i < first + N_REQUESTS && !ret; i++)
		t_oracle_end(oracle, i);
	return ret;
}

/* Each thread reads into pages of its own. */
static void *reader(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg, n = N_PAGES / N_THREADS;
	unsigned seed = (unsigned)me;
	struct t_uring u;
	long ret = t_uring_open(&u);

	u.flags = IOSQE_ASYNC;
	while (!ret && !*stop)
		ret = read_some(&u, &pipes[me * N_REQUESTS],
				me * n + (size_t)rand_r(&seed) % (n - N_REQUESTS));
	return (void *)ret;
}

static long op_read_all_the_time(long mem, long b, long c, long d)
{
	pthread_t t[N_THREADS];
	long ret = 0;

	memory = (char *)mem;
	for (size_t i = 0; i < N_THREADS; i++)
		if (pthread_create(&t[i], NULL, reader, (void *)i))
			return -EAGAIN;
	for (size_t i = 0; i < N_THREADS; i++) {
		void *r;

		pthread_join(t[i], &r);
		ret = ret ? ret : (long)r;
	}
	return ret;
}

/* Somebody else sends what they wait for, whether they are stopped or not. */
static pid_t begin_to_send(void)
{
	pid_t pid = t_fork();

	if (pid == 0)
		for (uint64_t value = 1ull << 32;
		     write(pipes[value % (N_THREADS * N_REQUESTS)][1], &value, 8) == 8; value++)
			usleep(20);
	return pid;
}

static void reads_while_it_is_stopped(void)
{
	T_TARGET tg;
	size_t lost = 0, rounds = 0;
	pid_t sender;

	oracle = t_oracle_new(N_PAGES);
	stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_MUST(stop != MAP_FAILED);
	for (size_t i = 0; i < N_THREADS * N_REQUESTS; i++)
		T_MUST(!pipe(pipes[i]));
	tg = t_begin(N_PAGES);
	long ret = t_call(&tg, op_setup, 0, 0);
	if (ret)
		T_SKIP("no io_uring here (%s)", strerror((int)-ret));
	sender = begin_to_send();
	t_post(&tg, op_read_all_the_time, tg.mem, 0, 0);
	for (uint64_t end = t_deadline(SECONDS); t_now() < end && !t_failed(); rounds++)
		lost += t_lost_writes(&tg, oracle);
	*stop = true;
	T_EQ(t_wait(&tg), 0);
	lost += t_lost_writes(&tg, oracle);
	t_kill(sender);
	t_note("%llu writes, %zu rounds, %zu writes lost",
	       (unsigned long long)t_oracle_total(oracle), rounds, lost);
	T_OK(rounds > 0 && t_oracle_total(oracle) > 0);
	T_EQ(lost, 0);
}

static void aio_read(void)
{
	T_TARGET tg = t_begin(4);
	long ret = t_call(&tg, op_aio, t_page(&tg, 1));
	const struct softdirty_mapping *m;
	size_t n;
	char got[64] = "";

	if (ret == -ENOSYS)
		T_SKIP("no AIO on this kernel");
	T_EQ(ret, 100);
	T_EVENT(&tg, .want = "-D--", .again = "-D--");
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	T_MUST(softdirty_mappings(tg.sd, &m, &n) == 0);
	for (size_t i = 0; i < n; i++)
		if (strstr(m[i].name, "[aio]")) {
			t_letters(tg.sd, NULL, 0, m[i].start, 1, t_page_size(), got);
			break;
		}
	if (t_backend() != T_HASH)
		T_STREQ(got, "u");
}

int main(void)
{
	t_need_backend();
	T_RUN(read_of_a_plain_buffer);
	T_RUN(read_of_a_registered_buffer);
	T_RUN(registered_after_the_clear);
	T_RUN(unregistered_before_the_read);
	T_RUN(ring_in_memory_of_the_target);
	T_RUN(descriptor_of_a_ring_copied);
	T_RUN(reads_while_it_is_stopped);
	T_RUN(io_uring_rings);
	T_RUN(aio_read);
	return t_done();
}
