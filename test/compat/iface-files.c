/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every way to open, write and read the two files; and what is no business of soft-dirty. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "iface.h"
#include "t.h"

/* Pages 0 and 2 of the four are dirty: every way of reading must say so. */
static char *mem;
static off_t at;

static void prepare(void)
{
	mem = iface_map_written(4);
	at = (uintptr_t)mem / iface_page() * 8;
	iface_clear(getpid());
	mem[0] = mem[2 * iface_page()] = 2;
}

#define T_ENTRIES(e) \
	T_EQ(((e)[0] & SOFT_DIRTY) >> 55 | ((e)[1] & SOFT_DIRTY) >> 54 | \
	     ((e)[2] & SOFT_DIRTY) >> 53 | ((e)[3] & SOFT_DIRTY) >> 52, 5)

/* --- clear_refs ------------------------------------------------------------------------------ */

static ssize_t write_text(const char *text, size_t n)
{
	int fd = iface_open(getpid(), "clear_refs", O_WRONLY);
	ssize_t ret = write(fd, text, n);

	if (ret < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static void every_spelling_of_four_clears(void)
{
	static const struct { const char *text; size_t n; } four[] = {
		{ "4", 1 }, { "4\n", 2 }, { "4\0", 2 }, { " 4 ", 3 }, { "+4", 2 }, { "04", 2 },
		{ "4           ", 12 },
	};

	for (size_t i = 0; i < sizeof(four) / sizeof(four[0]); i++) {
		prepare();
		T_EQ(write_text(four[i].text, four[i].n), four[i].n);
		T_EQ(iface_dirty_pages(mem, 4), 0);
	}
}

static void other_commands_are_the_kernels(void)
{
	prepare();
	for (const char *c = "1235"; *c; c++)
		T_EQ(write_text(c, 1), 1);
	T_EQ(iface_dirty_pages(mem, 4), 5);
}

static void what_is_no_command_is_refused(void)
{
	static const char *const bad[] = { "0", "6", "-4", "44", "4x", "x4", "4 4", "0x4", "\n" };

	prepare();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		T_EQ(write_text(bad[i], strlen(bad[i])), -EINVAL);
	T_EQ(iface_dirty_pages(mem, 4), 5);
}

static void a_file_open_for_reading_does_not_clear(void)
{
	int fd = open(iface_path(getpid(), "clear_refs"), O_RDONLY);

	if (fd < 0)
		T_SKIP("it cannot be opened for reading: %s", strerror(errno));
	prepare();
	T_EQ(write(fd, "4", 1), -1);
	T_EQ(errno, EBADF);
	T_EQ(iface_dirty_pages(mem, 4), 5);
	close(fd);
}

static void writev_and_pwrite_clear(void)
{
	struct iovec iov[2] = { { (char *)"4", 1 }, { (char *)"1", 1 } };
	int fd = iface_open(getpid(), "clear_refs", O_WRONLY);

	prepare();
	/* Files of FUSE get all pieces as one. */
	int n = iface_is_proc() ? 2 : 1;
	T_EQ(writev(fd, iov, n), n);
	T_EQ(iface_dirty_pages(mem, 4), 0);
	prepare();
	T_EQ(pwrite(fd, "4", 1, 0), 1);
	T_EQ(iface_dirty_pages(mem, 4), 0);
	close(fd);
}

static void odd_writes_are_refused_as_ever(void)
{
	struct iovec iov = { (char *)"4", 1 };
	const struct iovec *volatile nowhere = (const struct iovec *)8;
	int fd = iface_open(getpid(), "clear_refs", O_WRONLY);
	volatile int minus_one = -1;

	T_EQ(writev(fd, nowhere, 1), -1);
	T_EQ(errno, EFAULT);
	T_EQ(writev(fd, &iov, minus_one), -1);
	T_EQ(errno, EINVAL);
	close(fd);
}

static void a_stream_clears(void)
{
	FILE *f = fopen(iface_path(getpid(), "clear_refs"), "w");

	T_MUST(f);
	prepare();
	T_EQ(fprintf(f, "%d\n", 4), 2);
	T_EQ(fclose(f), 0);
	T_EQ(iface_dirty_pages(mem, 4), 0);
}

/* --- pagemap --------------------------------------------------------------------------------- */

static void every_kind_of_read_agrees(void)
{
	uint64_t e[4], f[4];
	struct iovec iov[2] = { { e, 8 }, { e + 1, 24 } };
	int fd = iface_open(getpid(), "pagemap", O_RDONLY);

	prepare();
	T_EQ(pread(fd, e, 32, at), 32);
	T_ENTRIES(e);
	memcpy(f, e, sizeof(f));
	T_EQ(lseek(fd, at, SEEK_SET), at);
	for (int i = 0; i < 4; i++)
		T_EQ(read(fd, e + i, 8), 8);
	T_EQ(memcmp(e, f, sizeof(f)), 0);
	T_EQ(lseek(fd, 0, SEEK_CUR), at + 32);
	T_EQ(lseek(fd, at, SEEK_SET), at);
	T_EQ(readv(fd, iov, 2), 32);
	T_EQ(memcmp(e, f, sizeof(f)), 0);
	T_EQ(preadv(fd, iov, 2, at), 32);
	T_EQ(memcmp(e, f, sizeof(f)), 0);
	T_EQ(lseek(fd, at, SEEK_SET), at);
	if (preadv2(fd, iov, 2, -1, 0) == 32) {
		T_EQ(memcmp(e, f, sizeof(f)), 0);
		T_EQ(lseek(fd, 0, SEEK_CUR), at + 32);
	}
	close(fd);
}

static void odd_reads_are_refused_as_ever(void)
{
	int fd = iface_open(getpid(), "pagemap", O_RDONLY);
	void *volatile nowhere = (void *)8;
	uint64_t e[2];

	T_EQ(pread(fd, e, 7, at), -1);
	T_EQ(errno, EINVAL);
	T_EQ(pread(fd, e, 8, at + 1), -1);
	T_EQ(errno, EINVAL);
	T_EQ(pread(fd, e, 8, -8), -1);
	T_EQ(errno, EINVAL);
	T_EQ(pread(fd, e, 0, at), 0);
	T_EQ(pread(fd, nowhere, 8, at), -1);
	T_EQ(errno, EFAULT);
	close(fd);
}

static void a_long_read_agrees(void)
{
	size_t page = iface_page(), n = 3000;
	char *big = iface_map_written(n);
	uint64_t *e = malloc(n * 8);
	int fd = iface_open(getpid(), "pagemap", O_RDONLY), n_wrong = 0;

	iface_clear(getpid());
	for (size_t i = 0; i < n; i += 3)
		big[i * page] = 3;
	T_EQ(pread(fd, e, n * 8, (uintptr_t)big / page * 8), n * 8);
	for (size_t i = 0; i < n; i++)
		n_wrong += !!(e[i] & SOFT_DIRTY) != (i % 3 == 0);
	T_EQ(n_wrong, 0);
	free(e);
	munmap(big, n * page);
	close(fd);
}

static void a_stream_reads(void)
{
	FILE *f = fopen(iface_path(getpid(), "pagemap"), "r");
	uint64_t e[4];

	T_MUST(f);
	prepare();
	T_EQ(fseeko(f, at, SEEK_SET), 0);
	T_EQ(fread(e, 8, 4, f), 4);
	T_ENTRIES(e);
	T_EQ(fseeko(f, at, SEEK_SET), 0);
	T_EQ(fread(e, 8, 4, f), 4);
	T_ENTRIES(e);
	T_OK(fileno(f) >= 0);
	T_EQ(pread(fileno(f), e, 32, at), 32);
	T_ENTRIES(e);
	T_EQ(fclose(f), 0);
}

/* As od -N8 does it. */
static void a_stream_without_a_buffer_reads(void)
{
	FILE *f = fopen(iface_path(getpid(), "pagemap"), "r");
	uint64_t e[4];

	T_MUST(f && !setvbuf(f, NULL, _IONBF, 0));
	prepare();
	T_EQ(fseeko(f, at, SEEK_SET), 0);
	T_EQ(fread(e, 8, 4, f), 4);
	T_ENTRIES(e);
	T_EQ(ftello(f), at + 32);
	T_EQ(fseeko(f, -32, SEEK_CUR), 0);
	T_EQ(fread(e, 8, 4, f), 4);
	T_ENTRIES(e);
	T_EQ(fclose(f), 0);
}

static void fdopen_reads(void)
{
	FILE *f = fdopen(iface_open(getpid(), "pagemap", O_RDONLY), "r");
	uint64_t e[4];

	T_MUST(f);
	prepare();
	T_EQ(fseeko(f, at, SEEK_SET), 0);
	T_EQ(fread(e, 8, 4, f), 4);
	T_ENTRIES(e);
	T_EQ(fclose(f), 0);
}

/* --- descriptors ----------------------------------------------------------------------------- */

static void check_fd(int fd)
{
	uint64_t e[4];

	T_EQ(pread(fd, e, 32, at), 32);
	T_ENTRIES(e);
}

static void copies_of_a_descriptor_work(void)
{
	int fd = iface_open(getpid(), "pagemap", O_RDONLY), copy[4];

	prepare();
	copy[0] = dup(fd);
	copy[1] = fcntl(fd, F_DUPFD, 100);
	copy[2] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	copy[3] = dup2(fd, 90);
	close(fd);
	for (int i = 0; i < 4; i++) {
		check_fd(copy[i]);
		close(copy[i]);
	}
}

static void a_number_used_again_is_the_new_file(void)
{
	int fd = iface_open(getpid(), "pagemap", O_RDONLY), p[2];
	char buf[8] = "";

	prepare();
	check_fd(fd);
	T_MUST(!pipe(p) && dup2(p[0], fd) == fd);
	T_EQ(write(p[1], "12345678", 8), 8);
	T_EQ(read(fd, buf, 8), 8);
	T_EQ(memcmp(buf, "12345678", 8), 0);
	close(fd);
	close(p[0]);
	close(p[1]);
}

static void a_received_descriptor_works(void)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } c = { 0 };
	struct iovec iov = { (char[1]){ 0 }, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = sizeof(c) };
	int sv[2], fd = iface_open(getpid(), "pagemap", O_RDONLY);

	prepare();
	T_MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	c.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	T_MUST(sendmsg(sv[0], &m, 0) == 1);
	close(fd);
	T_MUST(recvmsg(sv[1], &m, 0) == 1);
	memcpy(&fd, CMSG_DATA(&c.h), sizeof(fd));
	check_fd(fd);
	close(fd);
	close(sv[0]);
	close(sv[1]);
}

static void check_opened(int fd)
{
	T_OK(fd >= 0);
	check_fd(fd);
	close(fd);
}

static void every_kind_of_path_works(void)
{
	char link[64], name[64];
	int proc = open("/proc", O_PATH | O_DIRECTORY), self, self2, old = open(".", O_PATH);

	prepare();
	snprintf(name, sizeof(name), "%d", getpid());
	self = openat(proc, name, O_PATH | O_DIRECTORY);
	check_opened(openat(self, "pagemap", O_RDONLY));
	self2 = openat(proc, "self", O_PATH);
	check_opened(openat(self2, "pagemap", O_RDONLY));
	check_opened(open("/proc/self/pagemap", O_RDONLY));
	check_opened(open("/proc/thread-self/pagemap", O_RDONLY));
	snprintf(name, sizeof(name), "/proc/self/task/%d/pagemap", getpid());
	check_opened(open(name, O_RDONLY));
	T_MUST(!fchdir(self));
	check_opened(open("pagemap", O_RDONLY));
	check_opened(open("../self/./pagemap", O_RDONLY));
	T_MUST(!fchdir(old));
	snprintf(link, sizeof(link), P_tmpdir "/selftest-%d", getpid());
	T_MUST(!symlink("/proc/self/pagemap", link));
	check_opened(open(link, O_RDONLY));
	unlink(link);
	int path = open("/proc/self/pagemap", O_PATH);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path);
	check_opened(open(name, O_RDONLY));
	close(path);
	close(self);
	close(self2);
	close(proc);
	close(old);
}

static void a_path_that_is_no_memory_is_refused_as_ever(void)
{
	const char *volatile nowhere = (const char *)8;

	T_EQ(open(nowhere, O_RDONLY), -1);
	T_EQ(errno, EFAULT);
	T_EQ(openat(AT_FDCWD, nowhere, O_RDONLY), -1);
	T_EQ(errno, EFAULT);
	T_EQ(creat(nowhere, 0600), -1);
	T_EQ(errno, EFAULT);
	T_OK(!fopen(nowhere, "r"));
	T_EQ(errno, EFAULT);
}

/* Shells open, then dup2() and exec. */
static void an_inherited_descriptor_works(void)
{
	int fd = iface_open(getpid(), "clear_refs", O_WRONLY), status;

	prepare();
	pid_t pid = t_fork();
	if (!pid) {
		dup2(fd, 1);
		execl("/bin/sh", "sh", "-c", "echo 4", NULL);
		_exit(127);
	}
	T_MUST(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		T_SKIP("no /bin/sh");
	T_EQ(status, 0);
	T_EQ(iface_dirty_pages(mem, 4), 0);
	close(fd);
}

/* A child of vfork() shares our memory but has descriptors of its own. */
static void a_vforked_child_disturbs_nothing(void)
{
	int fd = iface_open(getpid(), "pagemap", O_RDONLY), null = open("/dev/null", O_RDWR);
	char c[8];

	prepare();
	pid_t pid = vfork();
	if (!pid) {
		dup2(null, fd);
		(void)!read(fd, c, 8);
		_exit(0);
	}
	T_MUST(waitpid(pid, NULL, 0) == pid);
	check_fd(fd);
	close(fd);
	close(null);
}

static void a_process_that_has_ended_is_gone(void)
{
	pid_t pid = t_fork();
	uint64_t e;
	int clear_refs, pagemap;

	if (!pid)
		pause();
	clear_refs = iface_open(pid, "clear_refs", O_WRONLY);
	pagemap = iface_open(pid, "pagemap", O_RDONLY);
	t_kill(pid);
	T_EQ(write(clear_refs, "4", 1), -1);
	T_EQ(errno, ESRCH);
	T_EQ(pread(pagemap, &e, 8, at), 0);
	close(clear_refs);
	close(pagemap);
}

void iface_file_claims(void)
{
	T_RUN(every_spelling_of_four_clears);
	T_RUN(other_commands_are_the_kernels);
	T_RUN(what_is_no_command_is_refused);
	T_RUN(a_file_open_for_reading_does_not_clear);
	T_RUN(writev_and_pwrite_clear);
	T_RUN(odd_writes_are_refused_as_ever);
	T_RUN(a_stream_clears);
	T_RUN(every_kind_of_read_agrees);
	T_RUN(odd_reads_are_refused_as_ever);
	T_RUN(a_long_read_agrees);
	T_RUN(a_stream_reads);
	T_RUN(a_stream_without_a_buffer_reads);
	T_RUN(fdopen_reads);
	T_RUN(copies_of_a_descriptor_work);
	T_RUN(a_number_used_again_is_the_new_file);
	T_RUN(a_received_descriptor_works);
	T_RUN(a_vforked_child_disturbs_nothing);
	T_RUN(a_path_that_is_no_memory_is_refused_as_ever);
	if (!iface_is_proc())
		return;
	T_RUN(every_kind_of_path_works);
	T_RUN(an_inherited_descriptor_works);
	T_RUN(a_process_that_has_ended_is_gone);
}
