/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory whose pages leave the page table and come back, or become huge ones and small ones, all the
 * time, while threads write. What is written stays, so nothing is forgiven: each write that ended
 * before a read is reported by it.
 */
#ifndef T_DROPS_H
#define T_DROPS_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lost.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { T_DROPS_SECONDS = 1, T_DROPS_ROUNDS = 2000, T_DROPS_PAGES = 2048, T_DROPS_THREADS = 2,
       T_DROPS_COMPACTED = 1 << 15 };

struct t_drops_how {
	t_fn *make;		/* what makes a file of that many bytes to share; NULL: private memory */
	int advice[2];		/* what is done to the memory, in turns */
	bool from_outside;	/* by another process: also while the target is stopped */
	bool compacted;		/* and one more has the kernel move pages together */
	bool swapped;		/* pages must have gone to swap, or nothing was tried */
};

static struct t_drops {
	_Atomic bool stop;
	struct t_drops_how how;
	_Atomic uint64_t done[3];	/* how often, of each advice and of moving together ... */
	_Atomic int refusal[3];		/* ... and the last errno */
} *t_drops;
static struct t_oracle *t_drops_oracle;
static char *t_drops_memory;

/* --- in the target, or in the other process --- */

static void *t_drops_writer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (uint64_t value = (uint64_t)seed << 32; !t_drops->stop; value++) {
		size_t i = (size_t)rand_r(&seed) % T_DROPS_PAGES;

		t_oracle_begin(t_drops_oracle, i);
		*(volatile uint64_t *)(t_drops_memory + i * t_page_size()) = value;
		t_oracle_end(t_drops_oracle, i);
	}
	return NULL;
}

/* Some pages at once; but a huge page is made of the 2 MiB around them. */
static long t_drops_advise(int pidfd, size_t i, int advice)
{
	size_t n = advice == MADV_COLLAPSE ? (2 << 20) / t_page_size() : 16;

	i = advice == MADV_COLLAPSE ? i / n * n : i % (T_DROPS_PAGES - n);
	struct iovec part = { t_drops_memory + i * t_page_size(), n * t_page_size() };
	return pidfd < 0 ? madvise(part.iov_base, part.iov_len, advice) :
			   syscall(SYS_process_madvise, pidfd, &part, 1, advice, 0);
}

/* In turns; what became of it is counted. */
static void t_drops_advise_next(int pidfd, size_t i, size_t turn)
{
	if (t_drops_advise(pidfd, i, t_drops->how.advice[turn]) < 0)
		t_drops->refusal[turn] = errno;
	else
		atomic_fetch_add(&t_drops->done[turn], 1);
}

static void t_drops_drop(int pidfd, unsigned seed)
{
	for (size_t n = 0; !t_drops->stop; n++)
		t_drops_advise_next(pidfd, (size_t)rand_r(&seed) % T_DROPS_PAGES, n % 2);
}

static void *t_drops_dropper(void *arg)
{
	t_drops_drop(-1, (unsigned)(uintptr_t)arg);
	return NULL;
}

static long t_drops_run(long mem, long b, long c, long d)
{
	bool outside = t_drops->how.from_outside;
	pthread_t t[2 * T_DROPS_THREADS];

	t_drops_memory = (char *)mem;
	for (size_t i = 0; i < 2 * T_DROPS_THREADS; i++)
		if (pthread_create(&t[i], NULL, i % 2 && !outside ? t_drops_dropper
								   : t_drops_writer,
				   (void *)(i + 1)))
			return -EAGAIN;
	for (size_t i = 0; i < 2 * T_DROPS_THREADS; i++)
		pthread_join(t[i], NULL);
	return 0;
}

/* --- in the test --- */

/* Memory with holes everywhere, and then not: so there is always something to move. */
static void t_drops_compact(void)
{
	size_t n = T_DROPS_COMPACTED, size = n * t_page_size();
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned seed = 1;

	T_MUST(p != MAP_FAILED);
	madvise(p, size, MADV_NOHUGEPAGE);
	memset(p, 1, size);
	while (!t_drops->stop) {
		t_drops->refusal[2] = -t_write_file("/proc/sys/vm/compact_memory", "1");
		if (t_drops->refusal[2])
			return;
		t_drops->done[2]++;
		for (size_t i = 0; i < n / 16; i++)
			p[(size_t)rand_r(&seed) % n * t_page_size()] = 1;
		for (size_t i = 0; i < n / 32; i++)
			madvise(p + (size_t)rand_r(&seed) % n * t_page_size(), t_page_size(),
				MADV_DONTNEED);
	}
}

static pid_t t_drops_compactor(void)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		t_drops_compact();
		_exit(0);
	}
	return pid;
}

/* Returns the other process, or 0: it may not do that. */
static pid_t t_drops_outside(const struct t_target *tg)
{
	int pidfd = (int)syscall(SYS_pidfd_open, tg->pid, 0);
	pid_t pid;

	t_drops_memory = (char *)tg->mem;
	if (pidfd < 0 || (t_drops_advise(pidfd, 0, MADV_PAGEOUT) < 0 &&
			  (errno == EPERM || errno == ENOSYS)))
		return 0;
	pid = t_fork();
	if (pid == 0) {
		t_drops_drop(pidfd, 1);
		_exit(0);
	}
	close(pidfd);
	return pid;
}

/* Pages of the whole machine that went to swap so far. */
static uint64_t t_drops_n_swapped(void)
{
	static const char *const names[] = { "\npswpout ", "\nzswpout " };
	char text[16384];
	uint64_t n = 0;

	T_MUST(t_read_file("/proc/vmstat", text, sizeof(text)) > 0);
	for (int i = 0; i < 2; i++) {
		const char *line = strstr(text, names[i]);

		n += line ? strtoull(line + strlen(names[i]), NULL, 10) : 0;
	}
	return n;
}

/* Nothing is proven where nothing was dropped. */
static void t_drops_were_tried(uint64_t n_swapped)
{
	const struct t_drops_how *how = &t_drops->how;

	t_note("%llu writes, %llu and %llu drops, %llu pages swapped, compacted %llu times",
	       (unsigned long long)t_oracle_total(t_drops_oracle),
	       (unsigned long long)t_drops->done[0], (unsigned long long)t_drops->done[1],
	       (unsigned long long)n_swapped, (unsigned long long)t_drops->done[2]);
	T_OK(t_oracle_total(t_drops_oracle) > 0);
	for (int i = 0; i < 2; i++) {
		if (how->advice[i] == MADV_DONTNEED)
			T_OK(t_drops->done[i] > 0);
		else if (!t_drops->done[i])
			T_SKIP("madvise(%d) never succeeded: %s", how->advice[i],
			       strerror(t_drops->refusal[i]));
	}
	if (how->swapped && !n_swapped)
		T_SKIP("the kernel swapped nothing out");
	if (how->compacted && !t_drops->done[2])
		T_SKIP("the kernel did not move pages together: %s", strerror(t_drops->refusal[2]));
}

/* Moving pages together takes longer than a second now and then. */
static bool t_drops_more(size_t rounds, uint64_t end)
{
	if (t_failed() || rounds == T_DROPS_ROUNDS)
		return false;
	return t_now() < end || (t_drops->how.compacted && !t_drops->done[2] &&
				 !t_drops->refusal[2] && t_now() < end + 10000000000);
}

static void t_drops_until(struct t_target *tg, uint64_t end)
{
	uint64_t n_swapped = t_drops_n_swapped();
	size_t rounds = 0, lost = 0;

	t_post(tg, t_drops_run, tg->mem, 0, 0);
	do
		lost += t_lost_writes(tg, t_drops_oracle);
	while (t_drops_more(++rounds, end));
	t_drops->stop = true;
	T_EQ(t_wait(tg), 0);
	lost += t_lost_writes(tg, t_drops_oracle);
	t_note("%zu rounds, %zu writes lost", rounds, lost);
	T_EQ(lost, 0);
	t_drops_were_tried(t_drops_n_swapped() - n_swapped);
}

static inline void t_drop_all_the_time(struct t_drops_how how)
{
	size_t size = T_DROPS_PAGES * t_page_size();
	pid_t outside = 0, compactor = 0;
	T_TARGET tg;
	int fd = -1;

	t_drops_oracle = t_oracle_new(T_DROPS_PAGES);
	t_drops = mmap(NULL, sizeof(*t_drops), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	T_MUST(t_drops != MAP_FAILED);
	t_drops->how = how;
	tg = t_start();
	if (how.make)
		fd = (int)t_call(&tg, how.make, size);
	T_MUST(!how.make || fd >= 0);
	t_slot(&tg, size, 2 << 20);
	tg.unit = t_page_size();
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, size,
		      how.make ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd) == 0);
	t_call(&tg, t_op_touch, tg.mem, T_DROPS_PAGES, t_page_size());
	t_watch(&tg);
	if (how.from_outside) {
		outside = t_drops_outside(&tg);
		if (outside <= 0)
			T_SKIP("no process_madvise() (Linux 5.10, root)");
	}
	if (how.compacted)
		compactor = t_drops_compactor();
	t_drops_until(&tg, t_deadline(T_DROPS_SECONDS));
	t_kill(outside);
	t_kill(compactor);
}
#define T_DROP_ALL_THE_TIME(...) t_drop_all_the_time((struct t_drops_how){ __VA_ARGS__ })

#endif
