"""The end of what a process has written: whole lines for the log, the last of them for a report.

Several processes write to one log, so lines are passed on whole, and a line without an end waits
for it, up to ``LONGEST``: a program that writes no newlines is not to fill the memory.
"""

from __future__ import annotations

import re
from typing import final

__all__ = ["LINES", "LONGEST", "SIZE", "Tail", "last_lines", "telling"]

LINES = 20
"""Lines of a report."""
SIZE = 4096
"""Bytes of a report."""
KEPT = 16 * 1024
"""Bytes that are remembered: an interpreter's dump may have many frames."""
DUMP = "Fatal Python error"
"""What an interpreter says first when it dies (``faulthandler``); the innermost frame is next."""
BEFORE_DUMP = 5
"""Lines of a report that are from before that: a C library says what it has against its caller."""
LONGEST = 4096
"""Bytes of a line that are passed on without its end: what a pipe takes in one piece (PIPE_BUF)."""
# CSI sequences (ECMA-48, 5.4), and every control character but TAB and what ends a line
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


@final
class Tail:
    """Cuts a stream into lines and remembers the end of it."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._begun = b""  # a line that has no end yet

    def feed(self, data: bytes) -> bytes:
        """Take what came; what can be passed on by now."""
        self._kept += data[-KEPT:]
        del self._kept[:-KEPT]
        data = self._begun + data
        end = data.rfind(b"\n") + 1
        if len(data) - end >= LONGEST:
            end = len(data)
        self._begun = data[end:]
        return data[:end]

    def finish(self) -> bytes:
        """The line that never got its end, with one; nothing if there is none."""
        begun, self._begun = self._begun, b""
        return begun + b"\n" if begun else b""

    @property
    def text(self) -> str:
        """The last lines."""
        return last_lines(self._kept.decode(errors="replace"))


def telling(report: str) -> str:
    """The line of a report that says most: the beginning of a dump, else the last."""
    lines = [line for line in report.splitlines() if line.strip()]
    dumps = [line for line in lines if line.startswith(DUMP)]
    return (dumps or lines or [""])[-1].strip()


def last_lines(text: str) -> str:
    """At most ``LINES`` lines and ``SIZE`` characters, from the end, fit to be shown.

    Of a dump it is the beginning: its end is about how a worker is started.  Colours and what else
    a terminal would obey are left out.
    """
    lines = _ESCAPES.sub("", text).splitlines()
    dumps = [number for number, line in enumerate(lines) if line.startswith(DUMP)]
    if dumps:
        return "\n".join(lines[max(0, dumps[-1] - BEFORE_DUMP) :][:LINES]).strip("\n")[:SIZE]
    return "\n".join(lines[-LINES:]).strip("\n")[-SIZE:]
