/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What calls on a pagemap or clear_refs do: the kernel's own answer first, then our part of it.
 * Must not know who called.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "preload/compat.h"
#include "preload/criu.h"
#include "preload/files.h"
#include "preload/tracked.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool inside __attribute__((tls_model("initial-exec")));

bool sdi_inside(void)
{
	return inside;
}

void sdi_enter(struct sdi_entered *e)
{
	sigset_t all;

	e->err = errno;
	sigfillset(&all);
	/* Faults must reach their handlers: a garbage collector may have protected the buffer. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &all, &e->mask);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &e->cancel);
	pthread_mutex_lock(&lock);
	inside = true;
}

void sdi_leave(const struct sdi_entered *e)
{
	inside = false;
	pthread_mutex_unlock(&lock);
	pthread_setcancelstate(e->cancel, NULL);
	pthread_sigmask(SIG_SETMASK, &e->mask, NULL);
	errno = e->err;
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void after_fork_child(void)
{
	pthread_mutex_unlock(&lock);
	sdi_file_forked();
}

__attribute__((constructor)) static void start(void)
{
	struct sdi_entered e;

	sdi_enter(&e);
	/* Each open() asks: find out before the program is in a sandbox or on a small stack. */
	sdi_is_criu();
	sdi_file_start();
	sdi_leave(&e);
	pthread_atfork(before_fork, after_fork, after_fork_child);
}

/* Entries never straddle segments: the kernel takes none whose size is not a multiple of 8. */
static void correct(const struct sdi_file *f, const struct iovec *iov, uint64_t first_page,
		    size_t got)
{
	for (; got; iov++) {
		size_t n = MIN(got, iov->iov_len) / sizeof(uint64_t);

		if (n)
			sdi_tracked_entries(f, first_page, iov->iov_base, n);
		first_page += n;
		got -= MIN(got, iov->iov_len);
	}
}

ssize_t sdi_pagemap_read(const struct sdi_file *f, int fd, const struct iovec *iov, int n,
			 off64_t offset, int flags)
{
	const struct sdi_real *real = sdi_real();
	off64_t at = offset >= 0 ? offset : lseek64(fd, 0, SEEK_CUR);
	struct sdi_entered e;
	ssize_t got;

	sdi_enter(&e);
	got = flags ? real->preadv64v2(fd, iov, n, at, flags) : real->preadv64(fd, iov, n, at);
	if (got < 0)
		e.err = errno;
	else
		correct(f, iov, at / sizeof(uint64_t), got);
	if (got > 0 && offset < 0)
		lseek64(fd, at + got, SEEK_SET);
	sdi_leave(&e);
	return got;
}

/* Our memory, but perhaps not there: EFAULT instead of a crash. */
static bool fetch(void *to, const void *from, size_t size)
{
	struct iovec l = { to, size }, r = { (void *)from, size };

	return process_vm_readv(getpid(), &l, 1, &r, 1, 0) == (ssize_t)size;
}

static bool store(void *to, const void *from, size_t size)
{
	struct iovec l = { (void *)from, size }, r = { to, size };

	return process_vm_writev(getpid(), &l, 1, &r, 1, 0) == (ssize_t)size;
}

static bool is_open_for_writing(int fd)
{
	int flags = sdi_real()->fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH);
}

static ssize_t write_one(const struct sdi_file *f, int fd, const struct iovec *iov)
{
	size_t n = MIN(iov->iov_len, (size_t)SDI_CLEAR_REFS_MAX);
	struct sdi_entered e;
	char text[SDI_CLEAR_REFS_MAX];
	int err;

	if (!fetch(text, iov->iov_base, n) || sdi_clear_refs_number(text, n) != 4 ||
	    !is_open_for_writing(fd))
		return sdi_real()->write(fd, iov->iov_base, iov->iov_len);
	sdi_enter(&e);
	err = sdi_tracked_clear(f);
	if (err)
		e.err = -err;
	sdi_leave(&e);
	return err ? -1 : (ssize_t)n;
}

/* The kernel takes each segment for a command of its own, and refuses a list that is no memory. */
ssize_t sdi_clear_refs_write(const struct sdi_file *f, int fd, const struct iovec *iov, int n)
{
	ssize_t total = 0, got = 0;
	struct iovec one;

	if (n < 0) {
		errno = EINVAL;
		return -1;
	}
	for (int i = 0; i < n && got >= 0; i++) {
		bool readable = fetch(&one, &iov[i], sizeof(one));

		got = readable ? write_one(f, fd, &one) :
				 sdi_real()->writev(fd, &iov[i], n - i);
		if (got > 0)
			total += got;
		if (!readable)
			break;
	}
	return total ? total : got;
}

int sdi_pagemap_ioctl(const struct sdi_file *f, int fd, void *user)
{
	struct pm_scan_arg *walk_end_of = user;
	struct pm_scan_arg arg;
	struct sdi_entered e;
	int ret;

	if (!fetch(&arg, user, sizeof(arg)) || arg.size != sizeof(arg) || !sdi_scan_concerns(&arg))
		return sdi_real()->ioctl(fd, PAGEMAP_SCAN, user);
	sdi_enter(&e);
	ret = sdi_tracked_scan(f, fd, &arg);
	if (ret >= 0 && !store(&walk_end_of->walk_end, &arg.walk_end, sizeof(arg.walk_end)))
		ret = -EFAULT;
	if (ret < 0)
		e.err = -ret;
	sdi_leave(&e);
	return ret < 0 ? -1 : ret;
}
