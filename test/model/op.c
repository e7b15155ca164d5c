/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of the steps and their text form. Knows nothing of their meaning. */
#include "op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	unsigned weight;
} table[OP_CODES] = {
	[OP_STORE] = { "store", 240 },	   [OP_LOAD] = { "load", 90 },
	[OP_SYSREAD] = { "sysread", 30 },  [OP_VMWRITE] = { "vmwrite", 20 },
	[OP_MEMWRITE] = { "memwrite", 16 }, [OP_THREAD] = { "thread", 10 },
	[OP_FORKWRITE] = { "forkwrite", 8 }, [OP_FILEWRITE] = { "filewrite", 8 },
	[OP_MMAP] = { "mmap", 70 },	   [OP_MUNMAP] = { "munmap", 30 },
	[OP_MPROTECT] = { "mprotect", 40 }, [OP_MOVE] = { "move", 24 },
	[OP_DONTUNMAP] = { "dontunmap", 8 }, [OP_GROW] = { "grow", 16 },
	[OP_SHRINK] = { "shrink", 10 },	   [OP_BRK] = { "brk", 20 },
	[OP_DONTNEED] = { "dontneed", 24 }, [OP_FREE] = { "free", 12 },
	[OP_COLD] = { "cold", 5 },	   [OP_PAGEOUT] = { "pageout", 6 },
	[OP_REMOVE] = { "remove", 5 },	   [OP_POPREAD] = { "popread", 10 },
	[OP_POPWRITE] = { "popwrite", 10 }, [OP_MLOCK] = { "mlock", 8 },
	[OP_WIPEONFORK] = { "wipeonfork", 4 }, [OP_KEEPONFORK] = { "keeponfork", 3 },
	[OP_DONTFORK] = { "dontfork", 3 }, [OP_DOFORK] = { "dofork", 4 },
	[OP_GUARD] = { "guard", 6 },	   [OP_UNGUARD] = { "unguard", 6 },
	[OP_FORK] = { "fork", 1 },	   [OP_EXEC] = { "exec", 1 },
	[OP_CLEAR] = { "clear", 12 },	   [OP_READ] = { "read", 16 },
	[OP_READCLEAR] = { "readclear", 20 }, [OP_FORGET] = { "forget", 1 },
	[OP_PAGES] = { "pages", 6 },	   [OP_REOPEN] = { "reopen", 1 },
	[OP_FREEZE] = { "freeze", 1 },	   [OP_FAILREAD] = { "failread", 4 },
	[OP_FAILCLEAR] = { "failclear", 6 },
};

const char *op_name(enum op_code code)
{
	return table[code].name;
}

unsigned op_weight(enum op_code code)
{
	return table[code].weight;
}

void op_print(const struct op *op, char *buf, size_t size)
{
	snprintf(buf, size, "%s page=%u n=%u to=%u kind=%u prot=%u slot=%u tag=%u",
		 op_name(op->code), op->page, op->n, op->to, op->kind, op->prot, op->slot,
		 op->tag);
}

bool op_parse(const char *line, struct op *ret)
{
	unsigned page, n, to, kind, prot, slot, tag;
	char name[16];

	if (sscanf(line, "%15s page=%u n=%u to=%u kind=%u prot=%u slot=%u tag=%u", name, &page,
		   &n, &to, &kind, &prot, &slot, &tag) != 8)
		return false;
	for (int code = 0; code < OP_CODES; code++) {
		if (strcmp(name, table[code].name))
			continue;
		*ret = (struct op){ .code = code, .page = page, .n = n, .to = to, .kind = kind,
				    .prot = prot, .slot = slot & 3, .tag = tag };
		return true;
	}
	return false;
}

void program_add(struct program *p, const struct op *op)
{
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 256;
		p->op = realloc(p->op, p->cap * sizeof(*p->op));
		if (!p->op)
			abort();
	}
	p->op[p->n++] = *op;
}

void program_free(struct program *p)
{
	free(p->op);
	*p = (struct program){ 0 };
}

bool program_parse(const char **text, struct program *ret)
{
	while (**text && **text != '\n') {
		size_t n = strcspn(*text, "\n");
		char line[256];
		struct op op;

		snprintf(line, sizeof(line), "%.*s", (int)n, *text);
		*text += n + ((*text)[n] == '\n');
		if (line[0] == '#')
			continue;
		if (!op_parse(line, &op))
			return false;
		program_add(ret, &op);
	}
	*text += strspn(*text, "\n");
	return true;
}
