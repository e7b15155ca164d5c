/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/check.h"

#include <stdbool.h>

#include "report/json.h"

void sdi_check_report_text(FILE *out, const struct sdi_check_report *r)
{
	for (size_t i = 0; i < r->n; i++)
		fprintf(out, "%-10s  %-3s  %s\n", r->backends[i].name,
			r->backends[i].works ? "yes" : "no", r->backends[i].why);
	if (r->uses)
		fprintf(out, "\nsoftdirty will use %s%s.\n", r->uses,
			r->pid ? " for this process" : "");
	else if (r->forced)
		fprintf(out, "\nSOFTDIRTY_BACKEND is '%s': that cannot be used%s.\n", r->forced,
			r->pid ? " for this process" : "");
	else
		fprintf(out, "\nNone of them can be used%s.\n", r->pid ? " for this process" : "");
}

static json_t *backends(const struct sdi_check_report *r)
{
	json_t *list = json_array();
	bool good = true;

	for (size_t i = 0; i < r->n; i++) {
		json_t *o = json_object();

		good = good && sdi_json_set(o, "name", json_string(r->backends[i].name)) &&
		       sdi_json_set(o, "works", json_boolean(r->backends[i].works)) &&
		       sdi_json_set(o, "why", sdi_json_name(r->backends[i].why));
		good &= sdi_json_add(list, o);
	}
	return sdi_json_whole(list, good);
}

int sdi_check_report_json(FILE *out, const struct sdi_check_report *r)
{
	json_t *o = json_object();
	bool good = (!r->pid || sdi_json_set(o, "pid", json_integer(r->pid))) &&
		sdi_json_set(o, "uses", r->uses ? json_string(r->uses) : json_null()) &&
		sdi_json_set(o, "backends", backends(r));
	int err = sdi_json_put(out, sdi_json_whole(o, good));
	if (!err)
		putc('\n', out);
	return err;
}
