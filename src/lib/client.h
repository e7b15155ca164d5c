/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client of a keeper, between client.c (what is asked) and connect.c (who is asked). */
#ifndef SDI_LIB_CLIENT_H
#define SDI_LIB_CLIENT_H

#include "lib/handle.h"
#include "wire/wire.h"

struct sdi_client {
	struct softdirty base;
	struct sdi_target target;
	char *command;			/* to start a keeper with; NULL: the default */
	const char *backend;		/* NULL: any */
	bool suggested;			/* a keeper that exists may use another */
	bool existing;			/* never start one */
	int uffd;			/* for the keeper, until it has it; -1: none */
	int sock;			/* -1: not connected */
	pid_t keeper;
	bool owes;			/* must tell the keeper that it has the last list */
	const struct softdirty_range *lent;
	uint64_t n_lent;
};

/* Find the keeper, or start one if may_start. c->sock is open then. 0 or -errno, sentence set. */
int sdi_client_connect(struct sdi_client *c, bool may_start);
void sdi_client_hang_up(struct sdi_client *c);

struct sdi_request sdi_client_request(enum sdi_op op, const char *mark);

/* SDI_OP_FROZEN, and the descriptors that go with it. Returns how many. */
size_t sdi_client_frozen(const struct sdi_freezer *freezer, struct sdi_request *rq, int fds[2]);

/* Is that an answer to op? Whatever it is, its texts have an end then. */
bool sdi_client_understands(struct sdi_reply *reply, int op);

/*
 * Send and wait for the answer on that socket. *memfd is what came along, or -1. 0 when there is
 * an answer, whatever it says; -EPIPE: the keeper is gone; or another -errno.
 */
int sdi_client_exchange(int sock, const struct sdi_request *rq, const int *fds, size_t n_fds,
			struct sdi_reply *reply, int *memfd);

/* reply->err, with its sentence set. */
int sdi_client_verdict(const struct sdi_reply *reply);

#endif
