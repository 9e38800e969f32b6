/* SPDX-License-Identifier: Apache-2.0 */
/* Between the driver and the shared objects that candidate and baseline are made into. */
#ifndef REPLAY_MODULE_H
#define REPLAY_MODULE_H

#include "replay_pfn.h"

/* The same numbers as in the layout that replay writes in front of this file: EMPTY stands for the loop alone. */
enum replay_function { REPLAY_ONLINE, REPLAY_VALID, REPLAY_METADATA, REPLAY_EMPTY };

/* Answers of a lookup. */
enum { REPLAY_NO, REPLAY_YES, REPLAY_ANOTHER_PAGE };

struct replay_module {
	unsigned long defines; /* bit per function that the file defines */
	void (*use)(const struct replay_view *view);
	void (*check)(int function, const u64 *pfn, struct dev_pagemap *const *pgmap, u64 count, u8 *answer, volatile u64 *at);
	void (*loop)(int function, const u64 *pfn, struct dev_pagemap *const *pgmap, u64 count, u64 times);
};

#endif
