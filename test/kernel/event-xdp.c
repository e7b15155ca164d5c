/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets whose data comes to memory without a fault. AF_XDP: packets from a network device, to memory
 * that was registered once. AF_ALG: what was decrypted, a moment after the page was written for it.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/socket.h>

#include "target.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif

/* A socket that has registered the memory, where there is any. */
static long op_xdp(long address, long size, long c, long d)
{
	struct xdp_umem_reg umem = { .addr = (uint64_t)address, .len = (uint64_t)size,
				     .chunk_size = (uint32_t)t_page_size() };
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (size && setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)))
		return -errno;
	return fd;
}

static long op_tcp(long a, long b, long c, long d)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Nobody says which pages it is: all are untracked, and said again when it is closed. */
static void memory_of_an_xdp_socket(void)
{
	T_TARGET tg = t_begin(4);
	long fd = t_call(&tg, op_xdp, t_page(&tg, 1), 2 * tg.unit);

	if (fd < 0)
		T_SKIP("no AF_XDP here (%s)", strerror((int)-fd));
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	for (int i = 0; i < 3; i++)
		T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "uuuu");
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_PINNED);
	T_EQ(t_call(&tg, t_op_close, fd), 0);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "DDDD");
	/* The kernel lets go of them a moment after close(); clear_refs does not clear pinned pages
	 * (Linux 5.11 commit 9348b73c2e1b, also in 5.10.y). */
	for (int i = 0; i < 100 && strcmp(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----"); i++)
		t_sleep_ms(20);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
}

static long op_alg(long a, long b, long c, long d)
{
	int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* What was written while something may have been on its way is said again. */
static void socket_that_decrypts(void)
{
	T_TARGET tg = t_begin(4);
	long fd = t_call(&tg, op_alg);

	if (fd < 0)
		T_SKIP("no AF_ALG here (%s)", strerror((int)-fd));
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "-D--");
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_CARRIED);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "-D--");
}

static void any_other_socket_changes_nothing(void)
{
	T_TARGET tg = t_begin(4);
	long fd = t_call(&tg, op_tcp);

	if (fd < 0)
		T_SKIP("no TCP here (%s)", strerror((int)-fd));
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
}

int main(void)
{
	t_need_backend();
	T_RUN(memory_of_an_xdp_socket);
	T_RUN(socket_that_decrypts);
	T_RUN(any_other_socket_changes_nothing);
	return t_done();
}
