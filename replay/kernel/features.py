"""Every observable change of kernel behaviour that a check can depend on: one row each.

A feature is what a commit changed, seen from outside. Features are the truth, versions only presets of them
(``profiles.py``), because stable trees and distributions carry backports. Commits and titles are facts about the history
of Linux; ``evidence`` says how sure the row is: ``log`` commit page seen, ``source`` the behaviour was read in the trees on
both sides of ``first`` but the commit id is from memory, ``recording`` confirmed by a recorded kernel as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from replay.errors import UnknownNameError

__all__ = ("FEATURES", "Feature", "feature")


@dataclass(frozen=True)
class Feature:
    """One behaviour change.

    Attributes:
        id: name used by checks and profiles.
        summary: what differs, in one line.
        first: first mainline version that has it (of those read, where the exact one is not known).
        commit: abbreviated commit id, empty where unknown.
        title: commit subject, empty where unknown.
        backports: stable versions (of the presets) that have it although they are older.
        evidence: how the row is known: log, source or recording.
        series: series or merge the commit belongs to.
    """

    id: str
    summary: str
    first: str
    commit: str = ""
    title: str = ""
    backports: tuple[str, ...] = ()
    evidence: str = "source"
    series: str = ""


_SERIES = "mm: Fix pfn_to_online_page() with respect to ZONE_DEVICE"

_DAX_SERIES = "device-dax and filesystem-dax memory errors (v4.19)"

_ROWS = (
    # Lookups.
    Feature(
        "pfn-valid-within",
        "pfn_to_online_page asks pfn_valid where zones may have holes (HOLES_IN_ZONE); dropped in v5.12",
        "v5.1",
        "b13bc35193d9",
        "mm/hotplug: invalid PFNs from pfn_to_online_page()",
    ),
    Feature(
        "subsection-hotplug",
        "memory can be added and removed in 2 MiB subsections; pfn_valid tests the subsection map of hot-added sections",
        "v5.3",
        "ba72b4c8cf60",
        "mm/sparsemem: support sub-section hotplug",
        evidence="recording",
    ),
    Feature(
        "section-early",
        "boot sections are marked early: pfn_valid answers yes for all of them, and their memmap survives partial removal",
        "v5.3",
        "326e1b8f83a4",
        "mm/sparsemem: introduce a SECTION_IS_EARLY flag",
        evidence="recording",
    ),
    Feature(
        "online-page-out-of-line",
        "pfn_to_online_page is a function, not a macro (no verdict changes)",
        "v5.12",
        "9f605f260594",
        "mm: move pfn_to_online_page() out of line",
        evidence="log",
        series=_SERIES,
    ),
    Feature(
        "online-page-subsection-validity",
        "pfn_to_online_page refuses pfns whose subsection is not populated (and, with an arch pfn_valid, invalid ones)",
        "v5.12",
        "9f9b02e5b3db",
        "mm: teach pfn_to_online_page() to consider subsection validity",
        evidence="recording",
        series=_SERIES,
    ),
    Feature(
        "taint-zone-device",
        "online sections shared with ZONE_DEVICE are tainted, and pfn_to_online_page looks up the pagemap there",
        "v5.12",
        "1f90a3477df3",
        "mm: teach pfn_to_online_page() about ZONE_DEVICE section collisions",
        evidence="recording",
        series=_SERIES,
    ),
    Feature(
        "soft-offline-ref-drop",
        "soft_offline_page drops the caller's page reference when the pfn is not online",
        "v5.11",
        "dad4e5b39086",
        "mm: fix page reference leak in soft_offline_page()",
        backports=("v5.10.223",),
        series=_SERIES,
    ),
    Feature(
        "pgmap-pfn-valid",
        "pgmap_pfn_valid exists: memory_failure rejects pfns of a pagemap's own metadata",
        "v5.12",
        "34dc45be4563",
        "mm: fix memory_failure() handling of dax-namespace metadata",
        backports=("v5.10.223",),
        evidence="recording",
        series=_SERIES,
    ),
    Feature(
        "pfn-valid-high-bits",
        "the generic pfn_valid refuses pfns whose high bits do not survive the way to a physical address and back",
        "v5.14",
        "16c9afc77660",
        "arm64/mm: drop HAVE_ARCH_PFN_VALID",
    ),
    Feature(
        "section-nid-shift",
        "the node id of early sections no longer overlaps the flag bits, so no boot section is tainted by its node number",
        "v5.15",
        "",
        "mm/sparse: set SECTION_NID_SHIFT to 6",
    ),
    # arm64's own pfn_valid.
    Feature(
        "arm64-pfn-valid-roundtrip",
        "arm64 pfn_valid refuses pfns whose high bits are lost in the address",
        "v4.19",
        "5ad356eabc47",
        "arm64: mm: check for upper PAGE_SHIFT bits in pfn_valid()",
    ),
    Feature(
        "arm64-pfn-valid-section",
        "arm64 pfn_valid asks for a valid section before it looks at memblock",
        "v5.1",
        "4ab215061554",
        "arm64: Add memory hotplug support",
    ),
    Feature(
        "arm64-pfn-valid-subsection",
        "arm64 pfn_valid answers from the subsection map for sections that are not early (ZONE_DEVICE becomes valid)",
        "v5.12",
        "eeb0753ba27b",
        "arm64/mm: fix pfn_valid() for ZONE_DEVICE based memory",
        backports=("v5.4.195", "v5.10.223"),
    ),
    Feature(
        "arm64-generic-pfn-valid",
        "arm64 uses the generic pfn_valid and has no zones with holes",
        "v5.14",
        "16c9afc77660",
        "arm64/mm: drop HAVE_ARCH_PFN_VALID",
    ),
    Feature(
        "arm64-small-sections",
        "arm64 sections are 128 MiB (512 MiB with 64K pages) instead of 1 GiB",
        "v5.12",
        "f0b13ee23241",
        "arm64/sparsemem: reduce SECTION_SIZE_BITS",
        evidence="log",
    ),
    Feature(
        "s390-small-sections",
        "s390 sections are 128 MiB instead of 256 MiB",
        "v7.2",
        "",
        "",
    ),
    # /proc/kpageflags and its siblings.
    Feature(
        "kpageflags-online-only",
        "/proc/kpageflags looks pfns up with pfn_to_online_page instead of pfn_valid",
        "v5.4",
        "aad5f69bc161",
        "fs/proc/page.c: don't access uninitialized memmaps in fs/proc/page.c",
        evidence="recording",
    ),
    Feature(
        "kpageflags-section-limit",
        "/proc/kpageflags ends at max_pfn rounded up to a section instead of at max_pfn",
        "v5.10",
        "abec749facff",
        "fs/proc/page.c: allow inspection of last section and fix end detection",
        evidence="recording",
    ),
    Feature(
        "kpageflags-zero-no-page",
        "/proc/kpageflags gives 0 instead of the no-page flag for pfns without an online page",
        "v7.2",
        evidence="recording",
    ),
    Feature(
        "device-keeps-max-pfn",
        "mapping a device no longer raises max_pfn on x86",
        "v6.1",
        evidence="recording",
    ),
    # Pagemaps.
    Feature(
        "memremap-refuses-ram",
        "memremap_pages over System RAM fails with -ENXIO instead of succeeding without effect",
        "v4.20",
        "06489cfbd915",
        'mm, devm_memremap_pages: kill mapping "System RAM" support',
    ),
    Feature(
        "pgmap-xarray",
        "the pagemap index is an xarray: storing over another pagemap overwrites instead of failing with -EEXIST",
        "v4.20",
        "bcfa4b72111c",
        "memremap: Convert to XArray",
    ),
    Feature(
        "pgmap-ranges",
        "a pagemap can have several ranges; with an altmap only one is allowed",
        "v5.10",
        "b7b3c01b1915",
        "mm/memremap_pages: support multiple ranges per invocation",
    ),
    Feature(
        "add-pages-bounds-check",
        "adding pages beyond the physical address limit fails with -E2BIG instead of indexing past the section table",
        "v5.6",
        "dca4436d1cf9",
        "mm/memory_hotplug.c: add a bounds check to __add_pages()",
    ),
    Feature(
        "hotplug-prevalidates-range",
        "the range is checked against the platform first: add_memory fails with -E2BIG, memremap_pages with -EINVAL",
        "v5.12",
        "bca3feaa0764",
        "mm/memory_hotplug: prevalidate the address range being added with platform",
    ),
    # Adding and removing memory.
    Feature(
        "ram-child-resources",
        "System RAM may be inserted below a non-busy resource that contains it",
        "v5.1",
        "2794129e902d",
        "mm/memory-hotplug: Allow memory resources to be children",
    ),
    Feature(
        "memory-block-exists",
        "adding memory fails with -EEXIST when a memory block device of the range exists",
        "v5.3",
        "db051a0dac13",
        "mm/memory_hotplug: create memory block devices after arch_add_memory()",
    ),
    Feature(
        "remove-refuses-online",
        "removing memory with an online block fails with -EBUSY instead of being a fatal bug",
        "v5.3",
        "eca499ab3749",
        "mm/hotplug: make remove_memory() interface usable",
    ),
    Feature(
        "driver-managed-memory",
        'drivers may add memory under a name of their own, which must look like "System RAM (name)"',
        "v5.8",
        "7b7b27214bba",
        "mm/memory_hotplug: introduce add_memory_driver_managed()",
        evidence="recording",
    ),
    Feature(
        "memmap-on-memory",
        "a hot-added block can hold its own memmap in its first pages",
        "v5.13",
        "a08a2ae34613",
        "mm,memory_hotplug: allocate memmap from the added memory range",
    ),
    Feature(
        "memmap-on-memory-lenient",
        "a request for memmap_on_memory that cannot be met is carried out without it instead of failing",
        "v6.6",
        "e3c2bfdd33a3",
        "mm/memory_hotplug: allow memmap on memory hotplug request to fallback",
    ),
    # Onlining and offlining.
    Feature(
        "offline-pageblock-check",
        "offline_pages asks for pageblock aligned ranges; dropped in v5.1",
        "v4.18",
    ),
    Feature(
        "block-online-section-checks",
        "onlining a block asks for present, valid and not yet online sections, offlining for present ones; dropped in v5.5",
        "v4.18",
    ),
    Feature(
        "online-walks-ram",
        "online_pages walks the System RAM of the range and fails where there is none; dropped in v5.5",
        "v4.18",
    ),
    Feature(
        "offline-zone-span-check",
        "offlining asks that all pfns of a block lie in the span of one zone",
        "v5.3",
    ),
    Feature(
        "offline-refuses-holes",
        "onlining and offlining of a block with holes is refused",
        "v5.6",
        "c5e79ef561b0",
        "mm/memory_hotplug.c: don't allow to online/offline memory blocks with holes",
        evidence="recording",
    ),
    Feature(
        "online-section-aligned",
        "online_pages and offline_pages ask for section aligned ranges",
        "v5.10",
        "4986fac160d6",
        "mm/memory_hotplug: enforce section granularity when onlining/offlining",
    ),
    Feature(
        "online-pageblock-start",
        "online_pages and offline_pages accept a start that is only pageblock aligned",
        "v5.13",
        "dd8e2f230d82",
        "mm,memory_hotplug: relax fully spanned sections check",
    ),
    # The resource tree.
    Feature(
        "walk-ram-error-codes",
        "walk_system_ram_range over nothing returns -EINVAL instead of -1",
        "v5.1",
        "5cd401ace914",
        "mm/resource: Return real error codes from walk failures",
    ),
    Feature(
        "walk-ram-children",
        "walk_system_ram_range visits System RAM below other resources",
        "v5.1",
        "2b539aefe9e4",
        "mm/resource: Let walk_system_ram_range() search child resources",
    ),
    Feature(
        "region-intersects-nested",
        "region_intersects looks below resources that do not match themselves",
        "v6.12",
        "b4afe4183ec7",
        "resource: fix region_intersects() vs add_memory_driver_managed()",
        backports=("v6.1.192",),
    ),
    # device-dax and kmem.
    Feature(
        "kmem-driver",
        "the dax bus and its kmem driver exist: device-dax memory can become System RAM, drivers take new_id and remove_id",
        "v5.1",
        "c221c0b0308f",
        'device-dax: "Hotplug" persistent memory for use like normal RAM',
    ),
    Feature(
        "kmem-releases-reservation",
        "kmem gives its reservation back when adding the memory fails",
        "v5.3",
    ),
    Feature(
        "kmem-hot-remove",
        "unbinding kmem removes the memory if all its blocks are offline",
        "v5.3",
        "9f960da72b25",
        'device-dax: "Hotremove" persistent memory that is used like normal RAM',
    ),
    Feature(
        "dax-ranges",
        "a dax device can have several ranges or none; kmem skips what it cannot add once some range is in",
        "v5.10",
        "60e93dc097f7",
        "device-dax: add dis-contiguous resource support",
    ),
    Feature(
        "kmem-refuses-no-memory",
        "kmem refuses a device of which nothing is left after alignment to memory blocks",
        "v6.1",
    ),
    Feature(
        "kmem-skips-never-added",
        "unbinding kmem leaves ranges alone that it had skipped when it was bound",
        "v7.2",
        backports=("v6.1.192", "v6.12.107"),
    ),
    Feature(
        "kmem-memmap-on-memory",
        "a dax device can ask kmem to put the memmap into the added memory",
        "v6.12",
    ),
    Feature(
        "dax-driver-by-region",
        "which driver takes a dax device by default is a matter of its region: kmem for regions flagged so, else device_dax",
        "v6.12",
    ),
    Feature(
        "dax-target-node",
        "dax devices have a target_node, the node of the memory itself, besides the nearest online node",
        "v5.1",
        "8fc5c73554db",
        "acpi/nfit, device-dax: Identify differentiated memory with a unique numa-node",
    ),
    Feature(
        "e820-target-affinity",
        "e820 persistent memory takes its target_node from the firmware's memory affinity; numa_node is the nearest online",
        "v5.10",
    ),
    # Layout of nvdimm namespaces.
    Feature(
        "namespace-label-reserve",
        "the metadata of a devdax namespace has 128 KiB for labels; dropped in v5.1",
        "v4.18",
    ),
    Feature(
        "namespace-region-padding",
        "a namespace is padded to sections beside another nvdimm region too, not only beside System RAM",
        "v5.1",
        "ae86cbfef381",
        "libnvdimm, pfn: Pad pfn namespaces relative to other regions",
    ),
    Feature(
        "namespace-subsection-layout",
        "namespaces are laid out in subsections: not padded to sections, altmap base at a subsection, pages not rounded up",
        "v5.3",
        "a3619190d62e",
        "libnvdimm/pfn: stop padding pmem namespaces to section alignment",
    ),
    Feature(
        "namespace-page-size",
        "the info block of a namespace says the sizes of page and struct page (minor version 4)",
        "v5.4",
    ),
    Feature(
        "namespace-start-aligned",
        "namespaces must start, and info blocks must make them start and end, at a subsection",
        "v5.10",
    ),
    Feature(
        "namespace-not-supported",
        "an info block that does not fit its namespace is refused with -EOPNOTSUPP instead of various codes",
        "v5.10",
    ),
    Feature(
        "namespace-needs-data",
        "a namespace without room for data behind its metadata is refused even if the metadata fits",
        "v6.12",
    ),
    # Memory block size.
    Feature(
        "block-size-bare-metal",
        "memory blocks of large x86 machines are 2 GiB on bare metal, whatever the end of memory",
        "v5.10",
    ),
    Feature(
        "block-size-advice",
        "firmware can advise a maximum for the memory block size, on bare metal too",
        "v7.2",
    ),
    # Memory failure: what is looked at first.
    Feature(
        "poison-2009",
        "memory_failure is that of its first release: void flags, no hugetlb, THP, soft offline, unpoison or filter",
        "v2.6.32",
        "6a46079cf57a",
        "HWPOISON: The high level memory error handler in the VM v7",
    ),
    Feature(
        "memory-failure-dev-pagemap",
        "memory_failure handles pages of a pagemap (fsdax, device-dax) instead of taking them for reserved pages",
        "v4.19",
        "6100e34b2526",
        "mm, memory_failure: Teach memory_failure() about dev_pagemap pages",
        evidence="recording",
        series=_DAX_SERIES,
    ),
    Feature(
        "dax-entry-lock",
        "the dax mapping entry is locked first; a page without one is an error",
        "v4.19",
        "c2a7d2a11552",
        "filesystem-dax: Introduce dax_lock_mapping_entry()",
        evidence="recording",
        series=_DAX_SERIES,
    ),
    Feature(
        "dax-page-mapping",
        "pages of device-dax know their mapping, which stays after unmapping",
        "v4.19",
        "2232c6382a45",
        "device-dax: Enable page_mapping()",
        evidence="recording",
        series=_DAX_SERIES,
    ),
    Feature(
        "dax-mapping-size",
        "the size of a dax mapping is found in the page tables: si_addr_lsb, and how much is unmapped",
        "v4.19",
        "ae1139ece126",
        "mm, memory_failure: Collect mapping size in collect_procs()",
        evidence="recording",
        series=_DAX_SERIES,
    ),
    Feature(
        "dax-shift-zero-kill",
        "a VMA over a dax page with nothing mapped there gets SIGKILL instead of being passed over; dropped in v5.4",
        "v4.19",
        series=_DAX_SERIES,
    ),
    Feature(
        "clear-error-restores",
        "clearing a media error of pmem clears HWPoison of its pages",
        "v4.19",
        "",
        "libnvdimm, pmem: Restore page attributes when clearing errors",
        series=_DAX_SERIES,
    ),
    Feature(
        "madvise-drops-reference",
        "MADV_HWPOISON gives its page reference back before memory_failure; dropped in v5.10",
        "v4.19",
        "23e7b5c2e271",
        "mm, madvise_inject_error: Let memory_failure() optionally take a page reference",
        series=_DAX_SERIES,
    ),
    Feature(
        "memory-failure-online-page",
        "memory_failure asks for an online page instead of pfn_valid, and for a pagemap only without one",
        "v5.4",
        "96c804a6ae8c",
        "mm/memory-failure.c: don't access uninitialized memmaps in memory_failure()",
        evidence="recording",
    ),
    Feature(
        "section-removal-counts-down",
        "removing a section counts its poisoned pages down, device pages included; since v6.2 memory blocks do it for RAM",
        "v4.18",
        evidence="recording",
    ),
    Feature(
        "online-refuses-poison",
        "a memory block with poisoned pages cannot be brought online again",
        "v6.2",
        "5033091de814",
        "mm/hwpoison: introduce per-memory_block hwpoison counter",
        evidence="recording",
    ),
    Feature(
        "poisoned-cache-dropped",
        "a fault on a poisoned page-cache page that is clean drops the page and is retried, without a signal",
        "v5.18",
        "e53ac7374e64",
        "mm: invalidate hwpoison page cache page in fault path",
    ),
    Feature(
        "sigbus-message",
        'the log says "Sending SIGBUS to" instead of "Killing"',
        "v5.4",
        evidence="recording",
    ),
    Feature(
        "already-poisoned-page-text",
        'the log says "already poisoned page"; the tracepoint keeps "already poisoned"',
        "v6.19",
        backports=("v6.12.107",),
        evidence="recording",
    ),
    Feature(
        "device-dax-compound",
        "device-dax pages are compound: HWPoison and si_addr are those of the first page of the 2 MiB mapping",
        "v5.17",
        "",
        "device-dax: compound devmap support",
        evidence="recording",
    ),
    Feature(
        "fsdax-large-folios",
        "fsdax pages come in folios: si_addr, and where the size of the mapping is looked up, are those of the first page",
        "v7.2",
        evidence="recording",
    ),
    Feature(
        "pgmap-owner-handler",
        "the owner of a pagemap (a file system) can handle the error; device memory is -ENXIO instead of -EBUSY",
        "v6.0",
        "33a8f7f2b3a3",
        "pagemap,pmem: introduce ->memory_failure()",
    ),
    Feature(
        "sgx-poison",
        "SGX enclave pages have a handler of their own",
        "v5.17",
        "03b122da74b2",
        "x86/sgx: Hook arch_memory_failure() into mainline code",
    ),
    Feature(
        "pfn-space-poison",
        "pfns without struct page are handled if somebody registered them, and reported if not",
        "v6.19",
        evidence="recording",
    ),
    # Memory failure: pages that are free, poisoned already or of no use.
    Feature(
        "already-poisoned-error",
        "an already poisoned page is -EHWPOISON instead of success, and the task that consumes it is signalled",
        "v5.14",
        "47af12bae17f",
        "mm,hwpoison: return -EHWPOISON to denote that the page has already been poisoned",
        evidence="recording",
    ),
    Feature(
        "accessor-not-found-efault",
        "consuming poison that the task does not map is -EFAULT instead of success; dropped in v6.1.192, v6.12.107, v7.2",
        "v6.1",
    ),
    Feature(
        "already-poisoned-event",
        "an already poisoned page is an event of its own type",
        "v6.12",
        evidence="recording",
    ),
    Feature(
        "already-poisoned-uncounted",
        "events of already poisoned pages do not count; another subpage of a hugetlb page is an event that does",
        "v7.2",
        backports=("v6.12.107",),
        evidence="recording",
    ),
    Feature(
        "poison-counted-at-event",
        "poisoned pages are counted with the event instead of with the flag: dax and failures count",
        "v5.19",
        evidence="recording",
    ),
    Feature(
        "handlable-test",
        "only free pages and pages on the LRU are tried; others are given up after some retries",
        "v5.14",
        "25182f05ffed",
        "mm,hwpoison: fix race with hugetlb page allocation",
        evidence="recording",
    ),
    Feature(
        "reference-step-always",
        "the page is looked at (free, handlable) even if the caller holds a reference",
        "v6.19",
        evidence="recording",
    ),
    Feature(
        "take-off-buddy",
        "a free page is taken off the buddy lists (CPU lists drained before) instead of left there",
        "v5.11",
        "a8b2c2ce89d4",
        "mm,hwpoison: take free pages off the buddy freelists",
        evidence="recording",
    ),
    Feature(
        "hugetlb-raw-list",
        "hugetlb pages list their poisoned subpages, 1 GiB pages are handled; unpoison refuses more",
        "v6.0",
        "161df60e9e89",
        "mm, hwpoison, hugetlb: support saving mechanism of raw error pages",
        evidence="recording",
    ),
    Feature(
        "filter-eopnotsupp",
        "a page that the filter rejects is -EOPNOTSUPP instead of success",
        "v5.15",
    ),
    Feature(
        "filter-before-split",
        "the filter is asked before a large folio is split, and its no is no event",
        "v6.12",
    ),
    # Memory failure: large folios, user mappings, the state table.
    Feature(
        "unsplit-thp-event",
        "a large folio that cannot be split is an event and stays poisoned, instead of silently losing the flag",
        "v5.10",
        "5d1fd5dc877b",
        "mm,hwpoison: introduce MF_MSG_UNSPLIT_THP",
        evidence="recording",
    ),
    Feature(
        "unsplit-thp-kills",
        "a large folio that cannot be split is a failure (-EHWPOISON), and its mappers are signalled",
        "v6.12",
        "",
        "mm/memory-failure: send SIGBUS in the event of thp split fail",
        evidence="recording",
    ),
    Feature(
        "file-thp-split",
        "large folios of shmem and files are split too; poisoned shmem pages stay in their file",
        "v5.16",
        "4966455d9100",
        "mm: hwpoison: handle non-anonymous THP correctly",
        evidence="recording",
    ),
    Feature(
        "min-order-unsplittable",
        "folios of files with a minimum folio order count as unsplittable",
        "v6.12",
    ),
    Feature(
        "ksm-poison",
        "KSM pages are unmapped and their mappers signalled",
        "v6.5",
        "4248d0083ec5",
        "mm: ksm: support hwpoison for ksm page",
        evidence="recording",
    ),
    Feature(
        "late-action-types",
        "event types of v6.10: get hwpoison page, failed for pages that stay mapped, ignored for unknown ones, no slab",
        "v6.12",
        evidence="recording",
    ),
    Feature(
        "poison-waits-for-writeback",
        "a page off the LRU under writeback is waited for and handled like one on the LRU",
        "v5.13",
        "",
        "mm/memory-failure: make sure wait for page writeback in memory_failure",
        backports=("v5.10.223",),
    ),
    Feature(
        "extra-reference-per-handler",
        "foreign references fail only page cache, swap cache and hugetlb pages; a pinned anonymous page is recovered",
        "v5.16",
        "dd0f230a0a80",
        "mm: hwpoison: refactor refcount check handling",
        evidence="recording",
    ),
    Feature(
        "block-device-no-remove",
        "pages of block devices cannot be removed from their cache",
        "v6.12",
    ),
    # Signals.
    Feature(
        "early-kill-per-thread",
        "an explicit late kill policy wins over the sysctl; consumed poison concerns the consumer's address space only",
        "v5.8",
        "4e018b450ada",
        "mm/memory-failure: prioritize prctl(PR_MCE_KILL) over vm.memory_failure_early_kill",
        evidence="recording",
    ),
    Feature(
        "early-kill-others",
        "consumed poison is announced to other early kill tasks too",
        "v5.12",
        "30c9cf492704",
        "mm,hwpoison: send SIGBUS to PF_MCE_EARLY processes on action required events",
        evidence="recording",
    ),
    Feature(
        "collect-on-clean-drop",
        "tasks are collected even if the page is clean and dropped (they are signalled only if unmapping fails)",
        "v6.1",
    ),
    Feature(
        "collect-needs-address",
        "tasks without an address for the page are not collected instead of getting SIGKILL",
        "v6.12",
    ),
    Feature(
        "unmap-failure-forces-kill",
        "a failed unmapping makes collected tasks signalled even for a clean page",
        "v6.1",
        "",
        "mm, hwpoison: kill procs if unmap fails",
    ),
    Feature(
        "unmap-failure-sigbus",
        "a failed unmapping is SIGBUS instead of SIGKILL",
        "v6.12",
    ),
    Feature(
        "hugetlb-exact-address",
        "si_addr of a hugetlb page is that of the subpage instead of the start of the mapping",
        "v6.8",
    ),
    # Injection, soft offline, unpoison.
    Feature(
        "simulated-injection",
        "injected errors say so, and do not disable unpoison",
        "v5.19",
        "67f22ba7750f",
        "mm/memory-failure: disable unpoison once hw error happens",
        evidence="recording",
    ),
    Feature(
        "madvise-action-required",
        "MADV_HWPOISON acts as if the caller consumed the poison",
        "v6.12",
        evidence="recording",
    ),
    Feature(
        "soft-offline-refuses-zone-device",
        "soft_offline_page refuses pages of a pagemap with -EIO, before it was by pfn; dropped in v5.10",
        "v4.19",
        "",
        "mm, madvise_inject_error: Disable MADV_SOFT_OFFLINE for ZONE_DEVICE pages",
        series=_DAX_SERIES,
    ),
    Feature(
        "soft-offline-strict",
        "soft offline succeeds only if the free page is caught, or the hugetlb page dissolved",
        "v4.19",
    ),
    Feature(
        "soft-offline-by-pfn",
        "soft_offline_page takes a pfn and refuses what is no online page; already poisoned is success",
        "v5.5",
        "feec24a6139d",
        "mm, soft-offline: convert parameter to pfn",
        evidence="recording",
    ),
    Feature(
        "soft-offline-failed-take-off",
        "a free page that soft offline cannot take off is success without effect; gone in v5.10.223 and v6.1",
        "v5.10",
    ),
    Feature(
        "enable-soft-offline",
        "sysctl vm.enable_soft_offline",
        "v6.12",
        "",
        "mm/memory-failure: userspace controls soft-offlining pages",
        evidence="recording",
    ),
    Feature(
        "unpoison-online-page",
        "unpoison_memory asks for an online page (-EIO) instead of pfn_valid (-ENXIO)",
        "v7.2",
        "",
        "mm/memory-failure: fix VM_BUG_ON_PAGE(PagePoisoned(page)) when unpoison memory",
        backports=("v6.1.192", "v6.12.107"),
        evidence="recording",
    ),
)

FEATURES: dict[str, Feature] = {row.id: row for row in _ROWS}


def feature(name: str) -> Feature:
    """Return the feature of that id.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FEATURES:
        raise UnknownNameError("feature", name, FEATURES, "`replay features` lists them")
    return FEATURES[name]
