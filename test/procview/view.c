/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See view.h. Must not know which claims are made. */
#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

const char *softdirty;

void view_setup(int argc, char **argv)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	T_MUST(argc > 1);
	softdirty = argv[1];
	if (fd < 0)
		t_skip_all("/dev/fuse: %s", strerror(errno));
	close(fd);
	if (geteuid() != 0 && access("/usr/bin/fusermount3", X_OK) &&
	    access("/bin/fusermount3", X_OK))
		t_skip_all("users need fusermount3 (install fuse3)");
}

bool have_shell(void)
{
	return !access("/bin/sh", X_OK);
}

/* --- a server ------------------------------------------------------------------------------- */

static void run_server(char *const *argv, int out)
{
	dup2(out, 1);
	dup2(out, 2);
	/* A test in the background of a shell has it ignored, and so would the server. */
	signal(SIGINT, SIG_DFL);
	execv(argv[0], argv);
	_exit(127);
}

static void read_line(struct server *s)
{
	size_t n = 0;

	while (n < sizeof(s->line) - 1 && read(s->out, s->line + n, 1) == 1 && s->line[n] != '\n')
		n++;
	s->line[n] = '\0';
}

static struct server start(char *const *argv, const char *dir)
{
	struct server s = { 0 };
	int p[2];

	T_MUST(!pipe2(p, O_CLOEXEC));
	snprintf(s.dir, sizeof(s.dir), "%s", dir);
	s.pid = t_fork();
	if (!s.pid)
		run_server(argv, p[1]);
	close(p[1]);
	s.out = p[0];
	read_line(&s);
	if (!strstr(s.line, "until Ctrl-C"))
		server_end(&s, 0);
	return s;
}

struct server serve(const char *dir, const char *option)
{
	char made[] = "/tmp/softdirty-mount-XXXXXX";
	char *argv[] = { (char *)softdirty, "mount", (char *)dir, (char *)option, NULL };

	if (!dir) {
		T_MUST(mkdtemp(made));
		argv[2] = made;
	}
	return start(argv, argv[2]);
}

struct server serve_over(const pid_t *pids)
{
	char number[4][16], *argv[8] = { (char *)softdirty, "mount", "--over" };

	for (int i = 0; pids[i]; i++) {
		snprintf(number[i], sizeof(number[i]), "%d", pids[i]);
		argv[3 + i] = number[i];
	}
	return start(argv, "/proc");
}

int server_end(struct server *s, int sig)
{
	int status;

	if (sig)
		kill(s->pid, sig);
	T_MUST(waitpid(s->pid, &status, 0) == s->pid);
	s->pid = 0;
	close(s->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void server_done(struct server *s)
{
	if (s->pid)
		server_end(s, SIGTERM);
	if (strcmp(s->dir, "/proc"))
		rmdir(s->dir);
}

int count_mounts(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096], point[4096];
	int n = 0;

	T_MUST(f);
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, "%*s %*s %*s %*s %4095s", point) == 1 &&
		     !strncmp(point, path, strlen(path)) && strstr(line, " fuse.softdirty ");
	fclose(f);
	return n;
}

/* --- a process ------------------------------------------------------------------------------ */

static char obey(char command, char *mem)
{
	uint64_t entry;
	int fd;

	switch (command) {
	case T_UNDUMPABLE:
		prctl(PR_SET_DUMPABLE, 0);
		break;
	case T_NOBODY:
		T_MUST(!setgid(NOBODY) && !setuid(NOBODY));
		/* Changing identity made it undumpable: root's. */
		prctl(PR_SET_DUMPABLE, 1);
		break;
	case T_OWN_PAGEMAP:
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		command = fd >= 0 && pread(fd, &entry, 8, 0) == 8;
		close(fd);
		return command;
	case T_NOTHING:
		break;
	default:
		mem[(command - 'A') * PAGE]++;
	}
	return 1;
}

struct target target_start(void)
{
	struct target t;
	int sv[2];
	char c;

	T_MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	t.mem = mmap(NULL, N_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	T_MUST(t.mem != MAP_FAILED);
	t.pid = t_fork();
	if (!t.pid) {
		close(sv[0]);
		memset(t.mem, 1, N_PAGES * PAGE);
		while (read(sv[1], &c, 1) == 1) {
			c = obey(c, t.mem);
			if (write(sv[1], &c, 1) != 1)
				break;
		}
		_exit(0);
	}
	close(sv[1]);
	t.sock = sv[0];
	target_tell(&t, T_NOTHING);
	return t;
}

void target_end(struct target *t)
{
	close(t->sock);
	t_kill(t->pid);
	munmap(t->mem, N_PAGES * PAGE);
}

static char tell(const struct target *t, char command)
{
	T_MUST(write(t->sock, &command, 1) == 1);
	T_MUST(read(t->sock, &command, 1) == 1);
	return command;
}

void target_tell(const struct target *t, char command)
{
	tell(t, command);
}

void target_write(const struct target *t, int page)
{
	tell(t, 'A' + page);
}

bool target_reads_itself(const struct target *t)
{
	return tell(t, T_OWN_PAGEMAP);
}

/* --- the files ------------------------------------------------------------------------------ */

const char *file_of(const struct server *s, pid_t pid, const char *name)
{
	static _Thread_local char path[128];

	snprintf(path, sizeof(path), "%s/%d/%s", s->dir, pid, name);
	return path;
}

int clear_refs(const struct server *s, pid_t pid, const char *text)
{
	int err = 0, fd = open(file_of(s, pid, "clear_refs"), O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err = -errno;
	close(fd);
	return err;
}

int dirty_pages(const struct server *s, const struct target *t)
{
	uint64_t e[N_PAGES];
	int mask = 0, fd = open(file_of(s, t->pid, "pagemap"), O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, e, sizeof(e), (uintptr_t)t->mem / PAGE * 8);
	if (n != sizeof(e))
		mask = n < 0 ? -errno : -EIO;
	close(fd);
	for (int i = 0; i < N_PAGES && n == sizeof(e); i++)
		mask |= !!(e[i] & PM_ENTRY_SOFT_DIRTY) << i;
	return mask;
}

/* --- as somebody else ----------------------------------------------------------------------- */

static bool become(uid_t uid, uint64_t caps)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = {
		{ .effective = caps, .permitted = caps },
		{ .effective = caps >> 32, .permitted = caps >> 32 },
	};

	return !syscall(SYS_setgroups, 0, NULL) && !prctl(PR_SET_KEEPCAPS, 1) &&
	       !setresgid(uid, uid, uid) && !setresuid(uid, uid, uid) && !syscall(SYS_capset, &h, d);
}

int as(uid_t uid, uint64_t caps, int (*fn)(void *), void *arg)
{
	pid_t pid = t_fork();
	int status;

	if (!pid)
		_exit(become(uid, caps) ? fn(arg) : 128);
	T_MUST(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
