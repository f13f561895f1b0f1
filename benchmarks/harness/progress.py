"""How far a run has come: one line that moves between the measurements, and the time left.

It moves only between them: a display with a clock of its own would wake up in the middle of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, final

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Bar", "Pace", "Progress", "clock"]


class Progress(Protocol):
    """What a run tells while it lasts."""

    def say(self, text: str) -> None:
        """A line that stays: a server that is missing, a load that had to be lowered."""

    def expect(self, seconds: float) -> None:
        """So long it will take from here."""

    def step(self, text: str) -> None:
        """This is measured next."""

    def done(self, expected: float, took: float) -> None:
        """What was expected to take so many seconds is over, after so many."""


@final
class Pace:
    """The time left, from what was expected and how far off that has been."""

    def __init__(self, expected: float) -> None:
        self.expected = expected
        self.over = 0.0
        """Of it, what has been done."""
        self._took = 0.0

    def done(self, expected: float, took: float) -> None:
        self.over += expected
        self._took += took

    @property
    def left(self) -> float:
        """Seconds."""
        slowness = self._took / self.over if self.over else 1.0
        return max(0.0, self.expected - self.over) * slowness


def clock(seconds: float) -> str:
    """0:42, 12:05, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@final
class Bar:
    """The same for people, on standard error; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = RichProgress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
            console=console or Console(stderr=True, highlight=False),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("starting servers", total=None, left="")
        self._pace = Pace(0.0)

    def __enter__(self) -> Self:
        self._progress.start()
        self._progress.refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, soft_wrap=True)

    def expect(self, seconds: float) -> None:
        self._pace = Pace(seconds)
        self._show(total=seconds)

    def step(self, text: str) -> None:
        self._show(description=text)

    def done(self, expected: float, took: float) -> None:
        self._pace.done(expected, took)
        self._show()

    def _show(self, total: float | None = None, description: str | None = None) -> None:
        self._progress.update(
            self._task,
            total=total,
            description=description,
            completed=self._pace.over,
            left=f"{clock(self._pace.left)} left",
        )
        self._progress.refresh()
