/* SPDX-License-Identifier: Apache-2.0 */
/* pfn_to_online_page as v4.18 and v4.19 decide it: the online bit of the section, wherever in the section the pfn is. */
#include "replay_pfn.h"

struct page *pfn_to_online_page(unsigned long pfn)
{
	bool online;

	if (IS_ENABLED(CONFIG_MEMORY_HOTPLUG))
		online = online_section_nr(pfn_to_section_nr(pfn));
	else
		online = pfn_valid(pfn);
	return online ? pfn_to_page(pfn) : NULL;
}
