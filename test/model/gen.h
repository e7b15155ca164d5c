/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random programs: the same seed gives the same program on every machine that can do its steps. */
#ifndef MODEL_GEN_H
#define MODEL_GEN_H

#include <stdint.h>

#include "op.h"
#include "spec.h"

struct gen {
	uint64_t state;
	uint32_t tag;
};

struct gen gen_seed(uint64_t seed);

/* A step that is valid now, among those whose bit is set in works. */
struct op gen_next(struct gen *g, const struct spec *s, uint64_t works);

#endif
