/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON. The list of ranges may be long, so it is written piece by piece: only one of its objects is
 * in memory at a time.
 */
#include "report/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "report/report.h"

/* JSON is UTF-8 and file names need not be: then every byte beyond ASCII becomes \ooo. */
json_t *sdi_json_name(const char *name)
{
	autofree char *text = NULL;
	size_t size;
	json_t *ret = json_string(name);

	if (ret)
		return ret;
	FILE *f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		fprintf(f, *p < 0x80 ? "%c" : "\\%03o", *p);
	return fclose(f) ? NULL : json_string(text);
}

json_t *sdi_json_address(uint64_t addr)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, addr);
	return json_string(text);
}

bool sdi_json_set(json_t *object, const char *key, json_t *value)
{
	return !json_object_set_new(object, key, value);
}

bool sdi_json_add(json_t *list, json_t *value)
{
	return !json_array_append_new(list, value);
}

json_t *sdi_json_whole(json_t *value, bool good)
{
	if (good)
		return value;
	json_decref(value);
	return NULL;
}

static char *text_of(json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	return text;
}

int sdi_json_put(FILE *out, json_t *value)
{
	autofree char *text = text_of(value);

	if (!text)
		return -ENOMEM;
	fputs(text, out);
	return 0;
}

int sdi_json_put_members(FILE *out, json_t *object)
{
	autofree char *text = text_of(object);

	if (!text)
		return -ENOMEM;
	fprintf(out, "%.*s", (int)strlen(text) - 2, text + 1);
	return 0;
}

static json_t *kind_words(uint32_t flags)
{
	const char *words[SDI_KIND_WORDS];
	json_t *list = json_array();
	bool good = true;

	sdi_words_kind(flags, words);
	for (size_t i = 0; words[i]; i++)
		good = good && sdi_json_add(list, json_string(words[i]));
	return sdi_json_whole(list, good);
}

static json_t *range_object(const struct sdi_report *r, const struct sdi_piece *p)
{
	const struct softdirty_range *range = &p->range;
	const char *reason = softdirty_reason_text(range->reason);
	json_t *o = json_object();
	bool good = sdi_json_set(o, "start", sdi_json_address(range->start)) &&
		sdi_json_set(o, "end", sdi_json_address(range->end)) &&
		sdi_json_set(o, "pages", json_integer((range->end - range->start) / r->page_size)) &&
		sdi_json_set(o, "why", json_string(sdi_word_why(range->flags))) &&
		(!*reason || sdi_json_set(o, "reason", json_string(reason))) &&
		sdi_json_set(o, "kind", kind_words(range->flags)) &&
		sdi_json_set(o, "mapping", sdi_json_name(p->mapping ? p->mapping->name : ""));

	return sdi_json_whole(o, good);
}

static json_t *head_object(const struct sdi_report *r)
{
	json_t *o = json_object();
	bool good = sdi_json_set(o, "pid", json_integer(r->pid)) &&
		sdi_json_set(o, "mark", sdi_json_name(r->mark)) &&
		sdi_json_set(o, "backend", json_string(r->backend)) &&
		sdi_json_set(o, "page_size", json_integer(r->page_size)) &&
		sdi_json_set(o, "populated_pages",
			     json_integer(sdi_count_pages(r->pages, r->n_pages, r->page_size))) &&
		sdi_json_set(o, "dirty_pages",
			     json_integer(sdi_count_pages(r->ranges, r->n_ranges, r->page_size)));

	return sdi_json_whole(o, good);
}

int sdi_report_json(FILE *out, const struct sdi_report *r)
{
	struct sdi_pieces it;
	struct sdi_piece p;

	putc('{', out);
	int err = sdi_json_put_members(out, head_object(r));
	if (err)
		return err;
	fputs(",\"ranges\":[", out);
	sdi_pieces_init(&it, r, r->ranges, r->n_ranges);
	for (bool first = true; sdi_pieces_next(&it, &p); first = false) {
		if (!first)
			putc(',', out);
		err = sdi_json_put(out, range_object(r, &p));
		if (err)
			return err;
	}
	fputs("]}\n", out);
	return 0;
}
