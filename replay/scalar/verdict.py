"""What a rule decides."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("UNDECIDED", "Verdict")


@dataclass(frozen=True)
class Verdict:
    """The right-hand side of a rule.

    Attributes:
        rule: its id.
        ret: return code.
        event: action and result, "DAX:R"; empty where no event is reported.
        hwp: the flag is set (True), cleared (False), or stays (None: "=").
        num: change of the global counter; None: the standard one of 8.7.
    """

    rule: str
    ret: int
    event: str = ""
    hwp: bool | None = None
    num: int | None = None

    @property
    def action(self) -> str:
        """The type of the event."""
        return self.event.partition(":")[0]

    @property
    def result(self) -> str:
        """The result letter of the event."""
        return self.event.partition(":")[2]


UNDECIDED = "undecided"  # rule of a call that depends on a page the trace does not tell of
