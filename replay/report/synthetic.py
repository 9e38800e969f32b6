"""What ``replay generate --list`` shows: machines, workloads, and their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from replay.errors import UnknownNameError
from replay.sources.synthetic.machines import make_machine
from replay.sources.synthetic.parameters import Parameter, show_bytes
from replay.sources.synthetic.plans import PLAN_PARAMETERS, PLANS
from replay.sources.synthetic.walker import Look, Units, Walker
from replay.sources.synthetic.walkers import WALKERS
from replay.sources.synthetic.workloads import WORKLOADS, Workload
from replay.trace.schema import KINDS

__all__ = ("describe_all", "describe_one", "print_all", "print_one")

_UNITS = Units(pageblock=512, buddy=1024, section=1 << 15, subsection=512, block=1 << 15)  # of x86_64


def describe_all() -> dict[str, Any]:
    """Return all machines and workloads as plain values."""
    return {
        "machines": [{"name": p.name, "about": p.about, "settings": dict(p.settings)} for p in PLANS.values()],
        "workloads": [_workload(w) for w in WORKLOADS.values()],
    }


def describe_one(name: str) -> dict[str, Any]:
    """Return a machine or a workload, with its parameters, as plain values.

    Raises:
        UnknownNameError: there is neither of that name.
    """
    if name in PLANS:
        plan = PLANS[name]
        machine = make_machine(name)
        shift = machine.geometry.page_shift
        return {
            "name": name,
            "about": plan.about,
            "parameters": _parameters(PLAN_PARAMETERS, plan.settings),
            "ram": [
                f"{r.start << shift:#x}+{show_bytes(r.end - r.start << shift)}@{r.node}" for r in machine.memory.ram
            ],
            "devices": [f"{d.mode}@{d.start << shift:#x}+{show_bytes(d.pages << shift)}" for d in machine.devices],
        }
    if name in WORKLOADS:
        facts = _workload(WORKLOADS[name]) | (_walk(WALKERS[name]) if name in WALKERS else {})
        return facts | {"parameters": _parameters(WORKLOADS[name].parameters, {})}
    raise UnknownNameError("machine or workload", name, (*PLANS, *WORKLOADS))


def _walk(walker: Walker) -> dict[str, Any]:
    """Return the row of a walker in the table: where it goes, how, and what it asks at a stop."""
    steps = walker.step if isinstance(walker.step, str) else {f"{k[0]} to {k[-1]}": v for k, v in walker.step.items()}
    orders = (
        walker.order if isinstance(walker.order, str) else {f"{k[0]} to {k[-1]}": v for k, v in walker.order.items()}
    )
    lookups = {
        f"{lines[0]} to {lines[-1]}": [_look(look) for look in looks(_UNITS)] for lines, looks in walker.looks.items()
    }
    return {"range": walker.over, "stride": steps, "order": orders, "lookups": lookups}


def _look(look: Look) -> str:
    """Return what is asked for, as on x86_64 with 4 KiB pages."""
    at = f" at {look.at:+}" if look.at else ""
    run = f", {look.pages} pages" if look.pages > 1 else ""
    return (
        KINDS[look.kind]
        + at
        + run
        + (f" {look.stride} apart" if look.stride != 1 else "")
        + look.partner * " at random"
    )


def _workload(workload: Workload) -> dict[str, Any]:
    facts = {"name": workload.name, "kind": workload.kind, "about": workload.about, "note": workload.note}
    return {**facts, "mix": dict(workload.mix)} if workload.mix else facts


def _parameters(parameters: Iterable[Parameter], settings: Any) -> list[dict[str, str]]:  # noqa: ANN401
    return [{"name": p.name, "value": settings.get(p.name, p.default), "about": p.about} for p in parameters]


def print_all(out: Console, facts: dict[str, Any]) -> None:
    """Print what ``describe_all`` found."""
    _print_table(out, "machine", [(m["name"], m["about"]) for m in facts["machines"]])
    for kind in dict.fromkeys(w["kind"] for w in facts["workloads"]):
        rows = [
            (w["name"], f"{w['about']} ({w['note']})" if w["note"] else w["about"])
            for w in facts["workloads"]
            if w["kind"] == kind
        ]
        _print_table(out, kind, rows)
    out.print(
        "replay generate list NAME shows the parameters of one; replay generate NAME -o FILE makes it", markup=False
    )


def print_one(out: Console, facts: dict[str, Any]) -> None:
    """Print what ``describe_one`` found."""
    out.print(f"{facts['name']}: {facts['about']}", markup=False, soft_wrap=True)
    if facts.get("note"):
        out.print(facts["note"], markup=False, soft_wrap=True)
    for part, rate in facts.get("mix", {}).items():
        out.print(f"  --part {part}={rate}", markup=False)
    for key in ("range", "stride", "order"):
        if key in facts:
            told = facts[key] if isinstance(facts[key], str) else ", ".join(f"{k}: {v}" for k, v in facts[key].items())
            out.print(f"{key}: {told}", markup=False, soft_wrap=True)
    for lines, looks in facts.get("lookups", {}).items():
        out.print(f"asks at a stop, kernels {lines}: {'; '.join(looks)}", markup=False, soft_wrap=True)
    for key in ("ram", "devices"):
        if facts.get(key):
            out.print(f"{key}: {', '.join(facts[key])}", markup=False, soft_wrap=True)
    if facts["parameters"]:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("parameter", "value", "meaning"):
            table.add_column(column, overflow="fold")
        for parameter in facts["parameters"]:
            table.add_row(parameter["name"], parameter["value"], parameter["about"])
        out.print(table)


def _print_table(out: Console, what: str, rows: list[tuple[str, str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(what, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)
