/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plain read from FUSE in flight. With FOPEN_DIRECT_IO the kernel pins the buffer, and the server
 * fills it when it likes: after the interval in which the write fault of the pin was reported. The
 * server is the test itself, which also shows that looking at the target never waits for one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "target.h"

#define SIZE 4096

static char dir[] = "/tmp/softdirty-fuse-XXXXXX", file[64];

union body {
	struct fuse_init_out init;
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	struct fuse_open_out open;
	char data[SIZE];
};

struct server {
	int fd;
	struct {
		struct fuse_in_header head;
		char body[2 * FUSE_MIN_READ_BUFFER];
	} in;
};

/* The directory is inode 1, its only file 2. */
static struct fuse_attr attributes(uint64_t inode)
{
	return (struct fuse_attr){ .ino = inode, .nlink = 1, .size = inode == 1 ? 0 : SIZE,
				   .mode = inode == 1 ? S_IFDIR | 0755 : S_IFREG | 0444 };
}

static void reply(const struct server *s, int err, const void *body, size_t size)
{
	struct fuse_out_header head = { (uint32_t)(sizeof(head) + size), err, s->in.head.unique };
	struct iovec v[] = { { &head, sizeof(head) }, { (void *)body, size } };

	T_MUST(writev(s->fd, v, size ? 2 : 1) == (ssize_t)head.len);
}

static void answer(const struct server *s)
{
	union body out = { .data = { 0 } };

	switch (s->in.head.opcode) {
	case FUSE_INIT:
		out.init = (struct fuse_init_out){ .major = FUSE_KERNEL_VERSION, .minor = 31,
						   .max_write = SIZE };
		return reply(s, 0, &out, sizeof(out.init));
	case FUSE_LOOKUP:
		out.entry = (struct fuse_entry_out){ .nodeid = 2, .attr = attributes(2) };
		return reply(s, 0, &out, sizeof(out.entry));
	case FUSE_GETATTR:
		out.attr = (struct fuse_attr_out){ .attr = attributes(s->in.head.nodeid) };
		return reply(s, 0, &out, sizeof(out.attr));
	case FUSE_OPEN:
		out.open.open_flags = FOPEN_DIRECT_IO;
		return reply(s, 0, &out, sizeof(out.open));
	case FUSE_READ:
		memset(out.data, 0x55, SIZE);
		return reply(s, 0, &out, SIZE);
	case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT:
		return;
	default:
		reply(s, -ENOSYS, NULL, 0);
	}
}

/* Answer until the target waits for data (true) or is ready. */
static bool serve(struct server *s, struct t_target *tg)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	while (!t_idle(tg)) {
		if (poll(&p, 1, 10) <= 0)
			continue;
		if (read(s->fd, &s->in, sizeof(s->in)) < (ssize_t)sizeof(s->in.head))
			break;
		if (s->in.head.opcode == FUSE_READ)
			return true;
		answer(s);
	}
	return false;
}

static long op_open(long a, long b, long c, long d)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static long op_pread(long fd, long address, long size, long d)
{
	ssize_t n = pread((int)fd, (void *)address, (size_t)size, 0);

	return n < 0 ? -errno : n;
}

/* In a namespace of our own, so that no mount is left whatever happens. 0 or -errno. */
static int begin_to_serve(struct server *s)
{
	char options[64];

	s->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		return -errno;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", s->fd);
	return mount("softdirty", dir, "fuse", MS_NOSUID | MS_NODEV, options) ? -errno : 0;
}

static void a_read_answered_in_a_later_interval(void)
{
	T_TARGET tg = t_begin(4);
	struct server s;
	int err = begin_to_serve(&s);
	long fd;

	if (err)
		T_SKIP("no FUSE here (%s)", strerror(-err));
	if (t_backend() == T_SOFT_DIRTY)
		T_SKIP("a read that waits for its server does not stop");
	t_post(&tg, op_open, 0, 0, 0);
	T_OK(!serve(&s, &tg));
	fd = t_wait(&tg);
	T_OK(fd >= 0);
	t_post(&tg, op_pread, fd, (long)t_page(&tg, 1), SIZE);
	if (T_OK(serve(&s, &tg))) {
		/* The content is still what it was. */
		T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR),
			t_backend() == T_HASH ? "----" : "-D--");
		answer(&s);
	}
	T_EQ(t_wait(&tg), SIZE);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "-D--");
	umount2(dir, MNT_DETACH);
	close(s.fd);
}

int main(void)
{
	t_need_backend();
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		t_skip_all("mounting is not allowed (%s)", strerror(errno));
	T_MUST(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/file", dir);
	T_RUN(a_read_answered_in_a_later_interval);
	rmdir(dir);
	return t_done();
}
