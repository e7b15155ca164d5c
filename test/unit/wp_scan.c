/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps of the scan that only a moment's bad luck leads to. Includes the source for that. */
#include "track/wp_scan.c"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "t.h"
#include "uapi/userfaultfd.h"

enum { N = 8 };

static int uffd;
static uint64_t page;

static uint64_t protected(const char *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entries[N], n = 0;

	T_EQ(pread(fd, entries, sizeof(entries), (off_t)((uintptr_t)p / page * 8)), sizeof(entries));
	for (int i = 0; i < N; i++)
		n += entries[i] >> 57 & 1;
	close(fd);
	return n;
}

/* A mapping in the middle was just replaced. What lies behind it must not stay as it is. */
static void all_is_unprotected_around_a_stranger(void)
{
	char *p = mmap(NULL, N * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = { .range = { (uintptr_t)p, N * page },
				       .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	T_MUST(p != MAP_FAILED);
	for (int stranger = 0; stranger < N; stranger++) {
		char *q = p + stranger * page;

		memset(p, 1, N * page);
		T_MUST(!ioctl(uffd, UFFDIO_REGISTER, &reg) && !ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
		T_EQ(protected(p), N);
		T_MUST(mmap(q, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			    -1, 0) == q);
		T_EQ(unprotect(&uffd, (uintptr_t)p, (uintptr_t)p + N * page, 0), 0);
		T_EQ(protected(p), 0);
	}
	munmap(p, N * page);
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };

	page = sdi_page_size();
	uffd = syscall(SYS_userfaultfd, SDI_UFFD_FLAGS);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		t_skip_all("this kernel has no wp-async");
	T_RUN(all_is_unprotected_around_a_stranger);
	return t_done();
}
