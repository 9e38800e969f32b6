"""The state spaces of the functions that decide on facts or on attributes of a page, and how reading of these is watched."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields
from functools import cache
from typing import Any, cast

from replay.compare.diff_spaces import Columns, Invariant, Space, Variable
from replay.compare.diff_words import CODE_WORDS, POISON_WORDS, code, fact_words
from replay.kernel.kill import MappingFacts
from replay.kernel.poison_state import DEFAULTS, PoisonState
from replay.trace.poison import PageKind
from replay.trace.schema import PgmapType

__all__ = ("facts_space", "poison_space")


@cache
def _watching(kind: type[Any], names: frozenset[str]) -> type[Any]:
    """Return the class with fields that tell when they are read, to the set ``_read`` with ``_prefix``."""

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: ANN401, N807
        if name in names:
            object.__getattribute__(self, "_read").add(object.__getattribute__(self, "_prefix") + name)
        return object.__getattribute__(self, name)

    return type(kind.__name__, (kind,), {"__getattribute__": __getattribute__, "_read": set(), "_prefix": ""})


def _watch(kind: type[Any], values: Mapping[str, object], names: frozenset[str], read: set[str], prefix: str) -> object:
    state = _watching(cast(Hashable, kind), names)(**values)
    object.__setattr__(state, "_read", read)
    object.__setattr__(state, "_prefix", prefix)
    return cast(object, state)


def facts_space(kind: type[Any]) -> Space:
    """Return the space of a call's facts: every field is true or false, whatever it takes to find out.

    Fields that are facts about a mapping task have fields of their own. The values are thought to be independent of each
    other, so what is equal here is equal, and what differs may need a state that cannot be.
    """
    variables: list[Variable] = []
    for f in fields(kind):
        for name in [f.name] if f.type != "MappingFacts" else [f"{f.name}.{g.name}" for g in fields(MappingFacts)]:
            values: tuple[int | bool, ...] = (False, True)
            words: tuple[str, ...] = fact_words(name)
            if name.endswith("shift"):
                values, words = (0, 12, 21), ("nothing mapped", "mapped by 4 KiB", "mapped by 2 MiB")
            variables.append(Variable(name, values, words))
    own = frozenset(f.name for f in fields(kind) if f.type != "MappingFacts")
    task = frozenset(f.name for f in fields(MappingFacts))

    def build(columns: Columns, _: frozenset[str], read: set[str]) -> object:
        values: dict[str, object] = {name: columns[name] for name in own}
        for f in fields(kind):
            if f.type == "MappingFacts":
                inner = {name: columns[f"{f.name}.{name}"] for name in task}
                values[f.name] = _watch(MappingFacts, inner, task, read, f"{f.name}.")
        return _watch(kind, values, own, read, "")

    return Space(variables, build)


_FIRST = ("recov", "online", "valid", "softon", "plat", "sgx", "pfnsp", "pgmap", "meta", "own_rc", "daxlock", "hwmf")
_POISON_INVARIANTS = (
    Invariant({"kind": (PageKind.UNKNOWN,)}, "a page of which nothing is known: nothing is decided about it"),
    Invariant({"online": (True,), "valid": (False,)}, "a page that is online has a mem_map"),
    Invariant(
        {
            "pgmap": tuple(t for t in PgmapType if t not in {PgmapType.NONE, PgmapType.DEVDAX}),
            "kind": tuple(k for k in PageKind if k is not PageKind.RESERVED),
        },
        "pages of a live pagemap are those of a device, which kernels mark as reserved",
    ),
    Invariant({"meta": (True,), "pgmap": (PgmapType.NONE,)}, "metadata is that of a pagemap"),
)


def _codes(name: str, codes: AbstractSet[int]) -> Variable:
    """Return a variable that is a return code: one value for each code that answers have, and one for all others."""
    (values, words), fails = CODE_WORDS[name]
    named = sorted(codes - set(values), reverse=True)
    other = next(n for n in range(-1, -(1 << 12), -1) if n not in codes and n not in values)
    return Variable(
        name,
        (*values, *named, other),
        (*words, *(f"{fails} with {code(n)}" for n in named), f"{fails} with another code"),
        together={frozenset(range(len(values), len(values) + len(named) + 1)): fails},
        others=True,
        dtype=DEFAULTS[name].dtype,
    )


def poison_space(codes: AbstractSet[int]) -> Space:
    """Return the space of poison calls: all attributes of ``PoisonState``.

    Args:
        codes: negative return codes of the answers. Some calls return codes of other functions, which may be the same.
    """
    names = [*_FIRST, "kind", "hwp", *(n for n in DEFAULTS if n not in {*_FIRST, "kind", "hwp"})]
    variables = []
    for name in names:
        if name in CODE_WORDS:
            variables.append(_codes(name, codes))
            continue
        values, words = POISON_WORDS[name]
        never = frozenset({values.index(PageKind.UNKNOWN)}) if name == "kind" else frozenset()
        variables.append(Variable(name, values, words, never, dtype=DEFAULTS[name].dtype))
    every = frozenset(names)

    def build(columns: Columns, features: frozenset[str], read: set[str]) -> object:
        return _watch(PoisonState, {"features": features, **columns}, every, read, "")

    return Space(variables, build, _POISON_INVARIANTS, telling=("meta", "pgmap", "kind", "hwp", "online"))
