/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets whose data comes to memory without a fault. AF_XDP: packets from a network device, to memory
 * that was registered once. AF_ALG and kernel TLS: what was decrypted, a moment after the page was
 * written for it.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
	/* For some seconds: a transfer may go on when its descriptor is closed. And the kernel lets go of
	 * them a moment after close(); clear_refs does not clear pinned pages (Linux 5.11 commit
	 * 9348b73c2e1b, also in 5.10.y). */
	for (int i = 0; i < 600 && strcmp(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----"); i++)
		t_sleep_ms(20);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
}

static long op_alg(long a, long b, long c, long d)
{
	int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Connected to itself, so that it may become one of kernel TLS. */
static long op_tls(long a, long b, long c, long d)
{
	struct tls12_crypto_info_aes_gcm_128 key = {
		.info = { .version = TLS_1_2_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128 },
	};
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) ||
	    getsockname(fd, (struct sockaddr *)&at, &size) ||
	    connect(fd, (struct sockaddr *)&at, size) ||
	    setsockopt(fd, SOL_TCP, TCP_ULP, "tls", strlen("tls")) ||
	    setsockopt(fd, SOL_TLS, TLS_RX, &key, sizeof(key)))
		return -errno;
	return fd;
}

/* What was written while something may have been on its way is said again. */
static void decrypts(t_fn *open_socket, const char *what)
{
	T_TARGET tg = t_begin(4);
	long fd = t_call(&tg, open_socket);

	if (fd < 0)
		T_SKIP("no %s (%s)", what, strerror((int)-fd));
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "-D--");
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_CARRIED);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "-D--");
}

static void socket_that_decrypts(void)
{
	decrypts(op_alg, "AF_ALG here");
}

static void socket_of_kernel_tls(void)
{
	decrypts(op_tls, "TLS in this kernel");
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
	T_RUN(socket_of_kernel_tls);
	T_RUN(any_other_socket_changes_nothing);
	return t_done();
}
