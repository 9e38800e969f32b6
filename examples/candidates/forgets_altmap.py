"""A broken form of the series: pgmap_pfn_valid takes a device's whole range for data and forgets its altmap."""

from replay.candidate import Candidate

broken = Candidate("v5.12")
broken.remove("pgmap_pfn_valid", "metadata")
