/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restartable sequences: threads add to a counter of their CPU without any lock. If an attach let a
 * sequence go on that the kernel had to abort, additions of two threads would collide and get lost.
 * x86_64 only: the sequence is in assembly.
 */
#include <errno.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target.h"

#define N_THREADS 4
#define MAX_CPUS 64
#define MAX_SECONDS 20			/* on a slow machine */

/* Of glibc 2.35 and later, which registers the area of each thread. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

struct shared {
	struct {
		uint64_t n;
		char pad[120];
	} cpu[MAX_CPUS];
	_Atomic uint64_t done, aborted;
	_Atomic bool stop;
};
static struct shared *shared;

static struct rseq *area(void)
{
	char *thread;

	__asm__("mov %%fs:0, %0" : "=r"(thread));
	return (struct rseq *)(thread + __rseq_offset);
}

/* cpu[this].n++ in three instructions with a pause between them. Returns false if aborted. */
static bool add_one(struct rseq *rs)
{
	__asm__ goto(
		".pushsection __rseq_cs, \"aw\"\n"
		".balign 32\n"
		"3:\t.long 0, 0\n"
		"\t.quad 1f, (2f - 1f), 4f\n"
		".popsection\n"
		"\tleaq 3b(%%rip), %%rax\n"
		"\tmovq %%rax, %c[cs](%[rs])\n"
		"1:\n"
		"\tmovl %c[id](%[rs]), %%eax\n"
		"\tshlq $7, %%rax\n"
		"\tmovq (%[base], %%rax), %%rcx\n"
		"\tmovl $200, %%edx\n"
		"5:\tdecl %%edx\n"
		"\tjnz 5b\n"
		"\tincq %%rcx\n"
		"\tmovq %%rcx, (%[base], %%rax)\n"
		"2:\n"
		".pushsection __rseq_failure, \"ax\"\n"
		"\t.long 0x53053053\n"		/* RSEQ_SIG, undone by the kernel */
		"4:\tjmp %l[abort]\n"
		".popsection\n"
		: : [rs] "r"(rs), [base] "r"(shared->cpu), [cs] "i"(offsetof(struct rseq, rseq_cs)),
		    [id] "i"(offsetof(struct rseq, cpu_id))
		: "rax", "rcx", "rdx", "memory", "cc" : abort);
	return true;
abort:
	return false;
}

static void *adder(void *arg)
{
	struct rseq *rs = area();
	uint64_t done = 0, aborted = 0;

	while (!shared->stop) {
		if (add_one(rs))
			done++;
		else
			aborted++;
	}
	atomic_fetch_add(&shared->done, done);
	atomic_fetch_add(&shared->aborted, aborted);
	return NULL;
}

static long op_add(long a, long b, long c, long d)
{
	pthread_t t[N_THREADS];

	for (int i = 0; i < N_THREADS; i++)
		if (pthread_create(&t[i], NULL, adder, NULL))
			return -EAGAIN;
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(t[i], NULL);
	return 0;
}

static void sequences_lose_no_addition(void)
{
	T_TARGET tg;
	uint64_t sum = 0, end = t_deadline(MAX_SECONDS);
	struct softdirty *sd;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	tg = t_start();
	t_post(&tg, op_add, 0, 0, 0);
	t_sleep_ms(50);
	for (int i = 0; i < 300 && t_now() < end; i++) {
		T_MUST(softdirty_open(tg.pid, NULL, &sd) == 0);
		T_EQ(softdirty_clear(sd, NULL), 0);
		if (i % 4 == 0) {
			T_EQ(softdirty_freeze(sd), 0);
			softdirty_thaw(sd);
		}
		softdirty_close(sd);
	}
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
	for (int i = 0; i < MAX_CPUS; i++)
		sum += shared->cpu[i].n;
	t_note("%llu additions, %llu aborted by the kernel", (unsigned long long)shared->done,
	       (unsigned long long)shared->aborted);
	T_EQ(sum, shared->done);
	T_OK(shared->aborted > 0);
}

int main(void)
{
	t_need_backend();
	if (!&__rseq_size || __rseq_size == 0)
		t_skip_all("the C library registers no restartable sequences");
	if (sysconf(_SC_NPROCESSORS_CONF) > MAX_CPUS)
		t_skip_all("more than %d processors", MAX_CPUS);
	T_RUN(sequences_lose_no_addition);
	return t_done();
}
