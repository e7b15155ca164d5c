/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes the bare machine one on which programs find what they expect. What the kernel does not
 * have is left out, with a line on the console; the tests that need it then skip. Knows nothing of
 * the tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vm.h"

#define SWAP_BYTES (256l << 20)
#define DISK_BYTES (320l << 20)	/* as in image.py */
#define NOBODY 65534

static void missing(const char *what)
{
	printf("@note no %s: %s\n", what, strerror(errno));
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -1 : 0;
}

static void mount_all(void)
{
	static const struct { const char *type, *at, *options; mode_t mode; } list[] = {
		{ "proc", "/proc", "", 0555 },
		{ "sysfs", "/sys", "", 0555 },
		{ "devtmpfs", "/dev", "", 0755 },
		{ "devpts", "/dev/pts", "ptmxmode=0666", 0755 },
		{ "tmpfs", "/dev/shm", "mode=1777", 0777 },
		{ "tmpfs", "/tmp", "mode=1777", 0777 },
		{ "tmpfs", "/run", "mode=0755", 0755 },
		{ "tmpfs", "/var/tmp", "mode=1777", 0777 },
		{ "hugetlbfs", "/dev/hugepages", "mode=1777", 0777 },
		{ "cgroup2", "/sys/fs/cgroup", "", 0555 },
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		mkdir(list[i].at, list[i].mode);
		if (mount(list[i].type, list[i].at, list[i].type, 0, list[i].options))
			missing(list[i].type);
	}
	mkdir("/run/user", 0755);
	mkdir("/run/user/65534", 0700);
	if (chown("/run/user/65534", NOBODY, NOBODY))
		missing("owner for the runtime directory");
}

/* /modules lists paths of modules, each after those it depends on. */
static void load_modules(void)
{
	FILE *list = fopen("/modules", "re");
	char path[256];

	while (list && fscanf(list, "%255s", path) == 1) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
			missing(path);
		close(fd);
	}
	if (list)
		fclose(list);
}

/* What mkswap(8) writes into the first page. */
static int make_swap(const char *path, long bytes)
{
	long page = sysconf(_SC_PAGESIZE);
	char *header = calloc(1, (size_t)page);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	unsigned info[2] = { 1, (unsigned)(bytes / page - 1) };
	ssize_t n;

	memcpy(header + 1024, info, sizeof(info));
	memcpy(header + page - 10, "SWAPSPACE2", 10);
	n = write(fd, header, (size_t)page);
	close(fd);
	free(header);
	return n == page ? 0 : -1;
}

static void add_swap(void)
{
	char size[32];

	snprintf(size, sizeof(size), "%ld", SWAP_BYTES);
	if (write_text("/sys/block/zram0/disksize", size) || make_swap("/dev/zram0", SWAP_BYTES) ||
	    swapon("/dev/zram0", 0))
		missing("swap");
}

/* A file system that knows direct I/O, unlike the ones that live in memory. */
static void mount_disk(void)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int n = ioctl(control, LOOP_CTL_GET_FREE);
	int image = open("/disk.ext4", O_RDWR | O_CLOEXEC);
	char path[32];
	int loop;

	if (ftruncate(image, DISK_BYTES))
		missing("room for a disk");
	snprintf(path, sizeof(path), "/dev/loop%d", n);
	loop = open(path, O_RDWR | O_CLOEXEC);
	if (loop < 0 || ioctl(loop, LOOP_SET_FD, image) ||
	    mount(path, "/var/tmp", "ext4", 0, ""))
		missing("file system on a disk");
	else
		chmod("/var/tmp", 01777);
	close(loop);
	close(image);
	close(control);
}

static void network_up(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		missing("loopback network");
	close(fd);
}

static void limits(void)
{
	struct rlimit files = { 1024, 1 << 19 }, locked = { 8 << 20, 8 << 20 };

	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_MEMLOCK, &locked);	/* as since Linux 5.16 */
	write_text("/proc/sys/vm/nr_hugepages", "32");
	write_text("/proc/sys/vm/overcommit_memory", "1");
	/* The console shows a panic and nothing less: the rest is read from /dev/kmsg. */
	write_text("/proc/sys/kernel/printk", "1 4 1 1");
	write_text("/proc/sys/kernel/printk_devkmsg", "on");
}

void vm_setup(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(0);
	mount_all();
	load_modules();
	limits();
	add_swap();
	mount_disk();
	network_up();
	umask(022);
	setenv("PATH", "/bin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("TERM", "linux", 1);
}

const char *vm_release(void)
{
	static struct utsname name;

	uname(&name);
	return name.release;
}
