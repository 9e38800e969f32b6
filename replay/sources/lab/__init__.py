"""Boots a real kernel under qemu, lets it run a scenario, and brings back the recording."""

from replay.sources.lab.run import LabReport, run_lab
from replay.sources.lab.scenarios import SCENARIOS, Scenario

__all__ = ("SCENARIOS", "LabReport", "Scenario", "run_lab")
