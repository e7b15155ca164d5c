/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * O_DIRECT reads in flight while the mark moves all the time. The device writes to a page after
 * its write fault was taken, so the kernel alone loses nine of ten pages (Linux 6.18). Each page
 * is filled once and has to be reported at some time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target.h"

#define SIZE (64l << 20)
#define REQUEST (1l << 20)

static long op_direct_file(long a, long b, long c, long d)
{
	char path[64];
	int fd = t_temp_file(path), direct;
	char *block = malloc(REQUEST);

	if (fd < 0)
		return fd;
	memset(block, 0x77, REQUEST);
	for (long done = 0; done < SIZE; done += REQUEST)
		if (write(fd, block, REQUEST) != REQUEST)
			return -errno;
	free(block);
	fsync(fd);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(path);
	close(fd);
	return direct < 0 ? -errno : direct;
}

static long op_read_direct(long fd, long address, long c, long d)
{
	for (long done = 0; done < SIZE; done += REQUEST) {
		ssize_t n = pread((int)fd, (char *)address + done, REQUEST, done);

		if (n != REQUEST)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

static void read_clear(struct t_target *tg, char *seen)
{
	const struct softdirty_range *r;
	size_t n;

	T_MUST(softdirty_read(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, tg->mem + SIZE, &r,
			      &n) == 0);
	for (size_t i = 0; i < n; i++)
		memset(seen + (r[i].start - tg->mem) / t_page_size(), 1,
		       (r[i].end - r[i].start) / t_page_size());
}

static void direct_io_in_flight_is_reported(void)
{
	T_TARGET tg = t_start();
	size_t n_pages = SIZE / t_page_size(), lost = 0;
	char *seen = calloc(1, n_pages);
	long fd = t_call(&tg, op_direct_file);
	long rounds = 0, ret;
	bool done = false;

	if (fd < 0)
		T_SKIP("no direct I/O here (%s)", strerror((int)-fd));
	t_map_touched(&tg, n_pages);
	t_watch(&tg);
	t_post(&tg, op_read_direct, fd, (long)tg.mem);
	while (!done) {
		done = t_idle(&tg);
		read_clear(&tg, seen);
		rounds++;
	}
	ret = t_wait(&tg);
	if (ret)
		T_SKIP("direct reads fail here (%s)", strerror((int)-ret));
	read_clear(&tg, seen);
	for (size_t i = 0; i < n_pages; i++)
		lost += !seen[i];
	t_note("%zu pages in %ld rounds of read --clear, %zu lost", n_pages, rounds, lost);
	T_EQ(lost, 0);
	free(seen);
}

int main(void)
{
	t_need_backend();
	T_RUN(direct_io_in_flight_is_reported);
	return t_done();
}
