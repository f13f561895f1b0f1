"""Who asks when, and for how much: drawn before the run, from the seed alone.

Independent users make a Poisson process, and such a process dealt out to several is several of
them, so each generating process draws its own with its share of the rate.  Arrivals, service times
and the rest have random numbers of their own: another distribution of one leaves the others as
they were.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, final

from benchmarks.study.service import BoundedPareto
from benchmarks.study.workloads import Clients

if TYPE_CHECKING:
    from benchmarks.generator.offer import Offer

__all__ = ["LIFETIME", "Part", "Schedule", "draw", "parts", "randomness", "request"]

LIFETIME = BoundedPareto(alpha=1.0, least=1.0, most=1000.0)
"""Requests on a connection of ``Clients.UNEVEN``: half of them bring one, one in a hundred 100."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """What one of ``of`` processes does: its index and its connections at a time."""

    offer: Offer
    index: int
    of: int
    connections: int


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds from the start, rising, and how long each request works."""

    due: array[float]
    service: array[float]


def parts(offer: Offer) -> list[Part]:
    """One for each process; where connections stay there are no more processes than those.

    ValueError when an offer makes no sense.
    """
    of = max(1, offer.processes)
    if offer.rate <= 0 or offer.duration <= 0:
        raise ValueError(f"nothing is due: {offer.rate:g} a second for {offer.duration:g} s")
    if offer.clients is not Clients.EACH_NEW:
        if offer.connections < 1:
            raise ValueError(f"clients that keep connections need some: {offer.connections}")
        of = min(of, offer.connections)
    each, more = divmod(offer.connections, of)
    return [Part(offer, index, of, each + (index < more)) for index in range(of)]


def randomness(part: Part, purpose: str) -> Random:
    """The same for everybody who is offered the same, whatever the port."""
    return Random(f"{part.offer.seed} {part.index} {purpose}")


def draw(part: Part) -> Schedule:
    """All requests of a part, those of the warm-up first."""
    offer = part.offer
    rate, until = offer.rate / part.of, offer.warm_up + offer.duration
    random, due = randomness(part, "arrivals"), array("d")
    at = random.expovariate(rate)
    while at < until:
        due.append(at)
        at += random.expovariate(rate)
    random = randomness(part, "services")
    return Schedule(due, array("d", (offer.service.draw(random) for _ in due)))


def request(offer: Offer, seconds: float) -> bytes:
    """The request for so much work."""
    work = f"{seconds:.6f}" if seconds else "0"
    slow = f"?slow={offer.slow_pid}&times={offer.slow_factor:g}" if offer.slow_pid else ""
    close = "Connection: close\r\n" if offer.clients is Clients.EACH_NEW else ""
    where = f"Host: 127.0.0.1:{offer.port}\r\n{close}"
    return f"GET /{offer.work.value}/{work}{slow} HTTP/1.1\r\n{where}\r\n".encode()
