/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of our own calls. The program may be in the middle of malloc() when it needs us: in a
 * signal handler, or a garbage collector that has stopped all other threads where they were. So what
 * is allocated inside a slow path comes from here (--wrap in meson.build): a stack of pieces, whose
 * top goes down over all that are free. Needs the lock of slow.c.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "preload/compat.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

/* Of address space; only what is used costs memory. */
#define HEAP_SIZE (1ull << 30)
#define KEEP (1ull << 20)

struct piece {
	size_t size;		/* as asked for */
	struct piece *below;
	bool is_free;
	char data[] __attribute__((aligned(16)));
};

static char *heap;
static size_t used, peak;
static struct piece *top;

static bool is_ours(const void *p)
{
	return heap && (const char *)p >= heap && (const char *)p < heap + HEAP_SIZE;
}

static struct piece *piece_of(void *p)
{
	return (struct piece *)((char *)p - offsetof(struct piece, data));
}

static bool have_heap(void)
{
	if (!heap) {
		void *p = mmap(NULL, HEAP_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		heap = p == MAP_FAILED ? NULL : p;
	}
	return heap;
}

void *__wrap_malloc(size_t size)
{
	struct piece *p;
	size_t need = (sizeof(*p) + size + 15) & ~(size_t)15;

	if (!sdi_inside() || !have_heap() || size > HEAP_SIZE || need > HEAP_SIZE - used)
		return __real_malloc(size);
	p = (struct piece *)(heap + used);
	*p = (struct piece){ .size = size, .below = top };
	top = p;
	used += need;
	peak = MAX(peak, used);
	return p->data;
}

void __wrap_free(void *p)
{
	if (!is_ours(p)) {
		__real_free(p);
		return;
	}
	piece_of(p)->is_free = true;
	while (top && top->is_free) {
		used = (char *)top - heap;
		top = top->below;
	}
	if (!top && peak > KEEP) {
		madvise(heap + KEEP, peak - KEEP, MADV_DONTNEED);
		peak = 0;
	}
}

void *__wrap_calloc(size_t n, size_t size)
{
	size_t all;
	void *p;

	if (!sdi_inside())
		return __real_calloc(n, size);
	p = __builtin_mul_overflow(n, size, &all) ? NULL : __wrap_malloc(all);
	return p ? memset(p, 0, all) : NULL;
}

void *__wrap_realloc(void *old, size_t size)
{
	void *p;

	if (old ? !is_ours(old) : !sdi_inside())
		return __real_realloc(old, size);
	p = __wrap_malloc(size);
	if (p && old) {
		memcpy(p, old, MIN(piece_of(old)->size, size));
		__wrap_free(old);
	}
	return p;
}
