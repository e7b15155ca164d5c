/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A random writer: threads store and let the kernel write, while others unmap, renew, move,
 * protect and drop the same memory and fork. The test reads and clears all the time, as an
 * ordinary user, and no write may be lost. The first half of the memory is private, the second
 * half shared.
 *
 * Memory is changed in blocks; whoever changes a block locks the writers out of it. When one was
 * changed during a read, a page may be reported by the next one instead: also one of its neighbours,
 * which the kernel takes out of the userfaultfd when a moved block joins them. Whoever changes it may
 * lose the CPU in the middle of that, for several reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"
#include "target.h"

#define N_WRITES 10000000
#define MAX_SECONDS 60
#define MIN_ROUNDS 3
#define N_BLOCKS 64
#define BLOCK 64			/* pages */
#define N_PAGES (N_BLOCKS * BLOCK)
#define N_WRITERS 3

static struct t_oracle *oracle;
static struct control {
	_Atomic bool stop;
	_Atomic int error, where;
	_Atomic uint64_t n_churns, value;
	_Atomic uint32_t changes[N_BLOCKS];	/* odd: being changed */
} *control;
static enum t_backend backend;

/* --- in the target --- */

static pthread_rwlock_t lock[N_BLOCKS];
static char *memory, *scratch;
static int memfd;
static size_t page;

static void failed(int where)
{
	control->where = where;
	control->error = errno;
}

static void store(char *p, uint64_t value, int fd[4])
{
	*(volatile uint64_t *)p = value;
}

static void by_pipe(char *p, uint64_t value, int fd[4])
{
	if (write(fd[1], &value, 8) != 8 || read(fd[0], p, 8) != 8)
		failed(1);
}

static void by_recv(char *p, uint64_t value, int fd[4])
{
	if (send(fd[3], &value, 8, 0) != 8 || recv(fd[2], p, 8, 0) != 8)
		failed(2);
}

static void by_getrandom(char *p, uint64_t value, int fd[4])
{
	if (syscall(SYS_getrandom, p, 32, 0) != 32)
		failed(3);
}

static void by_writev(char *p, uint64_t value, int fd[4])
{
	struct iovec local = { &value, 8 }, remote = { p, 8 };

	if (process_vm_writev(getpid(), &local, 1, &remote, 1, 0) != 8)
		failed(4);
}

static void by_clock(char *p, uint64_t value, int fd[4])
{
	if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p))
		failed(5);
}

/* Mostly stores: the kernel's share is one write in eight. */
static void (*const kinds[])(char *p, uint64_t value, int fd[4]) = {
	by_pipe, by_recv, by_getrandom, by_writev, by_clock,
};

static void write_once(unsigned *seed, uint64_t *value, int fd[4])
{
	unsigned r = (unsigned)rand_r(seed), i = r % N_PAGES;
	char *p = memory + i * page + (r >> 16) % 500 * 8;

	pthread_rwlock_rdlock(&lock[i / BLOCK]);
	t_oracle_begin(oracle, i);
	*value += 16;
	if (r & 0x7000)
		store(p, *value, fd);
	else
		kinds[(r >> 20) % 5](p, *value, fd);
	t_oracle_end(oracle, i);
	pthread_rwlock_unlock(&lock[i / BLOCK]);
}

static void *writer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg + 1;
	uint64_t value = (uintptr_t)arg;	/* its own values only, never the same again */
	int fd[4];

	if (pipe(fd) || socketpair(AF_UNIX, SOCK_STREAM, 0, fd + 2)) {
		failed(6);
		return NULL;
	}
	while (!control->stop) {
		for (int i = 0; i < 100; i++)
			write_once(&seed, &value, fd);
		atomic_fetch_add(&oracle->n_writes, 100);
	}
	return NULL;
}

static bool is_shared(unsigned block)
{
	return block >= N_BLOCKS / 2;
}

static bool map_block(unsigned block, char *at)
{
	size_t size = BLOCK * page;
	void *p = is_shared(block)
			  ? mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memfd,
				 (off_t)(block * size))
			  : mmap(at, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return p != MAP_FAILED;
}

/*
 * A renewed or moved mapping counts as written, whole; but not where only contents are compared, as
 * natively of shared memory.
 */
static void count_block(unsigned block, void (*count)(struct t_oracle *o, size_t i))
{
	if (backend == T_HASH || (backend == T_SOFT_DIRTY && is_shared(block)))
		return;
	for (size_t i = 0; i < BLOCK; i++)
		count(oracle, block * BLOCK + i);
}

static void forgive_block(unsigned block)
{
	for (size_t i = 0; i < BLOCK && !is_shared(block); i++)
		t_oracle_forgive(oracle, block * BLOCK + i);
}

static void renew(unsigned block, char *at, size_t size)
{
	forgive_block(block);
	count_block(block, t_oracle_begin);
	if (munmap(at, size) || !map_block(block, at))
		failed(10);
	count_block(block, t_oracle_end);
}

static void map_over(unsigned block, char *at, size_t size)
{
	forgive_block(block);
	count_block(block, t_oracle_begin);
	if (!map_block(block, at))
		failed(11);
	count_block(block, t_oracle_end);
}

static void move_away_and_back(unsigned block, char *at, size_t size)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	/* Where nothing is mapped in, the native bit does not see the move: nothing moved. */
	if (backend == T_WP_ASYNC)
		count_block(block, t_oracle_begin);
	if (mremap(at, size, size, flags, scratch) == MAP_FAILED ||
	    mremap(scratch, size, size, flags, at) == MAP_FAILED)
		failed(12);
	if (backend == T_WP_ASYNC)
		count_block(block, t_oracle_end);
}

static void protect(unsigned block, char *at, size_t size)
{
	if (mprotect(at, size / 2, PROT_READ) || mprotect(at + size / 4, size / 4, PROT_NONE) ||
	    mprotect(at, size, PROT_READ | PROT_WRITE))
		failed(13);
}

static void drop(unsigned block, char *at, size_t size)
{
	if (madvise(at, size, MADV_DONTNEED))
		failed(14);
	forgive_block(block);
}

static void free_lazily(unsigned block, char *at, size_t size)
{
	if (!is_shared(block) && madvise(at, size, MADV_FREE))
		failed(15);
	forgive_block(block);
}

static void page_out(unsigned block, char *at, size_t size)
{
	madvise(at, size, 21 /* MADV_PAGEOUT, Linux 5.4 */);
}

static void (*const churns[])(unsigned block, char *at, size_t size) = {
	renew, map_over, move_away_and_back, protect, drop, free_lazily, page_out,
};

static void churn_once(unsigned *seed)
{
	unsigned r = (unsigned)rand_r(seed), block = r % N_BLOCKS;

	pthread_rwlock_wrlock(&lock[block]);
	atomic_fetch_add(&control->changes[block], 1);
	churns[(r >> 10) % 7](block, memory + block * BLOCK * page, BLOCK * page);
	atomic_fetch_add(&control->changes[block], 1);
	pthread_rwlock_unlock(&lock[block]);
	atomic_fetch_add(&control->n_churns, 1);
}

static void *churner(void *arg)
{
	unsigned seed = 77;

	while (!control->stop) {
		churn_once(&seed);
		usleep(500);
	}
	return NULL;
}

/* The child writes to what it shares with the writers until then: nothing of the parent's. */
static void *forker(void *arg)
{
	while (!control->stop) {
		pid_t pid = fork();

		if (pid == 0) {
			for (size_t i = 0; i < N_PAGES / 2; i += 17)
				if (!is_shared((unsigned)i / BLOCK))
					syscall(SYS_getrandom, memory + i * page, 8, 0);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			failed(20);
		usleep(20000);
	}
	return NULL;
}

static long op_prepare(long a, long b, long c, long d)
{
	size_t size = N_PAGES * t_page_size();

	page = t_page_size();
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	scratch = mmap(NULL, BLOCK * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memfd = (int)t_op_memfd((long)size, 0, 0, 0);
	for (unsigned i = 0; i < N_BLOCKS; i++) {
		pthread_rwlock_init(&lock[i], NULL);
		if (!map_block(i, memory + i * BLOCK * page))
			return -errno;
	}
	return (long)memory;
}

static long op_run(long a, long b, long c, long d)
{
	pthread_t t[N_WRITERS + 2];

	for (size_t i = 0; i < N_WRITERS; i++)
		if (pthread_create(&t[i], NULL, writer, (void *)i))
			return -EAGAIN;
	if (pthread_create(&t[N_WRITERS], NULL, churner, NULL) ||
	    pthread_create(&t[N_WRITERS + 1], NULL, forker, NULL))
		return -EAGAIN;
	for (size_t i = 0; i < N_WRITERS + 2; i++)
		pthread_join(t[i], NULL);
	return 0;
}

/* --- in the test --- */

struct result {
	uint64_t rounds, reported, n_late, lost;
	bool late[N_PAGES];		/* was left to this round */
};

static bool changed(const uint32_t *before, size_t block)
{
	return (before[block] & 1) || before[block] != control->changes[block];
}

/*
 * One late report is excused if anything changed meanwhile, each further one only if the block itself
 * did: one change, or the next, may have taken it away from that read, too.
 */
static bool is_excused(const struct result *r, size_t i, const uint32_t *before, bool any_changed)
{
	return r->late[i] ? changed(before, i / BLOCK) : any_changed;
}

static void judge_page(struct result *r, size_t i, bool reported, bool excused)
{
	r->reported += reported;
	if (!t_oracle_after(oracle, i, reported)) {
		r->late[i] = false;
	} else if (excused) {
		r->n_late++;
		r->late[i] = true;
	} else if (r->lost++ < 10) {
		t_note("page %zu lost in round %llu%s", i, (unsigned long long)r->rounds,
		       r->late[i] ? ", late before" : "");
	}
}

static void judge(struct result *r, const char *letters, const uint32_t *before)
{
	bool any_changed = false;

	for (size_t b = 0; b < N_BLOCKS; b++)
		any_changed |= changed(before, b);
	for (size_t i = 0; i < N_PAGES; i++)
		judge_page(r, i, letters[i] != '-', is_excused(r, i, before, any_changed));
	r->rounds++;
}

static void read_clear(struct t_target *tg, struct result *r)
{
	static char letters[N_PAGES + 1];
	uint32_t changes[N_BLOCKS];

	for (size_t i = 0; i < N_BLOCKS; i++)
		changes[i] = control->changes[i];
	t_oracle_before(oracle);
	t_letters(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, N_PAGES, t_page_size(), letters);
	judge(r, letters, changes);
}

static void no_write_is_lost(void)
{
	T_TARGET tg;
	static struct result r;
	uint64_t end = t_deadline(MAX_SECONDS);

	backend = t_backend();
	oracle = t_oracle_new(N_PAGES);
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	T_MUST(control != MAP_FAILED);
	tg = t_start();
	tg.mem = (uintptr_t)t_call(&tg, op_prepare);
	t_watch(&tg);
	t_post(&tg, op_run, 0, 0, 0);
	while (oracle->n_writes < N_WRITES && (r.rounds < MIN_ROUNDS || t_now() < end) &&
	       !t_failed() && !control->error) {
		read_clear(&tg, &r);
		usleep((unsigned)(r.rounds % 5) * 300);
	}
	control->stop = true;
	T_EQ(t_wait(&tg), 0);
	read_clear(&tg, &r);
	read_clear(&tg, &r);
	t_note("%llu writes, %llu changes of mappings, %llu rounds, %llu pages reported, %llu left to "
	       "the next round, %llu lost", (unsigned long long)oracle->n_writes,
	       (unsigned long long)control->n_churns, (unsigned long long)r.rounds,
	       (unsigned long long)r.reported, (unsigned long long)r.n_late,
	       (unsigned long long)r.lost);
	T_EQ(r.lost, 0);
	if (!T_EQ(control->error, 0))
		t_note("step %d of the target: %s", control->where, strerror(control->error));
	T_OK(r.rounds > MIN_ROUNDS && oracle->n_writes > 0);
}

int main(void)
{
	T_MUST(t_drop_privileges());
	t_need_backend();
	T_RUN(no_write_is_lost);
	return t_done();
}
