"""The slow, obvious engine: one event at a time, written from ``docs/semantics`` alone, to check the fast one."""

from replay.scalar.errors import PoisonResult
from replay.scalar.machine import ScalarMachine
from replay.scalar.rows import replay_poison_rows, replay_rows, replay_trace

__all__ = ("PoisonResult", "ScalarMachine", "replay_poison_rows", "replay_rows", "replay_trace")
