"""What ``replay explain`` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay.compare.asked import Step
from replay.compare.explain import Explanation
from replay.compare.surroundings import Around
from replay.engine.poison_compare import event_text
from replay.kernel.decision import Check
from replay.kernel.features import FEATURES
from replay.kernel.poison_calls import PoisonAnswer
from replay.kernel.poison_types import decode
from replay.report.machine import print_change
from replay.trace.outcomes import CHECK_NONE
from replay.trace.poison import NO_ACTION
from replay.trace.schema import DEVICE_CALLS, POISON_CALLS, TRANSITIONS, EventKind

__all__ = ("explanation_facts", "origin", "print_explanations")

_CAME_WITH = {"pgmap_pfn_valid": "pgmap-pfn-valid"}  # functions that are younger than the oldest kernel known


def origin(function: str, check: Check[Any]) -> str:
    """Return where a check comes from: the features that bring it in, each with version and commit.

    A check without features is as old as the oldest version known of its function; a candidate's names its line.
    """
    if check.source:
        return check.source
    parts = []
    came_with = (_CAME_WITH[function],) if function in _CAME_WITH and not check.unless else ()
    for name in dict.fromkeys((*came_with, *check.needs)):
        f = FEATURES[name]
        commit = f" {f.commit}" if f.commit else ""
        title = f" ({f.title})" if f.title else ""
        parts.append(f"{f.first}{commit}{title}")
    for name in check.unless:
        f = FEATURES[name]
        commit = f" {f.commit}" if f.commit else ""
        parts.append(f"until {f.first}{commit}")
    oldest = "v2.6.32" if function.endswith("_2009") else "v4.18"
    return "; ".join(parts) or f"before {oldest}, the oldest known"


def explanation_facts(e: Explanation, recorded_kernel: str) -> dict[str, object]:
    """Return an explanation as plain values."""
    return {
        "profile": e.profile.name,
        "row": e.row,
        "kind": e.kind.name.lower(),
        "pfn": e.pfn,
        "given": dict(e.given),
        "answer": _answer(e),
        "recorded": _recorded(e, recorded_kernel),
        "decisions": [
            {
                "function": asked.function,
                "decided": asked.decided.id,
                "checks": [
                    {
                        "check": step.check.id,
                        "holds": step.holds,
                        "reads": dict(step.reads),
                        "answer": step.check.answer.name,
                        "why": step.check.why,
                        "since": origin(asked.function, step.check),
                    }
                    for step in asked.steps
                ],
            }
            for asked in e.asked
        ],
        "machine": None if e.around is None else e.around.to_dict(),
        "change": None
        if e.change is None
        else {
            "until": e.change.until,
            **{part: [{"sign": n.sign, **n.fact} for n in lines] for part, lines in e.change.parts.items()},
        },
    }


def print_explanations(out: Console, explanations: Sequence[Explanation], recorded_kernel: str, *, every: bool) -> None:
    """Print one explanation after the other, and the verdicts side by side first if there are several.

    Args:
        out: where.
        explanations: of one row, one for each kernel.
        recorded_kernel: version that recorded the trace.
        every: show the checks that did not hold one by one too.
    """
    first = explanations[0]
    given = "  ".join(f"{name} {_number(name, value)}" for name, value in first.given.items() if name != "kind")
    out.print(f"[bold]row {first.row}: {first.kind.name.lower()}[/bold]  {given}", highlight=False, soft_wrap=True)
    recorded = _recorded(first, recorded_kernel)
    if recorded:
        out.print(f"recorded on {recorded_kernel}: {recorded}", highlight=False, soft_wrap=True, markup=False)
    if len(explanations) > 1:
        table = _table("kernel", "answer", "decided by", "which came with")
        for e in explanations:
            decided = e.asked[0].decided if e.asked else None
            origin_ = "" if decided is None else origin(e.asked[0].function, decided)
            table.add_row(e.profile.name, _answer(e), "" if decided is None else decided.id, origin_)
        out.print(table)
    for e in explanations:
        _print_one(out, e, every=every)
    seen: list[Around] = []
    for e in explanations:
        if e.around is not None and e.around not in seen:
            seen.append(e.around)
            names = ", ".join(o.profile.name for o in explanations if o.around == e.around)
            _print_around(out, e.around, names if len(explanations) > 1 else "", e.pfn or 0)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _print_one(out: Console, e: Explanation, *, every: bool) -> None:
    out.print()
    out.print(f"[bold]{e.profile.name}[/bold]: {_answer(e)}", highlight=False, soft_wrap=True)
    for asked in e.asked:
        table = _table(f"{asked.function}: checks in order", "holds", "looks at", "because", "since")
        passed = 0
        for step in asked.steps:
            if not step.holds and not every and len(asked.steps) > _MANY and step is not asked.steps[-1]:
                passed += 1
                continue
            table.add_row(*_cells(asked.function, step), style="bold" if step.holds else "dim")
        if passed:
            table.caption = f"{passed} checks before it do not hold; --all shows them"
            table.caption_justify = "left"
        out.print(table)
    if e.change is not None:
        print_change(out, e.change, every=every)


_MANY = 14  # checks; of longer lists only the deciding one is shown, unless all are wanted


def _cells(function: str, step: Step) -> Iterator[Text]:
    check = step.check
    yield Text(f"{check.id} -> {_answer_of(check)}" if step.holds else check.id)
    yield Text("yes" if step.holds else "no")
    yield Text(" ".join(f"{name}={_value(value)}" for name, value in step.reads.items()))
    yield Text(check.why)
    yield Text(origin(function, check))


def _answer_of(check: Check[Any]) -> str:
    answer = check.answer
    if isinstance(answer, PoisonAnswer) and answer.action is not None and answer.result is not None:
        return f"{event_text(answer.action, answer.result)}, returns {answer.name}"
    return answer.name


def _value(value: object) -> str:
    return {True: "1", False: "0"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _number(name: str, value: int) -> str:
    return hex(value) if name in {"pfn", "start", "size", "vaddr", "altmap_base", "recorded_addr"} else str(value)


def _answer(e: Explanation) -> str:
    """Return what came out in words."""
    if e.kind in POISON_CALLS:
        if e.answer["poison_check"] == CHECK_NONE:
            return "undecided: the state of the page is not in the trace"
        facts = [event_text(e.answer["action"], e.answer["result"])] if e.answer["action"] != NO_ACTION else []
        facts.append(f"returns {e.answer['ret']}")
        facts += ["HWPoison afterwards"] if e.answer["poisoned"] else []
        facts += [f"counter {e.answer['counted']:+}"] if e.answer["counted"] else []
        facts += [f"{e.answer['signals']} tasks signalled"] if e.answer["signals"] else []
        return ", ".join(facts)
    if e.kind in DEVICE_CALLS:
        waits = e.answer["check"] == CHECK_NONE
        return (
            "not yet: the trace ends before the last row of the call, which has the verdict"
            if waits
            else f"returns {e.answer['ret']}"
        )
    if not e.asked:
        return "nothing"
    decided = e.asked[0].decided
    if e.kind in TRANSITIONS:
        return f"returns {e.answer['ret']}" if decided.imposed else f"returns {decided.answer.name}"
    return decided.answer.name


def _recorded(e: Explanation, kernel: str) -> str:
    """Return what the recording says in words, "" if it says nothing."""
    g = e.given
    facts = []
    if (ret := g.get("recorded_ret")) is not None:
        words = {1: "a page", 0: "NULL"} if e.kind is EventKind.PFN_TO_ONLINE_PAGE else {}
        facts.append(words.get(ret, f"returned {ret}"))
    if (number := g.get("recorded_type")) is not None:
        facts.append(event_text(decode(kernel, number), g.get("recorded_result")))
    if (slow := g.get("recorded_slow")) is not None:
        facts.append("asked for the pagemap" if slow else "did not ask for a pagemap")
    if (pgmap := g.get("recorded_pgmap")) is not None:
        facts.append(f"got pagemap {pgmap}" if pgmap else "got no pagemap")
    if (flag := g.get("recorded_hwpoison")) is not None:
        facts.append("HWPoison afterwards" if flag else "no HWPoison afterwards")
    if facts and (window := g.get("window")):
        facts.append(f"at some moment between this row and row {e.row + window}")
    return ", ".join(facts)


def _print_around(out: Console, a: Around, names: str, pfn: int) -> None:
    out.print()
    out.print(
        f"[bold]around pfn {pfn:#x}[/bold]{f' in {names}' if names else ''}, just before the row", highlight=False
    )
    rows: Mapping[str, str] = {
        "section": f"{a.section} (pfns {a.section_start:#x}-{a.section_start + a.section_pages - 1:#x}): "
        f"{', '.join(a.flags) or 'absent'}",
        "subsection": f"{a.subsection}: {'populated' if a.subsection_set else 'not populated'} "
        f"({a.subsections[1]} of {a.subsections[0]} are)",
        "memory block": f"{a.block[0]}: {a.block[1]}",
        "node": "none" if a.node is None else str(a.node),
        "pagemap": "none" if a.pagemap is None else _pagemap(a.pagemap),
        "resources": " > ".join(a.resources) or "none",
        "page": _page(a.page),
        "mapped by": "; ".join(a.mappings) or "nobody that the trace tells of",
    }
    for name, value in rows.items():
        out.print(f"  {name:13}{value}", highlight=False, soft_wrap=True, markup=False)
    if a.marks:
        out.print(f"  {'marks':13}{', '.join(a.marks)}", highlight=False, markup=False)


def _pagemap(p: Mapping[str, Any]) -> str:
    spans = ", ".join(f"{low:#x}-{high - 1:#x}" for low, high in p["ranges"])
    altmap = p["altmap"]
    metadata = f", metadata: {altmap['reserve']}+{altmap['free']} pages from {altmap['base']:#x}" if altmap else ""
    return f"{p['id']}, {p['type']}, {p['state']}, pfns {spans}{metadata}"


def _page(p: Mapping[str, Any]) -> str:
    if p["kind"] == "unknown":
        return "not described by the trace" + (", poisoned" if p["poisoned"] else "")
    facts = [p["kind"], *p["flags"]]
    facts += [f"order {p['order']}"] if p["order"] else []
    facts += [f"mapping {p['mapping']}", f"refs {p['refs']}"]
    facts += [f"pins {p['pins']}"] if p["pins"] else []
    facts += ["poisoned"] if p["poisoned"] else []
    return ", ".join(facts)
