/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A packet of any size with any number of descriptors, and a memfd that is said to be a list. */
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "fuzz.h"

/* More descriptors than sdi_wire_send() has room for. */
static void send_packet(int sock, const void *packet, size_t size, size_t n_fds)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int) * 8)];
	} control = { 0 };
	struct iovec iov = { (void *)packet, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(&control.h) + i * sizeof(int), &sock, sizeof(int));
	}
	FUZZ_OK(sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size);
}

static void check_packet(const uint8_t *data, size_t size, size_t n_fds)
{
	struct sdi_request rq;
	int sv[2], fds[SDI_WIRE_MAX_FDS];

	FUZZ_OK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	autoclose int to = sv[0], from = sv[1];
	size = MIN(size, (size_t)4096);
	send_packet(to, data, size, n_fds);
	int err = sdi_wire_recv(from, &rq, sizeof(rq), fds, MSG_DONTWAIT);
	FUZZ_OK(err == (!size ? -EPIPE : n_fds > SDI_WIRE_MAX_FDS ? -EMFILE :
			size != sizeof(rq) ? -EPROTO : 0));
	FUZZ_OK(err || !memcmp(&rq, data, size));
	for (size_t i = 0; i < SDI_WIRE_MAX_FDS; i++) {
		FUZZ_OK((fds[i] >= 0) == (!err && i < n_fds));
		sdi_cleanup_fd(&fds[i]);
	}
}

static void check_list(const uint8_t *data, size_t size, uint64_t n, int seals)
{
	static const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	const struct softdirty_range *list = NULL;
	autoclose int fd = fuzz_memfd(data, size);

	FUZZ_OK(!fcntl(fd, F_ADD_SEALS, seals));
	int err = sdi_wire_map(fd, n, &list);
	bool good = n && size % sizeof(*list) == 0 && size / sizeof(*list) == n;
	FUZZ_OK(err == (good && (seals & all) == all ? 0 : -EPROTO));
	FUZZ_OK(err ? !list : !memcmp(list, data, size));
	sdi_wire_unmap(list, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct {
		uint8_t n_fds, seals;
		uint64_t n;
	} __attribute__((packed)) head;
	int before = fuzz_count_fds();

	fuzz_take(&data, &size, &head, sizeof(head));
	check_packet(data, size, head.n_fds % 9);
	check_list(data, size, head.n, head.seals & 0xf);
	FUZZ_OK(fuzz_count_fds() == before);
	return 0;
}
