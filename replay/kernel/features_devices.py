"""Features of device-dax, kmem, namespace layout and memory block size."""

from __future__ import annotations

from replay.kernel.feature import Feature

__all__ = ("DEVICES",)

DEVICES = (
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
        "dax-class-compat",
        "built with DEV_DAX_PMEM_COMPAT, devdax namespaces are devices of /sys/class/dax, not of the bus; dropped in v5.17 "
        "(83762cb5c7c4)",
        "v5.1",
        "730926c3b099",
        "device-dax: Add /sys/class/dax backwards compatibility",
    ),
    Feature(
        "dax-mapping-ignores-misaligned",
        "a write of a misaligned size to the mapping file of a dax device succeeds without effect, instead of -ENXIO",
        "v6.9",
        "c05ae9d85b47",
        "dax/bus.c: replace driver-core lock usage by a local rwsem",
    ),
    Feature(
        "bind-returns-probe-code",
        "a write to bind returns the code of the driver's probe, and -EBUSY for a device that has a driver; -ENODEV before",
        "v5.14",
        "ef6dcbdd8eb2",
        "driver core: Flow the return code from ->probe() through to sysfs bind",
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
        "namespace-alignments",
        "an info block of devdax whose alignment the kernel cannot map is refused",
        "v5.4",
    ),
    Feature(
        "pmem-error-granularity",
        "an error in persistent memory makes a bad range of the size that the hardware reports, not of one cache line",
        "v5.19",
        "7917f9cdb503",
        "acpi/nfit: rely on mce->misc to determine poison granularity",
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
)
