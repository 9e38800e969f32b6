"""The slow, obvious engine: one event at a time, written from ``docs/semantics`` alone, to check the fast one."""

from replay.scalar.machine import ScalarMachine
from replay.scalar.rows import replay_rows, replay_trace

__all__ = ("ScalarMachine", "replay_rows", "replay_trace")
