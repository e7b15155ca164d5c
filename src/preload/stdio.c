/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams on pagemap and clear_refs. libc reads and writes the descriptor of a stream by itself, where
 * nobody can get in between; so such a stream is replaced by one that comes to our calls.
 * Must not know what those do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "preload/compat.h"
#include "preload/files.h"

/* Our streams and the descriptors under them, for fileno(). */
struct stream {
	struct stream *next;
	FILE *f;
	int fd;
	char entry[8];		/* the last one, of which the stream */
	size_t left;		/* has not got so many bytes yet */
};
static struct stream *streams;

/* A stream without a buffer asks byte by byte. */
static ssize_t read_left(struct stream *s, char *buf, size_t n)
{
	if (n > s->left)
		n = s->left;
	memcpy(buf, s->entry + sizeof(s->entry) - s->left, n);
	s->left -= n;
	return n;
}

/* The kernel gives whole entries only. */
static ssize_t cookie_read(void *cookie, char *buf, size_t n)
{
	struct stream *s = cookie;
	ssize_t got;

	if (s->left)
		return read_left(s, buf, n);
	if (n >= sizeof(s->entry))
		return read(s->fd, buf, n - n % sizeof(s->entry));
	got = read(s->fd, s->entry, sizeof(s->entry));
	if (got != sizeof(s->entry))
		return got;
	s->left = sizeof(s->entry);
	return read_left(s, buf, n);
}

static ssize_t cookie_write(void *cookie, const char *buf, size_t n)
{
	ssize_t done = write(((struct stream *)cookie)->fd, buf, n);

	return done < 0 ? 0 : done;
}

static int cookie_seek(void *cookie, off64_t *offset, int whence)
{
	struct stream *s = cookie;
	off64_t back = whence == SEEK_CUR ? (off64_t)s->left : 0;
	off64_t at = lseek64(s->fd, *offset - back, whence);

	if (at < 0)
		return -1;
	s->left = 0;
	*offset = at;
	return 0;
}

static void unlink_stream(struct stream *s)
{
	struct sdi_entered e;

	sdi_enter(&e);
	for (struct stream **p = &streams; *p; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			break;
		}
	sdi_leave(&e);
}

static int cookie_close(void *cookie)
{
	struct stream *s = cookie;
	int ret = close(s->fd);

	unlink_stream(s);
	free(s);
	return ret;
}

/* A stream of ours on fd, which it owns then. NULL and errno if that fails. */
static FILE *make(int fd, const char *mode)
{
	cookie_io_functions_t io = { cookie_read, cookie_write, cookie_seek, cookie_close };
	struct stream *s = calloc(1, sizeof(*s));
	struct sdi_entered e;

	if (!s)
		return NULL;
	s->fd = fd;
	s->f = fopencookie(s, mode, io);
	if (!s->f) {
		free(s);
		return NULL;
	}
	sdi_enter(&e);
	s->next = streams;
	streams = s;
	sdi_leave(&e);
	return s->f;
}

/* libc has opened a stream: take it over if it leads to one of our files. */
static FILE *take_over(FILE *f, const char *path, const char *mode)
{
	struct sdi_file file;
	FILE *ours;
	int fd;

	if (!f || sdi_inside())
		return f;
	fd = sdi_real()->fileno(f);
	sdi_file_opened(fd, path);
	if (!sdi_file_hint(fd) || sdi_file_look(fd, &file) == SDI_FILE_OTHER)
		return f;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && !strchr(mode, 'e'))
		fcntl(fd, F_SETFD, 0);
	fclose(f);
	ours = fd < 0 ? NULL : make(fd, mode);
	if (!ours && fd >= 0)
		close(fd);
	return ours;
}

#define FOPEN(name) \
EXPORT FILE *name(const char *path, const char *mode) \
{ \
	return take_over(sdi_real()->name(path, mode), path, mode); \
}
FOPEN(fopen)
FOPEN(fopen64)

EXPORT FILE *fdopen(int fd, const char *mode)
{
	struct sdi_file file;

	if (!sdi_file_hint(fd) || sdi_inside() || sdi_file_look(fd, &file) == SDI_FILE_OTHER)
		return sdi_real()->fdopen(fd, mode);
	return make(fd, mode);
}

/*
 * The caller goes on with its old FILE, or with what the standard name points to: only the latter can
 * be made ours.
 */
static FILE *reopened(FILE *f, const char *path, const char *mode)
{
	FILE **standard = f == stdin ? &stdin : f == stdout ? &stdout : f == stderr ? &stderr : NULL;

	if (!f || !standard)
		return f;
	f = take_over(f, path, mode);
	if (f)
		*standard = f;
	return f;
}

#define FREOPEN(name) \
EXPORT FILE *name(const char *path, const char *mode, FILE *f) \
{ \
	return reopened(sdi_real()->name(path, mode, f), path, mode); \
}
FREOPEN(freopen)
FREOPEN(freopen64)

static int find(FILE *f)
{
	struct sdi_entered e;
	int fd = -1;

	if (sdi_inside() || !__atomic_load_n(&streams, __ATOMIC_RELAXED))
		return -1;
	sdi_enter(&e);
	for (struct stream *s = streams; s; s = s->next)
		if (s->f == f)
			fd = s->fd;
	sdi_leave(&e);
	return fd;
}

#define FILENO(name) \
EXPORT int name(FILE *f) \
{ \
	int fd = find(f); \
	return fd >= 0 ? fd : sdi_real()->name(f); \
}
FILENO(fileno)
FILENO(fileno_unlocked)
