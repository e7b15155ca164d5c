/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a server: mount, serve with several threads, unmount. One thread may have to wait for
 * a process that waits, itself, for another of our answers; hence several.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "procview/caller.h"
#include "procview/fs.h"
#include "procview/mount.h"
#include "procview/proc.h"
#include "uapi/syscalls.h"


enum { N_THREADS = 8 };

struct server {
	const struct sdi_procview *o;
	struct fuse_session *se;
	int fuse;			/* its descriptor */
	int signals;
	int stop;			/* eventfd: threads shall end */
	int ended;			/* eventfd: the file system has been unmounted */
	pthread_t threads[N_THREADS];
	size_t n_threads;
	struct over over;
	int *pidfds;			/* of the processes in over; -1: has ended */
	char *why;
};

static int fail(struct server *s, const char *what, int err)
{
	snprintf(s->why, 256, "%s: %s", what, strerror(-err));
	return err;
}

/* --- threads -------------------------------------------------------------------------------- */

static void *work(void *arg)
{
	struct server *s = arg;
	struct fuse_buf buf = { 0 };
	struct pollfd p[2] = {
		{ .fd = s->fuse, .events = POLLIN }, { .fd = s->stop, .events = POLLIN },
	};

	while (!fuse_session_exited(s->se)) {
		int n;

		if ((poll(p, 2, -1) < 0 && errno == EINTR) || p[1].revents)
			continue;
		n = fuse_session_receive_buf(s->se, &buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(s->se, &buf);
	}
	free(buf.mem);
	eventfd_write(s->ended, 1);
	return NULL;
}

static int start_threads(struct server *s)
{
	int err = fcntl(s->fuse, F_SETFL, fcntl(s->fuse, F_GETFL) | O_NONBLOCK) ? errno : 0;

	while (!err && s->n_threads < N_THREADS) {
		err = pthread_create(&s->threads[s->n_threads], NULL, work, s);
		s->n_threads += !err;
	}
	return err ? fail(s, "cannot start threads", -err) : 0;
}

static void end_threads(struct server *s)
{
	if (s->se)
		fuse_session_exit(s->se);
	eventfd_write(s->stop, 1);
	while (s->n_threads)
		pthread_join(s->threads[--s->n_threads], NULL);
}

/* --- waiting for the end --------------------------------------------------------------------- */

/* Before there are threads, so that they all have the signals blocked. */
static int catch_signals(struct server *s)
{
	static const int all[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	/* One that was ignored when we started (nohup) stays ignored. */
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (!sigaction(all[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaddset(&set, all[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC);
	s->stop = eventfd(0, EFD_CLOEXEC);
	s->ended = eventfd(0, EFD_CLOEXEC);
	return s->signals < 0 || s->stop < 0 || s->ended < 0 ?
	       fail(s, "cannot wait for signals", -errno) : 0;
}

static bool all_have_ended(const struct server *s, const struct pollfd *p)
{
	for (size_t i = 0; i < s->o->n_over; i++) {
		if (p[i].revents)
			s->pidfds[i] = -1;
		if (s->pidfds[i] >= 0)
			return false;
	}
	return s->o->n_over;
}

static void wait_for_end(struct server *s)
{
	size_t n = 2 + s->o->n_over;
	autofree struct pollfd *p = calloc(n, sizeof(*p));

	while (p) {
		p[0] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = s->ended, .events = POLLIN };
		for (size_t i = 2; i < n; i++)
			p[i] = (struct pollfd){ .fd = s->pidfds[i - 2], .events = POLLIN };
		if (poll(p, n, -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents || p[1].revents || all_have_ended(s, p + 2))
			return;
	}
}

/* --- the two ways to mount ------------------------------------------------------------------- */

static int new_session(struct server *s, bool allow_other)
{
	char *argv[] = {
		"softdirty", "-o", allow_other ?
		"fsname=" MOUNT_FSNAME ",subtype=softdirty,allow_other" :
		"fsname=" MOUNT_FSNAME ",subtype=softdirty",
	};
	struct fuse_args args = FUSE_ARGS_INIT(ARRAY_SIZE(argv), argv);

	s->se = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), s);
	fuse_opt_free_args(&args);
	return s->se ? 0 : fail(s, "libfuse", -ENOMEM);
}

static int explain_dir(struct server *s, int err)
{
	if (err == -EBUSY)
		snprintf(s->why, 256, "%s is mounted already (end the softdirty that serves it)",
			 s->o->dir);
	else
		fail(s, s->o->dir, err);
	return err;
}

static int serve_dir(struct server *s)
{
	int err = mount_clean_dir(s->o->dir);

	if (err)
		return explain_dir(s, err);
	err = new_session(s, s->o->allow_other);
	if (err)
		return err;
	if (fuse_session_mount(s->se, s->o->dir)) {
		snprintf(s->why, 256, "FUSE refused %s", s->o->dir);
		return -EIO;
	}
	s->fuse = fuse_session_fd(s->se);
	err = start_threads(s);
	if (!err) {
		s->o->ready();
		wait_for_end(s);
	}
	end_threads(s);
	fuse_session_unmount(s->se);
	return err;
}

static int open_processes(struct server *s)
{
	s->pidfds = malloc(s->o->n_over * sizeof(*s->pidfds));
	if (!s->pidfds)
		return fail(s, "out of memory", -ENOMEM);
	for (size_t i = 0; i < s->o->n_over; i++)
		s->pidfds[i] = -1;
	for (size_t i = 0; i < s->o->n_over; i++) {
		char what[32];
		pid_t pid = s->o->over[i];
		int err = mount_clean_over(pid);

		if (!err && !(proc_is_leader(pid) && proc_is_visible(pid)))
			err = -ESRCH;
		snprintf(what, sizeof(what), "process %d", pid);
		if (err == -EBUSY)
			snprintf(s->why, 256, "process %d is covered already (end the softdirty "
				 "that does it)", pid);
		else if (err)
			fail(s, what, err);
		if (err)
			return err;
		s->pidfds[i] = syscall(SYS_pidfd_open, pid, 0);
		if (s->pidfds[i] < 0)
			return fail(s, what, -errno);
	}
	return 0;
}

/* From a place of our own, from where /proc is seen bare. */
static int mount_over(struct server *s)
{
	char path[32];
	int err = over_begin(&s->over, s->why);

	if (!err)
		err = proc_setup();
	if (!err)
		err = over_mount(&s->over, &s->fuse, s->why);
	if (!err)
		err = new_session(s, true);
	snprintf(path, sizeof(path), "/dev/fd/%d", s->fuse);
	if (!err && fuse_session_mount(s->se, path))
		err = fail(s, path, -EIO);
	return err;
}

static int serve_over(struct server *s)
{
	int err = mount_over(s);

	if (!err)
		err = start_threads(s);
	if (!err)
		err = over_bind(&s->over, s->why);
	if (!err) {
		s->o->ready();
		wait_for_end(s);
	}
	over_unmount(&s->over);
	end_threads(s);
	return err;
}

int sdi_procview_run(const struct sdi_procview *o, char why[static 256])
{
	struct server s = {
		.o = o, .why = why, .fuse = -1, .signals = -1, .stop = -1, .ended = -1,
		.over = { .pids = o->over, .n = o->n_over, .home = -1, .fuse = -1, .channel = -1 },
	};
	int err = proc_setup();

	if (err)
		fail(&s, "/proc", err);
	if (!caller_setup() && (o->allow_other || o->n_over)) {
		snprintf(why, 256, "only root can serve other users");
		return -1;
	}
	watched_setup(o);
	fs_setup();
	if (!err && o->n_over)
		err = open_processes(&s);
	if (!err)
		err = catch_signals(&s);
	if (!err)
		err = o->n_over ? serve_over(&s) : serve_dir(&s);
	if (s.se)
		fuse_session_destroy(s.se);
	fs_finish();
	watched_finish();
	free(s.pidfds);
	return err ? -1 : 0;
}
