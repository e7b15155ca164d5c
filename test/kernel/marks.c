/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several consumers of one target, reads of a part of it, and the rules of the public API. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target.h"

#define CLEAR SOFTDIRTY_READ_CLEAR

static void two_marks_take_nothing_from_each_other(void)
{
	T_TARGET tg = t_begin(4);

	T_EQ(softdirty_clear(tg.sd, "a"), 0);
	t_call(&tg, t_op_write, t_page(&tg, 0));
	T_EQ(softdirty_clear(tg.sd, "b"), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, "a", CLEAR), "DD--");
	T_STREQ(t_pages(&tg, "b", 0), "-D--");
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_STREQ(t_pages(&tg, "a", 0), "--D-");
	T_STREQ(t_pages(&tg, "b", CLEAR), "-DD-");
	T_STREQ(t_pages(&tg, "a", CLEAR), "--D-");
	T_STREQ(t_pages(&tg, "a", CLEAR), "----");
	T_STREQ(t_pages(&tg, NULL, CLEAR), "DDD-");
}

static void a_mark_never_cleared_sees_everything_as_new(void)
{
	T_TARGET tg = t_begin(4);
	const struct softdirty_range *r;
	size_t n;

	T_STREQ(t_pages(&tg, "other", 0), "nnnn");
	T_EQ(t_reason(&tg, "other", 0), SOFTDIRTY_REASON_NEVER);
	T_EQ(softdirty_read(tg.sd, "other", CLEAR, 0, 0, &r, &n), 0);
	T_OK(n > 0);
	T_STREQ(t_pages(&tg, "other", 0), "----");
}

static void the_default_mark_has_two_names(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, "", 0), "-D--");
	T_STREQ(t_pages(&tg, NULL, CLEAR), "-D--");
	T_STREQ(t_pages(&tg, "", 0), "----");
}

static void a_forgotten_mark_starts_anew(void)
{
	T_TARGET tg = t_begin(4);

	T_EQ(softdirty_clear(tg.sd, "a"), 0);
	T_STREQ(t_pages(&tg, "a", 0), "----");
	T_EQ(softdirty_forget(tg.sd, "a"), 0);
	T_EQ(softdirty_forget(tg.sd, "a"), -ENOENT);
	T_STREQ(t_pages(&tg, "a", 0), "nnnn");
	T_STREQ(t_pages(&tg, NULL, 0), "----");
}

static void read_clear_of_a_part_leaves_the_rest(void)
{
	T_TARGET tg = t_begin(4);
	char got[8];

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_letters(tg.sd, NULL, CLEAR, t_page(&tg, 1), 2, tg.unit, got);
	T_STREQ(got, "DD");
	T_STREQ(t_pages(&tg, NULL, CLEAR), "D--D");
	T_STREQ(t_pages(&tg, NULL, CLEAR), "----");
}

/* The other mark gets all that was found, also outside of the part; and so the other way round. */
static void read_clear_of_a_part_takes_nothing_from_another_mark(void)
{
	T_TARGET tg = t_begin(4);
	char got[8];

	T_EQ(softdirty_clear(tg.sd, "a"), 0);
	T_EQ(softdirty_clear(tg.sd, "b"), 0);
	t_call(&tg, t_op_touch, tg.mem, 3, tg.unit);
	t_letters(tg.sd, "a", CLEAR, t_page(&tg, 1), 2, tg.unit, got);
	T_STREQ(got, "DD");
	t_call(&tg, t_op_write, t_page(&tg, 3));
	t_letters(tg.sd, "b", CLEAR, t_page(&tg, 2), 2, tg.unit, got);
	T_STREQ(got, "DD");
	T_STREQ(t_pages(&tg, "b", CLEAR), "DD--");
	T_STREQ(t_pages(&tg, "a", CLEAR), "D--D");
	T_STREQ(t_pages(&tg, "a", CLEAR), "----");
	T_STREQ(t_pages(&tg, "b", CLEAR), "----");
	T_STREQ(t_pages(&tg, NULL, CLEAR), "DDDD");
}

static void tagged_addresses_are_the_same_pages(void)
{
	T_TARGET tg = t_begin(4);
	const uint64_t tag = 1ull << 57;
	const struct softdirty_range *r;
	size_t n = 0;

	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EQ(softdirty_read(tg.sd, NULL, 0, tg.mem | tag, t_page(&tg, 4) | tag, &r, &n), 0);
	if (T_EQ(n, 1))
		T_EQ(r->start, t_page(&tg, 1));
}

static void read_of_a_part_reports_no_more_than_it(void)
{
	T_TARGET tg = t_begin(4);
	const struct softdirty_range *r;
	size_t n;

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	T_EQ(softdirty_read(tg.sd, NULL, 0, t_page(&tg, 1), t_page(&tg, 3), &r, &n), 0);
	T_EQ(n, 1);
	T_EQ(r[0].start, t_page(&tg, 1));
	T_EQ(r[0].end, t_page(&tg, 3));
	T_EQ(softdirty_read(tg.sd, NULL, 0, t_page(&tg, 1) + 1, t_page(&tg, 3), &r, &n), -EINVAL);
	T_EQ(softdirty_read(tg.sd, NULL, 0, t_page(&tg, 1), t_page(&tg, 3) + 7, &r, &n), -EINVAL);
}

static void neighbouring_ranges_differ(void)
{
	T_TARGET tg = t_begin(64);
	const struct softdirty_range *r;
	size_t n;

	for (size_t i = 0; i < 64; i += i % 7 + 1)
		t_call(&tg, t_op_write, t_page(&tg, i));
	T_EQ(softdirty_read(tg.sd, NULL, 0, 0, 0, &r, &n), 0);
	for (size_t i = 1; i < n; i++)
		T_OK(r[i].start > r[i - 1].end || r[i].flags != r[i - 1].flags ||
		     r[i].reason != r[i - 1].reason);
}

static void populated_pages_are_listed(void)
{
	T_TARGET tg = t_start();
	const struct softdirty_range *r;
	size_t n;

	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EQ(softdirty_pages(tg.sd, tg.mem, t_page(&tg, 4), &r, &n), 0);
	T_MUST(n == 1);
	T_EQ(r[0].start, t_page(&tg, 1));
	T_EQ(r[0].end, t_page(&tg, 2));
	T_EQ(r[0].flags & SOFTDIRTY_WHY, 0);
	T_OK(r[0].flags & SOFTDIRTY_POPULATED);
	T_OK(!(r[0].flags & (SOFTDIRTY_FILE | SOFTDIRTY_SHARED | SOFTDIRTY_SWAPPED)));
	T_STREQ(t_pages(&tg, NULL, CLEAR), "-D--");
}

static void mappings_are_listed(void)
{
	T_TARGET tg = t_begin(4);
	const struct softdirty_mapping *m;
	bool found = false;
	size_t n;

	T_EQ(softdirty_mappings(tg.sd, &m, &n), 0);
	for (size_t i = 0; i < n; i++) {
		T_OK(i == 0 || m[i].start >= m[i - 1].end);
		if (m[i].start != tg.mem)
			continue;
		found = true;
		T_EQ(m[i].end, t_page(&tg, 4));
		T_EQ(m[i].prot, 3);
		T_EQ(m[i].flags, 0);
		T_STREQ(m[i].name, "");
	}
	T_OK(found);
}

static void names_of_marks_are_checked(void)
{
	T_TARGET tg = t_begin(1);
	char name[65];

	memset(name, 'x', 64);
	name[64] = '\0';
	T_EQ(softdirty_clear(tg.sd, name), -EINVAL);
	T_EQ(softdirty_clear(tg.sd, name + 1), 0);
	T_EQ(softdirty_clear(tg.sd, "a\nb"), -EINVAL);
	T_OK(softdirty_error()[0] != '\0');
}

static void info_describes_the_handle(void)
{
	T_TARGET tg = t_begin(1);
	struct softdirty_info info = { .size = sizeof(info) };

	T_EQ(softdirty_clear(tg.sd, "a"), 0);
	T_EQ(softdirty_info(tg.sd, &info), 0);
	T_EQ(info.pid, tg.pid);
	T_EQ(info.page_size, t_page_size());
	T_OK(info.start_time > 0);
	T_EQ(info.n_marks, 2);
	T_EQ(info.keeper, 0);
	T_STREQ(info.backend, t_backend_name());
	info.size = sizeof(info) + 8;
	T_EQ(softdirty_info(tg.sd, &info), -EINVAL);
}

static void a_reused_pid_is_another_process(void)
{
	T_TARGET tg = t_begin(4);
	const struct softdirty_range *r;
	pid_t pid = tg.pid, now = 0;
	char last[16];
	size_t n;

	t_kill(tg.pid);
	tg.pid = 0;
	snprintf(last, sizeof(last), "%d", pid - 1);
	for (int i = 0; i < 50 && now != pid; i++) {
		t_kill(now);
		if (t_write_file("/proc/sys/kernel/ns_last_pid", last))
			T_SKIP("may not choose a process id");
		now = t_fork();
		if (now == 0)
			for (;;)
				pause();
	}
	if (now == pid) {
		T_EQ(softdirty_read(tg.sd, NULL, 0, 0, 0, &r, &n), -ESRCH);
		T_EQ(softdirty_clear(tg.sd, NULL), -ESRCH);
	}
	t_kill(now);
	if (now != pid)
		T_SKIP("the process id was taken by others each time");
}

static void wrong_arguments_are_refused(void)
{
	T_TARGET tg = t_start();
	struct {
		struct softdirty_options o;
		long more;
	} big = { .o.size = sizeof(big), .more = 1 };
	struct softdirty_options o = { .size = sizeof(o), .backend = "no-such" };
	struct softdirty *sd;

	T_EQ(softdirty_open(tg.pid, &o, &sd), -EINVAL);
	T_EQ(softdirty_open(tg.pid, &big.o, &sd), -E2BIG);
	o = (struct softdirty_options){ .size = sizeof(o), .flags = 1u << 30 };
	T_EQ(softdirty_open(tg.pid, &o, &sd), -EINVAL);
	T_EQ(softdirty_open(999999999, NULL, &sd), -ESRCH);
	softdirty_close(NULL);
}

/*
 * A mapping has room for one userfaultfd. Of two that attach before either has registered anything,
 * the second to clear gets none, and takes over when the first has gone.
 */
static void the_second_of_two_trackers_knows_nothing(void)
{
	T_TARGET tg = t_start();
	struct softdirty *first, *second;
	char letters[5];

	if (t_backend() != T_WP_ASYNC)
		T_SKIP("only a userfaultfd owns mappings");
	t_map_touched(&tg, 4);
	T_MUST(!softdirty_open(tg.pid, NULL, &first));
	T_MUST(!softdirty_open(tg.pid, NULL, &second));
	T_EQ(softdirty_clear(first, NULL), 0);
	T_EQ(softdirty_clear(second, NULL), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_letters(first, NULL, CLEAR, tg.mem, 4, tg.unit, letters);
	T_STREQ(letters, "-D--");
	t_letters(second, NULL, CLEAR, tg.mem, 4, tg.unit, letters);
	T_STREQ(letters, "uuuu");
	softdirty_close(first);
	t_letters(second, NULL, CLEAR, tg.mem, 4, tg.unit, letters);
	T_STREQ(letters, "nnnn");
	t_call(&tg, t_op_write, t_page(&tg, 2));
	t_letters(second, NULL, CLEAR, tg.mem, 4, tg.unit, letters);
	T_STREQ(letters, "--D-");
	softdirty_close(second);
}

int main(void)
{
	t_need_backend();
	T_RUN(two_marks_take_nothing_from_each_other);
	T_RUN(a_mark_never_cleared_sees_everything_as_new);
	T_RUN(the_default_mark_has_two_names);
	T_RUN(a_forgotten_mark_starts_anew);
	T_RUN(read_clear_of_a_part_leaves_the_rest);
	T_RUN(read_clear_of_a_part_takes_nothing_from_another_mark);
	T_RUN(tagged_addresses_are_the_same_pages);
	T_RUN(read_of_a_part_reports_no_more_than_it);
	T_RUN(neighbouring_ranges_differ);
	T_RUN(populated_pages_are_listed);
	T_RUN(mappings_are_listed);
	T_RUN(names_of_marks_are_checked);
	T_RUN(info_describes_the_handle);
	T_RUN(a_reused_pid_is_another_process);
	T_RUN(wrong_arguments_are_refused);
	T_RUN(the_second_of_two_trackers_knows_nothing);
	return t_done();
}
