/* SPDX-License-Identifier: Apache-2.0 */
/* The other half of a candidate's shared object: calls its functions, lookup after lookup. */
#define REPLAY_GLUE
#include "module.h"

#pragma GCC visibility push(hidden)
struct replay_view replay_view;
struct mem_section **mem_section;
int pfn_valid(unsigned long pfn) __attribute__((weak));
bool pgmap_pfn_valid(struct dev_pagemap *pgmap, unsigned long pfn) __attribute__((weak));
struct page *replay_weak_online(unsigned long pfn) __asm__("pfn_to_online_page") __attribute__((weak));
#pragma GCC visibility pop

static volatile uintptr_t sink;

static void use(const struct replay_view *view)
{
	replay_view = *view;
	mem_section = view->mem_section;
}

static u8 page_answer(const struct page *page, unsigned long pfn)
{
	return !page ? REPLAY_NO : page == vmemmap + pfn ? REPLAY_YES : REPLAY_ANOTHER_PAGE;
}

static void check(int function, const u64 *pfn, struct dev_pagemap *const *pgmap, u64 count, u8 *answer, volatile u64 *at)
{
	for (u64 i = 0; i < count; i++) {
		*at = i;
		switch (function) {
		case REPLAY_ONLINE:
			answer[i] = page_answer(replay_weak_online(pfn[i]), pfn[i]);
			break;
		case REPLAY_VALID:
			answer[i] = !!pfn_valid(pfn[i]);
			break;
		default:
			answer[i] = pgmap_pfn_valid(pgmap[i], pfn[i]);
		}
	}
	*at = count;
}

static noinline uintptr_t empty(unsigned long pfn)
{
	barrier();
	return pfn;
}

/* What is timed: nothing but the calls, and one exclusive or to have their answers used. */
#define TIMES(call)                                   \
	for (u64 t = 0; t < times; t++) {             \
		for (u64 i = 0; i < count; i++)       \
			mixed ^= (uintptr_t)(call);   \
		barrier();                            \
	}

static void loop(int function, const u64 *pfn, struct dev_pagemap *const *pgmap, u64 count, u64 times)
{
	uintptr_t mixed = 0;

	switch (function) {
	case REPLAY_ONLINE:
		TIMES(replay_weak_online(pfn[i]));
		break;
	case REPLAY_VALID:
		TIMES(pfn_valid(pfn[i]));
		break;
	case REPLAY_METADATA:
		TIMES(pgmap_pfn_valid(pgmap[i], pfn[i]));
		break;
	default:
		TIMES(empty(pfn[i]));
	}
	sink = mixed;
}

struct replay_module replay_module __attribute__((visibility("default"))) = { 0, use, check, loop };

static __attribute__((constructor)) void define(void)
{
	replay_module.defines = (unsigned long)!!replay_weak_online << REPLAY_ONLINE |
				(unsigned long)!!pfn_valid << REPLAY_VALID |
				(unsigned long)!!pgmap_pfn_valid << REPLAY_METADATA;
}
