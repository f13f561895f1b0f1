"""Who the client is, when a proxy that we trust says so.

Three fields say it: X-Forwarded-For and X-Forwarded-Proto, which everybody sends, and Forwarded
(RFC 7239), which is the standard.  Each proxy appends the peer that *it* saw, so the list is read
from the right: as long as the speaker is trusted, what it says of its peer is believed, and the
first peer that isn't trusted is the client.  What lies further left is that client's own invention.

Where both kinds are there, X-Forwarded-* win: a proxy that speaks only those passes a client's
Forwarded on untouched, and hardly any is the other way round.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FIELDS", "Origin", "Trusted", "read_forwarded"]

FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"
STANDARD = b"forwarded"
FIELDS = frozenset({FOR, PROTO, STANDARD})

SCHEMES = frozenset({"http", "https"})
WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}
# a node of RFC 7239 section 6: [v6] or v4 or a name, perhaps a port; and as nginx writes it into
# X-Forwarded-For, a v6 without brackets, which has no port
NODE = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?|([0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)"
).fullmatch
MAX_PORT = 65535
# pairs of RFC 7239 section 4; the value is a token or a quoted string
PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*').fullmatch
# commas and semicolons that are not inside quotes
MEMBERS = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^,"])*)(?:,|$)').findall
PARTS = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^;"])*)(?:;|$)').findall


class Trusted(Protocol):
    """Hosts whose word is taken; None is a peer on a UNIX socket."""

    def __contains__(self, host: str | None) -> bool: ...


class Origin(NamedTuple):
    """What a trusted proxy says of the request; None: nothing, or nothing that makes sense."""

    client: tuple[str, int] | None
    scheme: str | None


UNKNOWN = Origin(None, None)


class _Hop(NamedTuple):
    """What one proxy has written down of its peer."""

    node: str | None
    scheme: str | None


def read_forwarded(
    headers: Iterable[tuple[bytes, bytes]], peer: str | None, trusted: Trusted
) -> Origin:
    """Who the client is and which scheme it used, as far as the peer may say so.

    Args:
        headers: Names in lower case.
        peer: The host at the other end of the connection; None: a UNIX socket.
        trusted: The hosts whose word is taken.
    """
    if peer not in trusted:
        return UNKNOWN
    said: dict[bytes, list[bytes]] = {name: [] for name in FIELDS}
    for name, value in headers:
        if name in FIELDS:
            said[name].append(value)
    if said[FOR] or said[PROTO]:
        hops = _common(said[FOR], said[PROTO])
    else:
        hops = _standard(said[STANDARD])
    return _walk(hops, trusted)


def _common(nodes: list[bytes], schemes: list[bytes]) -> list[_Hop]:
    found = _list(nodes)
    protos = _list(schemes)
    if len(protos) == len(found):
        return [_Hop(*both) for both in zip(found, protos, strict=True)]
    # written by the last proxy only, or by some: the last is the one that is trusted for sure
    proto = protos[-1] if protos else None
    return [_Hop(node, proto) for node in found] or [_Hop(None, proto)]


def _standard(values: list[bytes]) -> list[_Hop]:
    hops = []
    for element in MEMBERS(b",".join(values).decode("latin-1")):
        pairs = [PAIR(part) for part in PARTS(element)]
        found = {pair[1].lower(): _unquote(pair[2]) for pair in pairs if pair}
        if found:
            hops.append(_Hop(found.get("for"), found.get("proto")))
    return hops


def _walk(hops: list[_Hop], trusted: Trusted) -> Origin:
    client: tuple[str, int] | None = None
    scheme: str | None = None
    for hop in reversed(hops):
        proto = (hop.scheme or "").lower()
        proto = WEBSOCKET_SCHEMES.get(proto, proto)
        scheme = proto if proto in SCHEMES else scheme
        node = NODE(hop.node or "")
        if node is None:
            break
        host = node[1] or node[2] or node[4]
        port = int(node[3] or 0)
        client = (host, port if port <= MAX_PORT else 0)
        if host not in trusted:
            break
    return Origin(client, scheme)


def _list(values: list[bytes]) -> list[str]:
    members = b",".join(values).decode("latin-1").split(",")
    return [member.strip() for member in members if member.strip()]


def _unquote(value: str) -> str:
    if value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
