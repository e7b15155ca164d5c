/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The libc calls that are interposed, and the real ones behind them. One lock for all slow paths;
 * calls that the library makes itself go straight through. Must not know what soft-dirty is.
 */
#ifndef SDI_PRELOAD_COMPAT_H
#define SDI_PRELOAD_COMPAT_H

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Checked variants, which <unistd.h> declares only to programs built with _FORTIFY_SOURCE. */
EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);
EXPORT ssize_t __pread_chk(int fd, void *buf, size_t n, off_t offset, size_t size);
EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t offset, size_t size);
EXPORT int __open_2(const char *path, int flags);
EXPORT int __open64_2(const char *path, int flags);
EXPORT int __openat_2(int dir, const char *path, int flags);
EXPORT int __openat64_2(int dir, const char *path, int flags);

#define SDI_INTERPOSED(X) \
	X(open) X(open64) X(openat) X(openat64) X(creat) X(creat64) \
	X(__open_2) X(__open64_2) X(__openat_2) X(__openat64_2) \
	X(dup) X(dup2) X(dup3) X(fcntl) X(fcntl64) X(recvmsg) \
	X(read) X(pread) X(pread64) X(readv) X(preadv) X(preadv64) X(preadv2) X(preadv64v2) \
	X(__read_chk) X(__pread_chk) X(__pread64_chk) \
	X(write) X(pwrite) X(pwrite64) X(writev) X(pwritev) X(pwritev64) X(pwritev2) \
	X(pwritev64v2) X(ioctl) X(ptrace) \
	X(fopen) X(fopen64) X(fdopen) X(freopen) X(freopen64) X(fileno) X(fileno_unlocked)

struct sdi_real {
#define X(name) __typeof__(name) *name;
	SDI_INTERPOSED(X)
#undef X
};

/* The next definition of each; NULL where this libc has none. */
const struct sdi_real *sdi_real(void);

/* Is this a call of our own, from inside a slow path? */
bool sdi_inside(void);

/*
 * Around each slow path: one thread at a time, no signal handler and no cancellation in between, so
 * that neither can leave the lock taken. Leaves errno alone.
 */
struct sdi_entered {
	sigset_t mask;
	int cancel, err;
};
void sdi_enter(struct sdi_entered *e);
void sdi_leave(const struct sdi_entered *e);

/* What a read or a write of such a descriptor does; offset -1: at its position. As preadv2(). */
struct sdi_file;
ssize_t sdi_pagemap_read(const struct sdi_file *f, int fd, const struct iovec *iov, int n,
			 off64_t offset, int flags);
ssize_t sdi_clear_refs_write(const struct sdi_file *f, int fd, const struct iovec *iov, int n);
int sdi_pagemap_ioctl(const struct sdi_file *f, int fd, void *arg);

#endif
