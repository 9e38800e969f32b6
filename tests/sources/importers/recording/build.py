"""Recording folders made line by line.

lab = Lab(tmp_path)
lab.enter("memory_failure", pfn="0x10c000", flags="0x20")
lab.online(0x10C000, page=False, pgmap=0)
lab.leave("memory_failure", ret=-6)
rows = lab.rows()
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from replay.sources.importers.recording import read_recording
from replay.trace.schema import EventKind

BASE = 0xFF00_0000_0000_0000
META: dict[str, Any] = {
    "kernel": "6.1.192",
    "kernel_release": "6.1.0-test",
    "arch": "x86_64",
    "page_shift": 12,
    "section_size_bits": 27,
    "memory_block_size": 128 << 20,
    "struct_page_size": 64,
    "scenario": "made-up",
}
# RAM up to 0x10c000; the rest of that section and all of the next one are persistent memory.
IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-07ffffff : System RAM
  01000000-01ffffff : Kernel code
100000000-10bffffff : System RAM
10c000000-117ffffff : Persistent Memory (legacy)
"""
SECTIONS = f"""\
# struct mem_section contents; vmemmap_base={BASE:#x} max_pfn=0x10c000 root=0xff00000000001000
# columns: section_nr first_pfn section_mem_map(raw) flags subsection_map
0 0 {BASE + 15:#x} PMOE- ffffffffffffffff
32 0x100000 {BASE + 15:#x} PMOE- ffffffffffffffff
33 0x108000 {BASE + 15:#x} PMOE- 00000000ffffffff
"""
PROBES = (
    "pfn_to_online_page get_dev_pagemap pgmap_pfn_valid memory_failure soft_offline_page unpoison_memory "
    "memremap_pages memunmap_pages add_memory_resource __add_memory add_memory_driver_managed arch_add_memory "
    "try_remove_memory __add_pages online_pages offline_pages section_deactivate online_mem_sections "
    "offline_mem_sections move_pfn_range_to_zone"
)
ALTMAP = {"altmap_base_pfn": 0, "altmap_end_pfn": 0, "altmap_reserve": 0, "altmap_free": 0}
VICTIM: dict[str, Any] = {
    "action": "victim",
    "kind": "anon",
    "pfn": "0x1005",
    "vaddr": "0x7f0000005000",
    "length": 65536,
    "sub": 5,
    "path": "",
    "pagemap": hex(1 << 63 | 0x1005),
    "freed_before_inject": False,
    "early_kill_prctl": "late",
    "early_kill_sysctl": 0,
    "sigbus_handler": True,
    "kpageflags_before": "0x400005828",
    "kpageflags_after": "0x40008500c",
    "kpageflags_after_touch": "0x40008500c",
    "kpageflags_after_exit": "0x40008500c",
    "kpageflags_after_unpoison": "0x0",
}
FORMAT = """\
print fmt: "pfn %#lx: recovery action for %s: %s", REC->pfn, __print_symbolic(REC->type, { 0, "reserved kernel page" },
 { 13, "dirty LRU page" }, { 16, "free buddy page" }, { 17, "dax page" }), __print_symbolic(REC->result, { 0, "Ignored" })
"""

Row = dict[str, int]


class Lab:
    """A recording folder that is being made."""

    def __init__(self, path: Path, probes: str = PROBES, **meta: Any) -> None:
        self.path = path
        self.lines: list[str] = []
        self.clock = 1000
        self.files = {
            "meta.json": json.dumps(META | meta),
            "iomem.txt": IOMEM,
            "sections.txt": SECTIONS,
            "memory_blocks.txt": "".join(f"memory{n} phys_index={n:08x} state=online node=0\n" for n in (0, 32, 33)),
            "kprobe_events.txt": "".join(f"p:truth/{name} {name} x=%di:x64\n" for name in probes.split()),
            "trace_clock.txt": "local [global] boot\n",
        }
        self.mark("ARMED kernel=6.1 scenario=made-up")

    def line(
        self, event: str, payload: str, task: int = 100, name: str = "lab", cpu: int = 0, flags: str = "....."
    ) -> None:
        self.clock += 1
        seconds, micros = divmod(self.clock, 1000)
        prefix = f"{name:>16}-{task:<7} [{cpu:03}] {flags} {seconds:5}.{micros:06}: "
        self.lines.append(f"{prefix}{event}: {payload}")

    def mark(self, text: str) -> None:
        self.line("tracing_mark_write", text, task=1)

    def enter(self, name: str, task: int = 100, **fields: Any) -> None:
        self.line(name, " ".join((f"({name}+0x0/0x100)", *(f"{k}={v}" for k, v in fields.items()))), task)

    def leave(self, name: str, task: int = 100, **fields: Any) -> None:
        text = " ".join((f"(caller+0x1/0x2 <- {name})", *(f"{k}={v}" for k, v in fields.items())))
        self.line(f"{name}__return", text, task)

    def online_enter(self, pfn: int, task: int = 100) -> None:
        self.enter("pfn_to_online_page", task, pfn=hex(pfn))

    def online_leave(self, pfn: int, page: bool, task: int = 100) -> None:
        self.leave("pfn_to_online_page", task, page=hex(BASE + 64 * pfn if page else 0))

    def online(self, pfn: int, page: bool = True, task: int = 100, pgmap: int | None = None) -> None:
        self.online_enter(pfn, task)
        if pgmap is not None:
            self.pagemap(pfn, pgmap, task)
        self.online_leave(pfn, page, task)

    def pagemap(self, pfn: int, pgmap: int, task: int = 100) -> None:
        self.enter("get_dev_pagemap", task, pfn=hex(pfn))
        self.leave("get_dev_pagemap", task, pgmap=hex(pgmap))

    def map_begin(self, pgmap: int, low: int, high: int, task: int = 200, **fields: Any) -> None:
        """Enter memremap_pages of pfns [low, high) and make its two conflict checks."""
        args = {"pgmap": hex(pgmap), "nid": 0, "type": 3, "flags": "0x0", "nr_range": 1,
                "range_start": hex(low << 12), "range_end": hex((high << 12) - 1), **ALTMAP} | fields  # fmt: skip
        self.enter("memremap_pages", task, **args)
        self.pagemap(low, 0, task)
        self.pagemap(high - 1, 0, task)

    def add(self, low: int, high: int, task: int = 200, ret: int = 0) -> None:
        """Populate pfns [low, high)."""
        self.enter("arch_add_memory", task, nid=0, start=hex(low << 12), size=hex((high - low) << 12))
        self.enter("__add_pages", task, nid=0, pfn=hex(low), nr_pages=hex(high - low))
        self.leave("__add_pages", task, ret=ret)
        self.leave("arch_add_memory", task, ret=ret)

    def map(self, pgmap: int, low: int, high: int, task: int = 200, **fields: Any) -> None:
        """Map pfns [low, high), all of it."""
        self.map_begin(pgmap, low, high, task, **fields)
        self.add(low, high, task)
        self.enter("move_pfn_range_to_zone", task, zone="0xff01", pfn=hex(low), nr_pages=hex(high - low))
        self.leave("memremap_pages", task, ret="0xff11000000000000")

    def unmap(self, pgmap: int, low: int, high: int, task: int = 200) -> None:
        self.enter(
            "memunmap_pages", task, pgmap=hex(pgmap), range_start=hex(low << 12), range_end=hex((high << 12) - 1)
        )
        self.enter("arch_remove_memory", task, start=hex(low << 12), size=hex((high - low) << 12), altmap="0x0")
        self.enter("section_deactivate", task, pfn=hex(low), nr_pages=hex(high - low))
        self.leave("arch_remove_memory", task)
        self.leave("memunmap_pages", task)

    def victim(self, number: int = 1, **given: Any) -> None:
        """Add a line to victims.jsonl; ``pids`` are its processes, ``sigbus`` what the handler of the first saw."""
        pids, sigbus = given.pop("pids", (200,)), given.pop("sigbus", ())
        seen = [{"phase": p, "si_code": c, "si_addr": hex(a), "si_addr_lsb": b} for p, c, a, b in sigbus]
        line = VICTIM | {"id": number, "processes": len(pids)} | given
        if line["action"] == "victim":
            state = {"touch": given.pop("touch", "ok"), "died_during_inject": False, "exit": "code", "exit_value": 0}
            line["sharers"] = [{"pid": pid, "sigbus": seen if pid == pids[0] else [], **state} for pid in pids]
        self.files["victims.jsonl"] = self.files.get("victims.jsonl", "") + json.dumps(line) + "\n"

    def poison(self, name: str, pfn: int, task: int = 1, ret: int = 0, inside: Any = None, **fields: Any) -> None:
        """Make a poison call; ``inside`` writes what happens inside of it."""
        self.enter(name, task, pfn=hex(pfn), **fields)
        if inside:
            inside()
        self.leave(name, task, ret=ret)

    def action(self, pfn: int, kind: str, result: str, task: int = 1) -> None:
        self.line("memory_failure_event", f"pfn {pfn:#x}: recovery action for {kind}: {result}", task)

    def signal(self, pid: int, code: int, task: int = 1, sig: int = 7) -> None:
        self.line("signal_generate", f"sig={sig} errno=0 code={code} comm=v0-x pid={pid} grp=0 res=0", task)

    def text(self, written: int | None = None) -> str:
        count = len(self.lines)
        header = f"# tracer: nop\n#\n# entries-in-buffer/entries-written: {count}/{written or count}   #P:2\n#\n"
        return header + "".join(f"{line}\n" for line in self.lines)

    def save(self, written: int | None = None) -> Path:
        self.path.mkdir(exist_ok=True)
        for name, text in {"trace.txt": self.text(written), **self.files}.items():
            (self.path / name).write_text(text)
        return self.path

    def read(self, **options: Any) -> tuple[list[Row], Any, Any, tuple[str, ...]]:
        """Save and read: rows as dicts of what they give, machine, provenance, strings."""
        columns, machine, provenance, strings = read_recording(self.save(), **options)
        return as_rows(columns), machine, provenance, strings

    def rows(self, *kinds: EventKind, **options: Any) -> list[Row]:
        """Save and read; only rows of these kinds, if any are named, with their index as ``row``."""
        return [r for r in self.read(**options)[0] if not kinds or r["kind"] in kinds]


def as_rows(columns: Any) -> list[Row]:
    length = len(columns["time"][0])
    return [
        {"row": i} | {name: int(values[i]) for name, (values, given) in columns.items() if given[i]}
        for i in range(length)
    ]


def expand(rows: list[Row], kind: EventKind) -> list[tuple[int, ...]]:
    """Every lookup of a kind: task, pfn, recorded_ret, recorded_slow, recorded_pgmap (-1: not given), sorted."""
    keys = ("recorded_ret", "recorded_slow", "recorded_pgmap")
    return sorted(
        (row["task"], row["pfn"] + i * row.get("stride", 1), *(row.get(key, -1) for key in keys))
        for row in rows
        if row["kind"] == kind
        for i in range(row["nr_pages"])
    )
