"""What two answers for one name, one per family of addresses, mean together.  Pure.

The question is what to do when there is none.  A name server that fails says nothing about the
servers behind the name, and one that is restarted, or has just been given a broken zone, says
there are none: whoever believed that would take a service down that runs.  So addresses are only
ever replaced by addresses: a family without an answer keeps what it has, and when nothing would be
left, all stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["NO_ADDRESS", "Answer", "Failed", "Finding", "combine", "pause"]

NO_ADDRESS = "it has no address"
SHORTEST = 1.0
"""Seconds between two questions, whatever the TTL says: many servers' caches count down to 0."""
RETRY = 5.0
"""Seconds after a failure, at most."""


class Answer(NamedTuple):
    """The addresses of a name, as text, and for how many seconds they hold."""

    addresses: tuple[str, ...]
    ttl: float


class Failed(NamedTuple):
    """There was no answer, or there is no such name."""

    reason: str


class Finding(NamedTuple):
    """What to go on with: all addresses of the name, and what is wrong, if something is."""

    addresses: tuple[str, ...]
    problem: str | None


def combine(answers: Collection[tuple[Answer | Failed, Collection[str]]]) -> Finding:
    """One finding from the answers for all families, each with what that family has until now."""
    problems = [answer.reason for answer, _ in answers if isinstance(answer, Failed)]
    found = [
        address
        for answer, before in answers
        for address in (answer.addresses if isinstance(answer, Answer) else before)
    ]
    if found:
        return Finding(tuple(found), problems[0] if problems else None)
    before = tuple(address for _, family in answers for address in family)
    return Finding(before, problems[0] if problems else NO_ADDRESS)


def pause(answers: Collection[Answer | Failed], longest: float) -> float:
    """Seconds until the next question.

    Args:
        answers: The last ones.
        longest: Where a TTL is longer.
    """
    times = [each.ttl if isinstance(each, Answer) else RETRY for each in answers]
    return max(SHORTEST, min(longest, *times))
