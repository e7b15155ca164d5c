/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/helper.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "uapi/syscalls.h"

/* No qsort(): it may call malloc(). */
static void sort(int *fds, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k > 0 && fds[k - 1] > fds[k]; k--) {
			int lower = fds[k];

			fds[k] = fds[k - 1];
			fds[k - 1] = lower;
		}
}

void sdi_helper_keep_only(int *fds, size_t n)
{
	unsigned from = 0;

	sort(fds, n);
	for (size_t i = 0; i < n; i++) {
		if (fds[i] > (int)from)
			syscall(SYS_close_range, from, fds[i] - 1, 0);
		if (fds[i] >= 0)
			from = fds[i] + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
}

static void run_child(void (*fn)(const void *arg, int sock), const void *arg, const int sv[2])
{
	close(sv[0]);
	setsid();
	prctl(PR_SET_NAME, "softdirty-stop");
	fn(arg, sv[1]);
	_exit(0);
}

int sdi_helper_start(void (*fn)(const void *arg, int sock), const void *arg,
		     struct sdi_helper *ret)
{
	int sv[2];
	sigset_t all, old;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return sdi_fail(errno, "socketpair: %s", sdi_strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* clone(0): fork without an exit signal and without the host's atfork handlers. */
	pid_t pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		run_child(fn, arg, sv);
	int err = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return sdi_fail(err, "cannot start a helper process: %s", sdi_strerror(err));
	}
	*ret = (struct sdi_helper){ .pid = pid, .sock = sv[0] };
	return 0;
}

void sdi_helper_answer(int sock, const struct sdi_helper_reply *reply, int fd)
{
	struct iovec iov = { (void *)reply, sizeof(*reply) };
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.h), &fd, sizeof(fd));
	}
	sendmsg(sock, &msg, MSG_NOSIGNAL);
}

int sdi_helper_wait(const struct sdi_helper *h, struct sdi_helper_reply *reply, int *fd)
{
	struct iovec iov = { reply, sizeof(*reply) };
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(h->sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*reply))
		return sdi_fail(EIO, "the helper process that stops threads was killed");
	if (msg.msg_controllen >= CMSG_LEN(sizeof(int)) && control.h.cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(&control.h), sizeof(*fd));
	reply->text[sizeof(reply->text) - 1] = '\0';
	return reply->err ? sdi_fail(-reply->err, "%s", reply->text) : 0;
}

void sdi_helper_end(struct sdi_helper *h)
{
	shutdown(h->sock, SHUT_RDWR);	/* a child that the host has forked has a copy too */
	close(h->sock);
	while (waitpid(h->pid, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	*h = (struct sdi_helper){ .sock = -1 };
}
