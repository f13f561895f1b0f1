"""What a word that means nothing was probably meant to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["closest", "suggestion"]


def suggestion(word: str, words: Iterable[str]) -> str:
    """``; did you mean workers?``, or nothing where no word is like it."""
    close = closest(word, words)
    return f"; did you mean {close}?" if close else ""


def closest(word: str, words: Iterable[str]) -> str | None:
    """The name, in small letters and with underscores, that is most like a word."""
    import difflib  # for those who have mistyped something

    wanted = word.lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(wanted, list(words), n=1)), None)
