"""Records this machine: ``capture.sh`` writes a recording folder, the importer makes a trace of it."""

from replay.sources.record.record import CAPTURE, Check, check_machine, record

__all__ = ("CAPTURE", "Check", "check_machine", "record")
