"""The tables of docs/semantics/poison.md, and machines in the states that they talk about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from replay.kernel.profiles import profile
from replay.scalar import PoisonResult, ScalarMachine
from replay.trace.poison import CallContext, MappingClass, MfFlag, PageFlag, PageKind, SysctlKey
from replay.trace.schema import PgmapType
from tests.poison_columns import CAPABILITIES, DOCUMENT, PRESETS
from tests.vectors.model import Layout

VERSIONS = tuple(PRESETS)
MODERN = VERSIONS[1:]

OTHERS: dict[str, tuple[str, ...]] = {
    "poison-2009": ("V26",),
    "dax-entry-lock": VERSIONS[2:],
    "dax-mapping-size": VERSIONS[2:],
    "dax-page-mapping": VERSIONS[2:],
    "clear-error-restores": VERSIONS[2:],
    "dax-shift-zero-kill": ("V419",),
    "poison-waits-for-writeback": ("V510", *VERSIONS[6:]),
    "hugetlb-exact-address": VERSIONS[7:],
}


def table(number: str) -> list[dict[str, str]]:
    """The rows of the table of a section, by column head."""
    text = DOCUMENT.read_text()
    start = text.index(f"\n### {number} ")
    body = text[start + 1 :].split("\n#", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    head, _, *rows = cells
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row, strict=True)) for row in rows]


def ditto(row: dict[str, str]) -> dict[str, str]:
    """The version columns of a row, without ditto marks."""
    cells: dict[str, str] = {}
    last = ""
    for version in VERSIONS:
        if version in row:
            last = last if row[version] == '"' else row[version]
            cells[version] = last
    return cells


def built_features(version: str) -> frozenset[str]:
    """The poison features of a version column, from 8.2."""
    found = {feature for feature, versions in OTHERS.items() if version in versions}
    for row in table("8.2") if version != "V26" else ():
        level = int(row[version])
        if row["cap"] == "c_alrev":
            found |= {"already-poisoned-event"} if level else set()
            found |= {"already-poisoned-uncounted"} if level == 1 else set()
            continue
        needed = CAPABILITIES[row["cap"]]
        if needed[0].startswith("!"):
            found |= set() if level else {needed[0][1:]}
        else:
            found |= set(needed[:level])
    return frozenset(found)


ALL_FEATURES = frozenset(
    {name.lstrip("!") for names in CAPABILITIES.values() for name in names}
    | set(OTHERS)
    | {"already-poisoned-event", "already-poisoned-uncounted"}
)
FEATURES = {v: profile(name).features - ALL_FEATURES | built_features(v) for v, name in PRESETS.items()}

# Pfns of the layout by what kernels say about them.
LAYOUT = Layout(((0x100000, 0x140000),))
RAM = 0x108203
OFFLINE = 0x138203  # in the last block, which is offline
NOWHERE = 0x400003
DEVICE = 0x200000  # a pagemap of 128 MiB with 0x400 pages of metadata
METADATA, DATA = DEVICE + 0x103, DEVICE + 0x803

KINDS = {
    "ISOL": PageKind.ISOLATED,
    "SLABC": PageKind.SLAB_COMPOUND,
    "PGTABLE": PageKind.PAGE_TABLE,
    "RSVD": PageKind.RESERVED,
    "HZERO": PageKind.HUGE_ZERO,
    "KTAIL": PageKind.KERNEL_TAIL,
    "KERN": PageKind.KERNEL,
}
PGMAPS = {"FSDAX": PgmapType.FS_DAX, "GENERIC": PgmapType.DEVDAX}
MAPS = {
    "NONE": MappingClass.NONE,
    "NONREG": MappingClass.NOT_REGULAR,
    "BDEV": MappingClass.BLOCK_DEVICE,
    "NOOP": MappingClass.NO_OPERATION,
    "SHMEM": MappingClass.SHMEM,
    "HTLB": MappingClass.HUGETLB,
}
SET = {
    "hwp": PageFlag.HWPOISON,
    "taken": PageFlag.TAKEN_OFF,
    "rawhit": PageFlag.RAW_LISTED,
    "unrel": PageFlag.RAW_UNRELIABLE,
    "tail": PageFlag.TAIL,
    "pud": PageFlag.PUD,
    "large": PageFlag.LARGE,
    "anon": PageFlag.ANON,
    "ksm": PageFlag.KSM,
    "swapc": PageFlag.SWAPCACHE,
    "dirty": PageFlag.DIRTY,
    "mlk": PageFlag.MLOCKED,
    "unev": PageFlag.UNEVICTABLE,
    "mapped": PageFlag.MAPPED,
    "pdirty": PageFlag.PTE_DIRTY,
    "pwrite": PageFlag.PTE_WRITE,
    "evict": PageFlag.EVICTABLE,
    "mapnn": PageFlag.MAPPING_SET,
    "filt": PageFlag.FILTERED,
    "sgx": PageFlag.SGX,
    "pfnsp": PageFlag.PFN_SPACE,
}
CLEARED = {
    "toff": PageFlag.NO_TAKE_OFF,
    "bhead": PageFlag.NOT_BLOCK_HEAD,
    "dissolv": PageFlag.NOT_DISSOLVABLE,
    "split": PageFlag.UNSPLITTABLE,
    "unmap": PageFlag.UNMAP_FAILS,
    "rel": PageFlag.NOT_RELEASABLE,
    "iso": PageFlag.NOT_ISOLATABLE,
    "daxlock": PageFlag.NO_DAX_ENTRY,
}
REQUEST = {"COUNT": MfFlag.COUNT_INCREASED, "AR": MfFlag.ACTION_REQUIRED, "MUST": MfFlag.MUST_KILL}


def madvise(version: str) -> int:
    """The request flags of MADV_HWPOISON (section 2)."""
    if version in ("V26", "V419"):
        return 0
    if version in ("V418", "V510", "V511", "V512"):
        return int(MfFlag.COUNT_INCREASED)
    simulated = MfFlag.COUNT_INCREASED | MfFlag.SW_SIMULATED
    return int(simulated if version == "V61" else simulated | MfFlag.ACTION_REQUIRED)


@dataclass
class Situation:
    """A machine in the state that the attributes of a vector describe, and the request."""

    machine: ScalarMachine
    pfn: int
    flags: int = 0
    context: int = 0
    value: int = 0
    rest: set[str] = field(default_factory=set)

    def memory_failure(self, task: int | None = None) -> PoisonResult:
        return self.machine.memory_failure(self.pfn, self.flags, task=task, context=self.context)

    def soft_offline(self) -> PoisonResult:
        return self.machine.soft_offline_page(self.pfn, self.flags, self.value)

    def unpoison(self) -> PoisonResult:
        return self.machine.unpoison_memory(self.pfn)


def boot(version: str) -> ScalarMachine:
    machine = ScalarMachine(LAYOUT.description(), FEATURES[version])
    assert machine.offline_pages(0x138000, 0x8000)[0] == 0
    return machine


def add_device(machine: ScalarMachine, kind: PgmapType) -> None:
    assert machine.memremap_pages(1, [(DEVICE, 0x8000)], altmap=(DEVICE, 0, 0x400), pgmap_type=kind)[0] == 0
    machine.page_state(DEVICE + 0x400, 0x7C00, PageKind.RESERVED)  # what the rules of 4 do not look at, but described


def situation(version: str, attributes: str) -> Situation:
    """Bring a machine into a state; what the page and the request do not tell is left in ``rest``."""
    words = {} if attributes == "(defaults)" else dict(pair_of(word) for word in attributes.split())
    s = Situation(boot(version), RAM)
    pgmap = words.pop("pgmap", None)
    if pgmap:
        assert words.pop("online") == "0"
        add_device(s.machine, PGMAPS.get(pgmap) or PgmapType[pgmap])
        s.pfn = METADATA if words.pop("meta", "0") == "1" else DATA
    elif words.pop("online", "1") == "0":
        s.pfn = NOWHERE if words.pop("valid", "1") == "0" else OFFLINE
    describe(s, words)
    if words.pop("MADV", "0") == "1":
        s.flags = madvise(version)
    for name in [name for name in words if name in REQUEST]:
        s.flags |= REQUEST[name] if words.pop(name) == "1" else 0
    s.context |= CallContext.HAS_ENTRY if words.pop("curpt", "0") == "1" else 0
    s.context |= CallContext.NO_MM if words.pop("nomm", "0") == "1" else 0
    s.value = int(words.pop("mig", "0"))
    for name, key in (("recov", SysctlKey.RECOVERY), ("softon", SysctlKey.ENABLE_SOFT_OFFLINE)):
        s.machine.sysctl(key, int(words.pop(name, "1")))
    s.machine.sysctl(SysctlKey.EARLY_KILL, int(words.pop("es", "0")))
    s.machine.state.poison.hardware_seen = words.pop("hwmf", "0") == "1"
    s.rest = {name if there == "1" else "!" + name for name, there in words.items()}
    return s


def pair_of(word: str) -> tuple[str, str]:
    if word.startswith("!"):
        return word[1:], "0"
    name, _, number = word.partition("=")
    return name, number or "1"


def describe(s: Situation, words: dict[str, str]) -> None:
    flags = PageFlag.POISON_GIVEN
    for name in [name for name in words if name in SET]:
        flags |= SET[name] if words.pop(name) == "1" else PageFlag(0)
    for name in [name for name in words if name in CLEARED]:
        flags |= CLEARED[name] if words.pop(name) == "0" else PageFlag(0)
    use = words.pop("ht", "USED")
    flags |= {"FREE": PageFlag.HUGE_FREE, "BUSY": PageFlag.HUGE_BUSY}.get(use, PageFlag(0))
    flags |= PageFlag.MIN_ORDER if int(words.pop("minord", "0")) else PageFlag(0)
    name = words.pop("kind", "LRU")
    huge = name == "HUGE" or flags & PageFlag.LARGE
    if name == "HUGE" and not flags & PageFlag.TAIL:
        s.pfn &= ~0x1FF  # any other page of the folio is a tail
    s.machine.page_state(
        s.pfn,
        1,
        KINDS.get(name) or PageKind[name],
        flags=int(flags),
        order=9 if huge else 0,
        mapping=int(MAPS.get(words.pop("map", "REG"), MappingClass.REGULAR)),
        pins=int(words.pop("pins", "0")),
        refs=int(words.pop("refs", "1")),
        owner_ret=int(words.pop("own_rc", "-95")),
    )
    for number in range(int(words.pop("rawcnt", "0"))):
        s.machine.state.poison.pages.mark(s.pfn + number, PageFlag.HWPOISON | PageFlag.RAW_LISTED)
