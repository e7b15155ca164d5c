/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/helper.h"
#include "target/pagemap.h"

static int see(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	*(bool *)arg = categories & PAGE_IS_SOFT_DIRTY;
	return 0;
}

/* Is the page soft-dirty? Asked the way in which a target's pages will be. */
static int is_dirty(int pagemap, void *page, bool *ret)
{
	uint64_t size = sdi_page_size(), at = (uintptr_t)page;
	struct sdi_vma v = { .start = at, .end = at + size };
	struct sdi_maps m = { .v = &v, .n = 1 };

	*ret = false;
	return sdi_pages_each(NULL, pagemap, &m, PAGE_IS_SOFT_DIRTY, false, at, at + size, see,
			      ret);
}

/*
 * Write, clear, write, and look after each. Without CONFIG_MEM_SOFT_DIRTY clear_refs accepts "4" all
 * the same and does nothing (fs/proc/task_mmu.c of 6.1 and 7.2): only the bits tell.
 */
static int try_bits(volatile char *page)
{
	autoclose int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	autoclose int clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	static const bool want[3] = { true, false, true };
	bool got;

	if (pagemap < 0 || clear_refs < 0)
		return sdi_fail(EOPNOTSUPP, "/proc/self/%s: %s",
				pagemap < 0 ? "pagemap" : "clear_refs", sdi_strerror(errno));
	for (int step = 0; step < 3; step++) {
		if (step == 1 && write(clear_refs, "4", 1) != 1)
			return sdi_fail(EOPNOTSUPP, "clear_refs refuses 4: %s "
					"(CONFIG_MEM_SOFT_DIRTY is off)", sdi_strerror(errno));
		if (step != 1)
			*page = step + 1;
		int err = is_dirty(pagemap, (void *)page, &got);
		if (err)
			return sdi_fail(EOPNOTSUPP, "cannot read the bits: %s", sdi_strerror(-err));
		if (got != want[step])
			return sdi_fail(EOPNOTSUPP, got ? "tried it: clear_refs clears nothing" :
					"tried it: a page just written reads clean "
					"(CONFIG_MEM_SOFT_DIRTY is off)");
	}
	return 0;
}

static void child(const void *arg, int sock)
{
	struct sdi_helper_reply reply = { .err = try_bits((char *)arg) };

	snprintf(reply.text, sizeof(reply.text), "%s", sdi_last_error());
	sdi_helper_answer(sock, &reply, -1);
}

static int try_in_child(void)
{
	struct sdi_helper helper;
	struct sdi_helper_reply reply;
	int fd;

	sdi_scan_works();	/* so that the child need not find out */
	void *page = mmap(NULL, sdi_page_size(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return sdi_fail(ENOMEM, "out of memory");
	int err = sdi_helper_start(child, page, &helper);
	if (!err) {
		err = sdi_helper_wait(&helper, &reply, &fd);
		sdi_helper_end(&helper);
	}
	munmap(page, sdi_page_size());
	return err;
}

int sdi_probe_soft_dirty(struct sdi_why *why)
{
	static atomic_bool works;	/* a kernel that has it will not lose it */
	int err = atomic_load(&works) ? 0 : try_in_child();

	if (!err)
		atomic_store(&works, true);
	sdi_why(why, "%s", err ? sdi_last_error() : "clear_refs and bit 55 of pagemap: tried it, exact");
	return err;
}
