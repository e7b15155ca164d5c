/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program that watches its own memory, with and without other threads that write. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oracle.h"
#include "target.h"

#define N_PAGES 256

static struct softdirty *open_self(void)
{
	struct softdirty *sd = NULL;
	int ret = softdirty_open(0, NULL, &sd);

	if (ret == -EOPNOTSUPP)
		t_note("%s", softdirty_error());
	return ret ? NULL : sd;
}

static char *region(void)
{
	char *p = mmap(NULL, N_PAGES * t_page_size(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	T_MUST(p != MAP_FAILED);
	memset(p, 1, N_PAGES * t_page_size());
	return p;
}

static void own_writes_are_seen(void)
{
	struct softdirty *sd = open_self();
	char *p = region();
	char got[N_PAGES + 1];

	if (!sd)
		T_SKIP("this backend cannot watch its own process");
	T_EQ(softdirty_clear(sd, NULL), 0);
	t_letters(sd, NULL, 0, (uintptr_t)p, 4, t_page_size(), got);
	T_STREQ(got, "----");
	p[t_page_size()]++;
	t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, (uintptr_t)p, 4, t_page_size(), got);
	T_STREQ(got, "-D--");
	t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, (uintptr_t)p, 4, t_page_size(), got);
	T_STREQ(got, "----");
	munmap(p, N_PAGES * t_page_size());
	softdirty_close(sd);
}

static void own_new_mapping_is_new(void)
{
	struct softdirty *sd = open_self();
	char got[8];
	char *p;

	if (!sd)
		T_SKIP("this backend cannot watch its own process");
	T_EQ(softdirty_clear(sd, NULL), 0);
	p = region();
	t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, (uintptr_t)p, 4, t_page_size(), got);
	T_STREQ(got, "nnnn");
	t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, (uintptr_t)p, 4, t_page_size(), got);
	T_STREQ(got, "----");
	munmap(p, N_PAGES * t_page_size());
	softdirty_close(sd);
}

static struct t_oracle *oracle;
static _Atomic bool stop;

static void *writer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg | 1;
	char *p = arg;

	while (!stop) {
		unsigned i = (unsigned)rand_r(&seed) % N_PAGES;

		t_oracle_begin(oracle, i);
		atomic_fetch_add((_Atomic unsigned *)(p + i * t_page_size()), 1);
		t_oracle_end(oracle, i);
		if (i == 0)
			usleep(100);
	}
	return NULL;
}

static void threads_write_meanwhile(void)
{
	uint64_t until = t_deadline(30);
	struct softdirty *sd = open_self();
	char got[N_PAGES + 1];
	pthread_t thread[2];
	char *p = region();
	int round = 0;

	if (!sd)
		T_SKIP("this backend cannot watch its own process");
	oracle = t_oracle_new(N_PAGES);
	T_EQ(softdirty_clear(sd, NULL), 0);
	for (int i = 0; i < 2; i++)
		T_MUST(pthread_create(&thread[i], NULL, writer, p) == 0);
	for (; round < 200 && t_now() < until; round++) {
		usleep(1000);
		t_oracle_before(oracle);
		t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, (uintptr_t)p, N_PAGES, t_page_size(), got);
		for (size_t i = 0; i < N_PAGES; i++)
			if (!T_OK(!t_oracle_after(oracle, i, got[i] != '-')))
				t_note("page %zu in round %d", i, round);
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	T_OK(round > 0 && t_oracle_total(oracle) > 0);
	munmap(p, N_PAGES * t_page_size());
	softdirty_close(sd);
}

int main(void)
{
	t_need_backend();
	T_RUN(own_writes_are_seen);
	T_RUN(own_new_mapping_is_new);
	T_RUN(threads_write_meanwhile);
	return t_done();
}
