/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared memory that is dropped from the page table and comes back all the time, as under memory
 * pressure. The file keeps what was written, so nothing is forgiven: each write that ended before a
 * read is reported by it.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "oracle.h"
#include "target.h"

#define MAX_SECONDS 2
#define N_ROUNDS 2000
#define N_PAGES 2048
#define DROPPED 16			/* pages at once */
#define N_THREADS 2

static struct t_oracle *oracle;
static _Atomic bool *stop;
static char *memory;

/* --- in the target --- */

static void *writer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (uint64_t value = seed << 16; !*stop; value++) {
		size_t i = (size_t)rand_r(&seed) % N_PAGES;

		t_oracle_begin(oracle, i);
		*(volatile uint64_t *)(memory + i * t_page_size()) = value;
		t_oracle_end(oracle, i);
	}
	return NULL;
}

static void *dropper(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!*stop) {
		size_t i = (size_t)rand_r(&seed) % (N_PAGES - DROPPED);

		madvise(memory + i * t_page_size(), DROPPED * t_page_size(), MADV_DONTNEED);
	}
	return NULL;
}

static long op_run(long mem, long b, long c, long d)
{
	pthread_t t[2 * N_THREADS];

	memory = (char *)mem;
	for (size_t i = 0; i < 2 * N_THREADS; i++)
		if (pthread_create(&t[i], NULL, i % 2 ? dropper : writer, (void *)(i + 1)))
			return -EAGAIN;
	for (size_t i = 0; i < 2 * N_THREADS; i++)
		pthread_join(t[i], NULL);
	return 0;
}

/* --- in the test --- */

/* Returns the number of writes that were lost. */
static size_t read_clear(struct t_target *tg)
{
	static char letters[N_PAGES + 1];
	size_t lost = 0;

	t_oracle_before(oracle);
	t_letters(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, N_PAGES, t_page_size(), letters);
	for (size_t i = 0; i < N_PAGES; i++)
		lost += t_oracle_after(oracle, i, letters[i] != '-');
	return lost;
}

static void each_write_is_in_the_next_read(t_fn *make)
{
	T_TARGET tg;
	size_t rounds = 0, lost = 0;
	int fd;

	oracle = t_oracle_new(N_PAGES);
	stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_MUST(stop != MAP_FAILED);
	tg = t_start();
	fd = (int)t_call(&tg, make, N_PAGES * t_page_size());
	T_MUST(fd >= 0);
	t_slot(&tg, N_PAGES * t_page_size(), t_page_size());
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, N_PAGES * t_page_size(), MAP_SHARED, fd) == 0);
	t_call(&tg, t_op_touch, tg.mem, N_PAGES, t_page_size());
	t_watch(&tg);
	uint64_t end = t_deadline(MAX_SECONDS);
	t_post(&tg, op_run, tg.mem, 0, 0);
	do
		lost += read_clear(&tg);
	while (++rounds < N_ROUNDS && t_now() < end && !t_failed());
	*stop = true;
	T_EQ(t_wait(&tg), 0);
	lost += read_clear(&tg);
	t_note("%zu rounds, %zu writes lost", rounds, lost);
	T_EQ(lost, 0);
}

static void writes_to_memory_that_is_shared(void)
{
	each_write_is_in_the_next_read(t_op_memfd);
}

static void writes_to_a_file_on_a_disk(void)
{
	each_write_is_in_the_next_read(t_op_file);
}

int main(void)
{
	t_need_backend();
	T_RUN(writes_to_memory_that_is_shared);
	T_RUN(writes_to_a_file_on_a_disk);
	return t_done();
}
