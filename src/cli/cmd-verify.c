/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * softdirty verify: rounds in which the tracker's answer is compared with the memory itself, the
 * target standing still meanwhile. Has a mark of its own, so nobody else notices.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/oracle.h"
#include "report/verify.h"

static const struct sdi_syntax syntax = {
	.command = "verify",
	.options = SDI_OPT_BACKEND | SDI_OPT_ROUNDS | SDI_OPT_INTERVAL | SDI_OPT_JSON,
	.min_pids = 1, .max_pids = 1,
	.help =
	"Usage: softdirty verify PID [OPTION]...\n"
	"Compare what softdirty reports with what the memory of the process really holds. The\n"
	"process stands still while its memory is read. The exit status is 1 if a page was missed.\n\n"
	"  -n, --rounds N      this many rounds (default 10)\n"
	"  -i, --interval SEC  let it run that long in each (default 1; 0.1 and the like work)\n"
	"  --backend NAME      where nobody watches it yet: as for softdirty clear\n"
	"  --json              one JSON object\n"
	"  --help              this text\n",
};

struct verify {
	struct softdirty *sd;
	struct sdi_oracle *oracle;
	struct sdi_verify_report report;
	bool json;
	bool begun;			/* the head is printed */
	bool own_keeper;		/* we started it, so we end it */
	char mark[32];
	char process[64];
	char backend[16];
	struct sdi_verify_round sum;
	uint64_t missed;
	unsigned done;
};

/* The tracker's answer, kept while the handle is asked for more. */
struct said {
	struct softdirty_range *r;
	size_t n;
};

static int take_answer(struct verify *v, struct said *ret)
{
	const struct softdirty_range *lent;
	int err = softdirty_read(v->sd, v->mark, SOFTDIRTY_READ_CLEAR, 0, 0, &lent, &ret->n);

	if (err)
		return err;
	ret->r = malloc(ret->n * sizeof(*lent) + 1);
	if (!ret->r)
		return -ENOMEM;
	if (ret->n)
		memcpy(ret->r, lent, ret->n * sizeof(*lent));
	return 0;
}

/*
 * What the kernel writes on behalf of the target (io_uring) goes on while the target stands still.
 * Such a page was written after the answer was taken, so it must be in the next one already.
 */
static int excuse_late(struct verify *v, struct sdi_verify_round *round)
{
	const struct softdirty_range *next;
	struct sdi_verify_round before = *round;
	size_t n, i = 0;

	if (!round->n_missed)
		return 0;
	int err = softdirty_read(v->sd, v->mark, 0, 0, 0, &next, &n);
	round->missed = NULL;
	round->n_missed = round->cap_missed = 0;
	for (size_t m = 0; !err && m < before.n_missed; m++) {
		uint64_t addr = before.missed[m].start;

		for (; !err && addr < before.missed[m].end; addr += v->report.page_size) {
			while (i < n && next[i].end <= addr)
				i++;
			if (i < n && next[i].start <= addr)
				round->late++;
			else
				err = sdi_verify_miss(round, addr, addr + v->report.page_size);
		}
	}
	free(before.missed);
	return err;
}

/* Everything that happens while the target stands still. round NULL: only begin. */
static int look(struct verify *v, struct sdi_verify_round *round)
{
	const struct softdirty_range *pages;
	struct said said = { 0 };
	size_t n;
	int err = take_answer(v, &said);

	if (!err)
		err = softdirty_pages(v->sd, 0, 0, &pages, &n);
	if (!err)
		err = sdi_oracle_look(v->oracle, pages, n, said.r, said.n, round);
	if (!err && round)
		err = excuse_late(v, round);
	free(said.r);
	return err;
}

static int frozen_look(struct verify *v, struct sdi_verify_round *round)
{
	sigset_t old;

	/* Stopped by Ctrl-Z we would leave the target stopped as well. */
	sdi_cli_block_stops(&old);
	int err = softdirty_freeze(v->sd);
	if (!err) {
		err = look(v, round);
		softdirty_thaw(v->sd);
	}
	sdi_cli_allow_stops(&old);
	return err;
}

static int print_round(struct verify *v, const struct sdi_verify_round *round)
{
	int err = 0;

	if (v->json)
		err = sdi_verify_json_round(stdout, &v->report, v->done, round);
	else
		sdi_verify_text_round(stdout, &v->report, v->done, round);
	return err ? err : sdi_cli_flush();
}

static int print_head(struct verify *v)
{
	int err = 0;

	if (v->json)
		err = sdi_verify_json_head(stdout, &v->report);
	else
		sdi_verify_text_head(stdout, &v->report);
	return err ? err : sdi_cli_flush();
}

static int print_foot(struct verify *v)
{
	int err = 0;

	if (v->json)
		err = sdi_verify_json_foot(stdout, &v->sum, v->missed);
	else
		sdi_verify_text_foot(stdout, v->done, &v->sum, v->missed);
	return err ? err : sdi_cli_flush();
}

static void wait_interval(const struct verify *v)
{
	struct timespec t = {
		.tv_sec = v->report.interval_ns / 1000000000,
		.tv_nsec = v->report.interval_ns % 1000000000,
	};

	nanosleep(&t, NULL);
}

/* Returns an error of the library; *output is one of stdout. */
static int rounds(struct verify *v, int *output)
{
	int err = frozen_look(v, NULL);

	if (!err) {
		*output = print_head(v);
		v->begun = true;
	}
	while (!err && !*output && v->done < v->report.rounds) {
		struct sdi_verify_round round = { 0 };

		wait_interval(v);
		if (sdi_cli_caught())
			break;
		err = frozen_look(v, &round);
		if (!err) {
			v->done++;
			v->missed += sdi_verify_missed(&round, v->report.page_size);
			sdi_verify_add(&v->sum, &round);
			*output = print_round(v, &round);
		}
		free(round.missed);
	}
	return err;
}

/* An error of the library; or 1, when it has been said. */
static int begin(struct verify *v, const struct sdi_args *args)
{
	struct softdirty_info info = { .size = sizeof(info) };
	pid_t pid = args->pids[0];

	snprintf(v->mark, sizeof(v->mark), "verify-%d", getpid());
	int err = sdi_cli_open(pid, NULL, SOFTDIRTY_OPEN_EXISTING, &v->sd);

	if (err == -ENOENT) {
		v->own_keeper = true;
		err = sdi_cli_open(pid, args->backend, 0, &v->sd);
	}
	if (!err)
		err = softdirty_info(v->sd, &info);
	if (err)
		return err;
	if (v->own_keeper)
		sdi_cli_note_backend(v->sd);
	memcpy(v->backend, info.backend, sizeof(v->backend));
	sdi_cli_process_name(pid, v->process);
	v->json = args->format == SDI_FORMAT_JSON;
	v->report = (struct sdi_verify_report){
		.pid = pid, .process = v->process, .backend = v->backend,
		.page_size = info.page_size, .rounds = args->rounds,
		.interval_ns = args->interval_ns,
	};
	err = sdi_oracle_open(pid, info.page_size, &v->oracle);
	if (!err)
		return 0;
	sdi_cli_fail("cannot verify %d: cannot open its memory: %s", pid, strerror(-err));
	return 1;
}

/* The keeper stays if others have begun to use it. */
static void end(struct verify *v)
{
	struct softdirty_info info = { .size = sizeof(info) };

	sdi_oracle_close(v->oracle);
	if (!v->sd)
		return;
	softdirty_forget(v->sd, v->mark);
	if (v->own_keeper && !softdirty_info(v->sd, &info) && !info.n_marks)
		softdirty_stop(v->sd);
	softdirty_close(v->sd);
}

static int verify(const struct sdi_args *args)
{
	struct verify v = { 0 };
	int output = 0;
	int err = begin(&v, args);

	if (!err)
		err = rounds(&v, &output);
	if (err < 0)
		sdi_cli_error("verify", args->pids[0], err);
	if (!output && (v.done || (v.json && v.begun)))
		output = print_foot(&v);
	if (output)
		sdi_cli_fail("cannot write the answer: %s", strerror(-output));
	end(&v);
	sdi_cli_die_as_caught();
	return err || output || v.missed ? SDI_EXIT_FAILED : SDI_EXIT_OK;
}

int sdi_cmd_verify(int argc, char **argv)
{
	struct sdi_args args = { .rounds = 10, .interval_ns = 1000000000 };
	int status = sdi_args_parse(argc, argv, &syntax, &args);

	if (status < 0) {
		sdi_cli_catch_signals();
		signal(SIGPIPE, SIG_IGN);	/* when the reader leaves, we tidy up first */
		status = verify(&args);
	}
	sdi_args_fini(&args);
	return status;
}
