"""The generating processes, from the side of who wants load."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self, final

from benchmarks.generator.schedule import parts
from benchmarks.generator.tally import Tally, gather

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from benchmarks.generator.offer import Harvest, Offer

__all__ = ["GeneratorError", "Pool", "run"]

_ROOT = Path(__file__).resolve().parents[2]
_AHEAD = 0.005  # seconds from the last "ready" to the start


class GeneratorError(Exception):
    """A generating process ended before its time; its own words are on standard error."""


@final
class _Process:
    """One child, by its pipes, which are its own."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
        )

    def put(self, what: object) -> None:
        assert self._popen.stdin is not None
        try:
            pickle.dump(what, self._popen.stdin)
            self._popen.stdin.flush()
        except BrokenPipeError as error:
            raise GeneratorError("a generating process has ended") from error

    def get(self) -> object:
        assert self._popen.stdout is not None
        try:
            return pickle.load(self._popen.stdout)
        except EOFError as error:
            raise GeneratorError("a generating process has ended") from error

    def end(self) -> None:
        self._popen.kill()
        # Also closes the pipes.
        self._popen.communicate()


@final
class Pool:
    """A context manager that owns the processes; they are started when they are first needed."""

    def __init__(self) -> None:
        self._processes: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        while self._processes:
            self._processes.pop().end()

    def run(self, offer: Offer, begun: Callable[[float], None] | None = None) -> Harvest:
        """Bring the load and wait for its account, ``timeout`` after the schedule at the latest.

        Args:
            offer: What to bring.
            begun: Called with the time (monotonic) at which the warm-up will be over.

        Raises:
            GeneratorError: a process ended.
            ValueError: the offer makes no sense.
        """
        its_parts = parts(offer)
        while len(self._processes) < len(its_parts):
            self._processes.append(_Process())
        used = self._processes[: len(its_parts)]
        try:
            for process, part in zip(used, its_parts, strict=True):
                process.put(part)
            for process in used:
                process.get()
            start = monotonic() + _AHEAD
            for process in used:
                process.put(start)
            if begun is not None:
                begun(start + offer.warm_up)
            return gather(offer, [_tally(process.get()) for process in used])
        except BaseException:
            # Where each of them is in its part is unknown now.
            self.close()
            raise


def _tally(received: object) -> Tally:
    assert isinstance(received, Tally)
    return received


def run(offer: Offer) -> Harvest:
    """One load by processes of its own; see ``Pool.run``."""
    with Pool() as pool:
        return pool.run(offer)
