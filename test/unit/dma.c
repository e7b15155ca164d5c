/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the descriptors of a process say about memory that is written without a fault. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t.h"
#include "track/dma.h"

#define RING "anon_inode:[io_uring]"
#define OPEN "pos:\t0\nflags:\t0100002\nmnt_id:\t31\n"

/* A process whose files in /proc are written by the test. */
struct process {
	char path[32];
	int dir;
};

static struct process begin(void)
{
	struct process p = { .path = "/tmp/softdirty-unit-XXXXXX" };

	T_MUST(mkdtemp(p.path));
	p.dir = open(p.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	T_MUST(!mkdirat(p.dir, "fd", 0700) && !mkdirat(p.dir, "fdinfo", 0700) &&
	       !mkdirat(p.dir, "task", 0700));
	return p;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void end(struct process *p)
{
	T_EQ(nftw(p->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
	close(p->dir);
}

static void put(const struct process *p, const char *name, const char *text)
{
	int fd = openat(p->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	T_MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void put_fd(const struct process *p, int n, const char *link, const char *info)
{
	char name[32];

	snprintf(name, sizeof(name), "fd/%d", n);
	T_MUST(!symlinkat(link, p->dir, name));
	snprintf(name, sizeof(name), "fdinfo/%d", n);
	put(p, name, info);
}

/* *n_pages: of buffers that are listed. Returns what sdi_dma_look() does. */
static int try_to_look(const struct process *p, struct sdi_dma *ret, uint64_t *n_pages)
{
	struct sdi_target t = { .pidfd = -1, .procfd = p->dir };
	struct sdi_ranges pinned = { 0 };
	struct sdi_maps none = { 0 };
	int err = sdi_dma_look(&t, &none, false, 0, ret, &pinned);

	*n_pages = 0;
	for (size_t i = 0; i < pinned.n; i++)
		*n_pages += (pinned.r[i].end - pinned.r[i].start) / (uint64_t)sysconf(_SC_PAGESIZE);
	sdi_ranges_fini(&pinned);
	return err;
}

static void put_status(const struct process *p, const char *name, long pinned_pages)
{
	char status[64];

	snprintf(status, sizeof(status), "State:\tR\nVmSize:\t4 kB\nVmPin:\t%ld kB\n",
		 pinned_pages * sysconf(_SC_PAGESIZE) / 1024);
	put(p, name, status);
}

/* With so much pinned. */
static struct sdi_dma look(const struct process *p, long pinned_pages, uint64_t *n_pages)
{
	struct sdi_dma dma;

	put(p, "statm", "1 1 1\n");
	put_status(p, "status", pinned_pages);
	T_MUST(!try_to_look(p, &dma, n_pages));
	return dma;
}

static bool unknown(const struct process *p, long pinned_pages)
{
	uint64_t n;

	return look(p, pinned_pages, &n).unknown_pins;
}

static void buffers_that_are_listed_are_known(void)
{
	struct process p = begin();
	uint64_t n;

	put_fd(&p, 5, RING, "UserBufs:\t1\n    0: 0x100000/1\n");
	put_fd(&p, 6, RING, "UserBufs:\t1\n    0: 0x200000/1\n");
	T_OK(look(&p, 2, &n).in_flight);
	T_EQ(n, 2);
	T_OK(!unknown(&p, 2));
	T_OK(unknown(&p, 3));
	T_OK(unknown(&p, 1));	/* they may be another process's, and that one page anything */
	end(&p);
}

/* Of a ring with two descriptors: else they would account for memory that others have pinned. */
static void a_buffer_that_is_listed_twice_is_one(void)
{
	struct process p = begin();

	put_fd(&p, 5, RING, "UserBufs:\t1\n    0: 0x100000/1\n");
	put_fd(&p, 6, RING, "UserBufs:\t1\n    0: 0x100000/1\n");
	T_OK(!unknown(&p, 1));
	T_OK(unknown(&p, 2));
	end(&p);
}

/* What the other one lists may not be what is pinned. */
static void a_ring_in_use_does_not_tell(void)
{
	struct process p = begin();

	put_fd(&p, 5, RING, "UserBufs:\t1\n    0: 0x100000/1\n");
	put_fd(&p, 6, RING, "SqMask:\t7\n");
	T_OK(!unknown(&p, 0));
	T_OK(unknown(&p, 1));
	end(&p);
}

/* What it maps for them is not in VmPin. */
static void devices_that_write_to_memory(void)
{
	static const struct {
		const char *link;
		bool is_one;
	} devices[] = {
		{ "/dev/vfio/vfio", true }, { "/dev/vfio/12", true },
		{ "/dev/vfio/devices/vfio0", true }, { "/dev/iommu", true },
		{ "/dev/tee0", true }, { "/dev/teepriv0", true }, { "/dev/vmci", true },
		{ "/dev/vfio", false }, { "/dev/iommu2", false }, { "/dev/null", false },
	};

	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		struct process p = begin();
		uint64_t n;

		put_fd(&p, 5, devices[i].link, OPEN);
		struct sdi_dma dma = look(&p, 0, &n);
		if (!T_OK(dma.unknown_pins == devices[i].is_one &&
			  dma.in_flight == devices[i].is_one))
			t_note("%s", devices[i].link);
		end(&p);
	}
}

/* The status of the first thread has no VmPin any more. */
static void a_main_thread_that_has_ended_hides_no_pins(void)
{
	struct process p = begin();
	struct sdi_dma dma;
	uint64_t n;

	T_MUST(!mkdirat(p.dir, "task/7", 0700) && !mkdirat(p.dir, "task/7/fd", 0700) &&
	       !mkdirat(p.dir, "task/7/fdinfo", 0700));
	put(&p, "statm", "0 0 0\n");
	put(&p, "status", "State:\tZ\n");
	put_status(&p, "task/7/status", 0);
	T_EQ(try_to_look(&p, &dma, &n), 0);
	T_OK(!dma.unknown_pins && !dma.in_flight);
	put_status(&p, "task/7/status", 1);
	T_EQ(try_to_look(&p, &dma, &n), 0);
	T_OK(dma.unknown_pins && dma.in_flight);
	end(&p);
}

static void a_status_that_cannot_be_read_is_an_error(void)
{
	struct process p = begin();
	struct sdi_dma dma;
	uint64_t n;

	put(&p, "statm", "1 1 1\n");
	T_EQ(try_to_look(&p, &dma, &n), 0);	/* there is none: it has ended */
	T_MUST(!mkdirat(p.dir, "status", 0700));
	T_EQ(try_to_look(&p, &dma, &n), -EISDIR);
	end(&p);
}

/* Else what is carried would be forgotten. */
static void a_file_that_cannot_be_looked_at_may_be_direct(void)
{
	struct process p = begin();
	uint64_t n;

	put_fd(&p, 5, "/dev/null", OPEN);
	T_OK(!look(&p, 0, &n).by_threads);
	put(&p, "fdinfo/5", "flags:\t02\n");
	T_OK(look(&p, 0, &n).by_threads);	/* no kernel says only that */
	T_MUST(!unlinkat(p.dir, "fdinfo/5", 0));
	T_OK(!look(&p, 0, &n).by_threads);	/* closed meanwhile */
	T_MUST(!symlinkat("5", p.dir, "fdinfo/5"));
	T_OK(look(&p, 0, &n).by_threads);
	T_MUST(!unlinkat(p.dir, "fdinfo/5", 0) && !mkdirat(p.dir, "fdinfo/5", 0700));
	T_OK(look(&p, 0, &n).by_threads);
	end(&p);
}

static struct sdi_dma with_file(const char *link, unsigned flags, unsigned mount)
{
	struct process p = begin();
	char info[64];
	uint64_t n;

	put(&p, "mountinfo", "31 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
	    "32 31 0:40 / /a\\040b rw shared:7 master:1 - fuse.sshfs x:/ rw,user_id=0\n"
	    "33 31 0:41 / /c rw - fuse x rw\n34 31 0:42 / /d rw - fuseblk /dev/vdb rw\n"
	    "35 31 0:43 / /e rw - virtiofs x rw\n36 31 0:44 / /f rw - 9p x rw\n"
	    "37 31 0:45 / /g rw - cifs //x/y rw\n38 31 0:46 / /h rw - smb3 //x/y rw\n"
	    "39 31 0:47 / /i rw - fusectl x rw\n40 31 0:48 / /j rw - nfs4 x:/fuse rw\n");
	snprintf(info, sizeof(info), "pos:\t0\nflags:\t0%o\nmnt_id:\t%u\nino:\t3\n", flags, mount);
	put_fd(&p, 5, link, info);
	struct sdi_dma ret = look(&p, 0, &n);
	end(&p);
	return ret;
}

static bool by_threads(const char *link, unsigned flags, unsigned mount)
{
	struct sdi_dma dma = with_file(link, flags, mount);

	T_OK(!dma.in_flight);
	return dma.by_threads;
}

/* Without O_DIRECT, as they may do it on their own. */
static void files_of_file_systems_that_read_directly(void)
{
	for (unsigned mount = 31; mount <= 40; mount++)
		if (!T_OK(by_threads("/x", O_RDWR, mount) == (mount >= 32 && mount <= 38)))
			t_note("mount %u", mount);
	T_OK(by_threads("/x", O_RDWR | O_DIRECT, 31));
	T_OK(by_threads("/dev/null", O_RDONLY, 33));
	T_OK(!by_threads("/x", O_WRONLY | O_APPEND, 33));
	T_OK(!by_threads("/x", O_PATH, 33) && !by_threads("/x", O_DIRECTORY, 33));
}

static void files_whose_mount_nobody_lists(void)
{
	unsigned none = 4000000001;

	T_OK(by_threads("/x", O_RDONLY, none));
	T_OK(!by_threads("/x", O_WRONLY, none));
	T_OK(!by_threads("/memfd:x (deleted)", O_RDWR, none));
	T_OK(!by_threads("/dev/pts/3", O_RDWR, none));
}

/* Opened for whatever: the addresses of buffers are in the commands. */
static void devices_that_take_commands(void)
{
	static const char *const yes[] = { "/dev/sg0", "/dev/bsg/0:0:0:0", "/dev/ng0n1", "/dev/nvme0",
					   "/dev/nvme0n1p1", "/dev/sda", "/dev/sr0", "/dev/nst0" };
	static const char *const no[] = { "/dev/null", "/dev/snd/seq", "/dev/bsg", "/dev/vda",
					  "/dev/loop0", "/sda" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
		if (!T_OK(with_file(yes[i], O_WRONLY, 31).in_flight))
			t_note("%s", yes[i]);
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		if (!T_OK(!with_file(no[i], O_RDWR, 31).in_flight))
			t_note("%s", no[i]);
}

/* As those are that a process in a container has inherited. */
static void a_mount_that_only_we_know(void)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	long long mount = t_proc_number(path, "mnt_id");
	T_MUST(mount > 0);
	T_EQ(by_threads("/x", O_RDONLY, (unsigned)mount), mount >= 32 && mount <= 38);
	close(fd);
}

static void more_mounts_than_there_is_room_for(void)
{
	struct process p = begin();
	char info[64];
	uint64_t n;

	for (int i = 0; i <= 64; i++) {
		T_OK(!look(&p, 0, &n).by_threads);
		snprintf(info, sizeof(info), "flags:\t00\nmnt_id:\t%u\n", 4000000001u + i);
		put_fd(&p, 5 + i, "/memfd:x (deleted)", info);
	}
	T_OK(look(&p, 0, &n).by_threads);
	end(&p);
}

int main(void)
{
	T_RUN(buffers_that_are_listed_are_known);
	T_RUN(a_buffer_that_is_listed_twice_is_one);
	T_RUN(a_ring_in_use_does_not_tell);
	T_RUN(devices_that_write_to_memory);
	T_RUN(a_main_thread_that_has_ended_hides_no_pins);
	T_RUN(a_status_that_cannot_be_read_is_an_error);
	T_RUN(a_file_that_cannot_be_looked_at_may_be_direct);
	T_RUN(files_of_file_systems_that_read_directly);
	T_RUN(files_whose_mount_nobody_lists);
	T_RUN(devices_that_take_commands);
	T_RUN(a_mount_that_only_we_know);
	T_RUN(more_mounts_than_there_is_room_for);
	return t_done();
}
