/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See keep.h. */
#include "keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "wire/place.h"

/* The link itself is what valgrind runs us with. */
const char *k_self(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	return n > 0 && !access(path, X_OK) ? path : "/proc/self/exe";
}

void k_main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "keeper"))
		exit(sdi_keeper_main(argc, argv));
	if (argc == 2 && !strcmp(argv[1], "sleep")) {
		prctl(PR_SET_NAME, "asleep");
		for (;;)
			pause();
	}
}

/* Page 0 counts the rounds; the others are checked: nobody else may change them. */
static void load(volatile uint64_t *mem)
{
	const size_t step = K_PAGE / sizeof(*mem);

	for (uint64_t round = 1;; round++) {
		for (size_t page = 1; page < K_PAGES; page++) {
			if (round > 1 && mem[page * step + 1] != round - 1)
				_exit(7);
			mem[page * step + 1] = round;
		}
		mem[1] = round;
	}
}

static void obey(char *mem, int ask, int done)
{
	int page;

	while (read(ask, &page, sizeof(page)) == sizeof(page)) {
		if (page == -1)
			execl(k_self(), "target", "sleep", NULL);
		if (page == -2)
			load((uint64_t *)mem);
		mem[page * K_PAGE]++;
		if (write(done, &page, sizeof(page)) != sizeof(page))
			_exit(1);
	}
	_exit(0);
}

struct k_target k_start(void)
{
	struct k_target t;
	int ask[2], done[2];

	T_MUST(!pipe2(ask, O_CLOEXEC) && !pipe2(done, O_CLOEXEC));
	t.mem = mmap(NULL, K_PAGES * K_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	T_MUST(t.mem != MAP_FAILED);
	madvise(t.mem, K_PAGES * K_PAGE, MADV_NOHUGEPAGE);
	t.pid = t_fork();
	if (t.pid == 0) {
		memset(t.mem, 1, K_PAGES * K_PAGE);
		close(ask[1]);
		close(done[0]);
		char ready = 1;
		T_MUST(write(done[1], &ready, 1) == 1);
		obey(t.mem, ask[0], done[1]);
	}
	close(ask[0]);
	close(done[1]);
	t.ask = ask[1];
	t.done = done[0];
	char ready;
	T_MUST(read(t.done, &ready, 1) == 1);
	return t;
}

static void order(const struct k_target *t, int what)
{
	T_MUST(write(t->ask, &what, sizeof(what)) == sizeof(what));
}

void k_write(const struct k_target *t, unsigned page)
{
	int got;

	order(t, page);
	T_MUST(read(t->done, &got, sizeof(got)) == sizeof(got));
}

void k_exec(const struct k_target *t)
{
	char path[64], text[512] = "";

	order(t, -1);
	snprintf(path, sizeof(path), "/proc/%d/stat", t->pid);
	for (int i = 0; i < 5000 && !strstr(text, "(asleep) S"); i++) {
		t_sleep_ms(1);
		t_read_file(path, text, sizeof(text));
	}
	T_MUST(strstr(text, "(asleep) S"));
}

uint64_t k_progress(const struct k_target *t)
{
	char path[64];
	uint64_t round = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", t->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	T_MUST(fd >= 0);
	T_MUST(pread(fd, &round, sizeof(round), (off_t)(uintptr_t)(t->mem + 8)) ==
	       sizeof(round));
	close(fd);
	return round;
}

bool k_moves(const struct k_target *t, unsigned ms)
{
	uint64_t before = k_progress(t);

	for (unsigned i = 0; i < ms && k_progress(t) < before + 3; i++)
		t_sleep_ms(1);
	return k_progress(t) >= before + 3;
}

void k_load(const struct k_target *t)
{
	uint64_t before = k_progress(t);

	order(t, -2);
	for (int ms = 0; ms < 5000 && k_progress(t) == before; ms++)
		t_sleep_ms(1);
}

void k_end(struct k_target *t)
{
	t_kill(t->pid);
	close(t->ask);
	close(t->done);
	munmap(t->mem, K_PAGES * K_PAGE);
}

int k_open(pid_t pid, uint32_t flags, struct softdirty **ret)
{
	struct softdirty_options o = {
		.size = sizeof(o), .flags = flags | SOFTDIRTY_OPEN_SHARED,
		.keeper = k_self(),
	};

	return softdirty_open(pid, &o, ret);
}

struct softdirty *k_must_open(pid_t pid)
{
	struct softdirty *sd = NULL;
	int err = k_open(pid, 0, &sd);

	if (err)
		printf("\topen %d: %s\n", pid, softdirty_error());
	T_MUST(!err);
	return sd;
}

int k_read(struct softdirty *sd, const char *mark, unsigned flags, const struct k_target *t,
	   unsigned *reason)
{
	const struct softdirty_range *r;
	uint64_t start = (uintptr_t)t->mem;
	size_t n;
	int err = softdirty_read(sd, mark, flags, start, start + K_PAGES * K_PAGE, &r, &n);
	int pages = 0;

	if (err) {
		printf("\tread: %s\n", softdirty_error());
		return -1;
	}
	if (reason)
		*reason = n ? r[0].reason : 0;
	for (size_t i = 0; i < n; i++)
		pages += (r[i].end - r[i].start) / K_PAGE;
	return pages;
}

pid_t k_keeper(struct softdirty *sd)
{
	struct softdirty_info info = { .size = sizeof(info) };

	T_MUST(!softdirty_info(sd, &info));
	return info.keeper;
}

uint64_t k_generation(struct softdirty *sd)
{
	struct softdirty_info info = { .size = sizeof(info) };

	T_MUST(!softdirty_info(sd, &info));
	return info.generation;
}

/* A zombie counts as gone: whoever must reap it is not us. */
int k_gone(pid_t pid, unsigned ms)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (unsigned i = 0;; i++) {
		if (t_read_file(path, text, sizeof(text)) <= 0 || strstr(text, ") Z "))
			return 1;
		if (i >= ms)
			return 0;
		t_sleep_ms(1);
	}
}

void k_kill_keeper(pid_t keeper)
{
	T_MUST(keeper > 1 && keeper != getpid());
	T_MUST(!kill(keeper, SIGKILL));
	T_MUST(k_gone(keeper, 5000));
}

int k_protected(pid_t pid)
{
	char path[64], *line = NULL;
	size_t size = 0;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	FILE *f = fopen(path, "r");
	if (!f)
		return -1;
	while (getline(&line, &size, f) > 0)
		n += !strncmp(line, "VmFlags:", 8) && strstr(line, " uw");
	free(line);
	fclose(f);
	return n;
}

int k_count_keepers(pid_t target)
{
	DIR *d = opendir("/proc");
	char path[300], text[64], want[16];
	int n = 0;

	T_MUST(d);
	snprintf(want, sizeof(want), "%d", target);
	for (struct dirent *e; (e = readdir(d));) {
		/* Of others not even cmdline: reading it waits for a lock in their memory. */
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		if (atoi(e->d_name) <= 0 || t_read_file(path, text, sizeof(text)) <= 0 ||
		    strcmp(text, "softdirty\n"))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
		if (t_read_file(path, text, sizeof(text)) <= 17)
			continue;
		n += !strcmp(text, "softdirty") && !strcmp(text + 10, "keeper") &&
		     !strcmp(text + 17, want);
	}
	closedir(d);
	return n;
}

static char runtime_dir[64];

static void remove_runtime_dir(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/softdirty", runtime_dir);
	rmdir(path);
	rmdir(runtime_dir);
}

void k_private_runtime_dir(void)
{
	strcpy(runtime_dir, "/tmp/softdirty-test-XXXXXX");
	T_MUST(mkdtemp(runtime_dir));
	T_MUST(!setenv("XDG_RUNTIME_DIR", runtime_dir, 1));
	atexit(remove_runtime_dir);
}

int k_count_files(pid_t target)
{
	struct sdi_place p;
	char want[24];
	int n = 0;

	if (sdi_place_open(false, &p))
		return 0;
	DIR *d = fdopendir(p.dir);
	T_MUST(d);
	snprintf(want, sizeof(want), "%d-", target);
	for (struct dirent *e; (e = readdir(d));)
		n += !strncmp(e->d_name, want, strlen(want));
	closedir(d);
	return n;
}
