"""The ``replay`` command: one file per subcommand, errors turned into exit codes here and nowhere else.

Exit codes: 0 fine, 1 verdicts differ, 2 usage, 3 bad input file, 4 internal invariant broken.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback

import typer

from replay import __version__
from replay.cli import (
    compare,
    convert,
    coverage,
    diff,
    explain,
    features,
    generate,
    import_,
    info,
    lab,
    machine,
    mutate,
    native,
    profiles,
    record,
    run,
    shrink,
    validate,
    what_if,
)
from replay.cli.common import Diagnostics, add_command, emit_json
from replay.errors import InputError, ReplayError

__all__ = ("app", "main")

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))

app = typer.Typer(
    name="replay",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # see add_command
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Replay pfn walks, memory hotplug and memory poison as each Linux kernel decides them.",
    epilog="Exit codes: 0 fine, 1 verdicts differ, 2 usage, 3 bad input file, 4 internal error.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"replay {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Replay pfn walks, memory hotplug and memory poison as each Linux kernel decides them."""


add_command(app, "run", run.command)
add_command(app, "compare", compare.command)
add_command(app, "diff", diff.command)
add_command(app, "explain", explain.command)
add_command(app, "coverage", coverage.command)
add_command(app, "mutate", mutate.command)
add_command(app, "shrink", shrink.command)
add_command(app, "what-if", what_if.command)
add_command(app, "native", native.command)
add_command(app, "info", info.command)
add_command(app, "validate", validate.command)
add_command(app, "profiles", profiles.command)
add_command(app, "features", features.command)
app.add_typer(import_.app, name="import")
app.add_typer(machine.app, name="machine")
app.add_typer(generate.app, name="generate")
add_command(app, "convert", convert.command)
add_command(app, "record", record.command)
add_command(app, "lab", lab.command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Whoever closes a stream does not want to read it; without one, printing would fail, or land in some other file.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of few characters is no reason to fail
    # numpy would start a thread per core for linear algebra, which nothing here does: up to a tenth of a small replay.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            code = _report([], _no_room(error), InputError.exit_code)  # not as JSON: that is what found no room
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to fail at exit
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        app(arguments, prog_name="replay")  # exits by itself: with 2 for bad usage, or with what a command raises
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            return 0  # whoever read the answer has gone; there is nobody to tell
        return stop.code if isinstance(stop.code, int) else 0
    except ReplayError as error:
        return _report(arguments, error, error.exit_code)
    except OSError as error:
        if error.filename:
            found = InputError(error.filename, f"no way to use it ({error.strerror})", "a readable file")
            return _report(arguments, found, found.exit_code)
        if error.errno in _NO_ROOM:
            return _report([], _no_room(error), InputError.exit_code)
        return _internal(error)
    except Exception as error:
        return _internal(error)
    return 0


def _no_room(error: OSError) -> InputError:
    return InputError("output", f"no way to write it ({error.strerror})", "room where it goes")


def _report(arguments: list[str], error: ReplayError, code: int) -> int:
    message = " ".join(str(error).split())
    if "--json" in arguments:
        emit_json(arguments[0] if arguments else "", "error", None, Diagnostics.of(error))
    print(f"replay: error: {message}", file=sys.stderr)
    return code


def _internal(error: BaseException) -> int:
    traceback.print_exception(error)
    print("replay: internal error: this is a defect of replay, please report it with the lines above", file=sys.stderr)
    return 4
