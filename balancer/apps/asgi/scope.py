"""The connection scopes of ASGI: what an app is told of a request before it reads any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from balancer.core.forwarded import FIELDS, read_forwarded

if TYPE_CHECKING:
    from balancer.apps.asgi.types import AsgiConfig, Scope
    from balancer.http1.exchange import Exchange
    from balancer.http1.transport import Address

__all__ = ["HTTP_SPEC", "WEBSOCKET_SPEC", "make_scope"]

# Not 2.4, though send() raises the OSError that 2.4 asks for: frameworks (Starlette) that are told
# 2.4 no longer watch for http.disconnect while they stream, and then an event stream that has
# nothing to say outlives its client.
HTTP_SPEC = "2.3"
WEBSOCKET_SPEC = "2.4"
WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


def make_scope(
    exchange: Exchange, config: AsgiConfig, state: dict[str, Any], *, websocket: bool = False
) -> Scope:
    """The scope of a request; ``state`` is the lifespan's, of which the app gets a copy."""
    headers = exchange.headers
    client, scheme = _client(exchange.client), exchange.scheme
    if not FIELDS.isdisjoint([name for name, _ in headers]):
        origin = read_forwarded(headers, client[0] if client else None, config.trusted)
        client, scheme = origin.client or client, origin.scheme or scheme
    raw_path, _, query = exchange.origin.partition(b"?")
    path = raw_path.decode("ascii", "replace")
    if "%" in path:
        path = unquote(path)
    root = config.root_path
    if root:
        path, raw_path = root + path, root.encode() + raw_path
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": HTTP_SPEC},
        "http_version": exchange.http_version,
        "method": exchange.method,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root,
        "headers": headers,
        "client": client,
        "server": _server(exchange.server),
        "state": state.copy(),
        "extensions": {"http.response.trailers": {}, "http.response.pathsend": {}},
    }
    if websocket:
        _make_websocket(scope)
    return scope


def _make_websocket(scope: Scope) -> None:
    del scope["method"]
    scope["type"] = "websocket"
    scope["asgi"]["spec_version"] = WEBSOCKET_SPEC
    scope["scheme"] = WEBSOCKET_SCHEMES[scope["scheme"]]
    offered = [value for name, value in scope["headers"] if name == b"sec-websocket-protocol"]
    names = [name.strip() for value in offered for name in value.decode("latin-1").split(",")]
    scope["subprotocols"] = [name for name in names if name]
    scope["extensions"] = {"websocket.http.response": {}}


def _client(address: Address) -> tuple[str, int] | None:
    return address if isinstance(address, tuple) else None


def _server(address: Address) -> tuple[str, int | None] | None:
    if isinstance(address, tuple):
        return address
    return None if address is None else (address, None)
