"""How long a request keeps its worker busy: distributions of service times.

The generator draws from them and sends the time along with the request, the simulation draws and
waits: the same numbers in the same order, so that a real run and a simulated one are about the same
work.  Times are in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from random import Random

__all__ = ["BoundedPareto", "Constant", "Exponential", "Mix", "Service"]


class Service(Protocol):
    """A distribution of service times."""

    @property
    def mean(self) -> float:
        """The expected time."""

    def draw(self, random: Random) -> float:
        """One time."""


@final
@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    seconds: float

    @property
    def mean(self) -> float:
        return self.seconds

    def draw(self, random: Random) -> float:  # noqa: ARG002 - the protocol's
        return self.seconds


@final
@dataclass(frozen=True, slots=True)
class Exponential:
    """Without memory: the M of M/M/k."""

    mean: float

    def draw(self, random: Random) -> float:
        return random.expovariate(1 / self.mean)


@final
@dataclass(frozen=True, slots=True)
class BoundedPareto:
    """Heavy-tailed: most are short, and a few, never above ``most``, make up much of the work.

    Source: M. Crovella, M. Harchol-Balter and C. Murta, "Task Assignment in a Distributed System:
    Improving Performance by Unbalancing Load" (1998), who found it in the sizes of web requests.
    """

    alpha: float
    least: float
    most: float

    @property
    def mean(self) -> float:
        alpha, low, high = self.alpha, self.least, self.most
        whole: float = 1 - (low / high) ** alpha
        if alpha == 1:
            return low * math.log(high / low) / whole
        span: float = high ** (1 - alpha) - low ** (1 - alpha)
        mean: float = alpha * low**alpha / whole * span / (1 - alpha)
        return mean

    def draw(self, random: Random) -> float:
        ratio = (self.least / self.most) ** self.alpha
        return float(self.least / (1 - random.random() * (1 - ratio)) ** (1 / self.alpha))


@final
@dataclass(frozen=True, slots=True)
class Mix:
    """One of several, each with its probability; they add up to 1."""

    parts: tuple[tuple[float, Service], ...]

    @property
    def mean(self) -> float:
        return sum(share * part.mean for share, part in self.parts)

    def draw(self, random: Random) -> float:
        left = random.random()
        for share, part in self.parts:
            left -= share
            if left < 0:
                return part.draw(random)
        return self.parts[-1][1].draw(random)
