"""What a word that means nothing was probably meant to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["suggestion"]


def suggestion(word: str, words: Iterable[str]) -> str:
    """``; did you mean workers?``, or nothing where no word is like it."""
    import difflib  # for those who have mistyped something

    spelled = word.replace("-", "_")
    # keys have small letters, variables capital ones
    close = difflib.get_close_matches(spelled.lower(), list(words), n=1) or (
        difflib.get_close_matches(spelled.upper(), list(words), n=1)
    )
    return f"; did you mean {close[0]}?" if close else ""
