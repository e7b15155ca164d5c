/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A keeper is small whatever the size of its target, and small again after a big answer. Where given,
 * argv[1] is the real softdirty command, whose libraries count too.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keep.h"

enum { MAX_KIB = 4096 };

static const char *command;
static uint64_t size = 4ull << 30;

static long long resident(pid_t pid, const char *key)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return t_proc_number(path, key);
}

/* Writes every second page of the first part when told, then tells. */
static pid_t big_target(uint64_t **mem, int out, int in)
{
	*mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	T_MUST(*mem != MAP_FAILED);
	madvise(*mem, size, MADV_NOHUGEPAGE);	/* natively a huge page is dirty as a whole */
	pid_t pid = t_fork();
	if (pid)
		return pid;
	char c;
	for (uint64_t i = 0; i < size / 8; i += K_PAGE / 8)
		(*mem)[i] = i + 1;
	while (write(out, "", 1) == 1 && read(in, &c, 1) == 1)
		for (uint64_t i = 0; i < (512 << 20) / 8 && c; i += 2 * K_PAGE / 8)
			(*mem)[i]++;
	_exit(0);
}

static int count(struct softdirty *sd, unsigned flags, const void *mem, uint64_t *pages)
{
	const struct softdirty_range *r;
	uint64_t start = (uintptr_t)mem;
	size_t n;

	*pages = 0;
	int err = softdirty_read(sd, NULL, flags, start, start + size, &r, &n);
	if (err) {
		t_note("%s", softdirty_error());
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		*pages += (r[i].end - r[i].start) / K_PAGE;
	return n;
}

static void small_for_a_big_target(void)
{
	struct softdirty_options o = {
		.size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED, .keeper = command,
	};
	struct softdirty *sd;
	int out[2], in[2];
	uint64_t *mem, pages;
	char c;

	if (t_available_memory() < size + (1ull << 30)) {
		size = 512 << 20;
		t_note("little memory is free: a target of 512 MiB instead of 4 GiB");
	}
	if (t_available_memory() < size + (256 << 20))
		T_SKIP("less than 768 MiB of memory are free");
	T_MUST(!pipe(out) && !pipe(in));
	pid_t pid = big_target(&mem, out[1], in[0]);
	T_MUST(read(out[0], &c, 1) == 1);
	int err = softdirty_open(pid, &o, &sd);
	if (err)
		t_note("%s", softdirty_error());
	T_MUST(!err);
	pid_t keeper = k_keeper(sd);

	T_EQ(softdirty_clear(sd, NULL), 0);
	T_EQ(softdirty_clear(sd, "second"), 0);
	T_EQ(count(sd, SOFTDIRTY_READ_CLEAR, mem, &pages), 0);
	T_OK(resident(keeper, "VmRSS") <= MAX_KIB);
	t_note("%llu MiB, nothing dirty: %lld KiB resident (%lld of them its own)",
	       (unsigned long long)(size >> 20), resident(keeper, "VmRSS"),
	       resident(keeper, "RssAnon"));

	/* 65536 ranges, 1.5 MiB for each copy of the list: taken back once all marks were told. */
	T_MUST(write(in[1], "x", 1) == 1 && read(out[0], &c, 1) == 1);
	T_EQ(count(sd, SOFTDIRTY_READ_CLEAR, mem, &pages), (512 << 20) / K_PAGE / 2);
	T_EQ(softdirty_forget(sd, "second"), 0);
	T_EQ(count(sd, SOFTDIRTY_READ_CLEAR, mem, &pages), 0);
	T_OK(resident(keeper, "VmRSS") <= MAX_KIB);
	t_note("after an answer of 65536 ranges: %lld KiB resident (%lld of them its own)",
	       resident(keeper, "VmRSS"), resident(keeper, "RssAnon"));
	softdirty_stop(sd);
	softdirty_close(sd);
	t_kill(pid);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	command = argc > 1 ? argv[1] : k_self();
	if (geteuid())
		k_private_runtime_dir();
	/* Sanitizers keep a shadow of all memory, and freed memory for a while. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	t_skip_all("built with a sanitizer");
#endif
	T_RUN(small_for_a_big_target);
	return t_done();
}
