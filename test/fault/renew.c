/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A target that replaces a mapping by a larger or smaller one while it is looked at. The list of its
 * mappings is old then; but hardly one may be left in two pieces, which mremap(2) would refuse: what
 * was replaced in the last moment is found by the next look.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fault.h"

enum { ROUNDS = 1500 };

static struct {
	_Atomic uint64_t looks, renewals;
	_Atomic uint64_t refused;
} *shared;

static void spin(uint64_t ns)
{
	for (uint64_t end = t_now() + ns; t_now() < end;)
		;
}

/* At any moment of a look; and when that look has ended the mapping must be whole. */
static void renew(unsigned *seed)
{
	size_t size = (1 + (size_t)rand_r(seed) % 32) * F_PAGE;
	uint64_t look = shared->looks;
	char *p, *q;

	spin((uint64_t)rand_r(seed) % 200000);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		abort();
	while (shared->looks == look)
		spin(1000);
	q = mremap(p, size, 2 * size, MREMAP_MAYMOVE);
	if (q == MAP_FAILED)
		atomic_fetch_add(&shared->refused, 1);
	munmap(q == MAP_FAILED ? p : q, q == MAP_FAILED ? size : 2 * size);
	atomic_fetch_add(&shared->renewals, 1);
}

static void a_renewed_mapping_stays_whole(void)
{
	const struct softdirty_range *r;
	struct softdirty *sd;
	unsigned seed = (unsigned)f_random(1 << 30);
	size_t n;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(shared != MAP_FAILED);
	pid_t pid = t_fork();
	if (pid == 0) {
		for (;;)
			renew(&seed);
	}
	T_MUST(!softdirty_open(pid, NULL, &sd));
	for (int i = 0; i < ROUNDS; i++) {
		T_EQ(softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), 0);
		shared->looks++;
	}
	t_note("%llu of %llu refused", (unsigned long long)shared->refused,
	       (unsigned long long)shared->renewals);
	T_OK(shared->renewals > 10);
	T_OK(shared->refused <= 1 + shared->renewals / 100);
	softdirty_close(sd);
	t_kill(pid);
	munmap(shared, sizeof(*shared));
}

int main(int argc, char **argv)
{
	f_main(argc, argv);
	T_RUN(a_renewed_mapping_stays_whole);
	return t_done();
}
