/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Direct I/O in flight while the mark moves all the time. The device writes to a page after its
 * write fault was taken and reported, without another. The test keeps a copy of the buffer as an
 * incremental dump does: after each read --clear it copies what was reported. In the end the copy
 * has to be equal to the buffer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "target.h"
#include "uring.h"

#define SIZE (t_is_slow() ? 16l << 20 : 64l << 20)
#define REQUEST (1l << 20)
#define N_PASSES (t_is_slow() ? 3 : 6)
#define DEPTH 8			/* requests in flight of AIO and io_uring */

/* Two halves of different content. */
static long op_direct_file(long a, long b, long c, long d)
{
	char path[64];
	int fd = t_temp_file(path), direct;
	char *block = malloc(REQUEST);

	if (fd < 0)
		return fd;
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(path);
	if (direct < 0)
		return -errno;
	for (long done = 0; done < 2 * SIZE; done += REQUEST) {
		memset(block, done < SIZE ? 0x77 : 0x88, REQUEST);
		if (write(fd, block, REQUEST) != REQUEST)
			return -errno;
	}
	free(block);
	fsync(fd);
	close(fd);
	return direct;
}

static long op_pread(long fd, long address, long offset, long d)
{
	for (long done = 0; done < SIZE; done += REQUEST) {
		ssize_t n = pread((int)fd, (char *)address + done, REQUEST, offset + done);

		if (n != REQUEST)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/* In a thread that has descriptors of its own, among which alone is the one for direct reads. */
struct own_table {
	int file;		/* O_PATH */
	long address, offset, result;
};

static void *pread_there(void *arg)
{
	struct own_table *own = arg;
	char path[40];

	if (unshare(CLONE_FILES)) {
		own->result = -errno;
		return NULL;
	}
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", own->file);
	int direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	own->result = direct < 0 ? -errno : op_pread(direct, own->address, own->offset, 0);
	return NULL;
}

static long op_pread_with_own_table(long fd, long address, long offset, long d)
{
	static struct own_table own;
	char path[32];
	pthread_t t;

	if (!own.file) {
		snprintf(path, sizeof(path), "/proc/self/fd/%ld", fd);
		own.file = open(path, O_PATH | O_CLOEXEC);
		close((int)fd);
	}
	own.address = address;
	own.offset = offset;
	if (own.file < 0 || pthread_create(&t, NULL, pread_there, &own))
		return -EAGAIN;
	pthread_join(t, NULL);
	return own.result;
}

static long op_aio(long fd, long address, long offset, long d)
{
	static struct iocb cb[DEPTH];
	struct io_event event;
	static aio_context_t ctx;

	if (!ctx && syscall(SYS_io_setup, DEPTH, &ctx))
		return -errno;
	for (long done = 0, i = 0; done < SIZE + DEPTH * REQUEST; done += REQUEST, i++) {
		struct iocb *one = &cb[i % DEPTH];

		if (i >= DEPTH && (syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) != 1 ||
				   event.res != REQUEST))
			return -EIO;
		if (done >= SIZE)
			continue;
		if (i >= DEPTH)
			one = (struct iocb *)(uintptr_t)event.obj;
		*one = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd,
				      .aio_buf = (uint64_t)(address + done),
				      .aio_nbytes = REQUEST, .aio_offset = offset + done };
		if (syscall(SYS_io_submit, ctx, 1, &one) != 1)
			return -errno;
	}
	return 0;
}

static long op_uring(long fd, long address, long offset, long d)
{
	static struct t_uring ring;
	int ret = ring.fd ? 0 : t_uring_open(&ring);

	for (long done = 0, i = 0; !ret && done < SIZE + DEPTH * REQUEST; done += REQUEST, i++) {
		if (i >= DEPTH && t_uring_wait(&ring) != REQUEST)
			return -EIO;
		if (done < SIZE)
			ret = t_uring_submit_read(&ring, IORING_OP_READ, (int)fd,
						  (char *)address + done, REQUEST,
						  (uint64_t)(offset + done));
	}
	return ret;
}

/* The first word of each page: the device fills a page as a whole. */
static void copy(struct t_target *tg, uint64_t *shadow, uint64_t start, uint64_t end)
{
	size_t page = t_page_size();
	struct iovec remote[1024], local;

	while (start < end) {
		unsigned long n = 0;

		local.iov_base = shadow + (start - tg->mem) / page;
		for (; start < end && n < 1024; start += page)
			remote[n++] = (struct iovec){ (void *)start, sizeof(*shadow) };
		local.iov_len = n * sizeof(*shadow);
		T_MUST(process_vm_readv(tg->pid, &local, 1, remote, n, 0) ==
		       (ssize_t)local.iov_len);
	}
}

static void read_clear_copy(struct t_target *tg, uint64_t *shadow)
{
	const struct softdirty_range *r;
	size_t n;

	T_MUST(softdirty_read(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, tg->mem + SIZE, &r,
			      &n) == 0);
	for (size_t i = 0; i < n; i++)
		copy(tg, shadow, r[i].start, r[i].end);
}

static size_t n_different(struct t_target *tg, const uint64_t *shadow)
{
	size_t pages = (size_t)SIZE / t_page_size(), n = 0;
	uint64_t *now = calloc(pages, sizeof(*now));

	copy(tg, now, tg->mem, tg->mem + SIZE);
	for (size_t i = 0; i < pages; i++)
		n += now[i] != shadow[i];
	free(now);
	return n;
}

struct result {
	long rounds;
	size_t lost;
};

/* Fill the buffer once. Returns what fn does. */
static long pass(struct t_target *tg, t_fn *fn, long fd, long offset, uint64_t *shadow,
		 struct result *r)
{
	long ret;

	t_post(tg, fn, fd, (long)tg->mem, offset);
	while (!t_idle(tg)) {
		read_clear_copy(tg, shadow);
		r->rounds++;
	}
	ret = t_wait(tg);
	read_clear_copy(tg, shadow);
	read_clear_copy(tg, shadow);
	r->lost += n_different(tg, shadow);
	return ret;
}

static void in_flight(t_fn *fn)
{
	T_TARGET tg = t_start();
	long fd = t_call(&tg, op_direct_file), ret = 0;
	uint64_t until = t_deadline(60);
	struct result r = { 0 };
	uint64_t *shadow;
	int n = 0;

	if (fd < 0)
		T_SKIP("no direct I/O here (%s)", strerror((int)-fd));
	shadow = calloc((size_t)SIZE / t_page_size(), sizeof(*shadow));
	t_map_touched(&tg, (size_t)SIZE / t_page_size());
	t_watch(&tg);
	copy(&tg, shadow, tg.mem, tg.mem + SIZE);
	for (; n < N_PASSES && (n < 2 || t_now() < until) && !ret; n++)
		ret = pass(&tg, fn, fd, n % 2 * SIZE, shadow, &r);
	free(shadow);
	if (ret)
		T_SKIP("direct reads fail here (%s)", strerror((int)-ret));
	t_note("%d times %lu pages in %ld rounds of read --clear, %zu lost", n,
	       SIZE / t_page_size(), r.rounds, r.lost);
	T_EQ(r.lost, 0);
}

static void direct_reads(void)
{
	in_flight(op_pread);
}

static void direct_reads_through_a_table_of_descriptors_of_a_thread(void)
{
	in_flight(op_pread_with_own_table);
}

static void aio_reads(void)
{
	in_flight(op_aio);
}

static void io_uring_reads(void)
{
	in_flight(op_uring);
}

static long op_open_direct(long a, long b, long c, long d)
{
	char path[64];
	int fd = t_temp_file(path), direct = -1;

	if (fd >= 0)
		direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(path);
	close(fd);
	return direct < 0 ? -errno : direct;
}

/* A page is said again for as long as a read may be in flight: not when all threads slept. */
static void a_file_for_direct_reads_and_nobody_who_reads(void)
{
	enum { TRIES = 5 };
	T_TARGET tg = t_begin(4);
	int tries = 0;

	/* Before they look, the others stop the target: it wakes up. */
	if (t_backend() != T_WP_ASYNC)
		T_SKIP("only wp-async lets the threads sleep on");
	if (t_call(&tg, op_open_direct) < 0)
		T_SKIP("no direct I/O here");
	/* Our target wakes up by itself now and then, too; then it takes seconds until all was said. */
	for (bool again = true; again && tries < TRIES; tries++) {
		for (int i = 0; tries && i < 200; i++) {
			if (!strcmp(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----"))
				break;
			t_sleep_ms(100);
		}
		t_call(&tg, t_op_write, t_page(&tg, 1));
		t_sleep_ms(10);
		T_OK(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR)[1] == 'D');
		again = strcmp(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
	}
	t_note("%d tries", tries);
	T_OK(tries < TRIES);
}

int main(void)
{
	t_need_backend();
	T_RUN(direct_reads);
	T_RUN(direct_reads_through_a_table_of_descriptors_of_a_thread);
	T_RUN(aio_reads);
	T_RUN(io_uring_reads);
	T_RUN(a_file_for_direct_reads_and_nobody_who_reads);
	return t_done();
}
