/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pfn_to_online_page as kernels decide it since v5.12: the pfn's own subsection has to be populated, and in a section that
 * ZONE_DEVICE shares, no live pagemap may cover the pfn. pgmap_pfn_valid tells a pagemap's data from its metadata.
 */
#include "replay_pfn.h"

static noinline bool device_owns(unsigned long pfn)
{
	struct dev_pagemap *owner = get_dev_pagemap(pfn, NULL);

	put_dev_pagemap(owner);
	return owner != NULL;
}

struct page *pfn_to_online_page(unsigned long pfn)
{
	struct mem_section *section;

	if (!IS_ENABLED(CONFIG_MEMORY_HOTPLUG))
		return pfn_valid(pfn) ? pfn_to_page(pfn) : NULL;

	section = __pfn_to_section(pfn);
	if (unlikely(!online_section(section)))
		return NULL;
	if (IS_ENABLED(CONFIG_HAVE_ARCH_PFN_VALID) && !pfn_valid(pfn))
		return NULL;
	if (unlikely(!pfn_section_valid(section, pfn)))
		return NULL;
	if (unlikely(online_device_section(section)) && device_owns(pfn))
		return NULL;
	return pfn_to_page(pfn);
}

bool pgmap_pfn_valid(struct dev_pagemap *pgmap, unsigned long pfn)
{
	unsigned long metadata = vmem_altmap_offset(pgmap_altmap(pgmap));
	int i;

	for (i = 0; i < pgmap->nr_range; i++) {
		unsigned long first = PHYS_PFN(pgmap->ranges[i].start);
		unsigned long last = PHYS_PFN(pgmap->ranges[i].end);

		if (pfn >= first && pfn <= last)
			return pfn >= first + (i == 0 ? metadata : 0);
	}
	return false;
}
