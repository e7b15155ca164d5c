/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The wide registers of arm64: what a system call may change of them is as it was after an attach, which
 * the thread did not ask for. arm64 only.
 */
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "target.h"

#define N_ATTACH 30
#define SPINS 20000l

enum { HAS_SVE = 1 << 22, HAS_SME = 1 << 23 };		/* of AT_HWCAP, AT_HWCAP2 */
enum { SVE_GET_VL = 51, SME_GET_VL = 64, VL_MASK = 0xffff };

#define ALL_P "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
#define ALL_Z ALL_P ",16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"
#define CLOBBERED "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", \
	"v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", \
	"v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
#define EACH(names, what) ".irp n," names "\n\t" what "\n\t.endr\n\t"
#define LOAD EACH(ALL_Z, "ldr z\\n, [%[z], #\\n, mul vl]") EACH(ALL_P, "ldr p\\n, [%[p], #\\n, mul vl]")
#define STORE EACH(ALL_Z, "str z\\n, [%[to_z], #\\n, mul vl]") \
	EACH(ALL_P, "str p\\n, [%[to_p], #\\n, mul vl]")
#define SPIN "1:\tsubs %[spins], %[spins], #1\n\tb.ne 1b\n\t"

struct wide {
	uint8_t z[32 * 256], p[16 * 32], ffr[32];
};

struct shared {
	_Atomic int rounds, bad;
	_Atomic bool stop;
	struct wide before, after;
};
static struct shared *shared;

/* The same from before to after, with some time between. */
typedef void hold_fn(const struct wide *before, struct wide *after);

static void hold(const struct wide *before, struct wide *after)
{
	long spins = SPINS;

	__asm__ volatile(".arch_extension sve\n\t"
			 "ldr p0, [%[ffr]]\n\t"
			 "wrffr p0.b\n\t"
			 LOAD SPIN STORE
			 "rdffr p0.b\n\t"
			 "str p0, [%[to_ffr]]\n\t"
			 : [spins] "+r"(spins)
			 : [z] "r"(before->z), [p] "r"(before->p), [ffr] "r"(before->ffr),
			   [to_z] "r"(after->z), [to_p] "r"(after->p), [to_ffr] "r"(after->ffr)
			 : CLOBBERED);
}

/* Streaming mode from smstart to smstop, which are newer than some assemblers. It may have no FFR. */
static void hold_in_streaming_mode(const struct wide *before, struct wide *after)
{
	long spins = SPINS;

	__asm__ volatile(".arch_extension sve\n\t"
			 ".inst 0xd503437f\n\t"
			 LOAD SPIN STORE
			 ".inst 0xd503427f\n\t"
			 : [spins] "+r"(spins)
			 : [z] "r"(before->z), [p] "r"(before->p), [to_z] "r"(after->z),
			   [to_p] "r"(after->p)
			 : CLOBBERED);
	memcpy(after->ffr, before->ffr, sizeof(after->ffr));
}

static bool same(const struct wide *a, const struct wide *b, size_t length)
{
	return !memcmp(a->z, b->z, 32 * length) && !memcmp(a->p, b->p, 16 * length / 8) &&
	       !memcmp(a->ffr, b->ffr, length / 8);
}

static long op_hold(long fn, long length, long c, long d)
{
	memset(&shared->before, 0xff, sizeof(shared->before));
	for (size_t i = 0; i < sizeof(shared->before.z); i++)
		shared->before.z[i] = (uint8_t)(i * 7 + 1);
	while (!shared->stop) {
		memset(&shared->after, 0, sizeof(shared->after));
		((hold_fn *)fn)(&shared->before, &shared->after);
		shared->bad += !same(&shared->before, &shared->after, (size_t)length);
		shared->rounds++;
	}
	return 0;
}

static void are_kept(hold_fn *fn, int get_length)
{
	T_TARGET tg;
	int length = prctl(get_length);

	T_MUST(length > 0);
	length &= VL_MASK;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(shared != MAP_FAILED);
	tg = t_start();
	t_post(&tg, op_hold, (long)fn, length, 0);
	for (int i = 0; i < N_ATTACH; i++) {
		struct softdirty *sd = NULL;

		t_sleep_ms(5);
		if (!T_EQ(softdirty_open(tg.pid, NULL, &sd), 0))
			t_note("%s", softdirty_error());
		softdirty_close(sd);
	}
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
	t_note("%d bits, %d rounds", 8 * length, shared->rounds);
	T_OK(shared->rounds > 0);
	T_EQ(shared->bad, 0);
}

static void wide_registers_are_kept(void)
{
	if (!(getauxval(AT_HWCAP) & HAS_SVE))
		T_SKIP("this machine or kernel has no SVE");
	are_kept(hold, SVE_GET_VL);
}

static void so_they_are_in_streaming_mode(void)
{
	if (!(getauxval(AT_HWCAP2) & HAS_SME))
		T_SKIP("this machine or kernel has no SME");
	are_kept(hold_in_streaming_mode, SME_GET_VL);
}

int main(void)
{
	t_need_backend();
	T_RUN(wide_registers_are_kept);
	T_RUN(so_they_are_in_streaming_mode);
	return t_done();
}
