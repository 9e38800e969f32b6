"""Candidates in C, right and wrong, and a compiler to try them with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("cc", "gcc", "clang")), reason="no C compiler in PATH"
)
TRACES = Path(__file__).parents[2] / "traces" / "recorded"
BOOT = TRACES / "6.1.192-s1-walk-boot.arrow"
COLLISION = TRACES / "6.1.192-s2a-pmem-collision.arrow"


def online(body: str, before: str = "") -> str:
    """A file that defines pfn_to_online_page; ``body`` stands from line 5 + lines of ``before`` on."""
    return f'#include "replay_pfn.h"\n{before}\nstruct page *pfn_to_online_page(unsigned long pfn)\n{{\n{body}\n}}\n'


# v5.12, but without the check of the subsection.
NO_SUBSECTION = online(
    """	struct mem_section *ms = __pfn_to_section(pfn);
	struct dev_pagemap *pgmap;

	if (!online_section(ms))
		return NULL;
	if (!online_device_section(ms))
		return pfn_to_page(pfn);
	pgmap = get_dev_pagemap(pfn);
	put_dev_pagemap(pgmap);
	return pgmap ? NULL : pfn_to_page(pfn);"""
)
# v5.12 in another shape, and with the reference kept.
KEEPS_REFERENCE = online(
    """	struct mem_section *ms = __pfn_to_section(pfn);

	if (!online_section(ms) || !pfn_section_valid(ms, pfn))
		return NULL;
	if (online_device_section(ms) && get_dev_pagemap(pfn, NULL))
		return NULL;
	return pfn_to_page(pfn);"""
)
GIVES_BACK_TWICE = online(
    """	struct mem_section *ms = __pfn_to_section(pfn);
	struct dev_pagemap *pgmap = NULL;

	if (!online_section(ms) || !pfn_section_valid(ms, pfn))
		return NULL;
	if (online_device_section(ms))
		pgmap = get_dev_pagemap(pfn, NULL);
	put_dev_pagemap(pgmap);
	put_dev_pagemap(pgmap);
	return pgmap ? NULL : pfn_to_page(pfn);"""
)
