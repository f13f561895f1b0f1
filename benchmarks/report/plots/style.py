"""How every plot looks, and how a figure becomes SVG.

Colours are Okabe and Ito's, which people with any of the usual colour deficiencies can tell apart
(M. Okabe and K. Ito, "Color Universal Design", 2002); their yellow is left out, being too pale for
a line on white.  There are more policies than colours: line style and marker differ as well, and
lines are labelled where they end.

Text stays text, so that it can be searched, read aloud and asserted on.  The viewer's fonts are
mostly narrower than DejaVu, with which the room for it is measured.  Ids and dates are fixed: the
same study gives the same bytes with the same matplotlib.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from benchmarks.report import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["Look", "Picture", "draw", "looks", "set_ticks", "time_axis", "time_ticks"]

GREY = "#666666"
FAINT = "#dddddd"
BETTER, WORSE = "#0072b2", "#d55e00"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7", "#56b4e9", "#e69f00")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)))
_MARKERS = "osD^vPX*<>hpd"
_KNOWN = (
    "round-robin",
    "least-connections",
    "p2c",
    "random",
    "updown",
    "source-hash",
    "first",
    "weighted",
    "shared",
    "reuseport",
)

# Any: the keys of rcParams are a type of their own since matplotlib 3.11, and were strings before.
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "balancer",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "figure.dpi": 96,
    "savefig.dpi": 150,
    "savefig.bbox": None,
}


@final
@dataclass(frozen=True, slots=True)
class Look:
    """What tells one subject's line from the others'."""

    colour: str
    line: Any
    marker: str


@final
@dataclass(frozen=True, slots=True)
class Picture:
    """A figure and what it shows, in a sentence for those who don't see it."""

    name: str
    """Unique on a page, of characters that an id may have."""
    alt: str
    figure: Figure

    def svg(self) -> str:
        """An ``<svg>`` element for a page: ids begin with the name, and nothing is from outside."""
        text = self._render("svg").decode()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
        text = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\1{self.name}-", text)
        label = self.alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()

    def file(self) -> bytes:
        """An SVG file."""
        return f'<?xml version="1.0" encoding="utf-8"?>\n{self.svg()}\n'.encode()

    def png(self) -> bytes:
        return self._render("png")

    def _render(self, kind: str) -> bytes:
        out = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        with rc_context(_SETTINGS):
            self.figure.savefig(out, format=kind, metadata=metadata)
        return out.getvalue()


def draw(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which arranges what is put into it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    return figure


def settings() -> Any:  # noqa: ANN401 - matplotlib names no type for it
    """The context in which plots are made."""
    return rc_context(_SETTINGS)


def looks(subjects: Sequence[str]) -> dict[str, Look]:
    """Known policies look the same in every report; others take what the known ones leave."""
    known = {name: place for place, name in enumerate(_KNOWN) if name in subjects}
    taken = set(known.values())
    free = (place for place in range(len(subjects) + len(_KNOWN)) if place not in taken)
    places = {name: known[name] if name in known else next(free) for name in subjects}
    return {name: _look(place) for name, place in places.items()}


def _look(place: int) -> Look:
    line = _LINES[place // len(_COLOURS) % len(_LINES)]
    return Look(_COLOURS[place % len(_COLOURS)], line, _MARKERS[place % len(_MARKERS)])


def set_ticks(axis: Axis, at: Sequence[float], names: Sequence[str]) -> None:
    """Exactly these ticks."""
    axis.set_major_locator(FixedLocator(at))
    axis.set_major_formatter(FixedFormatter(names))
    axis.set_minor_locator(NullLocator())


def time_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic y axis of durations with their units, a little wider than the data."""
    axes.set_yscale("log")
    low, high = low / 1.15, high * 1.15
    axes.set_ylim(low, high)
    ticks = list(time_ticks(low, high))
    set_ticks(axes.yaxis, ticks, [units.tick(tick) for tick in ticks])
    axes.grid(visible=True, axis="y", color=FAINT, linewidth=0.7)


def time_ticks(low: float, high: float) -> Iterator[float]:
    """1, 2, 5 of each decade where there are few of them, else its 1."""
    steps: Iterable[float] = (1, 2, 5) if high / low < 1000 else (1,)
    for decade in range(-10, 6):
        for step in steps:
            if low <= step * 10.0**decade <= high:
                yield step * 10.0**decade
