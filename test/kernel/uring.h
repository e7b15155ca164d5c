/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The least of io_uring that a test needs, without liburing: one request at a time. */
#ifndef T_URING_H
#define T_URING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct t_uring {
	int fd;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_params p;
	uint8_t flags;			/* of each request: IOSQE_* */
};

/* u->p.flags and what belongs to them are set, the rest is zero. */
static inline int t_uring_open_with(struct t_uring *u)
{
	u->fd = (int)syscall(SYS_io_uring_setup, 8, &u->p);
	if (u->fd < 0)
		return -errno;
	u->sq = mmap(NULL, u->p.sq_off.array + u->p.sq_entries * 4, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQ_RING);
	u->cq = mmap(NULL, u->p.cq_off.cqes + u->p.cq_entries * sizeof(struct io_uring_cqe),
		     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_CQ_RING);
	u->sqes = mmap(NULL, u->p.sq_entries * sizeof(*u->sqes), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQES);
	return u->sq == MAP_FAILED || u->cq == MAP_FAILED || u->sqes == MAP_FAILED ? -errno : 0;
}

static inline int t_uring_open(struct t_uring *u)
{
	memset(u, 0, sizeof(*u));
	return t_uring_open_with(u);
}

static inline int t_uring_register_buffer(struct t_uring *u, void *buf, size_t size)
{
	struct iovec iov = { buf, size };

	return syscall(SYS_io_uring_register, u->fd, IORING_REGISTER_BUFFERS, &iov, 1) ? -errno : 0;
}

/* Submit one read and do not wait for it. */
static inline int t_uring_submit_read(struct t_uring *u, int op, int fd, void *buf, unsigned len,
				      uint64_t offset)
{
	unsigned *tail = (unsigned *)(u->sq + u->p.sq_off.tail);
	unsigned mask = *(unsigned *)(u->sq + u->p.sq_off.ring_mask);
	struct io_uring_sqe *sqe = &u->sqes[*tail & mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)op;
	sqe->flags = u->flags;
	sqe->fd = fd;
	sqe->off = offset;
	sqe->addr = (uintptr_t)buf;
	sqe->len = len;
	((unsigned *)(u->sq + u->p.sq_off.array))[*tail & mask] = *tail & mask;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, u->fd, 1, 0, 0, NULL, 0) == 1 ? 0 : -errno;
}

/* Wait for one completion and return its result. */
static inline int t_uring_wait(struct t_uring *u)
{
	unsigned *head = (unsigned *)(u->cq + u->p.cq_off.head);
	unsigned mask = *(unsigned *)(u->cq + u->p.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(u->cq + u->p.cq_off.cqes);
	int ret;

	while (__atomic_load_n((unsigned *)(u->cq + u->p.cq_off.tail), __ATOMIC_ACQUIRE) == *head)
		if (syscall(SYS_io_uring_enter, u->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
			return -errno;
	ret = cqes[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return ret;
}

#endif
