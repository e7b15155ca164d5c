/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories and attributes. Whoever looks sees the processes whose real pagemap it could open,
 * each time anew: nothing is cached, neither here nor by the kernel.
 */
#include "procview/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "procview/caller.h"
#include "procview/proc.h"

const char *fs_name(enum fs_kind kind)
{
	static const char *const names[] = {
		[FS_CLEAR_REFS] = "clear_refs", [FS_PAGEMAP] = "pagemap",
	};

	return kind <= FS_PAGEMAP ? names[kind] : NULL;
}

/* Begin to look with the eyes of who asks. False: it has been answered. */
static bool enter(fuse_req_t req, struct caller *c)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	int err = caller_init(c, ctx->uid, ctx->gid, ctx->pid);

	if (!err)
		err = caller_enter(c);
	if (!err)
		return true;
	caller_fini(c);
	fuse_reply_err(req, -err);
	return false;
}

static void leave(struct caller *c)
{
	caller_leave();
	caller_fini(c);
}

/* --- attributes ----------------------------------------------------------------------------- */

static int get_attr(fuse_ino_t ino, struct stat *st)
{
	int err = 0;

	memset(st, 0, sizeof(*st));
	if (ino == FS_ROOT || ino == FS_SELF) {
		st->st_mode = ino == FS_ROOT ? S_IFDIR | 0555 : S_IFLNK | 0777;
		st->st_nlink = ino == FS_ROOT ? 2 : 1;
	} else {
		err = proc_stat(fs_pid(ino), fs_name(fs_kind(ino)), st);
		if (fs_kind(ino) == FS_DIR)
			st->st_nlink = 2;
	}
	st->st_ino = ino;
	return err;
}

static void reply_entry(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_entry_param e = { .ino = ino };
	int err = ino ? get_attr(ino, &e.attr) : -ENOENT;

	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, &e);
}

static fuse_ino_t find_file(pid_t pid, const char *name)
{
	for (int kind = FS_CLEAR_REFS; kind <= FS_PAGEMAP; kind++)
		if (!strcmp(name, fs_name(kind)))
			return fs_ino(pid, kind);
	return 0;
}

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_ino_t ino = 0;
	pid_t pid = parent == FS_ROOT ? proc_pid(name) : fs_pid(parent);
	struct caller c;

	if (parent == FS_ROOT && !strcmp(name, "self"))
		ino = FS_SELF;
	else if (parent != FS_ROOT)
		ino = find_file(pid, name);
	else if (pid && proc_is_leader(pid))
		ino = fs_ino(pid, FS_DIR);
	if (ino >= FS_FIRST) {
		if (!enter(req, &c))
			return;
		if (!proc_is_visible(pid))
			ino = 0;
		leave(&c);
	}
	reply_entry(req, ino);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int err = get_attr(ino, &st);

	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &st, 0);
}

static int check_access(fuse_ino_t ino, int mask)
{
	if (ino < FS_FIRST)
		return mask & W_OK ? -EACCES : 0;
	return proc_access(fs_pid(ino), fs_name(fs_kind(ino)), mask);
}

static void fs_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct caller c;

	if (!enter(req, &c))
		return;
	int err = check_access(ino, mask);
	leave(&c);
	fuse_reply_err(req, -err);
}

/* "echo 4 >" truncates, which does nothing in /proc; all else is refused there, too. */
static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct caller c;
	int err;

	if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (!enter(req, &c))
		return;
	err = check_access(ino, W_OK);
	leave(&c);
	if (err)
		fuse_reply_err(req, -err);
	else
		fs_getattr(req, ino, fi);
}

static void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct caller c;
	char text[16];
	int err = caller_init(&c, ctx->uid, ctx->gid, ctx->pid);

	if (!err && !c.tgid)
		err = -ENOENT;
	snprintf(text, sizeof(text), "%d", c.tgid);
	caller_fini(&c);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_readlink(req, text);
}

/* --- directories ---------------------------------------------------------------------------- */

struct listing {
	fuse_req_t req;
	char *buf;
	size_t used, size;
};

/* False: no room. An entry's offset says where the next call goes on: behind it. */
static bool list(struct listing *l, const char *name, fuse_ino_t ino, mode_t mode, off_t offset)
{
	struct stat st = { .st_ino = ino, .st_mode = mode };
	size_t n = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, name, &st,
				     offset);

	if (n > l->size - l->used)
		return false;
	l->used += n;
	return true;
}

/* Offsets 1 to 3; processes follow with FS_FIRST + pid, in the order of /proc. */
static void list_root(struct listing *l, off_t after)
{
	DIR *d = proc_list();
	struct dirent *e;
	bool room = (after >= 1 || list(l, ".", FS_ROOT, S_IFDIR, 1)) &&
		    (after >= 2 || list(l, "..", FS_ROOT, S_IFDIR, 2)) &&
		    (after >= 3 || list(l, "self", FS_SELF, S_IFLNK, 3));

	while (d && room && (e = readdir(d))) {
		pid_t pid = proc_pid(e->d_name);

		if (pid && FS_FIRST + (off_t)pid > after && proc_is_visible(pid))
			room = list(l, e->d_name, fs_ino(pid, FS_DIR), S_IFDIR, FS_FIRST + pid);
	}
	sdi_cleanup_dir(&d);
}

static void list_process(struct listing *l, pid_t pid, off_t after)
{
	bool room = (after >= 1 || list(l, ".", fs_ino(pid, FS_DIR), S_IFDIR, 1)) &&
		    (after >= 2 || list(l, "..", FS_ROOT, S_IFDIR, 2));

	for (int kind = FS_CLEAR_REFS; room && kind <= FS_PAGEMAP; kind++)
		if (after < 2 + kind)
			room = list(l, fs_name(kind), fs_ino(pid, kind), S_IFREG, 2 + kind);
}

static void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	autofree char *buf = malloc(size);
	struct listing l = { .req = req, .buf = buf, .size = size };
	struct caller c;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (!enter(req, &c))
		return;
	if (ino == FS_ROOT)
		list_root(&l, offset);
	else
		list_process(&l, fs_pid(ino), offset);
	leave(&c);
	fuse_reply_buf(req, buf, l.used);
}

const struct fuse_lowlevel_ops fs_ops = {
	.lookup = fs_lookup, .getattr = fs_getattr, .setattr = fs_setattr, .access = fs_access,
	.readlink = fs_readlink, .readdir = fs_readdir, .open = fs_open, .release = fs_release,
	.read = fs_read, .write = fs_write, .ioctl = fs_ioctl,
};
