/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interposed calls. Each asks one bit whether its descriptor is known to be something else, and
 * is the real call then. Must not know what happens to those that are not.
 */
#include "preload/compat.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>

#include "preload/criu.h"
#include "preload/files.h"
#include "preload/tracked.h"

const struct sdi_real *sdi_real(void)
{
	static struct sdi_real real;
	static bool ready;

	if (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
#define X(name) real.name = dlsym(RTLD_NEXT, #name);
		SDI_INTERPOSED(X)
#undef X
		__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
	}
	return &real;
}

/* Not of that kind, or a call of our own. */
static bool other(int fd, enum sdi_file_kind kind, struct sdi_file *f)
{
	return !sdi_file_hint(fd) || sdi_inside() || sdi_file_look(fd, f) != kind;
}

/* --- opening -------------------------------------------------------------------------------- */

static int opened(int fd, const char *path)
{
	if (!sdi_inside())
		sdi_file_opened(fd, path);
	return fd;
}

static bool denied(const char *path)
{
	if (sdi_inside() || !path || !sdi_criu_is_cache(path))
		return false;
	errno = ENOENT;
	return true;
}

#define MODE(flags, mode) \
	do { \
		va_list ap_; \
		va_start(ap_, flags); \
		mode = __OPEN_NEEDS_MODE(flags) ? va_arg(ap_, mode_t) : 0; \
		va_end(ap_); \
	} while (0)

#define OPEN(name) \
EXPORT int name(const char *path, int flags, ...) \
{ \
	mode_t mode; \
	MODE(flags, mode); \
	return denied(path) ? -1 : opened(sdi_real()->name(path, flags, mode), path); \
}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
EXPORT int name(int dir, const char *path, int flags, ...) \
{ \
	mode_t mode; \
	MODE(flags, mode); \
	return denied(path) ? -1 : opened(sdi_real()->name(dir, path, flags, mode), path); \
}
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name) \
EXPORT int name(const char *path, mode_t mode) \
{ \
	return denied(path) ? -1 : opened(sdi_real()->name(path, mode), path); \
}
CREAT(creat)
CREAT(creat64)

#define OPEN_2(name) \
EXPORT int name(const char *path, int flags) \
{ \
	return denied(path) ? -1 : opened(sdi_real()->name(path, flags), path); \
}
OPEN_2(__open_2)
OPEN_2(__open64_2)

#define OPENAT_2(name) \
EXPORT int name(int dir, const char *path, int flags) \
{ \
	return denied(path) ? -1 : opened(sdi_real()->name(dir, path, flags), path); \
}
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)

/* --- passing on --------------------------------------------------------------------------- */

static int copied(int from, int to)
{
	sdi_file_copied(from, to);
	return to;
}

EXPORT int dup(int fd)
{
	return copied(fd, sdi_real()->dup(fd));
}

EXPORT int dup2(int fd, int to)
{
	return copied(fd, sdi_real()->dup2(fd, to));
}

EXPORT int dup3(int fd, int to, int flags)
{
	return copied(fd, sdi_real()->dup3(fd, to, flags));
}

#define FCNTL(name) \
EXPORT int name(int fd, int cmd, ...) \
{ \
	va_list ap; \
	va_start(ap, cmd); \
	void *arg = va_arg(ap, void *); \
	va_end(ap); \
	int ret = sdi_real()->name(fd, cmd, arg); \
	return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC ? copied(fd, ret) : ret; \
}
FCNTL(fcntl)
FCNTL(fcntl64)

static void look_at_received(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		for (size_t at = CMSG_LEN(0); c->cmsg_level == SOL_SOCKET &&
		     c->cmsg_type == SCM_RIGHTS && at + sizeof(int) <= c->cmsg_len; at += sizeof(int))
			sdi_file_opened(*(int *)((char *)c + at), NULL);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t n = sdi_real()->recvmsg(fd, m, flags);

	if (n >= 0 && m->msg_controllen && !sdi_inside())
		look_at_received(m);
	return n;
}

/* --- reading -------------------------------------------------------------------------------- */

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	struct sdi_file f;

	if (other(fd, SDI_FILE_PAGEMAP, &f))
		return sdi_real()->read(fd, buf, n);
	return sdi_pagemap_read(&f, fd, &(struct iovec){ buf, n }, 1, -1, 0);
}

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t size)
{
	return n > size ? sdi_real()->__read_chk(fd, buf, n, size) : read(fd, buf, n);
}

/* A negative offset is the kernel's to refuse. */
#define PREAD(name, off) \
EXPORT ssize_t name(int fd, void *buf, size_t n, off offset) \
{ \
	struct sdi_file f; \
	if (offset < 0 || other(fd, SDI_FILE_PAGEMAP, &f)) \
		return sdi_real()->name(fd, buf, n, offset); \
	return sdi_pagemap_read(&f, fd, &(struct iovec){ buf, n }, 1, offset, 0); \
}
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define PREAD_CHK(name, plain, off) \
EXPORT ssize_t name(int fd, void *buf, size_t n, off offset, size_t size) \
{ \
	if (n > size) \
		return sdi_real()->name(fd, buf, n, offset, size); \
	return plain(fd, buf, n, offset); \
}
PREAD_CHK(__pread_chk, pread, off_t)
PREAD_CHK(__pread64_chk, pread64, off64_t)

EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	struct sdi_file f;

	if (other(fd, SDI_FILE_PAGEMAP, &f))
		return sdi_real()->readv(fd, iov, n);
	return sdi_pagemap_read(&f, fd, iov, n, -1, 0);
}

#define PREADV(name, off) \
EXPORT ssize_t name(int fd, const struct iovec *iov, int n, off offset) \
{ \
	struct sdi_file f; \
	if (offset < 0 || other(fd, SDI_FILE_PAGEMAP, &f)) \
		return sdi_real()->name(fd, iov, n, offset); \
	return sdi_pagemap_read(&f, fd, iov, n, offset, 0); \
}
PREADV(preadv, off_t)
PREADV(preadv64, off64_t)

#define PREADV2(name, off) \
EXPORT ssize_t name(int fd, const struct iovec *iov, int n, off offset, int flags) \
{ \
	struct sdi_file f; \
	if (offset < -1 || other(fd, SDI_FILE_PAGEMAP, &f)) \
		return sdi_real()->name(fd, iov, n, offset, flags); \
	return sdi_pagemap_read(&f, fd, iov, n, offset, flags); \
}
PREADV2(preadv2, off_t)
PREADV2(preadv64v2, off64_t)

/* --- writing; the kernel ignores where in clear_refs ---------------------------------------- */

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	struct sdi_file f;

	if (other(fd, SDI_FILE_CLEAR_REFS, &f))
		return sdi_real()->write(fd, buf, n);
	return sdi_clear_refs_write(&f, fd, &(struct iovec){ (void *)buf, n }, 1);
}

#define PWRITE(name, off) \
EXPORT ssize_t name(int fd, const void *buf, size_t n, off offset) \
{ \
	struct sdi_file f; \
	if (offset < 0 || other(fd, SDI_FILE_CLEAR_REFS, &f)) \
		return sdi_real()->name(fd, buf, n, offset); \
	return sdi_clear_refs_write(&f, fd, &(struct iovec){ (void *)buf, n }, 1); \
}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct sdi_file f;

	if (other(fd, SDI_FILE_CLEAR_REFS, &f))
		return sdi_real()->writev(fd, iov, n);
	return sdi_clear_refs_write(&f, fd, iov, n);
}

#define PWRITEV(name, off) \
EXPORT ssize_t name(int fd, const struct iovec *iov, int n, off offset) \
{ \
	struct sdi_file f; \
	if (offset < 0 || other(fd, SDI_FILE_CLEAR_REFS, &f)) \
		return sdi_real()->name(fd, iov, n, offset); \
	return sdi_clear_refs_write(&f, fd, iov, n); \
}
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define PWRITEV2(name, off) \
EXPORT ssize_t name(int fd, const struct iovec *iov, int n, off offset, int flags) \
{ \
	struct sdi_file f; \
	if (flags || offset < -1 || other(fd, SDI_FILE_CLEAR_REFS, &f)) \
		return sdi_real()->name(fd, iov, n, offset, flags); \
	return sdi_clear_refs_write(&f, fd, iov, n); \
}
PWRITEV2(pwritev2, off_t)
PWRITEV2(pwritev64v2, off64_t)

/* --- the rest ------------------------------------------------------------------------------- */

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct sdi_file f;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request != PAGEMAP_SCAN || other(fd, SDI_FILE_PAGEMAP, &f))
		return sdi_real()->ioctl(fd, request, arg);
	return sdi_pagemap_ioctl(&f, fd, arg);
}

EXPORT long ptrace(enum __ptrace_request request, ...)
{
	struct sdi_entered e;
	va_list ap;
	pid_t pid;
	void *addr, *data;

	va_start(ap, request);
	pid = va_arg(ap, pid_t);
	addr = va_arg(ap, void *);
	data = va_arg(ap, void *);
	va_end(ap);
	if (!sdi_inside() && sdi_criu_freezes(request, pid, data)) {
		sdi_enter(&e);
		sdi_tracked_seized(pid);
		sdi_leave(&e);
	}
	return sdi_real()->ptrace(request, pid, addr, data);
}
