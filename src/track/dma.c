/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/dma.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/mounts.h"

struct looking {
	const struct sdi_target *target;
	const struct sdi_maps *maps;
	int fdinfo;		/* beside the table that is looked at */
	struct sdi_dma *dma;
	struct sdi_ranges buffers;
	bool silent_ring;	/* a ring that did not list its buffers */
	bool tcp;		/* a TCP socket was seen */
	struct sdi_mount mounts[64];	/* of files that can be read */
	size_t n_mounts;
};

static bool is_gone(int err)
{
	return err == ENOENT || err == ESRCH;
}

/* Where it is not allowed to see, so that nothing is lost. Any other error stays one. */
static int assume_worst(struct looking *l, int err)
{
	if (err != -EACCES && err != -EPERM)
		return err;
	l->dma->in_flight = true;
	return 0;
}

/* NULL with errno; is_gone() of it: the descriptor was closed meanwhile. */
static FILE *open_fdinfo(const struct looking *l, const char *fd)
{
	autoclose int f = openat(l->fdinfo, fd, O_RDONLY | O_CLOEXEC);
	FILE *ret = f < 0 ? NULL : fdopen(f, "r");

	if (ret)
		take_fd(&f);
	return ret;
}

/* " 0: 0x7fba84fcf000/16384", below "UserBufs: 1" */
static int push_buffer(struct looking *l, const char *line)
{
	unsigned long long addr, len;

	/* Those of ublk are memory of the kernel, at no address. */
	if (sscanf(line, " %*u: 0x%llx/%llu", &addr, &len) != 2 || !len || !addr)
		return 0;
	uint64_t mask = sdi_page_size() - 1;
	uint64_t start = addr & ~mask, end = (addr + len + mask) & ~mask;
	if (addr + len < addr || end <= start)
		return 0;	/* no such memory: do not count it as known */
	return sdi_ranges_push(&l->buffers, start, end, SOFTDIRTY_UNTRACKED,
			       SOFTDIRTY_REASON_PINNED);
}

/*
 * The list of buffers is left out while the ring is in use (mutex_trylock in
 * io_uring_show_fdinfo()). *told: it was there. 0 or -ENOMEM.
 */
static int read_ring(struct looking *l, const char *fd, bool *told)
{
	autofclose FILE *f = open_fdinfo(l, fd);
	char line[256];
	bool inside = false;
	int err = 0;

	*told = !f && is_gone(errno);
	while (f && !err && fgets(line, sizeof(line), f)) {
		if (line[0] != ' ' && line[0] != '\t')
			inside = !strncmp(line, "UserBufs:", 9);
		else if (inside)
			err = push_buffer(l, line);
		*told |= inside;
	}
	return err;
}

static bool is_mapped(const struct sdi_maps *m, const struct stat *ring)
{
	uint64_t dev = (uint64_t)major(ring->st_dev) << 32 | minor(ring->st_dev);
	uint64_t ident = sdi_vma_ident(dev, ring->st_ino, true);

	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].flags & SDI_VMA_URING && m->v[i].ident == ident)
			return true;
	return false;
}

/*
 * A ring that is not mapped is in memory of the process itself (IORING_SETUP_NO_MMAP, Linux 6.5): the
 * kernel writes it through a mapping of its own, which neither VmPin nor fdinfo shows. Each ring has
 * an inode of its own since Linux 5.16 (91a9ab7c942a). The list of mappings may be older than the
 * ring.
 */
static int look_for_mapping(struct looking *l, int dir, const char *fd)
{
	struct sdi_maps now = { 0 };
	struct stat ring;
	int err = 0;

	if (fstatat(dir, fd, &ring, 0) || is_mapped(l->maps, &ring))
		return 0;
	err = sdi_maps_read(l->target, &now);
	l->dma->unknown_pins |= !is_mapped(&now, &ring);
	sdi_maps_fini(&now);
	return err;
}

static int look_at_ring(struct looking *l, int dir, const char *fd)
{
	bool told = false;
	int err = look_for_mapping(l, dir, fd);

	l->dma->in_flight = true;
	for (int i = 0; i < 10 && !told && !err; i++) {
		if (i)
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
		err = read_ring(l, fd, &told);
	}
	l->silent_ring |= !told;
	return err;
}

/* names: up to NULL. */
static bool begins_with(const char *text, const char *const *names)
{
	while (*names && strncmp(text, *names, strlen(*names)))
		names++;
	return *names;
}

/*
 * Files of which no list of mounts has the mount. They are of the kernel's own: memory, and buffers of
 * devices that cannot be read. Or they are devices, whose drivers read and not the file system: many
 * a process inherits /dev/null from outside of its container.
 */
static bool is_internal(const char *link)
{
	static const char *const names[] = { "/memfd:", "/SYSV", "/anon_hugepage", "/secretmem",
					     "/dmabuf:", "/dev/", NULL };

	return begins_with(link, names);
}

static void add_mount(struct looking *l, unsigned id, bool internal)
{
	for (size_t i = 0; i < l->n_mounts; i++)
		if (l->mounts[i].id == id) {
			l->mounts[i].internal &= internal;
			return;
		}
	if (l->n_mounts == ARRAY_SIZE(l->mounts))
		l->dma->by_threads = true;
	else
		l->mounts[l->n_mounts++] = (struct sdi_mount){ .id = id, .internal = internal };
}

/* Can data of the file system come into memory by read(2)? */
static bool is_readable(unsigned flags)
{
	return !(flags & (O_PATH | O_DIRECTORY)) && (flags & O_ACCMODE) != O_WRONLY;
}

/* One that cannot be looked at counts as direct: else what is carried would be forgotten. */
static void look_at_file(struct looking *l, const char *fd, const char *link)
{
	struct sdi_fdinfo info;
	int err = sdi_fdinfo_read(l->fdinfo, fd, &info);

	if (err) {
		l->dma->by_threads |= !is_gone(-err);
		return;
	}
	l->dma->by_threads |= !!(info.flags & O_DIRECT);
	if (is_readable(info.flags))
		add_mount(l, info.mount, is_internal(link));
}

/*
 * Of all files at once, as each list of mounts is read only once. A mount that nobody knows may be any:
 * the file is from outside of the target's mount namespace and ours, its file system was unmounted
 * (umount -l), or it is a POSIX message queue, whose link can be any name. An ordinary process has none
 * that can be read, and what it costs where it has one is that pages are said again.
 */
static void look_at_mounts(struct looking *l)
{
	if (l->dma->in_flight || l->dma->by_threads)
		return;
	sdi_mounts_find(l->target, l->mounts, l->n_mounts);
	for (size_t i = 0; i < l->n_mounts; i++)
		l->dma->by_threads |= l->mounts[i].reads == SDI_READS_DIRECT ||
				      (!l->mounts[i].reads && !l->mounts[i].internal);
}

/*
 * Devices that take commands with the address of a buffer, or as tapes read directly in any case: SG_IO,
 * NVME_IOCTL_IO_CMD, vhost_scsi_map_to_sgl(), try_direct_io() in drivers/scsi/st.c (as of Linux 6.18). And
 * /dev/fuse, which gets a page of the reader's buffer, and then fills it (fuse_copy_fill()). By their
 * names in /dev.
 */
static bool takes_commands(const char *link)
{
	static const char *const names[] = { "/dev/sg", "/dev/bsg/", "/dev/ng", "/dev/nvme", "/dev/sd",
					     "/dev/sr", "/dev/st", "/dev/nst", "/dev/vhost-scsi",
					     "/dev/fuse", NULL };

	return begins_with(link, names);
}

/*
 * What a process maps for a device is accounted in VmLck (vfio_lock_acct(), as of Linux 6.2), or nowhere
 * (register_shm_helper() of TEE, VMCI, cudaHostRegister() of NVIDIA's driver).
 */
static bool is_device(const char *link)
{
	static const char *const names[] = { "/dev/vfio/", "/dev/dfl-port", "/dev/tee", "/dev/vmci",
					     "/dev/nvidia", "anon_inode:[vfio-device]", NULL };

	return begins_with(link, names) || !strcmp(link, "/dev/iommu");
}

/* Sockets that decrypt what they receive, in that network namespace. */
static bool counts_tls(int fd)
{
	static const char *const names[] = { "TlsCurrRxSw", "TlsCurrRxDevice" };
	char text[2048];
	ssize_t n = sdi_read_full(fd, text, sizeof(text) - 1);
	bool ret = n <= 0;

	text[MAX(n, 0)] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names) && !ret; i++) {
		const char *at = strstr(text, names[i]);

		ret = at && strtoull(at + strlen(names[i]), NULL, 10);
	}
	return ret;
}

/*
 * A socket of kernel TLS decrypts straight into the pages of recv(2), for which it had the write fault a
 * moment before (tls_setup_from_iter(), as of Linux 6.18). Which socket does so cannot be asked from
 * outside: one of the namespace is enough, of the target's or of ours, where its socket may be from.
 */
static void look_for_tls(struct looking *l)
{
	autoclose int theirs = l->tcp && !l->dma->in_flight ?
		sdi_target_openat(l->target, "net/tls_stat", O_RDONLY) : -ENOENT;
	autoclose int ours = theirs == -ENOENT ? -1 :
		open("/proc/thread-self/net/tls_stat", O_RDONLY | O_CLOEXEC);

	/* There is none without the module, for any namespace. */
	if (theirs != -ENOENT)
		l->dma->in_flight |= theirs < 0 || counts_tls(theirs) || (ours >= 0 && counts_tls(ours));
}

/* The n bytes of an attribute, which the kernel ends with a NUL. */
static bool is_name(const char *value, ssize_t n, const char *name)
{
	return n == (ssize_t)strlen(name) + 1 && !memcmp(value, name, n);
}

/*
 * The umem of an AF_XDP socket is pinned for as long as the socket lives, but accounted to the user
 * alone (xdp_umem_account_pages(), as of Linux 6.18): not in VmPin, and nobody says where it is. The
 * name of the protocol comes from sockfs (net/socket.c), and no peer is asked. Measured: 8 us for each
 * socket, where the link costs 5.
 */
static int look_at_socket(struct looking *l, int dir, const char *fd)
{
	char path[64], protocol[32];

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d/%.20s", dir, fd);
	ssize_t n = getxattr(path, "system.sockprotoname", protocol, sizeof(protocol));
	int err = n < 0 ? errno : 0;
	if (err == ENOMEM)
		return -ENOMEM;
	/* What is decrypted by the kernel comes directly, too (af_alg_get_rsgl(), as of Linux 6.18). */
	l->dma->in_flight |= is_name(protocol, n, "ALG");
	l->tcp |= is_name(protocol, n, "TCP") || is_name(protocol, n, "TCPv6");
	/* Nor is what others may write by RDMA (rds_pin_pages()). One that we may not ask may be any. */
	if (err == EACCES || err == EPERM || is_name(protocol, n, "XDP") ||
	    is_name(protocol, n, "RDS"))
		l->dma->unknown_pins = l->dma->in_flight = true;
	return 0;
}

static int look_at_fd(struct looking *l, int dir, const char *fd)
{
	char link[64];
	ssize_t n = readlinkat(dir, fd, link, sizeof(link) - 1);

	if (n < 0)
		return is_gone(errno) ? 0 : assume_worst(l, -errno);
	link[n] = '\0';
	if (!strncmp(link, "anon_inode:[io_uring]", 21))
		return look_at_ring(l, dir, fd);
	if (!strncmp(link, "socket:[", 8) && !l->dma->unknown_pins)
		return look_at_socket(l, dir, fd);
	if (is_device(link))
		l->dma->unknown_pins = l->dma->in_flight = true;
	l->dma->in_flight |= takes_commands(link);
	if (link[0] == '/' && !l->dma->in_flight)
		look_at_file(l, fd, link);
	return 0;
}

static int look_at_table(void *arg, DIR *fds)
{
	struct looking *l = arg;
	autoclose int fdinfo = openat(dirfd(fds), "../fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fdinfo < 0 ? -errno : 0;

	l->fdinfo = fdinfo;
	for (struct dirent *d; !err && (d = readdir(fds));)
		if (d->d_name[0] != '.')
			err = look_at_fd(l, dirfd(fds), d->d_name);
	return err;
}

static int look_at_fds(struct looking *l)
{
	int err = sdi_each_fds(l->target, look_at_table, l);

	if (err)
		return assume_worst(l, is_gone(-err) ? -EACCES : err);
	look_at_mounts(l);
	look_for_tls(l);
	return 0;
}

/*
 * How much of what is pinned is listed; each address once, since copies of a descriptor list the same
 * again. Nothing, if a ring was silent: it may be its buffers that are pinned.
 */
static uint64_t accounted_for(const struct looking *l)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < l->buffers.n && !l->silent_ring; i++)
		bytes += l->buffers.r[i].end - l->buffers.r[i].start;
	return bytes;
}

/* Of a target that has ended nothing is pinned any more. */
static int read_status(const struct sdi_target *t, struct sdi_status *ret)
{
	int err = sdi_target_status(t, ret);

	return err == -ESRCH ? 0 : err;
}

int sdi_dma_look(const struct sdi_target *t, const struct sdi_maps *m, bool frozen, pid_t asker,
		 struct sdi_dma *ret, struct sdi_ranges *pinned)
{
	struct looking l = { .target = t, .maps = m, .dma = ret };
	struct sdi_status s = { 0 };

	*ret = (struct sdi_dma){ 0 };
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].flags & (SDI_VMA_AIO | SDI_VMA_URING))
			ret->in_flight = true;
	int err = look_at_fds(&l);
	if (!err)
		err = sdi_ranges_sort(&l.buffers);
	if (!err)
		err = sdi_ranges_push_all(pinned, &l.buffers);
	if (!err)
		err = read_status(t, &s);
	if (s.tracer && !frozen && s.tracer != asker)
		ret->in_flight = true;	/* its pokes pin the page for a moment, too */
	ret->in_flight |= s.vm_pin > 0;
	/* More is listed than is pinned where a ring is of another process that shares it. */
	ret->unknown_pins |= s.vm_pin && s.vm_pin != accounted_for(&l);
	sdi_ranges_fini(&l.buffers);
	return err;
}
