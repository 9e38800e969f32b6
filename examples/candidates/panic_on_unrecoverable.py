"""The proposal of 2026 to panic on memory errors that nobody can recover from (vm.panic_on_unrecoverable_memory_failure).

``proposal`` panics as version 5 of the series describes it: reserved pages (which it tells apart), high-order kernel blocks
and pages of no known kind, where the error would be ignored. ``wide`` panics on whatever kernel page is ignored, slab pages
and page tables included, which is what the series set out from. Which recorded events would have panicked:

    replay compare TRACE... --baseline v7.2 --candidate examples/candidates/panic_on_unrecoverable.py:proposal
"""

from replay.candidate import PANIC, ActionResult, ActionType, Candidate, PageKind

UNRECOVERABLE = {ActionType.KERNEL, ActionType.KERNEL_HIGH_ORDER, ActionType.UNKNOWN}

proposal = Candidate("v7.2")
for check in proposal.checks_of("memory_failure"):
    if check.answer.result == ActionResult.IGNORED and check.answer.action in UNRECOVERABLE:
        proposal.answer("memory_failure", check.id, PANIC)


@proposal.insert("memory_failure", before="not-handlable", answer=PANIC)
def reserved_page(s):
    """a reserved page: it belongs to the kernel for good"""
    return s.gl & s.kind_in(PageKind.RESERVED)


wide = Candidate(proposal)
wide.answer("memory_failure", "not-handlable", PANIC)
