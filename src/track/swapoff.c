/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/swapoff.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

void sdi_swapoff_init(struct sdi_swapoff *s)
{
	s->fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
}

void sdi_swapoff_fini(struct sdi_swapoff *s)
{
	sdi_cleanup_fd(&s->fd);
	s->fd = -1;
}

/* At the end of each swapon() and swapoff() all who poll the file are told once. */
static bool has_ended(const struct sdi_swapoff *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLPRI };

	return poll(&p, 1, 0) > 0 && p.revents & POLLPRI;
}

/* "/dev/zram0   partition   1048572   0   100", in KiB */
static int add_size(void *arg, char *line)
{
	uint64_t *sum = arg;
	unsigned long long kib;

	if (sscanf(line, "%*s %*s %llu", &kib) == 1)
		*sum += kib << 10;
	return 0;
}

/* Of space that is being taken away the sum is less already, while it is still listed. */
static int is_going_on(const struct sdi_swapoff *s)
{
	uint64_t listed = 0;
	struct sysinfo info;

	if (lseek(s->fd, 0, SEEK_SET) || sysinfo(&info))
		return -errno;
	int err = sdi_each_line(s->fd, add_size, &listed);
	return err ? err : listed > (uint64_t)info.totalswap * info.mem_unit;
}

int sdi_swapoff_ran(struct sdi_swapoff *s)
{
	if (s->fd < 0)
		return 0;
	/* In this order: one that ends in between was seen to go on. */
	int now = is_going_on(s);

	s->seen |= has_ended(s) || now > 0;
	return now < 0 ? now : s->seen;
}

void sdi_swapoff_taken(struct sdi_swapoff *s)
{
	s->seen = false;
}
