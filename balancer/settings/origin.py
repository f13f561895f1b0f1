"""Who gave a value: the words that an error message, and ``balancer config``, say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Given", "Origin", "Rank"]


class Rank(IntEnum):
    """Where a value can come from; the higher one wins."""

    DEFAULT = 0
    FILE = 1
    ENV = 2
    FLAG = 3
    ARGUMENT = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """One place, as its user spelled it: a flag, a variable, or a key of a file.

    Attributes:
        rank: What kind of place.
        name: ``-w``, ``BALANCER_WORKERS``, ``workers`` (a key, or an argument of a call).
        file: The file of a key, as it was named on the command line.
        line: The key's line in it, when that could be told.
    """

    rank: Rank
    name: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        if self.rank is not Rank.FILE:
            return self.name
        return f"{self.file}:{self.line}: {self.name}" if self.line else f"{self.file}: {self.name}"


@dataclass(frozen=True, slots=True)
class Given:
    """One value as somebody wrote it, unread.

    Attributes:
        setting: The setting's name.
        origin: Where it was written.
        shown: How it looks there, for messages.
        texts: The texts to parse; more than one for a list.
        parts: The items of a list in a file, each with a place of its own; empty: there are only
            the texts.
        broken: It can't be parsed, and that has been said already.
    """

    setting: str
    origin: Origin
    shown: str
    texts: tuple[str, ...]
    parts: tuple[Given, ...] = ()
    broken: bool = False

    def __str__(self) -> str:
        separator = {Rank.ENV: "=", Rank.FILE: " = ", Rank.ARGUMENT: "="}.get(self.origin.rank, " ")
        return f"{self.origin}{separator}{self.shown}".rstrip()
