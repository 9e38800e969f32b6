/* The peer in C: what one would write over arrays to answer the same rows, check by check, one row after the other.
 *
 * Written from docs/semantics/walk.md (and poison.md for the few rules that the workloads run into). Includes machine.h, which
 * is generated: sizes as compile-time constants, as a kernel has them, and the numbers of flags, kinds and verdicts.
 */
#include <stdint.h>
#include "machine.h"

struct memory {
	uint8_t *flags;          /* by section number */
	uint64_t *map;           /* subsection map by section number */
	uint8_t *blocks;         /* by memory block number */
	uint64_t *pagemap_start; /* ascending */
	uint64_t *pagemap_end;
	uint64_t *pagemap_data;
	uint64_t *pagemap_id;
	uint8_t *pages;          /* a byte per pfn */
	int64_t *scalars;        /* PAGEMAPS, LATCHED, POISONED */
};

enum { PAGEMAPS, LATCHED, POISONED };

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define PAGES_PER_SECTION (1ull << SECTION_SHIFT)
#define ALL_SUBSECTIONS (~0ull)

/* Lookups. */

static int find_pagemap(const struct memory *m, uint64_t pfn)
{
	int low = 0, high = (int)m->scalars[PAGEMAPS];

	while (low < high) {
		int middle = (low + high) / 2;

		if (m->pagemap_end[middle] <= pfn)
			low = middle + 1;
		else
			high = middle;
	}
	return low < m->scalars[PAGEMAPS] && m->pagemap_start[low] <= pfn ? low : -1;
}

/* Takes two of the arrays by themselves: loops keep them in registers, whatever they write to. */
static inline enum verdict lookup_in(const uint8_t *all_flags, const uint64_t *map, const struct memory *m, uint64_t pfn)
{
	uint64_t section = pfn >> SECTION_SHIFT;
	uint8_t flags;

	if (unlikely(section >= NR_SECTIONS))
		return PFN_TO_ONLINE_PAGE_SECTION_NUMBER;
	flags = all_flags[section];
	if (unlikely(!(flags & SECTION_PRESENT)))
		return PFN_TO_ONLINE_PAGE_SECTION_PRESENT;
	if (unlikely(!(flags & SECTION_ONLINE)))
		return PFN_TO_ONLINE_PAGE_SECTION_ONLINE;
	if (unlikely(!(map[section] >> (pfn >> SUBSECTION_SHIFT & 63) & 1)))
		return PFN_TO_ONLINE_PAGE_SUBSECTION;
	if (likely(!(flags & SECTION_TAINT)))
		return PFN_TO_ONLINE_PAGE_UNTAINTED;
	return find_pagemap(m, pfn) >= 0 ? PFN_TO_ONLINE_PAGE_PAGEMAP : PFN_TO_ONLINE_PAGE_TAINTED_PAGE;
}

static inline enum verdict lookup(const struct memory *m, uint64_t pfn)
{
	return lookup_in(m->flags, m->map, m, pfn);
}

static inline int is_page(enum verdict verdict)
{
	return verdict == PFN_TO_ONLINE_PAGE_UNTAINTED || verdict == PFN_TO_ONLINE_PAGE_TAINTED_PAGE;
}

static int pfn_valid(const struct memory *m, uint64_t pfn)
{
	uint64_t section = pfn >> SECTION_SHIFT;

	if (section >= NR_SECTIONS || !(m->flags[section] & SECTION_VALID))
		return 0;
	return m->flags[section] & SECTION_EARLY || m->map[section] >> (pfn >> SUBSECTION_SHIFT & 63) & 1;
}

/* Single lookups: a verdict per pfn, and how often each occurred; the usual one is counted in a register. */
void walk_singles(const struct memory *m, const uint64_t *restrict pfn, uint64_t rows, uint8_t *restrict out,
		  uint64_t *counts)
{
	const uint8_t *flags = m->flags;
	const uint64_t *map = m->map;
	uint64_t usual = 0;

	for (uint64_t i = 0; i < rows; i++) {
		enum verdict verdict = lookup_in(flags, map, m, pfn[i]);

		out[i] = verdict;
		if (likely(verdict == PFN_TO_ONLINE_PAGE_UNTAINTED))
			usual++;
		else
			counts[verdict]++;
	}
	counts[PFN_TO_ONLINE_PAGE_UNTAINTED] += usual;
}

/* The same as one writes it first: the checks as they come, no hints, every verdict counted in its array. */
void walk_singles_plain(const struct memory *m, const uint64_t *pfn, uint64_t rows, uint8_t *out, uint64_t *counts)
{
	for (uint64_t i = 0; i < rows; i++) {
		uint64_t section = pfn[i] >> SECTION_SHIFT;
		enum verdict verdict;

		if (section >= NR_SECTIONS)
			verdict = PFN_TO_ONLINE_PAGE_SECTION_NUMBER;
		else if (!(m->flags[section] & SECTION_PRESENT))
			verdict = PFN_TO_ONLINE_PAGE_SECTION_PRESENT;
		else if (!(m->flags[section] & SECTION_ONLINE))
			verdict = PFN_TO_ONLINE_PAGE_SECTION_ONLINE;
		else if (!(m->map[section] >> (pfn[i] >> SUBSECTION_SHIFT & 63) & 1))
			verdict = PFN_TO_ONLINE_PAGE_SUBSECTION;
		else if (!(m->flags[section] & SECTION_TAINT))
			verdict = PFN_TO_ONLINE_PAGE_UNTAINTED;
		else if (find_pagemap(m, pfn[i]) >= 0)
			verdict = PFN_TO_ONLINE_PAGE_PAGEMAP;
		else
			verdict = PFN_TO_ONLINE_PAGE_TAINTED_PAGE;
		out[i] = verdict;
		counts[verdict]++;
	}
}

/* A run, page after page; returns how many pages it found. */
static inline uint64_t run_by_page(const struct memory *m, uint64_t start, uint64_t end, uint64_t *counts)
{
	const uint8_t *flags = m->flags;
	const uint64_t *map = m->map;
	uint64_t usual = 0, tainted = 0;

	for (uint64_t pfn = start; pfn < end; pfn++) {
		enum verdict verdict = lookup_in(flags, map, m, pfn);

		if (likely(verdict == PFN_TO_ONLINE_PAGE_UNTAINTED)) {
			usual++;
		} else {
			counts[verdict]++;
			tainted += verdict == PFN_TO_ONLINE_PAGE_TAINTED_PAGE;
		}
	}
	counts[PFN_TO_ONLINE_PAGE_UNTAINTED] += usual;
	return usual + tainted;
}

/* A run, section after section: only a section that is not the same all over is walked page by page. */
static inline uint64_t run_by_section(const struct memory *m, uint64_t start, uint64_t end, uint64_t *counts)
{
	uint64_t pages = 0;

	while (start < end) {
		uint64_t section = start >> SECTION_SHIFT, stop = (section + 1) << SECTION_SHIFT;
		enum verdict verdict;

		if (stop > end)
			stop = end;
		verdict = lookup(m, start);
		if (section < NR_SECTIONS && m->flags[section] & SECTION_ONLINE &&
		    (m->flags[section] & SECTION_TAINT || m->map[section] != ALL_SUBSECTIONS)) {
			pages += run_by_page(m, start, stop, counts);
		} else {
			counts[verdict] += stop - start;
			pages += is_page(verdict) ? stop - start : 0;
		}
		start = stop;
	}
	return pages;
}

static inline uint64_t run(const struct memory *m, uint64_t start, uint64_t end, uint64_t *counts, int by_section)
{
	return by_section ? run_by_section(m, start, end, counts) : run_by_page(m, start, end, counts);
}

/* Transitions. */

static enum verdict block_change(struct memory *m, uint64_t start, uint64_t end, int online)
{
	for (uint64_t block = start >> BLOCK_SHIFT; block < end >> BLOCK_SHIFT; block++)
		if (m->blocks[block] != (online ? BLOCK_OFFLINE : BLOCK_ONLINE))
			return online ? MEMORY_BLOCK_ONLINE_STATE : MEMORY_BLOCK_OFFLINE_STATE;
	for (uint64_t section = start >> SECTION_SHIFT; !online && section < end >> SECTION_SHIFT; section++)
		if (m->map[section] != ALL_SUBSECTIONS)
			return MEMORY_BLOCK_OFFLINE_HOLES;
	for (uint64_t section = start >> SECTION_SHIFT; section < end >> SECTION_SHIFT; section++) {
		if (online)
			m->flags[section] |= SECTION_ONLINE;
		else
			m->flags[section] &= ~SECTION_ONLINE;
	}
	for (uint64_t block = start >> BLOCK_SHIFT; block < end >> BLOCK_SHIFT; block++)
		m->blocks[block] = online ? BLOCK_ONLINE : BLOCK_OFFLINE;
	return online ? MEMORY_BLOCK_ONLINE_ONLINED : MEMORY_BLOCK_OFFLINE_OFFLINED;
}

/* The bits of [start, end) in the map of a section. */
static uint64_t mask_of(uint64_t section, uint64_t start, uint64_t end)
{
	uint64_t base = section << SECTION_SHIFT;
	uint64_t low = start > base ? (start - base) >> SUBSECTION_SHIFT : 0;
	uint64_t high = end < base + PAGES_PER_SECTION ? (end - base) >> SUBSECTION_SHIFT : 64;

	return (high == 64 ? ALL_SUBSECTIONS : (1ull << high) - 1) & ALL_SUBSECTIONS << low;
}

/* Without an altmap: that of the prologue is in the memory already, and no later row brings one. */
static enum verdict map_pagemap(struct memory *m, uint64_t start, uint64_t end, uint64_t id)
{
	uint64_t first = start >> SECTION_SHIFT, last = (end - 1) >> SECTION_SHIFT;
	int at = (int)m->scalars[PAGEMAPS];

	if (find_pagemap(m, start) >= 0 || find_pagemap(m, end - 1) >= 0)
		return MEMREMAP_PAGES_LIVE_PAGEMAP;
	if ((start | end) & ((1 << SUBSECTION_SHIFT) - 1))
		return MEMREMAP_PAGES_ALIGNMENT;
	for (uint64_t section = first; section <= last; section++)
		if (m->map[section] & mask_of(section, start, end))
			return MEMREMAP_PAGES_POPULATED;
	if (at == MAX_PAGEMAPS)
		return MEMREMAP_PAGES_POPULATED; /* no room; the counts will not agree */
	for (; at > 0 && m->pagemap_start[at - 1] > start; at--) {
		m->pagemap_start[at] = m->pagemap_start[at - 1];
		m->pagemap_end[at] = m->pagemap_end[at - 1];
		m->pagemap_data[at] = m->pagemap_data[at - 1];
		m->pagemap_id[at] = m->pagemap_id[at - 1];
	}
	m->pagemap_start[at] = start;
	m->pagemap_end[at] = end;
	m->pagemap_data[at] = start;
	m->pagemap_id[at] = id;
	m->scalars[PAGEMAPS]++;
	for (uint64_t section = first; section <= last; section++) {
		m->flags[section] |= SECTION_PRESENT | SECTION_VALID;
		m->map[section] |= mask_of(section, start, end);
	}
	if (start % PAGES_PER_SECTION)
		m->flags[first] |= SECTION_TAINT;
	if (end % PAGES_PER_SECTION)
		m->flags[last] |= SECTION_TAINT;
	return MEMREMAP_PAGES_MAPPED;
}

static enum verdict unmap_pagemap(struct memory *m, uint64_t id)
{
	uint64_t start, end;
	int at = 0, count = (int)m->scalars[PAGEMAPS];

	while (at < count && m->pagemap_id[at] != id)
		at++;
	if (at == count)
		return MEMUNMAP_PAGES_UNKNOWN;
	start = m->pagemap_start[at];
	end = m->pagemap_end[at];
	for (; at + 1 < count; at++) {
		m->pagemap_start[at] = m->pagemap_start[at + 1];
		m->pagemap_end[at] = m->pagemap_end[at + 1];
		m->pagemap_data[at] = m->pagemap_data[at + 1];
		m->pagemap_id[at] = m->pagemap_id[at + 1];
	}
	m->scalars[PAGEMAPS]--;
	for (uint64_t section = start >> SECTION_SHIFT; section <= (end - 1) >> SECTION_SHIFT; section++) {
		uint64_t mask = mask_of(section, start, end);

		if ((m->map[section] & mask) == mask)
			m->map[section] &= ~mask;
		if (!m->map[section])
			m->flags[section] = 0;
	}
	return MEMUNMAP_PAGES_UNMAPPED;
}

/* Errors: the page kinds of the workloads. Whatever was broken is no longer in use afterwards. */

static enum verdict memory_failure(struct memory *m, uint64_t pfn, uint64_t flags)
{
	static const uint8_t by_kind[] = {
		[0] = MEMORY_FAILURE_UNDECIDED,
		[PAGE_BUDDY] = MEMORY_FAILURE_BUDDY,
		[PAGE_KERNEL] = MEMORY_FAILURE_NOT_HANDLABLE_UNKNOWN,
		[PAGE_FILE] = MEMORY_FAILURE_FILE,
		[PAGE_ANON] = MEMORY_FAILURE_ANON,
	};
	enum verdict verdict;

	if (!(flags & MF_SW_SIMULATED))
		m->scalars[LATCHED] = 1;
	if (!is_page(lookup(m, pfn))) {
		int at = find_pagemap(m, pfn);

		if (at < 0 || !pfn_valid(m, pfn))
			return MEMORY_FAILURE_NOT_ONLINE;
		return pfn < m->pagemap_data[at] ? MEMORY_FAILURE_PAGEMAP_METADATA : MEMORY_FAILURE_UNDECIDED;
	}
	if (m->pages[pfn] & PAGE_POISONED)
		return MEMORY_FAILURE_ALREADY_ERROR;
	verdict = by_kind[m->pages[pfn]];
	if (verdict != MEMORY_FAILURE_UNDECIDED) {
		m->pages[pfn] = PAGE_KERNEL | PAGE_POISONED;
		m->scalars[POISONED]++;
	}
	return verdict;
}

static enum verdict unpoison_memory(struct memory *m, uint64_t pfn)
{
	if (!is_page(lookup(m, pfn)))
		return UNPOISON_MEMORY_NOT_ONLINE;
	if (m->scalars[LATCHED])
		return UNPOISON_MEMORY_HARDWARE_ERROR_SEEN;
	if (!(m->pages[pfn] & PAGE_POISONED))
		return UNPOISON_MEMORY_NOT_POISONED;
	m->pages[pfn] = PAGE_BUDDY;
	m->scalars[POISONED]--;
	return UNPOISON_MEMORY_UNPOISONED;
}

/* Rows of all kinds. A column that the rows do not have is NULL. */
struct rows {
	const uint8_t *kind;
	const uint64_t *pfn, *nr_pages, *flags;
	const uint32_t *pgmap;
	uint64_t count;
};

/* Writes for each row the pages that a lookup found, or the verdict of a call; returns 0, or the number of an unknown kind. */
static inline int events(struct memory *m, const struct rows *rows, uint64_t *restrict out, uint64_t *counts,
			 int by_section)
{
	for (uint64_t i = 0; i < rows->count; i++) {
		uint64_t pfn = rows->pfn[i], end = pfn + (rows->nr_pages ? rows->nr_pages[i] : 1);
		enum verdict verdict;

		switch (rows->kind[i]) {
		case KIND_PFN_TO_ONLINE_PAGE:
			out[i] = run(m, pfn, end, counts, by_section);
			continue;
		case KIND_MEMORY_BLOCK_ONLINE:
		case KIND_MEMORY_BLOCK_OFFLINE:
			verdict = block_change(m, pfn, end, rows->kind[i] == KIND_MEMORY_BLOCK_ONLINE);
			break;
		case KIND_MEMREMAP_PAGES:
			verdict = map_pagemap(m, pfn, end, rows->pgmap[i]);
			break;
		case KIND_MEMUNMAP_PAGES:
			verdict = unmap_pagemap(m, rows->pgmap[i]);
			break;
		case KIND_MEMORY_FAILURE:
			verdict = memory_failure(m, pfn, rows->flags ? rows->flags[i] : 0);
			break;
		case KIND_UNPOISON_MEMORY:
			verdict = unpoison_memory(m, pfn);
			break;
		default:
			return rows->kind[i];
		}
		out[i] = verdict;
		counts[verdict]++;
	}
	return 0;
}

int events_by_page(struct memory *m, const struct rows *rows, uint64_t *out, uint64_t *counts)
{
	return events(m, rows, out, counts, 0);
}

int events_by_section(struct memory *m, const struct rows *rows, uint64_t *out, uint64_t *counts)
{
	return events(m, rows, out, counts, 1);
}
