/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program on the Boehm collector in incremental mode. It hangs new objects into old ones all the
 * time; a collector that misses one such write frees an object that is in use, and its content
 * changes. Prints one line: the provider of dirty bits, the collections, and what the objects sum
 * up to, which is the same for every run that loses nothing.
 */
#include <gc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 20000, ROUNDS = 60, CHANGES = 20000 };

struct node {
	struct node *older;
	uint64_t slot, round;
	char more[40];
};

static uint64_t next_random(void)
{
	static uint64_t seed = 1;

	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed >> 33;
}

static struct node *make(struct node *older, uint64_t slot, uint64_t round)
{
	struct node *n = GC_MALLOC(sizeof(*n));

	*n = (struct node){ older, slot, round, "" };
	memset(n->more, (int)round, sizeof(n->more));
	/* Two generations stay. */
	if (older)
		older->older = NULL;
	return n;
}

static uint64_t check(const struct node *n, uint64_t slot)
{
	if (n->slot != slot || n->more[0] != (char)n->round || n->more[39] != (char)n->round) {
		printf("an object in use was freed\n");
		exit(1);
	}
	return n->slot * 31 + n->round;
}

/* The collector says it in its log only. */
static const char *provider(int log)
{
	static char text[1 << 20];
	ssize_t n = pread(log, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "Using soft-dirty bit feature") ? "soft-dirty" :
	       strstr(text, "Initializing mprotect") ? "mprotect" : "unknown";
}

int main(void)
{
	FILE *log = tmpfile();
	struct node **slots;
	uint64_t sum = 0;

	setenv("GC_PRINT_VERBOSE_STATS", "1", 1);
	GC_set_log_fd(fileno(log));
	GC_INIT();
	GC_enable_incremental();
	slots = GC_MALLOC(SLOTS * sizeof(*slots));
	for (uint64_t i = 0; i < SLOTS; i++)
		slots[i] = make(NULL, i, 0);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		for (int k = 0; k < CHANGES; k++) {
			uint64_t i = next_random() % SLOTS;

			slots[i] = make(slots[i], i, round);
		}
		GC_collect_a_little();
		for (uint64_t i = 0; i < SLOTS; i += 7)
			check(slots[i], i);
	}
	for (uint64_t i = 0; i < SLOTS; i++) {
		sum += check(slots[i], i);
		if (slots[i]->older)
			sum += check(slots[i]->older, i);
	}
	printf("%s %lu collections, sum %lu\n", provider(fileno(log)),
	       (unsigned long)GC_get_gc_no(), (unsigned long)sum);
	return 0;
}
