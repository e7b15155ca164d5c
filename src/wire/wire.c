/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packets, descriptors and sealed lists. Nothing here trusts a byte that came from outside. */
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

union control {
	struct cmsghdr h;
	char space[CMSG_SPACE(sizeof(int) * SDI_WIRE_MAX_FDS)];
};

int sdi_wire_send(int sock, const void *packet, size_t size, const int *fds, size_t n_fds,
		  int flags)
{
	struct iovec iov = { (void *)packet, size };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&control.h), fds, sizeof(int) * n_fds);
	}
	do
		n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
	return (size_t)n == size ? 0 : -EPROTO;
}

static void take_fds(struct msghdr *msg, int *fds)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		count = MIN(count, SDI_WIRE_MAX_FDS - n);
		memcpy(fds + n, CMSG_DATA(c), count * sizeof(int));
		n += count;
	}
}

static void drop_fds(int *fds)
{
	for (int i = 0; i < SDI_WIRE_MAX_FDS; i++) {
		sdi_cleanup_fd(&fds[i]);
		fds[i] = -1;
	}
}

int sdi_wire_recv(int sock, void *packet, size_t size, int *fds, int flags)
{
	struct iovec iov = { packet, size };
	union control control;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	for (int i = 0; i < SDI_WIRE_MAX_FDS; i++)
		fds[i] = -1;
	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
	take_fds(&msg, fds);
	if ((size_t)n == size && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return 0;
	drop_fds(fds);
	if (n == 0)
		return -EPIPE;
	return msg.msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
}

int sdi_wire_peer(int sock, pid_t *pid)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &size))
		return sdi_fail(EPERM, "cannot tell who is at the socket: %s", sdi_strerror(errno));
	if (cred.uid != geteuid())
		return sdi_fail(EPERM, "the process at the socket runs as uid %u, not as %u",
				cred.uid, geteuid());
	*pid = cred.pid;
	return 0;
}

int sdi_wire_seal(const struct softdirty_range *ranges, size_t n)
{
	autoclose int fd = sdi_memfd();

	if (fd < 0)
		return fd;
	int err = sdi_write_full(fd, ranges, n * sizeof(*ranges));
	if (err)
		return err;
	if (fcntl(fd, F_ADD_SEALS, SEALS))
		return -errno;
	return take_fd(&fd);
}

/* Without the seals the sender could change the list under us, or make touching it a SIGBUS. */
int sdi_wire_map(int memfd, uint64_t n, const struct softdirty_range **ret)
{
	struct stat st;
	int seals = fcntl(memfd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(memfd, &st))
		return -EPROTO;
	if (!n || n > SIZE_MAX / sizeof(**ret) || (uint64_t)st.st_size != n * sizeof(**ret))
		return -EPROTO;
	void *p = mmap(NULL, n * sizeof(**ret), PROT_READ, MAP_PRIVATE, memfd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

void sdi_wire_unmap(const struct softdirty_range *ranges, uint64_t n)
{
	if (ranges)
		munmap((void *)ranges, n * sizeof(*ranges));
}
