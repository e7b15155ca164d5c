/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The oracle finds every change that it is not told of, whoever is asked: that is what makes
 * "0 missed" mean something. The trackers' answers are made up here.
 */
#include "cli/oracle.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "t.h"

enum { PAGE = 4096, PAGES = 200 };

static char *memory;
static struct sdi_oracle *oracle;

static uint64_t address(unsigned page)
{
	return (uintptr_t)memory + (uint64_t)page * PAGE;
}

static struct softdirty_range run_of(unsigned first, unsigned n, uint32_t flags)
{
	return (struct softdirty_range){ address(first), address(first + n), flags, 0 };
}

/* Pages [0, n) are populated and have these flags. */
static struct sdi_verify_round look(unsigned n, uint32_t flags, const struct softdirty_range *said,
				    size_t n_said)
{
	struct softdirty_range pages = run_of(0, n, SOFTDIRTY_POPULATED | flags);
	struct sdi_verify_round round = { 0 };

	T_EQ(sdi_oracle_look(oracle, &pages, 1, said, n_said, &round), 0);
	T_EQ(round.populated, n);
	return round;
}

static void begin(void)
{
	sdi_oracle_close(oracle);
	T_MUST(!sdi_oracle_open(getpid(), PAGE, &oracle));
	struct softdirty_range pages = run_of(0, PAGES, SOFTDIRTY_POPULATED);
	T_EQ(sdi_oracle_look(oracle, &pages, 1, NULL, 0, NULL), 0);
}

static void what_nobody_reports_is_missed(void)
{
	begin();
	memory[3 * PAGE]++;
	memory[4 * PAGE + 4095]++;
	memory[150 * PAGE + 2000]++;
	struct sdi_verify_round round = look(PAGES, 0, NULL, 0);
	T_EQ(round.changed, 3);
	T_EQ(sdi_verify_missed(&round, PAGE), 3);
	T_EQ(round.n_missed, 2);
	T_EQ(round.missed[0].start, address(3));
	T_EQ(round.missed[1].end, address(151));
	free(round.missed);
	round = look(PAGES, 0, NULL, 0);
	T_EQ(round.changed, 0);
	T_EQ(round.n_missed, 0);
}

static void what_is_reported_is_not_missed(void)
{
	struct softdirty_range said[] = { run_of(3, 2, SOFTDIRTY_WRITTEN),
					  run_of(150, 1, SOFTDIRTY_UNTRACKED) };
	begin();
	memory[3 * PAGE]++;
	memory[150 * PAGE]++;
	struct sdi_verify_round round = look(PAGES, 0, said, 2);
	T_EQ(round.n_missed, 0);
	T_EQ(round.reported, 3);
	T_EQ(round.changed, 2);
	T_EQ(round.same[0][0], 1);
	T_EQ(sdi_verify_same(&round), 1);
}

static void the_borders_of_a_report_are_exact(void)
{
	struct softdirty_range said = run_of(10, 5, SOFTDIRTY_WRITTEN);

	begin();
	for (unsigned page = 9; page <= 15; page++)
		memory[page * PAGE]++;
	struct sdi_verify_round round = look(PAGES, 0, &said, 1);
	T_EQ(round.n_missed, 2);
	T_EQ(round.missed[0].start, address(9));
	T_EQ(round.missed[0].end, address(10));
	T_EQ(round.missed[1].start, address(15));
	free(round.missed);
}

static void shared_and_file_memory_is_set_apart(void)
{
	begin();
	memory[5 * PAGE]++;
	struct sdi_verify_round round = look(PAGES, SOFTDIRTY_FILE | SOFTDIRTY_SHARED, NULL, 0);
	T_EQ(round.outside, 1);
	T_EQ(round.n_missed, 0);
	memory[6 * PAGE]++;
	round = look(PAGES, SOFTDIRTY_FILE, NULL, 0);
	T_EQ(round.outside, 1);
	memory[7 * PAGE]++;
	round = look(PAGES, SOFTDIRTY_ZERO, NULL, 0);
	T_EQ(round.discarded, 1);
}

static void a_page_that_appears_was_zero_before(void)
{
	struct softdirty_range pages[] = { run_of(0, 10, SOFTDIRTY_POPULATED),
					   run_of(20, 2, SOFTDIRTY_POPULATED) };
	struct sdi_verify_round round = { 0 };

	sdi_oracle_close(oracle);
	T_MUST(!sdi_oracle_open(getpid(), PAGE, &oracle));
	T_EQ(sdi_oracle_look(oracle, pages, 1, NULL, 0, NULL), 0);
	memset(memory + 20 * PAGE, 0, PAGE);
	memory[21 * PAGE] = 1;
	T_EQ(sdi_oracle_look(oracle, pages, 2, NULL, 0, &round), 0);
	T_EQ(round.n_missed, 1);
	T_EQ(round.missed[0].start, address(21));
	free(round.missed);
}

static void what_cannot_be_read_is_not_compared(void)
{
	begin();
	memory[31 * PAGE]++;
	memory[33 * PAGE]++;
	T_MUST(!munmap(memory + 32 * PAGE, PAGE));
	struct sdi_verify_round round = look(PAGES, 0, NULL, 0);
	T_EQ(round.unreadable, 1);
	T_EQ(sdi_verify_missed(&round, PAGE), 2);
	free(round.missed);
}

static void protected_memory_is_read_all_the_same(void)
{
	begin();
	memory[70 * PAGE]++;
	T_MUST(!mprotect(memory + 70 * PAGE, PAGE, PROT_NONE));
	struct sdi_verify_round round = look(PAGES, 0, NULL, 0);
	T_MUST(!mprotect(memory + 70 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	if (round.unreadable)
		T_SKIP("this kernel lets only a tracer read it");
	T_EQ(sdi_verify_missed(&round, PAGE), 1);
	free(round.missed);
}

int main(void)
{
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_MUST(memory != MAP_FAILED);
	memset(memory, 1, PAGES * PAGE);
	T_RUN(what_nobody_reports_is_missed);
	T_RUN(what_is_reported_is_not_missed);
	T_RUN(the_borders_of_a_report_are_exact);
	T_RUN(shared_and_file_memory_is_set_apart);
	T_RUN(a_page_that_appears_was_zero_before);
	T_RUN(protected_memory_is_read_all_the_same);
	T_RUN(what_cannot_be_read_is_not_compared);
	sdi_oracle_close(oracle);
	return t_done();
}
