/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file system: what each FUSE request does. Must not know how it is mounted. */
#ifndef SDI_PROCVIEW_FS_H
#define SDI_PROCVIEW_FS_H

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>
#include <stdbool.h>

#include "procview/watched.h"

extern const struct fuse_lowlevel_ops fs_ops;

/*
 * An inode is a number that says which file it is; nothing is remembered for it.
 *
 *	1	the root directory, with "self" and a directory for each process
 *	2	self
 *	pid * 8 + FS_DIR, FS_CLEAR_REFS or FS_PAGEMAP
 */
enum fs_kind { FS_DIR, FS_CLEAR_REFS, FS_PAGEMAP };
enum { FS_ROOT = FUSE_ROOT_ID, FS_SELF = 2, FS_FIRST = 8 };

static inline fuse_ino_t fs_ino(pid_t pid, enum fs_kind kind)
{
	return (fuse_ino_t)pid * FS_FIRST + kind;
}

static inline pid_t fs_pid(fuse_ino_t ino)
{
	return ino / FS_FIRST;
}

static inline enum fs_kind fs_kind(fuse_ino_t ino)
{
	return ino % FS_FIRST;
}

/* "clear_refs", "pagemap"; NULL for a directory. */
const char *fs_name(enum fs_kind kind);

/* Must be called before all else: does the kernel's own soft-dirty bit serve best here? */
void fs_setup(void);

/* When no thread serves any more. */
void fs_finish(void);

/* file.c: open files. */
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi);
void fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
	      struct fuse_file_info *fi);
void fs_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_size, size_t out_size);

#endif
