/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a keeper and its clients say to each other: one request packet, one reply packet, over a
 * SOCK_SEQPACKET socket between processes of the same user. Lists of ranges travel as a sealed
 * memfd beside the reply. Knows neither what a keeper does with a request nor who asks.
 */
#ifndef SDI_WIRE_WIRE_H
#define SDI_WIRE_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "softdirty.h"

enum {
	SDI_WIRE_MAGIC = 0x79646473,	/* "sddy" */
	SDI_WIRE_VERSION = 1,		/* any change of what is below */
	SDI_WIRE_START_FD = 3,		/* where a new keeper finds its first client */
	SDI_WIRE_MAX_FDS = 4,
};

/*
 * A client that got ranges with SDI_OP_READ and SOFTDIRTY_READ_CLEAR has them for good when it sends
 * anything else (SDI_OP_TAKEN, if it has nothing else to say). If it hangs up before, the keeper
 * counts these ranges as not told.
 */
enum sdi_op {
	SDI_OP_START = 1,	/* first packet to a new keeper; descriptors: directory[, uffd]. The
				 * error -EALREADY means that another keeper was faster */
	SDI_OP_HELLO,		/* first packet to any other; descriptors: [pidfd][, uffd] */
	SDI_OP_INFO,
	SDI_OP_CLEAR,
	SDI_OP_READ,		/* the reply brings a memfd, if n_ranges */
	SDI_OP_PAGES,		/* the same */
	SDI_OP_FORGET,
	SDI_OP_TAKEN,		/* no reply */
	SDI_OP_HOLD,		/* serve nobody but me: I am about to stop the target */
	SDI_OP_FROZEN,		/* done; descriptors: keeps it stopped while it is open[, my pidfd] */
	SDI_OP_RELEASE,		/* it runs again; no reply */
	SDI_OP_STOP,		/* end; the reply comes when all is let go */
};

enum sdi_request_flags {
	SDI_REQUEST_CLEAR = 1 << 0,	/* READ: move the mark */
	SDI_REQUEST_PIDFD = 1 << 1,	/* HELLO: the first descriptor is the target's pidfd;
					 * FROZEN: the second is the client's */
	SDI_REQUEST_UFFD = 1 << 2,	/* HELLO, START: the last descriptor is a userfaultfd */
};

struct sdi_request {
	uint32_t magic;
	uint16_t version;
	uint16_t op;
	uint32_t flags;
	int32_t pid;		/* START: the target; else the thread that asks */
	uint64_t start;		/* READ, PAGES; START: the start time */
	uint64_t end;
	char mark[64];		/* CLEAR, READ, FORGET; START: the backend, "" for any */
};

struct sdi_reply {
	uint32_t magic;
	uint16_t version;
	uint16_t op;		/* of the request */
	int32_t err;		/* 0 or a negative errno, with the sentence in text */
	uint32_t zero;
	int32_t keeper;		/* START, HELLO, INFO: from here to passed_over. Its own pid */
	uint32_t n_marks;
	uint64_t start_time;
	uint64_t generation;
	uint64_t attach_ns;
	uint64_t n_ranges;	/* READ, PAGES only */
	char backend[16];
	char passed_over[464];
	char text[512];
};

/*
 * Send one packet with descriptors. flags: 0 or MSG_DONTWAIT. 0, -EPIPE (nobody is there), -EAGAIN
 * or another -errno.
 */
int sdi_wire_send(int sock, const void *packet, size_t size, const int *fds, size_t n_fds,
		  int flags);

/*
 * Receive one packet of exactly that size. fds has room for
 * SDI_WIRE_MAX_FDS; it gets what came along, -1 for the rest, the caller's to close. 0, -EPIPE (the
 * other side has hung up), -EAGAIN, -EPROTO (something else was sent), -EMFILE (descriptors came
 * that this process has no room for) or another -errno; no descriptors are left over then.
 */
int sdi_wire_recv(int sock, void *packet, size_t size, int *fds, int flags);

/* Does the peer have our effective uid? 0 and its pid, or -EPERM with the sentence set. */
int sdi_wire_peer(int sock, pid_t *pid);

/* A sealed memfd with these ranges. Returns the descriptor or -errno. */
int sdi_wire_seal(const struct softdirty_range *ranges, size_t n);

/* Map such a memfd; *ret is to be unmapped with sdi_wire_unmap(). 0, -EPROTO or -errno. */
int sdi_wire_map(int memfd, uint64_t n, const struct softdirty_range **ret);
void sdi_wire_unmap(const struct softdirty_range *ranges, uint64_t n);

#endif
