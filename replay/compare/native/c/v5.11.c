/* SPDX-License-Identifier: Apache-2.0 */
/* pfn_to_online_page as v5.1 to v5.11 decide it: the online bit of the section answers for all of its pages. */
#include "replay_pfn.h"

struct page *pfn_to_online_page(unsigned long pfn)
{
	bool online;

	if (IS_ENABLED(CONFIG_MEMORY_HOTPLUG))
		online = online_section_nr(pfn_to_section_nr(pfn)) && pfn_valid_within(pfn);
	else
		online = pfn_valid(pfn);
	return online ? pfn_to_page(pfn) : NULL;
}
