"""A thread beside a measurement, which begins when the warm-up is over."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Background(ABC):
    """A context manager: ``begin(at)`` lets ``work`` run from that time on, leaving ends it.

    Without ``begin`` nothing runs.  What ``work`` raises is raised on leaving, unless something
    else already is.
    """

    def __init__(self) -> None:
        self._begin: float | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """Until ``pause`` says that it is over."""

    def begin(self, at: float) -> None:
        """Run from that time of the monotonic clock on."""
        self._begin = at
        self._wake.set()

    def pause(self, until: float) -> bool:
        """Wait until that time of the monotonic clock; False when it is all over."""
        return not self._stop.wait(max(0.0, until - monotonic()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        self._wake.wait()
        if self._begin is None or not self.pause(self._begin):
            return
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - for the thread that waits for us
            self._error = error
