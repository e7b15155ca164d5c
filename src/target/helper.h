/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A short-lived child that does ptrace work for its host. It has no exit signal, so the host's
 * wait() and SIGCHLD handler never see it or its stops; it blocks all signals and sits in a
 * session of its own, so nothing that ends the host ends it half way. It may use no malloc(), nor
 * what takes any other lock or translates (strerror()): another thread of the host may have held it.
 */
#ifndef SDI_TARGET_HELPER_H
#define SDI_TARGET_HELPER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sdi_helper {
	pid_t pid;
	int sock;		/* the host's end; closing it tells the helper to finish */
};

struct sdi_helper_reply {
	int err;		/* 0 or -errno */
	uint64_t stop_ns;
	char text[256];		/* the sentence, if err */
};

/* Start fn(arg, sock) in a child. 0 or -errno. */
int sdi_helper_start(void (*fn)(const void *arg, int sock), const void *arg,
		     struct sdi_helper *ret);

/* In the child: answer. fd is sent along, or -1. */
void sdi_helper_answer(int sock, const struct sdi_helper_reply *reply, int fd);

/*
 * In the child, when it stays for long: close the descriptors of the host but these (-1: none). Before
 * Linux 5.9 all stay open.
 */
void sdi_helper_keep_only(int *fds, size_t n);

/* In the host: wait for the answer. *fd is a new descriptor or -1. Returns reply->err or -EIO. */
int sdi_helper_wait(const struct sdi_helper *h, struct sdi_helper_reply *reply, int *fd);

/* Tell it to finish and wait until it has. */
void sdi_helper_end(struct sdi_helper *h);

#endif
