/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is behind a struct softdirty: either the tracker itself (local.c) or a connection to the
 * keeper that has it (client.c). api.c checks arguments and dispatches; nobody else may know which.
 */
#ifndef SDI_LIB_HANDLE_H
#define SDI_LIB_HANDLE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "softdirty.h"
#include "target/stop.h"
#include "target/target.h"

#define API __attribute__((visibility("default")))

/* A list that the handle lends. */
struct sdi_lent {
	const struct softdirty_range *ranges;
	size_t n;
};

/* Arguments are checked, mark is never NULL. Each returns 0 or a negative errno. */
struct sdi_handle_ops {
	/* Free what is behind it and the handle itself. */
	void (*close)(struct softdirty *sd);

	/* Take back what was lent; the first step of every call. */
	void (*reclaim)(struct softdirty *sd);

	int (*clear)(struct softdirty *sd, const char *mark);
	int (*read)(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		    uint64_t end, struct sdi_lent *ret);
	int (*pages)(struct softdirty *sd, uint64_t start, uint64_t end, struct sdi_lent *ret);
	int (*forget)(struct softdirty *sd, const char *mark);
	int (*info)(struct softdirty *sd, struct softdirty_info *ret);
	int (*stop)(struct softdirty *sd);

	/*
	 * A freeze in three steps. hold: stop no thread from now on, somebody else will; NULL: no
	 * need to ask. frozen: all threads are stopped until freezer ends. release: they run again.
	 */
	int (*hold)(struct softdirty *sd);
	int (*frozen)(struct softdirty *sd, const struct sdi_freezer *freezer);
	void (*release)(struct softdirty *sd);
};

/* softdirty_mappings(): the list, and the names that it points to. */
struct sdi_mapping_list {
	struct softdirty_mapping *m;
	size_t n, cap;
	char *names;
	size_t names_size, names_cap;
};

int sdi_mapping_list_read(struct sdi_mapping_list *list, const struct sdi_target *t);
void sdi_mapping_list_fini(struct sdi_mapping_list *list);

/* Both kinds of handle begin with this. */
struct softdirty {
	const struct sdi_handle_ops *ops;
	const struct sdi_target *target;	/* part of what is behind it */
	struct sdi_freezer *freezer;
	struct sdi_mapping_list mappings;
};

/* What softdirty_open() was asked for, checked. */
struct sdi_request_open {
	pid_t pid;
	const char *backend;		/* NULL: any */
	bool suggested;			/* by the environment: who tracks already may use another */
	uint32_t flags;			/* SOFTDIRTY_OPEN_* */
	int uffd;			/* -1: none; consumed, also on failure */
	const char *command;		/* to start a keeper with; NULL: the default */
};

int sdi_local_open(const struct sdi_request_open *o, struct softdirty **ret);
int sdi_client_open(const struct sdi_request_open *o, struct softdirty **ret);

/* As softdirty_check(). */
int sdi_check(pid_t pid, const struct softdirty_backend **ret, size_t *n);

/*
 * What only a keeper does, with a local handle.
 *
 * unread: a consumer never got these ranges of its mark: they are not told yet.
 * asker: the thread of a client for which the next calls are made.
 * offer_uffd: a userfaultfd of the target, in case it has called exec and its new memory must be
 *	attached now, while somebody else traces it; consumed.
 * lost: marks that this handle has never seen existed in a keeper that was killed.
 * frozen: a client holds the target stopped; or not any more.
 */
void sdi_local_unread(struct softdirty *sd, const char *mark,
		      const struct softdirty_range *ranges, size_t n);
void sdi_local_asker(struct softdirty *sd, pid_t tid);
void sdi_local_offer_uffd(struct softdirty *sd, int uffd);
void sdi_local_lost(struct softdirty *sd);
void sdi_local_frozen(struct softdirty *sd, bool frozen);

#endif
