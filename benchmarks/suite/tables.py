"""Decision tables: what they cost in memory, and how many states they answer with yes."""

from __future__ import annotations

from typing import Any

from .common import PROFILES, Measured, needed, workload


class DecisionTables(Measured):
    """The lookup functions of one kernel, evaluated over every state."""

    params = (PROFILES,)
    param_names = ("profile",)

    def setup(self, profile: str) -> None:
        chosen = needed("replay.kernel.profiles", "profile")(profile)
        config = needed("replay.kernel.config", "config_for")(workload("random").machine, chosen.features)
        kernel = needed("replay.kernel.calls", "Kernel")(chosen.features, config)
        tabulate = needed("replay.engine.tabulate", "tabulate")
        self.yes = needed("replay.engine.tabulate", "YES")
        functions = needed("replay.kernel.walk", "LOOKUP_FUNCTIONS")
        self.classes: list[Any] = [tabulate(function, kernel).classes for function in functions]

    def track_bytes(self, profile: str) -> int:
        return sum(int(classes.nbytes) for classes in self.classes)

    track_bytes.unit = "bytes"  # type: ignore[attr-defined]

    def track_yes(self, profile: str) -> int:
        """States answered with yes, over all functions: moves when a rule does, whether a recording shows it or not."""
        return sum(int((classes & self.yes != 0).sum()) for classes in self.classes)

    track_yes.unit = "states"  # type: ignore[attr-defined]
