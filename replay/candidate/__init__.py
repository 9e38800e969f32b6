"""Candidates: kernels that are not released yet, written as changes of one that is.

A candidate file imports what it needs from here::

    from replay.candidate import Candidate, no

    patch = Candidate("v5.11")


    @patch.insert("pfn_to_online_page", before="page", answer=no("empty-subsection"))
    def subsection(s):
        \"\"\"the subsection is not populated\"\"\"
        return ~s.subsection
"""

from replay.candidate.answers import PANIC, no, poison_answer, returns, yes
from replay.candidate.candidate import Candidate
from replay.kernel.poison_types import ActionType
from replay.kernel.rules import Happening, Mark
from replay.trace.poison import ActionResult, MappingClass, PageKind

__all__ = (
    "PANIC",
    "ActionResult",
    "ActionType",
    "Candidate",
    "Happening",
    "MappingClass",
    "Mark",
    "PageKind",
    "no",
    "poison_answer",
    "returns",
    "yes",
)
