"""vmstate.txt: counters and sysctls, at their places in the trace; nodes of added memory."""

from __future__ import annotations

import json
from pathlib import Path

from replay.sources.importers.recording.counters import Block, parse_vmstate
from replay.trace.poison import Counter, SysctlKey
from replay.trace.schema import EventKind as K
from tests.sources.importers.recording.build import META, Lab

START = "== start uptime=1.00\nvm.memory_failure_early_kill=0\nvm.nr_hugepages=4\nHardwareCorrupted:     0 kB\n"
NODE = "/sys/devices/system/node/node1/memory_failure/"


def test_a_block() -> None:
    text = START + f"== b uptime=2.50\nvm.enable_soft_offline=0\nHardwareCorrupted:   12 kB\n{NODE}total=5\n{NODE}x=1\n"
    assert parse_vmstate(text, 12) == [
        Block(1.0, 0, (), {"vm.memory_failure_early_kill": 0}),
        Block(2.5, 3, ((1, Counter.TOTAL, 5),), {"vm.enable_soft_offline": 0}),
    ]


def test_a_negative_count() -> None:
    (block,) = parse_vmstate("== a uptime=1.0\nHardwareCorrupted: 18446744073709550952 kB\n", 12)
    assert block.poisoned == -166


def test_without_counters() -> None:
    assert parse_vmstate("== a uptime=1.0\nMemTotal: 1 kB\n", 12) == [Block(1.0, None, (), {})]


def test_places(tmp_path: Path) -> None:
    """Marks of steps have both an uptime (meta.json) and a place."""
    lab = Lab(tmp_path)
    steps = [{"n": 1, "name": "a", "begin": 10.0, "end": 11.0}, {"n": 2, "name": "b", "begin": 12.0, "end": 13.0}]
    lab.files["meta.json"] = json.dumps(META | {"steps": steps})
    for number, name in ((1, "a"), (2, "b")):
        lab.mark(f"STEP {number:02} begin {name}")
        lab.mark(f"STEP {number:02} end {name} rc=0")
    times = (1.0, 10.0, 10.5, 11.0, 12.0, 12.5, 99.0)
    lab.files["vmstate.txt"] = "".join(f"== t uptime={t}\nHardwareCorrupted: {4 * i} kB\n" for i, t in enumerate(times))
    rows = lab.rows(K.MARK, K.COUNTERS)
    order = [row["value"] if row["kind"] == K.COUNTERS else "mark" for row in rows]
    assert order == ["mark", 0, 1, "mark", 2, "mark", 3, 4, "mark", 5, "mark", 6]
    assert {row["key"] for row in rows if row["kind"] == K.COUNTERS} == {Counter.POISONED}


def test_during_a_step_that_hangs(tmp_path: Path) -> None:
    """Only steps that ended are in meta.json; what was read later stands behind what happened in the last one."""
    lab = Lab(tmp_path)
    lab.files["meta.json"] = json.dumps(META | {"steps": [{"n": 1, "name": "a", "begin": 10.0, "end": 10.000001}]})
    for mark in ("STEP 01 begin a", "STEP 01 end a rc=0", "STEP 02 begin b", "SOAK"):
        lab.mark(mark)
    lab.files["vmstate.txt"] = "".join(f"== t uptime={t}\nHardwareCorrupted: 4 kB\n" for t in (10.5, 99.0))
    lab.poison("unpoison_memory", 0x1000, ret=-5)
    assert [row["kind"] for row in lab.rows(K.MARK, K.COUNTERS, K.UNPOISON_MEMORY)][-3:] == [
        K.UNPOISON_MEMORY, K.COUNTERS, K.COUNTERS]  # fmt: skip


def test_per_node(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files["vmstate.txt"] = f"== t uptime=1.0\n{NODE}ignored=2\n{NODE}recovered=1\n"
    rows = lab.rows(K.COUNTERS)
    assert [(row["node"], row["key"], row["value"]) for row in rows] == [
        (1, Counter.IGNORED, 2),
        (1, Counter.RECOVERED, 1),
    ]


def test_sysctls(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    soft = "vm.enable_soft_offline"
    lab.files["vmstate.txt"] = f"{START}{soft}=1\n== b uptime=1.5\n{soft}=0\n== c uptime=9.0\n{soft}=1\n"
    lab.files["meta.json"] = json.dumps(META | {"steps": [{"n": 1, "name": "a", "begin": 2.0, "end": 3.0}]})
    for number, value in enumerate((0, 1, 1, 0), 1):
        lab.victim(number, early_kill_sysctl=value, action="raw")
        if number == 3:
            lab.mark("STEP 01 begin a")
        lab.mark(f"VICTIM id={number} begin raw")
        lab.poison("memory_failure", 0x1005, flags="0x0")
        lab.mark(f"VICTIM id={number} end")
    lab.mark("STEP 01 end a rc=0")
    rows = lab.rows(K.SYSCTL, K.MEMORY_FAILURE)
    assert [(row["key"], row["value"]) if row["kind"] == K.SYSCTL else row["call"] for row in rows] == [
        (SysctlKey.ENABLE_SOFT_OFFLINE, 0), 1, (SysctlKey.EARLY_KILL, 1), 2, 3, (SysctlKey.EARLY_KILL, 0), 4,
        (SysctlKey.ENABLE_SOFT_OFFLINE, 1),
    ]  # fmt: skip


def test_the_node_of_added_memory_is_that_of_its_blocks(tmp_path: Path) -> None:
    """The caller may have given a memory group in place of a node."""
    for node, expected in (("0", 0), ("0,1", 3), (None, 3)):
        lab = Lab(tmp_path)
        lab.mark("STEP 01 begin plug")
        lab.enter("__add_memory", nid=3, start="0x120000000", size="0x8000000")
        lab.leave("__add_memory", ret=0)
        lab.mark("STEP 01 end plug rc=0")
        if node:
            lab.files["memory_blocks-01-plug.txt"] = f"memory36 phys_index=00000024 state=offline node={node}\n"
        row = next(row for row in lab.rows(K.ADD_MEMORY) if "node" in row)
        assert row["node"] == expected
