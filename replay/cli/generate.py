"""``replay generate``: synthetic traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from replay.cli import generate_covering
from replay.cli.common import add_command, console, emit_json, progress_on_stderr
from replay.errors import InputError, UsageError

if TYPE_CHECKING:
    from replay.sources.synthetic.generator import Generation

_WORKLOAD = "workload"


class _Group(TyperGroup):
    """A group whose first word may be a workload instead of a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - click or typer's own copy of it
        if args and args[0] not in self.commands:
            args = [_WORKLOAD, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        # Options may stand before the workload: `replay generate -o x.arrow damon`.
        if args and args[0].startswith("-") and args[0] not in {"-h", "--help", "--list", "--json"}:
            args = [_WORKLOAD, *args]
        return super().parse_args(ctx, args)


_HELP = """Make synthetic traces, seeded: the same request gives the same rows on any machine.

The first word is a workload (replay generate --list shows all), or one of the commands below.

\b
Examples:
  replay generate damon -o damon.arrow --machine server --events 10000000
  replay generate production -o day.arrow --machine guest --set memory=64G --seed 7
  replay generate mix --part compaction=600000 --part hotplug-churn=100 -o churn.arrow
  replay generate fleet --machines 64 -o fleet/
  replay generate amplify recorded.arrow -o big.arrow --times 100
  replay generate list damon
"""
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, cls=_Group, help=_HELP, short_help="Make synthetic traces."
)

_OUTPUT = typer.Option(..., "--output", "-o", help="Trace file to write.", show_default=False)
_EVENTS = typer.Option(
    None, "--events", "-n", help="Rows behind those that describe devices and pages. Default: 1,000,000, or all."
)
_SEED = typer.Option(0, help="The same seed gives the same trace, everywhere.")
_SET = typer.Option([], "--set", "-s", help="NAME=VALUE of the machine, as pmem=2T; again for more.")
_PARAM = typer.Option([], "--param", help="NAME=VALUE of the workload, PART.NAME=VALUE in a mix; again for more.")
_COMPRESS = typer.Option("none", help="none (mapped into memory when replayed), lz4 or zstd (for archives).")
_JSON = typer.Option(False, "--json", help="Print one JSON document instead of lines.")


@app.callback(invoke_without_command=True)
def _generate(
    ctx: typer.Context,
    show: bool = typer.Option(False, "--list", help="Show machines and workloads."),
    json: bool = _JSON,
) -> None:
    if ctx.invoked_subcommand is None:
        if not show:
            raise UsageError("nothing to generate; needed a workload, or --list to see them")
        listing(None, json=json)


def workload(
    name: str = typer.Argument(
        metavar="WORKLOAD", help="What happens; `mix` for parts of your own.", show_default=False
    ),
    output: Path = _OUTPUT,
    events: int | None = _EVENTS,
    seed: int = _SEED,
    machine: str = typer.Option("plain", "--machine", "-m", help="Machine; `replay generate --list` shows all."),
    settings: list[str] = _SET,
    parameters: list[str] = _PARAM,
    part: list[str] = typer.Option([], "--part", help="WORKLOAD=RATE, part of a mix, rows per second; again for more."),
    threads: int = typer.Option(1, help="Threads that make rows while others are written.", min=1, max=64),
    compress: str = _COMPRESS,
    json: bool = _JSON,
) -> None:
    """Make the trace of a workload.

    [bold]Examples[/bold]

      replay generate damon -o damon.arrow --machine server --param regions=1000

      replay generate dimm-storm -o storm.arrow --machine server --param dimm=16G --events 4194304

      replay generate pmem-as-ram -o scanned.arrow --set pmem=64G --set modes=devdax --param scan=yes
    """
    from replay.sources.synthetic.generator import Generation
    from replay.sources.synthetic.parameters import parse_pairs

    if part and name != "mix":
        raise UsageError(f"--part makes a mix of its own; needed `replay generate mix`, not {name}")
    generation = Generation(
        name,
        mix=tuple(parse_pairs("--part", part).items()),
        machine=machine,
        settings=parse_pairs("--set", settings),
        parameters=parse_pairs("--param", parameters),
        events=events,
        seed=seed,
    )
    facts = _write(generation, output, threads=threads, compress=compress)
    if json:
        emit_json("generate", "ok", facts)
        return
    console().print(
        f"{output}: {facts['rows']:,} rows ({facts['front']:,} of them in front), {facts['seconds']:g} s of machine time, "
        f"{facts['digest']}",
        markup=False,
        soft_wrap=True,
    )


def _write(generation: Generation, output: Path, *, threads: int, compress: str) -> dict[str, Any]:
    from dataclasses import asdict

    codec = _codec(compress)
    with progress_on_stderr(output.name) as show:
        written = generation.write(output, threads=threads, compression=codec, progress=show)
    return {"trace": str(output), **asdict(written), "command": generation.command}


def _codec(compress: str) -> str | None:
    if compress not in {"none", "lz4", "zstd"}:
        raise UsageError(f"unknown compression {compress!r}; there are none, lz4 and zstd")
    return None if compress == "none" else compress


def fleet(
    machines: int = typer.Option(..., "--machines", help="How many.", show_default=False),
    output: Path = typer.Option(..., "--output", "-o", help="Folder for the traces; it is made.", show_default=False),
    workload_name: str = typer.Option("production", "--workload", help="What happens on each machine."),
    machine: list[str] = typer.Option(["server"], "--machine", "-m", help="Machine; again for more, taken in turn."),
    kernel: list[str] = typer.Option([], "--kernel", "-k", help="Kernel; again for more, drawn at random."),
    settings: list[str] = _SET,
    parameters: list[str] = _PARAM,
    events: int | None = _EVENTS,
    seed: int = _SEED,
    workers: int = typer.Option(1, "--workers", "-w", help="Processes on this machine.", min=1),
    compress: str = _COMPRESS,
    json: bool = _JSON,
) -> None:
    """Make a trace for every machine of a fleet.

    [bold]Examples[/bold]

      replay generate fleet --machines 64 -o fleet/ --events 100000

      replay generate fleet --machines 1000 -o fleet/ -m server -m guest --kernel 6.1 --kernel 6.12 --workload errors
    """
    from replay.fleet.tasks import run_tasks
    from replay.sources.synthetic.fleet import fleet as planned
    from replay.sources.synthetic.fleet import write_one
    from replay.sources.synthetic.parameters import parse_pairs

    codec = _codec(compress)
    generations = planned(
        machines,
        workload=workload_name,
        plans=machine,
        kernels=kernel,
        settings=parse_pairs("--set", settings),
        parameters=parse_pairs("--param", parameters),
        events=events,
        seed=seed,
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output}: no folder can be made there ({error.strerror})") from None
    width = len(str(machines - 1))
    jobs = [(g, str(output / f"machine-{number:0{width}}.arrow"), codec) for number, g in enumerate(generations)]
    facts: list[dict[str, Any]] = []
    with progress_on_stderr(f"{machines} machines") as show:
        for answer in run_tasks(write_one, jobs, workers=workers, progress=show, name=lambda job: job[1]):
            if isinstance(answer, InputError):
                raise answer
            facts.append(answer)
    if json:
        emit_json("generate", "ok", {"traces": facts})
        return
    rows = sum(fact["rows"] for fact in facts)
    console().print(f"{output}: {len(facts):,} traces, {rows:,} rows", markup=False, soft_wrap=True)


def amplify(
    trace: Path = typer.Argument(help="Trace to repeat.", show_default=False),
    output: Path = _OUTPUT,
    times: int = typer.Option(..., "--times", help="How often.", min=1, show_default=False),
    in_place: bool = typer.Option(
        False, "--in-place", help="Repeat on the same memory, without the recorded answers, instead of beside it."
    ),
    compress: str = _COMPRESS,
    json: bool = _JSON,
) -> None:
    """Make a trace as large as you like out of another one, keeping its mix.

    Each repetition happens to memory of its own, further up in the address space, so that what was recorded still
    holds.

    [bold]Examples[/bold]

      replay generate amplify traces/recorded/6.1.192-s3-hotplug.arrow -o big.arrow --times 500

      replay generate amplify walks.arrow -o endless.arrow --times 100000 --in-place
    """
    from dataclasses import asdict

    from replay.sources.synthetic.amplify import amplify as amplified

    with progress_on_stderr(output.name) as show:
        report = amplified(trace, output, times, in_place=in_place, compression=_codec(compress), progress=show)
    facts = {"trace": str(output), **asdict(report)}
    if json:
        emit_json("generate", "ok", facts)
        return
    out = console()
    out.print(
        f"{output}: {report.rows:,} rows, {report.times:,} times {trace}, {report.digest}", markup=False, soft_wrap=True
    )
    for note in report.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)


def listing(
    name: str | None = typer.Argument(None, help="A machine or a workload; all without it.", show_default=False),
    json: bool = _JSON,
) -> None:
    """Show machines and workloads, or the parameters of one.

    [bold]Examples[/bold]

      replay generate list

      replay generate list damon
    """
    from replay.report.synthetic import describe_all, describe_one, print_all, print_one

    if name is None:
        facts = describe_all()
        emit_json("generate", "ok", facts) if json else print_all(console(), facts)
    else:
        one = describe_one(name)
        emit_json("generate", "ok", one) if json else print_one(console(), one)


add_command(app, _WORKLOAD, workload)
add_command(app, "fleet", fleet)
add_command(app, "amplify", amplify)
add_command(app, "covering", generate_covering.command)
add_command(app, "list", listing)
