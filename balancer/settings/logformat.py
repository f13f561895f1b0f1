"""The language of ``--access-logformat``: gunicorn's atoms, and a few of ours.

``%(h)s`` is an atom, ``%%`` a percent sign and everything else stands for itself.  An atom that
doesn't exist is an error here; gunicorn writes a dash for it, and the slip is found a year later.
What the atoms mean for a request is known in ``core.accesslog``.

Source: gunicorn's setting ``access_log_format``; ``X`` is Apache's (mod_log_config).
"""

from __future__ import annotations

import re
from typing import NamedTuple, final

__all__ = ["DEFAULT_FORMAT", "NUMBERS", "WORDS", "Atom", "check_log_format", "parse_log_format"]

DEFAULT_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
"""gunicorn's default, which is Apache's "combined"."""

NUMBERS = ("s", "B", "T", "M", "D")
WORDS = (
    "h", "l", "u", "t", "r", "m", "U", "q", "H", *NUMBERS, "b", "f", "a", "L", "p", "X", "id",
    "worker", "client", "upstream", "upstream_L",
)  # fmt: skip

PIECE = re.compile(r"%%|%\(([^()]*)\)(.?)|%|[^%]+", re.DOTALL)
NAMED = re.compile(r"\{([!-z|~]+)\}([ioe])").fullmatch


@final
class Atom(NamedTuple):
    """One atom: ``%(h)s`` is h; ``%({referer}i)s`` is i with the name referer, in lower case."""

    kind: str
    name: str = ""


def parse_log_format(text: str) -> list[str | Atom]:
    """Literal text and atoms, in order; ValueError, with the rest of the sentence."""
    if not text or not text.isascii() or not text.replace("\t", " ").isprintable():
        raise ValueError("must be printable ASCII, on one line")
    pieces: list[str | Atom] = []
    for match in PIECE.finditer(text):
        if match[1] is not None:
            pieces.append(_atom(match[1], match[2]))
        elif match[0] == "%":
            raise ValueError("a percent sign begins an atom like %(h)s; write %% for the sign")
        else:
            pieces.append("%" if match[0] == "%%" else match[0])
    return pieces


def _atom(inside: str, conversion: str) -> Atom:
    if conversion != "s" and not (conversion == "d" and inside in NUMBERS):
        raise ValueError(f"after %({inside}) comes an s")
    if inside in WORDS:
        return Atom(inside)
    named = NAMED(inside)
    if named is None:
        raise ValueError(
            f"there is no atom %({inside})s; there are {' '.join(WORDS)} and "
            "{header}i, {header}o, {variable}e"
        )
    return Atom(named[2], named[1].lower())


def check_log_format(text: str) -> str:
    """The text itself, if it is a format; else ValueError."""
    parse_log_format(text)
    return text
