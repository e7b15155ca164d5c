/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open files. Each has the real file behind it, opened with the caller's rights: so the kernel
 * itself decides who may read, who may clear, and who sees page frame numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "emulate/emulate.h"
#include "procview/borrow.h"
#include "procview/caller.h"
#include "procview/fs.h"
#include "procview/proc.h"

struct file {
	struct file *next, **link;	/* among all that are open */
	int real;
	struct watched *w;
	char proc[32];			/* "/proc/123" */
};

/*
 * Where the kernel's own bit is what the library would use, a mount can pass everything on: that is
 * exact, and works for processes that clear themselves, which cannot be stopped while they wait for
 * our answer.
 */
static bool native;

/* The library will use wp-async, for which a process has to be stopped once. */
static bool needs_uffd;

static const char *backend(void)
{
	const char *forced = secure_getenv("SOFTDIRTY_BACKEND");
	const struct softdirty_backend *b;
	size_t n;

	if (forced && *forced && strcmp(forced, "auto"))
		return forced;
	if (softdirty_check(0, &b, &n))
		return "";
	while (n && !b->works) {
		b++;
		n--;
	}
	return n ? b->name : "";
}

void fs_setup(void)
{
	const char *name = backend();

	native = !strcmp(name, "soft-dirty");
	needs_uffd = !strcmp(name, "wp-async");
}

static struct file *files;
static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;

static struct file *file(const struct fuse_file_info *fi)
{
	return (struct file *)(uintptr_t)fi->fh;
}

/* --- open and release ----------------------------------------------------------------------- */

static void enlist(struct file *f)
{
	pthread_mutex_lock(&files_lock);
	f->link = &files;
	f->next = files;
	if (files)
		files->link = &f->next;
	files = f;
	pthread_mutex_unlock(&files_lock);
}

static void close_file(struct file *f)
{
	pthread_mutex_lock(&files_lock);
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	pthread_mutex_unlock(&files_lock);
	if (f->w)
		watched_put(f->w);
	sdi_cleanup_fd(&f->real);
	free(f);
}

/* As the caller. Returns the real file, and its directory in *dir; or -errno. */
static int open_real(const struct caller *c, fuse_ino_t ino, int flags, int *dir)
{
	int fd, err = caller_enter(c);

	if (err)
		return err;
	*dir = proc_dir(fs_pid(ino));
	fd = *dir < 0 ? *dir : openat(*dir, fs_name(fs_kind(ino)),
				      (flags & O_ACCMODE) | O_CLOEXEC);
	if (*dir >= 0 && fd < 0)
		fd = -errno;
	caller_leave();
	return fd;
}

static int open_file(const struct caller *c, fuse_ino_t ino, int flags, struct file **ret)
{
	autoclose int dir = -1;
	autoclose int real = open_real(c, ino, flags, &dir);
	struct file *f;

	if (real < 0)
		return real;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	enlist(f);
	f->real = take_fd(&real);
	snprintf(f->proc, sizeof(f->proc), "/proc/%d", fs_pid(ino));
	f->w = watched_get(fs_pid(ino), proc_start_time(dir));
	if (!f->w) {
		close_file(f);
		return -ENOMEM;
	}
	*ret = f;
	return 0;
}

static bool clears_itself(const struct caller *c, fuse_ino_t ino, int flags)
{
	return needs_uffd && fs_kind(ino) == FS_CLEAR_REFS && (flags & O_ACCMODE) != O_RDONLY &&
	       c->tgid == fs_pid(ino);
}

/* A caller that was interrupted has no file: there will be no release. */
static void answer(fuse_req_t req, struct fuse_file_info *fi, struct file *f)
{
	if (fuse_reply_open(req, fi))
		close_file(f);
}

static void answer_and_borrow(fuse_req_t req, struct fuse_file_info *fi, struct file *f,
			      pid_t tid)
{
	struct watched *w = f->w;
	struct borrow b;
	int uffd = -1;
	bool borrowed = borrow_begin(&b, tid);

	/* The file may be released as soon as it is answered; what is watched must stay. */
	watched_ref(w);
	answer(req, fi, f);
	if (borrowed)
		uffd = borrow_end(&b);
	if (uffd >= 0)
		watched_attach(w, uffd);
	else
		watched_give_up(w);
	watched_put(w);
}

static void open_as(fuse_req_t req, const struct caller *c, fuse_ino_t ino,
		    struct fuse_file_info *fi)
{
	struct file *f;
	int err = open_file(c, ino, fi->flags, &f);

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	fi->fh = (uintptr_t)f;
	/* Its size is 0, as in /proc; offsets are addresses. */
	fi->direct_io = 1;
	if (!native && fs_kind(ino) == FS_PAGEMAP)
		watched_look(f->w);
	if (clears_itself(c, ino, fi->flags) && watched_begin_attach(f->w))
		answer_and_borrow(req, fi, f, c->tid);
	else
		answer(req, fi, f);
}

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct caller c;
	int err = caller_init(&c, ctx->uid, ctx->gid, ctx->pid);

	if (err)
		fuse_reply_err(req, -err);
	else
		open_as(req, &c, ino, fi);
	caller_fini(&c);
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	close_file(file(fi));
	fuse_reply_err(req, 0);
}

/* What was open at the end is not released any more. */
void fs_finish(void)
{
	while (files)
		close_file(files);
}

/* --- using them ----------------------------------------------------------------------------- */

static struct sdi_view view(const struct file *f, struct softdirty *sd)
{
	return (struct sdi_view){
		.sd = sd, .mark = SDI_KERNEL_MARK, .proc = f->proc, .native = native,
	};
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi)
{
	struct file *f = file(fi);
	autofree char *buf = malloc(size ? size : 1);
	ssize_t n = buf ? pread(f->real, buf, size, offset) : -1;

	if (n < 0) {
		fuse_reply_err(req, buf ? errno : ENOMEM);
		return;
	}
	if (fs_kind(ino) == FS_PAGEMAP) {
		struct sdi_view v = view(f, watched_lock(f->w));

		sdi_emulate_entries(&v, offset / 8, (uint64_t *)buf, n / 8);
		watched_unlock(f->w);
	}
	fuse_reply_buf(req, buf, n);
}

static void reply_count(fuse_req_t req, ssize_t n)
{
	if (n < 0)
		fuse_reply_err(req, -n);
	else
		fuse_reply_write(req, n);
}

/*
 * A thread that clears its own process may not have come to sleep yet, where it shares a CPU with us.
 * Awake it might be reading another file of ours, straight into its memory, and all that it wrote
 * would be said once more.
 */
static void let_it_sleep(const struct file *f, pid_t tid)
{
	char path[64], text[8];

	snprintf(path, sizeof(path), "%s/task/%d/syscall", f->proc, tid);
	for (int i = 0; i < 10; i++) {
		if (sdi_read_text(AT_FDCWD, path, text, sizeof(text)) <= 0 || text[0] != 'r')
			break;	/* of another process; or not "running" */
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
}

void fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
	      struct fuse_file_info *fi)
{
	struct file *f = file(fi);
	ssize_t n;

	if (!native && fs_kind(ino) == FS_CLEAR_REFS && sdi_clear_refs_number(buf, size) == 4) {
		let_it_sleep(f, fuse_req_ctx(req)->pid);
		int err = watched_clear(f->w);

		reply_count(req, err ? err : (ssize_t)MIN(size, (size_t)SDI_CLEAR_REFS_MAX));
		return;
	}
	n = write(f->real, buf, size);
	reply_count(req, n < 0 ? -errno : n);
}

static int scan(struct file *f, const struct caller *c, struct pm_scan_arg *arg)
{
	autoclose int pidfd = caller_pidfd(c);
	int n;

	if (pidfd < 0)
		return -EFAULT;	/* nobody whose memory could be written */
	/* A keeper that began meanwhile has protected memory that this call must not. */
	if (arg->flags & PM_SCAN_WP_MATCHING)
		watched_look(f->w);
	struct sdi_view v = view(f, watched_lock(f->w));
	n = sdi_emulate_scan(&v, f->real, c->tid, pidfd, arg);
	watched_unlock(f->w);
	return n;
}

static void reply_scan(fuse_req_t req, struct file *f, const void *in)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct pm_scan_arg arg;
	struct caller c;
	int n = caller_init(&c, ctx->uid, ctx->gid, ctx->pid);

	memcpy(&arg, in, sizeof(arg));
	if (!n)
		n = scan(f, &c, &arg);
	caller_fini(&c);
	if (n < 0)
		fuse_reply_err(req, -n);
	else
		fuse_reply_ioctl(req, n, &arg, sizeof(arg));
}

void fs_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	struct file *f = file(fi);

	if (fs_kind(ino) == FS_PAGEMAP && cmd == (unsigned)PAGEMAP_SCAN &&
	    in_size == sizeof(struct pm_scan_arg) && out_size == in_size)
		reply_scan(req, f, in);
	else	/* the kernel knows no other, and says so in its own way */
		fuse_reply_err(req, ioctl(f->real, cmd, NULL) ? errno : EINVAL);
}
