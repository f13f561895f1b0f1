"""How upstreams are probed: ``off``, ``tcp``, or ``http:/PATH``."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["OFF", "TCP", "Probe", "check_probe", "parse_probe"]

OFF = "off"
TCP = "tcp"
_HTTP = "http:"
_PATH = re.compile(r"/(?!/)[!-~]*").fullmatch


class Probe(NamedTuple):
    """What is asked of a server to find out whether it lives.

    ``path`` is what it must answer to with 2xx or 3xx; None: it is enough that it can be connected
    to.
    """

    path: str | None = None


def parse_probe(text: str) -> Probe | None:
    """The probe that a text means; None: there is none.

    Raises:
        ValueError: the text means nothing.
    """
    if text == OFF:
        return None
    if text == TCP:
        return Probe()
    if not text.startswith(_HTTP):
        meant = text.removeprefix("https:")
        hint = f"; did you mean http:{meant}? (https:// servers are probed over TLS)"
        raise ValueError("must be tcp, http:/PATH or off" + (hint if _PATH(meant) else ""))
    path = text.removeprefix(_HTTP)
    if not _PATH(path):
        raise ValueError("the path must begin with / and be ASCII without blanks: http:/health")
    return Probe(path)


def check_probe(text: str) -> str:
    """``text`` itself, when ``parse_probe`` would take it; else ``ValueError``."""
    parse_probe(text)
    return text
