"""The opening handshake (RFC 6455 4.2): what a client asks for, and the fields of the 101.

The request is HTTP and has passed the engine.  One that asks to become a WebSocket and does it
wrongly gets a 400 that says how; one that asks for another version gets the 426 of section 4.4.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from wsproto.utilities import generate_accept_token

from balancer.apps.asgi.websocket.payload import negotiate
from balancer.http1.errors import RequestError

if TYPE_CHECKING:
    from balancer.apps.asgi.websocket.payload import Deflate
    from balancer.http1.responses import Fields

__all__ = ["OTHER_VERSION", "Handshake", "read_handshake", "wants_websocket"]

OTHER_VERSION = ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))
"""What a 426 has to say (RFC 6455 4.4, RFC 9110 15.5.22)."""

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch


@final
@dataclass(frozen=True, slots=True)
class Handshake:
    """A client's correct wish: the answer to its key, and the compression that was agreed on."""

    accept: bytes
    deflate: Deflate | None

    def fields(self, subprotocol: str | None) -> list[tuple[bytes, bytes]]:
        """The fields of the 101."""
        fields = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", self.accept),
        ]
        if subprotocol is not None:
            fields.append((b"Sec-WebSocket-Protocol", subprotocol.encode("ascii")))
        if self.deflate is not None:
            fields.append((b"Sec-WebSocket-Extensions", self.deflate.response))
        return fields


def wants_websocket(method: str, headers: Fields) -> bool:
    """Whether an upgrade request is for this; all others stay HTTP (RFC 9110 7.8)."""
    if method != "GET":
        return False
    offers = b",".join(_values(headers, b"upgrade")).lower().split(b",")
    return b"websocket" in [offer.strip() for offer in offers]


def read_handshake(headers: Fields, *, deflate: bool) -> Handshake:
    """Check the request's fields.

    Raises:
        RequestError: 400, malformed; 426, another version, which is answered with
            ``OTHER_VERSION``.
    """
    headers = list(headers)
    version = _single(headers, b"sec-websocket-version", "Sec-WebSocket-Version")
    if version != b"13":
        raise RequestError(426, "Sec-WebSocket-Version must be 13")
    key = _single(headers, b"sec-websocket-key", "Sec-WebSocket-Key")
    if not _is_key(key):
        raise RequestError(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    for value in _values(headers, b"sec-websocket-protocol"):
        names = [name.strip(b" \t") for name in value.split(b",")]
        if not all(TOKEN(name) for name in names if name):
            raise RequestError(400, "Sec-WebSocket-Protocol must be a list of tokens")
    offers = _values(headers, b"sec-websocket-extensions")
    agreed = negotiate(offers)  # checked also where nobody compresses
    return Handshake(generate_accept_token(key), agreed if deflate else None)


def _values(headers: Fields, name: bytes) -> list[bytes]:
    return [value for field, value in headers if field == name]


def _single(headers: Fields, name: bytes, shown: str) -> bytes:
    values = _values(headers, name)
    if len(values) != 1:
        raise RequestError(400, f"a WebSocket handshake has exactly one {shown}")
    return values[0]


def _is_key(key: bytes) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except ValueError:
        return False
