"""Producing the next item of an iterator in a background thread while the current one is being used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

__all__ = ("one_ahead",)

_T = TypeVar("_T")


def one_ahead(items: Iterator[_T]) -> Generator[_T, None, None]:
    """Yield the same items in the same order, working on one item more than was asked for.

    The items are made in one other thread, one at a time; an exception is raised where the item would have come. Work
    begins with the first ``next``. Closing early waits for the item that is being made and drops it.

    Args:
        items: not to be used by anybody else from here on.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - brings logging and queue, unneeded otherwise

    end = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="replay-prefetch") as background:
        coming = background.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = background.submit(next, items, end)
            yield item  # type: ignore[misc]  # not the end
