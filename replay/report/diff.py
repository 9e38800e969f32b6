"""What ``replay diff`` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from replay.compare.diff import Difference
from replay.compare.diff_causes import Cause
from replay.compare.diff_functions import Compared
from replay.compare.diff_groups import Group, Step, conditions, groups
from replay.compare.diff_sides import AREAS, Side
from replay.kernel.features import FEATURES

if TYPE_CHECKING:
    from replay.compare.diff_occurrences import Occurrences

__all__ = ("difference_facts", "print_difference")

_CONDITIONS = 4  # shown per group without --verbose
_CHECKS = 4
_STEPS = 3  # old and new answers of a group that are shown one by one without --verbose
_ANSWERS = 4


def print_difference(
    out: Console, found: Difference, counts: Occurrences | None = None, *, verbose: bool = False
) -> None:
    """Print all differences, and what else is to be known; with ``counts`` how often they occur in traces."""
    p, q = found.p.name, found.q.name
    numbered = list(enumerate(groups(found.compared)))
    causes = [(cause, list(rows)) for cause, rows in groupby(numbered, key=lambda row: row[1].cause)]
    if found.equivalent:
        out.print(f"[bold]{escape(p)}[/bold] and [bold]{escape(q)}[/bold] are [green]equivalent[/green] "
                  f"({_scope(found)}), which is proven", soft_wrap=True)  # fmt: skip
        _print_proof(out, found)
    else:
        what = f"{len(causes)} behaviour change" + ("" if len(causes) == 1 else "s")
        out.print(f"[bold]{escape(p)} -> {escape(q)}[/bold]: {what} ({_scope(found)})", soft_wrap=True)
    if counts is not None:
        out.print(f"calls in traces: those that meet the state as {escape(counts.kernel)} keeps it", soft_wrap=True)
    for number, (cause, rows) in enumerate(causes, 1):
        out.print()
        _print_cause(out, number, cause, found)
        for at, group in rows:
            _print_group(out, group, verbose=verbose)
            if counts is not None:
                _print_counts(out, counts.calls.get(at))
    out.print()
    _print_rest(out, found)
    if verbose:
        _print_more(out, found)


def _scope(found: Difference) -> str:
    """Return in words what was compared."""
    scope = found.scope
    what = "everything" if len(scope.areas) == len(AREAS) else " and ".join(AREAS[area] for area in scope.areas)
    return f"{', '.join(scope.functions) or what}, {scope.arch or 'all configurations'}"


def _print_proof(out: Console, found: Difference) -> None:
    """Print over how many states the proof goes."""
    for space, rows in groupby(found.compared, key=lambda c: (id(c.space), c.scope)):
        compared = list(rows)
        states = compared[0].space.diagrams.count(space[1])
        names = ", ".join(c.function for c in compared)
        some = [c.function for c in compared if c.only_possible]
        beyond = f"; {', '.join(some)} may differ in states that are taken for impossible (--verbose)" if some else ""
        out.print(f"  {names}: the same answer in all {states:,} states{beyond}", soft_wrap=True)


def _print_cause(out: Console, number: int, cause: Cause, found: Difference) -> None:
    lead = f"[bold]{number:2}[/bold] "
    for name in sorted(cause.features):
        f = FEATURES[name]
        gone = "" if name in found.q.features else " goes"
        commit = " ".join(part for part in (f.first, f.commit) if part)
        title = f"  {f.title}" if f.title else ""
        out.print(f"{lead}[bold]{name}[/bold]{gone} [dim]({commit}){escape(title)}[/dim]", soft_wrap=True)
        out.print(f"   {escape(f.summary)}", soft_wrap=True)
        lead = " + "
    for name in sorted(cause.checks):
        out.print(f"{lead}[bold]{escape(name)}[/bold] [dim](this kernel only)[/dim]", soft_wrap=True)
        lead = " + "
    if not cause.features and not cause.checks:
        out.print(f"{lead}[bold]a candidate's condition[/bold] that asks another function", soft_wrap=True)


def _print_group(out: Console, group: Group, *, verbose: bool) -> None:
    cover = group.cover(most=64 if verbose else 16)
    said = conditions(group.space, cover)
    shown = said if verbose else said[:_CONDITIONS]
    name = f"     [cyan]{group.function}[/cyan]: "
    for condition in shown:
        out.print(f"{name}{escape(condition)}", soft_wrap=True)
        name = f"     {' ' * max(len(group.function) - 1, 0)}or "
    if len(said) > len(shown) or not cover.complete:
        left = len(said) - len(shown)
        more = f"{left} more" if cover.complete else f"more than {left} more"
        out.print(f"{name}… {more} ({'--json' if verbose else '--verbose'} has them)", soft_wrap=True)
    if len(group.steps) > _STEPS and not verbose:
        for line in _short(group.steps):
            out.print(f"       {escape(line)}", soft_wrap=True)
        return
    if group.cause.checks and group.why:
        out.print(f"       [dim]{escape(group.why)}[/dim]", soft_wrap=True)
    common = {step.also for step in group.steps}
    for step in group.steps:
        out.print(f"       {escape(_step(step, verbose=verbose, also=len(common) > 1))}", soft_wrap=True)
    if len(common) == 1 and group.steps[0].also:
        out.print(f"       {escape(_also(group.steps[0]))}", soft_wrap=True)


def _short(steps: Sequence[Step]) -> Iterator[str]:
    """Yield lines for many steps: what they have in common on one side, the answers of the other, and what else differs."""
    for lead, answers in (
        ("before", {step.old: step.before for step in steps}),
        ("now", {step.new: step.after for step in steps}),
    ):
        shown = [f"{_answer(a, checks)} {_checks(checks, verbose=len(answers) == 1)}" for a, checks in answers.items()]
        more = f"; … {len(shown) - _ANSWERS} more (--verbose)" if len(shown) > _ANSWERS else ""
        yield f"{lead + ':':7} {'; '.join(shown[:_ANSWERS])}{more}"
    aspects = dict.fromkeys(what for step in steps for what, _, _ in step.also)
    if aspects:
        yield f"also, in part of them: {', '.join(aspects)}"


def _step(step: Step, *, verbose: bool, also: bool) -> str:
    before, after = _checks(step.before, verbose=verbose), _checks(step.after, verbose=verbose)
    tail = f"; {_also(step)}" if also and step.also else ""
    if not step.old:
        checks = before if step.before == step.after else f"{before} -> {after}"
        return f"decided by {checks}{tail}"
    old, new = _answer(step.old, step.before), _answer(step.new, step.after)
    return f"{old} {before} -> {'the same' if step.old == step.new else new} {after}{tail}"


def _answer(words: str, checks: Sequence[str]) -> str:
    """Return an answer without the name of the check that follows it anyway."""
    return words.removesuffix(f" ({checks[0]})") if len(checks) == 1 else words


def _checks(names: Sequence[str], *, verbose: bool) -> str:
    shown = names if verbose else names[:_CHECKS]
    more = f", … {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"[{', '.join(shown)}{more}]"


def _also(step: Step) -> str:
    return ", ".join(f"{what}: {old} -> {new}" for what, old, new in step.also)


def _print_counts(out: Console, counts: Mapping[str, int] | None) -> None:
    if counts is None:
        out.print("       [dim]occurrences are counted for lookups and poison calls only[/dim]")
        return
    for trace, count in counts.items():
        out.print(f"       [yellow]{count:,}[/yellow] calls in {escape(trace)}", soft_wrap=True)


def _print_rest(out: Console, found: Difference) -> None:
    """Print what differs and was not asked for, in a few lines: nothing is passed over in silence."""
    lines = []
    for functions, causes in _by_causes(found.outside).items():
        lines.append(f"{', '.join(functions)}: {causes}")
    for functions, causes in _by_causes(found.elsewhere).items():
        lines.append(f"{', '.join(functions)} in other configurations: {causes}")
    if lines:
        out.print("Not asked for, but different as well (--all and --all-configs show it):")
        for line in lines:
            out.print(f"  {escape(line)}", soft_wrap=True)
    if found.follows:
        out.print(f"Poison calls ask {', '.join(found.follows)}: what their conditions call an online page, valid or "
                  "metadata is what each kernel itself answers.", soft_wrap=True)  # fmt: skip
    for names, text in (
        (found.asked_besides, "Of one kernel only, and asked for by conditions above:"),
        (
            found.silent,
            "Of one kernel only, no check depends on it (but facts or what follows from a decision may):",
        ),
    ):
        if names:
            out.print(text)
        for name in names:
            out.print(f"  {name}: {escape(FEATURES[name].summary)}", soft_wrap=True)
    for name in found.missing:
        out.print(f"[yellow]{name} is not known of both kernels, and was not compared[/yellow]")
    for text in found.assumptions:
        out.print(f"[yellow]{escape(text)}[/yellow]", soft_wrap=True)


def _by_causes(compared: Sequence[Compared]) -> dict[tuple[str, ...], str]:
    """Return functions, and what makes them differ, those with the same causes together."""
    together: dict[str, list[str]] = {}
    for c in compared:
        if c.changes:
            names = {n for change in c.changes for n in (*change.cause.features, *change.cause.checks)}
            together.setdefault(", ".join(sorted(names)), []).append(c.function)
    return {tuple(functions): causes for causes, functions in together.items()}


def _print_more(out: Console, found: Difference) -> None:
    """Print where other checks decide alike, and which states were taken for impossible."""
    renamed = [c for c in found.compared if c.renamed_pairs]
    if renamed:
        out.print("Other checks, the same answer (no behaviour change):")
    for c in renamed:
        pairs = ", ".join(f"{before} -> {after}" for before, after in c.renamed_pairs)
        out.print(f"  {c.function}: {escape(pairs)}", soft_wrap=True)
    out.print("Taken for impossible:")
    for text in _assumed(found):
        out.print(f"  {escape(text)}", soft_wrap=True)


def _assumed(found: Difference) -> Iterator[str]:
    seen: set[int] = set()
    for c in found.compared:
        if id(c.space) in seen:
            continue
        seen.add(id(c.space))
        for invariant in c.space.invariants:
            words = []
            for name, values in invariant.never.items():
                variable = c.space.variables[c.space.number[name]]
                words.append(" or ".join(variable.words[variable.values.index(v)] for v in values))
            yield f"{' and '.join(words)}: {invariant.reason}"


def difference_facts(found: Difference, counts: Occurrences | None = None) -> dict[str, Any]:
    """Return everything as plain values."""
    numbered = list(enumerate(groups(found.compared)))
    return {
        "from": _side_facts(found.p),
        "to": _side_facts(found.q),
        "equivalent": found.equivalent,
        "scope": {
            "areas": list(found.scope.areas),
            "functions": [c.function for c in found.compared],
            "configuration": found.scope.arch or "all",
        },
        "changes": [
            {
                "features": [_feature_facts(name, found) for name in sorted(cause.features)],
                "checks": sorted(cause.checks),
                "functions": [
                    _group_facts(group, None if counts is None else counts.calls.get(at)) for at, group in rows
                ],
            }
            for cause, rows in groupby(numbered, key=lambda row: row[1].cause)
        ],
        "compared": [
            {
                "function": c.function,
                "states": c.space.diagrams.count(c.scope),
                "holds_for_impossible_states": not c.only_possible,
                "differing": c.space.diagrams.count(c.differing),
                "same_answer_other_check": [list(pair) for pair in c.renamed_pairs],
            }
            for c in found.compared
        ],
        "occurrences_as_kept_by": None if counts is None else counts.kernel,
        "not_compared": list(found.missing),
        "outside": [{"functions": list(f), "causes": causes} for f, causes in _by_causes(found.outside).items()],
        "other_configurations": [
            {"functions": list(f), "causes": causes} for f, causes in _by_causes(found.elsewhere).items()
        ],
        "poison_calls_follow": list(found.follows),
        "asked_besides": list(found.asked_besides),
        "without_decision": list(found.silent),
        "impossible": list(_assumed(found)),
        "assumptions": list(found.assumptions),
    }


def _side_facts(side: Side) -> dict[str, Any]:
    return {"profile": side.name, "features": sorted(side.features)}


def _feature_facts(name: str, found: Difference) -> dict[str, Any]:
    f = FEATURES[name]
    side = "to" if name in found.q.features else "from"
    return {"id": f.id, "in": side, "summary": f.summary, "first": f.first, "commit": f.commit, "title": f.title}


def _group_facts(group: Group, counts: Mapping[str, int] | None) -> dict[str, Any]:
    cover = group.cover(most=256)
    variables = group.space.variables
    facts = {
        "function": group.function,
        "about": group.why,
        "conditions": conditions(group.space, cover),
        "cubes": [
            {variables[n].name: [variables[n].values[v] for v in sorted(vs)] for n, vs in cube.items()}
            for cube in cover.cubes
        ],
        "conditions_complete": cover.complete,
        "states": group.space.diagrams.count(group.states),
        "answers": [
            {
                "from": step.old,
                "to": step.new,
                "checks_from": list(step.before),
                "checks_to": list(step.after),
                "also": [{"what": what, "from": old, "to": new} for what, old, new in step.also],
            }
            for step in group.steps
        ],
    }
    return facts if counts is None else {**facts, "occurrences": dict(counts)}
