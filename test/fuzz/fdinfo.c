/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What fdinfo says of a file (is it open for direct I/O?) and of a ring (its buffers). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "fuzz.h"
#include "track/dma.h"

/* One descriptor of that kind, which fdinfo has these bytes to say about. */
static void make_fd(const char *kind, const uint8_t *data, size_t size)
{
	mkdirat(fuzz_dir(), "fd", 0700);
	mkdirat(fuzz_dir(), "fdinfo", 0700);
	unlinkat(fuzz_dir(), "fd/5", 0);
	FUZZ_OK(!symlinkat(kind, fuzz_dir(), "fd/5"));
	fuzz_file("fdinfo/5", data, size);
}

/* In a process that has pinned so much. */
static struct sdi_dma look(uint64_t pinned_kib, struct sdi_ranges *pinned)
{
	struct sdi_target t = { .pidfd = -1, .procfd = fuzz_dir() };
	struct sdi_maps none = { 0 };
	struct sdi_dma dma;
	char status[64];
	int n = snprintf(status, sizeof(status), "State:\tR\nVmSize:\t4 kB\n"
			 "VmPin:\t%" PRIu64 " kB\n", pinned_kib);

	fuzz_file("statm", "1", 1);
	fuzz_file("status", status, n);
	pinned->n = 0;
	FUZZ_OK(!sdi_dma_look(&t, &none, false, 0, &dma, pinned));
	return dma;
}

static void look_at_file(const uint8_t *data, size_t size)
{
	struct sdi_ranges pinned = { 0 };

	make_fd("/file", data, size);
	struct sdi_dma dma = look(0, &pinned);
	FUZZ_OK(!pinned.n && !dma.unknown_pins);
	/* Nothing is taken for harmless that is not said. */
	FUZZ_OK(dma.in_flight ||
		(memmem(data, size, "flags:", 6) && memmem(data, size, "mnt_id:", 7)));
}

/* What is pinned is in one of the buffers, or it is said to be unknown. */
static void look_at_ring(const uint8_t *data, size_t size)
{
	uint64_t mask = sdi_page_size() - 1, kib = 0;
	struct sdi_ranges pinned = { 0 };

	make_fd("anon_inode:[io_uring]", data, size);
	FUZZ_OK(look(0, &pinned).in_flight);
	for (size_t i = 0; i < pinned.n; i++) {
		FUZZ_OK(pinned.r[i].start < pinned.r[i].end);
		FUZZ_OK(!((pinned.r[i].start | pinned.r[i].end) & mask));
		kib += (pinned.r[i].end - pinned.r[i].start) / 1024;
	}
	if (kib < UINT64_MAX / 1024) {
		FUZZ_OK(!look(kib, &pinned).unknown_pins);
		FUZZ_OK(look(kib + 1, &pinned).unknown_pins);
	}
	sdi_ranges_fini(&pinned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	look_at_file(data, size);
	/* One that does not list its buffers is asked again after a pause. */
	if (memmem(data, size, "UserBufs:", 9))
		look_at_ring(data, size);
	return 0;
}
