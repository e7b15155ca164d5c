/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every form of an answer, from data made up here: to the letter. */
#include "report/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "report/check.h"
#include "report/verify.h"
#include "t.h"

#define RW (SOFTDIRTY_POPULATED)

static const struct softdirty_mapping mappings[] = {
	{ .start = 0x1000, .end = 0x3000, .name = "/lib/x", .flags = SOFTDIRTY_FILE },
	{ .start = 0x3000, .end = 0x5000, .name = "/lib/x", .flags = SOFTDIRTY_FILE },
	{ .start = 0x5000, .end = 0x8000, .name = "[heap]" },
	{ .start = 0x9000, .end = 0xa000, .name = "" },
	{ .start = 0xa000, .end = 0xb000, .name = "/tmp/a\tb\x1b[1m\n" },
	{ .start = 0xb000, .end = 0xc000, .name = "/tmp/\xff\xfe" },
};

static const struct softdirty_range ranges[] = {
	{ 0x2000, 0x6000, SOFTDIRTY_WRITTEN | RW, 0 },	/* both /lib/x, and into the heap */
	{ 0x7000, 0xa000, SOFTDIRTY_NEW, SOFTDIRTY_REASON_EXEC },	/* over a gap */
	{ 0xa000, 0xb000, SOFTDIRTY_UNTRACKED | SOFTDIRTY_FILE | SOFTDIRTY_SHARED | RW,
	  SOFTDIRTY_REASON_PINNED },
	{ 0xb000, 0xc000, SOFTDIRTY_WRITTEN | RW | SOFTDIRTY_ZERO | SOFTDIRTY_SWAPPED |
	  SOFTDIRTY_HUGE, 0 },
	{ 0xf000, 0x10000, SOFTDIRTY_WRITTEN, 0 },	/* no mapping any more */
};

static const struct softdirty_range pages[] = {
	{ 0x1000, 0x7000, RW, 0 },
	{ 0xa000, 0xc000, RW, 0 },
};

static struct sdi_report sample(void)
{
	return (struct sdi_report){
		.pid = 42, .process = "na\tme", .mark = "", .backend = "wp-async",
		.page_size = 0x1000,
		.ranges = ranges, .n_ranges = sizeof(ranges) / sizeof(*ranges),
		.mappings = mappings, .n_mappings = sizeof(mappings) / sizeof(*mappings),
		.pages = pages, .n_pages = sizeof(pages) / sizeof(*pages),
	};
}

static char *text;
static size_t size;

static FILE *begin(void)
{
	free(text);
	text = NULL;
	return open_memstream(&text, &size);
}

static void ranges_are_cut_at_names_and_names_are_made_harmless(void)
{
	struct sdi_report r = sample();
	FILE *out = begin();

	sdi_report_ranges(out, &r);
	fclose(out);
	T_STREQ(text,
		"2000-5000\t3\twritten\tanon,private,populated\t/lib/x\n"
		"5000-6000\t1\twritten\tanon,private,populated\t[heap]\n"
		"7000-8000\t1\tnew\tanon,private\t[heap]\n"
		"8000-9000\t1\tnew\tanon,private\t-\n"
		"9000-a000\t1\tnew\tanon,private\t-\n"
		"a000-b000\t1\tuntracked\tfile,shared,populated\t/tmp/a\\011b\\033[1m\\012\n"
		"b000-c000\t1\twritten\tanon,private,populated,zero,swapped,huge\t/tmp/\xff\xfe\n"
		"f000-10000\t1\twritten\tanon,private\t-\n");
}

static void json_is_one_line_with_the_promised_keys(void)
{
	struct sdi_report r = sample();
	json_error_t error;
	FILE *out = begin();

	T_EQ(sdi_report_json(out, &r), 0);
	fclose(out);
	T_OK(text[size - 1] == '\n' && strchr(text, '\n') == text + size - 1);
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	T_MUST(o);
	T_EQ(json_object_size(o), 7);
	T_EQ(json_integer_value(json_object_get(o, "pid")), 42);
	T_STREQ(json_string_value(json_object_get(o, "mark")), "");
	T_STREQ(json_string_value(json_object_get(o, "backend")), "wp-async");
	T_EQ(json_integer_value(json_object_get(o, "page_size")), 4096);
	T_EQ(json_integer_value(json_object_get(o, "populated_pages")), 8);
	T_EQ(json_integer_value(json_object_get(o, "dirty_pages")), 10);
	json_t *list = json_object_get(o, "ranges");
	T_EQ(json_array_size(list), 8);
	json_t *plain = json_array_get(list, 0), *pinned = json_array_get(list, 5);
	T_EQ(json_object_size(plain), 6);
	T_STREQ(json_string_value(json_object_get(plain, "start")), "0x2000");
	T_STREQ(json_string_value(json_object_get(plain, "end")), "0x5000");
	T_EQ(json_integer_value(json_object_get(plain, "pages")), 3);
	T_EQ(json_object_size(pinned), 7);
	T_STREQ(json_string_value(json_object_get(pinned, "why")), "untracked");
	T_STREQ(json_string_value(json_object_get(pinned, "reason")),
		softdirty_reason_text(SOFTDIRTY_REASON_PINNED));
	T_STREQ(json_string_value(json_object_get(pinned, "mapping")), "/tmp/a\tb\x1b[1m\n");
	T_STREQ(json_string_value(json_object_get(json_array_get(list, 6), "mapping")),
		"/tmp/\\377\\376");
	json_decref(o);
}

static void the_summary_adds_up_by_name(void)
{
	struct sdi_report r = sample();
	FILE *out = begin();

	T_EQ(sdi_report_summary(out, &r), 0);
	fclose(out);
	T_OK(strstr(text, "na\\011me (42): 6 of 8 populated pages (24 KiB of 32 KiB)"));
	T_OK(strstr(text, "  written               6       24 KiB            5\n"));
	T_OK(strstr(text, "  new                   3       12 KiB            0   "));
	T_OK(strstr(text, softdirty_reason_text(SOFTDIRTY_REASON_EXEC)));
	/* All of /lib/x is one line, and what was written most comes first. */
	char *lib = strstr(text, "           3          0          0          4  /lib/x\n");
	char *heap = strstr(text, "           1          1          0          2  [heap]\n");
	T_OK(lib && heap && lib < heap);
	T_OK(strstr(text, "           0          0          1          1  /tmp/a\\011b"));
	T_OK(strstr(text, "           1          1          0          0  (unmapped meanwhile)\n"));
	T_OK(strstr(text, "  backend: wp-async\n"));
}

static void an_empty_answer_is_an_answer(void)
{
	struct sdi_report r = { .process = "", .mark = "m", .backend = "hash", .page_size = 4096 };
	FILE *out = begin();

	T_EQ(sdi_report_summary(out, &r), 0);
	sdi_report_ranges(out, &r);
	fclose(out);
	T_OK(strstr(text, ": 0 of 0 populated pages"));
	out = begin();
	T_EQ(sdi_report_json(out, &r), 0);
	fclose(out);
	T_STREQ(text, "{\"pid\":0,\"mark\":\"m\",\"backend\":\"hash\",\"page_size\":4096,"
		"\"populated_pages\":0,\"dirty_pages\":0,\"ranges\":[]}\n");
}

static void sizes_are_for_people(void)
{
	char buf[16];

	T_STREQ(sdi_human_size(0, buf), "0 KiB");
	T_STREQ(sdi_human_size(4096, buf), "4 KiB");
	T_STREQ(sdi_human_size(1000 * 1024, buf), "1.0 MiB");
	T_STREQ(sdi_human_size(UINT64_C(3) << 29, buf), "1.5 GiB");
	T_STREQ(sdi_human_size(UINT64_MAX, buf), "16.0 EiB");
}

static void check_says_what_will_be_used(void)
{
	const struct softdirty_backend list[] = {
		{ "wp-async", 0, "too \"old\"" }, { "hash", 1, "works" },
	};
	struct sdi_check_report r = { .pid = 7, .uses = "hash", .backends = list, .n = 2 };
	FILE *out = begin();

	sdi_check_report_text(out, &r);
	fclose(out);
	T_STREQ(text, "wp-async    no   too \"old\"\nhash        yes  works\n\n"
		"softdirty will use hash for this process.\n");
	out = begin();
	T_EQ(sdi_check_report_json(out, &r), 0);
	fclose(out);
	T_STREQ(text, "{\"pid\":7,\"uses\":\"hash\",\"backends\":["
		"{\"name\":\"wp-async\",\"works\":false,\"why\":\"too \\\"old\\\"\"},"
		"{\"name\":\"hash\",\"works\":true,\"why\":\"works\"}]}\n");
	r = (struct sdi_check_report){ .backends = list, .n = 1 };
	out = begin();
	sdi_check_report_text(out, &r);
	fclose(out);
	T_OK(strstr(text, "\nNone of them can be used.\n"));
}

static void a_missed_page_is_shown_with_its_address(void)
{
	struct sdi_verify_report r = { .pid = 7, .process = "x", .backend = "b", .page_size = 4096 };
	struct sdi_verify_round round = { .populated = 9, .changed = 3, .reported = 4, .late = 1 };
	FILE *out = begin();

	round.same[0][0] = 2;
	T_EQ(sdi_verify_miss(&round, 0x1000, 0x2000), 0);
	T_EQ(sdi_verify_miss(&round, 0x2000, 0x3000), 0);
	T_EQ(sdi_verify_miss(&round, 0x5000, 0x6000), 0);
	T_EQ(sdi_verify_missed(&round, 4096), 3);
	sdi_verify_text_round(out, &r, 1, &round);
	sdi_verify_text_foot(out, 1, &round, 3);
	fclose(out);
	T_OK(strstr(text, "      1          9          3          4          3          2\n"
		    "        missed 1000-3000\n        missed 5000-6000\n"));
	T_OK(strstr(text, "3 missed in 1 round; 2 of 4 reported pages"));
	out = begin();
	T_EQ(sdi_verify_json_head(out, &r), 0);
	T_EQ(sdi_verify_json_round(out, &r, 1, &round), 0);
	T_EQ(sdi_verify_json_round(out, &r, 2, &round), 0);
	T_EQ(sdi_verify_json_foot(out, &round, 6), 0);
	fclose(out);
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	T_MUST(o);
	json_t *missed = json_object_get(json_array_get(json_object_get(o, "rounds"), 1), "missed");
	T_EQ(json_array_size(missed), 2);
	T_STREQ(json_string_value(json_object_get(json_array_get(missed, 1), "start")), "0x5000");
	T_EQ(json_integer_value(json_object_get(o, "missed_pages")), 6);
	T_EQ(json_integer_value(json_object_get(o, "late_pages")), 1);
	json_decref(o);
	free(round.missed);
}

int main(void)
{
	T_RUN(ranges_are_cut_at_names_and_names_are_made_harmless);
	T_RUN(json_is_one_line_with_the_promised_keys);
	T_RUN(the_summary_adds_up_by_name);
	T_RUN(an_empty_answer_is_an_answer);
	T_RUN(sizes_are_for_people);
	T_RUN(check_says_what_will_be_used);
	T_RUN(a_missed_page_is_shown_with_its_address);
	free(text);
	return t_done();
}
