/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two commands at once on one target, with the same mark or with two. Neither fails, and a page that
 * was written is told to each mark at least once.
 */
#include <stdlib.h>
#include <string.h>

#include "fault.h"

enum { ROUNDS = 120 };

static const char *const marks[2] = { "a", "b" };
static const char *const verbs[3] = { "read", "clear", "stop" };

struct racer {
	int verb, mark;
	struct f_run run;
};

static struct racer start(const struct f_target *t, int verb, int mark)
{
	const char *const read[] = { "read", "%", "--clear", "--mark", marks[mark], "--format",
				     "ranges", NULL };
	const char *const clear[] = { "clear", "%", "--mark", marks[mark], NULL };
	const char *const stop[] = { "stop", "%", NULL };
	const char *const *const words[3] = { read, clear, stop };

	return (struct racer){ verb, mark, f_run(t, words[verb], NULL) };
}

/* Two that read the same mark share what there is to tell. */
static void finish(const struct f_target *t, struct f_view *v, struct racer *racer)
{
	bool told[2][F_PAGES] = { 0 }, reads[2] = { false };

	for (int i = 0; i < 2; i++) {
		struct racer *r = &racer[i];

		if (!T_EQ(f_wait(&r->run), 0))
			t_note("%s against %s: %s", verbs[r->verb], verbs[racer[!i].verb],
			       f_text(r->run.err));
		reads[r->mark] |= r->verb == 0;
		if (r->verb == 0)
			f_tell_text(t, told[r->mark], f_text(r->run.out));
	}
	for (int m = 0; m < 2; m++)
		if (reads[m] && racer[0].verb != 1 && racer[1].verb != 1)
			T_EQ(f_after(t, &v[m], told[m]), 0);
	for (int i = 0; i < 2; i++) {
		if (racer[i].verb == 1)
			f_forget(t, &v[racer[i].mark]);
		else if (racer[!i].verb == 1 && racer[i].verb == 0 && racer[0].mark != racer[1].mark)
			T_EQ(f_after(t, &v[racer[i].mark], told[racer[i].mark]), 0);
		f_run_end(&racer[i].run);
	}
}

static void race(const struct f_target *t, struct f_view *v, bool same)
{
	struct racer racer[2];

	for (int m = 0; m < 2; m++)
		f_before(t, &v[m]);
	for (int i = 0; i < 2; i++)
		racer[i] = start(t, (int)f_random(3), same ? 0 : i);
	finish(t, v, racer);
}

static void all_is_told(bool same)
{
	struct f_target t = f_start();
	struct f_view *v = calloc(2, sizeof(*v));

	for (int i = 0; i < ROUNDS && !t_failed(); i++) {
		race(&t, v, same);
		for (int m = 0; m < 2 && i % 3 == 0; m++)
			f_read_all(&t, &v[m], marks[m]);
	}
	f_stop(&t);
	f_no_trace(&t);
	free(v);
	f_end(&t);
}

static void two_marks(void)
{
	all_is_told(false);
}

static void one_mark(void)
{
	all_is_told(true);
}

int main(int argc, char **argv)
{
	f_main(argc, argv);
	if (!f_has_command())
		t_skip_all("the command was not built");
	T_RUN(two_marks);
	T_RUN(one_mark);
	return t_done();
}
