/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that leaves the userfaultfd between two steps of a round, as mremap() makes it. It was written
 * before the round perhaps, so whichever step finds it gone has to say it.
 */
#include "track/wp.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "t.h"
#include "uapi/userfaultfd.h"

enum { N = 4 };

static int uffd, pagemap;
static struct sdi_target self;

/* A known mapping, and another one that is fresh in this round. */
struct scene {
	struct sdi_tracker tr;
	struct sdi_wp wp;
	struct sdi_ranges found;
	struct sdi_wp_round r;
	uint64_t start, end, fresh;
};

static uint64_t map(size_t pages)
{
	size_t size = pages * sdi_page_size();
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	T_MUST(p != MAP_FAILED);
	madvise(p, size, MADV_DONTFORK);	/* so that it is joined with no neighbour */
	memset(p, 1, size);
	return (uintptr_t)p;
}

static void set(struct scene *s)
{
	*s = (struct scene){ .tr = { .target = self, .pagemap = pagemap, .to = UINT64_MAX },
			     .wp.uffd = uffd };
	s->r = (struct sdi_wp_round){ .tr = &s->tr, .wp = &s->wp, .how = SDI_TAKE,
				      .found = &s->found };
	s->start = map(N);
	s->end = s->start + N * sdi_page_size();
	s->fresh = map(1);
	T_MUST(!sdi_wp_register(uffd, s->start, s->end) && !sdi_maps_read(&self, &s->tr.maps));
	T_MUST(!sdi_ranges_push(&s->wp.known, s->start, s->end, 0, 0) &&
	       !sdi_ranges_push(&s->r.fresh, s->fresh, s->fresh + sdi_page_size(), 0, 0));
}

static void clear(struct scene *s)
{
	sdi_ranges_fini(&s->found);
	sdi_ranges_fini(&s->wp.known);
	sdi_ranges_fini(&s->r.fresh);
	sdi_maps_fini(&s->tr.maps);
	munmap((void *)(uintptr_t)s->start, s->end - s->start);
	munmap((void *)(uintptr_t)s->fresh, sdi_page_size());
}

static void leave(const struct scene *s)
{
	struct uffdio_range range = { s->start, s->end - s->start };

	T_MUST(!ioctl(uffd, UFFDIO_UNREGISTER, &range));
}

static void a_step_says_what_left(int (*step)(struct sdi_wp_round *r))
{
	struct scene s;

	set(&s);
	T_EQ(step(&s.r), 0);
	T_OK(!s.found.n && sdi_ranges_cover(&s.wp.known, s.start, s.end));
	leave(&s);
	T_EQ(step(&s.r), 0);
	T_MUST(!sdi_ranges_sort(&s.found));
	T_OK(sdi_ranges_cover(&s.found, s.start, s.end));
	T_OK(!sdi_ranges_cover(&s.wp.known, s.start, s.end));
	clear(&s);
}

static void what_left_before_the_scan_is_said(void)
{
	a_step_says_what_left(sdi_wp_join_split);
}

static void what_left_during_the_scan_is_said(void)
{
	a_step_says_what_left(sdi_wp_push_gone);
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };

	uffd = syscall(SYS_userfaultfd, SDI_UFFD_FLAGS);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		t_skip_all("this kernel has no wp-async");
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	T_MUST(!sdi_target_open(0, &self));
	T_RUN(what_left_before_the_scan_is_said);
	T_RUN(what_left_during_the_scan_is_said);
	sdi_target_close(&self);
	return t_done();
}
