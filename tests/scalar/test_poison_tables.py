"""The ordered ifs against the expressions of poison.md 8.3 to 8.7, evaluated as they are written there."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np
import pytest

from replay.scalar import kill
from replay.scalar.aftermath import counted
from replay.scalar.capabilities import Capabilities, capabilities
from replay.scalar.facts import Facts
from replay.scalar.offline import decide_soft_offline, decide_unpoison
from replay.scalar.pages import Page
from replay.scalar.poison import decide_memory_failure
from replay.scalar.tasks import Mapping, Task
from replay.scalar.verdict import Verdict
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import MARKS, MapFlag, MappingClass, PageFlag, PageKind, TaskFlag
from replay.trace.schema import PgmapType
from tests.scalar.poison_doc import ALL_FEATURES, CLEARED, FEATURES, KINDS, MAPS, SET, VERSIONS, table
from tests.scalar.poison_doc import boot as boot_machine

CASES = {"R": 8000, "Z": 1500, "S": 8000, "U": 1500}  # enough to reach every rule

NAMES = (*KINDS, "BUDDY", "PCP", "HUGE", "LRU", "SLAB", "MOVABLE", "OFFLINE")
NAME_OF_KIND = {KINDS.get(name) or PageKind[name]: name for name in NAMES}
NAME_OF_MAP = {**{number: name for name, number in MAPS.items()}, MappingClass.REGULAR: "REG"}
NAME_OF_PGMAP = {PgmapType.FS_DAX: "FSDAX", PgmapType.PCI_P2PDMA: "P2PDMA"}
WORDS = (*NAMES, *MAPS, "REG", "FSDAX", "GENERIC", "PRIVATE", "COHERENT", "PUBLIC", "P2PDMA", "USED", "FREE", "BUSY")
WORDS = (*WORDS, "NOSIG", "KILL", "BUS_AR", "BUS_AO")
ENUMERATIONS: dict[str, Any] = {name: number for number, name in enumerate(WORDS)}


def code(text: str) -> CodeType:
    return compile(text.strip("`").strip(), text, "eval")


DERIVED = [(row["name"], code(row["expression"])) for row in table("8.3")]
KILL = [(row["name"], code(row["expression"])) for row in table("8.5")]
RULES_87 = [row for row in table("8.7") if re.match(r"[SU]\d", row["id"])]
RULES: dict[str, tuple[list[dict[str, str]], Callable[[Facts], Verdict]]] = {
    "R": (table("8.4"), decide_memory_failure),
    "Z": (table("8.6"), decide_memory_failure),
    "S": ([row for row in RULES_87 if row["id"].startswith("S")], decide_soft_offline),
    "U": ([row for row in RULES_87 if row["id"].startswith("U")], decide_unpoison),
}
WHEN = {row["id"]: code(row["when"]) for rows, _ in RULES.values() for row in rows}


def random_facts(chance: random.Random, c: Capabilities) -> Facts:
    """Any combination of attributes; a few bits are set at a time, so that late rules are reached."""

    def rare() -> bool:
        return chance.random() < 0.12

    flags = 0
    for flag in PageFlag:
        flags |= flag if chance.random() < 0.15 else 0
    flags &= ~(MARKS | PageFlag.POISON_GIVEN | PageFlag.WRITEBACK)
    kind = chance.choice([*NAME_OF_KIND, PageKind.LRU, PageKind.LRU, PageKind.HUGE, PageKind.HUGE])
    pgmap = chance.choice([PgmapType.NONE] * 6 + [p for p in PgmapType if p != PgmapType.DEVDAX])
    owner_ret = chance.choice((-95, -95, -95, 0, -117, -6))
    mapping, pins, refs = chance.choice(list(MappingClass)), chance.choice((0, 0, 0, 1, 2)), chance.choice((0, 1, 1, 2))
    hwp = chance.random() < 0.3
    tail = kind == PageKind.HUGE and bool(flags & PageFlag.TAIL)
    return Facts(
        c=c,
        page=Page(kind, int(flags), 9, mapping, pins, refs, owner_ret),
        count=chance.random() < 0.4,
        ar=chance.random() < 0.4,
        must=rare(),
        recov=not rare(),
        softon=not rare(),
        es=chance.random() < 0.4,
        hwmf=rare(),
        nomm=rare(),
        curpt=chance.random() < 0.5,
        mig=chance.choice((0, 0, 1, -12)),
        valid=not rare(),
        online=chance.random() < 0.8,
        pgmap=pgmap,
        meta=rare(),
        daxlock=not rare(),
        hwp=hwp,
        own_hwp=hwp and not tail,
        is_tail=tail,
        rawhit=chance.random() < 0.3,
        unrel=rare(),
        rawcnt=chance.choice((0, 1, 2)),
    )


def columns(f: Facts, *, own_flag: bool) -> dict[str, Any]:
    """The attributes of 8.1 by name, as the expressions want them, and the columns of 8.3."""
    flags = f.page.flags
    found: dict[str, Any] = {name: bool(flags & flag) for name, flag in SET.items()}
    found |= {name: not flags & flag for name, flag in CLEARED.items()}
    found |= {"wbk": not flags & PageFlag.NO_WRITEBACK_MAPPING, "bhead": not flags & PageFlag.NOT_BLOCK_HEAD}
    found |= {"plat": bool(flags & PageFlag.PLATFORM), "COUNT": f.count, "AR": f.ar, "MUST": f.must}
    for name in ("recov", "softon", "es", "hwmf", "nomm", "curpt", "valid", "online", "meta", "daxlock", "rawhit"):
        found[name] = getattr(f, name)
    found |= {"unrel": f.unrel, "hwp": f.own_hwp if own_flag else f.hwp}
    columns = {name: np.bool_(there) for name, there in found.items()}
    columns |= {"mig": f.mig, "rawcnt": f.rawcnt, "own_rc": f.page.owner_ret, "pins": f.pins, "refs": f.page.refs}
    columns |= {"minord": int(f.minord), "ht": ENUMERATIONS[f.huge_use], "map": ENUMERATIONS[NAME_OF_MAP[f.map]]}
    columns |= {"kind": ENUMERATIONS[NAME_OF_KIND[f.kind]]}
    columns |= {"pgmap": ENUMERATIONS[NAME_OF_PGMAP.get(f.pgmap, f.pgmap.name)]}
    columns |= dataclasses.asdict(f.c) | ENUMERATIONS | {"np": np}
    for name, expression in DERIVED:
        columns[name] = evaluate(expression, columns)
    return columns


def evaluate(expression: CodeType, names: dict[str, Any]) -> Any:
    found = eval(expression, {"__builtins__": {}}, names)
    return np.bool_(found) if isinstance(found, (bool, np.bool_)) else found


def random_capabilities(chance: random.Random) -> Capabilities:
    version = chance.choice(VERSIONS[1:])
    if chance.random() < 0.7:
        return capabilities(FEATURES[version])
    some = frozenset(feature for feature in sorted(ALL_FEATURES) if chance.random() < 0.5)
    return capabilities(some - {"poison-2009"})


def expected_verdict(row: dict[str, str], names: dict[str, Any], f: Facts) -> Verdict:
    special = {"PANIC": RET_BUG, "KRC": int(names["krc"]), "OWN": f.page.owner_ret, "MIG": f.mig}
    ret = special[row["rc"]] if row["rc"] in special else int(row["rc"])
    event = row.get("event", "-").replace("-", "") if row.get("event", "-") == "-" else row["event"]
    event = event.replace("ROW26", f.row if not f.c.v26 else row_of_2009(f)).replace("ROW", f.row)
    numbers = {"newraw": int(names["newraw"]), "1+newraw": 1 + int(names["newraw"]), "-rawcnt": -f.rawcnt, "s": None}
    num = numbers[row["num"]] if row["num"] in numbers else int(row["num"])
    return Verdict(row["id"], ret, event, {"=": None, "0": False, "1": True}[row["hwp"]], num)


def row_of_2009(f: Facts) -> str:
    if f.has(PageFlag.UNEVICTABLE):
        return "unevictable LRU"
    return "mlocked LRU" if f.has(PageFlag.MLOCKED) else "LRU" if f.dirty2 else "clean LRU"


@pytest.mark.slow
@pytest.mark.parametrize("which", RULES)
def test_first_rule_of_the_table(which: str) -> None:
    rows, decide = RULES[which]
    chance = random.Random(which)
    reached = set()
    for _ in range(CASES[which]):
        c = capabilities(frozenset({"poison-2009"})) if which == "Z" else random_capabilities(chance)
        f = random_facts(chance, c)
        names = columns(f, own_flag=which in "SU")
        row = next(row for row in rows if evaluate(WHEN[row["id"]], names))
        reached.add(row["id"])
        assert decide(f) == expected_verdict(row, names, f), (row["id"], f)
        for name, _ in DERIVED:
            if name not in ("okrow", "krc"):
                assert bool(getattr(f, name)) == bool(names[name]), (name, f)
        assert (f.krc, f.okrow) == (int(names["krc"]), bool(names["okrow"]))
    assert {row["id"] for row in rows} == reached


def test_kill_decision_of_the_table() -> None:
    chance = random.Random("kill")
    machine = boot_machine("V61")
    seen = set()
    for _ in range(3000):
        c = random_capabilities(chance)
        f = random_facts(chance, c)
        verdict = decide_memory_failure(f)
        if verdict.rule not in kill.HUGETLB + kill.LRU:
            continue
        flags = TaskFlag(chance.randrange(16))
        own = chance.random() < 0.5
        mapping = Mapping(0, 0, 12, chance.randrange(4))
        machine.state.poison.tasks.described[1] = Task(int(flags), 5)
        machine.state.poison.tasks.described[2] = Task(0, 5 if own else 6)
        names = columns(f, own_flag=False)
        extra = {
            "any_e": bool(flags & TaskFlag.ANY_EARLY),
            "has_def": bool(flags & TaskFlag.HAS_DEFAULT),
            "own": own and not f.nomm,
            "mapped_here": mapping.present,
            "covers": True,
            "addr_ok": not mapping.flags & MapFlag.NO_ADDRESS,
        }
        names |= {name: np.bool_(there) for name, there in extra.items()}
        for name, expression in KILL:
            names[name] = evaluate(expression, names)
        s = kill.situation(f, verdict.rule)
        assert s is not None
        found = kill.decide(machine.state, f, s, verdict.rule, 1, mapping, 2)
        assert (found is not None) == bool(names["coll"]), (verdict, f)
        assert ENUMERATIONS[found or "NOSIG"] == int(names["sig"]), (verdict, f)
        seen.add(found)
    assert seen == {None, "NOSIG", "KILL", "BUS_AR", "BUS_AO"}


def test_standard_count() -> None:
    """8.7: with c_cres every event counts but for two, whatever the rule says in its own column."""
    chance = random.Random("num")
    for _ in range(3000):
        f = random_facts(chance, random_capabilities(chance))
        verdict = decide_memory_failure(f)
        if f.c.c_cres and verdict.num is not None and verdict.event:
            assert counted(f, verdict) == (verdict.num > 0)
