"""What an app may put into its messages (ASGI WebSocket 2.4), and the messages that it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.http1.errors import MisuseError

if TYPE_CHECKING:
    from collections.abc import Container

    from balancer.apps.asgi.types import Message

__all__ = ["disconnect", "read_accept", "read_close", "read_send"]

LONGEST_REASON = 123
"""A control frame has at most 125 bytes, of which two are the code."""
# what RFC 6455 7.4 and the registry that it founded let an endpoint send
CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
# the handshake's own, and what would frame a body that a 101 has not
OURS = frozenset({
    b"connection", b"content-length", b"sec-websocket-accept", b"sec-websocket-extensions",
    b"sec-websocket-protocol", b"sec-websocket-version", b"transfer-encoding", b"upgrade",
})  # fmt: skip


def disconnect(code: int, reason: str = "") -> Message:
    """The last message that an app gets."""
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def read_accept(
    message: Message, offered: Container[str]
) -> tuple[str | None, list[tuple[bytes, bytes]]]:
    """Subprotocol and fields of ``websocket.accept``; names and values are checked elsewhere.

    Raises:
        MisuseError: a subprotocol that was not offered, a field that is not the app's.
    """
    subprotocol = message.get("subprotocol")
    if subprotocol is not None and subprotocol not in offered:
        raise MisuseError(f"subprotocol {subprotocol!r} is none that the client offers")
    fields = [(name, value) for name, value in message.get("headers", ())]
    for name, _ in fields:
        if isinstance(name, bytes) and name.lower() in OURS:
            raise MisuseError(f"header {name!r} is not for an app to send with websocket.accept")
    return subprotocol, fields


def read_send(message: Message) -> str | bytes:
    """The payload of ``websocket.send``.

    Raises:
        MisuseError: none or two of them, or of another type.
    """
    text, data = message.get("text"), message.get("bytes")
    if (text is None) == (data is None):
        raise MisuseError("websocket.send has either text or bytes")
    if data is None:
        if not isinstance(text, str):
            raise MisuseError(f"text is a str, not a {type(text).__name__}")
        if not text.isascii():
            _check_unicode(text)
        return text
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise MisuseError(f"bytes are bytes, not a {type(data).__name__}")


def read_close(message: Message) -> tuple[int, str]:
    """Code and reason of ``websocket.close``.

    Raises:
        MisuseError: a code that no endpoint may send, or a reason that doesn't fit into a frame.
    """
    code, reason = message.get("code"), message.get("reason") or ""
    if code is None:
        code = 1000
    if not isinstance(code, int) or code not in CODES:
        raise MisuseError(f"{code!r} is no code to close with (1000, 3000 to 4999, …)")
    if not isinstance(reason, str):
        raise MisuseError(f"the reason to close is a str, not a {type(reason).__name__}")
    _check_unicode(reason)
    if len(reason.encode()) > LONGEST_REASON:
        raise MisuseError(f"the reason to close has at most {LONGEST_REASON} bytes in UTF-8")
    return int(code), reason


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MisuseError(f"the text has half a surrogate pair at {error.start}") from None
