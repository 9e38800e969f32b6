"""What is known about the host that rasdaemon ran on: it stores neither the kernel nor how that numbers page types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from replay.errors import InputError, UnknownNameError, UsageError
from replay.kernel.poison_types import LAYOUTS, Layout, layout_matching, layout_named, layout_of
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.machine.release import version_of
from replay.sources.importers.recording.dumps import action_types
from replay.trace.header import MachineDescription

from .decoder import Table, table_named

__all__ = ("Host", "host_of")

# Releases whose version number says little about the code, because features are backported under it.
_BACKPORTS = re.compile(r".*\.el\d.*")
_NEEDED = (
    "give the host's kernel with --kernel (`uname -r` there), or its enum with --layout: a name "
    f"({', '.join(layout.name for layout in LAYOUTS)}), or a copy of events/ras/memory_failure_event/format of its tracefs"
)


@dataclass(frozen=True)
class Host:
    """What is known about the host.

    Attributes:
        kernel: for the trace's header: a version, or a profile with changes, without the v.
        release: uname -r, where it was given.
        layout: the enum layout of its kernel.
        table: rasdaemon's table; None when it is to be told from the texts.
        machine: its machine, where it was given.
        source: where the machine comes from, or the architecture of one that is put together from the events.
        notes: what was assumed about the kernel.
    """

    kernel: str
    release: str
    layout: Layout
    table: Table | None
    machine: MachineDescription | None
    source: MachineSource
    notes: tuple[str, ...]


def host_of(
    *,
    kernel: str | None = None,
    layout: str | None = None,
    table: str | None = None,
    machine: Path | None = None,
    arch: str = "x86_64",
) -> Host:
    """Put together what the user says about the host.

    Args:
        kernel: uname -r, a version, or a profile with changes.
        layout: name of a layout, or path of the host's event format file.
        table: name of rasdaemon's table.
        machine: trace or machine file of the host.
        arch: architecture of a machine that is put together from the events.

    Raises:
        UsageError: that does not say which layout the kernel has.
        InputError: a file that cannot be used.
    """
    source = MachineSource(machine, arch=arch)
    described = source.known()
    notes: list[str] = []
    if kernel is None and described is not None:
        kernel = described.kernel
        notes.append(f"kernel {kernel}, as the machine says")
    chosen = _layout(kernel, layout)
    if kernel is None:
        version, release = ".".join(map(str, chosen.first)), ""
        notes.append(f"kernel not given: {version} stands for those with the layout {chosen.name} ({chosen.kernels})")
    else:
        version, release = version_of(kernel)
    notes.append(f"page type numbers by the layout {chosen.name} ({chosen.kernels})")
    if not _same_layout(version, chosen):
        notes.append(f"kernel {version} has another layout: page types that it does not have are left out of the trace")
    return Host(version, release, chosen, table_named(table) if table else None, described, source, tuple(notes))


def _layout(kernel: str | None, layout: str | None) -> Layout:
    if layout is None:
        if kernel is None:
            raise UsageError(f"rasdaemon does not store the kernel, and page types mean nothing without it; {_NEEDED}")
        if _BACKPORTS.fullmatch(kernel):
            raise UsageError(f"{kernel} is a distribution's kernel with features of later versions: its version does not "
                             f"say how it numbers page types; {_NEEDED}")  # fmt: skip
        try:
            return layout_of(kernel)
        except UnknownNameError:
            raise  # a misspelt feature
        except UsageError as error:
            raise UsageError(f"{error}; {_NEEDED}") from None
    path = Path(layout)
    if any(known.name == layout for known in LAYOUTS) or not path.is_file():
        return layout_named(layout)
    try:
        with path.open("rb") as file:
            numbers = action_types(file.read(1 << 20).decode("utf-8", "replace"))
    except OSError as error:
        raise InputError(path, f"a file that cannot be read ({error.strerror})", "an event format file") from None
    if not numbers:
        raise InputError(path, "no table of page types", "a copy of events/ras/memory_failure_event/format")
    found = layout_matching(numbers)
    if found is None:
        table = ", ".join(f"{number} {name!r}" for name, number in list(numbers.items())[:30])
        raise InputError(path, f"the page types {table}", "those of a known layout", "please report this kernel")
    return found


def _same_layout(kernel: str, layout: Layout) -> bool:
    try:
        return layout_of(kernel).types == layout.types
    except UsageError:
        return False
