/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost: a thread of the kernel writes packets to the memory of a process that is stopped, or asleep.
 * It is one of the process's own since Linux 6.4, and was one of the kernel's before. The target has a
 * virtual socket device, whose queue of buffers is in memory that it shares with the test; a connection
 * to it is one packet, and so one write to the next buffer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>	/* after sys/socket.h, which it needs */

#include "lost.h"

#define DEVICE "/dev/vhost-vsock"

enum { N = 256, SECONDS = 3, CID = 4242 };

/* The queues of received and of sent packets; nothing is sent. */
static struct queue {
	struct vring_desc desc[N];
	struct {
		uint16_t flags;
		_Atomic uint16_t idx;
		uint16_t ring[N];
		uint16_t event;
	} avail;
	struct {
		uint16_t flags;
		_Atomic uint16_t idx;
		struct vring_used_elem ring[N];
		uint16_t event;
	} used __attribute__((aligned(8)));
} *queues;

static struct t_oracle *oracle;
static _Atomic bool stop;

/* --- in the target --- */

static int set_queue(int fd, unsigned i, const struct queue *q)
{
	struct vhost_vring_state num = { i, N }, base = { i, 0 };
	struct vhost_vring_addr addr = {
		.index = i, .desc_user_addr = (uintptr_t)q->desc,
		.avail_user_addr = (uintptr_t)&q->avail, .used_user_addr = (uintptr_t)&q->used,
	};

	return ioctl(fd, VHOST_SET_VRING_NUM, &num) || ioctl(fd, VHOST_SET_VRING_BASE, &base) ||
	       ioctl(fd, VHOST_SET_VRING_ADDR, &addr);
}

/* Addresses of the guest are those of the process. */
static int set_memory(int fd, long mem)
{
	union {
		struct vhost_memory table;
		char room[sizeof(struct vhost_memory) + sizeof(struct vhost_memory_region)];
	} m = { .table.nregions = 1 };

	m.table.regions[0] = (struct vhost_memory_region){
		.guest_phys_addr = (uint64_t)mem, .memory_size = N * t_page_size(),
		.userspace_addr = (uint64_t)mem,
	};
	return ioctl(fd, VHOST_SET_MEM_TABLE, &m);
}

/* Any thread may do that, and end: the worker has its number. */
static void *become_owner(void *arg)
{
	int *fd = arg;

	*fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (*fd < 0 || ioctl(*fd, VHOST_SET_OWNER))
		*fd = -errno;
	return NULL;
}

static long op_device(long mem, long b, long c, long d)
{
	uint64_t cid = CID;
	int fd, on = 1;
	pthread_t t;

	if (pthread_create(&t, NULL, become_owner, &fd) || pthread_join(t, NULL))
		return -EAGAIN;
	if (fd < 0)
		return fd;
	if (set_memory(fd, mem) || set_queue(fd, 0, &queues[0]) || set_queue(fd, 1, &queues[1]) ||
	    ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid) || ioctl(fd, VHOST_VSOCK_SET_RUNNING, &on))
		return -errno;
	return fd;
}

/* --- in the test --- */

static void prepare(const struct t_target *tg)
{
	for (size_t i = 0; i < N; i++) {
		queues[0].desc[i] = (struct vring_desc){
			.addr = t_page(tg, i), .len = (uint32_t)t_page_size(),
			.flags = VRING_DESC_F_WRITE,
		};
		queues[0].avail.ring[i] = (uint16_t)i;
	}
}

/* Whether the packet came. */
static bool send_packet(uint16_t n)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = CID, .svm_port = 1 };
	int s = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	uint64_t end = t_now() + 10000000000u;

	queues[0].avail.idx = n;
	if (connect(s, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		end = 0;
	while (queues[0].used.idx != n && t_now() < end)
		;
	close(s);
	return queues[0].used.idx == n;
}

static void *writer(void *arg)
{
	uint16_t n = 0;
	bool sent = true;

	while (!stop && sent) {
		size_t i = n++ % N;

		t_oracle_begin(oracle, i);
		sent = send_packet(n);
		t_oracle_end(oracle, i);
		atomic_fetch_add(&oracle->n_writes, 1);
	}
	return (void *)sent;
}

/* A target with the device, and N pages for it, is watched. False: there is none here. */
static bool begin(struct t_target *tg)
{
	queues = mmap(NULL, 2 * sizeof(*queues), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	T_MUST(queues != MAP_FAILED);
	*tg = t_start();
	t_map_touched(tg, N);
	prepare(tg);
	long fd = t_call(tg, op_device, tg->mem);
	if (fd < 0)
		t_skip("no vhost-vsock here (%s)", strerror((int)-fd));
	else
		t_watch(tg);
	return fd >= 0;
}

static void packets_from_a_thread_of_the_kernel(void)
{
	uint64_t end = t_deadline(SECONDS);
	size_t rounds = 0, lost = 0;
	T_TARGET tg;
	pthread_t t;
	void *sent;

	if (!begin(&tg))
		return;
	oracle = t_oracle_new(N);
	T_MUST(pthread_create(&t, NULL, writer, NULL) == 0);
	for (; t_now() < end; rounds++)
		lost += t_lost_writes(&tg, oracle);
	stop = true;
	pthread_join(t, &sent);
	lost += t_lost_writes(&tg, oracle);
	t_note("%llu packets, %zu rounds, %zu writes lost",
	       (unsigned long long)oracle->n_writes, rounds, lost);
	T_OK(sent);
	T_EQ(lost, 0);
}

static void one_packet(void)
{
	T_TARGET tg;

	if (!begin(&tg))
		return;
	T_OK(send_packet(1));
	T_EVENT(&tg, .want = "D-*255");
}

/*
 * Is its worker surely one of its own threads? It has no other than the first. Kernels since 6.17, and
 * stable ones, can have it either way.
 */
static bool has_own_worker(pid_t pid)
{
	char path[32];
	struct stat task;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	T_MUST(stat(path, &task) == 0);
	return task.st_nlink > 2 + 1 &&
	       access("/sys/module/vhost/parameters/fork_from_owner_default", F_OK);
}

/* If it is not, nobody sees there what it did between reading and clearing. */
static void one_packet_to_a_container(void)
{
	T_TARGET tg;

	if (!begin(&tg))
		return;
	T_OK(send_packet(1));
	bool unknown = t_backend() == T_SOFT_DIRTY && !has_own_worker(tg.pid);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), unknown ? "u*256" : "D-*255");
}

static void in_a_container(void (*fn)(void))
{
	int status;
	pid_t pid;

	T_MUST(unshare(CLONE_NEWPID | CLONE_NEWNS) == 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		T_MUST(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		       !mount("proc", "/proc", "proc", 0, NULL));
		fn();
		fflush(stdout);
		_exit(t_failed() ? 1 : 0);	/* LeakSanitizer cannot work as the first process */
	}
	T_MUST(waitpid(pid, &status, 0) == pid);
	T_EQ(status, 0);
}

static void one_packet_in_a_container(void)
{
	if (access(DEVICE, R_OK | W_OK))
		T_SKIP("no vhost-vsock here (%s)", strerror(errno));
	if (geteuid() != 0)
		T_SKIP("only root may make a container");
	in_a_container(one_packet_to_a_container);
}

int main(void)
{
	t_need_backend();
	T_RUN(one_packet);
	T_RUN(packets_from_a_thread_of_the_kernel);
	T_RUN(one_packet_in_a_container);
	return t_done();
}
