/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a candidate in C sees of the replayed machine: the names of the Linux memory model, over the arrays of `replay native`.
 *
 * The user's file includes this header and defines one or more of
 *
 *	struct page *pfn_to_online_page(unsigned long pfn);
 *	int pfn_valid(unsigned long pfn);
 *	bool pgmap_pfn_valid(struct dev_pagemap *pgmap, unsigned long pfn);
 *
 * Sizes and configuration are compile-time constants, as in a kernel; those of the trace's machine are put in front of this
 * file when it is compiled. Without them (in an editor) they are those of x86-64. Nothing of the machine may be written to.
 */
#ifndef REPLAY_PFN_H
#define REPLAY_PFN_H
#pragma GCC system_header /* warnings are for the user's file */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef REPLAY_MACHINE_H
#define PAGE_SHIFT 12
#define SECTION_SIZE_BITS 27
#define MAX_PHYSMEM_BITS 46
#define CONFIG_SPARSEMEM_VMEMMAP 1
#define CONFIG_MEMORY_HOTPLUG 1
#define REPLAY_HAS_section_early 1
#define REPLAY_HAS_subsection_hotplug 1
#define REPLAY_HAS_pfn_valid_high_bits 1
#endif

#define CONFIG_SPARSEMEM 1
#define CONFIG_SPARSEMEM_EXTREME 1
#define CONFIG_MEMORY_HOTREMOVE 1
#define CONFIG_ZONE_DEVICE 1
#define CONFIG_64BIT 1

_Static_assert(sizeof(unsigned long) == 8, "pfns need 64-bit longs");

/* Language. */

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef u64 phys_addr_t;

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define noinline __attribute__((noinline))
#define __maybe_unused __attribute__((unused))
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define BIT(n) (1UL << (n))
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
#define EXPORT_SYMBOL(name) struct replay_exported_nothing
#define EXPORT_SYMBOL_GPL(name) struct replay_exported_nothing

/* 1 for an option that is defined as 1, else 0; in #if as well. */
#define IS_ENABLED(option) REPLAY_IS_ONE(option)
#define REPLAY_IS_ONE(value) REPLAY_IS_ONE_OF(REPLAY_ONE_##value)
#define REPLAY_IS_ONE_OF(word) REPLAY_TAKE_SECOND(word 1, 0, 0)
#define REPLAY_TAKE_SECOND(first, second, ...) second
#define REPLAY_ONE_1 0,

/* The threads of a replay are one: nothing can change under a lookup. */
#define barrier() __asm__ __volatile__("" ::: "memory")
#define rcu_read_lock() barrier()
#define rcu_read_unlock() barrier()
#define rcu_read_lock_sched() barrier()
#define rcu_read_unlock_sched() barrier()
#define preempt_disable() barrier()
#define preempt_enable() barrier()

#define BUG() abort()
#define BUG_ON(condition) ((condition) ? abort() : (void)0)
#define WARN_ON(condition) REPLAY_WARN(condition, false)
#define WARN_ON_ONCE(condition) REPLAY_WARN(condition, true)
#define VM_WARN_ON_ONCE(condition) ((void)WARN_ON_ONCE(condition))
#define VM_BUG_ON(condition) BUG_ON(condition)
#define REPLAY_WARN(condition, once)                                                          \
	({                                                                                    \
		static bool said;                                                             \
		bool holds = !!(condition);                                                   \
		if (unlikely(holds) && !((once) && said)) {                                   \
			said = true;                                                          \
			fprintf(stderr, "WARNING: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
		}                                                                             \
		unlikely(holds);                                                              \
	})
#define printk(...) ((void)fprintf(stderr, __VA_ARGS__))
#define pr_err(...) printk(__VA_ARGS__)
#define pr_warn(...) printk(__VA_ARGS__)
#define pr_info(...) printk(__VA_ARGS__)
#define pr_debug(...) printk(__VA_ARGS__)

static __always_inline __maybe_unused bool test_bit(unsigned long bit, const unsigned long *map)
{
	return map[bit / 64] >> bit % 64 & 1;
}

/* Pages. A struct page is an address: whether it is the right one is checked, its content is not there. */

struct page {
	unsigned long flags;
	unsigned char rest[56];
};

#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PHYS_PFN(address) ((unsigned long)((phys_addr_t)(address) >> PAGE_SHIFT))
#define PFN_PHYS(pfn) ((phys_addr_t)(pfn) << PAGE_SHIFT)
/* No address that can be read, far enough from its end for the pages of every architecture. */
#define vmemmap ((struct page *)0x8000000000000000UL)

/* Sections and subsections. */

#define PFN_SECTION_SHIFT (SECTION_SIZE_BITS - PAGE_SHIFT)
#define PAGES_PER_SECTION (1UL << PFN_SECTION_SHIFT)
#define PAGE_SECTION_MASK (~(PAGES_PER_SECTION - 1))
#define SECTIONS_SHIFT (MAX_PHYSMEM_BITS - SECTION_SIZE_BITS)
#define NR_MEM_SECTIONS (1UL << SECTIONS_SHIFT)
#define SUBSECTION_SHIFT 21
#define SUBSECTION_SIZE (1UL << SUBSECTION_SHIFT)
#define PFN_SUBSECTION_SHIFT (SUBSECTION_SHIFT - PAGE_SHIFT)
#define PAGES_PER_SUBSECTION (1UL << PFN_SUBSECTION_SHIFT)
#define PAGE_SUBSECTION_MASK (~(PAGES_PER_SUBSECTION - 1))
#define SUBSECTIONS_PER_SECTION (1UL << (SECTION_SIZE_BITS - SUBSECTION_SHIFT))

#define SECTION_MARKED_PRESENT BIT(0)
#define SECTION_HAS_MEM_MAP BIT(1)
#define SECTION_IS_ONLINE BIT(2)
#define SECTION_IS_EARLY BIT(3)
#define SECTION_TAINT_ZONE_DEVICE BIT(4)
#define SECTION_MAP_LAST_BIT BIT(5)
#define SECTION_MAP_MASK (~(SECTION_MAP_LAST_BIT - 1))

struct mem_section_usage {
	unsigned long subsection_map[(SUBSECTIONS_PER_SECTION + 63) / 64];
	unsigned long pageblock_flags[(SUBSECTIONS_PER_SECTION * 4 + 63) / 64]; /* takes room, as in a kernel; empty */
};

struct mem_section {
	unsigned long section_mem_map; /* flags in the low bits */
	struct mem_section_usage *usage;
};

#define SECTIONS_PER_ROOT (PAGE_SIZE / sizeof(struct mem_section))
#define NR_SECTION_ROOTS ((NR_MEM_SECTIONS + SECTIONS_PER_ROOT - 1) / SECTIONS_PER_ROOT)
#define SECTION_NR_TO_ROOT(nr) ((nr) / SECTIONS_PER_ROOT)
#define SECTION_ROOT_MASK (SECTIONS_PER_ROOT - 1)

/* Pagemaps. */

enum memory_type {
	MEMORY_DEVICE_PRIVATE = 1,
	MEMORY_DEVICE_COHERENT,
	MEMORY_DEVICE_FS_DAX,
	MEMORY_DEVICE_GENERIC,
	MEMORY_DEVICE_PCI_P2PDMA,
};

#define PGMAP_ALTMAP_VALID BIT(0)

struct range {
	u64 start; /* bytes */
	u64 end;   /* inclusive */
};

struct vmem_altmap {
	unsigned long base_pfn;
	unsigned long reserve;
	unsigned long free;
};

struct dev_pagemap {
	struct vmem_altmap altmap;
	long *ref;   /* references taken and not given back */
	bool dying;  /* the reference is killed */
	enum memory_type type;
	unsigned int flags;
	int nr_range;
	union {
		struct range range;
		struct range ranges[1];
	};
};

/* The index from pfn to pagemap: a tree of 64 slots per node, as deep as its highest pfn needs. */
struct replay_node {
	unsigned int shift;
	uintptr_t slot[64]; /* 0, a pagemap, or a node with bit 0 set */
};

struct replay_block {
	unsigned long start, end; /* pfns */
};

/* The machine at this moment. */
struct replay_view {
	struct mem_section **mem_section;
	uintptr_t index;
	unsigned long index_end; /* pfns from here on are not in the index */
	const struct replay_block *memblock;
	unsigned long nr_memblock;
};

#pragma GCC visibility push(hidden)
extern struct replay_view replay_view;
extern struct mem_section **mem_section;
struct page *pfn_to_online_page(unsigned long pfn);
#pragma GCC visibility pop

static __always_inline __maybe_unused unsigned long pfn_to_section_nr(unsigned long pfn)
{
	return pfn >> PFN_SECTION_SHIFT;
}

static __always_inline __maybe_unused unsigned long section_nr_to_pfn(unsigned long nr)
{
	return nr << PFN_SECTION_SHIFT;
}

static __always_inline __maybe_unused int subsection_map_index(unsigned long pfn)
{
	return pfn >> PFN_SUBSECTION_SHIFT & (SUBSECTIONS_PER_SECTION - 1);
}

/* The section of that number; NULL where the table has no room for it. One that is absent may be returned, with no flags. */
static __always_inline __maybe_unused struct mem_section *__nr_to_section(unsigned long nr)
{
	struct mem_section *root = likely(nr < NR_MEM_SECTIONS) ? mem_section[SECTION_NR_TO_ROOT(nr)] : NULL;

	return root ? root + (nr & SECTION_ROOT_MASK) : NULL;
}

static __always_inline __maybe_unused struct mem_section *__pfn_to_section(unsigned long pfn)
{
	return __nr_to_section(pfn_to_section_nr(pfn));
}

static __always_inline __maybe_unused int replay_section_has(const struct mem_section *ms, unsigned long flags)
{
	return ms && (ms->section_mem_map & flags) == flags;
}

#define present_section(ms) replay_section_has(ms, SECTION_MARKED_PRESENT)
#define valid_section(ms) replay_section_has(ms, SECTION_HAS_MEM_MAP)
#define online_section(ms) replay_section_has(ms, SECTION_IS_ONLINE)
#define early_section(ms) replay_section_has(ms, SECTION_IS_EARLY)
#define online_device_section(ms) replay_section_has(ms, SECTION_IS_ONLINE | SECTION_TAINT_ZONE_DEVICE)
#define present_section_nr(nr) present_section(__nr_to_section(nr))
#define valid_section_nr(nr) valid_section(__nr_to_section(nr))
#define online_section_nr(nr) online_section(__nr_to_section(nr))
#define pfn_in_present_section(pfn) present_section(__pfn_to_section(pfn))

/* Whether the pfn's subsection is populated; without VMEMMAP there is no map and every one is. */
static __always_inline __maybe_unused int pfn_section_valid(struct mem_section *ms, unsigned long pfn)
{
	if (!IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP))
		return 1;
	return test_bit(subsection_map_index(pfn), ms->usage->subsection_map);
}

static __always_inline __maybe_unused struct page *pfn_to_page(unsigned long pfn)
{
	if (IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP))
		return vmemmap + pfn;
	return (struct page *)(__pfn_to_section(pfn)->section_mem_map & SECTION_MAP_MASK) + pfn;
}

static __always_inline __maybe_unused unsigned long page_to_pfn(const struct page *page)
{
	return page - vmemmap;
}

/* Whether memblock has the page, mapped. */
static noinline __maybe_unused bool memblock_is_map_memory(phys_addr_t address)
{
	unsigned long pfn = PHYS_PFN(address), low = 0, high = replay_view.nr_memblock;

	while (low < high) {
		unsigned long middle = (low + high) / 2;

		if (replay_view.memblock[middle].end <= pfn)
			low = middle + 1;
		else
			high = middle;
	}
	return low < replay_view.nr_memblock && replay_view.memblock[low].start <= pfn;
}

/* pfn_valid of the kernel that the candidate is compared with; a definition in the user's file replaces it. */
static __always_inline __maybe_unused int replay_pfn_valid(unsigned long pfn)
{
	struct mem_section *ms;

#ifdef CONFIG_HAVE_ARCH_PFN_VALID
#ifdef REPLAY_HAS_arm64_pfn_valid_roundtrip
	if (PHYS_PFN(PFN_PHYS(pfn)) != pfn)
		return 0;
#endif
#ifdef REPLAY_HAS_arm64_pfn_valid_section
	ms = __pfn_to_section(pfn);
	if (!valid_section(ms))
		return 0;
#ifdef REPLAY_HAS_arm64_pfn_valid_subsection
	if (!early_section(ms))
		return pfn_section_valid(ms, pfn);
#endif
#endif
	(void)ms;
	return memblock_is_map_memory(PFN_PHYS(pfn));
#else
#ifdef REPLAY_HAS_pfn_valid_high_bits
	if (PHYS_PFN(PFN_PHYS(pfn)) != pfn)
		return 0;
#endif
	ms = __pfn_to_section(pfn);
	if (!valid_section(ms))
		return 0;
#ifdef REPLAY_HAS_section_early
	if (early_section(ms))
		return 1;
#endif
#ifdef REPLAY_HAS_subsection_hotplug
	return pfn_section_valid(ms, pfn);
#else
	return 1;
#endif
#endif
}

#define pfn_valid_within(pfn) (!IS_ENABLED(CONFIG_HOLES_IN_ZONE) || pfn_valid(pfn))

static noinline __maybe_unused struct dev_pagemap *replay_get_dev_pagemap(unsigned long pfn, struct dev_pagemap *cached)
{
	uintptr_t entry = pfn < replay_view.index_end ? replay_view.index : 0;
	struct dev_pagemap *found;

	if (cached) {
		if (PFN_PHYS(pfn) >= cached->range.start && PFN_PHYS(pfn) <= cached->range.end)
			return cached;
		--*cached->ref;
	}
	rcu_read_lock();
	while (entry & 1) {
		const struct replay_node *node = (const struct replay_node *)(entry - 1);

		entry = READ_ONCE(node->slot[pfn >> node->shift & 63]);
	}
	found = (struct dev_pagemap *)entry;
	if (found) {
		if (unlikely(READ_ONCE(found->dying)))
			found = NULL;
		else
			++*found->ref;
	}
	rcu_read_unlock();
	return found;
}

/* With or without the cached pagemap that kernels before v7.2 take. */
#define get_dev_pagemap(...) REPLAY_GET_DEV_PAGEMAP(__VA_ARGS__, NULL, )
#define REPLAY_GET_DEV_PAGEMAP(pfn, cached, ...) replay_get_dev_pagemap(pfn, cached)

static __always_inline __maybe_unused void put_dev_pagemap(struct dev_pagemap *pgmap)
{
	if (pgmap)
		--*pgmap->ref;
}

static __always_inline __maybe_unused struct vmem_altmap *pgmap_altmap(struct dev_pagemap *pgmap)
{
	return pgmap->flags & PGMAP_ALTMAP_VALID ? &pgmap->altmap : NULL;
}

/* Pages in front of the data that hold metadata. */
static __always_inline __maybe_unused unsigned long vmem_altmap_offset(const struct vmem_altmap *altmap)
{
	return altmap ? altmap->reserve + altmap->free : 0;
}

static __always_inline __maybe_unused u64 range_len(const struct range *range)
{
	return range->end - range->start + 1;
}

static __always_inline __maybe_unused bool replay_pgmap_pfn_valid(struct dev_pagemap *pgmap, unsigned long pfn)
{
	for (int i = 0; i < pgmap->nr_range; i++) {
		unsigned long first = PHYS_PFN(pgmap->ranges[i].start), last = PHYS_PFN(pgmap->ranges[i].end);

		if (pfn >= first && pfn <= last)
			return pfn - first >= (i ? 0 : vmem_altmap_offset(pgmap_altmap(pgmap)));
	}
	return false;
}

/* Stand for the functions as long as the user's file does not define them: an inline definition may be followed by a real one. */
#pragma GCC visibility push(hidden)
#ifndef REPLAY_GLUE
extern inline __attribute__((gnu_inline, always_inline)) int pfn_valid(unsigned long pfn)
{
	return replay_pfn_valid(pfn);
}

extern inline __attribute__((gnu_inline, always_inline)) bool pgmap_pfn_valid(struct dev_pagemap *pgmap, unsigned long pfn)
{
	return replay_pgmap_pfn_valid(pgmap, pfn);
}
#endif
#pragma GCC visibility pop

#endif
