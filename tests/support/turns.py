"""Turns between the processes of one test run (`pytest -n 3`): together, or alone.

Theory: a readers-writer lock of two file locks. Whoever begins a test passes a gate, and takes the
room behind it: shared, or for itself. The gate is held only on the way in, so somebody who waits
there for an empty room lets nobody pass him: otherwise the others, who come and go, would never
leave it empty at once. The kernel gives the locks back when a process dies.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Turns"]


@final
class Turns:
    """One process's view of the locks in ``folder``, which all processes of the run share."""

    def __init__(self, folder: Path) -> None:
        self._gate = folder / "gate"
        self._room = folder / "room"

    @contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        """Wait for the turn; within it, nobody is alone but the one who asked for it.

        The wait has no deadline of its own: it ends with the tests that are under way.
        """
        with self._room.open("w") as room:
            with self._gate.open("w") as gate:
                fcntl.flock(gate, fcntl.LOCK_EX)
                fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
