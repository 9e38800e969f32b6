"""The words in which kernels log memory errors, and the features that changed them (poison semantics 1.8)."""

from __future__ import annotations

from replay.errors import UsageError
from replay.kernel.poison_types import ActionType
from replay.trace.poison import ActionResult

__all__ = ("action_line", "kill_line", "trace_payload", "types_2009")

_T = ActionType
_TEXT_2009: dict[ActionType, str] = {
    _T.OUTSIDE_CONTROL: "memory outside kernel control",
    _T.ALREADY_POISONED: "already hardware poisoned",
    _T.KERNEL_HIGH_ORDER: "free or high order kernel",
    _T.NOT_LRU: "non LRU",
    _T.TRUNCATED_LRU: "already truncated LRU",
    _T.KERNEL: "reserved kernel",
    _T.BUDDY: "free kernel",
    _T.SLAB: "kernel slab",
    _T.HUGE: "huge",
    _T.DIRTY_SWAPCACHE: "swapcache",
    _T.CLEAN_SWAPCACHE: "swapcache",
    _T.DIRTY_UNEVICTABLE_LRU: "unevictable LRU",
    _T.CLEAN_UNEVICTABLE_LRU: "unevictable LRU",
    _T.DIRTY_MLOCKED_LRU: "mlocked LRU",
    _T.CLEAN_MLOCKED_LRU: "mlocked LRU",
    _T.DIRTY_LRU: "LRU",
    _T.CLEAN_LRU: "clean LRU",
    _T.UNKNOWN: "unknown page state",
}


def types_2009(text: str) -> tuple[ActionType, ...]:
    """Return the action types that v2.6.32 has a text for; several where it does not tell them apart."""
    return tuple(action for action, words in _TEXT_2009.items() if words == text)


def trace_payload(pfn: int, action: ActionType, result: ActionResult) -> str:
    """Return what the tracepoint memory_failure_event prints, the same in all versions that have it."""
    return f"pfn {pfn:#x}: recovery action for {action.display}: {_result(result)}"


def action_line(
    features: frozenset[str], pfn: int, action: ActionType, result: ActionResult, *, dirty: bool = False
) -> str:
    """Return the dmesg line about an action.

    Args:
        features: of the kernel.
        pfn: of the page.
        action: what memory_failure met.
        result: outcome.
        dirty: the page's dirty bit when the line is printed; only v2.6.32 says it.

    Raises:
        UsageError: that kernel says nothing like that.
    """
    if "poison-2009" in features:
        if action not in _TEXT_2009:
            raise UsageError(f"v2.6.32 has no message for {action.name}")
        return f"MCE {pfn:#x}: {'dirty ' * dirty}{_TEXT_2009[action]} page recovery: {_result(result)}"
    page = " page" if action is _T.ALREADY_POISONED and "already-poisoned-page-text" in features else ""
    return f"Memory failure: {pfn:#x}: recovery action for {action.display}{page}: {_result(result)}"


def kill_line(features: frozenset[str], pfn: int, name: str, pid: int, *, forced: bool = False) -> str:
    """Return the dmesg line about a task that is signalled.

    Args:
        features: of the kernel.
        pfn: of the page.
        name: of the task.
        pid: of the task.
        forced: it gets SIGKILL, as the page cannot be taken away from it.
    """
    words = "Sending SIGBUS to" if "sigbus-message" in features else "Killing"
    prefix = "MCE" if "poison-2009" in features else "Memory failure:"
    if forced:
        return f"{prefix} {pfn:#x}: forcibly killing {name}:{pid} because of failure to unmap corrupted page"
    return f"{prefix} {pfn:#x}: {words} {name}:{pid} due to hardware memory corruption"


def _result(result: ActionResult) -> str:
    return result.name.capitalize()
