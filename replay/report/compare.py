"""What ``replay compare`` shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from replay.compare.causes import Cause, Causes
from replay.compare.kernels import Comparison, Part
from replay.compare.ranges import PfnRange
from replay.compare.timing import CONFIDENCE, Timing

__all__ = ("Found", "print_found")

_FOLLOWS = "follows from the others: "  # the function itself is the same in both kernels
_COLUMNS = 6  # of a matrix, beyond which only answers that differ somewhere are shown
_RANGES = 3  # pfn ranges shown per cause
_OTHER = 5  # causes shown that do not change an answer


@dataclass(frozen=True)
class Found:
    """Everything that is to be shown.

    Attributes:
        comparisons: one for each trace.
        accepted: causes that were expected.
        fresh: causes that were not.
        unseen: expected causes that did not occur.
        timing: of replaying all traces, None if it was not measured.
        reproduce: a line that gives the same result again.
    """

    comparisons: Sequence[Comparison]
    accepted: Sequence[Cause]
    fresh: Sequence[Cause]
    unseen: Sequence[tuple[str, ...]]
    timing: Timing | None
    reproduce: str

    @property
    def names(self) -> tuple[str, str]:
        """Names of the kernels, as shown: candidates without their folder."""
        first = self.comparisons[0]
        names = [os.path.basename(part.profile.name) for part in (first.baseline, first.candidate)]
        same = names[0] == names[1]
        return (f"{names[0]} (baseline)", f"{names[1]} (candidate)") if same else (names[0], names[1])

    def causes(self) -> Causes:
        """All calls of all traces, by cause; ranges are those of all traces together."""
        together = Causes()
        for comparison in self.comparisons:
            for cause in comparison.causes:
                together.add(_copy(cause))
        return together

    def first(self, cause: Cause) -> tuple[str, int, int | None] | None:
        """Return where a cause occurs first: in the first trace that has it, its row and pfn."""
        for comparison in self.comparisons:
            for own in comparison.causes:
                if own.key == cause.key and own.first is not None:
                    return comparison.trace, *own.first
        return None

    def _over_all(self, cause: Cause) -> dict[str, object]:
        first = self.first(cause)
        return cause.to_dict() | {"first": first and dict(zip(("trace", "row", "pfn"), first, strict=True))}

    def to_dict(self) -> dict[str, object]:
        """Return plain values: ``data`` of ``replay compare --json``."""
        return {
            "baseline": self.comparisons[0].baseline.profile.name,
            "candidate": self.comparisons[0].candidate.profile.name,
            "comparisons": [_comparison(c) for c in self.comparisons],
            "unexpected": [self._over_all(cause) for cause in self.fresh],
            "expected": [self._over_all(cause) for cause in self.accepted],
            "expected_but_not_seen": [list(cause) for cause in self.unseen],
            "timing": None if self.timing is None else self.timing.to_dict(),
            "reproduce": self.reproduce,
        }


def _copy(cause: Cause) -> Cause:
    twin = Cause(cause.function, cause.baseline, cause.candidate, follows=cause.follows)
    twin.merge(cause)
    return twin


def _comparison(c: Comparison) -> dict[str, object]:
    return {
        "trace": c.trace,
        "digest": c.digest,
        "events": c.events,
        "lost_events": c.lost_events,
        "matrix": {
            function: [{"baseline": a, "candidate": b, "calls": n} for (a, b), n in sorted(cells.items())]
            for function, cells in sorted(c.causes.matrix().items())
        },
        "differences": [cause.to_dict() for cause in c.causes.differing],
        "other_reason": [cause.to_dict() for cause in c.causes.other_reason],
        "counters": {name: {"baseline": a, "candidate": b} for name, (a, b) in c.counters.items()},
        "baseline": _part(c.baseline),
        "candidate": _part(c.candidate),
    }


def _part(part: Part) -> dict[str, object]:
    t = part.tally
    return {
        "profile": part.profile.name,
        "features": part.profile.digest,
        "agreement": {name: a.to_dict() for name, a in sorted(t.agreement.items())},
        "truth": {"false_online": t.false_online.total, "false_offline": t.false_offline.total},
        "slow_path": t.slow,
        "checks_evaluated": dict(sorted(part.steps.items())),
    }


def print_found(out: Console, found: Found, *, only_changed: bool, limit: int) -> None:
    """Print the comparison.

    Args:
        out: where.
        found: what there is.
        only_changed: leave out functions that answer alike.
        limit: causes shown.
    """
    a, b = found.names
    roles = "" if "(baseline)" in a else "(baseline) ", "" if "(candidate)" in b else "(candidate) "
    events = sum(c.events for c in found.comparisons)
    what = found.comparisons[0].trace if len(found.comparisons) == 1 else f"{len(found.comparisons)} traces"
    out.print(f"[bold]{escape(a)}[/bold] {roles[0]}and [bold]{escape(b)}[/bold] {roles[1]}on {escape(what)}, "
              f"{events:,} events", soft_wrap=True)  # fmt: skip
    causes = found.causes()
    differing = causes.differing
    _print_differences(out, found, differing, limit)
    _print_matrices(out, causes, found.names, only_changed=only_changed)
    if not only_changed:
        _print_other_reasons(out, causes.other_reason, found.names)
    _print_counters(out, found)
    _print_sides(out, found, only_changed=only_changed)
    _print_cost(out, found)
    _print_verdict(out, found, differing)
    out.print(f"[dim]again: {escape(found.reproduce)}[/dim]", soft_wrap=True)


def _table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return table


def _print_differences(out: Console, found: Found, differing: Sequence[Cause], limit: int) -> None:
    if not differing:
        return
    a, b = found.names
    table = _table("function", f"{a}: answer (check)", f"{b}: answer (check)", "calls", "first, and where",
                   "recording agrees with", numbers=("calls",))  # fmt: skip
    fresh = {cause.key for cause in found.fresh}
    for cause in differing[:limit]:
        ranges = cause.ranges.listed()
        spans = ", ".join(_range(one) for one in ranges[:_RANGES])
        more = f" and {len(ranges) - _RANGES} more" if len(ranges) > _RANGES else ""
        table.add_row(
            Text(cause.function),
            Text(f"{cause.baseline.answer} ({cause.baseline.check})"),
            Text(f"{cause.candidate.answer} ({cause.candidate.check})"),
            f"{cause.calls:,}",
            Text(f"{_FOLLOWS if cause.follows else ''}{_first(found, cause)}{spans}{more}"),
            _agreement(cause),
            style="red" if cause.key in fresh else "dim",
        )
    out.print(table)
    if len(differing) > limit:
        left = differing[limit:]
        out.print(f"… and {len(left)} more causes with {sum(c.calls for c in left):,} calls; --limit 0 shows all")


def _range(one: PfnRange) -> str:
    if one.first == one.last:
        return f"{one.first:#x}"
    return f"{one.first:#x}-{one.last:#x}" + (f" every {one.step}" if one.step > 1 else "")


def _first(found: Found, cause: Cause) -> str:
    first = found.first(cause)
    if first is None:
        return ""
    trace, row, pfn = first
    where = f"{trace} " if len(found.comparisons) > 1 else ""
    return f"{where}row {row}" + (f", pfn {pfn:#x}; " if pfn is not None else "")


def _agreement(cause: Cause) -> Text:
    if not cause.recorded:
        return Text("not recorded")
    sides = {"baseline": cause.baseline_agrees, "candidate": cause.candidate_agrees}
    text = ", ".join(f"{name} {n:,}" for name, n in sides.items() if n) or "neither"
    left_out = {"baseline": cause.baseline_unproven, "candidate": cause.candidate_unproven}
    if any(left_out.values()):
        text += f"; not compared: {', '.join(f'{name} {n:,}' for name, n in left_out.items() if n)}"
    if cause.baseline_wrong or cause.candidate_wrong:
        text += f"; against the truth: baseline {cause.baseline_wrong:,}, candidate {cause.candidate_wrong:,}"
    return Text(text)


def _print_matrices(out: Console, causes: Causes, names: tuple[str, str], *, only_changed: bool) -> None:
    changed = {cause.function for cause in causes.differing}
    for function, every in sorted(causes.matrix().items()):
        if only_changed and function not in changed:
            continue
        total = sum(every.values())
        if function not in changed:
            out.print(f"{function}: {total:,} calls, no answer differs", highlight=False)
            continue
        cells, left_out = _cut(
            every, {(c.baseline.answer, c.candidate.answer) for c in causes.differing if c.function == function}
        )
        answers: Counter[str] = Counter()
        for (_, b), n in cells.items():
            answers[b] += n
        columns = [b for b, _ in answers.most_common()]
        table = _table(f"{function}: {names[0]} \\ {names[1]}", *columns, numbers=columns)
        for row in dict.fromkeys(a for (a, _), _ in sorted(cells.items(), key=lambda cell: -cell[1])):
            numbers = [cells.get((row, column), 0) for column in columns]
            table.add_row(Text(row), *(f"{n:,}" if n else "·" for n in numbers))
        out.print(table)
        if left_out:
            out.print(f"and {left_out:,} calls with other answers, none of which differs")


def _cut(cells: dict[tuple[str, str], int], differing: set[tuple[str, str]]) -> tuple[dict[tuple[str, str], int], int]:
    """Leave out answers that never differ where there are too many for a table; return how many calls that leaves out."""
    if len({b for _, b in cells}) <= _COLUMNS:
        return cells, 0
    touched = {answer for pair in differing for answer in pair}
    kept = {(a, b): n for (a, b), n in cells.items() if (a, b) in differing or (a in touched and b in touched)}
    return kept, sum(cells.values()) - sum(kept.values())


def _print_other_reasons(out: Console, causes: Sequence[Cause], names: tuple[str, str]) -> None:
    if causes:
        calls = sum(cause.calls for cause in causes)
        shown = "; ".join(
            f"{c.function}: {c.baseline.check} / {c.candidate.check} {c.calls:,}" for c in causes[:_OTHER]
        )
        more = f"; and {len(causes) - _OTHER} more, --json has all" if len(causes) > _OTHER else ""
        out.print(f"same answer, decided by another check ({names[0]} / {names[1]}): {calls:,} calls. {shown}{more}",
                  highlight=False, soft_wrap=True, markup=False)  # fmt: skip


def _print_counters(out: Console, found: Found) -> None:
    rows = [(c.trace, name, a, b) for c in found.comparisons for name, (a, b) in c.counters.items()]
    if not rows:
        return
    table = _table("counter at the end", *found.names, numbers=found.names)
    for trace, name, a, b in rows:
        table.add_row(Text(name if len(found.comparisons) == 1 else f"{trace}: {name}"), f"{a:,}", f"{b:,}")
    out.print(table)


def _print_sides(out: Console, found: Found, *, only_changed: bool) -> None:
    """Print what each side agrees with: the recording by aspect, and the truth."""
    totals: dict[str, list[int]] = {}
    recorded: Counter[str] = Counter()
    for c in found.comparisons:
        for side, part in enumerate((c.baseline, c.candidate)):
            for aspect, agreement in part.tally.agreement.items():
                totals.setdefault(f"differs from the recording: {aspect}", [0, 0])[side] += agreement.differed
                recorded[aspect] += agreement.recorded * (side == 0)
            for name, ranges in (
                ("false online", part.tally.false_online),
                ("false offline", part.tally.false_offline),
            ):
                totals.setdefault(f"against the truth: {name}", [0, 0])[side] += ranges.total
    rows = {
        name: counts for name, counts in totals.items() if any(counts) and (not only_changed or counts[0] != counts[1])
    }
    if not rows:
        return
    table = _table("calls", *found.names, numbers=found.names)
    for name, (a, b) in sorted(rows.items()):
        table.add_row(Text(name), f"{a:,}", f"{b:,}", style="red" if b > a else "green" if b < a else "")
    out.print(table)


def _print_cost(out: Console, found: Found) -> None:
    table = _table("cost", *found.names, numbers=found.names)
    slow = [sum(part.tally.slow for part in side) for side in _sides(found)]
    table.add_row("pfn_to_online_page: pagemap looked up (slow path)", *(f"{n:,}" for n in slow))
    functions = sorted({name for c in found.comparisons for name, n in c.baseline.steps.items() if n})
    for name in functions:
        each = []
        for side in _sides(found):
            calls = sum(sum(part.tally.checks.get(name, Counter()).values()) for part in side)
            steps = sum(part.steps.get(name, 0) for part in side)
            each.append(f"{steps / calls:.2f}" if calls else "")
        table.add_row(f"{name}: checks per call", *each)
    if found.timing is not None:
        t = found.timing
        table.add_row("replay, seconds (median)", f"{t.baseline:.4f}", f"{t.candidate:.4f}")
        out.print(table)
        out.print(f"replay time: {t.words} (ratio {t.ratio:.3f}, {CONFIDENCE:.0%} interval {t.low:.3f} to {t.high:.3f}, "
                  f"p = {t.p:.2g}, {t.pairs} pairs measured by turns)", highlight=False)  # fmt: skip
    else:
        out.print(table)


def _sides(found: Found) -> tuple[list[Part], list[Part]]:
    return [c.baseline for c in found.comparisons], [c.candidate for c in found.comparisons]


def _print_verdict(out: Console, found: Found, differing: Sequence[Cause]) -> None:
    calls = sum(sum(cells.values()) for cells in found.causes().matrix().values())
    different = sum(cause.calls for cause in differing)
    if not differing:
        out.print(f"[green]no verdict differs[/green] in {calls:,} calls")
    else:
        new = sum(cause.calls for cause in found.fresh)
        accepted = f"; {different - new:,} of them are expected" if found.accepted else ""
        own = [cause for cause in differing if not cause.follows]
        follow = f" and {len(differing) - len(own)} that follow" if len(own) < len(differing) else ""
        out.print(f"[{'red' if found.fresh else 'green'}]{different:,} of {calls:,} calls differ[/], by {len(own)} "
                  f"cause{'' if len(own) == 1 else 's'}{follow}{accepted}")  # fmt: skip
    for cause in found.unseen:
        out.print(Text(f"expected and not seen: {', '.join(cause)}", style="yellow"), soft_wrap=True)
