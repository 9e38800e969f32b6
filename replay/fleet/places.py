"""Where a worker finds a trace: other machines have other working directories, and maybe other disks."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from replay.errors import InputError

__all__ = ("Place", "place_of")


@dataclass(frozen=True)
class Place:
    """A trace as a worker has to open it.

    Attributes:
        path: as given, or absolute for a cluster.
        elsewhere: the worker may be on another machine.
    """

    path: str
    elsewhere: bool

    def here(self) -> str:
        """Return the path; called by the worker.

        Raises:
            InputError: another machine's worker cannot read it.
        """
        if self.elsewhere and not os.access(self.path, os.R_OK):
            raise InputError(
                self.path,
                f"nothing that the worker on {socket.gethostname()} can read",
                "the trace under the same path on all machines of the cluster",
            )
        return self.path


def place_of(path: str | os.PathLike[str], scheduler: str | None) -> Place:
    """Return where workers of a cluster, or of this machine if there is no scheduler, find a trace."""
    return Place(os.fspath(path), False) if scheduler is None else Place(os.path.abspath(path), True)
