"""What may stand in a log line, whoever sent it.  Pure.

Nothing that a client sends can end a line or close a quote: quotes, backslashes, control characters
and all that is not ASCII are escaped as Apache does (2.0.46 and later: ``ap_escape_logitem``).  Two
atoms that stand without quotes in common formats, ``u`` and ``U``, can't have blanks either.  It is
hardly ever needed, so it is done for a whole batch: until then the format's own quotes, backslashes
and tabs are marks (bytes 1 to 3), whatever else isn't safe came from outside, and one look tells
whether there is any.  No value has a mark or a newline in it: our engine lets no control character
pass but the tab, what may hold others is escaped at once, and a ``PlainRequest`` holds none.
"""

from __future__ import annotations

import re

__all__ = ["MARKS", "escape", "escape_text", "escape_word", "finish"]

SAFE = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
ESCAPES = {chr(code): f"\\x{code:02x}" for code in range(256) if code not in SAFE} | {
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip
UNSAFE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
# until a batch is finished: the format's own characters, among those of others
MARKS = str.maketrans({'"': "\1", "\\": "\2", "\t": "\3"})
UNMARK = bytes.maketrans(b"\1\2\3", b'"\\\t')
MARKED = SAFE + b"\1\2\3\n"
FOREIGN = re.compile(rb"[^\x01-\x03\n\x20\x21\x23-\x5b\x5d-\x7e]")
BYTE_ESCAPES = {key.encode("latin-1"): value.encode() for key, value in ESCAPES.items()}


def finish(lines: list[str]) -> bytes:
    """Lines as they are to be written."""
    data = "".join(lines).encode("latin-1", "replace")
    if data.translate(None, MARKED):
        data = FOREIGN.sub(lambda match: BYTE_ESCAPES[match[0]], data)
    return data.translate(UNMARK)


def escape(value: bytes) -> str:
    """As it may stand between quotes, and already marked."""
    text = value.decode("latin-1")
    if not value.translate(None, SAFE):
        return text
    return UNSAFE.sub(lambda match: ESCAPES[match[0]], text).translate(MARKS)


def escape_text(value: str) -> str:
    return escape(value.encode("latin-1", "replace"))


def escape_word(value: bytes) -> str:
    """As it may stand in a line without quotes."""
    return escape(value).replace(" ", "\2x20")
