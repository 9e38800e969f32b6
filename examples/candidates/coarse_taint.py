"""A coarser taint: v5.12 without the pagemap lookup. Whatever lies in a section that a device shares is refused.

It is cheaper, as nothing takes the slow path, and wrong for the System RAM of such sections: walkers no longer see it.
"""

from replay.candidate import Candidate, no

coarse = Candidate("v5.12")
coarse.remove("pfn_to_online_page", "pagemap", "tainted-page")


@coarse.insert("pfn_to_online_page", before="page", answer=no("shared-section"))
def shared_section(s):
    """a device shares the section"""
    return s.taint
