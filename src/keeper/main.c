/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Birth and death of a keeper: what it drops of its parent's process, the lock that makes it the
 * only one, the tracker, and the files that lead to it.
 */
#include "keeper/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/serve.h"
#include "lib/handle.h"
#include "uapi/syscalls.h"
#include "wire/place.h"

/* Descriptors of whoever started us, that would live as long as we do. */
static void close_inherited(void)
{
	if (!syscall(SYS_close_range, SDI_WIRE_START_FD + 1, ~0u, 0))
		return;
	autoclosedir DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; d && (e = readdir(d));) {
		int fd = atoi(e->d_name);

		if (fd > SDI_WIRE_START_FD && fd != dirfd(d))
			close(fd);
	}
}

/* A limit on time or file size that was meant for a command must not end the tracking. */
static void lift_limits(void)
{
	static const int which[] = { RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE };

	for (size_t i = 0; i < ARRAY_SIZE(which); i++) {
		struct rlimit l;

		if (!getrlimit(which[i], &l)) {
			l.rlim_cur = l.rlim_max;
			setrlimit(which[i], &l);
		}
	}
}

/* No terminal, no directory, no signals but those that say "end". Returns the signalfd. */
static int leave_parent(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t all, end;

	for (int fd = 0; fd < SDI_WIRE_START_FD && null >= 0; fd++)
		dup2(null, fd);
	if (null >= SDI_WIRE_START_FD)
		close(null);
	setsid();
	if (chdir("/"))
		_exit(1);
	umask(077);
	prctl(PR_SET_NAME, "softdirty");
	signal(SIGCHLD, SIG_DFL);
	lift_limits();
	/* Big lists never come from the heap, so that they go back to the kernel when freed. */
	mallopt(M_MMAP_THRESHOLD, 64 * 1024);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigaddset(&end, SIGHUP);
	sigaddset(&end, SIGQUIT);
	return signalfd(-1, &end, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* 0 or -errno; *why is the sentence then. */
static int attach(struct keeper *k, const struct sdi_request *rq, int uffd, const char **why)
{
	struct softdirty_options o = {
		.size = sizeof(o), .backend = rq->mark[0] ? rq->mark : "auto", .uffd = uffd,
		.flags = uffd >= 0 ? SOFTDIRTY_OPEN_UFFD : 0,
	};
	struct softdirty_info info = { .size = sizeof(info) };

	/* In this order: a pidfd of a process that still has the right start time afterwards. */
	k->pidfd = syscall(SYS_pidfd_open, rq->pid, 0);
	int err = softdirty_open(rq->pid, &o, &k->sd);
	if (!err)
		err = softdirty_info(k->sd, &info);
	*why = softdirty_error();
	if (!err && info.start_time != rq->start) {
		*why = "it has ended";
		err = -ESRCH;
	}
	return err;
}

static int tell_parent(const struct sdi_reply *reply)
{
	return sdi_wire_send(SDI_WIRE_START_FD, reply, sizeof(*reply), NULL, 0, MSG_DONTWAIT);
}

/*
 * The one who started us is the first client. Was it killed, nobody may ever come: who looked for us
 * before we listened has found nothing to stop.
 */
static int welcome_parent(struct keeper *k)
{
	struct sdi_reply reply = keeper_reply(SDI_OP_START, 0, "");

	keeper_describe(k, &reply);
	k->client[k->n_clients++] = (struct keeper_client){
		.sock = SDI_WIRE_START_FD, .greeted = true, .untold = -1,
	};
	return tell_parent(&reply);
}

/* *stale: a keeper before us was killed. */
static int run(struct keeper *k, const struct sdi_request *rq, int dir, int uffd, bool *stale,
	       const char **why)
{
	struct sdi_place_name name = sdi_place_name(rq->pid, rq->start);

	k->listener = sdi_place_listen(dir, &name, stale);
	if (k->listener < 0) {
		*why = "cannot create its socket in the runtime directory";
		sdi_cleanup_fd(&uffd);
		return k->listener;
	}
	int err = attach(k, rq, uffd, why);
	if (err)
		return err;
	if (*stale)
		sdi_local_lost(k->sd);
	err = welcome_parent(k);
	if (!err)
		keeper_serve(k);
	return err;
}

/* With the lock, until the end. The tracking ends first: a keeper after us must find it so. */
static int live(const struct sdi_request *rq, int dir, int uffd, int signals)
{
	struct keeper k = { .pid = rq->pid, .pidfd = -1, .signals = signals, .listener = -1,
			    .freeze = -1, .holder_pidfd = -1, .stopper = -1 };
	struct sdi_place_name name = sdi_place_name(rq->pid, rq->start);
	const char *why = "";
	bool stale = false;

	sdi_place_sweep(dir);
	int err = run(&k, rq, dir, uffd, &stale, &why);
	struct sdi_reply reply = keeper_reply(err ? SDI_OP_START : SDI_OP_STOP, err, why);
	softdirty_close(k.sd);
	sdi_place_remove(dir, &name, err && stale);
	if (err)
		tell_parent(&reply);
	else if (k.stopper >= 0)
		sdi_wire_send(k.stopper, &reply, sizeof(reply), NULL, 0, MSG_DONTWAIT);
	return err ? 1 : 0;
}

static bool receive_start(struct sdi_request *rq, int *fds)
{
	pid_t parent;

	if (sdi_wire_peer(SDI_WIRE_START_FD, &parent) ||
	    sdi_wire_recv(SDI_WIRE_START_FD, rq, sizeof(*rq), fds, MSG_DONTWAIT))
		return false;
	rq->mark[sizeof(rq->mark) - 1] = '\0';
	return rq->magic == SDI_WIRE_MAGIC && rq->version == SDI_WIRE_VERSION &&
	       rq->op == SDI_OP_START && fds[0] >= 0;
}

int sdi_keeper_main(int argc, char **argv)
{
	struct sdi_request rq;
	int fds[SDI_WIRE_MAX_FDS];

	close_inherited();
	if (!receive_start(&rq, fds)) {
		fprintf(stderr, "softdirty: a keeper is not started by hand; "
			"'softdirty clear PID' does it\n");
		return 2;
	}
	int signals = leave_parent();
	struct sdi_place_name name = sdi_place_name(rq.pid, rq.start);
	autoclose int lock = sdi_place_lock(fds[0], &name);
	if (lock < 0) {
		struct sdi_reply reply = keeper_reply(SDI_OP_START,
			lock == -EAGAIN ? -EALREADY : lock,
			"cannot lock its file in the runtime directory");

		tell_parent(&reply);
		return 1;
	}
	return live(&rq, fds[0], rq.flags & SDI_REQUEST_UFFD ? fds[1] : -1, signals);
}
