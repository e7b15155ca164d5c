/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON values that several reports are made of. A NULL from any of them is "out of memory". */
#ifndef SDI_REPORT_JSON_H
#define SDI_REPORT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

json_t *sdi_json_name(const char *name);
json_t *sdi_json_address(uint64_t addr);

/* Set a member; false when value is NULL or memory is short. */
bool sdi_json_set(json_t *object, const char *key, json_t *value);

/* Append to a list; the same. */
bool sdi_json_add(json_t *list, json_t *value);

/* The value, if all that it is made of is there; else it is released, and NULL returned. */
json_t *sdi_json_whole(json_t *value, bool good);

/* Print a value on one line and release it. 0 or -ENOMEM. */
int sdi_json_put(FILE *out, json_t *value);

/* Print the members of an object without its braces, and release it. 0 or -ENOMEM. */
int sdi_json_put_members(FILE *out, json_t *object);

#endif
