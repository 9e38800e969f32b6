"""Every observable change of kernel behaviour that a check can depend on: one row each.

A feature is what a commit changed, seen from outside. Features are the truth, versions only presets of them
(``profiles.py``), because stable trees and distributions carry backports. Commits and titles are facts about the history
of Linux; ``evidence`` says how sure the row is: ``log`` commit page seen, ``source`` the behaviour was read in the trees on
both sides of ``first`` but the commit id is from memory, ``recording`` confirmed by a recorded kernel as well.
"""

from __future__ import annotations

from replay.errors import UnknownNameError
from replay.kernel.feature import Feature
from replay.kernel.features_devices import DEVICES
from replay.kernel.features_poison import POISON
from replay.kernel.features_walk import WALK

__all__ = ("FEATURES", "Feature", "feature")

FEATURES: dict[str, Feature] = {row.id: row for row in (*WALK, *DEVICES, *POISON)}


def feature(name: str) -> Feature:
    """Return the feature of that id.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FEATURES:
        raise UnknownNameError("feature", name, FEATURES, "`replay features` lists them")
    return FEATURES[name]
