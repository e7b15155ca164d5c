/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRIU 3.17 to 4.2, unmodified: how its processes are recognised and what they are doing.
 */
#include "preload/criu.h"

#include <errno.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "emulate/emulate.h"

bool sdi_is_criu(void)
{
	static atomic_int known;	/* 1 no, 2 yes */
	char exe[4096];
	int before = errno;
	ssize_t n;

	if (!known) {
		n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
		exe[MAX(n, 0)] = '\0';
		known = strcmp(basename(exe), "criu") ? 1 : 2;
		errno = before;
	}
	return known == 2;
}

bool sdi_criu_is_cache(const char *path)
{
	const char *name = sdi_is_criu() ? strrchr(path, '/') : NULL;

	return name && (!strcmp(name, "/criu.kdat") || !strcmp(name, "/criu.kdat.tmp"));
}

static bool takes_path(const char *option)
{
	static const char *const list[] = {
		"-D", "--images-dir", "-W", "--work-dir", "-o", "--log-file", "-r", "--root",
		"--prev-images-dir", "--config",
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (!strcmp(option, list[i]))
			return true;
	return false;
}

/* The command among the arguments; CRIU's children for RPC write theirs over argv. */
static bool is_dumping(const char *args, size_t size)
{
	static const char *const commands[] = { "dump", "pre-dump", "restore", "exec", "check" };
	const char *end = args + size, *before = "";

	for (const char *arg = args + strlen(args) + 1; arg < end; arg += strlen(arg) + 1) {
		/* A title is one string, "pre-dump --rpc -t 12 ...". */
		size_t n = strcspn(arg, " ");

		for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
			if (!takes_path(before) && n == strlen(commands[i]) &&
			    !strncmp(arg, commands[i], n))
				return i < 2;
		before = arg;
	}
	return false;
}

/* Read each time: one criu swrk serves many requests. */
static bool dumping(void)
{
	char args[4096];
	autofclose FILE *f = fopen("/proc/self/cmdline", "re");
	size_t n = f ? fread(args, 1, sizeof(args) - 1, f) : 0;

	args[n] = '\0';
	return n && is_dumping(args, n);
}

static bool is_process(pid_t tid)
{
	char path[48], line[128];
	int tgid = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	autofclose FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			break;
	return tgid == tid;
}

/*
 * compel_wait_task() sends this once to each thread that it has seized and stopped, before anything
 * of CRIU's runs in it. A restore sends it to its own children: those must be left alone.
 */
bool sdi_criu_freezes(int request, pid_t pid, const void *data)
{
	return request == PTRACE_SETOPTIONS && data == (void *)PTRACE_O_TRACESYSGOOD &&
	       sdi_is_criu() && dumping() && is_process(pid);
}

void sdi_criu_vdso(const char *proc, uint64_t *start, uint64_t *end)
{
	autofree char *line = NULL;
	unsigned long long from, to;
	size_t size = 0;
	char path[80];

	snprintf(path, sizeof(path), "%s/maps", proc);
	autofclose FILE *f = fopen(path, "re");
	while (f && getline(&line, &size, f) > 0)
		if (sdi_maps_line_is(line, "[vdso]") &&
		    sscanf(line, "%llx-%llx", &from, &to) == 2) {
			*start = from;
			*end = to;
			return;
		}
}
