"""How tools print an event: one regular expression each, and what the lines that are no events look like.

Seen in the output of the tools on v5.10 to v7.2 (tests/sources/importers/events/data). Every quantifier over text that
an input chooses is bounded or followed by what it cannot match, so that no line takes long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ("DIALECTS", "Dialect", "canonical")


@dataclass(frozen=True)
class Dialect:
    """A tool's text.

    Attributes:
        name: of the tool.
        line: an event: comm, pid, cpu, flags, secs, frac, name, payload; a part may be missing.
        begin: lines behind which a cpu's events begin; it may have lost those before.
        lost: lines that say that events were lost, and how many if a group matched.
        header: lines about the trace as a whole, which hold no event.
        detail: lines that belong to the event before them.
    """

    name: str
    line: re.Pattern[bytes]
    begin: re.Pattern[bytes]
    lost: re.Pattern[bytes]
    header: re.Pattern[bytes]
    detail: re.Pattern[bytes]


_TGID = rb"(?:\([ ]{0,8}[-\d]{1,10}\)[ ]{1,8})?"
_TIME = rb"(?P<secs>\d{1,15})(?:\.(?P<frac>\d{3,9}))?:"
# In the payload column trace-cmd pads names to 20 characters; perf puts its own in front of the name.
_FTRACE = (
    rb"[ ]{0,40}(?P<comm>\S.{0,63}?)-(?P<pid>\d{1,7})[ ]{1,16}"
    rb"(?:" + _TGID + rb"\[(?P<cpu>\d{1,5})\][ ]{1,8}" + _TGID + rb"(?:(?P<flags>[^\s\d]\S{3,5})[ ]{1,16})?"
    rb"|(?P<cpu2>\d{1,5})(?P<flags2>[^\s\d]\S{3,5})[ ]{1,16})" + _TIME + rb"[ ](?P<name>[\w.]{1,120}):(?P<payload>.*)"
)
_PERF = (
    rb"[ ]{0,40}(?P<comm>\S.{0,63}?)[ ]{1,16}(?:\d{1,10}/)?(?P<pid>\d{1,7})[ ]{1,8}(?:\[(?P<cpu>\d{1,5})\][ ]{1,8})?"
    + _TIME
    + rb"[ ]{1,80}(?:\d{1,20}[ ]{1,8})?(?P<name>[\w.]{1,80}:[\w.]{1,120}):(?P<payload>.*)"
)

DIALECTS: dict[str, Dialect] = {
    "ftrace": Dialect(
        "ftrace",
        re.compile(_FTRACE, re.DOTALL),
        re.compile(rb"#+ CPU \d{1,5} buffer started #+"),
        re.compile(rb"CPU:\d{1,5} \[(?:LOST )?(?:(\d{1,18}) )?EVENTS(?: DROPPED)?\]"),
        re.compile(rb"#.*|cpus=\d+|version = \d+|CPU \d+ is empty|trace-cmd: .*", re.DOTALL),
        re.compile(rb" => .*|<stack trace>|<user stack trace>|\s*", re.DOTALL),
    ),
    "perf": Dialect(
        "perf",
        re.compile(_PERF, re.DOTALL),
        re.compile(rb"(?!)"),
        re.compile(
            rb".{0,160}PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,18}).*|.{0,160}\bLOST (\d{1,18}) events.*", re.DOTALL
        ),
        re.compile(rb"#.*|'trace' not valid for .*", re.DOTALL),
        re.compile(rb"\t\s*[0-9a-f]+ .*|\s*|.{0,160}PERF_RECORD_\w+.*", re.DOTALL),
    ),
}

# What tools make of the name of a probed function: perf puts the group in front, ftrace's own default names hold the
# kind of the probe and the offset, fprobe events end in __entry and __exit.
_ALIASES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"p_(\w+)_0"), r"\1"),
    (re.compile(r"r_(\w+)_0"), r"\1__return"),
    (re.compile(r"(\w+)__entry"), r"\1"),
    (re.compile(r"(\w+?)(?:__exit|_ret|_return)"), r"\1__return"),
)


def canonical(name: str, functions: frozenset[str]) -> str:
    """Return the name of an event as a recording has it: ``FUNCTION`` or ``FUNCTION__return``, without its group.

    Args:
        name: as printed.
        functions: names of functions whose probes may be called otherwise; what is none of them keeps its name.
    """
    name = name.rpartition(":")[2]
    for pattern, replacement in _ALIASES:
        found = pattern.fullmatch(name)
        if found and found[1].removesuffix("_") in functions:
            return found.expand(replacement).replace("___return", "__return")
    return name
