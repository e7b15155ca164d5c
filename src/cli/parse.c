/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/parse.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

enum { DAY = 86400 };		/* seconds */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Digits from *text up to the first other character. False: none, or the value exceeds max. */
static bool number(const char **text, unsigned base, uint64_t max, uint64_t *ret)
{
	const char *p = *text;
	uint64_t value = 0;

	for (int d; (d = digit(*p)) >= 0 && d < (int)base; p++) {
		if (value > (max - d) / base)
			return false;
		value = value * base + d;
	}
	if (p == *text)
		return false;
	*text = p;
	*ret = value;
	return true;
}

bool sdi_parse_count(const char *text, unsigned max, unsigned *ret)
{
	uint64_t value;

	if (!number(&text, 10, max, &value) || *text || !value)
		return false;
	*ret = value;
	return true;
}

bool sdi_parse_pid(const char *text, pid_t *ret)
{
	unsigned value;

	if (!sdi_parse_count(text, INT_MAX, &value))
		return false;
	*ret = value;
	return true;
}

static bool address(const char **text, uint64_t *ret)
{
	if (!strncmp(*text, "0x", 2) || !strncmp(*text, "0X", 2))
		*text += 2;
	return number(text, 16, UINT64_MAX, ret);
}

bool sdi_parse_range(const char *text, uint64_t *start, uint64_t *end)
{
	uint64_t a, b;

	if (!address(&text, &a) || *text++ != '-' || !address(&text, &b) || *text || a >= b)
		return false;
	*start = a;
	*end = b;
	return true;
}

bool sdi_parse_seconds(const char *text, uint64_t *ret_ns)
{
	uint64_t whole, ns = 0, unit = 1000000000;

	if (!number(&text, 10, DAY, &whole))
		return false;
	if (*text == '.' && digit(text[1]) >= 0) {
		for (text++; *text >= '0' && *text <= '9'; text++) {
			unit /= 10;
			ns += unit * (*text - '0');
		}
	}
	if (*text || (whole == DAY && ns))
		return false;
	*ret_ns = whole * 1000000000 + ns;
	return true;
}
