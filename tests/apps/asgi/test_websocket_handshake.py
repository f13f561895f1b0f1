"""The opening handshake (RFC 6455 4): who becomes a WebSocket, and what the others are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.apps.asgi.websocket.config import WebSocketConfig
from balancer.apps.asgi.websocket.handshake import read_handshake, wants_websocket
from balancer.apps.asgi.websocket.payload import negotiate
from balancer.http1 import RequestError
from tests.apps.asgi.websocket_support import ACCEPTED, REQUEST, talking
from tests.http1.fakes import CUTS, undated

if TYPE_CHECKING:
    from balancer.apps.asgi.types import Receive, Scope, Send

cut = pytest.mark.parametrize("piece", CUTS, ids=["whole", "bytewise"])


async def kind(scope: Scope, receive: Receive, send: Send) -> None:
    """Says which scope it got, by HTTP or as a subprotocol."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"http"})


@cut
async def test_accepted(piece: int) -> None:
    async with talking(kind, piece=piece) as talk:
        heard = await talk.open()
        assert heard == ACCEPTED + b"\r\n" + b"\x88\x02\x03\xe8"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET /chat", b"POST /chat"),
        (b"GET /chat", b"get /chat"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Upgrade: websocket", b"Upgrade: websockets"),
        (b"Connection: Upgrade", b"Connection: keep-alive"),
        (b"Upgrade: websocket\r\n", b""),
    ],
)
async def test_everything_else_stays_http(old: bytes, new: bytes) -> None:
    async with talking(kind) as talk:
        talk.say(REQUEST.replace(old, new) + b"\r\n")
        assert undated(await talk.hear()).endswith(b"Content-Length: 4\r\n\r\nhttp")
        assert talk.state() == "open"


async def test_http_1_0_stays_http() -> None:
    async with talking(kind) as talk:
        talk.say(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n")
        assert (await talk.hear()).endswith(b"http")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket", b"upgrade: WebSocket"),
        (b"Upgrade: websocket", b"Upgrade: h2c, websocket"),
        (b"Upgrade: websocket", b"Upgrade: h2c\r\nUpgrade: websocket"),
        (b"Connection: Upgrade", b"Connection: keep-alive, upgrade"),
        (b"Sec-WebSocket-Key", b"sec-websocket-key"),
    ],
)
async def test_spellings(old: bytes, new: bytes) -> None:
    async with talking() as talk:
        talk.say(REQUEST.replace(old, new) + b"\r\n")
        assert undated(await talk.hear()) == ACCEPTED + b"\r\n"


KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
BAD = [
    (KEY, b"", "a WebSocket handshake has exactly one Sec-WebSocket-Key"),
    (KEY, KEY * 2, "a WebSocket handshake has exactly one Sec-WebSocket-Key"),
    (KEY, b"Sec-WebSocket-Key: x\r\n", "Sec-WebSocket-Key must be 16 bytes in base64"),
    (KEY, b"Sec-WebSocket-Key: \r\n", "Sec-WebSocket-Key must be 16 bytes in base64"),
    (b"bXBsZSBub25jZQ==", b"bXBsZSBub25j", "Sec-WebSocket-Key must be 16 bytes in base64"),
    (b"Version: 13\r\n", b"Version: 13\r\nSec-WebSocket-Version: 13\r\n",
     "a WebSocket handshake has exactly one Sec-WebSocket-Version"),
    (b"Sec-WebSocket-Version: 13\r\n", b"",
     "a WebSocket handshake has exactly one Sec-WebSocket-Version"),
    (KEY, KEY + b"Sec-WebSocket-Protocol: a b\r\n",
     "Sec-WebSocket-Protocol must be a list of tokens"),
    (KEY, KEY + b"Sec-WebSocket-Extensions: a; b c\r\n",
     "Sec-WebSocket-Extensions must be a list of extensions"),
    (KEY, KEY + b"Sec-WebSocket-Extensions: a=b\r\n",
     "Sec-WebSocket-Extensions must be a list of extensions"),
    (KEY, KEY + b"Content-Length: 1\r\n", "a WebSocket handshake has no body"),
]  # fmt: skip


@cut
@pytest.mark.parametrize(("old", "new", "why"), BAD)
async def test_malformed(old: bytes, new: bytes, why: str, piece: int) -> None:
    async with talking(piece=piece) as talk:
        talk.say(REQUEST.replace(old, new) + b"\r\n")
        answer = await talk.hear()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(f"400 Bad Request: {why}\n".encode())
        assert talk.got == []


@pytest.mark.parametrize("version", [b"12", b"14", b"013", b"x", b""])
async def test_another_version(version: bytes) -> None:
    async with talking() as talk:
        talk.say(REQUEST.replace(b"Version: 13", b"Version: " + version) + b"\r\n")
        assert undated(await talk.hear()) == (
            b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nContent-Length: 33\r\n\r\n"
            b"Sec-WebSocket-Version must be 13\n"
        )
        talk.say(REQUEST + b"\r\n")  # and now it knows better
        assert undated(await talk.hear()) == ACCEPTED + b"\r\n"


async def test_the_scope() -> None:
    scopes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await kind(scope, receive, send)

    async with talking(app) as talk:
        await talk.open(b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n")
    [scope] = scopes
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["scheme"] == "ws"
    assert scope["path"] == "/chat"
    assert scope["subprotocols"] == ["a", "b", "c"]
    assert scope["extensions"].keys() == {"websocket.http.response", "balancer.request_id"}
    assert "method" not in scope


# compression

OFFERS = [
    (b"permessage-deflate", b"server_max_window_bits=12"),
    (b"permessage-deflate; client_max_window_bits",
     b"server_max_window_bits=12; client_max_window_bits=12"),
    (b"permessage-deflate; client_max_window_bits=10",
     b"server_max_window_bits=12; client_max_window_bits=10"),
    (b"permessage-deflate; client_max_window_bits=8",
     b"server_max_window_bits=12; client_max_window_bits=8"),
    (b"permessage-deflate; server_max_window_bits=9", b"server_max_window_bits=9"),
    (b'permessage-deflate; server_max_window_bits="15"', b"server_max_window_bits=12"),
    (b"permessage-deflate;server_no_context_takeover;client_no_context_takeover",
     b"server_max_window_bits=12; server_no_context_takeover; client_no_context_takeover"),
    (b"x-other, permessage-deflate", b"server_max_window_bits=12"),
    (b"permessage-deflate; x=1, permessage-deflate; server_no_context_takeover",
     b"server_max_window_bits=12; server_no_context_takeover"),
    (b"permessage-deflate; server_max_window_bits=8, permessage-deflate",
     b"server_max_window_bits=12"),
]  # fmt: skip


@pytest.mark.parametrize(("offer", "answer"), OFFERS)
def test_offers(offer: bytes, answer: bytes) -> None:
    agreed = negotiate([offer])
    assert agreed is not None
    assert agreed.response == b"permessage-deflate; " + answer


@pytest.mark.parametrize(
    "offer",
    [
        b"x-webkit-deflate-frame",
        b"permessage-deflate; unknown",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=8",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits=09",
        b"permessage-deflate; client_max_window_bits=7",
        b"permessage-deflate; client_max_window_bits=x",
        b"permessage-deflate; client_max_window_bits; client_max_window_bits",
    ],
)
def test_declined_offers(offer: bytes) -> None:
    assert negotiate([offer]) is None


async def test_compression_can_be_turned_off() -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with talking() as talk:
        assert b"permessage-deflate" in await talk.open(offer)
    async with talking(config=WebSocketConfig(per_message_deflate=False)) as talk:
        assert await talk.open(offer) == ACCEPTED + b"\r\n"


NAMES = [b"upgrade", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol",
         b"sec-websocket-extensions"]  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"websocket", b"13", b"dGhlIHNhbXBsZSBub25jZQ==", b"permessage-deflate"]),
    st.text('permssage-dflt;,= "_xwindobt1509', max_size=60).map(str.encode),
)


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8))
def test_any_fields_are_accepted_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    wants_websocket("GET", headers)
    try:
        handshake = read_handshake(headers, deflate=True)
    except RequestError as error:
        status = error.status
    else:
        status = 101
        assert len(handshake.accept) == 28
    assert status in (101, 400, 426)
