/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a keeper. main.c sets it up, serve.c waits and decides who is served, answer.c does
 * what one request asks for.
 */
#ifndef SDI_KEEPER_SERVE_H
#define SDI_KEEPER_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/wire.h"

enum {
	KEEPER_MAX_CLIENTS = 64,	/* one more, and the one that was silent longest must go */
	KEEPER_HOLD_MS = 10000,		/* so long others wait for the one that froze the target */
};

struct keeper_client {
	int sock;
	uint64_t heard_ns;		/* when it spoke last */
	bool greeted;
	int untold;			/* memfd with what it may not have got yet, or -1 */
	uint64_t n_untold;
	char mark[64];			/* of those */
};

struct keeper {
	struct softdirty *sd;
	pid_t pid;
	int pidfd, signals, listener;
	struct keeper_client client[KEEPER_MAX_CLIENTS];
	size_t n_clients;
	struct keeper_client *holder;	/* it freezes the target: others wait */
	uint64_t held_ns;		/* since when */
	int freeze;			/* keeps the target stopped, or -1 */
	int holder_pidfd;		/* of the process that froze it, or -1 */
	bool stop;			/* asked to end, by: */
	int stopper;			/* the socket of who waits for that, or -1 */
};

/* Serve until the target ends, or somebody says stop. */
void keeper_serve(struct keeper *k);

/* Do what rq asks for and reply. False: this client is not worth talking to any more. */
bool keeper_answer(struct keeper *k, struct keeper_client *c, const struct sdi_request *rq,
		   int *fds);

/* A reply without any of the op's results. */
struct sdi_reply keeper_reply(int op, int err, const char *text);

/* Fill in what START, HELLO and INFO tell. */
void keeper_describe(struct keeper *k, struct sdi_reply *reply);

/* It never got the list that it was sent: its mark has still to be told. */
void keeper_untold(struct keeper *k, struct keeper_client *c);

/* Whoever froze the target lets it run again. */
void keeper_release(struct keeper *k);

#endif
