"""What can be wrong with a candidate in C."""

from __future__ import annotations

from replay.errors import InputError

__all__ = ("CandidateError", "CompileError")


class CompileError(InputError):
    """The compiler refuses the file.

    Attributes:
        output: everything the compiler said.
    """

    def __init__(self, where: object, found: str, output: str) -> None:
        self.output = output
        super().__init__(
            where, found, "C that compiles against replay_pfn.h", "the compiler said more on stderr" if output else ""
        )


class CandidateError(InputError):
    """The candidate's code died, did not end in time, or does not define what it should.

    Attributes:
        row: row of the trace whose lookup it was at, None where that is not known.
        pfn: the pfn it was at, None where that is not known.
    """

    def __init__(
        self, where: object, found: str, needed: str, hint: str = "", *, row: int | None = None, pfn: int | None = None
    ) -> None:
        self.row, self.pfn = row, pfn
        super().__init__(where, found, needed, hint)
