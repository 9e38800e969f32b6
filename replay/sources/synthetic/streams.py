"""Random numbers that are the same on every machine, whatever was drawn before and in which order.

A stream is the raw output of numpy's Philox bit generator under a key of its own, and word *n* of a stream is a
function of the key and *n* alone. numpy promises that the raw output of a bit generator never changes; it promises no
such thing of the distributions of ``Generator``, so nothing here uses those.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ("MAX_BELOW", "Stream", "Words")

Words: TypeAlias = NDArray[np.uint64]

MAX_BELOW = 1 << 52  # numbers up to here are exact in the arithmetic of ``below``
_PER_COUNT = 4  # words that Philox makes of one value of its counter
_BITS = 53


class Stream:
    """Words that can be asked for from any place on.

    Args:
        seed: of the whole trace.
        names: what the stream is for; streams of different names have nothing to do with each other.
    """

    def __init__(self, seed: int, *names: object) -> None:
        text = "\0".join([str(seed), *map(str, names)]).encode()
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self._key = np.array([int.from_bytes(digest[i : i + 8], "little") for i in (0, 8)], np.uint64)

    def words(self, first: int, count: int) -> Words:
        """Return words ``[first, first + count)``, uniform over 64 bits."""
        start, skip = divmod(first, _PER_COUNT)
        counter = np.array([start & (1 << 64) - 1, start >> 64, 0, 0], np.uint64)
        raw = np.random.Philox(key=self._key, counter=counter).random_raw(skip + count)
        return np.asarray(raw, np.uint64)[skip:]

    def below(self, first: int, count: int, bound: int) -> Words:
        """Return numbers ``[first, first + count)`` of the stream scaled to ``[0, bound)``.

        Args:
            first: index of the first word to use.
            count: how many.
            bound: 1 to 2**52.
        """
        return scaled(self.words(first, count), bound)

    def one(self, number: int, bound: int) -> int:
        """Return the scaled number at one place."""
        return int(self.below(number, 1, bound)[0])


def scaled(words: Words, bound: int) -> Words:
    """Scale words to ``[0, bound)``, ``bound`` at most 2**52.

    One multiplication of doubles, which IEEE 754 rounds the same way everywhere: 53 random bits times bound / 2**53, a
    product that stays below the bound after rounding.
    """
    assert 0 < bound <= MAX_BELOW
    fraction = (words >> np.uint64(64 - _BITS)).astype(np.float64)
    fraction *= bound * 2.0**-_BITS
    return fraction.astype(np.uint64)
