/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words of the command line: all of the word or nothing, up to the last value that fits. */
#include "cli/parse.h"

#include <limits.h>

#include "t.h"

static void a_process_id_is_decimal_and_positive(void)
{
	static const char *const wrong[] = { "", "0", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.0",
					     "2147483648", "99999999999999999999" };
	pid_t pid = 7;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		T_OK(!sdi_parse_pid(wrong[i], &pid));
	T_EQ(pid, 7);
	T_OK(sdi_parse_pid("1", &pid));
	T_EQ(pid, 1);
	T_OK(sdi_parse_pid("2147483647", &pid));
	T_EQ(pid, INT_MAX);
	T_OK(sdi_parse_pid("007", &pid));
	T_EQ(pid, 7);
}

static void a_range_is_two_hexadecimal_numbers_in_order(void)
{
	static const char *const wrong[] = { "", "-", "1000", "1000-", "-1000", "1000-1000",
					     "2000-1000", "1000-2000-", "1000-2000 ", " 1000-2000",
					     "1000- 2000", "0x-1000", "1000-0x", "00x1-2", "g-h",
					     "1000-10000000000000000", "1000,2000" };
	uint64_t start = 5, end = 6;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		T_OK(!sdi_parse_range(wrong[i], &start, &end));
	T_EQ(start, 5);
	T_EQ(end, 6);
	T_OK(sdi_parse_range("7fffdeadb000-7FFFDEADC000", &start, &end));
	T_EQ(start, 0x7fffdeadb000);
	T_EQ(end, 0x7fffdeadc000);
	T_OK(sdi_parse_range("0-ffffffffffffffff", &start, &end));
	T_EQ(start, 0);
	T_OK(end == UINT64_MAX);
	T_OK(sdi_parse_range("0x1000-0X2000", &start, &end));
	T_EQ(start, 0x1000);
	T_EQ(end, 0x2000);
}

static void a_count_begins_at_one_and_keeps_its_limit(void)
{
	unsigned n = 3;

	T_OK(!sdi_parse_count("0", 10, &n));
	T_OK(!sdi_parse_count("11", 10, &n));
	T_OK(!sdi_parse_count("", 10, &n));
	T_EQ(n, 3);
	T_OK(sdi_parse_count("10", 10, &n));
	T_EQ(n, 10);
}

static void seconds_may_have_a_fraction(void)
{
	static const char *const wrong[] = { "", ".", ".5", "1.", "-1", "1e3", "86401", "86400.5",
					     "1.5.5",
					     "inf", "nan", "1,5", " 1" };
	uint64_t ns = 9;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		T_OK(!sdi_parse_seconds(wrong[i], &ns));
	T_EQ(ns, 9);
	T_OK(sdi_parse_seconds("0", &ns));
	T_EQ(ns, 0);
	T_OK(sdi_parse_seconds("0.25", &ns));
	T_EQ(ns, 250000000);
	T_OK(sdi_parse_seconds("1.0000000019", &ns));
	T_EQ(ns, 1000000001);
	T_OK(sdi_parse_seconds("86400", &ns));
	T_EQ(ns, 86400000000000);
}

int main(void)
{
	T_RUN(a_process_id_is_decimal_and_positive);
	T_RUN(a_range_is_two_hexadecimal_numbers_in_order);
	T_RUN(a_count_begins_at_one_and_keeps_its_limit);
	T_RUN(seconds_may_have_a_fraction);
	return t_done();
}
