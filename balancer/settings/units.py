"""Durations in seconds and sizes in bytes, as people write them.

A bare number has the base unit (``30`` is 30 s, ``65536`` is 64 KiB), so that the values in
gunicorn's and nginx's files mean here what they mean there.  ``parse_x(show_x(value)) == value``
for every value that ``parse_x`` returns.
"""

from __future__ import annotations

import re

__all__ = ["LONGEST", "parse_duration", "parse_size", "show_duration", "show_size"]

# A hundred years: more is a slip of the finger, and 400 digits would overflow a float.
LONGEST = 100 * 365 * 86400.0

_NUMBER = r"\d{1,12}(?:\.\d{1,9})?"
_DURATION = re.compile(
    rf"(?:(?P<d>{_NUMBER})d)?(?:(?P<h>{_NUMBER})h)?(?:(?P<m>{_NUMBER})m(?!s))?"
    rf"(?:(?P<s>{_NUMBER})s)?(?:(?P<ms>{_NUMBER})ms)?",
    re.ASCII,
)
_PLAIN = re.compile(_NUMBER, re.ASCII)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}

_SIZE = re.compile(r"(\d{1,18}) ?([A-Za-z]*)", re.ASCII)
# K, M and G alone are nginx's, which are binary; with a B they are SI's, as in dd and curl.
_BYTES = {
    "": 1, "b": 1,
    "k": 1 << 10, "kib": 1 << 10, "kb": 10**3,
    "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
    "g": 1 << 30, "gib": 1 << 30, "gb": 10**9,
}  # fmt: skip


def parse_duration(text: str) -> float:
    """Seconds in ``30``, ``30s``, ``250ms``, ``1.5h`` or ``1h30m``.

    Raises:
        ValueError: anything else, and more than a hundred years.
    """
    if _PLAIN.fullmatch(text):
        seconds = float(text)
    else:
        match = _DURATION.fullmatch(text)
        if match is None or not text:
            raise ValueError("not a duration; write 30, 30s, 250ms or 1h30m")
        seconds = sum(float(match[unit] or 0) * factor for unit, factor in _SECONDS.items())
        # a division, because 7 / 1000 is the float nearest to 0.007 and 7 * 0.001 is not
        seconds += float(match["ms"] or 0) / 1000
    if seconds > LONGEST:
        raise ValueError("longer than a hundred years")
    return round(seconds, 9)


def show_duration(seconds: float) -> str:
    """The shortest of the spellings that ``parse_duration`` reads back as the same number."""
    if seconds != int(seconds):
        return _show_fraction(seconds)
    rest, parts = int(seconds), []
    for unit, factor in _SECONDS.items():
        count, rest = divmod(rest, int(factor))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _show_fraction(seconds: float) -> str:
    if seconds < 1 and round(seconds * 1000) / 1000 == seconds:
        return f"{round(seconds * 1000)}ms"
    # never 1e-05
    return f"{seconds:.9f}".rstrip("0") + "s"


def parse_size(text: str) -> int:
    """Bytes in ``65536``, ``64KiB``, ``64k`` or ``8MiB``; ``KB`` is 1000.

    Raises:
        ValueError: anything else.
    """
    match = _SIZE.fullmatch(text)
    factor = _BYTES.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError("not a size; write 65536, 64KiB or 8MiB")
    return int(match[1]) * factor


def show_size(size: int) -> str:
    """The largest binary unit that leaves no fraction."""
    for unit in ("GiB", "MiB", "KiB"):
        factor = _BYTES[unit.lower()]
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
